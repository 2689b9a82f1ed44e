//! `show clusters`, `cluster …`.

use bgpd_proto::v1;
use bgpd_proto::v1::cluster_service_client::ClusterServiceClient;

use super::Context;
use crate::Error;
use crate::arguments::{Cluster, SetCluster};
use crate::client::Connection;
use crate::output::cluster;

async fn client(context: &Context) -> Result<ClusterServiceClient<Connection>, Error> {
    // A strict cluster has thousands of nodes.
    Ok(ClusterServiceClient::new(context.connect().await?).max_decoding_message_size(usize::MAX))
}

pub(super) async fn list(context: &Context) -> Result<(), Error> {
    let clusters = client(context).await?.list(v1::ListClustersRequest {}).await?.into_inner().clusters;
    let json: Vec<_> = clusters.iter().map(cluster::json).collect();
    context.print(&json, || cluster::table(&clusters))
}

pub(super) async fn steer(context: &Context, command: Cluster) -> Result<(), Error> {
    let mut client = client(context).await?;
    let done = match command {
        Cluster::Set(wanted) => {
            let name = wanted.name.clone();
            client.set(v1::SetClusterRequest { owner: String::new(), cluster: Some(config(wanted)) }).await?;
            format!("cluster {name} set")
        }
        Cluster::Delete { name } => {
            client.delete(v1::DeleteClusterRequest { owner: String::new(), name: name.clone() }).await?;
            format!("cluster {name} deleted")
        }
        Cluster::Nodes { name, nodes, owner } => {
            let nodes: Vec<v1::ClusterNode> = nodes.iter().map(|text| node(text)).collect();
            let count = nodes.len();
            client
                .set_nodes(v1::SetNodesRequest { cluster: name.clone(), nodes, owner: owner.unwrap_or_default() })
                .await?;
            format!("cluster {name}: {count} nodes declared")
        }
    };
    context.print(&serde_json::json!({ "done": done }), || format!("{done}\n"))
}

fn config(wanted: SetCluster) -> v1::ClusterConfig {
    let SetCluster { name, pod_cidrs, node_ranges, peer_groups, strict, max_length_ipv4, max_length_ipv6 } = wanted;
    v1::ClusterConfig { name, pod_cidrs, node_ranges, peer_groups, strict, max_length_ipv4, max_length_ipv6 }
}

/// `w1,192.0.2.21,10.2.1.0/24`: what has a length is a pod CIDR. Whether they are right, the daemon says.
fn node(text: &str) -> v1::ClusterNode {
    let mut words = text.split(',').map(|word| word.trim().to_owned());
    let name = words.next().unwrap_or_default();
    let (pod_cidrs, addresses) = words.partition(|word| word.contains('/'));
    v1::ClusterNode { name, addresses, pod_cidrs }
}
