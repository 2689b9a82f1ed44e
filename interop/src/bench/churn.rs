//! Changes at a fixed rate: each is one prefix in an UPDATE of its own.
//!
//! Prefixes change once each, in random order. One in eight is withdrawn, one in eight was not announced before and
//! comes up, the others get new attributes; so that "the receiver is right again" has one meaning per change.

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::attributes::Recipe;
use super::board::{ABSENT, Board, RouteId};
use super::fleet::Fleet;
use super::message;
use super::table::Rng;

/// The client that changes its routes.
const FEEDER: u32 = 0;

/// Prefixes that are held back from the first announcement, so that churn can bring them up.
pub(crate) fn held_back(prefix: u32) -> bool {
    prefix % 8 == 7
}

fn is_withdrawn(prefix: u32) -> bool {
    prefix % 8 == 6
}

/// All changes of a run, encoded.
pub(crate) struct Churn {
    bytes: Bytes,
    /// Prefix, what it is to be, and where its message ends in `bytes`.
    changes: Vec<(u32, RouteId, usize)>,
    next: usize,
    rate: u32,
    started: Instant,
}

impl Churn {
    /// `seconds` of churn at `rate` changes a second, at most one per prefix.
    pub(crate) fn new(board: &mut Board, rate: u32, seconds: u32) -> Self {
        let mut order: Vec<u32> = (0..board.table.len() as u32).collect();
        Rng::new(0xc4).shuffle(&mut order);
        order.truncate((rate * seconds) as usize);
        let mut bytes = Vec::new();
        let mut changes = Vec::with_capacity(order.len());
        for prefix in order {
            let key = board.table.keys[prefix as usize];
            let route = if is_withdrawn(prefix) {
                message::withdraw(&[key], &mut bytes);
                ABSENT
            } else {
                let group = board.table.group_of[prefix as usize];
                let variant = u8::from(!held_back(prefix));
                let (route, set) = board.register(Recipe { client: FEEDER, group, variant, detour: 0 });
                message::announce(&set, &[key], &mut bytes);
                route
            };
            changes.push((prefix, route, bytes.len()));
        }
        Self { bytes: bytes.into(), changes, next: 0, rate, started: Instant::now() }
    }

    /// The clock starts now.
    pub(crate) fn start(&mut self) {
        self.started = Instant::now();
    }

    /// Sends what is due. The time of a change is that of its write.
    pub(crate) fn tick(&mut self, fleet: &mut Fleet) {
        let due = (self.started.elapsed().as_secs_f64() * f64::from(self.rate)) as usize;
        let due = due.min(self.changes.len());
        if due <= self.next {
            return;
        }
        let now = fleet.clock();
        let start = self.next.checked_sub(1).map_or(0, |last| self.changes[last].2);
        let end = self.changes[due - 1].2;
        for &(prefix, route, _) in &self.changes[self.next..due] {
            fleet.retarget(prefix, FEEDER, route, now);
        }
        fleet.send(FEEDER, self.bytes.slice(start..end));
        self.next = due;
    }

    /// True when all changes are sent.
    pub(crate) fn done(&self) -> bool {
        self.next == self.changes.len()
    }

    pub(crate) fn sent(&self) -> usize {
        self.next
    }

    /// How long the poller may sleep so that no change is late.
    pub(crate) fn pause() -> Duration {
        Duration::from_millis(1)
    }
}
