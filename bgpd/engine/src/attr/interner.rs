//! The table in which every attribute set exists once.

use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bgp_wire::attribute::{AttributeBlock, Community, code};
use bgp_wire::update::NextHop;
use foldhash::SharedSeed;
use foldhash::fast::SeedableRandomState;
use hashbrown::HashTable;
use triomphe::ThinArc;

use super::edit::{self, Edit};
use super::{AttrHead, AttrRef, Digest, Local};

const SHARDS: usize = 64;
/// A shard is not worth sweeping below this many sets.
const SWEEP_FLOOR: usize = 256;

/// Hash-consing of attribute sets, shared by all threads: 64 stripes, each behind a leaf lock.
pub struct Interner {
    hasher: SeedableRandomState,
    shards: Box<[Mutex<Shard>]>,
    /// The shard that the next step of [`Interner::release`] is about.
    turn: AtomicUsize,
}

struct Shard {
    sets: HashTable<Entry>,
    sweep_at: usize,
}

/// A set and its hash, which is here so that neither a look-up that finds another set nor the growth of the table goes
/// to the sets: those of a full table are in no cache.
struct Entry {
    hash: u64,
    set: AttrRef,
}

impl Interner {
    /// An empty interner whose hashes are keyed with `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let shard = || Mutex::new(Shard { sets: HashTable::new(), sweep_at: SWEEP_FLOOR });
        Self {
            hasher: SeedableRandomState::with_seed(seed, SharedSeed::global_fixed()),
            shards: (0..SHARDS).map(|_| shard()).collect(),
            turn: AtomicUsize::new(0),
        }
    }

    /// The set with this next hop and these canonical attributes. Allocates only when it is new.
    #[must_use]
    pub fn intern(&self, next_hop: NextHop, block: AttributeBlock<'_>) -> AttrRef {
        self.intern_local(next_hop, block, Local::default())
    }

    /// As [`Interner::intern`], with what policy said of the set.
    #[must_use]
    pub fn intern_local(&self, next_hop: NextHop, block: AttributeBlock<'_>, local: Local) -> AttrRef {
        let bytes = block.bytes();
        let hash = self.hash(&next_hop, bytes, local);
        let mut shard = self.shard(hash);
        let same = |Entry { hash: other, set }: &Entry| {
            *other == hash && set.next_hop == next_hop && set.local == local && set.bytes() == bytes
        };
        if let Some(found) = shard.sets.find(hash, same) {
            return found.set.clone();
        }
        if shard.sets.len() >= shard.sweep_at {
            shard.sweep();
        }
        let head = AttrHead { next_hop, digest: Digest::of(block), local };
        let set = AttrRef(ThinArc::from_header_and_slice(head, bytes));
        shard.sets.insert_unique(hash, Entry { hash, set: set.clone() }, |entry| entry.hash);
        set
    }

    /// The set with one community more; the same if it has it.
    #[must_use]
    pub fn with_community(&self, set: &AttrRef, community: Community) -> AttrRef {
        self.edited(set, community, Edit::Keep)
    }

    /// The set of a path that is about to go (RFC 8326): with GRACEFUL_SHUTDOWN and LOCAL_PREF 0.
    #[must_use]
    pub fn shutting_down(&self, set: &AttrRef) -> AttrRef {
        self.edited(set, Community::GRACEFUL_SHUTDOWN, Edit::set_u32(0))
    }

    /// The set of a path that is for customers only, marked with `asn` (RFC 9234 §5).
    #[must_use]
    pub fn only_to_customer(&self, set: &AttrRef, asn: u32) -> AttrRef {
        let mut bytes = Vec::with_capacity(set.bytes().len() + 7);
        edit::rewrite(set.bytes(), &[(code::ONLY_TO_CUSTOMER, Edit::set_u32(asn))], &mut bytes);
        self.intern(set.next_hop, AttributeBlock::from_canonical(&bytes))
    }

    fn edited(&self, set: &AttrRef, community: Community, local_pref: Edit<'_>) -> AttrRef {
        let add = |value: &[u8], out: &mut Vec<u8>| edit::add_communities(value, &[(true, community)], out);
        let mut bytes = Vec::with_capacity(set.bytes().len() + 14);
        let edits = [(code::LOCAL_PREF, local_pref), (code::COMMUNITIES, Edit::Append(&add))];
        edit::rewrite(set.bytes(), &edits, &mut bytes);
        self.intern_local(set.next_hop, AttributeBlock::from_canonical(&bytes), set.local)
    }

    /// Drops the sets that nobody else refers to in one more of the 64 stripes. It happens by itself as the table
    /// grows; this is for the time after many routes went, to be called every now and then.
    pub fn release(&self) {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        lock(&self.shards[turn % SHARDS]).sweep();
    }

    /// Number of sets, dead ones included until they are swept.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).sets.len()).sum()
    }

    /// Whether there is no set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn hash(&self, next_hop: &NextHop, bytes: &[u8], local: Local) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        if local != Local::default() {
            local.hash(&mut hasher);
        }
        match next_hop {
            NextHop::V4(address) => hasher.write_u32(u32::from(*address)),
            NextHop::V6 { global, link_local } => {
                hasher.write_u128(u128::from(*global));
                hasher.write_u128(link_local.map_or(0, u128::from));
            }
        }
        hasher.write(bytes);
        hasher.finish()
    }

    fn shard(&self, hash: u64) -> MutexGuard<'_, Shard> {
        // The table takes its position from the low bits and its tag from the high ones.
        lock(&self.shards[(hash >> 40) as usize % SHARDS])
    }
}

impl Shard {
    /// A set that only the table refers to cannot be cloned by anybody else: references are made
    /// from references, or here under the lock.
    fn sweep(&mut self) {
        self.sets.retain(|entry| ThinArc::strong_count(&entry.set.0) > 1);
        self.sweep_at = (self.sets.len() * 2).max(SWEEP_FLOOR);
        if self.sets.capacity() > 4 * self.sets.len() + SWEEP_FLOOR {
            self.sets.shrink_to(self.sets.len() * 2, |entry| entry.hash);
        }
    }
}

fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    // A panic between two operations of a hash table leaves the table whole.
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use bgp_wire::attribute::Attribute;

    use super::*;

    fn block(med: u32) -> Vec<u8> {
        let mut bytes = Vec::new();
        Attribute::MultiExitDisc(med).encode(&mut bytes);
        bytes
    }

    fn intern(interner: &Interner, med: u32) -> AttrRef {
        let next_hop = NextHop::V4(Ipv4Addr::new(192, 0, 2, 1));
        interner.intern(next_hop, AttributeBlock::from_canonical(&block(med)))
    }

    #[test]
    fn equal_sets_are_one_set() {
        let interner = Interner::new(1);
        assert_eq!(intern(&interner, 7), intern(&interner, 7));
        assert_ne!(intern(&interner, 7), intern(&interner, 8));
        assert_eq!(interner.len(), 2);
    }

    #[test]
    fn the_next_hop_tells_sets_apart() {
        let interner = Interner::new(1);
        let bytes = block(7);
        let other = NextHop::V4(Ipv4Addr::new(192, 0, 2, 2));
        let other = interner.intern(other, AttributeBlock::from_canonical(&bytes));
        assert_ne!(intern(&interner, 7), other);
    }

    #[test]
    fn sweep_keeps_what_is_referred_to() {
        let interner = Interner::new(1);
        let kept = intern(&interner, 7);
        for med in 100..200 {
            let _ = intern(&interner, med);
        }
        (0..SHARDS).for_each(|_| interner.release());
        assert_eq!(interner.len(), 1);
        assert_eq!(intern(&interner, 7), kept);
    }

    #[test]
    fn dead_sets_do_not_pile_up() {
        let interner = Interner::new(1);
        for med in 0..200_000 {
            let _ = intern(&interner, med);
        }
        assert!(interner.len() <= SHARDS * (SWEEP_FLOOR + 1), "{} sets", interner.len());
    }
}
