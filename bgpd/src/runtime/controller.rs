//! The controller: the one task that knows which neighbors, update groups and originated routes there should be.
//!
//! It takes commands from the API, events from drivers and connections from addresses that have no neighbor yet. It
//! never waits for a driver; to partitions and groups it sends control messages, which never block.

mod commands;
mod declare;
mod documents;
mod drain;
mod groups;
mod guard;
mod limits;
mod neighbors;
mod originate;
mod owners;
mod policies;
mod preview;
mod resets;
mod steps;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bgp_engine::config::cluster::{DeclaredClusters, DeclaredNodes, SessionGuard};
use bgp_engine::config::owners::{OwnerName, Owners};
use bgp_engine::config::{Desired, Keys, Neighbor};
use bgp_engine::id::{GroupIndex, PeerIndex};
use bgp_engine::session::State;
use bgp_engine::stage::Alarm;
use ipnet::IpNet;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;
use tracing::{error, warn};

pub(super) use self::documents::Running;
use self::groups::Groups;
use super::document::{Documents, Written};
use super::fabric::Fabric;
use super::handle::Command;
use super::reads::Directory;
use super::restart::Recorder;
use super::rib_worker::RibControl;
use super::state::StateFile;
use crate::config::{Declarations, OnTerminate};
use crate::peer::admission::Admitted;
use crate::peer::listener::{self, Doors, STRANGER_QUEUE};
use crate::peer::{NeighborCell, PeerCommand, PeerEvent, PeerEventKind, sleep_to};

/// The pause of a peer whose OPEN says that it has restarted. Before it is over the peer is not told the End-of-RIB: FRR
/// selects routes when the marker comes, also those whose next hops it has not looked up yet, and takes its kernel routes
/// out for a moment. And before it is over, a speaker that has restarted itself waits for the peer's: FRR says for two
/// minutes after every start that it has restarted, and sends its routes more than a second after the session is up.
const RESTARTED_PEER_PAUSE: Duration = Duration::from_secs(2);

/// One neighbor, configured or dynamic.
struct Entry {
    cell: Arc<NeighborCell>,
    neighbor: Arc<Neighbor>,
    /// What it may announce as a node of a cluster.
    guard: Option<SessionGuard>,
    commands: mpsc::UnboundedSender<Box<PeerCommand>>,
    /// The range that let it in.
    dynamic: Option<IpNet>,
}

impl Entry {
    fn is_established(&self) -> bool {
        self.cell.view().state == State::Established
    }
}

/// An open listening socket and the task that accepts on it.
struct Listening {
    socket: Arc<TcpListener>,
    task: JoinHandle<()>,
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The speaker's own restart: until when route selection may be put off (RFC 4724 §4.1), the peers to be remembered for
/// the next one, and the owners that have not declared their routes again, with until when they are waited for.
pub(super) struct Deferral {
    pub(super) until: Option<Instant>,
    pub(super) recorder: Recorder,
    pub(super) returning: BTreeSet<OwnerName>,
    pub(super) owners_until: Option<Instant>,
}

pub(super) struct Controller {
    /// What runs: the document and what was declared.
    desired: Desired,
    base: Running,
    /// What the API has said of neighbors.
    declarations: Declarations,
    owners: Owners,
    signals: owners::Signals,
    /// Nodes that were declared, by cluster.
    nodes: BTreeMap<String, DeclaredNodes>,
    /// Clusters that were defined through the API.
    clusters: DeclaredClusters,
    state: StateFile,
    /// Changes of the desired state since the start.
    changes: u64,
    started: SystemTime,
    fabric: Arc<Fabric>,
    doors: Doors,
    /// Connections refused because a dynamic range had its limit of neighbors.
    refused_range: u64,
    listeners: BTreeMap<SocketAddr, Listening>,
    strangers: mpsc::Sender<(Admitted, SocketAddr)>,
    stranger_receiver: mpsc::Receiver<(Admitted, SocketAddr)>,
    directory: Arc<Directory>,
    neighbors: BTreeMap<IpAddr, Entry>,
    groups: Groups,
    deferral: Deferral,
    events: mpsc::UnboundedSender<PeerEvent>,
    event_receiver: mpsc::UnboundedReceiver<PeerEvent>,
    /// Of peers that are gone. The lowest is used first, because arrays are as long as the highest in use.
    free_indices: BTreeSet<PeerIndex>,
    next_index: u32,
    /// Drivers that have not ended yet.
    running: usize,
    /// Whoever has routes counted for a diff: one at a time.
    counting: Arc<Semaphore>,
}

impl Controller {
    pub(super) fn new(
        desired: Desired,
        fabric: Arc<Fabric>,
        listeners: Vec<(SocketAddr, Arc<TcpListener>)>,
        directory: Arc<Directory>,
        deferral: Deferral,
    ) -> Self {
        let (events, event_receiver) = mpsc::unbounded_channel();
        let (strangers, stranger_receiver) = mpsc::channel(STRANGER_QUEUE);
        let mut controller = Self {
            refused_range: 0,
            base: Running::new(
                Written { desired: desired.clone(), text: Arc::default(), name: String::new() },
                Documents::nowhere(),
            ),
            declarations: Declarations::default(),
            desired,
            owners: Owners::default(),
            signals: owners::Signals::new(),
            nodes: BTreeMap::new(),
            clusters: DeclaredClusters::default(),
            state: StateFile::default(),
            changes: 0,
            started: SystemTime::now(),
            groups: Groups::new(Arc::clone(&fabric)),
            fabric,
            doors: Doors::default(),
            listeners: BTreeMap::new(),
            strangers,
            stranger_receiver,
            directory,
            neighbors: BTreeMap::new(),
            deferral,
            events,
            event_receiver,
            free_indices: BTreeSet::new(),
            next_index: 0,
            running: 0,
            counting: Arc::new(Semaphore::new(1)),
        };
        for (address, socket) in listeners {
            controller.add_listener(address, socket);
        }
        controller
    }

    fn add_listener(&mut self, address: SocketAddr, socket: Arc<TcpListener>) {
        let admission = self.fabric.admission.clone();
        let accepting = listener::run(Arc::clone(&socket), self.doors.clone(), admission, self.strangers.clone());
        self.listeners.insert(address, Listening { socket, task: tokio::spawn(accepting) });
    }

    /// Runs until told to shut down, or until nobody can tell it anything any more.
    pub(super) async fn run(
        mut self,
        mut commands: mpsc::Receiver<Command>,
        mut alarms: mpsc::UnboundedReceiver<Alarm>,
        mut settled: mpsc::UnboundedReceiver<(PeerIndex, GroupIndex)>,
    ) {
        self.start().await;
        let mut validation = self.fabric.rpki.validation();
        let stopped = loop {
            let (deferral, owners_until) = (self.deferral.until, self.deferral.owners_until);
            tokio::select! {
                Some(event) = self.event_receiver.recv() => self.event(event),
                Some(alarm) = alarms.recv() => self.alarm(alarm),
                Some((member, group)) = settled.recv() => self.settled(member, group),
                () = sleep_to(deferral) => self.end_deferral(),
                () = sleep_to(owners_until) => self.give_owners_up().await,
                command = commands.recv() => match command {
                    Some(Command::Shutdown(how, done)) => break Some((how, done)),
                    Some(command) => self.command(command).await,
                    None => break None,
                },
                Some((stream, remote)) = self.stranger_receiver.recv() => self.stranger(stream, remote),
                Ok(()) = validation.changed() => self.validate_again(),
                () = sleep_to(self.owners.next_deadline()) => self.expire_owners().await,
                () = sleep_to(self.base.deadline()) => self.not_confirmed().await,
            }
        };
        let how = stopped.as_ref().map_or(OnTerminate::Stop, |(how, _)| *how);
        self.shut_down(how).await;
        if let Some((_, done)) = stopped {
            // Whoever asked may have lost patience.
            let _ = done.send(());
        }
    }

    /// Brings up what the configuration says.
    async fn start(&mut self) {
        let desired = self.desired.clone();
        self.directory.set_guard(Arc::new(desired.guard.clone()));
        self.fabric.rpki.set_caches(desired.caches.clone());
        let routes = desired.originate.clone();
        self.originate(routes.iter().map(|(prefix, route)| (*prefix, Some(route)))).await;
        self.note_owners(routes.keys());
        for range in desired.dynamic.values() {
            self.set_range_keys(range.prefix, &Keys::default(), &range.settings.keys());
        }
        for neighbor in desired.neighbors.into_values() {
            if let Err(error) = self.add_entry(neighbor, None) {
                error!(%error, "neighbor not started");
            }
        }
        self.note_sources();
    }

    fn event(&mut self, event: PeerEvent) {
        let PeerEvent { cell, kind } = event;
        // A neighbor that was deleted and added again has another cell; its old driver only has its end left to tell.
        let current = self.neighbors.get_mut(&cell.address).filter(|entry| Arc::ptr_eq(&entry.cell, &cell));
        match (kind, current) {
            (PeerEventKind::Ended, current) => {
                let gone = current.is_some();
                self.ended(&cell, gone);
            }
            (PeerEventKind::Established { negotiated, local, queue }, Some(entry)) => {
                self.deferral.recorder.set(cell.address, negotiated.kept_by_peer());
                let joined = self.groups.join(entry, &self.desired.global, &negotiated, local, &queue);
                if entry.neighbor.settings.is_shutting_down(&self.desired.global) {
                    self.groups.shut_down(cell.index, &joined, true);
                }
                cell.replace_memberships(joined);
                self.directory.announce(&cell);
                if negotiated.peer_restarted() {
                    self.pause(cell);
                }
            }
            (PeerEventKind::PauseOver, Some(_)) => {
                self.groups.release_end(cell.index, &cell.memberships());
                if self.fabric.restart.state().restarting {
                    self.fabric.control_all(|| RibControl::Excuse(cell.address));
                }
            }
            (PeerEventKind::Down, Some(_)) => {
                self.deferral.recorder.set(cell.address, Vec::new());
                self.groups.leave(cell.index, &cell.replace_memberships(Vec::new()));
                self.directory.announce(&cell);
            }
            (PeerEventKind::RefreshOut { refresh, end }, Some(_)) => {
                self.groups.refresh(cell.index, &cell.memberships(), Some(refresh.family), |_| end.clone());
            }
            (PeerEventKind::Drained, Some(_)) => self.groups.drained(cell.index, &cell.memberships()),
            (PeerEventKind::State, Some(_)) => self.directory.announce(&cell),
            (_, None) => {}
        }
    }

    /// Begins the pause of a peer that has restarted.
    fn pause(&self, cell: Arc<NeighborCell>) {
        let events = self.events.clone();
        tokio::spawn(async move {
            tokio::time::sleep(RESTARTED_PEER_PAUSE).await;
            // Without a controller the daemon is stopping.
            let _ = events.send(PeerEvent { cell, kind: PeerEventKind::PauseOver });
        });
    }

    /// Route selection has waited long enough.
    fn end_deferral(&mut self) {
        self.deferral.until = None;
        let neighbors = &self.neighbors;
        let is_up = |peer: &IpAddr| neighbors.get(peer).is_some_and(Entry::is_established);
        let missing = self.deferral.recorder.keep_only(is_up);
        if self.fabric.restart.state().restarting {
            warn!(?missing, "route selection has waited long enough for the routes of the peers from before");
            self.fabric.control_all(|| RibControl::EndDeferral);
        }
    }

    fn entry_of(&self, peer: PeerIndex) -> Option<&Entry> {
        self.neighbors.values().find(|entry| entry.cell.index == peer)
    }

    /// A peer's budget has come to something: its driver decides.
    fn alarm(&self, alarm: Alarm) {
        if let Some(entry) = self.entry_of(alarm.peer) {
            // A driver that has ended has no session that could be told.
            let _ = entry.commands.send(Box::new(PeerCommand::Alarm(alarm)));
        }
    }

    /// A driver has ended: its index is free again, because its PeerDown fence stands in every partition's queue.
    fn ended(&mut self, cell: &Arc<NeighborCell>, current: bool) {
        self.running -= 1;
        self.free_indices.insert(cell.index);
        if current && let Some(entry) = self.neighbors.remove(&cell.address) {
            self.groups.leave(cell.index, &entry.cell.replace_memberships(Vec::new()));
            self.forget(cell.address);
        }
    }

    fn forget(&mut self, address: IpAddr) {
        self.doors.close(address);
        self.directory.remove(address);
    }

    fn take_index(&mut self) -> PeerIndex {
        self.free_indices.pop_first().unwrap_or_else(|| {
            self.next_index += 1;
            PeerIndex(self.next_index - 1)
        })
    }
}
