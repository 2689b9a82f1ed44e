//! Learned routes in a real kernel, each test in a network namespace of its own. Needs root.

mod lab;

use std::time::{Duration, Instant};

use bgp_sidecar::forwarding::Placement;
use bgp_sidecar::guard::Protected;
use bgp_sidecar::kernel::{Input, Installer, Report, remove_all};
use bgp_sidecar::learned::{Path, Route, RouteEvent};
use bgp_sidecar::problem::Reason;
use bgp_sidecar::topology::{MAIN_TABLE, NextHopRules};
use lab::{eventually, in_namespace, ip};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

const PROTOCOL: u8 = 145;

/// A node 192.0.2.1, 2001:db8::1 with an installer.
struct Node {
    inputs: mpsc::Sender<Input>,
    reports: watch::Receiver<Report>,
    task: JoinHandle<()>,
}

fn placement() -> Placement {
    Placement {
        table: MAIN_TABLE,
        metric: 20,
        protocol: PROTOCOL,
        allow_default: false,
        next_hops: NextHopRules::default(),
    }
}

fn lay_cable() {
    ip("link add eth0 type veth peer name far0");
    ip("link set eth0 up");
    ip("link set far0 up");
    ip("address add 192.0.2.1/24 dev eth0");
    ip("-6 address add 2001:db8::1/64 dev eth0 nodad");
}

impl Node {
    fn start(placement: Placement) -> Self {
        let (inputs, receiver) = mpsc::channel(64);
        let (sender, reports) = watch::channel(Report::default());
        let task = tokio::spawn(Installer::new(placement, None, receiver, sender).run());
        Self { inputs, reports, task }
    }

    async fn tell(&self, event: RouteEvent) {
        self.inputs.send(Input::Routes(event)).await.expect("an installer");
    }

    async fn protect(&self) {
        let pods = "10.1.0.0/24".parse().expect("a prefix");
        self.inputs.send(Input::Protected(vec![(pods, Protected::PodCidr)])).await.expect("an installer");
    }

    /// Tells a whole table.
    async fn table(&self, routes: &[(&str, &str)]) {
        self.protect().await;
        self.tell(RouteEvent::Started).await;
        self.tell(RouteEvent::Snapshot(routes.iter().map(|(prefix, via)| route(prefix, via)).collect())).await;
        self.tell(RouteEvent::SnapshotEnd).await;
    }

    async fn complete(&mut self) {
        let wait = self.reports.wait_for(|report| report.is_complete);
        let in_time = tokio::time::timeout(Duration::from_secs(10), wait).await.is_ok();
        assert!(in_time, "not complete within ten seconds: {:?}", self.reports.borrow());
    }

    async fn stop(self) {
        drop(self.inputs);
        self.task.await.expect("an installer that ends");
    }
}

fn route(prefix: &str, next_hop: &str) -> Route {
    let next_hop = next_hop.parse().expect("an address");
    let path = Path { next_hop, link_local: None, interface: None };
    Route { prefix: prefix.parse().expect("a prefix"), path: Some(path) }
}

/// Our routes as `ip` shows them, each on one line.
fn routes(table: &str) -> Vec<String> {
    let list = |family| ip(&format!("{family} -o route show table {table} proto {PROTOCOL}")).replace('\\', "");
    let both = format!("{}{}", list("-4"), list("-6"));
    both.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

fn has(prefix: &str, words: &str) -> bool {
    routes("main").iter().any(|line| line.starts_with(&format!("{prefix} ")) && line.contains(words))
}

#[test]
fn routes_of_both_families_are_installed_changed_and_removed() {
    in_namespace(|| async {
        lay_cable();
        let mut node = Node::start(placement());
        node.table(&[("10.2.0.0/24", "192.0.2.2"), ("fd00:2::/64", "2001:db8::2")]).await;
        node.complete().await;
        assert!(has("10.2.0.0/24", "via 192.0.2.2 dev eth0 metric 20"), "{:?}", routes("main"));
        assert!(has("fd00:2::/64", "via 2001:db8::2 dev eth0 metric 20"), "{:?}", routes("main"));
        node.tell(RouteEvent::Changed(vec![route("10.2.0.0/24", "192.0.2.3")])).await;
        node.tell(RouteEvent::Withdrawn(vec!["fd00:2::/64".parse().expect("a prefix")])).await;
        eventually("one route, by 192.0.2.3", || has("10.2.0.0/24", "192.0.2.3") && routes("main").len() == 1).await;
    });
}

#[test]
fn equal_paths_share_the_traffic() {
    in_namespace(|| async {
        lay_cable();
        let mut node = Node::start(placement());
        let pairs = [
            ("10.2.0.0/24", "192.0.2.2"),
            ("10.2.0.0/24", "192.0.2.3"),
            ("fd00:2::/64", "2001:db8::2"),
            ("fd00:2::/64", "2001:db8::3"),
        ];
        node.table(&pairs).await;
        node.complete().await;
        assert!(has("10.2.0.0/24", "via 192.0.2.2 dev eth0 weight 1 nexthop via 192.0.2.3"), "{:?}", routes("main"));
        let weights = routes("main").join(" ");
        assert!(weights.contains("via 2001:db8::2 dev eth0") && weights.contains("via 2001:db8::3 dev eth0"));
        // What the kernel then says it has is what was asked for: nothing is done over and over.
        node.tell(RouteEvent::Changed(vec![route("fd00:2::/64", "2001:db8::3")])).await;
        eventually("one way left", || has("fd00:2::/64", "via 2001:db8::3 dev eth0")).await;
        assert_eq!(node.reports.borrow().problems, []);
    });
}

#[test]
fn what_somebody_deletes_is_back_at_once() {
    in_namespace(|| async {
        lay_cable();
        let mut node = Node::start(placement());
        node.table(&[("10.2.0.0/24", "192.0.2.2"), ("fd00:2::/64", "2001:db8::2")]).await;
        node.complete().await;
        let start = Instant::now();
        ip("route flush proto 145");
        ip("-6 route flush proto 145");
        eventually("both routes again", || routes("main").len() == 2).await;
        assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
        ip("route replace 10.2.0.0/24 via 192.0.2.77 metric 20 proto 145");
        eventually("the right gateway", || has("10.2.0.0/24", "via 192.0.2.2 ")).await;
    });
}

#[test]
fn routes_return_with_their_interface() {
    in_namespace(|| async {
        lay_cable();
        let mut node = Node::start(placement());
        node.table(&[("10.2.0.0/24", "192.0.2.2"), ("fd00:2::/64", "2001:db8::2")]).await;
        node.complete().await;
        // The kernel drops IPv4 routes without a word and forgets the IPv6 address.
        ip("link set eth0 down");
        let no_way = |report: &Report| report.counts.unresolved == 2;
        tokio::time::timeout(Duration::from_secs(5), node.reports.wait_for(no_way))
            .await
            .expect("in time")
            .expect("open");
        ip("link set eth0 up");
        ip("-6 address replace 2001:db8::1/64 dev eth0 nodad");
        eventually("both routes again", || routes("main").len() == 2).await;
    });
}

#[test]
fn routes_stay_when_the_sidecar_dies_and_stale_ones_go_when_the_truth_is_known() {
    in_namespace(|| async {
        lay_cable();
        ip("route add 198.51.100.0/24 via 192.0.2.99 metric 20 proto static");
        let mut node = Node::start(placement());
        node.table(&[("10.2.0.0/24", "192.0.2.2"), ("10.3.0.0/24", "192.0.2.3")]).await;
        node.complete().await;
        node.stop().await;
        assert_eq!(routes("main").len(), 2);

        let mut node = Node::start(placement());
        node.protect().await;
        node.tell(RouteEvent::Started).await;
        node.tell(RouteEvent::Snapshot(vec![route("10.3.0.0/24", "192.0.2.3"), route("10.4.0.0/24", "192.0.2.4")]))
            .await;
        eventually("the new route", || has("10.4.0.0/24", "192.0.2.4")).await;
        assert!(has("10.2.0.0/24", "192.0.2.2"), "nobody knows yet that it is stale");
        node.tell(RouteEvent::SnapshotEnd).await;
        node.complete().await;
        eventually("the stale route's end", || !has("10.2.0.0/24", "") && routes("main").len() == 2).await;
        assert!(ip("route show").contains("198.51.100.0/24 via 192.0.2.99"));
    });
}

#[test]
fn next_hops_are_reached_on_link_through_gateways_and_by_link_local_address() {
    in_namespace(|| async {
        lay_cable();
        ip("link add eth1 type veth peer name far1");
        ip("link set eth1 up");
        ip("route add 198.51.100.0/24 via 192.0.2.254 proto static");
        let mut node = Node::start(placement());
        node.table(&[("10.2.0.0/24", "198.51.100.7"), ("10.3.0.0/24", "203.0.113.7")]).await;
        let path =
            Path { next_hop: "fe80::7".parse().expect("an address"), link_local: None, interface: Some("eth1".into()) };
        let by_link_local = ["fd00:4::/64", "10.4.0.0/24"]
            .map(|prefix| Route { prefix: prefix.parse().expect("a prefix"), path: Some(path.clone()) });
        node.tell(RouteEvent::Changed(by_link_local.to_vec())).await;
        eventually("the recursive route", || has("10.2.0.0/24", "via 192.0.2.254 dev eth0")).await;
        eventually("the link-local route", || has("fd00:4::/64", "via fe80::7 dev eth1")).await;
        eventually("an IPv4 route by an IPv6 gateway", || has("10.4.0.0/24", "via inet6 fe80::7 dev eth1")).await;
        node.complete().await;
        let problems = node.reports.borrow().problems.clone();
        assert_eq!(problems.len(), 1);
        assert_eq!(problems[0].reason, Reason::NextHopUnresolved);
        node.stop().await;

        let mut onlink = placement();
        onlink.next_hops.onlink_interface = Some("eth1".into());
        let node = Node::start(onlink);
        node.table(&[("10.3.0.0/24", "203.0.113.7"), ("fd00:3::/64", "2001:db8:9::7")]).await;
        eventually("the on-link routes", || {
            has("10.3.0.0/24", "via 203.0.113.7 dev eth1 metric 20 onlink")
                && has("fd00:3::/64", "via 2001:db8:9::7 dev eth1 metric 20 onlink")
        })
        .await;
    });
}

#[test]
fn guard_rails_hold_and_routes_of_others_are_left_alone() {
    in_namespace(|| async {
        lay_cable();
        ip("route add 10.9.0.0/24 via 192.0.2.99 metric 20 proto static");
        let mut node = Node::start(placement());
        let refused = [
            ("0.0.0.0/0", "192.0.2.2"),
            ("::/0", "2001:db8::2"),
            ("10.0.0.0/8", "192.0.2.2"),
            ("10.1.0.0/24", "192.0.2.2"),
            ("10.1.0.128/25", "192.0.2.2"),
            ("192.0.2.1/32", "192.0.2.2"),
            ("192.0.0.0/16", "192.0.2.2"),
            ("2001:db8::/64", "2001:db8::2"),
        ];
        node.table(&[&refused[..], &[("10.9.0.0/24", "192.0.2.2"), ("10.2.0.0/24", "192.0.2.2")]].concat()).await;
        node.complete().await;
        assert_eq!(routes("main").len(), 1, "{:?}", routes("main"));
        let report = node.reports.borrow().clone();
        assert_eq!((report.counts.refused, report.counts.failed), (refused.len(), 1));
        assert!(ip("route show 10.9.0.0/24").contains("via 192.0.2.99"));
        ip("route del 10.9.0.0/24 proto static");
        eventually("the route that had no place", || has("10.9.0.0/24", "192.0.2.2")).await;
    });
}

#[test]
fn route_that_the_kernel_refuses_is_said_and_tried_again() {
    in_namespace(|| async {
        lay_cable();
        ip("link add eth1 type veth peer name far1");
        let mut onlink = placement();
        onlink.next_hops.onlink_interface = Some("eth1".into());
        let mut node = Node::start(onlink);
        node.table(&[("10.2.0.0/24", "203.0.113.7")]).await;
        let refused = |report: &Report| report.problems.iter().any(|one| one.reason == Reason::KernelRefused);
        let report = tokio::time::timeout(Duration::from_secs(5), node.reports.wait_for(refused)).await;
        let message = report.expect("in time").expect("open").problems[0].to_string();
        assert!(message.starts_with("route/10.2.0.0/24: the kernel refuses it: Network is down"), "{message}");
        ip("link set eth1 up");
        node.complete().await;
        assert!(has("10.2.0.0/24", "dev eth1"));
        assert_eq!(node.reports.borrow().problems, []);
    });
}

#[test]
fn own_table_is_filled_and_emptied_on_uninstall() {
    in_namespace(|| async {
        lay_cable();
        let mut node = Node::start(Placement { table: 1000, metric: 7, ..placement() });
        node.table(&[("10.2.0.0/24", "192.0.2.2"), ("fd00:2::/64", "2001:db8::2")]).await;
        node.complete().await;
        assert_eq!((routes("1000").len(), routes("main").len()), (2, 0));
        node.stop().await;
        assert_eq!(remove_all(PROTOCOL).await.expect("netlink"), 2);
        assert_eq!(routes("1000").len(), 0);
    });
}

#[test]
fn ten_thousand_routes_take_seconds_and_a_flush_is_repaired() {
    in_namespace(|| async {
        lay_cable();
        let mut node = Node::start(placement());
        let prefixes: Vec<String> = (0..10_000).map(|n| format!("10.{}.{}.0/24", 16 + n / 256, n % 256)).collect();
        let pairs: Vec<(&str, &str)> = prefixes.iter().map(|prefix| (prefix.as_str(), "192.0.2.2")).collect();
        let start = Instant::now();
        node.table(&pairs).await;
        node.complete().await;
        println!("installed 10000 routes in {:?}", start.elapsed());
        assert_eq!(routes("main").len(), 10_000);
        ip("route flush proto 145");
        let start = Instant::now();
        while routes("main").len() < 10_000 {
            assert!(start.elapsed() < Duration::from_secs(30), "{} routes are back", routes("main").len());
            // Listing keeps the only thread, which has to repair, too.
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        println!("repaired 10000 routes in {:?}", start.elapsed());
    });
}
