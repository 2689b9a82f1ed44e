//! How many paths there are by the state of their origin (RFC 6811).
//!
//! States are not kept with paths, so they are counted: in slices like any other reading, in a task of its own. Whoever
//! asks is told the last count and waits for nothing.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use bgp_engine::policy::RpkiState;
use bgp_engine::rib::{Cursor, RouteQuery};
use bgp_engine::rpki::VrpTable;
use bgp_wire::Family;

use super::{FAMILIES, Reads, routes};

/// Paths are counted again after this, or when the caches have said something new.
const INTERVAL: Duration = Duration::from_secs(60);

/// Paths of one family, those that a policy rejects as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OriginCounts {
    /// A VRP matches.
    pub valid: u64,
    /// VRPs cover the prefix, and none of them matches.
    pub invalid: u64,
    /// No VRP covers the prefix.
    pub not_found: u64,
}

/// The last count.
#[derive(Default)]
pub(super) struct Origins(Mutex<Last>);

#[derive(Default)]
struct Last {
    counts: BTreeMap<Family, OriginCounts>,
    /// When it was begun, and by which table.
    begun: Option<(Instant, Weak<VrpTable>)>,
    under_way: bool,
}

impl Last {
    fn is_due(&self, table: &Arc<VrpTable>) -> bool {
        let is_fresh = |(at, of): &(Instant, Weak<VrpTable>)| {
            at.elapsed() < INTERVAL && std::ptr::eq(of.as_ptr(), Arc::as_ptr(table))
        };
        !self.under_way && !self.begun.as_ref().is_some_and(is_fresh)
    }
}

/// What was counted last; nothing where no cache is configured, and before the first count. Counts anew if it is time.
pub(super) fn counts(reads: &Reads) -> BTreeMap<Family, OriginCounts> {
    let mut last = reads.origins.0.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(table) = reads.vrps() else {
        last.counts.clear();
        return BTreeMap::new();
    };
    if last.is_due(&table) {
        last.begun = Some((Instant::now(), Arc::downgrade(&table)));
        last.under_way = true;
        let reads = reads.clone();
        tokio::spawn(async move {
            let counted = count(&reads, &table).await;
            let mut last = reads.origins.0.lock().unwrap_or_else(PoisonError::into_inner);
            last.under_way = false;
            if let Some(counts) = counted {
                last.counts = counts;
            }
        });
    }
    last.counts.clone()
}

/// Goes through all tables; `None` when the daemon stops.
async fn count(reads: &Reads, table: &VrpTable) -> Option<BTreeMap<Family, OriginCounts>> {
    let mut counts = BTreeMap::new();
    for family in FAMILIES {
        let (query, mut of) = (RouteQuery::all(family), OriginCounts::default());
        for partition in 0..reads.fabric.partitions.len() {
            let mut next = Some(Cursor::default());
            while let Some(cursor) = next {
                let slice = routes::ask(reads, partition, &query, cursor).await?;
                for route in &slice.routes {
                    match super::state_of(table, &route.prefix, &route.attrs) {
                        RpkiState::Valid => of.valid += 1,
                        RpkiState::Invalid => of.invalid += 1,
                        RpkiState::NotFound => of.not_found += 1,
                    }
                }
                next = slice.next;
            }
        }
        counts.insert(family, of);
    }
    Some(counts)
}
