//! Peers with 2-octet AS numbers (RFC 6793 §4.2.3).

use bgp_wire::attribute::{Attribute, decode_value};
use bgp_wire::update::{DecodeContext, FaultReason};

use crate::message::*;

fn two_octets() -> DecodeContext {
    DecodeContext { four_octet_as: false, ..internal() }
}

/// The AS_PATH, as text, of an announcement with these attributes instead of AS_PATH.
fn path(attributes: &[&[u8]]) -> String {
    let all = [&[ORIGIN, NEXT_HOP], attributes].concat();
    decoded(&body(&[], &all, PREFIX), &two_octets(), |update| {
        assert!(!update.treat_as_withdraw);
        decode_value(WELL_KNOWN, 2, update.attributes.get(2).expect("AS_PATH")).expect("valid").to_string()
    })
}

/// A value of one segment for each slice, with `width` octets each.
fn segments(width: usize, segments: &[(u8, &[u32])]) -> Vec<u8> {
    let mut value = Vec::new();
    for (kind, asns) in segments {
        value.extend_from_slice(&[*kind, asns.len() as u8]);
        asns.iter().for_each(|asn| value.extend_from_slice(&asn.to_be_bytes()[4 - width..]));
    }
    value
}

fn as_path(all: &[(u8, &[u32])]) -> Vec<u8> {
    attribute(WELL_KNOWN, 2, &segments(2, all))
}

fn as4_path(all: &[(u8, &[u32])]) -> Vec<u8> {
    attribute(TRANSITIVE, 17, &segments(4, all))
}

#[test]
fn two_octet_path_becomes_one_of_four() {
    assert_eq!(path(&[&as_path(&[(2, &[65_001, 23_456]), (1, &[7, 8])])]), "65001 23456 {7,8}");
}

#[test]
fn leading_ases_come_from_as_path_and_the_others_from_as4_path() {
    // RFC 6793 §4.2.3.
    let old = as_path(&[(2, &[65_001, 23_456, 23_456])]);
    assert_eq!(path(&[&old, &as4_path(&[(2, &[4_200_000_001, 4_200_000_002])])]), "65001 4200000001 4200000002");
}

#[test]
fn as4_path_that_is_longer_is_ignored() {
    // RFC 6793 §4.2.3.
    assert_eq!(path(&[&as_path(&[(2, &[65_001])]), &as4_path(&[(2, &[1, 2])])]), "65001");
}

#[test]
fn sets_count_as_one_as() {
    // RFC 6793 §4.2.3; RFC 4271 §9.1.2.2(a).
    let old = as_path(&[(2, &[1, 2]), (1, &[3, 4, 5])]);
    assert_eq!(path(&[&old, &as4_path(&[(1, &[70_003, 70_004])])]), "1 2 {70003,70004}");
    assert_eq!(path(&[&old, &as4_path(&[(2, &[70_002]), (1, &[70_003])])]), "1 70002 {70003}");
}

#[test]
fn confederation_segments_of_as4_path_are_ignored() {
    // RFC 6793 §3.
    let old = as_path(&[(2, &[1, 2])]);
    assert_eq!(path(&[&old, &as4_path(&[(3, &[9]), (2, &[70_002])])]), "1 70002");
}

#[test]
fn malformed_as4_path_is_dropped() {
    // RFC 6793 §6.
    let old = as_path(&[(2, &[1, 23_456])]);
    assert_eq!(path(&[&old, &attribute(TRANSITIVE, 17, &[2, 9, 0])]), "1 23456");
    assert_eq!(path(&[&old, &as4_path(&[(2, &[0])])]), "1 23456", "AS 0, RFC 7607 §2");
}

#[test]
fn as_set_in_as4_path_withdraws_the_routes_where_that_is_wanted() {
    // RFC 9774 §3.
    let (old, new) = (as_path(&[(2, &[1, 23_456])]), as4_path(&[(1, &[70_000])]));
    let message = body(&[], &[ORIGIN, &old, NEXT_HOP, &new], PREFIX);
    clean(&message, &two_octets());
    let strict = DecodeContext { reject_as_sets: true, ..two_octets() };
    assert_eq!(withdraw(&message, &strict), (Some(17), FaultReason::AsSet));
}

#[test]
fn aggregator_with_a_real_as_makes_both_as4_attributes_stale() {
    // RFC 6793 §4.2.3: somebody who knows two octets only has aggregated.
    let old = as_path(&[(2, &[65_001, 23_456])]);
    let (new, as4_aggregator) =
        (as4_path(&[(2, &[70_000])]), attribute(TRANSITIVE, 18, &[0, 1, 0x11, 0x70, 10, 0, 0, 9]));
    let aggregator = |asn: u16| attribute(TRANSITIVE, 7, &[&asn.to_be_bytes()[..], &[10, 0, 0, 1]].concat());
    let stale = [old.as_slice(), &new, &aggregator(65_001), &as4_aggregator];
    assert_eq!(path(&stale), "65001 23456");
    let fresh = [old.as_slice(), &new, &aggregator(23_456), &as4_aggregator];
    assert_eq!(path(&fresh), "65001 70000");
    for (attributes, expected) in [(stale, (65_001, [10, 0, 0, 1])), (fresh, (70_000, [10, 0, 0, 9]))] {
        let all = [&[ORIGIN, NEXT_HOP], &attributes[..]].concat();
        let found = decoded(&body(&[], &all, PREFIX), &two_octets(), |update| {
            decode_value(TRANSITIVE, 7, update.attributes.get(7).expect("AGGREGATOR"))
        });
        assert_eq!(found, Ok(Attribute::Aggregator { asn: expected.0, address: expected.1.into() }));
    }
}

#[test]
fn aggregator_of_a_two_octet_peer_has_six_octets() {
    // RFC 7606 §7.7.
    let wrong = attribute(TRANSITIVE, 7, &[0, 0, 0xfd, 0xe9, 10, 0, 0, 1]);
    let old = as_path(&[(2, &[1])]);
    let message = body(&[], &[ORIGIN, &old, NEXT_HOP, &wrong], PREFIX);
    assert_eq!(discard(&message, &two_octets()), (Some(7), FaultReason::Length(8)));
}

#[test]
fn path_that_has_no_room_with_four_octets_withdraws_the_routes() {
    // Possible with messages of 65535 octets only (RFC 8654).
    let asns = [7_u32; 255];
    for (count, as4, fits) in [(64, false, true), (65, false, false), (65, true, false)] {
        let old = as_path(&vec![(2, &asns[..]); count]);
        let new = as4_path(&[(2, &[70_000])]);
        let attributes: &[&[u8]] = if as4 { &[&old, &new] } else { &[&old] };
        let message = body(&[], &[&[ORIGIN, NEXT_HOP], attributes].concat(), PREFIX);
        assert_eq!(verdict(&message, &two_octets()).withdraw, !fits, "{count} segments");
    }
}

#[test]
fn as4_attributes_are_never_taken_for_what_they_are_merged_into() {
    for (code, value) in [(17, vec![4, 1, 0, 0, 0, 1]), (18, vec![0, 1, 0, 0, 10, 0, 0, 1])] {
        assert_eq!(decode_value(TRANSITIVE, code, &value).map(|typed| typed.code()), Ok(code));
    }
}
