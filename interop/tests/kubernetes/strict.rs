//! Strict clusters whose nodes a sidecar beside the reflector declares: a node may announce its own pod CIDR from when it
//! joins until it is deleted, and nobody touches the reflector for it.

use interop::lab::{BIRD, Bgpd, Bird, Lab, Node, Sidecar, wait_until};
use serde_json::{Value, json};

use crate::page;
use crate::world::{api_server, node_object, remembering};

const REFLECTOR: &str = "
[global]
asn = 65000
router-id = \"172.16.0.1\"

[[peer-group]]
name = \"nodes\"
remote-asn = 65000
route-reflector-client = true
hold-time = 9

[[dynamic-neighbors]]
prefix = \"172.16.0.0/16\"
peer-group = \"nodes\"

[[cluster]]
name = \"east\"
pod-cidrs = [\"10.1.0.0/16\", \"fd00:1::/32\"]
nodes = [\"172.16.1.0/24\"]
strict = true

[[cluster]]
name = \"west\"
pod-cidrs = [\"10.2.0.0/16\", \"fd00:2::/32\"]
nodes = [\"172.16.2.0/24\"]
strict = true
";

/// A node that announces the pods of others than itself as well.
fn bird(node: &Node, prefixes: &[&str]) -> Bird {
    let routes: String = prefixes.iter().map(|prefix| format!("route {prefix} unreachable; ")).collect();
    Bird::start(
        node,
        &format!(
            "router id {}; protocol device {{}}\nprotocol static pods {{ ipv4; {routes} }}\n\
             protocol bgp up {{ local as 65000; neighbor 172.16.0.1 as 65000; multihop; hold time 9;\n\
             connect retry time 1; error wait time 1, 2;\n\
             ipv4 {{ import all; export where proto = \"pods\"; next hop self; }}; }}\n",
            node.ipv4
        ),
    )
}

/// The reflector, and beside it a sidecar for each cluster.
struct Strict {
    bgpd: Bgpd,
    host: Node,
}

impl Strict {
    /// A sidecar for a cluster whose API server is at this port.
    fn sidecar(&self, cluster: &str, owner: &str, port: u16) -> Sidecar {
        let all = [
            format!("--server=unix:{}", self.bgpd.socket()),
            format!("--guard-cluster={cluster}"),
            format!("--owner={owner}"),
            format!("--listen=127.0.0.1:{}", port + 1000),
        ];
        let mut arguments: Vec<&str> = page::sidecar_options(&["--guard-cluster=cluster-1"]);
        arguments.extend(["--no-report", "--drain-time=1"]);
        arguments.extend(all.iter().map(String::as_str));
        Sidecar::start(&self.host, &format!("http://172.16.0.1:{port}"), "-all", &arguments)
    }

    /// Why a node's route is not used; empty if it is, none if there is none.
    fn verdict(&self, from: &str, prefix: &str) -> Option<String> {
        // Dynamic neighbors are there when they connect.
        let text = self.bgpd.try_ctl(&["-o", "json", "show", "routes", "--from", from]).ok()?;
        let routes: Value = serde_json::from_str(&text).ok()?;
        let route = routes.as_array()?.iter().find(|route| route["prefix"] == prefix)?;
        Some(route["rejected"].as_str().unwrap_or_default().to_owned())
    }

    fn wait_accepted(&self, what: &str, from: &str, prefix: &str) {
        let is_accepted = || self.verdict(from, prefix).is_some_and(|why| why.is_empty());
        wait_until(what, is_accepted, || self.picture());
    }

    fn is_refused(&self, from: &str, prefix: &str, said: &str) -> bool {
        self.verdict(from, prefix).is_some_and(|why| why.contains(said))
    }

    /// The nodes that are declared of a cluster, and by whom.
    fn declared(&self, cluster: &str) -> (Vec<String>, String) {
        let all = self.bgpd.json(&["show", "clusters"]);
        let one = all.as_array().into_iter().flatten().find(|one| one["name"] == cluster).cloned().unwrap_or_default();
        let names = one["nodes"].as_array().into_iter().flatten().filter_map(|node| node["name"].as_str());
        (names.map(str::to_owned).collect(), one["nodes_owner"].as_str().unwrap_or_default().to_owned())
    }

    fn picture(&self) -> String {
        let routes = self.bgpd.try_ctl(&["show", "routes"]).unwrap_or_default();
        format!("{}{routes}{:#}", self.bgpd.picture(), self.bgpd.json(&["show", "clusters"]))
    }
}

fn both(names: &[&str], owner: &str) -> (Vec<String>, String) {
    (names.iter().map(|name| (*name).to_owned()).collect(), owner.to_owned())
}

#[test]
fn nodes_of_strict_clusters_are_declared_as_they_join_and_leave_without_touching_the_reflector() {
    let lab = Lab::new("strict", &[&BIRD[..], &["setpriv"]].concat());
    let _router = lab.router([0, 1, 2]);
    let host = lab.host("rr1", 0, 1);
    let apis = [8081, 8082].map(|port| api_server(&host.namespace, &format!("172.16.0.1:{port}")));
    let bgpd = Bgpd::start(&host, &remembering(REFLECTOR, &host));
    let mut strict = Strict { bgpd, host };
    let nodes = [(1, 21), (1, 22), (1, 23), (2, 31)].map(|(cluster, net)| lab.host(&format!("n{net}"), cluster, net));
    for net in [21, 22] {
        apis[0].put("nodes", node_object(&format!("n{net}"), 1, net));
    }
    apis[1].put("nodes", node_object("n31", 2, 31));
    let mut east = strict.sidecar("east", "sidecar-east", 8081);
    let _west = strict.sidecar("west", "sidecar-west", 8082);
    // n22 announces what is n21's as well; n23 is there before its Node is.
    let _birds = [
        bird(&nodes[0], &["10.1.21.0/24"]),
        bird(&nodes[1], &["10.1.22.0/24", "10.1.21.0/24"]),
        bird(&nodes[2], &["10.1.23.0/24"]),
        bird(&nodes[3], &["10.2.31.0/24"]),
    ];
    for (from, prefix) in
        [("172.16.1.21", "10.1.21.0/24"), ("172.16.1.22", "10.1.22.0/24"), ("172.16.2.31", "10.2.31.0/24")]
    {
        strict.wait_accepted("a node's own pods are accepted", from, prefix);
    }
    let stolen = "announced by node n22 (172.16.1.22) of cluster east, but it belongs to node n21 of cluster east";
    wait_until(
        "another's are refused, and both are named",
        || strict.is_refused("172.16.1.22", "10.1.21.0/24", stolen),
        || strict.picture(),
    );
    wait_until(
        "a node that the cluster does not know is refused",
        || strict.is_refused("172.16.1.23", "10.1.23.0/24", "not declared for this node"),
        || strict.picture(),
    );
    apis[0].put("nodes", node_object("n23", 1, 23));
    strict.wait_accepted("it joins", "172.16.1.23", "10.1.23.0/24");

    // Sidecar and reflector are killed: what was declared stays until the truth is known again.
    east.daemon.kill();
    strict.bgpd.daemon.kill();
    strict.bgpd = Bgpd::start(&strict.host, &remembering(REFLECTOR, &strict.host));
    strict.wait_accepted("it is accepted after", "172.16.1.23", "10.1.23.0/24");
    assert_eq!(strict.declared("east"), both(&["n21", "n22", "n23"], "sidecar-east"));
    apis[0].delete("nodes", "n21");
    let east = strict.sidecar("east", "sidecar-east", 8081);
    wait_until(
        "a deleted node is refused",
        || strict.is_refused("172.16.1.21", "10.1.21.0/24", "not declared for this node"),
        || strict.picture() + &east.picture(),
    );
    assert_eq!(strict.declared("west"), both(&["n31"], "sidecar-west"));

    // A sidecar of another cluster that names the wrong one touches nothing, and says so.
    let third = api_server(&strict.host.namespace, "172.16.0.1:8083");
    third.put("nodes", node_object("n99", 1, 99));
    let wrong = strict.sidecar("east", "sidecar-north", 8083);
    let said = |text: &str| {
        let (_, status) = wrong.ask(&["status", "--listen=127.0.0.1:9083", "-o", "json"]);
        status.contains(text)
    };
    let refused = "cluster east: owner sidecar-east has declared its nodes";
    wait_until("the wrong cluster is said", || said(refused) && said("NodesRefused"), || wrong.daemon.log_end());
    // A Node with nothing to announce, and one with another's pods, cost nobody else anything.
    let mut thief = node_object("n40", 1, 40);
    thief["spec"]["podCIDRs"] = json!(["10.1.22.128/25", "10.1.40.0/24"]);
    apis[0].put("nodes", thief);
    apis[0].put("nodes", json!({"metadata": {"name": "n41"}, "spec": {}}));
    let all = both(&["n22", "n23", "n40", "n41"], "sidecar-east");
    wait_until("the others are declared", || strict.declared("east") == all, || strict.picture() + &east.picture());
    // The reflector has started anew not long ago: the nodes' routes may still be on their way.
    for (from, prefix) in [("172.16.1.22", "10.1.22.0/24"), ("172.16.2.31", "10.2.31.0/24")] {
        strict.wait_accepted("the others keep their pods", from, prefix);
    }
}
