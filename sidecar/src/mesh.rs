//! Which neighbors a node's bgpd has because of the cluster's state: the other nodes where there is no reflector, and
//! those that kube-router's annotations name.
//!
//! As kube-router does it: a client (`rr.client`) has sessions with the reflectors (`rr.server`) only; a reflector has
//! one with every node, and those with clients are reflected; a node that is neither has one with every node but the
//! clients.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::cluster::{Cluster, Departure, Node};

/// Settings of a neighbor. What is not set comes from the peer group.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Neighbor {
    /// Whose it is, for people.
    pub name: String,
    /// Peer group of bgpd's configuration.
    pub peer_group: Option<String>,
    /// AS number it must have.
    pub asn: Option<u32>,
    /// Its port.
    pub port: Option<u16>,
    /// TCP-MD5 key.
    pub password: Option<String>,
    /// Address to connect from.
    pub local_address: Option<IpAddr>,
    /// It is a client of this reflector.
    pub is_client: bool,
}

impl std::fmt::Debug for Neighbor {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The password stays out of logs.
        write!(formatter, "{} group {:?} AS {:?}", self.name, self.peer_group, self.asn)
    }
}

/// Neighbors by address.
pub type Neighbors = BTreeMap<IpAddr, Neighbor>;

/// What is called for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MeshRules {
    /// The node that bgpd runs on.
    pub node: String,
    /// Sessions with the other nodes of the cluster.
    pub full_mesh: bool,
    /// Sessions with what the node's annotations name.
    pub annotated_peers: bool,
    /// Peer group of these neighbors.
    pub peer_group: Option<String>,
}

impl MeshRules {
    /// Whether neighbors are kept at all.
    #[must_use]
    pub fn apply(&self) -> bool {
        self.full_mesh || self.annotated_peers
    }

    /// The neighbors that the cluster's state calls for; none while the node itself is not known.
    #[must_use]
    pub fn neighbors(&self, cluster: &Cluster) -> Option<Neighbors> {
        let own = cluster.nodes.get(&self.node)?;
        let mut neighbors = Neighbors::new();
        if self.full_mesh {
            let others = cluster.nodes.values().filter(|other| other.name != own.name);
            neighbors.extend(others.filter_map(|other| self.session(own, other)));
        }
        if self.annotated_peers {
            for peer in &own.annotations.peers {
                let neighbor = Neighbor {
                    name: format!("annotation of {}", own.name),
                    peer_group: self.peer_group.clone(),
                    asn: Some(peer.asn),
                    port: peer.port,
                    password: peer.password.clone(),
                    local_address: peer.local_address,
                    is_client: false,
                };
                neighbors.insert(peer.address, neighbor);
            }
        }
        Some(neighbors)
    }

    fn session(&self, own: &Node, other: &Node) -> Option<(IpAddr, Neighbor)> {
        let (we, they) = (&own.annotations, &other.annotations);
        let wanted = match (we.client.is_some(), we.reflector.is_some()) {
            (_, true) => true,
            (true, false) => they.reflector.is_some(),
            (false, false) => they.client.is_none() || they.reflector.is_some(),
        };
        if !wanted || other.departure == Departure::Leaving {
            return None;
        }
        // One session carries both families; it runs over the family of our own first address where they have it, too.
        let first = own.addresses.first()?;
        let same = other.addresses.iter().find(|address| address.is_ipv4() == first.is_ipv4());
        let address = *same.or_else(|| other.addresses.first())?;
        let is_client = we.reflector.is_some() && they.client.is_some();
        let neighbor = Neighbor {
            name: format!("node {}", other.name),
            peer_group: self.peer_group.clone(),
            asn: they.asn,
            is_client,
            ..Neighbor::default()
        };
        Some((address, neighbor))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kube_router::{Annotations, Peer};

    fn node(name: &str, address: &str, annotations: Annotations) -> (String, Node) {
        let addresses = vec![address.parse().expect("an address")];
        (name.to_owned(), Node { name: name.to_owned(), addresses, annotations, ..Node::default() })
    }

    fn role(reflector: bool, client: bool) -> Annotations {
        let set = |on: bool| on.then(|| "42".to_owned());
        Annotations { reflector: set(reflector), client: set(client), ..Annotations::default() }
    }

    fn cluster() -> Cluster {
        let nodes = [
            node("rr", "192.0.2.1", role(true, false)),
            node("client", "192.0.2.2", role(false, true)),
            node("plain", "192.0.2.3", role(false, false)),
            node("other", "192.0.2.4", role(false, false)),
        ];
        Cluster { nodes: nodes.into_iter().collect(), ..Cluster::default() }
    }

    fn names(of: &str) -> Vec<String> {
        let rules = MeshRules { node: of.into(), full_mesh: true, ..MeshRules::default() };
        let neighbors = rules.neighbors(&cluster()).expect("the node is known");
        neighbors.values().map(|one| format!("{}{}", one.name, if one.is_client { " (client)" } else { "" })).collect()
    }

    #[test]
    fn roles_of_the_annotations_say_who_has_a_session_with_whom() {
        assert_eq!(names("rr"), ["node client (client)", "node plain", "node other"]);
        assert_eq!(names("client"), ["node rr"]);
        assert_eq!(names("plain"), ["node rr", "node other"]);
    }

    #[test]
    fn node_that_leaves_is_no_neighbor_any_more() {
        let mut cluster = cluster();
        cluster.nodes.get_mut("other").expect("a node").departure = Departure::Leaving;
        let rules = MeshRules { node: "plain".into(), full_mesh: true, ..MeshRules::default() };
        assert_eq!(rules.neighbors(&cluster).map(|neighbors| neighbors.len()), Some(1));
    }

    #[test]
    fn nothing_is_known_while_the_node_itself_is_not() {
        let rules = MeshRules { node: "new".into(), full_mesh: true, ..MeshRules::default() };
        assert_eq!(rules.neighbors(&cluster()), None);
    }

    #[test]
    fn annotated_peers_have_their_own_settings_and_their_password_stays_out_of_logs() {
        let address = "203.0.113.1".parse().expect("an address");
        let password = Some("secret".to_owned());
        let peer = Peer { address, asn: 65001, port: Some(1179), password, local_address: None };
        let annotations = Annotations { peers: vec![peer], ..Annotations::default() };
        let cluster =
            Cluster { nodes: [node("a", "192.0.2.1", annotations)].into_iter().collect(), ..Cluster::default() };
        let rules = MeshRules { node: "a".into(), annotated_peers: true, ..MeshRules::default() };
        let neighbors = rules.neighbors(&cluster).expect("the node is known");
        let neighbor = &neighbors[&address];
        assert_eq!(
            (neighbor.asn, neighbor.port, neighbor.password.as_deref()),
            (Some(65001), Some(1179), Some("secret"))
        );
        assert!(!format!("{neighbors:?}").contains("secret"));
    }
}
