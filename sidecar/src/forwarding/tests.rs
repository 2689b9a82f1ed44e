//! Forwarding against a kernel that is a map.

use super::*;
use crate::learned::Route;
use crate::topology::{Interface, MAIN_TABLE};

const PROTOCOL: u8 = 145;
const METRIC: u32 = 20;

fn net(text: &str) -> IpNet {
    text.parse().expect("a prefix")
}

fn placement() -> Placement {
    Placement {
        table: MAIN_TABLE,
        metric: METRIC,
        protocol: PROTOCOL,
        allow_default: false,
        next_hops: NextHopRules::default(),
    }
}

fn key(prefix: &str) -> RouteKey {
    RouteKey { table: MAIN_TABLE, prefix: net(prefix), metric: METRIC }
}

fn hops(vias: &[&str]) -> BTreeSet<Hop> {
    vias.iter().map(|via| Hop { via: Some(via.parse().expect("an address")), interface: 2, onlink: false }).collect()
}

fn ours(prefix: &str, via: &str) -> KernelRoute {
    KernelRoute { key: key(prefix), protocol: PROTOCOL, hops: hops(&[via]) }
}

fn connected(prefix: &str) -> KernelRoute {
    let key = RouteKey { table: MAIN_TABLE, prefix: net(prefix), metric: 0 };
    KernelRoute { key, protocol: 2, hops: BTreeSet::from([Hop { via: None, interface: 2, onlink: false }]) }
}

/// A node at 192.0.2.1/24 with these routes of ours in its kernel.
fn dump(routes: impl IntoIterator<Item = KernelRoute>) -> Dump {
    let eth0 = Interface { name: "eth0".into(), is_up: true, is_loopback: false };
    Dump {
        interfaces: BTreeMap::from([(2, eth0)]),
        addresses: BTreeSet::from([(2, net("192.0.2.1/24"))]),
        routes: std::iter::once(connected("192.0.2.0/24")).chain(routes).collect(),
    }
}

fn node(routes: impl IntoIterator<Item = KernelRoute>) -> Forwarding {
    let mut forwarding = Forwarding::new(placement());
    forwarding.observe(dump(routes));
    forwarding.protect(vec![(net("10.1.1.0/24"), Protected::PodCidr)]);
    forwarding.learn(RouteEvent::Started);
    forwarding
}

fn route(prefix: &str, next_hop: &str) -> Route {
    let next_hop = next_hop.parse().expect("an address");
    Route { prefix: net(prefix), path: Some(Path { next_hop, link_local: None, interface: None }) }
}

fn install(prefix: &str, vias: &[&str], replace: bool) -> Operation {
    Operation::Install { key: key(prefix), hops: hops(vias), replace }
}

fn run(forwarding: &mut Forwarding) -> Vec<Operation> {
    let operations = forwarding.plan(Instant::now());
    operations.iter().cloned().for_each(|operation| forwarding.succeeded(operation));
    operations
}

#[test]
fn equal_paths_become_one_route_with_several_ways() {
    let mut forwarding = node([]);
    forwarding.learn(RouteEvent::Snapshot(vec![route("10.2.0.0/24", "192.0.2.2"), route("10.2.0.0/24", "192.0.2.3")]));
    assert_eq!(run(&mut forwarding), [install("10.2.0.0/24", &["192.0.2.2", "192.0.2.3"], false)]);
    forwarding.learn(RouteEvent::Changed(vec![route("10.2.0.0/24", "192.0.2.3")]));
    assert_eq!(run(&mut forwarding), [install("10.2.0.0/24", &["192.0.2.3"], true)]);
    forwarding.learn(RouteEvent::Withdrawn(vec![net("10.2.0.0/24")]));
    forwarding.learn(RouteEvent::SnapshotEnd);
    assert_eq!(run(&mut forwarding), [Operation::Remove(key("10.2.0.0/24"))]);
    assert!(forwarding.is_complete());
}

#[test]
fn leftovers_are_adopted_or_removed_when_the_snapshot_has_ended() {
    let mut forwarding = node([ours("10.2.0.0/24", "192.0.2.2"), ours("10.3.0.0/24", "192.0.2.3")]);
    forwarding.learn(RouteEvent::Snapshot(vec![route("10.2.0.0/24", "192.0.2.2")]));
    assert_eq!(run(&mut forwarding), []);
    forwarding.learn(RouteEvent::SnapshotEnd);
    assert_eq!(run(&mut forwarding), [Operation::Remove(key("10.3.0.0/24"))]);
}

#[test]
fn leftovers_of_another_table_or_metric_are_removed() {
    let elsewhere = RouteKey { table: 100, ..key("10.2.0.0/24") };
    let mut forwarding = node([KernelRoute { key: elsewhere, ..ours("10.2.0.0/24", "192.0.2.2") }]);
    assert_eq!(run(&mut forwarding), []);
    forwarding.learn(RouteEvent::SnapshotEnd);
    assert_eq!(run(&mut forwarding), [Operation::Remove(elsewhere)]);
}

#[test]
fn routes_stay_when_the_watch_ends() {
    let mut forwarding = node([]);
    forwarding.learn(RouteEvent::Snapshot(vec![route("10.2.0.0/24", "192.0.2.2")]));
    forwarding.learn(RouteEvent::SnapshotEnd);
    run(&mut forwarding);
    forwarding.learn(RouteEvent::Ended);
    assert_eq!(run(&mut forwarding), []);
    assert!(!forwarding.is_complete());
    forwarding.learn(RouteEvent::Started);
    forwarding.learn(RouteEvent::SnapshotEnd);
    assert_eq!(run(&mut forwarding), [Operation::Remove(key("10.2.0.0/24"))]);
}

#[test]
fn nothing_is_installed_before_the_nodes_own_prefixes_are_known() {
    let mut forwarding = Forwarding::new(placement());
    forwarding.observe(dump([]));
    forwarding.learn(RouteEvent::Started);
    forwarding.learn(RouteEvent::Snapshot(vec![route("10.1.0.0/16", "192.0.2.2")]));
    forwarding.learn(RouteEvent::SnapshotEnd);
    assert_eq!(run(&mut forwarding), []);
    assert!(!forwarding.is_complete());
    forwarding.protect(vec![(net("10.1.1.0/24"), Protected::PodCidr)]);
    assert_eq!(run(&mut forwarding), []);
    assert_eq!(forwarding.counts().refused, 1);
}

#[test]
fn refused_route_is_said_and_one_that_is_there_goes() {
    let mut forwarding = node([ours("10.1.0.0/16", "192.0.2.2")]);
    forwarding.learn(RouteEvent::Snapshot(vec![route("10.1.0.0/16", "192.0.2.2"), route("0.0.0.0/0", "192.0.2.2")]));
    assert_eq!(run(&mut forwarding), [Operation::Remove(key("10.1.0.0/16"))]);
    let said: Vec<String> = forwarding.problems().iter().map(ToString::to_string).collect();
    assert_eq!(
        said,
        [
            "route/0.0.0.0/0: a default route is not installed unless --allow-default-route is given",
            "route/10.1.0.0/16: not installed: it covers this node's pod CIDR 10.1.1.0/24",
        ]
    );
}

#[test]
fn what_somebody_deletes_or_changes_is_repaired() {
    let mut forwarding = node([]);
    forwarding.learn(RouteEvent::Snapshot(vec![route("10.2.0.0/24", "192.0.2.2")]));
    run(&mut forwarding);
    assert!(forwarding.notice(KernelEvent::RouteRemoved(ours("10.2.0.0/24", "192.0.2.2"))));
    assert_eq!(run(&mut forwarding), [install("10.2.0.0/24", &["192.0.2.2"], false)]);
    assert!(forwarding.notice(KernelEvent::RouteAdded(ours("10.2.0.0/24", "192.0.2.9"))));
    assert_eq!(run(&mut forwarding), [install("10.2.0.0/24", &["192.0.2.2"], true)]);
}

#[test]
fn route_of_somebody_else_at_our_place_is_left_alone() {
    let mut forwarding = node([]);
    forwarding.learn(RouteEvent::Snapshot(vec![route("10.2.0.0/24", "192.0.2.2")]));
    run(&mut forwarding);
    let foreign = KernelRoute { protocol: 4, ..ours("10.2.0.0/24", "192.0.2.9") };
    assert!(forwarding.notice(KernelEvent::RouteAdded(foreign.clone())));
    assert_eq!(run(&mut forwarding), []);
    assert_eq!(forwarding.problems()[0].reason, Reason::RouteOccupied);
    assert!(forwarding.notice(KernelEvent::RouteRemoved(foreign)));
    assert_eq!(run(&mut forwarding), [install("10.2.0.0/24", &["192.0.2.2"], false)]);
}

#[test]
fn route_follows_its_next_hop() {
    let mut forwarding = node([]);
    forwarding.learn(RouteEvent::Snapshot(vec![route("10.2.0.0/24", "198.51.100.2")]));
    assert_eq!(run(&mut forwarding), []);
    assert_eq!(forwarding.counts().unresolved, 1);
    let mut leading = connected("198.51.100.0/24");
    leading.hops = hops(&["192.0.2.253"]);
    assert!(forwarding.notice(KernelEvent::RouteAdded(leading.clone())));
    assert_eq!(run(&mut forwarding), [install("10.2.0.0/24", &["192.0.2.253"], false)]);
    assert!(forwarding.notice(KernelEvent::RouteRemoved(leading)));
    assert_eq!(run(&mut forwarding), [Operation::Remove(key("10.2.0.0/24"))]);
}

#[test]
fn route_that_the_kernel_refuses_is_tried_again_later_and_others_go_on() {
    let mut forwarding = node([]);
    let start = Instant::now();
    forwarding.learn(RouteEvent::Snapshot(vec![route("10.2.0.0/24", "192.0.2.2")]));
    let operations = forwarding.plan(start);
    forwarding.failed(&operations[0], "the kernel refused: network is unreachable", start);
    assert_eq!(forwarding.plan(start), []);
    assert_eq!(forwarding.problems()[0].reason, Reason::KernelRefused);
    forwarding.learn(RouteEvent::Changed(vec![route("10.3.0.0/24", "192.0.2.3")]));
    let next = forwarding.plan(start);
    assert_eq!(next, [install("10.3.0.0/24", &["192.0.2.3"], false)]);
    forwarding.succeeded(next[0].clone());
    let retry = forwarding.next_retry().expect("a retry");
    let again = forwarding.plan(retry);
    assert_eq!(again, operations);
    forwarding.succeeded(again[0].clone());
    assert_eq!((forwarding.problems(), forwarding.next_retry()), (vec![], None));
}

#[test]
fn what_has_become_of_a_route_is_explained() {
    let mut forwarding = node([ours("10.9.0.0/24", "192.0.2.9")]);
    let start = Instant::now();
    forwarding.learn(RouteEvent::Snapshot(vec![
        route("10.2.0.0/24", "192.0.2.2"),
        route("10.2.0.0/24", "192.0.2.3"),
        route("10.3.0.0/24", "192.0.2.3"),
        route("10.4.0.0/24", "198.51.100.4"),
        route("10.1.0.0/16", "192.0.2.2"),
        route("10.5.0.0/24", "192.0.2.1"),
    ]));
    let coming = "about to be installed via 192.0.2.2 dev eth0, and via 192.0.2.3 dev eth0";
    assert_eq!(forwarding.explain(net("10.2.0.0/24")), Fate { installed: false, why: coming.to_owned() });
    for operation in forwarding.plan(start) {
        if operation.key() == key("10.3.0.0/24") {
            forwarding.failed(&operation, "the kernel refuses it: no space left on device", start);
        } else {
            forwarding.succeeded(operation);
        }
    }
    for (prefix, installed, why) in [
        ("10.2.0.0/24", true, "installed via 192.0.2.2 dev eth0, and via 192.0.2.3 dev eth0, table 254, metric 20"),
        (
            "10.3.0.0/24",
            false,
            "not installed via 192.0.2.3 dev eth0: the kernel refuses it: no space left on device (attempt 1, it is tried again)",
        ),
        ("10.4.0.0/24", false, "not installed: next hop 198.51.100.4 is not reachable: no subnet or route contains it"),
        ("10.1.0.0/16", false, "not installed: it covers this node's pod CIDR 10.1.1.0/24"),
        ("10.5.0.0/24", false, "no route is needed: it leads to this node"),
        ("10.9.0.0/24", true, "installed by an earlier run: it stays until bgpd has told its whole table"),
        ("10.8.0.0/24", false, "not installed: bgpd has not told a route from a neighbor"),
    ] {
        assert_eq!(forwarding.explain(net(prefix)), Fate { installed, why: why.to_owned() });
    }
    let unprotected = Forwarding::new(placement()).explain(net("10.2.0.0/24"));
    assert_eq!(unprotected.why, "not installed yet: the node's own pod CIDRs are not known");
}
