//! New TCP-MD5 keys (RFC 2385) for sessions that are up: without an end of the session where both sides can do that, and
//! without a lost packet where only one can.

use std::net::IpAddr;

use interop::lab::cluster::{bird_config, both_reflectors, frr_config, reflector};
use interop::lab::{BIRD, Bgpd, Bird, FRR, Frr, Lab, Node, Pings, Pod, rekey, to, wait_until};

/// How many segments with a wrong signature have come to nodes.
fn wrong_signatures(nodes: &[Node]) -> Vec<u64> {
    nodes.iter().map(|node| node.namespace.counter("TcpExtTCPMD5Failure")).collect()
}

/// FRR's configuration with a key for the sessions with a reflector.
fn frr_key(reflector: u8, key: &str) -> String {
    format!(" neighbor 192.0.2.{reflector} password {key}\n neighbor 2001:db8::{reflector} password {key}\n")
}

/// BIRD's configuration with a key for the sessions with a reflector.
fn bird_with_key(config: &str, reflector: u8, key: &str) -> String {
    let with = |config: &str, address: &str| {
        let neighbor = format!("neighbor {address}{reflector} as 65000;");
        config.replace(&neighbor, &format!("{neighbor} password \"{key}\";"))
    };
    with(&with(config, "192.0.2."), "2001:db8::")
}

/// FRR as a configured neighbor and BIRD in a range, over IPv4 and IPv6.
struct Signed {
    bgpd: Bgpd,
    frr: Frr,
    bird: Bird,
    pods: [Pod; 2],
    /// The reflector's, FRR's and BIRD's.
    nodes: [Node; 3],
    _lab: Lab,
}

const PEERS: [&str; 4] = ["192.0.2.11", "2001:db8::11", "192.0.2.20", "2001:db8::20"];

impl Signed {
    fn start() -> Self {
        let lab = Lab::new("md5-rotation", &[&FRR[..], &BIRD[..], &["nstat", "ping"]].concat());
        let nodes = [lab.node("rr", 1), lab.node("frr", 11), lab.node("bird", 20)];
        let pods = [nodes[1].pod(1, 11), nodes[2].pod(1, 20)];
        let group = |name: &str| {
            format!(
                "[[peer-group]]\nname = \"{name}\"\nremote-asn = 65000\nroute-reflector-client = true\n\
                 families = [\"ipv4-unicast\", \"ipv6-unicast\"]\nmd5-password-file = \"{name}.key\"\n"
            )
        };
        let neighbor = |address| format!("[[neighbor]]\naddress = \"{address}\"\npeer-group = \"neighbor\"\n");
        let range = |prefix| format!("[[dynamic-neighbors]]\nprefix = \"{prefix}\"\npeer-group = \"range\"\n");
        let config = [
            "[global]\nasn = 65000\nrouter-id = \"192.0.2.1\"\n".to_owned(),
            group("neighbor") + &group("range"),
            neighbor("192.0.2.11") + &neighbor("2001:db8::11"),
            range("192.0.2.16/28") + &range("2001:db8::20/124"),
        ];
        write_keys(&nodes[0], "first");
        let bgpd = Bgpd::start(&nodes[0], &config.concat());
        // The time in which the two sides have different keys is not to come near the hold time.
        let frr = frr_config(&nodes[1], 11).replace("timers 3 9", "timers 30 90");
        let before = " address-family ipv4 unicast";
        let frr = frr.replacen(before, &(frr_key(1, "first-neighbor") + before), 1);
        let bird = bird_config(&nodes[2], 20).replace("hold time 9", "hold time 90");
        let bird = Bird::start(&nodes[2], &bird_with_key(&bird, 1, "first-range"));
        let frr = Frr::start(&nodes[1], &frr);
        bgpd.wait_established(&PEERS.map(str::to_owned));
        Self { bgpd, frr, bird, pods, nodes, _lab: lab }
    }

    fn picture(&self) -> String {
        self.bgpd.picture() + &self.frr.picture() + &self.bird.picture()
    }

    /// Gives bgpd new keys.
    fn here(&self, key: &str) {
        write_keys(&self.nodes[0], key);
        self.bgpd.daemon.signal("HUP");
    }

    /// Gives the peers' connections new keys.
    fn there(&self, key: &str) {
        for address in ["192.0.2.1", "2001:db8::1"] {
            let address: IpAddr = address.parse().expect("an address");
            assert_eq!(rekey(&self.frr.bgpd, address, &format!("{key}-neighbor")), 1, "{}", self.picture());
            assert_eq!(rekey(&self.bird.daemon, address, &format!("{key}-range")), 1, "{}", self.picture());
        }
    }

    /// Whether both peers have a route of each family.
    fn peers_have(&self, prefixes: &[&str; 2]) -> bool {
        let has = |at: usize, ipv6| {
            to(&self.frr.routes(ipv6), prefixes[at]).is_some() && to(&self.bird.routes(ipv6), prefixes[at]).is_some()
        };
        has(0, false) && has(1, true)
    }

    /// Requests for routes that have come from each peer.
    fn requests(&self) -> Vec<u64> {
        let of = |address| self.bgpd.neighbor(address)["messages_received"]["route_refresh"].as_u64();
        PEERS.iter().map(|address| of(address).unwrap_or_default()).collect()
    }
}

fn write_keys(node: &Node, key: &str) {
    for of in ["neighbor", "range"] {
        node.write(&format!("{of}.key"), &format!("{key}-{of}\n"));
    }
}

/// RFC 2385, as Linux has it: a connection takes a new key at any time, what comes with another one is dropped and sent
/// again, and so it goes on when both ends have the new one, whoever was first.
#[test]
fn established_sessions_survive_other_tcp_md5_keys_on_both_sides() {
    let lab = Signed::start();
    let picture = || lab.picture();
    let [frr_pod, bird_pod] = &lab.pods;
    wait_until("pods reach each other", || frr_pod.reaches(bird_pod) && bird_pod.reaches(frr_pod), picture);
    let pings = Pings::start(&[("frr", frr_pod), ("bird", bird_pod)], 20);
    let more = |now: Vec<u64>, before: &[u64]| now.iter().zip(before).all(|(now, before)| now > before);

    // bgpd first: what it says waits until the peers have the key.
    let before = wrong_signatures(&lab.nodes[1..]);
    lab.here("second");
    let said = ["10.9.1.0/24", "fd00:9:1::/64"];
    let announce = |prefix: &str, next_hop: &str| lab.bgpd.ctl(&["announce", prefix, "--next-hop", next_hop]);
    wait_until(
        "the peers drop what is signed with the new keys",
        || {
            let _ = announce(said[0], "192.0.2.1") + &announce(said[1], "2001:db8::1");
            more(wrong_signatures(&lab.nodes[1..]), &before)
        },
        picture,
    );
    assert!(!lab.peers_have(&said), "{}", picture());
    lab.there("second");
    wait_until("the peers hear what was said meanwhile", || lab.peers_have(&said), picture);

    // The peers first: what they say waits until bgpd has the key.
    let (before, heard) = (wrong_signatures(&lab.nodes[..1]), lab.requests());
    lab.there("third");
    let _ = lab.frr.vtysh("clear bgp ipv4 unicast * soft in") + &lab.frr.vtysh("clear bgp ipv6 unicast * soft in");
    let _ = lab.bird.birdc("reload in rr4") + &lab.bird.birdc("reload in rr6");
    wait_until(
        "bgpd's kernel drops what is signed with the new keys",
        || more(wrong_signatures(&lab.nodes[..1]), &before),
        picture,
    );
    assert_eq!(lab.requests(), heard, "{}", picture());
    lab.here("third");
    wait_until("bgpd hears what was asked meanwhile", || more(lab.requests(), &heard), picture);

    for address in PEERS {
        let neighbor = lab.bgpd.neighbor(address);
        assert_eq!((&neighbor["flaps"], &neighbor["established_count"]), (&0.into(), &1.into()), "{}", picture());
    }
    for address in ["192.0.2.1", "2001:db8::1"] {
        assert_eq!(lab.frr.neighbor(address)["connectionsDropped"], 0, "{}", picture());
    }
    let lost: Vec<String> = pings.finish().iter().filter(|way| way.lost > 0).map(ToString::to_string).collect();
    assert!(lost.is_empty(), "{lost:?}\n{}", picture());
}

/// Peers that begin anew with a new key: one reflector after the other.
#[test]
fn no_packet_is_lost_when_keys_are_changed_on_one_of_two_reflectors_after_the_other() {
    let lab = Lab::new("md5-two", &[&FRR[..], &BIRD[..], &["ping"]].concat());
    let reflectors = [lab.node("rr1", 1), lab.node("rr2", 2)];
    let (frr_node, bird_node) = (lab.node("frr", 11), lab.node("bird", 12));
    let pods = [frr_node.pod(1, 11), bird_node.pod(1, 12)];
    let start = |at: usize, other: &str| {
        let node = &reflectors[at];
        node.write("nodes.key", "first\n");
        let signed = "hold-time = 9\nmd5-password-file = \"nodes.key\"\n";
        let config = reflector(&node.ipv4.to_string(), None).replace("hold-time = 9\n", signed);
        // Whoever is in a range with a key needs one.
        let neighbor = format!("[[neighbor]]\naddress = \"{other}\"\nremote-asn = 65000\nmd5-password = \"pair\"\n");
        Bgpd::start(node, &(config + "\n" + &neighbor))
    };
    let speakers = [start(0, "192.0.2.2"), start(1, "192.0.2.1")];
    let before = " address-family ipv4 unicast";
    let keys = frr_key(1, "first") + &frr_key(2, "first") + before;
    let frr = Frr::start(&frr_node, &both_reflectors(&frr_config(&frr_node, 11)).replacen(before, &keys, 1));
    let plain = both_reflectors(&bird_config(&bird_node, 12));
    let bird_keys = |keys: [&str; 2]| bird_with_key(&bird_with_key(&plain, 1, keys[0]), 2, keys[1]);
    let bird = Bird::start(&bird_node, &bird_keys(["first", "first"]));
    let nodes = ["192.0.2.11", "192.0.2.12", "2001:db8::11", "2001:db8::12"];
    let picture = || speakers.each_ref().map(Bgpd::picture).concat() + &frr.picture() + &bird.picture();
    let two_paths = || {
        let of = |family: &str, prefix| frr.vtysh(&format!("show bgp {family} unicast {prefix}"));
        let of_frr = [of("ipv4", "10.1.12.0/24"), of("ipv6", "fd00:1:12::/64")];
        let of_bird = [bird.birdc("show route for 10.1.11.0/24"), bird.birdc("show route for fd00:1:11::/64")];
        of_frr.iter().all(|said| said.matches("Originator: 192.0.2.12").count() == 2)
            && of_bird.iter().all(|said| said.matches("rr4").count() + said.matches("rr6").count() == 2)
    };
    speakers.iter().for_each(|bgpd| bgpd.wait_established(&nodes.map(str::to_owned)));
    wait_until("everybody has a path from each reflector", two_paths, picture);
    let [frr_pod, bird_pod] = &pods;
    wait_until("pods reach each other", || frr_pod.reaches(bird_pod) && bird_pod.reaches(frr_pod), picture);

    let pings = Pings::start(&[("frr", frr_pod), ("bird", bird_pod)], 30);
    for (at, keys) in [(0, ["second", "first"]), (1, ["second", "second"])] {
        reflectors[at].write("nodes.key", "second\n");
        speakers[at].daemon.signal("HUP");
        let of_frr = frr_key(at as u8 + 1, "second");
        let _ = frr.vtysh(&format!("configure terminal\nrouter bgp 65000\n{of_frr}"));
        bird_node.write("bird.conf", &bird_keys(keys));
        let _ = bird.birdc("configure");
        let is_new = |address: &&str| {
            let neighbor = speakers[at].neighbor(address);
            neighbor["state"] == "Established" && neighbor["established_count"] == 2
        };
        wait_until("the sessions are up with the new key", || nodes.iter().all(&is_new), picture);
        wait_until("everybody has a path from each reflector again", two_paths, picture);
    }
    let lost: Vec<String> = pings.finish().iter().filter(|way| way.lost > 0).map(ToString::to_string).collect();
    assert!(lost.is_empty(), "{lost:?}\n{}", picture());
}
