//! Who speaks with whom: speakers, sessions, and how each end sees the other.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use bgp_engine::config::{
    AddPath, ConnectionLimits, Desired, Global, GracefulRestart, Neighbor, NeighborSettings, Originate, PrefixLimits,
};
use bgp_engine::export::LocalAddresses;
use bgp_wire::Family;
use ipnet::IpNet;

use super::random::Random;

/// AS number of every speaker.
pub const ASN: u32 = 65_000;

/// The kinds of topology.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Everybody with everybody, no reflector.
    FullMesh,
    /// One reflector, the others are its clients.
    OneReflector,
    /// Two reflectors of one cluster; every client has both.
    PairSameCluster,
    /// Two reflectors of clusters of their own; every client has both.
    PairOwnClusters,
    /// Top reflectors in a mesh, below them pairs of reflectors that are clients of several, clients below those.
    Hierarchy,
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::FullMesh => "full mesh",
            Self::OneReflector => "one reflector",
            Self::PairSameCluster => "pair, same cluster",
            Self::PairOwnClusters => "pair, own clusters",
            Self::Hierarchy => "hierarchy",
        })
    }
}

/// One speaker.
#[derive(Debug, Clone)]
pub struct Node {
    /// The address of all its sessions, and the next hop of its IPv4 routes.
    pub address: Ipv4Addr,
    /// The next hop of its IPv6 routes.
    pub address6: Ipv6Addr,
    /// BGP identifier.
    pub router_id: Ipv4Addr,
    /// Cluster identifier.
    pub cluster_id: Ipv4Addr,
    /// Reflects between clients.
    pub client_to_client: bool,
    /// Partitions and group workers.
    pub workers: usize,
}

impl Node {
    /// What of it can be a next hop.
    #[must_use]
    pub fn local(&self) -> LocalAddresses {
        LocalAddresses { v4: Some(self.address), v6: Some(self.address6), v6_link_local: None }
    }
}

/// What one end of a session thinks of the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Side {
    /// The other end is a client of this one.
    pub client: bool,
    /// Waits for the other to connect.
    pub passive: bool,
    /// What it offers.
    pub add_path: AddPath,
}

/// A session between two speakers.
#[derive(Debug, Clone)]
pub struct Link {
    /// The two ends.
    pub ends: [usize; 2],
    /// How each sees the other.
    pub sides: [Side; 2],
    /// Families.
    pub families: Vec<Family>,
    /// Hold time offered by both.
    pub hold_seconds: u16,
    /// Whether messages may be longer than 4096 octets.
    pub extended_messages: bool,
    /// What both offer for graceful restart.
    pub graceful_restart: GracefulRestart,
}

impl Link {
    /// Whether `from` sends all paths to the other end.
    #[must_use]
    pub fn all_paths_from(&self, from: usize) -> bool {
        let (mine, theirs) = if self.ends[0] == from { (0, 1) } else { (1, 0) };
        self.sides[mine].add_path.send && self.sides[theirs].add_path.receive
    }

    /// How `of` sees the other end.
    #[must_use]
    pub fn side(&self, of: usize) -> Side {
        self.sides[usize::from(self.ends[0] != of)]
    }

    /// The same, to change it.
    pub fn side_mut(&mut self, of: usize) -> &mut Side {
        &mut self.sides[usize::from(self.ends[0] != of)]
    }

    /// The other end.
    #[must_use]
    pub fn other(&self, than: usize) -> usize {
        self.ends[usize::from(self.ends[0] == than)]
    }
}

/// Speakers and sessions.
#[derive(Debug, Clone)]
pub struct Topology {
    /// Its kind.
    pub shape: Shape,
    /// The speakers.
    pub nodes: Vec<Node>,
    /// The sessions between them.
    pub links: Vec<Link>,
    /// Of each speaker, where its sessions are among `links`.
    links_of: Vec<Vec<usize>>,
}

impl Topology {
    /// A random one of a kind, with `size` speakers (two at least).
    #[must_use]
    pub fn random(shape: Shape, size: usize, random: &mut Random) -> Self {
        let size = size.max(2);
        let links_of = vec![Vec::new(); size];
        let mut topology = Self { shape, nodes: nodes(size, random), links: Vec::new(), links_of };
        match shape {
            Shape::FullMesh => topology.mesh(&(0..size).collect::<Vec<_>>()),
            Shape::OneReflector => (1..size).for_each(|client| topology.client(0, client)),
            Shape::PairSameCluster | Shape::PairOwnClusters => topology.pair(size),
            Shape::Hierarchy => topology.hierarchy(size, random),
        }
        topology.vary(random);
        topology
    }

    /// The sessions of a speaker.
    pub fn links_of(&self, node: usize) -> impl Iterator<Item = &Link> {
        self.numbers_of(node).map(|at| &self.links[at])
    }

    /// Where they stand among all links.
    pub fn numbers_of(&self, node: usize) -> impl Iterator<Item = usize> {
        self.links_of[node].iter().copied()
    }

    /// Whether a speaker reflects.
    #[must_use]
    pub fn is_reflector(&self, node: usize) -> bool {
        self.links_of(node).any(|link| link.side(node).client)
    }

    /// The speaker with an address.
    #[must_use]
    pub fn at(&self, address: IpAddr) -> Option<usize> {
        let has = |node: &Node| IpAddr::V4(node.address) == address || IpAddr::V6(node.address6) == address;
        self.nodes.iter().position(has)
    }

    /// The configuration of a speaker without routes.
    #[must_use]
    pub fn desired(&self, node: usize) -> Desired {
        let Node { address, router_id, cluster_id, client_to_client, .. } = self.nodes[node];
        let global = Global {
            asn: ASN,
            router_id,
            cluster_id,
            listen: vec![(address, 179).into()],
            client_to_client,
            graceful_shutdown: false,
            always_compare_med: false,
            connections: ConnectionLimits::default(),
            import_policy: None,
            export_policy: None,
        };
        let neighbors = self.links_of(node).map(|link| {
            let neighbor = self.neighbor(link, node);
            (neighbor.address, neighbor)
        });
        Desired {
            global,
            neighbors: neighbors.collect(),
            dynamic: BTreeMap::new(),
            peer_groups: BTreeMap::new(),
            policies: std::sync::Arc::default(),
            originate: BTreeMap::new(),
            guard: bgp_engine::config::cluster::Guard::default(),
            caches: BTreeMap::new(),
        }
    }

    fn neighbor(&self, link: &Link, of: usize) -> Neighbor {
        let side = link.side(of);
        let settings = NeighborSettings {
            remote_asn: ASN,
            local_asn: None,
            route_reflector_client: side.client,
            families: link.families.clone(),
            hold_seconds: link.hold_seconds,
            idle_hold: Duration::from_secs(5),
            connect_retry: Duration::from_secs(15),
            local_address: None,
            passive: side.passive,
            md5_password: None,
            ao_keys: Vec::new(),
            ttl_security: false,
            ebgp_multihop: None,
            next_hop_self: false,
            add_path: side.add_path,
            extended_messages: link.extended_messages,
            extended_next_hop: false,
            role: None,
            role_strict: false,
            reject_as_sets: None,
            graceful_restart: link.graceful_restart.clone(),
            prefix_limits: PrefixLimits::default(),
            import_policy: None,
            export_policy: None,
            graceful_shutdown: false,
            shutdown: None,
        };
        let address = IpAddr::V4(self.nodes[link.other(of)].address);
        Neighbor { address, port: 179, peer_group: None, description: None, settings }
    }

    fn link(&mut self, a: usize, b: usize, sides: [Side; 2]) {
        let families = vec![Family::IPV4_UNICAST];
        [a, b].into_iter().for_each(|end| self.links_of[end].push(self.links.len()));
        self.links.push(Link {
            ends: [a, b],
            sides,
            families,
            hold_seconds: 90,
            extended_messages: false,
            graceful_restart: GracefulRestart::default(),
        });
    }

    fn client(&mut self, reflector: usize, client: usize) {
        self.link(reflector, client, [Side { client: true, ..Side::default() }, Side::default()]);
    }

    fn mesh(&mut self, of: &[usize]) {
        for (at, &a) in of.iter().enumerate() {
            of[at + 1..].iter().for_each(|&b| self.link(a, b, [Side::default(); 2]));
        }
    }

    fn pair(&mut self, size: usize) {
        if self.shape == Shape::PairSameCluster {
            self.nodes[1].cluster_id = self.nodes[0].cluster_id;
        }
        self.mesh(&[0, 1]);
        for client in 2..size {
            self.client(0, client);
            self.client(1, client);
        }
    }

    /// Top reflectors in a mesh; reflectors below that are clients of two or more of them; leaves with two of those.
    fn hierarchy(&mut self, size: usize, random: &mut Random) {
        let tops = random.between(2, 3).min(size);
        let middle = random.between(2, 2 + size / 8).min(size - tops);
        self.mesh(&(0..tops).collect::<Vec<_>>());
        for reflector in tops..tops + middle {
            let left_out = if tops > 2 && random.once_in(2) { random.below(tops) } else { tops };
            (0..tops).filter(|top| *top != left_out).for_each(|top| self.client(top, reflector));
            // Reflectors side by side may share a cluster, and may speak with each other.
            if reflector > tops && random.once_in(2) {
                if random.once_in(2) {
                    self.nodes[reflector].cluster_id = self.nodes[reflector - 1].cluster_id;
                }
                self.mesh(&[reflector - 1, reflector]);
            }
        }
        for leaf in tops + middle..size {
            let first = tops + random.below(middle);
            let second = random.below(tops + middle);
            self.client(first, leaf);
            if second != first {
                self.client(second, leaf);
            }
        }
    }

    /// What sessions negotiate, and who waits for whom.
    fn vary(&mut self, random: &mut Random) {
        let both_families = random.once_in(2);
        let extended_messages = random.once_in(3);
        let add_path = random.once_in(4);
        let hold_seconds = random.pick(&[9, 30, 90, 90]);
        let restart = graceful_restart(random);
        if random.once_in(10) {
            self.nodes.iter_mut().for_each(|node| node.client_to_client = false);
        }
        let leaves: Vec<bool> = (0..self.nodes.len()).map(|node| !self.is_reflector(node)).collect();
        for link in &mut self.links {
            if both_families && !random.once_in(8) {
                link.families.push(Family::IPV6_UNICAST);
            }
            link.extended_messages = extended_messages && !random.once_in(3);
            link.hold_seconds = hold_seconds;
            link.graceful_restart = GracefulRestart { enabled: !random.once_in(4), ..restart.clone() };
            if random.once_in(4) {
                link.sides[random.below(2)].passive = true;
            }
            // Only towards speakers that pass nothing on: of paths that only their identifiers tell apart, a model
            // cannot know the best.
            if add_path && leaves[link.ends[1]] && !random.once_in(3) {
                link.sides[0].add_path = AddPath { send: true, receive: false };
                link.sides[1].add_path = AddPath { send: false, receive: true };
            }
        }
    }
}

/// Restart times from none worth speaking of to longer than anything that happens.
fn graceful_restart(random: &mut Random) -> GracefulRestart {
    let long_lived = random.pick(&[0, 0, 10, 600]);
    let families = [Family::IPV4_UNICAST, Family::IPV6_UNICAST].into_iter().filter(|_| long_lived > 0);
    GracefulRestart {
        enabled: true,
        restart_seconds: random.pick(&[1, 20, 120, 4000]),
        stale_path: Duration::from_secs(random.pick(&[1, 20, 300])),
        long_lived_seconds: families.map(|family| (family, long_lived)).collect(),
    }
}

/// Speakers whose addresses and identifiers are in no order.
fn nodes(size: usize, random: &mut Random) -> Vec<Node> {
    let numbers = |random: &mut Random| {
        let mut numbers: Vec<u16> = (1..=size as u16).collect();
        random.shuffle(&mut numbers);
        numbers
    };
    let (addresses, identifiers) = (numbers(random), numbers(random));
    let node = |(address, identifier): (u16, u16)| {
        let [high, low] = address.to_be_bytes();
        let [id_high, id_low] = identifier.to_be_bytes();
        let router_id = Ipv4Addr::new(10, 255, id_high, id_low);
        Node {
            address: Ipv4Addr::new(10, 0, high, low),
            address6: Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, address),
            router_id,
            cluster_id: router_id,
            client_to_client: true,
            workers: random.between(1, 3),
        }
    };
    addresses.into_iter().zip(identifiers).map(node).collect()
}

/// A route that a speaker originates: what it is announced with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Announced {
    /// LOCAL_PREF.
    pub local_pref: Option<u32>,
    /// MULTI_EXIT_DISC.
    pub med: Option<u32>,
    /// A community.
    pub community: Option<u32>,
    /// The next hop is said, rather than left to each session.
    pub next_hop: bool,
}

/// Who originates what.
pub type Routes = BTreeMap<(usize, IpNet), Announced>;

impl Announced {
    /// A random one out of few, so that the same prefix often comes with the same preference.
    pub fn random(random: &mut Random) -> Self {
        Self {
            local_pref: random.pick(&[None, None, None, Some(100), Some(90), Some(200)]),
            med: random.pick(&[None, None, Some(0), Some(5), Some(10)]),
            community: random.pick(&[None, None, None, Some(0xfde8_0001), Some(0xffff_ff01)]),
            next_hop: random.once_in(2),
        }
    }

    /// As it stands in the configuration of `node`.
    #[must_use]
    pub fn originate(&self, node: &Node, prefix: IpNet) -> Originate {
        Originate {
            prefix,
            next_hop: self.next_hop.then_some(match prefix {
                IpNet::V4(_) => IpAddr::V4(node.address),
                IpNet::V6(_) => IpAddr::V6(node.address6),
            }),
            local_pref: self.local_pref,
            med: self.med,
            communities: self.community.into_iter().collect(),
            large_communities: Vec::new(),
        }
    }
}
