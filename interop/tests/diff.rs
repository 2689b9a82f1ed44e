//! What a diff says of routes is what the peers' own tables then show, for each peer and no other.

use std::collections::BTreeMap;
use std::path::Path;

use interop::lab::cluster::bird_of_as;
use interop::lab::{BIRD, Bgpd, Bird, FRR, Frr, Lab, Node, SeenRoute, to, wait_until};

const GLOBAL: &str = "[global]\nasn = 65000\nrouter-id = \"192.0.2.1\"\n";
/// Rejects one route and marks the others.
const MARK: &str = "[[prefix-set]]\nname = \"one\"\nprefixes = [\"10.11.0.0/24\"]\n\
    [[policy]]\nname = \"mark\"\n[[policy.statement]]\nmatch.prefix-sets = [\"one\"]\nthen = \"reject\"\n\
    [[policy.statement]]\nset.med = 7\nthen = \"accept\"\n";
/// Rejects the routes of one peer, and prepends to those of all.
const OUT: &str = "[[prefix-set]]\nname = \"thirteen\"\nprefixes = [\"10.13.0.0/16 le 24\"]\n\
    [[policy]]\nname = \"not-13\"\n[[policy.statement]]\nmatch.prefix-sets = [\"thirteen\"]\nthen = \"reject\"\n\
    [[policy.statement]]\nthen = \"accept\"\n\
    [[policy]]\nname = \"longer\"\n[[policy.statement]]\nset = { prepend = [65000] }\nthen = \"accept\"\n";
const ORIGINATE: &str = "[[originate]]\nprefix = \"10.9.1.0/24\"\n[[originate]]\nprefix = \"10.9.2.0/24\"\n";
/// Only 192.0.2.12 may announce what 192.0.2.13 does, and nothing else.
const CLUSTER: &str = "[[cluster]]\nname = \"east\"\npod-cidrs = [\"10.13.0.0/16\"]\nnodes = [\"192.0.2.12/32\"]\n";

/// FRR at 11 and 13, BIRD at 12, and BIRD in another AS at 14; these settings for each of them, none: it is not there.
fn config(more: &str, settings: [Option<&str>; 4]) -> String {
    let neighbor = |(host, settings): (u8, Option<&str>)| {
        let kind = match host {
            14 => "remote-asn = 65014\nimport-policy = [\"accept-all\"]",
            _ => "remote-asn = 65000\nroute-reflector-client = true",
        };
        let common = "connect-retry = 1\nidle-hold-time = 1";
        settings.map(|rest| format!("[[neighbor]]\naddress = \"192.0.2.{host}\"\n{kind}\n{common}\n{rest}\n"))
    };
    GLOBAL.to_owned() + more + &(11..).zip(settings).filter_map(neighbor).collect::<String>()
}

fn frr(node: &Node, networks: u8) -> Frr {
    let host = node.ipv4.octets()[3];
    let networks: String = (0..networks).map(|at| format!("  network 10.{host}.{at}.0/24\n")).collect();
    let config = format!(
        "router bgp 65000\n bgp router-id 192.0.2.{host}\n no bgp network import-check\n \
         neighbor 192.0.2.1 remote-as 65000\n neighbor 192.0.2.1 timers connect 1\n \
         address-family ipv4 unicast\n{networks} exit-address-family\n"
    );
    Frr::start(node, &config)
}

fn bird(node: &Node, networks: u8) -> Bird {
    let routes: String = (0..networks).map(|at| format!("route 10.12.{at}.0/24 unreachable; ")).collect();
    let config = format!(
        "router id 192.0.2.12; protocol device {{}}\nprotocol static pods {{ ipv4; {routes} }}\n\
         protocol direct {{ ipv4; interface \"eth0\"; }}\n\
         protocol bgp up {{ local as 65000; neighbor 192.0.2.1 as 65000; connect retry time 1; error wait time 1, 2;\n\
         ipv4 {{ import all; export where proto = \"pods\"; next hop self; }}; }}"
    );
    Bird::start(node, &config)
}

struct Peers {
    bgpd: Bgpd,
    frr: Frr,
    bird: Bird,
    other_frr: Frr,
    outside: Bird,
    us: Node,
    _nodes: [Node; 4],
    _lab: Lab,
}

/// The tables of the peers, by address.
type Tables = BTreeMap<String, Vec<SeenRoute>>;
/// Routes from a peer that are rejected, accepted and modified; routes to it that are announced, withdrawn and changed.
type Changes = [u64; 6];

impl Peers {
    fn start(config: &str) -> Self {
        let lab = Lab::new("diff", &[&FRR[..], &BIRD[..]].concat());
        let us = lab.node("us", 1);
        let nodes = [lab.node("frr", 11), lab.node("bird", 12), lab.node("frr2", 13), lab.node("out", 14)];
        let bgpd = Bgpd::start(&us, config);
        let (frr, bird, other_frr) = (frr(&nodes[0], 5), bird(&nodes[1], 3), frr(&nodes[2], 2));
        let outside = bird_of_as(&nodes[3], 65014, "");
        let peers = Self { bgpd, frr, bird, other_frr, outside, us, _nodes: nodes, _lab: lab };
        peers.bgpd.wait_established(&[11, 12, 13, 14].map(|host| format!("192.0.2.{host}")));
        let last = ["10.11.4.0/24", "10.12.2.0/24", "10.13.1.0/24", "10.14.0.0/24"];
        let has_all = |(own, routes): (usize, &Vec<SeenRoute>)| {
            let of_others = last.iter().enumerate().filter(|(of, _)| *of != own);
            of_others.map(|(_, prefix)| *prefix).all(|prefix| to(routes, prefix).is_some())
        };
        let complete = || peers.tables().values().enumerate().all(has_all);
        wait_until("all have all routes", complete, || peers.picture());
        peers
    }

    fn picture(&self) -> String {
        let frrs = self.frr.picture() + &self.other_frr.picture();
        self.bgpd.picture() + &frrs + &self.bird.picture() + &self.outside.picture()
    }

    fn tables(&self) -> Tables {
        let tables =
            [self.frr.routes(false), self.bird.routes(false), self.other_frr.routes(false), self.outside.routes(false)];
        (11..).map(|host| format!("192.0.2.{host}")).zip(tables).collect()
    }

    /// Routes of a peer that bgpd uses.
    fn accepted(&self, address: &str) -> Vec<serde_json::Value> {
        let routes = self.bgpd.json(&["show", "routes", "--from", address]);
        let routes = routes.as_array().expect("a list of routes").clone();
        routes.into_iter().filter(|route| route["rejected"].is_null()).collect()
    }

    /// What a diff says of each peer.
    fn said(&self, file: &str) -> BTreeMap<String, Changes> {
        let steps = self.bgpd.json(&["config", "diff", file]);
        let steps = steps.as_array().expect("a list of steps");
        let of = |step: &serde_json::Value| {
            let keys = ["rejected", "accepted", "modified", "announced", "withdrawn", "changed"];
            let counts = keys.map(|key| step[format!("routes_{key}")].as_u64().expect("a number"));
            Some((step["peer"].as_str()?.to_owned(), counts))
        };
        steps
            .iter()
            .filter(|step| step["impact"] != "note")
            .filter(|step| !step["peer"].is_null())
            .filter_map(of)
            .collect()
    }

    /// Waits until the peers have all that was sent before this.
    fn wait_for_all_before(&self, peers: &[&str]) {
        const MARK: &str = "10.99.0.0/24";
        let have = |wanted: bool| {
            let tables = self.tables();
            peers.iter().all(|peer| to(&tables[*peer], MARK).is_some() == wanted)
        };
        let _ = self.bgpd.ctl(&["announce", MARK, "--next-hop", "192.0.2.1"]);
        wait_until("the mark is everywhere", || have(true), || self.picture());
        let _ = self.bgpd.ctl(&["withdraw", MARK]);
        wait_until("the mark is nowhere", || have(false), || self.picture());
    }

    /// Applies a document; what a diff says before is what happens, to peers that stay.
    fn apply(&self, config: &str, staying: &[&str]) -> BTreeMap<String, Changes> {
        let file = self.us.write("new.toml", config).display().to_string();
        let said = self.said(&file);
        let before = self.tables();
        let of: BTreeMap<_, _> = staying.iter().map(|peer| ((*peer).to_owned(), self.accepted(peer))).collect();
        let _ = self.bgpd.ctl(&["config", "apply", &file]);
        let happened = || {
            let now = self.tables();
            let of_peer = |peer: &&str| {
                let key = |route: &serde_json::Value| route["prefix"].to_string();
                let looks = |route: &serde_json::Value| (route["med"].to_string(), route["local_pref"].to_string());
                let from = differences(&of[*peer], &self.accepted(peer), key, |one, other| looks(one) == looks(other));
                let key = |route: &SeenRoute| route.prefix.clone();
                let to = differences(&before[*peer], &now[*peer], key, |one, other| one == other);
                let [rejected, accepted, modified, withdrawn, announced, changed] =
                    [from, to].concat().try_into().ok()?;
                let changes = [rejected, accepted, modified, announced, withdrawn, changed];
                (changes != [0; 6]).then(|| ((*peer).to_owned(), changes))
            };
            staying.iter().filter_map(of_peer).collect::<BTreeMap<_, _>>()
        };
        let expected: BTreeMap<_, _> = said
            .iter()
            .filter(|(peer, _)| staying.contains(&peer.as_str()))
            .map(|(peer, of)| (peer.clone(), *of))
            .collect();
        let picture = || format!("said {said:?}\nhappened {:?}\n{}", happened(), self.picture());
        wait_until("what was said has happened", || happened() == expected, picture);
        self.wait_for_all_before(staying);
        assert_eq!(happened(), expected, "{}", picture());
        said
    }
}

/// What a page shows that a diff prints.
fn shown(page: &str) -> String {
    let lines = page.lines().skip_while(|line| !line.contains("$ bgpctl config diff new.toml")).skip(1);
    lines.map_while(|line| line.strip_prefix("    ")).map(|line| format!("{line}\n")).collect()
}

/// How many are only before, only after, and otherwise after.
fn differences<T>(was: &[T], is: &[T], key: impl Fn(&T) -> String, same: impl Fn(&T, &T) -> bool) -> [u64; 3] {
    let of = |all: &[T], one: &T| all.iter().position(|other| key(other) == key(one));
    let gone = was.iter().filter(|one| of(is, one).is_none()).count();
    let new = is.iter().filter(|one| of(was, one).is_none()).count();
    let kept = was.iter().filter_map(|one| Some((one, &is[of(is, one)?])));
    [gone, new, kept.filter(|(one, other)| !same(one, other)).count()].map(|count| count as u64)
}

#[test]
fn a_diff_counts_the_routes_of_each_peer_and_applying_it_changes_just_these_in_their_tables() {
    const ALL: [&str; 4] = ["192.0.2.11", "192.0.2.12", "192.0.2.13", "192.0.2.14"];
    let open = "export-policy = [\"accept-all\"]";
    let mark = "import-policy = [\"mark\"]";
    let policies = MARK.to_owned() + OUT;
    let peers = Peers::start(&config(&policies, [Some(""), Some(""), Some(""), Some(open)]));

    let marked = config(&policies, [Some(mark), Some(""), Some(""), Some(open)]);
    let file = peers.us.write("marked.toml", &marked).display().to_string();
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/configuration.md");
    assert_eq!(peers.bgpd.ctl(&["config", "diff", &file]), shown(&std::fs::read_to_string(page).expect("the page")));
    // MED stays in the AS: the peer outside sees no difference but the route that is missing.
    let said = peers.apply(&marked, &ALL);
    let client = [0, 0, 0, 0, 1, 4];
    let expected = [[1, 0, 4, 0, 0, 0], client, client, [0, 0, 0, 0, 1, 0]];
    assert_eq!(said, ALL.map(str::to_owned).into_iter().zip(expected).collect());

    let longer = Some("export-policy = [\"longer\"]");
    let not_13 = Some("export-policy = [\"not-13\"]");
    let settings = [Some(mark), not_13, Some("next-hop-self = true"), longer];
    let said = peers.apply(&config(&(policies.clone() + ORIGINATE), settings), &ALL);
    // 4 + 3 + 2 routes of others, two originated here.
    assert_eq!((said["192.0.2.12"], said["192.0.2.14"]), ([0, 0, 0, 2, 2, 0], [0, 0, 0, 2, 0, 9]));

    let said = peers.apply(&config(&(policies.clone() + ORIGINATE + CLUSTER), settings), &ALL);
    assert_eq!((said["192.0.2.12"][0], said["192.0.2.13"][0]), (3, 2), "{said:?}");

    let draining = Some("export-policy = [\"not-13\"]\ngraceful-shutdown = true");
    let said = peers.apply(&config(&policies, [Some(mark), draining, Some(""), Some(open)]), &ALL);
    assert_eq!((said["192.0.2.12"][1], said["192.0.2.13"][1]), (3, 2), "{said:?}");

    // One neighbor goes, and one has more routes than it may have.
    let limited = Some("max-prefixes = 1");
    let said = peers.apply(&config(&policies, [None, Some(""), limited, Some(open)]), &["192.0.2.12", "192.0.2.14"]);
    assert_eq!((said["192.0.2.11"][0], said["192.0.2.13"][0]), (4, 2), "{said:?}");

    let same = peers.us.write("same.toml", &config(&policies, [None, Some(""), limited, Some(open)]));
    let said = peers.bgpd.ctl(&["config", "diff", &same.display().to_string()]);
    assert_eq!(said, "nothing would change\n");
    let timers = config(&policies, [None, Some("connect-retry = 2"), limited, Some(open)]);
    let timers = peers.us.write(
        "timers.toml",
        &timers.replace("connect-retry = 1\nidle-hold-time = 1\nconnect", "idle-hold-time = 1\nconnect"),
    );
    let said = peers.bgpd.ctl(&["config", "diff", &timers.display().to_string()]);
    assert!(said.ends_with("no route changes\n"), "{said}");
}
