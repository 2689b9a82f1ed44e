//! Path attributes as the API has them, and back.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bgp_engine::attr::{AttrRef, Interner, Local, edit};
use bgp_engine::policy::AnyCommunity;
use bgp_wire::attribute::{AsPath, AsSegment, Attribute, AttributeBlock, Origin, SegmentKind, decode_value};
use bgp_wire::update::NextHop;
use bgpd_proto::v1;
use tonic::Status;

use super::{address, invalid, parsed};

/// All attributes of a set, and its next hop.
pub(in crate::api) fn attributes(set: &AttrRef) -> v1::Attributes {
    let weight = set.local.weight().into();
    let mut out = v1::Attributes { next_hop: set.next_hop.to_string(), weight, ..v1::Attributes::default() };
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

/// The set that has these attributes.
pub(in crate::api) fn interned(wanted: &v1::Attributes, interner: &Interner) -> Result<AttrRef, Status> {
    let mut all = vec![Attribute::Origin(to_origin(wanted.origin())), Attribute::AsPath(as_path(wanted)?)];
    all.extend(wanted.med.map(Attribute::MultiExitDisc));
    all.extend(wanted.local_pref.map(Attribute::LocalPref));
    all.extend(wanted.atomic_aggregate.then_some(Attribute::AtomicAggregate));
    if let Some(v1::Aggregator { asn, address }) = &wanted.aggregator {
        all.push(Attribute::Aggregator { asn: *asn, address: ipv4("aggregator", address)? });
    }
    all.extend(communities(wanted)?);
    if !wanted.originator_id.is_empty() {
        all.push(Attribute::OriginatorId(ipv4("originator_id", &wanted.originator_id)?));
    }
    if !wanted.cluster_list.is_empty() {
        let ids = wanted.cluster_list.iter().map(|id| ipv4("cluster_list", id));
        all.push(Attribute::ClusterList(ids.collect::<Result<_, _>>()?));
    }
    all.extend(wanted.aigp.map(Attribute::Aigp));
    all.extend(wanted.only_to_customer.map(Attribute::OnlyToCustomer));
    for v1::OtherAttribute { flags, code, value } in &wanted.others {
        let octet = |field, number: u32| u8::try_from(number).map_err(|_| invalid(field, "not an octet"));
        let (flags, code) = (octet("others.flags", *flags)?, octet("others.code", *code)?);
        all.push(Attribute::Unknown { flags, code, value: value.clone() });
    }
    let mut local = Local::default();
    local.set_weight(u16::try_from(wanted.weight).map_err(|_| invalid("weight", "expected 0 to 65535"))?);
    Ok(interner.intern_local(next_hop(wanted)?, AttributeBlock::from_canonical(&edit::build(&all)), local))
}

fn to_origin(origin: v1::Origin) -> Origin {
    match origin {
        v1::Origin::Igp | v1::Origin::Unspecified => Origin::Igp,
        v1::Origin::Egp => Origin::Egp,
        v1::Origin::Incomplete => Origin::Incomplete,
    }
}

fn as_path(wanted: &v1::Attributes) -> Result<AsPath, Status> {
    if wanted.as_segments.is_empty() {
        return wanted.as_path.parse().map_err(|error| invalid("as_path", error));
    }
    let segment = |segment: &v1::AsSegment| {
        let kind = u8::try_from(segment.kind).ok().and_then(SegmentKind::from_code);
        let kind = kind.ok_or_else(|| invalid("as_segments.kind", format_args!("{} is none", segment.kind)))?;
        Ok(AsSegment { kind, asns: segment.asns.clone() })
    };
    let segments = wanted.as_segments.iter().map(segment).collect::<Result<_, Status>>()?;
    Ok(AsPath { segments })
}

/// Communities of all kinds, in whichever list they stand.
fn communities(wanted: &v1::Attributes) -> Result<impl Iterator<Item = Attribute>, Status> {
    let (mut standard, mut extended, mut of_ipv6, mut large) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let all = wanted.communities.iter().chain(&wanted.large_communities).chain(&wanted.extended_communities);
    for text in all {
        match text.parse().map_err(|error| invalid("communities", error))? {
            AnyCommunity::Standard(one) => standard.push(one),
            AnyCommunity::Extended(one) => extended.push(one),
            AnyCommunity::Ipv6Extended(one) => of_ipv6.push(one),
            AnyCommunity::Large(one) => large.push(one),
        }
    }
    let standard = (!standard.is_empty()).then_some(Attribute::Communities(standard));
    let extended = (!extended.is_empty()).then_some(Attribute::ExtendedCommunities(extended));
    let large = (!large.is_empty()).then_some(Attribute::LargeCommunities(large));
    let of_ipv6 = (!of_ipv6.is_empty()).then_some(Attribute::Ipv6ExtendedCommunities(of_ipv6));
    Ok(standard.into_iter().chain(extended).chain(of_ipv6).chain(large))
}

fn next_hop(wanted: &v1::Attributes) -> Result<NextHop, Status> {
    Ok(match address("next_hop", &wanted.next_hop)? {
        IpAddr::V4(address) => NextHop::V4(address),
        IpAddr::V6(global) => {
            let text = &wanted.next_hop_link_local;
            let link_local = match text.as_str() {
                "" => None,
                _ => Some(parsed::<Ipv6Addr>("next_hop_link_local", text, "an IPv6 address")?),
            };
            NextHop::V6 { global, link_local }
        }
    })
}

fn ipv4(field: &str, text: &str) -> Result<Ipv4Addr, Status> {
    parsed(field, text, "an IPv4 address")
}

fn strings(all: &[impl ToString]) -> Vec<String> {
    all.iter().map(ToString::to_string).collect()
}
