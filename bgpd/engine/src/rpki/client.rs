//! The router's side of one cache (RFC 8210 §8), down to version 0 (RFC 6810).
//!
//! Data is kept while a cache is away, until it expires (§6). An answer counts as a whole, at its end: what is in use is
//! always what the cache had at one time. What goes wrong ends the connection, and the next one asks for everything;
//! only a session of another number means that the data is nobody's, and it goes at once (§5.1).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::{Duration, Instant};

use bgp_wire::rtr::{self, ErrorCode, Intervals, Pdu, PduError, Vrp};

use super::CacheSettings;

/// The first wait after a lost connection; it doubles up to the retry interval.
const RETRY_FIRST: Duration = Duration::from_secs(2);
/// A cache that says nothing for this long although it owes an answer is gone.
const ANSWER: Duration = Duration::from_secs(60);

/// What happens to a client.
#[derive(Debug)]
pub enum Input<'a> {
    /// Time has passed.
    Tick,
    /// The connection that was asked for is there.
    Connected,
    /// One PDU, as [`rtr::split`] gives it.
    Pdu(&'a [u8]),
    /// The octets that came cannot be split into PDUs.
    Garbage(PduError),
    /// The connection is gone, or did not come about.
    Closed(String),
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Open a connection.
    Connect,
    /// Write octets.
    Send(Vec<u8>),
    /// Close the connection, behind what was written.
    Close,
    /// The data is other data now.
    Changed,
}

/// Where a client is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// No connection, and none is tried.
    Down,
    /// A connection is being opened.
    Connecting,
    /// A question has been asked.
    Asking,
    /// The answer is coming.
    Receiving,
    /// Everything is there.
    Synchronized,
    /// The cache has nothing yet.
    NoData,
}

impl Phase {
    /// All of them, in the order in which they are gone through.
    pub const ALL: [Self; 6] =
        [Self::Down, Self::Connecting, Self::Asking, Self::Receiving, Self::Synchronized, Self::NoData];
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Down => "down",
            Self::Connecting => "connecting",
            Self::Asking => "asking",
            Self::Receiving => "receiving",
            Self::Synchronized => "synchronized",
            Self::NoData => "no data",
        })
    }
}

/// What the cache knows the router to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Known {
    version: u8,
    session: u16,
    serial: u32,
}

/// An answer that is not complete.
#[derive(Debug, Default)]
struct Answer {
    session: u16,
    /// It is everything, not what is new.
    full: bool,
    /// What it announces or withdraws.
    changes: BTreeMap<Vrp, bool>,
}

/// The router's side of one cache.
#[derive(Debug)]
pub struct Client {
    settings: CacheSettings,
    version: u8,
    /// The cache has answered in this version.
    agreed: bool,
    /// The cache has said that it is older than version 1.
    old: bool,
    phase: Phase,
    /// When the phase has lasted long enough.
    deadline: Option<Instant>,
    failures: u32,
    known: Option<Known>,
    answer: Answer,
    vrps: BTreeSet<Vrp>,
    /// When the data was complete last.
    synchronized: Option<Instant>,
    /// The data is from this connection.
    current: bool,
    intervals: Intervals,
    last_error: Option<String>,
}

impl Client {
    /// A client that connects with the first tick.
    #[must_use]
    pub fn new(settings: CacheSettings, now: Instant) -> Self {
        let mut client = Self {
            settings,
            version: 1,
            agreed: false,
            old: false,
            phase: Phase::Down,
            deadline: Some(now),
            failures: 0,
            known: None,
            answer: Answer::default(),
            vrps: BTreeSet::new(),
            synchronized: None,
            current: false,
            intervals: Intervals::default(),
            last_error: None,
        };
        client.set_intervals(None);
        client
    }

    /// What it has.
    #[must_use]
    pub fn vrps(&self) -> &BTreeSet<Vrp> {
        &self.vrps
    }

    /// Whether the data can be used: there has been an answer, and it has not expired.
    #[must_use]
    pub fn has_data(&self) -> bool {
        self.synchronized.is_some()
    }

    /// The data is from before the connection was lost.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        !self.current
    }

    /// The configured preference.
    #[must_use]
    pub fn preference(&self) -> u8 {
        self.settings.preference
    }

    /// Where it is.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Protocol version, session and serial number of the data, where the next question can build on them.
    #[must_use]
    pub fn position(&self) -> Option<(u8, u16, u32)> {
        self.known.map(|known| (known.version, known.session, known.serial))
    }

    /// When the data was complete last, and the intervals in force.
    #[must_use]
    pub fn timing(&self) -> (Option<Instant>, Intervals) {
        (self.synchronized, self.intervals)
    }

    /// What went wrong last.
    #[must_use]
    pub fn last_error(&self) -> Option<&str> {
        self.last_error.as_deref()
    }

    /// When a tick is due.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        self.deadline.into_iter().chain(self.expiry()).min()
    }

    fn expiry(&self) -> Option<Instant> {
        self.synchronized.map(|then| then + seconds(self.intervals.expire))
    }

    /// Takes what happened and says what is to be done, in order.
    pub fn handle(&mut self, input: Input<'_>, now: Instant, actions: &mut Vec<Action>) {
        match input {
            Input::Tick => self.tick(now, actions),
            Input::Connected => self.ask(now, actions),
            Input::Pdu(bytes) => {
                if let Err(error) = self.pdu(bytes, now, actions) {
                    self.refuse(&error, bytes, now, actions);
                }
            }
            Input::Garbage(error) => self.refuse(&error, &[], now, actions),
            Input::Closed(why) => {
                self.last_error = Some(why);
                self.down(now);
            }
        }
    }

    fn tick(&mut self, now: Instant, actions: &mut Vec<Action>) {
        if self.expiry().is_some_and(|at| at <= now) {
            self.last_error = Some(format!("no answer for {} s: the data has expired", self.intervals.expire));
            self.flush(actions);
        }
        if self.deadline.is_none_or(|at| at > now) {
            return;
        }
        self.deadline = None;
        match self.phase {
            Phase::Down => {
                self.phase = Phase::Connecting;
                actions.push(Action::Connect);
            }
            Phase::Synchronized | Phase::NoData => self.ask(now, actions),
            Phase::Connecting => {}
            Phase::Asking | Phase::Receiving => {
                self.last_error = Some(format!("no answer for {} s", ANSWER.as_secs()));
                actions.push(Action::Close);
                self.down(now);
            }
        }
    }

    /// Asks for what is new, or for everything (§8.1).
    fn ask(&mut self, now: Instant, actions: &mut Vec<Action>) {
        if !self.agreed {
            self.version = self.known.map_or(u8::from(!self.old), |known| known.version);
        }
        let query = match self.known {
            Some(Known { session, serial, .. }) => Pdu::SerialQuery { session, serial },
            None => Pdu::ResetQuery,
        };
        actions.push(Action::Send(query.encode(self.version)));
        self.phase = Phase::Asking;
        self.deadline = Some(now + ANSWER);
    }

    fn pdu(&mut self, bytes: &[u8], now: Instant, actions: &mut Vec<Action>) -> Result<(), PduError> {
        let (version, pdu) = rtr::decode(bytes)?;
        if let Pdu::ErrorReport { code, text } = pdu {
            self.error_report(code, &text, now, actions);
            return Ok(());
        }
        if !self.agree(version, &pdu)? {
            return Ok(());
        }
        match (self.phase, pdu) {
            (Phase::Synchronized | Phase::NoData, Pdu::SerialNotify { session, serial }) => match self.known {
                Some(known) if known.session != session => return self.other_session(known.session, session, actions),
                Some(known) if known.serial == serial => {}
                _ => self.ask(now, actions),
            },
            // A question is under way, and its answer will be as new.
            (_, Pdu::SerialNotify { .. }) => {}
            (Phase::Asking, Pdu::CacheResponse { session }) => {
                if let Some(known) = self.known.filter(|known| known.session != session) {
                    return self.other_session(known.session, session, actions);
                }
                self.answer = Answer { session, full: self.known.is_none(), changes: BTreeMap::new() };
                self.phase = Phase::Receiving;
                self.deadline = Some(now + ANSWER);
            }
            // §8.3: what is there counts until everything has come.
            (Phase::Asking, Pdu::CacheReset) if self.known.is_some() => {
                self.known = None;
                self.ask(now, actions);
            }
            (Phase::Receiving, Pdu::Prefix { announce, vrp }) => {
                self.change(announce, vrp)?;
                self.deadline = Some(now + ANSWER);
            }
            (Phase::Receiving, Pdu::RouterKey) => {}
            (Phase::Receiving, Pdu::EndOfData { session, serial, intervals }) => {
                if session != self.answer.session {
                    return self.other_session(self.answer.session, session, actions);
                }
                self.complete(serial, intervals, now, actions);
            }
            (phase, pdu) => {
                let code = ErrorCode::CORRUPT_DATA;
                return Err(PduError { code, what: format!("{} does not belong here ({phase})", name(&pdu)) });
            }
        }
        Ok(())
    }

    /// Whether a PDU of this version is to be looked at (§7).
    fn agree(&mut self, version: u8, pdu: &Pdu) -> Result<bool, PduError> {
        let notify = matches!(pdu, Pdu::SerialNotify { .. });
        match (self.agreed, version == self.version) {
            (true, true) => Ok(true),
            // Before the first answer a cache cannot know our version.
            (false, _) if notify => Ok(false),
            (false, true) => {
                self.agreed = true;
                Ok(true)
            }
            // A cache that is older answers in its own version; session numbers of two versions have nothing in common.
            (false, false) if version == 0 && self.known.is_none() => {
                (self.version, self.agreed, self.old) = (0, true, true);
                Ok(true)
            }
            _ => {
                let what = format!("version {version} after version {}", self.version);
                Err(PduError { code: ErrorCode::UNEXPECTED_VERSION, what })
            }
        }
    }

    fn error_report(&mut self, code: ErrorCode, text: &str, now: Instant, actions: &mut Vec<Action>) {
        let said = if text.is_empty() { code.to_string() } else { format!("{code}: {text}") };
        self.last_error = Some(format!("the cache says: {said}"));
        match code {
            // §8.4: not fatal.
            ErrorCode::NO_DATA_AVAILABLE => {
                self.phase = Phase::NoData;
                self.deadline = Some(now + seconds(self.intervals.retry));
            }
            // §7: again, in the older version, and at once.
            ErrorCode::UNSUPPORTED_VERSION if self.version > 0 => {
                actions.push(Action::Close);
                (self.old, self.known) = (true, None);
                self.down(now);
                self.deadline = Some(now);
            }
            _ => {
                actions.push(Action::Close);
                self.known = None;
                self.down(now);
            }
        }
    }

    /// Says what is wrong with what the cache sent, and ends the connection.
    fn refuse(&mut self, error: &PduError, about: &[u8], now: Instant, actions: &mut Vec<Action>) {
        actions.push(Action::Send(rtr::encode_error(self.version, error, about)));
        actions.push(Action::Close);
        self.last_error = Some(error.to_string());
        self.known = None;
        self.down(now);
    }

    /// §5.1: what was learned belongs to a session that the cache does not have any more.
    fn other_session(&mut self, ours: u16, theirs: u16, actions: &mut Vec<Action>) -> Result<(), PduError> {
        self.flush(actions);
        Err(PduError { code: ErrorCode::CORRUPT_DATA, what: format!("session {theirs}, not {ours}") })
    }

    fn change(&mut self, announce: bool, vrp: Vrp) -> Result<(), PduError> {
        let before = !self.answer.full && self.vrps.contains(&vrp);
        let there = self.answer.changes.get(&vrp).copied().unwrap_or(before);
        if there == announce {
            let code = if announce { ErrorCode::DUPLICATE_ANNOUNCEMENT } else { ErrorCode::WITHDRAWAL_OF_UNKNOWN };
            return Err(PduError { code, what: vrp.to_string() });
        }
        let kept = if self.answer.full { 0 } else { self.vrps.len() };
        if kept + self.answer.changes.len() >= self.settings.limit as usize {
            let what = format!("more than {} VRPs", self.settings.limit);
            return Err(PduError { code: ErrorCode::INTERNAL_ERROR, what });
        }
        self.answer.changes.insert(vrp, announce);
        Ok(())
    }

    fn complete(&mut self, serial: u32, intervals: Option<Intervals>, now: Instant, actions: &mut Vec<Action>) {
        let Answer { session, full, changes } = std::mem::take(&mut self.answer);
        let mut changed = !changes.is_empty();
        if full {
            let all = changes.into_iter().filter(|(_, there)| *there).map(|(vrp, _)| vrp).collect();
            changed = std::mem::replace(&mut self.vrps, all) != self.vrps;
        } else {
            for (vrp, there) in changes {
                if there {
                    self.vrps.insert(vrp)
                } else {
                    self.vrps.remove(&vrp)
                };
            }
        }
        // Another cache may have counted while this one was away.
        changed |= self.synchronized.is_none() || !self.current;
        self.set_intervals(intervals);
        self.known = Some(Known { version: self.version, session, serial });
        (self.synchronized, self.current, self.failures) = (Some(now), true, 0);
        self.phase = Phase::Synchronized;
        self.deadline = Some(now + seconds(self.intervals.refresh));
        if changed {
            actions.push(Action::Changed);
        }
    }

    /// What the configuration says, else what the cache says within the bounds of §6, else what §6 recommends.
    fn set_intervals(&mut self, said: Option<Intervals>) {
        let said = said.unwrap_or_default();
        let expire = self.settings.expire.unwrap_or(said.expire.clamp(600, 172_800));
        // §6: data must not expire before it is asked for again.
        let below = |interval: u32| interval.min(expire.saturating_sub(1)).max(1);
        self.intervals = Intervals {
            refresh: below(self.settings.refresh.unwrap_or(said.refresh.clamp(1, 86_400))),
            retry: below(self.settings.retry.unwrap_or(said.retry.clamp(1, 7_200))),
            expire,
        };
    }

    /// The data must not be used any more.
    fn flush(&mut self, actions: &mut Vec<Action>) {
        (self.known, self.synchronized, self.current) = (None, None, false);
        self.old = false;
        self.vrps.clear();
        self.answer = Answer::default();
        actions.push(Action::Changed);
    }

    fn down(&mut self, now: Instant) {
        self.answer = Answer::default();
        (self.phase, self.agreed, self.current) = (Phase::Down, false, false);
        let wait = RETRY_FIRST * 2_u32.saturating_pow(self.failures.min(12));
        self.failures = self.failures.saturating_add(1);
        self.deadline = Some(now + wait.min(seconds(self.intervals.retry)));
    }
}

fn seconds(count: u32) -> Duration {
    Duration::from_secs(count.into())
}

fn name(pdu: &Pdu) -> &'static str {
    match pdu {
        Pdu::SerialNotify { .. } => "a Serial Notify",
        Pdu::SerialQuery { .. } => "a Serial Query",
        Pdu::ResetQuery => "a Reset Query",
        Pdu::CacheResponse { .. } => "a Cache Response",
        Pdu::Prefix { .. } => "a Prefix",
        Pdu::EndOfData { .. } => "an End of Data",
        Pdu::CacheReset => "a Cache Reset",
        Pdu::RouterKey => "a Router Key",
        Pdu::ErrorReport { .. } => "an Error Report",
    }
}

#[cfg(test)]
mod tests;
