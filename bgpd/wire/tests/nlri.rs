//! Prefixes as NLRI (RFC 4271 §4.3, RFC 7606 §5.3).

use bgp_wire::Nlri;
use bgp_wire::cursor::Cursor;
use bgp_wire::nlri::{Ipv4Unicast, Ipv6Unicast, NlriFault, Prefix};
use proptest::prelude::*;

fn decode<N: Nlri>(bytes: &[u8]) -> Result<N::Key, NlriFault> {
    N::decode(&mut Cursor::new(bytes))
}

#[test]
fn prefixes_are_as_long_as_they_need() {
    for (text, bytes) in [
        ("0.0.0.0/0", &[0][..]),
        ("10.0.0.0/8", &[8, 10]),
        ("10.128.0.0/9", &[9, 10, 128]),
        ("192.0.2.0/24", &[24, 192, 0, 2]),
        ("192.0.2.1/32", &[32, 192, 0, 2, 1]),
    ] {
        let prefix = decode::<Ipv4Unicast>(bytes).expect("valid");
        assert_eq!(prefix.to_string(), text);
        let mut again = Vec::new();
        Ipv4Unicast::encode(&prefix, &mut again);
        assert_eq!(again, bytes);
    }
}

#[test]
fn bits_behind_the_prefix_mean_nothing() {
    // RFC 4271 §4.3.
    assert_eq!(decode::<Ipv4Unicast>(&[12, 10, 0x1f]), decode::<Ipv4Unicast>(&[12, 10, 0x10]));
}

#[test]
fn prefix_longer_than_the_address_is_a_fault() {
    // RFC 7606 §5.3.
    assert_eq!(decode::<Ipv4Unicast>(&[33, 1, 2, 3, 4, 5]), Err(NlriFault::PrefixLength(33)));
    assert_eq!(decode::<Ipv6Unicast>(&[129; 18]), Err(NlriFault::PrefixLength(129)));
}

#[test]
fn field_that_ends_inside_a_prefix_is_a_fault() {
    // RFC 7606 §5.3.
    for bytes in [&[][..], &[8], &[24, 1, 2], &[32, 1, 2, 3]] {
        assert_eq!(decode::<Ipv4Unicast>(bytes), Err(NlriFault::Overrun));
    }
}

#[test]
fn multicast_addresses_are_no_routes() {
    // RFC 4271 §6.3; 224.0.0.0/4 and ff00::/8. What holds other addresses as well is a route.
    let ipv4 = |bytes: &[u8]| decode::<Ipv4Unicast>(bytes).map(|key| Ipv4Unicast::is_routable(&key));
    let ipv6 = |bytes: &[u8]| decode::<Ipv6Unicast>(bytes).map(|key| Ipv6Unicast::is_routable(&key));
    for (bytes, routable) in [(&[0][..], true), (&[3, 224], true), (&[4, 224], false), (&[24, 239, 1, 1], false)] {
        assert_eq!(ipv4(bytes), Ok(routable), "{bytes:?}");
    }
    assert_eq!(ipv4(&[8, 240]), Ok(true));
    for (bytes, routable) in [(&[0][..], true), (&[7, 0xfe], true), (&[8, 0xff], false), (&[16, 0xff, 2], false)] {
        assert_eq!(ipv6(bytes), Ok(routable), "{bytes:?}");
    }
}

#[test]
fn prefixes_of_the_same_sixteen_share_a_partition() {
    let partition = |bytes, len| Ipv4Unicast::partition(&Prefix::new(bytes, len));
    assert_eq!(partition([10, 1, 0, 0], 24), partition([10, 1, 255, 0], 24));
    assert_ne!(partition([10, 1, 0, 0], 24), partition([10, 2, 0, 0], 24));
}

proptest! {
    #[test]
    fn ipv4_prefix_survives_the_wire(address: [u8; 4], len in 0_u8..=32) {
        survives::<Ipv4Unicast>(Prefix::new(address, len));
    }

    #[test]
    fn ipv6_prefix_survives_the_wire(address: [u8; 16], len in 0_u8..=128) {
        survives::<Ipv6Unicast>(Prefix::new(address, len));
    }

    #[test]
    fn any_octets_are_a_prefix_or_a_fault(bytes in prop::collection::vec(any::<u8>(), 0..20)) {
        let _ = decode::<Ipv4Unicast>(&bytes).map(|prefix| prefix.to_string());
        let _ = decode::<Ipv6Unicast>(&bytes).map(|prefix| prefix.to_string());
    }
}

fn survives<N: Nlri>(key: N::Key) {
    let mut bytes = Vec::new();
    N::encode(&key, &mut bytes);
    assert_eq!(bytes.len(), N::encoded_len(&key));
    let mut cursor = Cursor::new(&bytes);
    assert_eq!(N::decode(&mut cursor), Ok(key));
    assert!(cursor.is_empty());
    assert_eq!(N::from_prefix(N::prefix(&key)), Some(key));
    assert_eq!(N::prefix(&key).to_string(), key.to_string());
}
