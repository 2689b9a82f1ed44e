//! Policies between FRR and BIRD: what they set and reject is what the peers' own tables have, and what a reload changes
//! comes there while the sessions stay.

use interop::lab::{BIRD, Bgpd, Bird, FRR, Frr, Lab, SeenRoute, to, wait_until};

const FRR_CONFIG: &str = "router bgp 65001\n bgp router-id 192.0.2.11\n no bgp network import-check\n \
    no bgp ebgp-requires-policy\n neighbor 192.0.2.1 remote-as 65000\n neighbor 192.0.2.1 timers 3 9\n \
    neighbor 192.0.2.1 timers connect 1\n address-family ipv4 unicast\n  network 10.11.0.0/24\n  \
    network 10.11.1.0/24\n exit-address-family\n";

const BIRD_CONFIG: &str = "router id 192.0.2.12; protocol device {} protocol direct { ipv4; interface \"eth0\"; }
    protocol static pods { ipv4; route 10.12.0.0/24 unreachable { bgp_community.add((65000,66)); };
      route 10.12.1.0/24 unreachable; }
    protocol bgp up { local as 65000; neighbor 192.0.2.1 as 65000; hold time 9; connect retry time 1;
      error wait time 1, 2; ipv4 { import all; export where proto = \"pods\"; next hop self; }; }";

/// bgpd between the two, with these statements on what comes from FRR and on what goes to it.
fn config(import: &str, export: &str) -> String {
    let retry = "connect-retry = 1\nidle-hold-time = 1\n";
    let prefixes = |name: &str, prefix: &str| format!("[[prefix-set]]\nname = \"{name}\"\nprefixes = [\"{prefix}\"]\n");
    let policy = |name: &str, statements: &str| format!("[[policy]]\nname = \"{name}\"\n{statements}");
    [
        "[global]\nasn = 65000\nrouter-id = \"192.0.2.1\"\n".to_owned(),
        format!(
            "[[neighbor]]\naddress = \"192.0.2.11\"\nremote-asn = 65001\nimport-policy = [\"from-frr\", \"accept-all\"]\n\
             export-policy = [\"to-frr\", \"accept-all\"]\n{retry}"
        ),
        format!(
            "[[neighbor]]\naddress = \"192.0.2.12\"\nremote-asn = 65000\nroute-reflector-client = true\n\
             export-policy = [\"to-bird\", \"accept-all\"]\n{retry}"
        ),
        prefixes("first", "10.0.0.0/8 ge 24") + &prefixes("frr-1", "10.11.1.0/24") + &prefixes("bird-0", "10.12.0.0/24"),
        prefixes("bird-1", "10.12.1.0/24"),
        "[[community-set]]\nname = \"from-bird\"\ncommunities = [\"65000:60-69\"]\n".to_owned(),
        policy("from-frr", import),
        policy("to-frr", export),
        policy("to-bird", "[[policy.statement]]\nset = { add-communities = [\"65000:12\"] }\n"),
    ]
    .concat()
}

const FIRST_IMPORT: &str = "[[policy.statement]]\nname = \"not-1\"\nmatch.prefix-sets = [\"frr-1\"]\nthen = \"reject\"\n\
    [[policy.statement]]\nname = \"prefer\"\nset = { local-pref = 250, med = 9, add-communities = [\"65000:11\"] }\n";
const FIRST_EXPORT: &str = "[[policy.statement]]\nname = \"tagged\"\nmatch.community-sets = [\"from-bird\"]\n\
    set = { med = 77, prepend = [65000, 65000], add-communities = [\"65000:7\"] }\n\
    [[policy.statement]]\nname = \"rest\"\nmatch.prefix-sets = [\"bird-1\"]\nthen = \"reject\"\n";
const SECOND_IMPORT: &str = "[[policy.statement]]\nname = \"all\"\nset = { local-pref = \"-10\", prepend = [65001] }\n";
const SECOND_EXPORT: &str = "[[policy.statement]]\nname = \"not-tagged\"\nmatch.community-sets = [\"from-bird\"]\n\
    then = \"reject\"\n[[policy.statement]]\nname = \"rest\"\nset = { med = 5, replace-communities = [\"65000:8\"] }\n";

/// The part of a route that policies of this lab change.
fn part(route: Option<&SeenRoute>) -> Option<(String, Option<u32>, Option<u32>, String)> {
    let route = route?;
    let mut communities = route.communities.clone();
    communities.sort();
    Some((route.as_path.clone(), route.local_pref, route.med, communities.join(" ")))
}

fn seen(
    as_path: &str,
    local_pref: Option<u32>,
    med: Option<u32>,
    communities: &str,
) -> Option<(String, Option<u32>, Option<u32>, String)> {
    Some((as_path.to_owned(), local_pref, med, communities.to_owned()))
}

struct Peers {
    bgpd: Bgpd,
    frr: Frr,
    bird: Bird,
}

impl Peers {
    fn picture(&self) -> String {
        self.bgpd.picture() + &self.frr.picture() + &self.bird.picture()
    }

    fn at_frr(&self, prefix: &str) -> Option<(String, Option<u32>, Option<u32>, String)> {
        // FRR has no LOCAL_PREF of an eBGP peer; its own default is of no interest.
        part(to(&self.frr.routes(false), prefix)).map(|(path, _, med, communities)| (path, None, med, communities))
    }

    fn at_bird(&self, prefix: &str) -> Option<(String, Option<u32>, Option<u32>, String)> {
        part(to(&self.bird.routes(false), prefix))
    }

    fn wait_for_first(&self) {
        let right = || {
            self.at_bird("10.11.0.0/24") == seen("65001", Some(250), Some(9), "65000:11 65000:12")
                && self.at_bird("10.11.1.0/24").is_none()
                && self.at_frr("10.12.0.0/24") == seen("65000 65000 65000", None, Some(77), "65000:66 65000:7")
                && self.at_frr("10.12.1.0/24").is_none()
        };
        wait_until("the peers have what the first policies say", right, || self.picture());
    }

    fn wait_for_second(&self) {
        let right = || {
            let path = "65001 65001";
            self.at_bird("10.11.0.0/24") == seen(path, Some(90), Some(0), "65000:12")
                && self.at_bird("10.11.1.0/24") == seen(path, Some(90), Some(0), "65000:12")
                && self.at_frr("10.12.0.0/24").is_none()
                && self.at_frr("10.12.1.0/24") == seen("65000", None, Some(5), "65000:8")
        };
        wait_until("the peers have what the second policies say", right, || self.picture());
    }

    /// Sessions of each neighbor since the start, as bgpd and FRR count them.
    fn sessions(&self) -> Vec<serde_json::Value> {
        let ours = ["192.0.2.11", "192.0.2.12"].map(|address| self.bgpd.neighbor(address)["established_count"].clone());
        let frr = self.frr.neighbor("192.0.2.1")["connectionsEstablished"].clone();
        ours.into_iter().chain([frr]).collect()
    }
}

#[test]
fn policies_set_and_reject_what_peers_have_and_a_reload_changes_it_while_sessions_stay() {
    let lab = Lab::new("policy", &[&FRR[..], &BIRD[..]].concat());
    let (us, frr_node, bird_node) = (lab.node("us", 1), lab.node("frr", 11), lab.node("bird", 12));
    let first = config(FIRST_IMPORT, FIRST_EXPORT);
    let second = config(SECOND_IMPORT, SECOND_EXPORT);
    let bgpd = Bgpd::start(&us, &first);
    let (frr, bird) = (Frr::start(&frr_node, FRR_CONFIG), Bird::start(&bird_node, BIRD_CONFIG));
    let peers = Peers { bgpd, frr, bird };
    peers.bgpd.wait_established(&["192.0.2.11".to_owned(), "192.0.2.12".to_owned()]);
    peers.wait_for_first();
    let sessions = peers.sessions();
    // A file that nobody runs yet, on a route that the running bgpd has.
    let file = us.write("second.toml", &second).display().to_string();
    let test = ["policy", "test", "10.11.1.0/24", "--from", "192.0.2.11", "--existing"];
    let now = peers.bgpd.json(&test);
    assert_eq!(
        (&now["accepted"], &now["decided_by"]),
        (&false.into(), &"policy \"from-frr\", statement \"not-1\"".into())
    );
    let then = peers.bgpd.json(&[&test[..], &["--file", &file]].concat());
    assert_eq!((&then["accepted"], &then["after"]["local_pref"]), (&true.into(), &90.into()), "{then}");
    assert_eq!(then["after"]["as_path"], "65001 65001", "{then}");
    for _ in 0..2 {
        peers.bgpd.reload(&us, &second);
        peers.wait_for_second();
        peers.bgpd.reload(&us, &first);
        peers.wait_for_first();
    }
    assert_eq!(peers.sessions(), sessions, "{}", peers.picture());
}
