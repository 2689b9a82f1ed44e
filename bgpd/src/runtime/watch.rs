//! Watchers of the Loc-RIB, as members of groups of their own.
//!
//! The Loc-RIB of a family is watched through a group without export rules: a watcher that joins is served by a walk
//! (the snapshot) and then by live changes, by the very mechanism that serves peers, so that nothing overtakes. The
//! groups exist while somebody watches. A watcher has a bounded queue; one that is too far behind is told so and
//! dropped, and nobody waits for it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bgp_engine::export::ExportSpec;
use bgp_engine::id::{GroupIndex, PeerIndex};
use bgp_engine::stage::{AnyEmission, Cause, Member, Target};
use bgp_wire::Family;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};

use super::fabric::Fabric;
use super::handle::RouteEvent;
use super::reads::{Directory, Emitted, emitted};
use super::rib_worker::RibControl;

/// Groups from here on are watched Loc-RIBs; update groups are numbered from zero.
const FIRST_GROUP: u32 = 1 << 31;
/// Events that may wait for one watcher.
const QUEUE: usize = 256;
/// A snapshot goes on while the watcher has room for this many events.
const ROOM: usize = QUEUE / 2;
/// How often a watcher that had no room is looked at again.
const PATIENCE: Duration = Duration::from_millis(5);

/// A request to watch.
pub(crate) struct Subscribe {
    pub(crate) families: Vec<Family>,
    pub(crate) events: mpsc::Sender<RouteEvent>,
}

/// The queue of a new watcher.
pub(super) fn queue() -> (mpsc::Sender<RouteEvent>, mpsc::Receiver<RouteEvent>) {
    mpsc::channel(QUEUE)
}

/// Whether emissions of a group go to watchers rather than to peers.
pub(super) fn is_watched(group: GroupIndex) -> bool {
    group.0 >= FIRST_GROUP
}

/// The receiving ends of the watch task.
pub(super) struct Input {
    pub(super) data: mpsc::Receiver<AnyEmission>,
    pub(super) subscriptions: mpsc::Receiver<Subscribe>,
}

struct Watched {
    family: Family,
    watchers: BTreeMap<PeerIndex, Watcher>,
    /// Partitions whose walk waits until watchers have room.
    credits_due: Vec<usize>,
}

struct Watcher {
    events: mpsc::Sender<RouteEvent>,
    /// Partitions whose part of the snapshot is not complete.
    missing: BTreeSet<usize>,
    /// Families of the same subscription whose snapshot is not complete, this one included.
    open: Arc<std::sync::atomic::AtomicUsize>,
}

struct Task {
    fabric: Arc<Fabric>,
    directory: Arc<Directory>,
    groups: BTreeMap<GroupIndex, Watched>,
    next_group: u32,
    next_watcher: u32,
}

/// Serves watchers for ever.
pub(super) async fn run(input: Input, fabric: Arc<Fabric>, directory: Arc<Directory>) {
    let Input { mut data, mut subscriptions } = input;
    let mut task = Task { fabric, directory, groups: BTreeMap::new(), next_group: FIRST_GROUP, next_watcher: 0 };
    let mut tick = interval(PATIENCE);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let waiting = !task.groups.is_empty();
        tokio::select! {
            Some(emission) = data.recv() => task.emission(&emission),
            Some(request) = subscriptions.recv() => task.subscribe(&request),
            _ = tick.tick(), if waiting => task.look_around(),
            else => return,
        }
    }
}

impl Task {
    fn subscribe(&mut self, request: &Subscribe) {
        let member = Member { peer: PeerIndex(self.next_watcher), incarnation: 0 };
        self.next_watcher += 1;
        let open = Arc::new(std::sync::atomic::AtomicUsize::new(request.families.len()));
        for &family in &request.families {
            let group = self.group_of(family);
            let watcher = Watcher {
                events: request.events.clone(),
                missing: (0..self.fabric.partitions.len()).collect(),
                open: Arc::clone(&open),
            };
            if let Some(watched) = self.groups.get_mut(&group) {
                watched.watchers.insert(member.peer, watcher);
            }
            self.fabric.control_all(|| RibControl::Join { group, member });
        }
    }

    fn group_of(&mut self, family: Family) -> GroupIndex {
        if let Some((&group, _)) = self.groups.iter().find(|(_, watched)| watched.family == family) {
            return group;
        }
        let group = GroupIndex(self.next_group);
        self.next_group += 1;
        self.fabric.control_all(|| RibControl::AddGroup { group, spec: ExportSpec::loc_rib(family) });
        self.groups.insert(group, Watched { family, watchers: BTreeMap::new(), credits_due: Vec::new() });
        group
    }

    fn emission(&mut self, emission: &AnyEmission) {
        let group = emission.group();
        let Some(watched) = self.groups.get_mut(&group) else { return };
        let Emitted { partition, target, cause, end_of_rib, events } = emitted(emission, &self.directory);
        let of_target = |peer: &PeerIndex| match target {
            Target::All => true,
            Target::Members(members) => members.iter().any(|member| member.peer == *peer),
        };
        watched.watchers.retain(|peer, watcher| !of_target(peer) || watcher.send(&events));
        for member in end_of_rib {
            if let Some(watcher) = watched.watchers.get_mut(&member.peer) {
                watcher.complete(partition);
            }
        }
        if cause == Cause::WalkSlice {
            watched.credits_due.push(partition);
        }
        self.look_around();
    }

    /// Gives walks their credit where watchers have room, and forgets groups that nobody watches.
    fn look_around(&mut self) {
        let fabric = &self.fabric;
        self.groups.retain(|&group, watched| {
            watched.watchers.retain(|_, watcher| !watcher.events.is_closed());
            let has_room = watched.watchers.values().all(|w| w.missing.is_empty() || w.events.capacity() >= ROOM);
            for partition in if has_room { std::mem::take(&mut watched.credits_due) } else { Vec::new() } {
                // A partition ends only with the daemon.
                let _ = fabric.partitions[partition].control.send(RibControl::Credit { group });
            }
            if watched.watchers.is_empty() {
                fabric.control_all(|| RibControl::RemoveGroup { group });
            }
            !watched.watchers.is_empty()
        });
    }
}

impl Watcher {
    /// False when the watcher is gone or too slow.
    fn send(&self, events: &[RouteEvent]) -> bool {
        // One place is kept for `Lagged`.
        if self.events.capacity() <= events.len() {
            // The watcher may be gone, which is what it would be told.
            let _ = self.events.try_send(RouteEvent::Lagged);
            return false;
        }
        events.iter().all(|event| self.events.try_send(event.clone()).is_ok())
    }

    fn complete(&mut self, partition: usize) {
        use std::sync::atomic::Ordering;
        let last = self.missing.remove(&partition) && self.missing.is_empty();
        if last && self.open.fetch_sub(1, Ordering::AcqRel) == 1 {
            // A watcher without room for this event has been dropped before.
            let _ = self.events.try_send(RouteEvent::SnapshotEnd);
        }
    }
}
