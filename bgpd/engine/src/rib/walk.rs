//! Walks through a column for members that join and for groups whose export rules changed.
//!
//! A walk goes round the positions of the table in slices; each joiner is done when the cursor has
//! come back to where it joined. Positions filled behind the cursor need no second visit: what is
//! new there was told live, to the joiner too, which is a full member from the start. Each
//! destination visited is compared with the export rules again, so that a new column fills and a
//! replaced rule takes effect by the same walk.

use super::Context;
use super::column::{Column, repeat};
use super::table::Table;
use crate::export::ExportSpec;
use crate::id::GroupIndex;
use crate::stage::{Cause, Member, Routed, Target};

/// Destinations in one slice at most: what a group is willing to take per credit.
const SLICE: usize = 2048;
/// Slices that may be under way to a group at a time.
const CREDITS: u8 = 2;

/// The walk of one column.
#[derive(Default)]
pub(super) struct Walk {
    cursor: u32,
    walkers: Vec<Walker>,
    credits: u8,
}

/// Someone for whom the walk goes round.
struct Walker {
    /// `None`: nobody in particular, the rules changed.
    member: Option<Member>,
    /// Where the cursor was when it joined.
    start: u32,
    /// The cursor went over the end of the table since.
    wrapped: bool,
}

impl Walk {
    fn add(&mut self, member: Option<Member>) {
        if self.walkers.is_empty() {
            self.credits = 1;
        }
        self.walkers.push(Walker { member, start: self.cursor, wrapped: false });
    }

    fn leave(&mut self, member: Member) {
        self.walkers.retain(|walker| walker.member != Some(member));
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

    /// Goes at most `budget` positions on, not over the end of the table nor over the place where
    /// a walker is done. Returns the positions passed.
    fn advance(&mut self, budget: usize, positions: u32) -> std::ops::Range<u32> {
        let start = self.cursor;
        let step = u32::try_from(budget).unwrap_or(u32::MAX);
        let done_at = |walker: &Walker| (walker.wrapped && walker.start > start).then_some(walker.start);
        let stop = self.walkers.iter().filter_map(done_at).min().unwrap_or(positions);
        let end = start.saturating_add(step).min(stop).min(positions).max(start);
        self.cursor = end;
        if end >= positions {
            self.cursor = 0;
            self.walkers.iter_mut().for_each(|walker| walker.wrapped = true);
        }
        start..end
    }

    /// Members whose round is complete.
    fn take_done(&mut self) -> Vec<Member> {
        let cursor = self.cursor;
        let done = |walker: &mut Walker| walker.wrapped && cursor >= walker.start;
        self.walkers.extract_if(.., done).filter_map(|walker| walker.member).collect()
    }
}

impl<N: Routed> Column<N> {
    /// Gives the group new rules, and a walk that tells what differs.
    fn replace(&mut self, spec: &ExportSpec) {
        self.replace_rules(spec);
        self.walk.add(None);
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
            column.walk.add(Some(member));
        }
    }

    pub(super) fn remove_walker(&mut self, group: GroupIndex, member: Member) {
        if let Some(column) = self.column_mut(group) {
            column.walk.leave(member);
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
        let Self { columns, destinations, scratch, .. } = self;
        let Some(column) = columns.iter_mut().flatten().find(|column| column.walk.is_ready()) else {
            return 0;
        };
        column.walk.credits -= 1;
        let members: Vec<Member> = column.walk.walkers.iter().filter_map(|walker| walker.member).collect();
        let visited = column.walk.advance(budget.min(SLICE), destinations.positions());
        let count = visited.len();
        let mut repeated = Vec::new();
        for position in visited {
            let Some(mut place) = destinations.place(position) else { continue };
            // A change is told to all; what stayed as it was, only to those who walk.
            if !column.update(&mut place, context.peers, context.decision, scratch) && !members.is_empty() {
                let told = place.told(column.slot);
                repeated.extend(told.map(|told| repeat::<N>(place.destination.key, position, told, context.peers)));
            }
        }
        column.emit_live(context);
        let done = column.walk.take_done();
        let target = Target::Members(members.into());
        column.emit(target, Cause::WalkSlice, repeated, done, context);
        count.max(1)
    }
}
