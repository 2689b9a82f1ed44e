//! Desired state: resolved (peer groups folded into neighbors), validated, comparable.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use bgp_wire::Family;
use ipnet::IpNet;

/// Everything the speaker should be and do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Desired {
    /// The speaker itself.
    pub global: Global,
    /// Configured neighbors by address.
    pub neighbors: BTreeMap<IpAddr, Neighbor>,
    /// Ranges from which sessions are accepted without prior configuration, by prefix.
    pub dynamic: BTreeMap<IpNet, DynamicNeighbors>,
    /// Named templates, kept for neighbors that are added while running.
    pub peer_groups: BTreeMap<String, NeighborSettings>,
    /// Routes originated here.
    pub originate: BTreeMap<IpNet, Originate>,
}

/// Settings of the speaker as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Global {
    /// Own AS number.
    pub asn: u32,
    /// BGP identifier.
    pub router_id: Ipv4Addr,
    /// Cluster identifier as a route reflector (RFC 4456 §7).
    pub cluster_id: Ipv4Addr,
    /// Addresses that accept BGP connections.
    pub listen: Vec<SocketAddr>,
    /// Whether routes of clients are reflected to other clients (RFC 4456 §6); off when clients are fully meshed.
    pub client_to_client: bool,
    /// Compare MED also between paths from different neighbor ASes (RFC 4271 §9.1.2.2(c) compares within one).
    pub always_compare_med: bool,
}

/// One configured neighbor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Neighbor {
    /// Its address: the name of the neighbor.
    pub address: IpAddr,
    /// TCP port to connect to.
    pub port: u16,
    /// The peer group that the settings came from.
    pub peer_group: Option<String>,
    /// Free text for people.
    pub description: Option<String>,
    /// How to talk to it.
    pub settings: NeighborSettings,
}

/// How to talk to a neighbor: what a peer group can set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NeighborSettings {
    /// AS number the peer must have.
    pub remote_asn: u32,
    /// AS number we show to this peer, where it is not the global one.
    pub local_asn: Option<u32>,
    /// The peer is a client of this route reflector (RFC 4456 §6).
    pub route_reflector_client: bool,
    /// Address families offered, in order.
    pub families: Vec<Family>,
    /// Hold time offered, in seconds: 0 or at least 3 (RFC 4271 §4.2).
    pub hold_seconds: u16,
    /// Wait after a session ended in an error, doubling to 60 s while errors repeat; zero for none.
    pub idle_hold: Duration,
    /// Wait between attempts to connect (RFC 4271 §8, ConnectRetryTime).
    pub connect_retry: Duration,
    /// Local end of the connection and next hop of what is announced.
    pub local_address: Option<IpAddr>,
    /// Wait for the peer to connect (RFC 4271 §8.1.1, PassiveTcpEstablishment).
    pub passive: bool,
    /// TCP-MD5 key (RFC 2385).
    pub md5_password: Option<Secret>,
    /// Accept packets with TTL 255 only (RFC 5082).
    pub ttl_security: bool,
    /// TTL of packets to an eBGP peer; `None` is 1 (directly connected).
    pub ebgp_multihop: Option<u8>,
    /// Announce this speaker as next hop of every route, also on iBGP.
    pub next_hop_self: bool,
    /// ADD-PATH (RFC 7911).
    pub add_path: AddPath,
    /// Offer extended messages (RFC 8654).
    pub extended_messages: bool,
    /// Offer an IPv6 next hop for IPv4 routes (RFC 8950).
    pub extended_next_hop: bool,
    /// Treat routes with AS_SET as withdrawn (RFC 9774); `None` is on for eBGP only.
    pub reject_as_sets: Option<bool>,
    /// Names of the policies on routes received; `None` is accept on iBGP, reject on eBGP (RFC 8212).
    pub import_policy: Option<Vec<String>>,
    /// Names of the policies on routes sent; `None` as above.
    pub export_policy: Option<Vec<String>>,
    /// Administratively down, with the text that the peer is told (RFC 9003).
    pub shutdown: Option<String>,
}

/// What is offered for ADD-PATH (RFC 7911 §4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AddPath {
    /// Accept several paths per prefix.
    pub receive: bool,
    /// Send all usable paths per prefix.
    pub send: bool,
}

/// A range of addresses that may open sessions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DynamicNeighbors {
    /// Source addresses.
    pub prefix: IpNet,
    /// The peer group they join.
    pub peer_group: String,
    /// Most sessions at a time.
    pub limit: usize,
    /// The peer group's settings.
    pub settings: NeighborSettings,
}

/// A route originated here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Originate {
    /// The destination.
    pub prefix: IpNet,
    /// Next hop; `None` is each session's local address.
    pub next_hop: Option<IpAddr>,
    /// LOCAL_PREF on iBGP; 100 where not set.
    pub local_pref: Option<u32>,
    /// MULTI_EXIT_DISC.
    pub med: Option<u32>,
    /// Standard communities.
    pub communities: Vec<u32>,
    /// Large communities.
    pub large_communities: Vec<[u32; 3]>,
}

/// A key that no text output shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}
