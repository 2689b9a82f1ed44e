//! What differs between two settings, and what that does to sessions.
//!
//! Each table takes its struct apart field by field, so that a new field does not compile until it is classified here.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::config::desired::{
    AddPath, ConnectionLimits, DynamicNeighbors, Global, GracefulRestart, LimitAction, Neighbor, NeighborSettings,
    PrefixLimits, Secret,
};
use crate::config::{AoKey, Role};

/// What a change does to a session that is Established, from least to most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Impact {
    /// Nothing: the change is in force at once.
    None,
    /// Nothing now: the session goes on as it was negotiated, the next one has the new value.
    NextSession,
    /// Routes are selected and announced again under the new rules.
    ExportAgain,
    /// Routes are judged again by the new policy or guard, where they are.
    PolicyAgain,
    /// The peer is asked for its routes again (RFC 2918); the session is reset if it cannot be asked.
    RefreshIn,
    /// The session ends and starts anew if the peer has not said its role (RFC 9234 §4.2).
    RoleRequired,
    /// The session ends and starts anew unless its own address is the one that is wanted.
    OwnAddress,
    /// The session ends and starts anew.
    SessionReset,
}

impl fmt::Display for Impact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "no effect on sessions",
            Self::NextSession => "takes effect at the next session",
            Self::ExportAgain => "routes are announced again",
            Self::PolicyAgain => "routes are judged again",
            Self::RefreshIn => "routes are requested again",
            Self::RoleRequired => "resets the session if the peer has not said its role",
            Self::OwnAddress => "resets the session unless that is its address",
            Self::SessionReset => "resets the session",
        })
    }
}

/// One setting that changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The key in the configuration file.
    pub key: &'static str,
    /// The value that runs; secrets are hidden.
    pub from: String,
    /// The value that is wanted; secrets are hidden.
    pub to: String,
    /// What that does to a session.
    pub impact: Impact,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, from, to, .. } = self;
        if from == to { write!(f, "{key} changed") } else { write!(f, "{key} {from} -> {to}") }
    }
}

/// The greatest impact among some changes.
pub(super) fn greatest(changes: &[Change]) -> Impact {
    changes.iter().map(|change| change.impact).max().unwrap_or(Impact::None)
}

/// Collects what differs.
struct Comparison(Vec<Change>);

impl Comparison {
    fn field<T: PartialEq + Show>(&mut self, key: &'static str, impact: Impact, old: &T, new: &T) {
        if old != new {
            self.0.push(Change { key, from: old.show(), to: new.show(), impact });
        }
    }
}

pub(super) fn of_global(old: &Global, new: &Global) -> Vec<Change> {
    let Global {
        asn,
        router_id,
        cluster_id,
        listen,
        client_to_client,
        graceful_shutdown,
        always_compare_med,
        connections,
        import_policy,
        export_policy,
    } = old;
    let mut changes = Comparison(Vec::new());
    changes.field("asn", Impact::SessionReset, asn, &new.asn);
    changes.field("router-id", Impact::SessionReset, router_id, &new.router_id);
    // No OPEN has it. Routes that are in are looked through for loops again as well (RFC 4456 §8).
    changes.field("cluster-id", Impact::ExportAgain, cluster_id, &new.cluster_id);
    changes.field("listen", Impact::None, listen, &new.listen);
    changes.field("client-to-client-reflection", Impact::ExportAgain, client_to_client, &new.client_to_client);
    changes.field("graceful-shutdown", Impact::ExportAgain, graceful_shutdown, &new.graceful_shutdown);
    changes.field("always-compare-med", Impact::ExportAgain, always_compare_med, &new.always_compare_med);
    // What follows for a neighbor stands in its own settings.
    changes.field("import-policy", Impact::PolicyAgain, import_policy, &new.import_policy);
    changes.field("export-policy", Impact::PolicyAgain, export_policy, &new.export_policy);
    let ConnectionLimits { pending, pending_per_source, setup_rate } = connections;
    let new = &new.connections;
    changes.field("max-pending", Impact::None, pending, &new.pending);
    changes.field("max-pending-per-source", Impact::None, pending_per_source, &new.pending_per_source);
    changes.field("max-setup-rate", Impact::None, setup_rate, &new.setup_rate);
    changes.0
}

pub(super) fn of_neighbor(old: &Neighbor, new: &Neighbor) -> Vec<Change> {
    // The address is the key that both were found by.
    let Neighbor { address: _, port, peer_group, description, settings } = old;
    let mut changes = Comparison(Vec::new());
    changes.field("port", Impact::NextSession, port, &new.port);
    changes.field("peer-group", Impact::None, peer_group, &new.peer_group);
    changes.field("description", Impact::None, description, &new.description);
    compare_settings(&mut changes, settings, &new.settings);
    changes.0
}

pub(super) fn of_dynamic(old: &DynamicNeighbors, new: &DynamicNeighbors) -> Vec<Change> {
    let DynamicNeighbors { prefix: _, peer_group, limit, settings } = old;
    let mut changes = Comparison(Vec::new());
    changes.field("peer-group", Impact::None, peer_group, &new.peer_group);
    changes.field("limit", Impact::None, limit, &new.limit);
    compare_settings(&mut changes, settings, &new.settings);
    changes.0
}

fn compare_settings(changes: &mut Comparison, old: &NeighborSettings, new: &NeighborSettings) {
    let NeighborSettings {
        remote_asn,
        local_asn,
        route_reflector_client,
        families,
        hold_seconds,
        idle_hold,
        connect_retry,
        local_address,
        passive,
        md5_password,
        ao_keys,
        ttl_security,
        ebgp_multihop,
        next_hop_self,
        add_path,
        extended_messages,
        extended_next_hop,
        role,
        role_strict,
        reject_as_sets,
        graceful_restart,
        prefix_limits,
        import_policy,
        export_policy,
        graceful_shutdown,
        shutdown,
    } = old;
    changes.field("remote-asn", Impact::SessionReset, remote_asn, &new.remote_asn);
    changes.field("local-asn", Impact::SessionReset, local_asn, &new.local_asn);
    // Also how routes *from* this peer go to others (RFC 4456 §6).
    changes.field("route-reflector-client", Impact::ExportAgain, route_reflector_client, &new.route_reflector_client);
    changes.field("families", Impact::SessionReset, families, &new.families);
    changes.field("hold-time", Impact::NextSession, hold_seconds, &new.hold_seconds);
    changes.field("idle-hold-time", Impact::None, idle_hold, &new.idle_hold);
    changes.field("connect-retry", Impact::None, connect_retry, &new.connect_retry);
    let own = if new.local_address.is_some() { Impact::OwnAddress } else { Impact::NextSession };
    changes.field("local-address", own, local_address, &new.local_address);
    changes.field("passive", Impact::NextSession, passive, &new.passive);
    // The kernel takes another key, and other TTLs, for connections that stand.
    changes.field("md5-password", Impact::None, md5_password, &new.md5_password);
    changes.field("ao-key", Impact::SessionReset, ao_keys, &new.ao_keys);
    changes.field("ttl-security", Impact::None, ttl_security, &new.ttl_security);
    changes.field("ebgp-multihop", Impact::None, ebgp_multihop, &new.ebgp_multihop);
    changes.field("next-hop-self", Impact::ExportAgain, next_hop_self, &new.next_hop_self);
    changes.field("add-path", Impact::SessionReset, add_path, &new.add_path);
    changes.field("extended-messages", Impact::SessionReset, extended_messages, &new.extended_messages);
    changes.field("extended-next-hop", Impact::SessionReset, extended_next_hop, &new.extended_next_hop);
    changes.field("role", Impact::SessionReset, role, &new.role);
    let strict = if new.role_strict { Impact::RoleRequired } else { Impact::None };
    changes.field("role-strict", strict, role_strict, &new.role_strict);
    changes.field("reject-as-sets", Impact::RefreshIn, reject_as_sets, &new.reject_as_sets);
    compare_restart(changes, graceful_restart, &new.graceful_restart);
    compare_limits(changes, prefix_limits, &new.prefix_limits);
    changes.field("import-policy", Impact::PolicyAgain, import_policy, &new.import_policy);
    changes.field("export-policy", Impact::PolicyAgain, export_policy, &new.export_policy);
    changes.field("graceful-shutdown", Impact::ExportAgain, graceful_shutdown, &new.graceful_shutdown);
    changes.field("shutdown", Impact::SessionReset, shutdown, &new.shutdown);
}

/// What both sides keep for each other was said in their OPENs: the session goes on, the next one says it anew.
fn compare_restart(changes: &mut Comparison, old: &GracefulRestart, new: &GracefulRestart) {
    let GracefulRestart { enabled, restart_seconds, stale_path, long_lived_seconds } = old;
    changes.field("graceful-restart", Impact::NextSession, enabled, &new.enabled);
    changes.field("restart-time", Impact::NextSession, restart_seconds, &new.restart_seconds);
    changes.field("stale-path-time", Impact::None, stale_path, &new.stale_path);
    changes.field("long-lived-stale-time", Impact::NextSession, long_lived_seconds, &new.long_lived_seconds);
}

/// Routes that were dropped at the old limit are not asked for again: that is for the operator to want.
fn compare_limits(changes: &mut Comparison, old: &PrefixLimits, new: &PrefixLimits) {
    let PrefixLimits { most, warning_percent, action, restart } = old;
    changes.field("max-prefixes", Impact::None, most, &new.most);
    changes.field("max-prefixes-warning", Impact::None, warning_percent, &new.warning_percent);
    changes.field("max-prefixes-action", Impact::None, action, &new.action);
    changes.field("max-prefixes-restart-time", Impact::None, restart, &new.restart);
}

/// How a value is written in a plan.
trait Show {
    fn show(&self) -> String;
}

macro_rules! show_as_display {
    ($($type:ty),*) => { $(impl Show for $type {
        fn show(&self) -> String {
            self.to_string()
        }
    })* };
}

show_as_display!(
    bool,
    u8,
    u16,
    u32,
    usize,
    LimitAction,
    Role,
    std::net::Ipv4Addr,
    std::net::IpAddr,
    std::net::SocketAddr,
    bgp_wire::Family
);

impl Show for String {
    fn show(&self) -> String {
        format!("{self:?}")
    }
}

impl Show for Duration {
    fn show(&self) -> String {
        self.as_secs().to_string()
    }
}

impl Show for Secret {
    fn show(&self) -> String {
        format!("{self:?}")
    }
}

impl Show for AddPath {
    fn show(&self) -> String {
        match (self.receive, self.send) {
            (false, false) => "none",
            (true, false) => "receive",
            (false, true) => "send",
            (true, true) => "both",
        }
        .to_owned()
    }
}

impl Show for BTreeMap<bgp_wire::Family, u32> {
    fn show(&self) -> String {
        match self.is_empty() {
            true => "none".to_owned(),
            false => self.iter().map(|(family, seconds)| format!("{family} {seconds}")).collect::<Vec<_>>().join(", "),
        }
    }
}

impl<T: Show> Show for Option<T> {
    fn show(&self) -> String {
        self.as_ref().map_or_else(|| "none".to_owned(), Show::show)
    }
}

/// By its numbers: the key itself is not shown.
impl Show for AoKey {
    fn show(&self) -> String {
        format!("{}/{} {}", self.send_id, self.receive_id, self.algorithm)
    }
}

impl<T: Show> Show for Vec<T> {
    fn show(&self) -> String {
        format!("[{}]", self.iter().map(Show::show).collect::<Vec<_>>().join(", "))
    }
}
