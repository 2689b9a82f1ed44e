//! The prefixes that change most, in bounded memory.

use std::collections::HashMap;

/// Prefixes that are counted. Beyond that the quietest one makes room, and its count goes on with the new one: counts can
/// be too great by that, never too small, and what changes more often than that is always among them.
const PREFIXES: usize = 2000;

#[derive(Debug, Default)]
pub(super) struct Churn {
    counts: HashMap<String, u64>,
    total: u64,
}

impl Churn {
    pub(super) fn count(&mut self, prefix: String) {
        self.total += 1;
        if let Some(count) = self.counts.get_mut(&prefix) {
            *count += 1;
            return;
        }
        let mut count = 1;
        if self.counts.len() >= PREFIXES {
            let quietest = self.counts.iter().min_by_key(|(prefix, count)| (**count, (*prefix).clone()));
            if let Some((quietest, least)) = quietest.map(|(prefix, count)| (prefix.clone(), *count)) {
                self.counts.remove(&quietest);
                count += least;
            }
        }
        self.counts.insert(prefix, count);
    }

    /// The noisiest first.
    pub(super) fn noisiest(&self, most: usize) -> Vec<(&str, u64)> {
        let mut all: Vec<_> = self.counts.iter().map(|(prefix, count)| (prefix.as_str(), *count)).collect();
        all.sort_unstable_by_key(|(prefix, count)| (std::cmp::Reverse(*count), *prefix));
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

    #[test]
    fn the_noisiest_is_found_among_more_prefixes_than_are_counted() {
        let mut churn = Churn::default();
        for round in 0..5 {
            for quiet in 0..1000 {
                churn.count(format!("10.{}.{}.0/24", round * 4 + quiet / 256, quiet % 256));
                churn.count("192.0.2.0/24".to_owned());
            }
        }
        assert_eq!((churn.counts.len(), churn.total()), (PREFIXES, 10_000));
        let noisiest = churn.noisiest(2);
        assert_eq!(noisiest[0].0, "192.0.2.0/24");
        assert!(noisiest[0].1 >= 5000 && noisiest[1].1 < 10, "{noisiest:?}");
    }
}
