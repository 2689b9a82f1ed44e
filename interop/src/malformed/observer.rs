//! The session that sees what becomes of the routes.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::message::{KEEPALIVE, Prefix, UPDATE, message};
use super::sender::Connection;

/// A daemon hears from us at least this often.
const KEEPALIVE_TIME: Duration = Duration::from_secs(20);

/// What the daemon said of a destination.
#[derive(Debug, Clone)]
pub(crate) enum Event {
    /// Announced with these attributes: code and value.
    Announced(Vec<(u8, Vec<u8>)>),
    Withdrawn,
}

#[derive(Default)]
struct Seen {
    events: HashMap<Prefix, Vec<Event>>,
    ended: bool,
}

/// A session that is Established, and what came over it.
pub(crate) struct Observer {
    shared: Arc<(Mutex<Seen>, Condvar)>,
}

impl Observer {
    /// Listens on a session that has just become Established, and keeps all that comes over it.
    pub(crate) fn new(connection: Connection) -> Self {
        Self::of(connection, |_| true)
    }

    /// The same that keeps only what is about some destinations.
    pub(crate) fn of(connection: Connection, keeps: fn(&Prefix) -> bool) -> Self {
        let shared = Arc::new((Mutex::new(Seen::default()), Condvar::new()));
        let seen = Arc::clone(&shared);
        let (stream, heard) = connection.into_parts();
        thread::spawn(move || {
            // An end is an end, whatever the reason: the daemon's log has it.
            let _ = listen(stream, &heard, keeps, &seen);
            lock(&seen.0).ended = true;
            seen.1.notify_all();
        });
        Self { shared }
    }

    /// Whether the session is still there.
    pub(crate) fn is_up(&self) -> bool {
        !lock(&self.shared.0).ended
    }

    /// What has come about a destination.
    pub(crate) fn events(&self, prefix: &Prefix) -> Vec<Event> {
        lock(&self.shared.0).events.get(prefix).cloned().unwrap_or_default()
    }

    /// Waits until something has come about a destination beyond its first `known` events.
    pub(crate) fn wait_for(&self, prefix: &Prefix, known: usize, deadline: Instant) -> bool {
        let mut seen = lock(&self.shared.0);
        loop {
            if seen.events.get(prefix).map_or(0, Vec::len) > known {
                return true;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if seen.ended || left.is_zero() {
                return false;
            }
            seen = self.shared.1.wait_timeout(seen, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

fn listen(
    mut stream: TcpStream,
    heard: &Receiver<(u8, Vec<u8>)>,
    keeps: fn(&Prefix) -> bool,
    shared: &(Mutex<Seen>, Condvar),
) -> io::Result<()> {
    loop {
        let (kind, body) = match heard.recv_timeout(KEEPALIVE_TIME) {
            Ok(message) => message,
            Err(RecvTimeoutError::Timeout) => (KEEPALIVE, Vec::new()),
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        };
        match kind {
            UPDATE => {
                let mut seen = lock(&shared.0);
                for (prefix, event) in said(&body).into_iter().filter(|(prefix, _)| keeps(prefix)) {
                    seen.events.entry(prefix).or_default().push(event);
                }
                drop(seen);
                shared.1.notify_all();
            }
            KEEPALIVE => stream.write_all(&message(KEEPALIVE, &[]))?,
            _ => {}
        }
    }
}

/// Type and body of the next message.
pub(super) fn read_message(stream: &mut TcpStream) -> io::Result<(u8, Vec<u8>)> {
    let mut header = [0; 19];
    stream.read_exact(&mut header)?;
    let len = usize::from(u16::from_be_bytes([header[16], header[17]]));
    let mut body = vec![0; len.saturating_sub(19)];
    stream.read_exact(&mut body)?;
    Ok((header[18], body))
}

/// What an UPDATE says. What it does not hold, as it should, is not there.
fn said(body: &[u8]) -> Vec<(Prefix, Event)> {
    let (withdrawn, rest) = field(body);
    let (attributes, routes) = field(rest);
    let attributes = list(attributes);
    let mut said: Vec<_> = prefixes(withdrawn, 4).into_iter().map(|prefix| (prefix, Event::Withdrawn)).collect();
    let announced = |prefix| (prefix, Event::Announced(attributes.clone()));
    said.extend(prefixes(routes, 4).into_iter().map(announced));
    for (code, value) in &attributes {
        let width = if value.first_chunk() == Some(&[0, 2]) { 16 } else { 4 };
        match code {
            14 => {
                let skip = 5 + value.get(3).map_or(0, |len| usize::from(*len));
                said.extend(prefixes(value.get(skip..).unwrap_or_default(), width).into_iter().map(announced));
            }
            15 => {
                let gone = prefixes(value.get(3..).unwrap_or_default(), width);
                said.extend(gone.into_iter().map(|prefix| (prefix, Event::Withdrawn)));
            }
            _ => {}
        }
    }
    said
}

/// A field with two octets of length, and what follows it.
fn field(bytes: &[u8]) -> (&[u8], &[u8]) {
    let Some((len, rest)) = bytes.split_first_chunk::<2>() else { return (&[], &[]) };
    rest.split_at(usize::from(u16::from_be_bytes(*len)).min(rest.len()))
}

fn list(mut bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut all = Vec::new();
    while let [flags, code, rest @ ..] = bytes {
        let (len, rest) = match (flags & 0x10, rest) {
            (0, [len, rest @ ..]) => (usize::from(*len), rest),
            (_, [high, low, rest @ ..]) => (usize::from(u16::from_be_bytes([*high, *low])), rest),
            _ => break,
        };
        let (value, rest) = rest.split_at(len.min(rest.len()));
        all.push((*code, value.to_vec()));
        bytes = rest;
    }
    all
}

fn prefixes(mut bytes: &[u8], width: usize) -> Vec<Prefix> {
    let mut all = Vec::new();
    while let [len, rest @ ..] = bytes {
        let octets = usize::from(len.div_ceil(8)).min(rest.len());
        let (value, rest) = rest.split_at(octets);
        let mut address = value.to_vec();
        address.resize(width, 0);
        all.push((address, *len));
        bytes = rest;
    }
    all
}
