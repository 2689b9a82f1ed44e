//! Attributes without routes (RFC 7606 §5.2): what is wrong with them has no routes to withdraw.

use bgp_wire::Family;
use bgp_wire::update::FaultReason;

use crate::message::*;

#[test]
fn right_attributes_without_routes_are_ignored() {
    // RFC 7606 §5.2.
    assert_eq!(clean(&body(&[], &[ORIGIN, AS_PATH, NEXT_HOP], &[]), &internal()), [1, 2]);
}

#[test]
fn wrong_attribute_without_routes_ends_the_session() {
    // RFC 7606 §5.2; RFC 4271 §6.3 for how it is told.
    let cases: [(u8, u8, &[u8], u8); 4] = [
        (WELL_KNOWN, 1, &[9], 6),
        (WELL_KNOWN, 2, &[9], 11),
        (TRANSITIVE, 8, &[1], 5),
        (OPTIONAL, 8, &[0, 0, 0, 1], 4),
    ];
    for (flags, code, value, subcode) in cases {
        let wrong = attribute(flags, code, value);
        let found = reset(&body(PREFIX, &[&wrong], &[]), &internal());
        assert_eq!((found.notification.subcode, found.notification.data), (subcode, wrong), "attribute {code}");
    }
}

#[test]
fn attribute_that_is_only_dropped_does_not_end_the_session_without_routes() {
    // RFC 7606 §5.2.
    let aggregator = attribute(TRANSITIVE, 7, &[1]);
    let message = body(&[], &[ORIGIN, AS_PATH, &aggregator], &[]);
    assert_eq!(discard(&message, &internal()), (Some(7), FaultReason::Length(1)));
}

#[test]
fn overrun_without_routes_ends_the_session() {
    // RFC 7606 §4, §5.2: the NLRI may be what runs over.
    let found = reset(&body(&[], &[ORIGIN, &[0xc0, 8, 200, 1]], &[]), &internal());
    assert_eq!((found.fault.reason, found.notification.subcode), (FaultReason::Overrun, 1));
}

#[test]
fn wrong_attribute_with_routes_of_a_family_that_was_disabled_does_not_end_the_session() {
    let reach = mp_reach(Family::IPV6_UNICAST, &[1, 2, 3], &[0]);
    let message = body(&[], &[&reach, ORIGIN, &attribute(TRANSITIVE, 8, &[1])], &[]);
    let found = verdict(&message, &internal());
    assert_eq!((found.disable, found.withdraw), (Some(Family::IPV6_UNICAST), true));
}
