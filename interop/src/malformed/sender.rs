//! The session that sends the malformed octets, and what it is told about them.

use std::fmt;
use std::io::{self, Write};
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use super::case::{Act, Case, Stage};
use super::message::{
    ASN, EXTERNAL_ASN, Fixed, KEEPALIVE, NOTIFICATION, OPEN, Place, Prefix, UPDATE, Who, capabilities, message, open,
    parameters,
};
use super::observer::{Event, Observer, read_message};

/// How long a daemon may take to do something.
const PATIENCE: Duration = Duration::from_secs(10);
/// A daemon that has said nothing to a message after this does not mind it.
const SILENCE: Duration = Duration::from_secs(3);

/// Routes of one family may take this much longer than those of another.
const FAMILY_SILENCE: Duration = Duration::from_secs(1);

/// What a daemon did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Ended the session with a NOTIFICATION.
    Reset {
        /// Error code.
        code: u8,
        /// Error subcode.
        subcode: u8,
        /// Data.
        data: Vec<u8>,
    },
    /// Closed the connection without one.
    Closed,
    /// Withdrew the route.
    Withdrawn,
    /// Withdrew the route and takes no more of the family.
    FamilyOff,
    /// Used the route without the attribute.
    Dropped,
    /// Used the route.
    Used,
    /// Did nothing.
    Ignored,
    /// The session came up.
    Established,
    /// The session neither came up nor ended.
    Stuck,
    /// The process ended.
    Crashed,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Reset { code, subcode, data } => {
                write!(f, "reset {code}/{subcode}")?;
                // The data of an attribute is the attribute and long; of all else it is what is to be compared.
                return match data.as_slice() {
                    [_, ..] if *code != 3 && data.len() <= 4 => {
                        f.write_str(" ")?;
                        data.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
                    }
                    _ => Ok(()),
                };
            }
            Self::Closed => "closed",
            Self::Withdrawn => "withdrawn",
            Self::FamilyOff => "family off",
            Self::Dropped => "dropped",
            Self::Used => "used",
            Self::Ignored => "ignored",
            Self::Established => "up",
            Self::Stuck => "stuck",
            Self::Crashed => "**crashed**",
        })
    }
}

/// A connection to the daemon.
pub(crate) struct Connection {
    stream: TcpStream,
    /// What the daemon says, until it says no more.
    heard: Receiver<(u8, Vec<u8>)>,
}

impl Connection {
    pub(crate) fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        let mut reader = stream.try_clone()?;
        let (sender, heard) = mpsc::channel();
        thread::spawn(move || {
            while let Ok(message) = read_message(&mut reader) {
                if sender.send(message).is_err() {
                    break;
                }
            }
        });
        Ok(Self { stream, heard })
    }

    /// Sends octets. A session that has ended is looked at where its end is read.
    pub(crate) fn send(&mut self, octets: &[u8]) {
        let _ = self.stream.write_all(octets);
    }

    /// Brings a session up to the daemon's OpenSent, OpenConfirm or Established.
    ///
    /// # Errors
    /// What the daemon did instead.
    pub(crate) fn bring_up(&mut self, who: Who, router_id: Ipv4Addr, stage: Stage) -> Result<(), Outcome> {
        if stage == Stage::OpenSent {
            return self.wait_for(OPEN, PATIENCE);
        }
        self.send(&own_open(who, router_id));
        self.wait_for(KEEPALIVE, PATIENCE)?;
        if stage == Stage::Established {
            self.send(&message(KEEPALIVE, &[]));
        }
        Ok(())
    }

    /// Waits until a message of a type comes.
    fn wait_for(&self, kind: u8, patience: Duration) -> Result<(), Outcome> {
        let deadline = Instant::now() + patience;
        loop {
            match self.heard.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok((found, _)) if found == kind => return Ok(()),
                Ok((NOTIFICATION, body)) => return Err(notification(&body)),
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout) => return Err(Outcome::Stuck),
                Err(RecvTimeoutError::Disconnected) => return Err(Outcome::Closed),
            }
        }
    }

    /// The end of the session, if there has been one.
    pub(crate) fn ended(&self, patience: Duration) -> Option<Outcome> {
        // No message is of type 0.
        self.wait_for(0, patience).err().filter(|outcome| *outcome != Outcome::Stuck)
    }

    /// The connection itself; what came over it so far has been taken.
    pub(super) fn into_parts(self) -> (TcpStream, Receiver<(u8, Vec<u8>)>) {
        (self.stream, self.heard)
    }
}

/// The OPEN of a peer.
pub(crate) fn own_open(who: Who, router_id: Ipv4Addr) -> Vec<u8> {
    let asn = if who.external { EXTERNAL_ASN } else { ASN };
    let fixed = Fixed { version: 4, asn, hold_time: 180, router_id: router_id.octets() };
    message(OPEN, &open(fixed, &parameters(&capabilities(who))))
}

fn notification(body: &[u8]) -> Outcome {
    let (code, subcode) = (body.first().copied().unwrap_or(0), body.get(1).copied().unwrap_or(0));
    Outcome::Reset { code, subcode, data: body.get(2..).unwrap_or_default().to_vec() }
}

/// A session that sends something malformed.
pub(super) struct Sender<'a> {
    connection: Connection,
    place: Place,
    router_id: Ipv4Addr,
    observer: &'a Observer,
}

impl<'a> Sender<'a> {
    pub(super) fn new(connection: Connection, place: Place, router_id: Ipv4Addr, observer: &'a Observer) -> Self {
        Self { connection, place, router_id, observer }
    }

    /// Plays a case.
    pub(super) fn play(mut self, case: &Case) -> Outcome {
        let played = match &case.act {
            Act::Message { stage, octets } => {
                let octets = octets(&self.place);
                self.message(*stage, &octets)
            }
            Act::Update { body, subject, focus } => {
                let (body, subject) = (body(&self.place), subject(&self.place));
                self.update(&body, &subject, focus.as_ref())
            }
        };
        self.connection.send(&message(NOTIFICATION, &[6, 2]));
        // The daemon may have closed it already.
        let _ = self.connection.stream.shutdown(Shutdown::Both);
        played.unwrap_or_else(|ended| ended)
    }

    /// Sends octets in a state; the error is the end of the session.
    fn message(&mut self, stage: Stage, octets: &[u8]) -> Result<Outcome, Outcome> {
        self.connection.bring_up(self.place.who, self.router_id, stage)?;
        self.connection.send(octets);
        if stage != Stage::OpenSent {
            return Ok(self.connection.ended(SILENCE).unwrap_or(Outcome::Ignored));
        }
        self.connection.wait_for(KEEPALIVE, PATIENCE)?;
        self.connection.send(&message(KEEPALIVE, &[]));
        // A route or the End-of-RIB marker shows that it is up. Not every daemon sends one where there are no routes.
        match self.connection.wait_for(UPDATE, SILENCE) {
            Ok(()) | Err(Outcome::Stuck) => Ok(Outcome::Established),
            Err(outcome) => Err(outcome),
        }
    }

    fn update(&mut self, body: &[u8], subject: &Prefix, focus: Option<&(u8, Vec<u8>)>) -> Result<Outcome, Outcome> {
        let who = self.place.who;
        self.connection.bring_up(who, self.router_id, Stage::Established)?;
        let is_ipv6 = subject.0.len() == 16;
        let negotiated = if is_ipv6 { who.ipv6 } else { who.ipv4 };
        let unicast = is_ipv6 || subject.0[0] < 224;
        if negotiated && unicast {
            self.say(subject)?;
        }
        let known = self.observer.events(subject).len();
        self.connection.send(&message(UPDATE, body));
        let watches_family = is_ipv6 && who.ipv4 && who.ipv6;
        // Two rounds: what the daemon has to say of the subject is mostly out with the first.
        for round in [1, 2] {
            if watches_family {
                self.tell(&self.place.sentinel(true, round));
            }
            self.say(&self.place.sentinel(!who.ipv4, round))?;
        }
        let of_family = self.place.sentinel(true, 2);
        if watches_family && !self.observer.wait_for(&of_family, 0, Instant::now() + FAMILY_SILENCE) {
            return Ok(Outcome::FamilyOff);
        }
        // Other threads of the daemon may be at work on the subject than on the routes that came out: wait for nothing.
        self.observer.wait_for(subject, known, Instant::now() + SILENCE);
        let latest = self.observer.events(subject).split_off(known).pop();
        Ok(match latest {
            None => Outcome::Ignored,
            Some(Event::Withdrawn) => Outcome::Withdrawn,
            Some(Event::Announced(attributes)) => match focus {
                Some(wanted) if !attributes.contains(wanted) => Outcome::Dropped,
                _ => Outcome::Used,
            },
        })
    }

    /// Announces a destination.
    fn tell(&mut self, prefix: &Prefix) {
        self.connection.send(&message(UPDATE, &self.place.announcement(prefix, 1)));
    }

    /// Announces a destination and waits until it comes out on the other side.
    fn say(&mut self, prefix: &Prefix) -> Result<(), Outcome> {
        self.tell(prefix);
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if self.observer.wait_for(prefix, 0, Instant::now() + Duration::from_millis(50)) {
                return Ok(());
            }
            if let Some(outcome) = self.connection.ended(Duration::ZERO) {
                return Err(outcome);
            }
        }
        Err(Outcome::Stuck)
    }
}
