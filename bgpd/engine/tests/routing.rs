//! Intake, partitions and groups together, under interleavings that a machine chooses: in the end every member has
//! what a naive model says, whoever came, went or was slow in between.

mod routing {
    pub(crate) mod groups;
    pub(crate) mod router;
}

use bgp_engine::config::{LimitAction, PrefixLimits};
use bgp_engine::stage::AlarmKind;
use proptest::prelude::*;
use routing::groups::KINDS;
use routing::router::{PEERS, Router, limits};

/// One thing that happens.
#[derive(Debug, Clone)]
enum Event {
    Announce {
        peer: u32,
        keys: Vec<u8>,
        pref: u32,
    },
    Withdraw {
        peer: u32,
        keys: Vec<u8>,
    },
    Down(u32),
    /// The session ends, the routes stay.
    Restart(u32),
    EndOfRib(u32),
    EndRetention(u32),
    LongLived(u32),
    EndDeferral,
    ShutDown(u32, bool),
    Up(u32),
    Rejoin(u32),
    Refresh(u32),
    Block(u32),
    Unblock(u32),
    /// One emission of a partition reaches its group.
    Deliver(usize),
    /// One request of a group reaches its partition.
    Control(usize),
    /// A member is to be in a group of another kind.
    Change(u32, usize),
    /// A group hands a member over to another one.
    HandOver(usize),
    Work(usize),
    Flush,
}

fn event() -> impl Strategy<Value = Event> {
    let peer = || 0..PEERS;
    let keys = || proptest::collection::vec(0..24u8, 1..8);
    prop_oneof![
        4 => (peer(), keys(), 0..3u32).prop_map(|(peer, keys, pref)| Event::Announce { peer, keys, pref }),
        2 => (peer(), keys()).prop_map(|(peer, keys)| Event::Withdraw { peer, keys }),
        1 => peer().prop_map(Event::Down),
        2 => peer().prop_map(Event::Restart),
        2 => peer().prop_map(Event::EndOfRib),
        1 => peer().prop_map(Event::EndRetention),
        1 => peer().prop_map(Event::LongLived),
        1 => Just(Event::EndDeferral),
        1 => (peer(), any::<bool>()).prop_map(|(peer, on)| Event::ShutDown(peer, on)),
        2 => peer().prop_map(Event::Up),
        1 => peer().prop_map(Event::Rejoin),
        1 => peer().prop_map(Event::Refresh),
        1 => peer().prop_map(Event::Block),
        1 => peer().prop_map(Event::Unblock),
        8 => (0..8usize).prop_map(Event::Deliver),
        6 => (0..8usize).prop_map(Event::Control),
        3 => (peer(), 0..KINDS).prop_map(|(peer, kind)| Event::Change(peer, kind)),
        2 => (0..4usize).prop_map(Event::HandOver),
        3 => (0..4usize).prop_map(Event::Work),
        2 => Just(Event::Flush),
    ]
}

fn run(partitions: usize, add_path: bool, awaited: &[u32], events: &[Event]) -> Router {
    let mut router = Router::new(partitions, add_path);
    router.defer(awaited);
    for event in events {
        if router.is_deferring() {
            // RFC 4724 §4.1: nothing is told, least of all that it is all.
            (0..PEERS).for_each(|peer| assert_eq!((router.told(peer).len(), router.ends(peer)), (0, 0), "{peer}"));
        }
        match event {
            Event::Announce { peer, keys, pref } => router.announce(*peer, keys, *pref),
            Event::Withdraw { peer, keys } => router.withdraw(*peer, keys),
            Event::Down(peer) => router.down(*peer),
            Event::Restart(peer) => router.restart(*peer),
            Event::EndOfRib(peer) => router.end_of_rib(*peer),
            Event::EndRetention(peer) => router.end_retention(*peer),
            Event::LongLived(peer) => router.long_lived(*peer),
            Event::ShutDown(peer, on) => router.shut_down(*peer, *on),
            Event::EndDeferral => router.end_deferral(),
            Event::Up(peer) => router.up(*peer),
            Event::Rejoin(peer) => router.rejoin(*peer),
            Event::Refresh(peer) => router.refresh(*peer),
            Event::Block(peer) => router.block(*peer),
            Event::Unblock(peer) => router.unblock(*peer),
            Event::Deliver(which) => drop(router.deliver(*which)),
            Event::Control(which) => drop(router.control(*which)),
            Event::Change(peer, kind) => router.change(*peer, *kind),
            Event::HandOver(which) => drop(router.hand_over(*which)),
            Event::Work(partition) => drop(router.work(*partition, 3)),
            Event::Flush => router.flush(),
        }
    }
    router.end_deferral();
    router.settle();
    router
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn members_end_with_what_the_model_says(
        partitions in 1..=4usize,
        add_path: bool,
        awaited in proptest::collection::vec(0..PEERS, 0..3),
        events in proptest::collection::vec(event(), 1..120),
    ) {
        let router = run(partitions, add_path, &awaited, &events);
        for peer in 0..PEERS {
            prop_assert_eq!(router.told(peer), router.expected(peer), "peer {}", peer);
            let told = router.told(peer).values().map(Vec::len).sum();
            prop_assert_eq!(router.advertised(peer).unwrap_or(0), told, "what partitions say of peer {}", peer);
            if router.is_up(peer) {
                prop_assert_eq!(router.ends(peer), 1, "End-of-RIB markers to peer {}", peer);
            }
        }
        prop_assert_eq!(router.counted(), router.held(), "paths counted and paths held");
        prop_assert_eq!(router.counted_stale(), router.held_stale(), "stale paths counted and held");
        for (peer, (held, stale)) in (0..PEERS).zip(router.held().into_iter().zip(router.held_stale())) {
            if router.is_up(peer) {
                prop_assert_eq!(router.used(peer).0, held - stale, "places taken and paths of the session");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn a_member_that_goes_to_another_group_hears_only_what_differs(
        partitions in 1..=3usize,
        add_path: bool,
        routes in proptest::collection::vec((0..PEERS, 0..24u8, 0..3u32), 0..40),
        before in proptest::collection::vec(0..KINDS, PEERS as usize),
        kinds in proptest::collection::vec(0..KINDS, 1..4),
        order in proptest::collection::vec((0..5usize, 0..8usize), 0..200),
    ) {
        let mut router = Router::new(partitions, add_path);
        (0..PEERS).zip(&before).for_each(|(peer, kind)| router.change(peer, *kind));
        (0..PEERS).for_each(|peer| router.up(peer));
        routes.iter().for_each(|(peer, key, pref)| router.announce(*peer, &[*key], *pref));
        router.settle();
        let told: Vec<_> = (0..PEERS).map(|peer| router.told(peer)).collect();
        (0..PEERS).for_each(|peer| drop(router.take_news(peer)));
        for (at, kind) in kinds.iter().enumerate() {
            router.change(at as u32, *kind);
        }
        for (what, which) in order {
            match what {
                0 | 1 => drop(router.control(which)),
                2 => drop(router.deliver(which)),
                3 => drop(router.hand_over(which)),
                _ => drop(router.work(which, 3)),
            }
        }
        router.settle();
        for peer in 0..PEERS {
            let (was, is) = (&told[peer as usize], router.expected(peer));
            prop_assert_eq!(&router.told(peer), &is, "peer {}", peer);
            let (announced, withdrawn) = router.take_news(peer);
            for key in withdrawn.iter().filter(|_| !add_path) {
                prop_assert!(!is.contains_key(key), "peer {} had {} withdrawn", peer, key);
            }
            for key in announced {
                prop_assert!(was.get(&key) != is.get(&key), "peer {} was told {} again", peer, key);
            }
            prop_assert_eq!(router.ends(peer), 1, "End-of-RIB markers");
        }
    }
}

#[test]
fn best_path_moving_to_members_own_route_withdraws_privately() {
    let mut router = Router::new(1, false);
    (0..3).for_each(|peer| router.up(peer));
    router.announce(0, &[1], 1);
    router.settle();
    assert_eq!(router.told(1).len(), 1, "peer 1 was told the route of peer 0");
    router.announce(1, &[1], 2);
    router.settle();
    assert_eq!(router.told(1).len(), 0, "peer 1 is the source now and keeps nothing");
    assert_eq!(router.told(0).len(), 1);
    assert_eq!(router.told(2), router.expected(2));
}

#[test]
fn a_withdraw_before_any_announcement_changes_nothing() {
    let mut router = Router::new(2, false);
    (0..2).for_each(|peer| router.up(peer));
    router.withdraw(0, &[1, 2, 3]);
    router.settle();
    assert!(router.told(1).is_empty());
}

#[test]
fn of_a_key_twice_in_a_batch_the_last_word_counts() {
    let mut router = Router::new(1, false);
    (0..2).for_each(|peer| router.up(peer));
    router.announce(0, &[1, 1, 2, 1], 0);
    router.settle();
    assert_eq!(router.told(1).len(), 2);
    assert_eq!(router.told(1), router.expected(1));
}

#[test]
fn a_route_announced_again_before_the_sweep_goes_with_the_session_that_announced_it() {
    let mut router = Router::new(1, false);
    router.up(3);
    router.announce(3, &[6], 0);
    router.down(3);
    router.up(3);
    router.announce(3, &[6], 0);
    router.work(0, 3);
    assert_eq!(router.counted()[3], 1, "the sweep of the first session leaves it");
    router.down(3);
    router.settle();
    assert_eq!(router.counted()[3], 0);
}

#[test]
fn a_refresh_during_the_first_walk_leaves_the_end_of_rib() {
    // RFC 4724 §2, RFC 7313 §4
    let mut router = Router::new(2, false);
    (0..2).for_each(|peer| router.up(peer));
    router.refresh_with_end(1);
    router.settle();
    assert_eq!((router.ends(1), router.refreshed(1)), (1, 1));
    router.refresh_with_end(1);
    router.settle();
    assert_eq!((router.ends(1), router.refreshed(1)), (1, 2), "once in a session");
}

#[test]
fn stale_routes_stay_until_end_of_rib_and_only_those_go_that_did_not_come_again() {
    // RFC 4724 §4.2
    let mut router = Router::new(2, false);
    (0..2).for_each(|peer| router.up(peer));
    router.announce(0, &[1, 2, 3], 0);
    router.restart(0);
    router.settle();
    assert_eq!((router.told(1).len(), router.counted_stale()[0]), (3, 3));
    router.up(0);
    router.announce(0, &[2], 0);
    router.settle();
    assert_eq!((router.told(1).len(), router.counted_stale()[0]), (3, 2));
    router.end_of_rib(0);
    router.settle();
    assert_eq!((router.told(1).len(), router.counted_stale()[0]), (1, 0));
}

#[test]
fn what_was_stale_already_does_not_survive_a_second_restart() {
    // RFC 4724 §4.2
    let mut router = Router::new(1, false);
    (0..2).for_each(|peer| router.up(peer));
    router.announce(0, &[1, 2], 0);
    router.restart(0);
    router.up(0);
    router.announce(0, &[2], 0);
    router.restart(0);
    router.settle();
    assert_eq!((router.told(1).len(), router.counted()[0]), (1, 1));
}

#[test]
fn what_is_stale_for_long_survives_sessions_that_end_before_end_of_rib() {
    // RFC 9494 §4.2
    let mut router = Router::new(2, false);
    (0..2).for_each(|peer| router.up(peer));
    router.announce(0, &[1, 2], 0);
    router.restart(0);
    router.long_lived(0);
    router.up(0);
    router.announce(0, &[2, 3], 0);
    router.restart(0);
    router.settle();
    assert_eq!((router.told(1).len(), router.counted()[0]), (3, 3));
    router.up(0);
    router.announce(0, &[1], 0);
    router.end_of_rib(0);
    router.settle();
    assert_eq!((router.told(1).len(), router.counted()[0]), (1, 1));
}

#[test]
fn after_a_restart_nothing_is_told_until_all_that_are_awaited_have_sent_all() {
    // RFC 4724 §4.1
    let mut router = Router::new(3, false);
    router.defer(&[0, 1]);
    (0..3).for_each(|peer| router.up(peer));
    router.announce(0, &[1, 2], 0);
    router.end_of_rib(0);
    router.settle();
    assert!(router.is_deferring());
    assert_eq!((router.told(2).len(), router.ends(2)), (0, 0));
    router.announce(1, &[3], 0);
    router.end_of_rib(1);
    router.settle();
    assert!(!router.is_deferring());
    assert_eq!((router.told(2).len(), router.ends(2)), (3, 1));
}

#[test]
fn prefixes_above_the_limit_are_dropped_until_there_is_room() {
    for partitions in [1, 3] {
        let mut router = Router::new(partitions, false);
        (0..2).for_each(|peer| router.up(peer));
        router.limit(0, &PrefixLimits { action: LimitAction::DiscardNew, ..limits(4) });
        router.announce(0, &[1, 2, 3, 4, 5, 6], 0);
        router.settle();
        assert_eq!((router.counted()[0], router.told(1).len(), router.used(0)), (4, 4, (4, 2)));
        let mut alarms = router.alarms();
        alarms.retain(|(peer, _)| *peer == 0);
        assert_eq!(alarms, [(0, AlarmKind::Warning), (0, AlarmKind::Exceeded)]);
        // What is there may change, and makes room when it goes.
        router.announce(0, &[1, 2, 3, 4, 5, 6], 1);
        assert_eq!((router.counted()[0], router.used(0)), (4, (4, 4)));
        router.withdraw(0, &[1, 2, 3, 4, 5, 6]);
        router.announce(0, &[5, 6], 0);
        router.settle();
        assert_eq!((router.counted()[0], router.told(1).len(), router.used(0).0), (2, 2, 2));
    }
}

#[test]
fn a_new_session_has_its_whole_budget_whatever_the_old_one_left() {
    let mut router = Router::new(2, false);
    (0..2).for_each(|peer| router.up(peer));
    router.announce(0, &[1, 2, 3, 4], 0);
    router.restart(0);
    router.up(0);
    router.limit(0, &PrefixLimits { action: LimitAction::DiscardNew, ..limits(4) });
    router.announce(0, &[5, 6, 7, 8], 0);
    assert_eq!(router.used(0), (4, 0));
    // A stale path needs a place of its own to be one of the new session.
    router.announce(0, &[1], 0);
    assert_eq!(router.used(0), (4, 1));
}

#[test]
fn a_member_that_is_shut_down_is_told_everything_again_and_stays_up() {
    // RFC 8326 §4
    let mut router = Router::new(2, false);
    (0..3).for_each(|peer| router.up(peer));
    router.announce(0, &[1, 2], 2);
    router.settle();
    router.shut_down(1, true);
    router.announce(0, &[3], 1);
    router.settle();
    assert!(router.told(1).values().all(|prefs| *prefs == [0]), "{:?}", router.told(1));
    assert_eq!((router.told(1).len(), router.told(2)), (3, router.expected(2)));
    router.shut_down(1, false);
    router.settle();
    assert_eq!((router.told(1), router.ends(1)), (router.expected(1), 1));
}

#[test]
fn an_end_of_rib_that_is_held_back_comes_when_it_is_let_go() {
    let mut router = Router::new(2, false);
    (0..2).for_each(|peer| router.up(peer));
    router.announce(0, &[1], 0);
    router.hold_end(1, true);
    router.settle();
    assert_eq!((router.told(1).len(), router.ends(1)), (1, 0));
    router.hold_end(1, false);
    router.settle();
    assert_eq!(router.ends(1), 1);
}
