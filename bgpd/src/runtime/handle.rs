//! The management door: what the API, signals and tests ask of a running speaker.
//!
//! A [`Handle`] only sends messages; the answer comes from the controller (configuration, neighbors) or from the
//! partition threads (routes). At most one control message per caller is under way, so control never blocks routing.

mod policies;
mod watched;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use bgp_engine::attr::{AttrRef, Interner};
use bgp_engine::config::cluster::{ClusterChange, DeclaredNodes};
use bgp_engine::config::owners::{OwnerName, OwnerView, Routes};
use bgp_engine::config::{Desired, Originate};
use bgp_engine::policy::{AsPathPattern, CommunitySet, Library, Provenance, RpkiState};
use bgp_engine::rpki::VrpTable;
use bgp_engine::session::State;
use bgp_wire::Family;
use ipnet::IpNet;
use tokio::sync::{mpsc, oneshot, watch};

pub use self::policies::DeclaredPolicies;
pub use self::watched::{NeighborEvent, NeighborWatch, RouteEvent, RouteWatch, WatchedNeighbors, WatchedRoutes};
pub use super::change_log::{NotARevision, Revision};
use super::document::Written;
pub use super::document::{Changes, Shown, Terms};
use super::reads::Reads;
pub use super::reads::{OriginCounts, Place};
use super::status::{NeighborStatus, StageQueue, Status};
use crate::config::{Declared, OnTerminate};
use crate::observe::Latencies;
use crate::rpki::CacheStatus;

/// Why a command was not carried out. Nothing has changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    /// There is no such thing.
    #[error("{what} does not exist")]
    NotFound {
        /// The thing, by kind and name.
        what: String,
    },
    /// It is there already.
    #[error("{what} exists already")]
    AlreadyExists {
        /// The thing, by kind and name.
        what: String,
    },
    /// A value is not acceptable.
    #[error("{field}: {reason}")]
    Invalid {
        /// The field, as the API names it.
        field: String,
        /// What is wrong and what would be right.
        reason: String,
    },
    /// Somebody else is in the place of whoever asks.
    #[error("{0}")]
    Superseded(String),
    /// It is somebody else's.
    #[error("{0}")]
    Conflict(String),
    /// It would be over a bound.
    #[error("{0}")]
    Exhausted(String),
    /// The daemon is stopping, or a part of it is not answering.
    #[error("{0}")]
    Unavailable(String),
}

/// How to reset a neighbor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResetKind {
    /// End the session with Cease / Administrative Reset and start it again (RFC 4486).
    Hard,
    /// Ask the peer to send its routes again (RFC 2918).
    SoftIn,
    /// Send all routes to the peer again.
    SoftOut,
    /// Both soft resets.
    Soft,
}

/// Which routes to list. Empty fields do not filter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RouteFilter {
    /// Only these families.
    pub families: Vec<Family>,
    /// Only this prefix; with `longer` also those inside it.
    pub prefix: Option<IpNet>,
    /// Also prefixes that `prefix` covers.
    pub longer: bool,
    /// Instead of `prefix` itself, the longest prefix that covers it.
    pub covering: bool,
    /// Only what this neighbor sent (Adj-RIB-In).
    pub from: Option<IpAddr>,
    /// Only what this neighbor was sent (Adj-RIB-Out).
    pub to: Option<IpAddr>,
    /// Only best paths (Loc-RIB).
    pub best_only: bool,
    /// Only routes whose origin is in this state.
    pub validation: Option<RpkiState>,
    /// Only routes that have one of each of these communities.
    pub communities: CommunitySet,
    /// Only routes whose AS path matches.
    pub as_path: Option<AsPathPattern>,
    /// With `best_only`, also the paths that are as good as the best one.
    pub multipath: bool,
    /// Where to begin.
    pub start: Place,
    /// Most routes, but for those of the last destination.
    pub size: Option<usize>,
}

/// Which neighbors to list or watch. Empty fields do not filter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NeighborFilter {
    /// Only those whose session is in this state; `Some(None)`: in any but Established.
    pub state: Option<Option<State>>,
    /// Only those of this peer group.
    pub peer_group: Option<String>,
    /// Only those of this AS.
    pub asn: Option<u32>,
}

impl NeighborFilter {
    /// Whether a neighbor matches.
    pub(super) fn holds(&self, status: &NeighborStatus) -> bool {
        let in_state = |wanted: Option<State>| match wanted {
            Some(state) => status.state == state,
            None => status.state != State::Established,
        };
        self.state.is_none_or(in_state)
            && self.peer_group.as_ref().is_none_or(|group| status.peer_group.as_ref() == Some(group))
            && self.asn.is_none_or(|asn| status.asn == asn)
    }
}

/// One path, for people and programs.
#[derive(Debug, Clone)]
pub struct RouteRecord {
    /// The family.
    pub family: Family,
    /// The destination.
    pub prefix: IpNet,
    /// Path identifier received (RFC 7911), 0 without ADD-PATH.
    pub path_id: u32,
    /// The neighbor it came from; `None` for a route originated here.
    pub from: Option<IpAddr>,
    /// That neighbor's BGP identifier.
    pub from_router_id: Ipv4Addr,
    /// Its path attributes and next hop.
    pub attrs: AttrRef,
    /// It is the best path.
    pub best: bool,
    /// Age in seconds; `None` in a watch, where the change itself is the news.
    pub age_seconds: Option<u32>,
    /// Of the best path: the rule that decided, in words.
    pub reason: Option<String>,
    /// Why it cannot be used, in words.
    pub rejected: Option<String>,
    /// It is of a session that has ended (RFC 4724 §4.2).
    pub stale: bool,
    /// Interface of the session, where the next hop is link-local.
    pub interface: Option<String>,
    /// Who originates it here.
    pub owner: Option<OwnerName>,
    /// What the RPKI says of its origin (RFC 6811); `None` where no cache is configured.
    pub validation: Option<RpkiState>,
}

/// Why the best path of a prefix is best, and who is told.
#[derive(Debug, Clone)]
pub struct Explanation {
    /// The destination.
    pub prefix: IpNet,
    /// Every path to it, the best one first.
    pub candidates: Vec<Candidate>,
    /// What each Established neighbor of the family is told.
    pub exports: Vec<ExportVerdict>,
}

/// A path and what the decision process made of it.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// The path.
    pub route: RouteRecord,
    /// `best: …`, `loses to …: …` or `not usable: …`.
    pub verdict: String,
    /// What it was before its import policy.
    pub received: AttrRef,
    /// What policies know of it besides.
    pub provenance: Provenance,
    /// Why no import policy is asked about it, in words.
    pub refused: Option<String>,
}

/// Whether a neighbor is told of the best path.
#[derive(Debug, Clone)]
pub struct ExportVerdict {
    /// The neighbor.
    pub to: IpAddr,
    /// It is told.
    pub advertised: bool,
    /// The rule that decided, in words.
    pub why: String,
}

/// A part of a listing.
#[derive(Debug, Clone, Default)]
pub struct RoutePage {
    /// Routes that match.
    pub routes: Vec<RouteRecord>,
    /// The page ends here and another one begins at this place.
    pub next: Option<Place>,
}

/// What a stream of an owner must know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OwnerSignal {
    /// Another owner took one of its prefixes, or let one go.
    Concerned,
    /// Another stream speaks for the owner.
    TakenOver,
    /// The lease has run out.
    Expired,
}

/// What became of an owner's declaration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// Routes that are originated for the owner.
    pub announced: usize,
    /// Routes of the set that are new or have other attributes.
    pub changed: usize,
    /// Routes that are not in the set any more.
    pub withdrawn: usize,
    /// Prefixes that another owner has.
    pub waiting: Vec<(IpNet, OwnerName)>,
}

/// What the controller is asked to do.
pub(crate) enum Command {
    Status(oneshot::Sender<Status>),
    Desired(oneshot::Sender<Arc<Desired>>),
    Apply(Box<Written>, Terms, Reply<Changes>),
    Confirm(Reply<()>),
    RollBack(Reply<Changes>),
    AddNeighbor(IpAddr, Declared, Reply<()>),
    UpdateNeighbor(IpAddr, Declared, Vec<String>, Reply<()>),
    DeleteNeighbor(IpAddr, OwnerName, Reply<()>),
    Enable(IpAddr, Reply<()>),
    Disable(IpAddr, String, Reply<()>),
    Drain(Option<IpAddr>, bool, Reply<()>),
    Reset(IpAddr, ResetKind, Reply<()>),
    Announce(Box<Originate>, Reply<()>),
    Withdraw(IpNet, Reply<()>),
    OpenOwner(OwnerName, Duration, watch::Sender<OwnerSignal>, Reply<u64>),
    ApplyRoutes {
        owner: OwnerName,
        stream: u64,
        lease: Option<Duration>,
        routes: Option<Routes>,
        reply: Reply<Applied>,
    },
    OwnerState(OwnerName, u64, Reply<Applied>),
    CloseOwner(OwnerName, u64),
    SetNodes(String, DeclaredNodes, Reply<()>),
    ChangeClusters(OwnerName, ClusterChange, Reply<()>),
    DeclarePolicies(OwnerName, Option<String>, Reply<Changes>),
    Policies(oneshot::Sender<Vec<DeclaredPolicies>>),
    Owners(oneshot::Sender<Vec<OwnerView>>),
    Plan(Box<Desired>, Reply<Changes>),
    Show(Reply<Shown>),
    Shutdown(OnTerminate, oneshot::Sender<()>),
}

pub(crate) type Reply<T> = oneshot::Sender<Result<T, ControlError>>;

/// The door to a running speaker. Cheap to clone.
#[derive(Clone)]
pub struct Handle {
    commands: mpsc::Sender<Command>,
    reads: Reads,
}

impl Handle {
    pub(crate) fn new(commands: mpsc::Sender<Command>, reads: Reads) -> Self {
        Self { commands, reads }
    }

    /// All neighbors, configured and dynamic, sorted by address.
    pub async fn neighbors(&self) -> Vec<NeighborStatus> {
        self.reads.neighbors(&NeighborFilter::default(), None, usize::MAX).await.0
    }

    /// Neighbors sorted by address: those behind `after`, and so many at most. And whether there are more.
    pub async fn neighbors_page(
        &self,
        filter: &NeighborFilter,
        after: Option<IpAddr>,
        most: usize,
    ) -> (Vec<NeighborStatus>, bool) {
        self.reads.neighbors(filter, after, most).await
    }

    /// One neighbor.
    pub async fn neighbor(&self, address: IpAddr) -> Option<NeighborStatus> {
        self.reads.neighbor(address).await
    }

    /// The speaker as a whole.
    pub async fn status(&self) -> Result<Status, ControlError> {
        let mut status = self.ask_plain(Command::Status).await?;
        let (tables, attribute_sets) = self.reads.tables().await;
        status.tables = tables;
        status.attribute_sets = attribute_sets;
        status.awaited = self.reads.awaited().await;
        if status.awaited.is_empty() {
            status.selection_deferral_seconds = 0;
        }
        Ok(status)
    }

    /// What waits for the partitions, and for the groups.
    pub(crate) fn queues(&self) -> [StageQueue; 2] {
        self.reads.queues()
    }

    /// What is measured on the way of a route.
    pub(crate) fn latencies(&self) -> &Latencies {
        self.reads.latencies()
    }

    /// The policies that names stand for now.
    pub(crate) fn library(&self) -> Arc<Library> {
        self.reads.library()
    }

    /// Where attribute sets exist once.
    pub(crate) fn interner(&self) -> Arc<Interner> {
        self.reads.interner()
    }

    /// The state that is running now.
    pub async fn desired(&self) -> Result<Arc<Desired>, ControlError> {
        self.ask_plain(Command::Desired).await
    }

    /// Makes a document what runs; the steps that were taken.
    ///
    /// # Errors
    /// When a step cannot be taken; then none is. `Superseded` when the revision is another one, or a document waits for
    /// its confirmation.
    pub async fn apply(&self, document: Written, terms: Terms) -> Result<Changes, ControlError> {
        self.ask(|reply| Command::Apply(Box::new(document), terms, reply)).await
    }

    /// Keeps the document that waits for its confirmation.
    ///
    /// # Errors
    /// `Unavailable` when there is none.
    pub async fn confirm(&self) -> Result<(), ControlError> {
        self.ask(Command::Confirm).await
    }

    /// Goes back to the document from before the one that waits for its confirmation.
    ///
    /// # Errors
    /// `Unavailable` when there is none.
    pub async fn roll_back(&self) -> Result<Changes, ControlError> {
        self.ask(Command::RollBack).await
    }

    /// Adds a neighbor and starts its session.
    ///
    /// # Errors
    /// `AlreadyExists` when the address has a neighbor.
    pub async fn add_neighbor(&self, address: IpAddr, declared: Declared) -> Result<(), ControlError> {
        self.ask(|reply| Command::AddNeighbor(address, declared, reply)).await
    }

    /// Changes settings of a neighbor, and lets go of those in `clear`; the session is reset only if one of them needs
    /// it.
    ///
    /// # Errors
    /// `NotFound` when the address has no neighbor; `Unavailable` when it is another owner's.
    pub async fn update_neighbor(
        &self,
        address: IpAddr,
        declared: Declared,
        clear: Vec<String>,
    ) -> Result<(), ControlError> {
        self.ask(|reply| Command::UpdateNeighbor(address, declared, clear, reply)).await
    }

    /// Ends a neighbor's session with Cease / Peer De-configured (RFC 4486) and forgets it.
    ///
    /// # Errors
    /// `NotFound` when the address has no neighbor; `Unavailable` when it is the file's or another owner's.
    pub async fn delete_neighbor(&self, address: IpAddr, owner: OwnerName) -> Result<(), ControlError> {
        self.ask(|reply| Command::DeleteNeighbor(address, owner, reply)).await
    }

    /// Lets a disabled neighbor's session start.
    ///
    /// # Errors
    /// `NotFound` when the address has no neighbor.
    pub async fn enable(&self, address: IpAddr) -> Result<(), ControlError> {
        self.ask(|reply| Command::Enable(address, reply)).await
    }

    /// Ends a neighbor's session with Cease / Administrative Shutdown and `text` (RFC 9003), and keeps it down.
    ///
    /// # Errors
    /// `NotFound` when the address has no neighbor; `Invalid` when the text is over 255 octets.
    pub async fn disable(&self, address: IpAddr, text: String) -> Result<(), ControlError> {
        self.ask(|reply| Command::Disable(address, text, reply)).await
    }

    /// Begins (`on`) or ends the graceful shutdown of a neighbor, or of all: routes in both directions are marked as
    /// about to go and become the last choice, while the session stays (RFC 8326).
    ///
    /// # Errors
    /// `NotFound` when the address has no neighbor.
    pub async fn drain(&self, address: Option<IpAddr>, on: bool) -> Result<(), ControlError> {
        self.ask(|reply| Command::Drain(address, on, reply)).await
    }

    /// Resets a neighbor's session, or only the routes on it.
    ///
    /// # Errors
    /// `NotFound` when the address has no neighbor; `Unavailable` when a soft reset needs what the session lacks.
    pub async fn reset(&self, address: IpAddr, kind: ResetKind) -> Result<(), ControlError> {
        self.ask(|reply| Command::Reset(address, kind, reply)).await
    }

    /// What applying a document would do.
    ///
    /// # Errors
    /// When it could not be applied.
    pub async fn plan(&self, document: Desired) -> Result<Changes, ControlError> {
        self.ask(|reply| Command::Plan(Box::new(document), reply)).await
    }

    /// The document that runs, and what was declared besides.
    ///
    /// # Errors
    /// When it cannot be written.
    pub async fn show(&self) -> Result<Shown, ControlError> {
        self.ask(Command::Show).await
    }

    /// A stream begins to speak for an owner of routes; the signal says what it must know. Its number is for
    /// [`Handle::apply_routes`] and [`Handle::close_owner`].
    ///
    /// # Errors
    /// `Exhausted` when there are too many owners.
    pub async fn open_owner(
        &self,
        name: OwnerName,
        lease: Duration,
        signal: watch::Sender<OwnerSignal>,
    ) -> Result<u64, ControlError> {
        self.ask(|reply| Command::OpenOwner(name, lease, signal, reply)).await
    }

    /// A sign of life of an owner, and the whole set of its routes if it says so.
    ///
    /// # Errors
    /// `Superseded` when the stream does not speak for the owner any more; `Exhausted` when the set is too large.
    pub async fn apply_routes(
        &self,
        owner: OwnerName,
        stream: u64,
        lease: Option<Duration>,
        routes: Option<Routes>,
    ) -> Result<Applied, ControlError> {
        self.ask(|reply| Command::ApplyRoutes { owner, stream, lease, routes, reply }).await
    }

    /// What of an owner's declaration is in force. Not a sign of life.
    ///
    /// # Errors
    /// `Superseded` when the stream does not speak for the owner any more.
    pub async fn owner_state(&self, owner: OwnerName, stream: u64) -> Result<Applied, ControlError> {
        self.ask(|reply| Command::OwnerState(owner, stream, reply)).await
    }

    /// A stream of an owner has ended.
    pub async fn close_owner(&self, owner: OwnerName, stream: u64) {
        // A controller that has stopped has no owners.
        let _ = self.commands.send(Command::CloseOwner(owner, stream)).await;
    }

    /// Declares the nodes of a cluster, in place of those that were declared before.
    ///
    /// # Errors
    /// `NotFound` when there is no such cluster.
    pub async fn set_nodes(&self, cluster: String, nodes: DeclaredNodes) -> Result<(), ControlError> {
        self.ask(|reply| Command::SetNodes(cluster, nodes, reply)).await
    }

    /// Defines or deletes clusters of an owner.
    ///
    /// # Errors
    /// `Conflict` when a cluster is another owner's, `Invalid` when pod CIDRs overlap or a peer group does not exist,
    /// `NotFound` when there is none to delete, `Exhausted` when there would be too many.
    pub async fn change_clusters(&self, owner: OwnerName, change: ClusterChange) -> Result<(), ControlError> {
        self.ask(|reply| Command::ChangeClusters(owner, change, reply)).await
    }

    /// All owners of routes, sorted by name.
    pub async fn owners(&self) -> Result<Vec<OwnerView>, ControlError> {
        self.ask_plain(Command::Owners).await
    }

    /// Originates a route as `bgpctl`, or replaces the one that it has for the prefix.
    ///
    /// # Errors
    /// `AlreadyExists` when another owner has the prefix.
    pub async fn announce(&self, route: Originate) -> Result<(), ControlError> {
        self.ask(|reply| Command::Announce(Box::new(route), reply)).await
    }

    /// Ends the origination of a route of `bgpctl`.
    ///
    /// # Errors
    /// `NotFound` when it has none with the prefix.
    pub async fn withdraw(&self, prefix: IpNet) -> Result<(), ControlError> {
        self.ask(|reply| Command::Withdraw(prefix, reply)).await
    }

    /// Streams the routes that match, in slices. Dropping the receiver ends the walk.
    pub fn routes(&self, filter: RouteFilter) -> mpsc::Receiver<RoutePage> {
        self.reads.routes(filter)
    }

    /// How the caches of the RPKI are, by address.
    pub fn caches(&self) -> Arc<[CacheStatus]> {
        self.reads.caches()
    }

    /// The VRPs that count now; `None` where no cache is configured.
    pub fn vrps(&self) -> Option<Arc<VrpTable>> {
        self.reads.vrps()
    }

    /// How many paths have which state of their origin, as counted last; nothing where no cache is configured.
    pub fn origins(&self) -> BTreeMap<Family, OriginCounts> {
        self.reads.origins()
    }

    /// The longest prefix in the table that covers `prefix`, or is it; `None` when there is none.
    pub async fn longest_match(&self, prefix: IpNet) -> Option<IpNet> {
        self.reads.longest_match(prefix).await
    }

    /// Every path to a prefix and what was made of it.
    ///
    /// # Errors
    /// `NotFound` when there is no path; or when `to` is not a neighbor.
    pub async fn explain(&self, prefix: IpNet, to: Option<IpAddr>) -> Result<Explanation, ControlError> {
        self.reads.explain(prefix, to).await
    }

    /// The Loc-RIB, then its changes. Dropping the receiver ends the watch.
    pub fn watch_routes(&self, watch: RouteWatch) -> mpsc::Receiver<RouteEvent> {
        self.reads.watch_routes(watch)
    }

    /// Neighbors, then their changes; or only the changes since a revision. Dropping the receiver ends the watch.
    pub fn watch_neighbors(&self, watch: NeighborWatch) -> mpsc::Receiver<NeighborEvent> {
        self.reads.watch_neighbors(watch)
    }

    /// Ends every session; returns when the NOTIFICATIONs are out. `Stop` is Cease / Administrative Shutdown, as a Hard
    /// Reset where the peer would keep the routes otherwise (RFC 8538 §3); `Restart` is in whatever way lets peers with
    /// graceful restart keep them.
    pub async fn shutdown(&self, how: OnTerminate) {
        // An error means that the controller has stopped already: nothing is left to shut down.
        let _ = self.ask_plain(|done| Command::Shutdown(how, done)).await;
    }

    async fn ask<T>(&self, command: impl FnOnce(Reply<T>) -> Command) -> Result<T, ControlError> {
        self.ask_plain(command).await?
    }

    async fn ask_plain<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Result<T, ControlError> {
        let stopped = || ControlError::Unavailable("bgpd is stopping".to_owned());
        let (reply, answer) = oneshot::channel();
        self.commands.send(command(reply)).await.map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())
    }
}
