//! Two reflectors: one dies, and nobody's packets notice.

use std::process::{Child, Stdio};

use interop::lab::cluster::{bird_config, both_reflectors, frr_config, reflector};
use interop::lab::{BIRD, Bgpd, Bird, FRR, Frr, Lab, Pod, wait_until};

fn ping(from: &Pod, to: &Pod, count: u32) -> Child {
    let mut ping = from.namespace.command("ping");
    ping.args(["-q", "-n", "-i", "0.02", "-c", &count.to_string(), &to.ipv4.to_string()]);
    ping.stdout(Stdio::piped()).spawn().expect("ping can be started")
}

fn one_of_two_dies(cluster_ids: [Option<&str>; 2]) {
    let lab = Lab::new("redundancy", &[&FRR[..], &BIRD[..], &["ping"]].concat());
    let [one, two] = [lab.node("rr1", 1), lab.node("rr2", 2)];
    let (frr_node, bird_node) = (lab.node("frr", 11), lab.node("bird", 12));
    let (frr_pod, bird_pod) = (frr_node.pod(1, 11), bird_node.pod(1, 12));
    // The reflectors know each other as non-clients, so that a node with one session left is still reachable.
    let peer = |address: &str| format!("\n[[neighbor]]\naddress = \"{address}\"\nremote-asn = 65000\n");
    let mut first = Bgpd::start(&one, &(reflector("192.0.2.1", cluster_ids[0]) + &peer("192.0.2.2")));
    let second = Bgpd::start(&two, &(reflector("192.0.2.2", cluster_ids[1]) + &peer("192.0.2.1")));
    let frr = Frr::start(&frr_node, &both_reflectors(&frr_config(&frr_node, 11)));
    let bird = Bird::start(&bird_node, &both_reflectors(&bird_config(&bird_node, 12)));
    let nodes = ["192.0.2.11", "192.0.2.12", "2001:db8::11", "2001:db8::12"].map(str::to_owned);
    first.wait_established(&nodes);
    second.wait_established(&nodes);
    let picture = || first.picture() + &second.picture() + &frr.picture() + &bird.picture();
    wait_until("pods reach each other", || frr_pod.reaches(&bird_pod) && bird_pod.reaches(&frr_pod), picture);
    let two_paths = || frr.vtysh("show bgp ipv4 unicast 10.1.12.0/24").matches("Originator: 192.0.2.12").count() == 2;
    wait_until("FRR has a path from each reflector", two_paths, picture);
    let pinging = ping(&frr_pod, &bird_pod, 400);
    first.daemon.kill();
    let output = pinging.wait_with_output().expect("ping ends");
    let report = String::from_utf8_lossy(&output.stdout);
    assert!(report.contains(" 0% packet loss"), "{report}\n{}", second.picture());
    assert!(frr_pod.reaches(&bird_pod));
    // Long after the hold time of the dead reflector the routes of the other one still stand.
    wait_until("BIRD gives the dead reflector up", || !bird.is_established("rr4"), || bird.picture());
    assert!(frr_pod.reaches(&bird_pod) && bird_pod.reaches(&frr_pod), "{}", second.picture());
}

#[test]
fn pings_go_on_when_one_of_two_reflectors_with_different_cluster_ids_dies() {
    one_of_two_dies([None, None]);
}

#[test]
fn pings_go_on_when_one_of_two_reflectors_with_the_same_cluster_id_dies() {
    one_of_two_dies([Some("192.0.2.100"), Some("192.0.2.100")]);
}

/// RFC 4456 §7: a pair can become one cluster, and two again, while every session goes on.
#[test]
fn two_reflectors_become_one_cluster_and_come_apart_while_sessions_and_pings_go_on() {
    let lab = Lab::new("cluster-id", &[&FRR[..], &BIRD[..], &["ping"]].concat());
    let [one, two] = [lab.node("rr1", 1), lab.node("rr2", 2)];
    let (frr_node, bird_node) = (lab.node("frr", 11), lab.node("bird", 12));
    let (frr_pod, bird_pod) = (frr_node.pod(1, 11), bird_node.pod(1, 12));
    let config = |router_id: &str, cluster_id| {
        let other = if router_id == "192.0.2.1" { "192.0.2.2" } else { "192.0.2.1" };
        reflector(router_id, cluster_id) + &format!("\n[[neighbor]]\naddress = \"{other}\"\nremote-asn = 65000\n")
    };
    let first = Bgpd::start(&one, &config("192.0.2.1", None));
    let second = Bgpd::start(&two, &config("192.0.2.2", None));
    let frr = Frr::start(&frr_node, &both_reflectors(&frr_config(&frr_node, 11)));
    let bird = Bird::start(&bird_node, &both_reflectors(&bird_config(&bird_node, 12)));
    let clients = ["192.0.2.11", "192.0.2.12", "2001:db8::11", "2001:db8::12"];
    for (bgpd, other) in [(&first, "192.0.2.2"), (&second, "192.0.2.1")] {
        bgpd.wait_established(&clients.map(str::to_owned));
        bgpd.wait_established(&[other.to_owned()]);
    }
    let picture = || first.picture() + &second.picture() + &frr.picture() + &bird.picture();

    // What each reflector holds of the other one, and what the nodes see of both.
    let usable = |bgpd: &Bgpd, from: &str| {
        let routes = bgpd.json(&["show", "routes", "--from", from]);
        let routes = routes.as_array().cloned().unwrap_or_default();
        assert_eq!(routes.len(), 2, "{routes:?}");
        routes.iter().filter(|route| route["rejected"].is_null()).count()
    };
    let lists = |ids: [&str; 2]| {
        let frr_has = frr.vtysh("show bgp ipv4 unicast 10.1.12.0/24");
        let bird_has = bird.birdc("show route all 10.1.11.0/24");
        ids.iter().all(|id| {
            frr_has.contains(&format!("Cluster list: {id}")) && bird_has.contains(&format!("BGP.cluster_list: {id}"))
        })
    };
    let are = |ids: [&str; 2], held: usize| {
        wait_until(
            "clusters are known to all",
            || lists(ids) && usable(&first, "192.0.2.2") == held && usable(&second, "192.0.2.1") == held,
            picture,
        );
    };
    are(["192.0.2.1", "192.0.2.2"], 2);
    wait_until("pods reach each other", || frr_pod.reaches(&bird_pod) && bird_pod.reaches(&frr_pod), picture);
    let pinging = ping(&frr_pod, &bird_pod, 400);
    for (cluster_id, ids, held) in [
        (Some("192.0.2.2"), ["192.0.2.2", "192.0.2.2"], 0),
        (Some("192.0.2.9"), ["192.0.2.9", "192.0.2.2"], 2),
        (None, ["192.0.2.1", "192.0.2.2"], 2),
    ] {
        let file = one.write("new.toml", &config("192.0.2.1", cluster_id)).display().to_string();
        let diff = first.ctl(&["config", "diff", &file]);
        assert!(diff.contains("cluster-id") && !diff.contains("reset"), "{diff}");
        let _ = first.ctl(&["config", "apply", &file]);
        are(ids, held);
    }
    let output = pinging.wait_with_output().expect("ping ends");
    let report = String::from_utf8_lossy(&output.stdout);
    assert!(report.contains(" 0% packet loss"), "{report}\n{}", picture());
    for bgpd in [&first, &second] {
        let flaps = clients.map(|address| bgpd.neighbor(address)["flaps"].as_u64());
        assert_eq!(flaps, [Some(0); 4], "{}", picture());
    }
}
