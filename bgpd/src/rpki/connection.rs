//! One connection to a cache: a task that moves octets in both directions.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::mpsc;

/// A cache that does not answer a SYN for this long is not there.
const CONNECT: Duration = Duration::from_secs(10);
/// A cache that takes none of the few octets that a router says for this long is not there either.
const WRITE: Duration = Duration::from_secs(10);
/// Octets that are read at once.
const READ: usize = 64 * 1024;

/// What happens on a connection.
pub(super) enum Event {
    Connected,
    Read(Vec<u8>),
    Closed(String),
}

/// A connection that is there or is being opened. It is closed when this goes, behind what was sent.
pub(super) struct Connection {
    /// A router says little: a question for each answer.
    outgoing: mpsc::UnboundedSender<Vec<u8>>,
}

impl Connection {
    pub(super) fn open(cache: SocketAddr, generation: u64, events: mpsc::Sender<(SocketAddr, u64, Event)>) -> Self {
        let (outgoing, receiver) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            let why = match run(cache, generation, receiver, &events).await {
                Ok(()) => "the cache has closed the connection".to_owned(),
                Err(error) => error.to_string(),
            };
            // Without an owner nobody has to know.
            let _ = events.send((cache, generation, Event::Closed(why))).await;
        });
        Self { outgoing }
    }

    pub(super) fn send(&self, bytes: Vec<u8>) {
        // A task that has ended has said so, or is about to.
        let _ = self.outgoing.send(bytes);
    }
}

async fn within<T>(limit: Duration, what: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    tokio::time::timeout(limit, what).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

async fn run(
    cache: SocketAddr,
    generation: u64,
    mut outgoing: mpsc::UnboundedReceiver<Vec<u8>>,
    events: &mpsc::Sender<(SocketAddr, u64, Event)>,
) -> io::Result<()> {
    let (mut reader, mut writer) = within(CONNECT, TcpStream::connect(cache)).await?.into_split();
    if events.send((cache, generation, Event::Connected)).await.is_err() {
        return Ok(());
    }
    let mut buffer = vec![0; READ];
    loop {
        tokio::select! {
            bytes = outgoing.recv() => match bytes {
                Some(bytes) => write(&mut writer, &bytes).await?,
                // The owner has let go.
                None => return Ok(()),
            },
            count = reader.read(&mut buffer) => {
                let count = count?;
                let read = buffer.get(..count).unwrap_or_default().to_vec();
                if read.is_empty() || events.send((cache, generation, Event::Read(read))).await.is_err() {
                    return Ok(());
                }
            }
        }
    }
}

async fn write(writer: &mut OwnedWriteHalf, bytes: &[u8]) -> io::Result<()> {
    within(WRITE, writer.write_all(bytes)).await
}
