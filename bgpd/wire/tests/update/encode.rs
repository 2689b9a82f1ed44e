//! Writing UPDATEs: what stands where, and how many NLRI fit.

use std::net::{Ipv4Addr, Ipv6Addr};

use bgp_wire::attribute::AttributeBlock;
use bgp_wire::frame::{Frame, MAX_LEN, split};
use bgp_wire::nlri::{Ipv4Unicast, Ipv6Unicast, Prefix};
use bgp_wire::update::{NextHop, PathKey, UpdateEncoder};
use bgp_wire::{Family, Nlri};

use crate::message::*;

const ENCODER: UpdateEncoder = UpdateEncoder { max_len: MAX_LEN, four_octet_as: true };
const V4: NextHop = NextHop::V4(Ipv4Addr::new(192, 0, 2, 1));

fn v6(link_local: bool) -> NextHop {
    NextHop::V6 {
        global: Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1),
        link_local: link_local.then_some(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1)),
    }
}

fn hosts(count: u32) -> Vec<PathKey<Prefix<4>>> {
    (0..count).map(|host| PathKey { key: Prefix::new((0x0a00_0000 + host).to_be_bytes(), 32), path_id: host }).collect()
}

fn canonical() -> Vec<u8> {
    [ORIGIN, AS_PATH].concat()
}

fn frames(bytes: &[u8]) -> Vec<Frame<'_>> {
    let mut rest = bytes;
    let mut frames = Vec::new();
    while let Some(frame) = split(rest, MAX_LEN).expect("valid") {
        rest = &rest[frame.raw.len()..];
        frames.push(frame);
    }
    assert!(rest.is_empty(), "whole messages only");
    frames
}

fn reach<N: Nlri>(next_hop: &NextHop, add_path: bool, keys: &[PathKey<N::Key>]) -> Vec<u8> {
    let (mut out, attributes) = (Vec::new(), canonical());
    let attributes = AttributeBlock::from_canonical(&attributes);
    ENCODER.reach::<N>(attributes, next_hop, add_path, keys, &mut out).expect("fits");
    out
}

#[test]
fn ipv4_routes_stand_in_the_nlri_field_behind_attributes_in_order() {
    // RFC 4271 §4.3.
    let bytes = reach::<Ipv4Unicast>(&V4, false, &[PathKey { key: Prefix::new([203, 0, 113, 0], 24), path_id: 0 }]);
    assert_eq!(frames(&bytes)[0].body, announcement(&[]));
}

#[test]
fn mp_reach_nlri_is_the_first_attribute() {
    // RFC 7606 §5.1.
    let key = PathKey { key: Prefix::new([0x20; 16], 64), path_id: 0 };
    for (next_hop, len) in [(v6(false), 16), (v6(true), 32)] {
        let bytes = reach::<Ipv6Unicast>(&next_hop, false, &[key]);
        let body = frames(&bytes)[0].body;
        assert_eq!(body[4..6], [0x90, 14]);
        assert_eq!(body[11], len);
        assert_eq!(decoded(body, &internal(), |update| update.mp_reach.map(|reach| reach.next_hop)), Some(next_hop));
    }
}

#[test]
fn ipv4_routes_with_an_ipv6_next_hop_stand_in_mp_reach_nlri() {
    // RFC 8950 §3.
    let bytes = reach::<Ipv4Unicast>(&v6(false), false, &hosts(2));
    let mut context = internal();
    context.extended_next_hop = vec![Family::IPV4_UNICAST];
    decoded(frames(&bytes)[0].body, &context, |update| {
        assert!(update.faults.is_empty() && update.nlri.is_empty());
        assert_eq!(update.mp_reach.map(|reach| reach.nlri.family()), Some(Family::IPV4_UNICAST));
    });
}

#[test]
fn messages_are_filled_to_the_last_prefix_that_fits() {
    let bytes = reach::<Ipv4Unicast>(&V4, false, &hosts(2_000));
    let all = frames(&bytes);
    let (last, full) = all.split_last().expect("messages");
    assert!(full.iter().all(|frame| (MAX_LEN - 4..=MAX_LEN).contains(&frame.raw.len())));
    assert!(last.raw.len() <= MAX_LEN);
    let keys: Vec<_> = all
        .iter()
        .flat_map(|frame| {
            decoded(frame.body, &internal(), |update| update.nlri.iter::<Ipv4Unicast>().collect::<Vec<_>>())
        })
        .map(|path| path.key)
        .collect();
    assert_eq!(keys, hosts(2_000).iter().map(|path| path.key).collect::<Vec<_>>());
}

#[test]
fn withdrawals_are_filled_as_well() {
    let mut out = Vec::new();
    ENCODER.unreach::<Ipv4Unicast>(true, &hosts(1_000), &mut out);
    let mut context = internal();
    context.add_path = vec![Family::IPV4_UNICAST];
    let keys: Vec<_> = frames(&out)
        .iter()
        .flat_map(|frame| {
            decoded(frame.body, &context, |update| update.withdrawn.iter::<Ipv4Unicast>().collect::<Vec<_>>())
        })
        .collect();
    assert_eq!(keys, hosts(1_000));
}

#[test]
fn attributes_that_leave_no_room_are_refused_and_nothing_is_written() {
    let mut attributes = canonical();
    attributes.extend(attribute(TRANSITIVE, 8, &[1; 4044]));
    let block = AttributeBlock::from_canonical(&attributes);
    let mut out = Vec::new();
    let needed = 23 + attributes.len() + 7 + 5;
    let refused = ENCODER.reach::<Ipv4Unicast>(block, &V4, false, &hosts(1), &mut out);
    assert_eq!(refused.map_err(|error| (error.needed, error.max)), Err((needed, MAX_LEN)));
    assert!(out.is_empty());
    // They go into a message of exactly that length.
    let exact = UpdateEncoder { max_len: needed, ..ENCODER };
    assert_eq!(exact.reach::<Ipv4Unicast>(block, &V4, false, &hosts(1), &mut out), Ok(()));
    assert_eq!(out.len(), needed);
}

#[test]
fn no_routes_make_no_message() {
    assert!(reach::<Ipv4Unicast>(&V4, false, &[]).is_empty());
    let mut out = Vec::new();
    ENCODER.unreach::<Ipv6Unicast>(false, &[], &mut out);
    assert!(out.is_empty());
}

#[test]
fn end_of_rib_is_understood_for_each_family() {
    // RFC 4724 §2.
    for family in [Family::IPV4_UNICAST, Family::IPV6_UNICAST] {
        let mut out = Vec::new();
        ENCODER.end_of_rib(family, &mut out);
        assert_eq!(decoded(frames(&out)[0].body, &internal(), |update| update.end_of_rib()), Some(family));
    }
}
