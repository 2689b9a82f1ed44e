//! Message boundaries and the header's errors (RFC 4271 §4.1, §6.1; RFC 8654).

use bgp_wire::Notification;
use bgp_wire::frame::{HEADER_LEN, KEEPALIVE, MAX_EXTENDED_LEN, MAX_LEN, MessageType, split};

fn header(len: u16, code: u8) -> Vec<u8> {
    let mut bytes = vec![0xff; 16];
    bytes.extend_from_slice(&len.to_be_bytes());
    bytes.push(code);
    bytes
}

fn message(len: u16, code: u8) -> Vec<u8> {
    let mut bytes = header(len, code);
    bytes.resize(usize::from(len).max(HEADER_LEN), 0);
    bytes
}

#[test]
fn keepalive_is_a_header_alone() {
    let frame = split(&KEEPALIVE, MAX_LEN).expect("valid").expect("whole");
    assert_eq!((frame.kind, frame.body, frame.raw), (MessageType::Keepalive, &[][..], &KEEPALIVE[..]));
}

#[test]
fn every_beginning_of_a_message_waits_for_the_rest() {
    let bytes = message(60, 2);
    for len in 0..bytes.len() {
        assert_eq!(split(&bytes[..len], MAX_LEN), Ok(None), "{len} octets");
    }
    assert!(matches!(split(&bytes, MAX_LEN), Ok(Some(frame)) if frame.body.len() == 41));
}

#[test]
fn what_follows_a_message_is_left_alone() {
    let mut bytes = message(23, 2);
    bytes.extend_from_slice(&[1, 2, 3]);
    let frame = split(&bytes, MAX_LEN).expect("valid").expect("whole");
    assert_eq!(frame.raw.len(), 23);
}

#[test]
fn wrong_marker_is_not_synchronized_from_its_first_octet() {
    // RFC 4271 §6.1.
    for at in 0..16 {
        let mut bytes = message(19, 4);
        bytes[at] = 0xfe;
        assert_eq!(split(&bytes, MAX_LEN), Err(Notification::not_synchronized()));
        assert_eq!(split(&bytes[..=at], MAX_LEN), Err(Notification::not_synchronized()));
    }
}

#[test]
fn lengths_of_each_type_are_bounded() {
    // RFC 4271 §6.1; RFC 8654 §4: OPEN and KEEPALIVE are never extended.
    let rows = [(1, 29, 4096, 4096), (2, 23, 4096, 65_535), (3, 21, 4096, 65_535), (4, 19, 19, 19)];
    for (code, least, most, most_extended) in rows {
        for (max_len, most) in [(MAX_LEN, most), (MAX_EXTENDED_LEN, most_extended)] {
            for good in [least, most] {
                assert!(matches!(split(&message(good, code), max_len), Ok(Some(_))), "type {code} length {good}");
            }
            for bad in [0, 18, least - 1, most.saturating_add(1)] {
                let wrong = !(least..=most).contains(&bad);
                let expected = Err(Notification::bad_length(bad.into()));
                assert!(!wrong || split(&message(bad, code), max_len) == expected, "type {code} length {bad}");
            }
        }
    }
}

#[test]
fn bad_length_carries_the_length_field() {
    // RFC 4271 §6.1.
    let fault = split(&header(4097, 2), MAX_LEN).expect_err("too long");
    assert_eq!((fault.code, fault.subcode, fault.data), (1, 2, vec![0x10, 0x01]));
}

#[test]
fn unknown_type_carries_the_type_field() {
    // RFC 4271 §6.1.
    for code in [0, 6, 255] {
        let fault = split(&message(23, code), MAX_LEN).expect_err("unknown");
        assert_eq!((fault.code, fault.subcode, fault.data), (1, 3, vec![code]));
    }
}

#[test]
fn route_refresh_of_any_length_is_left_to_its_decoder() {
    // RFC 7313 §5.
    for len in [19, 22, 23, 24] {
        assert!(matches!(split(&message(len, 5), MAX_LEN), Ok(Some(_))), "{len}");
    }
}

#[test]
fn types_and_their_codes_belong_together() {
    for code in 0..=255 {
        assert!(MessageType::from_code(code).is_none_or(|kind| kind.code() == code));
    }
}
