//! A group, and beside it those of its members that are being shut down gracefully (RFC 8326).
//!
//! They are told the same routes with other attributes, so they have an encoding of their own; everything that a
//! partition emits goes to both. A member goes from one to the other between two emissions, with all that it missed,
//! and is then told everything again: so nothing is lost on the way, and no session ends.

use bytes::Bytes;

use super::{Group, GroupStatistics, Handover, Outlet};
use crate::export::ExportSpec;
use crate::id::{GroupIndex, PeerIndex};
use crate::stage::{Emission, Member, Routed};

/// Memberships of the second group are numbered from here, so that no emission to a member is taken for another's.
const INCARNATIONS: u32 = 1 << 31;

/// The members of a group.
pub struct Pair<N: Routed> {
    group: Group<N>,
    /// Those that are being shut down, while there are any.
    shutting_down: Option<Box<Group<N>>>,
}

impl<N: Routed> Pair<N> {
    /// As [`Group::new`].
    #[must_use]
    pub fn new(index: GroupIndex, spec: ExportSpec, partitions: usize) -> Self {
        Self { group: Group::new(index, spec, partitions), shutting_down: None }
    }

    fn both(&mut self) -> impl Iterator<Item = &mut Group<N>> {
        std::iter::once(&mut self.group).chain(self.shutting_down.as_deref_mut())
    }

    /// As [`Group::release_buffers`].
    pub fn release_buffers(&mut self) {
        self.both().for_each(Group::release_buffers);
    }

    /// The one that a peer is in.
    fn of(&mut self, peer: PeerIndex) -> &mut Group<N> {
        match &mut self.shutting_down {
            Some(group) if group.has(peer) => group,
            _ => &mut self.group,
        }
    }

    /// Tells a member from now on that this speaker is about to go, or that it stays after all: everything again, with
    /// GRACEFUL_SHUTDOWN or without (RFC 8326 §4).
    pub fn shut_down(&mut self, peer: PeerIndex, on: bool, outlet: &mut impl Outlet) {
        let is_there = self.shutting_down.as_ref().is_some_and(|group| group.has(peer));
        if is_there == on || !self.of(peer).has(peer) {
            return;
        }
        let state = self.of(peer).release(peer, outlet);
        let to = self.place(on);
        state.into_iter().for_each(|state| to.admit(peer, state, outlet));
        self.tidy(outlet);
    }

    /// The group of those that are being shut down, or of those that are not.
    fn place(&mut self, shut_down: bool) -> &mut Group<N> {
        let Self { group, shutting_down } = self;
        match shut_down {
            false => group,
            true => shutting_down.get_or_insert_with(|| {
                let mut beside = Group::new(group.index, group.spec.shutting_down(), group.partitions);
                beside.incarnations = INCARNATIONS;
                Box::new(beside)
            }),
        }
    }

    /// A member comes from another group, which hands it over later; `member` has the number of its passage, which is
    /// no membership's in any group. Nothing is sent to it until then.
    pub fn arrive(&mut self, member: Member, shut_down: bool, outlet: &mut impl Outlet) {
        self.leave(member.peer, outlet);
        self.place(shut_down).arrive(member, outlet);
    }

    /// A settled member goes to another group.
    pub fn depart(&mut self, member: Member, to: GroupIndex, outlet: &mut impl Outlet) {
        self.of(member.peer).depart(member, to, outlet);
    }

    /// A member that came has been sent all that its old group had for it.
    pub fn take_over(&mut self, member: Member, handover: Handover, outlet: &mut impl Outlet) {
        self.of(member.peer).take_over(member, handover, outlet);
    }

    /// Drops the second group when nobody is in it.
    fn tidy(&mut self, outlet: &mut impl Outlet) {
        if let Some(mut group) = self.shutting_down.take_if(|group| group.is_empty()) {
            group.flush(outlet);
            self.group.statistics.add(&group.statistics);
        }
    }

    /// As [`Group::handle`].
    pub fn handle(&mut self, emission: &Emission<N>, outlet: &mut impl Outlet) {
        self.both().for_each(|group| group.handle(emission, outlet));
        self.tidy(outlet);
    }

    /// As [`Group::flush`].
    pub fn flush(&mut self, outlet: &mut impl Outlet) {
        self.both().for_each(|group| group.flush(outlet));
    }

    /// As [`Group::join`].
    pub fn join(&mut self, peer: PeerIndex, outlet: &mut impl Outlet) {
        self.leave(peer, outlet);
        self.group.join(peer, outlet);
    }

    /// As [`Group::hold_end`].
    pub fn hold_end(&mut self, peer: PeerIndex, hold: bool, outlet: &mut impl Outlet) {
        self.of(peer).hold_end(peer, hold, outlet);
    }

    /// As [`Group::leave`].
    pub fn leave(&mut self, peer: PeerIndex, outlet: &mut impl Outlet) {
        self.both().for_each(|group| group.leave(peer, outlet));
        self.tidy(outlet);
    }

    /// As [`Group::refresh`].
    pub fn refresh(&mut self, peer: PeerIndex, end: Option<Bytes>, outlet: &mut impl Outlet) {
        self.of(peer).refresh(peer, end, outlet);
    }

    /// As [`Group::drained`].
    pub fn drained(&mut self, peer: PeerIndex, outlet: &mut impl Outlet) {
        self.of(peer).drained(peer, outlet);
    }

    /// Number of members.
    #[must_use]
    pub fn len(&self) -> usize {
        self.group.len() + self.shutting_down.as_ref().map_or(0, |group| group.len())
    }

    /// Whether nobody is a member or about to be handed over.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.group.is_empty() && self.shutting_down.as_ref().is_none_or(|group| group.is_empty())
    }

    /// What has been done so far.
    #[must_use]
    pub fn statistics(&self) -> GroupStatistics {
        let mut sum = *self.group.statistics();
        self.shutting_down.iter().for_each(|group| sum.add(group.statistics()));
        sum
    }

    /// Members that are not sent anything until they drain.
    pub fn slow_members(&self) -> impl Iterator<Item = PeerIndex> + '_ {
        self.group.slow_members().chain(self.shutting_down.iter().flat_map(|group| group.slow_members()))
    }

    /// Breaks a rule: members keep routes whose place their own routes have taken.
    #[cfg(feature = "sabotage")]
    pub(crate) fn forget_private_withdrawals(&mut self) {
        self.both().for_each(|group| group.no_private_withdrawals = true);
    }
}
