//! Each attribute with each thing that can be wrong with it (RFC 7606 §3, §7).

use bgp_wire::attribute::{Attribute, decode_value, name};
use bgp_wire::update::{FaultAction, FaultReason};

use crate::message::*;

/// One attribute: code, its right flags, a right value, lengths that are wrong, and whether it is only dropped then.
struct Row {
    code: u8,
    flags: u8,
    good: Vec<u8>,
    wrong_lengths: &'static [usize],
    discarded: bool,
}

fn row(code: u8, flags: u8, good: &[u8], wrong_lengths: &'static [usize]) -> Row {
    Row { code, flags, good: good.to_vec(), wrong_lengths, discarded: false }
}

/// All that can be in an UPDATE of an iBGP session.
fn rows() -> Vec<Row> {
    let discarded = |row: Row| Row { discarded: true, ..row };
    vec![
        row(1, WELL_KNOWN, &[0], &[0, 2, 300]),              // RFC 7606 §7.1
        row(2, WELL_KNOWN, &AS_PATH[3..], &[1, 3, 5]),       // RFC 7606 §7.2
        row(3, WELL_KNOWN, &[192, 0, 2, 1], &[0, 3, 5, 16]), // RFC 7606 §7.3
        row(4, OPTIONAL, &[0, 0, 0, 1], &[0, 3, 5]),         // RFC 7606 §7.4
        row(5, WELL_KNOWN, &[0, 0, 0, 1], &[0, 3, 5]),       // RFC 7606 §7.5
        discarded(row(6, WELL_KNOWN, &[], &[1, 4])),         // RFC 7606 §7.6
        discarded(row(7, TRANSITIVE, &[0, 0, 0xfd, 0xe9, 10, 0, 0, 1], &[0, 6, 9])), // RFC 7606 §7.7
        row(8, TRANSITIVE, &[0, 1, 0, 2], &[0, 3, 5]),       // RFC 7606 §7.8
        row(9, OPTIONAL, &[10, 0, 0, 1], &[0, 3, 5]),        // RFC 7606 §7.9
        row(10, OPTIONAL, &[10, 0, 0, 1], &[0, 3, 5]),       // RFC 7606 §7.10
        row(16, TRANSITIVE, &[0, 2, 0, 1, 0, 0, 0, 1], &[0, 7, 9]), // RFC 7606 §7.14
        row(25, TRANSITIVE, &[0; 20], &[0, 19, 21]),         // RFC 7606 §7.15
        discarded(row(26, OPTIONAL, &[1, 0, 11, 0, 0, 0, 0, 0, 0, 0, 1], &[0, 1, 10, 12])), // RFC 7311 §3
        row(32, TRANSITIVE, &[0; 12], &[0, 11, 13]),         // RFC 8092 §6
        row(35, TRANSITIVE, &[0, 0, 0xfd, 0xe9], &[0, 3, 5]), // RFC 9234 §5
        row(22, TRANSITIVE, &[0, 0, 0, 0, 0], &[0, 4]),      // RFC 6514 §5
        row(23, TRANSITIVE, &[0, 8, 0, 8, 6, 6, 0, 0, 0, 0, 0, 0], &[0, 1, 3, 11, 13]), // RFC 9012 §13
        discarded(row(40, TRANSITIVE, &[1, 0, 7, 0, 0, 0, 0, 0, 0, 7], &[0, 1, 2, 9, 11])), // RFC 8669 §6
    ]
}

/// An announcement in which the row's attribute is as given, and all mandatory ones are there.
fn with(row: &Row, flags: u8, value: &[u8]) -> Vec<u8> {
    let mut attributes = [ORIGIN, AS_PATH, NEXT_HOP].map(<[u8]>::to_vec).to_vec();
    attributes.retain(|other| other[1] != row.code);
    attributes.push(attribute(flags, row.code, value));
    let attributes: Vec<_> = attributes.iter().map(Vec::as_slice).collect();
    body(&[], &attributes, PREFIX)
}

#[test]
fn right_attributes_are_kept() {
    for row in rows() {
        let codes = clean(&with(&row, row.flags, &row.good), &internal());
        // NEXT_HOP belongs to the message, not to the route.
        assert_eq!(codes.contains(&row.code), row.code != 3, "{:?}", name(row.code));
    }
}

#[test]
fn attribute_of_a_wrong_length_is_dropped_or_withdraws_the_routes() {
    // RFC 7606 §7.
    for row in rows() {
        for len in row.wrong_lengths {
            let value: Vec<_> = row.good.iter().copied().chain(std::iter::repeat(9)).take(*len).collect();
            let body = with(&row, row.flags, &value);
            let found = if row.discarded { discard(&body, &internal()) } else { withdraw(&body, &internal()) };
            assert_eq!(found.0, Some(row.code), "{:?} with length {len}", name(row.code));
            let of_path = matches!(found.1, FaultReason::SegmentOverrun | FaultReason::SegmentType(_));
            let of_tlv = matches!(found.1, FaultReason::TlvOverrun);
            assert!(found.1 == FaultReason::Length(*len) || of_path || of_tlv, "{:?}", found.1);
        }
    }
}

#[test]
fn wrong_optional_or_transitive_bits_withdraw_the_routes_but_of_aigp_drop_it() {
    // RFC 7606 §3(c).
    for row in rows() {
        for bits in [0x80, 0x40, 0xc0] {
            let flags = row.flags ^ bits;
            let body = with(&row, flags, &row.good);
            // RFC 7311 §3.2 has another rule for AIGP.
            let found = if row.code == 26 { discard(&body, &internal()) } else { withdraw(&body, &internal()) };
            assert_eq!(found, (Some(row.code), FaultReason::Flags(flags)), "{:?}", name(row.code));
        }
    }
}

#[test]
fn partial_and_unused_bits_do_no_harm_and_are_cleared_where_they_mean_nothing() {
    // RFC 4271 §4.3.
    for row in rows() {
        decoded(&with(&row, row.flags | 0x2f, &row.good), &internal(), |update| {
            assert!(update.faults.is_empty());
            let kept = if row.flags == TRANSITIVE { TRANSITIVE | 0x20 } else { row.flags };
            let found = update.attributes.iter().find(|attribute| attribute.code == row.code);
            assert!(found.is_none_or(|attribute| attribute.flags == kept), "{:?}", name(row.code));
        });
    }
}

#[test]
fn first_of_two_attributes_of_a_code_counts() {
    // RFC 7606 §3(g).
    for row in rows() {
        let second = attribute(row.flags, row.code, &row.good);
        let mut twice = with(&row, row.flags, &row.good);
        twice.splice(twice.len() - PREFIX.len().., [second.as_slice(), PREFIX].concat());
        let len = u16::from_be_bytes([twice[2], twice[3]]) + second.len() as u16;
        twice[2..4].copy_from_slice(&len.to_be_bytes());
        assert_eq!(discard(&twice, &internal()), (Some(row.code), FaultReason::Duplicate));
    }
}

#[test]
fn second_attribute_does_not_replace_a_first_that_was_dropped() {
    // RFC 7606 §3(g).
    let wrong = attribute(TRANSITIVE, 7, &[1, 2, 3]);
    let right = attribute(TRANSITIVE, 7, &[0, 0, 0xfd, 0xe9, 10, 0, 0, 1]);
    let found = verdict(&announcement(&[&wrong, &right]), &internal());
    assert_eq!(found.codes, [1, 2]);
    let reasons: Vec<_> = found.faults.iter().map(|(_, reason, _)| *reason).collect();
    assert_eq!(reasons, [FaultReason::Length(3), FaultReason::Duplicate]);
}

#[test]
fn some_attributes_are_dropped_when_an_external_peer_sends_them() {
    // RFC 7606 §7.5, §7.9, §7.10; RFC 7311 §3.3; RFC 9012 §11; RFC 8669 §5. Whatever their flags and length.
    for row in rows() {
        for value in [row.good.clone(), vec![1, 2, 3]] {
            if matches!(row.code, 5 | 9 | 10 | 23 | 26 | 40) {
                let found = discard(&with(&row, row.flags ^ 0x40, &value), &external());
                assert_eq!(found, (Some(row.code), FaultReason::NotFromExternal));
            }
        }
    }
}

#[test]
fn attributes_are_brought_into_the_order_of_their_codes() {
    let lp = attribute(WELL_KNOWN, 5, &[0, 0, 0, 100]);
    let med = attribute(OPTIONAL, 4, &[0, 0, 0, 1]);
    let shuffled = body(&[], &[&lp, NEXT_HOP, AS_PATH, &med, ORIGIN], PREFIX);
    let sorted = body(&[], &[ORIGIN, AS_PATH, NEXT_HOP, &med, &lp], PREFIX);
    let block = |body: &[u8]| decoded(body, &internal(), |update| update.attributes.bytes().to_vec());
    assert_eq!(block(&shuffled), block(&sorted));
}

#[test]
fn extended_length_is_gone_where_it_is_not_needed_and_there_where_it_is() {
    for (communities, expected) in [(1, false), (63, false), (64, true), (1000, true)] {
        let value = vec![1; communities * 4];
        decoded(&announcement(&[&attribute(TRANSITIVE, 8, &value)]), &internal(), |update| {
            let block = update.attributes.bytes();
            let at = block.len() - value.len() - if expected { 4 } else { 3 };
            assert_eq!(block[at], if expected { 0xd0 } else { 0xc0 });
            assert_eq!(update.attributes.get(8), Some(value.as_slice()));
        });
    }
}

#[test]
fn unknown_transitive_attribute_is_passed_on_with_partial() {
    // RFC 4271 §5, §9.
    let unknown = attribute(TRANSITIVE, 99, &[1, 2, 3]);
    decoded(&announcement(&[&unknown]), &internal(), |update| {
        let found = update.attributes.iter().last().expect("the attribute");
        assert_eq!((found.flags, found.code, found.value), (0xe0, 99, &[1, 2, 3][..]));
    });
}

#[test]
fn unknown_non_transitive_attribute_is_quietly_dropped() {
    // RFC 4271 §5, §9.
    assert_eq!(clean(&announcement(&[&attribute(OPTIONAL, 99, &[1])]), &internal()), [1, 2]);
}

#[test]
fn unknown_well_known_attribute_ends_the_session_with_the_attribute_as_data() {
    // RFC 4271 §6.3.
    for flags in [WELL_KNOWN, 0] {
        let unknown = attribute(flags, 99, &[1, 2]);
        let found = reset(&announcement(&[&unknown]), &internal());
        assert_eq!(found.fault.reason, FaultReason::UnrecognizedWellKnown);
        assert_eq!((found.notification.subcode, found.notification.data), (2, unknown));
    }
}

#[test]
fn as_path_faults_withdraw_the_routes() {
    // RFC 7606 §7.2; RFC 5065 §5.3; RFC 7607 §2.
    let faults: [(&[u8], FaultReason); 9] = [
        (&[5, 1, 0, 0, 0, 1], FaultReason::SegmentType(5)),
        (&[0, 1, 0, 0, 0, 1], FaultReason::SegmentType(0)),
        (&[2, 2, 0, 0, 0, 1], FaultReason::SegmentOverrun),
        (&[2, 1, 0, 0, 0], FaultReason::SegmentOverrun),
        (&[2], FaultReason::SegmentOverrun),
        (&[2, 0], FaultReason::EmptySegment),
        (&[3, 1, 0, 0, 0, 1], FaultReason::ConfederationSegment),
        (&[4, 1, 0, 0, 0, 1], FaultReason::ConfederationSegment),
        (&[2, 2, 0, 0, 0, 1, 0, 0, 0, 0], FaultReason::AsZero),
    ];
    for (value, reason) in faults {
        let path = attribute(WELL_KNOWN, 2, value);
        assert_eq!(withdraw(&body(&[], &[ORIGIN, &path, NEXT_HOP], PREFIX), &internal()), (Some(2), reason));
    }
}

#[test]
fn as_path_may_be_empty() {
    // RFC 4271 §5.1.2: a route of the peer's own AS.
    let path = attribute(WELL_KNOWN, 2, &[]);
    assert_eq!(clean(&body(&[], &[ORIGIN, &path, NEXT_HOP], PREFIX), &internal()), [1, 2]);
}

#[test]
fn as_sets_withdraw_the_routes_where_that_is_wanted() {
    // RFC 9774 §3.
    let path = attribute(WELL_KNOWN, 2, &[2, 1, 0, 0, 0, 1, 1, 1, 0, 0, 0, 2]);
    let message = body(&[], &[ORIGIN, &path, NEXT_HOP], PREFIX);
    clean(&message, &external());
    let mut strict = external();
    strict.reject_as_sets = true;
    assert_eq!(withdraw(&message, &strict), (Some(2), FaultReason::AsSet));
}

#[test]
fn as_zero_in_aggregator_drops_it() {
    // RFC 7607 §2, RFC 7606 §7.7.
    let zero = attribute(TRANSITIVE, 7, &[0, 0, 0, 0, 10, 0, 0, 1]);
    assert_eq!(discard(&announcement(&[&zero]), &internal()), (Some(7), FaultReason::AsZero));
}

#[test]
fn undefined_origin_withdraws_the_routes() {
    // RFC 7606 §7.1.
    let origin = attribute(WELL_KNOWN, 1, &[3]);
    let message = body(&[], &[&origin, AS_PATH, NEXT_HOP], PREFIX);
    assert_eq!(withdraw(&message, &internal()), (Some(1), FaultReason::UndefinedOrigin(3)));
}

#[test]
fn aigp_of_contradicting_lengths_is_dropped() {
    // RFC 7311 §3.
    for value in [&[1, 0, 2][..], &[1, 0, 12, 0, 0, 0, 0, 0, 0, 0, 0, 1], &[2, 0, 0], &[2, 0, 9, 1]] {
        let message = announcement(&[&attribute(OPTIONAL, 26, value)]);
        assert_eq!(discard(&message, &internal()), (Some(26), FaultReason::Length(value.len())));
    }
}

#[test]
fn as4_attributes_of_a_four_octet_peer_are_dropped() {
    // RFC 6793 §6.
    for (code, value) in [(17, &AS_PATH[3..]), (18, &[0, 0, 0xfd, 0xe9, 10, 0, 0, 1][..])] {
        let message = announcement(&[&attribute(TRANSITIVE, code, value)]);
        assert_eq!(discard(&message, &internal()), (Some(code), FaultReason::NotFromFourOctetPeer));
    }
}

#[test]
fn next_hop_that_is_not_of_a_host_withdraws_the_routes() {
    // RFC 4271 §6.3, RFC 7606 §3(e).
    for octets in [[0, 0, 0, 0], [127, 0, 0, 1], [224, 0, 0, 5], [255, 255, 255, 255]] {
        let next_hop = attribute(WELL_KNOWN, 3, &octets);
        let found = withdraw(&body(&[], &[ORIGIN, AS_PATH, &next_hop], PREFIX), &internal());
        assert_eq!(found, (Some(3), FaultReason::NotAHost(octets.into())));
    }
}

#[test]
fn several_faults_are_all_told_and_the_strongest_counts() {
    // RFC 7606 §3(h).
    let aggregator = attribute(TRANSITIVE, 7, &[1]);
    let communities = attribute(TRANSITIVE, 8, &[1]);
    let found = verdict(&announcement(&[&aggregator, &communities]), &internal());
    assert!(found.withdraw);
    let actions: Vec<_> = found.faults.iter().map(|(_, _, action)| *action).collect();
    assert_eq!(actions, [FaultAction::AttributeDiscard, FaultAction::TreatAsWithdraw]);
}

#[test]
fn faults_are_told_with_their_place() {
    let communities = attribute(TRANSITIVE, 8, &[1]);
    let message = announcement(&[&communities]);
    decoded(&message, &internal(), |update| {
        assert_eq!(texts(update.faults), ["COMMUNITIES: length 1 is not possible at offset 32 (treat-as-withdraw)"]);
        assert_eq!(update.faults[0].octets(&message), [1]);
    });
}

#[test]
fn typed_values_encode_to_what_they_were_decoded_from() {
    for row in rows() {
        let typed = decode_value(row.flags, row.code, &row.good).expect("valid");
        let mut again = Vec::new();
        typed.encode(&mut again);
        assert_eq!(again, [&[row.flags, row.code, row.good.len() as u8], row.good.as_slice()].concat());
        assert!(!typed.to_string().is_empty());
        let unknown = matches!(typed, Attribute::Unknown { .. });
        assert_eq!(unknown, matches!(row.code, 22 | 23 | 40), "{:?}", name(row.code));
    }
}
