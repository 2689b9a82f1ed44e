//! Headers, OPEN, states, ROUTE-REFRESH (RFC 4271 §6.1, §6.2, §6.6; RFC 6608; RFC 7313 §5; RFC 8654; RFC 9072).

use super::super::message::{
    ASN, Fixed, INTERNAL, KEEPALIVE, NOTIFICATION, OPEN, Place, ROUTE_REFRESH, TRANSITIVE, UPDATE, Who, attribute,
    capabilities, message, nlri, open, parameters, update, with_length,
};
use super::Expected::{Established, Ignored, Reset, Used};
use super::{Act, Case, Expected, Stage, update_case};

fn case(
    name: &str,
    rfc: &'static str,
    stage: Stage,
    allowed: Expected,
    octets: impl Fn(&Place) -> Vec<u8> + Send + Sync + 'static,
) -> Case {
    let act = Act::Message { stage, octets: Box::new(octets) };
    Case { name: name.to_owned(), rfc, who: INTERNAL, allowed: vec![allowed], act }
}

pub(super) fn cases() -> Vec<Case> {
    let mut all = headers();
    all.extend(opens());
    all.extend(parameter_lists());
    all.extend(states());
    all.extend(long_messages());
    all
}

fn headers() -> Vec<Case> {
    let rfc = "RFC 4271 §6.1";
    let length = |len: u16| Reset(1, 2, Some(len.to_be_bytes().to_vec()));
    let header =
        |name: &str, allowed, octets: Vec<u8>| case(name, rfc, Stage::Established, allowed, move |_| octets.clone());
    let mut marker = message(KEEPALIVE, &[]);
    let long = message(ROUTE_REFRESH, &[0, 1, 1, 1, 9]);
    marker[3] = 0;
    vec![
        header("marker not all ones", Reset(1, 1, None), marker),
        header("length 18", length(18), with_length(18, KEEPALIVE, &[])),
        header("KEEPALIVE of length 20", length(20), message(KEEPALIVE, &[0])),
        header("UPDATE of length 22", length(22), message(UPDATE, &[0, 0, 0])),
        header("NOTIFICATION of length 20", length(20), message(NOTIFICATION, &[6])),
        header("message type 0", Reset(1, 3, Some(vec![0])), message(0, &[])),
        header("message type 9", Reset(1, 3, Some(vec![9])), message(9, &[])),
        case("OPEN of length 28", rfc, Stage::OpenSent, length(28), |_| {
            message(OPEN, &[4, 0xfd, 0xe8, 0, 90, 10, 0, 0, 9])
        }),
        case("OPEN of length 4097", "RFC 8654 §4", Stage::OpenSent, length(4097), |_| {
            with_length(4097, OPEN, &[4; 4078])
        }),
        case("BoRR of length 24", "RFC 7313 §5", Stage::Established, Reset(7, 1, Some(long.clone())), move |_| {
            long.clone()
        }),
        case("ROUTE-REFRESH of subtype 9, length 24", "RFC 7313 §5", Stage::Established, Ignored, |_| {
            message(ROUTE_REFRESH, &[0, 1, 9, 1, 9])
        }),
    ]
}

/// An OPEN that would be right.
fn fixed(place: &Place) -> Fixed {
    Fixed { version: 4, asn: ASN, hold_time: 90, router_id: [10, 0, 1, place.number] }
}

/// An OPEN with one field that is not as it should be.
fn open_case(name: &str, rfc: &'static str, allowed: Expected, wrong: fn(Fixed) -> Fixed) -> Case {
    case(name, rfc, Stage::OpenSent, allowed, move |place| {
        message(OPEN, &open(wrong(fixed(place)), &parameters(&capabilities(INTERNAL))))
    })
}

fn opens() -> Vec<Case> {
    let rfc = "RFC 4271 §6.2";
    vec![
        open_case("version 3", rfc, Reset(2, 1, Some(vec![0, 4])), |open| Fixed { version: 3, ..open }),
        case("AS number of another", rfc, Stage::OpenSent, Reset(2, 2, None), |place| {
            let who = Who { two_octet: true, ..INTERNAL };
            message(OPEN, &open(Fixed { asn: 65_111, ..fixed(place) }, &parameters(&capabilities(who))))
        }),
        case("AS number 0", "RFC 7607 §2", Stage::OpenSent, Reset(2, 2, None), |place| {
            let who = Who { two_octet: true, ..INTERNAL };
            message(OPEN, &open(Fixed { asn: 0, ..fixed(place) }, &parameters(&capabilities(who))))
        }),
        case("AS number 0, another as capability", "RFC 7607 §2", Stage::OpenSent, Reset(2, 2, None), |place| {
            let who = capabilities(INTERNAL);
            message(OPEN, &open(Fixed { asn: 0, ..fixed(place) }, &parameters(&who)))
        }),
        open_case("BGP identifier 0.0.0.0", "RFC 6286 §2.1", Reset(2, 3, None), |open| Fixed {
            router_id: [0; 4],
            ..open
        }),
        open_case("BGP identifier of the receiver", "RFC 6286 §2.2", Reset(2, 3, None), |open| Fixed {
            router_id: [192, 0, 2, 1],
            ..open
        }),
        open_case("hold time 1", rfc, Reset(2, 6, None), |open| Fixed { hold_time: 1, ..open }),
        open_case("hold time 2", rfc, Reset(2, 6, None), |open| Fixed { hold_time: 2, ..open }),
        open_case("hold time 0", "RFC 4271 §4.2", Established, |open| Fixed { hold_time: 0, ..open }),
    ]
}

fn parameter_lists() -> Vec<Case> {
    let list = |name: &str, rfc, allowed, list: Vec<u8>| {
        case(name, rfc, Stage::OpenSent, allowed, move |place| message(OPEN, &open(fixed(place), &list)))
    };
    let all = capabilities(INTERNAL);
    let len = all.len() as u8;
    let extended = [&[255, 255, 0, len + 3, 2, 0, len][..], &all].concat();
    let non_zero_only = [&[1, 255, 0, len + 3, 2, 0, len][..], &all].concat();
    let unknown = [&all[..], &[200, 3, 1, 2, 3]].concat();
    let twice = [&all[..], &all].concat();
    let each = [&[8, 2, 6][..], &all[..6]].concat();
    vec![
        list("parameter of type 1", "RFC 4271 §6.2", Reset(2, 4, None), vec![4, 1, 2, 0, 0]),
        list("parameter longer than the list", "RFC 4271 §6.2", Reset(2, 0, None), vec![4, 2, 9, 1, 4]),
        list("capability longer than its parameter", "RFC 5492 §4", Reset(2, 0, None), vec![4, 2, 2, 1, 4]),
        list("list longer than the message", "RFC 4271 §6.2", Reset(2, 0, None), vec![40, 2, 2, 2, 0]),
        list(
            "extended parameter longer than the list",
            "RFC 9072 §2",
            Reset(2, 0, None),
            vec![255, 255, 0, 5, 2, 0, 9, 2, 0],
        ),
        list("extended optional parameters", "RFC 9072 §2", Established, extended),
        list("extended, with another first length", "RFC 9072 §2", Established, non_zero_only),
        list("unknown capability", "RFC 5492 §4", Established, parameters(&unknown)),
        list("each capability twice", "RFC 5492 §4", Established, parameters(&twice)),
        list("one capability only", "RFC 5492 §4", Established, each),
        list("no capabilities", "RFC 4271 §4.2", Established, vec![0]),
        list(
            "no family in common",
            "RFC 5492 §3",
            Reset(2, 7, None),
            parameters(&[1, 4, 0, 25, 0, 70, 65, 4, 0, 0, 0xfd, 0xe8]),
        )
        .or(Established),
    ]
}

/// Messages that are right in another state only (RFC 6608 §4: the data is their type).
fn states() -> Vec<Case> {
    let unexpected = |name: &str, stage, subcode, kind: u8, octets: Vec<u8>| {
        let allowed = Reset(5, subcode, Some(vec![kind]));
        case(name, "RFC 6608 §4", stage, allowed, move |_| octets.clone())
    };
    let keepalive = message(KEEPALIVE, &[]);
    let empty = message(UPDATE, &[0; 4]);
    let refresh = message(ROUTE_REFRESH, &[0, 1, 0, 1]);
    let again = |place: &Place| message(OPEN, &open(fixed(place), &parameters(&capabilities(INTERNAL))));
    vec![
        unexpected("KEEPALIVE in OpenSent", Stage::OpenSent, 1, KEEPALIVE, keepalive),
        unexpected("UPDATE in OpenSent", Stage::OpenSent, 1, UPDATE, empty.clone()),
        unexpected("UPDATE in OpenConfirm", Stage::OpenConfirm, 2, UPDATE, empty),
        unexpected("ROUTE-REFRESH in OpenConfirm", Stage::OpenConfirm, 2, ROUTE_REFRESH, refresh),
        case("OPEN in OpenConfirm", "RFC 6608 §4", Stage::OpenConfirm, Reset(5, 2, Some(vec![OPEN])), again)
            .or(Reset(6, 7, None)),
        case("OPEN in Established", "RFC 6608 §4", Stage::Established, Reset(5, 3, Some(vec![OPEN])), again),
    ]
}

fn long_messages() -> Vec<Case> {
    let long = |place: &Place| {
        let mut all = place.attributes(77, true, &[]);
        all.push(attribute(TRANSITIVE, 8, &[0xfd; 8000]));
        update(&[], &all, &nlri(&place.ipv4()))
    };
    let who = Who { extended: true, ..INTERNAL };
    vec![
        update_case("UPDATE of 8000 octets, negotiated", "RFC 8654 §4", who, &[Used], long),
        // Who offers to take them must, and whether the peer offers it as well does not matter.
        update_case(
            "UPDATE of 8000 octets, offered by the receiver only",
            "RFC 8654 §4, §5",
            INTERNAL,
            &[Used, Reset(1, 2, None)],
            long,
        ),
        case(
            "KEEPALIVE of 5000 octets",
            "RFC 8654 §4",
            Stage::Established,
            Reset(1, 2, Some(vec![0x13, 0x88])),
            |_| message(KEEPALIVE, &[0; 4981]),
        ),
    ]
}

impl Case {
    /// The RFCs leave another choice.
    fn or(mut self, other: Expected) -> Self {
        self.allowed.push(other);
        self
    }
}
