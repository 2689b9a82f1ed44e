//! Changes sorted into runs that can share messages: same attributes, same source.

use std::hash::BuildHasher;

use bgp_wire::Nlri;
use bgp_wire::update::PathKey;
use foldhash::fast::FixedState;
use hashbrown::HashTable;

use crate::attr::AttrRef;
use crate::id::{PeerIndex, Source};
use crate::stage::Change;

/// Withdrawals of one source are worth their own messages, which the source need not be sent, from
/// this many on.
const OWN_WITHDRAWALS: usize = 16;

/// Sorts changes; keeps its memory.
pub(super) struct Packer<K> {
    runs: Vec<Run>,
    index: HashTable<u32>,
    hasher: FixedState,
    run_of: Vec<u32>,
    ordered: Vec<PathKey<K>>,
    positions: Vec<u32>,
    mixed: Vec<PathKey<K>>,
}

/// Keys that go out together.
pub(super) struct Packed<'a, K> {
    /// What is announced; `None` withdraws.
    pub(super) new: Option<(&'a AttrRef, &'a Source)>,
    /// Whose route is announced or was withdrawn; `None` where it is of several peers.
    pub(super) source: Option<PeerIndex>,
    /// The keys.
    pub(super) keys: &'a [PathKey<K>],
    /// Where their destinations stand, if they are announced.
    pub(super) positions: &'a [u32],
}

impl<K> Packed<'_, K> {
    /// The same in pieces of at most `size` keys.
    pub(super) fn chunks(&self, size: usize) -> impl Iterator<Item = Packed<'_, K>> {
        let positions = self.positions.chunks(size).chain(std::iter::repeat(&[][..]));
        self.keys.chunks(size).zip(positions).map(|(keys, positions)| Packed { keys, positions, ..*self })
    }
}

struct Run {
    token: usize,
    source: Option<PeerIndex>,
    /// The change that began it.
    first: u32,
    start: u32,
    count: u32,
}

impl<K: Copy> Packer<K> {
    pub(super) fn new() -> Self {
        Self {
            runs: Vec::new(),
            index: HashTable::new(),
            hasher: FixedState::with_seed(0),
            run_of: Vec::new(),
            ordered: Vec::new(),
            positions: Vec::new(),
            mixed: Vec::new(),
        }
    }

    /// Calls `with` for each run, in the order in which runs begin.
    pub(super) fn pack<N: Nlri<Key = K>>(&mut self, changes: &[Change<N>], mut with: impl FnMut(&Packed<'_, K>)) {
        self.sort(changes);
        for run in &self.runs {
            let range = run.start as usize..(run.start + run.count) as usize;
            let keys = &self.ordered[range.clone()];
            let new = changes[run.first as usize].new.as_ref();
            if new.is_none() && keys.len() < OWN_WITHDRAWALS {
                self.mixed.extend_from_slice(keys);
                continue;
            }
            let new = new.map(|(attrs, source)| (attrs, source));
            with(&Packed { new, source: run.source, keys, positions: &self.positions[range] });
        }
        if !self.mixed.is_empty() {
            with(&Packed { new: None, source: None, keys: &self.mixed, positions: &[] });
        }
    }

    /// Counting sort of the keys by run.
    fn sort<N: Nlri<Key = K>>(&mut self, changes: &[Change<N>]) {
        self.runs.clear();
        self.index.clear();
        self.run_of.clear();
        self.mixed.clear();
        let mut last = 0;
        for (at, change) in changes.iter().enumerate() {
            let (token, source) = match &change.new {
                Some((attrs, source)) => (attrs.token(), Some(source.peer)),
                None => (0, change.old_source),
            };
            let same = |run: &Run| run.token == token && run.source == source;
            if !self.runs.get(last).is_some_and(same) {
                last = self.run(token, source, at);
            }
            self.runs[last].count += 1;
            self.run_of.push(last as u32);
        }
        let mut start = 0;
        for run in &mut self.runs {
            run.start = start;
            start += run.count;
            run.count = 0;
        }
        self.ordered.clear();
        self.positions.clear();
        let Some(first) = changes.first() else { return };
        self.ordered.resize(changes.len(), first.key);
        self.positions.resize(changes.len(), 0);
        for (change, &run) in changes.iter().zip(&self.run_of) {
            let run = &mut self.runs[run as usize];
            let at = (run.start + run.count) as usize;
            self.ordered[at] = change.key;
            self.positions[at] = change.position;
            run.count += 1;
        }
    }

    /// The run of these attributes and this source, which may begin here.
    fn run(&mut self, token: usize, source: Option<PeerIndex>, at: usize) -> usize {
        let Self { runs, index, hasher, .. } = self;
        let hash = |run: &Run| hasher.hash_one((run.token, run.source));
        let new = Run { token, source, first: at as u32, start: 0, count: 0 };
        let same = |&run: &u32| {
            let run = &runs[run as usize];
            run.token == token && run.source == source
        };
        let entry = index.entry(hash(&new), same, |&run| hash(&runs[run as usize]));
        match entry {
            hashbrown::hash_table::Entry::Occupied(found) => *found.get() as usize,
            hashbrown::hash_table::Entry::Vacant(entry) => {
                entry.insert(runs.len() as u32);
                runs.push(new);
                runs.len() - 1
            }
        }
    }
}
