//! The log of the Loc-RIB, and its readers.
//!
//! The Loc-RIB of each family is watched through a group without export rules whose only member is the log: when
//! somebody begins to watch, a walk fills the group's column, and from then on every change is appended to the log,
//! in the order in which the partitions made them. Readers take the table in slices and then follow the log, each at
//! its own pace; nobody waits for them. The groups go a while after the last reader has gone, so that one that comes
//! back in time can go on where it was.

mod reader;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bgp_engine::attr::AttrRef;
use bgp_engine::export::ExportSpec;
use bgp_engine::id::{GroupIndex, PeerIndex};
use bgp_engine::stage::{AnyEmission, Cause, Emission, Member, Routed, Target};
use bgp_wire::Family;
use ipnet::IpNet;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{MissedTickBehavior, interval};

use super::change_log::{Bounds, ChangeLog, Weigh};
use super::fabric::Fabric;
use super::reads::{Directory, FAMILIES};
use super::rib_worker::RibControl;
pub(super) use reader::read;

/// Groups from here on are watched Loc-RIBs; update groups are numbered from zero.
const FIRST_GROUP: u32 = 1 << 31;
/// What the log remembers.
const BOUNDS: Bounds = Bounds { entries: 1 << 18, weight: 64 << 20 };
/// How long the log goes on without a reader.
const LINGER: Duration = Duration::from_secs(600);
/// How often readers are looked for.
const LOOK: Duration = Duration::from_secs(10);
/// The log as a member of its groups.
const MEMBER: Member = Member { peer: PeerIndex(0), incarnation: 0 };

/// A change of one prefix: the paths to it from now on, the best one first.
#[derive(Clone)]
pub(super) struct RouteChange {
    family: Family,
    prefix: IpNet,
    paths: Arc<[WatchedPath]>,
}

/// One of the best paths to a prefix.
#[derive(Clone)]
struct WatchedPath {
    attrs: AttrRef,
    from: Option<IpAddr>,
    from_router_id: Ipv4Addr,
}

pub(super) type RouteLog = ChangeLog<RouteChange>;

impl Weigh for RouteChange {
    fn weight(&self) -> usize {
        let of_path = |path: &WatchedPath| size_of::<WatchedPath>() + path.attrs.bytes().len();
        size_of::<Self>() + self.paths.iter().map(of_path).sum::<usize>()
    }
}

/// What the watch task is told by partitions, in order.
pub(crate) enum WatchMessage {
    /// A change.
    Emission(AnyEmission),
    /// All changes that the partition has made so far have been told.
    Mark(oneshot::Sender<()>),
}

/// Somebody wants the log, and gets it when it is complete.
pub(crate) type Subscribe = oneshot::Sender<Arc<RouteLog>>;

/// Whether emissions of a group go to the log rather than to peers.
pub(super) fn is_watched(group: GroupIndex) -> bool {
    group.0 >= FIRST_GROUP
}

/// The receiving ends of the watch task.
pub(super) struct Input {
    pub(super) data: mpsc::Receiver<WatchMessage>,
    pub(super) subscriptions: mpsc::Receiver<Subscribe>,
}

/// The log and the groups that it is a member of.
struct Watched {
    groups: Vec<GroupIndex>,
    log: Arc<RouteLog>,
    /// Parts of the first walk that are not complete: what changes meanwhile is not in the log.
    missing: BTreeSet<(GroupIndex, usize)>,
    waiting: Vec<Subscribe>,
    idle_since: Option<Instant>,
}

struct Task {
    fabric: Arc<Fabric>,
    directory: Arc<Directory>,
    watched: Option<Watched>,
    next_group: u32,
}

/// Keeps the log for ever.
pub(super) async fn run(input: Input, fabric: Arc<Fabric>, directory: Arc<Directory>) {
    let Input { mut data, mut subscriptions } = input;
    let mut task = Task { fabric, directory, watched: None, next_group: FIRST_GROUP };
    let mut tick = interval(LOOK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let watched = task.watched.is_some();
        tokio::select! {
            Some(message) = data.recv() => match message {
                WatchMessage::Emission(emission) => task.emission(&emission),
                // A reader that has gone does not wait for it.
                WatchMessage::Mark(reply) => drop(reply.send(())),
            },
            Some(request) = subscriptions.recv() => task.subscribe(request),
            _ = tick.tick(), if watched => task.look_around(Instant::now()),
            else => return,
        }
    }
}

impl Task {
    fn subscribe(&mut self, request: Subscribe) {
        let watched = self.watched.take().unwrap_or_else(|| self.start());
        let watched = self.watched.insert(watched);
        watched.idle_since = None;
        if watched.missing.is_empty() {
            // Whoever asked may have gone.
            let _ = request.send(Arc::clone(&watched.log));
        } else {
            watched.waiting.push(request);
        }
    }

    /// Has every change told from now on.
    fn start(&mut self) -> Watched {
        let mut watched = Watched {
            groups: Vec::new(),
            log: Arc::new(ChangeLog::new(BOUNDS)),
            missing: BTreeSet::new(),
            waiting: Vec::new(),
            idle_since: None,
        };
        for family in FAMILIES {
            let group = GroupIndex(self.next_group);
            self.next_group += 1;
            watched.groups.push(group);
            watched.missing.extend((0..self.fabric.partitions.len()).map(|partition| (group, partition)));
            self.fabric.control_all(|| RibControl::AddGroup { group, spec: ExportSpec::loc_rib(family) });
            self.fabric.control_all(|| RibControl::Join { group, member: MEMBER });
        }
        watched
    }

    fn emission(&mut self, emission: &AnyEmission) {
        let group = emission.group();
        let Some(watched) = self.watched.as_mut().filter(|watched| watched.groups.contains(&group)) else { return };
        match emission {
            AnyEmission::Ipv4Unicast(emission) => watched.take(emission, &self.fabric, &self.directory),
            AnyEmission::Ipv6Unicast(emission) => watched.take(emission, &self.fabric, &self.directory),
        }
    }

    /// Ends the log when nobody has read it for long.
    fn look_around(&mut self, now: Instant) {
        let Some(watched) = &mut self.watched else { return };
        watched.waiting.retain(|request| !request.is_closed());
        if Arc::strong_count(&watched.log) > 1 || !watched.waiting.is_empty() {
            watched.idle_since = None;
            return;
        }
        if now.duration_since(*watched.idle_since.get_or_insert(now)) >= LINGER {
            for &group in &watched.groups {
                self.fabric.control_all(|| RibControl::RemoveGroup { group });
            }
            self.watched = None;
        }
    }
}

impl Watched {
    fn take<N: Routed>(&mut self, emission: &Emission<N>, fabric: &Fabric, directory: &Directory) {
        if self.missing.is_empty() && matches!(emission.target, Target::All) {
            self.log.append(changes(emission, directory));
        }
        if emission.cause == Cause::WalkSlice {
            fabric.partitions[emission.partition].tell(RibControl::Credit { group: emission.group });
        }
        if emission.end_of_rib.contains(&MEMBER) {
            self.missing.remove(&(emission.group, emission.partition));
            if self.missing.is_empty() {
                for request in self.waiting.drain(..) {
                    let _ = request.send(Arc::clone(&self.log));
                }
            }
        }
    }
}

/// What an emission says, by prefix: of a prefix that has changed it says all paths.
fn changes<N: Routed>(emission: &Emission<N>, directory: &Directory) -> Vec<RouteChange> {
    let mut changes = Vec::new();
    for of_key in emission.changes.chunk_by(|one, other| one.key.key == other.key.key) {
        let mut told: Vec<_> = of_key.iter().filter(|change| change.new.is_some()).collect();
        // The best one has identifier 0.
        told.sort_unstable_by_key(|change| change.key.path_id);
        let paths = told.iter().filter_map(|change| {
            let (attrs, source) = change.new.as_ref()?;
            let from = directory.address_of(source.peer);
            Some(WatchedPath { attrs: attrs.clone(), from, from_router_id: source.router_id })
        });
        let prefix = N::prefix(&of_key[0].key.key);
        changes.push(RouteChange { family: N::FAMILY, prefix, paths: paths.collect() });
    }
    changes
}
