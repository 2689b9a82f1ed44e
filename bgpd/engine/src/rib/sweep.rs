//! Removal of what lost its reason to be: paths of ended sessions, stale paths after a refresh
//! (RFC 7313 §4), columns of removed groups. Done in slices; until a slice comes by, old paths
//! stay in use.

use std::collections::VecDeque;

use super::Context;
use super::destination::{Path, Told};
use super::peers::{Journal, PeerPaths, Peers, position};
use super::table::Table;
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
        if paths.counters.received == 0 {
            return;
        }
        let must_finish = paths.end();
        let empty = Journal::Destinations(Vec::new());
        match std::mem::replace(&mut paths.journal, empty) {
            Journal::Destinations(list) => self.sweep.listed.push_back(list),
            Journal::Overflow => self.sweep.start(self.destinations.positions()),
        }
        while must_finish && self.sweep.has_work() {
            self.sweep_slice(usize::MAX, context);
        }
    }

    /// Paths of `peer` that were not announced again are to go.
    pub(super) fn end_of_refresh(&mut self, peer: PeerIndex) {
        let paths = self.paths_of(peer);
        paths.refresh_end();
        match &paths.journal {
            Journal::Destinations(list) => {
                let list = list.clone();
                self.sweep.listed.push_back(list);
            }
            Journal::Overflow => self.sweep.start(self.destinations.positions()),
        }
    }

    /// Visits at most `budget` destinations; returns how many.
    pub(super) fn sweep_slice(&mut self, budget: usize, context: &mut Context<'_>) -> usize {
        let (positions, complete) = self.sweep.next(budget);
        for &position in &positions {
            self.sweep_destination(position, context.peers);
        }
        self.settle(context);
        if complete {
            self.columns.iter_mut().for_each(|column| {
                column.take_if(|column| column.removed);
            });
        }
        if !self.sweep.has_work() {
            self.paths_of.iter_mut().for_each(PeerPaths::swept);
        }
        positions.len().max(1)
    }

    fn sweep_destination(&mut self, at: u32, peers: &Peers) {
        let destination = self.destinations.at(at);
        let is_lost = |path: &Path| !self.paths_of[position(path.peer)].is_valid(path.generation);
        let paths = destination.paths.as_slice().iter().enumerate();
        let lost: Vec<usize> = paths.filter(|(_, path)| is_lost(path)).map(|(index, _)| index).collect();
        // From the end, so that the positions in front stay true.
        for path in lost.into_iter().rev() {
            self.remove_path(at, path, peers);
        }
        self.clear_removed(at);
    }

    /// Drops what a destination holds for removed groups.
    fn clear_removed(&mut self, at: u32) {
        let Self { destinations, columns, .. } = self;
        let destination = destinations.at_mut(at);
        let kept = |told: &Told| {
            let column = &columns[usize::from(told.slot.get()) - 1];
            column.as_ref().is_some_and(|column| !column.removed)
        };
        if destination.told.as_slice().iter().all(kept) {
            return;
        }
        destination.told.retain(kept);
        if destination.is_vacant() && !destination.dirty {
            destinations.remove(at);
        }
    }
}
