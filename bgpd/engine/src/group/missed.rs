//! What a slow member has missed: one bit per destination, and the keys of what was withdrawn.

use std::collections::BTreeMap;
use std::sync::Arc;

use bgp_wire::Nlri;
use bgp_wire::update::PathKey;

use super::chunk::{Noted, Place};
use crate::stage::{Missed, partition_of};

/// Keys that may come twice before duplicates are looked for.
const SLACK: usize = 1024;
/// Positions in a word of marks.
const WORD: u32 = u64::BITS;

/// Destinations and keys whose present state a member is still to be told.
///
/// The memory is bounded by the table: a position costs one bit however often its destination changes, and keys that
/// are there twice are found when their list has doubled. Positions are taken in ascending order, which is about the
/// order in which routes came, so that routes that share attributes come together again.
pub(super) struct Backlog<N: Nlri> {
    /// By partition.
    marks: Vec<Marks>,
    keys: Vec<PathKey<N::Key>>,
    /// Length of `keys` when it was last free of duplicates.
    distinct: usize,
}

/// A set of positions.
#[derive(Default)]
struct Marks {
    words: Vec<u64>,
    count: usize,
    /// No word before this one has a mark.
    first: usize,
}

impl<N: Nlri> Backlog<N> {
    pub(super) fn new() -> Self {
        Self { marks: Vec::new(), keys: Vec::new(), distinct: 0 }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.marks.iter().all(|marks| marks.count == 0)
    }

    /// Adds changes that were not sent.
    pub(super) fn note(&mut self, changes: impl IntoIterator<Item = Noted<PathKey<N::Key>>>) {
        for change in changes {
            match change {
                Noted::At(place) => self.mark(place),
                Noted::Key(key) => self.keys.push(key),
            }
        }
        if self.keys.len() > 2 * self.distinct + SLACK {
            self.tidy();
        }
    }

    /// Adds what was asked for and will not come.
    pub(super) fn put_back(&mut self, partition: usize, missed: &Missed<N>) {
        let places = missed.positions.iter().map(|&position| Noted::At(Place { partition, position }));
        self.note(places);
        self.note(missed.keys.iter().copied().map(Noted::Key));
    }

    /// Takes about `limit` things to ask for, by partition.
    pub(super) fn take(&mut self, limit: usize, partitions: usize) -> BTreeMap<usize, Arc<Missed<N>>> {
        let mut taken = BTreeMap::<usize, Missed<N>>::new();
        if self.distinct != self.keys.len() {
            self.tidy();
        }
        let keys = self.keys.split_off(self.keys.len().saturating_sub(limit));
        self.distinct = self.keys.len();
        let mut room = limit - keys.len();
        for key in keys {
            taken.entry(partition_of::<N>(&key.key, partitions)).or_default().keys.push(key);
        }
        for (partition, marks) in self.marks.iter_mut().enumerate().filter(|(_, marks)| marks.count > 0) {
            // Each partition gets its share, so that they answer side by side.
            let positions = marks.take(room.min(limit.div_ceil(partitions)));
            room -= positions.len();
            if !positions.is_empty() {
                taken.entry(partition).or_default().positions = positions;
            }
        }
        taken.into_iter().map(|(partition, missed)| (partition, Arc::new(missed))).collect()
    }

    fn mark(&mut self, place: Place) {
        if self.marks.len() <= place.partition {
            self.marks.resize_with(place.partition + 1, Marks::default);
        }
        self.marks[place.partition].insert(place.position);
    }

    fn tidy(&mut self) {
        self.keys.sort_unstable();
        self.keys.dedup();
        self.distinct = self.keys.len();
    }
}

impl Marks {
    fn insert(&mut self, position: u32) {
        let at = (position / WORD) as usize;
        if self.words.len() <= at {
            self.words.resize(at + 1, 0);
        }
        let before = self.words[at];
        self.words[at] |= 1 << (position % WORD);
        self.count += usize::from(self.words[at] != before);
        self.first = self.first.min(at);
    }

    /// Takes the lowest positions, at most `limit`.
    fn take(&mut self, limit: usize) -> Vec<u32> {
        let mut taken = Vec::with_capacity(limit.min(self.count));
        while taken.len() < limit && self.count > 0 {
            let word = &mut self.words[self.first];
            if *word == 0 {
                self.first += 1;
                continue;
            }
            taken.push(self.first as u32 * WORD + word.trailing_zeros());
            *word &= *word - 1;
            self.count -= 1;
        }
        if self.count == 0 {
            *self = Self::default();
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use bgp_wire::nlri::{Ipv4Unicast, Prefix};

    use super::*;

    fn at(partition: usize, position: u32) -> Noted<PathKey<Prefix<4>>> {
        Noted::At(Place { partition, position })
    }

    #[test]
    fn positions_come_once_and_in_order() {
        let mut backlog = Backlog::<Ipv4Unicast>::new();
        backlog.note([at(1, 200), at(0, 7), at(1, 64), at(1, 200), at(1, 63)]);
        let taken = backlog.take(100, 2);
        let positions: Vec<_> = taken.iter().map(|(partition, missed)| (*partition, &*missed.positions)).collect();
        assert_eq!(positions, [(0, &[7][..]), (1, &[63, 64, 200][..])]);
        assert!(backlog.is_empty());
    }

    #[test]
    fn what_is_taken_is_bounded_and_the_rest_stays() {
        let mut backlog = Backlog::<Ipv4Unicast>::new();
        let key = |low: u32| PathKey { key: Prefix::new(low.to_be_bytes(), 32), path_id: 0 };
        backlog.note((0..10).map(|position| at(0, position)));
        backlog.note((0..3).map(|low| Noted::Key(key(low))));
        let mut left = 13;
        while !backlog.is_empty() {
            let taken = backlog.take(4, 1);
            let count: usize = taken.values().map(|missed| missed.positions.len() + missed.keys.len()).sum();
            assert!((1..=4).contains(&count));
            left -= count;
        }
        assert_eq!(left, 0);
    }

    #[test]
    fn withdrawn_keys_do_not_pile_up() {
        let mut backlog = Backlog::<Ipv4Unicast>::new();
        let key = PathKey { key: Prefix::new([10, 0, 0, 0], 8), path_id: 0 };
        for _ in 0..100_000 {
            backlog.note([Noted::Key(key)]);
        }
        assert!(backlog.keys.len() <= SLACK + 2);
    }
}
