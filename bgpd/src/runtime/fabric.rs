//! The channels between drivers, partitions, groups and the controller.
//!
//! Data goes one way (driver → partition → group → writer) through bounded channels that may make the sender wait;
//! the last hop never waits. Control goes through channels of its own and never waits (at most one request per
//! requester is under way), so that no cycle of full queues can form.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;

use bgp_engine::attr::Interner;
use bgp_engine::id::{GroupIndex, PeerIndex};
use bgp_engine::policy::Library;
use bgp_engine::session::RestartState;
use bgp_engine::stage::{Alarm, AnyBatch, AnyEmission, Fence};
use tokio::sync::{mpsc, oneshot};
use tracing::info;

use super::group_worker::{GroupControl, Groups};
use super::port::Port;
use super::rib_worker::{Rib, RibControl};
use super::watch::WatchMessage;
use crate::observe::Latencies;
use crate::peer::admission::Admission;
use crate::rpki::Rpki;

/// Messages that may wait for one partition: with bursts of up to 128 KiB each this bounds what is decoded and not
/// yet in a table.
pub(crate) const RIB_QUEUE: usize = 64;
/// Emissions that may wait for one group worker.
pub(crate) const GROUP_QUEUE: usize = 256;

/// Data for a partition, in order.
pub(crate) enum RibMessage {
    /// Routes, and when the octets that they were in were read.
    Batch(AnyBatch, Instant),
    Fence(Fence),
}

/// Data for a group worker.
pub(crate) struct Timed {
    pub(crate) emission: AnyEmission,
    /// For live changes: when the octets that caused them were read.
    pub(crate) read: Option<Instant>,
}

/// The way into one partition.
pub(crate) type PartitionPort = Port<Rib, RibMessage, RibControl>;

/// The way into one group worker.
pub(crate) type GroupPort = Port<Groups, Timed, (GroupIndex, GroupControl)>;

/// All ways in, and what everybody shares.
pub(crate) struct Fabric {
    pub(crate) partitions: Vec<PartitionPort>,
    pub(crate) groups: Vec<GroupPort>,
    /// What budgets of peers have come to, for the controller.
    pub(crate) alarms: mpsc::UnboundedSender<Alarm>,
    /// Members that have come to a group from another one, for the controller.
    pub(crate) settled: mpsc::UnboundedSender<(PeerIndex, GroupIndex)>,
    /// Changes of watched Loc-RIBs.
    pub(crate) watch: mpsc::Sender<WatchMessage>,
    pub(crate) interner: Arc<Interner>,
    pub(crate) latencies: Latencies,
    /// The policies that names stand for now.
    pub(crate) library: RwLock<Arc<Library>>,
    /// Who may originate what.
    pub(crate) rpki: Rpki,
    /// Who may connect.
    pub(crate) admission: Admission,
    /// When the speaker started: ages of routes count from here.
    pub(crate) started: Instant,
    /// What this speaker says of its own restart.
    pub(crate) restart: Restart,
    /// Jitter seeds are drawn from here: different for each session, reproducible for a given start.
    pub(crate) seed: AtomicU64,
}

/// What this speaker says of its own restart (RFC 4724 §3).
pub(crate) struct Restart {
    /// Partitions that put route selection off.
    deferring: AtomicUsize,
    /// The F bit.
    forwarding_kept: bool,
}

impl Restart {
    pub(crate) fn new(deferring: usize, forwarding_kept: bool) -> Self {
        Self { deferring: AtomicUsize::new(deferring), forwarding_kept }
    }

    /// One more partition selects routes.
    pub(crate) fn partition_is_done(&self) {
        if self.deferring.fetch_sub(1, Ordering::AcqRel) == 1 {
            info!("route selection begins: nobody's routes are waited for any more");
        }
    }

    /// What OPENs say now.
    pub(crate) fn state(&self) -> RestartState {
        let restarting = self.deferring.load(Ordering::Acquire) > 0;
        RestartState { restarting, forwarding_kept: self.forwarding_kept }
    }
}

impl Fabric {
    /// The worker that owns a group.
    pub(crate) fn group(&self, index: GroupIndex) -> &GroupPort {
        &self.groups[index.0 as usize % self.groups.len()]
    }

    /// Sends a control message to every partition.
    pub(crate) fn control_all(&self, message: impl Fn() -> RibControl) {
        for partition in &self.partitions {
            partition.tell(message());
        }
    }

    /// Asks every partition the same; the answers come in their time.
    pub(crate) fn ask_all_later<T>(
        &self,
        question: impl Fn(oneshot::Sender<T>) -> RibControl,
    ) -> Vec<oneshot::Receiver<T>> {
        let mut answers = Vec::new();
        for partition in &self.partitions {
            let (reply, answer) = oneshot::channel();
            partition.tell(question(reply));
            answers.push(answer);
        }
        answers
    }

    /// Asks every partition the same; what a partition that has stopped would say is missing.
    pub(crate) async fn ask_all<T>(&self, question: impl Fn(oneshot::Sender<T>) -> RibControl) -> Vec<T> {
        let mut said = Vec::new();
        for answer in self.ask_all_later(question) {
            said.extend(answer.await);
        }
        said
    }

    /// The policies that names stand for now.
    pub(crate) fn library(&self) -> Arc<Library> {
        Arc::clone(&self.library.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Other policies from now on. Whoever uses one of them is to be told.
    pub(crate) fn replace_library(&self, library: Library) {
        *self.library.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(library);
    }

    /// Seconds since the speaker started; 136 years fit.
    pub(crate) fn uptime_seconds(&self) -> u32 {
        self.started.elapsed().as_secs() as u32
    }

    /// The next jitter seed.
    pub(crate) fn next_seed(&self) -> u64 {
        self.seed.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed)
    }
}
