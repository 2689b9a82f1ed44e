//! Graceful restart as the helper: which ends of a session leave routes behind, and what ends that.

use bgp_wire::capability::GracefulRestart;

use super::*;
use crate::session::{RestartState, Waiting};

const CONN: ConnectionId = ConnectionId::Outgoing;
const V4: Family = Family::IPV4_UNICAST;
const V6: Family = Family::IPV6_UNICAST;

/// Graceful restart for both families, long-lived for IPv4: with R bit, F bits, N bit.
pub(super) fn capabilities(restarting: bool, kept: bool, notification: bool) -> Vec<Capability> {
    let families = vec![(V4, kept), (V6, kept)];
    vec![
        Capability::GracefulRestart(GracefulRestart { restarting, notification, restart_seconds: 120, families }),
        Capability::LongLivedGracefulRestart(vec![(V4, kept, 3600)]),
    ]
}

fn graceful() -> SessionSettings {
    let mut settings = settings();
    settings.capabilities.extend(capabilities(false, true, true));
    settings
}

fn peer(offered: Vec<Capability>) -> Open {
    let mut open = peer_open();
    open.capabilities.extend(offered);
    open
}

impl Rig {
    fn establish_with(&mut self, conn: ConnectionId, open: &Open) -> &mut Self {
        self.connected(conn).receive(conn, &encoded(open)).keepalive(conn)
    }

    fn graceful(offered: Vec<Capability>) -> Self {
        let mut rig = Self::new(graceful());
        rig.input(Input::Start).establish_with(CONN, &peer(offered));
        assert_eq!(rig.state(), State::Established);
        rig.take();
        rig
    }

    /// What the session has said of routes since it was last asked.
    fn told(&mut self) -> Vec<Action> {
        let is_of_routes = |action: &Action| {
            matches!(action, Action::Down { .. } | Action::LongLived { .. } | Action::EndRetention { .. })
        };
        self.take().into_iter().filter(is_of_routes).collect()
    }

    #[track_caller]
    fn assert_retained(&mut self, expected: &[Family]) {
        let told = self.told();
        assert!(matches!(told.as_slice(), [Action::Down { retained, .. }] if retained == expected), "{told:?}");
    }
}

#[test]
fn routes_outlive_a_lost_connection() {
    // RFC 4724 §4.2
    let mut rig = Rig::graceful(capabilities(false, true, false));
    rig.closed(CONN).assert_retained(&[V4, V6]);
    assert_eq!(rig.session.retained()[0].waiting, Waiting::Restarting);
}

#[test]
fn routes_do_not_outlive_a_session_without_the_capability_on_both_sides() {
    // RFC 4724 §4
    let mut rig = Rig::graceful(Vec::new());
    rig.closed(CONN).assert_retained(&[]);
    let mut rig = Rig::new(settings());
    rig.input(Input::Start).establish_with(CONN, &peer(capabilities(false, true, true))).take();
    rig.closed(CONN).assert_retained(&[]);
}

#[test]
fn routes_outlive_a_notification_if_both_have_said_so() {
    // RFC 8538 §4
    for (offered, expected) in [(true, &[V4, V6][..]), (false, &[])] {
        let rig = || Rig::graceful(capabilities(false, true, offered));
        rig().receive(CONN, &notification_bytes(&shutdown())).assert_retained(expected);
        let mut expired = rig();
        expired.wait(Duration::from_secs(90)).input(Input::Tick).assert_retained(expected);
        let notification = Notification::not_synchronized();
        rig().input(Input::Fault { conn: CONN, notification, error: String::new() }).assert_retained(expected);
    }
}

#[test]
fn a_hard_reset_leaves_nothing() {
    // RFC 8538 §3
    let mut rig = Rig::graceful(capabilities(false, true, true));
    rig.receive(CONN, &notification_bytes(&Notification::hard_reset(&shutdown()))).assert_retained(&[]);
}

#[test]
fn the_operator_ends_a_session_with_a_hard_reset() {
    // RFC 8538 §3
    let mut rig = Rig::graceful(capabilities(false, true, true));
    rig.input(Input::Stop { notification: shutdown() });
    assert_eq!(rig.notifications().pop(), Some((CONN, Notification::hard_reset(&shutdown()))));
    let mut rig = Rig::graceful(capabilities(false, true, false));
    rig.input(Input::Stop { notification: shutdown() });
    assert_eq!(rig.notifications().pop(), Some((CONN, shutdown())));
}

#[test]
fn a_speaker_that_restarts_leaves_so_that_peers_keep_its_routes() {
    // RFC 8538 §4: a NOTIFICATION that is no Hard Reset; RFC 4724 §4: none at all; else RFC 4271 §6.7
    let both = capabilities(false, true, true);
    let silent = capabilities(false, true, false);
    for (offered, expected) in [(both, Some(shutdown())), (silent, None), (Vec::new(), Some(shutdown()))] {
        let mut rig = Rig::graceful(offered);
        rig.input(Input::Leave { notification: shutdown() });
        let actions = rig.take();
        assert!(actions.contains(&Action::Close { conn: CONN }), "{actions:?}");
        let sent = actions.iter().find_map(|action| match action {
            Action::Send { bytes, .. } => sent_notification(bytes),
            _ => None,
        });
        assert_eq!(sent, expected);
        // Nothing is withdrawn from peers whose session ends a moment later.
        assert!(actions.iter().any(|action| matches!(action, Action::Down { retained, .. } if *retained == [V4, V6])));
        assert_eq!(rig.state(), State::Idle);
    }
}

#[test]
fn stale_routes_go_after_the_restart_time_and_long_lived_ones_after_theirs() {
    // RFC 4724 §4.2, RFC 9494 §4.2
    let mut rig = Rig::graceful(capabilities(false, true, true));
    rig.closed(CONN).take();
    rig.wait(Duration::from_secs(119)).input(Input::Tick);
    assert_eq!(rig.told(), []);
    rig.wait(Duration::from_secs(1)).input(Input::Tick);
    assert_eq!(rig.told(), [Action::LongLived { family: V4 }, Action::EndRetention { family: V6 }]);
    rig.wait(Duration::from_secs(3599)).input(Input::Tick);
    assert_eq!(rig.told(), []);
    rig.wait(Duration::from_secs(1)).input(Input::Tick);
    assert_eq!(rig.told(), [Action::EndRetention { family: V4 }]);
    assert_eq!(rig.session.retained(), []);
}

#[test]
fn the_smaller_long_lived_stale_time_counts() {
    // RFC 9494 §4.2
    let offered = Capability::LongLivedGracefulRestart(vec![(V4, true, 60)]);
    let restart = GracefulRestart { restart_seconds: 0, ..GracefulRestart::default() };
    let mut rig = Rig::graceful(vec![Capability::GracefulRestart(restart), offered]);
    rig.closed(CONN).assert_retained(&[V4]);
    rig.input(Input::Tick);
    assert_eq!(rig.told(), [Action::LongLived { family: V4 }], "without a restart time at once");
    rig.wait(Duration::from_secs(60)).input(Input::Tick);
    assert_eq!(rig.told(), [Action::EndRetention { family: V4 }]);
}

#[test]
fn the_long_lived_stale_time_goes_on_over_sessions_that_are_not_synchronized() {
    // RFC 9494 §4.2: 120 s of restart time, then 3600 s. The peer comes back twice without an End-of-RIB.
    let back = peer(capabilities(true, true, true));
    let mut rig = Rig::graceful(capabilities(false, true, true));
    rig.closed(CONN).wait(Duration::from_secs(120)).input(Input::Tick).take();
    rig.wait(Duration::from_secs(1000)).establish_with(CONN, &back);
    rig.closed(CONN).assert_retained(&[V4, V6]);
    assert_eq!(rig.session.retained()[0].waiting, Waiting::Restarting);
    rig.wait(Duration::from_secs(120)).input(Input::Tick);
    assert_eq!(rig.told(), [Action::LongLived { family: V4 }, Action::EndRetention { family: V6 }]);
    rig.wait(Duration::from_secs(2400)).establish_with(CONN, &back);
    rig.closed(CONN).assert_retained(&[V4, V6]);
    // 80 s of the first 3600 s are left, less than the restart time.
    rig.wait(Duration::from_secs(79)).input(Input::Tick);
    assert_eq!(rig.told(), []);
    rig.wait(Duration::from_secs(1)).input(Input::Tick);
    assert_eq!(rig.told(), [Action::EndRetention { family: V4 }]);
}

#[test]
fn an_end_of_rib_ends_the_long_lived_stale_time() {
    // RFC 9494 §4.2: the next one is whole again.
    let mut rig = Rig::graceful(capabilities(false, true, true));
    rig.closed(CONN).wait(Duration::from_secs(120)).input(Input::Tick);
    rig.wait(Duration::from_secs(3000)).establish_with(CONN, &peer(capabilities(true, true, true)));
    rig.input(Input::EndOfRib { family: V4 }).take();
    rig.closed(CONN).wait(Duration::from_secs(120)).input(Input::Tick).take();
    rig.wait(Duration::from_secs(3599)).input(Input::Tick);
    assert_eq!(rig.told(), []);
    rig.wait(Duration::from_secs(1)).input(Input::Tick);
    assert_eq!(rig.told(), [Action::EndRetention { family: V4 }]);
}

#[test]
fn nothing_outlives_an_unsynchronized_session_whose_long_lived_stale_time_is_over() {
    // RFC 9494 §4.2
    for (synchronized, expected) in [(false, &[V6][..]), (true, &[V4, V6])] {
        let mut rig = Rig::graceful(capabilities(false, true, true));
        rig.closed(CONN).wait(Duration::from_secs(120)).input(Input::Tick);
        rig.wait(Duration::from_secs(3599)).establish_with(CONN, &peer(capabilities(true, true, true))).take();
        rig.wait(Duration::from_secs(1)).input(Input::Tick);
        assert_eq!(rig.told(), [Action::EndRetention { family: V4 }]);
        if synchronized {
            rig.input(Input::EndOfRib { family: V4 });
        }
        rig.closed(CONN).assert_retained(expected);
    }
}

#[test]
fn a_peer_that_is_back_has_until_end_of_rib_or_the_stale_path_time() {
    // RFC 4724 §4.2
    let mut rig = Rig::graceful(capabilities(false, true, true));
    rig.closed(CONN).wait(Duration::from_secs(6)).input(Input::Tick);
    rig.establish_with(CONN, &peer(capabilities(true, true, true))).take();
    assert_eq!(rig.session.retained()[0].waiting, Waiting::Returning);
    rig.input(Input::EndOfRib { family: V4 });
    assert_eq!(rig.session.retained().len(), 1);
    for _ in 0..20 {
        rig.wait(Duration::from_secs(15)).keepalive(CONN).input(Input::Tick);
    }
    assert_eq!(rig.told(), [Action::EndRetention { family: V6 }]);
}

#[test]
fn stale_routes_go_at_once_if_the_new_open_does_not_speak_for_them() {
    // RFC 4724 §4.2: the family is not there, the F bit is not set, or the capability is missing.
    let families = vec![(V4, true)];
    let only_v4 = GracefulRestart { restarting: true, restart_seconds: 120, families, ..GracefulRestart::default() };
    let lost = capabilities(true, false, true);
    for (offered, gone) in [
        (vec![Capability::GracefulRestart(only_v4)], &[V6][..]),
        (lost, &[V4, V6]),
        (Vec::new(), &[V4, V6]),
        (capabilities(true, true, true), &[]),
    ] {
        let mut rig = Rig::graceful(capabilities(false, true, true));
        rig.closed(CONN).wait(Duration::from_secs(6)).input(Input::Tick).take();
        rig.establish_with(CONN, &peer(offered));
        let expected: Vec<_> = gone.iter().map(|family| Action::EndRetention { family: *family }).collect();
        assert_eq!(rig.told(), expected);
    }
}

#[test]
fn another_router_at_the_same_address_does_not_inherit_routes() {
    let mut rig = Rig::graceful(capabilities(false, true, true));
    rig.closed(CONN).wait(Duration::from_secs(6)).input(Input::Tick).take();
    let other = Open { router_id: Ipv4Addr::new(10, 0, 0, 77), ..peer(capabilities(true, true, true)) };
    rig.establish_with(CONN, &other);
    assert_eq!(rig.told(), [Action::EndRetention { family: V4 }, Action::EndRetention { family: V6 }]);
}

#[test]
fn a_peer_that_has_restarted_takes_the_place_of_its_lost_connection() {
    // RFC 4724 §5
    let mut rig = Rig::graceful(capabilities(false, true, true));
    let new = ConnectionId::Incoming;
    rig.wait(Duration::from_secs(2)).connected(new).receive(new, &encoded(&peer(capabilities(true, true, true))));
    rig.assert_retained(&[V4, V6]);
    rig.keepalive(new);
    assert_eq!(rig.state(), State::Established);
    assert!(rig.session.receives_updates(new));
}

#[test]
fn a_peer_that_has_restarted_and_connects_at_the_same_time_as_this_speaker_keeps_the_first_session() {
    // RFC 4271 §6.8: its OPENs say on both connections that it has restarted (RFC 4724 §4.1).
    for pause in [Duration::ZERO, Duration::from_millis(999)] {
        let mut rig = Rig::graceful(capabilities(true, true, true));
        let crossing = ConnectionId::Incoming;
        rig.wait(pause).connected(crossing);
        rig.wait(Duration::from_secs(5)).receive(crossing, &encoded(&peer(capabilities(true, true, true))));
        let cease = Notification::cease(CeaseSubcode::ConnectionCollision);
        assert_eq!(rig.notifications(), [(crossing, cease)]);
        assert_eq!(rig.state(), State::Established);
        assert!(rig.session.receives_updates(CONN));
    }
}

#[test]
fn open_says_whether_this_speaker_has_restarted() {
    // RFC 4724 §3
    for (restarting, forwarding_kept) in [(true, true), (true, false), (false, true)] {
        let mut rig = Rig::new(graceful());
        rig.session.set_restart(RestartState { restarting, forwarding_kept });
        rig.input(Input::Start).establish_with(CONN, &peer(Vec::new()));
        let (_, negotiated) = rig.session.established().expect("established");
        let expected = capabilities(restarting, forwarding_kept, true);
        assert!(negotiated.sent.capabilities.ends_with(&expected), "{:?}", negotiated.sent.capabilities);
    }
}

#[test]
fn the_operator_ends_retention() {
    let mut rig = Rig::graceful(capabilities(false, true, true));
    rig.closed(CONN).take();
    rig.input(Input::Stop { notification: shutdown() });
    assert_eq!(rig.told(), [Action::EndRetention { family: V4 }, Action::EndRetention { family: V6 }]);
    assert_eq!(rig.session.next_deadline(), None);
}

/// RFC 4724 §4.2: the routes wait for the peer, so it is not refused, however often it restarts.
#[test]
fn peer_whose_routes_wait_for_it_is_let_in_however_often_it_restarts() {
    let mut rig = Rig::graceful(capabilities(false, true, true));
    let mut conn = CONN;
    for _ in 0..6 {
        rig.closed(conn);
        assert_eq!(rig.state(), State::Idle);
        rig.connected(ConnectionId::Incoming);
        assert_eq!(rig.state(), State::OpenSent);
        rig.receive(ConnectionId::Incoming, &encoded(&peer(capabilities(true, true, true))));
        rig.keepalive(ConnectionId::Incoming);
        assert_eq!(rig.state(), State::Established);
        conn = ConnectionId::Incoming;
    }
}
