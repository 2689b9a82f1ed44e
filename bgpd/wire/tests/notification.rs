//! NOTIFICATION and ROUTE-REFRESH (RFC 4271 §4.5, §6.4; RFC 9003; RFC 2918; RFC 7313).

use bgp_wire::frame::{MAX_LEN, MessageType, split};
use bgp_wire::notification::CeaseSubcode;
use bgp_wire::route_refresh::{RefreshSubtype, RouteRefresh};
use bgp_wire::{Family, Notification};
use proptest::prelude::*;

fn encoded(notification: &Notification) -> Vec<u8> {
    let mut bytes = Vec::new();
    notification.encode(&mut bytes);
    bytes
}

#[test]
fn what_is_missing_of_a_notification_is_zero() {
    // RFC 4271 §6.4: there is no error to send about a NOTIFICATION.
    assert_eq!(Notification::decode(&[]), Notification { code: 0, subcode: 0, data: vec![] });
    assert_eq!(Notification::decode(&[6]), Notification { code: 6, subcode: 0, data: vec![] });
}

#[test]
fn shutdown_text_is_cut_at_a_character_within_255_octets() {
    // RFC 9003 §2.
    let text = "ü".repeat(200);
    let notification = Notification::admin_shutdown(&text);
    assert_eq!(notification.data.len(), 255);
    assert_eq!(notification.shutdown_text(), Some("ü".repeat(127)));
}

#[test]
fn shutdown_without_a_text_has_no_data() {
    let notification = Notification::admin_shutdown("");
    assert_eq!((notification.data.len(), notification.shutdown_text()), (0, None));
}

#[test]
fn shutdown_text_that_is_not_utf8_or_too_long_is_shown_all_the_same() {
    // RFC 9003 §2.
    for (data, text) in [
        (vec![3, b'a', 0xff, b'b'], Some("a\u{fffd}b")),
        (vec![3, b'a', 0x1b, b'c'], Some("a c")),
        (vec![200, b'h', b'i'], Some("hi")),
        (vec![1, b'h', b'i'], Some("h")),
        (vec![0], None),
        (vec![], None),
    ] {
        for subcode in [2, 4] {
            let notification = Notification { code: 6, subcode, data: data.clone() };
            assert_eq!(notification.shutdown_text().as_deref(), text);
        }
        let other = Notification { code: 6, subcode: 3, data };
        assert_eq!(other.shutdown_text(), None);
    }
}

#[test]
fn notifications_read_well() {
    for (notification, text) in [
        (Notification::hold_timer_expired(), "Hold Timer Expired"),
        (Notification::bad_length(5000), "Message Header Error / Bad Message Length"),
        (Notification::cease(CeaseSubcode::MaximumPrefixes), "Cease / Maximum Number of Prefixes Reached"),
        (Notification::admin_reset("new policy"), "Cease / Administrative Reset: \"new policy\""),
        (Notification { code: 3, subcode: 99, data: vec![] }, "UPDATE Message Error / subcode 99"),
        (Notification { code: 77, subcode: 0, data: vec![] }, "Unknown Error 77"),
    ] {
        assert_eq!(notification.to_string(), text);
    }
}

#[test]
fn a_notification_never_is_longer_than_a_message_may_be() {
    let long = Notification { code: 3, subcode: 1, data: vec![7; 10_000] };
    let bytes = encoded(&long);
    assert_eq!(bytes.len(), MAX_LEN);
    assert!(matches!(split(&bytes, MAX_LEN), Ok(Some(_))));
}

proptest! {
    #[test]
    fn notification_survives_the_wire(
        code: u8,
        subcode: u8,
        data in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let notification = Notification { code, subcode, data };
        let bytes = encoded(&notification);
        let frame = split(&bytes, MAX_LEN).expect("valid").expect("whole");
        prop_assert_eq!(frame.kind, MessageType::Notification);
        prop_assert_eq!(Notification::decode(frame.body), notification);
        let _ = format!("{}", Notification::decode(frame.body));
    }

    #[test]
    fn route_refresh_survives_the_wire(afi: u16, safi: u8, subtype: u8) {
        let subtype = match subtype {
            0 => RefreshSubtype::Request,
            1 => RefreshSubtype::Begin,
            2 => RefreshSubtype::End,
            other => RefreshSubtype::Unknown(other),
        };
        let message = RouteRefresh { family: Family { afi, safi }, subtype };
        let mut bytes = Vec::new();
        message.encode(&mut bytes);
        let frame = split(&bytes, MAX_LEN).expect("valid").expect("whole");
        prop_assert_eq!(RouteRefresh::decode(frame.body), Ok(message));
    }
}

#[test]
fn a_hard_reset_carries_its_reason() {
    // RFC 8538 §3: the data is code, subcode and data of the reason.
    let reason = Notification::admin_shutdown("upgrade");
    let hard = Notification::hard_reset(&reason);
    assert_eq!(hard.data, [&[6, 2, 7][..], b"upgrade"].concat());
    assert!(hard.is_hard_reset() && !reason.is_hard_reset());
    assert_eq!(hard.hard_reset_reason(), Some(reason));
    assert_eq!(hard.to_string(), "Cease / Hard Reset: Cease / Administrative Shutdown: \"upgrade\"");
    assert_eq!(Notification::hard_reset(&hard).hard_reset_reason(), None);
}
