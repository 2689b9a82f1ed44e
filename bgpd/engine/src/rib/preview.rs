//! What another configuration would do to routes, counted before it is in force, by the code that will apply it.
//!
//! Nothing changes: each destination that is concerned is copied, the paths of the copy are judged, one of them is
//! elected and exported as the proposal says, and what differs from what is there now is counted. Done in slices.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::AddAssign;

use bgp_wire::Family;
use ipnet::IpNet;

use super::Cursor;
use super::apply::elect;
use super::column::Column;
use super::decision::Options;
use super::destination::{Destination, Path};
use super::peers::{Peers, position};
use super::reimport::Judge;
use super::table::{Scratch, Table};
use super::told::{Exceptions, Place, Told};
use crate::attr::{AttrRef, Interner};
use crate::export::ExportSpec;
use crate::id::{GroupIndex, PeerIndex, SourceKind};
use crate::policy::Memo;
use crate::stage::{Import, Rejection, Routed, partition_of};

/// How routes are to be judged, selected and told.
#[derive(Debug, Clone, Default)]
pub struct Proposal {
    /// What the routes of peers are to pass on their way in, where that is something else than now. Its guards are to
    /// count in counters of their own.
    pub incoming: BTreeMap<PeerIndex, Import>,
    /// Peers whose routes go to others as those of something else than now (RFC 4456 §6).
    pub kinds: BTreeMap<PeerIndex, SourceKind>,
    /// Peers whose routes of a family go.
    pub lost: BTreeSet<(PeerIndex, Family)>,
    /// What is to be originated here in another way than now, in the order of the prefixes; `None`: no longer.
    pub originated: Vec<(IpNet, Option<AttrRef>)>,
    /// Among how many partitions these prefixes are.
    pub partitions: usize,
    /// What members of groups are to be told. A group is here once for each way that its members go.
    pub outgoing: Vec<Outgoing>,
    /// How paths are compared.
    pub decision: Options,
}

/// What some members of a group are to be told.
#[derive(Debug, Clone)]
pub struct Outgoing {
    /// The group that they are in.
    pub group: GroupIndex,
    /// They are being shut down gracefully now (RFC 8326).
    pub shutting_down: bool,
    /// The rules then; none: those of now.
    pub spec: Option<ExportSpec>,
    /// Who they are.
    pub members: BTreeSet<PeerIndex>,
}

/// How many routes of a peer change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RouteChanges {
    /// From it: accepted now, not then.
    pub rejected: i64,
    /// From it: not accepted now, but then.
    pub accepted: i64,
    /// From it: accepted with other attributes.
    pub modified: i64,
    /// To it: not told now, but then.
    pub announced: i64,
    /// To it: told now, not then.
    pub withdrawn: i64,
    /// To it: told with other attributes, as it sees them.
    pub changed: i64,
}

/// What has been counted.
pub type Counted = BTreeMap<PeerIndex, RouteChanges>;

impl AddAssign for RouteChanges {
    fn add_assign(&mut self, other: Self) {
        let Self { rejected, accepted, modified, announced, withdrawn, changed } = other;
        self.rejected += rejected;
        self.accepted += accepted;
        self.modified += modified;
        self.announced += announced;
        self.withdrawn += withdrawn;
        self.changed += changed;
    }
}

impl Proposal {
    /// What is to be originated for a prefix, if that is something else than now.
    fn originates(&self, prefix: &IpNet) -> Option<Option<&AttrRef>> {
        if self.originated.is_empty() {
            return None;
        }
        let found = self.originated.binary_search_by_key(prefix, |(prefix, _)| *prefix).ok()?;
        Some(self.originated[found].1.as_ref())
    }
}

impl RouteChanges {
    /// A route that comes in, accepted or not before and then.
    fn coming(was: bool, is: bool, differs: bool) -> Self {
        let (rejected, accepted, modified) = (was && !is, !was && is, was && is && differs);
        Self { rejected: rejected.into(), accepted: accepted.into(), modified: modified.into(), ..Self::default() }
    }

    /// A route that goes out, told or not before and then, counted so many times.
    fn going(was: bool, is: bool, differs: bool, times: i64) -> Self {
        let count = |holds: bool| if holds { times } else { 0 };
        Self {
            announced: count(!was && is),
            withdrawn: count(was && !is),
            changed: count(was && is && differs),
            ..Self::default()
        }
    }

    /// Whether nothing changes.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

/// What a table knows of the partition that it is in.
#[derive(Clone, Copy)]
pub(super) struct Around<'a> {
    pub(super) partition: usize,
    pub(super) peers: &'a Peers,
    pub(super) interner: &'a Interner,
    pub(super) decision: Options,
}

/// One way out of a group: its column under the proposed rules.
struct Way<'a, N: Routed> {
    members: &'a BTreeSet<PeerIndex>,
    before: ExportSpec,
    column: Column<N>,
    /// The rules are others than now.
    differs: bool,
    /// What goes out under both looks the same.
    alike: bool,
    /// What members have in common.
    common: RouteChanges,
    /// Attributes on their way out, before and then.
    sent: [Vec<u8>; 2],
}

/// The state of one slice.
struct Slice<'a, N: Routed> {
    proposal: &'a Proposal,
    around: Around<'a>,
    ways: Vec<Way<'a, N>>,
    memos: BTreeMap<PeerIndex, Memo>,
    scratch: Scratch,
    exceptions: Exceptions,
    /// Paths that have been looked at, once for each time.
    spent: usize,
}

impl<N: Routed> Table<N> {
    /// Counts what a proposal would change, from `cursor` on. First come the prefixes that it originates, then what the
    /// table has.
    pub(super) fn preview_slice(
        &self,
        proposal: &Proposal,
        cursor: Cursor,
        limit: usize,
        around: Around<'_>,
        counted: &mut Counted,
    ) -> Option<Cursor> {
        let peers = (!proposal.kinds.is_empty()).then(|| {
            let mut peers = around.peers.clone();
            proposal.kinds.iter().for_each(|(peer, kind)| peers.replace_kind(*peer, *kind));
            peers
        });
        let around = Around { peers: peers.as_ref().unwrap_or(around.peers), ..around };
        let mut slice = Slice {
            proposal,
            around,
            ways: proposal.outgoing.iter().filter_map(|outgoing| self.way(outgoing)).collect(),
            memos: BTreeMap::new(),
            scratch: Scratch::default(),
            exceptions: Exceptions::default(),
            spent: 0,
        };
        let originated = u32::try_from(proposal.originated.len()).unwrap_or(u32::MAX);
        let end = originated.saturating_add(self.destinations.positions());
        let mut at = cursor.position();
        while at < end && slice.spent < limit.max(1) {
            match at.checked_sub(originated) {
                Some(position) => self.preview_at(position, &mut slice, counted),
                None => self.preview_new(at as usize, &mut slice, counted),
            }
            at += 1;
        }
        for way in slice.ways {
            way.members.iter().for_each(|member| *counted.entry(*member).or_default() += way.common);
        }
        (at < end).then(|| Cursor::at(at))
    }

    /// A way out of a group that there is.
    fn way<'a>(&self, outgoing: &'a Outgoing) -> Option<Way<'a, N>> {
        let now = self.column(outgoing.group)?;
        let before = if outgoing.shutting_down { now.spec.shutting_down() } else { now.spec.clone() };
        let then = outgoing.spec.as_ref().unwrap_or(&before).clone();
        Some(Way {
            members: &outgoing.members,
            differs: before != then,
            alike: before.looks_like(&then),
            column: Column::new(outgoing.group, now.slot, then),
            before,
            common: RouteChanges::default(),
            sent: [Vec::new(), Vec::new()],
        })
    }

    /// A prefix that is to be originated and that the table does not have.
    fn preview_new(&self, at: usize, slice: &mut Slice<'_, N>, counted: &mut Counted) {
        slice.spent += 1;
        let Proposal { originated, partitions, .. } = slice.proposal;
        let Some((prefix, Some(attrs))) = originated.get(at) else { return };
        let Some(key) = N::from_prefix(*prefix) else { return };
        if partition_of::<N>(&key, *partitions) == slice.around.partition && self.destinations.find(&key).is_none() {
            let mut copy = Destination::new(key);
            copy.paths.push(local_path(attrs.clone(), 1));
            self.export(None, copy, true, slice, counted);
        }
    }

    fn preview_at(&self, at: u32, slice: &mut Slice<'_, N>, counted: &mut Counted) {
        slice.spent += 1;
        let Some(destination) = self.destinations.get(at).filter(|destination| !destination.is_vacant()) else {
            return;
        };
        let mut copy = Destination::new(destination.key);
        copy.has_best = destination.has_best;
        let originated = slice.proposal.originates(&N::prefix(&destination.key));
        let mut touched = slice.around.decision != slice.proposal.decision && destination.paths.as_slice().len() > 1;
        for (index, path) in destination.paths.as_slice().iter().enumerate() {
            slice.spent += 1;
            let becomes = match &originated {
                Some(wanted) if path.peer == PeerIndex::LOCAL => wanted.map(|attrs| (attrs.clone(), None)),
                _ => self.becomes(at, path, &destination.key, slice),
            };
            let (was, differs) = (path.rejection.is_none(), becomes.as_ref().is_none_or(|new| new.0 != path.attrs));
            let is = becomes.as_ref().is_some_and(|(_, rejection)| rejection.is_none());
            *counted.entry(path.peer).or_default() += RouteChanges::coming(was, is, differs);
            touched |= differs || was != is || slice.proposal.kinds.contains_key(&path.peer);
            match becomes {
                Some((attrs, rejection)) => copy.paths.push(Path { attrs, rejection, ..path.clone() }),
                None if index == 0 => copy.has_best = false,
                None => {}
            }
        }
        if let Some(Some(attrs)) = originated
            && copy.paths.find(PeerIndex::LOCAL, 0).is_none()
        {
            // A path that goes at the same time keeps its identifier until it is gone.
            copy.paths.push(local_path(attrs.clone(), destination.paths.free_local_id()));
            touched = true;
        }
        self.export(Some(at), copy, touched, slice, counted);
    }

    /// What a path is to be; `None` if it goes.
    fn becomes(
        &self,
        at: u32,
        path: &Path,
        key: &N::Key,
        slice: &mut Slice<'_, N>,
    ) -> Option<(AttrRef, Option<Rejection>)> {
        let Slice { proposal, around, memos, .. } = slice;
        if proposal.lost.contains(&(path.peer, N::FAMILY)) {
            return None;
        }
        let judged = proposal.incoming.get(&path.peer).and_then(|import| {
            let (peer, paths_of) = (around.peers.get(path.peer), &self.paths_of[position(path.peer)]);
            let judge = Judge { peer, import, paths_of, interner: around.interner };
            judge.judge::<N>(path, self.received.of(at, path), key, memos.entry(path.peer).or_default())
        });
        Some(judged.unwrap_or_else(|| (path.attrs.clone(), path.rejection)))
    }

    /// Elects a path of a copy and compares what each way out makes of it with what is told now.
    fn export(
        &self,
        at: Option<u32>,
        mut copy: Destination<N::Key>,
        touched: bool,
        slice: &mut Slice<'_, N>,
        counted: &mut Counted,
    ) {
        let Slice { proposal, around: Around { peers, .. }, ways, scratch, exceptions, spent, .. } = slice;
        if !touched && !ways.iter().any(|way| way.differs) {
            return;
        }
        let mut place = Place::new(at.unwrap_or_default(), &mut copy, exceptions);
        elect(&mut place, peers, proposal.decision, scratch);
        for way in ways.iter_mut().filter(|way| touched || way.differs) {
            *spent += 1;
            let slot = way.column.slot;
            way.column.update(&mut place, peers, proposal.decision, scratch);
            way.column.changes.clear();
            let was: Vec<Told<'_>> = at.map(|at| self.destinations.told(at, slot).collect()).unwrap_or_default();
            let is: Vec<Told<'_>> = place.told(slot).collect();
            way.compare(&was, &is, peers, counted);
            let path_ids: Vec<u16> = is.iter().map(|told| told.path_id).collect();
            path_ids.into_iter().for_each(|path_id| place.tell(slot, path_id, None));
        }
    }
}

impl<N: Routed> Way<'_, N> {
    /// Counts what differs between what was told and what is to be told.
    fn compare(&mut self, was: &[Told<'_>], is: &[Told<'_>], peers: &Peers, counted: &mut Counted) {
        for told in was {
            let then = is.iter().find(|then| then.path_id == told.path_id);
            self.count(Some(told), then, peers, counted);
        }
        for then in is.iter().filter(|then| was.iter().all(|told| told.path_id != then.path_id)) {
            self.count(None, Some(then), peers, counted);
        }
    }

    fn count(&mut self, was: Option<&Told<'_>>, is: Option<&Told<'_>>, peers: &Peers, counted: &mut Counted) {
        let differs = match (was, is) {
            (Some(was), Some(is)) => !self.is_seen_alike(was, is, peers),
            _ => true,
        };
        self.common += RouteChanges::going(was.is_some(), is.is_some(), differs, 1);
        let sources: BTreeSet<PeerIndex> = was.into_iter().chain(is).map(|told| told.peer).collect();
        for member in sources.intersection(self.members) {
            // It is not told its own.
            let of_others = |told: Option<&Told<'_>>| told.is_some_and(|told| told.peer != *member);
            let changes = counted.entry(*member).or_default();
            *changes += RouteChanges::going(was.is_some(), is.is_some(), differs, -1);
            *changes += RouteChanges::going(of_others(was), of_others(is), differs, 1);
        }
    }

    /// Whether members see no difference.
    fn is_seen_alike(&mut self, was: &Told<'_>, is: &Told<'_>, peers: &Peers) -> bool {
        if self.alike && was.attrs == is.attrs && was.peer == is.peer {
            return true;
        }
        let [before, then] = &mut self.sent;
        let send = |spec: &ExportSpec, told: &Told<'_>, out: &mut Vec<u8>| {
            out.clear();
            spec.outgoing(told.attrs, &peers.get(told.peer).source, out)
        };
        let next_hops = (send(&self.before, was, before), send(&self.column.spec, is, then));
        next_hops.0 == next_hops.1 && before == then
    }
}

/// A path that is originated here.
fn local_path(attrs: AttrRef, local_id: u16) -> Path {
    Path { attrs, peer: PeerIndex::LOCAL, path_id: 0, since: 0, local_id, generation: 0, rejection: None }
}
