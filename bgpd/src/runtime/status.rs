//! What a running speaker says of itself: values that the API turns into answers.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::SystemTime;

use bgp_engine::session::{State, Waiting};
use bgp_wire::Family;
use bgp_wire::capability::Capability;

use crate::config::Source;

/// One neighbor, as it is now.
#[derive(Debug, Clone)]
pub struct NeighborStatus {
    /// The neighbor's address.
    pub address: IpAddr,
    /// AS number that the peer must have.
    pub asn: u32,
    /// AS number that we show.
    pub local_asn: u32,
    /// Free text from the configuration.
    pub description: Option<String>,
    /// Peer group that the settings came from.
    pub peer_group: Option<String>,
    /// Where its settings come from.
    pub source: Source,
    /// Accepted from a `[[dynamic-neighbors]]` range.
    pub dynamic: Option<ipnet::IpNet>,
    /// The peer is a route-reflector client.
    pub route_reflector_client: bool,
    /// Administratively down, with the text given.
    pub shutdown: Option<String>,
    /// About to be shut down: routes in both directions are the last choice (RFC 8326).
    pub graceful_shutdown: bool,
    /// We wait for the peer to connect.
    pub passive: bool,
    /// TCP-MD5 is on (the key itself is never shown).
    pub md5: bool,
    /// GTSM is on.
    pub ttl_security: bool,
    /// Import policies in effect, in words.
    pub import_policy: String,
    /// Export policies in effect, in words.
    pub export_policy: String,
    /// Session state (RFC 4271 §8.2.2).
    pub state: State,
    /// When the state became or ceased to be Established; start of the neighbor before the first session.
    pub since: SystemTime,
    /// Times the session was Established.
    pub established_count: u64,
    /// Times an Established session ended.
    pub flaps: u64,
    /// What ended the last session or attempt, in words.
    pub last_error: Option<String>,
    /// When that was.
    pub last_error_at: Option<SystemTime>,
    /// Last NOTIFICATION sent, in words.
    pub last_notification_sent: Option<String>,
    /// Last NOTIFICATION received, in words.
    pub last_notification_received: Option<String>,
    /// Local end of the connection.
    pub local: Option<SocketAddr>,
    /// Remote end of the connection.
    pub remote: Option<SocketAddr>,
    /// The peer's BGP identifier.
    pub router_id: Option<Ipv4Addr>,
    /// Capabilities that we offer.
    pub capabilities_sent: Vec<Capability>,
    /// Capabilities that the peer offered.
    pub capabilities_received: Vec<Capability>,
    /// What both can do, in words.
    pub negotiated: Vec<String>,
    /// Hold time configured, in seconds.
    pub hold_seconds_configured: u16,
    /// Hold time in effect, in seconds.
    pub hold_seconds: Option<u16>,
    /// Keepalive interval in effect, in milliseconds.
    pub keepalive_millis: Option<u64>,
    /// Seconds until the hold timer would expire, at the time of the snapshot.
    pub hold_remaining_seconds: Option<u64>,
    /// Seconds until the next attempt to connect.
    pub retry_in_seconds: Option<u64>,
    /// Messages received and sent.
    pub messages: Messages,
    /// Octets queued towards the peer and not yet written.
    pub queued_bytes: u64,
    /// The peer takes its updates slower than they come and is being conflated.
    pub slow: bool,
    /// Prefix counts by family.
    pub prefixes: BTreeMap<Family, PrefixCounts>,
    /// Graceful restart.
    pub graceful_restart: RestartStatus,
    /// Prefixes that the guard of the clusters has refused in this session.
    pub refused_by_guard: u64,
    /// RFC 7606 actions taken on what this peer sent.
    pub malformed: Malformed,
    /// What is wrong now, one line each.
    pub problems: Vec<String>,
}

/// Message counters of a neighbor since it was configured.
#[derive(Debug, Clone, Copy, Default)]
pub struct Messages {
    /// Received.
    pub received: MessageCounts,
    /// Sent.
    pub sent: MessageCounts,
}

/// Messages by type.
#[derive(Debug, Clone, Copy, Default)]
pub struct MessageCounts {
    /// OPEN.
    pub open: u64,
    /// UPDATE.
    pub update: u64,
    /// NOTIFICATION.
    pub notification: u64,
    /// KEEPALIVE.
    pub keepalive: u64,
    /// ROUTE-REFRESH.
    pub route_refresh: u64,
    /// Octets of all messages.
    pub bytes: u64,
}

/// Prefixes of one family with one neighbor.
#[derive(Debug, Clone, Copy, Default)]
pub struct PrefixCounts {
    /// In the Adj-RIB-In.
    pub received: u64,
    /// Of those, usable: not rejected by policy or a loop check.
    pub accepted: u64,
    /// In the Adj-RIB-Out.
    pub advertised: u64,
    /// Of those received, of a session that has ended (RFC 4724 §4.2).
    pub stale: u64,
    /// Most that are accepted.
    pub limit: Option<u64>,
    /// Announcements dropped in this session because there were more.
    pub refused: u64,
}

/// Graceful restart with one neighbor, in words.
#[derive(Debug, Clone, Default)]
pub struct RestartStatus {
    /// What we offer; empty if nothing.
    pub offered: String,
    /// What the peer offers.
    pub received: String,
    /// What follows for both.
    pub effect: String,
    /// Stale routes.
    pub stale: Vec<StaleStatus>,
}

/// The stale routes of one family.
#[derive(Debug, Clone)]
pub struct StaleStatus {
    /// The family.
    pub family: Family,
    /// What is waited for.
    pub waiting: Waiting,
    /// They go when this is over.
    pub seconds_left: u64,
}

/// What a neighbor sent that is malformed, and the verdicts of RFC 7606 and RFC 4271 §6 on it.
#[derive(Debug, Clone, Default)]
pub struct Malformed {
    /// Routes treated as withdrawn.
    pub treat_as_withdraw: u64,
    /// Attributes discarded.
    pub attribute_discard: u64,
    /// Families disabled.
    pub afi_safi_disable: u64,
    /// Sessions reset.
    pub session_reset: u64,
    /// The last malformed message: what was wrong, in words.
    pub last: Option<String>,
    /// The attribute that was wrong, by name or number; "UPDATE" for the fields around the attributes, else the type of
    /// the message.
    pub last_attribute: Option<String>,
    /// Its value in hexadecimal (the first 256 octets).
    pub last_attribute_hex: Option<String>,
    /// The message in hexadecimal (the first 4096 octets of its body; of what is no message, as it came).
    pub last_hex: Option<String>,
}

/// The speaker as a whole.
#[derive(Debug, Clone)]
pub struct Status {
    /// Program version.
    pub version: &'static str,
    /// Own AS number.
    pub asn: u32,
    /// BGP identifier.
    pub router_id: Ipv4Addr,
    /// Cluster identifier.
    pub cluster_id: Ipv4Addr,
    /// When the daemon started.
    pub started: SystemTime,
    /// Neighbors known, configured and dynamic.
    pub neighbors: u64,
    /// Of those, Established.
    pub established: u64,
    /// Destinations and paths by family.
    pub tables: BTreeMap<Family, TableCounts>,
    /// Distinct attribute sets.
    pub attribute_sets: u64,
    /// Revision of the desired state.
    pub revision: String,
    /// Name of the document that runs.
    pub document: String,
    /// How long it waits for its confirmation, if it does.
    pub confirm_seconds_left: Option<u64>,
    /// Addresses listened on.
    pub listen: Vec<SocketAddr>,
    /// After a restart: peers whose routes are waited for before any are selected (RFC 4724 §4.1).
    pub awaited: Vec<IpAddr>,
    /// How long that takes at most.
    pub selection_deferral_seconds: u64,
    /// Connections that peers open.
    pub connections: ConnectionCounts,
}

/// Connections that peers open.
#[derive(Debug, Clone, Copy, Default)]
pub struct ConnectionCounts {
    /// Without OPEN now.
    pub pending: u64,
    /// Closed before their OPEN came because too many were pending.
    pub refused_pending: u64,
    /// Refused because too many of one address were pending.
    pub refused_pending_of_source: u64,
    /// Refused because they came too fast from one address.
    pub refused_rate: u64,
    /// Refused because a dynamic range had its limit of neighbors.
    pub refused_range: u64,
}

/// What waits for the threads of a stage.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct StageQueue {
    /// Messages that are not dealt with, of all threads together.
    pub(crate) waiting: usize,
    /// Part of the room for data that is taken at the fullest thread, from 0 to 1.
    pub(crate) fullest: f64,
}

impl StageQueue {
    /// Of threads, each with what waits and the part of its room that is taken.
    pub(super) fn over(threads: impl Iterator<Item = (usize, f64)>) -> Self {
        threads.fold(Self::default(), |all, (waiting, taken)| Self {
            waiting: all.waiting + waiting,
            fullest: all.fullest.max(taken),
        })
    }
}

/// Size of one family's table.
#[derive(Debug, Clone, Copy, Default)]
pub struct TableCounts {
    /// Destinations.
    pub prefixes: u64,
    /// Paths to them.
    pub paths: u64,
}
