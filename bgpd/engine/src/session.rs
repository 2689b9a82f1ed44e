//! The session state machine of RFC 4271 §8.
//!
//! Pure: inputs and the time come in, [`Action`]s come out, and [`Session::next_deadline`] says when to come back.
//! A session has up to two connections (RFC 4271 §6.8): one that it opened and one that the peer opened. Each is in
//! OpenSent, OpenConfirm or Established and carries what it knows; the state of the session is that of its foremost
//! connection, and Idle, Connect or Active without one. Not here: bytes of UPDATEs, sockets, who the peer is to
//! policy.
//!
//! Implements RFC 4271 §6, §8, §10; RFC 4486; RFC 4724 §3, §4.2; RFC 5492; RFC 6286; RFC 6608; RFC 6793 §4.1; RFC 8538;
//! RFC 9003; RFC 9494 §3.1, §4.2; RFC 9687.

mod collision;
mod connection;
mod failure;
mod frames;
mod negotiate;
mod retention;
mod settings;
#[cfg(test)]
mod tests;
mod timers;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bgp_wire::capability::Capability;
use bgp_wire::frame::{self, Frame};
use bgp_wire::route_refresh::RouteRefresh;
use bgp_wire::{Family, Notification};

use connection::{Connection, Phase};
use failure::Failures;
pub use negotiate::Negotiated;
use retention::Retention;
pub use retention::{Retained, Waiting};
pub use settings::{RestartState, SessionSettings, offered_capabilities};
use timers::Jitter;

/// What is said of an attempt to connect that nothing has answered.
pub const NO_ANSWER: &str = "no answer to the connection attempt: host down, packets dropped, or a wrong TCP-MD5 key";

/// States of RFC 4271 §8.2.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// Not trying: stopped, or waiting after an error.
    Idle,
    /// A TCP connection is being opened.
    Connect,
    /// Waiting for the peer to connect, or for the next attempt.
    Active,
    /// OPEN sent, the peer's OPEN awaited.
    OpenSent,
    /// OPENs exchanged, KEEPALIVE awaited.
    OpenConfirm,
    /// Routes are exchanged.
    Established,
}

impl State {
    /// All of them in the order of RFC 4271 §8.2.2.
    pub const ALL: [Self; 6] =
        [Self::Idle, Self::Connect, Self::Active, Self::OpenSent, Self::OpenConfirm, Self::Established];
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Idle => "Idle",
            Self::Connect => "Connect",
            Self::Active => "Active",
            Self::OpenSent => "OpenSent",
            Self::OpenConfirm => "OpenConfirm",
            Self::Established => "Established",
        })
    }
}

/// Which of the two connections of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ConnectionId {
    /// Opened by this speaker.
    Outgoing,
    /// Opened by the peer.
    Incoming,
}

impl ConnectionId {
    const BOTH: [Self; 2] = [Self::Outgoing, Self::Incoming];

    /// The other one.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Outgoing => Self::Incoming,
            Self::Incoming => Self::Outgoing,
        }
    }
}

/// What happens to a session.
#[derive(Debug)]
pub enum Input<'a> {
    /// ManualStart.
    Start,
    /// ManualStop: end with this NOTIFICATION and stay down.
    Stop {
        /// What the peer is told.
        notification: Notification,
    },
    /// ManualStop because this speaker restarts: peers with graceful restart are left in a way that keeps their routes.
    Leave {
        /// What peers are told that lose the routes, or keep them also after a NOTIFICATION (RFC 8538 §4).
        notification: Notification,
    },
    /// End with this NOTIFICATION and start again.
    Reset {
        /// What the peer is told.
        notification: Notification,
        /// Wait for the idle hold time before starting again.
        hold_down: bool,
    },
    /// End because of a limit that the peer exceeded; until the wait is over the peer is not let in either.
    Limited {
        /// What the peer is told.
        notification: Notification,
        /// What was exceeded, in words.
        error: String,
        /// How long; `None` until somebody resets the session.
        wait: Option<Duration>,
    },
    /// A TCP connection is there.
    Connected {
        /// Which.
        conn: ConnectionId,
    },
    /// The attempt to open a TCP connection failed.
    ConnectFailed {
        /// Why, in words.
        error: String,
    },
    /// The TCP connection is gone.
    Closed {
        /// Which.
        conn: ConnectionId,
        /// Why, if it was not an orderly close.
        error: Option<String>,
    },
    /// A message came. Of an UPDATE only the fact counts here.
    Frame {
        /// On which connection.
        conn: ConnectionId,
        /// The message.
        frame: Frame<'a>,
    },
    /// What came cannot be a message, or is an UPDATE that ends the session (RFC 7606).
    Fault {
        /// On which connection.
        conn: ConnectionId,
        /// What the peer is told.
        notification: Notification,
        /// What was wrong, in words.
        error: String,
    },
    /// The End-of-RIB of a family came (RFC 4724 §2). Whoever says so removes what is stale.
    EndOfRib {
        /// Which.
        family: Family,
    },
    /// The peer took nothing for the send hold time (RFC 9687).
    SendHoldExpired {
        /// On which connection.
        conn: ConnectionId,
    },
    /// Nothing is read for now, because what was read before has no room: the hold timer stands still.
    ReadPaused,
    /// Reading goes on.
    ReadResumed,
    /// A deadline has passed.
    Tick,
}

/// What a session wants done.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Open a TCP connection to the peer.
    Connect,
    /// Give up opening it.
    AbortConnect,
    /// Send a message.
    Send {
        /// On which connection.
        conn: ConnectionId,
        /// The whole message.
        bytes: Vec<u8>,
    },
    /// Close the connection when what was sent before is out.
    Close {
        /// Which.
        conn: ConnectionId,
    },
    /// Routes can be exchanged.
    Established {
        /// On which connection.
        conn: ConnectionId,
        /// What both can do.
        negotiated: Arc<Negotiated>,
    },
    /// The session was Established and is no more.
    Down {
        /// Why, in words.
        reason: String,
        /// Families whose routes stay, as stale ones, until a later action or End-of-RIB (RFC 4724 §4.2).
        retained: Vec<Family>,
    },
    /// Stale routes become long-lived stale ones (RFC 9494 §4.2).
    LongLived {
        /// Of this family.
        family: Family,
    },
    /// Stale routes go.
    EndRetention {
        /// Of this family.
        family: Family,
    },
    /// A session or an attempt at one ended in an error.
    Failed {
        /// What it was, in words.
        error: String,
    },
    /// A ROUTE-REFRESH for a negotiated family came.
    RouteRefresh(RouteRefresh),
    /// The state changed.
    Transition {
        /// State before.
        from: State,
        /// State now.
        to: State,
    },
}

/// Whether the session should be up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Will {
    /// Stopped by the operator, or not started yet.
    Stopped,
    /// As it should be.
    Running,
    /// Waiting after an error (RFC 4271 §8.1.1, DampPeerOscillations).
    Holding { until: Instant },
    /// Kept down after the peer exceeded a limit; `None` until somebody resets it.
    Limited { until: Option<Instant> },
}

/// One session, from configuration to the end of the neighbor.
#[derive(Debug)]
pub struct Session {
    settings: SessionSettings,
    will: Will,
    /// A TCP connection is being opened.
    connecting: bool,
    /// When the next attempt is due (ConnectRetryTimer).
    connect_retry: Option<Instant>,
    outgoing: Option<Connection>,
    incoming: Option<Connection>,
    /// Since when nothing is read.
    paused: Option<Instant>,
    failures: Failures,
    retention: Retention,
    restart: RestartState,
    was_established: bool,
    jitter: Jitter,
    last_sent: Option<Notification>,
    last_received: Option<Notification>,
}

impl Session {
    /// A session in Idle.
    #[must_use]
    pub fn new(settings: SessionSettings) -> Self {
        Self {
            jitter: Jitter::new(settings.jitter_seed),
            settings,
            will: Will::Stopped,
            connecting: false,
            connect_retry: None,
            outgoing: None,
            incoming: None,
            paused: None,
            failures: Failures::default(),
            retention: Retention::default(),
            restart: RestartState::default(),
            was_established: false,
            last_sent: None,
            last_received: None,
        }
    }

    /// Settings for OPENs and attempts from now on; a session that is up keeps what it negotiated.
    pub fn replace_settings(&mut self, settings: SessionSettings, now: Instant) {
        let old = std::mem::replace(&mut self.settings, settings);
        let new = &self.settings;
        // Whoever has shortened a time does not want to wait for the long one first.
        self.connect_retry = self.connect_retry.map(|at| at.min(now + new.connect_retry));
        if let Will::Holding { until } = &mut self.will
            && new.idle_hold < old.idle_hold
        {
            *until = (now + new.idle_hold).min(*until);
        }
        if old.passive && !new.passive && self.will == Will::Running && self.is_alone() && !self.connecting {
            // Nothing else would make it connect.
            self.connect_retry = Some(now);
        }
    }

    /// What OPENs say of this speaker's own restart from now on.
    pub fn set_restart(&mut self, restart: RestartState) {
        self.restart = restart;
    }

    /// Stale routes of the peer, by family.
    #[must_use]
    pub fn retained(&self) -> &[Retained] {
        self.retention.families()
    }

    /// Takes an input in and appends what is to be done.
    pub fn handle(&mut self, input: Input<'_>, now: Instant, actions: &mut Vec<Action>) {
        let from = self.state();
        match input {
            Input::Start => self.start(now, actions),
            Input::Stop { notification } => self.stop(&notification, actions),
            Input::Leave { notification } => self.leave(&notification, actions),
            Input::Reset { notification, hold_down } => self.reset(&notification, hold_down, now, actions),
            Input::Limited { notification, error, wait } => self.limited(&notification, error, wait, now, actions),
            Input::Connected { conn } => self.connected(conn, now, actions),
            Input::ConnectFailed { error } => self.connect_failed(error, now, actions),
            Input::Closed { conn, error } => self.closed(conn, error, now, actions),
            Input::Frame { conn, frame } => self.frame(conn, &frame, now, actions),
            Input::EndOfRib { family } => self.retention.end_of_rib(family),
            Input::Fault { conn, notification, error } => {
                let error = format!("sent NOTIFICATION: {notification}: {error}");
                self.fail(conn, Some(notification), error, now, actions);
            }
            Input::SendHoldExpired { conn } => {
                // RFC 9687 §3.2: the NOTIFICATION may not get through, the connection is closed all the same.
                let error = "send hold timer expired: the peer takes no data".to_owned();
                self.fail(conn, Some(Notification::send_hold_timer_expired()), error, now, actions);
            }
            Input::ReadPaused => self.paused = self.paused.or(Some(now)),
            Input::ReadResumed => self.resume(now),
            Input::Tick => self.tick(now, actions),
        }
        if self.is_alone() {
            // Whatever is not read is gone with the connection.
            self.paused = None;
        }
        let to = self.state();
        if from != to {
            actions.push(Action::Transition { from, to });
        }
    }

    /// The state of RFC 4271 §8.2.2.
    #[must_use]
    pub fn state(&self) -> State {
        let connections = self.outgoing.iter().chain(&self.incoming);
        match connections.map(|connection| connection.phase.state()).max() {
            Some(state) => state,
            None if self.will != Will::Running => State::Idle,
            None if self.connecting => State::Connect,
            None => State::Active,
        }
    }

    /// The connection that routes go over.
    #[must_use]
    pub fn established(&self) -> Option<(ConnectionId, &Arc<Negotiated>)> {
        ConnectionId::BOTH.into_iter().find_map(|conn| match &self.connection(conn)?.phase {
            Phase::Established { negotiated, .. } => Some((conn, negotiated)),
            Phase::OpenSent | Phase::OpenConfirm { .. } => None,
        })
    }

    /// Whether UPDATEs on a connection are routes, rather than an error.
    #[must_use]
    pub fn receives_updates(&self, conn: ConnectionId) -> bool {
        self.established().is_some_and(|(established, _)| established == conn)
    }

    /// Whether it is kept down because the peer exceeded a limit.
    #[must_use]
    pub fn is_limited(&self) -> bool {
        matches!(self.will, Will::Limited { .. })
    }

    /// Longest message that may come on a connection: who offers to receive extended messages must, whatever the peer
    /// offers itself (RFC 8654 §4).
    #[must_use]
    pub fn max_message_len(&self, conn: ConnectionId) -> usize {
        let negotiated = self.connection(conn).and_then(|connection| connection.phase.negotiated());
        match negotiated.map(|negotiated| &negotiated.sent.capabilities) {
            Some(offered) if offered.contains(&Capability::ExtendedMessage) => frame::MAX_EXTENDED_LEN,
            _ => frame::MAX_LEN,
        }
    }

    /// The last NOTIFICATION sent.
    #[must_use]
    pub fn last_sent(&self) -> Option<&Notification> {
        self.last_sent.as_ref()
    }

    /// The last NOTIFICATION received.
    #[must_use]
    pub fn last_received(&self) -> Option<&Notification> {
        self.last_received.as_ref()
    }

    fn connection(&self, conn: ConnectionId) -> Option<&Connection> {
        match conn {
            ConnectionId::Outgoing => self.outgoing.as_ref(),
            ConnectionId::Incoming => self.incoming.as_ref(),
        }
    }

    fn slot(&mut self, conn: ConnectionId) -> &mut Option<Connection> {
        match conn {
            ConnectionId::Outgoing => &mut self.outgoing,
            ConnectionId::Incoming => &mut self.incoming,
        }
    }

    fn is_alone(&self) -> bool {
        self.outgoing.is_none() && self.incoming.is_none()
    }

    fn start(&mut self, now: Instant, actions: &mut Vec<Action>) {
        if self.will != Will::Running {
            self.will = Will::Running;
            self.try_connect(now, actions);
        }
    }

    fn stop(&mut self, notification: &Notification, actions: &mut Vec<Action>) {
        self.end_all(notification, "stopped by the operator", actions);
        self.will = Will::Stopped;
        self.failures = Failures::default();
    }

    fn leave(&mut self, notification: &Notification, actions: &mut Vec<Action>) {
        self.part(notification, actions);
        self.will = Will::Stopped;
    }

    fn reset(&mut self, notification: &Notification, hold_down: bool, now: Instant, actions: &mut Vec<Action>) {
        if self.will == Will::Stopped {
            return;
        }
        self.end_all(notification, "reset by the operator", actions);
        if hold_down {
            self.hold(now, actions);
        } else {
            self.will = Will::Running;
            self.try_connect(now, actions);
        }
    }

    /// Opens a connection if it is this side's turn to (RFC 4271 §8.1.1, PassiveTcpEstablishment).
    fn try_connect(&mut self, now: Instant, actions: &mut Vec<Action>) {
        if self.settings.passive || self.outgoing.is_some() {
            self.connect_retry = None;
            return;
        }
        if self.connecting {
            actions.push(Action::AbortConnect);
            if self.is_alone() {
                actions.push(Action::Failed { error: NO_ANSWER.to_owned() });
            }
        }
        self.connecting = true;
        self.connect_retry = Some(now + self.jitter.of(self.settings.connect_retry));
        actions.push(Action::Connect);
    }

    fn connected(&mut self, conn: ConnectionId, now: Instant, actions: &mut Vec<Action>) {
        if conn == ConnectionId::Outgoing {
            self.connecting = false;
        }
        if !self.accepts(conn) {
            actions.push(Action::Close { conn });
            return;
        }
        // A connection in a waiting session starts it: the peer is there again.
        self.will = Will::Running;
        self.connect_retry = None;
        // Once there was a session, the peer has nothing any more of before this speaker's restart.
        let forwarding_kept = self.restart.forwarding_kept || self.was_established;
        let open = self.settings.open(RestartState { forwarding_kept, ..self.restart });
        let mut bytes = Vec::new();
        open.encode(&mut bytes);
        *self.slot(conn) = Some(Connection::new(open, now));
        actions.push(Action::Send { conn, bytes });
    }

    /// Whether a new connection is welcome. After one error a peer that comes back is; only one that fails again and
    /// again has to wait (RFC 4271 §8.1.1, DampPeerOscillations), unless its routes wait for it (RFC 4724 §4.2): to
    /// refuse it would let them go.
    fn accepts(&self, conn: ConnectionId) -> bool {
        match self.will {
            Will::Stopped | Will::Limited { .. } => false,
            Will::Running => self.connection(conn).is_none(),
            Will::Holding { .. } => !self.failures.repeated() || self.retention.awaits_peer(),
        }
    }

    fn connect_failed(&mut self, error: String, now: Instant, actions: &mut Vec<Action>) {
        self.connecting = false;
        // With a session on the other connection nobody needs this one.
        if !self.is_alone() || self.will != Will::Running {
            return;
        }
        actions.push(Action::Failed { error });
        // The ConnectRetryTimer stopped if there was another connection in the meantime.
        if self.connect_retry.is_none() && !self.settings.passive {
            self.connect_retry = Some(now + self.jitter.of(self.settings.connect_retry));
        }
    }

    fn resume(&mut self, now: Instant) {
        let Some(paused) = self.paused.take() else { return };
        let pause = now.saturating_duration_since(paused);
        for connection in self.outgoing.iter_mut().chain(&mut self.incoming) {
            connection.hold = connection.hold.map(|hold| hold + pause);
        }
    }

    fn tick(&mut self, now: Instant, actions: &mut Vec<Action>) {
        self.retention.tick(now, actions);
        for conn in ConnectionId::BOTH {
            self.tick_connection(conn, now, actions);
        }
        match self.will {
            Will::Holding { until } | Will::Limited { until: Some(until) } if until <= now => {
                self.will = Will::Running;
                self.try_connect(now, actions);
            }
            Will::Running if self.connect_retry.is_some_and(|at| at <= now) => self.try_connect(now, actions),
            Will::Stopped | Will::Running | Will::Holding { .. } | Will::Limited { .. } => {}
        }
    }

    fn tick_connection(&mut self, conn: ConnectionId, now: Instant, actions: &mut Vec<Action>) {
        let paused = self.paused.is_some();
        let Some(connection) = self.slot(conn) else { return };
        if !paused && connection.hold.is_some_and(|at| at <= now) {
            let error = connection.hold_error();
            self.fail(conn, Some(Notification::hold_timer_expired()), error, now, actions);
            return;
        }
        if connection.keepalive.is_some_and(|at| at <= now) {
            self.send_keepalive(conn, now, actions);
        }
    }

    fn send_keepalive(&mut self, conn: ConnectionId, now: Instant, actions: &mut Vec<Action>) {
        let Some(interval) = self.connection(conn).and_then(Connection::keepalive_interval) else { return };
        let next = now + self.jitter.of(interval);
        if let Some(connection) = self.slot(conn) {
            connection.keepalive = Some(next);
        }
        actions.push(Action::Send { conn, bytes: frame::KEEPALIVE.to_vec() });
    }

    /// When [`Input::Tick`] is due.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        let held = match self.will {
            Will::Holding { until } => Some(until),
            Will::Limited { until } => until,
            Will::Running => self.connect_retry,
            Will::Stopped => None,
        };
        let connections = self.outgoing.iter().chain(&self.incoming);
        let timers = connections.flat_map(|connection| {
            [connection.hold.filter(|_| self.paused.is_none()), connection.keepalive].into_iter().flatten()
        });
        timers.chain(held).chain(self.retention.deadline()).min()
    }

    /// Time of the longest wait after errors.
    pub const IDLE_HOLD_MAX: Duration = Duration::from_secs(60);
}
