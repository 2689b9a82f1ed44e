//! What goes wrong in operation, and what bgpctl says of it.

use interop::lab::cluster::{REFLECTOR, bird, bird_ipv4_only, frr};
use interop::lab::{BIRD, Bgpd, Bird, FRR, Lab, to, wait_for, wait_until};

#[test]
fn a_node_that_dies_takes_its_routes_with_it() {
    let lab = Lab::new("death", &[&FRR[..], &BIRD[..]].concat());
    let (rr, frr_node, bird_node) = (lab.node("rr", 1), lab.node("frr", 11), lab.node("bird", 12));
    let bgpd = Bgpd::start(&rr, &REFLECTOR.replace("hold-time = 9", "hold-time = 3"));
    let (mut frr, bird) = (frr(&frr_node, 11), bird(&bird_node, 12));
    let picture = || bgpd.picture() + &bird.picture();
    let has = |prefix: &str, ipv6| to(&bird.routes(ipv6), prefix).is_some();
    wait_until("BIRD has FRR's routes", || has("10.1.11.0/24", false) && has("fd00:1:11::/64", true), picture);
    frr_node.cut();
    frr.kill();
    wait_until("BIRD has lost them", || !has("10.1.11.0/24", false) && !has("fd00:1:11::/64", true), picture);
    assert!(to(&bgpd.routes(), "10.1.11.0/24").is_none(), "{}", bgpd.picture());
    assert!(to(&bgpd.routes(), "10.1.12.0/24").is_some(), "{}", bgpd.picture());
    let neighbor = bgpd.neighbor("192.0.2.11");
    assert_eq!(neighbor["flaps"], 1, "{neighbor}");
    let error = neighbor["last_error"].as_str().unwrap_or_default();
    assert!(error.starts_with("hold timer expired"), "{error}");
}

/// The last error of a neighbor, once there is one that holds `part`; also in the table for people.
fn error_with(bgpd: &Bgpd, address: &str, part: &str) -> String {
    let found = || {
        let error = bgpd.neighbor(address)["last_error"].as_str().unwrap_or_default().to_owned();
        error.contains(part).then_some(error)
    };
    let error = wait_for(&format!("{address} says \"{part}\""), found, || bgpd.picture());
    let table = bgpd.ctl(&["show", "neighbors"]);
    assert!(table.lines().any(|line| line.starts_with(address) && line.contains(part)), "{table}");
    error
}

#[test]
fn a_wrong_as_a_wrong_password_and_an_absent_peer_are_said_in_words() {
    let lab = Lab::new("wrong", &BIRD);
    let rr = lab.node("rr", 1);
    let nodes = [lab.node("wrongas", 12), lab.node("badpass", 13), lab.node("goodpass", 14), lab.node("absent", 15)];
    let neighbor = |host: u8, extra: &str| {
        format!(
            "[[neighbor]]\naddress = \"192.0.2.{host}\"\nremote-asn = 65000\nconnect-retry = 1\nidle-hold-time = 1\n{extra}\n"
        )
    };
    let config = [
        "[global]\nasn = 65000\nrouter-id = \"192.0.2.1\"\n".to_owned(),
        neighbor(12, ""),
        neighbor(13, "md5-password = \"right\""),
        neighbor(14, "md5-password = \"right\""),
        neighbor(15, ""),
    ];
    let bgpd = Bgpd::start(&rr, &config.concat());
    let ipv4_only = |index: usize, host: u8| bird_ipv4_only(&nodes[index], host);
    let wrong_as = ipv4_only(0, 12).replace("local as 65000", "local as 65001");
    let password = |text: &str, key: &str| text.replace("hold time 9;", &format!("hold time 9; password \"{key}\";"));
    let _birds = [
        Bird::start(&nodes[0], &wrong_as),
        Bird::start(&nodes[1], &password(&ipv4_only(1, 13), "wrong")),
        Bird::start(&nodes[2], &password(&ipv4_only(2, 14), "right")),
    ];
    bgpd.wait_established(&["192.0.2.14".to_owned()]);
    // Which side notices first differs: bgpd by the peer's OPEN, or BIRD by bgpd's.
    let error = error_with(&bgpd, "192.0.2.12", "Bad Peer AS");
    assert!(error.contains("NOTIFICATION"), "{error}");
    error_with(&bgpd, "192.0.2.13", "wrong TCP-MD5 key");
    error_with(&bgpd, "192.0.2.15", "connection refused");
    let details = bgpd.ctl(&["show", "neighbors", "192.0.2.14"]);
    assert!(details.contains("TCP-MD5") && !details.contains("right"), "{details}");
}
