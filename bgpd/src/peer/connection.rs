//! One TCP connection of a session: what was read and not yet split, and the queue of its writer.

use std::convert::Infallible;
use std::io::{self, Read};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use socket2::SockRef;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedReadHalf;
use tokio::sync::oneshot::error::TryRecvError;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::admission::Pending;
use super::cell::NeighborCell;
use super::queue::OutQueue;
use super::writer::{self, WriterEvent};

/// Octets read at a time from a peer that sends much (at least the largest message, RFC 8654).
const READ_MUCH: usize = 128 << 10;
/// The same from one that says little, as most do most of the time: room for more is made when this is full.
const READ_LITTLE: usize = 4 << 10;
/// Reads in a row that brought little, after which a peer counts as one that says little.
const QUIET: u8 = 8;
/// Octets of a connection that is being closed, read at a time only to be dropped.
const SINK: usize = 512;
/// A closing connection is given up after this.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(3);

/// Why a connection without OPEN was closed.
const EVICTED: &str = "no OPEN from the peer while connections without OPEN were too many";

pub(super) struct Connection {
    read: OwnedReadHalf,
    /// Octets received and not yet taken.
    buffer: BytesMut,
    /// Reads in a row that brought little, up to [`QUIET`].
    quiet: u8,
    pub(super) queue: Arc<OutQueue>,
    pub(super) local: SocketAddr,
    pub(super) remote: SocketAddr,
    writer: JoinHandle<()>,
    events: mpsc::UnboundedReceiver<WriterEvent>,
    /// Until the OPEN of a connection that the peer opened is there.
    pub(super) pending: Option<Pending>,
}

/// A connection that is being closed. The handle of its task would do, but keeps the memory of a task that has ended.
pub(super) struct Closing(oneshot::Receiver<Infallible>);

impl Closing {
    pub(super) fn is_over(&mut self) -> bool {
        matches!(self.0.try_recv(), Err(TryRecvError::Closed))
    }

    /// Until the peer has read all, or has had time enough for that.
    pub(super) async fn over(self) {
        // Nothing is ever said but that it is over.
        let _ = self.0.await;
    }
}

/// What happened on a connection.
pub(super) enum ConnectionEvent {
    /// Octets are in the buffer.
    Read,
    /// The other end is gone; with the error if it was not an orderly close.
    Closed(Option<String>),
    /// From the writer.
    Drained,
    /// From the writer (RFC 9687).
    SendHoldExpired,
}

impl Connection {
    pub(super) fn new(stream: TcpStream, cell: &Arc<NeighborCell>, hold_seconds: u16) -> io::Result<Self> {
        let (local, remote) = (stream.local_addr()?, stream.peer_addr()?);
        let (read, write) = stream.into_split();
        let queue = Arc::new(OutQueue::new(write, cell));
        let (sender, events) = mpsc::unbounded_channel();
        let send_hold = writer::send_hold_time(hold_seconds);
        let writer = tokio::spawn(writer::run(Arc::clone(&queue), send_hold, sender));
        Ok(Self { read, buffer: BytesMut::new(), quiet: QUIET, queue, local, remote, writer, events, pending: None })
    }

    /// Waits for the next event. Cancellation loses nothing.
    pub(super) async fn next(&mut self) -> ConnectionEvent {
        self.buffer.reserve(if self.quiet < QUIET { READ_MUCH } else { READ_LITTLE });
        tokio::select! {
            read = self.read.read_buf(&mut self.buffer) => match read {
                Ok(0) => ConnectionEvent::Closed(None),
                Ok(octets) => {
                    let is_full = self.buffer.len() == self.buffer.capacity();
                    self.quiet = if is_full || octets > READ_LITTLE { 0 } else { QUIET.min(self.quiet + 1) };
                    ConnectionEvent::Read
                }
                Err(error) => ConnectionEvent::Closed(Some(error.to_string())),
            },
            Some(event) = self.events.recv() => match event {
                WriterEvent::Drained => ConnectionEvent::Drained,
                WriterEvent::SendHoldExpired => ConnectionEvent::SendHoldExpired,
                WriterEvent::Failed(error) => ConnectionEvent::Closed(Some(error.to_string())),
            },
            () = evicted(&self.pending) => ConnectionEvent::Closed(Some(EVICTED.to_owned())),
        }
    }

    /// What lies in the socket, if anything does: asked of the kernel, which may know more than the runtime does.
    pub(super) fn unread(&mut self) -> Option<ConnectionEvent> {
        let socket = SockRef::from(self.read.as_ref());
        // Most often nothing does, and no room is made for it.
        let nothing = socket.peek(&mut [MaybeUninit::uninit()]).is_err_and(|e| e.kind() == io::ErrorKind::WouldBlock);
        if nothing {
            return None;
        }
        let had = self.buffer.len();
        self.buffer.resize(had + READ_MUCH, 0);
        let read = (&*socket).read(&mut self.buffer[had..]);
        self.buffer.truncate(had + read.as_ref().copied().unwrap_or(0));
        match read {
            Ok(0) => Some(ConnectionEvent::Closed(None)),
            Ok(_) => Some(ConnectionEvent::Read),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            Err(error) => Some(ConnectionEvent::Closed(Some(error.to_string()))),
        }
    }

    /// Takes out what was received; what is not taken of it comes back with [`Connection::put_back`].
    pub(super) fn take_received(&mut self) -> BytesMut {
        std::mem::take(&mut self.buffer)
    }

    /// Keeps the beginning of a message until the rest is there. Room for much is not kept for a peer that says little.
    pub(super) fn put_back(&mut self, rest: BytesMut) {
        if self.quiet < QUIET || !rest.is_empty() || rest.capacity() <= 2 * READ_LITTLE {
            self.buffer = rest;
        }
    }

    pub(super) fn send(&self, message: Bytes) {
        self.queue.send(message);
    }

    /// Closes in the background: what was sent before goes out first, and the peer gets time to read it. A close with
    /// octets unread would make the kernel send RST, which can destroy a NOTIFICATION under way.
    pub(super) fn close(self) -> Closing {
        self.queue.finish();
        // Until it is closed it counts as pending, and is waited for; all else goes at once.
        let Self { mut read, mut writer, pending, .. } = self;
        let (closed, closing) = oneshot::channel::<Infallible>();
        tokio::spawn(async move {
            let _until_then = (pending, closed);
            let drain = async {
                let _ = (&mut writer).await;
                let mut sink = [0; SINK];
                while matches!(read.read(&mut sink).await, Ok(count) if count > 0) {}
            };
            // Both outcomes are the end of this connection.
            let _ = timeout(CLOSE_TIMEOUT, drain).await;
            writer.abort();
        });
        Closing(closing)
    }
}

/// Until a connection without OPEN has to make room.
async fn evicted(pending: &Option<Pending>) {
    match pending {
        Some(pending) => pending.evicted().await,
        None => std::future::pending().await,
    }
}
