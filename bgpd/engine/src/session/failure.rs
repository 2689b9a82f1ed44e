//! Ends of connections, and the wait after errors.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bgp_wire::Notification;

use super::connection::Phase;
use super::retention::Ending;
use super::{Action, ConnectionId, Session, Will};

/// A session that lasted this long has recovered.
const STABLE: Duration = Duration::from_secs(60);

/// The least unit of the wait between errors in a row.
const LEAST: Duration = Duration::from_secs(1);

/// Errors in a row.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Failures(u32);

impl Failures {
    /// More than two: the peer is not just coming back.
    pub(super) fn repeated(self) -> bool {
        self.0 > 2
    }

    /// Counts one more; how long to wait.
    fn next(&mut self, base: Duration) -> Duration {
        // Without an idle hold time the first attempt comes at once, but what fails again and again has to wait.
        let step = if self.0 == 0 { base } else { base.max(LEAST) };
        let wait = step.saturating_mul(1 << self.0.min(16)).min(Session::IDLE_HOLD_MAX.max(base));
        self.0 += 1;
        wait
    }
}

impl Session {
    /// The other end of a connection has closed it.
    pub(super) fn closed(
        &mut self,
        conn: ConnectionId,
        error: Option<String>,
        now: Instant,
        actions: &mut Vec<Action>,
    ) {
        let Some(connection) = self.connection(conn) else { return };
        let state = connection.phase.state();
        let error = match error {
            Some(error) => format!("connection lost in {state}: {error}"),
            None => format!("connection closed by the peer in {state}"),
        };
        if let Phase::OpenSent = connection.phase {
            // RFC 4271 §8.2.2: back to Active, the ConnectRetryTimer runs.
            *self.slot(conn) = None;
            if self.is_alone() {
                self.connect_retry = Some(now + self.jitter.of(self.settings.connect_retry));
                actions.push(Action::Failed { error });
            }
            return;
        }
        self.lose(conn, error, Ending::Transport, now, actions);
    }

    /// Ends a connection because of an error.
    pub(super) fn fail(
        &mut self,
        conn: ConnectionId,
        notification: Option<Notification>,
        error: String,
        now: Instant,
        actions: &mut Vec<Action>,
    ) {
        if self.connection(conn).is_none() {
            return;
        }
        if let Some(notification) = notification {
            self.notify(conn, &notification, actions);
        }
        actions.push(Action::Close { conn });
        self.lose(conn, error, Ending::Notification, now, actions);
    }

    /// Forgets a connection; without another one the session waits before it tries again.
    pub(super) fn lose(
        &mut self,
        conn: ConnectionId,
        error: String,
        ending: Ending,
        now: Instant,
        actions: &mut Vec<Action>,
    ) {
        let Some(connection) = self.slot(conn).take() else { return };
        if let Phase::Established { since, negotiated } = connection.phase {
            if now.saturating_duration_since(since) >= STABLE {
                self.failures = Failures::default();
            }
            let retained = self.retention.begin(&negotiated, ending, now);
            actions.push(Action::Down { reason: error.clone(), retained });
        }
        if self.is_alone() {
            actions.push(Action::Failed { error });
            self.hold(now, actions);
        }
    }

    /// Ends a connection that lost against the other one (RFC 4271 §6.8): not an error.
    pub(super) fn drop_connection(
        &mut self,
        conn: ConnectionId,
        notification: &Notification,
        actions: &mut Vec<Action>,
    ) {
        if self.slot(conn).take().is_some() {
            self.notify(conn, notification, actions);
            actions.push(Action::Close { conn });
        }
    }

    /// Ends everything on the operator's behalf.
    pub(super) fn end_all(&mut self, notification: &Notification, reason: &str, actions: &mut Vec<Action>) {
        let established = self.established().map(|(conn, negotiated)| (conn, negotiated.notifies_gracefully()));
        for conn in ConnectionId::BOTH {
            // RFC 8538 §3: the peer is not to keep the routes, so it is told in a Hard Reset.
            let hard = established == Some((conn, true));
            let notification = if hard { &Notification::hard_reset(notification) } else { notification };
            self.drop_connection(conn, notification, actions);
        }
        self.end_attempts(actions);
        self.retention.end(actions);
        if established.is_some() {
            actions.push(Action::Down { reason: reason.to_owned(), retained: Vec::new() });
        }
    }

    /// Ends everything in a way that peers with graceful restart keep the routes: with a NOTIFICATION if they keep
    /// them then as well (RFC 8538 §4), without one if they have graceful restart only (RFC 4724 §4).
    pub(super) fn part(&mut self, notification: &Notification, actions: &mut Vec<Action>) {
        let established = self.established().map(|(conn, negotiated)| (conn, Arc::clone(negotiated)));
        for conn in ConnectionId::BOTH {
            let silent = established.as_ref().is_some_and(|(established, negotiated)| {
                *established == conn && !negotiated.kept_by_peer().is_empty() && !negotiated.notifies_gracefully()
            });
            if silent {
                *self.slot(conn) = None;
                actions.push(Action::Close { conn });
            } else {
                self.drop_connection(conn, notification, actions);
            }
        }
        self.end_attempts(actions);
        if let Some((_, negotiated)) = established {
            // Nothing is withdrawn from peers whose session ends a moment later.
            let (reason, retained) = ("this speaker restarts".to_owned(), negotiated.families.clone());
            actions.push(Action::Down { reason, retained });
        }
    }

    /// Ends everything because the peer exceeded a limit (RFC 4486 §4), and keeps it out for a while.
    pub(super) fn limited(
        &mut self,
        notification: &Notification,
        error: String,
        wait: Option<Duration>,
        now: Instant,
        actions: &mut Vec<Action>,
    ) {
        if self.is_alone() {
            return;
        }
        self.end_all(notification, &error, actions);
        actions.push(Action::Failed { error });
        self.will = Will::Limited { until: wait.map(|wait| now + wait) };
    }

    fn end_attempts(&mut self, actions: &mut Vec<Action>) {
        if self.connecting {
            self.connecting = false;
            actions.push(Action::AbortConnect);
        }
        self.connect_retry = None;
    }

    /// Waits for the idle hold time (RFC 4271 §8.1.1, IdleHoldTimer).
    pub(super) fn hold(&mut self, now: Instant, actions: &mut Vec<Action>) {
        if self.connecting {
            self.connecting = false;
            actions.push(Action::AbortConnect);
        }
        self.connect_retry = None;
        let wait = self.failures.next(self.settings.idle_hold);
        if wait.is_zero() {
            self.will = Will::Running;
            self.try_connect(now, actions);
        } else {
            self.will = Will::Holding { until: now + self.jitter.of(wait) };
        }
    }

    pub(super) fn notify(&mut self, conn: ConnectionId, notification: &Notification, actions: &mut Vec<Action>) {
        let mut bytes = Vec::new();
        notification.encode(&mut bytes);
        self.last_sent = Some(notification.clone());
        actions.push(Action::Send { conn, bytes });
    }
}
