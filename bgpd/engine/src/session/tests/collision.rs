//! Connection collision (RFC 4271 §6.8, RFC 6286 §2.3) in every order of events, seen from one side.

use super::*;
use ConnectionId::{Incoming, Outgoing};

const ROUTER_ID: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);

fn cease() -> Notification {
    Notification::cease(CeaseSubcode::ConnectionCollision)
}

/// A session with a BGP identifier below, equal to or above the peer's, with both connections in OpenSent.
fn colliding(ours: Ipv4Addr, connected: [ConnectionId; 2]) -> Rig {
    let mut rig = Rig::new(SessionSettings { router_id: ours, ..settings() });
    rig.input(Input::Start);
    connected.into_iter().for_each(|conn| {
        rig.connected(conn);
    });
    rig.take();
    rig
}

#[test]
fn connection_of_the_higher_identifier_stays_whatever_the_order() {
    let cases = [
        (Ipv4Addr::new(10, 0, 0, 1), Incoming),
        (Ipv4Addr::new(10, 0, 0, 3), Outgoing),
        (Ipv4Addr::new(200, 0, 0, 1), Outgoing),
        // RFC 6286 §2.3: equal identifiers, the higher AS wins, which is the peer's.
        (ROUTER_ID, Incoming),
    ];
    for (ours, winner) in cases {
        for connected in [[Outgoing, Incoming], [Incoming, Outgoing]] {
            for opens in [[Outgoing, Incoming], [Incoming, Outgoing]] {
                let mut rig = colliding(ours, connected);
                rig.open(opens[0]);
                rig.open(opens[1]);
                let case = format!("{ours}, connected {connected:?}, OPENs {opens:?}");
                assert_eq!(rig.notifications(), [(winner.other(), cease())], "{case}");
                rig.keepalive(winner);
                assert_eq!(rig.session.established().map(|(conn, _)| conn), Some(winner), "{case}");
            }
        }
    }
}

#[test]
fn equal_identifiers_are_decided_by_the_higher_as() {
    // RFC 6286 §2.3, seen from the side with the higher AS.
    let settings =
        SessionSettings { local_asn: 65_003, router_id: ROUTER_ID, capabilities: capabilities(65_003), ..settings() };
    let mut rig = Rig::new(settings);
    rig.input(Input::Start).connected(Outgoing).connected(Incoming).open(Incoming);
    assert_eq!(rig.notifications(), [(Incoming, cease())]);
}

#[test]
fn connection_that_comes_after_open_confirm_is_judged_by_its_open() {
    for (ours, winner) in [(Ipv4Addr::new(10, 0, 0, 1), Incoming), (Ipv4Addr::new(10, 0, 0, 3), Outgoing)] {
        let mut rig = Rig::new(SessionSettings { router_id: ours, ..settings() });
        rig.input(Input::Start).connected(Outgoing).open(Outgoing);
        assert_eq!(rig.state(), State::OpenConfirm);
        rig.connected(Incoming).take();
        rig.open(Incoming);
        assert_eq!(rig.notifications(), [(winner.other(), cease())]);
        rig.keepalive(winner);
        assert_eq!(rig.state(), State::Established);
    }
}

#[test]
fn established_connection_is_never_given_up_for_a_new_one() {
    let mut rig = Rig::in_state(State::Established);
    rig.connected(Incoming).take();
    rig.open(Incoming);
    let actions = rig.take();
    // The KEEPALIVE finds out whether the peer still knows the old connection.
    assert!(actions.contains(&Action::Send { conn: Outgoing, bytes: frame::KEEPALIVE.to_vec() }));
    assert!(actions.contains(&Action::Close { conn: Incoming }));
    assert_eq!(rig.session.established().map(|(conn, _)| conn), Some(Outgoing));
}

#[test]
fn connection_established_first_ends_the_other_in_open_sent() {
    let mut rig = Rig::new(settings());
    rig.input(Input::Start).connected(Outgoing).open(Outgoing).connected(Incoming).take();
    rig.keepalive(Outgoing);
    assert_eq!(rig.notifications(), [(Incoming, cease())]);
    assert_eq!(rig.state(), State::Established);
}

#[test]
fn attempt_to_connect_is_given_up_when_the_other_connection_is_established() {
    let mut rig = Rig::new(settings());
    rig.input(Input::Start).connected(Incoming).open(Incoming).take();
    rig.keepalive(Incoming);
    assert!(rig.take().contains(&Action::AbortConnect));
    // It may have been too late for that: the peer then sees a second connection, and decides.
    rig.connected(Outgoing);
    assert_eq!(rig.session.established().map(|(conn, _)| conn), Some(Incoming));
}

#[test]
fn cease_with_collision_is_no_error_even_with_data() {
    for data in [vec![], vec![1, 2, 3]] {
        let mut rig = colliding(Ipv4Addr::new(10, 0, 0, 1), [Outgoing, Incoming]);
        let bytes = notification_bytes(&Notification { data, ..cease() });
        rig.receive(Outgoing, &bytes);
        rig.receive(Incoming, &bytes);
        assert_eq!(rig.state(), State::Active);
        assert!(rig.until_deadline() <= Duration::from_secs(1));
        assert_eq!(rig.state(), State::Connect);
    }
}

#[test]
fn error_on_one_connection_leaves_the_other() {
    let mut rig = colliding(Ipv4Addr::new(10, 0, 0, 1), [Outgoing, Incoming]);
    rig.keepalive(Outgoing);
    assert_eq!(rig.state(), State::OpenSent);
    rig.open(Incoming).keepalive(Incoming);
    assert_eq!(rig.state(), State::Established);
    assert!(!rig.take().iter().any(|action| matches!(action, Action::Failed { .. })));
}

#[test]
fn own_identifier_from_an_internal_peer_is_refused() {
    // RFC 6286 §2.2.
    let settings = SessionSettings { remote_asn: OUR_AS, router_id: ROUTER_ID, ..settings() };
    let mut rig = Rig::new(settings);
    rig.input(Input::Start).connected(Outgoing);
    let open = Open { my_as: OUR_AS as u16, capabilities: capabilities(OUR_AS), ..peer_open() };
    rig.receive(Outgoing, &encoded(&open));
    let (_, sent) = rig.notifications().pop().expect("a NOTIFICATION");
    assert_eq!((sent.code, sent.subcode), (2, 3));
}

#[test]
fn winner_of_a_collision_that_says_nothing_more_is_given_up_soon() {
    // The outgoing connection wins by its identifier, but the peer answers on the incoming one only.
    let mut rig = Rig::new(SessionSettings { router_id: Ipv4Addr::new(250, 0, 0, 1), ..settings() });
    rig.input(Input::Start).connected(Outgoing).connected(Incoming).take();
    rig.open(Incoming);
    assert_eq!(rig.notifications(), [(Incoming, cease())]);
    let start = rig.now;
    while rig.state() == State::OpenSent {
        rig.until_deadline();
    }
    assert!(rig.now - start <= Duration::from_secs(10));
}
