//! Sidecar, bgpd or both are killed at any moment while what is declared changes; afterwards the kernel, the RIB and the
//! declared set agree.

use std::collections::BTreeSet;
use std::thread;
use std::time::Duration;

use interop::lab::{Bgpd, Lab, Node, Sidecar, segment_v4, segment_v6, wait_until};
use serde_json::{Value, json};

use crate::apiserver::ApiServer;
use crate::rounds;
use crate::world::{api_server, kernel_routes, start_bgpd, start_reflector, start_sidecar};

/// Even numbers only: neighbors would be joined in the set of exempt prefixes.
const NETS: [u8; 6] = [0, 2, 4, 6, 8, 10];

/// A network of a host, inside the pod CIDRs of cluster 1.
fn network(host: u8, net: u8, ipv6: bool) -> String {
    let number = 100 + (host - 21) * 20 + net;
    if ipv6 { format!("fd00:1:{number}::/64") } else { format!("10.1.{number}.0/24") }
}

/// Numbers that a seed fixes (xorshift64).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// A node of cluster 1 with bgpd and a sidecar.
struct Victim {
    name: String,
    host: u8,
    node: Node,
    bgpd: Bgpd,
    sidecar: Sidecar,
    declared: BTreeSet<String>,
}

impl Victim {
    fn start(lab: &Lab, api: &ApiServer, host: u8) -> Self {
        let name = format!("n{host}");
        let node = lab.host(&name, 1, host);
        let declared = BTreeSet::from([network(host, NETS[0], false)]);
        api.put("nodes", object(&name, host, &declared));
        let bgpd = start_bgpd(&node);
        let sidecar = start_sidecar(&node, &name, &bgpd);
        Self { name, host, node, bgpd, sidecar, declared }
    }

    fn declare(&mut self, api: &ApiServer, random: &mut Random) {
        let (host, mut declared) = (self.host, BTreeSet::new());
        for net in NETS {
            match random.below(4) {
                0 => drop(declared.insert(network(host, net, false))),
                1 => drop(declared.insert(network(host, net, true))),
                _ => {}
            }
        }
        // A node without any is not ready, which is another test.
        declared.insert(network(host, NETS[random.below(NETS.len() as u64) as usize], false));
        api.put("nodes", object(&self.name, host, &declared));
        self.declared = declared;
    }

    /// Kills one of them or both, and starts again what was killed, as the kubelet does.
    fn crash(&mut self, random: &mut Random) -> &'static str {
        let which = random.below(3);
        if which != 1 {
            self.sidecar.daemon.kill();
        }
        if which != 0 {
            self.bgpd.daemon.kill();
        }
        moment(random, 300);
        if which != 0 {
            self.bgpd = start_bgpd(&self.node);
        }
        if which != 1 {
            self.sidecar = start_sidecar(&self.node, &self.name, &self.bgpd);
        }
        ["sidecar", "bgpd", "sidecar and bgpd"][which as usize]
    }

    /// Prefixes that are exempt from masquerade in the kernel.
    fn exempt(&self) -> BTreeSet<String> {
        let listing = self.node.namespace.run_ok(&["nft", "-j", "list", "ruleset"]);
        let listing: Value = serde_json::from_str(&listing).unwrap_or_default();
        let sets = listing["nftables"].as_array().cloned().unwrap_or_default();
        let elements = sets.iter().filter_map(|one| one["set"]["elem"].as_array()).flatten();
        let prefix = |element: &Value| {
            let prefix = &element["prefix"];
            Some(format!("{}/{}", prefix["addr"].as_str()?, prefix["len"]))
        };
        elements.filter_map(prefix).collect()
    }
}

fn object(name: &str, host: u8, declared: &BTreeSet<String>) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Node", "metadata": {"name": name}, "spec": {"podCIDRs": declared},
        "status": {"addresses": [
            {"type": "InternalIP", "address": segment_v4(1, host)},
            {"type": "InternalIP", "address": segment_v6(1, host)},
        ]},
    })
}

/// Lets any time pass: it is the moment of the crash that is random, nothing is waited for.
fn moment(random: &mut Random, limit_millis: u64) {
    thread::sleep(Duration::from_millis(random.below(limit_millis)));
}

/// What the reflector has from a node, but for what is about to end.
fn reflected(reflector: &Bgpd, host: u8) -> BTreeSet<String> {
    let own = [segment_v4(1, host).to_string(), segment_v6(1, host).to_string()];
    let routes = reflector.routes();
    routes.into_iter().filter(|route| own.contains(&route.next_hop)).map(|route| route.prefix).collect()
}

/// What does not agree, in words.
fn differences(reflectors: &[Bgpd; 2], victims: &[Victim; 2]) -> Vec<String> {
    let mut found = Vec::new();
    for (this, other) in [(&victims[0], &victims[1]), (&victims[1], &victims[0])] {
        let mut compare = |what: &str, is: BTreeSet<String>, wanted: &BTreeSet<String>| {
            if is != *wanted {
                found.push(format!("{} {what}: {is:?} instead of {wanted:?}", this.name));
            }
        };
        for reflector in reflectors {
            compare("in the RIB of a reflector", reflected(reflector, this.host), &this.declared);
        }
        compare("kernel routes", kernel_routes(&this.node), &other.declared);
        let both = this.declared.union(&other.declared).cloned().collect();
        compare("exempt prefixes", this.exempt(), &both);
    }
    found
}

#[test]
fn kernel_rib_and_declared_set_agree_after_every_crash() {
    let lab = Lab::new("crashes", &["nft", "setpriv"]);
    let _router = lab.router([0, 1]);
    let hosts = [lab.host("rr1", 0, 1), lab.host("rr2", 0, 2), lab.host("api", 0, 100)];
    let api = api_server(&hosts[2].namespace, "172.16.0.100:8081");
    let reflectors = [start_reflector(&hosts[0], 0), start_reflector(&hosts[1], 1)];
    let mut victims = [Victim::start(&lab, &api, 21), Victim::start(&lab, &api, 22)];
    let seed = std::env::var("BGPD_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    let mut random = Random(seed);
    for round in 0..=rounds("BGPD_CRASHES", 5) {
        let mut said = "nothing was killed".to_owned();
        // The first round only sets the stage.
        if round > 0 {
            let [first, second] = &mut victims;
            first.declare(&api, &mut random);
            moment(&mut random, 100);
            let victim = if random.below(2) == 0 { &mut *first } else { &mut *second };
            said = format!("{} of {} killed", victim.crash(&mut random), victim.name);
            second.declare(&api, &mut random);
            moment(&mut random, 100);
        }
        let start = std::time::Instant::now();
        wait_until(
            &format!("all agree after round {round} of seed {seed}: {said}"),
            || differences(&reflectors, &victims).is_empty(),
            || {
                let pictures = victims.iter().map(|one| one.bgpd.picture() + &one.sidecar.picture());
                let pictures: String = pictures.collect();
                format!("{:#?}\n{pictures}{}", differences(&reflectors, &victims), reflectors[0].picture())
            },
        );
        println!("round {round}: {said}, all agree after {:?}", start.elapsed());
    }
}
