//! The load generator: any number of BGP sessions in one thread, over one poller.
//!
//! It is made to be much cheaper than any daemon: routes are written from bytes encoded before the clock starts, and
//! what is received is checked in one pass over the read buffer.

mod member;

use std::io;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use mio::{Events, Poll, Token};

pub(crate) use member::{DAEMON, Member, Phase};

use member::Left;

use super::board::{Board, NOBODY, RouteId};
use super::latency::Histogram;
use super::message::Families;

/// Sessions between connect and Established at one time. BIRD and OpenBGPD listen with a short backlog; a connection
/// that overflows it hangs for a minute, which says something about TCP and nothing about BGP.
const HANDSHAKES: usize = 8;

const SCRATCH: usize = 512 * 1024;

/// All sessions of a load.
pub(crate) struct Fleet {
    poll: Poll,
    events: Events,
    scratch: Vec<u8>,
    started: Instant,
    next_upkeep: Instant,
    /// Whether a session may be waiting to connect.
    connecting: bool,
    /// Sessions that have read a part of what is there.
    unread: Vec<usize>,
    pub(crate) board: Board,
    pub(crate) members: Vec<Member>,
    pub(crate) latency: Histogram,
    untimed: Histogram,
    /// What went wrong: sessions closed by the daemon, malformed messages.
    pub(crate) faults: Vec<String>,
}

/// Loopback address of client `number`: 127.1.0.1 upwards.
pub(crate) fn address(number: u32) -> Ipv4Addr {
    Ipv4Addr::from(0x7f01_0000 + number + 1)
}

/// Router ID of client `number`; ascends with the number.
pub(crate) fn router_id(number: u32) -> Ipv4Addr {
    Ipv4Addr::from(0x0a01_0000 + number + 1)
}

impl Fleet {
    /// As many sessions as `board` has router IDs, all down.
    pub(crate) fn new(board: Board, clients: u32, families: Families) -> io::Result<Self> {
        let now = Instant::now();
        let members = (0..clients).map(|number| Member::new(number, families, &board)).collect();
        Ok(Self {
            poll: Poll::new()?,
            events: Events::with_capacity(4096),
            scratch: vec![0; SCRATCH],
            started: now,
            next_upkeep: now,
            connecting: false,
            unread: Vec::new(),
            board,
            members,
            latency: Histogram::default(),
            untimed: Histogram::default(),
            faults: Vec::new(),
        })
    }

    /// Nanoseconds since the fleet was made.
    pub(crate) fn clock(&self) -> u64 {
        self.started.elapsed().as_nanos() as u64
    }

    /// Wants these sessions up; they connect until they are.
    pub(crate) fn bring_up(&mut self, clients: impl IntoIterator<Item = u32>) {
        let now = Instant::now();
        for client in clients {
            self.members[client as usize].want_up(now);
        }
        self.connecting = true;
    }

    /// Ends a session with a Cease; what was not written yet is dropped.
    pub(crate) fn take_down(&mut self, client: u32) {
        let member = &mut self.members[client as usize];
        member.take_down(&self.board);
    }

    /// Queues bytes for a client and writes what the socket takes.
    pub(crate) fn send(&mut self, client: u32, bytes: Bytes) {
        let member = &mut self.members[client as usize];
        member.queue(bytes);
        if let Err(error) = member.flush() {
            self.faults.push(format!("client {client}: {error}"));
        }
    }

    /// Starts or stops reading of a client's socket.
    pub(crate) fn set_reading(&mut self, client: u32, reading: bool) {
        self.members[client as usize].reading = reading;
        if reading {
            self.read(client as usize);
        }
    }

    /// Declares a new winner for a prefix, for the board and every view.
    pub(crate) fn retarget(&mut self, prefix: u32, source: u32, route: RouteId, now: u64) {
        let before = self.board.expect_prefix(prefix, source, route, now);
        for member in self.members.iter_mut().filter(|member| member.number() != source) {
            member.view.retarget(prefix, before, route);
        }
    }

    /// Compares every view with the board anew.
    pub(crate) fn recount(&mut self) {
        self.members.iter_mut().for_each(|member| member.view.recount(&self.board));
    }

    /// Nobody announces anything of a group any more.
    pub(crate) fn expect_nothing(&mut self) {
        for group in 0..self.board.table.groups.len() as u32 {
            self.board.expect_group(group, NOBODY, super::board::ABSENT);
        }
        self.recount();
    }

    /// True when every watched session holds exactly what is due.
    pub(crate) fn settled(&self) -> bool {
        self.members.iter().all(|member| !member.watched || member.view.exact())
    }

    /// True when every session that is wanted is Established.
    pub(crate) fn established(&self) -> bool {
        self.members.iter().all(|member| !member.wanted() || member.phase == Phase::Established)
    }

    /// Waits for sockets at most `timeout`, and does what is to be done.
    pub(crate) fn turn(&mut self, timeout: Duration) -> io::Result<()> {
        let now = Instant::now();
        if now >= self.next_upkeep {
            self.upkeep(now);
        }
        if self.connecting {
            self.connect(now);
        }
        let timeout = timeout.min(self.next_upkeep.saturating_duration_since(now));
        let timeout = if self.unread.is_empty() { timeout } else { Duration::ZERO };
        let mut events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        let result = match self.poll.poll(&mut events, Some(timeout)) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => Err(error),
            _ => Ok(()),
        };
        for event in &events {
            let Token(number) = event.token();
            if event.is_writable() || event.is_error() {
                self.write(number);
            }
            if event.is_readable() || event.is_read_closed() {
                self.read(number);
            }
        }
        self.events = events;
        // Behind those that are timed, and a little only.
        std::mem::take(&mut self.unread).into_iter().for_each(|number| self.read(number));
        result
    }

    /// Connects who is to connect, as many as may at a time.
    fn connect(&mut self, now: Instant) {
        let shaking = |member: &&Member| !matches!(member.phase, Phase::Down | Phase::Established);
        let mut room = HANDSHAKES.saturating_sub(self.members.iter().filter(shaking).count());
        self.connecting = false;
        for (number, member) in self.members.iter_mut().enumerate() {
            if member.phase != Phase::Down || !member.wanted() {
                continue;
            }
            self.connecting = true;
            if room == 0 {
                return;
            }
            match member.connect(self.poll.registry(), Token(number), now) {
                Ok(started) => room -= usize::from(started),
                Err(error) => self.faults.push(format!("client {number}: {error}")),
            }
        }
    }

    /// Sends KEEPALIVEs, and starts anew where an attempt to connect hangs.
    fn upkeep(&mut self, now: Instant) {
        self.next_upkeep = now + Duration::from_millis(25);
        self.connecting = true;
        for (number, member) in self.members.iter_mut().enumerate() {
            if let Err(error) = member.keep_alive(now) {
                self.faults.push(format!("client {number}: {error}"));
            }
            if member.hangs(now) {
                member.lost(&self.board, now);
            }
        }
    }

    fn write(&mut self, number: usize) {
        if let Err(error) = self.members[number].flush() {
            self.fail(number, &error.to_string());
        }
    }

    fn read(&mut self, number: usize) {
        let Self { members, scratch, board, latency, untimed, started, .. } = self;
        let member = &mut members[number];
        let latency = if member.timed { latency } else { untimed };
        let result = member.read(scratch, board, *started, latency);
        match result {
            Ok(Left::Nothing) => {}
            Ok(Left::More) => {
                if !self.unread.contains(&number) {
                    self.unread.push(number);
                }
            }
            Ok(Left::Closed) => self.fail(number, "closed by the daemon"),
            Err(error) => self.fail(number, &error.to_string()),
        }
    }

    /// A session ended that was not to end. Before it was Established that is only a reason to try again.
    fn fail(&mut self, number: usize, reason: &str) {
        let member = &mut self.members[number];
        if member.phase == Phase::Established {
            let detail = member.notification.as_deref().unwrap_or("");
            self.faults.push(format!("session of client {number} was lost: {reason} {detail}"));
        }
        member.lost(&self.board, Instant::now());
    }

    /// Turns until `done`, or returns false at the deadline or when a fault came up.
    pub(crate) fn run(&mut self, deadline: Instant, mut done: impl FnMut(&Self) -> bool) -> io::Result<bool> {
        loop {
            if done(self) {
                return Ok(true);
            }
            if Instant::now() >= deadline || !self.faults.is_empty() {
                return Ok(false);
            }
            self.turn(Duration::from_millis(20))?;
        }
    }

    /// The complaints of all watched views, at most three.
    pub(crate) fn complaints(&self) -> Vec<String> {
        let complaints = |member: &Member| member.view.complaint(&self.board);
        self.members.iter().filter(|member| member.watched).filter_map(complaints).take(3).collect()
    }
}
