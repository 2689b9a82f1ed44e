//! Faults of the message around its attributes' values (RFC 7606 §3, §4, §5; RFC 4760 §7).

use bgp_wire::Family;
use bgp_wire::nlri::{Ipv4Unicast, Ipv6Unicast, NlriFault};
use bgp_wire::update::{DecodeContext, FaultReason, NextHop};

use crate::message::*;

/// 2001:db8::1.
const GLOBAL: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
/// fe80::1.
const LINK_LOCAL: [u8; 16] = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
/// 2001:db8::/32.
const PREFIX6: &[u8] = &[32, 0x20, 1, 0xd, 0xb8];

fn reach6(next_hop: &[u8], nlri: &[u8]) -> Vec<u8> {
    body(&[], &[&mp_reach(Family::IPV6_UNICAST, next_hop, nlri), ORIGIN, AS_PATH], &[])
}

#[test]
fn lengths_that_run_over_the_end_of_the_message_end_the_session() {
    // RFC 4271 §6.3.
    for body in [&[][..], &[0], &[0, 1], &[0, 0, 0], &[0, 0, 0, 1], &[0, 5, 8, 10, 0, 0]] {
        let found = reset(body, &internal());
        assert_eq!((found.fault.reason, found.notification.subcode), (FaultReason::MessageLengths, 1), "{body:?}");
    }
}

#[test]
fn missing_mandatory_attributes_withdraw_the_routes() {
    // RFC 7606 §3(d).
    let all = [ORIGIN, AS_PATH, NEXT_HOP];
    for missing in 0..3 {
        let others: Vec<_> = (0..3).filter(|at| *at != missing).map(|at| all[at]).collect();
        let found = withdraw(&body(&[], &others, PREFIX), &internal());
        assert_eq!(found, (Some(missing as u8 + 1), FaultReason::Missing));
    }
}

#[test]
fn announcement_in_mp_reach_nlri_needs_no_next_hop_attribute() {
    // RFC 4760 §3; RFC 7606 §3(e).
    clean(&reach6(&GLOBAL, PREFIX6), &internal());
    let without_origin = body(&[], &[&mp_reach(Family::IPV6_UNICAST, &GLOBAL, PREFIX6), AS_PATH], &[]);
    assert_eq!(withdraw(&without_origin, &internal()), (Some(1), FaultReason::Missing));
}

#[test]
fn withdrawals_need_no_attributes() {
    // RFC 4271 §4.3.
    clean(&body(PREFIX, &[], &[]), &internal());
    clean(&body(&[], &[&mp_unreach(Family::IPV6_UNICAST, PREFIX6)], &[]), &internal());
}

#[test]
fn attribute_that_runs_over_the_end_of_all_withdraws_the_routes() {
    // RFC 7606 §4.
    for tail in [&[0xc0, 8, 5, 0, 0, 0, 0][..], &[0xd0, 8, 0, 9, 0], &[0xc0, 8], &[0xd0, 8, 0], &[0xc0]] {
        let found = withdraw(&announcement(&[tail]), &internal());
        assert_eq!(found, (tail.get(1).copied(), FaultReason::Overrun), "{tail:?}");
        decoded(&announcement(&[tail]), &internal(), |update| {
            assert_eq!(update.nlri.iter::<Ipv4Unicast>().count(), 1, "the NLRI field is where the length says");
        });
    }
}

#[test]
fn mp_attribute_that_runs_over_the_end_of_all_ends_the_session() {
    // RFC 7606 §3(j), §4: the routes in it are lost.
    for code in [14, 15] {
        let found = reset(&announcement(&[&[0x80, code, 9, 0, 2]]), &internal());
        assert_eq!((found.fault.reason, found.notification.subcode), (FaultReason::Overrun, 1));
    }
}

#[test]
fn nlri_fields_that_cannot_be_read_end_the_session() {
    // RFC 7606 §5.3; RFC 4271 §6.3, Invalid Network Field.
    for (field, fault) in [
        (&[33, 1, 2, 3, 4, 5][..], NlriFault::PrefixLength(33)),
        (&[24, 1, 2], NlriFault::Overrun),
        (&[8, 10, 24], NlriFault::Overrun),
    ] {
        for message in [body(field, &[], &[]), body(&[], &[ORIGIN, AS_PATH, NEXT_HOP], field)] {
            let found = reset(&message, &internal());
            assert_eq!((found.fault.reason, found.notification.subcode), (FaultReason::Nlri(fault), 10));
        }
    }
}

#[test]
fn path_identifiers_are_part_of_the_nlri_where_negotiated() {
    // RFC 7911 §3.
    let context = DecodeContext { add_path: vec![Family::IPV4_UNICAST], ..internal() };
    let nlri = [&[0, 0, 0, 7][..], PREFIX, &[0, 0, 0, 8], PREFIX].concat();
    decoded(&body(&[], &[ORIGIN, AS_PATH, NEXT_HOP], &nlri), &context, |update| {
        let ids: Vec<_> = update.nlri.iter::<Ipv4Unicast>().map(|path| path.path_id).collect();
        assert_eq!(ids, [7, 8]);
    });
    let found = reset(&body(&[0, 0, 7], &[], &[]), &context);
    assert_eq!(found.fault.reason, FaultReason::Nlri(NlriFault::Overrun));
}

#[test]
fn next_hop_of_a_length_the_family_does_not_have_disables_the_family() {
    // RFC 7606 §7.11; RFC 2545 §3.
    for len in [0, 4, 8, 12, 15, 17, 24, 31, 33, 48] {
        let found = verdict(&reach6(&vec![1; len], PREFIX6), &internal());
        assert_eq!(found.disable, Some(Family::IPV6_UNICAST), "{len}");
        assert_eq!(found.faults[0].1, FaultReason::NextHopLength(len as u8));
    }
}

#[test]
fn last_family_is_not_disabled_but_the_session_ends() {
    // RFC 7606 §2, §7.11.
    let context = DecodeContext { families: vec![Family::IPV6_UNICAST], ..internal() };
    let found = reset(&reach6(&[1, 2, 3, 4], PREFIX6), &context);
    assert_eq!((found.fault.reason, found.notification.subcode), (FaultReason::NextHopLength(4), 9));
    assert_eq!(found.notification.data, mp_reach(Family::IPV6_UNICAST, &[1, 2, 3, 4], PREFIX6), "RFC 4271 §6.3");
}

#[test]
fn next_hop_of_ipv6_is_one_address_or_two() {
    // RFC 2545 §3.
    let global = std::net::Ipv6Addr::from(GLOBAL);
    let both = [GLOBAL, LINK_LOCAL].concat();
    let odd = [GLOBAL, GLOBAL].concat();
    for (octets, link_local) in [(&GLOBAL[..], None), (&both, Some(LINK_LOCAL.into())), (&odd, None)] {
        decoded(&reach6(octets, PREFIX6), &internal(), |update| {
            let reach = update.mp_reach.expect("MP_REACH_NLRI");
            assert_eq!(reach.next_hop, NextHop::V6 { global, link_local });
            assert_eq!(reach.nlri.iter::<Ipv6Unicast>().count(), 1);
        });
    }
}

#[test]
fn ipv4_routes_have_an_ipv6_next_hop_only_where_negotiated() {
    // RFC 8950 §4.
    let message = body(&[], &[&mp_reach(Family::IPV4_UNICAST, &GLOBAL, PREFIX), ORIGIN, AS_PATH], &[]);
    assert_eq!(verdict(&message, &internal()).disable, Some(Family::IPV4_UNICAST));
    let context = DecodeContext { extended_next_hop: vec![Family::IPV4_UNICAST], ..internal() };
    clean(&message, &context);
    let with_ipv4 = body(&[], &[&mp_reach(Family::IPV4_UNICAST, &[192, 0, 2, 1], PREFIX), ORIGIN, AS_PATH], &[]);
    clean(&with_ipv4, &internal());
}

#[test]
fn nlri_of_an_mp_attribute_that_cannot_be_read_disable_the_family() {
    // RFC 7606 §5.3, §2.
    let wrong: &[u8] = &[129, 1];
    let reach = reach6(&GLOBAL, wrong);
    let unreach = body(&[], &[&mp_unreach(Family::IPV6_UNICAST, wrong)], &[]);
    for message in [reach, unreach] {
        let found = verdict(&message, &internal());
        assert_eq!(found.disable, Some(Family::IPV6_UNICAST));
        let alone = DecodeContext { families: vec![Family::IPV6_UNICAST], ..internal() };
        assert_eq!(reset(&message, &alone).fault.reason, FaultReason::Nlri(NlriFault::PrefixLength(129)));
    }
}

#[test]
fn family_that_is_not_negotiated_is_ignored() {
    // RFC 4760 §7.
    let attributes = [mp_reach(Family::IPV6_UNICAST, &GLOBAL, PREFIX6), mp_unreach(Family::IPV6_UNICAST, PREFIX6)];
    for attribute in attributes {
        let code = attribute[1];
        let found = discard(&announcement(&[&attribute]), &ipv4_only());
        assert_eq!(found, (Some(code), FaultReason::NotNegotiated(Family::IPV6_UNICAST)));
    }
}

#[test]
fn fields_of_ipv4_are_ignored_where_ipv4_is_not_negotiated() {
    // RFC 4760 §7, for the fields of RFC 4271 §4.3; also after the family was disabled (RFC 7606 §2).
    let context = DecodeContext { families: vec![Family::IPV6_UNICAST], ..internal() };
    let found = (None, FaultReason::NotNegotiated(Family::IPV4_UNICAST));
    assert_eq!(discard(&announcement(&[]), &context), found);
    assert_eq!(discard(&body(PREFIX, &[], &[]), &context), found);
    decoded(&body(PREFIX, &[ORIGIN, AS_PATH, NEXT_HOP], PREFIX), &context, |update| {
        assert!(update.withdrawn.is_empty() && update.nlri.is_empty());
        assert_eq!(update.end_of_rib(), None);
    });
    // A wrong attribute beside them is no reason to end the session: no routes of the other family can be missed.
    let wrong = announcement(&[&attribute(TRANSITIVE, 8, &[1])]);
    assert!(verdict(&wrong, &context).withdraw);
}

#[test]
fn mp_attribute_too_short_for_its_head_ends_the_session() {
    // RFC 7606 §5.3, §7.11.
    for (code, value) in [(14, &[0, 2, 1][..]), (14, &[0, 2, 1, 16, 1]), (14, &[0, 2, 1, 0]), (14, &[]), (15, &[0, 2])]
    {
        let found = reset(&announcement(&[&attribute(OPTIONAL, code, value)]), &internal());
        assert_eq!((found.fault.attribute, found.notification.subcode), (Some(code), 9), "{value:?}");
    }
}

#[test]
fn mp_attribute_that_is_there_twice_ends_the_session() {
    // RFC 7606 §3(g).
    for one in [mp_reach(Family::IPV6_UNICAST, &GLOBAL, PREFIX6), mp_unreach(Family::IPV6_UNICAST, PREFIX6)] {
        let found = reset(&announcement(&[&one, &one]), &internal());
        assert_eq!((found.fault.reason, found.notification.subcode), (FaultReason::Duplicate, 1));
    }
}

#[test]
fn wrong_flags_of_an_mp_attribute_disable_the_family_or_end_the_session() {
    // RFC 7606 §5.3, §3(j); RFC 4271 §6.3 for how it is told.
    for (code, mut one) in [
        (14, mp_reach(Family::IPV6_UNICAST, &GLOBAL, PREFIX6)),
        (15, mp_unreach(Family::IPV6_UNICAST, PREFIX6)),
        (15, mp_unreach(Family::IPV6_UNICAST, &[])),
    ] {
        one[0] |= 0x40;
        let message = body(&[], &[&one, ORIGIN, AS_PATH], &[]);
        let found = verdict(&message, &internal());
        assert_eq!((found.disable, found.withdraw), (Some(Family::IPV6_UNICAST), false));
        assert_eq!(found.faults[0].1, FaultReason::Flags(0xc0));
        let mut alone = internal();
        alone.families = vec![Family::IPV6_UNICAST];
        let found = reset(&message, &alone);
        assert_eq!((found.fault.attribute, found.notification.subcode), (Some(code), 4));
        assert_eq!(found.notification.data, one);
        // Nobody minds them in a family that is ignored.
        assert_eq!(verdict(&body(&[], &[&one, ORIGIN, AS_PATH], PREFIX), &ipv4_only()).disable, None);
    }
}

#[test]
fn end_of_rib_is_an_update_that_says_nothing() {
    // RFC 4724 §2.
    let eor = |body: &[u8]| decoded(body, &internal(), |update| update.end_of_rib());
    assert_eq!(eor(&[0, 0, 0, 0]), Some(Family::IPV4_UNICAST));
    assert_eq!(eor(&body(&[], &[&mp_unreach(Family::IPV6_UNICAST, &[])], &[])), Some(Family::IPV6_UNICAST));
    assert_eq!(eor(&body(&[], &[&mp_unreach(Family::IPV6_UNICAST, PREFIX6)], &[])), None);
    assert_eq!(eor(&body(PREFIX, &[], &[])), None);
    assert_eq!(eor(&announcement(&[])), None);
    assert_eq!(eor(&body(&[], &[ORIGIN], &[])), None);
    // Nor with attributes that leave no trace.
    for ignored in [attribute(OPTIONAL, 99, &[1]), attribute(WELL_KNOWN, 3, &[192, 0, 2, 1])] {
        assert_eq!(eor(&body(&[], &[&ignored], &[])), None);
        assert_eq!(eor(&body(&[], &[&ignored, &mp_unreach(Family::IPV6_UNICAST, &[])], &[])), None);
    }
}
