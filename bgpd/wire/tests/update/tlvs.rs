//! Attributes that are lists of parts, and what is taken out of them before they are passed on.

use bgp_wire::attribute::{Attribute, LargeCommunity};
use bgp_wire::update::FaultReason;

use crate::message::*;

/// Sub-TLV: an egress endpoint without an address (RFC 9012 §3.1).
const ENDPOINT: &[u8] = &[6, 6, 0, 0, 0, 0, 0, 0];

/// A tunnel TLV: VXLAN, with these sub-TLVs.
fn tunnel(parts: &[&[u8]]) -> Vec<u8> {
    let parts = parts.concat();
    [&[0, 8, 0, parts.len() as u8], parts.as_slice()].concat()
}

/// What becomes of an attribute's value in a message without faults.
fn kept(flags: u8, code: u8, value: &[u8]) -> Vec<u8> {
    decoded(&announcement(&[&attribute(flags, code, value)]), &internal(), |update| {
        assert_eq!(update.faults, []);
        update.attributes.get(code).expect("the attribute is kept").to_vec()
    })
}

#[test]
fn tunnel_ends_where_its_last_part_ends() {
    // RFC 9012 §13. Sub-TLVs have a length of one octet, from type 128 on of two.
    let good = tunnel(&[ENDPOINT]);
    for more in [&[4, 0, 7, 0][..], &[128, 0, 1, 9], &[250, 0, 0], &[]] {
        let value = tunnel(&[ENDPOINT, more]);
        assert_eq!(kept(TRANSITIVE, 23, &value), value);
    }
    let wrong: [&[u8]; 4] =
        [&[0, 8, 0, 1, 4], &[0, 8, 0, 3, 4, 2, 0], &[0, 8, 0, 3, 128, 0, 1], &[0, 8, 0, 4, 4, 1, 0, 9]];
    for value in wrong.map(|value| [&good, value].concat()) {
        let message = announcement(&[&attribute(TRANSITIVE, 23, &value)]);
        assert_eq!(withdraw(&message, &internal()), (Some(23), FaultReason::TlvOverrun), "{value:?}");
    }
}

#[test]
fn tunnel_without_exactly_one_right_endpoint_is_not_passed_on() {
    // RFC 9012 §3.1, §13.
    let v4 = [6, 10, 0, 0, 0, 0, 0, 1, 192, 0, 2, 1];
    let v6 = [&[6, 22, 0, 0, 0, 0, 0, 2][..], &[0x20; 16]].concat();
    let good = [tunnel(&[&v4]), tunnel(&[&v6, &[99, 1, 7]]), tunnel(&[ENDPOINT])].concat();
    assert_eq!(kept(TRANSITIVE, 23, &good), good);
    let short = [6, 5, 0, 0, 0, 0, 0];
    let with_address = [6, 10, 0, 0, 0, 0, 0, 0, 192, 0, 2, 1];
    let cut = [6, 9, 0, 0, 0, 0, 0, 1, 192, 0, 2];
    let unknown_family = [6, 6, 0, 0, 0, 0, 0, 9];
    let wrong: [&[&[u8]]; 6] =
        [&[], &[&[4, 0]], &[ENDPOINT, ENDPOINT], &[&short], &[&with_address, &[4, 0]], &[&cut, &unknown_family]];
    for parts in wrong {
        let value = [tunnel(parts), good.clone(), tunnel(parts)].concat();
        assert_eq!(kept(TRANSITIVE, 23, &value), good, "{parts:?}");
        let alone = announcement(&[&attribute(TRANSITIVE, 23, &tunnel(parts))]);
        assert_eq!(withdraw(&alone, &internal()), (Some(23), FaultReason::NoUsableTunnel), "{parts:?}");
    }
}

#[test]
fn prefix_sid_with_a_length_that_its_part_cannot_have_is_dropped() {
    // RFC 8669 §3.1, §3.2, §6. Parts of other types are passed on.
    let ranges = |octets: u8| [&[3, 0, octets][..], &vec![0; usize::from(octets)]].concat();
    for value in [ranges(8), ranges(14), vec![5, 0, 1, 0]] {
        assert_eq!(kept(TRANSITIVE, 40, &value), value);
    }
    for (value, kind, len) in [(vec![1, 0, 6, 0, 0, 0, 0, 0, 0], 1, 6), (ranges(2), 3, 2), (ranges(9), 3, 9)] {
        let message = announcement(&[&attribute(TRANSITIVE, 40, &value)]);
        assert_eq!(discard(&message, &internal()), (Some(40), FaultReason::TlvLength(kind, len)));
    }
}

#[test]
fn first_of_two_known_parts_of_prefix_sid_counts() {
    // RFC 8669 §6.
    let label = |index: u8| vec![1, 0, 7, 0, 0, 0, 0, 0, 0, index];
    let unknown = vec![5, 0, 1, 0];
    let value = [label(1), unknown.clone(), label(2), unknown.clone()].concat();
    assert_eq!(kept(TRANSITIVE, 40, &value), [label(1), unknown.clone(), unknown].concat());
}

#[test]
fn large_community_that_is_there_already_is_removed() {
    // RFC 8092 §3. The order of the others stays, however many there are.
    for count in [1_u32, 2, 16, 17, 300] {
        let all: Vec<_> = (0..count).rev().map(|at| LargeCommunity { global: at % 7, local1: 1, local2: at }).collect();
        let octets = |all: &[LargeCommunity]| {
            let parts = all.iter().flat_map(|one| [one.global, one.local1, one.local2]);
            parts.flat_map(u32::to_be_bytes).collect::<Vec<_>>()
        };
        let once = octets(&all);
        assert_eq!(kept(TRANSITIVE, 32, &once), once);
        assert_eq!(kept(TRANSITIVE, 32, &[once.clone(), once.clone()].concat()), once);
        // Nor is one ever written twice.
        let mut written = Vec::new();
        Attribute::LargeCommunities([all.clone(), all].concat()).encode(&mut written);
        assert!(written.ends_with(&once) && written.len() <= once.len() + 4);
    }
}
