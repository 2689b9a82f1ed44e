//! A group's Adj-RIB-Out (RFC 4271 §3.2): one column through the destinations of a table.

use std::cell::RefCell;

use bgp_wire::update::PathKey;
use foldhash::fast::FixedState;
use hashbrown::HashMap;

use super::Context;
use super::apply::equal_paths;
use super::decision::Options;
use super::destination::Path;
use super::peers::{Peers, position};
use super::table::{Located, Scratch, Table};
use super::told::{Place, Slot, Told};
use super::walk::Walk;
use crate::attr::AttrRef;
use crate::export::ExportSpec;
use crate::id::{GroupIndex, PeerIndex, Source};
use crate::policy::{Memo, Rules};
use crate::stage::{Cause, Change, Emission, Member, Missed, Routed, Target};

/// Changes that room is made for in advance; many groups are told little of what is decided.
const ROUND: usize = 16 << 10;

/// A group as a table knows it.
pub(super) struct Column<N: Routed> {
    pub(super) group: GroupIndex,
    pub(super) slot: Slot,
    pub(super) spec: ExportSpec,
    /// The group was removed; what destinations hold for it is swept.
    pub(super) removed: bool,
    pub(super) walk: Walk<N>,
    /// Members that have come from other groups, each with the number of its last passage.
    pub(super) came: HashMap<PeerIndex, u32, FixedState>,
    /// Changes of the present decision round.
    pub(super) changes: Vec<Change<N>>,
    /// How many routes the group was told, in all and by source.
    told: usize,
    told_from: Vec<u32>,
    /// What the export policy says of attribute sets.
    memo: RefCell<Memo>,
}

impl<N: Routed> Column<N> {
    pub(super) fn new(group: GroupIndex, slot: Slot, spec: ExportSpec) -> Self {
        Self {
            group,
            slot,
            spec,
            removed: false,
            walk: Walk::new(),
            came: HashMap::default(),
            changes: Vec::new(),
            told: 0,
            told_from: Vec::new(),
            memo: RefCell::default(),
        }
    }

    /// Compares what the group was told of a destination with what it should be told now.
    pub(super) fn update(
        &mut self,
        place: &mut Place<'_, N::Key>,
        peers: &Peers,
        options: Options,
        scratch: &mut Scratch,
    ) {
        if self.removed {
            return;
        }
        if self.spec.is_loc_rib() {
            self.update_equals(place, peers, options, scratch);
        } else if self.spec.add_path() {
            self.update_all(place, peers);
        } else {
            let new = self.exported_best(place, peers);
            self.tell(place, 0, new);
        }
    }

    /// The Loc-RIB: the best path has identifier 0, those as good as it have their local ones. When one changes, all of
    /// them are told, so that whoever listens knows the whole set.
    fn update_equals(&mut self, place: &mut Place<'_, N::Key>, peers: &Peers, options: Options, scratch: &mut Scratch) {
        let before = self.changes.len();
        let best = self.exported_best(place, peers);
        let destination = &*place.destination;
        let others = equal_paths(destination, peers, options, scratch).filter(|&at| at != 0);
        let others = others.map(|at| &destination.paths.as_slice()[at]);
        let others: Vec<_> =
            others.filter_map(|path| Some((path.local_id, self.exported(&destination.key, path, peers)?))).collect();
        let gone = place.told(self.slot).map(|told| told.path_id);
        let gone = gone.filter(|id| *id != 0 && others.iter().all(|(local_id, _)| local_id != id));
        for path_id in gone.collect::<Vec<_>>() {
            self.tell(place, path_id, None);
        }
        self.tell(place, 0, best);
        for (local_id, new) in others {
            self.tell(place, local_id, Some(new));
        }
        let said = before..self.changes.len();
        if said.is_empty() {
            return;
        }
        for told in place.told(self.slot) {
            let is_said = |change: &Change<N>| change.key.path_id == u32::from(told.path_id);
            if !self.changes[said.clone()].iter().any(is_said) {
                let again = repeat::<N>(place.destination.key, place.position, told, peers);
                self.changes.push(again);
            }
        }
    }

    /// ADD-PATH (RFC 7911): every usable path is told under its local identifier.
    fn update_all(&mut self, place: &mut Place<'_, N::Key>, peers: &Peers) {
        let destination = &*place.destination;
        let usable = |path: &&Path| path.rejection.is_none();
        let exported = destination.paths.as_slice().iter().filter(usable);
        let exported = exported.filter_map(|path| Some((path.local_id, self.exported(&destination.key, path, peers)?)));
        let exported: Vec<_> = exported.collect();
        let gone = place.told(self.slot).map(|told| told.path_id);
        let gone = gone.filter(|id| exported.iter().all(|(local_id, _)| local_id != id));
        let gone: Vec<_> = gone.collect();
        for path_id in gone {
            self.tell(place, path_id, None);
        }
        for (local_id, new) in exported {
            self.tell(place, local_id, Some(new));
        }
    }

    fn exported_best(&self, place: &Place<'_, N::Key>, peers: &Peers) -> Option<(AttrRef, Source)> {
        self.exported(&place.destination.key, place.destination.best()?, peers)
    }

    fn exported(&self, key: &N::Key, path: &Path, peers: &Peers) -> Option<(AttrRef, Source)> {
        let peer = peers.get(path.peer);
        let judge = |rules: &Rules| {
            let mut memo = self.memo.borrow_mut();
            memo.tree(rules, &path.attrs, &peer.provenance(N::FAMILY)).judge(rules, &N::prefix(key))
        };
        self.spec.evaluate(&path.attrs, &peer.source, judge).ok().map(|attrs| (attrs, peer.source))
    }

    /// Gives the group new rules.
    pub(super) fn replace_rules(&mut self, spec: &ExportSpec) {
        self.spec = spec.clone();
        self.memo.get_mut().clear();
    }

    /// Notes what the group is told now under one path identifier, and the change if it is one.
    fn tell(&mut self, place: &mut Place<'_, N::Key>, path_id: u16, new: Option<(AttrRef, Source)>) {
        let now = new.as_ref().map(|(attrs, source)| (attrs, source.peer));
        let old = place.told_as(self.slot, path_id);
        if old == now {
            place.tidy(self.slot, path_id, now);
            return;
        }
        let old_source = old.map(|(_, peer)| peer);
        self.count(old_source, now.map(|(_, peer)| peer));
        place.tell(self.slot, path_id, now);
        let key = PathKey { key: place.destination.key, path_id: path_id.into() };
        self.changes.push(Change { key, position: place.position, old_source, new });
    }

    fn count(&mut self, old: Option<PeerIndex>, new: Option<PeerIndex>) {
        if old == new {
            return;
        }
        if let Some(old) = old {
            self.told -= 1;
            self.told_from[position(old)] -= 1;
        }
        if let Some(new) = new {
            self.told += 1;
            let position = position(new);
            if self.told_from.len() <= position {
                self.told_from.resize(position + 1, 0);
            }
            self.told_from[position] += 1;
        }
    }

    /// Gives room back that is kept for peers of whom nothing is told.
    pub(super) fn release(&mut self) {
        while self.told_from.pop_if(|told| *told == 0).is_some() {}
        self.told_from.shrink_to(2 * self.told_from.len());
    }

    /// Makes room for the changes of a round in which so many destinations are decided: a list that grows on the way
    /// leaves its former places behind.
    pub(super) fn make_room(&mut self, destinations: usize) {
        self.changes.reserve(destinations.min(ROUND));
    }

    /// Emits the changes of the round to all members.
    pub(super) fn emit_live(&mut self, context: &mut Context<'_>) {
        if !self.changes.is_empty() {
            let changes = std::mem::take(&mut self.changes);
            self.emit(Target::All, Cause::Live, changes, Vec::new(), context);
        }
    }

    pub(super) fn emit(
        &self,
        target: Target,
        cause: Cause,
        changes: Vec<Change<N>>,
        end_of_rib: Vec<Member>,
        context: &mut Context<'_>,
    ) {
        context.out.push(N::emission(Emission {
            group: self.group,
            partition: context.partition,
            target,
            cause,
            changes,
            end_of_rib,
        }));
    }

    /// How many routes `peer` was told as a member: it is not told its own.
    fn advertised(&self, peer: PeerIndex) -> usize {
        let own = self.told_from.get(position(peer)).copied().unwrap_or(0);
        self.told - own as usize
    }
}

/// The announcement of something a group was told already.
pub(super) fn repeat<N: Routed>(key: N::Key, position: u32, told: Told<'_>, peers: &Peers) -> Change<N> {
    Change {
        key: PathKey { key, path_id: told.path_id.into() },
        position,
        old_source: None,
        new: Some((told.attrs.clone(), peers.get(told.peer).source)),
    }
}

/// What `to` is to be told of something the group was told. What it may have been told before is not known, so its own
/// route, which it is not told, is a withdraw.
fn present<N: Routed>(key: N::Key, position: u32, told: Told<'_>, to: Member, peers: &Peers) -> Change<N> {
    if told.peer == to.peer {
        return gone(PathKey { key, path_id: told.path_id.into() });
    }
    repeat(key, position, told, peers)
}

fn gone<N: Routed>(key: PathKey<N::Key>) -> Change<N> {
    Change { key, position: 0, old_source: None, new: None }
}

impl<N: Routed> Table<N> {
    pub(super) fn new_column(&mut self, group: GroupIndex, spec: ExportSpec) {
        let free = self.columns.iter().position(Option::is_none).unwrap_or(self.columns.len());
        let number = u16::try_from(free + 1).ok().and_then(Slot::new);
        let slot = number.expect("a speaker has far fewer than 65535 update groups");
        if free == self.columns.len() {
            self.columns.push(None);
        }
        self.columns[free] = Some(Column::new(group, slot, spec));
    }

    /// The column of a group.
    pub(super) fn column(&self, group: GroupIndex) -> Option<&Column<N>> {
        self.columns.iter().flatten().find(|column| column.group == group && !column.removed)
    }

    /// As [`Table::column`].
    pub(super) fn column_mut(&mut self, group: GroupIndex) -> Option<&mut Column<N>> {
        self.columns.iter_mut().flatten().find(|column| column.group == group && !column.removed)
    }

    /// Takes a group's column away; the sweep clears the destinations.
    pub(super) fn remove_column(&mut self, group: GroupIndex) {
        let Some(column) = self.column_mut(group) else { return };
        column.removed = true;
        column.walk = Walk::new();
        self.note_passages();
        self.sweep_columns();
    }

    /// Whether some group is told every path and not only the best (RFC 7911).
    pub(super) fn tells_all_paths(&self) -> bool {
        self.columns.iter().flatten().any(|column| column.spec.add_path())
    }

    pub(super) fn told_to(&self, group: GroupIndex, peer: PeerIndex) -> usize {
        self.column(group).map_or(0, |column| column.advertised(peer))
    }

    /// Emits the present state of what a member missed.
    pub(super) fn refill(&mut self, group: GroupIndex, to: Member, missed: &Missed<N>, context: &mut Context<'_>) {
        let mut located = std::mem::take(&mut self.scratch.located);
        self.destinations.locate(missed.keys.iter().map(|key| &key.key), &mut located);
        if self.passing {
            let keys = missed.keys.iter().zip(&located);
            let keys: Vec<u32> = keys.filter_map(|(key, at)| self.destinations.located(&key.key, *at)).collect();
            self.bring_over_at(missed.positions.iter().copied().chain(keys), context);
        }
        if let Some(column) = self.column(group) {
            let mut changes = Vec::with_capacity(missed.positions.len() + missed.keys.len());
            self.refill_keys(column.slot, to, (missed, &located), context, &mut changes);
            for &position in &missed.positions {
                // It may have gone: then its keys are among those withdrawn.
                let Some(destination) = self.destinations.get(position) else { continue };
                let told = self.destinations.told(position, column.slot);
                changes.extend(told.map(|told| present::<N>(destination.key, position, told, to, context.peers)));
            }
            column.emit(Target::Members([to].into()), Cause::Refill, changes, Vec::new(), context);
        }
        self.scratch.located = located;
    }

    fn refill_keys(
        &self,
        slot: Slot,
        to: Member,
        (missed, located): (&Missed<N>, &[Located]),
        context: &Context<'_>,
        changes: &mut Vec<Change<N>>,
    ) {
        for (key, place) in missed.keys.iter().zip(located) {
            let position = self.destinations.located(&key.key, *place);
            let told = position.and_then(|position| {
                let path_id = u16::try_from(key.path_id).ok()?;
                Some((position, self.destinations.told(position, slot).find(|told| told.path_id == path_id)?))
            });
            changes.extend(match told {
                // It is one of those told by position.
                Some((position, _)) if missed.positions.binary_search(&position).is_ok() => None,
                Some((position, told)) => Some(present::<N>(key.key, position, told, to, context.peers)),
                None => Some(gone::<N>(*key)),
            });
        }
    }
}
