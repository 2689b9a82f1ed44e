//! Connection collision (RFC 4271 §6.8, RFC 6286 §2.3).

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use bgp_wire::Notification;
use bgp_wire::notification::CeaseSubcode;

use super::connection::Phase;
use super::negotiate::Negotiated;
use super::retention::Ending;
use super::{Action, ConnectionId, Session, SessionSettings};

/// The connection that stays: the one opened by the speaker with the higher BGP identifier, or with the higher AS
/// number if the identifiers are equal (RFC 6286 §2.3).
pub(super) fn winner(settings: &SessionSettings, peer_router_id: Ipv4Addr) -> ConnectionId {
    let ours = (u32::from(settings.router_id), settings.local_asn);
    let theirs = (u32::from(peer_router_id), settings.remote_asn);
    if ours > theirs { ConnectionId::Outgoing } else { ConnectionId::Incoming }
}

/// After a collision that left no connection the next attempt comes soon: nothing is wrong with the peer.
const RETRY: Duration = Duration::from_secs(1);

/// A connection that comes so soon after the other one is Established has crossed it: the peer has not restarted meanwhile,
/// it still says that it had before.
const CROSSING: Duration = Duration::from_secs(1);

/// How long the winner of a collision may take to the next message of the peer.
const PATIENCE: Duration = Duration::from_secs(10);

impl Session {
    /// The peer has decided against a connection (Cease / Connection Collision Resolution).
    pub(super) fn lost_collision(&mut self, conn: ConnectionId, now: Instant, actions: &mut Vec<Action>) {
        let connection = self.slot(conn).take();
        actions.push(Action::Close { conn });
        if let Some(Phase::Established { negotiated, .. }) = connection.map(|connection| connection.phase) {
            let retained = self.retention.begin(&negotiated, Ending::Transport, now);
            actions.push(Action::Down { reason: "the peer decided for another connection".to_owned(), retained });
        }
        if self.is_alone() && !self.connecting && !self.settings.passive {
            self.connect_retry = Some(now + self.jitter.of(RETRY));
        }
    }

    /// An OPEN came on `conn`: decides between it and the other connection. A connection in OpenSent counts as well,
    /// so that both ends choose the same one however the messages on the two connections interleave. False when
    /// `conn` has lost and is closed.
    pub(super) fn resolve_collision(
        &mut self,
        conn: ConnectionId,
        negotiated: &Negotiated,
        now: Instant,
        actions: &mut Vec<Action>,
    ) -> bool {
        let peer_router_id = negotiated.peer_router_id;
        let restarted = negotiated.graceful_restart.as_ref().is_some_and(|restart| restart.restarting);
        let opened = self.connection(conn).map(|connection| connection.opened);
        let other = conn.other();
        let cease = Notification::cease(CeaseSubcode::ConnectionCollision);
        match self.connection(other).map(|connection| &connection.phase) {
            None => true,
            Some(Phase::OpenSent | Phase::OpenConfirm { .. }) if winner(&self.settings, peer_router_id) == conn => {
                self.drop_connection(other, &cease, actions);
                true
            }
            Some(Phase::OpenSent | Phase::OpenConfirm { .. }) => {
                self.drop_connection(conn, &cease, actions);
                // The peer is there and answers; a connection on which it does not is not worth a long wait.
                if let Some(connection) = self.slot(other) {
                    connection.hold = Some(connection.hold.map_or(now + PATIENCE, |hold| hold.min(now + PATIENCE)));
                }
                false
            }
            Some(Phase::Established { since, .. }) if restarted && opened > Some(*since + CROSSING) => {
                // RFC 4724 §4.2, §5: a peer that has restarted has lost the first connection.
                actions.push(Action::Close { conn: other });
                let error = "the peer has restarted and opened a new connection".to_owned();
                self.lose(other, error, Ending::Transport, now, actions);
                true
            }
            Some(Phase::Established { .. }) => {
                self.drop_connection(conn, &cease, actions);
                // A peer that opens a second connection may have lost the first: its TCP answers this at once with a
                // reset if so, which frees the way without waiting for the hold timer.
                self.send_keepalive(other, now, actions);
                false
            }
        }
    }
}
