//! What makes a received path unusable before any policy is asked.

use std::net::IpAddr;

use bgp_wire::attribute::{as_path, code};
use bgp_wire::update::NextHop;

use crate::attr::{AttrRef, Interner};
use crate::stage::Rejection;

use super::IntakeSettings;

/// Whether a path with these attributes may take part in the decision process, whatever its [`crate::stage::Import`] says.
pub(super) fn check(attrs: &AttrRef, settings: &IntakeSettings) -> Result<(), Rejection> {
    let block = attrs.block();
    // RFC 4271 §9.1.2: a path with the own AS in it is a loop, on iBGP too.
    if block.get(code::AS_PATH).is_some_and(|path| as_path::contains(path, settings.own_asn)) {
        return Err(Rejection::AsLoop);
    }
    if attrs.digest.originator_id == Some(settings.router_id) {
        return Err(Rejection::OriginatorLoop); // RFC 4456 §8
    }
    // RFC 9234 §5: a route that is for customers only and comes from a customer, or from a peer that is not the one who
    // marked it.
    if let Some((role, from)) = settings.role
        && only_to_customer(attrs).is_some_and(|otc| role.is_leak(otc, from))
    {
        return Err(Rejection::RouteLeak);
    }
    next_hop(&attrs.next_hop, &settings.own_addresses)
}

fn only_to_customer(attrs: &AttrRef) -> Option<u32> {
    let value = attrs.block().get(code::ONLY_TO_CUSTOMER)?;
    value.first_chunk().copied().map(u32::from_be_bytes)
}

/// What comes from a provider, a peer or a route server is for customers only from here on: it is marked with the AS that
/// it comes from (RFC 9234 §5). `None` where it stays as it is.
pub(super) fn marked(attrs: &AttrRef, settings: &IntakeSettings, interner: &Interner) -> Option<AttrRef> {
    match settings.role {
        Some((role, from)) if role.is_below_or_beside() && only_to_customer(attrs).is_none() => {
            Some(interner.only_to_customer(attrs, from))
        }
        _ => None,
    }
}

/// RFC 4271 §6.3: the next hop must be a host address, in MP_REACH_NLRI as well, and not this speaker's own.
fn next_hop(next_hop: &NextHop, own_addresses: &[IpAddr]) -> Result<(), Rejection> {
    if own_addresses.contains(&next_hop.addr()) {
        return Err(Rejection::NextHopSelf);
    }
    if next_hop.is_host() { Ok(()) } else { Err(Rejection::NextHopMartian) }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    #[test]
    fn a_next_hop_is_a_host_and_not_this_speaker() {
        // RFC 4271 §6.3.
        let (v4, v6) = (Ipv4Addr::new(192, 0, 2, 1), Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1));
        let own = [v4.into(), v6.into()];
        let of = |global| NextHop::V6 { global, link_local: None };
        assert_eq!(next_hop(&NextHop::V4(v4), &own), Err(Rejection::NextHopSelf));
        assert_eq!(next_hop(&of(v6), &own), Err(Rejection::NextHopSelf));
        assert_eq!(next_hop(&NextHop::V4(Ipv4Addr::new(192, 0, 2, 2)), &own), Ok(()));
        assert_eq!(next_hop(&of(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2)), &own), Ok(()));
        assert_eq!(next_hop(&of(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1)), &own), Err(Rejection::NextHopMartian));
    }
}
