//! Removal of what lost its reason to be: paths of ended sessions, stale paths after a restart (RFC 4724 §4.2) or a
//! refresh (RFC 7313 §4), columns of removed groups; and what becomes of stale paths that stay for long (RFC 9494
//! §4.2). Done in slices; until a slice comes by, old paths stay in use.

use std::collections::VecDeque;

use bgp_wire::attribute::Community;

use super::Context;
use super::destination::Path;
use super::passage::is_source;
use super::peers::{Journal, PeerPaths, position};
use super::table::Table;
use super::told::Slot;
use crate::attr::Interner;
use crate::id::PeerIndex;
use crate::stage::Routed;

/// One walk in circles for all that has to go, and short lists where it is known where to look.
#[derive(Default)]
pub(super) struct Sweep {
    /// Destinations of small peers.
    listed: VecDeque<Vec<u32>>,
    cursor: u32,
    /// Positions that were there when the walk was last asked for: later ones have nothing old.
    end: u32,
    /// Positions still to be visited.
    remaining: u32,
}

impl Sweep {
    /// Begins one more full circle over `positions`.
    pub(super) fn start(&mut self, positions: u32) {
        self.end = positions;
        self.remaining = positions;
        if self.cursor >= positions {
            self.cursor = 0;
        }
    }

    pub(super) fn has_work(&self) -> bool {
        !self.listed.is_empty() || self.remaining > 0
    }

    /// At most `budget` positions to visit, and whether the circle is complete with them.
    fn next(&mut self, budget: usize) -> (Vec<u32>, bool) {
        if let Some(list) = self.listed.front_mut() {
            let rest = list.split_off(list.len().min(budget));
            let now = std::mem::replace(list, rest);
            if list.is_empty() {
                self.listed.pop_front();
            }
            return (now, false);
        }
        let count = self.remaining.min(u32::try_from(budget).unwrap_or(u32::MAX));
        let end = self.end;
        let now = (0..count).map(|step| (self.cursor + step) % end).collect();
        self.remaining -= count;
        self.cursor = if end == 0 { 0 } else { (self.cursor + count) % end };
        (now, self.remaining == 0)
    }
}

impl<N: Routed> Table<N> {
    /// All paths of `peer` are to go.
    pub(super) fn end_of_session(&mut self, peer: PeerIndex, context: &mut Context<'_>) {
        let paths = self.paths_of(peer);
        let empty = Journal::Destinations(Vec::new());
        let journal = std::mem::replace(&mut paths.journal, empty);
        if paths.counters.received == 0 {
            return;
        }
        let must_finish = paths.end();
        match journal {
            Journal::Destinations(list) => self.sweep.listed.push_back(list),
            Journal::Overflow => self.sweep.start(self.destinations.positions()),
        }
        if must_finish {
            self.finish_sweep(context);
        }
    }

    fn finish_sweep(&mut self, context: &mut Context<'_>) {
        while self.sweep.has_work() {
            self.sweep_slice(usize::MAX, context);
        }
    }

    /// Removes at once what is left of whoever had an index before.
    pub(super) fn forget(&mut self, peer: PeerIndex, context: &mut Context<'_>) {
        self.end_of_session(peer, context);
        if self.paths_of(peer).counters.received > 0 {
            self.finish_sweep(context);
        }
    }

    /// The session of `peer` has ended and its paths are stale; those that already were are to go, unless for long.
    pub(super) fn retain(&mut self, peer: PeerIndex, context: &mut Context<'_>) {
        let paths = self.paths_of(peer);
        if paths.counters.received == 0 {
            return;
        }
        let had_stale = paths.counters.stale > 0;
        let must_finish = paths.retain();
        if had_stale {
            self.visit(peer);
        }
        if must_finish {
            self.finish_sweep(context);
        }
    }

    /// What is stale of `peer` is to go.
    pub(super) fn end_of_retention(&mut self, peer: PeerIndex) {
        let paths = self.paths_of(peer);
        paths.end_retention();
        if paths.counters.stale > 0 {
            self.visit(peer);
        }
    }

    /// What is stale of `peer` is to be long-lived stale.
    pub(super) fn begin_long_lived(&mut self, peer: PeerIndex) {
        let paths = self.paths_of(peer);
        paths.begin_long_lived();
        if paths.counters.stale > 0 {
            self.visit(peer);
        }
    }

    /// The sweep is to come by wherever `peer` has paths.
    fn visit(&mut self, peer: PeerIndex) {
        match &self.paths_of(peer).journal {
            Journal::Destinations(list) => {
                let list = list.clone();
                self.sweep.listed.push_back(list);
            }
            Journal::Overflow => self.sweep.start(self.destinations.positions()),
        }
    }

    /// Paths of `peer` that were not announced again are to go.
    pub(super) fn end_of_refresh(&mut self, peer: PeerIndex) {
        self.paths_of(peer).refresh_end();
        self.visit(peer);
    }

    /// Visits at most `budget` destinations; returns how many.
    pub(super) fn sweep_slice(&mut self, budget: usize, context: &mut Context<'_>) -> usize {
        let (positions, complete) = self.sweep.next(budget);
        for &position in &positions {
            self.sweep_destination(position, context);
        }
        self.settle(context);
        if complete {
            self.drop_columns();
        }
        if !self.sweep.has_work() {
            self.paths_of.iter_mut().for_each(PeerPaths::swept);
        }
        positions.len().max(1)
    }

    fn sweep_destination(&mut self, at: u32, context: &Context<'_>) {
        self.mark_long_lived(at, context.interner);
        let Some(destination) = self.destinations.get(at) else { return };
        let is_lost = |path: &Path| {
            let paths = &self.paths_of[position(path.peer)];
            // RFC 9494 §4.2: a route with NO_LLGR is not kept for long.
            let unwanted = || path.attrs.digest.scope.no_llgr && paths.is_long_lived(path.generation);
            !paths.is_valid(path.generation) || unwanted()
        };
        let paths = destination.paths.as_slice().iter().enumerate();
        let lost: Vec<usize> = paths.filter(|(_, path)| is_lost(path)).map(|(index, _)| index).collect();
        // From the end, so that the positions in front stay true.
        for path in lost.into_iter().rev() {
            self.remove_path(at, path, context.peers);
        }
        self.clear_removed(at);
    }

    /// RFC 9494 §4.2: routes that stay for long say so with LLGR_STALE.
    fn mark_long_lived(&mut self, at: u32, interner: &Interner) {
        let Self { destinations, paths_of, .. } = self;
        let Some(destination) = destinations.get_mut(at) else { return };
        let (mut changed, mut first) = (false, None);
        for (index, path) in destination.paths.as_mut_slice().iter_mut().enumerate() {
            let of = &paths_of[position(path.peer)];
            let scope = path.attrs.digest.scope;
            if of.is_long_lived(path.generation) && !scope.llgr_stale && !scope.no_llgr {
                let marked = interner.with_community(&path.attrs, Community::LLGR_STALE);
                let before = std::mem::replace(&mut path.attrs, marked);
                first = first.or((index == 0).then_some((before, path.peer)));
                changed = true;
            }
        }
        if changed {
            if let Some((attrs, peer)) = first {
                destinations.first_changed(at, &attrs, peer);
            }
            self.mark(at);
        }
    }

    /// Drops what a destination holds for removed groups.
    fn clear_removed(&mut self, at: u32) {
        let Self { destinations, columns, .. } = self;
        let columns = &columns[..];
        let Some(before) = destinations.get(at).map(|destination| destination.told) else { return };
        destinations.keep_told(at, |slot: Slot| {
            let column = columns.get(usize::from(slot.get()) - 1).and_then(Option::as_ref);
            column.is_some_and(|column| !column.removed || is_source(columns, slot))
        });
        let destination = destinations.at(at);
        if destination.told != before && destination.is_vacant() && !destination.dirty {
            destinations.remove(at);
        }
    }
}
