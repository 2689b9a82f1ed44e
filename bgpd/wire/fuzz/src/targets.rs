//! What the fuzzers and the replay of their corpus run: each takes any octets, and panics if something does not hold.
//!
//! For UPDATEs the first octet says what the session negotiated, as in [`context`].

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use bgp_engine::rpki::{self, CacheSettings, Client, Phase};
use bgp_engine::session::{Action, ConnectionId, Input, Session, SessionSettings, State};
use bgp_wire::attribute::{AttributeBlock, decode_value};
use bgp_wire::capability::{AddPathMode, Capability, GracefulRestart};
use bgp_wire::cursor::Cursor;
use bgp_wire::frame::{self, MAX_EXTENDED_LEN, MAX_LEN};
use bgp_wire::nlri::{Ipv4Unicast, Ipv6Unicast};
use bgp_wire::open::Open;
use bgp_wire::route_refresh::{RefreshSubtype, RouteRefresh};
use bgp_wire::rtr::{self, Pdu};
use bgp_wire::update::{DecodeContext, Decoder, FaultAction, NextHop, NlriBlock, PathKey, Update, UpdateEncoder};
use bgp_wire::{Family, Nlri, Notification};

/// Runs a target. Its name is that of its folder in the corpus; a session begins `now`.
pub(crate) fn run(target: &str, data: &[u8], now: Instant) {
    match target {
        "frame" => frame(data),
        "open" => open(data),
        "notification" => notification(data),
        "route_refresh" => route_refresh(data),
        "update" => update(data),
        "attribute_value" => attribute_value(data),
        "nlri" => nlri(data),
        "update_roundtrip" => update_roundtrip(data),
        "session" => session(data, now),
        "rtr" => rtr(data, now),
        other => panic!("there is no target {other}"),
    }
}

/// Messages in a byte stream: they cover it without a gap, and arrive the same octet by octet.
fn frame(data: &[u8]) {
    for max_len in [MAX_LEN, MAX_EXTENDED_LEN] {
        let mut rest = data;
        while let Ok(Some(frame)) = frame::split(rest, max_len) {
            assert!(frame.raw.len() <= max_len);
            assert_eq!(frame.raw.len(), frame::HEADER_LEN + frame.body.len());
            assert_eq!(frame.raw.get(18), Some(&frame.kind.code()));
            // What is whole is not whole one octet earlier, and never an error then.
            let short = frame.raw.split_last().map(|(_, short)| frame::split(short, max_len));
            assert_eq!(short, Some(Ok(None)));
            rest = rest.get(frame.raw.len()..).unwrap_or_default();
        }
    }
}

/// OPEN: what was understood is understood again.
fn open(data: &[u8]) {
    match Open::decode(data) {
        Ok(open) => {
            open.capabilities.iter().for_each(|capability| assert!(!capability.to_string().is_empty()));
            let mut bytes = Vec::new();
            open.encode(&mut bytes);
            // Text that was not UTF-8 becomes longer and is cut.
            let has_text = open.capabilities.iter().any(|capability| matches!(capability, Capability::Fqdn(..)));
            match frame::split(&bytes, MAX_LEN) {
                Ok(Some(frame)) if !has_text => assert_eq!(Open::decode(frame.body), Ok(open)),
                _ => assert!(has_text || bytes.len() > MAX_LEN),
            }
        }
        Err(notification) => assert_eq!(notification.code, 2),
    }
}

/// NOTIFICATION: nothing can be wrong with one.
fn notification(data: &[u8]) {
    let notification = Notification::decode(data);
    assert!(!notification.to_string().is_empty());
    let mut bytes = Vec::new();
    notification.encode(&mut bytes);
    let again = frame::split(&bytes, MAX_LEN).map(|frame| frame.map(|frame| Notification::decode(frame.body)));
    assert!(data.len() > MAX_LEN - frame::HEADER_LEN || again == Ok(Some(notification)));
}

/// ROUTE-REFRESH: four octets, or an error of its own.
fn route_refresh(data: &[u8]) {
    match RouteRefresh::decode(data) {
        Ok(message) => {
            let mut bytes = Vec::new();
            message.encode(&mut bytes);
            let again = bytes.get(frame::HEADER_LEN..).unwrap_or_default();
            // What follows the four octets does not matter in a message that is ignored.
            let ignored = matches!(message.subtype, RefreshSubtype::Unknown(_));
            assert!(again == data || (ignored && data.starts_with(again)));
        }
        Err(notification) => assert_eq!((notification.code, notification.subcode), (7, 1)),
    }
}

/// What a session negotiated, from one octet.
fn context(bits: u8) -> DecodeContext {
    let both = vec![Family::IPV4_UNICAST, Family::IPV6_UNICAST];
    let bit = |at: u8| bits & 1 << at != 0;
    DecodeContext {
        external: bit(0),
        four_octet_as: !bit(1),
        families: if bit(2) { vec![Family::IPV4_UNICAST] } else { both.clone() },
        add_path: if bit(3) { both } else { vec![] },
        extended_next_hop: if bit(4) { vec![Family::IPV4_UNICAST] } else { vec![] },
        reject_as_sets: bit(5),
    }
}

/// UPDATE: the verdict fits together, and what is left is canonical.
fn update(data: &[u8]) {
    let Some((bits, body)) = data.split_first() else { return };
    let context = context(*bits);
    let mut decoder = Decoder::new();
    match decoder.decode(body, &context) {
        Ok(update) => check_update(&update, &context),
        Err(reset) => {
            assert_eq!((reset.fault.action, reset.notification.code), (FaultAction::SessionReset, 3));
            assert!(reset.fault.offset <= body.len() && !reset.fault.to_string().is_empty());
        }
    }
}

fn check_update(update: &Update<'_>, context: &DecodeContext) {
    let has = |action| update.faults.iter().any(|fault| fault.action == action);
    assert!(!has(FaultAction::SessionReset));
    assert_eq!(has(FaultAction::TreatAsWithdraw), update.treat_as_withdraw);
    assert_eq!(has(FaultAction::AfiSafiDisable), update.disable.is_some());
    let blocks =
        [Some(update.withdrawn), Some(update.nlri), update.mp_reach.map(|reach| reach.nlri), update.mp_unreach];
    for block in blocks.into_iter().flatten() {
        assert_eq!(keys_len(block) == 0, block.is_empty());
    }
    let attributes = update.attributes;
    if update.treat_as_withdraw {
        assert!(attributes.bytes().is_empty());
        return;
    }
    let len: usize = attributes.iter().map(|a| a.value.len() + if a.value.len() > 255 { 4 } else { 3 }).sum();
    assert_eq!(len, attributes.bytes().len());
    assert!(attributes.iter().map(|attribute| attribute.code).is_sorted_by(|a, b| a < b));
    for attribute in attributes.iter() {
        let typed = decode_value(attribute.flags, attribute.code, attribute.value);
        assert!(typed.is_ok_and(|typed| typed.code() == attribute.code));
        assert!(!context.external || !matches!(attribute.code, 5 | 9 | 10 | 26));
    }
}

fn keys_len(block: NlriBlock<'_>) -> usize {
    match block.family() {
        Family::IPV4_UNICAST => block.iter::<Ipv4Unicast>().count(),
        _ => block.iter::<Ipv6Unicast>().count(),
    }
}

/// An attribute's value: flags, code, value. What has a type and is encoded has the same type again.
fn attribute_value(data: &[u8]) {
    let [flags, code, value @ ..] = data else { return };
    let Ok(typed) = decode_value(*flags, *code, value) else { return };
    let _ = typed.to_string();
    let mut bytes = Vec::new();
    typed.encode(&mut bytes);
    let raw = AttributeBlock::from_canonical(&bytes).iter().next();
    let again = raw.map(|raw| decode_value(raw.flags, raw.code, raw.value));
    // Extended Length is not a property of an attribute but of how it is written.
    assert!(flags & 0x10 != 0 || value.len() > 0xffff || again == Some(Ok(typed)));
}

/// Prefixes: what was read is read again, and its length is known before.
fn nlri(data: &[u8]) {
    each_nlri::<Ipv4Unicast>(data);
    each_nlri::<Ipv6Unicast>(data);
}

fn each_nlri<N: Nlri>(data: &[u8]) {
    let mut cursor = Cursor::new(data);
    while let Ok(key) = N::decode(&mut cursor) {
        let mut bytes = Vec::new();
        N::encode(&key, &mut bytes);
        assert_eq!(bytes.len(), N::encoded_len(&key));
        assert_eq!(N::decode(&mut Cursor::new(&bytes)), Ok(key));
        assert_eq!(N::from_prefix(N::prefix(&key)), Some(key));
        assert_eq!(N::prefix(&key).to_string(), key.to_string());
    }
}

/// UPDATE: what was decoded without a fault, encoded and decoded again, says the same.
fn update_roundtrip(data: &[u8]) {
    let Some((bits, body)) = data.split_first() else { return };
    let context = context(*bits);
    let mut decoder = Decoder::new();
    let Ok(update) = decoder.decode(body, &context) else { return };
    if update.treat_as_withdraw {
        return;
    }
    let attributes = update.attributes;
    if let Some(next_hop) = update.next_hop {
        again::<Ipv4Unicast>(attributes, next_hop, update.nlri, &context);
    }
    let Some(reach) = update.mp_reach else { return };
    match reach.nlri.family() {
        Family::IPV4_UNICAST => again::<Ipv4Unicast>(attributes, reach.next_hop, reach.nlri, &context),
        _ => again::<Ipv6Unicast>(attributes, reach.next_hop, reach.nlri, &context),
    }
}

fn again<N: Nlri>(attributes: AttributeBlock<'_>, next_hop: NextHop, nlri: NlriBlock<'_>, context: &DecodeContext) {
    // A peer with two octets gets a path through AS_TRANS, which does not say which AS that was: nothing to compare.
    let encoder = UpdateEncoder { max_len: MAX_EXTENDED_LEN, four_octet_as: true };
    let context = DecodeContext { four_octet_as: true, ..context.clone() };
    let keys: Vec<PathKey<N::Key>> = nlri.iter::<N>().collect();
    if !next_hop.is_host() {
        // In MP_REACH_NLRI it is for the engine to refuse, in NEXT_HOP it is a fault.
        return;
    }
    let mut bytes = Vec::new();
    if encoder.reach::<N>(attributes, &next_hop, nlri.add_path(), &keys, &mut bytes).is_err() {
        assert!(bytes.is_empty());
        return;
    }
    let (mut rest, mut decoder, mut found) = (bytes.as_slice(), Decoder::new(), Vec::new());
    while let Ok(Some(frame)) = frame::split(rest, encoder.max_len) {
        rest = rest.get(frame.raw.len()..).unwrap_or_default();
        let Ok(update) = decoder.decode(frame.body, &context) else { panic!("what we send is a reset") };
        assert_eq!(update.faults, []);
        assert_eq!(update.attributes, attributes);
        assert_eq!(update.mp_reach.map(|reach| reach.next_hop).or(update.next_hop), Some(next_hop));
        found.extend(update.mp_reach.map_or(update.nlri, |reach| reach.nlri).iter::<N>());
    }
    assert!(rest.is_empty());
    assert_eq!(found, keys);
}

/// What a cache sends: PDUs are read again as they were, and a client takes them in whatever order. It reads on after
/// time has passed, and connects again when it closes.
fn rtr(data: &[u8], mut now: Instant) {
    const LIMIT: u32 = 8;
    let settings = CacheSettings { limit: LIMIT, ..CacheSettings::default() };
    let mut client = Client::new(settings, now);
    let mut rest = data;
    while let Ok(Some(bytes)) = rtr::split(rest) {
        rest = rest.get(bytes.len()..).unwrap_or_default();
        if let Ok((version, pdu)) = rtr::decode(bytes)
            && !matches!(pdu, Pdu::RouterKey | Pdu::ErrorReport { .. })
        {
            assert_eq!(rtr::decode(&pdu.encode(version)), Ok((version, pdu)));
        }
        if matches!(client.phase(), Phase::Down | Phase::Connecting) {
            now = client.next_deadline().unwrap_or(now);
            let mut actions = Vec::new();
            client.handle(rpki::Input::Tick, now, &mut actions);
            client.handle(rpki::Input::Connected, now, &mut actions);
        }
        let mut actions = Vec::new();
        client.handle(rpki::Input::Pdu(bytes), now, &mut actions);
        for action in &actions {
            if let rpki::Action::Send(bytes) = action {
                assert!(matches!(rtr::split(bytes), Ok(Some(pdu)) if rtr::decode(pdu).is_ok() && pdu == bytes));
            }
        }
        let closed = actions.contains(&rpki::Action::Close);
        assert_eq!(closed, client.phase() == Phase::Down, "whoever closes is down");
        assert!(client.vrps().len() <= LIMIT as usize && (client.has_data() || client.vrps().is_empty()));
    }
}

fn settings() -> SessionSettings {
    let both = [Family::IPV4_UNICAST, Family::IPV6_UNICAST];
    let mode = AddPathMode { receive: true, send: true };
    SessionSettings {
        local_asn: 65_001,
        router_id: Ipv4Addr::new(10, 0, 0, 1),
        remote_asn: 65_002,
        hold_seconds: 90,
        idle_hold: Duration::from_secs(5),
        connect_retry: Duration::from_secs(30),
        passive: false,
        role_strict: false,
        capabilities: vec![
            Capability::Multiprotocol(both[0]),
            Capability::Multiprotocol(both[1]),
            Capability::RouteRefresh,
            Capability::FourOctetAs(65_001),
            Capability::ExtendedMessage,
            Capability::AddPath(both.map(|family| (family, mode)).to_vec()),
            Capability::ExtendedNextHop(vec![(both[0], 2)]),
            Capability::GracefulRestart(GracefulRestart {
                restarting: false,
                notification: true,
                restart_seconds: 120,
                families: both.map(|family| (family, true)).to_vec(),
            }),
            Capability::LongLivedGracefulRestart(both.map(|family| (family, true, 3600)).to_vec()),
        ],
        stale_path: Duration::from_secs(300),
        jitter_seed: 1,
    }
}

/// A session, and the bytes of its connections that are not messages yet.
struct Peer {
    session: Session,
    now: Instant,
    buffers: [Option<Vec<u8>>; 2],
    established: bool,
}

/// A whole session: chunks of `how (1) | length (1) | octets`, where `how` says on which connection they come, or that
/// time passes, or that something else happens.
fn session(data: &[u8], now: Instant) {
    let session = Session::new(settings());
    let mut peer = Peer { session, now, buffers: [None, None], established: false };
    peer.input(Input::Start);
    let mut cursor = Cursor::new(data);
    while let (Ok(how), Ok(len)) = (cursor.u8(), cursor.u8()) {
        let chunk = cursor.take(usize::from(len)).unwrap_or(cursor.rest());
        peer.step(how, chunk);
    }
}

const CONNECTIONS: [ConnectionId; 2] = [ConnectionId::Outgoing, ConnectionId::Incoming];

fn slot(conn: ConnectionId) -> usize {
    usize::from(conn == ConnectionId::Incoming)
}

impl Peer {
    fn step(&mut self, how: u8, chunk: &[u8]) {
        let conn = CONNECTIONS[usize::from(how & 1)];
        match how >> 1 {
            0 => self.connect(conn),
            1 => self.read(conn, chunk),
            2 => {
                self.now += Duration::from_secs(chunk.len() as u64);
                self.input(Input::Tick);
            }
            3 if self.buffers[slot(conn)].take().is_some() => self.input(Input::Closed { conn, error: None }),
            4 => self.input(Input::ReadPaused),
            5 => self.input(Input::ReadResumed),
            6 => self.input(Input::Reset { notification: Notification::admin_reset("fuzz"), hold_down: how & 1 == 0 }),
            _ => self.read(conn, chunk),
        }
    }

    fn connect(&mut self, conn: ConnectionId) {
        let buffer = &mut self.buffers[slot(conn)];
        if buffer.is_none() {
            *buffer = Some(Vec::new());
            self.input(Input::Connected { conn });
        }
    }

    fn read(&mut self, conn: ConnectionId, chunk: &[u8]) {
        let Some(mut buffer) = self.buffers[slot(conn)].take() else { return };
        buffer.extend_from_slice(chunk);
        self.buffers[slot(conn)] = Some(Vec::new());
        let mut rest = buffer.as_slice();
        // A message may end the connection.
        while self.buffers[slot(conn)].is_some() {
            match frame::split(rest, self.session.max_message_len(conn)) {
                Ok(Some(frame)) => {
                    rest = rest.get(frame.raw.len()..).unwrap_or_default();
                    self.input(Input::Frame { conn, frame });
                }
                Ok(None) => {
                    self.buffers[slot(conn)] = Some(rest.to_vec());
                    return;
                }
                Err(notification) => self.input(Input::Fault { conn, notification, error: "garbage".to_owned() }),
            }
        }
    }

    fn input(&mut self, input: Input<'_>) {
        let mut actions = Vec::new();
        self.session.handle(input, self.now, &mut actions);
        actions.iter().for_each(|action| self.perform(action));
        assert_eq!(self.established, self.session.established().is_some());
        assert_eq!(self.established, self.session.state() == State::Established);
    }

    fn perform(&mut self, action: &Action) {
        match action {
            Action::Send { conn, bytes } => {
                assert!(self.buffers[slot(*conn)].is_some(), "sends on a connection that there is");
                assert!(matches!(frame::split(bytes, MAX_LEN), Ok(Some(frame)) if frame.raw == bytes));
            }
            Action::Close { conn } => assert!(self.buffers[slot(*conn)].take().is_some(), "closes one that there is"),
            Action::Established { .. } => assert!(!std::mem::replace(&mut self.established, true)),
            Action::Down { .. } => assert!(std::mem::take(&mut self.established)),
            Action::RouteRefresh(_) => assert!(self.established),
            _ => {}
        }
    }
}
