//! The prefixes that change most, in bounded memory.

use std::collections::HashMap;

/// Prefixes that are counted. Beyond that the quietest one makes room, and its count goes on with the new one: counts can
/// be too great by that, never too small, and what changes more often than that is always among them.
const PREFIXES: usize = 2000;

/// A change of a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) prefix: String,
    /// The neighbor that the new best path is from; empty where it is from here. `None` if there is no path any more.
    pub(super) from: Option<String>,
}

/// A prefix that changes often.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Noisy<'a> {
    pub(super) prefix: &'a str,
    pub(super) changes: u64,
    pub(super) per_second: f64,
    /// The neighbor that its last path is from.
    pub(super) from: &'a str,
}

#[derive(Debug, Default)]
struct Entry {
    changes: u64,
    /// As many at the last look.
    before: u64,
    per_second: f64,
    from: String,
}

#[derive(Debug, Default)]
pub(super) struct Churn {
    entries: HashMap<String, Entry>,
    total: u64,
}

impl Churn {
    pub(super) fn count(&mut self, change: Change) {
        self.total += 1;
        let Change { prefix, from } = change;
        if let Some(entry) = self.entries.get_mut(&prefix) {
            entry.changes += 1;
            if let Some(from) = from {
                entry.from = from;
            }
            return;
        }
        let inherited = self.make_room();
        let entry =
            Entry { changes: inherited + 1, before: inherited, per_second: 0.0, from: from.unwrap_or_default() };
        self.entries.insert(prefix, entry);
    }

    /// Removes the quietest where there are too many; its count.
    fn make_room(&mut self) -> u64 {
        if self.entries.len() < PREFIXES {
            return 0;
        }
        let quietest = self.entries.iter().min_by_key(|(prefix, entry)| (entry.changes, *prefix));
        let quietest = quietest.map(|(prefix, _)| prefix.clone());
        quietest.and_then(|prefix| self.entries.remove(&prefix)).map_or(0, |entry| entry.changes)
    }

    /// So much time has passed since the last look.
    pub(super) fn look(&mut self, seconds: f64) {
        for entry in self.entries.values_mut() {
            entry.per_second = (entry.changes - entry.before) as f64 / seconds;
            entry.before = entry.changes;
        }
    }

    /// Begins anew. The total goes on: rates are made of it.
    pub(super) fn clear(&mut self) {
        self.entries.clear();
    }

    /// The noisiest first.
    pub(super) fn noisiest(&self, most: usize) -> Vec<Noisy<'_>> {
        let noisy = self.entries.iter().map(|(prefix, Entry { changes, per_second, from, .. })| Noisy {
            prefix,
            changes: *changes,
            per_second: *per_second,
            from,
        });
        let mut all: Vec<Noisy<'_>> = noisy.collect();
        all.sort_unstable_by_key(|one| (std::cmp::Reverse(one.changes), one.prefix));
        all.truncate(most);
        all
    }

    /// All changes.
    pub(super) fn total(&self) -> u64 {
        self.total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(prefix: String) -> Change {
        Change { prefix, from: Some("192.0.2.11".to_owned()) }
    }

    #[test]
    fn the_noisiest_is_found_among_more_prefixes_than_are_counted() {
        let mut churn = Churn::default();
        for round in 0..5 {
            for quiet in 0..1000 {
                churn.count(change(format!("10.{}.{}.0/24", round * 4 + quiet / 256, quiet % 256)));
                churn.count(change("192.0.2.0/24".to_owned()));
            }
        }
        assert_eq!((churn.entries.len(), churn.total()), (PREFIXES, 10_000));
        let noisiest = churn.noisiest(2);
        assert_eq!(noisiest[0].prefix, "192.0.2.0/24");
        assert!(noisiest[0].changes >= 5000 && noisiest[1].changes < 10, "{noisiest:?}");
    }

    #[test]
    fn a_rate_is_of_the_time_since_the_last_look_and_a_withdrawal_keeps_the_neighbor() {
        let mut churn = Churn::default();
        for _ in 0..6 {
            churn.count(change("10.0.0.0/8".to_owned()));
        }
        churn.look(2.0);
        let seen =
            |churn: &Churn| churn.noisiest(1).first().map(|one| (one.changes, one.per_second, one.from.to_owned()));
        assert_eq!(seen(&churn), Some((6, 3.0, "192.0.2.11".to_owned())));
        churn.count(Change { prefix: "10.0.0.0/8".to_owned(), from: None });
        churn.look(2.0);
        assert_eq!(seen(&churn), Some((7, 0.5, "192.0.2.11".to_owned())));
        churn.clear();
        assert_eq!((seen(&churn), churn.total()), (None, 7));
    }
}
