//! Who may connect: limits on connections that have not said anything yet, and on how fast one source opens them.
//!
//! A connection is pending from `accept` until its OPEN is there. Configured neighbors are bounded by their number, so
//! that the limit in all concerns only the others; the limits per source concern everybody. RFC 4271 §8.2.2 lets the OPEN
//! take minutes, which would let whoever says nothing keep out whoever has something to say. So nobody is refused when
//! the limit in all is reached: the connection that has waited longest makes room. Whoever means it sends an OPEN within
//! a round trip, and that is soon enough unless as many connections come meanwhile as may wait. A source that opens
//! connections faster than it may is refused for a second, and for twice as long each time that it goes on, up to a
//! minute.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bgp_engine::config::ConnectionLimits;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tracing::{debug, warn};

use crate::runtime::status::ConnectionCounts;

/// Seconds of connections at full rate that a source may open at once.
const BURST_SECONDS: u32 = 2;
/// Longest time for which a source is refused.
const LONGEST_BLOCK: Duration = Duration::from_secs(60);
/// Sources that are remembered. When there are so many, those are forgotten that have nothing pending and are not refused.
const SOURCES: usize = 16_384;

/// The gate that every accepted connection passes.
#[derive(Clone)]
pub(crate) struct Admission(Arc<Mutex<State>>);

struct State {
    limits: ConnectionLimits,
    pending: u32,
    /// Those of them that are not of known neighbors, by age.
    strangers: BTreeMap<u64, Stranger>,
    next_stranger: u64,
    sources: HashMap<IpAddr, Source>,
    counts: ConnectionCounts,
}

/// A connection that makes room when there are too many.
struct Stranger {
    source: IpAddr,
    evicted: Arc<Notify>,
}

struct Source {
    pending: u32,
    /// Connections that it may open at once.
    credit: f64,
    /// When the credit was right.
    at: Instant,
    blocked: Option<Instant>,
    /// Blocks in a row.
    blocks: u32,
}

/// A connection that was let in.
pub(crate) struct Admitted {
    pub(crate) stream: TcpStream,
    pub(crate) pending: Pending,
}

/// Counts a connection as pending until it is dropped.
pub(crate) struct Pending {
    admission: Admission,
    source: IpAddr,
    /// Its place among those that may have to make room.
    stranger: Option<(u64, Arc<Notify>)>,
}

/// Why a connection is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("too many addresses with connections without OPEN")]
    Sources,
    #[error("too many connections without OPEN from this address")]
    PendingOfSource,
    #[error("connections come too fast from this address")]
    Rate,
}

impl Admission {
    pub(crate) fn new(limits: ConnectionLimits) -> Self {
        Self(Arc::new(Mutex::new(State {
            limits,
            pending: 0,
            strangers: BTreeMap::new(),
            next_stranger: 0,
            sources: HashMap::new(),
            counts: ConnectionCounts::default(),
        })))
    }

    pub(crate) fn set_limits(&self, limits: ConnectionLimits) {
        self.state().limits = limits;
    }

    /// Connections that are pending, and those refused so far.
    pub(crate) fn counts(&self) -> ConnectionCounts {
        let state = self.state();
        ConnectionCounts { pending: state.pending.into(), ..state.counts }
    }

    /// Lets a connection in, or says why not. `known` are configured neighbors and those with a session.
    pub(crate) fn admit(&self, source: IpAddr, known: bool, now: Instant) -> Result<Pending, Refusal> {
        let mut state = self.state();
        let admitted = state.admit(source, known, now);
        match admitted {
            Ok(stranger) => Ok(Pending { admission: self.clone(), source, stranger }),
            Err(refusal) => {
                let counts = &mut state.counts;
                *match refusal {
                    Refusal::Sources => &mut counts.refused_pending,
                    Refusal::PendingOfSource => &mut counts.refused_pending_of_source,
                    Refusal::Rate => &mut counts.refused_rate,
                } += 1;
                Err(refusal)
            }
        }
    }

    /// Forgets sources that would be treated no other way if they had never been here.
    pub(crate) fn release(&self, now: Instant) {
        self.state().release_sources(now);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn admit(&mut self, source: IpAddr, known: bool, now: Instant) -> Result<Option<(u64, Arc<Notify>)>, Refusal> {
        let limits = self.limits;
        if self.sources.len() >= SOURCES && !self.sources.contains_key(&source) {
            self.sources.retain(|_, source| source.is_held(now));
            if self.sources.len() >= SOURCES {
                return Err(Refusal::Sources);
            }
        }
        let burst = burst(limits);
        let new = || Source { pending: 0, credit: burst.into(), at: now, blocked: None, blocks: 0 };
        let entry = self.sources.entry(source).or_insert_with(new);
        if limits.setup_rate > 0 {
            entry.take_credit(source, limits.setup_rate, burst, now)?;
        }
        if entry.pending >= limits.pending_per_source {
            return Err(Refusal::PendingOfSource);
        }
        entry.pending += 1;
        self.pending += 1;
        if known {
            return Ok(None);
        }
        while self.strangers.len() >= limits.pending as usize {
            self.evict_oldest();
        }
        let evicted = Arc::new(Notify::new());
        self.next_stranger += 1;
        self.strangers.insert(self.next_stranger, Stranger { source, evicted: Arc::clone(&evicted) });
        Ok(Some((self.next_stranger, evicted)))
    }

    fn release_sources(&mut self, now: Instant) {
        let (rate, burst) = (self.limits.setup_rate, burst(self.limits));
        self.sources.retain(|_, source| !source.is_as_new(rate, burst, now));
        if self.sources.capacity() > 4 * self.sources.len() {
            self.sources.shrink_to(2 * self.sources.len());
        }
    }

    /// Tells the connection that has waited longest to close. It counts no more.
    fn evict_oldest(&mut self) {
        let Some((_, Stranger { source, evicted })) = self.strangers.pop_first() else { return };
        debug!(peer = %source, "too many connections without OPEN: the oldest is closed");
        evicted.notify_one();
        self.counts.refused_pending += 1;
        self.forget_one(source);
    }

    /// A connection is pending no longer.
    fn release(&mut self, source: IpAddr, stranger: Option<u64>) {
        // One that had to make room is counted no more already.
        if stranger.is_none_or(|stranger| self.strangers.remove(&stranger).is_some()) {
            self.forget_one(source);
        }
    }

    fn forget_one(&mut self, source: IpAddr) {
        self.pending -= 1;
        if let Some(source) = self.sources.get_mut(&source) {
            source.pending -= 1;
        }
    }
}

/// Connections that a source may open at once.
fn burst(limits: ConnectionLimits) -> u32 {
    limits.setup_rate.saturating_mul(BURST_SECONDS)
}

impl Source {
    fn take_credit(&mut self, address: IpAddr, rate: u32, burst: u32, now: Instant) -> Result<(), Refusal> {
        if self.blocked.is_some_and(|until| now < until) {
            return Err(Refusal::Rate);
        }
        self.credit = self.credit_at(rate, burst, now);
        self.at = now;
        if !self.is_on_record(now) {
            (self.blocked, self.blocks) = (None, 0);
        }
        if self.credit >= 1.0 {
            self.credit -= 1.0;
            return Ok(());
        }
        self.blocks += 1;
        let block = self.last_block();
        warn!(peer = %address, seconds = block.as_secs(), "connections come too fast: refused for a while");
        self.blocked = Some(now + block);
        Err(Refusal::Rate)
    }

    fn credit_at(&self, rate: u32, burst: u32, now: Instant) -> f64 {
        let earned = now.saturating_duration_since(self.at).as_secs_f64() * f64::from(rate);
        (self.credit + earned).min(burst.into())
    }

    /// It was refused, and has not kept to the rate since for as long as that lasted: then it begins anew.
    fn is_on_record(&self, now: Instant) -> bool {
        self.blocked.is_some_and(|until| now.saturating_duration_since(until) <= self.last_block())
    }

    fn is_as_new(&self, rate: u32, burst: u32, now: Instant) -> bool {
        self.pending == 0 && !self.is_on_record(now) && self.credit_at(rate, burst, now) >= burst.into()
    }

    /// How long it was refused the last time: a second, doubled with each block in a row.
    fn last_block(&self) -> Duration {
        Duration::from_secs(1 << self.blocks.saturating_sub(1).min(6)).min(LONGEST_BLOCK)
    }

    /// It has something pending or is refused: it cannot be forgotten.
    fn is_held(&self, now: Instant) -> bool {
        self.pending > 0 || self.blocked.is_some_and(|until| now < until)
    }
}

impl Pending {
    /// Waits until the connection has to make room for others: for ever, if it has not.
    pub(crate) async fn evicted(&self) {
        match &self.stranger {
            Some((_, evicted)) => evicted.notified().await,
            None => std::future::pending().await,
        }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.admission.state().release(self.source, self.stranger.as_ref().map(|(stranger, _)| *stranger));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: ConnectionLimits = ConnectionLimits { pending: 3, pending_per_source: 2, setup_rate: 0 };

    fn address(host: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, host])
    }

    fn refused(admission: &Admission, host: u8, known: bool, now: Instant) -> Option<Refusal> {
        admission.admit(address(host), known, now).err()
    }

    fn is_evicted(pending: &Pending) -> bool {
        let context = &mut std::task::Context::from_waker(std::task::Waker::noop());
        std::pin::pin!(pending.evicted()).as_mut().poll(context).is_ready()
    }

    #[test]
    fn pending_connections_are_limited_by_source() {
        let (admission, now) = (Admission::new(LIMITS), Instant::now());
        let first = [admission.admit(address(1), true, now), admission.admit(address(1), false, now)];
        assert_eq!(refused(&admission, 1, true, now), Some(Refusal::PendingOfSource));
        assert_eq!(admission.counts().pending, 2);
        drop(first);
        assert_eq!(refused(&admission, 1, false, now), None);
        let counts = admission.counts();
        assert_eq!((counts.pending, counts.refused_pending, counts.refused_pending_of_source), (0, 0, 1));
    }

    #[test]
    fn the_oldest_connection_without_open_makes_room_for_a_new_one() {
        let (admission, now) = (Admission::new(LIMITS), Instant::now());
        let admit = |host, known| admission.admit(address(host), known, now).expect("there is room");
        let known = admit(9, true);
        let pending = [admit(1, false), admit(2, false), admit(3, false), admit(4, false)];
        // RFC 4271 §8.2.2 has no limit; a configured neighbor neither counts nor makes room.
        assert_eq!(pending.each_ref().map(is_evicted), [true, false, false, false]);
        assert!(!is_evicted(&known));
        let counts = admission.counts();
        assert_eq!((counts.pending, counts.refused_pending), (4, 1));
        drop(pending);
        assert_eq!(admission.counts().pending, 1);
        drop(known);
        assert_eq!(admission.counts().pending, 0);
    }

    #[test]
    fn a_source_that_is_too_fast_waits_longer_each_time() {
        let (admission, mut now) = (Admission::new(ConnectionLimits { setup_rate: 1, ..LIMITS }), Instant::now());
        let mut waits = Vec::new();
        for _ in 0..4 {
            while refused(&admission, 1, true, now).is_none() {}
            let blocked = now;
            while refused(&admission, 1, true, now).is_some() {
                now += Duration::from_millis(500);
            }
            waits.push((now - blocked).as_secs());
        }
        assert_eq!(waits, [1, 2, 4, 8]);
        // Others are not concerned, and who has been quiet begins anew.
        assert_eq!(refused(&admission, 2, true, now), None);
        now += Duration::from_secs(10);
        while refused(&admission, 1, true, now).is_none() {}
        now += Duration::from_secs(1);
        assert_eq!(refused(&admission, 1, true, now), None);
    }

    #[test]
    fn of_too_many_sources_those_are_forgotten_that_have_nothing_pending() {
        let (admission, now) = (Admission::new(ConnectionLimits { setup_rate: 1, ..LIMITS }), Instant::now());
        let held = admission.admit(address(1), true, now).expect("there is room");
        for host in 1..SOURCES as u32 {
            assert!(admission.admit(IpAddr::from(host.to_be_bytes()), true, now).is_ok());
        }
        assert_eq!(admission.state().sources.len(), SOURCES);
        assert!(admission.admit(IpAddr::from([255, 0, 0, 1]), true, now).is_ok());
        assert_eq!(admission.state().sources.len(), 2);
        drop(held);
    }

    #[test]
    fn a_source_is_forgotten_once_it_is_as_good_as_new() {
        let (admission, now) = (Admission::new(ConnectionLimits { setup_rate: 1, ..LIMITS }), Instant::now());
        let seconds = |seconds| now + Duration::from_secs(seconds);
        let known_at = |at| {
            admission.release(at);
            let mut known: Vec<_> = admission.state().sources.keys().copied().collect();
            known.sort();
            known
        };
        let pending = admission.admit(address(1), true, now).expect("there is room");
        assert_eq!(refused(&admission, 2, true, now), None);
        // Refused until the first second is over, and on record for one more.
        while refused(&admission, 3, true, now).is_none() {}
        assert_eq!(known_at(now), [address(1), address(2), address(3)]);
        assert_eq!(known_at(seconds(2)), [address(1), address(3)]);
        assert_eq!(known_at(seconds(3)), [address(1)]);
        drop(pending);
        assert_eq!(known_at(seconds(3)), [] as [IpAddr; 0]);
        assert!(admission.state().sources.capacity() < 4);
    }
}
