//! OPEN and capabilities (RFC 4271 §4.2, §6.2; RFC 5492; RFC 9072; RFC 6286).

use std::net::Ipv4Addr;

use bgp_wire::capability::{AddPathMode, Capability, GracefulRestart};
use bgp_wire::frame::{MAX_LEN, MessageType, split};
use bgp_wire::open::{AS_TRANS, Open};
use bgp_wire::{Family, Notification};
use proptest::prelude::*;

/// Version 4, AS 65001, hold time 90, 10.0.0.1, then the optional parameters.
fn body(parameters: &[u8]) -> Vec<u8> {
    let mut body = vec![4, 0xfd, 0xe9, 0, 90, 10, 0, 0, 1];
    body.extend_from_slice(parameters);
    body
}

fn error(body: &[u8]) -> (u8, u8, Vec<u8>) {
    let Notification { code, subcode, data } = Open::decode(body).expect_err("an error");
    (code, subcode, data)
}

#[test]
fn open_without_parameters_is_read() {
    let open = Open::decode(&body(&[0])).expect("valid");
    let expected =
        Open { my_as: 65_001, hold_seconds: 90, router_id: Ipv4Addr::new(10, 0, 0, 1), capabilities: vec![] };
    assert_eq!(open, expected);
    assert_eq!(open.asn(), 65_001);
}

#[test]
fn other_version_is_answered_with_ours() {
    // RFC 4271 §6.2.
    for version in [0, 3, 5, 255] {
        let mut body = body(&[0]);
        body[0] = version;
        assert_eq!(error(&body), (2, 1, vec![0, 4]));
    }
}

#[test]
fn hold_times_of_one_and_two_seconds_are_unacceptable() {
    // RFC 4271 §6.2.
    for (seconds, good) in [(0, true), (1, false), (2, false), (3, true), (255, true)] {
        let mut body = body(&[0]);
        body[4] = seconds;
        assert_eq!(Open::decode(&body).is_ok(), good, "{seconds}");
        assert!(good || error(&body) == (2, 6, vec![]));
    }
}

#[test]
fn identifier_zero_is_bad_and_any_other_good() {
    // RFC 6286 §2.1.
    let mut zero = body(&[0]);
    zero[5..9].fill(0);
    assert_eq!(error(&zero), (2, 3, vec![]));
    let mut multicast = body(&[0]);
    multicast[5..9].fill(0xff);
    assert!(Open::decode(&multicast).is_ok());
}

#[test]
fn unknown_parameter_is_unsupported() {
    // RFC 4271 §6.2.
    assert_eq!(error(&body(&[4, 1, 2, 0, 0])), (2, 4, vec![]));
}

#[test]
fn lengths_that_contradict_each_other_are_unspecific_errors() {
    // RFC 4271 §6.2.
    let wrong: [&[u8]; 8] = [
        &[],                     // no length at all
        &[1],                    // parameters missing
        &[0, 0],                 // more than the length says
        &[2, 2, 1],              // parameter longer than the field
        &[1, 2],                 // parameter without a length
        &[3, 2, 1, 65],          // capability without a length
        &[4, 2, 2, 65, 4],       // capability longer than its parameter
        &[255, 255, 0, 4, 2, 0], // extended length too long
    ];
    for parameters in wrong {
        assert_eq!(error(&body(parameters)), (2, 0, vec![]), "{parameters:?}");
    }
    for len in 1..10 {
        assert_eq!(error(&body(&[0])[..len.min(9)]), (2, 0, vec![]), "{len}");
    }
}

#[test]
fn capabilities_may_be_in_one_parameter_or_in_many() {
    // RFC 5492 §4.
    let one = Open::decode(&body(&[10, 2, 8, 2, 0, 65, 4, 0, 0, 0xfd, 0xe9])).expect("valid");
    let many = Open::decode(&body(&[12, 2, 2, 2, 0, 2, 6, 65, 4, 0, 0, 0xfd, 0xe9])).expect("valid");
    assert_eq!(one.capabilities, [Capability::RouteRefresh, Capability::FourOctetAs(65_001)]);
    assert_eq!(one, many);
}

#[test]
fn same_capability_twice_is_once() {
    // RFC 5492 §4.
    let open = Open::decode(&body(&[6, 2, 4, 2, 0, 2, 0])).expect("valid");
    assert_eq!(open.capabilities, [Capability::RouteRefresh]);
}

#[test]
fn extended_parameters_are_read() {
    // RFC 9072 §2; the one-octet length may be any but zero.
    for len in [1, 255] {
        let open = Open::decode(&body(&[len, 255, 0, 5, 2, 0, 2, 2, 0])).expect("valid");
        assert_eq!(open.capabilities, [Capability::RouteRefresh]);
    }
}

#[test]
fn malformed_capability_does_not_count_as_offered() {
    // RFC 5492 §5 has no error for it.
    for (code, value) in [(1, vec![0, 1, 0]), (65, vec![0, 1]), (2, vec![1]), (69, vec![0, 1, 1]), (64, vec![0])] {
        let capability = Capability::decode(code, &value);
        assert_eq!(capability, Capability::Unknown { code, value });
    }
}

#[test]
fn add_path_entry_with_an_undefined_mode_is_ignored() {
    // RFC 7911 §4.
    let capability = Capability::decode(69, &[0, 1, 1, 0, 0, 2, 1, 3, 0, 1, 1, 4]);
    let both = AddPathMode { receive: true, send: true };
    assert_eq!(capability, Capability::AddPath(vec![(Family::IPV6_UNICAST, both)]));
}

#[test]
fn extended_next_hop_of_a_safi_that_cannot_be_is_ignored() {
    // RFC 8950 §4: the SAFI has two octets here, of which the first must be zero.
    let capability = Capability::decode(5, &[0, 1, 1, 1, 0, 2, 0, 1, 0, 1, 0, 2]);
    assert_eq!(capability, Capability::ExtendedNextHop(vec![(Family::IPV4_UNICAST, 2)]));
}

#[test]
fn capabilities_are_said_in_words_that_no_terminal_obeys() {
    for (code, value, said) in [
        (128, &[][..], "route-refresh (code 128, from before RFC 2918)"),
        (128, &[1], "unknown capability 128 0x01"),
        (73, b"\x06node11\x00", "fqdn node11"),
        (73, b"\x08\x1b[2Jgone\x03a\nb", "fqdn  [2Jgone.a b"),
    ] {
        assert_eq!(Capability::decode(code, value).to_string(), said);
    }
}

#[test]
fn as_number_of_the_capability_counts() {
    // RFC 6793 §4.1.
    let open = Open::decode(&body(&[8, 2, 6, 65, 4, 0xfa, 0x56, 0xea, 0x01])).expect("valid");
    assert_eq!(open.asn(), 4_200_000_001);
}

#[test]
fn as_number_zero_is_bad_whatever_the_capability_says() {
    // RFC 7607 §2. One parameter with the capability of 4-octet AS numbers: 65001.
    let with_capability = body(&[8, 2, 6, 65, 4, 0, 0, 0xfd, 0xe9]);
    for mut body in [body(&[0]), with_capability] {
        body[1..3].copy_from_slice(&[0, 0]);
        assert_eq!(error(&body), (2, 2, vec![]));
    }
}

fn family() -> impl Strategy<Value = Family> {
    (any::<u16>(), any::<u8>()).prop_map(|(afi, safi)| Family { afi, safi })
}

fn mode() -> impl Strategy<Value = AddPathMode> {
    (1_u8..4).prop_map(|mode| AddPathMode { receive: mode & 1 != 0, send: mode & 2 != 0 })
}

fn graceful_restart() -> impl Strategy<Value = GracefulRestart> {
    let families = prop::collection::vec((family(), any::<bool>()), 0..5);
    (any::<bool>(), any::<bool>(), 0_u16..4096, families).prop_map(
        |(restarting, notification, restart_seconds, families)| GracefulRestart {
            restarting,
            notification,
            restart_seconds,
            families,
        },
    )
}

fn capability() -> impl Strategy<Value = Capability> {
    let entries = prop::collection::vec((family(), any::<u16>()), 0..6);
    let llgr = prop::collection::vec((family(), any::<bool>(), 0_u32..1 << 24), 0..6);
    prop_oneof![
        family().prop_map(Capability::Multiprotocol),
        Just(Capability::RouteRefresh),
        entries.prop_map(Capability::ExtendedNextHop),
        Just(Capability::ExtendedMessage),
        any::<u8>().prop_map(Capability::Role),
        graceful_restart().prop_map(Capability::GracefulRestart),
        any::<u32>().prop_map(Capability::FourOctetAs),
        prop::collection::vec((family(), mode()), 0..6).prop_map(Capability::AddPath),
        Just(Capability::EnhancedRouteRefresh),
        llgr.prop_map(Capability::LongLivedGracefulRestart),
        ("[a-z0-9]{0,20}", "[a-z0-9.]{0,20}").prop_map(|(host, domain)| Capability::Fqdn(host, domain)),
        (128_u8.., prop::collection::vec(any::<u8>(), 0..80))
            .prop_map(|(code, value)| Capability::Unknown { code, value }),
    ]
}

proptest! {
    #[test]
    fn capability_survives_the_wire(capability in capability()) {
        let mut bytes = Vec::new();
        capability.encode(&mut bytes);
        prop_assert_eq!(usize::from(bytes[1]), bytes.len() - 2);
        prop_assert_eq!(Capability::decode(bytes[0], &bytes[2..]), capability);
    }

    #[test]
    fn open_survives_the_wire(
        my_as in prop_oneof![1_u16.., Just(AS_TRANS)],
        hold_seconds in prop_oneof![Just(0_u16), 3_u16..],
        router_id in 1_u32..,
        capabilities in prop::collection::vec(capability(), 0..20),
    ) {
        let mut open = Open { my_as, hold_seconds, router_id: router_id.into(), capabilities: vec![] };
        for capability in capabilities {
            if !open.capabilities.contains(&capability) {
                open.capabilities.push(capability);
            }
        }
        let mut bytes = Vec::new();
        open.encode(&mut bytes);
        let frame = split(&bytes, MAX_LEN).expect("valid").expect("whole");
        prop_assert_eq!(frame.kind, MessageType::Open);
        prop_assert_eq!(Open::decode(frame.body), Ok(open));
    }

    #[test]
    fn any_octets_are_an_open_or_an_error(body in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Err(notification) = Open::decode(&body) {
            prop_assert_eq!(notification.code, 2);
        }
    }

    #[test]
    fn any_parameters_are_read_or_an_error(parameters in prop::collection::vec(0_u8..80, 0..100)) {
        let mut all = vec![parameters.len() as u8];
        all.extend_from_slice(&parameters);
        let _ = Open::decode(&body(&all));
    }
}
