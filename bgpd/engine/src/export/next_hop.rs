//! Which next hop a route has where it goes.

use bgp_wire::Family;
use bgp_wire::update::NextHop;

use crate::attr::AttrHead;
use crate::id::{Source, SourceKind};

use super::{ExportSpec, Withheld};

impl ExportSpec {
    /// The next hop that the sessions of this group are told, or `None` where there is none that
    /// they could use.
    pub(super) fn next_hop(&self, attrs: &AttrHead, source: &Source) -> Option<NextHop> {
        if self.speaks_for_itself(attrs, source) { self.own() } else { self.kept(&attrs.next_hop) }
    }

    /// Whether there is a next hop; else what is missing.
    pub(super) fn has_next_hop(&self, attrs: &AttrHead, source: &Source) -> Result<(), Withheld> {
        match self.next_hop(attrs, source) {
            Some(_) => Ok(()),
            None if self.speaks_for_itself(attrs, source) => Err(Withheld::NoNextHop),
            None => Err(Withheld::NextHopFamily),
        }
    }

    /// To eBGP peers this speaker is the next hop (RFC 4271 §5.1.3(2)), except of routes that were
    /// originated here with another one and of those that the export policy gave one.
    fn speaks_for_itself(&self, attrs: &AttrHead, source: &Source) -> bool {
        let external = self.key.external_as.is_some() && source.kind != SourceKind::Local;
        let own = (self.key.next_hop_self || external) && !attrs.local.next_hop_set();
        own || attrs.next_hop.addr().is_unspecified()
    }

    fn own(&self) -> Option<NextHop> {
        let local = &self.key.local;
        let v6 = || match (local.v6, local.v6_link_local) {
            (Some(global), link_local) => Some(NextHop::V6 { global, link_local }),
            // A session over link-local addresses: both fields have it (RFC 2545 §3 does not
            // cover it; this is what routers send and accept).
            (None, Some(only)) => Some(NextHop::V6 { global: only, link_local: Some(only) }),
            (None, None) => None,
        };
        if self.key.family == Family::IPV4_UNICAST {
            let fallback = if self.key.extended_next_hop { v6() } else { None };
            local.v4.map(NextHop::V4).or(fallback)
        } else {
            v6()
        }
    }

    /// A route reflector does not touch the next hop (RFC 4456 §10). A link-local address is good
    /// on its link only, so it does not go along with a global one (RFC 2545 §3).
    fn kept(&self, received: &NextHop) -> Option<NextHop> {
        match *received {
            NextHop::V4(_) if self.key.family == Family::IPV4_UNICAST => Some(*received),
            // An IPv4 next hop of an IPv6 route cannot be encoded (RFC 4760 §3).
            NextHop::V4(_) => None,
            NextHop::V6 { .. } if self.key.family == Family::IPV4_UNICAST && !self.key.extended_next_hop => {
                None // RFC 8950 §4
            }
            NextHop::V6 { global, .. } => Some(NextHop::V6 { global, link_local: None }),
        }
    }
}
