//! What becomes of connections: requests, segments, windows, resets.

use std::time::Duration;

use bgp_engine::speaker::Socket;
use bytes::Bytes;

use super::{Event, World};
use crate::sim::network::{End, StreamId};

/// Until a packet that nobody answered is sent again.
const AGAIN: Duration = Duration::from_secs(1);
/// How often a slow reader reads, and how much.
const SLOW_INTERVAL: Duration = Duration::from_millis(200);
const SLOW_OCTETS: usize = 100;

impl World {
    /// A connection request arrives, or is sent again where nobody hears it.
    pub(super) fn syn(&mut self, stream: StreamId) {
        let Some(known) = self.network.streams.get(&stream) else { return };
        let ([from, to], End::Dialing(_)) = (known.hosts, known.ends[0]) else {
            self.network.streams.remove(&stream);
            return;
        };
        if let Some(until) = self.network.interrupted([from, to], self.now) {
            let at = until.max(self.now + AGAIN) + self.network.delay(&mut self.random);
            return self.post(at, Event::Syn { stream });
        }
        let now = self.instant();
        let remote = self.topology.nodes[from].address.into();
        let local = self.topology.nodes[to].local();
        let host = &mut self.hosts[to];
        let Some(speaker) = &mut host.speaker else {
            let answer = if host.silent { Event::Syn { stream } } else { Event::Refused { stream } };
            let at = self.now + AGAIN;
            return self.post(at, answer);
        };
        let accepted = speaker.accept(remote, local, now);
        let at = self.now + self.network.delay(&mut self.random);
        match accepted {
            Some(socket) => {
                self.hosts[to].streams.insert(socket, stream);
                self.set_end(stream, 1, End::Open(socket));
                self.post(at, Event::Answer { stream });
            }
            None => {
                self.set_end(stream, 1, End::Gone);
                self.post(at, Event::Refused { stream });
            }
        }
        self.after(to);
    }

    pub(super) fn answer(&mut self, stream: StreamId) {
        let Some(known) = self.network.streams.get(&stream) else { return };
        let (hosts, end) = (known.hosts, known.ends[0]);
        if let Some(until) = self.network.interrupted(hosts, self.now) {
            let at = until + self.network.delay(&mut self.random);
            return self.post(at, Event::Answer { stream });
        }
        let now = self.instant();
        let local = self.topology.nodes[hosts[0]].local();
        match (end, &mut self.hosts[hosts[0]].speaker) {
            (End::Dialing(socket), Some(speaker)) => {
                self.network.streams.get_mut(&stream).into_iter().for_each(|s| s.ends[0] = End::Open(socket));
                speaker.connected(socket, local, now);
                self.after(hosts[0]);
            }
            // Given up in the meantime.
            _ => self.post_reset(stream, 1),
        }
    }

    pub(super) fn refused(&mut self, stream: StreamId) {
        let Some(End::Dialing(socket)) = self.end_of(stream, 0) else { return };
        let host = self.network.streams[&stream].hosts[0];
        self.network.streams.remove(&stream);
        self.hosts[host].streams.remove(&socket);
        self.with(host, |speaker, now| speaker.connect_failed(socket, "connection refused".to_owned(), now));
    }

    /// The first segment of a pipe arrives, unless the path is interrupted.
    pub(super) fn deliver(&mut self, stream: StreamId, to: usize) {
        let Some(known) = self.network.streams.get_mut(&stream) else { return };
        let (hosts, end) = (known.hosts, known.ends[to]);
        let silent = self.hosts[hosts[to]].silent;
        let blocked = self.network.interrupted(hosts, self.now);
        if let Some(at) = blocked.or((silent || matches!(end, End::Dialing(_))).then_some(self.now + AGAIN / 4)) {
            let at = at + self.network.delay(&mut self.random);
            return self.post(at, Event::Deliver { stream, to });
        }
        let Some(known) = self.network.streams.get_mut(&stream) else { return };
        let pipe = &mut known.pipes[to];
        let Some(segment) = pipe.segments.pop_front() else { return };
        if let Some(next) = pipe.segments.front() {
            let at = next.due;
            self.post(at, Event::Deliver { stream, to });
        }
        match end {
            End::Open(_) => {
                let Some(known) = self.network.streams.get_mut(&stream) else { return };
                let pipe = &mut known.pipes[to];
                match segment.octets {
                    Some(octets) => pipe.unread.push_back(octets),
                    None => pipe.finished = true,
                }
                self.read(stream, to);
            }
            End::Gone => self.post_reset(stream, 1 - to),
            End::Closed | End::Absent | End::Dialing(_) => {}
        }
    }

    /// The speaker reads what has arrived, if it wants to.
    fn read(&mut self, stream: StreamId, to: usize) {
        let Some(known) = self.network.streams.get_mut(&stream) else { return };
        let (host, End::Open(socket)) = (known.hosts[to], known.ends[to]) else { return };
        if self.hosts[host].slow_until > self.now {
            if !std::mem::replace(&mut known.pipes[to].read_is_due, true) {
                let at = self.now + SLOW_INTERVAL;
                self.post(at, Event::Read { stream, to });
            }
            return;
        }
        self.take(stream, to, host, socket, usize::MAX);
    }

    pub(super) fn read_slowly(&mut self, stream: StreamId, to: usize) {
        let Some(known) = self.network.streams.get_mut(&stream) else { return };
        known.pipes[to].read_is_due = false;
        let (host, End::Open(socket)) = (known.hosts[to], known.ends[to]) else { return };
        let slow = self.hosts[host].slow_until > self.now;
        self.take(stream, to, host, socket, if slow { SLOW_OCTETS } else { usize::MAX });
        let Some(known) = self.network.streams.get_mut(&stream) else { return };
        let pipe = &mut known.pipes[to];
        let more = pipe.finished || !pipe.unread.is_empty();
        if slow && more && !std::mem::replace(&mut pipe.read_is_due, true) {
            let at = self.now + SLOW_INTERVAL;
            self.post(at, Event::Read { stream, to });
        }
    }

    /// Streams whose speaker had no room for more may be read now.
    pub(super) fn read_again(&mut self, host: usize) {
        for stream in std::mem::take(&mut self.hosts[host].unread) {
            if let Some(side) = self.network.streams.get(&stream).map(|known| known.side(host)) {
                self.read(stream, side);
            }
        }
    }

    fn take(&mut self, stream: StreamId, to: usize, host: usize, socket: Socket, most: usize) {
        let now = self.instant();
        let Some(speaker) = &mut self.hosts[host].speaker else { return };
        if !speaker.reads(socket) {
            self.hosts[host].unread.insert(stream);
            return;
        }
        let Some(known) = self.network.streams.get_mut(&stream) else { return };
        let pipe = &mut known.pipes[to];
        let before = pipe.outstanding;
        let octets = pop(&mut pipe.unread, most);
        pipe.outstanding -= octets.len();
        let ends = pipe.finished && pipe.unread.is_empty();
        if !octets.is_empty() {
            speaker.received(socket, octets, now);
        }
        if ends && speaker.reads(socket) {
            speaker.closed(socket, None, now);
            self.hosts[host].streams.remove(&socket);
            self.set_end(stream, to, End::Closed);
        } else if ends {
            self.hosts[host].unread.insert(stream);
        }
        if before >= self.network.weather.window / 2 {
            let at = self.now + self.network.delay(&mut self.random);
            self.post(at, Event::Room { stream, to });
        }
        self.after(host);
    }

    /// Puts on the way what a speaker has to send, as far as the windows allow.
    pub(super) fn write(&mut self, host: usize) {
        let now = self.instant();
        let Some(speaker) = &self.hosts[host].speaker else { return };
        let sockets: Vec<Socket> = speaker.unsent().collect();
        for socket in sockets {
            let Some(&stream) = self.hosts[host].streams.get(&socket) else { continue };
            let Some(known) = self.network.streams.get(&stream) else { continue };
            let to = 1 - known.side(host);
            let room = self.network.weather.window.saturating_sub(known.pipes[to].outstanding);
            let Some(speaker) = &mut self.hosts[host].speaker else { return };
            let octets = speaker.write(socket, room, now);
            self.send(stream, to, &octets);
        }
    }

    fn send(&mut self, stream: StreamId, to: usize, octets: &[Bytes]) {
        if let Some(at) = self.network.send(stream, to, octets, self.now, &mut self.random) {
            self.post(at, Event::Deliver { stream, to });
        }
    }

    /// Sends the rest, then the end.
    pub(super) fn hang_up(&mut self, host: usize, socket: Socket, rest: Bytes) {
        let Some(stream) = self.hosts[host].streams.remove(&socket) else { return };
        let Some(known) = self.network.streams.get(&stream) else { return };
        let side = known.side(host);
        let room = self.network.weather.window.saturating_sub(known.pipes[1 - side].outstanding);
        if rest.len() <= room {
            self.send(stream, 1 - side, &[rest]);
        }
        if let Some(at) = self.network.post(stream, 1 - side, None, self.now, &mut self.random) {
            self.post(at, Event::Deliver { stream, to: 1 - side });
        }
        self.set_end(stream, side, End::Closed);
    }

    /// A host knows a connection no longer, and may say so to the other end.
    pub(super) fn forget(&mut self, stream: StreamId, host: usize, tell: bool) {
        let Some(side) = self.network.streams.get(&stream).map(|known| known.side(host)) else { return };
        if tell {
            self.post_reset(stream, 1 - side);
        }
        self.set_end(stream, side, End::Gone);
    }

    /// Both ends of a connection lose it, and what is under way.
    pub(super) fn cut(&mut self, stream: StreamId) {
        if let Some(known) = self.network.streams.get_mut(&stream) {
            known.pipes = Default::default();
            known.cut = true;
            self.post_reset(stream, 0);
            self.post_reset(stream, 1);
        }
    }

    fn post_reset(&mut self, stream: StreamId, to: usize) {
        let at = self.now + self.network.delay(&mut self.random);
        self.post(at, Event::Reset { stream, to });
    }

    /// A reset arrives; one that is lost is not sent again.
    pub(super) fn reset(&mut self, stream: StreamId, to: usize) {
        let Some(known) = self.network.streams.get(&stream) else { return };
        let (hosts, end) = (known.hosts, known.ends[to]);
        let host = hosts[to];
        let (End::Open(socket) | End::Dialing(socket)) = end else { return };
        if self.network.interrupted(hosts, self.now).is_some() {
            return;
        }
        self.hosts[host].streams.remove(&socket);
        self.set_end(stream, to, End::Gone);
        self.with(host, |speaker, now| match end {
            End::Dialing(_) => speaker.connect_failed(socket, "connection reset".to_owned(), now),
            _ => speaker.closed(socket, Some("connection reset".to_owned()), now),
        });
    }

    fn set_end(&mut self, stream: StreamId, side: usize, end: End) {
        let Some(known) = self.network.streams.get_mut(&stream) else { return };
        known.ends[side] = end;
        if known.is_over() {
            self.network.streams.remove(&stream);
        }
    }
}

/// At most so many octets from the front.
fn pop(unread: &mut std::collections::VecDeque<Bytes>, mut most: usize) -> Bytes {
    let mut taken = Vec::new();
    while let Some(first) = unread.front_mut()
        && most > 0
    {
        let part = first.split_to(first.len().min(most));
        most -= part.len();
        taken.extend_from_slice(&part);
        if first.is_empty() {
            unread.pop_front();
        }
    }
    taken.into()
}
