//! `ClusterService`.

use std::collections::BTreeMap;
use std::net::IpAddr;

use bgp_engine::config::cluster::{Cluster, ClusterChange, ClusterNode, DeclaredNodes, Nodes, share_addresses};
use bgpd_proto::v1;
use ipnet::IpNet;
use tonic::{Request, Response, Status};

use super::convert;
use crate::config::{MAX_LENGTH_V4, MAX_LENGTH_V6};
use crate::runtime::handle::Handle;

/// Most nodes of a cluster.
const NODES_MAX: usize = 10_000;
/// Most addresses, or pod CIDRs, of a node.
const PER_NODE_MAX: usize = 64;
/// Most pod CIDRs, node ranges or peer groups of a cluster.
const PER_CLUSTER_MAX: usize = 1024;
/// Longest name of a cluster.
const NAME_MAX: usize = 253;

pub(super) struct Service(pub(super) Handle);

#[tonic::async_trait]
impl v1::cluster_service_server::ClusterService for Service {
    async fn list(&self, _: Request<v1::ListClustersRequest>) -> Result<Response<v1::ListClustersResponse>, Status> {
        let running = self.0.desired().await.map_err(convert::status_of)?;
        let guard = &running.guard;
        let mut refused: BTreeMap<&str, u64> = BTreeMap::new();
        for neighbor in self.0.neighbors().await {
            if let Some(cluster) = guard.cluster_of(neighbor.address, neighbor.peer_group.as_deref()) {
                *refused.entry(cluster.name.as_str()).or_default() += neighbor.refused_by_guard;
            }
        }
        let in_force = guard.clusters.values().map(|cluster| v1::Cluster {
            owner: guard.owner_of(&cluster.name).to_string(),
            nodes_owner: guard.nodes.get(&cluster.name).map(|nodes| nodes.owner.to_string()).unwrap_or_default(),
            refused_by_guard: refused.get(cluster.name.as_str()).copied().unwrap_or_default(),
            ..message(cluster, guard.nodes_of(&cluster.name))
        });
        let waiting = guard.declared.values().filter_map(|declared| {
            let waits_for = declared.waits_for.clone()?;
            Some(v1::Cluster { owner: declared.owner.to_string(), waits_for, ..message(&declared.cluster, []) })
        });
        let mut clusters: Vec<_> = in_force.chain(waiting).collect();
        clusters.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(Response::new(v1::ListClustersResponse { clusters }))
    }

    async fn set(&self, request: Request<v1::SetClusterRequest>) -> Result<Response<v1::SetClusterResponse>, Status> {
        let v1::SetClusterRequest { owner, cluster } = request.into_inner();
        let cluster = defined(cluster.ok_or_else(|| convert::invalid("cluster", "missing"))?)?;
        self.change(&owner, ClusterChange::Set(Box::new(cluster))).await?;
        Ok(Response::new(v1::SetClusterResponse {}))
    }

    async fn delete(
        &self,
        request: Request<v1::DeleteClusterRequest>,
    ) -> Result<Response<v1::DeleteClusterResponse>, Status> {
        let v1::DeleteClusterRequest { owner, name } = request.into_inner();
        self.change(&owner, ClusterChange::Delete(name)).await?;
        Ok(Response::new(v1::DeleteClusterResponse {}))
    }

    async fn apply(
        &self,
        request: Request<v1::ApplyClustersRequest>,
    ) -> Result<Response<v1::ApplyClustersResponse>, Status> {
        let v1::ApplyClustersRequest { owner, clusters } = request.into_inner();
        let clusters: Vec<Cluster> = clusters.into_iter().map(defined).collect::<Result<_, _>>()?;
        let mut names: Vec<&str> = clusters.iter().map(|cluster| cluster.name.as_str()).collect();
        names.sort_unstable();
        if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(convert::invalid("clusters", format!("cluster {} is there twice", twice[0])));
        }
        self.change(&owner, ClusterChange::Replace(clusters)).await?;
        Ok(Response::new(v1::ApplyClustersResponse {}))
    }

    async fn set_nodes(&self, request: Request<v1::SetNodesRequest>) -> Result<Response<v1::SetNodesResponse>, Status> {
        let v1::SetNodesRequest { cluster, nodes, owner } = request.into_inner();
        let declared = DeclaredNodes { owner: convert::owner_name(&owner)?, nodes: read(nodes)? };
        self.0.set_nodes(cluster, declared).await.map_err(convert::status_of)?;
        Ok(Response::new(v1::SetNodesResponse {}))
    }
}

impl Service {
    async fn change(&self, owner: &str, change: ClusterChange) -> Result<(), Status> {
        self.0.change_clusters(convert::owner_name(owner)?, change).await.map_err(convert::status_of)
    }
}

/// What a client wants a cluster to be.
fn defined(cluster: v1::ClusterConfig) -> Result<Cluster, Status> {
    let v1::ClusterConfig { name, pod_cidrs, node_ranges, peer_groups, strict, max_length_ipv4, max_length_ipv6 } =
        cluster;
    if name.is_empty() || name.len() > NAME_MAX {
        return Err(convert::invalid("cluster.name", format!("expected 1 to {NAME_MAX} octets")));
    }
    if pod_cidrs.is_empty() {
        return Err(convert::invalid("cluster.pod_cidrs", format!("cluster {name} has none")));
    }
    if node_ranges.is_empty() && peer_groups.is_empty() {
        let reason = format!("cluster {name} has none, and no peer groups either");
        return Err(convert::invalid("cluster.node_ranges", reason));
    }
    if pod_cidrs.len().max(node_ranges.len()).max(peer_groups.len()) > PER_CLUSTER_MAX {
        let message = format!("cluster {name}: it can have {PER_CLUSTER_MAX} of each at most");
        return Err(Status::resource_exhausted(message));
    }
    let nets = |field: &str, texts: &[String]| -> Result<Vec<IpNet>, Status> {
        texts.iter().map(|text| convert::prefix(field, text)).collect()
    };
    Ok(Cluster {
        pod_cidrs: nets("cluster.pod_cidrs", &pod_cidrs)?,
        node_ranges: nets("cluster.node_ranges", &node_ranges)?,
        peer_groups,
        strict,
        max_length_v4: length("cluster.max_length_ipv4", max_length_ipv4, MAX_LENGTH_V4, 32)?,
        max_length_v6: length("cluster.max_length_ipv6", max_length_ipv6, MAX_LENGTH_V6, 128)?,
        name,
    })
}

fn length(field: &str, value: u32, default: u32, most: u8) -> Result<u8, Status> {
    let value = if value == 0 { default } else { value };
    let length = u8::try_from(value).ok().filter(|length| *length <= most);
    length.ok_or_else(|| convert::invalid(field, format!("{value} is not a prefix length, expected 1 to {most}")))
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
            let overlaps = |other: &ClusterNode| other.pod_cidrs.iter().any(|theirs| share_addresses(pod, theirs));
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

fn message<'a>(cluster: &Cluster, nodes: impl IntoIterator<Item = (&'a String, &'a ClusterNode)>) -> v1::Cluster {
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
            .map(|(name, node)| v1::ClusterNode {
                name: name.clone(),
                addresses: node.addresses.iter().map(ToString::to_string).collect(),
                pod_cidrs: texts(&node.pod_cidrs),
            })
            .collect(),
        ..v1::Cluster::default()
    }
}
