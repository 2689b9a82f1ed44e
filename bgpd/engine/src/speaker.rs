//! All stages of one router in one struct: what simulation and benchmarks drive.
//!
//! A [`Speaker`] composes sessions, intake, partitions and groups as the daemon does, with its queues and their bounds,
//! but without threads: whoever drives it delivers bytes and time, carries out [`Effect`]s, and chooses which of the
//! [`Stage`]s that are [ready](Speaker::ready) goes on next. So every interleaving that threads could have can be had
//! on purpose, and again. Not here: sockets, clocks, dynamic neighbors, watchers of the Loc-RIB.
//!
//! ```text
//!  received ─► Peer ══► Partition ══► Group ──► OutQueue ─► write        ══ bounded: the sender waits
//!               └─► Controller ──► (control of all) ◄── walks, refills, credits      ── never waits
//! ```

mod controller;
mod establish;
mod groups;
mod outlet;
mod partitions;
mod peer;
mod policies;
#[cfg(feature = "sabotage")]
mod sabotage;
mod view;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bgp_wire::Family;
use bytes::Bytes;

use crate::attr::Interner;
use crate::config::Desired;
use crate::export::LocalAddresses;
use crate::id::{GroupIndex, PeerIndex};
use crate::policy::Library;
use crate::rib::PartitionSettings;
use crate::rib::decision;

#[cfg(feature = "sabotage")]
pub use sabotage::Sabotage;
pub use view::NeighborView;

use controller::Controller;
use groups::GroupWorker;
use outlet::OutQueue;
use partitions::{PartitionWorker, RibControl};
use peer::{Arrival, Peer};

/// Bounds of the queues inside a speaker, and how much is done at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Messages that may wait for one partition.
    pub rib_queue: usize,
    /// Emissions that may wait for one group worker.
    pub group_queue: usize,
    /// Octets that may wait for one connection, beyond which the member is slow.
    pub out_queue: u64,
    /// Destinations visited by one round of pending work in a partition.
    pub work_budget: usize,
}

impl Default for Limits {
    /// Those of the daemon.
    fn default() -> Self {
        Self { rib_queue: 64, group_queue: 256, out_queue: 4 << 20, work_budget: 1024 }
    }
}

/// What a speaker is made with besides its configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpeakerSettings {
    /// Seed of hashes and of the timers' jitter.
    pub seed: u64,
    /// Number of partitions, and of group workers.
    pub workers: usize,
    /// Bounds of the queues.
    pub limits: Limits,
    /// Longest time that route selection is put off after a restart (RFC 4724 §4.1).
    pub selection_deferral: Duration,
}

/// One TCP connection, or the attempt at one. Numbers are not used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Socket(pub u64);

/// What a speaker wants done outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Open a connection; [`Speaker::connected`] or [`Speaker::connect_failed`] is the answer.
    Connect {
        /// What it will be called.
        socket: Socket,
        /// To whom.
        remote: IpAddr,
    },
    /// Give up opening it, or, if it is there by now, drop it.
    Abort {
        /// Which.
        socket: Socket,
    },
    /// Send this, then close.
    Close {
        /// Which.
        socket: Socket,
        /// What is still to be sent.
        rest: Bytes,
    },
}

/// A part of the speaker that does one thing at a time, beside all others: a task or thread of the daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// The driver of a peer, which waited for room in a partition's queue.
    Peer(PeerIndex),
    /// The controller.
    Controller,
    /// The owner of a partition.
    Partition(usize),
    /// An owner of groups.
    Group(usize),
}

/// The queues between stages, and the stages that own routes.
struct Fabric {
    limits: Limits,
    partitions: Vec<PartitionWorker>,
    groups: Vec<GroupWorker>,
    queues: BTreeMap<Socket, OutQueue>,
    /// Members that have come from other groups, and the controller has not heard of.
    settled: Vec<(GroupIndex, PeerIndex)>,
    started: Instant,
    /// Until when route selection may be put off after a restart (RFC 4724 §4.1, Selection_Deferral_Timer).
    deferral_until: Option<Instant>,
    #[cfg(feature = "sabotage")]
    sabotage: Option<Sabotage>,
}

impl Fabric {
    /// The worker that owns a group.
    fn owner(&mut self, group: GroupIndex) -> &mut GroupWorker {
        let count = self.groups.len();
        &mut self.groups[group.0 as usize % count]
    }

    /// Whether route selection is put off after a restart.
    fn is_deferring(&self) -> bool {
        self.partitions.iter().any(|worker| worker.partition.is_deferring())
    }

    /// Seconds since the speaker started.
    fn uptime_seconds(&self, now: Instant) -> u32 {
        now.saturating_duration_since(self.started).as_secs() as u32
    }
}

/// A router.
pub struct Speaker {
    desired: Desired,
    interner: Arc<Interner>,
    library: Arc<Library>,
    fabric: Fabric,
    controller: Controller,
    /// Drivers; one that was removed is here until it has ended.
    peers: BTreeMap<PeerIndex, Peer>,
    /// The driver of each configured neighbor.
    neighbors: BTreeMap<IpAddr, PeerIndex>,
    sockets: BTreeMap<Socket, PeerIndex>,
    /// Drivers that wait for room in a queue.
    parked: BTreeSet<PeerIndex>,
    free_indices: Vec<PeerIndex>,
    next_index: u32,
    next_socket: u64,
    seed: u64,
    effects: Vec<Effect>,
}

impl Speaker {
    /// A router that begins to be what `desired` says.
    #[must_use]
    pub fn new(desired: Desired, settings: &SpeakerSettings, now: Instant) -> Self {
        Self::restarted(desired, settings, &BTreeMap::new(), now)
    }

    /// A router that was one before: `peers` are those that [kept its routes](Speaker::kept_by_peers) then. It selects
    /// routes when they have sent theirs (RFC 4724 §4.1).
    #[must_use]
    pub fn restarted(
        desired: Desired,
        settings: &SpeakerSettings,
        peers: &BTreeMap<IpAddr, Vec<Family>>,
        now: Instant,
    ) -> Self {
        let interner = Arc::new(Interner::new(settings.seed));
        // A policy that names what does not exist was to be refused before; it is left out.
        let library = Library::new(Arc::clone(&interner));
        let library = Arc::new(library.clone().with(&desired.policies).unwrap_or(library));
        let mut fabric = Fabric::new(&desired, settings, &interner, now);
        let expected = desired.expected_back(peers);
        fabric.deferral_until = (!expected.is_empty()).then(|| now + settings.selection_deferral);
        for worker in &mut fabric.partitions {
            expected.iter().for_each(|(family, peers)| worker.partition.defer(*family, peers));
        }
        let mut speaker = Self {
            interner,
            library,
            fabric,
            desired,
            controller: Controller::default(),
            peers: BTreeMap::new(),
            neighbors: BTreeMap::new(),
            sockets: BTreeMap::new(),
            parked: BTreeSet::new(),
            free_indices: Vec::new(),
            next_index: 0,
            next_socket: 0,
            seed: settings.seed,
            effects: Vec::new(),
        };
        speaker.start(now);
        speaker
    }

    /// A connection to this speaker has come in. `None`: nobody is expected from there, it is refused.
    pub fn accept(&mut self, remote: IpAddr, local: LocalAddresses, now: Instant) -> Option<Socket> {
        let peer = *self.neighbors.get(&remote)?;
        let socket = self.next_socket(peer);
        self.arrive(peer, Arrival::Accepted { socket, local }, now);
        Some(socket)
    }

    /// A connection that was asked for is there.
    pub fn connected(&mut self, socket: Socket, local: LocalAddresses, now: Instant) {
        if let Some(&peer) = self.sockets.get(&socket) {
            self.arrive(peer, Arrival::Connected { socket, local }, now);
        }
    }

    /// A connection that was asked for cannot be had.
    pub fn connect_failed(&mut self, socket: Socket, error: String, now: Instant) {
        if let Some(peer) = self.sockets.remove(&socket) {
            self.arrive(peer, Arrival::ConnectFailed { socket, error }, now);
        }
    }

    /// Octets came in. What comes on a connection that is closed already is dropped.
    pub fn received(&mut self, socket: Socket, octets: Bytes, now: Instant) {
        if let Some(&peer) = self.sockets.get(&socket) {
            self.arrive(peer, Arrival::Octets { socket, octets }, now);
        }
    }

    /// The other end of a connection is gone; with the error if it was not an orderly close.
    pub fn closed(&mut self, socket: Socket, error: Option<String>, now: Instant) {
        if let Some(peer) = self.sockets.remove(&socket) {
            self.arrive(peer, Arrival::Closed { socket, error }, now);
        }
    }

    /// Whether octets are read from a connection now; if not, they are to wait where they are.
    #[must_use]
    pub fn reads(&self, socket: Socket) -> bool {
        self.sockets.get(&socket).is_none_or(|peer| !self.parked.contains(peer))
    }

    /// Takes what is to be sent over a connection, at most `room` octets.
    pub fn write(&mut self, socket: Socket, room: usize, now: Instant) -> Vec<Bytes> {
        let Some(queue) = self.fabric.queues.get_mut(&socket) else { return Vec::new() };
        let (written, drained) = queue.write(room, now);
        if drained && let Some(&peer) = self.sockets.get(&socket) {
            self.arrive(peer, Arrival::Drained, now);
        }
        written
    }

    /// Connections over which something is to be sent.
    pub fn unsent(&self) -> impl Iterator<Item = Socket> + '_ {
        self.fabric.queues.iter().filter(|(_, queue)| !queue.is_empty()).map(|(socket, _)| *socket)
    }

    /// What is to be done outside, in order.
    pub fn take_effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    /// When [`Speaker::tick`] is due.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        let sessions = self.peers.values().filter_map(|peer| peer.session.next_deadline());
        let deferral = self.fabric.deferral_until.filter(|_| self.fabric.is_deferring());
        sessions.chain(self.fabric.queues.values().filter_map(OutQueue::deadline)).chain(deferral).min()
    }

    /// Deadlines have passed.
    pub fn tick(&mut self, now: Instant) {
        if self.fabric.deferral_until.take_if(|until| *until <= now).is_some() {
            self.fabric.control_all(&RibControl::EndDeferral);
        }
        self.fabric.partitions.iter_mut().for_each(|worker| worker.partition.release());
        self.fabric.groups.iter_mut().for_each(GroupWorker::release);
        self.interner.release();
        let due = |peer: &&Peer| peer.session.next_deadline().is_some_and(|at| at <= now);
        let due: Vec<_> = self.peers.values().filter(due).map(|peer| peer.index).collect();
        due.into_iter().for_each(|peer| self.tick_peer(peer, now));
        let queues = self.fabric.queues.iter();
        let stalled = queues.filter(|(_, queue)| queue.deadline().is_some_and(|at| at <= now));
        let stalled: Vec<_> = stalled.map(|(socket, _)| *socket).collect();
        for socket in stalled {
            self.fabric.queues.remove(&socket);
            if let Some(&peer) = self.sockets.get(&socket) {
                self.arrive(peer, Arrival::SendHoldExpired { socket }, now);
            }
        }
    }

    /// Stages that can go on now, in a fixed order.
    #[must_use]
    pub fn ready(&self) -> Vec<Stage> {
        let peers = self.parked.iter().filter(|peer| self.peers[peer].can_go_on(&self.fabric));
        let mut ready: Vec<_> = peers.map(|peer| Stage::Peer(*peer)).collect();
        if self.controller.is_ready(&self.fabric) {
            ready.push(Stage::Controller);
        }
        let count = self.fabric.partitions.len();
        ready.extend((0..count).filter(|at| self.fabric.partition_is_ready(*at)).map(Stage::Partition));
        let has_work = |at: &usize| self.fabric.groups[*at].has_work();
        ready.extend((0..count).filter(has_work).map(Stage::Group));
        ready
    }

    /// Lets a stage do one thing.
    pub fn step(&mut self, stage: Stage, now: Instant) {
        match stage {
            Stage::Peer(peer) => self.advance(peer, now),
            Stage::Controller => self.control(),
            Stage::Partition(at) => self.fabric.step_partition(at, now),
            Stage::Group(at) => {
                self.fabric.step_group(at);
                self.note_settled();
            }
        }
    }

    /// Lets all stages go on, in turn, until none is ready.
    pub fn settle(&mut self, now: Instant) {
        loop {
            let ready = self.ready();
            if ready.is_empty() {
                return;
            }
            ready.into_iter().for_each(|stage| self.step(stage, now));
        }
    }

    fn next_socket(&mut self, peer: PeerIndex) -> Socket {
        self.next_socket += 1;
        let socket = Socket(self.next_socket);
        self.sockets.insert(socket, peer);
        socket
    }

    /// The next jitter seed.
    fn next_seed(&mut self) -> u64 {
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.seed
    }
}

impl Fabric {
    fn new(desired: &Desired, settings: &SpeakerSettings, interner: &Arc<Interner>, now: Instant) -> Self {
        let workers = settings.workers.max(1);
        let partition = |index| PartitionSettings {
            index,
            seed: settings.seed.wrapping_add(index as u64),
            router_id: desired.global.router_id,
            decision: decision::Options { always_compare_med: desired.global.always_compare_med },
        };
        Self {
            limits: settings.limits,
            partitions: (0..workers).map(|index| PartitionWorker::new(partition(index), interner)).collect(),
            groups: (0..workers).map(|_| GroupWorker::default()).collect(),
            queues: BTreeMap::new(),
            settled: Vec::new(),
            started: now,
            deferral_until: None,
            #[cfg(feature = "sabotage")]
            sabotage: None,
        }
    }
}
