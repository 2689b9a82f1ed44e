//! RFC 4271 §8.2.2 as a table: in each state, each event leads to a state and, where it is an error, a NOTIFICATION.

use bgp_wire::notification::{CeaseSubcode, FsmSubcode, OpenSubcode, UpdateSubcode};

use super::*;

const CONN: ConnectionId = ConnectionId::Outgoing;

#[derive(Debug, Clone, Copy)]
enum Event {
    Start,
    Stop,
    Connected,
    ConnectFailed,
    Closed,
    Open,
    BadVersion,
    Keepalive,
    Update,
    RouteRefresh,
    Notification,
    CollisionCease,
    Fault,
    SendHoldExpired,
    TickTooEarly,
}

fn apply(rig: &mut Rig, event: Event) {
    match event {
        Event::Start => rig.input(Input::Start),
        Event::Stop => rig.input(Input::Stop { notification: shutdown() }),
        Event::Connected => rig.connected(CONN),
        Event::ConnectFailed => rig.input(Input::ConnectFailed { error: "refused".to_owned() }),
        Event::Closed => rig.closed(CONN),
        Event::Open => rig.open(CONN),
        Event::BadVersion => rig.receive(CONN, &message(MessageType::Open, &[3, 0, 1, 0, 90, 1, 1, 1, 1, 0])),
        Event::Keepalive => rig.keepalive(CONN),
        Event::Update => rig.receive(CONN, &message(MessageType::Update, &[0; 4])),
        Event::RouteRefresh => rig.receive(CONN, &message(MessageType::RouteRefresh, &[0, 1, 0, 1])),
        Event::Notification => rig.receive(CONN, &notification_bytes(&shutdown())),
        Event::CollisionCease => {
            let cease = Notification::cease(CeaseSubcode::ConnectionCollision);
            rig.receive(CONN, &notification_bytes(&cease))
        }
        Event::Fault => rig.input(Input::Fault {
            conn: CONN,
            notification: Notification::update(UpdateSubcode::MalformedAttributeList, &[]),
            error: "malformed".to_owned(),
        }),
        Event::SendHoldExpired => rig.input(Input::SendHoldExpired { conn: CONN }),
        Event::TickTooEarly => rig.input(Input::Tick),
    };
}

#[track_caller]
fn check(rows: &[(State, Event, State, Option<Notification>)]) {
    for (from, event, to, expected) in rows {
        let mut rig = Rig::in_state(*from);
        apply(&mut rig, *event);
        assert_eq!(rig.state(), *to, "state after {event:?} in {from}");
        let transitions: Vec<_> =
            rig.actions.iter().filter(|action| matches!(action, Action::Transition { .. })).cloned().collect();
        let transition = Action::Transition { from: *from, to: *to };
        let wanted = if from == to { vec![] } else { vec![transition] };
        assert_eq!(transitions, wanted, "transition at {event:?} in {from}");
        let sent = rig.notifications().pop().map(|(_, notification)| notification);
        assert_eq!(sent, *expected, "NOTIFICATION at {event:?} in {from}");
    }
}

#[test]
fn idle_leaves_only_on_start() {
    use Event::*;
    let idle = State::Idle;
    check(&[
        (idle, Start, State::Connect, None),
        (idle, Stop, idle, None),
        (idle, Connected, idle, None),
        (idle, ConnectFailed, idle, None),
        (idle, Closed, idle, None),
        (idle, Open, idle, None),
        (idle, Keepalive, idle, None),
        (idle, Update, idle, None),
        (idle, Notification, idle, None),
        (idle, Fault, idle, None),
        (idle, SendHoldExpired, idle, None),
        (idle, TickTooEarly, idle, None),
    ]);
}

#[test]
fn connect_and_active_wait_for_a_connection() {
    use Event::*;
    check(&[
        (State::Connect, Start, State::Connect, None),
        (State::Connect, Stop, State::Idle, None),
        (State::Connect, Connected, State::OpenSent, None),
        (State::Connect, ConnectFailed, State::Active, None),
        (State::Connect, Closed, State::Connect, None),
        (State::Connect, TickTooEarly, State::Connect, None),
        (State::Active, Start, State::Active, None),
        (State::Active, Stop, State::Idle, None),
        (State::Active, Connected, State::OpenSent, None),
        (State::Active, Keepalive, State::Active, None),
        (State::Active, Fault, State::Active, None),
        (State::Active, TickTooEarly, State::Active, None),
    ]);
}

#[test]
fn open_sent_takes_an_open_and_nothing_else() {
    use Event::*;
    let from = State::OpenSent;
    let fsm = |kind| Some(super::Notification::fsm(FsmSubcode::OpenSent, kind));
    let version = super::Notification::open(OpenSubcode::UnsupportedVersion, &[0, 4]);
    check(&[
        (from, Start, from, None),
        (from, Stop, State::Idle, Some(shutdown())),
        (from, Closed, State::Active, None),
        (from, Open, State::OpenConfirm, None),
        (from, BadVersion, State::Idle, Some(version)),
        (from, Keepalive, State::Idle, fsm(MessageType::Keepalive)),
        (from, Update, State::Idle, fsm(MessageType::Update)),
        (from, RouteRefresh, State::Idle, fsm(MessageType::RouteRefresh)),
        (from, Notification, State::Idle, None),
        (from, CollisionCease, State::Active, None),
        (from, SendHoldExpired, State::Idle, Some(super::Notification::send_hold_timer_expired())),
        (from, TickTooEarly, from, None),
    ]);
}

#[test]
fn open_confirm_takes_a_keepalive_and_nothing_else() {
    use Event::*;
    let from = State::OpenConfirm;
    let fsm = |kind| Some(super::Notification::fsm(FsmSubcode::OpenConfirm, kind));
    check(&[
        (from, Start, from, None),
        (from, Stop, State::Idle, Some(shutdown())),
        (from, Closed, State::Idle, None),
        (from, Open, State::Idle, fsm(MessageType::Open)),
        (from, Keepalive, State::Established, None),
        (from, Update, State::Idle, fsm(MessageType::Update)),
        (from, RouteRefresh, State::Idle, fsm(MessageType::RouteRefresh)),
        (from, Notification, State::Idle, None),
        (from, CollisionCease, State::Active, None),
        (from, TickTooEarly, from, None),
    ]);
}

#[test]
fn established_ends_on_open_errors_and_the_operator() {
    use Event::*;
    let from = State::Established;
    let malformed = super::Notification::update(UpdateSubcode::MalformedAttributeList, &[]);
    let open = super::Notification::fsm(FsmSubcode::Established, MessageType::Open);
    check(&[
        (from, Start, from, None),
        (from, Stop, State::Idle, Some(shutdown())),
        (from, ConnectFailed, from, None),
        (from, Closed, State::Idle, None),
        (from, Open, State::Idle, Some(open)),
        (from, Keepalive, from, None),
        (from, Update, from, None),
        (from, RouteRefresh, from, None),
        (from, Notification, State::Idle, None),
        (from, Fault, State::Idle, Some(malformed)),
        (from, SendHoldExpired, State::Idle, Some(super::Notification::send_hold_timer_expired())),
        (from, TickTooEarly, from, None),
    ]);
}

#[test]
fn every_end_of_an_established_session_is_told_once_as_down() {
    use Event::*;
    for event in [Stop, Closed, Open, Notification, CollisionCease, Fault, SendHoldExpired] {
        let mut rig = Rig::in_state(State::Established);
        apply(&mut rig, event);
        let downs = rig.take().iter().filter(|action| matches!(action, Action::Down { .. })).count();
        assert_eq!(downs, 1, "{event:?}");
    }
}

#[test]
fn stop_sends_its_text_and_the_session_stays_down() {
    let mut rig = Rig::in_state(State::Established);
    rig.input(Input::Stop { notification: Notification::admin_shutdown("upgrade until 03:00 UTC") });
    let (_, sent) = rig.notifications().pop().expect("a NOTIFICATION");
    assert_eq!(sent.shutdown_text().as_deref(), Some("upgrade until 03:00 UTC"));
    assert_eq!(rig.session.last_sent(), Some(&sent));
    assert_eq!(rig.session.next_deadline(), None);
    rig.wait(Duration::from_secs(3600)).input(Input::Tick).connected(ConnectionId::Incoming);
    assert_eq!(rig.take(), [Action::Close { conn: ConnectionId::Incoming }]);
    assert_eq!(rig.state(), State::Idle);
}

#[test]
fn reset_starts_again_at_once_unless_it_shall_hold() {
    for (hold_down, state) in [(false, State::Connect), (true, State::Idle)] {
        let mut rig = Rig::in_state(State::Established);
        rig.input(Input::Reset { notification: Notification::admin_reset("policy"), hold_down });
        assert_eq!(rig.state(), state);
        assert_eq!(rig.notifications().len(), 1);
        assert!(rig.session.next_deadline().is_some());
    }
}

#[test]
fn reset_does_not_start_a_stopped_session() {
    let mut rig = Rig::new(settings());
    rig.input(Input::Reset { notification: shutdown(), hold_down: false });
    assert_eq!(rig.take(), []);
    assert_eq!(rig.state(), State::Idle);
}

#[test]
fn route_refresh_reaches_the_table_only_for_a_negotiated_family() {
    let mut rig = Rig::in_state(State::Established);
    rig.receive(CONN, &message(MessageType::RouteRefresh, &[0, 2, 0, 1]));
    assert!(matches!(rig.take().as_slice(), [Action::RouteRefresh(refresh)] if refresh.family == Family::IPV6_UNICAST));
    // RFC 2918 §4: a family that was not negotiated is ignored.
    rig.receive(CONN, &message(MessageType::RouteRefresh, &[0, 25, 0, 70]));
    assert_eq!(rig.take(), []);
}

#[test]
fn route_refresh_of_a_wrong_length_ends_the_session() {
    // RFC 7313 §5.
    let mut rig = Rig::in_state(State::Established);
    let bytes = message(MessageType::RouteRefresh, &[0, 1, 0, 1, 9]);
    rig.receive(CONN, &bytes);
    let (_, sent) = rig.notifications().pop().expect("a NOTIFICATION");
    assert_eq!(sent, Notification::route_refresh_length(&bytes));
}

#[test]
fn a_failed_attempt_to_connect_is_always_followed_by_another() {
    // The peer ends its connection as the loser of a collision, and then our attempt fails as well.
    let mut rig = Rig::in_state(State::Connect);
    let cease = Notification::cease(CeaseSubcode::ConnectionCollision);
    rig.connected(ConnectionId::Incoming).receive(ConnectionId::Incoming, &notification_bytes(&cease));
    rig.input(Input::ConnectFailed { error: "refused".to_owned() });
    assert_eq!(rig.state(), State::Active);
    rig.until_deadline();
    assert_eq!(rig.state(), State::Connect);
}
