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
