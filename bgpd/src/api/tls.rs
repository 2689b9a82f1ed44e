//! TLS connections: handshakes beside each other, bounded in number and time.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use tracing::{info, warn};

use super::access::Access;

/// Handshakes at a time; more wait in the kernel's queue.
const HANDSHAKES: usize = 64;
/// A handshake that takes longer is ended.
const PATIENCE: Duration = Duration::from_secs(10);
/// Pause after a connection could not be accepted: out of descriptors, most likely.
const PAUSE: Duration = Duration::from_millis(100);

/// Connections whose handshake has succeeded. Each handshake uses the certificates that are in force when it begins.
pub(super) fn incoming(listener: TcpListener, access: Access) -> ReceiverStream<io::Result<TlsStream<TcpStream>>> {
    let (sender, receiver) = mpsc::channel(HANDSHAKES);
    tokio::spawn(async move {
        let places = Arc::new(Semaphore::new(HANDSHAKES));
        while let Ok(place) = Arc::clone(&places).acquire_owned().await {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = sender.closed() => return,
            };
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    warn!(%error, "cannot accept a connection to the API");
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            };
            let (sender, access) = (sender.clone(), access.clone());
            tokio::spawn(async move {
                if let Some(stream) = handshake(stream, &access).await {
                    // Without a receiver the server has stopped.
                    let _ = sender.send(Ok(stream)).await;
                }
                drop(place);
            });
        }
    });
    ReceiverStream::new(receiver)
}

async fn handshake(stream: TcpStream, access: &Access) -> Option<TlsStream<TcpStream>> {
    let client = stream.peer_addr().map(|address| address.to_string()).unwrap_or_default();
    let config = access.tls()?;
    let reason = match tokio::time::timeout(PATIENCE, TlsAcceptor::from(config).accept(stream)).await {
        Ok(Ok(stream)) => return Some(stream),
        Ok(Err(error)) => error.to_string(),
        Err(_) => "it took too long".to_owned(),
    };
    info!(client, reason, "TLS handshake failed");
    None
}
