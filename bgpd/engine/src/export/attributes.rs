//! How attributes look on their way out (RFC 4271 §5, RFC 4456 §8).

use bgp_wire::attribute::{Community, as_path, code};
use bgp_wire::update::NextHop;

use crate::attr::AttrRef;
use crate::attr::edit::{self, Edit};
use crate::config::Role;
use crate::id::{Source, SourceKind};

use super::ExportSpec;

/// LOCAL_PREF where nobody said otherwise.
const DEFAULT_LOCAL_PREF: u32 = 100;

impl ExportSpec {
    /// Appends the attributes of a route as this group's sessions see them, without the next hop,
    /// and returns the next hop: `None` for a route that [`ExportSpec::evaluate`] withholds for
    /// want of one.
    pub fn outgoing(&self, attrs: &AttrRef, source: &Source, out: &mut Vec<u8>) -> Option<NextHop> {
        let next_hop = self.next_hop(attrs, source)?;
        match self.key.external_as {
            Some(asn) => self.to_external(attrs, source, asn, out),
            None => self.to_internal(attrs, source, out),
        }
        Some(next_hop)
    }

    /// RFC 4271 §5.1.5: LOCAL_PREF is in every UPDATE to an internal peer. RFC 4456 §8: reflected
    /// routes have ORIGINATOR_ID, set by the first reflector, and this cluster first in
    /// CLUSTER_LIST.
    fn to_internal(&self, attrs: &AttrRef, source: &Source, out: &mut Vec<u8>) {
        // RFC 9494 §4.6: to those who do not know what it is, a long-lived stale route goes with the least preference,
        // and so that it does not leave the AS.
        let disguised = attrs.digest.scope.llgr_stale && !self.key.long_lived;
        let added = [(disguised, Community::NO_EXPORT), (self.shutting_down, Community::GRACEFUL_SHUTDOWN)];
        let add = |value: &[u8], out: &mut Vec<u8>| edit::add_communities(value, &added, out);
        let (local_pref, communities) = match attrs.digest.local_pref {
            // RFC 8326 §4: not all peers read the community on iBGP, but all read LOCAL_PREF.
            _ if disguised || self.shutting_down => (Edit::set_u32(0), Edit::Append(&add)),
            Some(_) => (Edit::Keep, Edit::Keep),
            None => (Edit::set_u32(DEFAULT_LOCAL_PREF), Edit::Keep),
        };
        let edits = [(code::LOCAL_PREF, local_pref), (code::COMMUNITIES, communities)];
        let reflected = matches!(source.kind, SourceKind::Client | SourceKind::NonClient);
        if !reflected {
            edit::rewrite(attrs.bytes(), &edits, out);
            return;
        }
        let [local_pref, communities] = edits;
        let originator = match attrs.digest.originator_id {
            Some(_) => Edit::Keep,
            None => Edit::set_u32(source.router_id.into()),
        };
        let edits = [
            local_pref,
            communities,
            (code::ORIGINATOR_ID, originator),
            (code::CLUSTER_LIST, self.key.cluster_id.map_or(Edit::Keep, |own| Edit::prefix_u32(own.into()))),
        ];
        edit::rewrite(attrs.bytes(), &edits, out);
    }

    /// RFC 4271 §5.1.2: the own AS goes in front. LOCAL_PREF (§5.1.5), ORIGINATOR_ID, CLUSTER_LIST
    /// (RFC 4456 §8) and AIGP (RFC 7311 §3.4) stay in the AS, and so does MED that came from inside
    /// (RFC 4271 §5.1.4) and not from the export policy, non-transitive extended communities (RFC 4360 §6), tunnels
    /// (RFC 9012 §11) and segment identifiers (RFC 8669 §5).
    fn to_external(&self, attrs: &AttrRef, source: &Source, asn: u32, out: &mut Vec<u8>) {
        let own = asn.to_be_bytes();
        let added = [(self.shutting_down, Community::GRACEFUL_SHUTDOWN)];
        let add = |value: &[u8], out: &mut Vec<u8>| edit::add_communities(value, &added, out);
        let communities = if self.shutting_down { Edit::Append(&add) } else { Edit::Keep };
        let is_own = source.kind == SourceKind::Local || attrs.local.med_set();
        let med = if is_own { Edit::Keep } else { Edit::Remove };
        // RFC 9234 §5: marked by the first who sends it down or sideways.
        let mark = |value: &[u8], out: &mut Vec<u8>| {
            out.extend_from_slice(if value.is_empty() { &own } else { value });
        };
        let otc = if self.key.role.is_some_and(Role::is_above_or_beside) { Edit::Append(&mark) } else { Edit::Keep };
        let prepend = |value: &[u8], out: &mut Vec<u8>| as_path::prepend(value, asn, 1, out);
        let edits = [
            (code::AS_PATH, Edit::Map(&prepend)),
            (code::MULTI_EXIT_DISC, med),
            (code::LOCAL_PREF, Edit::Remove),
            (code::COMMUNITIES, communities),
            (code::ORIGINATOR_ID, Edit::Remove),
            (code::CLUSTER_LIST, Edit::Remove),
            (code::EXTENDED_COMMUNITIES, Edit::Map(&transitive_communities)),
            (code::TUNNEL_ENCAPSULATION, Edit::Remove),
            (code::AIGP, Edit::Remove),
            (code::ONLY_TO_CUSTOMER, otc),
            (code::PREFIX_SID, Edit::Remove),
        ];
        edit::rewrite(attrs.bytes(), &edits, out);
    }
}

/// Bit 6 of the type says non-transitive across ASes (RFC 4360 §2).
fn transitive_communities(value: &[u8], out: &mut Vec<u8>) {
    for community in value.chunks_exact(8).filter(|community| community[0] & 0x40 == 0) {
        out.extend_from_slice(community);
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use bgp_wire::Family;
    use bgp_wire::attribute::{AsPath, Attribute, AttributeBlock, Origin};

    use super::*;
    use crate::attr::Interner;
    use crate::export::ExportKey;
    use crate::id::PeerIndex;
    use crate::policy::Policy;

    fn sent(external_as: Option<u32>, kind: SourceKind, attributes: &[Attribute]) -> Vec<u8> {
        sent_by(ExportKey { external_as, ..ExportKey::loc_rib(Family::IPV4_UNICAST) }, kind, attributes)
    }

    fn sent_by(key: ExportKey, kind: SourceKind, attributes: &[Attribute]) -> Vec<u8> {
        let cluster_id = Ipv4Addr::new(10, 0, 0, 100);
        let local = crate::export::LocalAddresses::of(cluster_id.into());
        let key = ExportKey { cluster_id: Some(cluster_id), local, ..key };
        let next_hop = NextHop::V4(Ipv4Addr::new(192, 0, 2, 1));
        let bytes = edit::build(attributes);
        let attrs = Interner::new(1).intern(next_hop, AttributeBlock::from_canonical(&bytes));
        let source = Source { peer: PeerIndex(1), router_id: Ipv4Addr::new(10, 0, 0, 1), kind };
        let mut out = Vec::new();
        assert!(ExportSpec::new(key, Policy::AcceptAll).outgoing(&attrs, &source, &mut out).is_some());
        out
    }

    fn path(asns: &[u32]) -> Attribute {
        Attribute::AsPath(AsPath::sequence(asns))
    }

    #[test]
    fn a_reflected_route_names_its_originator_and_this_cluster() {
        // RFC 4456 §8
        let received = [Attribute::Origin(Origin::Igp), path(&[65_001]), Attribute::LocalPref(200)];
        let mut expected = received.to_vec();
        expected.push(Attribute::OriginatorId(Ipv4Addr::new(10, 0, 0, 1)));
        expected.push(Attribute::ClusterList(vec![Ipv4Addr::new(10, 0, 0, 100)]));
        assert_eq!(sent(None, SourceKind::Client, &received), edit::build(&expected));
    }

    #[test]
    fn a_long_lived_stale_route_is_the_last_choice_of_those_who_do_not_know_it() {
        // RFC 9494 §4.6
        let origin = [Attribute::Origin(Origin::Igp), path(&[65_001])];
        let communities = |list: &[Community]| Attribute::Communities(list.to_vec());
        let stale = [&origin[..], &[Attribute::LocalPref(200), communities(&[Community::LLGR_STALE])]].concat();
        let disguise = [Attribute::LocalPref(0), communities(&[Community::LLGR_STALE, Community::NO_EXPORT])];
        let key = |long_lived| ExportKey { long_lived, ..ExportKey::loc_rib(Family::IPV4_UNICAST) };
        let expected = edit::build(&[&origin[..], &disguise].concat());
        assert_eq!(sent_by(key(false), SourceKind::External, &stale), expected);
        assert_eq!(sent_by(key(true), SourceKind::External, &stale), edit::build(&stale));
    }

    #[test]
    fn a_route_is_marked_for_customers_by_the_first_who_sends_it_down() {
        // RFC 9234 §5, egress 1: what is marked already keeps its mark.
        let origin = [Attribute::Origin(Origin::Igp), path(&[])];
        let (own, other) = (Attribute::OnlyToCustomer(65_000), Attribute::OnlyToCustomer(65_009));
        let sent_as = |role, attributes: &[Attribute]| {
            let key = ExportKey { external_as: Some(65_000), role, ..ExportKey::loc_rib(Family::IPV4_UNICAST) };
            sent_by(key, SourceKind::Local, attributes)
        };
        let path_out = [Attribute::Origin(Origin::Igp), path(&[65_000])];
        let expected = |mark: &[Attribute]| edit::build(&[&path_out[..], mark].concat());
        for role in [Role::Provider, Role::Peer, Role::RouteServer] {
            assert_eq!(sent_as(Some(role), &origin), expected(std::slice::from_ref(&own)), "{role}");
        }
        let marked = [&origin[..], std::slice::from_ref(&other)].concat();
        assert_eq!(sent_as(Some(Role::Provider), &marked), expected(std::slice::from_ref(&other)));
        assert_eq!(sent_as(Some(Role::Customer), &origin), expected(&[]));
        assert_eq!(sent_as(None, &origin), expected(&[]));
    }

    #[test]
    fn an_ebgp_peer_sees_the_own_as_first_and_nothing_internal() {
        // RFC 4271 §5.1.2, §5.1.4, §5.1.5
        let origin = Attribute::Origin(Origin::Igp);
        let unknown = |code: u8| Attribute::Unknown { flags: 0xc0, code, value: vec![0, 1, 0, 0] };
        let internal = [Attribute::MultiExitDisc(5), Attribute::LocalPref(200)];
        // RFC 9012 §11, RFC 8669 §5
        let of_the_domain = [unknown(code::TUNNEL_ENCAPSULATION), unknown(code::PREFIX_SID)];
        let received = [&[origin.clone(), path(&[65_001])][..], &internal, &of_the_domain].concat();
        let expected = [origin, path(&[65_000, 65_001])];
        assert_eq!(sent(Some(65_000), SourceKind::Client, &received), edit::build(&expected));
    }
}
