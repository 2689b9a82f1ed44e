//! What two OPENs lead to: refusals, and what both sides can do.

use bgp_wire::capability::{AddPathMode, GracefulRestart};
use bgp_wire::notification::OpenSubcode;

use super::*;
use crate::session::Negotiated;

const CONN: ConnectionId = ConnectionId::Outgoing;

fn exchange(settings: SessionSettings, open: &Open) -> Rig {
    let mut rig = Rig::new(settings);
    rig.input(Input::Start).connected(CONN).take();
    rig.receive(CONN, &encoded(open));
    rig
}

fn refusal(settings: SessionSettings, open: &Open) -> Notification {
    let mut rig = exchange(settings, open);
    assert_eq!(rig.state(), State::Idle);
    assert!(rig.actions.contains(&Action::Close { conn: CONN }));
    rig.notifications().pop().expect("a NOTIFICATION").1
}

fn negotiated(settings: SessionSettings, open: &Open) -> Negotiated {
    let mut rig = exchange(settings, open);
    rig.keepalive(CONN);
    let (_, negotiated) = rig.session.established().expect("established");
    Negotiated::clone(negotiated)
}

fn open_with(capabilities: Vec<Capability>) -> Open {
    Open { capabilities, ..peer_open() }
}

fn settings_with(capabilities: Vec<Capability>) -> SessionSettings {
    SessionSettings { capabilities, ..settings() }
}

#[test]
fn wrong_as_is_refused() {
    // RFC 4271 §6.2.
    let wrong = Open { my_as: 65_009, capabilities: capabilities(65_009), ..peer_open() };
    assert_eq!(refusal(settings(), &wrong), Notification::open(OpenSubcode::BadPeerAs, &[]));
}

#[test]
fn as_of_the_capability_counts_not_the_field() {
    // RFC 6793 §4.1.
    let settings = SessionSettings { remote_asn: 4_200_000_001, ..settings() };
    let open = Open { my_as: 23_456, capabilities: capabilities(4_200_000_001), ..peer_open() };
    assert_eq!(negotiated(settings, &open).peer_asn, 4_200_000_001);
}

#[test]
fn four_octet_as_number_goes_into_open_as_as_trans() {
    // RFC 6793 §9.
    let mut rig = Rig::new(SessionSettings { local_asn: 4_200_000_001, ..settings() });
    rig.input(Input::Start).connected(CONN);
    let Some(Action::Send { bytes, .. }) = rig.take().into_iter().find(|action| matches!(action, Action::Send { .. }))
    else {
        panic!("no OPEN was sent");
    };
    let open = Open::decode(&bytes[frame::HEADER_LEN..]).expect("a valid OPEN");
    assert_eq!(open.my_as, 23_456);
}

#[test]
fn unacceptable_opens_are_refused_with_their_subcode() {
    // RFC 4271 §6.2; RFC 6286 §2.1.
    let unacceptable = [
        (Open { hold_seconds: 1, ..peer_open() }, OpenSubcode::UnacceptableHoldTime),
        (Open { hold_seconds: 2, ..peer_open() }, OpenSubcode::UnacceptableHoldTime),
        (Open { router_id: Ipv4Addr::UNSPECIFIED, ..peer_open() }, OpenSubcode::BadBgpIdentifier),
    ];
    for (open, subcode) in unacceptable {
        assert_eq!(refusal(settings(), &open), Notification::open(subcode, &[]));
    }
}

#[test]
fn no_family_in_common_is_refused_with_what_was_missed() {
    // RFC 5492 §5.
    let open =
        open_with(vec![Capability::Multiprotocol(Family { afi: 25, safi: 70 }), Capability::FourOctetAs(PEER_AS)]);
    let missed = [1, 4, 0, 1, 0, 1, 1, 4, 0, 2, 0, 1];
    assert_eq!(refusal(settings(), &open), Notification::open(OpenSubcode::UnsupportedCapability, &missed));
}

#[test]
fn peer_without_capabilities_speaks_ipv4_unicast_with_two_octets() {
    // RFC 4760 §8, RFC 6793 §4.1.
    let found = negotiated(settings(), &open_with(vec![]));
    assert_eq!(found.families, [Family::IPV4_UNICAST]);
    assert!(!found.four_octet_as && !found.route_refresh && !found.extended_messages);
}

#[test]
fn families_are_those_of_both_in_our_order() {
    let found = negotiated(settings(), &open_with(vec![Capability::Multiprotocol(Family::IPV6_UNICAST)]));
    assert_eq!(found.families, [Family::IPV6_UNICAST]);
    let mut reversed = capabilities(PEER_AS);
    reversed.reverse();
    let found = negotiated(settings(), &open_with(reversed));
    assert_eq!(found.families, [Family::IPV4_UNICAST, Family::IPV6_UNICAST]);
}

#[test]
fn a_capability_counts_only_when_both_have_it() {
    let with = |more: &[Capability]| [capabilities(PEER_AS), more.to_vec()].concat();
    let more = [Capability::ExtendedMessage, Capability::EnhancedRouteRefresh];
    let ours = [capabilities(OUR_AS), more.to_vec()].concat();
    let one_sided = negotiated(settings_with(ours.clone()), &open_with(with(&[])));
    assert!(!one_sided.extended_messages && !one_sided.enhanced_route_refresh);
    let both = negotiated(settings_with(ours), &open_with(with(&more)));
    assert!(both.extended_messages && both.enhanced_route_refresh);
}

#[test]
fn longer_messages_are_taken_where_they_were_offered_to_be() {
    // RFC 8654 §4: who offers it must take them, whether or not the peer takes them as well.
    let with = |asn, can: bool| [capabilities(asn), vec![Capability::ExtendedMessage; can.into()]].concat();
    for (ours, theirs) in [(true, true), (true, false), (false, true), (false, false)] {
        let mut rig = Rig::new(settings_with(with(OUR_AS, ours)));
        rig.input(Input::Start).connected(CONN);
        assert_eq!(rig.session.max_message_len(CONN), frame::MAX_LEN);
        rig.receive(CONN, &encoded(&open_with(with(PEER_AS, theirs))));
        let most = if ours { frame::MAX_EXTENDED_LEN } else { frame::MAX_LEN };
        assert_eq!(rig.session.max_message_len(CONN), most);
    }
}

#[test]
fn add_path_needs_a_sender_and_a_receiver() {
    // RFC 7911 §4.
    let add_path = |receive, send| Capability::AddPath(vec![(Family::IPV4_UNICAST, AddPathMode { receive, send })]);
    for (ours, theirs, receives, sends) in [
        ((true, true), (true, true), true, true),
        ((true, false), (true, false), false, false),
        ((true, false), (false, true), true, false),
        ((false, true), (true, false), false, true),
    ] {
        let ours = [capabilities(OUR_AS), vec![add_path(ours.0, ours.1)]].concat();
        let theirs = [capabilities(PEER_AS), vec![add_path(theirs.0, theirs.1)]].concat();
        let found = negotiated(settings_with(ours), &open_with(theirs));
        assert_eq!(found.add_path_receive, if receives { vec![Family::IPV4_UNICAST] } else { vec![] });
        assert_eq!(found.add_path_send, if sends { vec![Family::IPV4_UNICAST] } else { vec![] });
    }
}

#[test]
fn extended_next_hop_needs_both_and_ipv6() {
    // RFC 8950 §4.
    let entry = |afi| Capability::ExtendedNextHop(vec![(Family::IPV4_UNICAST, afi)]);
    for (ours, theirs, expected) in [(2, 2, true), (2, 1, false), (1, 2, false)] {
        let ours = [capabilities(OUR_AS), vec![entry(ours)]].concat();
        let theirs = [capabilities(PEER_AS), vec![entry(theirs)]].concat();
        let found = negotiated(settings_with(ours), &open_with(theirs));
        assert_eq!(!found.extended_next_hop.is_empty(), expected);
    }
}

#[test]
fn graceful_restart_of_the_peer_is_known() {
    let restart = GracefulRestart { restart_seconds: 120, ..GracefulRestart::default() };
    let theirs = [capabilities(PEER_AS), vec![Capability::GracefulRestart(restart.clone())]].concat();
    assert_eq!(negotiated(settings(), &open_with(theirs)).graceful_restart, Some(restart));
}

#[test]
fn new_settings_do_not_change_a_session_that_is_up() {
    let mut rig = Rig::in_state(State::Established);
    rig.session.replace_settings(SessionSettings { hold_seconds: 9, ..settings() }, rig.now);
    let (_, found) = rig.session.established().expect("established");
    assert_eq!((found.hold_seconds, found.sent.hold_seconds), (90, 90));
}

fn with_role(asn: u32, codes: &[u8]) -> Vec<Capability> {
    let mut all = capabilities(asn);
    all.extend(codes.iter().copied().map(Capability::Role));
    all
}

#[test]
fn only_pairs_of_roles_are_let_in() {
    // RFC 9234 §4.2, table 2.
    let pairs = [(0, 3), (3, 0), (1, 2), (2, 1), (4, 4)];
    for ours in 0..5 {
        for theirs in 0..6 {
            let settings = settings_with(with_role(OUR_AS, &[ours]));
            let open = open_with(with_role(PEER_AS, &[theirs]));
            if pairs.contains(&(ours, theirs)) {
                assert_eq!(negotiated(settings, &open).peer_asn, PEER_AS);
            } else {
                let refused = refusal(settings, &open);
                assert_eq!(refused, Notification::open(OpenSubcode::RoleMismatch, &[]), "{ours} {theirs}");
                assert_eq!((refused.code, refused.subcode), (2, 11));
            }
        }
    }
}

#[test]
fn a_peer_without_a_role_is_refused_in_strict_mode_only() {
    // RFC 9234 §4.2.
    let settings = settings_with(with_role(OUR_AS, &[3]));
    let strict = SessionSettings { role_strict: true, ..settings.clone() };
    let silent = open_with(capabilities(PEER_AS));
    assert_eq!(negotiated(settings, &silent).peer_asn, PEER_AS);
    assert_eq!(refusal(strict.clone(), &silent), Notification::open(OpenSubcode::RoleMismatch, &[]));
    assert_eq!(negotiated(strict, &open_with(with_role(PEER_AS, &[0, 0]))).peer_asn, PEER_AS);
    let several = open_with(with_role(PEER_AS, &[0, 3]));
    assert_eq!(
        refusal(settings_with(with_role(OUR_AS, &[3])), &several),
        Notification::open(OpenSubcode::RoleMismatch, &[])
    );
    // Who has no role configured does not judge that of the peer.
    assert_eq!(negotiated(super::settings(), &open_with(with_role(PEER_AS, &[0]))).peer_asn, PEER_AS);
}
