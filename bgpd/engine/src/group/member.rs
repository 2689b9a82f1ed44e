//! One member of a group: what it still has to be told.

use std::collections::BTreeMap;
use std::sync::Arc;

use bgp_wire::Nlri;
use bytes::Bytes;

use super::missed::Backlog;
use super::passage::Arrival;
use crate::stage::Missed;

/// Destinations that a member asks for at a time.
const REFILL: usize = 4096;

/// State of a member.
pub(super) struct MemberState<N: Nlri> {
    /// Which membership of the peer this is.
    pub(super) incarnation: u32,
    /// Its queue is full: what changes is noted, not sent.
    pub(super) slow: bool,
    /// Partitions whose walk is not complete.
    pub(super) walks_left: usize,
    /// What is sent when the walks are complete and nothing is missed: the End-of-RIB marker (RFC 4724 §2), once in a
    /// membership.
    pub(super) end_of_rib: Option<Bytes>,
    /// The markers are not sent yet, whatever else is complete.
    pub(super) held: bool,
    /// What is sent behind it if the peer has asked for its routes again (RFC 7313 §4).
    pub(super) end_of_refresh: Option<Bytes>,
    /// Refills asked for and not come.
    pub(super) refills: usize,
    /// What changed and was not sent.
    pub(super) missed: Backlog<N>,
    asked: BTreeMap<usize, Arc<Missed<N>>>,
    /// It comes from another group and is not whole yet.
    pub(super) arrival: Option<Arrival>,
}

impl<N: Nlri> MemberState<N> {
    pub(super) fn new(incarnation: u32, walks: usize, end_of_rib: Option<Bytes>) -> Self {
        Self {
            incarnation,
            slow: false,
            walks_left: walks,
            end_of_rib,
            held: false,
            end_of_refresh: None,
            refills: 0,
            missed: Backlog::new(),
            asked: BTreeMap::new(),
            arrival: None,
        }
    }

    /// Nothing can be sent to it now: what changes is noted.
    pub(super) fn is_blocked(&self) -> bool {
        self.slow || self.arrival.as_ref().is_some_and(|arrival| arrival.awaited)
    }

    /// Whether an emission to this membership is for it.
    pub(super) fn is(&self, incarnation: u32) -> bool {
        self.incarnation == incarnation || self.arrival.as_ref().is_some_and(|arrival| arrival.passage == incarnation)
    }

    /// Everything that was sent is complete: nothing is missed or asked for.
    pub(super) fn is_caught_up(&self) -> bool {
        self.missed.is_empty() && self.refills == 0
    }

    /// What to ask for next, by partition. Nothing while the last refills are under way.
    pub(super) fn ask(&mut self, partitions: usize) -> BTreeMap<usize, Arc<Missed<N>>> {
        if self.is_blocked() || self.refills > 0 || self.missed.is_empty() {
            return BTreeMap::new();
        }
        self.asked = self.missed.take(REFILL, partitions);
        self.refills = self.asked.len();
        self.asked.clone()
    }

    /// One refill has come.
    pub(super) fn refilled(&mut self) {
        self.refills = self.refills.saturating_sub(1);
        if self.refills == 0 {
            self.asked.clear();
        }
    }

    /// Goes on as another membership of the same session: what was asked for is missed again,
    /// because the answers will not be recognized. Markers that are still to be sent are sent all the same.
    pub(super) fn renew(&mut self, incarnation: u32, walks: usize, end: Option<Bytes>) {
        self.incarnation = incarnation;
        self.walks_left = walks;
        self.end_of_refresh = end.or(self.end_of_refresh.take());
        self.forget_asked();
    }

    /// What was asked for is missed again.
    pub(super) fn forget_asked(&mut self) {
        self.refills = 0;
        for (partition, missed) in std::mem::take(&mut self.asked) {
            self.missed.put_back(partition, &missed);
        }
    }
}
