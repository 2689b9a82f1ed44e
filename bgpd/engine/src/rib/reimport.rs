//! A new import policy, guard of the clusters, or cluster identifier, for routes that are in: they are judged again from
//! what was received, without asking the peer.
//!
//! A path that its import policy did not change is as it was received. Of the others, [`Received`] keeps what they
//! were, so that only they cost memory. Done in slices; until a slice comes by, a path stays as the old policy made it.
//! Stale paths (RFC 4724 §4.2) stay as they are: the peer will say them again, or they go. Only what the guard refuses or
//! what is a loop now goes at once, whoever keeps it.

use std::collections::VecDeque;

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use super::Context;
use super::destination::Path;
use super::peers::{Peer, PeerPaths, position};
use super::table::Table;
use crate::attr::{AttrRef, Interner};
use crate::id::PeerIndex;
use crate::policy::Memo;
use crate::stage::{Import, Rejection, Routed};

/// What paths were before their import policy, where it changed them, by position and local identifier.
#[derive(Default)]
pub(super) struct Received(HashMap<(u32, u16), AttrRef, FixedState>);

impl Received {
    /// Notes what a path was; `None` if it was not changed, or is gone.
    pub(super) fn note(&mut self, at: u32, local_id: u16, received: Option<&AttrRef>) {
        match received {
            Some(attrs) => drop(self.0.insert((at, local_id), attrs.clone())),
            None if self.0.is_empty() => {}
            None => {
                self.0.remove(&(at, local_id));
                if self.0.is_empty() {
                    // A policy that changes nothing any more costs nothing any more.
                    self.0 = HashMap::default();
                }
            }
        }
    }

    /// What a path was.
    pub(super) fn of<'a>(&'a self, at: u32, path: &'a Path) -> &'a AttrRef {
        if self.0.is_empty() { &path.attrs } else { self.0.get(&(at, path.local_id)).unwrap_or(&path.attrs) }
    }
}

/// Peers whose paths are to be judged again, one after the other.
#[derive(Default)]
pub(super) struct Reimports(VecDeque<Reimport>);

struct Reimport {
    peer: PeerIndex,
    cursor: u32,
    /// Destinations are decided again also where nothing has changed of the paths: the peer itself is something else.
    anyway: bool,
    memo: Memo,
}

impl Reimports {
    pub(super) fn has_work(&self) -> bool {
        !self.0.is_empty()
    }
}

impl<N: Routed> Table<N> {
    /// Judges all paths of `peer` again, in slices.
    pub(super) fn begin_reimport(&mut self, peer: PeerIndex, anyway: bool) {
        // One that is under way goes by rules that hold no longer.
        let anyway = anyway || self.reimports.0.iter().any(|other| other.peer == peer && other.anyway);
        self.reimports.0.retain(|other| other.peer != peer);
        if self.paths_of(peer).counters.received > 0 {
            self.reimports.0.push_back(Reimport { peer, cursor: 0, anyway, memo: Memo::default() });
        }
    }

    /// Visits at most `budget` destinations; returns how many.
    pub(super) fn reimport_slice(&mut self, budget: usize, context: &mut Context<'_>) -> usize {
        let Some(mut reimport) = self.reimports.0.pop_front() else { return 0 };
        let positions = self.destinations.positions();
        let budget = u32::try_from(budget).unwrap_or(u32::MAX);
        let end = reimport.cursor.saturating_add(budget).min(positions);
        for at in reimport.cursor..end {
            self.import_destination(at, &mut reimport, context);
        }
        let visited = end.saturating_sub(reimport.cursor) as usize;
        // Positions that are filled behind the cursor have routes that came under the new policy.
        reimport.cursor = end;
        if end < positions {
            self.reimports.0.push_front(reimport);
        }
        self.settle(context);
        visited.max(1)
    }

    fn import_destination(&mut self, at: u32, reimport: &mut Reimport, context: &Context<'_>) {
        let peer = context.peers.get(reimport.peer);
        let paths_of = &self.paths_of[position(reimport.peer)];
        let judge = Judge { peer, import: &peer.import, paths_of, interner: context.interner };
        let (mut accepted, mut changed) = (0_isize, false);
        let Some(destination) = self.destinations.get_mut(at) else { return };
        let mut first = None;
        let paths = destination.paths.as_mut_slice().iter_mut().enumerate();
        for (index, path) in paths.filter(|(_, path)| path.peer == reimport.peer) {
            changed |= reimport.anyway;
            let received = self.received.of(at, path);
            let judged = judge.judge::<N>(path, received, &destination.key, &mut reimport.memo);
            let Some((attrs, rejection)) = judged else { continue };
            let received = received.clone();
            let before = usize::from(path.rejection.is_none());
            changed |= path.attrs != attrs || path.rejection != rejection;
            self.received.note(at, path.local_id, (attrs != received).then_some(&received));
            let before_attrs = std::mem::replace(&mut path.attrs, attrs);
            first = first.or((index == 0).then_some((before_attrs, path.peer)));
            path.rejection = rejection;
            accepted += isize::from(path.rejection.is_none()) - before as isize;
        }
        if changed {
            if let Some((attrs, peer)) = first {
                self.destinations.first_changed(at, &attrs, peer);
            }
            let counters = &mut self.paths_of(reimport.peer).counters;
            counters.accepted = counters.accepted.saturating_add_signed(accepted);
            self.mark(at);
        }
    }
}

/// What judges the paths of a peer that are in: what is in force, or what may come.
pub(super) struct Judge<'a> {
    pub(super) peer: &'a Peer,
    pub(super) import: &'a Import,
    pub(super) paths_of: &'a PeerPaths,
    pub(super) interner: &'a Interner,
}

impl Judge<'_> {
    /// What a path becomes, and why it is not usable then; `None` if it stays as it is.
    pub(super) fn judge<N: Routed>(
        &self,
        path: &Path,
        received: &AttrRef,
        key: &N::Key,
        memo: &mut Memo,
    ) -> Option<(AttrRef, Option<Rejection>)> {
        // What is not usable for other reasons is no matter of policy.
        let by_rules = path.rejection.is_none_or(Rejection::is_by_rules);
        if !by_rules || !self.paths_of.is_valid(path.generation) {
            return None;
        }
        let prefix = N::prefix(key);
        let refused = self.import.find_loop(received).or_else(|| self.import.refuse(&prefix, path.rejection));
        if self.paths_of.is_stale(path.generation) {
            let refused = refused.filter(|_| path.rejection.is_none())?;
            return Some((path.attrs.clone(), Some(refused)));
        }
        let verdict = self.import.policy.judge(received, &self.peer.provenance(N::FAMILY), &prefix, memo);
        let (attrs, rejection) = self.import.outcome(verdict, received, self.interner);
        Some((attrs, refused.or(rejection)))
    }
}
