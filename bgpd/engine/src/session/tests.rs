//! Tests of the session state machine: tables, timers in virtual time, collisions, and two sessions back to back.

mod collision;
mod negotiation;
mod pair;
mod random;
mod restart;
mod table;
mod timers;

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use bgp_wire::capability::Capability;
use bgp_wire::frame::{self, MessageType};
use bgp_wire::notification::CeaseSubcode;
use bgp_wire::open::Open;
use bgp_wire::{Family, Notification};

use super::{Action, ConnectionId, Input, Session, SessionSettings, State};

/// AS of the session under test.
const OUR_AS: u32 = 65_001;
/// AS of its peer.
const PEER_AS: u32 = 65_002;

fn settings() -> SessionSettings {
    SessionSettings {
        local_asn: OUR_AS,
        router_id: Ipv4Addr::new(10, 0, 0, 1),
        remote_asn: PEER_AS,
        hold_seconds: 90,
        idle_hold: Duration::from_secs(5),
        connect_retry: Duration::from_secs(30),
        passive: false,
        role_strict: false,
        capabilities: capabilities(OUR_AS),
        stale_path: Duration::from_secs(300),
        jitter_seed: 7,
    }
}

/// The other side of [`settings`].
fn peer_settings() -> SessionSettings {
    SessionSettings {
        local_asn: PEER_AS,
        router_id: Ipv4Addr::new(10, 0, 0, 2),
        remote_asn: OUR_AS,
        capabilities: capabilities(PEER_AS),
        jitter_seed: 8,
        ..settings()
    }
}

fn capabilities(asn: u32) -> Vec<Capability> {
    vec![
        Capability::Multiprotocol(Family::IPV4_UNICAST),
        Capability::Multiprotocol(Family::IPV6_UNICAST),
        Capability::RouteRefresh,
        Capability::FourOctetAs(asn),
    ]
}

/// The OPEN that the peer of [`settings`] sends.
fn peer_open() -> Open {
    Open {
        my_as: PEER_AS as u16,
        hold_seconds: 90,
        router_id: Ipv4Addr::new(10, 0, 0, 2),
        capabilities: capabilities(PEER_AS),
    }
}

fn encoded(open: &Open) -> Vec<u8> {
    let mut bytes = Vec::new();
    open.encode(&mut bytes);
    bytes
}

fn notification_bytes(notification: &Notification) -> Vec<u8> {
    let mut bytes = Vec::new();
    notification.encode(&mut bytes);
    bytes
}

/// A time to begin at; from there on time is virtual.
#[expect(clippy::disallowed_methods, reason = "an Instant cannot be made in another way")]
fn beginning() -> Instant {
    Instant::now()
}

/// A whole message with any body.
fn message(kind: MessageType, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0xff; 16];
    bytes.extend_from_slice(&((frame::HEADER_LEN + body.len()) as u16).to_be_bytes());
    bytes.push(kind.code());
    bytes.extend_from_slice(body);
    bytes
}

/// The NOTIFICATION in a message.
fn sent_notification(bytes: &[u8]) -> Option<Notification> {
    let frame = frame::split(bytes, frame::MAX_LEN).expect("a session sends valid messages")?;
    (frame.kind == MessageType::Notification).then(|| Notification::decode(frame.body))
}

/// A session under test with its clock, and what it has done since it was last asked.
struct Rig {
    session: Session,
    now: Instant,
    actions: Vec<Action>,
}

impl Rig {
    fn new(settings: SessionSettings) -> Self {
        Self { session: Session::new(settings), now: beginning(), actions: Vec::new() }
    }

    fn input(&mut self, input: Input<'_>) -> &mut Self {
        self.session.handle(input, self.now, &mut self.actions);
        self
    }

    fn connected(&mut self, conn: ConnectionId) -> &mut Self {
        self.input(Input::Connected { conn })
    }

    fn closed(&mut self, conn: ConnectionId) -> &mut Self {
        self.input(Input::Closed { conn, error: None })
    }

    fn receive(&mut self, conn: ConnectionId, bytes: &[u8]) -> &mut Self {
        let frame = frame::split(bytes, frame::MAX_LEN).expect("test message is valid").expect("and whole");
        self.input(Input::Frame { conn, frame })
    }

    fn open(&mut self, conn: ConnectionId) -> &mut Self {
        self.receive(conn, &encoded(&peer_open()))
    }

    fn keepalive(&mut self, conn: ConnectionId) -> &mut Self {
        self.receive(conn, &frame::KEEPALIVE)
    }

    /// Lets time pass without any deadline being served.
    fn wait(&mut self, time: Duration) -> &mut Self {
        self.now += time;
        self
    }

    /// Goes to the next deadline; how long that took.
    fn until_deadline(&mut self) -> Duration {
        let deadline = self.session.next_deadline().expect("a deadline");
        let waited = deadline.saturating_duration_since(self.now);
        self.now = self.now.max(deadline);
        self.input(Input::Tick);
        waited
    }

    /// Actions since the last call.
    fn take(&mut self) -> Vec<Action> {
        std::mem::take(&mut self.actions)
    }

    fn state(&self) -> State {
        self.session.state()
    }

    /// NOTIFICATIONs among the actions since the last call.
    fn notifications(&mut self) -> Vec<(ConnectionId, Notification)> {
        let sent = |action| match action {
            Action::Send { conn, bytes } => sent_notification(&bytes).map(|notification| (conn, notification)),
            _ => None,
        };
        self.take().into_iter().filter_map(sent).collect()
    }

    /// In a state, by the shortest way on the outgoing connection.
    fn in_state(state: State) -> Self {
        let conn = ConnectionId::Outgoing;
        let mut rig = Self::new(settings());
        if state == State::Active {
            rig.input(Input::Start).input(Input::ConnectFailed { error: "refused".to_owned() });
        }
        if state == State::Connect || state > State::Active {
            rig.input(Input::Start);
        }
        if state >= State::OpenSent {
            rig.connected(conn);
        }
        if state >= State::OpenConfirm {
            rig.open(conn);
        }
        if state >= State::Established {
            rig.keepalive(conn);
        }
        assert_eq!(rig.state(), state);
        rig.take();
        rig
    }
}

fn shutdown() -> Notification {
    Notification::cease(CeaseSubcode::AdministrativeShutdown)
}
