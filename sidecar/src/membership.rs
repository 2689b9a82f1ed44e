//! Who the nodes of the cluster are, as the guard of a reflector is told: in a strict cluster a node may announce its own
//! pod CIDRs only.
//!
//! The cluster's API has the truth, not the nodes, so this is for a sidecar beside a reflector. A node that goes stays
//! declared for as long as its routes ask to be avoided before they are withdrawn (RFC 8326): the guard must not cut them
//! off before. Whoever gets its pod CIDRs meanwhile has them at once.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use ipnet::IpNet;

use crate::cluster::{Cluster, Departure};

/// A node of the cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Member {
    /// Where its sessions come from.
    pub addresses: Vec<IpAddr>,
    /// What it may announce.
    pub pod_cidrs: Vec<IpNet>,
}

/// Nodes by name.
pub type Members = BTreeMap<String, Member>;

/// The nodes over time.
#[derive(Debug)]
pub struct Membership {
    grace: Duration,
    present: Members,
    gone: BTreeMap<String, (Member, Instant)>,
}

impl Membership {
    /// Nodes stay declared that long after they are gone.
    #[must_use]
    pub fn new(grace: Duration) -> Self {
        Self { grace, present: Members::new(), gone: BTreeMap::new() }
    }

    /// Takes in how the cluster is now.
    pub fn update(&mut self, cluster: &Cluster, now: Instant) {
        let before = std::mem::replace(&mut self.present, members(cluster));
        for (name, member) in before {
            if !self.present.contains_key(&name) {
                self.gone.insert(name, (member, now));
            }
        }
        let present = &self.present;
        self.gone.retain(|name, (member, _)| {
            member.pod_cidrs.retain(|prefix| holder(present, prefix).is_none());
            !present.contains_key(name) && !member.pod_cidrs.is_empty()
        });
        self.expire(now);
    }

    /// Forgets who has been gone for long enough.
    pub fn expire(&mut self, now: Instant) {
        let grace = self.grace;
        self.gone.retain(|_, (_, since)| now < *since + grace);
    }

    /// When somebody is forgotten next.
    #[must_use]
    pub fn next_end(&self) -> Option<Instant> {
        self.gone.values().map(|(_, since)| *since + self.grace).min()
    }

    /// The nodes to declare now.
    #[must_use]
    pub fn members(&self) -> Members {
        let gone = self.gone.iter().map(|(name, (member, _))| (name.clone(), member.clone()));
        self.present.clone().into_iter().chain(gone).collect()
    }
}

/// The nodes whose pods run. A pod CIDR that two nodes have is the first one's by name, as for announcements, which say
/// so.
fn members(cluster: &Cluster) -> Members {
    let mut members = Members::new();
    for node in cluster.nodes.values().filter(|node| node.departure != Departure::Leaving) {
        let own = node.pod_cidrs.iter().copied().filter(|prefix| holder(&members, prefix).is_none());
        let member = Member { addresses: node.addresses.clone(), pod_cidrs: own.collect() };
        members.insert(node.name.clone(), member);
    }
    members
}

/// Who has a part of a prefix.
fn holder<'a>(members: &'a Members, prefix: &IpNet) -> Option<&'a String> {
    let overlaps = |other: &IpNet| other.contains(prefix) || prefix.contains(other);
    members.iter().find(|(_, member)| member.pod_cidrs.iter().any(overlaps)).map(|(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::Node;

    const GRACE: Duration = Duration::from_secs(5);

    fn cluster(nodes: &[(&str, &str)]) -> Cluster {
        let node = |(name, prefix): &(&str, &str)| {
            let pod_cidrs = vec![prefix.parse().expect("a prefix")];
            ((*name).to_owned(), Node { name: (*name).to_owned(), pod_cidrs, ..Node::default() })
        };
        Cluster { nodes: nodes.iter().map(node).collect(), ..Cluster::default() }
    }

    fn lines(membership: &Membership) -> Vec<String> {
        let line = |(name, member): (String, Member)| {
            format!("{name} {}", member.pod_cidrs.iter().map(ToString::to_string).collect::<String>())
        };
        membership.members().into_iter().map(line).collect()
    }

    #[test]
    fn node_that_goes_stays_declared_until_its_routes_are_withdrawn() {
        let (mut membership, start) = (Membership::new(GRACE), Instant::now());
        membership.update(&cluster(&[("a", "10.1.0.0/24"), ("b", "10.1.1.0/24")]), start);
        membership.update(&cluster(&[("b", "10.1.1.0/24")]), start);
        assert_eq!(lines(&membership), ["a 10.1.0.0/24", "b 10.1.1.0/24"]);
        assert_eq!(membership.next_end(), Some(start + GRACE));
        membership.update(&cluster(&[("b", "10.1.1.0/24")]), start + GRACE);
        assert_eq!((lines(&membership), membership.next_end()), (vec!["b 10.1.1.0/24".to_owned()], None));
    }

    #[test]
    fn node_that_gets_the_pods_of_one_that_is_gone_has_them_at_once() {
        let (mut membership, start) = (Membership::new(GRACE), Instant::now());
        membership.update(&cluster(&[("a", "10.1.0.0/24")]), start);
        membership.update(&cluster(&[("c", "10.1.0.0/24")]), start);
        assert_eq!(lines(&membership), ["c 10.1.0.0/24"]);
        // The same node under another name, then again: never two at once.
        membership.update(&cluster(&[("a", "10.1.0.0/24")]), start);
        assert_eq!(lines(&membership), ["a 10.1.0.0/24"]);
    }

    #[test]
    fn pod_cidr_of_two_nodes_is_the_first_ones_and_a_node_out_of_service_has_none() {
        let mut both = cluster(&[("a", "10.1.0.0/24"), ("b", "10.1.0.128/25"), ("c", "10.1.2.0/24")]);
        both.nodes.get_mut("c").expect("node c").departure = Departure::Leaving;
        let mut membership = Membership::new(GRACE);
        membership.update(&both, Instant::now());
        assert_eq!(lines(&membership), ["a 10.1.0.0/24", "b "]);
    }
}
