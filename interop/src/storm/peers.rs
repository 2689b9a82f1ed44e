//! The host that plays all peers.

use std::collections::{BTreeSet, VecDeque};
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use crate::lab::{Node, PATIENCE};
use crate::malformed::{
    Connection, INTERNAL, Observer, Place, Prefix, Stage, UPDATE, connect, message, nlri, own_open, update,
};

/// The address of the peer that reads nothing.
pub(super) const STUCK: Ipv4Addr = Ipv4Addr::new(10, 8, 255, 1);
/// Pairs of connections that are open at a time.
const AT_A_TIME: usize = 100;
const WATCHER: Ipv4Addr = Ipv4Addr::new(10, 8, 255, 2);
const SPEAKER: Ipv4Addr = Ipv4Addr::new(10, 8, 255, 3);
const TO: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

/// A neighbor that bgpd connects to as well.
pub(super) fn colliding(at: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 9, (at / 250) as u8, (at % 250) as u8 + 1)
}

/// All peers.
pub(super) struct Peers<'a> {
    node: &'a Node,
    watcher: Observer,
    speaker: Connection,
    rounds: u8,
    hosts: usize,
}

impl<'a> Peers<'a> {
    pub(super) fn new(node: &'a Node) -> Self {
        // Tables that flap are millions of events, and nobody asks for them.
        let is_mark = |(octets, _): &Prefix| octets.starts_with(&[198, 19]);
        let (watcher, speaker) = (Observer::of(up(node, WATCHER), is_mark), up(node, SPEAKER));
        Self { node, watcher, speaker, rounds: 0, hosts: 0 }
    }

    /// A session whose peer has no room for anything and never reads.
    pub(super) fn stuck(&self) -> TcpStream {
        let mut stream = connect(&self.node.namespace, STUCK, TO, Some(2048)).expect("bgpd listens");
        stream.write_all(&own_open(INTERNAL, STUCK)).expect("there is room for an OPEN");
        stream.write_all(&message(crate::malformed::KEEPALIVE, &[])).expect("there is room for a KEEPALIVE");
        stream
    }

    fn host(&mut self) -> Ipv4Addr {
        self.hosts += 1;
        Ipv4Addr::new(10, 8, (self.hosts / 250 % 250) as u8, (self.hosts % 250) as u8 + 1)
    }

    /// A connection from a peer that has not been there for long.
    fn open(&mut self) -> (Ipv4Addr, TcpStream) {
        let host = self.host();
        (host, connect(&self.node.namespace, host, TO, None).expect("bgpd listens"))
    }

    /// Connections that come and go: at once, after an OPEN, after a session.
    pub(super) fn cycle(&mut self, count: usize) {
        for at in 0..count {
            let (host, mut stream) = self.open();
            match at % 3 {
                0 => {}
                1 => drop(stream.write_all(&own_open(INTERNAL, host))),
                _ => {
                    // A session that does not come up is cut short like the others.
                    let connection = Connection::new(stream);
                    let _ = connection.map(|mut connection| connection.bring_up(INTERNAL, host, Stage::Established));
                }
            }
        }
    }

    /// Many connections that send an OPEN octet by octet, all at the same time; half of them go before it is whole.
    pub(super) fn dribble(&mut self, count: usize) {
        let mut all: Vec<_> = (0..count).map(|_| self.open()).collect();
        let len = own_open(INTERNAL, TO).len();
        for at in 0..len {
            if at == len / 2 {
                all.truncate(count / 2);
            }
            for (host, stream) in &mut all {
                let _ = stream.write_all(&own_open(INTERNAL, *host)[at..=at]);
            }
        }
    }

    /// bgpd connects to its neighbors, and they to it at the same moment.
    pub(super) fn collide(&mut self, count: usize) {
        let listener = self.node.namespace.inside(|| TcpListener::bind("0.0.0.0:179").expect("the port is free"));
        listener.set_nonblocking(true).expect("a socket can be polled");
        let deadline = Instant::now() + PATIENCE;
        let mut met = BTreeSet::new();
        let mut open = VecDeque::new();
        while met.len() < count && Instant::now() < deadline {
            let Ok((mut theirs, _)) = listener.accept() else {
                std::thread::sleep(Duration::from_millis(5));
                continue;
            };
            let Ok(SocketAddr::V4(here)) = theirs.local_addr() else { continue };
            let host = *here.ip();
            let Ok(mut ours) = connect(&self.node.namespace, host, TO, None) else { continue };
            let _ = ours.write_all(&own_open(INTERNAL, host));
            let _ = theirs.write_all(&own_open(INTERNAL, host));
            met.insert(host);
            open.push_back((ours, theirs));
            if open.len() > AT_A_TIME {
                open.pop_front();
            }
        }
        assert_eq!(met.len(), count, "every neighbor has collided");
    }

    /// One peer that announces and withdraws its whole table again and again.
    pub(super) fn flap(&mut self, table: u32, count: usize) {
        let host = self.host();
        let mut peer = up(self.node, host);
        let prefix = |at: u32| ((0x6400_0000 | at << 2).to_be_bytes().to_vec(), 30);
        let prefixes: Vec<Prefix> = (0..table).map(prefix).collect();
        let place = Place { who: INTERNAL, number: 9 };
        for _ in 0..count {
            for chunk in prefixes.chunks(700) {
                let octets: Vec<u8> = chunk.iter().flat_map(nlri).collect();
                peer.send(&message(UPDATE, &update(&[], &place.attributes(1, true, &[]), &octets)));
            }
            for chunk in prefixes.chunks(700) {
                let octets: Vec<u8> = chunk.iter().flat_map(nlri).collect();
                peer.send(&message(UPDATE, &update(&octets, &[], &[])));
            }
        }
        // What is behind all that is the end of it.
        self.through(&mut peer);
    }

    /// UPDATEs with one octet changed, each octet in turn; a session that ends is followed by another one.
    pub(super) fn flip(&mut self, count: usize) {
        let place = Place { who: INTERNAL, number: 8 };
        let right = place.announcement(&place.ipv4(), 1);
        let mut peer = None;
        for at in 0..count {
            let mut wrong = right.clone();
            let (octet, change) = (at % wrong.len(), (at / wrong.len() % 255) as u8 + 1);
            wrong[octet] ^= change;
            let mut connection = peer.take().unwrap_or_else(|| {
                let host = self.host();
                up(self.node, host)
            });
            connection.send(&message(UPDATE, &wrong));
            if connection.ended(Duration::from_millis(2)).is_none() {
                peer = Some(connection);
            }
        }
    }

    /// A route from the speaker comes to the watcher.
    pub(super) fn look_through(&mut self) {
        self.rounds += 1;
        let prefix = (vec![198, 19, 0, self.rounds], 32);
        let place = Place { who: INTERNAL, number: 7 };
        self.speaker.send(&message(UPDATE, &place.announcement(&prefix, 1)));
        assert!(self.watcher.wait_for(&prefix, 0, Instant::now() + PATIENCE), "the bystanders' route comes through");
        assert!(self.watcher.is_up(), "the watcher's session is up");
        assert!(self.speaker.ended(Duration::ZERO).is_none(), "the speaker's session is up");
    }

    fn through(&mut self, peer: &mut Connection) {
        self.rounds += 1;
        let prefix = (vec![198, 19, 1, self.rounds], 32);
        let place = Place { who: INTERNAL, number: 7 };
        peer.send(&message(UPDATE, &place.announcement(&prefix, 1)));
        assert!(self.watcher.wait_for(&prefix, 0, Instant::now() + PATIENCE), "the last route comes through");
    }
}

fn up(node: &Node, host: Ipv4Addr) -> Connection {
    let stream = connect(&node.namespace, host, TO, None).expect("bgpd listens");
    let mut connection = Connection::new(stream).expect("the socket is alive");
    connection.bring_up(INTERNAL, host, Stage::Established).expect("the session comes up");
    connection
}
