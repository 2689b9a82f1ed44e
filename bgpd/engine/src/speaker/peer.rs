//! The driver of one neighbor: bytes, time and commands in, the session's actions out, routes to the partitions.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Instant;

use bgp_wire::frame::{self, MessageType};
use bgp_wire::route_refresh::{RefreshSubtype, RouteRefresh};
use bgp_wire::{Family, Notification};
use bytes::{Buf, Bytes, BytesMut};

use super::controller::PeerEvent;
use super::establish::Established;
use super::outlet::OutQueue;
use super::partitions::RibMessage;
use super::{Effect, Fabric, Socket, Speaker};
use crate::config::{Global, Neighbor};
use crate::export::LocalAddresses;
use crate::id::{GroupIndex, PeerIndex};
use crate::session::{Action, ConnectionId, Input, RestartState, Session, SessionSettings};
use crate::stage::{Fence, ImportKey};

/// What comes to a driver; one after the other, and none while it waits for room in a queue.
pub(super) enum Arrival {
    Accepted {
        socket: Socket,
        local: LocalAddresses,
    },
    Connected {
        socket: Socket,
        local: LocalAddresses,
    },
    ConnectFailed {
        socket: Socket,
        error: String,
    },
    Octets {
        socket: Socket,
        octets: Bytes,
    },
    Closed {
        socket: Socket,
        error: Option<String>,
    },
    Drained,
    SendHoldExpired {
        socket: Socket,
    },
    Start,
    Stop(Notification),
    Leave(Notification),
    Reset(Notification),
    Settings(Box<Neighbor>, Global),
    RefreshIn,
    /// A policy that the neighbor uses has changed.
    Policies,
    Remove(Notification),
}

/// What a driver hands on, in order.
pub(super) enum Post {
    Partition(usize, RibMessage),
    Controller(PeerEvent),
}

/// A connection that a session knows of.
pub(super) struct Connection {
    pub(super) socket: Socket,
    pub(super) local: LocalAddresses,
    /// Octets received and not yet taken.
    buffer: BytesMut,
}

/// The driver of one neighbor.
pub(super) struct Peer {
    pub(super) index: PeerIndex,
    pub(super) address: IpAddr,
    pub(super) neighbor: Neighbor,
    pub(super) global: Global,
    pub(super) session: Session,
    actions: VecDeque<Action>,
    connecting: Option<Socket>,
    outgoing: Option<Connection>,
    accepted: Option<Connection>,
    pub(super) established: Option<Established>,
    /// What is to be said to all partitions behind the routes that the intake holds.
    pub(super) fences: Vec<Fence>,
    /// The connection whose buffer is being taken apart.
    reading: Option<ConnectionId>,
    outbox: VecDeque<Post>,
    arrivals: VecDeque<Arrival>,
    removed: bool,
    /// The update groups that the session is in: the controller's.
    pub(super) memberships: Vec<(Family, GroupIndex)>,
    pub(super) last_error: Option<String>,
}

impl Peer {
    pub(super) fn new(index: PeerIndex, neighbor: Neighbor, global: Global, seed: u64) -> Self {
        Self {
            index,
            address: neighbor.address,
            session: Session::new(SessionSettings::new(&neighbor.settings, &global, seed)),
            neighbor,
            global,
            actions: VecDeque::new(),
            connecting: None,
            outgoing: None,
            accepted: None,
            established: None,
            fences: Vec::new(),
            reading: None,
            outbox: VecDeque::new(),
            arrivals: VecDeque::new(),
            removed: false,
            memberships: Vec::new(),
            last_error: None,
        }
    }

    /// Whether a driver that waited for room finds some.
    pub(super) fn can_go_on(&self, fabric: &Fabric) -> bool {
        self.outbox.front().is_some_and(|post| post.has_room(fabric))
    }

    /// Feeds the session and queues what it wants done.
    pub(super) fn input(&mut self, input: Input<'_>, now: Instant) {
        let mut actions = Vec::new();
        self.session.handle(input, now, &mut actions);
        self.actions.extend(actions);
    }

    pub(super) fn slot(&mut self, conn: ConnectionId) -> &mut Option<Connection> {
        match conn {
            ConnectionId::Outgoing => &mut self.outgoing,
            ConnectionId::Incoming => &mut self.accepted,
        }
    }

    pub(super) fn connection(&self, conn: ConnectionId) -> Option<&Connection> {
        match conn {
            ConnectionId::Outgoing => self.outgoing.as_ref(),
            ConnectionId::Incoming => self.accepted.as_ref(),
        }
    }

    fn conn_of(&self, socket: Socket) -> Option<ConnectionId> {
        [ConnectionId::Outgoing, ConnectionId::Incoming]
            .into_iter()
            .find(|conn| self.connection(*conn).is_some_and(|connection| connection.socket == socket))
    }

    /// Hands a fence to every partition.
    pub(super) fn push_all(&mut self, fence: &Fence, partitions: usize) {
        let posts = (0..partitions).map(|at| Post::Partition(at, RibMessage::Fence(fence.clone())));
        self.outbox.extend(posts);
    }

    /// Sends what the intake has gathered to the partitions.
    pub(super) fn deliver(&mut self, partitions: usize) {
        let Some(established) = self.established.as_mut() else { return };
        let batches = established.intake.drain();
        self.outbox.extend(batches.map(|(at, batch)| Post::Partition(at, RibMessage::Batch(batch))));
        for fence in std::mem::take(&mut self.fences) {
            self.push_all(&fence, partitions);
        }
    }

    /// Tells the controller, behind what was sent to the partitions before.
    pub(super) fn event(&mut self, event: PeerEvent) {
        self.outbox.push_back(Post::Controller(event));
    }

    /// Takes one message from the buffer of the connection that is being read. False when there is none.
    fn read_one(&mut self, conn: ConnectionId, now: Instant) -> bool {
        let limit = self.session.max_message_len(conn);
        let Some(connection) = self.slot(conn) else { return false };
        let mut buffer = std::mem::take(&mut connection.buffer);
        let taken = match frame::split(&buffer, limit) {
            Ok(None) => 0,
            Ok(Some(frame)) => {
                let taken = frame.raw.len();
                self.frame(conn, frame, now);
                taken
            }
            Err(notification) => {
                let error = "what the peer sends is not BGP".to_owned();
                self.input(Input::Fault { conn, notification, error }, now);
                buffer.len()
            }
        };
        buffer.advance(taken);
        if let Some(connection) = self.slot(conn) {
            connection.buffer = buffer;
        }
        taken > 0
    }

    fn frame(&mut self, conn: ConnectionId, frame: frame::Frame<'_>, now: Instant) {
        let is_update = frame.kind == MessageType::Update && self.session.receives_updates(conn);
        let body = frame.body;
        self.input(Input::Frame { conn, frame }, now);
        if is_update {
            self.update(conn, body, now);
        }
    }
}

impl Post {
    fn has_room(&self, fabric: &Fabric) -> bool {
        match self {
            Self::Partition(at, _) => fabric.has_room(*at),
            Self::Controller(_) => true,
        }
    }
}

impl Speaker {
    /// Something comes to a driver, which takes it in as soon as it does not wait for room.
    pub(super) fn arrive(&mut self, index: PeerIndex, arrival: Arrival, now: Instant) {
        if let Some(peer) = self.peers.get_mut(&index) {
            peer.arrivals.push_back(arrival);
            self.advance(index, now);
        }
    }

    /// Lets a driver do all it can.
    pub(super) fn advance(&mut self, index: PeerIndex, now: Instant) {
        let partitions = self.fabric.partitions.len();
        loop {
            if !self.hand_on(index, now) {
                return;
            }
            let Some(peer) = self.peers.get_mut(&index) else { return };
            if let Some(action) = peer.actions.pop_front() {
                self.perform(index, action);
            } else if let Some(conn) = peer.reading {
                // A message can end the connection or establish the session: both happen before the next message.
                if !peer.read_one(conn, now) {
                    peer.reading = None;
                    peer.deliver(partitions);
                }
            } else if let Some(arrival) = peer.arrivals.pop_front() {
                self.take_in(index, arrival, now);
            } else {
                if std::mem::take(&mut peer.removed) {
                    peer.event(PeerEvent::Ended);
                    continue;
                }
                return;
            }
        }
    }

    /// Hands on what the driver has for others. False if it has to wait for room: meanwhile nothing is read, so the
    /// hold timer stands still.
    fn hand_on(&mut self, index: PeerIndex, now: Instant) -> bool {
        let Some(peer) = self.peers.get_mut(&index) else { return false };
        while let Some(post) = peer.outbox.front() {
            if !post.has_room(&self.fabric) {
                if self.parked.insert(index) {
                    peer.input(Input::ReadPaused, now);
                }
                return false;
            }
            match peer.outbox.pop_front() {
                Some(Post::Partition(at, message)) => self.fabric.partitions[at].data.push_back(message),
                Some(Post::Controller(event)) => self.controller.events.push_back((index, event)),
                None => {}
            }
        }
        if self.parked.remove(&index) {
            peer.input(Input::ReadResumed, now);
        }
        true
    }

    /// A deadline of a session has passed. A driver that waits for room still sends what the session sends.
    pub(super) fn tick_peer(&mut self, index: PeerIndex, now: Instant) {
        let parked = self.parked.contains(&index);
        let Some(peer) = self.peers.get_mut(&index) else { return };
        let before = peer.actions.len();
        peer.input(Input::Tick, now);
        if !parked {
            self.advance(index, now);
            return;
        }
        for action in peer.actions.split_off(before) {
            match action {
                Action::Send { conn, bytes } => self.send(index, conn, bytes),
                other => self.peers.get_mut(&index).into_iter().for_each(|peer| peer.actions.push_back(other.clone())),
            }
        }
    }

    fn take_in(&mut self, index: PeerIndex, arrival: Arrival, now: Instant) {
        let Some(peer) = self.peers.get_mut(&index) else { return };
        match arrival {
            Arrival::Accepted { socket, local } => self.accepted(index, socket, local, now),
            Arrival::Connected { socket, local } => self.dialed(index, socket, local, now),
            Arrival::ConnectFailed { socket, error } => {
                if peer.connecting == Some(socket) {
                    peer.connecting = None;
                    peer.input(Input::ConnectFailed { error }, now);
                }
            }
            Arrival::Octets { socket, octets } => {
                let conn = peer.conn_of(socket);
                if let Some(connection) = conn.and_then(|conn| peer.slot(conn).as_mut()) {
                    connection.buffer.extend_from_slice(&octets);
                    peer.reading = conn;
                }
            }
            Arrival::Closed { socket, error } => {
                self.fabric.queues.remove(&socket);
                if let Some(conn) = peer.conn_of(socket) {
                    *peer.slot(conn) = None;
                    peer.input(Input::Closed { conn, error }, now);
                }
            }
            Arrival::Drained => peer.event(PeerEvent::Drained),
            Arrival::SendHoldExpired { socket } => {
                if let Some(conn) = peer.conn_of(socket) {
                    peer.input(Input::SendHoldExpired { conn }, now);
                }
            }
            Arrival::Start => peer.input(Input::Start, now),
            Arrival::Stop(notification) => peer.input(Input::Stop { notification }, now),
            Arrival::Leave(notification) => peer.input(Input::Leave { notification }, now),
            Arrival::Reset(notification) => peer.input(Input::Reset { notification, hold_down: false }, now),
            Arrival::Settings(neighbor, global) => self.replace_settings(index, *neighbor, global, now),
            Arrival::Policies => peer.replace_import(&self.library, self.fabric.partitions.len()),
            Arrival::RefreshIn => self.ask_for_routes(index),
            Arrival::Remove(notification) => {
                peer.input(Input::Stop { notification }, now);
                peer.removed = true;
            }
        }
    }

    fn accepted(&mut self, index: PeerIndex, socket: Socket, local: LocalAddresses, now: Instant) {
        let Some(peer) = self.peers.get_mut(&index) else { return };
        if peer.session.receives_updates(ConnectionId::Incoming) {
            // RFC 4271 §6.8: what is Established stays. If the peer has lost it, its TCP answers this with a reset.
            self.refuse(socket);
            self.send(index, ConnectionId::Incoming, frame::KEEPALIVE.to_vec());
            return;
        }
        if let Some(old) = peer.accepted.take() {
            peer.input(Input::Closed { conn: ConnectionId::Incoming, error: None }, now);
            self.refuse(old.socket);
        }
        self.open(index, ConnectionId::Incoming, socket, local, now);
    }

    fn dialed(&mut self, index: PeerIndex, socket: Socket, local: LocalAddresses, now: Instant) {
        let Some(peer) = self.peers.get_mut(&index) else { return };
        if peer.connecting != Some(socket) {
            // Given up in the meantime.
            self.refuse(socket);
            return;
        }
        peer.connecting = None;
        self.open(index, ConnectionId::Outgoing, socket, local, now);
    }

    /// Drops a connection that no session has.
    fn refuse(&mut self, socket: Socket) {
        self.fabric.queues.remove(&socket);
        if self.sockets.remove(&socket).is_some() {
            self.effects.push(Effect::Abort { socket });
        }
    }

    fn open(&mut self, index: PeerIndex, conn: ConnectionId, socket: Socket, local: LocalAddresses, now: Instant) {
        let limit = self.fabric.limits.out_queue;
        let restarting = self.fabric.is_deferring();
        // It may have been closed again while the driver waited for room.
        if !self.sockets.contains_key(&socket) {
            return;
        }
        let Some(peer) = self.peers.get_mut(&index) else { return };
        self.fabric.queues.insert(socket, OutQueue::new(limit, peer.neighbor.settings.hold_seconds));
        *peer.slot(conn) = Some(Connection { socket, local, buffer: BytesMut::new() });
        peer.session.set_restart(RestartState { restarting, ..RestartState::default() });
        peer.input(Input::Connected { conn }, now);
    }

    fn perform(&mut self, index: PeerIndex, action: Action) {
        match action {
            Action::Connect => self.connect(index),
            Action::AbortConnect => {
                let attempt = self.peers.get_mut(&index).and_then(|peer| peer.connecting.take());
                attempt.into_iter().for_each(|socket| self.refuse(socket));
            }
            Action::Send { conn, bytes } => self.send(index, conn, bytes),
            Action::Close { conn } => self.close(index, conn),
            Action::Established { conn, negotiated } => self.establish(index, conn, negotiated),
            Action::Down { retained, .. } => self.tear_down(index, retained),
            Action::LongLived { family } => self.fence(index, &Fence::LongLived { peer: index, family }),
            Action::EndRetention { family } => self.fence(index, &Fence::EndRetention { peer: index, family }),
            Action::Failed { error } => {
                self.peers.get_mut(&index).into_iter().for_each(|peer| peer.last_error = Some(error.clone()));
            }
            Action::RouteRefresh(refresh) => self.route_refresh(index, refresh),
            Action::Transition { .. } => {}
        }
    }

    fn connect(&mut self, index: PeerIndex) {
        let Some(peer) = self.peers.get(&index) else { return };
        if peer.connecting.is_none() && peer.outgoing.is_none() {
            let remote = peer.address;
            let socket = self.next_socket(index);
            self.effects.push(Effect::Connect { socket, remote });
            self.peers.get_mut(&index).into_iter().for_each(|peer| peer.connecting = Some(socket));
        }
    }

    pub(super) fn send(&mut self, index: PeerIndex, conn: ConnectionId, bytes: Vec<u8>) {
        let socket = self.peers.get(&index).and_then(|peer| peer.connection(conn)).map(|connection| connection.socket);
        let queue = socket.and_then(|socket| self.fabric.queues.get_mut(&socket));
        queue.into_iter().for_each(|queue| queue.send(Bytes::from(bytes.clone())));
    }

    fn close(&mut self, index: PeerIndex, conn: ConnectionId) {
        let Some(connection) = self.peers.get_mut(&index).and_then(|peer| peer.slot(conn).take()) else { return };
        let socket = connection.socket;
        let rest = self.fabric.queues.remove(&socket).map(OutQueue::finish).unwrap_or_default();
        if self.sockets.remove(&socket).is_some() {
            self.effects.push(Effect::Close { socket, rest });
        }
    }

    fn replace_settings(&mut self, index: PeerIndex, neighbor: Neighbor, global: Global, now: Instant) {
        let seed = self.next_seed();
        let Some(peer) = self.peers.get_mut(&index) else { return };
        peer.session.replace_settings(SessionSettings::new(&neighbor.settings, &global, seed), now);
        let before = ImportKey::new(&peer.global, &peer.neighbor.settings);
        let changed = before != ImportKey::new(&global, &neighbor.settings);
        peer.neighbor = neighbor;
        peer.global = global;
        if changed {
            peer.replace_import(&self.library, self.fabric.partitions.len());
        }
    }

    fn ask_for_routes(&mut self, index: PeerIndex) {
        let Some((conn, negotiated)) = self.peers.get(&index).and_then(|peer| peer.session.established()) else {
            return;
        };
        let families = if negotiated.route_refresh { negotiated.families.clone() } else { Vec::new() };
        for family in families {
            let mut message = Vec::new();
            RouteRefresh { family, subtype: RefreshSubtype::Request }.encode(&mut message);
            self.send(index, conn, message);
        }
    }
}
