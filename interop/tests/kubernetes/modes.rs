//! The sidecar's other ways to run: a full mesh without a reflector, for nodes that speak no BGP, and its end.

use std::collections::BTreeSet;

use interop::lab::{BIRD, Bgpd, Bird, Lab, Node, Sidecar, segment_v4, to, wait_until};
use serde_json::json;

use crate::world::{api_server, kernel_routes, node_object, remembering, sidecar_on, start_only_reflector};

const MESH: &str = "
[global]
asn = 65000
router-id = \"NODE_IP\"

[[peer-group]]
name = \"mesh\"
remote-asn = 65000
families = [\"ipv4-unicast\", \"ipv6-unicast\"]
hold-time = 9
connect-retry = 1
";

struct Meshed {
    name: String,
    node: Node,
    bgpd: Bgpd,
    sidecar: Sidecar,
}

impl Meshed {
    fn config(node: &Node) -> String {
        remembering(&MESH.replace("NODE_IP", &node.ipv4.to_string()), node)
    }

    fn start(lab: &Lab, host: u8) -> Self {
        let name = format!("n{host}");
        let node = lab.host(&name, 1, host);
        let bgpd = Bgpd::start(&node, &Self::config(&node));
        let sidecar = sidecar_on(&node, &name, &bgpd, &["--full-mesh", "--peer-group=mesh", "--lease=10"]);
        Self { name, node, bgpd, sidecar }
    }

    fn neighbors(&self) -> BTreeSet<String> {
        let all = self.bgpd.json(&["show", "neighbors"]);
        let established = all.as_array().into_iter().flatten().filter(|one| one["state"] == "Established");
        established.filter_map(|one| one["address"].as_str().map(str::to_owned)).collect()
    }

    fn picture(&self) -> String {
        self.bgpd.picture() + &self.sidecar.picture()
    }
}

fn networks(hosts: &[u8]) -> BTreeSet<String> {
    hosts.iter().flat_map(|host| [format!("10.1.{host}.0/24"), format!("fd00:1:{host}::/64")]).collect()
}

fn addresses(hosts: &[u8]) -> BTreeSet<String> {
    hosts.iter().map(|host| segment_v4(1, *host).to_string()).collect()
}

#[test]
fn nodes_of_a_cluster_without_a_reflector_find_each_other_and_leave_nothing_when_uninstalled() {
    let lab = Lab::new("full-mesh", &["nft", "setpriv"]);
    let _router = lab.router([0, 1]);
    let host = lab.host("api", 0, 100);
    let api = api_server(&host.namespace, "172.16.0.100:8081");
    let hosts = [21, 22, 23];
    for host in hosts {
        api.put("nodes", node_object(&format!("n{host}"), 1, host));
    }
    let mut nodes: Vec<Meshed> = hosts.iter().map(|host| Meshed::start(&lab, *host)).collect();
    let others = |of: u8| -> Vec<u8> { hosts.into_iter().filter(|host| *host != of).collect() };
    for (one, host) in nodes.iter().zip(hosts) {
        let wanted = addresses(&others(host));
        wait_until("sessions with all others", || one.neighbors() == wanted, || one.picture());
        let wanted = networks(&others(host));
        wait_until("routes to all others", || kernel_routes(&one.node) == wanted, || one.picture());
        wait_until("it is ready", || one.sidecar.is_ready(), || one.picture());
    }
    // What has become of a route in the kernel is said by the sidecar beside it.
    let first = &nodes[0];
    let kernel = |prefix: &str| {
        let why = first.bgpd.ctl(&["explain", prefix]);
        why.split_once("In the kernel\n").map(|(_, said)| said.to_owned()).unwrap_or_default()
    };
    let said = kernel("10.1.22.0/24");
    assert!(said.contains("  installed via 172.16.1.22 dev eth0, table 254, metric "), "{said}");
    let said = kernel("10.1.21.7");
    assert!(said.contains("  not installed: bgpd has not told a route from a neighbor"), "{said}");
    // The file says nothing of the neighbors: they come back when it is read again.
    first.bgpd.reload(&first.node, &Meshed::config(&first.node));
    wait_until("they are there after a reload", || first.neighbors() == addresses(&[22, 23]), || first.picture());
    api.delete("nodes", "n23");
    for one in &nodes[..2] {
        let left = if one.name == "n21" { 22 } else { 21 };
        wait_until("the deleted node is no neighbor", || one.neighbors() == addresses(&[left]), || one.picture());
        wait_until("nor routed to", || kernel_routes(&one.node) == networks(&[left]), || one.picture());
    }
    // A sidecar that does not come back: its routes stay for the lease and go then; kernel routes stay.
    nodes[1].sidecar.daemon.kill();
    let announced = |nodes: &[Meshed]| to(&nodes[1].bgpd.routes(), "10.1.22.0/24").is_some();
    assert!(announced(&nodes), "{}", nodes[1].picture());
    wait_until("the lease runs out", || !announced(&nodes), || nodes[1].picture());
    assert_eq!(kernel_routes(&nodes[1].node), networks(&[21]));
    let server = format!("--server=unix:{}", nodes[1].bgpd.socket());
    let (succeeded, said) = nodes[1].sidecar.ask(&["uninstall", &server]);
    assert!(succeeded && said.contains("routes removed: 2"), "{said}");
    assert_eq!(kernel_routes(&nodes[1].node), BTreeSet::new());
    assert_eq!(nodes[1].node.namespace.run_ok(&["nft", "list", "ruleset"]), "");
}

#[test]
fn sidecar_beside_a_reflector_speaks_for_nodes_that_speak_no_bgp() {
    let lab = Lab::new("cluster-mode", &[&BIRD[..], &["setpriv"]].concat());
    let _router = lab.router([0, 1]);
    let (host, client) = (lab.host("rr1", 0, 1), lab.host("client", 0, 11));
    let api = api_server(&host.namespace, "172.16.0.1:8081");
    for host in [21, 22] {
        api.put("nodes", node_object(&format!("n{host}"), 1, host));
    }
    let config = include_str!("../../../config/kubernetes/two-clusters/reflectors/172.16.0.1.toml");
    let bgpd = Bgpd::start(&host, &remembering(config, &host));
    let arguments = [format!("--server=unix:{}", bgpd.socket()), "--mode=cluster".into(), "--drain-time=2".into()];
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let sidecar = Sidecar::start(&host, "http://172.16.0.1:8081", "-all,+net_admin", &arguments);
    let bird_config = include_str!("../../peers/router-bird.conf").replace("ADDRESS", &client.ipv4.to_string());
    let bird = Bird::start(&client, &bird_config);
    let picture = || bgpd.picture() + &sidecar.picture() + &bird.picture();
    let route = |prefix: &str| to(&bird.routes(prefix.contains(':')), prefix).cloned();
    for host in [21, 22] {
        let next_hop = |prefix: String| route(&prefix).map(|route| route.next_hop);
        let is_there = || {
            next_hop(format!("10.1.{host}.0/24")) == Some(segment_v4(1, host).to_string())
                && next_hop(format!("fd00:1:{host}::/64")) == Some(format!("2001:db8:1::{host}"))
        };
        wait_until("BIRD has the node's pods with its address as next hop", is_there, picture);
    }
    // kubectl drain
    let mut cordoned = node_object("n21", 1, 21);
    cordoned["spec"]["unschedulable"] = json!(true);
    api.put("nodes", cordoned);
    let is_avoided = || {
        let communities = route("10.1.21.0/24").map(|route| route.communities).unwrap_or_default();
        communities.contains(&"65535:0".to_owned())
    };
    wait_until("its routes are to be avoided (RFC 8326)", is_avoided, picture);
    assert!(route("10.1.22.0/24").is_some_and(|route| route.communities.is_empty()));
    api.delete("nodes", "n21");
    wait_until("its routes are withdrawn", || route("10.1.21.0/24").is_none(), picture);
    assert!(route("10.1.22.0/24").is_some());
    // A Node that takes another's pod CIDR, and one without any: each is said by name, and the others go on.
    let mut thief = node_object("n30", 1, 30);
    thief["spec"]["podCIDRs"] = json!(["10.1.22.128/25"]);
    api.put("nodes", thief);
    api.put("nodes", json!({"metadata": {"name": "n31"}, "spec": {}}));
    let said = |text: &str| sidecar.status()["problems"].to_string().contains(text);
    wait_until("the overlap is said", || said("overlaps 10.1.22.0/24 of node n22, which keeps it"), picture);
    wait_until("the missing pod CIDR is said", || said("node/n31"), picture);
    assert!(route("10.1.22.0/24").is_some() && route("10.1.22.128/25").is_none());
}

#[test]
fn addresses_of_services_are_announced_where_their_endpoints_are() {
    let lab = Lab::new("services", &[&BIRD[..], &["setpriv"]].concat());
    let _router = lab.router([0, 1]);
    let (host, client) = (lab.host("rr1", 0, 1), lab.host("client", 0, 11));
    let api = api_server(&host.namespace, "172.16.0.1:8081");
    for host in [21, 22] {
        api.put("nodes", node_object(&format!("n{host}"), 1, host));
    }
    let service = |policy: &str| {
        json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "default"},
            "spec": {"externalIPs": ["203.0.113.7"], "externalTrafficPolicy": policy},
            "status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.8"}]}},
        })
    };
    let endpoint = |nodes: &[&str]| {
        let endpoints: Vec<_> = nodes.iter().map(|node| json!({"addresses": ["10.1.0.2"], "nodeName": node})).collect();
        json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"name": "web-1", "namespace": "default", "labels": {"kubernetes.io/service-name": "web"}},
            "endpoints": endpoints,
        })
    };
    api.put("services", service("Local"));
    api.put("endpointslices", endpoint(&["n22"]));
    let bgpd = start_only_reflector(&host);
    let server = format!("--server=unix:{}", bgpd.socket());
    let arguments = [server.as_str(), "--mode=cluster", "--drain-time=1", "--services=load-balancer,external"];
    let sidecar = Sidecar::start(&host, "http://172.16.0.1:8081", "-all,+net_admin", &arguments);
    let bird_config = include_str!("../../peers/router-bird.conf").replace("ADDRESS", &client.ipv4.to_string());
    let bird = Bird::start(&client, &bird_config);
    let leads = |wanted: Option<u8>| {
        let wanted = wanted.map(|host| segment_v4(1, host).to_string());
        let next_hop = |prefix| to(&bird.routes(false), prefix).map(|route| route.next_hop.clone());
        ["203.0.113.7/32", "203.0.113.8/32"].into_iter().all(|prefix| next_hop(prefix) == wanted)
    };
    let picture = || bgpd.picture() + &sidecar.picture() + &bird.picture();
    wait_until("the node with the endpoint takes the traffic", || leads(Some(22)), picture);
    api.put("endpointslices", endpoint(&["n21"]));
    wait_until("it goes with the endpoint", || leads(Some(21)), picture);
    api.put("endpointslices", endpoint(&[]));
    wait_until("nobody takes it without one", || leads(None), picture);
    api.put("services", service("Cluster"));
    wait_until("any node does where the policy lets it", || leads(Some(21)), picture);
    api.delete("services", "web");
    wait_until("its addresses go with it", || leads(None), picture);
    assert!(to(&bird.routes(false), "10.1.21.0/24").is_some(), "{}", picture());
}
