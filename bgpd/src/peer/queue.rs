//! What waits to be written to one connection.
//!
//! Two lanes: control messages (OPEN, KEEPALIVE, NOTIFICATION, ROUTE-REFRESH) go before data, at message boundaries.
//! The data lane is bounded in octets; a push beyond the bound is refused at once and nobody waits. The update group
//! then conflates for this member until the writer says that the lane has drained.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bgp_engine::group::Chunk;
use bgp_engine::id::PeerIndex;
use bytes::Bytes;
use tokio::sync::Notify;

/// Octets that may wait in the data lane. Chunks are shared between members, so this is not memory per member but
/// how far one may be behind the others.
const DATA_LIMIT: u64 = 4 << 20;
/// The lane counts as drained when less than this is left.
const DATA_LOW: u64 = DATA_LIMIT / 4;
/// Octets taken for one round of writing.
const ROUND: u64 = 256 << 10;

/// The lane is full: the item was not taken.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Full;

/// What the writer should do next.
pub(crate) enum Work {
    /// Write these, in order; data with the octets that the member is sent.
    Write { control: Vec<Bytes>, data: Vec<(Chunk, u64)> },
    /// Close the connection.
    Finish,
}

#[derive(Default)]
struct Lanes {
    control: VecDeque<Bytes>,
    data: VecDeque<(Chunk, u64)>,
    finishing: bool,
}

/// The queue between whoever sends to a peer and the task that writes to its connection.
#[derive(Default)]
pub(crate) struct OutQueue {
    lanes: Mutex<Lanes>,
    wake: Notify,
    /// Octets in the data lane and in the writer's hands.
    queued: AtomicU64,
    /// A push was refused since the lane last drained.
    refused: AtomicBool,
}

impl OutQueue {
    /// Queues a control message.
    pub(crate) fn send(&self, message: Bytes) {
        let mut lanes = self.lanes();
        if !lanes.finishing {
            lanes.control.push_back(message);
            drop(lanes);
            self.wake.notify_one();
        }
    }

    /// Queues data, unless the lane is full. An empty lane takes any chunk.
    pub(crate) fn push(&self, chunk: Chunk, member: PeerIndex) -> Result<(), Full> {
        if self.queued.load(Ordering::Acquire) >= DATA_LIMIT {
            self.refused.store(true, Ordering::Release);
            // The writer may have drained between the two lines above; then nobody else would say so.
            if self.queued.load(Ordering::Acquire) >= DATA_LOW {
                return Err(Full);
            }
            self.refused.store(false, Ordering::Release);
        }
        let mut lanes = self.lanes();
        if !lanes.finishing {
            let octets = chunk.len_for(member) as u64;
            self.queued.fetch_add(octets, Ordering::AcqRel);
            lanes.data.push_back((chunk, octets));
            drop(lanes);
            self.wake.notify_one();
        }
        Ok(())
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
        let left = self.queued.fetch_sub(octets, Ordering::AcqRel) - octets;
        left < DATA_LOW && self.refused.swap(false, Ordering::AcqRel)
    }

    fn take(&self) -> Option<Work> {
        let mut lanes = self.lanes();
        let control: Vec<Bytes> = lanes.control.drain(..).collect();
        let mut data = Vec::new();
        let mut octets = 0;
        while octets < ROUND
            && let Some(item) = lanes.data.pop_front()
        {
            octets += item.1;
            data.push(item);
        }
        if control.is_empty() && data.is_empty() {
            return lanes.finishing.then_some(Work::Finish);
        }
        Some(Work::Write { control, data })
    }

    fn lanes(&self) -> std::sync::MutexGuard<'_, Lanes> {
        self.lanes.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
