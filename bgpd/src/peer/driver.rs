//! The task that drives one neighbor's session: bytes, time and commands in, the session's actions out.

use std::collections::VecDeque;
use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bgp_engine::config::cluster::SessionGuard;
use bgp_engine::config::{Global, Neighbor};
use bgp_engine::export::LocalAddresses;
use bgp_engine::session::{Action, ConnectionId, Input, NO_ANSWER, Negotiated, Session, SessionSettings};
use bgp_engine::stage::{Alarm, Fence, ImportKey};
use bgp_wire::Notification;
use bgp_wire::frame::{self, MessageType};
use bgp_wire::notification::CeaseSubcode;
use bgp_wire::route_refresh::{RefreshSubtype, RouteRefresh};
use bytes::{Buf, Bytes};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::sleep_until;
use tracing::{debug, info};

use super::admission::Admitted;
use super::cell::NeighborCell;
use super::connection::{Closing, Connection, ConnectionEvent};
use super::establish::Established;
use super::intake::complaint;
use super::queue::OutQueue;
use super::rekeyed::Rekeyed;
use super::socket;
use crate::runtime::fabric::Fabric;

/// A dynamic neighbor without a connection is forgotten after this, so that its last error can be read for a while.
const LINGER: Duration = Duration::from_secs(60);

/// From the controller to a driver.
pub(crate) enum PeerCommand {
    /// Start the session.
    Start,
    /// End the session and keep it down.
    Stop(Notification),
    /// End the session because the daemon restarts, in a way that the peer keeps our routes, and end the task.
    Leave(Notification),
    /// End the session and start it again at once.
    Reset(Notification),
    /// New settings; they hold from the next session on, unless a reset follows.
    Settings(Arc<Neighbor>, Global),
    /// A budget of a session has come to something.
    Alarm(Alarm),
    /// What the peer may announce as a node of a cluster, from now on.
    Guard(Option<SessionGuard>),
    /// Ask the peer for its routes again.
    RefreshIn,
    /// A policy that the neighbor uses has changed.
    Policies,
    /// End the session and the task.
    Remove(Notification),
}

/// From a driver to the controller.
pub(crate) struct PeerEvent {
    pub(crate) cell: Arc<NeighborCell>,
    pub(crate) kind: PeerEventKind,
}

pub(crate) enum PeerEventKind {
    /// The session is up: join the update groups.
    Established { negotiated: Arc<Negotiated>, local: LocalAddresses, queue: Arc<OutQueue> },
    /// The session is down: leave them.
    Down,
    /// The peer asked for our routes (RFC 2918); `end` is what it is to be told behind them (RFC 7313 §4).
    RefreshOut { refresh: RouteRefresh, end: Option<Bytes> },
    /// A pause is over: the peer, which has restarted, may know that it has all our routes, and is not waited for.
    PauseOver,
    /// The writer has drained after it had been slow.
    Drained,
    /// The session's state changed.
    State,
    /// The task has ended.
    Ended,
}

/// What a driver is made of.
pub(crate) struct PeerSetup {
    pub(crate) cell: Arc<NeighborCell>,
    pub(crate) neighbor: Arc<Neighbor>,
    pub(crate) global: Global,
    pub(crate) guard: Option<SessionGuard>,
    pub(crate) fabric: Arc<Fabric>,
    pub(crate) events: mpsc::UnboundedSender<PeerEvent>,
    pub(crate) commands: mpsc::UnboundedReceiver<Box<PeerCommand>>,
    pub(crate) incoming: mpsc::Receiver<Box<Admitted>>,
}

type Connecting = Pin<Box<dyn Future<Output = io::Result<TcpStream>> + Send>>;

pub(crate) struct Driver {
    pub(super) cell: Arc<NeighborCell>,
    pub(super) neighbor: Arc<Neighbor>,
    pub(super) guard: Option<SessionGuard>,
    pub(super) global: Global,
    pub(super) fabric: Arc<Fabric>,
    events: mpsc::UnboundedSender<PeerEvent>,
    commands: mpsc::UnboundedReceiver<Box<PeerCommand>>,
    incoming: mpsc::Receiver<Box<Admitted>>,
    pub(super) session: Session,
    pub(super) rekeyed: Rekeyed,
    pub(super) actions: VecDeque<Action>,
    outgoing: Option<Connection>,
    accepted: Option<Connection>,
    connecting: Option<Connecting>,
    pub(super) established: Option<Box<Established>>,
    /// What is to be said to all partitions behind the routes that the intake holds.
    pub(super) fences: Vec<Fence>,
    /// When the octets that are being taken were read.
    pub(super) read_at: Instant,
    idle_since: Instant,
    removed: bool,
    closing: Vec<Closing>,
}

/// What woke the driver.
enum Wake {
    Command(Option<Box<PeerCommand>>),
    Incoming(Box<Admitted>),
    Connected(io::Result<TcpStream>),
    Connection(ConnectionId, ConnectionEvent),
    Deadline,
}

impl Driver {
    pub(crate) fn new(setup: PeerSetup) -> Self {
        let PeerSetup { cell, neighbor, global, guard, fabric, events, commands, incoming } = setup;
        let session = Session::new(SessionSettings::new(&neighbor.settings, &global, fabric.next_seed()));
        Self {
            cell,
            neighbor,
            guard,
            global,
            fabric,
            events,
            commands,
            incoming,
            session,
            rekeyed: Rekeyed::default(),
            actions: VecDeque::new(),
            outgoing: None,
            accepted: None,
            connecting: None,
            established: None,
            fences: Vec::new(),
            read_at: Instant::now(),
            idle_since: Instant::now(),
            removed: false,
            closing: Vec::new(),
        }
    }

    /// Runs until the neighbor is removed, or, for a dynamic one, until it has been without a connection for a while.
    pub(crate) async fn run(mut self: Box<Self>) {
        while !self.finished() {
            let wake = self.wake().await;
            self.wake_up(wake).await;
            self.perform().await;
            self.publish();
        }
        for closing in std::mem::take(&mut self.closing) {
            // It only waits for the peer to read the NOTIFICATION.
            closing.over().await;
        }
        Self::tell(&self.events, &self.cell, PeerEventKind::Ended);
    }

    fn finished(&self) -> bool {
        self.removed || (self.lingers() && self.idle_since.elapsed() >= LINGER)
    }

    /// A dynamic neighbor without a connection and without routes that wait for it to come back.
    fn lingers(&self) -> bool {
        self.cell.dynamic.is_some()
            && self.is_alone()
            && self.session.retained().is_empty()
            && !self.session.is_limited()
    }

    pub(super) fn is_alone(&self) -> bool {
        self.outgoing.is_none() && self.accepted.is_none()
    }

    fn deadline(&self) -> Option<Instant> {
        let linger = self.lingers().then(|| self.idle_since + LINGER);
        self.session.next_deadline().into_iter().chain(linger).min()
    }

    async fn wake(&mut self) -> Wake {
        let deadline = self.deadline();
        if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            // However much else there is to do.
            return Wake::Deadline;
        }
        tokio::select! {
            command = self.commands.recv() => Wake::Command(command),
            Some(stream) = self.incoming.recv() => Wake::Incoming(stream),
            result = connected(&mut self.connecting) => Wake::Connected(result),
            event = next(&mut self.outgoing) => Wake::Connection(ConnectionId::Outgoing, event),
            event = next(&mut self.accepted) => Wake::Connection(ConnectionId::Incoming, event),
            () = sleep_to(deadline) => Wake::Deadline,
        }
    }

    async fn wake_up(&mut self, wake: Wake) {
        match wake {
            Wake::Command(command) => {
                self.command(command.map(|command| *command));
                // New budgets, a new import policy and a new guard are not to wait for the peer's next message.
                self.deliver().await;
            }
            Wake::Incoming(stream) => {
                // A dynamic neighbor is started and then given its connection: in this order, however both come.
                while let Ok(command) = self.commands.try_recv() {
                    self.command(Some(*command));
                }
                self.accept(*stream);
            }
            Wake::Connected(result) => self.connected(result),
            Wake::Connection(conn, event) => self.happened(conn, event).await,
            Wake::Deadline => self.due().await,
        }
    }

    async fn happened(&mut self, conn: ConnectionId, event: ConnectionEvent) {
        match event {
            ConnectionEvent::Read => self.read(conn).await,
            ConnectionEvent::Closed(error) => {
                self.take(conn);
                self.input(Input::Closed { conn, error });
            }
            ConnectionEvent::Drained => Self::tell(&self.events, &self.cell, PeerEventKind::Drained),
            ConnectionEvent::SendHoldExpired => self.input(Input::SendHoldExpired { conn }),
        }
    }

    /// A deadline has passed. If this process had to wait for the processor, what the peer said in time may still lie
    /// in the socket: RFC 4271 §6.5 is about what was not sent in time, not about what was not read.
    async fn due(&mut self) {
        for conn in [ConnectionId::Outgoing, ConnectionId::Incoming] {
            if let Some(event) = self.slot(conn).as_mut().and_then(Connection::unread) {
                self.happened(conn, event).await;
                self.perform().await;
            }
        }
        self.input(Input::Tick);
    }

    /// Feeds the session and queues what it wants done.
    pub(super) fn input(&mut self, input: Input<'_>) {
        self.input_at(input, Instant::now());
    }

    fn input_at(&mut self, input: Input<'_>, now: Instant) {
        let mut actions = Vec::new();
        self.session.handle(input, now, &mut actions);
        self.actions.extend(actions);
    }

    fn command(&mut self, command: Option<PeerCommand>) {
        match command {
            Some(PeerCommand::Start) => self.input(Input::Start),
            Some(PeerCommand::Stop(notification)) => self.input(Input::Stop { notification }),
            Some(PeerCommand::Leave(notification)) => {
                self.input(Input::Leave { notification });
                self.removed = true;
            }
            Some(PeerCommand::Reset(notification)) => self.input(Input::Reset { notification, hold_down: false }),
            Some(PeerCommand::Settings(neighbor, global)) => self.replace_settings(neighbor, global),
            Some(PeerCommand::Alarm(alarm)) => self.alarm(&alarm),
            Some(PeerCommand::Guard(guard)) => self.replace_guard(guard),
            Some(PeerCommand::RefreshIn) => self.refresh_in(),
            Some(PeerCommand::Policies) => self.replace_import(),
            Some(PeerCommand::Remove(notification)) => self.remove(notification),
            None => self.remove(Notification::admin_shutdown("")),
        }
    }

    fn remove(&mut self, notification: Notification) {
        self.input(Input::Stop { notification });
        self.removed = true;
    }

    fn replace_settings(&mut self, neighbor: Arc<Neighbor>, global: Global) {
        let transport = self.transport(SocketAddr::new(self.cell.address, neighbor.port));
        let settings = SessionSettings::new(&neighbor.settings, &global, self.fabric.next_seed());
        self.session.replace_settings(settings, Instant::now());
        let shuts_down = neighbor.settings.is_shutting_down(&global);
        let shut_down = {
            let mut view = self.cell.view();
            view.neighbor = Arc::clone(&neighbor);
            view.capabilities_offered = bgp_engine::session::offered_capabilities(&neighbor.settings, &global);
            std::mem::replace(&mut view.shutting_down, shuts_down)
        };
        let before = ImportKey::new(&self.global, &self.neighbor.settings);
        let changed = before != ImportKey::new(&global, &neighbor.settings);
        let old = std::mem::replace(&mut self.neighbor, neighbor);
        if *old != *self.neighbor || shut_down != shuts_down {
            self.event(PeerEventKind::State);
        }
        self.global = global;
        self.replace_transport(&transport);
        if changed {
            self.replace_import();
        }
        if old.settings.prefix_limits != self.neighbor.settings.prefix_limits {
            self.replace_budgets();
        }
    }

    /// Ends the session because of what was configured.
    pub(super) fn begin_anew(&mut self) {
        let notification = Notification::cease(CeaseSubcode::OtherConfigurationChange);
        self.input(Input::Reset { notification, hold_down: false });
    }

    /// Puts new rules of the guard to work, also on the routes that are in, or that wait for the peer to come back.
    fn replace_guard(&mut self, guard: Option<SessionGuard>) {
        self.guard = guard;
        let guard = self.cell.prefix_guard(self.guard.as_ref());
        if let Some(established) = self.established.as_mut() {
            established.intake.replace_guard(guard.clone());
        }
        self.fences.push(Fence::GuardReplaced { peer: self.cell.index, guard });
    }

    fn refresh_in(&mut self) {
        let Some((conn, negotiated)) = self.session.established() else { return };
        let families = if negotiated.route_refresh { negotiated.families.clone() } else { Vec::new() };
        for family in families {
            let mut message = Vec::new();
            RouteRefresh { family, subtype: RefreshSubtype::Request }.encode(&mut message);
            self.send(conn, message);
        }
    }

    fn accept(&mut self, admitted: Admitted) {
        let Admitted { stream, pending } = admitted;
        // The socket may have died already; then there is nothing to accept.
        let (Ok(remote), Ok(local)) = (stream.peer_addr(), stream.local_addr()) else { return };
        if !self.is_own_end(local.ip()) {
            info!(peer = %self.cell.address, local = %local.ip(), "connection refused: it came to another address than local-address");
            return;
        }
        if let Err(error) = socket::accepted(&stream, &self.transport(remote)) {
            debug!(peer = %self.cell.address, %error, "socket options refused");
            return;
        }
        let hold = self.session.established().map(|(_, negotiated)| negotiated.hold_seconds);
        let hold = hold.map(|seconds| Duration::from_secs(seconds.into()));
        if hold.is_some_and(|hold| self.rekeyed.explains(hold, Instant::now())) {
            // The peer has begun anew with the new key. What it said last was signed with the old one and is lost.
            self.begin_anew();
            return;
        }
        if self.session.receives_updates(ConnectionId::Incoming) {
            // RFC 4271 §6.8: what is Established stays. If the peer has lost it, its TCP answers this with a reset.
            debug!(peer = %self.cell.address, "a second incoming connection is refused");
            self.send(ConnectionId::Incoming, frame::KEEPALIVE.to_vec());
            return;
        }
        if self.accepted.is_some() {
            debug!(peer = %self.cell.address, "a second incoming connection replaces the first");
            self.take(ConnectionId::Incoming);
            self.input(Input::Closed { conn: ConnectionId::Incoming, error: None });
        }
        self.open(ConnectionId::Incoming, stream);
        if let Some(connection) = &mut self.accepted {
            connection.pending = Some(pending);
        }
    }

    fn connected(&mut self, result: io::Result<TcpStream>) {
        self.connecting = None;
        match result {
            Ok(stream) => self.open(ConnectionId::Outgoing, stream),
            Err(error) => {
                debug!(peer = %self.cell.address, %error, "connection attempt failed");
                self.input(Input::ConnectFailed { error: describe(&error) });
            }
        }
    }

    fn open(&mut self, conn: ConnectionId, stream: TcpStream) {
        match Connection::new(stream, &self.cell, self.neighbor.settings.hold_seconds) {
            Ok(connection) => {
                *self.slot(conn) = Some(connection);
                self.session.set_restart(self.fabric.restart.state());
                self.input(Input::Connected { conn });
            }
            Err(error) => {
                debug!(peer = %self.cell.address, %error, "connection lost at once");
                if conn == ConnectionId::Outgoing {
                    self.input(Input::ConnectFailed { error: describe(&error) });
                }
            }
        }
    }

    /// Takes every whole message from a connection's buffer.
    async fn read(&mut self, conn: ConnectionId) {
        let Some(mut buffer) = self.slot(conn).as_mut().map(Connection::take_received) else { return };
        self.read_at = Instant::now();
        self.cell.view().last_heard = Some(self.read_at);
        // All messages of a read came at the same time: to ask the clock for each would cost more than the session does.
        let mut now = self.read_at;
        let mut taken = 0;
        while self.slot(conn).is_some() {
            match frame::split(&buffer[taken..], self.session.max_message_len(conn)) {
                Ok(None) => break,
                Ok(Some(frame)) => {
                    taken += frame.raw.len();
                    self.frame(conn, frame, now);
                }
                Err(notification) => {
                    let error = "what the peer sends is not BGP".to_owned();
                    self.malformed("header", &notification, &buffer[taken..]);
                    self.input(Input::Fault { conn, notification, error });
                    taken = buffer.len();
                }
            }
            // A message can end the connection or establish the session: both must happen before the next message.
            if !self.actions.is_empty() {
                self.perform().await;
                now = Instant::now();
            }
        }
        buffer.advance(taken.min(buffer.len()));
        if let Some(connection) = self.slot(conn) {
            connection.put_back(buffer);
        }
        self.deliver().await;
    }

    fn frame(&mut self, conn: ConnectionId, frame: frame::Frame<'_>, now: Instant) {
        self.cell.received.count(frame.kind, frame.raw.len());
        let is_update = frame.kind == MessageType::Update && self.session.receives_updates(conn);
        let (kind, body, queued) = (frame.kind, frame.body, self.actions.len());
        if kind == MessageType::Open
            && let Some(connection) = self.slot(conn)
        {
            connection.pending = None;
        }
        self.input_at(Input::Frame { conn, frame }, now);
        if is_update {
            self.update(conn, body);
        } else if let Some(notification) = self.actions.iter().skip(queued).find_map(complaint) {
            self.malformed(kind.name(), &notification, body);
        }
    }

    /// Does what the session wants, until it wants nothing more. What is rare and has much to remember while it waits is
    /// boxed: else every task would have room for it, all the time.
    pub(super) async fn perform(&mut self) {
        while let Some(action) = self.actions.pop_front() {
            match action {
                Action::Connect => self.connect(),
                Action::AbortConnect => self.connecting = None,
                Action::Send { conn, bytes } => self.send(conn, bytes),
                Action::Close { conn } => self.close(conn),
                Action::Established { conn, negotiated } => Box::pin(self.establish(conn, negotiated)).await,
                Action::Down { reason, retained } => {
                    info!(peer = %self.cell.address, reason, kept = !retained.is_empty(), "session down");
                    Box::pin(self.tear_down(retained)).await;
                }
                Action::LongLived { family } => Box::pin(self.long_lived(family)).await,
                Action::EndRetention { family } => Box::pin(self.end_retention(family)).await,
                Action::Failed { error } => self.failed(error),
                Action::RouteRefresh(refresh) => Box::pin(self.route_refresh(refresh)).await,
                Action::Transition { from, to } => self.transition(from, to),
            }
        }
    }

    fn connect(&mut self) {
        if self.connecting.is_none() && self.outgoing.is_none() {
            let remote = SocketAddr::new(self.cell.address, self.neighbor.port);
            self.connecting = Some(Box::pin(socket::connect(self.transport(remote))));
        }
    }

    /// An attempt to connect that is under way begins again, with the transport of now.
    pub(super) fn connect_anew(&mut self) {
        if self.connecting.take().is_some() {
            self.connect();
        }
    }

    pub(super) fn send(&mut self, conn: ConnectionId, bytes: Vec<u8>) {
        if let Ok(Some(frame)) = frame::split(&bytes, frame::MAX_EXTENDED_LEN) {
            self.cell.sent.count(frame.kind, bytes.len());
        }
        if let Some(connection) = self.slot(conn) {
            connection.send(Bytes::from(bytes));
        }
    }

    fn close(&mut self, conn: ConnectionId) {
        self.closing.retain_mut(|closing| !closing.is_over());
        if let Some(connection) = self.take(conn) {
            self.closing.push(connection.close());
        }
    }

    fn take(&mut self, conn: ConnectionId) -> Option<Connection> {
        let connection = self.slot(conn).take();
        if let Some(connection) = &connection {
            // Else its writer would wait for work for ever, and keep the socket open.
            connection.queue.finish();
        }
        if self.is_alone() {
            self.idle_since = Instant::now();
            self.actions.shrink_to_fit();
        }
        connection
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

    pub(super) fn event(&self, kind: PeerEventKind) {
        Self::tell(&self.events, &self.cell, kind);
    }

    fn tell(events: &mpsc::UnboundedSender<PeerEvent>, cell: &Arc<NeighborCell>, kind: PeerEventKind) {
        // Without a controller the daemon is stopping and nobody needs to know.
        let _ = events.send(PeerEvent { cell: Arc::clone(cell), kind });
    }
}

/// A failed attempt to connect, in words.
fn describe(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => {
            "connection refused: nothing listens there, or a firewall refuses".to_owned()
        }
        io::ErrorKind::TimedOut => NO_ANSWER.to_owned(),
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => format!("no route to the peer: {error}"),
        io::ErrorKind::AddrNotAvailable => format!("cannot use the local address: {error}"),
        _ => error.to_string(),
    }
}

async fn next(connection: &mut Option<Connection>) -> ConnectionEvent {
    match connection {
        Some(connection) => connection.next().await,
        None => pending().await,
    }
}

async fn connected(connecting: &mut Option<Connecting>) -> io::Result<TcpStream> {
    match connecting {
        Some(connecting) => connecting.await,
        None => pending().await,
    }
}

/// Until a deadline, or for ever.
pub(crate) async fn sleep_to(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline.into()).await,
        None => pending().await,
    }
}
