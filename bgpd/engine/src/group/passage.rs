//! Members that go from one group to another while their sessions stay up.
//!
//! ```text
//! old group ── pass ──► partitions ── Departed ──► old group ── hand over ──► new group
//!                            └─────── Arrived ───► new group
//! ```
//!
//! Each partition decides at which point of what it emits a member goes over, and marks that point for both groups. The
//! old one sends the member everything before its mark and nothing behind it; when all partitions have said so, it hands
//! over what is left: what the member missed and the markers that it is still to be sent. The new group notes for it
//! what comes behind its mark, and sends nothing until then, so that nothing overtakes. What the partitions bring it
//! over with ([`crate::rib`]) comes in the same order as all changes.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::member::MemberState;
use super::{Group, Outlet};
use crate::id::{GroupIndex, PeerIndex};
use crate::stage::{AnyMissed, Member, Routed};

/// Passages are numbered from here: memberships of no group are.
pub const PASSAGES: u32 = 1 << 30;

/// What a group hands over of a member.
pub struct Handover {
    /// What it missed of the old group's changes, by partition.
    pub missed: Vec<(usize, AnyMissed)>,
    /// End-of-RIB, if it was not sent yet (RFC 4724 §2).
    pub end_of_rib: Option<Bytes>,
    /// EoRR, if it was not sent yet (RFC 7313 §4).
    pub end_of_refresh: Option<Bytes>,
    /// The markers are held back.
    pub held: bool,
}

/// A member that comes.
pub(super) struct Arrival {
    /// The number of its passage.
    pub(super) passage: u32,
    /// Its old group has not handed it over.
    pub(super) awaited: bool,
    /// Partitions whose emissions are not for it yet.
    apart: BTreeSet<usize>,
    /// Partitions that have not brought it over everywhere.
    left: usize,
}

/// A member that goes.
pub(super) struct Departure<N: Routed> {
    pub(super) peer: PeerIndex,
    pub(super) state: MemberState<N>,
    to: GroupIndex,
    /// Partitions whose emissions are not for it any more.
    apart: BTreeSet<usize>,
}

impl<N: Routed> Group<N> {
    /// A member comes from another group, which will hand it over.
    pub(super) fn arrive(&mut self, member: Member, outlet: &mut impl Outlet) {
        let Member { peer, incarnation: passage } = member;
        self.leave(peer, outlet);
        let partitions = self.partitions;
        let incarnation = self.next_member(peer).incarnation;
        let apart = (0..partitions).collect();
        let arrival = Arrival { passage, awaited: true, apart, left: partitions };
        // The markers, and whether they are held, come with the hand-over; held they are until then.
        let mut state = MemberState::new(incarnation, 0, None);
        state.held = true;
        state.arrival = Some(arrival);
        self.has_arrivals = true;
        self.members.insert(peer, state);
    }

    /// A member goes to another group, under the number of its passage.
    pub(super) fn depart(&mut self, member: Member, to: GroupIndex, outlet: &mut impl Outlet) {
        let Member { peer, incarnation: passage } = member;
        self.flush(outlet);
        let Some(mut state) = self.members.remove(&peer) else { return };
        let anew = state.walks_left > 0 || state.arrival.is_some();
        outlet.end_walk(self.index, Member { peer, incarnation: state.incarnation });
        state.forget_asked();
        state.incarnation = passage;
        self.departing.push(Departure { peer, state, to, apart: BTreeSet::new() });
        outlet.pass(self.index, to, member, anew);
        self.pay(outlet);
    }

    /// A partition has nothing more for a member that goes.
    pub(super) fn departed(&mut self, partition: usize, member: Member, outlet: &mut impl Outlet) {
        self.flush(outlet);
        let is_it = |departure: &Departure<N>| departure.state.incarnation == member.incarnation;
        let Some(at) = self.departing.iter().position(is_it) else { return };
        self.departing[at].apart.insert(partition);
        if self.departing[at].apart.len() < self.partitions {
            return;
        }
        let Departure { state, to, .. } = self.departing.swap_remove(at);
        let MemberState { mut missed, end_of_rib, end_of_refresh, held, .. } = state;
        let missed = missed.take(usize::MAX, self.partitions);
        let missed = missed.into_iter().map(|(partition, missed)| (partition, N::missed(missed))).collect();
        outlet.hand_over(to, member, Handover { missed, end_of_rib, end_of_refresh, held });
    }

    /// What a partition emits from here on is for a member that comes.
    pub(super) fn arrived(&mut self, partition: usize, member: Member, outlet: &mut impl Outlet) {
        self.flush(outlet);
        if let Some(arrival) = self.arrival(member) {
            arrival.apart.remove(&partition);
        }
    }

    /// The old group of a member that comes has sent it all that it had for it.
    pub(super) fn take_over(&mut self, member: Member, handover: Handover, outlet: &mut impl Outlet) {
        self.flush(outlet);
        if let Some(arrival) = self.arrival(member) {
            arrival.awaited = false;
        } else {
            return;
        }
        let Some(state) = self.members.get_mut(&member.peer) else { return };
        let Handover { missed, end_of_rib, end_of_refresh, held } = handover;
        for (partition, missed) in &missed {
            if let Some(missed) = N::missed_of(missed) {
                state.missed.put_back(*partition, missed);
            }
        }
        state.end_of_rib = end_of_rib;
        state.end_of_refresh = state.end_of_refresh.take().or(end_of_refresh);
        // It may have been let go in the meantime.
        state.held &= held;
        self.pay(outlet);
        self.settle(member.peer, outlet);
    }

    /// A partition has brought a member over everywhere.
    pub(super) fn brought_over(&mut self, member: Member, outlet: &mut impl Outlet) -> bool {
        let Some(arrival) = self.arrival(member) else { return false };
        arrival.left = arrival.left.saturating_sub(1);
        self.settle(member.peer, outlet);
        true
    }

    /// Makes a member that came one like all others, when nothing of its passage is left.
    fn settle(&mut self, peer: PeerIndex, outlet: &mut impl Outlet) {
        let Some(state) = self.members.get_mut(&peer) else { return };
        if state.arrival.take_if(|arrival| !arrival.awaited && arrival.left == 0).is_some() {
            outlet.settled(self.index, peer);
        }
        self.pump(peer, outlet);
    }

    fn arrival(&mut self, member: Member) -> Option<&mut Arrival> {
        let arrival = self.members.get_mut(&member.peer)?.arrival.as_mut();
        arrival.filter(|arrival| arrival.passage == member.incarnation)
    }

    /// Whether everything that a partition emits to all is for every member, and for nobody else.
    pub(super) fn is_whole(&mut self, partition: usize) -> bool {
        if self.has_arrivals {
            let mut arrivals = self.members.values().filter_map(|state| state.arrival.as_ref());
            if arrivals.any(|arrival| arrival.apart.contains(&partition)) {
                return false;
            }
            self.has_arrivals = self.members.values().any(|state| state.arrival.is_some());
        }
        self.departing.is_empty()
    }

    /// Whom that is for which a partition emits to all.
    pub(super) fn recipients(&self, partition: usize) -> Vec<Member> {
        let is_apart = |state: &MemberState<N>| match &state.arrival {
            Some(arrival) => arrival.apart.contains(&partition),
            None => false,
        };
        let here = self.members.iter().filter(|(_, state)| !is_apart(state));
        let here = here.map(|(peer, state)| Member { peer: *peer, incarnation: state.incarnation });
        let going = self.departing.iter().filter(|departure| !departure.apart.contains(&partition));
        let going = going.map(|one| Member { peer: one.peer, incarnation: one.state.incarnation });
        here.chain(going).collect()
    }

    /// Whether a peer is sent something here.
    pub(super) fn serves(&self, peer: PeerIndex) -> bool {
        self.members.contains_key(&peer) || self.departing.iter().any(|departure| departure.peer == peer)
    }

    /// The state of a member, or of one that goes, if it is still the same membership.
    pub(super) fn state_of(&mut self, member: Member) -> Option<&mut MemberState<N>> {
        let Member { peer, incarnation } = member;
        let here = self.members.get_mut(&peer).filter(|state| state.is(incarnation));
        here.or_else(|| {
            let going = self.departing.iter_mut().map(|departure| &mut departure.state);
            going.into_iter().find(|state| state.incarnation == incarnation)
        })
    }
}
