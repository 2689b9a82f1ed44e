//! Any sequence of inputs: no panic, and the invariants of the session hold after each.

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Step {
    Start,
    Stop,
    Reset(bool),
    Connected(ConnectionId),
    ConnectFailed,
    Closed(ConnectionId),
    Message(ConnectionId, MessageType, Vec<u8>),
    Open(ConnectionId, u8),
    Fault(ConnectionId),
    SendHoldExpired(ConnectionId),
    Pause,
    Resume,
    Wait(u16),
    Deadline,
}

fn conn() -> impl Strategy<Value = ConnectionId> {
    prop_oneof![Just(ConnectionId::Outgoing), Just(ConnectionId::Incoming)]
}

fn kind() -> impl Strategy<Value = MessageType> {
    (1_u8..6).prop_map(|code| MessageType::from_code(code).expect("a known type"))
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => Just(Step::Start),
        1 => Just(Step::Stop),
        1 => any::<bool>().prop_map(Step::Reset),
        6 => conn().prop_map(Step::Connected),
        2 => Just(Step::ConnectFailed),
        2 => conn().prop_map(Step::Closed),
        4 => (conn(), kind(), prop::collection::vec(any::<u8>(), 0..40)).prop_map(|(c, k, b)| Step::Message(c, k, b)),
        6 => conn().prop_map(|conn| Step::Message(conn, MessageType::Keepalive, Vec::new())),
        6 => (conn(), 0_u8..3).prop_map(|(conn, order)| Step::Open(conn, order)),
        1 => conn().prop_map(|conn| Step::Message(conn, MessageType::Notification, vec![6, 7])),
        1 => conn().prop_map(Step::Fault),
        1 => conn().prop_map(Step::SendHoldExpired),
        1 => Just(Step::Pause),
        1 => Just(Step::Resume),
        2 => (0_u16..400).prop_map(Step::Wait),
        3 => Just(Step::Deadline),
    ]
}

/// What the runtime knows: which connections there are, and whether one is being opened.
#[derive(Default)]
struct World {
    open: Vec<ConnectionId>,
    connecting: bool,
    established: Option<ConnectionId>,
    /// Families with stale routes.
    stale: Vec<Family>,
    /// Of those, the long-lived ones.
    long_lived: Vec<Family>,
    stopped: bool,
}

impl World {
    fn observe(&mut self, action: &Action) {
        match action {
            Action::Connect => {
                assert!(!self.connecting, "one attempt at a time");
                self.connecting = true;
            }
            Action::AbortConnect => assert!(std::mem::take(&mut self.connecting), "there is an attempt to give up"),
            Action::Send { conn, bytes } => {
                assert!(self.open.contains(conn), "sends on an open connection");
                assert!(matches!(frame::split(bytes, frame::MAX_LEN), Ok(Some(frame)) if frame.raw == bytes));
            }
            Action::Close { conn } => {
                assert!(self.open.contains(conn), "closes an open connection");
                self.open.retain(|other| other != conn);
            }
            Action::Established { conn, .. } => {
                assert_eq!(self.established.replace(*conn), None, "Down comes before the next Established");
            }
            Action::Down { retained, .. } => {
                assert!(self.established.take().is_some(), "Down only after Established");
                self.stale.clone_from(retained);
                self.long_lived.clear();
            }
            Action::LongLived { family } => {
                assert!(self.stale.contains(family) && !self.long_lived.contains(family), "once, and what is stale");
                self.long_lived.push(*family);
            }
            Action::EndRetention { family } => {
                assert!(self.stale.contains(family), "only what is stale");
                self.stale.retain(|other| other != family);
            }
            Action::RouteRefresh(_) => assert!(self.established.is_some()),
            Action::Failed { .. } => {}
            Action::Transition { from, to } => assert_ne!(from, to),
        }
    }

    /// Whether the runtime can have seen this.
    fn is_possible(&self, step: &Step) -> bool {
        match step {
            Step::Connected(ConnectionId::Outgoing) => self.connecting && !self.open.contains(&ConnectionId::Outgoing),
            Step::Connected(ConnectionId::Incoming) => !self.open.contains(&ConnectionId::Incoming),
            Step::ConnectFailed => self.connecting,
            Step::Closed(conn) | Step::Message(conn, ..) | Step::Open(conn, _) | Step::Fault(conn) => {
                self.open.contains(conn)
            }
            _ => true,
        }
    }

    fn before(&mut self, step: &Step) {
        match step {
            Step::Start => self.stopped = false,
            Step::Stop => self.stopped = true,
            Step::Connected(conn) => {
                self.open.push(*conn);
                self.connecting &= *conn != ConnectionId::Outgoing;
            }
            Step::ConnectFailed => self.connecting = false,
            Step::Closed(conn) => self.open.retain(|other| other != conn),
            _ => {}
        }
    }
}

fn apply(rig: &mut Rig, step: &Step) {
    match step {
        Step::Start => rig.input(Input::Start),
        Step::Stop => rig.input(Input::Stop { notification: shutdown() }),
        Step::Reset(hold_down) => rig.input(Input::Reset { notification: shutdown(), hold_down: *hold_down }),
        Step::Connected(conn) => rig.connected(*conn),
        Step::ConnectFailed => rig.input(Input::ConnectFailed { error: "refused".to_owned() }),
        Step::Closed(conn) => rig.closed(*conn),
        Step::Message(conn, kind, body) => match frame::split(&message(*kind, body), frame::MAX_LEN) {
            Ok(Some(frame)) => rig.input(Input::Frame { conn: *conn, frame }),
            _ => rig,
        },
        Step::Open(conn, order) => {
            let mut open = Open { router_id: Ipv4Addr::new(10, 0, 0, *order), ..peer_open() };
            open.capabilities.extend(restart::capabilities(*order % 2 == 1, *order != 2, *order > 0));
            rig.receive(*conn, &encoded(&open))
        }
        Step::Fault(conn) => rig.input(Input::Fault {
            conn: *conn,
            notification: Notification::not_synchronized(),
            error: "garbage".to_owned(),
        }),
        Step::SendHoldExpired(conn) => rig.input(Input::SendHoldExpired { conn: *conn }),
        Step::Pause => rig.input(Input::ReadPaused),
        Step::Resume => rig.input(Input::ReadResumed),
        Step::Wait(seconds) => {
            let time = Duration::from_secs(u64::from(*seconds));
            rig.wait(time).input(Input::Tick)
        }
        Step::Deadline => {
            if rig.session.next_deadline().is_some() {
                rig.until_deadline();
            }
            rig
        }
    };
}

fn run(settings: SessionSettings, steps: &[Step], only_possible: bool) {
    let mut rig = Rig::new(settings.clone());
    let mut world = World { stopped: true, ..World::default() };
    for step in steps {
        if only_possible && !world.is_possible(step) {
            continue;
        }
        world.before(step);
        let from = rig.state();
        apply(&mut rig, step);
        let actions = rig.take();
        let to = rig.state();
        assert_eq!(from != to, matches!(actions.last(), Some(Action::Transition { .. })), "{step:?}: {actions:?}");
        if !only_possible {
            continue;
        }
        actions.iter().for_each(|action| world.observe(action));
        let established = rig.session.established().map(|(conn, _)| conn);
        assert_eq!(established, world.established, "{step:?}: what is told is what is");
        assert_eq!(established.is_some(), to == State::Established);
        let retained: Vec<_> = rig.session.retained().iter().map(|retained| retained.family).collect();
        assert_eq!(retained, world.stale, "{step:?}: stale is what was told to be");
        if world.stopped {
            assert_eq!((to, rig.session.next_deadline()), (State::Idle, None));
        }
        // Nothing is forgotten: something is awaited from outside, or a timer runs.
        let waits = settings.passive || world.connecting || established.is_some() || world.stopped;
        // RFC 4271 §8.2.2: a hold time of 0 leaves OpenConfirm without a timer.
        let untimed = settings.hold_seconds == 0 && to == State::OpenConfirm;
        assert!(
            waits || untimed || rig.session.next_deadline().is_some() || rig.session.paused.is_some(),
            "{step:?} in {to}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn no_sequence_of_events_breaks_the_session(
        steps in prop::collection::vec(step(), 1..80),
        passive: bool,
        hold_seconds in prop_oneof![Just(0_u16), Just(3), Just(90)],
        idle_hold in 0_u64..20,
        seed: u64,
        graceful: bool,
    ) {
        let idle_hold = Duration::from_secs(idle_hold);
        let mut settings = settings();
        settings.capabilities.extend(graceful.then(|| restart::capabilities(false, true, true)).into_iter().flatten());
        run(SessionSettings { passive, hold_seconds, idle_hold, jitter_seed: seed, ..settings }, &steps, true);
    }

    #[test]
    fn not_even_events_that_cannot_happen_make_it_panic(steps in prop::collection::vec(step(), 1..80)) {
        run(settings(), &steps, false);
    }
}
