//! The destinations of one family: a slab, found through a hash index.
//!
//! Positions in the slab are stable: walks are cursors over positions, and a destination that goes
//! leaves its position to a later one.

use std::hash::BuildHasher;
use std::sync::Arc;

use bgp_wire::Nlri;
use foldhash::SharedSeed;
use foldhash::fast::SeedableRandomState;
use hashbrown::HashTable;
use ipnet::IpNet;

use super::Context;
use super::column::Column;
use super::decision::{Candidate, Options};
use super::deferral::Deferral;
use super::destination::Destination;
use super::explain::Explanation;
use super::peers::{PeerCounters, PeerPaths, Peers, position};
use super::preview::{Around, Counted, Proposal};
use super::query::{Cursor, RouteQuery, Slice};
use super::reimport::{Received, Reimports};
use super::slab::Slab;
use super::sweep::Sweep;
use super::told::{Exceptions, Place, Slot, Told};
use crate::attr::AttrRef;
use crate::export::ExportSpec;
use crate::id::{GroupIndex, PeerIndex};
use crate::stage::{Alarm, Member, PrefixBudget, Routed};

/// The index has room for this many times what was in it lately, at most; then it gives memory back.
const SPARE: usize = 8;
/// An index, or a list, that is smaller than this is not worth shrinking.
const SHRINK_FLOOR: usize = 1024;

/// Destinations by position, and by key.
pub(super) struct Destinations<K> {
    slab: Slab<Destination<K>>,
    exceptions: Exceptions,
    index: HashTable<Entry>,
    /// The most that the index held since the last step towards giving memory back.
    most: usize,
    hasher: SeedableRandomState,
}

/// Where a key is. The hash is kept so that the index grows without visiting the slab.
#[derive(Clone, Copy)]
struct Entry {
    position: u32,
    hash: u32,
}

/// What a lookup found: the position, or [`NOWHERE`].
#[derive(Clone, Copy)]
pub(super) struct Located {
    hash: u32,
    position: u32,
}

/// No position: the slab is never that long.
const NOWHERE: u32 = u32::MAX;

impl Entry {
    /// The hash as the index wants it: it takes a bucket from the low bits and a tag from the high ones.
    fn wide(hash: u32) -> u64 {
        u64::from(hash) << 32 | u64::from(hash)
    }
}

/// The routes of one family in one partition.
pub(super) struct Table<N: Routed> {
    pub(super) destinations: Destinations<N::Key>,
    /// Positions of the destinations to be decided.
    pub(super) dirty: Vec<u32>,
    pub(super) paths_of: Vec<PeerPaths>,
    /// Columns by slot, the first slot being 1.
    pub(super) columns: Vec<Option<Column<N>>>,
    /// Members are on their way from one column to another.
    pub(super) passing: bool,
    pub(super) sweep: Sweep,
    pub(super) deferral: Deferral,
    /// What budgets have come to and nobody has been told yet.
    pub(super) alarms: Vec<Alarm>,
    /// What paths were before the import policy, where that changed them.
    pub(super) received: Received,
    pub(super) reimports: Reimports,
    pub(super) scratch: Scratch,
}

/// Memory for lookups, and for the decision of destinations with several paths.
#[derive(Default)]
pub(super) struct Scratch {
    pub(super) candidates: Vec<Candidate>,
    pub(super) positions: Vec<usize>,
    pub(super) left: Vec<usize>,
    pub(super) located: Vec<Located>,
}

/// What a partition does with a table without knowing its family.
pub(super) trait FamilyTable {
    fn peer_down(&mut self, peer: PeerIndex, context: &mut Context<'_>);
    /// As `peer_down`, and nothing is left behind.
    fn forget(&mut self, peer: PeerIndex, context: &mut Context<'_>);
    /// The session has ended, its paths stay as stale ones.
    fn retain(&mut self, peer: PeerIndex, context: &mut Context<'_>);
    fn end_retention(&mut self, peer: PeerIndex);
    fn begin_long_lived(&mut self, peer: PeerIndex);
    fn deferral(&self) -> &Deferral;
    fn deferral_mut(&mut self) -> &mut Deferral;
    fn limit(&mut self, peer: PeerIndex, budgets: &[Arc<PrefixBudget>]);
    fn take_alarms(&mut self, alarms: &mut Vec<Alarm>);
    /// The import policy of a peer is another one; `anyway`: also what stays as it is is decided again.
    fn import_again(&mut self, peer: PeerIndex, anyway: bool);
    fn refresh_begin(&mut self, peer: PeerIndex);
    fn refresh_end(&mut self, peer: PeerIndex);
    /// Returns how many destinations it visited.
    fn work(&mut self, budget: usize, context: &mut Context<'_>) -> usize;
    fn has_work(&self) -> bool;
    /// A step towards giving memory back.
    fn release(&mut self);
    /// Whether nothing waits and nobody walks: whoever has no path is named nowhere.
    fn is_at_rest(&self) -> bool;
    /// Forgets what peers were that have no path and are not up. To be called at rest.
    fn forget_absent(&mut self, peers: &Peers);
    fn add_group(&mut self, group: GroupIndex, spec: ExportSpec);
    fn remove_group(&mut self, group: GroupIndex);
    fn replace_export(&mut self, group: GroupIndex, spec: &ExportSpec);
    fn join(&mut self, group: GroupIndex, member: Member);
    fn leave(&mut self, group: GroupIndex, member: Member);
    fn pass(&mut self, groups: (GroupIndex, GroupIndex), member: Member, anew: bool, context: &mut Context<'_>);
    fn walk_credit(&mut self, group: GroupIndex);
    fn query(&self, query: &RouteQuery, cursor: Cursor, limit: usize, peers: &Peers, options: Options) -> Slice;
    fn explain(&self, prefix: IpNet, peers: &Peers, options: Options) -> Option<Explanation>;
    fn preview(
        &self,
        proposal: &Proposal,
        cursor: Cursor,
        limit: usize,
        around: Around<'_>,
        counted: &mut Counted,
    ) -> Option<Cursor>;
    fn counters(&self, peer: PeerIndex) -> PeerCounters;
    fn paths(&self) -> usize;
    /// Decides every destination again.
    fn decide_all(&mut self, context: &mut Context<'_>);
    fn advertised(&self, group: GroupIndex, peer: PeerIndex) -> usize;
    fn destinations(&self) -> usize;
}

impl<K: Copy + Eq + std::hash::Hash> Destinations<K> {
    fn new(seed: u64) -> Self {
        Self {
            slab: Slab::new(),
            exceptions: Exceptions::default(),
            index: HashTable::new(),
            most: 0,
            hasher: SeedableRandomState::with_seed(seed, SharedSeed::global_fixed()),
        }
    }

    /// Number of positions, free ones included.
    pub(super) fn positions(&self) -> u32 {
        self.slab.positions()
    }

    /// Number of destinations.
    pub(super) fn len(&self) -> usize {
        self.index.len()
    }

    /// The destination at a position that has one.
    pub(super) fn at(&self, position: u32) -> &Destination<K> {
        self.slab.at(position)
    }

    /// As [`Destinations::at`].
    pub(super) fn at_mut(&mut self, position: u32) -> &mut Destination<K> {
        self.slab.at_mut(position)
    }

    /// What is at a position: a destination, the vacant rest of one, or nothing.
    pub(super) fn get(&self, position: u32) -> Option<&Destination<K>> {
        self.slab.get(position)
    }

    /// As [`Destinations::get`].
    pub(super) fn get_mut(&mut self, position: u32) -> Option<&mut Destination<K>> {
        self.slab.get_mut(position)
    }

    /// As [`Destinations::get`], with what groups were told.
    pub(super) fn place(&mut self, position: u32) -> Option<Place<'_, K>> {
        let Self { slab, exceptions, .. } = self;
        slab.get_mut(position).map(|destination| Place::new(position, destination, exceptions))
    }

    /// All that a group was told of a destination.
    pub(super) fn told(&self, position: u32, slot: Slot) -> impl Iterator<Item = Told<'_>> {
        self.exceptions.told(position, self.at(position), slot)
    }

    /// The first path of a destination is another one, or has other attributes: groups that were told it have been told
    /// this.
    pub(super) fn first_changed(&mut self, position: u32, attrs: &AttrRef, peer: PeerIndex) {
        let Self { slab, exceptions, .. } = self;
        exceptions.first_changed(position, slab.at_mut(position), attrs, peer);
    }

    /// Forgets what was told to groups for which `keep` is false.
    pub(super) fn keep_told(&mut self, position: u32, keep: impl Fn(Slot) -> bool) {
        let Self { slab, exceptions, .. } = self;
        exceptions.keep(position, slab.at_mut(position), keep);
    }

    /// Position of a key.
    pub(super) fn find(&self, key: &K) -> Option<u32> {
        self.find_hashed(key, self.hash(key))
    }

    fn find_hashed(&self, key: &K, hash: u32) -> Option<u32> {
        let same = |entry: &Entry| entry.hash == hash && self.at(entry.position).key == *key;
        self.index.find(Entry::wide(hash), same).map(|entry| entry.position)
    }

    /// Looks many keys up, for [`Destinations::located`] and [`Destinations::located_or_insert`].
    ///
    /// A table of a million destinations is in no cache. Looking up one key after the other waits for memory twice
    /// each time, once for the index and once for the slab; here the loads of neighboring keys overlap, because
    /// nothing between them depends on what they bring.
    pub(super) fn locate<'a>(&self, keys: impl Iterator<Item = &'a K> + Clone, located: &mut Vec<Located>)
    where
        K: 'a,
    {
        located.clear();
        located.extend(keys.clone().map(|key| Located { hash: self.hash(key), position: NOWHERE }));
        for place in located.iter_mut() {
            let found = self.index.find(Entry::wide(place.hash), |entry| entry.hash == place.hash);
            place.position = found.map_or(NOWHERE, |entry| entry.position);
        }
        for (key, place) in keys.zip(located) {
            if place.position != NOWHERE && self.at(place.position).key != *key {
                // Another key with the same hash, once in a few billions.
                place.position = NOWHERE;
            }
        }
    }

    /// Position of a key that was looked up. Others may have been made in the meantime, none removed.
    pub(super) fn located(&self, key: &K, place: Located) -> Option<u32> {
        if place.position == NOWHERE { self.find_hashed(key, place.hash) } else { Some(place.position) }
    }

    /// As [`Destinations::located`]; the key is made if it is not there.
    pub(super) fn located_or_insert(&mut self, key: K, place: Located) -> u32 {
        if place.position == NOWHERE { self.find_or_insert(key, place.hash) } else { place.position }
    }

    fn find_or_insert(&mut self, key: K, hash: u32) -> u32 {
        let Self { slab, index, most, .. } = self;
        let same = |entry: &Entry| entry.hash == hash && slab.at(entry.position).key == key;
        let vacant = match index.entry(Entry::wide(hash), same, |entry| Entry::wide(entry.hash)) {
            hashbrown::hash_table::Entry::Occupied(found) => return found.get().position,
            hashbrown::hash_table::Entry::Vacant(vacant) => vacant,
        };
        let position = slab.insert(Destination::new(key));
        vacant.insert(Entry { position, hash });
        *most = index.len().max(*most);
        position
    }

    /// Takes a vacant destination out of the index and frees its position.
    pub(super) fn remove(&mut self, position: u32) {
        let hash = self.hash(&self.at(position).key);
        if let Ok(found) = self.index.find_entry(Entry::wide(hash), |entry| entry.position == position) {
            found.remove();
            self.slab.remove(position);
        }
    }

    /// A step towards giving memory back that was not needed since the step before.
    fn release(&mut self) {
        self.slab.release();
        self.exceptions.release();
        if self.index.capacity() > SPARE * self.most + SHRINK_FLOOR {
            // What is left is moved: an eighth at most of what the index had to move when it grew.
            self.index.shrink_to(2 * self.most, |entry| Entry::wide(entry.hash));
        }
        self.most = self.index.len();
    }

    fn hash(&self, key: &K) -> u32 {
        (self.hasher.hash_one(key) >> 32) as u32
    }
}

impl<N: Routed> Table<N> {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            destinations: Destinations::new(seed),
            dirty: Vec::new(),
            paths_of: Vec::new(),
            columns: Vec::new(),
            passing: false,
            sweep: Sweep::default(),
            deferral: Deferral::default(),
            alarms: Vec::new(),
            received: Received::default(),
            reimports: Reimports::default(),
            scratch: Scratch::default(),
        }
    }

    /// Whether nothing goes through the positions.
    fn is_still(&self) -> bool {
        let walks = || self.columns.iter().flatten().any(|column| column.walk.is_under_way());
        !self.sweep.has_work() && !self.reimports.has_work() && !walks()
    }

    /// What the table knows of a peer's paths, made when first asked for.
    pub(super) fn paths_of(&mut self, peer: PeerIndex) -> &mut PeerPaths {
        let position = position(peer);
        if self.paths_of.len() <= position {
            self.paths_of.resize_with(position + 1, PeerPaths::default);
        }
        &mut self.paths_of[position]
    }

    /// Position of the destination of an IP prefix.
    pub(super) fn find_prefix(&self, prefix: IpNet) -> Option<u32> {
        self.destinations.find(&<N as Nlri>::from_prefix(prefix.trunc())?)
    }
}

impl<N: Routed> FamilyTable for Table<N> {
    fn peer_down(&mut self, peer: PeerIndex, context: &mut Context<'_>) {
        self.end_of_session(peer, context);
    }

    fn forget(&mut self, peer: PeerIndex, context: &mut Context<'_>) {
        Self::forget(self, peer, context);
    }

    fn retain(&mut self, peer: PeerIndex, context: &mut Context<'_>) {
        Self::retain(self, peer, context);
    }

    fn end_retention(&mut self, peer: PeerIndex) {
        self.end_of_retention(peer);
    }

    fn begin_long_lived(&mut self, peer: PeerIndex) {
        Self::begin_long_lived(self, peer);
    }

    fn deferral(&self) -> &Deferral {
        &self.deferral
    }

    fn deferral_mut(&mut self) -> &mut Deferral {
        &mut self.deferral
    }

    fn limit(&mut self, peer: PeerIndex, budgets: &[Arc<PrefixBudget>]) {
        let budget = budgets.iter().find(|budget| budget.family() == N::FAMILY).cloned();
        self.set_budget(peer, budget);
    }

    fn take_alarms(&mut self, alarms: &mut Vec<Alarm>) {
        alarms.append(&mut self.alarms);
    }

    fn import_again(&mut self, peer: PeerIndex, anyway: bool) {
        self.begin_reimport(peer, anyway);
    }

    fn refresh_begin(&mut self, peer: PeerIndex) {
        self.paths_of(peer).refresh_begin();
    }

    fn refresh_end(&mut self, peer: PeerIndex) {
        self.end_of_refresh(peer);
    }

    fn work(&mut self, budget: usize, context: &mut Context<'_>) -> usize {
        if self.sweep.has_work() {
            self.sweep_slice(budget, context)
        } else if self.reimports.has_work() {
            self.reimport_slice(budget, context)
        } else if self.has_backlog() {
            self.backlog_slice(budget, context)
        } else if self.deferral.is_active() {
            0
        } else {
            self.walk_slice(budget, context)
        }
    }

    fn has_work(&self) -> bool {
        self.sweep.has_work()
            || self.reimports.has_work()
            || self.has_backlog()
            || (!self.deferral.is_active() && self.has_walk())
    }

    fn release(&mut self) {
        self.destinations.release();
        if self.dirty.is_empty() && self.dirty.capacity() > SHRINK_FLOOR {
            self.dirty = Vec::new();
        }
        // What was used last tells nothing of what is used next, and growing again is cheap.
        self.scratch = Scratch::default();
        self.columns.iter_mut().flatten().for_each(Column::release);
        // Cursors go through the positions.
        if self.is_still() {
            self.destinations.slab.shorten();
            let positions = self.destinations.positions();
            self.columns.iter_mut().flatten().for_each(|column| column.walk.shorten(positions));
        }
    }

    fn is_at_rest(&self) -> bool {
        self.dirty.is_empty() && !self.passing && !self.deferral.is_active() && !self.has_backlog() && self.is_still()
    }

    fn forget_absent(&mut self, peers: &Peers) {
        for (at, paths) in self.paths_of.iter_mut().enumerate() {
            if paths.counters.received == 0 && !peers.is_up_at(at) {
                *paths = PeerPaths::default();
            }
        }
        self.paths_of.truncate(peers.len());
        self.paths_of.shrink_to(2 * self.paths_of.len());
    }

    fn add_group(&mut self, group: GroupIndex, spec: ExportSpec) {
        self.new_column(group, spec);
    }

    fn remove_group(&mut self, group: GroupIndex) {
        self.remove_column(group);
    }

    fn replace_export(&mut self, group: GroupIndex, spec: &ExportSpec) {
        self.replace_spec(group, spec);
    }

    fn join(&mut self, group: GroupIndex, member: Member) {
        self.add_walker(group, member);
    }

    fn leave(&mut self, group: GroupIndex, member: Member) {
        self.remove_walker(group, member);
    }

    fn pass(&mut self, groups: (GroupIndex, GroupIndex), member: Member, anew: bool, context: &mut Context<'_>) {
        Self::pass(self, groups, member, anew, context);
    }

    fn walk_credit(&mut self, group: GroupIndex) {
        self.add_credit(group);
    }

    fn query(&self, query: &RouteQuery, cursor: Cursor, limit: usize, peers: &Peers, options: Options) -> Slice {
        self.answer(query, cursor, limit, peers, options)
    }

    fn explain(&self, prefix: IpNet, peers: &Peers, options: Options) -> Option<Explanation> {
        self.explain_prefix(prefix, peers, options)
    }

    fn preview(
        &self,
        proposal: &Proposal,
        cursor: Cursor,
        limit: usize,
        around: Around<'_>,
        counted: &mut Counted,
    ) -> Option<Cursor> {
        self.preview_slice(proposal, cursor, limit, around, counted)
    }

    fn paths(&self) -> usize {
        self.paths_of.iter().map(|paths| paths.counters.received).sum()
    }

    fn decide_all(&mut self, context: &mut Context<'_>) {
        (0..self.destinations.positions()).for_each(|position| self.mark_occupied(position));
        self.settle(context);
    }

    fn counters(&self, peer: PeerIndex) -> PeerCounters {
        self.paths_of.get(position(peer)).map(|paths| paths.counters).unwrap_or_default()
    }

    fn advertised(&self, group: GroupIndex, peer: PeerIndex) -> usize {
        self.told_to(group, peer)
    }

    fn destinations(&self) -> usize {
        self.destinations.len()
    }
}
