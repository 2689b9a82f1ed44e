//! What a peer said becomes paths; destinations it touched are decided once each.

use std::sync::Arc;

use bgp_wire::update::PathKey;

use super::Context;
use super::decision::{Candidate, Options, Standing, equals, select};
use super::destination::{Destination, Path};
use super::peers::Peers;
use super::table::{Located, Scratch, Table};
use super::told::Place;
use crate::attr::AttrRef;
use crate::id::PeerIndex;
use crate::stage::{Alarm, Batch, PrefixBudget, Rejection, Routed};

/// What is said of a path.
struct Announcement<'a> {
    peer: PeerIndex,
    attrs: &'a AttrRef,
    received: Option<&'a AttrRef>,
    rejection: Option<Rejection>,
    now: u32,
    generation: u8,
    peers: &'a Peers,
    /// Groups are told every path, so each one makes a difference (RFC 7911).
    all_told: bool,
}

impl<N: Routed> Table<N> {
    /// Applies a batch to the Adj-RIB-In, then decides.
    pub(super) fn batch(&mut self, batch: &Batch<N>, now: u32, context: &mut Context<'_>) {
        if !context.peers.is_up(batch.peer) {
            return;
        }
        let paths = self.paths_of(batch.peer);
        let (generation, is_limited) = (paths.generation, paths.budget.is_some());
        let mut located = std::mem::take(&mut self.scratch.located);
        self.destinations.locate(batch.keys.iter().map(|key| &key.key), &mut located);
        let mut rest = batch.keys.iter().zip(&located);
        let (peers, all_told) = (context.peers, self.tells_all_paths());
        for run in &batch.runs {
            let keys = rest.by_ref().take(run.count as usize);
            let Some(attrs) = &run.attrs else {
                keys.for_each(|(key, place)| self.withdraw(batch.peer, key, *place, peers));
                continue;
            };
            let Batch { peer, .. } = *batch;
            let (received, rejection) = (run.received.as_ref(), run.rejection);
            let said = Announcement { peer, attrs, received, rejection, now, generation, peers, all_told };
            keys.for_each(|(key, place)| {
                if !is_limited || self.has_room(peer, key, *place) {
                    self.announce(&said, key, *place);
                }
            });
        }
        self.scratch.located = located;
        self.settle(context);
    }

    fn announce(&mut self, said: &Announcement<'_>, key: &PathKey<N::Key>, place: Located) {
        let position = self.destinations.located_or_insert(key.key, place);
        let destination = self.destinations.at_mut(position);
        let usable = said.rejection.is_none();
        let counts = said.all_told || makes_difference(destination, said.attrs, said.peer, said.rejection, said.peers);
        let Some(at) = destination.paths.find(said.peer, key.path_id) else {
            let local_id = destination.paths.free_local_id();
            destination.paths.push(Path {
                attrs: said.attrs.clone(),
                peer: said.peer,
                path_id: key.path_id,
                since: said.now,
                local_id,
                generation: said.generation,
                rejection: said.rejection,
            });
            self.received.note(position, local_id, said.received);
            if counts {
                self.mark(position);
            }
            self.count_new(said.peer, position, usable);
            return;
        };
        let path = &destination.paths.as_slice()[at];
        let counted = at == 0 || makes_difference(destination, &path.attrs, said.peer, path.rejection, said.peers);
        let path = &mut destination.paths.as_mut_slice()[at];
        self.received.note(position, path.local_id, said.received);
        let before = std::mem::replace(&mut path.generation, said.generation);
        let adopted = before != said.generation;
        let same = path.attrs == *said.attrs && path.rejection == said.rejection;
        let was_usable = path.rejection.is_none();
        if !same {
            let before = std::mem::replace(&mut path.attrs, said.attrs.clone());
            path.rejection = said.rejection;
            path.since = said.now;
            if at == 0 {
                self.destinations.first_changed(position, &before, said.peer);
            }
        }
        if adopted {
            // A path of before the session or the refresh is one of the new ones now: the journal that begins with
            // them must have it.
            self.journal(said.peer, position);
            let paths = self.paths_of(said.peer);
            paths.counters.stale -= usize::from(paths.is_stale(before));
        }
        if same {
            return; // RFC 4271 §9.1: nothing new to decide
        }
        if counts || counted {
            self.mark(position);
        }
        let counters = &mut self.paths_of(said.peer).counters;
        counters.accepted = counters.accepted + usize::from(usable) - usize::from(was_usable);
    }

    fn withdraw(&mut self, peer: PeerIndex, key: &PathKey<N::Key>, place: Located, peers: &Peers) {
        let Some(position) = self.destinations.located(&key.key, place) else { return };
        if let Some(at) = self.destinations.at(position).paths.find(peer, key.path_id) {
            self.remove_path(position, at, peers);
        }
    }

    /// Takes a path off a destination that is decided later.
    pub(super) fn remove_path(&mut self, position: u32, at: usize, peers: &Peers) {
        let destination = self.destinations.at_mut(position);
        let path = destination.remove_path(at);
        if at == 0 {
            self.destinations.first_changed(position, &path.attrs, path.peer);
        }
        let destination = self.destinations.at(position);
        self.received.note(position, path.local_id, None);
        if makes_difference(destination, &path.attrs, path.peer, path.rejection, peers) || self.tells_all_paths() {
            self.mark(position);
        }
        let paths = self.paths_of(path.peer);
        paths.counters.received -= 1;
        paths.counters.accepted -= usize::from(path.rejection.is_none());
        let is_stale = paths.is_stale(path.generation);
        paths.counters.stale -= usize::from(is_stale);
        if !is_stale && let Some(budget) = &paths.budget {
            budget.release();
        }
    }

    /// Whether a peer with a budget may announce a key: it has a place for it already, or gets one.
    fn has_room(&mut self, peer: PeerIndex, key: &PathKey<N::Key>, place: Located) -> bool {
        let position = self.destinations.located(&key.key, place);
        let path = position.and_then(|position| {
            let paths = &self.destinations.at(position).paths;
            paths.find(peer, key.path_id).map(|at| paths.as_slice()[at].generation)
        });
        let paths = self.paths_of(peer);
        if path.is_some_and(|generation| !paths.is_stale(generation)) {
            return true;
        }
        let Some(budget) = paths.budget.clone() else { return true };
        let (has_room, alarm) = budget.admit();
        self.alarms.extend(alarm.map(|kind| Alarm { peer, budget, kind }));
        has_room
    }

    /// Gives a peer another budget, in which the paths of its session that are here have their places.
    pub(super) fn set_budget(&mut self, peer: PeerIndex, budget: Option<Arc<PrefixBudget>>) {
        let paths = self.paths_of(peer);
        let held = paths.counters.received - paths.counters.stale;
        paths.budget.clone_from(&budget);
        let Some(budget) = budget else { return };
        let alarm = budget.attach(held);
        self.alarms.extend(alarm.map(|kind| Alarm { peer, budget, kind }));
    }

    fn count_new(&mut self, peer: PeerIndex, position: u32, usable: bool) {
        let counters = &mut self.paths_of(peer).counters;
        counters.received += 1;
        counters.accepted += usize::from(usable);
        self.journal(peer, position);
    }

    /// Notes that a peer has a path at a position.
    fn journal(&mut self, peer: PeerIndex, position: u32) {
        let Self { destinations, paths_of, .. } = self;
        let of_peer = |path: &Path| path.peer == peer;
        let still =
            |at: u32| destinations.get(at).is_some_and(|destination| destination.paths.as_slice().iter().any(of_peer));
        paths_of[super::peers::position(peer)].journal.note(position, still);
    }

    pub(super) fn mark(&mut self, position: u32) {
        let destination = self.destinations.at_mut(position);
        if !destination.dirty {
            destination.dirty = true;
            self.dirty.push(position);
        }
    }

    /// As [`Table::mark`], for a position that may be free.
    pub(super) fn mark_occupied(&mut self, position: u32) {
        if self.destinations.get(position).is_some_and(|destination| !destination.is_vacant()) {
            self.mark(position);
        }
    }

    /// Decides every marked destination and emits what changed, one emission per group. While route selection is
    /// deferred they only stay marked (RFC 4724 §4.1).
    pub(super) fn settle(&mut self, context: &mut Context<'_>) {
        if self.put_off() {
            return;
        }
        let mut dirty = std::mem::take(&mut self.dirty);
        self.columns.iter_mut().flatten().for_each(|column| column.make_room(dirty.len()));
        for &position in &dirty {
            self.decide(position, context);
        }
        dirty.clear();
        self.dirty = dirty;
        self.emit_all(context);
    }

    /// Sends out what decisions have changed.
    pub(super) fn emit_all(&mut self, context: &mut Context<'_>) {
        for column in self.columns.iter_mut().flatten() {
            column.emit_live(context);
            column.emit_brought(context);
        }
    }

    pub(super) fn decide(&mut self, position: u32, context: &Context<'_>) {
        let held = self.held(position);
        let Some(mut place) = self.destinations.place(position) else { return };
        place.destination.dirty = false;
        elect(&mut place, context.peers, context.decision, &mut self.scratch);
        for column in self.columns.iter_mut().flatten() {
            column.follow(&mut place, context.peers, context.decision, &mut self.scratch);
        }
        if let Some(held) = held {
            for column in self.columns.iter_mut().flatten() {
                column.bring_over_early(&place, &held, context.peers);
            }
        }
        if place.destination.is_vacant() {
            self.destinations.remove(position);
        }
    }
}

/// Whether a path that comes, changes or goes can make a difference to which one is the best. Most paths of a
/// destination that has several have lost already by the first rules.
fn makes_difference<K>(
    destination: &Destination<K>,
    attrs: &AttrRef,
    peer: PeerIndex,
    rejection: Option<Rejection>,
    peers: &Peers,
) -> bool {
    let Some(best) = destination.best().filter(|_| !destination.dirty) else { return true };
    let standing =
        |attrs: &AttrRef, peer| Standing::new(&attrs.digest, attrs.local.weight(), peers.get(peer).source.kind);
    rejection.is_none() && !standing(attrs, peer).is_behind(standing(&best.attrs, best.peer))
}

/// Puts the best usable path first.
pub(super) fn elect<K>(place: &mut Place<'_, K>, peers: &Peers, options: Options, scratch: &mut Scratch) {
    let best = match place.destination.paths.as_slice() {
        [] => None,
        [only] => only.rejection.is_none().then_some(0),
        _ => {
            let incumbent = line_up(place.destination, peers, scratch);
            let Scratch { candidates, positions, left, .. } = scratch;
            select(candidates, incumbent, options, left, |_, _| {}).map(|selection| positions[selection.best])
        }
    };
    place.destination.has_best = best.is_some();
    place.put_first(best.unwrap_or(0));
}

/// Positions of the usable paths that are as good as the best one; none if there is no best path.
pub(super) fn equal_paths<'s, K>(
    destination: &Destination<K>,
    peers: &Peers,
    options: Options,
    scratch: &'s mut Scratch,
) -> impl Iterator<Item = usize> + 's {
    scratch.left.clear();
    if destination.has_best && destination.paths.as_slice().len() > 1 {
        line_up(destination, peers, scratch);
        equals(&scratch.candidates, options, &mut scratch.left);
    } else if destination.has_best {
        scratch.positions.clear();
        scratch.positions.push(0);
        scratch.left.push(0);
    }
    scratch.left.iter().map(|&candidate| scratch.positions[candidate])
}

/// Fills `scratch` with the usable paths as candidates and their positions among all paths.
/// Returns which candidate is the incumbent.
pub(super) fn line_up<K>(destination: &Destination<K>, peers: &Peers, scratch: &mut Scratch) -> Option<usize> {
    scratch.candidates.clear();
    scratch.positions.clear();
    for (at, path) in destination.paths.as_slice().iter().enumerate() {
        if path.rejection.is_none() {
            let peer = peers.get(path.peer);
            scratch.positions.push(at);
            let candidate = Candidate::new(&path.attrs.digest, &peer.source, peer.address, path.path_id);
            scratch.candidates.push(candidate.with_weight(path.attrs.local.weight()));
        }
    }
    (destination.has_best && scratch.positions.first() == Some(&0)).then_some(0)
}
