//! Who may connect: limits on connections that have not said anything yet, and on how fast one source opens them.
//!
//! A connection is pending from `accept` until its OPEN is there. Configured neighbors are bounded by their number, so
//! that the limit in all concerns only the others; the limits per source concern everybody. A source that opens
//! connections faster than it may is refused for a second, and for twice as long each time that it goes on, up to a
//! minute.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bgp_engine::config::ConnectionLimits;
use tokio::net::TcpStream;
use tracing::warn;

use crate::runtime::status::ConnectionCounts;

/// Seconds of connections at full rate that a source may open at once.
const BURST_SECONDS: u32 = 2;
/// Longest time for which a source is refused.
const LONGEST_BLOCK: Duration = Duration::from_secs(60);
/// Sources that are remembered; one that has been quiet for a while is forgotten first.
const SOURCES: usize = 16_384;

/// The gate that every accepted connection passes.
#[derive(Clone)]
pub(crate) struct Admission(Arc<Mutex<State>>);

struct State {
    limits: ConnectionLimits,
    pending: u32,
    sources: HashMap<IpAddr, Source>,
    counts: ConnectionCounts,
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
}

/// Why a connection is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("too many connections without OPEN")]
    Pending,
    #[error("too many connections without OPEN from this address")]
    PendingOfSource,
    #[error("connections come too fast from this address")]
    Rate,
}

impl Admission {
    pub(crate) fn new(limits: ConnectionLimits) -> Self {
        let counts = ConnectionCounts::default();
        Self(Arc::new(Mutex::new(State { limits, pending: 0, sources: HashMap::new(), counts })))
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
            Ok(()) => Ok(Pending { admission: self.clone(), source }),
            Err(refusal) => {
                let counts = &mut state.counts;
                *match refusal {
                    Refusal::Pending => &mut counts.refused_pending,
                    Refusal::PendingOfSource => &mut counts.refused_pending_of_source,
                    Refusal::Rate => &mut counts.refused_rate,
                } += 1;
                Err(refusal)
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn admit(&mut self, source: IpAddr, known: bool, now: Instant) -> Result<(), Refusal> {
        let limits = self.limits;
        if self.sources.len() >= SOURCES && !self.sources.contains_key(&source) {
            self.sources.retain(|_, source| !source.is_quiet(now));
            if self.sources.len() >= SOURCES {
                return Err(Refusal::Pending);
            }
        }
        let burst = limits.setup_rate.saturating_mul(BURST_SECONDS);
        let new = || Source { pending: 0, credit: burst.into(), at: now, blocked: None, blocks: 0 };
        let entry = self.sources.entry(source).or_insert_with(new);
        if limits.setup_rate > 0 {
            entry.take_credit(source, limits.setup_rate, burst, now)?;
        }
        if entry.pending >= limits.pending_per_source {
            return Err(Refusal::PendingOfSource);
        }
        if !known && self.pending >= limits.pending {
            return Err(Refusal::Pending);
        }
        entry.pending += 1;
        self.pending += 1;
        Ok(())
    }

    fn release(&mut self, source: IpAddr) {
        self.pending -= 1;
        if let Some(source) = self.sources.get_mut(&source) {
            source.pending -= 1;
        }
    }
}

impl Source {
    fn take_credit(&mut self, address: IpAddr, rate: u32, burst: u32, now: Instant) -> Result<(), Refusal> {
        if self.blocked.is_some_and(|until| now < until) {
            return Err(Refusal::Rate);
        }
        let earned = now.saturating_duration_since(self.at).as_secs_f64() * f64::from(rate);
        self.credit = (self.credit + earned).min(burst.into());
        self.at = now;
        // Who has kept to the rate for as long as it was refused last begins anew.
        if self.blocked.is_some_and(|until| now.saturating_duration_since(until) > self.last_block()) {
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

    /// How long it was refused the last time: a second, doubled with each block in a row.
    fn last_block(&self) -> Duration {
        Duration::from_secs(1 << self.blocks.saturating_sub(1).min(6)).min(LONGEST_BLOCK)
    }

    /// Nothing would be different if it were forgotten.
    fn is_quiet(&self, now: Instant) -> bool {
        self.pending == 0 && now.saturating_duration_since(self.at) > LONGEST_BLOCK * 2
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.admission.state().release(self.source);
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

    #[test]
    fn pending_connections_are_limited_by_source_and_in_all() {
        let (admission, now) = (Admission::new(LIMITS), Instant::now());
        let first = [admission.admit(address(1), false, now), admission.admit(address(1), false, now)];
        assert_eq!(refused(&admission, 1, false, now), Some(Refusal::PendingOfSource));
        let second = admission.admit(address(2), false, now);
        assert_eq!(refused(&admission, 3, false, now), Some(Refusal::Pending));
        // A configured neighbor is not kept out by strangers.
        assert_eq!(refused(&admission, 3, true, now), None);
        drop((first, second));
        assert_eq!(refused(&admission, 1, false, now), None);
        let counts = admission.counts();
        assert_eq!((counts.pending, counts.refused_pending, counts.refused_pending_of_source), (0, 1, 1));
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
    fn sources_that_are_quiet_are_forgotten() {
        let (admission, now) = (Admission::new(ConnectionLimits { setup_rate: 1, ..LIMITS }), Instant::now());
        for host in 0..SOURCES as u32 {
            assert!(admission.admit(IpAddr::from(host.to_be_bytes()), true, now).is_ok());
        }
        let one_more = IpAddr::from([255, 0, 0, 1]);
        assert!(admission.admit(one_more, true, now).is_err());
        assert!(admission.admit(one_more, true, now + LONGEST_BLOCK * 3).is_ok());
        assert_eq!(admission.state().sources.len(), 1);
    }
}
