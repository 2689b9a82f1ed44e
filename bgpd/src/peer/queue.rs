//! What waits to be written to one connection.
//!
//! Two lanes: control messages (OPEN, KEEPALIVE, NOTIFICATION, ROUTE-REFRESH) go before data, at message boundaries.
//! The data lane is bounded in octets; a push beyond the bound is refused at once and nobody waits. The update group
//! then conflates for this member until the writer says that the lane has drained.
//!
//! A small chunk that nothing waits before is written by whoever pushes it: when little changes, waking the writer
//! would cost more than the write, and the peer would wait for it.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::net::Shutdown;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use bgp_engine::group::Chunk;
use bgp_engine::id::PeerIndex;
use bytes::{Buf, Bytes};
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::Notify;

use super::cell::{MessageCounters, NeighborCell};
use super::socket::{self, Transport};

/// Octets that may wait in the data lane. Chunks are shared between members, so this is not memory per member but
/// how far one may be behind the others.
const DATA_LIMIT: u64 = 4 << 20;
/// The lane counts as drained when less than this is left.
const DATA_LOW: u64 = DATA_LIMIT / 4;
/// Octets taken for one round of writing.
const ROUND: u64 = 256 << 10;
/// Octets that are written at once where that is asked for. What is larger is copied by the members' own tasks, side by
/// side.
const AT_ONCE: u64 = 8 << 10;
/// Slices in one vectored write.
const SLICES: usize = 64;

/// The lane is full: the item was not taken.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Full;

/// What the writer should do next.
pub(crate) enum Work {
    /// Write these, in order; so many octets of them are data.
    Write { slices: VecDeque<Bytes>, data: u64 },
    /// Close the connection.
    Finish,
}

#[derive(Default)]
struct Lanes {
    /// The rest of what was written in part: goes before all else.
    begun: VecDeque<Bytes>,
    control: VecDeque<Bytes>,
    data: VecDeque<(Chunk, u64)>,
    finishing: bool,
    /// The writer has something in its hands.
    writing: bool,
}

/// The queue between whoever sends to a peer and the task that writes to its connection.
pub(crate) struct OutQueue {
    half: OwnedWriteHalf,
    member: PeerIndex,
    sent: Arc<MessageCounters>,
    lanes: Mutex<Lanes>,
    wake: Notify,
    /// Octets in the data lane and in the writer's hands.
    queued: AtomicU64,
    /// A push was refused since the lane last drained.
    refused: AtomicBool,
}

impl OutQueue {
    /// The empty queue of a connection to the neighbor of `cell`.
    pub(super) fn new(half: OwnedWriteHalf, cell: &NeighborCell) -> Self {
        Self {
            half,
            member: cell.index,
            sent: Arc::clone(&cell.sent),
            lanes: Mutex::default(),
            wake: Notify::new(),
            queued: AtomicU64::new(0),
            refused: AtomicBool::new(false),
        }
    }

    /// Queues a control message.
    pub(crate) fn send(&self, message: Bytes) {
        let mut lanes = self.lanes();
        if !lanes.finishing {
            lanes.control.push_back(message);
            drop(lanes);
            self.wake.notify_one();
        }
    }

    /// Queues data, unless the lane is full. An empty lane takes any chunk. What is small and has nothing before it is
    /// written here and now if `at_once`.
    pub(crate) fn push(&self, chunk: Chunk, at_once: bool) -> Result<(), Full> {
        if self.queued.load(Ordering::Acquire) >= DATA_LIMIT {
            self.refused.store(true, Ordering::Release);
            // The writer may have drained between the two lines above; then nobody else would say so.
            if self.queued.load(Ordering::Acquire) >= DATA_LOW {
                return Err(Full);
            }
            self.refused.store(false, Ordering::Release);
        }
        let mut lanes = self.lanes();
        if lanes.finishing {
            return Ok(());
        }
        let octets = chunk.len_for(self.member) as u64;
        if at_once && octets <= AT_ONCE && lanes.are_idle() {
            lanes.begun.extend(self.parts(&chunk));
            // An error is found again by the writer, who tells the driver.
            let _ = self.try_write(&mut lanes.begun);
            if lanes.begun.is_empty() {
                return Ok(());
            }
            self.queued.fetch_add(octets_in(&lanes.begun), Ordering::AcqRel);
        } else {
            self.queued.fetch_add(octets, Ordering::AcqRel);
            lanes.data.push_back((chunk, octets));
        }
        drop(lanes);
        self.wake.notify_one();
        Ok(())
    }

    /// What the member is sent of a chunk, which is counted with that.
    fn parts<'a>(&'a self, chunk: &'a Chunk) -> impl Iterator<Item = Bytes> + 'a {
        chunk.parts(self.member).inspect(|part| self.sent.count_updates(messages_in(part), part.len() as u64))
    }

    /// Writes as much of `slices` as the socket takes at once, and drops it there.
    pub(super) fn try_write(&self, slices: &mut VecDeque<Bytes>) -> io::Result<()> {
        let mut vector = [IoSlice::new(&[]); SLICES];
        for (entry, slice) in vector.iter_mut().zip(slices.iter()) {
            *entry = IoSlice::new(slice);
        }
        let count = slices.len().min(SLICES);
        match self.half.try_write_vectored(&vector[..count])? {
            0 => Err(io::ErrorKind::WriteZero.into()),
            written => {
                advance(slices, written);
                Ok(())
            }
        }
    }

    /// Puts what differs between two transports to work on the connection.
    pub(super) fn replace_transport(&self, before: &Transport, now: &Transport) -> io::Result<()> {
        let stream: &TcpStream = self.half.as_ref();
        socket::replace_transport(stream, before, now)
    }

    /// Waits until the socket takes something.
    pub(super) async fn writable(&self) -> io::Result<()> {
        self.half.writable().await
    }

    /// Ends the sending direction of the connection.
    pub(super) fn shut_down(&self) {
        // The connection is closed anyway; what the peer did not take in time is lost with it.
        let _ = SockRef::from(self.half.as_ref()).shutdown(Shutdown::Write);
    }

    /// Lets what is in the control lane be written, then closes. Data that waits is dropped.
    pub(crate) fn finish(&self) {
        let mut lanes = self.lanes();
        lanes.finishing = true;
        lanes.data.clear();
        drop(lanes);
        self.wake.notify_one();
    }

    /// Octets that wait to be written.
    pub(crate) fn queued_bytes(&self) -> u64 {
        self.queued.load(Ordering::Relaxed)
    }

    /// The peer takes data slower than it comes.
    pub(crate) fn is_slow(&self) -> bool {
        self.refused.load(Ordering::Relaxed)
    }

    /// The next round of work; waits until there is some.
    pub(super) async fn next(&self) -> Work {
        loop {
            if let Some(work) = self.take() {
                return work;
            }
            self.wake.notified().await;
        }
    }

    /// Accounts for data that was written. True when the lane has drained after it had been full.
    pub(super) fn written(&self, octets: u64) -> bool {
        self.lanes().writing = false;
        let left = self.queued.fetch_sub(octets, Ordering::AcqRel) - octets;
        left < DATA_LOW && self.refused.swap(false, Ordering::AcqRel)
    }

    fn take(&self) -> Option<Work> {
        let mut lanes = self.lanes();
        let mut slices = std::mem::take(&mut lanes.begun);
        let mut octets = octets_in(&slices);
        slices.extend(lanes.control.drain(..));
        while octets < ROUND
            && let Some((chunk, more)) = lanes.data.pop_front()
        {
            octets += more;
            slices.extend(self.parts(&chunk));
        }
        if slices.is_empty() {
            return lanes.finishing.then_some(Work::Finish);
        }
        lanes.writing = true;
        Some(Work::Write { slices, data: octets })
    }

    fn lanes(&self) -> std::sync::MutexGuard<'_, Lanes> {
        self.lanes.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Lanes {
    /// Nothing waits or is being written.
    fn are_idle(&self) -> bool {
        !self.writing && self.begun.is_empty() && self.control.is_empty() && self.data.is_empty()
    }
}

fn octets_in(slices: &VecDeque<Bytes>) -> u64 {
    slices.iter().map(|slice| slice.len() as u64).sum()
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
