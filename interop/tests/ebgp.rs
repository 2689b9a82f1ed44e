//! eBGP with FRR and OpenBGPD, a full mesh without a reflector, and a speaker of 2-octet AS numbers.

use interop::lab::{BIRD, Bgpd, Bird, FRR, Frr, Lab, OPENBGPD, OpenBgpd, to, wait_until};

const GLOBAL: &str = "[global]\nasn = 65000\nrouter-id = \"192.0.2.1\"\n";

fn frr_external(peer_policy: &str) -> String {
    format!(
        "router bgp 65001\n bgp router-id 192.0.2.11\n no bgp network import-check\n no bgp ebgp-requires-policy\n neighbor 192.0.2.1 remote-as 65000\n \
         neighbor 192.0.2.1 timers 3 9\n neighbor 192.0.2.1 timers connect 1\n address-family ipv4 unicast\n  \
         network 10.11.0.0/24\n {peer_policy}\n exit-address-family\n"
    )
}

const OPENBGPD_EXTERNAL: &str = "
AS 65002
router-id 192.0.2.12
fib-update no
nexthop qualify via default
network 10.12.0.0/24 set nexthop 192.0.2.12
neighbor 192.0.2.1 {
  remote-as 65000
  announce IPv4 unicast
  holdtime 9
}
allow from any
allow to any
";

fn neighbor(host: u8, asn: u32, policies: bool) -> String {
    let policies = if policies { "import-policy = [\"accept-all\"]\nexport-policy = [\"accept-all\"]\n" } else { "" };
    format!(
        "[[neighbor]]\naddress = \"192.0.2.{host}\"\nremote-asn = {asn}\nconnect-retry = 1\nidle-hold-time = 1\n{policies}"
    )
}

#[test]
fn routes_pass_between_autonomous_systems_with_as_path_and_next_hop_of_the_speaker() {
    let lab = Lab::new("ebgp", &[&FRR[..], &OPENBGPD[..]].concat());
    let (us, frr_node, open_node) = (lab.node("us", 1), lab.node("frr", 11), lab.node("open", 12));
    let bgpd = Bgpd::start(&us, &(GLOBAL.to_owned() + &neighbor(11, 65001, true) + &neighbor(12, 65002, true)));
    let frr = Frr::start(&frr_node, &frr_external(""));
    let open = OpenBgpd::start(&open_node, OPENBGPD_EXTERNAL);
    let picture = || bgpd.picture() + &frr.picture() + &open.picture();
    wait_until("FRR has OpenBGPD's route", || to(&frr.routes(false), "10.12.0.0/24").is_some(), picture);
    wait_until("OpenBGPD has FRR's route", || to(&open.routes(), "10.11.0.0/24").is_some(), picture);
    let routes = frr.routes(false);
    let at_frr = to(&routes, "10.12.0.0/24").expect("it was there");
    assert_eq!((at_frr.as_path.as_str(), at_frr.next_hop.as_str()), ("65000 65002", "192.0.2.1"), "{at_frr:?}");
    // MED of another AS is not passed on (RFC 4271 §5.1.4), nor are the attributes of reflection.
    assert_eq!((at_frr.med, at_frr.originator_id.as_str()), (None, ""), "{at_frr:?}");
    let routes = open.routes();
    let at_open = to(&routes, "10.11.0.0/24").expect("it was there");
    assert_eq!((at_open.as_path.as_str(), at_open.next_hop.as_str()), ("65000 65001", "192.0.2.1"), "{at_open:?}");
}

#[test]
fn without_policies_an_external_neighbor_is_neither_heard_nor_told() {
    let lab = Lab::new("rfc8212", &FRR);
    let (us, frr_node) = (lab.node("us", 1), lab.node("frr", 11));
    let originate = "[[originate]]\nprefix = \"10.99.0.0/24\"\n";
    let bgpd = Bgpd::start(&us, &(GLOBAL.to_owned() + &neighbor(11, 65001, false) + originate));
    let frr = Frr::start(&frr_node, &frr_external(""));
    bgpd.wait_established(&["192.0.2.11".to_owned()]);
    let received = || bgpd.neighbor("192.0.2.11")["prefixes_received"] == 1;
    wait_until("the route is received", received, || bgpd.picture());
    let counts = bgpd.neighbor("192.0.2.11");
    assert_eq!((&counts["prefixes_accepted"], &counts["prefixes_advertised"]), (&0.into(), &0.into()), "{counts}");
    let routes = bgpd.json(&["show", "routes", "10.11.0.0/24"]);
    assert_eq!(routes[0]["rejected"], "eBGP without an import policy", "{routes}");
    let why = bgpd.ctl(&["explain", "10.99.0.0/24"]);
    assert!(why.contains("192.0.2.11  not advertised"), "{why}");
    assert!(to(&frr.routes(false), "10.99.0.0/24").is_none(), "{}", frr.picture());
}

#[test]
fn a_full_mesh_does_not_pass_internal_routes_on() {
    let lab = Lab::new("mesh", &FRR);
    let nodes = [lab.node("one", 1), lab.node("two", 2), lab.node("three", 3)];
    let frr_node = lab.node("frr", 11);
    let config = |me: u8| {
        let global = format!("[global]\nasn = 65000\nrouter-id = \"192.0.2.{me}\"\n");
        let others = [1, 2, 3, 11].into_iter().filter(|host| *host != me);
        // Speaker 3 does not peer with FRR: if it had FRR's route, somebody would have passed it on.
        let others = others.filter(|host| !(me == 3 && *host == 11));
        let mesh: String = others.map(|host| neighbor(host, 65000, false)).collect();
        format!("{global}{mesh}[[originate]]\nprefix = \"10.{me}.0.0/24\"\n")
    };
    let mesh = [1, 2, 3].map(|me| Bgpd::start(&nodes[usize::from(me) - 1], &config(me)));
    let peers = [1, 2]
        .map(|host| format!(" neighbor 192.0.2.{host} remote-as 65000\n neighbor 192.0.2.{host} timers connect 1\n"));
    let frr = Frr::start(
        &frr_node,
        &format!(
            "router bgp 65000\n bgp router-id 192.0.2.11\n no bgp network import-check\n{} address-family ipv4 unicast\n  network 10.11.0.0/24\n",
            peers.concat()
        ),
    );
    let picture = || mesh.iter().map(Bgpd::picture).collect::<String>() + &frr.picture();
    let knows = |who: usize, prefix: &str| to(&mesh[who].routes(), prefix).is_some();
    let spread = || {
        (0..3).all(|who| (1..4).all(|of| knows(who, &format!("10.{of}.0.0/24"))))
            && knows(0, "10.11.0.0/24")
            && knows(1, "10.11.0.0/24")
    };
    wait_until("everybody has what they are told directly", spread, picture);
    let at_frr = frr.routes(false);
    assert!(to(&at_frr, "10.1.0.0/24").is_some() && to(&at_frr, "10.2.0.0/24").is_some(), "{}", picture());
    assert!(to(&at_frr, "10.3.0.0/24").is_none() && !knows(2, "10.11.0.0/24"), "{}", picture());
    let why = mesh[0].ctl(&["explain", "10.11.0.0/24", "--to", "192.0.2.3"]);
    assert!(why.contains("not advertised"), "{why}");
}

#[test]
fn four_octet_as_numbers_cross_a_speaker_that_knows_two_octets_only() {
    let lab = Lab::new("as4", &BIRD);
    let nodes = [lab.node("far", 1), lab.node("old", 12), lab.node("near", 2)];
    let global = |asn: u32, host: u8| format!("[global]\nasn = {asn}\nrouter-id = \"192.0.2.{host}\"\n");
    let far = global(4_200_000_001, 1) + &neighbor(12, 65012, true) + "[[originate]]\nprefix = \"10.1.0.0/24\"\n";
    let far = Bgpd::start(&nodes[0], &far);
    let near = Bgpd::start(&nodes[2], &(global(4_200_000_002, 2) + &neighbor(12, 65012, true)));
    // BIRD reads the peer's AS number from its capability even so, but sends and takes paths of two octets.
    let old = "router id 192.0.2.12; protocol device {} protocol direct { ipv4; interface \"eth0\"; }
        template bgp old { local as 65012; enable as4 off; hold time 9; connect retry time 1; error wait time 1, 5;
          ipv4 { import all; export where source = RTS_BGP; }; }
        protocol bgp far from old { neighbor 192.0.2.1 external; }
        protocol bgp near from old { neighbor 192.0.2.2 external; }";
    let bird = Bird::start(&nodes[1], old);
    let picture = || far.picture() + &near.picture() + &bird.picture();
    wait_until("the route has crossed", || to(&near.routes(), "10.1.0.0/24").is_some(), picture);
    let routes = near.routes();
    let route = to(&routes, "10.1.0.0/24").expect("it was there");
    assert_eq!(route.as_path, "65012 4200000001", "{}", picture());
    let session = near.ctl(&["show", "neighbors", "192.0.2.12"]);
    let offered = |line: &str| line.contains("4-octet AS") && line.contains("received");
    assert!(!session.lines().any(offered), "{session}");
}
