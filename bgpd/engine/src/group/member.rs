//! One member of a group: what it still has to be told.

use std::collections::BTreeMap;

use bgp_wire::Nlri;
use bgp_wire::update::PathKey;
use bytes::Bytes;

use crate::stage::partition_of;

/// Keys that one refill asks for at most.
const REFILL: usize = 4096;
/// Keys that may come twice before duplicates are looked for.
const SLACK: usize = 1024;

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
    /// What is sent behind it if the peer has asked for its routes again (RFC 7313 §4).
    pub(super) end_of_refresh: Option<Bytes>,
    /// Refills asked for and not come.
    pub(super) refills: usize,
    missed: Vec<PathKey<N::Key>>,
    /// Length of `missed` when it was last free of duplicates.
    distinct: usize,
    asked: Vec<PathKey<N::Key>>,
}

impl<N: Nlri> MemberState<N> {
    pub(super) fn new(incarnation: u32, walks: usize, end_of_rib: Bytes) -> Self {
        Self {
            incarnation,
            slow: false,
            walks_left: walks,
            end_of_rib: Some(end_of_rib),
            end_of_refresh: None,
            refills: 0,
            missed: Vec::new(),
            distinct: 0,
            asked: Vec::new(),
        }
    }

    /// Notes keys whose change was not sent. The memory is bounded by the table: keys that are
    /// there twice are found when the list has doubled.
    pub(super) fn miss(&mut self, keys: impl IntoIterator<Item = PathKey<N::Key>>) {
        self.missed.extend(keys);
        if self.missed.len() > 2 * self.distinct + SLACK {
            self.tidy();
        }
    }

    /// Everything that was sent is complete: nothing is missed or asked for.
    pub(super) fn is_caught_up(&self) -> bool {
        self.missed.is_empty() && self.refills == 0
    }

    /// The next keys to ask for, by partition. Nothing while the last refills are under way.
    pub(super) fn ask(&mut self, partitions: usize) -> BTreeMap<usize, Vec<PathKey<N::Key>>> {
        let mut by_partition = BTreeMap::<_, Vec<_>>::new();
        if self.slow || self.refills > 0 || self.missed.is_empty() {
            return by_partition;
        }
        if self.distinct != self.missed.len() {
            self.tidy();
        }
        self.asked = self.missed.split_off(self.missed.len().saturating_sub(REFILL));
        self.distinct = self.missed.len();
        for key in &self.asked {
            let partition = partition_of::<N>(&key.key, partitions);
            by_partition.entry(partition).or_default().push(*key);
        }
        self.refills = by_partition.len();
        by_partition
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
        self.refills = 0;
        let asked = std::mem::take(&mut self.asked);
        self.miss(asked);
    }

    fn tidy(&mut self) {
        self.missed.sort_unstable();
        self.missed.dedup();
        self.distinct = self.missed.len();
    }
}
