//! Two sessions with a network of byte streams between them, in virtual time: whatever the delays, the identifiers and
//! who connects first, both get to Established over the same connection and stay there.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashSet};

use proptest::prelude::*;

use super::*;

/// One of the two speakers.
type Side = usize;

/// What the network delivers.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Delivery {
    /// A SYN reaches the peer.
    Arrive {
        from: Side,
        stream: usize,
    },
    /// The SYN's answer reaches who sent it.
    Accepted {
        to: Side,
        stream: usize,
    },
    Bytes {
        to: Side,
        stream: usize,
        bytes: Vec<u8>,
    },
    Closed {
        to: Side,
        stream: usize,
    },
}

/// One TCP connection: who opened it, and until when each direction is busy, so that nothing overtakes.
struct Stream {
    opener: Side,
    busy: [Instant; 2],
}

impl Stream {
    fn id_at(&self, side: Side) -> ConnectionId {
        if self.opener == side { ConnectionId::Outgoing } else { ConnectionId::Incoming }
    }
}

struct Speaker {
    session: Session,
    /// Streams on which it has a connection, and what came on each and is not a message yet.
    streams: Vec<(usize, Vec<u8>)>,
    attempt: Option<usize>,
    downs: usize,
    failed: Vec<String>,
}

struct Network {
    now: Instant,
    speakers: [Speaker; 2],
    streams: Vec<Stream>,
    queue: BinaryHeap<Reverse<(Instant, usize, Delivery)>>,
    sequence: usize,
    delays: u64,
    slowest: u64,
}

impl Network {
    fn new(settings: [SessionSettings; 2], seed: u64, slowest: u64) -> Self {
        let speakers = settings.map(|settings| Speaker {
            session: Session::new(settings),
            streams: Vec::new(),
            attempt: None,
            downs: 0,
            failed: Vec::new(),
        });
        let queue = BinaryHeap::new();
        Self { now: beginning(), speakers, streams: Vec::new(), queue, sequence: 0, delays: seed, slowest }
    }

    fn delay(&mut self) -> Duration {
        self.delays = self.delays.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        Duration::from_millis((self.delays >> 33) % self.slowest + 1)
    }

    fn post(&mut self, at: Instant, delivery: Delivery) {
        self.sequence += 1;
        self.queue.push(Reverse((at, self.sequence, delivery)));
    }

    /// Posts on one direction of a stream, behind what is on it already.
    fn post_on(&mut self, stream: usize, to: Side, delivery: Delivery) {
        let at = (self.now + self.delay()).max(self.streams[stream].busy[to]);
        self.streams[stream].busy[to] = at;
        self.post(at, delivery);
    }

    fn input(&mut self, side: Side, input: Input<'_>) {
        let mut actions = Vec::new();
        self.speakers[side].session.handle(input, self.now, &mut actions);
        actions.into_iter().for_each(|action| self.perform(side, action));
    }

    fn stream_of(&self, side: Side, conn: ConnectionId) -> Option<usize> {
        let of = |(stream, _): &&(usize, Vec<u8>)| self.streams[*stream].id_at(side) == conn;
        self.speakers[side].streams.iter().find(of).map(|(stream, _)| *stream)
    }

    fn perform(&mut self, side: Side, action: Action) {
        match action {
            Action::Connect => {
                let stream = self.streams.len();
                self.streams.push(Stream { opener: side, busy: [self.now; 2] });
                self.speakers[side].attempt = Some(stream);
                let at = self.now + self.delay();
                self.post(at, Delivery::Arrive { from: side, stream });
            }
            Action::AbortConnect => self.speakers[side].attempt = None,
            Action::Send { conn, bytes } => {
                let stream = self.stream_of(side, conn).expect("a session sends on connections that it has");
                self.in_pieces(stream, 1 - side, &bytes);
            }
            Action::Close { conn } => {
                let stream = self.stream_of(side, conn).expect("a session closes connections that it has");
                self.speakers[side].streams.retain(|(other, _)| *other != stream);
                self.post_on(stream, 1 - side, Delivery::Closed { to: 1 - side, stream });
            }
            Action::Down { .. } => self.speakers[side].downs += 1,
            Action::Failed { error } => self.speakers[side].failed.push(error),
            Action::Established { .. }
            | Action::RouteRefresh(_)
            | Action::Transition { .. }
            | Action::LongLived { .. }
            | Action::EndRetention { .. } => {}
        }
    }

    /// A message comes as one to three pieces.
    fn in_pieces(&mut self, stream: usize, to: Side, bytes: &[u8]) {
        let piece = bytes.len().div_ceil(1 + (self.delays >> 40) as usize % 3);
        for bytes in bytes.chunks(piece) {
            self.post_on(stream, to, Delivery::Bytes { to, stream, bytes: bytes.to_vec() });
        }
    }

    fn deliver(&mut self, delivery: Delivery) {
        match delivery {
            Delivery::Arrive { from, stream } => {
                let side = 1 - from;
                self.speakers[side].streams.push((stream, Vec::new()));
                self.post_on(stream, from, Delivery::Accepted { to: from, stream });
                self.input(side, Input::Connected { conn: ConnectionId::Incoming });
            }
            Delivery::Accepted { to, stream } if self.speakers[to].attempt == Some(stream) => {
                self.speakers[to].attempt = None;
                self.speakers[to].streams.push((stream, Vec::new()));
                self.input(to, Input::Connected { conn: ConnectionId::Outgoing });
            }
            // Given up in the meantime.
            Delivery::Accepted { to, stream } => {
                self.post_on(stream, 1 - to, Delivery::Closed { to: 1 - to, stream });
            }
            Delivery::Bytes { to, stream, bytes } => self.read(to, stream, &bytes),
            Delivery::Closed { to, stream } => {
                let before = self.speakers[to].streams.len();
                self.speakers[to].streams.retain(|(other, _)| *other != stream);
                if self.speakers[to].streams.len() < before {
                    let conn = self.streams[stream].id_at(to);
                    self.input(to, Input::Closed { conn, error: None });
                }
            }
        }
    }

    fn read(&mut self, side: Side, stream: usize, bytes: &[u8]) {
        let conn = self.streams[stream].id_at(side);
        let Some((_, buffer)) = self.speakers[side].streams.iter_mut().find(|(other, _)| *other == stream) else {
            return;
        };
        buffer.extend_from_slice(bytes);
        let whole = std::mem::take(buffer);
        let mut rest = whole.as_slice();
        while let Some(frame) = frame::split(rest, frame::MAX_LEN).expect("sessions speak BGP") {
            rest = &rest[frame.raw.len()..];
            self.input(side, Input::Frame { conn, frame });
        }
        if let Some((_, buffer)) = self.speakers[side].streams.iter_mut().find(|(other, _)| *other == stream) {
            *buffer = rest.to_vec();
        }
    }

    /// Runs for a while.
    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            let delivery = self.queue.peek().map(|Reverse((at, ..))| *at);
            let deadlines: Vec<_> =
                (0..2).filter_map(|side| Some((self.speakers[side].session.next_deadline()?, side))).collect();
            let timer = deadlines.into_iter().min();
            let next = delivery.into_iter().chain(timer.map(|(at, _)| at)).min();
            let Some(next) = next.filter(|next| *next <= end) else { break };
            self.now = self.now.max(next);
            if delivery == Some(next) {
                let Reverse((_, _, delivery)) = self.queue.pop().expect("just seen");
                self.deliver(delivery);
            } else if let Some((_, side)) = timer {
                self.input(side, Input::Tick);
            }
        }
        self.now = end;
    }

    /// The stream that routes go over, as a speaker sees it.
    fn established(&self, side: Side) -> Option<usize> {
        let (conn, _) = self.speakers[side].session.established()?;
        self.stream_of(side, conn)
    }

    fn assert_up(&self) {
        let streams: HashSet<_> = (0..2).map(|side| self.established(side)).collect();
        assert!(!streams.contains(&None), "a side is not Established: {:?}", self.states());
        assert_eq!(streams.len(), 1, "both sides use the same connection");
        assert!(self.speakers.iter().all(|speaker| speaker.streams.len() == 1), "no connection is left over");
    }

    fn states(&self) -> Vec<State> {
        self.speakers.iter().map(|speaker| speaker.session.state()).collect()
    }
}

fn identifiers(order: u8) -> [Ipv4Addr; 2] {
    let (low, high) = (Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(172, 16, 0, 1));
    match order % 3 {
        0 => [low, high],
        1 => [high, low],
        _ => [low, low],
    }
}

fn both(order: u8, passive: [bool; 2], seed: u64) -> [SessionSettings; 2] {
    let ids = identifiers(order);
    let mut settings = [settings(), peer_settings()];
    for (side, settings) in settings.iter_mut().enumerate() {
        settings.router_id = ids[side];
        settings.passive = passive[side];
        settings.jitter_seed = seed.wrapping_add(side as u64);
    }
    settings
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn two_sessions_find_each_other_whatever_the_delays(
        order in 0_u8..3,
        passive in prop_oneof![Just([false, false]), Just([false, true]), Just([true, false])],
        seed: u64,
        slowest in prop_oneof![Just(2_u64), Just(50), Just(1_000), Just(9_000)],
        apart in 0_u64..40_000,
        first in 0_usize..2,
    ) {
        let mut network = Network::new(both(order, passive, seed), seed, slowest);
        network.input(first, Input::Start);
        network.run(Duration::from_millis(apart));
        network.input(1 - first, Input::Start);
        network.run(Duration::from_secs(300));
        network.assert_up();
        // And they stay: an hour of KEEPALIVEs later it is the same session.
        let (streams, downs) = (network.established(0), network.speakers.each_ref().map(|speaker| speaker.downs));
        network.run(Duration::from_secs(3_600));
        network.assert_up();
        prop_assert_eq!(network.established(0), streams);
        prop_assert_eq!(network.speakers.each_ref().map(|speaker| speaker.downs), downs);
    }

    #[test]
    fn two_sessions_find_each_other_again_after_a_lost_connection(order in 0_u8..3, seed: u64, loser in 0_usize..2) {
        let mut network = Network::new(both(order, [false, false], seed), seed, 200);
        (0..2).for_each(|side| network.input(side, Input::Start));
        network.run(Duration::from_secs(120));
        network.assert_up();
        let (conn, _) = network.speakers[loser].session.established().expect("established");
        let stream = network.stream_of(loser, conn).expect("its stream");
        network.deliver(Delivery::Closed { to: loser, stream });
        network.post_on(stream, 1 - loser, Delivery::Closed { to: 1 - loser, stream });
        network.run(Duration::from_secs(300));
        network.assert_up();
    }
}

#[test]
fn sessions_that_start_together_are_up_within_seconds_and_without_an_error() {
    for seed in 0..200 {
        let mut network = Network::new(both((seed % 3) as u8, [false, false], seed), seed, 100);
        (0..2).for_each(|side| network.input(side, Input::Start));
        network.run(Duration::from_secs(5));
        network.assert_up();
        // A side may be Established for the time of a round trip before it hears that the other connection won, and
        // loses both: that is not an error either, and costs one short retry.
        for speaker in &network.speakers {
            assert!(speaker.failed.is_empty() && speaker.downs <= 1, "seed {seed}: {:?}", speaker.failed);
        }
    }
}

#[test]
fn stopped_peer_is_told_and_comes_back_when_started() {
    let mut network = Network::new(both(0, [false, false], 1), 1, 20);
    (0..2).for_each(|side| network.input(side, Input::Start));
    network.run(Duration::from_secs(100));
    network.input(0, Input::Stop { notification: Notification::admin_shutdown("maintenance") });
    network.run(Duration::from_secs(10));
    let told = network.speakers[1].session.last_received().and_then(Notification::shutdown_text);
    assert_eq!(told.as_deref(), Some("maintenance"));
    assert_eq!(network.speakers[0].session.state(), State::Idle);
    network.run(Duration::from_secs(600));
    network.input(0, Input::Start);
    network.run(Duration::from_secs(120));
    network.assert_up();
}
