//! Roles and OTC (RFC 9234) with FRR and BIRD.

use interop::lab::cluster::bird_of_as;
use interop::lab::{BIRD, Bgpd, Bird, FRR, Frr, Lab, Node, to, wait_until};

const GLOBAL: &str = "[global]\nasn = 65000\nrouter-id = \"192.0.2.1\"\n";

fn neighbor(host: u8, asn: u32, role: &str) -> String {
    format!(
        "[[neighbor]]\naddress = \"192.0.2.{host}\"\nremote-asn = {asn}\nconnect-retry = 1\nidle-hold-time = 1\n{role}\n\
         import-policy = [\"accept-all\"]\nexport-policy = [\"accept-all\"]\n"
    )
}

fn frr(node: &Node, asn: u32, role: &str) -> Frr {
    let host = node.ipv4.octets()[3];
    let config = format!(
        "router bgp {asn}\n bgp router-id {}\n no bgp network import-check\n no bgp ebgp-requires-policy\n \
         neighbor 192.0.2.1 remote-as 65000\n neighbor 192.0.2.1 timers 3 9\n neighbor 192.0.2.1 timers connect 1\n \
         {role}\n address-family ipv4 unicast\n  network 10.{host}.0.0/24\n exit-address-family\n",
        node.ipv4
    );
    Frr::start(node, &config)
}

#[test]
fn routes_of_a_provider_go_to_customers_only_and_wrong_roles_are_refused() {
    let lab = Lab::new("roles", &[&FRR[..], &BIRD[..]].concat());
    let us = lab.node("us", 1);
    let (above, below) = (lab.node("above", 11), lab.node("below", 12));
    let (beside, wrong) = (lab.node("beside", 13), lab.node("wrong", 14));
    let config = [
        GLOBAL.to_owned(),
        neighbor(11, 65011, "role = \"customer\"\nrole-strict = true"),
        neighbor(12, 65012, "role = \"provider\"\nrole-strict = true"),
        neighbor(13, 65013, "role = \"peer\""),
        neighbor(14, 65014, "role = \"customer\""),
    ];
    let bgpd = Bgpd::start(&us, &config.concat());
    let provider = frr(&above, 65011, "neighbor 192.0.2.1 local-role provider strict-mode");
    let customer = bird_of_as(&below, 65012, "local role customer; require roles on;");
    let peer = bird_of_as(&beside, 65013, "local role peer;");
    let confused = bird_of_as(&wrong, 65014, "local role peer;");
    let picture = || {
        let last = [provider.picture(), customer.picture(), peer.picture(), confused.picture()];
        bgpd.picture() + &last.concat()
    };
    bgpd.wait_established(&[11, 12, 13].map(|host| format!("192.0.2.{host}")));

    let prefix = |host: u8| format!("10.{host}.0.0/24");
    let knows = |bird: &Bird, host: u8| to(&bird.routes(false), &prefix(host)).is_some();
    wait_until("the customer has all", || [11, 13].iter().all(|host| knows(&customer, *host)), picture);
    wait_until("the peer has the customer's", || knows(&peer, 12), picture);
    let has_customers = || to(&provider.routes(false), &prefix(12)).is_some();
    wait_until("so has the provider", has_customers, picture);
    // RFC 9234 §5, egress 2: what came from the provider or the peer goes to neither of them.
    assert!(!knows(&peer, 11), "{}", picture());
    assert!(to(&provider.routes(false), &prefix(13)).is_none(), "{}", picture());
    let why = bgpd.ctl(&["explain", &prefix(11), "--to", "192.0.2.13"]);
    assert!(why.contains("OTC says that it is for customers only"), "{why}");
    // §5, ingress 3 and egress 1: BIRD shows the marks.
    let marked = |bird: &Bird, host: u8, asn: u32| {
        bird.birdc(&format!("show route {} all", prefix(host))).contains(&format!("BGP.otc: {asn}"))
    };
    assert!(marked(&customer, 11, 65011) && marked(&customer, 13, 65013), "{}", picture());
    assert!(marked(&peer, 12, 65000), "{}", picture());
    // §4.2: the other side of a customer is a provider.
    let refused = || bgpd.neighbor("192.0.2.14")["last_error"].to_string().to_lowercase().contains("role");
    wait_until("the wrong role is said", refused, picture);
    assert!(!bgpd.is_established("192.0.2.14"), "{}", picture());
}

#[test]
fn a_role_that_becomes_strict_ends_the_session_of_a_peer_that_says_none_and_no_other() {
    let lab = Lab::new("strict-role", &BIRD);
    let us = lab.node("us", 1);
    let (says, silent) = (lab.node("says", 13), lab.node("silent", 15));
    let config = |rest: &str| {
        let role = format!("role = \"peer\"\n{rest}");
        GLOBAL.to_owned() + &neighbor(13, 65013, &role) + &neighbor(15, 65015, &role)
    };
    let bgpd = Bgpd::start(&us, &config(""));
    let birds = [bird_of_as(&says, 65013, "local role peer;"), bird_of_as(&silent, 65015, "")];
    let picture = || bgpd.picture() + &birds.each_ref().map(Bird::picture).concat();
    let both = ["192.0.2.13", "192.0.2.15"];
    let flaps = || both.map(|address| bgpd.neighbor(address)["flaps"].as_u64());
    bgpd.wait_established(&both.map(str::to_owned));
    let file = us.write("strict.toml", &config("role-strict = true")).display().to_string();
    let diff = bgpd.ctl(&["config", "diff", &file]);
    let named: Vec<&str> = diff.lines().filter(|line| line.contains("is reset")).collect();
    assert_eq!(named, ["session with 192.0.2.15 is reset: role-strict, and the peer has not said its role"], "{diff}");
    let _ = bgpd.ctl(&["config", "apply", &file]);
    // RFC 9234 §4.2
    let refused = || bgpd.neighbor("192.0.2.15")["last_error"].to_string().contains("does not say its role");
    wait_until("the silent one is refused", refused, picture);
    let file = us.write("lenient.toml", &config("")).display().to_string();
    assert!(!bgpd.ctl(&["config", "diff", &file]).contains("is reset"), "{}", picture());
    let _ = bgpd.ctl(&["config", "apply", &file]);
    bgpd.wait_established(&both.map(str::to_owned));
    assert_eq!(flaps(), [Some(0), Some(1)], "{}", picture());
}
