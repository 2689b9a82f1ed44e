//! Members that come from another group, and are told what differs between the two columns.
//!
//! A partition takes note of such a member at one point of what it emits: up to there it is told the
//! column of its former group, from there on it is a member of the new one. What it holds then is
//! what the former group was told, destination by destination, and it goes on holding that until it
//! is *brought over* there: it is told what the new column has and the old one has not, or has
//! otherwise, and nothing where both are equal. That happens once for each destination, when the walk
//! of the new column comes by, or before that when something is decided there or told again, so that
//! the old column needs no copy: as long as a member is not brought over, both columns are as they
//! were. [`Passage::early`] has the positions that were brought over ahead of the walk: never more
//! than there are destinations.
//!
//! A column that is removed stays as it is until all are brought over that come from it.

use foldhash::fast::FixedState;
use hashbrown::HashSet;

use bgp_wire::update::PathKey;

use super::Context;
use super::column::{Column, repeat};
use super::decision::Options;
use super::peers::Peers;
use super::table::{Scratch, Table};
use super::told::{Place, Slot};
use crate::attr::AttrRef;
use crate::id::{GroupIndex, PeerIndex};
use crate::stage::{Cause, Change, Emission, Member, Routed, Target};

/// What members that come from another group were told before.
pub(super) struct Passage<N: Routed> {
    /// The column that they were told.
    pub(super) from: Slot,
    /// They are told what is equal as well: it looks otherwise in the new group, or they had not been told all.
    anew: bool,
    /// Nobody is in the new group but those who come, so what fills its column is no news.
    founds: bool,
    /// Positions ahead of the walk where they hold the new column already.
    pub(super) early: HashSet<u32, FixedState>,
    /// What they are to be told of this round.
    pub(super) changes: Vec<Change<N>>,
}

impl<N: Routed> Passage<N> {
    pub(super) fn new(from: Slot, anew: bool, founds: bool) -> Self {
        Self { from, anew, founds, early: HashSet::default(), changes: Vec::new() }
    }

    /// Whether those who come from `from` now are in the same place.
    pub(super) fn is_untouched(&self, from: Slot, anew: bool) -> bool {
        self.from == from && self.anew == anew && self.early.is_empty()
    }

    /// Adds what differs between what was `held` and what the new column has.
    fn compare(&mut self, place: &Place<'_, N::Key>, (slot, held): (Slot, &[Held]), peers: &Peers) {
        let (key, position) = (place.destination.key, place.position);
        let held = || held.iter().filter(|told| told.slot == self.from);
        for told in place.told(slot) {
            let before = held().find(|before| before.path_id == told.path_id);
            let is_equal = before.is_some_and(|before| before.attrs == *told.attrs && before.peer == told.peer);
            if self.anew || !is_equal {
                let old_source = before.map(|before| before.peer);
                self.changes.push(Change { old_source, ..repeat::<N>(key, position, told, peers) });
            }
        }
        let gone = held().filter(|before| place.told_as(slot, before.path_id).is_none());
        self.changes.extend(gone.map(|before| Change {
            key: PathKey { key, path_id: before.path_id.into() },
            position,
            old_source: Some(before.peer),
            new: None,
        }));
    }
}

/// What a group that members come from was told of a destination.
pub(super) struct Held {
    slot: Slot,
    attrs: AttrRef,
    peer: PeerIndex,
    path_id: u16,
}

impl<N: Routed> Column<N> {
    /// As [`Column::update`], but what fills a column that was founded by members of another group is told to nobody:
    /// they are told what differs for them, and for whoever joins the walk comes by later.
    pub(super) fn follow(
        &mut self,
        place: &mut Place<'_, N::Key>,
        peers: &Peers,
        options: Options,
        scratch: &mut Scratch,
    ) {
        let before = self.changes.len();
        self.update(place, peers, options, scratch);
        let is_founded = |walker: &super::walk::Walker<N>| walker.passage.as_ref().is_some_and(|one| one.founds);
        if self.changes.len() > before && self.walk.due(place.position).any(is_founded) {
            let news: Vec<_> = self.changes.drain(before..).filter(|change| change.old_source.is_some()).collect();
            self.changes.extend(news);
        }
    }

    /// Brings members over at a position that the walk comes by.
    pub(super) fn bring_over(&mut self, place: &Place<'_, N::Key>, held: &[Held], peers: &Peers) {
        let Self { slot, walk, .. } = self;
        walk.due_mut(place.position).for_each(|passage| passage.compare(place, (*slot, held), peers));
    }

    /// The same ahead of the walk, or at a position that was decided: `held` is from before.
    pub(super) fn bring_over_early(&mut self, place: &Place<'_, N::Key>, held: &[Held], peers: &Peers) {
        let Self { slot, walk, .. } = self;
        for passage in walk.due_mut(place.position) {
            passage.compare(place, (*slot, held), peers);
            passage.early.insert(place.position);
        }
    }

    /// Emits what members are told that were brought over in the round.
    pub(super) fn emit_brought(&mut self, context: &mut Context<'_>) {
        let (group, partition) = (self.group, context.partition);
        for (members, changes) in self.walk.take_brought() {
            let target = Target::Members(members.into());
            let end_of_rib = Vec::new();
            let emission = Emission { group, partition, target, cause: Cause::Live, changes, end_of_rib };
            context.out.push(N::emission(emission));
        }
    }
}

/// Whether members come from a column.
pub(super) fn is_source<N: Routed>(columns: &[Option<Column<N>>], slot: Slot) -> bool {
    columns.iter().flatten().any(|column| column.walk.passages().any(|passage| passage.from == slot))
}

impl<N: Routed> Table<N> {
    /// A member goes from one group to another; both hear from where on. It is known there under a number that is its
    /// passage's alone.
    pub(super) fn pass(
        &mut self,
        (from, to): (GroupIndex, GroupIndex),
        member: Member,
        anew: bool,
        context: &mut Context<'_>,
    ) {
        let mut mark = |group, cause| {
            let (target, partition) = (Target::Members([member].into()), context.partition);
            let (changes, end_of_rib) = (Vec::new(), Vec::new());
            context.out.push(N::emission(Emission { group, partition, target, cause, changes, end_of_rib }));
        };
        let source = self.column(from).map(|column| (column.slot, column.spec.clone()));
        let Some((slot, spec)) = source else { return };
        mark(from, Cause::Departed);
        mark(to, Cause::Arrived);
        if let Some(column) = self.column_mut(from) {
            column.came.remove(&member.peer);
        }
        if let Some(column) = self.column_mut(to) {
            let anew = anew || !column.spec.looks_like(&spec);
            column.walk.come(member, slot, anew);
            column.came.insert(member.peer, member.incarnation);
            self.note_passages();
        }
    }

    /// The column that says what a member of `group` was told of a destination: as long as it is not brought over there,
    /// that of its former group.
    pub(super) fn slot_told(
        &self,
        position: u32,
        (group, member): (GroupIndex, PeerIndex),
        former: Option<(GroupIndex, u32)>,
    ) -> Option<Slot> {
        let column = self.column(group);
        if let Some((former, passage)) = former
            && column.is_none_or(|column| column.came.get(&member) != Some(&passage))
        {
            return Some(self.column(former)?.slot);
        }
        let column = column?;
        let is_it = |walker: &&super::walk::Walker<N>| walker.members.iter().any(|one| one.peer == member);
        let due = column.walk.due(position).find(is_it).and_then(|walker| walker.passage.as_ref());
        Some(due.map_or(column.slot, |passage| passage.from))
    }

    /// What members hold of a destination that come from other groups, if there are such.
    pub(super) fn held(&self, position: u32) -> Option<Vec<Held>> {
        if !self.passing {
            return None;
        }
        let due = self.columns.iter().flatten().flat_map(|column| column.walk.due(position));
        let mut from: Vec<Slot> = due.filter_map(|walker| Some(walker.passage.as_ref()?.from)).collect();
        from.sort_unstable();
        from.dedup();
        if from.is_empty() || self.destinations.get(position).is_none() {
            return None;
        }
        let told = |slot: Slot| {
            self.destinations.told(position, slot).map(move |told| Held {
                slot,
                attrs: told.attrs.clone(),
                peer: told.peer,
                path_id: told.path_id,
            })
        };
        Some(from.into_iter().flat_map(told).collect())
    }

    /// Brings everybody over at a position, but for those who come into one column.
    pub(super) fn bring_over_early(
        &mut self,
        position: u32,
        held: &[Held],
        except: Option<usize>,
        context: &Context<'_>,
    ) {
        let Self { columns, destinations, scratch, .. } = self;
        let Some(mut place) = destinations.place(position) else { return };
        let others = columns.iter_mut().enumerate().filter(|(at, _)| Some(*at) != except);
        for column in others.filter_map(|(_, column)| column.as_mut()) {
            if column.walk.due(position).next().is_some() {
                column.follow(&mut place, context.peers, context.decision, scratch);
                column.bring_over_early(&place, held, context.peers);
            }
        }
    }

    /// Brings everybody over at positions of which somebody is about to be told the present state.
    pub(super) fn bring_over_at(&mut self, positions: impl Iterator<Item = u32>, context: &mut Context<'_>) {
        for position in positions {
            if let Some(held) = self.held(position) {
                self.bring_over_early(position, &held, None, context);
            }
        }
        self.emit_all(context);
    }

    /// Members have come, are brought over or have left. Columns that were kept for them go.
    pub(super) fn note_passages(&mut self) {
        let passing = self.columns.iter().flatten().any(|column| column.walk.passages().next().is_some());
        let ended = std::mem::replace(&mut self.passing, passing) || passing;
        let is_free = |column: &Column<N>| column.removed && !is_source(&self.columns, column.slot);
        if ended && self.columns.iter().flatten().any(is_free) {
            self.sweep_columns();
        }
    }

    /// Has removed columns swept off the destinations.
    pub(super) fn sweep_columns(&mut self) {
        match self.destinations.positions() {
            0 => self.drop_columns(),
            positions => self.sweep.start(positions),
        }
    }

    /// Forgets removed columns that no destination has any more.
    pub(super) fn drop_columns(&mut self) {
        for at in 0..self.columns.len() {
            let is_gone = |column: &Column<N>| column.removed && !is_source(&self.columns, column.slot);
            if self.columns[at].as_ref().is_some_and(is_gone) {
                self.columns[at] = None;
            }
        }
    }
}
