//! Messages, by the phase of the connection they come on (RFC 4271 §8.2.2).

use std::sync::Arc;
use std::time::Instant;

use bgp_wire::Notification;
use bgp_wire::frame::{Frame, MessageType};
use bgp_wire::notification::{self, CeaseSubcode, FsmSubcode};
use bgp_wire::open::Open;
use bgp_wire::route_refresh::RouteRefresh;

use super::connection::{Connection, Phase};
use super::negotiate::{Negotiated, Refused};
use super::retention::Ending;
use super::{Action, ConnectionId, Session};

impl Session {
    pub(super) fn frame(&mut self, conn: ConnectionId, frame: &Frame<'_>, now: Instant, actions: &mut Vec<Action>) {
        let Some(connection) = self.slot(conn) else { return };
        match (&connection.phase, frame.kind) {
            (_, MessageType::Notification) => self.notification(conn, frame.body, now, actions),
            (Phase::OpenSent, MessageType::Open) => self.open(conn, frame.body, now, actions),
            (Phase::OpenConfirm { negotiated }, MessageType::Keepalive) => {
                let negotiated = Arc::clone(negotiated);
                self.establish(conn, negotiated, now, actions);
            }
            (Phase::Established { .. }, MessageType::Keepalive | MessageType::Update) => connection.heard(now),
            (Phase::Established { negotiated, .. }, MessageType::RouteRefresh) => {
                let negotiated = Arc::clone(negotiated);
                connection.heard(now);
                self.route_refresh(conn, frame.body, &negotiated, now, actions);
            }
            (Phase::OpenSent, kind) => self.unexpected(conn, FsmSubcode::OpenSent, kind, now, actions),
            (Phase::OpenConfirm { .. }, kind) => self.unexpected(conn, FsmSubcode::OpenConfirm, kind, now, actions),
            (Phase::Established { .. }, kind) => self.unexpected(conn, FsmSubcode::Established, kind, now, actions),
        }
    }

    /// RFC 6608 §3.
    fn unexpected(
        &mut self,
        conn: ConnectionId,
        subcode: FsmSubcode,
        kind: MessageType,
        now: Instant,
        actions: &mut Vec<Action>,
    ) {
        let notification = Notification::fsm(subcode, kind);
        let error = format!("sent NOTIFICATION: {notification}: message type {}", kind.code());
        self.fail(conn, Some(notification), error, now, actions);
    }

    fn notification(&mut self, conn: ConnectionId, body: &[u8], now: Instant, actions: &mut Vec<Action>) {
        let notification = Notification::decode(body);
        let error = format!("received NOTIFICATION: {notification}");
        let collision = notification.code == notification::code::CEASE
            && notification.subcode == CeaseSubcode::ConnectionCollision as u8;
        let ending = if notification.is_hard_reset() { Ending::Hard } else { Ending::Notification };
        self.last_received = Some(notification);
        if collision {
            return self.lost_collision(conn, now, actions);
        }
        if self.connection(conn).is_some() {
            actions.push(Action::Close { conn });
            self.lose(conn, error, ending, now, actions);
        }
    }

    fn open(&mut self, conn: ConnectionId, body: &[u8], now: Instant, actions: &mut Vec<Action>) {
        let Some(sent) = self.connection(conn).map(|connection| connection.sent.clone()) else { return };
        let negotiated = Open::decode(body)
            .map_err(|notification| Refused { notification, error: "the peer's OPEN cannot be accepted".to_owned() })
            .and_then(|received| Negotiated::new(&self.settings, sent, received));
        let negotiated = match negotiated {
            Ok(negotiated) => Arc::new(negotiated),
            Err(Refused { notification, error }) => {
                let error = format!("sent NOTIFICATION: {notification}: {error}");
                self.fail(conn, Some(notification), error, now, actions);
                return;
            }
        };
        if !self.resolve_collision(conn, &negotiated, now, actions) {
            return;
        }
        if let Some(connection) = self.slot(conn) {
            connection.phase = Phase::OpenConfirm { negotiated };
            connection.heard(now);
        }
        actions.push(Action::Send { conn, bytes: bgp_wire::frame::KEEPALIVE.to_vec() });
        self.schedule_keepalive(conn, now);
    }

    fn schedule_keepalive(&mut self, conn: ConnectionId, now: Instant) {
        let interval = self.connection(conn).and_then(Connection::keepalive_interval);
        let next = interval.map(|interval| now + self.jitter.of(interval));
        if let Some(connection) = self.slot(conn) {
            connection.keepalive = next;
        }
    }

    fn establish(&mut self, conn: ConnectionId, negotiated: Arc<Negotiated>, now: Instant, actions: &mut Vec<Action>) {
        // RFC 4271 §6.8: a connection that has not come as far as this one has lost.
        let cease = Notification::cease(CeaseSubcode::ConnectionCollision);
        self.drop_connection(conn.other(), &cease, actions);
        if self.connecting {
            self.connecting = false;
            actions.push(Action::AbortConnect);
        }
        self.connect_retry = None;
        self.was_established = true;
        if let Some(connection) = self.slot(conn) {
            connection.phase = Phase::Established { negotiated: Arc::clone(&negotiated), since: now };
            connection.heard(now);
        }
        self.retention.returned(&negotiated, self.settings.stale_path, now, actions);
        actions.push(Action::Established { conn, negotiated });
    }

    /// A family that was not negotiated is ignored (RFC 2918 §4).
    fn route_refresh(
        &mut self,
        conn: ConnectionId,
        body: &[u8],
        negotiated: &Negotiated,
        now: Instant,
        actions: &mut Vec<Action>,
    ) {
        match RouteRefresh::decode(body) {
            Ok(refresh) if negotiated.route_refresh && negotiated.families.contains(&refresh.family) => {
                actions.push(Action::RouteRefresh(refresh));
            }
            Ok(_) => {}
            // RFC 7313 §5.
            Err(notification) => {
                let error = format!("sent NOTIFICATION: {notification}");
                self.fail(conn, Some(notification), error, now, actions);
            }
        }
    }
}
