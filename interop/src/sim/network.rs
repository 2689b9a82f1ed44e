//! The network between the speakers: connections that lose nothing but may be slow, cut or reset.
//!
//! What TCP makes of the world below it: octets of one direction come in order; a lost segment comes later, and all
//! behind it; while a path is interrupted nothing comes, and afterwards everything; two connections know nothing of
//! each other. A window bounds what is under way or not read yet.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bgp_engine::speaker::Socket;
use bytes::Bytes;

use super::random::Random;
use super::world::Time;

/// What the network is like.
#[derive(Debug, Clone, Copy)]
pub struct Weather {
    /// Shortest and longest time on the way.
    pub delay: (Duration, Duration),
    /// One segment in so many is lost once; 0 for none.
    pub loss: usize,
    /// Octets that may be under way or unread in one direction.
    pub window: usize,
    /// Most octets in one segment.
    pub segment: usize,
}

/// Longer than anything is under way in good weather.
const SHORT: Duration = Duration::from_secs(1);

/// A connection.
pub type StreamId = usize;

/// The state of one end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The speaker has asked for the connection and waits.
    Dialing(Socket),
    /// The connection has not come so far.
    Absent,
    /// In use.
    Open(Socket),
    /// Closed by the speaker.
    Closed,
    /// The host does not know the connection any more: whatever comes is answered with a reset.
    Gone,
}

/// Octets on their way, or the end of them.
#[derive(Debug)]
pub struct Segment {
    /// When it comes.
    pub due: Time,
    /// What it carries; `None` is the end.
    pub octets: Option<Bytes>,
}

/// One direction of a connection, by the end that it leads to.
#[derive(Debug, Default)]
pub struct Pipe {
    /// On the way, in order.
    pub segments: VecDeque<Segment>,
    /// Arrived and not read.
    pub unread: VecDeque<Bytes>,
    /// The sender has closed, and everything before has arrived.
    pub finished: bool,
    /// Octets in `segments` and `unread`.
    pub outstanding: usize,
    /// A slow reader will come by.
    pub read_is_due: bool,
}

/// A connection: the host that opened it first.
#[derive(Debug)]
pub struct Stream {
    /// The hosts.
    pub hosts: [usize; 2],
    /// Their ends.
    pub ends: [End; 2],
    /// What goes to each.
    pub pipes: [Pipe; 2],
    /// It was reset: what is put on it goes nowhere.
    pub cut: bool,
}

impl Stream {
    /// Which end a host has.
    #[must_use]
    pub fn side(&self, host: usize) -> usize {
        usize::from(self.hosts[0] != host)
    }

    /// Nothing can happen on it any more.
    #[must_use]
    pub fn is_over(&self) -> bool {
        let over = |side: usize| !matches!(self.ends[side], End::Open(_) | End::Dialing(_) | End::Absent);
        over(0) && over(1)
    }
}

/// All connections, and which paths are interrupted.
#[derive(Debug)]
pub struct Network {
    /// The conditions now.
    pub weather: Weather,
    /// Connections that are not over.
    pub streams: BTreeMap<StreamId, Stream>,
    next: StreamId,
    /// Until when the path between two hosts is interrupted.
    interrupted: BTreeMap<[usize; 2], Time>,
}

impl Network {
    /// Without connections.
    #[must_use]
    pub fn new(weather: Weather) -> Self {
        Self { weather, streams: BTreeMap::new(), next: 0, interrupted: BTreeMap::new() }
    }

    /// A new connection from one host to another.
    pub fn open(&mut self, from: usize, socket: Socket, to: usize) -> StreamId {
        self.next += 1;
        let ends = [End::Dialing(socket), End::Absent];
        self.streams.insert(self.next, Stream { hosts: [from, to], ends, pipes: Default::default(), cut: false });
        self.next
    }

    /// Interrupts the path between two hosts.
    pub fn interrupt(&mut self, a: usize, b: usize, until: Time) {
        let entry = self.interrupted.entry([a.min(b), a.max(b)]).or_default();
        *entry = until.max(*entry);
    }

    /// Until when the path between two hosts is interrupted, if it is.
    #[must_use]
    pub fn interrupted(&self, hosts: [usize; 2], now: Time) -> Option<Time> {
        let [a, b] = hosts;
        self.interrupted.get(&[a.min(b), a.max(b)]).copied().filter(|until| *until > now)
    }

    /// Nothing is held up on its way, and nothing waits to be read. KEEPALIVEs come and go: in a large network some are
    /// always under way.
    #[must_use]
    pub fn is_still(&self, now: Time) -> bool {
        let on_time = |segment: &Segment| segment.due > now && segment.due <= now + SHORT;
        let still = |pipe: &Pipe| {
            pipe.unread.is_empty() && [pipe.segments.front(), pipe.segments.back()].into_iter().flatten().all(on_time)
        };
        self.streams.values().flat_map(|stream| &stream.pipes).all(still)
    }

    /// All paths are whole again.
    pub fn heal(&mut self) {
        self.interrupted.clear();
    }

    /// The time that a packet takes, with what its loss costs.
    pub fn delay(&self, random: &mut Random) -> Duration {
        let (low, high) = self.weather.delay;
        let mut delay = random.time(low, high);
        let mut retry = Duration::from_millis(200);
        while self.weather.loss > 0 && random.once_in(self.weather.loss) {
            delay += retry;
            retry *= 2;
        }
        delay
    }

    /// Cuts octets into segments behind those that are on the way. Says when the first new one comes if none was.
    pub fn send(
        &mut self,
        stream: StreamId,
        to: usize,
        octets: &[Bytes],
        now: Time,
        random: &mut Random,
    ) -> Option<Time> {
        let all: Vec<u8> = octets.concat();
        let longest = random.between(self.weather.segment / 4, self.weather.segment).max(1);
        let mut first = None;
        for piece in all.chunks(longest) {
            first = self.post(stream, to, Some(Bytes::copy_from_slice(piece)), now, random).or(first);
        }
        first
    }

    /// Puts one segment behind the others. Says when it comes if it is the only one.
    pub fn post(
        &mut self,
        stream: StreamId,
        to: usize,
        octets: Option<Bytes>,
        now: Time,
        random: &mut Random,
    ) -> Option<Time> {
        let due = now + self.delay(random);
        let stream = self.streams.get_mut(&stream).filter(|stream| !stream.cut)?;
        let pipe = &mut stream.pipes[to];
        let due = pipe.segments.back().map_or(due, |last| due.max(last.due));
        pipe.outstanding += octets.as_ref().map_or(0, Bytes::len);
        pipe.segments.push_back(Segment { due, octets });
        (pipe.segments.len() == 1).then_some(due)
    }
}
