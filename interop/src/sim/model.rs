//! What every table must hold, computed the slow and obvious way.
//!
//! Shares no code with the engine: own types, own comparison of routes, own rules of reflection, and instead of
//! messages a loop over all speakers until nothing changes any more (RFC 4271 §9.1, §9.2; RFC 4456 §6, §8, §9). With
//! one AS and no interior cost all speakers agree which of two routes is better, but for those that originate one, so
//! that there is exactly one stable state.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use bgp_wire::Family;
use ipnet::IpNet;

use super::topology::{Announced, Link, Routes, Topology};

/// NO_ADVERTISE (RFC 1997).
const NO_ADVERTISE: u32 = 0xffff_ff02;
/// NO_EXPORT (RFC 1997).
const NO_EXPORT: u32 = 0xffff_ff01;
/// LLGR_STALE (RFC 9494).
const LLGR_STALE: u32 = 0xffff_0006;
/// Rounds after which there is no stable state to be found.
const ROUNDS: usize = 1000;

/// A route as it goes over a session.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Route {
    /// Where to.
    pub next_hop: IpAddr,
    /// LOCAL_PREF.
    pub local_pref: u32,
    /// MULTI_EXIT_DISC.
    pub med: Option<u32>,
    /// ORIGINATOR_ID.
    pub originator: Option<Ipv4Addr>,
    /// CLUSTER_LIST.
    pub clusters: Vec<Ipv4Addr>,
    /// Communities.
    pub communities: Vec<u32>,
}

/// A usable route and who it came from; `None` for one's own.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Candidate {
    /// The neighbor.
    pub from: Option<usize>,
    /// What it said.
    pub route: Route,
}

/// What one speaker holds for one prefix.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Entry {
    /// The Adj-RIB-In, by neighbor: all that was announced, usable or not, sorted.
    pub received: BTreeMap<usize, Vec<Route>>,
    /// The best route. Several if nothing that the model knows tells them apart.
    pub best: Vec<Candidate>,
}

/// Every speaker's entry for one prefix.
pub type Tables = Vec<Entry>;

/// A speaker that is away, and what the others keep of it.
#[derive(Debug, Clone, Copy)]
pub struct Away<'a> {
    /// Which.
    pub node: usize,
    /// What it had told everybody when it left, for one prefix.
    pub left: &'a Tables,
    /// How long it has been away.
    pub since: Absence,
}

/// How long a speaker has been away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Absence {
    /// Less than its restart time (RFC 4724 §4.2).
    Restarting,
    /// More, but less than its long-lived stale time, where it has one (RFC 9494 §4.2).
    LongLived,
    /// For good.
    Gone,
}

impl Away<'_> {
    /// What the other end of `link` holds of it.
    fn kept(&self, link: &Link) -> Vec<Route> {
        let to = link.other(self.node);
        let left = self.left[to].received.get(&self.node).cloned().unwrap_or_default();
        let long = !link.graceful_restart.long_lived_seconds.is_empty();
        match self.since {
            _ if !link.graceful_restart.enabled => Vec::new(),
            Absence::Restarting => left,
            Absence::LongLived if long => left.into_iter().map(Route::long_lived_stale).collect(),
            Absence::LongLived | Absence::Gone => Vec::new(),
        }
    }
}

impl Route {
    fn is_long_lived_stale(&self) -> bool {
        self.communities.contains(&LLGR_STALE)
    }

    /// RFC 9494 §4.2.
    fn long_lived_stale(mut self) -> Self {
        if !self.is_long_lived_stale() {
            self.communities.push(LLGR_STALE);
        }
        self
    }
}

/// The stable state of one prefix, with all speakers there.
///
/// # Panics
/// If there is none, which would be an error in the model.
#[must_use]
pub fn solve(topology: &Topology, routes: &Routes, prefix: IpNet) -> Tables {
    solve_without(topology, routes, prefix, None)
}

/// The stable state of one prefix, with one speaker away.
///
/// # Panics
/// If there is none, which would be an error in the model.
#[must_use]
pub fn solve_without(topology: &Topology, routes: &Routes, prefix: IpNet, away: Option<Away<'_>>) -> Tables {
    let family = match prefix {
        IpNet::V4(_) => Family::IPV4_UNICAST,
        IpNet::V6(_) => Family::IPV6_UNICAST,
    };
    let links: Vec<&Link> = topology.links.iter().filter(|link| link.families.contains(&family)).collect();
    let mut tables = vec![Entry::default(); topology.nodes.len()];
    for _ in 0..ROUNDS {
        let before = tables.clone();
        for (node, entry) in tables.iter_mut().enumerate() {
            entry.best = best(topology, node, originated(topology, routes, node, prefix), entry);
        }
        for link in &links {
            for [from, to] in [link.ends, [link.ends[1], link.ends[0]]] {
                let own = originated(topology, routes, from, prefix);
                let told = match away {
                    Some(away) if away.node == from => away.kept(link),
                    Some(away) if away.node == to => continue,
                    _ => told(topology, link, from, own, &tables[from]),
                };
                tables[to].received.insert(from, told);
            }
        }
        if tables == before {
            return tables;
        }
    }
    panic!("no stable state for {prefix} after {ROUNDS} rounds");
}

/// A speaker's own route, if it has one.
fn originated(topology: &Topology, routes: &Routes, node: usize, prefix: IpNet) -> Option<Route> {
    let own: &Announced = routes.get(&(node, prefix))?;
    // Said or not, the next hop is the one address that a speaker here has.
    let next_hop = match prefix {
        IpNet::V4(_) => IpAddr::V4(topology.nodes[node].address),
        IpNet::V6(_) => IpAddr::V6(topology.nodes[node].address6),
    };
    Some(Route {
        next_hop,
        local_pref: own.local_pref.unwrap_or(100),
        med: own.med,
        originator: None,
        clusters: Vec::new(),
        communities: own.community.into_iter().collect(),
    })
}

/// Whether a speaker may use what it is told (RFC 4456 §8, RFC 4271 §6.3).
#[must_use]
pub fn is_usable(topology: &Topology, node: usize, route: &Route) -> bool {
    let me = &topology.nodes[node];
    let own = route.next_hop == IpAddr::V4(me.address) || route.next_hop == IpAddr::V6(me.address6);
    route.originator != Some(me.router_id) && !route.clusters.contains(&me.cluster_id) && !own
}

/// Everything usable that a speaker has.
fn usable(topology: &Topology, node: usize, own: Option<Route>, entry: &Entry) -> Vec<Candidate> {
    let heard = entry.received.iter().flat_map(|(from, routes)| {
        let usable = routes.iter().filter(|route| is_usable(topology, node, route));
        usable.map(|route| Candidate { from: Some(*from), route: route.clone() })
    });
    own.map(|route| Candidate { from: None, route }).into_iter().chain(heard).collect()
}

fn best(topology: &Topology, node: usize, own: Option<Route>, entry: &Entry) -> Vec<Candidate> {
    let all = usable(topology, node, own, entry);
    let least = all.iter().map(|candidate| rank(topology, candidate)).min();
    all.iter().filter(|candidate| Some(rank(topology, candidate)) == least).cloned().collect()
}

/// What makes one route better than another: the lesser one wins.
fn rank(topology: &Topology, candidate: &Candidate) -> (bool, u32, bool, u32, Ipv4Addr, usize, Ipv4Addr) {
    let Candidate { from, route } = candidate;
    let (router_id, address) = match from {
        Some(peer) => (topology.nodes[*peer].router_id, topology.nodes[*peer].address),
        None => (Ipv4Addr::UNSPECIFIED, Ipv4Addr::UNSPECIFIED),
    };
    (
        route.is_long_lived_stale(),
        u32::MAX - route.local_pref,
        from.is_some(),
        route.med.unwrap_or(0),
        route.originator.unwrap_or(router_id),
        route.clusters.len(),
        address,
    )
}

/// What `from` tells the other end of `link`.
fn told(topology: &Topology, link: &Link, from: usize, own: Option<Route>, entry: &Entry) -> Vec<Route> {
    let to = link.other(from);
    let candidates = if link.all_paths_from(from) {
        usable(topology, from, own, entry)
    } else {
        entry.best.first().cloned().into_iter().collect()
    };
    let passes = |candidate: &Candidate| {
        let reflects = match candidate.from {
            None => true,
            Some(peer) => reflects(topology, from, peer, to),
        };
        reflects && !candidate.route.communities.contains(&NO_ADVERTISE)
    };
    let told = candidates.into_iter().filter(passes);
    let mut told: Vec<_> = told.map(|candidate| outgoing(topology, from, link, candidate)).collect();
    told.sort();
    told
}

/// RFC 4456 §6, and nobody is told their own.
fn reflects(topology: &Topology, node: usize, from: usize, to: usize) -> bool {
    let is_client =
        |peer: usize| topology.links_of(node).any(|link| link.other(node) == peer && link.side(node).client);
    match (is_client(from), is_client(to)) {
        _ if from == to => false,
        (false, false) => false,
        (true, true) => topology.nodes[node].client_to_client,
        _ => true,
    }
}

/// RFC 4456 §8: a reflected route says where it began and through which clusters it came. RFC 9494 §4.6: where nobody
/// knows what long-lived stale is, such a route is the last choice in another way.
fn outgoing(topology: &Topology, node: usize, link: &Link, candidate: Candidate) -> Route {
    let Candidate { from, mut route } = candidate;
    let restart = &link.graceful_restart;
    let knows = restart.enabled && !restart.long_lived_seconds.is_empty();
    if route.is_long_lived_stale() && !knows {
        route.local_pref = 0;
        route.communities.push(NO_EXPORT);
    }
    if let Some(peer) = from {
        route.originator = route.originator.or(Some(topology.nodes[peer].router_id));
        route.clusters.insert(0, topology.nodes[node].cluster_id);
    }
    route
}
