//! Nodes of other CNIs beside one of ours: Cilium's speaker, and a node that moves from kube-router to the sidecar.

use interop::lab::{Bgpd, GOBGP, Lab, Node, Pod, Sidecar, wait_until};
use serde_json::{Value, json};

use crate::apiserver::ApiServer;
use crate::page;
use crate::world::{
    api_server, fill, node_object, remembering, sidecar_on, start_bgpd, start_gobgp, start_reflector, start_sidecar,
    watching_sidecar,
};

const API: &str = "http://172.16.0.100:8081";

/// A reflector pair, and a node of cluster 1 with bgpd and a sidecar.
struct World {
    pod: Pod,
    sidecar: Sidecar,
    bgpd: Bgpd,
    reflectors: [Bgpd; 2],
    api: ApiServer,
    _nodes: Vec<Node>,
    lab: Lab,
}

impl World {
    fn build(name: &str) -> Self {
        let lab = Lab::new(name, &[&GOBGP[..], &["ping", "nft", "setpriv"]].concat());
        let mut nodes = vec![lab.router([0, 1, 2])];
        nodes.extend([lab.host("rr1", 0, 1), lab.host("rr2", 0, 2), lab.host("api", 0, 100), lab.host("n21", 1, 21)]);
        // The nodes of the two networks find each other by themselves; between them the router knows the pods.
        for (cluster, net) in [(1, 21), (2, 11)] {
            let next_hops = [format!("172.16.{cluster}.{net}"), format!("2001:db8:{cluster}::{net}")];
            nodes[0].namespace.ip(&format!("route add 10.{cluster}.{net}.0/24 via {}", next_hops[0]));
            nodes[0].namespace.ip(&format!("-6 route add fd00:{cluster}:{net}::/64 via {}", next_hops[1]));
        }
        let api = api_server(&nodes[3].namespace, "172.16.0.100:8081");
        let reflectors = [start_reflector(&nodes[1], 0), start_reflector(&nodes[2], 1)];
        let pod = nodes[4].pod(1, 21);
        api.put("nodes", node_object("n21", 1, 21));
        let bgpd = start_bgpd(&nodes[4]);
        let sidecar = start_sidecar(&nodes[4], "n21", &bgpd);
        Self { pod, sidecar, bgpd, reflectors, api, _nodes: nodes, lab }
    }

    fn picture(&self) -> String {
        self.bgpd.picture() + &self.sidecar.picture() + &self.reflectors[0].picture()
    }

    fn wait_pods(&self, what: &str, other: &Pod, more: &dyn Fn() -> String) {
        let both = || self.pod.reaches(other) && other.reaches(&self.pod);
        wait_until(what, both, || self.picture() + &more());
    }
}

#[test]
fn pods_of_a_node_with_the_speaker_of_cilium_are_reached_and_reach_others() {
    let world = World::build("cilium");
    let node = world.lab.host("c1", 2, 11);
    let pod = node.pod(2, 11);
    world.api.put("nodes", node_object("c1", 2, 11));
    let gobgp = start_gobgp(&node, &page::cilium_gobgp(), &|text| fill(text, &node, 2, 11));
    let sidecar = watching_sidecar(&node, "c1", &world.reflectors[0], API);
    let more = || gobgp.picture() + &sidecar.picture();
    world.wait_pods("pods reach each other", &pod, &more);
    wait_until("the sidecar is ready", || sidecar.is_ready(), more);
}

fn annotations() -> Value {
    json!({
        "kube-router.io/node.asn": "65000",
        "kube-router.io/peer.ips": "172.16.0.1,172.16.0.2,2001:db8::1,2001:db8::2",
        "kube-router.io/peer.asns": "65000,65000,65000,65000",
    })
}

#[test]
fn node_with_annotations_of_kube_router_moves_to_the_sidecar() {
    let world = World::build("from-kube-router");
    let node = world.lab.host("k1", 2, 11);
    let pod = node.pod(2, 11);
    let mut object = node_object("k1", 2, 11);
    object["metadata"]["annotations"] = annotations();
    world.api.put("nodes", object);
    let gobgp = start_gobgp(&node, &page::annotated_gobgp(&annotations()), &|text| fill(text, &node, 2, 11));
    let watching = watching_sidecar(&node, "k1", &world.reflectors[0], API);
    world.wait_pods("pods reach each other with kube-router", &pod, &|| gobgp.picture() + &watching.picture());

    // Nothing is touched but the node itself: the Node object stays as it is.
    drop(gobgp);
    drop(watching);
    let config = page::bgpd_of_kube_router_node().replace("NODE_IP", &node.ipv4.to_string());
    let bgpd = Bgpd::confined(&node, &remembering(&config, &node), "-all,+net_bind_service");
    let sidecar = sidecar_on(&node, "k1", &bgpd, &page::sidecar_options(&["--kube-router-peers"]));
    let more = || bgpd.picture() + &sidecar.picture();
    let peers = ["172.16.0.1", "172.16.0.2", "2001:db8::1", "2001:db8::2"];
    let up = || peers.iter().all(|peer| bgpd.is_established(peer));
    wait_until("sessions with the peers of the annotations", up, more);
    wait_until("the sidecar is ready", || sidecar.is_ready(), more);
    world.wait_pods("pods reach each other with the sidecar", &pod, &more);
    for reflector in &world.reflectors {
        let of_node = reflector.json(&["show", "routes", "10.2.11.0/24", "--best"]);
        assert_eq!(of_node[0]["next_hop"], "172.16.2.11", "{of_node:#}");
    }
    // Another peer in the annotations is another neighbor.
    let mut object = node_object("k1", 2, 11);
    object["metadata"]["annotations"] = json!({
        "kube-router.io/node.asn": "65000",
        "kube-router.io/peer.ips": "172.16.0.1",
        "kube-router.io/peer.asns": "65000",
    });
    world.api.put("nodes", object);
    let only_one = || peers.iter().all(|peer| bgpd.neighbor(peer).is_null() != (*peer == "172.16.0.1"));
    wait_until("what the annotations no longer name is no neighbor", only_one, more);
    world.wait_pods("pods reach each other still", &pod, &more);
}
