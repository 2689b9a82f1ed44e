//! The task that writes to one connection: vectored writes, and the send hold timer (RFC 9687).

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::task::coop::consume_budget;
use tokio::time::timeout;

use super::queue::{OutQueue, Work};

/// Least send hold time (RFC 9687 §4.2).
const SEND_HOLD_MIN: Duration = Duration::from_secs(480);

/// What the writer tells the driver.
#[derive(Debug)]
pub(crate) enum WriterEvent {
    /// The data lane has drained after it had been full.
    Drained,
    /// The peer took nothing for the send hold time (RFC 9687).
    SendHoldExpired,
    /// The connection is gone.
    Failed(io::Error),
}

/// How long a peer may take nothing: the greater of eight minutes and twice the hold time (RFC 9687 §4.2).
pub(crate) fn send_hold_time(hold_seconds: u16) -> Duration {
    SEND_HOLD_MIN.max(Duration::from_secs(2 * u64::from(hold_seconds)))
}

/// Writes what comes into `queue` until it is finished or the connection fails.
pub(crate) async fn run(queue: Arc<OutQueue>, send_hold: Duration, events: mpsc::UnboundedSender<WriterEvent>) {
    loop {
        let (mut slices, data) = match queue.next().await {
            Work::Write { slices, data } => (slices, data),
            Work::Finish => break,
        };
        if let Err(failure) = write_all(&queue, &mut slices, send_hold).await {
            // The driver may have gone already; then nobody needs to know.
            let _ = events.send(failure);
            return;
        }
        if queue.written(data) {
            let _ = events.send(WriterEvent::Drained);
        }
        // A peer that takes whatever it is sent must not keep other tasks waiting.
        consume_budget().await;
    }
    queue.shut_down();
}

async fn write_all(queue: &OutQueue, slices: &mut VecDeque<Bytes>, send_hold: Duration) -> Result<(), WriterEvent> {
    while !slices.is_empty() {
        match queue.try_write(slices) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => match timeout(send_hold, queue.writable()).await
            {
                Ok(writable) => writable.map_err(WriterEvent::Failed)?,
                Err(_) => return Err(WriterEvent::SendHoldExpired),
            },
            Err(error) => return Err(WriterEvent::Failed(error)),
        }
    }
    Ok(())
}
