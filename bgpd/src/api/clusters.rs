//! `ClusterService`.

use std::net::IpAddr;

use bgp_engine::config::cluster::{Cluster, ClusterNode, Nodes};
use bgpd_proto::v1;
use ipnet::IpNet;
use tonic::{Request, Response, Status};

use super::convert;
use crate::runtime::handle::Handle;

/// Most nodes of a cluster.
const NODES_MAX: usize = 10_000;
/// Most addresses, or pod CIDRs, of a node.
const PER_NODE_MAX: usize = 64;

pub(super) struct Service(pub(super) Handle);

#[tonic::async_trait]
impl v1::cluster_service_server::ClusterService for Service {
    async fn list(&self, _: Request<v1::ListClustersRequest>) -> Result<Response<v1::ListClustersResponse>, Status> {
        let running = self.0.desired().await.map_err(convert::status_of)?;
        let guard = &running.guard;
        let clusters = guard.clusters.values().map(|cluster| message(cluster, guard.nodes.get(&cluster.name)));
        Ok(Response::new(v1::ListClustersResponse { clusters: clusters.collect() }))
    }

    async fn set_nodes(&self, request: Request<v1::SetNodesRequest>) -> Result<Response<v1::SetNodesResponse>, Status> {
        let v1::SetNodesRequest { cluster, nodes } = request.into_inner();
        let nodes = read(nodes)?;
        self.0.set_nodes(cluster, nodes).await.map_err(convert::status_of)?;
        Ok(Response::new(v1::SetNodesResponse {}))
    }
}

fn read(nodes: Vec<v1::ClusterNode>) -> Result<Nodes, Status> {
    if nodes.len() > NODES_MAX {
        return Err(Status::resource_exhausted(format!("a cluster can have {NODES_MAX} nodes at most")));
    }
    let mut all = Nodes::new();
    for v1::ClusterNode { name, addresses, pod_cidrs } in nodes {
        if addresses.len().max(pod_cidrs.len()) > PER_NODE_MAX {
            let message = format!("node {name}: it can have {PER_NODE_MAX} addresses and pod CIDRs at most");
            return Err(Status::resource_exhausted(message));
        }
        let addresses = addresses.iter().map(|text| convert::address("nodes.addresses", text));
        let pods = pod_cidrs.iter().map(|text| convert::prefix("nodes.pod_cidrs", text));
        let node = ClusterNode {
            addresses: addresses.collect::<Result<Vec<IpAddr>, _>>()?,
            pod_cidrs: pods.collect::<Result<Vec<IpNet>, _>>()?,
        };
        for pod in &node.pod_cidrs {
            let overlaps = |other: &&ClusterNode| other.pod_cidrs.iter().any(|o| o.contains(pod) || pod.contains(o));
            if let Some((other, _)) = all.iter().find(|(_, node)| overlaps(node)) {
                let reason = format!("{pod} of node {name} overlaps a pod CIDR of node {other}");
                return Err(convert::invalid("nodes.pod_cidrs", reason));
            }
        }
        if all.insert(name.clone(), node).is_some() {
            return Err(convert::invalid("nodes", format!("node {name} is there twice")));
        }
    }
    Ok(all)
}

fn message(cluster: &Cluster, nodes: Option<&Nodes>) -> v1::Cluster {
    let texts = |nets: &[IpNet]| nets.iter().map(ToString::to_string).collect();
    v1::Cluster {
        name: cluster.name.clone(),
        pod_cidrs: texts(&cluster.pod_cidrs),
        node_ranges: texts(&cluster.node_ranges),
        peer_groups: cluster.peer_groups.clone(),
        strict: cluster.strict,
        max_length_ipv4: cluster.max_length_v4.into(),
        max_length_ipv6: cluster.max_length_v6.into(),
        nodes: nodes
            .into_iter()
            .flatten()
            .map(|(name, node)| v1::ClusterNode {
                name: name.clone(),
                addresses: node.addresses.iter().map(ToString::to_string).collect(),
                pod_cidrs: texts(&node.pod_cidrs),
            })
            .collect(),
    }
}
