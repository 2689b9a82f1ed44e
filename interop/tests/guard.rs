//! The guard of the clusters with real peers: FRR and BIRD announce what is not theirs.
//!
//! | host | runs | announces besides its own pod networks |
//! |---|---|---|
//! | 11, cluster east | FRR | another cluster's, one that covers both, default routes, too specific ones |
//! | 12, cluster east | BIRD | nothing |
//! | 21, strict cluster west | BIRD | another node's, another cluster's, a default route, a too specific one |
//! | 22, strict cluster west | FRR | nothing |

use std::collections::{BTreeMap, BTreeSet};

use interop::lab::cluster::{bird_config, frr_config};
use interop::lab::{BIRD, Bgpd, Bird, FRR, Frr, Lab, Node, SeenRoute, to, wait_until};

/// A reflector whose clients are told apart by their peer groups.
fn reflector(east: &str, west_keys: &str, groups: &str) -> String {
    let group = |name: &str| {
        format!(
            "[[peer-group]]\nname = \"{name}\"\nremote-asn = 65000\nroute-reflector-client = true\n\
             families = [\"ipv4-unicast\", \"ipv6-unicast\"]\nhold-time = 9\npassive = true\n"
        )
    };
    let neighbors = |group: &str, hosts: [u8; 2]| -> String {
        let addresses = hosts.iter().flat_map(|host| [format!("192.0.2.{host}"), format!("2001:db8::{host}")]);
        addresses.map(|one| format!("[[neighbor]]\naddress = \"{one}\"\npeer-group = \"{group}\"\n")).collect()
    };
    format!(
        "[global]\nasn = 65000\nrouter-id = \"192.0.2.1\"\n{}{groups}{}{}{}\
         [[cluster]]\nname = \"east\"\n{east}\npeer-groups = [\"east\"]\n\
         [[cluster]]\nname = \"west\"\npod-cidrs = [\"10.1.16.0/20\", \"fd00:1:20::/44\"]\npeer-groups = [\"west\"]\n\
         {west_keys}\n",
        group("east"),
        group("west"),
        neighbors("east", [11, 12]),
        neighbors("west", [21, 22]),
    )
}

const STRICT: &str = "strict = true";
const EAST: &str = "pod-cidrs = [\"10.1.0.0/20\", \"fd00:1:10::/44\"]";

struct World {
    bgpd: Bgpd,
    frr: [Frr; 2],
    bird: [Bird; 2],
    nodes: [Node; 5],
    _lab: Lab,
}

impl World {
    fn start(config: &str) -> Self {
        let lab = Lab::new("guard", &[&FRR[..], &BIRD[..]].concat());
        let hosts = [("rr", 1), ("e1", 11), ("e2", 12), ("w1", 21), ("w2", 22)];
        let nodes = hosts.map(|(name, host)| lab.node(name, host));
        let bgpd = Bgpd::start(&nodes[0], config);
        let more = |config: &str, after: &str, lines: &[&str]| {
            config.replace(after, &lines.iter().fold(after.to_owned(), |all, line| all + "\n" + line))
        };
        let greedy_frr = more(
            &more(
                &frr_config(&nodes[1], 11),
                "  network 10.1.11.0/24",
                &["  network 10.1.21.0/24", "  network 10.1.0.0/19", "  network 0.0.0.0/0", "  network 10.1.11.0/30"],
            ),
            "  network fd00:1:11::/64",
            &["  network fd00:1:21::/64", "  network ::/0", "  network fd00:1:11::/96"],
        );
        let routes = ["10.1.22.0/24", "10.1.11.0/24", "0.0.0.0/0", "10.1.21.0/30"];
        let routes = routes.map(|prefix| format!("  route {prefix} unreachable;"));
        let routes: Vec<&str> = routes.iter().map(String::as_str).collect();
        let own = "protocol static pods4 { ipv4; route 10.1.21.0/24 unreachable;";
        let greedy_bird = more(&bird_config(&nodes[3], 21), own, &routes);
        assert!(greedy_frr.contains("::/96") && greedy_bird.contains("21.0/30"), "the templates have another shape");
        let frr = [Frr::start(&nodes[1], &greedy_frr), Frr::start(&nodes[4], &frr_config(&nodes[4], 22))];
        let bird = [Bird::start(&nodes[2], &bird_config(&nodes[2], 12)), Bird::start(&nodes[3], &greedy_bird)];
        let world = Self { bgpd, frr, bird, nodes, _lab: lab };
        let addresses = [11, 12, 21, 22].map(|host| [format!("192.0.2.{host}"), format!("2001:db8::{host}")]);
        world.bgpd.wait_established(&addresses.concat());
        world
    }

    /// Which node of the strict cluster has which pod CIDRs.
    fn declare_nodes(&self) {
        let node = |name: &str, host: u8| {
            format!("{name},192.0.2.{host},2001:db8::{host},10.1.{host}.0/24,fd00:1:{host}::/64")
        };
        let _ = self.bgpd.ctl(&["cluster", "nodes", "west", "--node", &node("w1", 21), "--node", &node("w2", 22)]);
    }

    fn picture(&self) -> String {
        let peers = self.frr.iter().map(Frr::picture).chain(self.bird.iter().map(Bird::picture));
        let clusters = self.bgpd.try_ctl(&["show", "clusters"]).unwrap_or_default();
        clusters + &self.bgpd.picture() + &peers.collect::<String>()
    }

    /// Why what a client announces cannot be used, by prefix; empty where it can.
    fn verdicts(&self, address: &str) -> BTreeMap<String, String> {
        let routes = self.bgpd.json(&["show", "routes", "--from", address]);
        let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        let routes = routes.as_array().cloned().unwrap_or_default();
        routes.iter().map(|route| (text(&route["prefix"]), text(&route["rejected"]))).collect()
    }

    fn wait_verdicts(&self, what: &str, address: &str, expected: &[(&str, String)]) {
        let expected: BTreeMap<String, String> =
            expected.iter().map(|(prefix, why)| ((*prefix).to_owned(), why.clone())).collect();
        wait_until(
            what,
            || self.verdicts(address) == expected,
            || format!("{:#?}\ninstead of {expected:#?}\n{}", self.verdicts(address), self.picture()),
        );
    }

    /// The clients that announce only their own know exactly the pod networks of these hosts, by their next hops.
    fn wait_known(&self, what: &str, of: &[u8]) {
        for ipv6 in [false, true] {
            let network = |host: &u8| match ipv6 {
                false => (format!("10.1.{host}.0/24"), format!("192.0.2.{host}")),
                true => (format!("fd00:1:{host}::/64"), format!("2001:db8::{host}")),
            };
            let others = |own: u8| -> BTreeSet<_> { of.iter().filter(|host| **host != own).map(network).collect() };
            let seen = |routes: Vec<SeenRoute>, own: u8| -> BTreeSet<_> {
                // FRR lists its own, too.
                let own = network(&own).0;
                let learned = routes.into_iter().filter(|route| route.prefix != own);
                learned.map(|route| (route.prefix, route.next_hop)).collect()
            };
            let both = || {
                seen(self.bird[0].routes(ipv6), 12) == others(12) && seen(self.frr[1].routes(ipv6), 22) == others(22)
            };
            wait_until(what, both, || self.picture());
        }
    }

    fn refused(&self, address: &str) -> u64 {
        self.bgpd.neighbor(address)["refused_by_guard"].as_u64().unwrap_or_default()
    }

    /// No session has noticed any change of the rules.
    fn assert_no_flap(&self) {
        for neighbor in self.bgpd.json(&["show", "neighbors"]).as_array().expect("a list") {
            assert_eq!(neighbor["flaps"], 0, "{}", self.picture());
        }
    }
}

fn default_route(by: &str) -> String {
    format!("a default route, which no node of a cluster may announce: announced by {by}")
}

fn too_specific(by: &str) -> String {
    format!("more specific than its cluster allows: announced by {by}")
}

fn other_cluster(by: &str, holder: &str) -> String {
    format!("inside the pod CIDRs of another cluster: announced by {by}, but it belongs to {holder}")
}

fn other_node(by: &str, holder: &str) -> String {
    format!("not declared for this node (strict cluster): announced by {by}, but it belongs to {holder}")
}

const OUTSIDE: &str = "not inside the pod CIDRs of its cluster: announced by 192.0.2.11 of cluster east";

#[test]
fn frr_and_bird_are_refused_what_is_not_theirs_and_both_owners_are_named() {
    let world = World::start(&reflector(EAST, STRICT, ""));
    // Nothing is declared for the nodes of the strict cluster yet.
    world.wait_known("only the prefixes of the other cluster", &[11, 12]);
    let (e1, w1, w2) =
        ("192.0.2.11 of cluster east", "node w1 (192.0.2.21) of cluster west", "node w2 of cluster west");
    world.declare_nodes();
    world.wait_known("each node's own prefixes", &[11, 12, 21, 22]);
    let holder = "node w1 of cluster west";
    world.wait_verdicts(
        "FRR's IPv4 routes are judged",
        "192.0.2.11",
        &[
            ("10.1.11.0/24", String::new()),
            ("10.1.21.0/24", other_cluster(e1, holder)),
            ("10.1.0.0/19", OUTSIDE.to_owned()),
            ("0.0.0.0/0", default_route(e1)),
            ("10.1.11.0/30", too_specific(e1)),
        ],
    );
    let e1_v6 = "2001:db8::11 of cluster east";
    world.wait_verdicts(
        "FRR's IPv6 routes are judged",
        "2001:db8::11",
        &[
            ("fd00:1:11::/64", String::new()),
            ("fd00:1:21::/64", other_cluster(e1_v6, holder)),
            ("::/0", default_route(e1_v6)),
            ("fd00:1:11::/96", too_specific(e1_v6)),
        ],
    );
    world.wait_verdicts(
        "BIRD's routes are judged",
        "192.0.2.21",
        &[
            ("10.1.21.0/24", String::new()),
            ("10.1.22.0/24", other_node(w1, w2)),
            ("10.1.11.0/24", other_cluster(w1, "cluster east")),
            ("0.0.0.0/0", default_route(w1)),
            ("10.1.21.0/30", too_specific(w1)),
        ],
    );
    assert!(world.refused("192.0.2.11") >= 4 && world.refused("2001:db8::11") >= 3, "{}", world.picture());
    assert!(world.refused("192.0.2.21") >= 4, "{}", world.picture());
    assert_eq!(world.refused("192.0.2.12"), 0, "{}", world.picture());
    let details = world.bgpd.ctl(&["show", "neighbors", "192.0.2.21"]);
    assert!(details.contains("Refused by the guard") && details.contains("of other clusters or nodes"), "{details}");
    let why = world.bgpd.ctl(&["explain", "10.1.22.0/24"]);
    assert!(why.contains(&format!("not usable: {}", other_node(w1, w2))) && why.contains("best: "), "{why}");
    let clusters = world.bgpd.json(&["show", "clusters"]);
    let (east, west) = (&clusters[0], &clusters[1]);
    assert_eq!(
        (&east["name"], &west["name"], &west["nodes"][0]["name"]),
        (&"east".into(), &"west".into(), &"w1".into())
    );
    assert!(
        east["refused_by_guard"].as_u64() >= Some(7) && west["refused_by_guard"].as_u64() >= Some(4),
        "{clusters:#}"
    );
    world.assert_no_flap();
}

#[test]
fn clusters_and_policies_that_change_together_hold_at_once_and_reset_no_session() {
    let world = World::start(&reflector(EAST, STRICT, ""));
    world.declare_nodes();
    world.wait_known("each node's own prefixes", &[11, 12, 21, 22]);
    // Smaller prefixes are allowed now, and a policy marks them: both in one reload.
    let policy = "import-policy = [\"mark\"]\n[[prefix-set]]\nname = \"small\"\nprefixes = [\"10.1.0.0/20 ge 29\"]\n\
                  [[policy]]\nname = \"mark\"\ndefault = \"accept\"\n[[policy.statement]]\nname = \"small\"\n\
                  match.prefix-sets = [\"small\"]\nset.add-communities = [\"65000:30\"]\n";
    let east = format!("{EAST}\nmax-length-ipv4 = 30");
    world.bgpd.reload(&world.nodes[0], &reflector(&east, STRICT, policy));
    let marked =
        |routes: Vec<SeenRoute>| to(&routes, "10.1.11.0/30").is_some_and(|route| route.communities == ["65000:30"]);
    wait_until(
        "the small prefix passes the guard and is marked by the policy",
        || marked(world.bird[0].routes(false)) && marked(world.frr[1].routes(false)),
        || world.picture(),
    );
    // The cluster loses the network of node 12, in the same file as its policy.
    let east = "pod-cidrs = [\"10.1.8.0/22\", \"fd00:1:11::/48\"]\nmax-length-ipv4 = 30";
    world.bgpd.reload(&world.nodes[0], &reflector(east, STRICT, ""));
    let outside = |address: &str, prefix: &str| {
        world
            .verdicts(address)
            .get(prefix)
            .is_some_and(|why| why.starts_with("not inside the pod CIDRs of its cluster"))
    };
    wait_until(
        "node 12 is refused what was its own",
        || outside("192.0.2.12", "10.1.12.0/24") && outside("2001:db8::12", "fd00:1:12::/64"),
        || world.picture(),
    );
    let unmarked =
        |routes: Vec<SeenRoute>| to(&routes, "10.1.11.0/30").is_some_and(|route| route.communities.is_empty());
    wait_until(
        "the others lose it, and the mark is gone",
        || to(&world.frr[1].routes(false), "10.1.12.0/24").is_none() && unmarked(world.frr[1].routes(false)),
        || world.picture(),
    );
    world.assert_no_flap();
}
