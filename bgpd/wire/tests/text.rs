//! What people write and read: communities, AS paths, families.

use bgp_wire::Family;
use bgp_wire::attribute::{AsPath, Community, ExtendedCommunity, LargeCommunity, as_path};
use proptest::prelude::*;

#[test]
fn communities_have_names() {
    for (text, value) in [("65001:100", 0xfde9_0064), ("no-export", 0xffff_ff01), ("blackhole", 0xffff_029a)] {
        assert_eq!(text.parse(), Ok(Community(value)));
        assert_eq!(Community(value).to_string(), text);
    }
}

#[test]
fn what_is_not_a_community_says_what_would_be() {
    for text in ["", "1", "1:", "65536:1", "1:65536", "1:2:3", "no-such-name"] {
        let error = text.parse::<Community>().expect_err("not a community").to_string();
        assert!(error.starts_with(&format!("\"{text}\" is not a community")), "{error}");
    }
    assert!("1:2".parse::<LargeCommunity>().is_err());
    for text in ["rt", "rt:1", "rt:1:2:3", "xx:1:2", "rt:70000:70000", "0x12", "0x+123456789abcde", "rt:1.2.3:1"] {
        assert!(text.parse::<ExtendedCommunity>().is_err(), "{text}");
    }
}

#[test]
fn extended_communities_are_read_and_written() {
    for (text, octets) in [
        ("rt:65001:100", [0, 2, 0xfd, 0xe9, 0, 0, 0, 100]),
        ("soo:192.0.2.1:7", [1, 3, 192, 0, 2, 1, 0, 7]),
        ("rt:70000:7", [2, 2, 0, 1, 0x11, 0x70, 0, 7]),
        ("0x4300000000000000", [0x43, 0, 0, 0, 0, 0, 0, 0]),
    ] {
        assert_eq!(text.parse(), Ok(ExtendedCommunity(octets)));
        assert_eq!(ExtendedCommunity(octets).to_string(), text);
        assert_eq!(ExtendedCommunity(octets).is_transitive(), octets[0] & 0x40 == 0);
    }
}

#[test]
fn as_paths_are_read_and_written() {
    for text in ["", "65001", "65001 65002 {65003,65004}", "(65010 65011) 1", "[3,4] 1 2", "{1} {2}"] {
        assert_eq!(text.parse::<AsPath>().expect("a path").to_string(), text);
    }
    for text in ["x", "1 {", "1 }", "{}", "4294967296", "-1", "1.1"] {
        assert!(text.parse::<AsPath>().is_err(), "{text}");
    }
}

fn value(text: &str) -> Vec<u8> {
    let mut value = Vec::new();
    text.parse::<AsPath>().expect("a path").encode_value(&mut value);
    value
}

#[test]
fn length_of_a_path_is_that_of_the_decision_process() {
    // RFC 4271 §9.1.2.2(a): a set is one AS; RFC 5065 §5.3: confederations count nothing.
    for (text, length) in [("", 0), ("1 2 3", 3), ("1 {2,3,4}", 2), ("(9 8 7) 1", 1), ("[9] {1}", 1)] {
        assert_eq!(as_path::length(&value(text)), length, "{text}");
    }
}

#[test]
fn neighbor_and_origin_are_the_ends_of_a_path() {
    // RFC 4271 §9.1.2.2(c).
    for (text, neighbor, origin) in [
        ("", None, None),
        ("1 2 3", Some(1), Some(3)),
        ("(9 8) 1 2", Some(1), Some(2)),
        ("{1,2} 3", None, Some(3)),
        ("1 {2,3}", Some(1), None),
    ] {
        assert_eq!(
            (as_path::neighbor_as(&value(text)), as_path::origin_as(&value(text))),
            (neighbor, origin),
            "{text}"
        );
    }
}

#[test]
fn prepending_joins_the_first_sequence_or_makes_a_new_one() {
    // RFC 4271 §5.1.2(b).
    for (text, count, expected) in
        [("", 1, "7"), ("1 2", 2, "7 7 1 2"), ("{1,2}", 1, "7 {1,2}"), ("(5) 1", 1, "7 (5) 1")]
    {
        let mut out = Vec::new();
        as_path::prepend(&value(text), 7, count, &mut out);
        assert_eq!(AsPath::decode(&out).to_string(), expected);
    }
    let full = AsPath::sequence(&[1; 255]);
    let (mut long, mut out) = (Vec::new(), Vec::new());
    full.encode_value(&mut long);
    as_path::prepend(&long, 7, 1, &mut out);
    assert_eq!((as_path::length(&out), out[1]), (256, 1));
}

#[test]
fn families_have_the_names_of_the_configuration() {
    for (family, name) in [(Family::IPV4_UNICAST, "ipv4-unicast"), (Family::IPV6_UNICAST, "ipv6-unicast")] {
        assert_eq!((family.to_string().as_str(), name.parse()), (name, Ok(family)));
    }
    let error = "ipv5".parse::<Family>().expect_err("no family").to_string();
    assert_eq!(error, "unknown address family \"ipv5\", expected \"ipv4-unicast\" or \"ipv6-unicast\"");
    assert_eq!(Family { afi: 25, safi: 70 }.to_string(), "afi 25 safi 70");
}

proptest! {
    #[test]
    fn communities_read_what_they_write(standard: u32, extended: [u8; 8], large: [u32; 3]) {
        prop_assert_eq!(Community(standard).to_string().parse(), Ok(Community(standard)));
        let extended = ExtendedCommunity(extended);
        prop_assert_eq!(extended.to_string().parse(), Ok(extended));
        let large = LargeCommunity { global: large[0], local1: large[1], local2: large[2] };
        prop_assert_eq!(large.to_string().parse(), Ok(large));
    }

    #[test]
    fn no_text_makes_a_parser_panic(text in "[ 0-9:.{}()\\[\\],x+a-zü-]{0,24}") {
        let _ = text.parse::<Community>();
        let _ = text.parse::<ExtendedCommunity>();
        let _ = text.parse::<LargeCommunity>();
        let _ = text.parse::<AsPath>();
    }
}
