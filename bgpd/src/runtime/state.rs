//! What came through the API and is to survive a restart: declared routes with their owners, neighbors, policies, clusters
//! and their nodes.
//!
//! A TOML file in the state directory, replaced as a whole before the client is told that it is done, so that a crash
//! leaves what was promised. The configuration file is not in it and comes before it. Only bgpd's own user may read it:
//! neighbors have keys.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::{Duration, Instant};
use std::{fs, io};

use bgp_engine::config::Originate;
use bgp_engine::config::cluster::{Cluster, ClusterNode, DeclaredClusters, DeclaredNodes, Nodes};
use bgp_engine::config::owners::{OwnerName, OwnerView, Owners, Routes};
use bgp_wire::attribute::{Community, LargeCommunity};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use tracing::warn;

use super::restart::replace;
use crate::config::{Declarations, Declared, Keys};

/// Name of the file in the state directory.
const FILE: &str = "api-state.toml";
/// Octets that are read at most.
const SIZE_MAX: u64 = 256 << 20;

/// What the file says.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Stored {
    /// Whether all neighbors are drained.
    drained: Option<bool>,
    owners: Vec<StoredOwner>,
    nodes: Vec<StoredNode>,
    neighbors: Vec<StoredNeighbor>,
    clusters: Vec<StoredCluster>,
    policies: Vec<StoredPolicies>,
}

/// Policies and sets of an owner.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct StoredPolicies {
    owner: String,
    document: String,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct StoredOwner {
    name: String,
    /// 0: no lease.
    lease_seconds: u64,
    routes: Vec<StoredRoute>,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct StoredRoute {
    prefix: String,
    next_hop: Option<String>,
    local_pref: Option<u32>,
    med: Option<u32>,
    communities: Vec<StoredCommunity<u32>>,
    large_communities: Vec<StoredCommunity<[u32; 3]>>,
}

/// A community of any kind, as the configuration file has it, for `bgpctl config show`; numbers are what was written
/// before.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
enum StoredCommunity<T> {
    Text(String),
    Numbers(T),
}

impl<T: Copy> StoredCommunity<T> {
    /// Its numbers, which a community of kind `C` has.
    fn value<C: FromStr>(&self, numbers: impl FnOnce(C) -> T) -> Option<T> {
        match self {
            Self::Text(text) => text.parse().ok().map(numbers),
            Self::Numbers(numbers) => Some(*numbers),
        }
    }
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct StoredNode {
    cluster: String,
    #[serde(default)]
    owner: String,
    name: String,
    addresses: Vec<String>,
    pod_cidrs: Vec<String>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct StoredNeighbor {
    address: IpAddr,
    owner: String,
    /// It was added; else these keys were changed of a neighbor of the file.
    added: bool,
    keys: Keys,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct StoredCluster {
    name: String,
    owner: String,
    pod_cidrs: Vec<String>,
    node_ranges: Vec<String>,
    peer_groups: Vec<String>,
    strict: bool,
    max_length_ipv4: u8,
    max_length_ipv6: u8,
}

/// What is to survive.
pub(super) struct Lasting<'a> {
    pub(super) owners: &'a Owners,
    pub(super) nodes: &'a BTreeMap<String, DeclaredNodes>,
    pub(super) clusters: &'a DeclaredClusters,
    pub(super) neighbors: &'a Declarations,
}

/// The file.
#[derive(Debug, Clone, Default)]
pub(super) struct StateFile {
    path: Option<PathBuf>,
}

/// What an earlier run left behind.
#[derive(Debug, Default)]
pub(super) struct Restored {
    owners: Vec<StoredOwner>,
    pub(super) nodes: BTreeMap<String, DeclaredNodes>,
    pub(super) clusters: DeclaredClusters,
    pub(super) neighbors: Declarations,
}

/// Finds the file and what is in it. One that cannot be read is set aside, not overwritten.
pub(super) fn open(directory: Option<&Path>) -> (StateFile, Restored) {
    let Some(path) = directory.map(|directory| directory.join(FILE)) else {
        return Default::default();
    };
    let restored = match read(&path) {
        Ok(stored) => stored.map(restored).unwrap_or_default(),
        Err(error) => {
            let aside = path.with_extension("unreadable");
            warn!(file = %path.display(), error, kept_as = %aside.display(), "what came through the API is lost");
            // If it cannot be moved either, there is nothing left to save.
            let _ = fs::rename(&path, &aside);
            Restored::default()
        }
    };
    (StateFile { path: Some(path) }, restored)
}

fn read(path: &Path) -> Result<Option<Stored>, String> {
    match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Ok(metadata) if metadata.len() > SIZE_MAX => return Err(format!("more than {SIZE_MAX} octets")),
        _ => {}
    }
    let text = fs::read_to_string(path).map_err(|error| error.to_string())?;
    toml::from_str(&text).map(Some).map_err(|error| error.to_string())
}

fn restored(stored: Stored) -> Restored {
    let mut nodes: BTreeMap<String, DeclaredNodes> = BTreeMap::new();
    for StoredNode { cluster, owner, name, addresses, pod_cidrs } in stored.nodes {
        let owner = owner_named(&owner).unwrap_or_else(OwnerName::bgpctl);
        let node = ClusterNode { addresses: parsed(&addresses), pod_cidrs: parsed(&pod_cidrs) };
        let declared = nodes.entry(cluster).or_insert_with(|| DeclaredNodes { owner, nodes: Nodes::new() });
        declared.nodes.insert(name, node);
    }
    let mut neighbors = Declarations { drained: stored.drained, ..Declarations::default() };
    for StoredNeighbor { address, owner, added, keys } in stored.neighbors {
        let Some(owner) = owner_named(&owner) else { continue };
        let of = if added { &mut neighbors.added } else { &mut neighbors.changed };
        of.insert(address, Declared { owner, keys });
    }
    for StoredPolicies { owner, document } in stored.policies {
        let Some(owner) = owner_named(&owner) else { continue };
        neighbors.policies.insert(owner, document);
    }
    let mut clusters = DeclaredClusters::default();
    for stored in stored.clusters {
        let Some(owner) = owner_named(&stored.owner) else { continue };
        clusters.restore(owner, cluster(stored));
    }
    Restored { owners: stored.owners, nodes, clusters, neighbors }
}

fn cluster(stored: StoredCluster) -> Cluster {
    Cluster {
        name: stored.name,
        pod_cidrs: parsed(&stored.pod_cidrs),
        node_ranges: parsed(&stored.node_ranges),
        peer_groups: stored.peer_groups,
        strict: stored.strict,
        max_length_v4: stored.max_length_ipv4,
        max_length_v6: stored.max_length_ipv6,
    }
}

/// An owner as it was written down.
fn owner_named(name: &str) -> Option<OwnerName> {
    if name == OwnerName::bgpctl().as_str() { Some(OwnerName::bgpctl()) } else { name.parse().ok() }
}

/// What of a list can be read: bgpd wrote it.
fn parsed<T: FromStr>(texts: &[String]) -> Vec<T> {
    texts.iter().filter_map(|text| text.parse().ok()).collect()
}

impl Restored {
    /// Owners with a lease: clients that will declare their routes again.
    pub(super) fn leased(&self) -> BTreeSet<OwnerName> {
        self.owners
            .iter()
            .filter(|owner| owner.lease_seconds > 0)
            .filter_map(|owner| owner_named(&owner.name))
            .collect()
    }

    /// Declares again what was declared; leases begin anew.
    pub(super) fn restore(&self, owners: &mut Owners, now: Instant) {
        for StoredOwner { name, lease_seconds, routes } in &self.owners {
            let Some(name) = owner_named(name) else { continue };
            let lease = (*lease_seconds > 0).then(|| Duration::from_secs(*lease_seconds));
            let routes: Routes = routes.iter().filter_map(route).map(|route| (route.prefix, route)).collect();
            owners.restore(&name, lease, routes, now);
        }
    }
}

fn route(stored: &StoredRoute) -> Option<Originate> {
    let standard = |one: &StoredCommunity<u32>| one.value(|Community(number)| number);
    let large = |one: &StoredCommunity<[u32; 3]>| {
        one.value(|LargeCommunity { global, local1, local2 }| [global, local1, local2])
    };
    Some(Originate {
        prefix: stored.prefix.parse().ok()?,
        next_hop: stored.next_hop.as_ref().map(|text| text.parse()).transpose().ok()?,
        local_pref: stored.local_pref,
        med: stored.med,
        communities: stored.communities.iter().map(standard).collect::<Option<_>>()?,
        large_communities: stored.large_communities.iter().map(large).collect::<Option<_>>()?,
    })
}

impl StateFile {
    /// Writes down what is to survive; returns when it is on the disk.
    pub(super) async fn save(&self, lasting: Lasting<'_>) {
        let Some(path) = self.path.clone() else { return };
        let stored = stored(&lasting);
        let write = move || {
            let text = toml::to_string(&stored).map_err(io::Error::other)?;
            replace(&path, &text)
        };
        if let Ok(Err(error)) = tokio::task::spawn_blocking(write).await {
            warn!(%error, "what came through the API is not written down: a restart would lose it");
        }
    }
}

/// What is written down.
pub(super) fn text(lasting: &Lasting<'_>) -> Result<String, toml::ser::Error> {
    toml::to_string(&stored(lasting))
}

fn stored(lasting: &Lasting<'_>) -> Stored {
    let Lasting { owners, nodes, clusters, neighbors } = lasting;
    let of_owner = |view: OwnerView| StoredOwner {
        name: view.name.to_string(),
        lease_seconds: view.lease.map_or(0, |lease| lease.as_secs().max(1)),
        routes: view.routes.into_iter().map(|(route, _)| of_route(&route)).collect(),
    };
    let views = owners.views().filter(|view| view.name != OwnerName::file() && !view.routes.is_empty());
    let nodes = nodes.iter().flat_map(|(cluster, all)| all.nodes.iter().map(move |node| (cluster, &all.owner, node)));
    let of_neighbor = |added: bool| {
        move |(address, declared): (&IpAddr, &Declared)| StoredNeighbor {
            address: *address,
            owner: declared.owner.to_string(),
            added,
            keys: declared.keys.clone(),
        }
    };
    let changed = neighbors.changed.iter().map(of_neighbor(false));
    let of_owner_of_policies = |(owner, document): (&OwnerName, &String)| StoredPolicies {
        owner: owner.to_string(),
        document: document.clone(),
    };
    Stored {
        drained: neighbors.drained,
        neighbors: neighbors.added.iter().map(of_neighbor(true)).chain(changed).collect(),
        owners: views.map(of_owner).collect(),
        policies: neighbors.policies.iter().map(of_owner_of_policies).collect(),
        nodes: nodes
            .map(|(cluster, owner, (name, node))| StoredNode {
                cluster: cluster.clone(),
                owner: owner.to_string(),
                name: name.clone(),
                addresses: node.addresses.iter().map(ToString::to_string).collect(),
                pod_cidrs: node.pod_cidrs.iter().map(ToString::to_string).collect(),
            })
            .collect(),
        clusters: clusters.iter().map(|(owner, cluster)| of_cluster(owner, cluster)).collect(),
    }
}

fn of_cluster(owner: &OwnerName, cluster: &Cluster) -> StoredCluster {
    let texts = |nets: &[IpNet]| nets.iter().map(ToString::to_string).collect();
    StoredCluster {
        name: cluster.name.clone(),
        owner: owner.to_string(),
        pod_cidrs: texts(&cluster.pod_cidrs),
        node_ranges: texts(&cluster.node_ranges),
        peer_groups: cluster.peer_groups.clone(),
        strict: cluster.strict,
        max_length_ipv4: cluster.max_length_v4,
        max_length_ipv6: cluster.max_length_v6,
    }
}

fn of_route(route: &Originate) -> StoredRoute {
    let large = |&[global, local1, local2]: &[u32; 3]| LargeCommunity { global, local1, local2 }.to_string();
    StoredRoute {
        prefix: route.prefix.to_string(),
        next_hop: route.next_hop.map(|address| address.to_string()),
        local_pref: route.local_pref,
        med: route.med,
        communities: route.communities.iter().map(|one| StoredCommunity::Text(Community(*one).to_string())).collect(),
        large_communities: route.large_communities.iter().map(large).map(StoredCommunity::Text).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn communities_of_an_earlier_file_are_read_and_written_as_the_configuration_file_has_them() {
        let earlier = "prefix = \"10.1.0.0/24\"\ncommunities = [4259840007]\nlarge_communities = [[65000, 1, 2]]\n";
        let read = |text: &str| toml::from_str(text).ok().and_then(|stored| route(&stored)).expect("a route");
        let known = read(earlier);
        let written = toml::to_string(&of_route(&known)).expect("it is TOML");
        assert!(written.contains("communities = [\"65000:7\"]"), "{written}");
        assert!(written.contains("large_communities = [\"65000:1:2\"]"), "{written}");
        assert_eq!(read(&written), known);
    }
}
