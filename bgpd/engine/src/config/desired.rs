//! Desired state: resolved (peer groups folded into neighbors), validated, comparable.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bgp_wire::Family;
use ipnet::IpNet;

use super::cluster::Guard;
use super::{AoKey, Keys, Role, signed_range};
use crate::policy::Definitions;
use crate::rpki::CacheSettings;

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
    /// What policies are made of.
    pub policies: Arc<Definitions>,
    /// Routes originated here.
    pub originate: BTreeMap<IpNet, Originate>,
    /// What clients of clusters may announce.
    pub guard: Guard,
    /// Caches of the RPKI that say who may originate what, by address and port.
    pub caches: BTreeMap<SocketAddr, CacheSettings>,
}

impl Desired {
    /// The settings of whoever has an address: of the neighbor, or of the longest range that lets it in.
    #[must_use]
    pub fn settings_of(&self, address: IpAddr) -> Option<&NeighborSettings> {
        let of_range = || self.range_of(address).map(|range| &range.settings);
        self.neighbors.get(&address).map(|neighbor| &neighbor.settings).or_else(of_range)
    }

    /// The longest range that covers an address.
    #[must_use]
    pub fn range_of(&self, address: IpAddr) -> Option<&DynamicNeighbors> {
        let covers = |range: &&DynamicNeighbors| range.prefix.contains(&address);
        self.dynamic.values().filter(covers).max_by_key(|range| range.prefix.prefix_len())
    }

    /// Neighbors and ranges without a key in a range with one, and that range.
    #[must_use]
    pub fn unsigned(&self) -> Vec<(IpNet, IpNet)> {
        let neighbors = self.neighbors.values().map(|one| (IpNet::from(one.address), &one.settings));
        let ranges = self.dynamic.values().map(|range| (range.prefix, &range.settings));
        let without = neighbors.chain(ranges).filter(|(_, settings)| settings.keys().is_empty());
        without.filter_map(|(addresses, _)| Some((addresses, signed_range(&self.dynamic, &addresses)?))).collect()
    }

    /// Of the peers that a speaker had before it restarted, those that can come back with their routes, by family
    /// (RFC 4724 §4.1).
    #[must_use]
    pub fn expected_back(&self, peers: &BTreeMap<IpAddr, Vec<Family>>) -> BTreeMap<Family, BTreeSet<IpAddr>> {
        let mut expected = BTreeMap::<_, BTreeSet<_>>::new();
        for (address, families) in peers {
            let settings = self.settings_of(*address);
            let settings = settings.filter(|of| of.shutdown.is_none() && of.graceful_restart.enabled);
            let offered = settings.map(|of| of.families.as_slice()).unwrap_or_default();
            for family in offered.iter().filter(|family| families.contains(family)) {
                expected.entry(*family).or_default().insert(*address);
            }
        }
        expected
    }
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
    /// All neighbors are about to be shut down (RFC 8326).
    pub graceful_shutdown: bool,
    /// Compare MED also between paths from different neighbor ASes (RFC 4271 §9.1.2.2(c) compares within one).
    pub always_compare_med: bool,
    /// How many connections may wait for an OPEN, and how fast they may come.
    pub connections: ConnectionLimits,
    /// Import policies of neighbors that have none of their own and no peer group that has.
    pub import_policy: Option<Vec<String>>,
    /// Export policies of those.
    pub export_policy: Option<Vec<String>>,
}

/// Limits on connections that peers open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// Connections without OPEN at a time, those of configured neighbors not counted.
    pub pending: u32,
    /// Connections without OPEN at a time from one address.
    pub pending_per_source: u32,
    /// Connections a second from one address; 0 for no limit.
    pub setup_rate: u32,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self { pending: 1024, pending_per_source: 8, setup_rate: 10 }
    }
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
    /// TCP-AO keys (RFC 5925).
    pub ao_keys: Vec<AoKey>,
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
    /// What this speaker is to an eBGP neighbor (RFC 9234).
    pub role: Option<Role>,
    /// Only neighbors that say their own role are let in (RFC 9234 §4.2).
    pub role_strict: bool,
    /// Treat routes with AS_SET as withdrawn (RFC 9774); `None` is on for eBGP only.
    pub reject_as_sets: Option<bool>,
    /// Graceful restart (RFC 4724, RFC 8538, RFC 9494).
    pub graceful_restart: GracefulRestart,
    /// Names of the policies on routes received; `None` is accept on iBGP, reject on eBGP (RFC 8212).
    pub import_policy: Option<Vec<String>>,
    /// Names of the policies on routes sent; `None` as above.
    pub export_policy: Option<Vec<String>>,
    /// How many prefixes the peer may announce.
    pub prefix_limits: PrefixLimits,
    /// About to be shut down: routes in both directions say so and are the last choice (RFC 8326).
    pub graceful_shutdown: bool,
    /// Administratively down, with the text that the peer is told (RFC 9003).
    pub shutdown: Option<String>,
}

impl NeighborSettings {
    /// The keys of its connections.
    #[must_use]
    pub fn keys(&self) -> Keys {
        Keys { md5: self.md5_password.clone(), ao: self.ao_keys.clone() }
    }

    /// Whether the neighbor is in another AS than this speaker, which has this number unless it shows it another one.
    #[must_use]
    pub fn is_external(&self, own_asn: u32) -> bool {
        self.remote_asn != self.local_asn.unwrap_or(own_asn)
    }

    /// Whether the session is about to be shut down, alone or with all others (RFC 8326).
    #[must_use]
    pub fn is_shutting_down(&self, global: &Global) -> bool {
        self.graceful_shutdown || global.graceful_shutdown
    }
}

/// What is offered for graceful restart, and how long the routes of a peer that restarts are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GracefulRestart {
    /// Offer it (RFC 4724 §3), also after NOTIFICATIONs (RFC 8538 §2).
    pub enabled: bool,
    /// How long the peer is asked to wait for this speaker when it restarts, at most 4095 s (RFC 4724 §3).
    pub restart_seconds: u16,
    /// How long stale routes of a peer that is back are kept until its End-of-RIB (RFC 4724 §4.2).
    pub stale_path: Duration,
    /// By family, how long routes are kept beyond the restart time (RFC 9494): offered to the peer, and the most that
    /// is granted to it. Zero, or a family that is not here: not at all.
    pub long_lived_seconds: BTreeMap<Family, u32>,
}

impl GracefulRestart {
    /// Longest restart time: the field has 12 bits (RFC 4724 §3).
    pub const RESTART_SECONDS_MAX: u16 = 4095;
    /// Longest long-lived stale time: the field has 24 bits (RFC 9494 §3.1).
    pub const LONG_LIVED_SECONDS_MAX: u32 = 0xff_ffff;
}

impl Default for GracefulRestart {
    fn default() -> Self {
        Self {
            enabled: true,
            restart_seconds: 120,
            stale_path: Duration::from_secs(300),
            long_lived_seconds: BTreeMap::new(),
        }
    }
}

/// How many prefixes a peer may announce, and what happens when there are more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrefixLimits {
    /// Most prefixes by family; a family that is not here has no limit.
    pub most: BTreeMap<Family, u32>,
    /// Percentage of the limit at which there is a warning.
    pub warning_percent: u8,
    /// What happens at the limit.
    pub action: LimitAction,
    /// How long a session stays down that exceeded the limit; `None` until somebody resets it.
    pub restart: Option<Duration>,
}

/// What happens when a peer announces more prefixes than it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitAction {
    /// It is said.
    Warn,
    /// It is said, and what is above the limit is dropped.
    DiscardNew,
    /// The session ends with Cease / Maximum Number of Prefixes Reached (RFC 4486 §4), and starts again after a time.
    Restart,
}

impl fmt::Display for LimitAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Warn => "warn",
            Self::DiscardNew => "discard-new",
            Self::Restart => "restart",
        })
    }
}

impl Default for PrefixLimits {
    fn default() -> Self {
        Self {
            most: BTreeMap::new(),
            warning_percent: 75,
            action: LimitAction::Restart,
            restart: Some(Duration::from_secs(60)),
        }
    }
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
