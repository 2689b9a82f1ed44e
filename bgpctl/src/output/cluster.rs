//! Clusters and their nodes.

use bgpd_proto::v1;
use serde_json::{Value, json};

use super::table::{Align, Table};

pub(crate) fn json(cluster: &v1::Cluster) -> Value {
    let node =
        |node: &v1::ClusterNode| json!({ "name": node.name, "addresses": node.addresses, "pod_cidrs": node.pod_cidrs });
    json!({
        "name": cluster.name,
        "pod_cidrs": cluster.pod_cidrs,
        "node_ranges": cluster.node_ranges,
        "peer_groups": cluster.peer_groups,
        "strict": cluster.strict,
        "max_length_ipv4": cluster.max_length_ipv4,
        "max_length_ipv6": cluster.max_length_ipv6,
        "nodes": cluster.nodes.iter().map(node).collect::<Vec<_>>(),
    })
}

pub(crate) fn table(clusters: &[v1::Cluster]) -> String {
    use Align::{Left, Right};
    if clusters.is_empty() {
        return "no clusters\n".to_owned();
    }
    let mut table = Table::new(&[
        ("Cluster", Left),
        ("Mode", Left),
        ("Longest", Right),
        ("Nodes", Right),
        ("Pod CIDRs", Left),
        ("Members", Left),
    ]);
    for cluster in clusters {
        table.row(vec![
            cluster.name.clone(),
            if cluster.strict { "strict" } else { "cluster" }.to_owned(),
            format!("/{} /{}", cluster.max_length_ipv4, cluster.max_length_ipv6),
            cluster.nodes.len().to_string(),
            cluster.pod_cidrs.join(" "),
            [cluster.node_ranges.as_slice(), cluster.peer_groups.as_slice()].concat().join(" "),
        ]);
    }
    table.text()
}
