//! Fields around the attributes, and routes (RFC 7606 §3, §5; RFC 4271 §6.3; RFC 4760 §7).

use super::super::message::{
    INTERNAL, NEXT_HOP6, OPTIONAL, Place, Prefix, TRANSITIVE, WELL_KNOWN, Who, attribute, nlri, reach6, unreach6,
    update,
};
use super::Expected::{FamilyOff, Ignored, Reset, UpdateError, Used, Withdrawn};
use super::{Case, Expected, update_case};

pub(super) fn cases() -> Vec<Case> {
    let mut all = ipv4_fields();
    all.extend(mp_reach());
    all.extend(mp_unreach());
    all.extend(families());
    all
}

fn multicast(place: &Place) -> Prefix {
    (vec![239, 18, place.number, 0], 24)
}

/// An announcement whose NLRI field is as given, behind the case's own prefix.
fn nlri_case(name: &str, rfc: &'static str, allowed: Expected, more: &'static [u8]) -> Case {
    update_case(name, rfc, INTERNAL, &[allowed], move |place| {
        update(&[], &place.attributes(77, true, &[]), &[&nlri(&place.ipv4()), more].concat())
    })
}

fn ipv4_fields() -> Vec<Case> {
    let network = Reset(3, 10, None);
    let lengths = Reset(3, 1, None);
    vec![
        nlri_case("NLRI of length 33", "RFC 7606 §5.3", network.clone(), &[33, 1, 2, 3, 4, 5]),
        nlri_case("NLRI field ends inside a prefix", "RFC 7606 §5.3", network.clone(), &[24, 1, 2]),
        update_case("withdrawn route of length 33", "RFC 7606 §5.3", INTERNAL, &[network], |_| {
            update(&[33, 1, 2, 3, 4, 5], &[], &[])
        }),
        update_case(
            "withdrawn routes longer than the message",
            "RFC 4271 §6.3",
            INTERNAL,
            std::slice::from_ref(&lengths),
            |_| vec![0, 9, 8, 10, 0, 0],
        ),
        update_case("attributes longer than the message", "RFC 4271 §6.3", INTERNAL, &[lengths], |_| {
            vec![0, 0, 0, 99, WELL_KNOWN, 1, 1, 0]
        }),
        update_case("host bits set", "RFC 4271 §4.3", INTERNAL, &[Used], |place| {
            update(&[], &place.attributes(77, true, &[]), &[23, 198, 18, place.number | 1])
        })
        .about(|place| (vec![198, 18, place.number & 0xfe, 0], 23)),
        update_case("multicast prefix", "RFC 4271 §6.3", INTERNAL, &[Ignored], |place| {
            update(&[], &place.attributes(77, true, &[]), &nlri(&multicast(place)))
        })
        .about(multicast),
        update_case("malformed ORIGIN and no routes", "RFC 7606 §5.2", INTERNAL, &[UpdateError], |_| {
            update(&[], &[attribute(WELL_KNOWN, 1, &[9])], &[])
        }),
        update_case(
            "malformed ORIGIN and an unusable family",
            "RFC 7606 §3(h)",
            INTERNAL,
            &[FamilyOff, UpdateError],
            |place| {
                let mut all = vec![attribute(OPTIONAL, 14, &reach6(&[1, 2, 3, 4, 5], &nlri(&place.ipv6())))];
                all.extend(place.attributes(77, false, &[1]));
                all.push(attribute(WELL_KNOWN, 1, &[9]));
                update(&[], &all, &[])
            },
        )
        .of_ipv6(),
        update_case(
            "malformed ORIGIN and an unknown well-known",
            "RFC 7606 §3(h)",
            INTERNAL,
            &[Reset(3, 2, Some(vec![WELL_KNOWN, 99, 1, 7]))],
            |place| {
                let mut all = place.attributes(77, true, &[1]);
                all.push(attribute(WELL_KNOWN, 1, &[9]));
                all.push(attribute(WELL_KNOWN, 99, &[7]));
                update(&[], &all, &nlri(&place.ipv4()))
            },
        ),
        update_case("right attributes and no routes", "RFC 7606 §5.2", INTERNAL, &[Ignored], |place| {
            update(&[], &place.attributes(77, true, &[]), &[])
        }),
    ]
}

/// An announcement of IPv6 routes with MP_REACH_NLRI as given.
fn reach(place: &Place, flags: u8, value: &[u8]) -> Vec<u8> {
    let mut all = vec![attribute(flags, 14, value)];
    all.extend(place.attributes(77, false, &[]));
    update(&[], &all, &[])
}

fn reach_case(name: &str, rfc: &'static str, allowed: &[Expected], value: fn(&Place) -> Vec<u8>) -> Case {
    update_case(name, rfc, INTERNAL, allowed, move |place| reach(place, OPTIONAL, &value(place))).of_ipv6()
}

fn mp_reach() -> Vec<Case> {
    let unusable = [FamilyOff, UpdateError];
    let of = |place: &Place| nlri(&place.ipv6());
    let value = move |place: &Place| reach6(&NEXT_HOP6, &of(place));
    vec![
        reach_case("MP_REACH_NLRI, next hop of 5 octets", "RFC 7606 §7.11", &unusable, |place| {
            reach6(&[1, 2, 3, 4, 5], &nlri(&place.ipv6()))
        }),
        reach_case("MP_REACH_NLRI, next hop of 0 octets", "RFC 7606 §7.11", &unusable, |place| {
            reach6(&[], &nlri(&place.ipv6()))
        }),
        reach_case("MP_REACH_NLRI, next hop longer than the attribute", "RFC 7606 §7.11", &[UpdateError], |_| {
            vec![0, 2, 1, 16, 0x20, 1]
        }),
        reach_case("MP_REACH_NLRI of 3 octets", "RFC 7606 §7.11", &[UpdateError], |_| vec![0, 2, 1]),
        reach_case("MP_REACH_NLRI, prefix of length 129", "RFC 7606 §5.3", &unusable, |_| {
            reach6(&NEXT_HOP6, &[&[129][..], &[0x20; 17]].concat())
        }),
        reach_case("MP_REACH_NLRI ends inside a prefix", "RFC 7606 §5.3", &unusable, |place| {
            reach6(&NEXT_HOP6, &[&nlri(&place.ipv6())[..], &[64, 0x20, 1]].concat())
        }),
        update_case("MP_REACH_NLRI with flags 0xc0", "RFC 7606 §5.3", INTERNAL, &unusable, move |place| {
            reach(place, TRANSITIVE, &value(place))
        })
        .of_ipv6(),
        update_case("MP_REACH_NLRI twice", "RFC 7606 §3(g)", INTERNAL, &[Reset(3, 1, None)], move |place| {
            let one = attribute(OPTIONAL, 14, &value(place));
            let mut all = vec![one.clone(), one];
            all.extend(place.attributes(77, false, &[]));
            update(&[], &all, &[])
        })
        .of_ipv6(),
        update_case("MP_REACH_NLRI longer than all attributes", "RFC 7606 §3(j)", INTERNAL, &[UpdateError], |place| {
            let mut all = place.attributes(77, false, &[]);
            all.push(vec![OPTIONAL, 14, 99, 0, 2, 1]);
            update(&[], &all, &[])
        })
        .of_ipv6(),
        update_case("MP_REACH_NLRI as the last attribute", "RFC 7606 §5.1", INTERNAL, &[Used], move |place| {
            let mut all = place.attributes(77, false, &[]);
            all.push(attribute(OPTIONAL, 14, &value(place)));
            update(&[], &all, &[])
        })
        .of_ipv6(),
        update_case("MP_REACH_NLRI and malformed COMMUNITIES", "RFC 7606 §7.8", INTERNAL, &[Withdrawn], move |place| {
            let mut all = vec![attribute(OPTIONAL, 14, &value(place))];
            all.extend(place.attributes(77, false, &[]));
            all.push(attribute(TRANSITIVE, 8, &[1, 2, 3, 4, 5]));
            update(&[], &all, &[])
        })
        .of_ipv6(),
    ]
}

fn mp_unreach() -> Vec<Case> {
    let unusable = [FamilyOff, UpdateError];
    let one = |name: &str, rfc, allowed: &[Expected], value: Vec<u8>| {
        update_case(name, rfc, INTERNAL, allowed, move |_| update(&[], &[attribute(OPTIONAL, 15, &value)], &[]))
            .of_ipv6()
    };
    let wrong = unreach6(&[&[129][..], &[0x20; 17]].concat());
    let right = unreach6(&[64, 0x20, 1, 0xd, 0xb8, 0, 9, 0, 9]);
    vec![
        one("MP_UNREACH_NLRI of 2 octets", "RFC 7606 §5.3", &[UpdateError], vec![0, 2]),
        one("MP_UNREACH_NLRI, prefix of length 129", "RFC 7606 §5.3", &unusable, wrong),
        one("MP_UNREACH_NLRI ends inside a prefix", "RFC 7606 §5.3", &unusable, unreach6(&[64, 0x20, 1])),
        update_case("MP_UNREACH_NLRI with flags 0xc0", "RFC 7606 §5.3", INTERNAL, &unusable, move |_| {
            update(&[], &[attribute(TRANSITIVE, 15, &unreach6(&[64, 0x20, 1, 0xd, 0xb8, 0, 9, 0, 9]))], &[])
        })
        .of_ipv6(),
        update_case("MP_UNREACH_NLRI twice", "RFC 7606 §3(g)", INTERNAL, &[Reset(3, 1, None)], move |_| {
            let one = attribute(OPTIONAL, 15, &right);
            update(&[], &[one.clone(), one], &[])
        })
        .of_ipv6(),
    ]
}

/// Families that were not negotiated.
fn families() -> Vec<Case> {
    let ipv4_only = Who { ipv6: false, ..INTERNAL };
    let ipv6_only = Who { ipv4: false, ..INTERNAL };
    vec![
        update_case("IPv6 routes, not negotiated", "RFC 4760 §7", ipv4_only, &[Ignored], |place| {
            reach(place, OPTIONAL, &reach6(&NEXT_HOP6, &nlri(&place.ipv6())))
        })
        .of_ipv6(),
        update_case("IPv4 routes, not negotiated", "RFC 4760 §7", ipv6_only, &[Ignored], |place| {
            place.announcement(&place.ipv4(), 77)
        }),
    ]
}
