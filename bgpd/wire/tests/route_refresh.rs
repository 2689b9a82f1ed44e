//! ROUTE-REFRESH (RFC 2918 §3, RFC 7313 §3.2, §5).

use bgp_wire::Family;
use bgp_wire::route_refresh::{RefreshSubtype, RouteRefresh};

#[test]
fn subtype_says_what_is_meant() {
    for (octet, subtype) in [
        (0, RefreshSubtype::Request),
        (1, RefreshSubtype::Begin),
        (2, RefreshSubtype::End),
        (3, RefreshSubtype::Unknown(3)),
    ] {
        let message = RouteRefresh { family: Family::IPV4_UNICAST, subtype };
        assert_eq!(RouteRefresh::decode(&[0, 1, octet, 1]), Ok(message));
    }
}

#[test]
fn wrong_length_is_answered_with_the_whole_message() {
    // RFC 7313 §5. Marker, length, type, then the body.
    for body in [&[0, 1, 1, 1, 9][..], &[0, 1, 2, 1, 9, 9], &[0, 1, 0, 1, 9], &[0, 1, 1], &[]] {
        let error = RouteRefresh::decode(body).expect_err("not four octets");
        let whole = [&[0xff; 16][..], &[0, 19 + body.len() as u8, 5], body].concat();
        assert_eq!((error.code, error.subcode, error.data), (7, 1, whole));
    }
}

#[test]
fn unknown_subtype_is_ignored_whatever_its_length() {
    // RFC 7313 §5.
    for body in [&[0, 1, 3, 1][..], &[0, 1, 3, 1, 9], &[0, 1, 255, 1, 9, 9, 9]] {
        let message = RouteRefresh::decode(body).expect("it is ignored");
        assert!(matches!(message.subtype, RefreshSubtype::Unknown(_)));
    }
}
