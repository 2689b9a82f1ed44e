//! Random routes through the encoder and the decoder.

use bgp_wire::attribute::{
    AsPath, AsSegment, Attribute, AttributeBlock, Community, ExtendedCommunity, Ipv6ExtendedCommunity, LargeCommunity,
    Origin, SegmentKind, decode_value,
};
use bgp_wire::frame::{MAX_EXTENDED_LEN, MAX_LEN, MessageType, split};
use bgp_wire::nlri::{Ipv4Unicast, Ipv6Unicast, Prefix};
use bgp_wire::update::{DecodeContext, Decoder, NextHop, PathKey, UpdateEncoder};
use bgp_wire::{Family, Nlri};
use proptest::prelude::*;

/// AS numbers of both sizes. Not AS_TRANS, which stands for another one.
fn asn() -> impl Strategy<Value = u32> {
    prop_oneof![1_u32..23_456, 64_512_u32..65_535, 65_536_u32..]
}

fn as_path() -> impl Strategy<Value = AsPath> {
    let kind = prop_oneof![4 => Just(SegmentKind::Sequence), 1 => Just(SegmentKind::Set)];
    let segment = (kind, prop::collection::vec(asn(), 1..8)).prop_map(|(kind, asns)| AsSegment { kind, asns });
    // Two sequences in a row are one after a merge with AS4_PATH: not in the way of a comparison here.
    prop::collection::vec(segment, 0..4).prop_map(|mut segments| {
        segments.dedup_by(|next, last| next.kind == SegmentKind::Sequence && last.kind == SegmentKind::Sequence);
        AsPath { segments }
    })
}

fn some<T: std::fmt::Debug>(strategy: impl Strategy<Value = T>) -> impl Strategy<Value = Vec<T>> {
    prop::collection::vec(strategy, 1..40)
}

fn optional() -> impl Strategy<Value = Attribute> {
    prop_oneof![
        any::<u32>().prop_map(Attribute::MultiExitDisc),
        any::<u32>().prop_map(Attribute::LocalPref),
        Just(Attribute::AtomicAggregate),
        (asn(), any::<u32>()).prop_map(|(asn, address)| Attribute::Aggregator { asn, address: address.into() }),
        some(any::<u32>().prop_map(Community)).prop_map(Attribute::Communities),
        any::<u32>().prop_map(|id| Attribute::OriginatorId(id.into())),
        some(any::<u32>().prop_map(Into::into)).prop_map(Attribute::ClusterList),
        some(any::<[u8; 8]>().prop_map(ExtendedCommunity)).prop_map(Attribute::ExtendedCommunities),
        some(any::<[u8; 20]>().prop_map(Ipv6ExtendedCommunity)).prop_map(Attribute::Ipv6ExtendedCommunities),
        some((any::<u32>(), any::<u32>(), any::<u32>())).prop_map(|all| {
            let large = |(global, local1, local2)| LargeCommunity { global, local1, local2 };
            Attribute::LargeCommunities(all.into_iter().map(large).collect())
        }),
        any::<u64>().prop_map(Attribute::Aigp),
        any::<u32>().prop_map(Attribute::OnlyToCustomer),
        (100_u8.., prop::collection::vec(any::<u8>(), 0..300)).prop_map(|(code, value)| Attribute::Unknown {
            flags: 0xe0,
            code,
            value
        }),
    ]
}

/// Attributes in canonical form: one of each code, in order.
fn attributes() -> impl Strategy<Value = Vec<Attribute>> {
    let origin = prop_oneof![Just(Origin::Igp), Just(Origin::Egp), Just(Origin::Incomplete)];
    (origin, as_path(), prop::collection::vec(optional(), 0..8)).prop_map(|(origin, path, mut all)| {
        all.extend([Attribute::Origin(origin), Attribute::AsPath(path)]);
        all.sort_by_key(Attribute::code);
        all.dedup_by_key(|attribute| attribute.code());
        all
    })
}

fn keys<const N: usize>(add_path: bool) -> impl Strategy<Value = Vec<PathKey<Prefix<N>>>> {
    let key = (any::<[u8; N]>(), 0_u8..=N as u8 * 8, any::<u32>()).prop_map(move |(address, len, path_id)| PathKey {
        key: Prefix::new(address, len),
        path_id: if add_path { path_id } else { 0 },
    });
    prop::collection::vec(key, 1..600)
}

fn next_hop6() -> impl Strategy<Value = NextHop> {
    (any::<u128>(), prop::option::of(any::<u64>())).prop_map(|(global, link_local)| NextHop::V6 {
        global: global.into(),
        link_local: link_local.map(|host| (0xfe80_u128 << 112 | u128::from(host)).into()),
    })
}

fn encoder() -> impl Strategy<Value = UpdateEncoder> {
    (any::<bool>(), any::<bool>()).prop_map(|(extended, four_octet_as)| UpdateEncoder {
        max_len: if extended { MAX_EXTENDED_LEN } else { MAX_LEN },
        four_octet_as,
    })
}

fn context(encoder: UpdateEncoder, add_path: bool) -> DecodeContext {
    let families = vec![Family::IPV4_UNICAST, Family::IPV6_UNICAST];
    DecodeContext {
        four_octet_as: encoder.four_octet_as,
        add_path: if add_path { families.clone() } else { vec![] },
        extended_next_hop: vec![Family::IPV4_UNICAST],
        families,
        ..DecodeContext::default()
    }
}

fn block(attributes: &[Attribute]) -> Vec<u8> {
    let mut bytes = Vec::new();
    attributes.iter().for_each(|attribute| attribute.encode(&mut bytes));
    bytes
}

/// Announces and withdraws `keys`; they must come back in order and with the same attributes.
fn survives<N: Nlri>(
    encoder: UpdateEncoder,
    attributes: &[Attribute],
    next_hop: NextHop,
    add_path: bool,
    keys: &[PathKey<N::Key>],
) {
    let (mut bytes, canonical) = (Vec::new(), block(attributes));
    encoder
        .reach::<N>(AttributeBlock::from_canonical(&canonical), &next_hop, add_path, keys, &mut bytes)
        .expect("the attributes leave room");
    encoder.unreach::<N>(add_path, keys, &mut bytes);
    let (mut decoder, context) = (Decoder::new(), context(encoder, add_path));
    let (mut reached, mut withdrawn) = (Vec::new(), Vec::new());
    let mut rest = bytes.as_slice();
    while let Some(frame) = split(rest, encoder.max_len).expect("valid") {
        assert_eq!(frame.kind, MessageType::Update);
        rest = &rest[frame.raw.len()..];
        let update = decoder.decode(frame.body, &context).expect("valid");
        assert_eq!(update.faults, []);
        let announced = update.mp_reach.map_or(update.nlri, |reach| reach.nlri);
        if !announced.is_empty() {
            assert_eq!(update.attributes.bytes(), canonical);
            assert_eq!(update.mp_reach.map(|reach| reach.next_hop).or(update.next_hop), Some(next_hop));
            reached.extend(announced.iter::<N>());
        }
        let unreached = update.mp_unreach.unwrap_or(update.withdrawn);
        if !unreached.is_empty() {
            withdrawn.extend(unreached.iter::<N>());
        }
    }
    assert!(rest.is_empty());
    assert_eq!((reached.as_slice(), withdrawn.as_slice()), (keys, keys));
}

proptest! {
    #[test]
    fn ipv4_routes_survive_the_wire(
        (encoder, attributes, next_hop) in (encoder(), attributes(), 0x0100_0000_u32..0x7f00_0000),
        (add_path, keys) in any::<bool>().prop_flat_map(|add_path| (Just(add_path), keys::<4>(add_path))),
    ) {
        survives::<Ipv4Unicast>(encoder, &attributes, NextHop::V4(next_hop.into()), add_path, &keys);
    }

    #[test]
    fn ipv4_routes_with_ipv6_next_hops_survive_the_wire(
        (encoder, attributes, next_hop) in (encoder(), attributes(), next_hop6()),
        (add_path, keys) in any::<bool>().prop_flat_map(|add_path| (Just(add_path), keys::<4>(add_path))),
    ) {
        survives::<Ipv4Unicast>(encoder, &attributes, next_hop, add_path, &keys);
    }

    #[test]
    fn ipv6_routes_survive_the_wire(
        (encoder, attributes, next_hop) in (encoder(), attributes(), next_hop6()),
        (add_path, keys) in any::<bool>().prop_flat_map(|add_path| (Just(add_path), keys::<16>(add_path))),
    ) {
        survives::<Ipv6Unicast>(encoder, &attributes, next_hop, add_path, &keys);
    }

    #[test]
    fn typed_attributes_survive_their_canonical_form(attributes in attributes()) {
        let bytes = block(&attributes);
        let again = AttributeBlock::from_canonical(&bytes)
            .iter()
            .map(|raw| decode_value(raw.flags, raw.code, raw.value))
            .collect::<Result<Vec<_>, _>>();
        prop_assert_eq!(again, Ok(attributes));
    }
}
