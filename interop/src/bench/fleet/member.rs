//! One session of the load generator: connects, opens, reads and writes.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use socket2::{Domain, Protocol, Socket, Type};

use super::super::board::{Board, View};
use super::super::decode;
use super::super::latency::Histogram;
use super::super::message::{self, Families};
use super::{address, router_id};

/// Where the daemon listens.
pub(crate) const DAEMON: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 179);

const RETRY: Duration = Duration::from_millis(100);
/// How long an attempt may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Octets that a session which is not timed reads at a time: a full table that is checked in one piece would delay the
/// sessions that are timed by more than any daemon does.
const SLICE: usize = 4 * 1024;

/// What a read has left in the socket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Left {
    Nothing,
    /// Perhaps more.
    More,
    /// The daemon closed the connection.
    Closed,
}

/// How far a session is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Phase {
    Down,
    Connecting,
    OpenSent,
    OpenConfirm,
    Established,
}

/// One session.
pub(crate) struct Member {
    number: u32,
    families: Families,
    /// What it offers; a third of it is between its KEEPALIVEs.
    hold_time: u16,
    wanted: bool,
    retry_at: Instant,
    next_keepalive: Instant,
    stream: Option<TcpStream>,
    /// A message of which only the beginning is there.
    partial: Vec<u8>,
    output: VecDeque<Bytes>,
    pub(crate) phase: Phase,
    /// A session that does not read lets the daemon's output pile up.
    pub(crate) reading: bool,
    /// Whether its table counts.
    pub(crate) watched: bool,
    /// Whether its latencies count.
    pub(crate) timed: bool,
    /// Says nothing more once it is up.
    pub(crate) mute: bool,
    pub(crate) view: View,
    /// When the daemon's last KEEPALIVE came, in nanoseconds of the fleet's clock, and the longest time between two.
    heard: Option<u64>,
    pub(crate) longest_silence: u64,
    pub(crate) received: u64,
    pub(crate) notification: Option<String>,
}

impl Member {
    pub(super) fn new(number: u32, families: Families, board: &Board) -> Self {
        let now = Instant::now();
        Self {
            number,
            families,
            hold_time: message::HOLD_TIME,
            wanted: false,
            retry_at: now,
            next_keepalive: now,
            stream: None,
            partial: Vec::new(),
            output: VecDeque::new(),
            phase: Phase::Down,
            reading: true,
            watched: true,
            timed: true,
            mute: false,
            view: View::new(number, board),
            heard: None,
            longest_silence: 0,
            received: 0,
            notification: None,
        }
    }

    pub(crate) fn number(&self) -> u32 {
        self.number
    }

    pub(crate) fn wanted(&self) -> bool {
        self.wanted
    }

    /// Octets that are queued and not yet in the socket.
    pub(crate) fn queued(&self) -> usize {
        self.output.iter().map(Bytes::len).sum()
    }

    pub(super) fn want_up(&mut self, now: Instant) {
        self.wanted = true;
        self.retry_at = now;
    }

    pub(super) fn take_down(&mut self, board: &Board) {
        let mut bytes = Vec::new();
        message::cease(&mut bytes);
        self.wanted = false;
        if let Some(stream) = &mut self.stream {
            // The daemon learns of it by the close anyway.
            let _ = stream.write(&bytes);
        }
        self.close(board);
    }

    pub(super) fn lost(&mut self, board: &Board, now: Instant) {
        self.retry_at = now + RETRY;
        self.close(board);
    }

    fn close(&mut self, board: &Board) {
        self.stream = None;
        self.partial.clear();
        self.output.clear();
        if self.phase == Phase::Established {
            self.view.clear(board);
        }
        self.phase = Phase::Down;
    }

    /// True when an attempt to connect leads nowhere.
    pub(super) fn hangs(&self, now: Instant) -> bool {
        !matches!(self.phase, Phase::Down | Phase::Established) && now > self.retry_at + PATIENCE
    }

    /// Starts to connect if that is due; returns whether it did.
    pub(super) fn connect(&mut self, registry: &Registry, token: Token, now: Instant) -> io::Result<bool> {
        if now < self.retry_at {
            return Ok(false);
        }
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        socket.bind(&SocketAddr::new(address(self.number).into(), 0).into())?;
        match socket.connect(&SocketAddr::V4(DAEMON).into()) {
            Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {}
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                self.retry_at = now + RETRY;
                return Ok(false);
            }
            result => result?,
        }
        let mut stream = TcpStream::from_std(socket.into());
        registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
        self.stream = Some(stream);
        self.phase = Phase::Connecting;
        self.retry_at = now;
        self.notification = None;
        Ok(true)
    }

    /// Offers another hold time from the next connection on.
    pub(crate) fn offer(&mut self, hold_time: u16) {
        self.hold_time = hold_time;
    }

    /// When it last sent a KEEPALIVE.
    pub(crate) fn kept_alive(&self) -> Instant {
        self.next_keepalive - self.keepalive_interval()
    }

    fn keepalive_interval(&self) -> Duration {
        Duration::from_secs(u64::from(self.hold_time)) / 3
    }

    pub(super) fn keep_alive(&mut self, now: Instant) -> io::Result<()> {
        if self.phase != Phase::Established || now < self.next_keepalive || self.mute {
            return Ok(());
        }
        self.next_keepalive = now + self.keepalive_interval();
        // Between two queued chunks, never inside one: chunks are whole messages, and the first may be half written.
        let mut bytes = Vec::new();
        message::keepalive(&mut bytes);
        let place = usize::from(!self.output.is_empty());
        self.output.insert(place, bytes.into());
        self.flush()
    }

    pub(super) fn queue(&mut self, bytes: Bytes) {
        self.output.push_back(bytes);
    }

    /// Writes until the socket is full or the queue is empty.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        let Some(stream) = &mut self.stream else { return Ok(()) };
        if self.phase == Phase::Connecting {
            if let Some(error) = stream.take_error()? {
                return Err(error);
            }
            if stream.peer_addr().is_err() {
                return Ok(()); // not connected yet
            }
            self.phase = Phase::OpenSent;
            self.output.push_front(message::open(router_id(self.number), self.families, self.hold_time).into());
        }
        while let Some(front) = self.output.front_mut() {
            match stream.write(front) {
                Ok(written) => front.advance(written),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
            if front.is_empty() {
                self.output.pop_front();
            }
        }
        Ok(())
    }

    /// Reads until the socket is empty; once only where others are timed and this session is not.
    pub(super) fn read(
        &mut self,
        scratch: &mut [u8],
        board: &Board,
        started: Instant,
        latency: &mut Histogram,
    ) -> io::Result<Left> {
        while self.reading {
            let kept = self.partial.len();
            let Some(stream) = &mut self.stream else { return Ok(Left::Nothing) };
            let most = if self.timed { scratch.len() } else { (kept + SLICE).min(scratch.len()) };
            let count = match stream.read(&mut scratch[kept..most]) {
                Ok(0) => return Ok(Left::Closed),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Left::Nothing),
                Err(error) => return Err(error),
            };
            scratch[..kept].copy_from_slice(&self.partial);
            self.received += count as u64;
            let now = started.elapsed().as_nanos() as u64;
            let bytes = &scratch[..kept + count];
            let used = self.consume(bytes, board, now, latency).map_err(io::Error::other)?;
            self.partial.clear();
            self.partial.extend_from_slice(&bytes[used..]);
            if !self.timed {
                return Ok(Left::More);
            }
        }
        Ok(Left::Nothing)
    }

    /// Takes in all whole messages of `bytes`; returns how many octets those are.
    fn consume(
        &mut self,
        bytes: &[u8],
        board: &Board,
        now: u64,
        latency: &mut Histogram,
    ) -> Result<usize, decode::Malformed> {
        let mut used = 0;
        while let Some(found) = decode::message(&bytes[used..])? {
            used += found.length;
            match found.kind {
                message::UPDATE => {
                    let update = decode::update(found.body)?;
                    self.view.apply(&update, board, now, latency)?;
                }
                message::OPEN => self.opened(found.body),
                message::KEEPALIVE if self.phase == Phase::OpenConfirm => {
                    self.phase = Phase::Established;
                    self.next_keepalive = Instant::now();
                    self.heard = Some(now);
                }
                message::NOTIFICATION => self.notification = Some(notification(found.body)),
                message::KEEPALIVE => {
                    let before = self.heard.replace(now);
                    self.longest_silence = self.longest_silence.max(now - before.unwrap_or(now));
                }
                message::ROUTE_REFRESH => {}
                _ => return Err(decode::Malformed("unknown message type")),
            }
        }
        Ok(used)
    }

    /// The daemon's OPEN is answered with a KEEPALIVE, which a write error of will show up on the next read.
    fn opened(&mut self, _body: &[u8]) {
        self.phase = Phase::OpenConfirm;
        let mut bytes = Vec::new();
        message::keepalive(&mut bytes);
        self.output.push_front(bytes.into());
        let _ = self.flush();
    }
}

fn notification(body: &[u8]) -> String {
    match body {
        [code, subcode, data @ ..] => format!("(NOTIFICATION {code}/{subcode}, {} octets of data)", data.len()),
        _ => "(NOTIFICATION without a code)".into(),
    }
}
