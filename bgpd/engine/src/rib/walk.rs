//! Walks through a column for members that join and for groups whose export rules changed.
//!
//! A walk goes round the positions of the table in slices; each joiner is done when the cursor has
//! come back to where it joined. Positions filled behind the cursor need no second visit: what is
//! new there was told live, to the joiner too, which is a full member from the start. Each
//! destination visited is compared with the export rules again, so that a new column fills and a
//! replaced rule takes effect by the same walk. Members that come from another group go round in it
//! as well ([`super::passage`]).

use super::Context;
use super::column::{Column, repeat};
use super::passage::Passage;
use super::table::Table;
use super::told::Slot;
use crate::export::ExportSpec;
use crate::id::GroupIndex;
use crate::stage::{Cause, Change, Member, Routed, Target};

/// Destinations in one slice at most: what a group is willing to take per credit.
const SLICE: usize = 2048;
/// Slices that may be under way to a group at a time.
const CREDITS: u8 = 2;

/// The walk of one column.
pub(super) struct Walk<N: Routed> {
    cursor: u32,
    walkers: Vec<Walker<N>>,
    credits: u8,
    /// Nobody has walked yet.
    fresh: bool,
}

/// Those for whom the walk goes round.
pub(super) struct Walker<N: Routed> {
    /// Nobody in particular if it is the rules that changed.
    pub(super) members: Vec<Member>,
    /// Where the cursor was when they joined.
    start: u32,
    /// The cursor went over the end of the table since.
    wrapped: bool,
    /// Where they come from, if it is another group.
    pub(super) passage: Option<Passage<N>>,
}

impl<N: Routed> Walker<N> {
    /// Whether the cursor has come by a position since the start.
    fn has_passed(&self, cursor: u32, position: u32) -> bool {
        if self.wrapped {
            position < cursor || position >= self.start
        } else {
            (self.start..cursor).contains(&position)
        }
    }

    /// Whether the members hold at a position what their former group told them.
    pub(super) fn is_due(&self, cursor: u32, position: u32) -> bool {
        self.passage.as_ref().is_some_and(|passage| !passage.early.contains(&position))
            && !self.has_passed(cursor, position)
    }
}

impl<N: Routed> Walk<N> {
    pub(super) fn new() -> Self {
        Self { cursor: 0, walkers: Vec::new(), credits: 0, fresh: true }
    }

    fn add(&mut self, members: Vec<Member>, passage: Option<Passage<N>>) {
        if self.walkers.is_empty() {
            self.credits = 1;
        }
        self.fresh = false;
        self.walkers.push(Walker { members, start: self.cursor, wrapped: false, passage });
    }

    /// A member comes that was told the column of `from`, up to now. Those that come together go together.
    pub(super) fn come(&mut self, member: Member, from: Slot, anew: bool) {
        let cursor = self.cursor;
        let together = |walker: &&mut Walker<N>| {
            let begins = walker.start == cursor && !walker.wrapped;
            begins && walker.passage.as_ref().is_some_and(|passage| passage.is_untouched(from, anew))
        };
        match self.walkers.iter_mut().find(together) {
            Some(walker) => walker.members.push(member),
            None => self.add(vec![member], Some(Passage::new(from, anew, self.fresh))),
        }
    }

    fn leave(&mut self, member: Member) {
        self.walkers.retain_mut(|walker| {
            let found = walker.members.iter().position(|other| *other == member);
            found.is_none_or(|at| {
                walker.members.swap_remove(at);
                !walker.members.is_empty()
            })
        });
    }

    pub(super) fn is_under_way(&self) -> bool {
        !self.walkers.is_empty()
    }

    /// The table has only so many positions now. Nobody walks.
    pub(super) fn shorten(&mut self, positions: u32) {
        if self.cursor >= positions {
            self.cursor = 0;
        }
    }

    pub(super) fn is_ready(&self) -> bool {
        self.credits > 0 && !self.walkers.is_empty()
    }

    /// Those who come from other groups.
    pub(super) fn passages(&self) -> impl Iterator<Item = &Passage<N>> {
        self.walkers.iter().filter_map(|walker| walker.passage.as_ref())
    }

    /// Walkers that hold at a position what their former group told them.
    pub(super) fn due(&self, position: u32) -> impl Iterator<Item = &Walker<N>> {
        self.walkers.iter().filter(move |walker| walker.is_due(self.cursor, position))
    }

    /// As [`Walk::due`].
    pub(super) fn due_mut(&mut self, position: u32) -> impl Iterator<Item = &mut Passage<N>> {
        let cursor = self.cursor;
        let due = self.walkers.iter_mut().filter(move |walker| walker.is_due(cursor, position));
        due.filter_map(|walker| walker.passage.as_mut())
    }

    /// What walkers that come from other groups are to be told, and who they are.
    pub(super) fn take_brought(&mut self) -> impl Iterator<Item = (&[Member], Vec<Change<N>>)> {
        self.walkers.iter_mut().filter_map(|Walker { members, passage, .. }| {
            let changes = std::mem::take(&mut passage.as_mut()?.changes);
            (!changes.is_empty()).then_some((&members[..], changes))
        })
    }

    /// The positions to go by next, at most `budget`: not over the end of the table nor over the place where a walker
    /// is done.
    fn ahead(&self, budget: usize, positions: u32) -> std::ops::Range<u32> {
        let start = self.cursor;
        let step = u32::try_from(budget).unwrap_or(u32::MAX);
        let done_at = |walker: &Walker<N>| (walker.wrapped && walker.start > start).then_some(walker.start);
        let stop = self.walkers.iter().filter_map(done_at).min().unwrap_or(positions);
        start..start.saturating_add(step).min(stop).min(positions).max(start)
    }

    /// Goes by positions that were visited.
    fn pass(&mut self, visited: std::ops::Range<u32>, positions: u32) {
        for passage in self.walkers.iter_mut().filter_map(|walker| walker.passage.as_mut()) {
            if !passage.early.is_empty() {
                passage.early.retain(|position| !visited.contains(position));
            }
        }
        self.cursor = visited.end;
        if visited.end >= positions {
            self.cursor = 0;
            self.walkers.iter_mut().for_each(|walker| walker.wrapped = true);
        }
    }

    /// Members whose round is complete.
    fn take_done(&mut self) -> Vec<Member> {
        let cursor = self.cursor;
        let done = |walker: &mut Walker<N>| walker.wrapped && cursor >= walker.start;
        self.walkers.extract_if(.., done).flat_map(|walker| walker.members).collect()
    }

    /// Members by whether they are told everything.
    fn members(&self, anything: bool) -> Vec<Member> {
        let walkers = self.walkers.iter().filter(|walker| walker.passage.is_none() == anything);
        walkers.flat_map(|walker| walker.members.iter().copied()).collect()
    }
}

impl<N: Routed> Column<N> {
    /// Gives the group new rules, and a walk that tells what differs.
    fn replace(&mut self, spec: &ExportSpec) {
        self.replace_rules(spec);
        self.walk.add(Vec::new(), None);
    }

    /// Ends a slice of the walk: `repeated` is what members hear that are told everything.
    fn end_slice(&mut self, repeated: Vec<Change<N>>, context: &mut Context<'_>) {
        let (mut members, passing) = (self.walk.members(true), self.walk.members(false));
        let done = self.walk.take_done();
        if passing.is_empty() {
            return self.emit(Target::Members(members.into()), Cause::WalkSlice, repeated, done, context);
        }
        if !repeated.is_empty() {
            self.emit(Target::Members(members.clone().into()), Cause::Live, repeated, Vec::new(), context);
        }
        members.extend(passing);
        self.emit(Target::Members(members.into()), Cause::WalkSlice, Vec::new(), done, context);
    }
}

impl<N: Routed> Table<N> {
    pub(super) fn replace_spec(&mut self, group: GroupIndex, spec: &ExportSpec) {
        if let Some(column) = self.column_mut(group) {
            column.replace(spec);
        }
    }

    pub(super) fn add_walker(&mut self, group: GroupIndex, member: Member) {
        if let Some(column) = self.column_mut(group) {
            column.walk.add(vec![member], None);
        }
    }

    pub(super) fn remove_walker(&mut self, group: GroupIndex, member: Member) {
        if let Some(column) = self.column_mut(group) {
            column.walk.leave(member);
            self.note_passages();
        }
    }

    pub(super) fn add_credit(&mut self, group: GroupIndex) {
        if let Some(column) = self.column_mut(group) {
            column.walk.credits = (column.walk.credits + 1).min(CREDITS);
        }
    }

    pub(super) fn has_walk(&self) -> bool {
        self.columns.iter().flatten().any(|column| column.walk.is_ready())
    }

    /// One slice of one walk that has a credit; returns how many destinations were visited.
    pub(super) fn walk_slice(&mut self, budget: usize, context: &mut Context<'_>) -> usize {
        let is_ready = |column: &Option<Column<N>>| column.as_ref().is_some_and(|column| column.walk.is_ready());
        let Some(at) = self.columns.iter().position(is_ready) else { return 0 };
        let positions = self.destinations.positions();
        let Some(column) = &mut self.columns[at] else { return 0 };
        column.walk.credits -= 1;
        let tells = !column.walk.members(true).is_empty();
        let ahead = column.walk.ahead(budget.min(SLICE), positions);
        let mut repeated = Vec::new();
        for position in ahead.clone() {
            self.walk_by(at, position, tells.then_some(&mut repeated), context);
        }
        self.emit_all(context);
        if let Some(column) = &mut self.columns[at] {
            column.walk.pass(ahead.clone(), positions);
            column.end_slice(repeated, context);
        }
        if self.passing {
            self.note_passages();
        }
        ahead.len().max(1)
    }

    /// Compares one destination with the rules of a column. A change is told to all; what stayed as it was goes to
    /// `repeated`.
    fn walk_by(&mut self, at: usize, position: u32, repeated: Option<&mut Vec<Change<N>>>, context: &Context<'_>) {
        let held = self.held(position);
        if let Some(held) = &held {
            self.bring_over_early(position, held, Some(at), context);
        }
        let Self { columns, destinations, scratch, .. } = self;
        let Some(column) = &mut columns[at] else { return };
        let Some(mut place) = destinations.place(position) else { return };
        let before = column.changes.len();
        column.follow(&mut place, context.peers, context.decision, scratch);
        if let Some(repeated) = repeated {
            let said = &column.changes[before..];
            let is_said = |path_id: u16| said.iter().any(|change| change.key.path_id == u32::from(path_id));
            let told = place.told(column.slot).filter(|told| !is_said(told.path_id));
            repeated.extend(told.map(|told| repeat::<N>(place.destination.key, position, told, context.peers)));
        }
        if let Some(held) = &held {
            column.bring_over(&place, held, context.peers);
        }
    }
}
