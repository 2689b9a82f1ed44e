//! Clusters and what their clients may announce.
//!
//! A session belongs to a cluster by its peer group, or by the node range that its address is in. It may announce only
//! prefixes inside that cluster's pod CIDRs, none of them too specific; in strict mode only the pod CIDRs that were
//! declared for its own node. First come, first served would be no guard: whoever hijacks first would win, and what is
//! refused would depend on who was faster. Sessions of no cluster are refused what is inside a cluster's pod CIDRs,
//! except iBGP peers that are no clients: those are other reflectors, which guard their own clients.

mod declared;

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

pub use self::declared::{
    CLUSTERS_MAX, ClusterChange, Conflict, DeclaredCluster, DeclaredClusters, FileClusters, share_addresses,
};
use super::desired::Neighbor;
use super::owners::OwnerName;

/// A cluster whose nodes are clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cluster {
    /// Its name.
    pub name: String,
    /// What its pods have their addresses from.
    pub pod_cidrs: Vec<IpNet>,
    /// Addresses of its nodes.
    pub node_ranges: Vec<IpNet>,
    /// Peer groups that its nodes are in.
    pub peer_groups: Vec<String>,
    /// A node may announce only what is declared for it.
    pub strict: bool,
    /// Longest IPv4 prefix.
    pub max_length_v4: u8,
    /// Longest IPv6 prefix.
    pub max_length_v6: u8,
}

/// A node of a cluster, as declared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterNode {
    /// Addresses of its sessions.
    pub addresses: Vec<IpAddr>,
    /// What its pods have their addresses from.
    pub pod_cidrs: Vec<IpNet>,
}

/// Nodes by name.
pub type Nodes = BTreeMap<String, ClusterNode>;

/// The nodes of a cluster, and who declared them: nobody else changes them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeclaredNodes {
    /// Who.
    pub owner: OwnerName,
    /// All of them.
    pub nodes: Nodes,
}

/// All clusters and what is known of their nodes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Guard {
    /// Clusters by name.
    pub clusters: BTreeMap<String, Cluster>,
    /// Nodes by cluster.
    pub nodes: BTreeMap<String, DeclaredNodes>,
    /// Which clusters were defined through the API, in force or not, by name.
    pub declared: BTreeMap<String, DeclaredCluster>,
}

/// What the sessions of one neighbor may announce.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionGuard {
    /// Prefixes must be inside one of these; `None` if the neighbor is of no cluster.
    inside: Option<Vec<IpNet>>,
    /// Prefixes must not be inside one of these.
    foreign: Vec<IpNet>,
    /// In strict mode: what is declared for the node.
    declared: Option<Vec<IpNet>>,
    max_length_v4: u8,
    max_length_v6: u8,
}

/// Why a prefix is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Refused {
    /// A default route.
    DefaultRoute,
    /// Inside the pod CIDRs of another cluster.
    OtherCluster,
    /// Not inside the pod CIDRs of the own cluster.
    OutsideCluster,
    /// Longer than the cluster's prefixes may be.
    TooSpecific,
    /// Not declared for the node, in strict mode.
    OtherNode,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::DefaultRoute => "a default route, which no node of a cluster may announce",
            Self::OtherCluster => "inside the pod CIDRs of another cluster",
            Self::OutsideCluster => "not inside the pod CIDRs of its cluster",
            Self::TooSpecific => "more specific than its cluster allows",
            Self::OtherNode => "not declared for this node (strict cluster)",
        })
    }
}

impl SessionGuard {
    /// Whether a prefix may be announced.
    ///
    /// # Errors
    /// The first rule that refuses it.
    pub fn check(&self, prefix: &IpNet) -> Result<(), Refused> {
        let within = |all: &[IpNet]| all.iter().any(|range| range.contains(prefix));
        let Some(inside) = &self.inside else {
            return if within(&self.foreign) { Err(Refused::OtherCluster) } else { Ok(()) };
        };
        if prefix.prefix_len() == 0 {
            return Err(Refused::DefaultRoute);
        }
        if !within(inside) {
            return Err(if within(&self.foreign) { Refused::OtherCluster } else { Refused::OutsideCluster });
        }
        let longest = if prefix.addr().is_ipv4() { self.max_length_v4 } else { self.max_length_v6 };
        if prefix.prefix_len() > longest {
            return Err(Refused::TooSpecific);
        }
        if self.declared.as_ref().is_some_and(|declared| !declared.contains(prefix)) {
            return Err(Refused::OtherNode);
        }
        Ok(())
    }
}

impl Guard {
    /// The cluster of a neighbor: by its peer group, else by the longest node range.
    pub fn cluster_of(&self, address: IpAddr, peer_group: Option<&str>) -> Option<&Cluster> {
        let by_group = |cluster: &&Cluster| cluster.peer_groups.iter().any(|name| Some(name.as_str()) == peer_group);
        let longest = |cluster: &Cluster| {
            let ranges = cluster.node_ranges.iter().filter(|range| range.contains(&address));
            ranges.map(IpNet::prefix_len).max()
        };
        self.clusters.values().find(by_group).or_else(|| {
            let of_range = self.clusters.values().filter_map(|cluster| Some((longest(cluster)?, cluster)));
            of_range.max_by_key(|(length, _)| *length).map(|(_, cluster)| cluster)
        })
    }

    /// What a neighbor's sessions may announce; `None` where they are not guarded.
    pub fn session(&self, neighbor: &Neighbor, own_asn: u32) -> Option<SessionGuard> {
        let settings = &neighbor.settings;
        let reflector = !settings.is_external(own_asn) && !settings.route_reflector_client;
        self.session_of(neighbor.address, neighbor.peer_group.as_deref(), reflector)
    }

    /// The same of an address; a reflector is an iBGP peer that is no client.
    pub fn session_of(&self, address: IpAddr, peer_group: Option<&str>, reflector: bool) -> Option<SessionGuard> {
        let cluster = self.cluster_of(address, peer_group);
        if self.clusters.is_empty() || cluster.is_none() && reflector {
            return None;
        }
        let name = cluster.map(|cluster| cluster.name.as_str());
        let others = self.clusters.values().filter(|other| Some(other.name.as_str()) != name);
        Some(SessionGuard {
            inside: cluster.map(|cluster| cluster.pod_cidrs.clone()),
            foreign: others.flat_map(|other| other.pod_cidrs.iter().copied()).collect(),
            declared: cluster.filter(|cluster| cluster.strict).map(|cluster| self.declared(cluster, address)),
            max_length_v4: cluster.map_or(32, |cluster| cluster.max_length_v4),
            max_length_v6: cluster.map_or(128, |cluster| cluster.max_length_v6),
        })
    }

    /// What has been declared of a cluster's nodes.
    pub fn nodes_of(&self, cluster: &str) -> impl Iterator<Item = (&String, &ClusterNode)> {
        self.nodes.get(cluster).into_iter().flat_map(|declared| &declared.nodes)
    }

    fn declared(&self, cluster: &Cluster, address: IpAddr) -> Vec<IpNet> {
        let own = self.nodes_of(&cluster.name).filter(|(_, node)| node.addresses.contains(&address));
        own.flat_map(|(_, node)| node.pod_cidrs.iter().copied()).collect()
    }

    /// Why a prefix is refused, naming who announced it and whose it is.
    pub fn explain(&self, refused: Refused, prefix: &IpNet, address: IpAddr, peer_group: Option<&str>) -> String {
        let cluster = self.cluster_of(address, peer_group);
        let announcer = match cluster {
            Some(cluster) => format!("{} of cluster {}", self.node_name(cluster, address), cluster.name),
            None => format!("{address}, which is of no cluster"),
        };
        match self.holder(prefix) {
            Some(holder) if refused != Refused::TooSpecific && refused != Refused::DefaultRoute => {
                format!("{refused}: announced by {announcer}, but it belongs to {holder}")
            }
            _ => format!("{refused}: announced by {announcer}"),
        }
    }

    fn node_name(&self, cluster: &Cluster, address: IpAddr) -> String {
        let mut nodes = self.nodes_of(&cluster.name);
        let own = nodes.find(|(_, node)| node.addresses.contains(&address)).map(|(name, _)| name);
        own.map_or_else(|| address.to_string(), |name| format!("node {name} ({address})"))
    }

    /// Whose a prefix is: a node's if it is declared for one, else a cluster's.
    fn holder(&self, prefix: &IpNet) -> Option<String> {
        for cluster in self.nodes.keys() {
            let declares = |node: &ClusterNode| node.pod_cidrs.iter().any(|range| range.contains(prefix));
            if let Some((name, _)) = self.nodes_of(cluster).find(|(_, node)| declares(node)) {
                return Some(format!("node {name} of cluster {cluster}"));
            }
        }
        let covers = |cluster: &&Cluster| cluster.pod_cidrs.iter().any(|range| range.contains(prefix));
        self.clusters.values().find(covers).map(|cluster| format!("cluster {}", cluster.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::plan::tests::settings;

    fn net(text: &str) -> IpNet {
        text.parse().expect("a prefix")
    }

    fn cluster(name: &str, pods: &str, nodes: &str, strict: bool) -> Cluster {
        Cluster {
            name: name.to_owned(),
            pod_cidrs: vec![net(pods)],
            node_ranges: vec![net(nodes)],
            peer_groups: vec![format!("{name}-nodes")],
            strict,
            max_length_v4: 26,
            max_length_v6: 64,
        }
    }

    fn guard() -> Guard {
        let clusters = [
            cluster("east", "10.1.0.0/16", "192.0.2.0/25", false),
            cluster("west", "10.2.0.0/16", "192.0.2.128/25", true),
        ];
        let node = |last: u8, pods: &str| ClusterNode {
            addresses: vec![IpAddr::from([192, 0, 2, last])],
            pod_cidrs: vec![net(pods)],
        };
        let west = [("w1".to_owned(), node(129, "10.2.1.0/24")), ("w2".to_owned(), node(130, "10.2.2.0/24"))];
        Guard {
            clusters: clusters.map(|cluster| (cluster.name.clone(), cluster)).into(),
            nodes: [("west".to_owned(), DeclaredNodes { owner: OwnerName::bgpctl(), nodes: west.into() })].into(),
            ..Guard::default()
        }
    }

    fn client(last: u8) -> Neighbor {
        Neighbor {
            address: IpAddr::from([192, 0, 2, last]),
            port: 179,
            peer_group: None,
            description: None,
            settings: crate::config::NeighborSettings { route_reflector_client: true, ..settings(65_000) },
        }
    }

    fn said(guard: &Guard, neighbor: &Neighbor, prefix: &str) -> Option<Refused> {
        guard.session(neighbor, 65_000).expect("it is guarded").check(&net(prefix)).err()
    }

    #[test]
    fn client_announces_only_what_is_inside_its_cluster() {
        let (guard, client) = (guard(), client(11));
        for (prefix, refused) in [
            ("10.1.7.0/24", None),
            ("10.1.0.0/16", None),
            ("10.2.1.0/24", Some(Refused::OtherCluster)),
            ("10.0.0.0/8", Some(Refused::OutsideCluster)),
            ("203.0.113.0/24", Some(Refused::OutsideCluster)),
            ("2001:db8::/64", Some(Refused::OutsideCluster)),
            ("0.0.0.0/0", Some(Refused::DefaultRoute)),
            ("::/0", Some(Refused::DefaultRoute)),
            ("10.1.7.0/27", Some(Refused::TooSpecific)),
        ] {
            assert_eq!(said(&guard, &client, prefix), refused, "{prefix}");
        }
    }

    #[test]
    fn strict_cluster_lets_a_node_announce_what_is_declared_for_it() {
        let guard = guard();
        assert_eq!(said(&guard, &client(129), "10.2.1.0/24"), None);
        assert_eq!(said(&guard, &client(129), "10.2.2.0/24"), Some(Refused::OtherNode));
        assert_eq!(said(&guard, &client(131), "10.2.3.0/24"), Some(Refused::OtherNode));
        let why = guard.explain(Refused::OtherNode, &net("10.2.2.0/24"), client(129).address, None);
        let expected = "not declared for this node (strict cluster): announced by node w1 (192.0.2.129) of cluster \
                        west, but it belongs to node w2 of cluster west";
        assert_eq!(why, expected);
    }

    #[test]
    fn reason_names_both_owners() {
        let why = guard().explain(Refused::OtherCluster, &net("10.2.9.0/24"), client(11).address, None);
        let expected = "inside the pod CIDRs of another cluster: announced by 192.0.2.11 of cluster east, but it \
                        belongs to cluster west";
        assert_eq!(why, expected);
    }

    #[test]
    fn peer_group_says_more_than_a_range_and_strangers_stay_out_of_pod_networks() {
        let guard = guard();
        let mut moved = client(11);
        moved.peer_group = Some("west-nodes".to_owned());
        assert_eq!(said(&guard, &moved, "10.1.7.0/24"), Some(Refused::OtherCluster));
        let mut border = client(11);
        border.address = IpAddr::from([198, 51, 100, 1]);
        assert_eq!(said(&guard, &border, "10.1.7.0/24"), Some(Refused::OtherCluster));
        assert_eq!(said(&guard, &border, "0.0.0.0/0"), None);
        // Another reflector guards its own clients.
        border.settings.route_reflector_client = false;
        assert_eq!(guard.session(&border, 65_000), None);
    }
}
