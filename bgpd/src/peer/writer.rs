//! The task that writes to one connection: vectored writes, and the send hold timer (RFC 9687).

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::AsyncWriteExt;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::cell::NeighborCell;
use super::queue::{OutQueue, Work};

/// Slices in one vectored write.
const SLICES: usize = 64;
/// A NOTIFICATION that the peer does not take is given up after this.
const FINISH_TIMEOUT: Duration = Duration::from_secs(2);
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
pub(crate) async fn run(
    mut half: OwnedWriteHalf,
    queue: Arc<OutQueue>,
    cell: Arc<NeighborCell>,
    send_hold: Duration,
    events: mpsc::UnboundedSender<WriterEvent>,
) {
    let mut slices = VecDeque::new();
    loop {
        let (control, data) = match queue.next().await {
            Work::Write { control, data } => (control, data),
            Work::Finish => break,
        };
        let octets: u64 = data.iter().map(|(_, octets)| octets).sum();
        slices.extend(control);
        for part in data.iter().flat_map(|(chunk, _)| chunk.parts(cell.index)) {
            cell.sent.count_updates(messages_in(&part), part.len() as u64);
            slices.push_back(part);
        }
        drop(data);
        if let Err(failure) = write_all(&mut half, &mut slices, send_hold).await {
            // The driver may have gone already; then nobody needs to know.
            let _ = events.send(failure);
            return;
        }
        if queue.written(octets) {
            let _ = events.send(WriterEvent::Drained);
        }
    }
    // The connection is closed anyway; what the peer did not take in time is lost with it.
    let _ = timeout(FINISH_TIMEOUT, half.shutdown()).await;
}

/// Number of messages in a part of a chunk, which are whole.
fn messages_in(mut part: &[u8]) -> u64 {
    let mut count = 0;
    while let Some(&[high, low]) = part.get(16..18) {
        count += 1;
        part = part.get(usize::from(u16::from_be_bytes([high, low]))..).unwrap_or_default();
    }
    count
}

async fn write_all(
    half: &mut OwnedWriteHalf,
    slices: &mut VecDeque<Bytes>,
    send_hold: Duration,
) -> Result<(), WriterEvent> {
    while !slices.is_empty() {
        let mut vector = [IoSlice::new(&[]); SLICES];
        for (entry, slice) in vector.iter_mut().zip(slices.iter()) {
            *entry = IoSlice::new(slice);
        }
        let count = slices.len().min(SLICES);
        let written = match timeout(send_hold, half.write_vectored(&vector[..count])).await {
            Err(_) => return Err(WriterEvent::SendHoldExpired),
            Ok(Ok(0)) => return Err(WriterEvent::Failed(io::ErrorKind::WriteZero.into())),
            Ok(Ok(written)) => written,
            Ok(Err(error)) => return Err(WriterEvent::Failed(error)),
        };
        advance(slices, written);
    }
    Ok(())
}

fn advance(slices: &mut VecDeque<Bytes>, mut octets: usize) {
    while let Some(first) = slices.front_mut() {
        if octets < first.len() {
            first.advance(octets);
            return;
        }
        octets -= first.len();
        slices.pop_front();
    }
}
