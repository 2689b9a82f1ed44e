//! Writes the seed corpus: for each target some input that is as it should be and some that is not.
//!
//! `cargo run --example seed_corpus`, in the folder of the fuzz targets.

use std::net::Ipv4Addr;
use std::path::Path;

use bgp_wire::capability::{AddPathMode, Capability, GracefulRestart};
use bgp_wire::frame::KEEPALIVE;
use bgp_wire::notification::CeaseSubcode;
use bgp_wire::open::Open;
use bgp_wire::route_refresh::{RefreshSubtype, RouteRefresh};
use bgp_wire::rtr::{ErrorCode, Intervals, Pdu, Vrp};
use bgp_wire::{Family, Notification};

/// Name of a seed and its octets.
type Seed = (String, Vec<u8>);

const ORIGIN: &[u8] = &[0x40, 1, 1, 0];
/// AS_SEQUENCE of 65001 and 65002.
const AS_PATH: &[u8] = &[0x40, 2, 10, 2, 2, 0, 0, 0xfd, 0xe9, 0, 0, 0xfd, 0xea];
/// The same with two octets each.
const AS_PATH_2: &[u8] = &[0x40, 2, 6, 2, 2, 0xfd, 0xe9, 0x5b, 0xa0];
const AS4_PATH: &[u8] = &[0xc0, 17, 6, 2, 1, 0, 1, 0x11, 0x70];
const NEXT_HOP: &[u8] = &[0x40, 3, 4, 192, 0, 2, 1];
const COMMUNITIES: &[u8] = &[0xc0, 8, 12, 0xfd, 0xe9, 0, 1, 0xfd, 0xe9, 0, 2, 0xff, 0xff, 0xff, 1];
/// 2001:db8::/32 by 2001:db8::1.
const MP_REACH: &[u8] =
    &[0x80, 14, 26, 0, 2, 1, 16, 0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 32, 0x20, 1, 0xd, 0xb8];
const MP_UNREACH: &[u8] = &[0x80, 15, 8, 0, 2, 1, 32, 0x20, 1, 0xd, 0xb8];
const NLRI: &[u8] = &[24, 203, 0, 113, 8, 10, 0];

fn main() -> std::io::Result<()> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let updates = updates();
    let targets = [
        ("frame", with_damage(messages())),
        ("open", with_damage(bodies(&opens()))),
        ("notification", with_damage(bodies(&notifications()))),
        ("route_refresh", with_damage(bodies(&refreshes()))),
        ("update", with_damage(updates.clone())),
        ("update_roundtrip", updates),
        ("attribute_value", with_damage(attributes())),
        ("nlri", with_damage(vec![seed("v4", NLRI.to_vec()), seed("v6", vec![128; 17]), seed("v6_default", vec![0])])),
        ("rtr", [with_damage(caches()), unruly_caches()].concat()),
        ("session", sessions()),
    ];
    for (target, seeds) in targets {
        let folder = corpus.join(target);
        std::fs::create_dir_all(&folder)?;
        for (name, octets) in seeds {
            std::fs::write(folder.join(name), octets)?;
        }
    }
    Ok(())
}

/// Answers of RPKI caches.
fn caches() -> Vec<Seed> {
    let response = Pdu::CacheResponse { session: 7 };
    let prefix = |announce, asn| Pdu::Prefix {
        announce,
        vrp: Vrp { prefix: "10.0.0.0/8".parse().expect("a prefix"), max_length: 24, asn },
    };
    let end = |serial| Pdu::EndOfData { session: 7, serial, intervals: None };
    let notify = Pdu::SerialNotify { session: 7, serial: 2 };
    let error = |code| Pdu::ErrorReport { code, text: "why".to_owned() };
    let full = vec![response.clone(), prefix(true, 1), prefix(true, 2), Pdu::RouterKey, end(1)];
    let news = [full.as_slice(), &[notify.clone(), response.clone(), prefix(false, 1), prefix(true, 3), end(2)]].concat();
    let reset = [full.as_slice(), &[notify, Pdu::CacheReset, response, end(3)]].concat();
    let octets = |version, pdus: &[Pdu]| pdus.iter().flat_map(|pdu| pdu.encode(version)).collect::<Vec<u8>>();
    vec![
        seed("full", octets(1, &full)),
        seed("news", octets(1, &news)),
        seed("reset", octets(1, &reset)),
        seed("version_0", octets(0, &[full[0].clone(), full[1].clone(), end(1)])),
        seed("no_data", octets(1, &[error(ErrorCode::NO_DATA_AVAILABLE)])),
        seed("old", octets(0, &[error(ErrorCode::UNSUPPORTED_VERSION)])),
        seed("twice", octets(1, &[full[0].clone(), full[1].clone(), full[1].clone()])),
    ]
}

/// Caches that say what does not belong there: for each PDU, and each thing that can be wrong with one.
fn unruly_caches() -> Vec<Seed> {
    let pdu = |pdu: Pdu| pdu.encode(1);
    let vrp = |prefix: &str, asn| Vrp { prefix: prefix.parse().expect("a prefix"), max_length: 128, asn };
    let v6 = |announce, asn| pdu(Pdu::Prefix { announce, vrp: vrp("2001:db8::/32", asn) });
    let response = |session| pdu(Pdu::CacheResponse { session });
    let end = |session, intervals| pdu(Pdu::EndOfData { session, serial: 1, intervals });
    let notify = |session| pdu(Pdu::SerialNotify { session, serial: 2 });
    let full = [response(7), v6(true, 1), end(7, None)].concat();
    let behind = |more: &[Vec<u8>]| [full.clone(), more.concat()].concat();
    let intervals = |refresh, retry, expire| Some(Intervals { refresh, retry, expire });
    let mut all = vec![
        seed("ipv6", full.clone()),
        seed("notify_at_first", [notify(7), full.clone()].concat()),
        seed("notify_other_session", behind(&[notify(8)])),
        seed("notify_while_asking", behind(&[notify(7), notify(7), response(7), notify(7)])),
        seed("response_other_session", behind(&[notify(7), response(8)])),
        seed("end_other_session", [response(7), end(8, None)].concat()),
        seed("end_at_first", end(7, None)),
        seed("prefix_at_first", v6(true, 1)),
        seed("response_twice", [response(7), response(7)].concat()),
        seed("reset_at_first", pdu(Pdu::CacheReset)),
        seed("questions", [pdu(Pdu::ResetQuery), pdu(Pdu::SerialQuery { session: 7, serial: 1 })].concat()),
        seed("question_behind", behind(&[pdu(Pdu::ResetQuery)])),
        seed("withdrawn_unknown", [response(7), v6(false, 1)].concat()),
        seed("announced_again", behind(&[notify(7), response(7), v6(true, 1)])),
        seed("withdrawn_and_back", behind(&[notify(7), response(7), v6(false, 1), v6(true, 1), end(7, None)])),
        seed("too_many", [response(7), (0..9).flat_map(|asn| v6(true, asn)).collect()].concat()),
        seed("intervals_least", [response(7), end(7, intervals(0, 0, 0))].concat()),
        seed("intervals_most", [response(7), end(7, intervals(u32::MAX, u32::MAX, u32::MAX))].concat()),
        seed("version_changes", behind(&[Pdu::CacheReset.encode(0)])),
        seed("version_0_then_1", [Pdu::CacheResponse { session: 7 }.encode(0), end(7, None)].concat()),
        seed("router_key_of_version_0", Pdu::RouterKey.encode(0)),
        seed("closed_and_again", behind(&[pdu(Pdu::ResetQuery), response(7), v6(true, 2), end(7, None)])),
    ];
    for code in 0..10 {
        let report = Pdu::ErrorReport { code: ErrorCode(code), text: "why\n".to_owned() };
        all.push(seed(&format!("error_{code}"), report.encode(1)));
        all.push(seed(&format!("error_{code}_behind"), behind(&[report.encode(1)])));
    }
    [all, broken_pdus()].concat()
}

/// PDUs that cannot be read, after an answer has begun: version, type, field, length, body.
fn broken_pdus() -> Vec<Seed> {
    let raw = |version, kind, length: u32, body: &[u8]| {
        let begun = Pdu::CacheResponse { session: 7 }.encode(1);
        [&begun[..], &[version, kind, 0, 0], &length.to_be_bytes(), body].concat()
    };
    let ipv4 = |length, most, address: [u8; 4]| [&[1, length, most, 0][..], &address, &[0, 0, 0xfb, 0xf4]].concat();
    vec![
        seed("version_2", raw(2, 8, 8, &[])),
        seed("type_5", raw(1, 5, 8, &[])),
        seed("type_255", raw(1, 255, 8, &[])),
        seed("length_7", raw(1, 8, 7, &[])),
        seed("length_8193", raw(1, 8, 8193, &[0; 8185])),
        seed("length_most", raw(1, 8, u32::MAX, &[])),
        seed("body_of_none", raw(1, 8, 9, &[0])),
        seed("prefix_cut", raw(1, 4, 19, &ipv4(24, 24, [192, 0, 2, 0])[..11])),
        seed("prefix_lengths_fall", raw(1, 4, 20, &ipv4(25, 24, [192, 0, 2, 0]))),
        seed("prefix_33", raw(1, 4, 20, &ipv4(33, 33, [192, 0, 2, 0]))),
        seed("prefix_to_33", raw(1, 4, 20, &ipv4(24, 33, [192, 0, 2, 0]))),
        seed("prefix_host_bits", raw(1, 4, 20, &ipv4(24, 24, [192, 0, 2, 1]))),
        seed("end_of_version_0_in_1", raw(1, 7, 12, &[0, 0, 0, 1])),
        seed("end_of_version_1_in_0", [Pdu::CacheResponse { session: 7 }.encode(0), raw(0, 7, 24, &[0; 16])].concat()),
        seed("router_key_cut", raw(1, 9, 31, &[0; 23])),
        seed("error_overrun", raw(1, 10, 16, &[0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0])),
        seed("error_text_overrun", raw(1, 10, 16, &[0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff])),
        seed("error_text_no_utf8", raw(1, 10, 18, &[0, 0, 0, 0, 0, 0, 0, 2, 0xff, 0xfe])),
    ]
}

fn seed(name: &str, octets: Vec<u8>) -> Seed {
    (name.to_owned(), octets)
}

/// Each seed also cut in half, with an octet too many, and with one changed in the middle.
fn with_damage(seeds: Vec<Seed>) -> Vec<Seed> {
    let damaged = seeds.iter().filter(|(_, octets)| !octets.is_empty()).flat_map(|(name, octets)| {
        let middle = octets.len() / 2;
        let mut changed = octets.clone();
        changed[middle] ^= 0xff;
        [
            (format!("{name}_cut"), octets[..middle].to_vec()),
            (format!("{name}_long"), [octets.as_slice(), &[9]].concat()),
            (format!("{name}_changed"), changed),
        ]
    });
    let damaged: Vec<_> = damaged.collect();
    [seeds, damaged].concat()
}

/// Without the header.
fn bodies(messages: &[Seed]) -> Vec<Seed> {
    messages.iter().map(|(name, octets)| (name.clone(), octets[19..].to_vec())).collect()
}

fn encoded(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut octets = Vec::new();
    write(&mut octets);
    octets
}

fn open(capabilities: Vec<Capability>) -> Vec<u8> {
    let router_id = Ipv4Addr::new(10, 0, 0, 2);
    encoded(|out| Open { my_as: 65_002, hold_seconds: 90, router_id, capabilities }.encode(out))
}

fn all_capabilities() -> Vec<Capability> {
    let (v4, v6) = (Family::IPV4_UNICAST, Family::IPV6_UNICAST);
    vec![
        Capability::Multiprotocol(v4),
        Capability::Multiprotocol(v6),
        Capability::RouteRefresh,
        Capability::ExtendedNextHop(vec![(v4, 2)]),
        Capability::ExtendedMessage,
        Capability::Role(3),
        Capability::GracefulRestart(GracefulRestart {
            restart_seconds: 120,
            families: vec![(v4, true)],
            ..Default::default()
        }),
        Capability::FourOctetAs(65_002),
        Capability::AddPath(vec![(v4, AddPathMode { receive: true, send: true })]),
        Capability::EnhancedRouteRefresh,
        Capability::LongLivedGracefulRestart(vec![(v6, true, 86_400)]),
        Capability::Fqdn("router".to_owned(), "example.org".to_owned()),
        Capability::Unknown { code: 200, value: vec![1, 2, 3] },
    ]
}

fn opens() -> Vec<Seed> {
    let long = vec![Capability::Unknown { code: 201, value: vec![7; 255] }, Capability::RouteRefresh];
    vec![seed("plain", open(vec![])), seed("capabilities", open(all_capabilities())), seed("extended", open(long))]
}

fn notifications() -> Vec<Seed> {
    vec![
        seed("hold_timer", encoded(|out| Notification::hold_timer_expired().encode(out))),
        seed("shutdown", encoded(|out| Notification::admin_shutdown("upgrade").encode(out))),
        seed("collision", encoded(|out| Notification::cease(CeaseSubcode::ConnectionCollision).encode(out))),
    ]
}

fn refreshes() -> Vec<Seed> {
    let refresh = |subtype| encoded(|out| RouteRefresh { family: Family::IPV6_UNICAST, subtype }.encode(out));
    vec![seed("request", refresh(RefreshSubtype::Request)), seed("begin", refresh(RefreshSubtype::Begin))]
}

fn messages() -> Vec<Seed> {
    let mut all = [opens(), notifications(), refreshes()].concat();
    all.push(seed("keepalives", KEEPALIVE.repeat(3)));
    all.push(seed("update", message(2, &body(NLRI, &[ORIGIN, AS_PATH, NEXT_HOP], NLRI))));
    all
}

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let len = (19 + body.len() as u16).to_be_bytes();
    [&[0xff; 16], &len[..], &[kind], body].concat()
}

fn body(withdrawn: &[u8], attributes: &[&[u8]], nlri: &[u8]) -> Vec<u8> {
    let attributes = attributes.concat();
    let len = |field: &[u8]| (field.len() as u16).to_be_bytes();
    [&len(withdrawn)[..], withdrawn, &len(&attributes), &attributes, nlri].concat()
}

/// The first octet says what was negotiated.
fn updates() -> Vec<Seed> {
    let update = |name: &str, bits: u8, body: Vec<u8>| seed(name, [&[bits][..], &body].concat());
    let med: &[u8] = &[0x80, 4, 4, 0, 0, 0, 50];
    let local_pref: &[u8] = &[0x40, 5, 4, 0, 0, 0, 100];
    let reflected: &[u8] = &[0x80, 9, 4, 10, 0, 0, 3, 0x80, 10, 8, 10, 0, 0, 1, 10, 0, 0, 2];
    let unknown: &[u8] = &[0xd0, 99, 0, 3, 1, 2, 3];
    let aggregator: &[u8] = &[0xc0, 7, 6, 0x5b, 0xa0, 10, 0, 0, 1, 0xc0, 18, 8, 0, 1, 0x11, 0x70, 10, 0, 0, 9];
    let with_ids = [&[0, 0, 0, 1][..], &NLRI[..4], &[0, 0, 0, 2], &NLRI[..4]].concat();
    vec![
        update("end_of_rib", 0, body(&[], &[], &[])),
        update("withdrawal", 0, body(NLRI, &[], &[])),
        update("internal", 0, body(&[], &[ORIGIN, AS_PATH, NEXT_HOP, med, local_pref, COMMUNITIES, reflected], NLRI)),
        update("external", 1, body(&[], &[ORIGIN, AS_PATH, NEXT_HOP, local_pref, unknown], NLRI)),
        update("two_octets", 2, body(&[], &[ORIGIN, AS_PATH_2, NEXT_HOP, AS4_PATH, aggregator], NLRI)),
        update("ipv6", 0, body(&[], &[MP_REACH, ORIGIN, AS_PATH, COMMUNITIES], &[])),
        update("ipv6_withdrawal", 0, body(&[], &[MP_UNREACH], &[])),
        update("ipv6_not_negotiated", 4, body(&[], &[MP_REACH, ORIGIN, AS_PATH], &[])),
        update("add_path", 8, body(&with_ids, &[ORIGIN, AS_PATH, NEXT_HOP], &with_ids)),
        update("both", 0, body(NLRI, &[MP_REACH, ORIGIN, AS_PATH, NEXT_HOP, MP_UNREACH], NLRI)),
        update("as_set", 0x21, body(&[], &[ORIGIN, &[0x40, 2, 6, 1, 1, 0, 0, 0, 7], NEXT_HOP], NLRI)),
        update("missing", 0, body(&[], &[ORIGIN, NEXT_HOP], NLRI)),
        update("overrun", 0, body(&[], &[ORIGIN, AS_PATH, NEXT_HOP, &[0xc0, 8, 200, 1]], NLRI)),
        update("no_routes", 0, body(&[], &[&[0x40, 1, 1, 7]], &[])),
    ]
}

fn attributes() -> Vec<Seed> {
    let value = |name: &str, attribute: &[u8]| seed(name, [&attribute[..2], &attribute[3..]].concat());
    vec![
        value("origin", ORIGIN),
        value("as_path", AS_PATH),
        value("communities", COMMUNITIES),
        value("aigp", &[0x80, 26, 11, 1, 0, 11, 0, 0, 0, 0, 0, 0, 0, 9]),
        value("extended", &[0xc0, 16, 8, 0, 2, 0xfd, 0xe9, 0, 0, 0, 1]),
        value("large", &[0xc0, 32, 12, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3]),
    ]
}

/// Steps of a session: `how | length | octets`.
fn sessions() -> Vec<Seed> {
    let step = |how: u8, octets: &[u8]| [&[how, octets.len() as u8][..], octets].concat();
    let (connect, send) = (0, 2);
    let up = |conn: u8| {
        let open = open(all_capabilities());
        [step(connect | conn, &[]), step(send | conn, &open), step(send | conn, &KEEPALIVE)].concat()
    };
    let update = message(2, &body(NLRI, &[ORIGIN, AS_PATH, NEXT_HOP], NLRI));
    let shutdown = encoded(|out| Notification::admin_shutdown("bye").encode(out));
    let opened = [step(connect, &[]), step(send, &open(all_capabilities()))].concat();
    vec![
        seed("established", [up(0), step(send, &update), step(send, &KEEPALIVE)].concat()),
        seed("shutdown", [up(1), step(send | 1, &shutdown)].concat()),
        seed("collision", [step(connect, &[]), up(1), step(send, &open(all_capabilities()))].concat()),
        seed("hold_timer", [up(0), step(4, &[0; 100])].concat()),
        seed("paused", [up(0), step(8, &[]), step(4, &[0; 100]), step(10, &[]), step(4, &[0; 100])].concat()),
        seed("reset_and_again", [up(0), step(12, &[]), step(4, &[0; 60]), up(0)].concat()),
        seed("garbage", [step(connect, &[]), step(send, b"GET / HTTP/1.1\r\n\r\n")].concat()),
        seed("in_pieces", [opened, step(send, &KEEPALIVE[..5]), step(send, &KEEPALIVE[5..])].concat()),
    ]
}
