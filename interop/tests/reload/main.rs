//! Changes of a running configuration as real peers see them: what is live leaves sessions alone, and what a diff says
//! of sessions is what happens.

mod document;
mod resets;

use interop::lab::cluster::{bird_ipv4_only, frr};
use interop::lab::{BIRD, Bgpd, Bird, FRR, Frr, Lab, Node, SeenRoute, to, wait_until};

const GLOBAL: &str = "[global]\nasn = 65000\nrouter-id = \"192.0.2.1\"\n";
/// Rejects one route and marks the others.
const POLICIES: &str = "[[prefix-set]]\nname = \"some\"\nprefixes = [\"10.99.0.0/24\"]\n\
    [[policy]]\nname = \"without-some\"\n\
    [[policy.statement]]\nmatch.prefix-sets = [\"some\"]\nthen = \"reject\"\n\
    [[policy.statement]]\nset.med = 77\n";

fn client(host: u8, rest: &str) -> String {
    format!(
        "[[neighbor]]\naddress = \"192.0.2.{host}\"\nremote-asn = 65000\nroute-reflector-client = true\n\
         connect-retry = 1\nidle-hold-time = 1\n{rest}"
    )
}

fn bird(node: &Node, host: u8) -> Bird {
    Bird::start(node, &bird_ipv4_only(node, host))
}

/// A reflector with two clients of FRR and two of BIRD: those of a kind are in one update group.
struct Four {
    bgpd: Bgpd,
    frrs: [Frr; 2],
    birds: [Bird; 2],
    nodes: [Node; 5],
    _lab: Lab,
}

const CLIENTS: [&str; 4] = ["192.0.2.11", "192.0.2.12", "192.0.2.13", "192.0.2.14"];

impl Four {
    fn start(name: &str, config: &str) -> Self {
        let lab = Lab::new(name, &[&FRR[..], &BIRD[..]].concat());
        let nodes = [
            lab.node("rr", 1),
            lab.node("frr1", 11),
            lab.node("frr2", 12),
            lab.node("bird1", 13),
            lab.node("bird2", 14),
        ];
        let bgpd = Bgpd::start(&nodes[0], config);
        let frrs = [frr(&nodes[1], 11), frr(&nodes[2], 12)];
        let birds = [bird(&nodes[3], 13), bird(&nodes[4], 14)];
        let four = Self { bgpd, frrs, birds, nodes, _lab: lab };
        four.bgpd.wait_established(&CLIENTS.map(str::to_owned));
        four
    }

    /// What each client has: first those of FRR, then those of BIRD.
    fn routes(&self) -> [Vec<SeenRoute>; 4] {
        let [f, g] = &self.frrs;
        let [b, c] = &self.birds;
        [f.routes(false), g.routes(false), b.routes(false), c.routes(false)]
    }

    fn picture(&self) -> String {
        let frrs = self.frrs.iter().map(Frr::picture);
        let birds = self.birds.iter().map(Bird::picture);
        self.bgpd.picture() + &frrs.chain(birds).collect::<String>()
    }

    fn wait(&self, what: &str, holds: impl Fn(&[Vec<SeenRoute>; 4]) -> bool) {
        wait_until(what, || holds(&self.routes()), || self.picture());
    }

    /// Applies a document after a diff has said that no session notices.
    fn apply_live(&self, config: &str) {
        let file = self.nodes[0].write("new.toml", config).display().to_string();
        let steps = self.bgpd.json(&["config", "diff", &file]);
        let steps = steps.as_array().expect("a list of steps");
        assert!(!steps.is_empty() && steps.iter().all(|step| step["impact"] != "resets the session"), "{steps:?}");
        let _ = self.bgpd.ctl(&["config", "apply", &file]);
    }

    fn flaps(&self) -> Vec<u64> {
        CLIENTS.map(|address| self.bgpd.neighbor(address)["flaps"].as_u64().unwrap_or(99)).to_vec()
    }
}

/// MED of a route, if it is there.
fn med(routes: &[SeenRoute], prefix: &str) -> Option<u32> {
    to(routes, prefix).map(|route| route.med.unwrap_or(0))
}

#[test]
fn draining_and_a_cluster_and_its_policy_change_together_without_a_reset() {
    let config = |clusters: &str, import: &str, first: &str| {
        let import = format!("import-policy = [\"{import}\"]\n");
        format!(
            "{GLOBAL}[[policy]]\nname = \"marked\"\n[[policy.statement]]\nset.med = 5\nthen = \"accept\"\n{clusters}{}{}{}{}",
            client(11, &format!("{first}{import}")),
            client(12, &import),
            client(13, &import),
            client(14, &import)
        )
    };
    let four = Four::start("live-guard", &config("", "accept-all", ""));
    four.wait("the last has the routes of all", |routes| {
        [11, 12, 13].iter().all(|host| to(&routes[3], &format!("10.1.{host}.0/24")).is_some())
    });
    // The pod networks of the cluster belong to nodes that are others than 11: its route is refused, and the others'
    // get the mark of the new policy.
    let cluster = "[[cluster]]\nname = \"east\"\npod-cidrs = [\"10.1.0.0/16\"]\n\
                   nodes = [\"192.0.2.12/32\", \"192.0.2.13/32\", \"192.0.2.14/32\"]\n";
    four.apply_live(&config(cluster, "marked", ""));
    four.wait("routes are guarded and marked", |routes| {
        let last = &routes[3];
        to(last, "10.1.11.0/24").is_none()
            && [12, 13].iter().all(|host| med(last, &format!("10.1.{host}.0/24")) == Some(5))
    });
    four.apply_live(&config("", "accept-all", "graceful-shutdown = true\n"));
    four.wait("the first is drained, and its route is back", |routes| {
        let pref = |seen: &[SeenRoute], prefix: &str| to(seen, prefix).and_then(|route| route.local_pref);
        pref(&routes[3], "10.1.11.0/24") == Some(0)
            && pref(&routes[0], "10.1.12.0/24") == Some(0)
            && pref(&routes[3], "10.1.12.0/24") == Some(100)
    });
    four.apply_live(&config("", "accept-all", ""));
    four.wait("it is not any more", |routes| {
        to(&routes[3], "10.1.11.0/24").is_some_and(|route| route.local_pref == Some(100))
    });
    assert_eq!(four.flaps(), [0; 4], "{}", four.picture());
}

/// Announcements and withdrawals that BIRD has received in all.
fn received(bird: &Bird) -> (u64, u64) {
    let shown = bird.birdc("show protocols all rr4");
    let count = |what: &str| {
        let line = shown.lines().find_map(|line| line.trim().strip_prefix(what));
        line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or_else(|| panic!("{what}: {shown}"))
    };
    (count("Import updates:"), count("Import withdraws:"))
}

#[test]
fn a_neighbor_that_leaves_its_update_group_stays_up_and_hears_only_what_differs() {
    let config = |of: &dyn Fn(u8) -> &'static str| {
        let clients = [11, 12, 13, 14].map(|host| client(host, of(host))).concat();
        format!("{GLOBAL}{}{clients}", POLICIES.replace("[[policy.statement]]\nset.med = 77\n", ""))
    };
    let filtered = "export-policy = [\"without-some\", \"accept-all\"]\n";
    let four = Four::start("live-group", &config(&|_| ""));
    for prefix in ["10.98.0.0/24", "10.99.0.0/24"] {
        let _ = four.bgpd.ctl(&["announce", prefix]);
    }
    let holds = |some_have: [bool; 4]| {
        move |routes: &[Vec<SeenRoute>; 4]| {
            let has = |(seen, (host, some)): (&Vec<SeenRoute>, (usize, bool))| {
                let others = (11..15).filter(|other| *other != host + 11).map(|other| format!("10.1.{other}.0/24"));
                to(seen, "10.99.0.0/24").is_some() == some
                    && others.chain(["10.98.0.0/24".to_owned()]).all(|prefix| to(seen, &prefix).is_some())
            };
            routes.iter().zip(some_have.into_iter().enumerate()).all(has)
        }
    };
    four.wait("all have all", holds([true; 4]));
    let sessions = |frr: &Frr| frr.neighbor("192.0.2.1")["connectionsEstablished"].clone();
    let (up, before) = (four.frrs.each_ref().map(sessions), four.birds.each_ref().map(received));
    let told = |bird: usize| {
        let (now, before) = (received(&four.birds[bird]), before[bird]);
        (now.0 - before.0, now.1 - before.1)
    };
    four.apply_live(&config(&|host| if host % 2 == 0 { filtered } else { "" }));
    four.wait("one of each kind founds a group", holds([true, false, true, false]));
    assert_eq!((told(0), told(1)), ((0, 0), (0, 1)), "{}", four.picture());
    four.apply_live(&config(&|host| if host < 13 || host == 14 { filtered } else { "" }));
    four.apply_live(&config(&|_| filtered));
    four.wait("the others come as well", holds([false; 4]));
    assert_eq!((told(0), told(1)), ((0, 1), (0, 1)), "{}", four.picture());
    four.apply_live(&config(&|host| if host == 14 { filtered } else { "" }));
    four.wait("three go back", holds([true, true, true, false]));
    assert_eq!((told(0), told(1)), ((1, 1), (0, 1)), "{}", four.picture());
    four.apply_live(&config(&|host| if host == 13 { "next-hop-self = true\n" } else { "" }));
    four.wait("what looks otherwise is told again", |routes| holds([true; 4])(routes) && told(0).0 > 1);
    assert_eq!((told(0).1, told(1)), (1, (1, 1)), "{}", four.picture());
    let _ = four.bgpd.ctl(&["announce", "10.97.0.0/24"]);
    four.wait("a new route reaches all", |routes| routes.iter().all(|seen| to(seen, "10.97.0.0/24").is_some()));
    assert_eq!((four.flaps(), four.frrs.each_ref().map(sessions)), (vec![0; 4], up), "{}", four.picture());
}

#[test]
fn a_local_address_resets_the_session_only_if_that_has_another_one() {
    let clients = [11, 12, 13, 14].map(|host| client(host, "")).concat();
    let four = Four::start("own-address", &format!("{GLOBAL}{clients}"));
    for (address, resets) in [("192.0.2.1", 0), ("192.0.2.9", 1)] {
        let first = format!("remote-asn = 65000\nlocal-address = \"{address}\"");
        let config = format!("{GLOBAL}{}", clients.replacen("remote-asn = 65000", &first, 1));
        let file = four.nodes[0].write("new.toml", &config).display().to_string();
        let diff = four.bgpd.ctl(&["config", "diff", &file]);
        assert_eq!(diff.matches("is reset: local-address, and the session has another one").count(), resets, "{diff}");
    }
}

/// RFC 4456 §6: what is in no OPEN changes while the session goes on, in both directions.
#[test]
fn clients_become_non_clients_and_clients_again_while_their_sessions_stay() {
    let config = |clients: [bool; 4]| {
        let hosts = (11..).zip(clients);
        let of = |(host, client_here): (u8, bool)| {
            client(host, "")
                .replace("route-reflector-client = true", &format!("route-reflector-client = {client_here}"))
        };
        GLOBAL.to_owned() + &hosts.map(of).collect::<String>()
    };
    let four = Four::start("kinds", &config([true; 4]));
    let pods = [11, 12, 13, 14].map(|host| format!("10.1.{host}.0/24"));
    let told = |clients: [bool; 4]| {
        four.wait("each has the routes of all it is to have, and no other", |routes| {
            (0..4).all(|to_peer| {
                (0..4).filter(|from| *from != to_peer).all(|from| {
                    let reflected = clients[from] || clients[to_peer];
                    to(&routes[to_peer], &pods[from]).is_some() == reflected
                })
            })
        });
    };
    told([true; 4]);
    for clients in [[false, true, false, true], [false; 4], [true, false, false, true], [true; 4]] {
        four.apply_live(&config(clients));
        told(clients);
        assert_eq!(four.flaps(), [0; 4], "{}", four.picture());
    }
}
