//! What makes a received path unusable before any policy is asked.

use std::net::IpAddr;

use bgp_wire::attribute::{as_path, code};
use bgp_wire::update::NextHop;

use crate::attr::AttrRef;
use crate::stage::Rejection;

use super::IntakeSettings;

/// Whether a path with these attributes may take part in the decision process.
pub(super) fn check(attrs: &AttrRef, settings: &IntakeSettings) -> Result<(), Rejection> {
    let block = attrs.block();
    // RFC 4271 §9.1.2: a path with the own AS in it is a loop, on iBGP too.
    if block.get(code::AS_PATH).is_some_and(|path| as_path::contains(path, settings.own_asn)) {
        return Err(Rejection::AsLoop);
    }
    if attrs.digest.originator_id == Some(settings.router_id) {
        return Err(Rejection::OriginatorLoop); // RFC 4456 §8
    }
    let clusters = block.get(code::CLUSTER_LIST).unwrap_or_default();
    if clusters.chunks_exact(4).any(|id| id == settings.cluster_id.octets()) {
        return Err(Rejection::ClusterLoop); // RFC 4456 §8
    }
    next_hop(&attrs.next_hop, settings)
}

/// RFC 4271 §6.3: the next hop must be a host address and not this speaker's own.
fn next_hop(next_hop: &NextHop, settings: &IntakeSettings) -> Result<(), Rejection> {
    let address = next_hop.addr();
    if settings.own_addresses.contains(&address) {
        return Err(Rejection::NextHopSelf);
    }
    let martian = match address {
        IpAddr::V4(v4) => {
            // 0.0.0.0/8, 127.0.0.0/8, and 224.0.0.0 up: classes D and E.
            matches!(v4.octets()[0], 0 | 127 | 224..)
        }
        IpAddr::V6(v6) => v6.is_unspecified() || v6.is_loopback() || v6.is_multicast(),
    };
    if martian { Err(Rejection::NextHopMartian) } else { Ok(()) }
}
