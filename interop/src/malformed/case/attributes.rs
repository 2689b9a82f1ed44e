//! Path attributes (RFC 7606 §3, §4, §7).

use super::super::message::{
    EXTERNAL, INTERNAL, OPTIONAL, Place, TRANSITIVE, WELL_KNOWN, Who, attribute, nlri, update,
};
use super::Expected::{Dropped, Reset, Used, Withdrawn};
use super::{Case, Expected, update_case};

/// An announcement in which one attribute is as given.
fn with(place: &Place, flags: u8, code: u8, value: &[u8]) -> Vec<u8> {
    let mut all = place.attributes(77, true, &[code]);
    all.push(attribute(flags, code, value));
    all.sort_by_key(|one| one[1]);
    update(&[], &all, &nlri(&place.ipv4()))
}

/// A case of one attribute that is not as it should be.
fn one(name: &str, rfc: &'static str, who: Who, attribute: (u8, u8, &[u8]), allowed: Expected) -> Case {
    let (flags, code, value) = attribute;
    let octets = value.to_vec();
    update_case(name, rfc, who, &[allowed], move |place| with(place, flags, code, &octets)).looking_for(code, value)
}

pub(super) fn cases() -> Vec<Case> {
    let mut all = mandatory();
    all.extend(as_path());
    all.extend(lengths());
    all.extend(of_internal_peers());
    all.extend(two_octets());
    all.extend(tlvs());
    all.extend(flags_and_unknown());
    all.extend(around());
    all
}

fn mandatory() -> Vec<Case> {
    let missing = |name: &str, code: u8| {
        update_case(format!("{name} missing"), "RFC 7606 §3(d)", INTERNAL, &[Withdrawn], move |place| {
            update(&[], &place.attributes(77, true, &[code]), &nlri(&place.ipv4()))
        })
    };
    vec![
        missing("ORIGIN", 1),
        missing("AS_PATH", 2),
        missing("NEXT_HOP", 3),
        one("ORIGIN of length 0", "RFC 7606 §7.1", INTERNAL, (WELL_KNOWN, 1, &[]), Withdrawn),
        one("ORIGIN of length 2", "RFC 7606 §7.1", INTERNAL, (WELL_KNOWN, 1, &[0, 0]), Withdrawn),
        one("ORIGIN undefined", "RFC 7606 §7.1", INTERNAL, (WELL_KNOWN, 1, &[3]), Withdrawn),
        one("NEXT_HOP of length 3", "RFC 7606 §7.3", INTERNAL, (WELL_KNOWN, 3, &[192, 0, 2]), Withdrawn),
        one("NEXT_HOP of length 5", "RFC 7606 §7.3", INTERNAL, (WELL_KNOWN, 3, &[192, 0, 2, 2, 0]), Withdrawn),
        one("NEXT_HOP 0.0.0.0", "RFC 7606 §3(e)", INTERNAL, (WELL_KNOWN, 3, &[0, 0, 0, 0]), Withdrawn),
        one("NEXT_HOP 224.0.0.5", "RFC 7606 §3(e)", INTERNAL, (WELL_KNOWN, 3, &[224, 0, 0, 5]), Withdrawn),
        one("NEXT_HOP of the receiver", "RFC 4271 §6.3", INTERNAL, (WELL_KNOWN, 3, &[192, 0, 2, 1]), Withdrawn),
    ]
}

fn as_path() -> Vec<Case> {
    let path = |name: &str, rfc, who, value: &[u8]| one(name, rfc, who, (WELL_KNOWN, 2, value), Withdrawn);
    vec![
        path("AS_PATH with one octet left", "RFC 7606 §7.2", INTERNAL, &[2, 1, 0, 0, 0xfd, 0xe9, 2]),
        path("AS_PATH segment too long", "RFC 7606 §7.2", INTERNAL, &[2, 2, 0, 0, 0xfd, 0xe9]),
        path("AS_PATH segment of type 9", "RFC 7606 §7.2", INTERNAL, &[9, 1, 0, 0, 0xfd, 0xe9]),
        path("AS_PATH segment without AS", "RFC 7606 §7.2", INTERNAL, &[2, 0, 2, 1, 0, 0, 0xfd, 0xe9]),
        path("AS_PATH with AS 0", "RFC 7607 §2", EXTERNAL, &[2, 2, 0, 0, 0xfd, 0xe9, 0, 0, 0, 0]),
        path("AS_CONFED_SEQUENCE from eBGP", "RFC 5065 §5.3", EXTERNAL, &[3, 1, 0, 0, 0xfd, 0xe9]),
        path("AS_SET from eBGP", "RFC 9774 §3", EXTERNAL, &[2, 1, 0, 0, 0xfd, 0xe9, 1, 1, 0, 0, 0xfd, 0xea]),
    ]
}

/// Attributes whose length is fixed or a multiple.
fn lengths() -> Vec<Case> {
    let mut all = vec![
        one("ATOMIC_AGGREGATE of length 1", "RFC 7606 §7.6", INTERNAL, (WELL_KNOWN, 6, &[0]), Dropped),
        one("AGGREGATOR of length 6", "RFC 7606 §7.7", INTERNAL, (TRANSITIVE, 7, &[0xfd, 0xe9, 10, 0, 0, 1]), Dropped),
        one("AGGREGATOR with AS 0", "RFC 7607 §2", INTERNAL, (TRANSITIVE, 7, &[0, 0, 0, 0, 10, 0, 0, 1]), Dropped),
    ];
    for (name, rfc, flags, code, lengths) in [
        ("MULTI_EXIT_DISC", "RFC 7606 §7.4", OPTIONAL, 4, &[0, 3, 5][..]),
        ("LOCAL_PREF", "RFC 7606 §7.5", WELL_KNOWN, 5, &[0, 3, 5]),
        ("COMMUNITIES", "RFC 7606 §7.8", TRANSITIVE, 8, &[0, 5]),
        ("ORIGINATOR_ID", "RFC 7606 §7.9", OPTIONAL, 9, &[0, 3, 5]),
        ("CLUSTER_LIST", "RFC 7606 §7.10", OPTIONAL, 10, &[0, 5]),
        ("EXTENDED COMMUNITIES", "RFC 7606 §7.14", TRANSITIVE, 16, &[0, 7]),
        ("IPv6 EXTENDED COMMUNITIES", "RFC 7606 §7.15", TRANSITIVE, 25, &[0, 19]),
        ("LARGE_COMMUNITY", "RFC 8092 §6", TRANSITIVE, 32, &[0, 11]),
        ("ONLY_TO_CUSTOMER", "RFC 9234 §5", TRANSITIVE, 35, &[0, 3, 5]),
    ] {
        for &length in lengths {
            let name = format!("{name} of length {length}");
            all.push(one(&name, rfc, INTERNAL, (flags, code, &vec![1; length]), Withdrawn));
        }
    }
    all
}

/// What eBGP peers have no say in.
fn of_internal_peers() -> Vec<Case> {
    let from_external = |name: &str, rfc, flags, code, value: &[u8]| {
        one(&format!("{name} from eBGP"), rfc, EXTERNAL, (flags, code, value), Dropped)
    };
    vec![
        from_external("LOCAL_PREF", "RFC 7606 §7.5", WELL_KNOWN, 5, &[0, 0, 0x10, 0x92]),
        from_external("LOCAL_PREF of length 3", "RFC 7606 §7.5", WELL_KNOWN, 5, &[0, 0, 1]),
        from_external("ORIGINATOR_ID", "RFC 7606 §7.9", OPTIONAL, 9, &[10, 9, 9, 9]),
        from_external("CLUSTER_LIST", "RFC 7606 §7.10", OPTIONAL, 10, &[10, 9, 9, 9]),
        from_external("AIGP", "RFC 7311 §3.3", OPTIONAL, 26, &[1, 0, 11, 0, 0, 0, 0, 0, 0, 0, 5]),
        from_external("TUNNEL_ENCAPSULATION", "RFC 9012 §11", TRANSITIVE, 23, &[0, 8, 0, 3, 9, 1, 7]),
        from_external("PREFIX_SID", "RFC 8669 §5", TRANSITIVE, 40, &[1, 0, 7, 0, 0, 0, 0, 0, 0, 7]),
    ]
}

/// AS4_PATH and AS4_AGGREGATOR.
fn two_octets() -> Vec<Case> {
    let old = Who { two_octet: true, ..EXTERNAL };
    vec![
        one(
            "AS4_PATH from a 4-octet peer",
            "RFC 6793 §6",
            EXTERNAL,
            (TRANSITIVE, 17, &[2, 1, 0, 0, 0xfd, 0xe9]),
            Dropped,
        ),
        one("AS4_PATH of length 3", "RFC 6793 §6", old, (TRANSITIVE, 17, &[2, 1, 0]), Dropped),
        one("AS4_PATH segment of type 9", "RFC 6793 §6", old, (TRANSITIVE, 17, &[9, 1, 0, 0, 0xfd, 0xe9]), Dropped),
        one("AS4_PATH with AS 0", "RFC 7607 §2", old, (TRANSITIVE, 17, &[2, 1, 0, 0, 0, 0]), Dropped),
        one("AS4_AGGREGATOR with AS 0", "RFC 7607 §2", old, (TRANSITIVE, 18, &[0, 0, 0, 0, 10, 0, 0, 1]), Dropped),
        one(
            "AS4_AGGREGATOR from a 4-octet peer",
            "RFC 6793 §6",
            EXTERNAL,
            (TRANSITIVE, 18, &[0, 0, 0xfd, 0xe9, 10, 0, 0, 1]),
            Dropped,
        ),
        one("AS4_AGGREGATOR of length 7", "RFC 6793 §6", old, (TRANSITIVE, 18, &[0, 0, 0xfd, 0xe9, 10, 0, 0]), Dropped),
    ]
}

fn tlvs() -> Vec<Case> {
    let metric = &[1, 0, 11, 0, 0, 0, 0, 0, 0, 0, 5];
    let endpoint = [6, 6, 0, 0, 0, 0, 0, 0];
    let without_address = [6, 6, 0, 0, 0, 0, 0, 1];
    let tunnel = |parts: &[u8]| [&[0, 8, 0, parts.len() as u8][..], parts].concat();
    let of_tunnel = |name: &str, value: &[u8]| one(name, "RFC 9012 §13", INTERNAL, (TRANSITIVE, 23, value), Withdrawn);
    let label = [1, 0, 7, 0, 0, 0, 0, 0, 0, 7];
    let large = [0, 0, 0xfd, 0xe8, 0, 0, 0, 1, 0, 0, 0, 2];
    let twice = |value: &[u8]| [value, value].concat();
    vec![
        one("AIGP of length 0", "RFC 7606 §4", INTERNAL, (OPTIONAL, 26, &[]), Dropped),
        one("AIGP with flags 0xc0", "RFC 7311 §3.2", INTERNAL, (TRANSITIVE, 26, metric), Dropped),
        of_tunnel("TUNNEL_ENCAPSULATION of length 0", &[]),
        of_tunnel("tunnel without an egress endpoint", &tunnel(&[4, 0])),
        of_tunnel("tunnel with two egress endpoints", &tunnel(&twice(&endpoint))),
        of_tunnel("IPv4 egress endpoint without an address", &tunnel(&without_address)),
        one(
            "tunnel without an egress endpoint beside a right one",
            "RFC 9012 §13",
            INTERNAL,
            (TRANSITIVE, 23, &[tunnel(&endpoint), tunnel(&[4, 0])].concat()),
            Dropped,
        ),
        one("Label-Index twice", "RFC 8669 §6", INTERNAL, (TRANSITIVE, 40, &twice(&label)), Dropped),
        one("LARGE_COMMUNITY with a value twice", "RFC 8092 §3", INTERNAL, (TRANSITIVE, 32, &twice(&large)), Dropped),
        one(
            "AIGP TLV of length 10",
            "RFC 7311 §3",
            INTERNAL,
            (OPTIONAL, 26, &[1, 0, 10, 0, 0, 0, 0, 0, 0, 0]),
            Dropped,
        ),
        one("AIGP TLV too long", "RFC 7311 §3", INTERNAL, (OPTIONAL, 26, &[1, 0, 12, 0, 0, 0, 0, 0, 0, 0, 1]), Dropped),
        one(
            "tunnel longer than the attribute",
            "RFC 9012 §13",
            INTERNAL,
            (TRANSITIVE, 23, &[0, 8, 0, 19, 6, 6, 0, 0, 0, 0, 0, 0, 9, 1, 7]),
            Withdrawn,
        ),
        one(
            "sub-TLV longer than its tunnel",
            "RFC 9012 §13",
            INTERNAL,
            (TRANSITIVE, 23, &[0, 8, 0, 11, 6, 6, 0, 0, 0, 0, 0, 0, 9, 2, 7]),
            Withdrawn,
        ),
        one("PREFIX_SID of length 0", "RFC 8669 §6", INTERNAL, (TRANSITIVE, 40, &[]), Dropped),
        one(
            "PREFIX_SID TLV too long",
            "RFC 8669 §6",
            INTERNAL,
            (TRANSITIVE, 40, &[1, 0, 9, 0, 0, 0, 0, 0, 0, 7]),
            Dropped,
        ),
        one(
            "Label-Index of length 6",
            "RFC 8669 §6",
            INTERNAL,
            (TRANSITIVE, 40, &[1, 0, 6, 0, 0, 0, 0, 0, 7]),
            Dropped,
        ),
    ]
}

fn flags_and_unknown() -> Vec<Case> {
    let unknown = |name: &str, flags, allowed| one(name, "RFC 4271 §5", INTERNAL, (flags, 99, &[1, 2, 3]), allowed);
    let data = Some(vec![WELL_KNOWN, 99, 3, 1, 2, 3]);
    let flags = |name: &str, flags, code, value: &[u8]| {
        one(&format!("{name} with flags {flags:#04x}"), "RFC 7606 §3(c)", INTERNAL, (flags, code, value), Withdrawn)
    };
    vec![
        flags("ORIGIN", TRANSITIVE, 1, &[0]),
        flags("ORIGIN", 0, 1, &[0]),
        flags("AS_PATH", OPTIONAL, 2, &[2, 1, 0, 0, 0xfd, 0xe9]),
        flags("NEXT_HOP", TRANSITIVE, 3, &[192, 0, 2, 2]),
        flags("ATOMIC_AGGREGATE", TRANSITIVE, 6, &[]),
        flags("AGGREGATOR", OPTIONAL, 7, &[0, 0, 0xfd, 0xe9, 10, 0, 0, 1]),
        flags("CLUSTER_LIST", TRANSITIVE, 10, &[10, 9, 9, 9]),
        flags("EXTENDED COMMUNITIES", OPTIONAL, 16, &[0, 2, 0xfd, 0xe8, 0, 0, 0, 1]),
        flags("IPv6 EXTENDED COMMUNITIES", OPTIONAL, 25, &[1; 20]),
        flags("LARGE_COMMUNITY", OPTIONAL, 32, &[1; 12]),
        flags("ONLY_TO_CUSTOMER", OPTIONAL, 35, &[0, 0, 0xfd, 0xe9]),
        flags("TUNNEL_ENCAPSULATION", OPTIONAL, 23, &[0, 8, 0, 8, 6, 6, 0, 0, 0, 0, 0, 0]),
        flags("PREFIX_SID", OPTIONAL, 40, &[1, 0, 7, 0, 0, 0, 0, 0, 0, 7]),
        flags("MULTI_EXIT_DISC", TRANSITIVE, 4, &[0, 0, 0, 9]),
        flags("LOCAL_PREF", OPTIONAL, 5, &[0, 0, 0, 9]),
        flags("COMMUNITIES", WELL_KNOWN, 8, &[0xfd, 0xe8, 0, 1]),
        flags("COMMUNITIES", OPTIONAL, 8, &[0xfd, 0xe8, 0, 1]),
        flags("ORIGINATOR_ID", TRANSITIVE, 9, &[10, 9, 9, 9]),
        one("MULTI_EXIT_DISC with extended length", "RFC 4271 §4.3", INTERNAL, (OPTIONAL, 4, &[0, 0, 0, 78]), Used)
            .written(|place| {
                let mut all = place.attributes(0, true, &[4]);
                all.push(vec![OPTIONAL | 0x10, 4, 0, 4, 0, 0, 0, 78]);
                update(&[], &all, &nlri(&place.ipv4()))
            }),
        unknown("unknown optional transitive", TRANSITIVE, Used),
        unknown("unknown optional non-transitive", OPTIONAL, Dropped),
        one("unknown well-known", "RFC 4271 §6.3", INTERNAL, (WELL_KNOWN, 99, &[1, 2, 3]), Reset(3, 2, data)),
    ]
}

/// Order, repetition, overrun.
fn around() -> Vec<Case> {
    let tail = |name: &str, tail: Vec<u8>| {
        update_case(name, "RFC 7606 §4", INTERNAL, &[Withdrawn], move |place| {
            let mut all = place.attributes(77, true, &[]);
            all.push(tail.clone());
            update(&[], &all, &nlri(&place.ipv4()))
        })
    };
    let twice = |place: &Place| {
        let mut all = place.attributes(77, true, &[]);
        all.insert(1, attribute(WELL_KNOWN, 1, &[2]));
        update(&[], &all, &nlri(&place.ipv4()))
    };
    let community_twice = |place: &Place| {
        let mut all = place.attributes(77, true, &[]);
        all.push(attribute(TRANSITIVE, 8, &[0xfd, 0xe8, 0, 1]));
        all.push(attribute(TRANSITIVE, 8, &[0xfd, 0xe8, 0, 2]));
        update(&[], &all, &nlri(&place.ipv4()))
    };
    let reversed = |place: &Place| {
        let mut all = place.attributes(77, true, &[]);
        all.reverse();
        update(&[], &all, &nlri(&place.ipv4()))
    };
    let several = |place: &Place| {
        let mut all = place.attributes(77, true, &[]);
        all.push(attribute(WELL_KNOWN, 6, &[1]));
        all.push(attribute(TRANSITIVE, 8, &[1]));
        update(&[], &all, &nlri(&place.ipv4()))
    };
    vec![
        tail("attribute longer than all attributes", vec![TRANSITIVE, 8, 9, 0xfd, 0xe8]),
        tail("one octet after the last attribute", vec![TRANSITIVE]),
        update_case("ORIGIN twice", "RFC 7606 §3(g)", INTERNAL, &[Dropped], twice).looking_for(1, &[2]),
        update_case("COMMUNITIES twice", "RFC 7606 §3(g)", INTERNAL, &[Dropped], community_twice)
            .looking_for(8, &[0xfd, 0xe8, 0, 2]),
        update_case("attributes in descending order", "RFC 4271 §5", INTERNAL, &[Used], reversed),
        update_case("two malformed attributes", "RFC 7606 §3(h)", INTERNAL, &[Withdrawn], several),
    ]
}

impl Case {
    /// Writes the UPDATE in another way.
    fn written(mut self, other: fn(&Place) -> Vec<u8>) -> Self {
        if let super::Act::Update { body, .. } = &mut self.act {
            *body = Box::new(other);
        }
        self
    }
}
