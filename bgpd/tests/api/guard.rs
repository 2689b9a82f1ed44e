//! The guard of the clusters on real sessions.

use bgp_wire::capability::Capability;
use bgpd_proto::v1;
use bgpd_proto::v1::cluster_service_client::ClusterServiceClient;
use bgpd_proto::v1::neighbor_service_client::NeighborServiceClient;
use tonic::Code;

use crate::daemon::{Daemon, free_port, wait_until};
use crate::speaker::{Path, Speaker, plain_open};

fn config(port: u16, east: &str) -> String {
    let group = |name: &str| {
        format!(
            "[[peer-group]]\nname = \"{name}\"\nremote-asn = 65000\nroute-reflector-client = true\npassive = true\n"
        )
    };
    let neighbor =
        |host: u8, group: &str| format!("[[neighbor]]\naddress = \"127.0.0.{host}\"\npeer-group = \"{group}\"\n");
    format!(
        "[global]\nasn = 65000\nrouter-id = \"192.0.2.1\"\nlisten = [\"127.0.0.1:{port}\"]\n{}{}{}{}{}\
         [[cluster]]\nname = \"east\"\npod-cidrs = [\"{east}\"]\nnodes = [\"127.0.0.11/32\", \"127.0.0.12/32\"]\n\
         [[cluster]]\nname = \"west\"\npod-cidrs = [\"10.2.0.0/16\"]\npeer-groups = [\"west\"]\nstrict = true\n",
        group("nodes"),
        group("west"),
        neighbor(11, "nodes"),
        neighbor(21, "west"),
        neighbor(22, "west"),
    )
}

/// Prefixes of a neighbor's Adj-RIB-In, and why they cannot be used.
pub(crate) async fn received(daemon: &Daemon, host: u8) -> Vec<(String, String)> {
    let request = v1::ListRoutesRequest { from: format!("127.0.0.{host}"), ..Default::default() };
    let mut stream = daemon.routes().await.list(request).await.expect("a list").into_inner();
    let mut routes = Vec::new();
    while let Some(part) = stream.message().await.expect("it goes on") {
        routes.extend(part.routes.into_iter().map(|route| (route.prefix, route.rejected)));
    }
    routes.sort();
    routes
}

pub(crate) async fn neighbor(daemon: &Daemon, host: u8) -> v1::Neighbor {
    let request = v1::GetNeighborRequest { address: format!("127.0.0.{host}") };
    let answer = NeighborServiceClient::new(daemon.connect().await).get(request).await.expect("an answer");
    answer.into_inner().neighbor.expect("it is there")
}

pub(crate) fn node(name: &str, host: u8, pods: &str) -> v1::ClusterNode {
    let addresses = vec![format!("127.0.0.{host}")];
    v1::ClusterNode { name: name.to_owned(), addresses, pod_cidrs: vec![pods.to_owned()] }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_announces_only_what_is_its_own_and_rules_change_without_a_reset() {
    let port = free_port();
    let daemon = Daemon::start(&config(port, "10.1.0.0/16")).await;
    let path = Path { local_pref: 100 };
    let mut east = Speaker::connect(port, 11, 65000).await;
    let announced = ["10.1.1.0/24", "10.2.1.0/24", "0.0.0.0/0", "10.0.0.0/8", "10.1.2.0/30"];
    for prefix in announced {
        east.announce(prefix, &path).await;
    }
    wait_until("all have come in", || async { received(&daemon, 11).await.len() == announced.len() }).await;
    let why: Vec<(String, String)> = received(&daemon, 11).await;
    let by = "announced by 127.0.0.11 of cluster east";
    let expected = [
        ("0.0.0.0/0", format!("a default route, which no node of a cluster may announce: {by}")),
        ("10.0.0.0/8", format!("not inside the pod CIDRs of its cluster: {by}")),
        ("10.1.1.0/24", String::new()),
        ("10.1.2.0/30", format!("more specific than its cluster allows: {by}")),
        ("10.2.1.0/24", format!("inside the pod CIDRs of another cluster: {by}, but it belongs to cluster west")),
    ];
    assert_eq!(why, expected.map(|(prefix, why)| (prefix.to_owned(), why)));
    assert_eq!(neighbor(&daemon, 11).await.refused_by_guard, 4);
    let request = v1::ExplainRequest { prefix: "10.2.1.0/24".to_owned(), to: String::new() };
    let explained = daemon.routes().await.explain(request).await.expect("it is in the table").into_inner();
    let verdict = &explained.candidates[0].verdict;
    assert_eq!(*verdict, format!("not usable: {}", expected_other_cluster(by)));

    // East gets another network: what was right is wrong now, what was wrong is right, and the session has not noticed.
    daemon.reload(&config(port, "10.3.0.0/16"), "", "");
    let outside =
        |routes: Vec<(String, String)>| routes.iter().any(|(p, why)| p == "10.1.1.0/24" && why.contains("not inside"));
    wait_until("the new rules hold", || async { outside(received(&daemon, 11).await) }).await;
    assert_eq!(neighbor(&daemon, 11).await.refused_by_guard, 5);
    daemon.reload(&config(port, "10.1.0.0/16"), "", "");
    let is_back =
        |routes: Vec<(String, String)>| routes.iter().any(|(prefix, why)| prefix == "10.1.1.0/24" && why.is_empty());
    wait_until("the old rules hold again", || async { is_back(received(&daemon, 11).await) }).await;
    assert_eq!((neighbor(&daemon, 11).await.flaps, east.refreshes()), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_that_change_take_routes_out_and_in_also_of_a_peer_that_cannot_be_asked_for_them() {
    let port = free_port();
    let daemon = Daemon::start(&config(port, "10.1.0.0/16")).await;
    let mut open = plain_open(21, 65000);
    open.capabilities.retain(|capability| *capability != Capability::RouteRefresh);
    let mut west = Speaker::open(port, 21, &open).await;
    west.accepted().await;
    let other = Speaker::connect(port, 11, 65000).await;
    west.announce("10.2.1.0/24", &Path { local_pref: 100 }).await;
    let why = || async { received(&daemon, 21).await.pop().map(|(_, why)| why).unwrap_or_default() };
    wait_until("nothing is declared", || async { why().await.contains("not declared for this node") }).await;
    let mut clusters = ClusterServiceClient::new(daemon.connect().await);
    for _ in 0..3 {
        for (nodes, is_allowed) in [(vec![node("w1", 21, "10.2.1.0/24")], true), (Vec::new(), false)] {
            let request = v1::SetNodesRequest { cluster: "west".to_owned(), nodes, owner: String::new() };
            let heard = other.updates().len();
            clusters.set_nodes(request).await.expect("there is such a cluster");
            wait_until("it is judged", || async { why().await.is_empty() == is_allowed }).await;
            wait_until("the others hear of it", || async { other.updates().len() > heard }).await;
        }
    }
    assert_eq!((neighbor(&daemon, 21).await.flaps, west.refreshes()), (0, 0));
    assert_eq!(neighbor(&daemon, 21).await.refused_by_guard, 4, "once as it came, and three times as it was in");
}

fn expected_other_cluster(by: &str) -> String {
    format!("inside the pod CIDRs of another cluster: {by}, but it belongs to cluster west")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_of_a_strict_cluster_announces_only_what_is_declared_for_it() {
    let port = free_port();
    let daemon = Daemon::start(&config(port, "10.1.0.0/16")).await;
    let path = Path { local_pref: 100 };
    let mut west = Speaker::connect(port, 21, 65000).await;
    let announced = ["10.2.1.0/24", "10.2.2.0/24"];
    for prefix in announced {
        west.announce(prefix, &path).await;
    }
    let refused = |routes: &[(String, String)]| routes.iter().filter(|(_, why)| !why.is_empty()).count();
    wait_until("nothing is declared", || async { refused(&received(&daemon, 21).await) == 2 }).await;
    let mut clusters = ClusterServiceClient::new(daemon.connect().await);
    let declaration = |owner: &str, cluster: &str, nodes: &[v1::ClusterNode]| v1::SetNodesRequest {
        cluster: cluster.to_owned(),
        nodes: nodes.to_vec(),
        owner: owner.to_owned(),
    };
    let nodes = [node("w1", 21, "10.2.1.0/24"), node("w2", 22, "10.2.2.0/24")];
    clusters.set_nodes(declaration("inventory", "west", &nodes)).await.expect("nobody has declared any");
    let error = clusters.set_nodes(declaration("", "west", &nodes)).await.expect_err("they are another's");
    let said = "cluster west: owner inventory has declared its nodes";
    assert_eq!((error.code(), error.message()), (Code::AlreadyExists, said));
    wait_until("its own is accepted", || async { refused(&received(&daemon, 21).await) == 1 }).await;
    let why = received(&daemon, 21).await.remove(1).1;
    let expected = "not declared for this node (strict cluster): announced by node w1 (127.0.0.21) of cluster west, \
                    but it belongs to node w2 of cluster west";
    assert_eq!(why, expected);
    let listed = clusters.list(v1::ListClustersRequest {}).await.expect("an answer").into_inner().clusters;
    let nodes_of: Vec<(&str, usize)> = listed.iter().map(|one| (one.name.as_str(), one.nodes.len())).collect();
    assert_eq!(nodes_of, [("east", 0), ("west", 2)]);
    assert_eq!(listed[1].nodes_owner, "inventory");
    let error = clusters.set_nodes(declaration("inventory", "north", &nodes)).await.expect_err("no such cluster");
    assert_eq!(error.code(), Code::NotFound);
    let overlap = [node("w1", 21, "10.2.0.0/16"), node("w2", 22, "10.2.2.0/24")];
    let error = clusters.set_nodes(declaration("inventory", "west", &overlap)).await.expect_err("they overlap");
    assert!(error.message().contains("10.2.2.0/24 of node w2 overlaps a pod CIDR of node w1"), "{error}");
    // Whoever declares none gives them up.
    clusters.set_nodes(declaration("inventory", "west", &[])).await.expect("they are its own");
    wait_until("nothing is declared any more", || async { refused(&received(&daemon, 21).await) == 2 }).await;
    clusters.set_nodes(declaration("", "west", &nodes)).await.expect("nobody has declared any");
}
