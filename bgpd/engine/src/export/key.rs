//! What makes two sessions members of the same update group.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bgp_wire::Family;

use crate::config::{AddPath, Global, NeighborSettings, Role};
use crate::policy::{Direction, Library, UnknownPolicy};

use super::ExportSpec;

/// Addresses of this end of a session, as far as they can be next hops.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct LocalAddresses {
    /// IPv4.
    pub v4: Option<Ipv4Addr>,
    /// IPv6, global scope.
    pub v6: Option<Ipv6Addr>,
    /// IPv6, link-local, where the peer is on the link (RFC 2545 §3).
    pub v6_link_local: Option<Ipv6Addr>,
}

impl LocalAddresses {
    /// The one address that a TCP connection shows.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(v4) => Self { v4: Some(v4), ..Self::default() },
            IpAddr::V6(v6) if v6.is_unicast_link_local() => Self { v6_link_local: Some(v6), ..Self::default() },
            IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
                Some(v4) => Self { v4: Some(v4), ..Self::default() },
                None => Self { v6: Some(v6), ..Self::default() },
            },
        }
    }
}

/// What a session negotiated, as far as outgoing UPDATEs depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionFacts {
    /// eBGP.
    pub external: bool,
    /// AS numbers have four octets (RFC 6793).
    pub four_octet_as: bool,
    /// Messages may have up to 65535 octets (RFC 8654).
    pub extended_messages: bool,
    /// We send several paths per prefix in this family (RFC 7911).
    pub add_path: bool,
    /// IPv4 routes may have an IPv6 next hop (RFC 8950).
    pub extended_next_hop: bool,
    /// The peer knows what long-lived stale routes of this family are (RFC 9494 §4.3).
    pub long_lived: bool,
    /// This end of the session.
    pub local: LocalAddresses,
}

/// Everything that the bytes or the set of routes sent to a session depend on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ExportKey {
    /// The family.
    pub family: Family,
    /// eBGP session: `Some` with the AS that is prepended (RFC 4271 §5.1.2).
    pub external_as: Option<u32>,
    /// The members are clients of this route reflector (RFC 4456 §6).
    pub client: bool,
    /// Routes of clients are reflected to clients.
    pub client_to_client: bool,
    /// What is prepended to CLUSTER_LIST (RFC 4456 §8); none on eBGP, where there is no such list.
    pub cluster_id: Option<Ipv4Addr>,
    /// This speaker is the next hop of everything.
    pub next_hop_self: bool,
    /// What "this speaker" is as a next hop.
    pub local: LocalAddresses,
    /// AS numbers have four octets.
    pub four_octet_as: bool,
    /// Longest message, header included.
    pub max_message_len: usize,
    /// Several paths per prefix.
    pub add_path: bool,
    /// IPv4 routes may have an IPv6 next hop.
    pub extended_next_hop: bool,
    /// The members know what long-lived stale routes are (RFC 9494 §4.3).
    pub long_lived: bool,
    /// What this speaker is to the members (RFC 9234).
    pub role: Option<Role>,
    /// Names of the export policies; `None` is the default of RFC 8212.
    pub policy: Option<Vec<String>>,
}

impl ExportKey {
    /// The key of a session. `settings` is taken apart completely, so that a new setting does not
    /// compile until somebody decides whether it splits groups.
    #[must_use]
    pub fn new(global: &Global, settings: &NeighborSettings, family: Family, facts: &SessionFacts) -> Self {
        let NeighborSettings {
            local_asn,
            route_reflector_client,
            next_hop_self,
            export_policy,
            role,
            // Offers: what counts is what was negotiated, in `facts`.
            families: _,
            add_path: AddPath { receive: _, send: _ },
            extended_messages: _,
            extended_next_hop: _,
            graceful_restart: _,
            // The AS of the peer shows in nothing that is sent.
            remote_asn: _,
            // The session and its transport.
            hold_seconds: _,
            idle_hold: _,
            connect_retry: _,
            local_address: _,
            passive: _,
            md5_password: _,
            ao_keys: _,
            ttl_security: _,
            ebgp_multihop: _,
            // Members of a group that are shut down gracefully have an encoding of their own.
            graceful_shutdown: _,
            shutdown: _,
            // What is received.
            reject_as_sets: _,
            role_strict: _,
            import_policy: _,
            prefix_limits: _,
        } = settings;
        let internal = !facts.external;
        Self {
            family,
            external_as: facts.external.then(|| local_asn.unwrap_or(global.asn)),
            client: internal && *route_reflector_client,
            client_to_client: global.client_to_client,
            cluster_id: internal.then_some(global.cluster_id),
            next_hop_self: *next_hop_self,
            local: facts.local,
            four_octet_as: facts.four_octet_as,
            max_message_len: max_message_len(facts.extended_messages),
            add_path: facts.add_path,
            extended_next_hop: facts.extended_next_hop,
            long_lived: facts.long_lived,
            role: role.filter(|_| facts.external),
            policy: export_policy.clone(),
        }
    }

    /// The spec of groups with this key.
    ///
    /// # Errors
    /// A policy name that does not exist.
    pub fn resolve(self, library: &Library) -> Result<ExportSpec, UnknownPolicy> {
        let policy = library.resolve(self.policy.as_deref(), self.external_as.is_some(), Direction::Export)?;
        Ok(ExportSpec::new(self, policy))
    }

    pub(super) fn loc_rib(family: Family) -> Self {
        Self {
            family,
            external_as: None,
            client: true,
            client_to_client: true,
            cluster_id: None,
            next_hop_self: false,
            local: LocalAddresses::default(),
            four_octet_as: true,
            max_message_len: max_message_len(true),
            add_path: false,
            extended_next_hop: true,
            long_lived: true,
            role: None,
            policy: None,
        }
    }
}

fn max_message_len(extended: bool) -> usize {
    if extended { bgp_wire::frame::MAX_EXTENDED_LEN } else { bgp_wire::frame::MAX_LEN }
}
