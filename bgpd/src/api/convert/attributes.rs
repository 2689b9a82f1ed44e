//! Path attributes as the API has them.

use bgp_engine::attr::AttrRef;
use bgp_wire::attribute::{Attribute, Origin, decode_value};
use bgp_wire::update::NextHop;
use bgpd_proto::v1;

/// All attributes of a set, and its next hop.
pub(in crate::api) fn attributes(set: &AttrRef) -> v1::Attributes {
    let mut out = v1::Attributes { next_hop: set.next_hop.to_string(), ..v1::Attributes::default() };
    if let NextHop::V6 { link_local: Some(address), .. } = set.next_hop {
        out.next_hop_link_local = address.to_string();
    }
    for raw in set.block().iter() {
        match decode_value(raw.flags, raw.code, raw.value) {
            Ok(attribute) => put(&mut out, attribute),
            // What is in a table has been checked; if it is wrong all the same it is better seen than lost.
            Err(_) => out.others.push(v1::OtherAttribute {
                flags: raw.flags.into(),
                code: raw.code.into(),
                value: raw.value.to_vec(),
            }),
        }
    }
    out
}

fn put(out: &mut v1::Attributes, attribute: Attribute) {
    match attribute {
        Attribute::Origin(origin) => out.origin = from_origin(origin).into(),
        Attribute::AsPath(path) => {
            out.as_path = path.to_string();
            let segment = |segment: bgp_wire::attribute::AsSegment| v1::AsSegment {
                kind: segment.kind.code().into(),
                asns: segment.asns,
            };
            out.as_segments = path.segments.into_iter().map(segment).collect();
        }
        Attribute::NextHop(address) => out.next_hop = address.to_string(),
        Attribute::MultiExitDisc(med) => out.med = Some(med),
        Attribute::LocalPref(local_pref) => out.local_pref = Some(local_pref),
        Attribute::AtomicAggregate => out.atomic_aggregate = true,
        Attribute::Aggregator { asn, address } => {
            out.aggregator = Some(v1::Aggregator { asn, address: address.to_string() });
        }
        Attribute::Communities(all) => out.communities = strings(&all),
        Attribute::OriginatorId(address) => out.originator_id = address.to_string(),
        Attribute::ClusterList(all) => out.cluster_list = strings(&all),
        Attribute::ExtendedCommunities(all) => out.extended_communities = strings(&all),
        Attribute::Ipv6ExtendedCommunities(all) => out.extended_communities.extend(strings(&all)),
        Attribute::LargeCommunities(all) => out.large_communities = strings(&all),
        Attribute::Aigp(metric) => out.aigp = Some(metric),
        Attribute::OnlyToCustomer(asn) => out.only_to_customer = Some(asn),
        Attribute::Unknown { flags, code, value } => {
            out.others.push(v1::OtherAttribute { flags: flags.into(), code: code.into(), value });
        }
    }
}

fn from_origin(origin: Origin) -> v1::Origin {
    match origin {
        Origin::Igp => v1::Origin::Igp,
        Origin::Egp => v1::Origin::Egp,
        Origin::Incomplete => v1::Origin::Incomplete,
    }
}

fn strings(all: &[impl ToString]) -> Vec<String> {
    all.iter().map(ToString::to_string).collect()
}
