//! What is to be announced: from Nodes and Services to routes.
//!
//! In node mode a sidecar speaks for its own Node, in cluster mode one speaks for all. An object with something wrong
//! costs its own routes and nobody else's.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use crate::cluster::{Cluster, Departure, Node, Service, ServiceAddress};
use crate::problem::{Problem, Reason};

/// The community that asks peers to prefer other paths, because this one goes away (RFC 8326 §4).
pub const GRACEFUL_SHUTDOWN: &str = "65535:0";

/// A route to originate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announcement {
    /// Where traffic is to be sent.
    pub next_hop: IpAddr,
    /// Communities in text form.
    pub communities: BTreeSet<String>,
}

/// Announcements by prefix.
pub type Announcements = BTreeMap<IpNet, Announcement>;

/// For whom the sidecar speaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// For the Node with this name.
    Node(String),
    /// For every Node.
    Cluster,
}

/// What is announced and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnnouncementRules {
    /// For whom.
    pub scope: Scope,
    /// Next hop of IPv4 routes in node mode; default the node's address.
    pub next_hop_v4: Option<Ipv4Addr>,
    /// Next hop of IPv6 routes in node mode; default the node's address.
    pub next_hop_v6: Option<Ipv6Addr>,
    /// Which addresses of Services are announced.
    pub services: BTreeSet<ServiceAddress>,
    /// Communities that every route gets.
    pub communities: BTreeSet<String>,
}

/// The routes that the cluster's state calls for, and what is wrong.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// What to announce.
    pub announcements: Announcements,
    /// What cannot be announced and why.
    pub problems: Vec<Problem>,
}

impl AnnouncementRules {
    /// What the state of a cluster calls for.
    #[must_use]
    pub fn wanted(&self, cluster: &Cluster) -> Wanted {
        let mut wanted = Wanted::default();
        let nodes: Vec<&Node> = match &self.scope {
            Scope::Node(name) => cluster.nodes.get(name).into_iter().collect(),
            Scope::Cluster => cluster.nodes.values().collect(),
        };
        let mut owners: BTreeMap<IpNet, &str> = BTreeMap::new();
        for node in &nodes {
            wanted.problems.extend(node.problems.iter().cloned());
            self.announce_pods(node, &mut owners, &mut wanted);
        }
        if !self.services.is_empty() {
            let endpoints = cluster.endpoint_nodes();
            for (name, service) in &cluster.services {
                let endpoints = endpoints.get(name.as_str()).cloned().unwrap_or_default();
                self.announce_service(service, &endpoints, &nodes, &mut wanted.announcements);
            }
        }
        wanted
    }

    fn announce_pods<'a>(&self, node: &'a Node, owners: &mut BTreeMap<IpNet, &'a str>, wanted: &mut Wanted) {
        let object = format!("node/{}", node.name);
        let mut wrong = |reason, message: String| wanted.problems.push(Problem::new(&object, reason, message));
        if node.departure == Departure::Leaving {
            return;
        }
        if node.pod_cidrs.is_empty() {
            wrong(
                Reason::NoPodCidr,
                "has no pod CIDR; is the controller manager started with --allocate-node-cidrs?".into(),
            );
        }
        for prefix in &node.pod_cidrs {
            let overlap = owners.iter().find(|(other, _)| other.contains(prefix) || prefix.contains(*other));
            if let Some((other, owner)) = overlap {
                let message = format!("pod CIDR {prefix} overlaps {other} of node {owner}, which keeps it");
                wrong(Reason::OverlappingPodCidr, message);
                continue;
            }
            owners.insert(*prefix, &node.name);
            match self.next_hop(node, prefix) {
                Some(next_hop) => {
                    wanted.announcements.insert(*prefix, self.announcement(node, next_hop));
                }
                None => {
                    let family = if prefix.addr().is_ipv4() { "IPv4" } else { "IPv6" };
                    let message = format!("pod CIDR {prefix} has no next hop: the node has no {family} InternalIP");
                    wrong(Reason::NoNextHop, message);
                }
            }
        }
    }

    fn announce_service(
        &self,
        service: &Service,
        endpoints: &BTreeSet<&str>,
        nodes: &[&Node],
        announcements: &mut Announcements,
    ) {
        for (kind, address) in service.addresses.iter().filter(|(kind, _)| self.services.contains(kind)) {
            let prefix = IpNet::from(*address);
            let takes_traffic = |node: &&&Node| {
                node.departure != Departure::Leaving
                    && (!service.is_local(*kind) || endpoints.contains(node.name.as_str()))
                    && self.next_hop(node, &prefix).is_some()
            };
            // One speaker has one route to a prefix: of several nodes a staying one is chosen, then the first by name.
            let chosen = nodes.iter().filter(takes_traffic).min_by_key(|node| (node.departure, &node.name));
            if let Some(node) = chosen
                && let Some(next_hop) = self.next_hop(node, &prefix)
            {
                announcements.entry(prefix).or_insert_with(|| self.announcement(node, next_hop));
            }
        }
    }

    fn next_hop(&self, node: &Node, prefix: &IpNet) -> Option<IpAddr> {
        let configured = match (&self.scope, prefix) {
            (Scope::Cluster, _) => None,
            (Scope::Node(_), IpNet::V4(_)) => self.next_hop_v4.map(IpAddr::V4),
            (Scope::Node(_), IpNet::V6(_)) => self.next_hop_v6.map(IpAddr::V6),
        };
        configured.or_else(|| node.address_for(prefix))
    }

    fn announcement(&self, node: &Node, next_hop: IpAddr) -> Announcement {
        let mut communities = self.communities.clone();
        if node.departure == Departure::Draining {
            communities.insert(GRACEFUL_SHUTDOWN.to_owned());
        }
        Announcement { next_hop, communities }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::Slice;

    fn node(name: &str, pod_cidrs: &[&str], addresses: &[&str]) -> Node {
        Node {
            name: name.to_owned(),
            pod_cidrs: pod_cidrs.iter().map(|text| text.parse().expect("a prefix")).collect(),
            addresses: addresses.iter().map(|text| text.parse().expect("an address")).collect(),
            ..Node::default()
        }
    }

    fn cluster(nodes: impl IntoIterator<Item = Node>) -> Cluster {
        Cluster { nodes: nodes.into_iter().map(|node| (node.name.clone(), node)).collect(), ..Cluster::default() }
    }

    fn rules(scope: Scope) -> AnnouncementRules {
        let communities = BTreeSet::new();
        AnnouncementRules { scope, next_hop_v4: None, next_hop_v6: None, services: BTreeSet::new(), communities }
    }

    fn lines(wanted: &Wanted) -> Vec<String> {
        let line = |(prefix, one): (&IpNet, &Announcement)| {
            format!("{prefix} via {} {}", one.next_hop, one.communities.iter().cloned().collect::<String>())
                .trim_end()
                .to_owned()
        };
        wanted.announcements.iter().map(line).collect()
    }

    fn problems(wanted: &Wanted) -> Vec<String> {
        wanted.problems.iter().map(ToString::to_string).collect()
    }

    fn pair() -> Cluster {
        cluster([
            node("a", &["10.1.0.0/24", "fd00:1::/64"], &["192.0.2.1", "2001:db8::1"]),
            node("b", &["10.1.1.0/24"], &["192.0.2.2"]),
        ])
    }

    #[test]
    fn node_announces_its_own_pods_with_the_address_of_each_family() {
        let wanted = rules(Scope::Node("a".into())).wanted(&pair());
        assert_eq!(lines(&wanted), ["10.1.0.0/24 via 192.0.2.1", "fd00:1::/64 via 2001:db8::1"]);
    }

    #[test]
    fn configured_next_hop_wins_in_node_mode() {
        let mut rules = rules(Scope::Node("a".into()));
        rules.next_hop_v6 = Some("2001:db8::ff".parse().expect("an address"));
        let wanted = rules.wanted(&pair());
        assert_eq!(lines(&wanted), ["10.1.0.0/24 via 192.0.2.1", "fd00:1::/64 via 2001:db8::ff"]);
    }

    #[test]
    fn cluster_announces_the_pods_of_every_node_with_its_address() {
        let wanted = rules(Scope::Cluster).wanted(&pair());
        assert_eq!(
            lines(&wanted),
            ["10.1.0.0/24 via 192.0.2.1", "10.1.1.0/24 via 192.0.2.2", "fd00:1::/64 via 2001:db8::1"]
        );
    }

    #[test]
    fn node_with_something_wrong_costs_its_own_routes_only() {
        let nodes = cluster([
            node("a", &["10.1.0.0/24"], &["192.0.2.1"]),
            node("b", &["10.1.0.0/25"], &["192.0.2.2"]),
            node("c", &[], &["192.0.2.3"]),
            node("d", &["fd00:4::/64", "10.4.0.0/24"], &["192.0.2.4"]),
        ]);
        let wanted = rules(Scope::Cluster).wanted(&nodes);
        assert_eq!(lines(&wanted), ["10.1.0.0/24 via 192.0.2.1", "10.4.0.0/24 via 192.0.2.4"]);
        assert_eq!(
            problems(&wanted),
            [
                "node/b: pod CIDR 10.1.0.0/25 overlaps 10.1.0.0/24 of node a, which keeps it",
                "node/c: has no pod CIDR; is the controller manager started with --allocate-node-cidrs?",
                "node/d: pod CIDR fd00:4::/64 has no next hop: the node has no IPv6 InternalIP",
            ]
        );
    }

    #[test]
    fn draining_node_asks_to_be_avoided_and_leaving_node_announces_nothing() {
        let mut nodes = pair();
        nodes.nodes.get_mut("a").expect("node a").departure = Departure::Draining;
        nodes.nodes.get_mut("b").expect("node b").departure = Departure::Leaving;
        let wanted = rules(Scope::Cluster).wanted(&nodes);
        assert_eq!(lines(&wanted), ["10.1.0.0/24 via 192.0.2.1 65535:0", "fd00:1::/64 via 2001:db8::1 65535:0"]);
    }

    fn service(local: bool) -> Service {
        let address = "203.0.113.7".parse().expect("an address");
        let cluster = "10.96.0.7".parse().expect("an address");
        Service {
            addresses: BTreeSet::from([(ServiceAddress::External, address), (ServiceAddress::Cluster, cluster)]),
            external_local: local,
            internal_local: false,
        }
    }

    fn slice() -> Slice {
        Slice { service: "default/web".into(), nodes: BTreeSet::from(["b".to_owned()]) }
    }

    #[test]
    fn local_traffic_policy_leaves_the_service_to_nodes_with_an_endpoint() {
        for (local, of_a, of_b) in [(true, 0, 1), (false, 1, 1)] {
            let mut nodes = pair();
            nodes.services.insert("default/web".into(), service(local));
            nodes.slices.insert("default/web-1".into(), slice());
            for (name, expected) in [("a", of_a), ("b", of_b)] {
                let mut rules = rules(Scope::Node(name.into()));
                rules.services.insert(ServiceAddress::External);
                let found = rules.wanted(&nodes).announcements;
                let external = found.keys().filter(|prefix| prefix.to_string() == "203.0.113.7/32").count();
                assert_eq!(external, expected, "node {name}, local {local}");
            }
        }
    }

    #[test]
    fn service_of_a_cluster_goes_to_one_node_that_stays() {
        let mut nodes = pair();
        nodes.services.insert("default/web".into(), service(false));
        nodes.nodes.get_mut("a").expect("node a").departure = Departure::Draining;
        let mut rules = rules(Scope::Cluster);
        rules.services.extend([ServiceAddress::External, ServiceAddress::Cluster]);
        let found = lines(&rules.wanted(&nodes));
        assert!(found.contains(&"203.0.113.7/32 via 192.0.2.2".to_owned()), "{found:?}");
        assert!(found.contains(&"10.96.0.7/32 via 192.0.2.2".to_owned()), "{found:?}");
    }
}
