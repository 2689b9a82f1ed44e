//! Attributes of all kinds cross the reflector as they are.

use interop::lab::cluster::bird_ipv4_only;
use interop::lab::{BIRD, Bgpd, Bird, EXABGP, ExaBgp, Lab, to, wait_until};

/// Attribute 99 is one that nobody knows: optional and transitive (flags 0xc0).
const EXABGP_CLIENT: &str = "
neighbor 192.0.2.1 {
  router-id 192.0.2.14;
  local-address 192.0.2.14;
  local-as 65000;
  peer-as 65000;
  hold-time 9;
  family { ipv4 unicast; }
  static {
    route 10.50.0.0/24 next-hop 192.0.2.14 med 3 local-preference 150 origin egp as-path [ 64512 4200000000 ] \
    community [ 65000:7 ] large-community [ 65000:1:2 ] extended-community [ target:65000:5 ] \
    attribute [ 0x63 0xc0 0x01020304 ];
  }
}
";

#[test]
fn attributes_known_and_unknown_are_reflected_unchanged() {
    let lab = Lab::new("attributes", &[&BIRD[..], &EXABGP[..]].concat());
    let (rr, exabgp_node, bird_node) = (lab.node("rr", 1), lab.node("exabgp", 14), lab.node("bird", 12));
    let client = |host: u8| {
        format!(
            "[[neighbor]]\naddress = \"192.0.2.{host}\"\nremote-asn = 65000\nroute-reflector-client = true\n\
                 connect-retry = 1\nidle-hold-time = 1\n"
        )
    };
    let global = "[global]\nasn = 65000\nrouter-id = \"192.0.2.1\"\n";
    let bgpd = Bgpd::start(&rr, &(global.to_owned() + &client(14) + &client(12)));
    let exabgp = ExaBgp::start(&exabgp_node, EXABGP_CLIENT);
    let bird = Bird::start(&bird_node, &bird_ipv4_only(&bird_node, 12));
    let picture = || bgpd.picture() + &exabgp.daemon.log_end() + &bird.picture();
    wait_until("BIRD has ExaBGP's route", || to(&bird.routes(false), "10.50.0.0/24").is_some(), picture);
    let shown = bird.birdc("show route all 10.50.0.0/24");
    for line in [
        "BGP.origin: EGP",
        "BGP.as_path: 64512 4200000000",
        "BGP.next_hop: 192.0.2.14",
        "BGP.med: 3",
        "BGP.local_pref: 150",
        "BGP.community: (65000,7)",
        "BGP.originator_id: 192.0.2.14",
        "BGP.cluster_list: 192.0.2.1",
        "BGP.ext_community: (rt, 65000, 5)",
        "BGP.large_community: (65000, 1, 2)",
        "BGP.63 [t]: 01 02 03 04",
    ] {
        assert!(shown.contains(line), "{line} is missing in\n{shown}");
    }
}
