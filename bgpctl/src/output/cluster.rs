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
        "owner": cluster.owner,
        "waits_for": cluster.waits_for,
        "refused_by_guard": cluster.refused_by_guard,
        "nodes_owner": cluster.nodes_owner,
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
        ("Owner", Left),
        ("Mode", Left),
        ("Longest", Right),
        ("Nodes", Right),
        ("Refused", Right),
        ("Pod CIDRs", Left),
        ("Members", Left),
    ]);
    for cluster in clusters {
        table.row(vec![
            cluster.name.clone(),
            cluster.owner.clone(),
            mode(cluster),
            format!("/{} /{}", cluster.max_length_ipv4, cluster.max_length_ipv6),
            cluster.nodes.len().to_string(),
            cluster.refused_by_guard.to_string(),
            cluster.pod_cidrs.join(" "),
            [cluster.node_ranges.as_slice(), cluster.peer_groups.as_slice()].concat().join(" "),
        ]);
    }
    table.text()
}

fn mode(cluster: &v1::Cluster) -> String {
    match cluster.waits_for.as_str() {
        "" if cluster.strict => "strict".to_owned(),
        "" => "cluster".to_owned(),
        other => format!("waits for {other} of the file"),
    }
}
