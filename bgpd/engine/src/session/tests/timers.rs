//! Timers in virtual time: hold, keepalive, ConnectRetry, idle hold, jitter, and reading that stands still.

use super::*;
use crate::session::NO_ANSWER;

const CONN: ConnectionId = ConnectionId::Outgoing;

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn jittered(base: Duration) -> std::ops::RangeInclusive<Duration> {
    base.mul_f64(0.75)..=base
}

/// Serves deadlines until the state changes; how long that took.
fn until_change(rig: &mut Rig) -> Duration {
    let (from, start) = (rig.state(), rig.now);
    while rig.state() == from {
        rig.until_deadline();
    }
    rig.now - start
}

#[test]
fn silent_peer_in_open_sent_is_given_240_seconds() {
    // RFC 4271 §8.2.2, "a large value".
    let mut rig = Rig::in_state(State::OpenSent);
    assert_eq!(until_change(&mut rig), seconds(240));
    assert_eq!(rig.notifications(), [(CONN, Notification::hold_timer_expired())]);
    assert_eq!(rig.state(), State::Idle);
}

#[test]
fn hold_timer_ends_open_confirm_and_established() {
    // RFC 4271 §6.5.
    for state in [State::OpenConfirm, State::Established] {
        let mut rig = Rig::in_state(state);
        assert_eq!(until_change(&mut rig), seconds(90));
        let last = rig.notifications().pop();
        assert_eq!(last, Some((CONN, Notification::hold_timer_expired())));
    }
}

#[test]
fn any_update_or_keepalive_restarts_the_hold_timer() {
    let messages = [
        frame::KEEPALIVE.to_vec(),
        message(MessageType::Update, &[0; 4]),
        message(MessageType::RouteRefresh, &[0, 1, 0, 1]),
    ];
    for bytes in messages {
        let mut rig = Rig::in_state(State::Established);
        rig.wait(seconds(89)).input(Input::Tick).receive(CONN, &bytes);
        assert_eq!(until_change(&mut rig), seconds(90));
    }
}

#[test]
fn keepalives_come_at_a_third_of_the_hold_time_with_jitter() {
    // RFC 4271 §4.4, §10.
    let mut rig = Rig::in_state(State::Established);
    for _ in 0..200 {
        rig.keepalive(CONN).take();
        let waited = rig.until_deadline();
        assert!(jittered(seconds(30)).contains(&waited), "{waited:?}");
        assert_eq!(rig.take(), [Action::Send { conn: CONN, bytes: frame::KEEPALIVE.to_vec() }]);
    }
}

#[test]
fn hold_time_is_the_lesser_of_both_offers() {
    // RFC 4271 §4.2.
    for (ours, theirs, negotiated) in [(90, 30, 30), (30, 90, 30), (3, 3, 3), (0, 90, 0), (90, 0, 0)] {
        let mut rig = Rig::new(SessionSettings { hold_seconds: ours, ..settings() });
        rig.input(Input::Start).connected(CONN);
        rig.receive(CONN, &encoded(&Open { hold_seconds: theirs, ..peer_open() })).keepalive(CONN);
        let (_, found) = rig.session.established().expect("established");
        assert_eq!(found.hold_seconds, negotiated);
        assert_eq!(found.keepalive, seconds(negotiated.into()) / 3);
    }
}

#[test]
fn hold_time_zero_needs_no_timer_at_all() {
    // RFC 4271 §4.2, §4.4.
    let mut rig = Rig::new(SessionSettings { hold_seconds: 0, ..settings() });
    rig.input(Input::Start).connected(CONN).open(CONN).keepalive(CONN).take();
    assert_eq!(rig.session.next_deadline(), None);
    rig.wait(seconds(86_400)).input(Input::Tick);
    assert_eq!(rig.take(), []);
    assert_eq!(rig.state(), State::Established);
}

#[test]
fn attempts_to_connect_repeat_with_jitter() {
    let mut rig = Rig::new(settings());
    rig.input(Input::Start);
    for _ in 0..50 {
        rig.take();
        rig.input(Input::ConnectFailed { error: "refused".to_owned() });
        let waited = rig.until_deadline();
        assert!(jittered(seconds(30)).contains(&waited), "{waited:?}");
        assert!(rig.take().contains(&Action::Connect));
    }
}

#[test]
fn attempt_that_hangs_is_given_up_for_a_new_one() {
    let mut rig = Rig::in_state(State::Connect);
    rig.until_deadline();
    let failed = Action::Failed { error: NO_ANSWER.to_owned() };
    assert_eq!(rig.take(), [Action::AbortConnect, failed, Action::Connect]);
}

#[test]
fn passive_session_never_connects() {
    let mut rig = Rig::new(SessionSettings { passive: true, ..settings() });
    rig.input(Input::Start);
    assert_eq!(rig.state(), State::Active);
    assert_eq!(rig.session.next_deadline(), None);
    rig.connected(ConnectionId::Incoming).closed(ConnectionId::Incoming);
    rig.wait(seconds(600)).input(Input::Tick);
    assert!(!rig.take().contains(&Action::Connect));
    assert_eq!(rig.state(), State::Active);
}

#[test]
fn a_session_that_is_passive_no_longer_connects_at_once_unless_it_is_up_or_stopped() {
    let passive = SessionSettings { passive: true, ..settings() };
    let mut rig = Rig::new(passive.clone());
    rig.input(Input::Start);
    rig.session.replace_settings(passive.clone(), rig.now);
    assert_eq!(rig.session.next_deadline(), None);
    rig.session.replace_settings(settings(), rig.now);
    rig.input(Input::Tick);
    assert!(rig.take().contains(&Action::Connect));

    let mut stopped = Rig::new(passive.clone());
    stopped.session.replace_settings(settings(), stopped.now);
    assert_eq!(stopped.session.next_deadline(), None);

    let mut up = Rig::new(passive);
    up.input(Input::Start).connected(ConnectionId::Incoming).open(ConnectionId::Incoming);
    up.keepalive(ConnectionId::Incoming).take();
    up.session.replace_settings(settings(), up.now);
    up.input(Input::Tick);
    assert_eq!((up.take(), up.state()), (Vec::new(), State::Established));
}

#[test]
fn times_that_are_made_shorter_are_shorter_for_a_session_that_waits() {
    let long = SessionSettings { connect_retry: seconds(3600), idle_hold: seconds(3600), ..settings() };
    let mut rig = Rig::new(long.clone());
    rig.input(Input::Start);
    rig.session.replace_settings(SessionSettings { connect_retry: seconds(1), ..long.clone() }, rig.now);
    assert!(rig.session.next_deadline().is_some_and(|at| at <= rig.now + seconds(1)));

    let mut rig = Rig::in_state(State::Established);
    rig.session.replace_settings(long.clone(), rig.now);
    rig.closed(CONN);
    assert_eq!(rig.state(), State::Idle);
    rig.session.replace_settings(long.clone(), rig.now);
    assert!(rig.session.next_deadline().is_some_and(|at| at > rig.now + seconds(60)));
    rig.session.replace_settings(SessionSettings { idle_hold: seconds(2), ..long }, rig.now);
    assert!(rig.session.next_deadline().is_some_and(|at| at <= rig.now + seconds(2)));
}

/// Brings a session up and down again; how long it then waits.
fn fail_after(rig: &mut Rig, up: Duration) -> Duration {
    rig.connected(CONN).open(CONN).keepalive(CONN);
    assert_eq!(rig.state(), State::Established);
    rig.wait(up).closed(CONN);
    assert_eq!(rig.state(), State::Idle);
    until_change(rig)
}

#[test]
fn idle_hold_doubles_to_a_minute_while_errors_repeat() {
    // RFC 4271 §8.1.1, DampPeerOscillations.
    let mut rig = Rig::in_state(State::Connect);
    for wait in [5, 10, 20, 40, 60, 60, 60] {
        let waited = fail_after(&mut rig, seconds(1));
        assert!(jittered(seconds(wait)).contains(&waited), "{waited:?} for {wait}");
    }
}

#[test]
fn idle_hold_begins_anew_after_a_session_of_a_minute() {
    let mut rig = Rig::in_state(State::Connect);
    (0..4).for_each(|_| {
        fail_after(&mut rig, seconds(1));
    });
    assert!(jittered(seconds(5)).contains(&fail_after(&mut rig, seconds(60))));
}

#[test]
fn peer_that_comes_back_during_the_idle_hold_is_let_in_unless_it_fails_again_and_again() {
    for (failures, welcome) in [(1, true), (2, true), (3, false), (4, false)] {
        let mut rig = Rig::in_state(State::Connect);
        for _ in 1..failures {
            fail_after(&mut rig, seconds(1));
        }
        rig.connected(CONN).open(CONN).keepalive(CONN).closed(CONN);
        assert_eq!(rig.state(), State::Idle);
        rig.take();
        rig.connected(ConnectionId::Incoming);
        assert_eq!(rig.state() == State::OpenSent, welcome, "{failures}");
        assert_eq!(rig.take().contains(&Action::Close { conn: ConnectionId::Incoming }), !welcome);
    }
}

#[test]
fn without_idle_hold_the_next_attempt_comes_at_once() {
    let mut rig = Rig::new(SessionSettings { idle_hold: Duration::ZERO, ..settings() });
    rig.input(Input::Start).connected(CONN).keepalive(CONN);
    assert_eq!(rig.state(), State::Connect);
    // What fails again and again has to wait all the same.
    rig.connected(CONN).keepalive(CONN);
    assert_eq!(rig.state(), State::Idle);
    assert!(until_change(&mut rig) >= seconds(1));
}

#[test]
fn hold_timer_stands_still_while_nothing_is_read() {
    let mut rig = Rig::in_state(State::Established);
    rig.wait(seconds(10)).input(Input::ReadPaused).input(Input::ReadPaused);
    rig.wait(seconds(500)).input(Input::Tick);
    assert_eq!(rig.state(), State::Established, "no hold timer while paused");
    rig.input(Input::ReadResumed);
    assert_eq!(until_change(&mut rig), seconds(80), "what was left of the hold time");
}

#[test]
fn keepalives_are_sent_while_nothing_is_read() {
    let mut rig = Rig::in_state(State::Established);
    rig.input(Input::ReadPaused);
    assert!(jittered(seconds(30)).contains(&rig.until_deadline()));
    assert_eq!(rig.take(), [Action::Send { conn: CONN, bytes: frame::KEEPALIVE.to_vec() }]);
}

#[test]
fn pause_does_not_outlive_the_session_it_was_for() {
    let mut rig = Rig::in_state(State::Established);
    rig.input(Input::ReadPaused).closed(CONN);
    until_change(&mut rig);
    rig.connected(CONN);
    assert_eq!(until_change(&mut rig), seconds(240));
}

#[test]
fn resuming_what_was_not_paused_changes_nothing() {
    let mut rig = Rig::in_state(State::Established);
    rig.wait(seconds(10)).input(Input::ReadResumed);
    assert_eq!(until_change(&mut rig), seconds(80));
}

#[test]
fn a_peer_that_exceeded_a_limit_stays_out_until_the_wait_is_over_or_somebody_resets() {
    // RFC 4486 §4.
    let limited = |wait| Input::Limited {
        notification: Notification::max_prefixes(Family::IPV4_UNICAST, 5),
        error: "more than 5".to_owned(),
        wait,
    };
    for wait in [Some(seconds(60)), None] {
        let mut rig = Rig::in_state(State::Established);
        rig.input(limited(wait));
        let sent = Notification { code: 6, subcode: 1, data: vec![0, 1, 1, 0, 0, 0, 5] };
        assert_eq!((rig.notifications().pop(), rig.state()), (Some((CONN, sent)), State::Idle));
        rig.connected(ConnectionId::Incoming);
        assert!(rig.take().contains(&Action::Close { conn: ConnectionId::Incoming }));
        match wait {
            Some(wait) => assert_eq!(until_change(&mut rig), wait),
            None => {
                assert_eq!(rig.session.next_deadline(), None);
                let notification = Notification::cease(CeaseSubcode::AdministrativeReset);
                rig.input(Input::Reset { notification, hold_down: false });
            }
        }
        assert_eq!(rig.state(), State::Connect);
    }
}
