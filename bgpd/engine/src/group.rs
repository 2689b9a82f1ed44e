//! Update groups: one encoding for all members.
//!
//! A [`Group`] is the last stage that knows routes: changes come in from the partitions, messages
//! go out to an [`Outlet`] that has a bounded queue per member. Changes are packed by attributes and
//! source, edited for the group's sessions and encoded once ([`Chunk`]); a member's own routes are
//! cut out by position. A member whose queue is full gets nothing more until it has drained; of what
//! it missed only the places are kept, and their present state is asked for then.
//!
//! Why nothing overtakes: for one key, all that partitions emit comes in one order (live changes,
//! walks and refills alike), and a member is sent either the whole of that order from its join on,
//! or the state of a key at a later point of it.

mod chunk;
mod control;
mod deliver;
mod encode;
mod member;
mod missed;
mod pack;
mod pair;
mod passage;

use std::collections::BTreeMap;

use bgp_wire::nlri::{Ipv4Unicast, Ipv6Unicast};
use bgp_wire::update::{PathKey, UpdateEncoder};
use bgp_wire::{Family, Nlri};
use bytes::Bytes;

use crate::export::ExportSpec;
use crate::id::{GroupIndex, PeerIndex};
use crate::stage::{AnyEmission, AnyMissed, Cause, Emission, Member, Routed, Target, for_each_family};

pub use chunk::{Chunk, Skip};
pub use control::GroupControl;
pub use pair::Pair;
pub use passage::{Handover, PASSAGES};

use chunk::{Closed, OpenChunk};
use member::MemberState;
use pack::Packer;
use passage::Departure;

/// What became of a chunk that was offered to a member's queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Push {
    /// It will be sent.
    Taken,
    /// It was not taken: the queue holds as much as it may. [`Group::drained`] is to be called when
    /// there is room again. An empty queue must take any chunk.
    Full,
}

/// Where a group's output goes, and how it asks partitions for more.
pub trait Outlet {
    /// Offers `member` its parts of a chunk.
    fn push(&mut self, member: PeerIndex, chunk: Chunk) -> Push;
    /// `member` has been sent its whole Adj-RIB-Out and the End-of-RIB marker behind it.
    fn told_all(&mut self, _member: PeerIndex) {}
    /// Asks one partition to refill ([`crate::rib::Partition::refill`]).
    fn refill(&mut self, partition: usize, group: GroupIndex, member: Member, missed: AnyMissed);
    /// Asks all partitions to start a walk ([`crate::rib::Partition::join`]).
    fn walk(&mut self, group: GroupIndex, member: Member);
    /// Tells all partitions to end a walk ([`crate::rib::Partition::leave`]).
    fn end_walk(&mut self, group: GroupIndex, member: Member);
    /// Allows a partition the next slice of its walk ([`crate::rib::Partition::walk_credit`]).
    fn walk_credit(&mut self, partition: usize, group: GroupIndex);
    /// Tells all partitions that a member goes to another group ([`crate::rib::Partition::pass`]).
    fn pass(&mut self, from: GroupIndex, to: GroupIndex, member: Member, anew: bool);
    /// Gives a member that goes, and its queue, to its new group ([`AnyGroup::take_over`]).
    fn hand_over(&mut self, to: GroupIndex, member: Member, handover: Handover);
    /// A member that came from another group is one like all others now.
    fn settled(&mut self, _group: GroupIndex, _member: PeerIndex) {}
}

/// What a group has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct GroupStatistics {
    /// Changes taken in, for all members or for some.
    pub changes: u64,
    /// Runs of changes encoded, each as one or more UPDATEs.
    pub runs: u64,
    /// Octets encoded.
    pub bytes: u64,
    /// Chunks offered to members.
    pub chunks: u64,
    /// Routes withdrawn from a member because the best path is its own now.
    pub private_withdrawals: u64,
    /// Routes not announced because their attributes do not fit into a message (RFC 8654 §4).
    pub too_large: u64,
    /// Times that a member's queue was full.
    pub slow: u64,
}

impl GroupStatistics {
    fn add(&mut self, other: &Self) {
        let Self { changes, runs, bytes, chunks, private_withdrawals, too_large, slow } = other;
        self.changes += changes;
        self.runs += runs;
        self.bytes += bytes;
        self.chunks += chunks;
        self.private_withdrawals += private_withdrawals;
        self.too_large += too_large;
        self.slow += slow;
    }
}

/// The members of one update group and what is on its way to them.
pub struct Group<N: Routed> {
    index: GroupIndex,
    spec: ExportSpec,
    encoder: UpdateEncoder,
    partitions: usize,
    members: BTreeMap<PeerIndex, MemberState<N>>,
    /// Those that go to other groups.
    departing: Vec<Departure<N>>,
    /// Some members may not have come from their other groups yet.
    has_arrivals: bool,
    incarnations: u32,
    open: OpenChunk<PathKey<N::Key>>,
    packer: Packer<N::Key>,
    attributes: Vec<u8>,
    /// Partitions whose walk waits until a member has room.
    owed: Vec<usize>,
    statistics: GroupStatistics,
    #[cfg(feature = "sabotage")]
    no_private_withdrawals: bool,
}

impl<N: Routed> Group<N> {
    /// A group without members, fed by `partitions` partitions.
    #[must_use]
    pub fn new(index: GroupIndex, spec: ExportSpec, partitions: usize) -> Self {
        let encoder = UpdateEncoder { max_len: spec.key().max_message_len, four_octet_as: spec.key().four_octet_as };
        Self {
            index,
            spec,
            encoder,
            partitions: partitions.max(1),
            members: BTreeMap::new(),
            departing: Vec::new(),
            has_arrivals: false,
            incarnations: 0,
            open: OpenChunk::new(),
            packer: Packer::new(),
            attributes: Vec::new(),
            owed: Vec::new(),
            statistics: GroupStatistics::default(),
            #[cfg(feature = "sabotage")]
            no_private_withdrawals: false,
        }
    }

    /// Which group.
    #[must_use]
    pub fn index(&self) -> GroupIndex {
        self.index
    }

    /// Number of members.
    #[must_use]
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether nobody is a member, or was one and is still to be handed over.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.members.is_empty() && self.departing.is_empty()
    }

    /// What the group has done so far.
    #[must_use]
    pub fn statistics(&self) -> &GroupStatistics {
        &self.statistics
    }

    /// Members that are not sent anything until they drain.
    pub fn slow_members(&self) -> impl Iterator<Item = PeerIndex> + '_ {
        self.members.iter().filter(|(_, state)| state.slow).map(|(peer, _)| *peer)
    }

    /// A session joins: it is sent the whole Adj-RIB-Out, then End-of-RIB (RFC 4724 §2).
    pub fn join(&mut self, peer: PeerIndex, outlet: &mut impl Outlet) {
        self.leave(peer, outlet);
        let mut marker = Vec::new();
        self.encoder.end_of_rib(N::FAMILY, &mut marker);
        let member = self.next_member(peer);
        let state = MemberState::new(member.incarnation, self.partitions, Some(marker.into()));
        self.members.insert(peer, state);
        outlet.walk(self.index, member);
        self.pay(outlet);
    }

    /// Sends a member everything again (RFC 2918), then `end`: EoRR where that was negotiated
    /// (RFC 7313 §4).
    pub fn refresh(&mut self, peer: PeerIndex, end: Option<Bytes>, outlet: &mut impl Outlet) {
        self.flush(outlet);
        let member = self.next_member(peer);
        let Some(state) = self.members.get_mut(&peer) else { return };
        let before = Member { peer, incarnation: state.incarnation };
        state.renew(member.incarnation, self.partitions, end);
        outlet.end_walk(self.index, before);
        outlet.walk(self.index, member);
        self.pay(outlet);
        self.pump(peer, outlet);
    }

    /// A session is no member any more.
    pub fn leave(&mut self, peer: PeerIndex, outlet: &mut impl Outlet) {
        self.flush(outlet);
        self.departing.retain(|departure| departure.peer != peer);
        let Some(state) = self.members.remove(&peer) else { return };
        if state.walks_left > 0 {
            outlet.end_walk(self.index, Member { peer, incarnation: state.incarnation });
        }
        if let Some(arrival) = state.arrival {
            outlet.end_walk(self.index, Member { peer, incarnation: arrival.passage });
        }
        self.pay(outlet);
    }

    /// Holds a member's End-of-RIB back (`true`), or lets it go when all before it is sent.
    pub fn hold_end(&mut self, peer: PeerIndex, hold: bool, outlet: &mut impl Outlet) {
        if let Some(state) = self.members.get_mut(&peer) {
            state.held = hold;
            self.pump(peer, outlet);
        }
    }

    /// Whether a peer is a member.
    fn has(&self, peer: PeerIndex) -> bool {
        self.members.contains_key(&peer)
    }

    /// Takes a member out, with all that it is still to be told.
    fn release(&mut self, peer: PeerIndex, outlet: &mut impl Outlet) -> Option<MemberState<N>> {
        self.flush(outlet);
        let state = self.members.remove(&peer)?;
        outlet.end_walk(self.index, Member { peer, incarnation: state.incarnation });
        self.pay(outlet);
        Some(state)
    }

    /// Takes in a member of another group with the same routes, which is told everything again.
    fn admit(&mut self, peer: PeerIndex, mut state: MemberState<N>, outlet: &mut impl Outlet) {
        self.flush(outlet);
        let member = self.next_member(peer);
        state.renew(member.incarnation, self.partitions, None);
        self.has_arrivals |= state.arrival.is_some();
        self.members.insert(peer, state);
        outlet.walk(self.index, member);
        self.pay(outlet);
        self.pump(peer, outlet);
    }

    /// Gives memory back in which messages are made. To be called every few seconds: it is soon there again.
    pub fn release_buffers(&mut self) {
        self.packer = Packer::new();
        self.attributes = Vec::new();
        if self.open.is_empty() {
            self.open = OpenChunk::new();
        }
    }

    /// A member that was full has room again.
    pub fn drained(&mut self, peer: PeerIndex, outlet: &mut impl Outlet) {
        let Some(state) = self.members.get_mut(&peer) else { return };
        state.slow = false;
        self.pump(peer, outlet);
        self.pay(outlet);
    }

    /// Takes in what a partition emitted. Messages leave when a chunk is full or with
    /// [`Group::flush`], which is due when no more input waits.
    pub fn handle(&mut self, emission: &Emission<N>, outlet: &mut impl Outlet) {
        self.statistics.changes += emission.changes.len() as u64;
        match &emission.target {
            Target::All => self.deliver_to_all(emission, outlet),
            Target::Members(members) => {
                self.deliver_to(members, emission, outlet);
                self.note_progress(emission, members, outlet);
            }
        }
    }

    fn note_progress(&mut self, emission: &Emission<N>, to: &[Member], outlet: &mut impl Outlet) {
        for member in &emission.end_of_rib {
            if self.brought_over(*member, outlet) {
                continue;
            }
            if let Some(state) = current(&mut self.members, *member) {
                state.walks_left = state.walks_left.saturating_sub(1);
                self.pump(member.peer, outlet);
            }
        }
        match emission.cause {
            Cause::Live => {}
            Cause::Refill => {
                for member in to {
                    if let Some(state) = current(&mut self.members, *member) {
                        state.refilled();
                        self.pump(member.peer, outlet);
                    }
                }
            }
            Cause::WalkSlice => self.answer_slice(emission.partition, to, outlet),
            Cause::Departed => to.iter().for_each(|member| self.departed(emission.partition, *member, outlet)),
            Cause::Arrived => to.iter().for_each(|member| self.arrived(emission.partition, *member, outlet)),
        }
    }

    /// A walk goes on at the pace of its fastest member; for slow ones only, it waits.
    fn answer_slice(&mut self, partition: usize, to: &[Member], outlet: &mut impl Outlet) {
        let mut states = to.iter().filter_map(|member| {
            let state = self.members.get(&member.peer)?;
            state.is(member.incarnation).then_some(state.is_blocked())
        });
        let all_slow = states.next().is_some_and(|slow| slow) && states.all(|slow| slow);
        if all_slow {
            self.owed.push(partition);
        } else {
            outlet.walk_credit(partition, self.index);
        }
    }

    /// Lets walks go on that waited for a slow member.
    fn pay(&mut self, outlet: &mut impl Outlet) {
        for partition in self.owed.drain(..) {
            outlet.walk_credit(partition, self.index);
        }
    }

    /// Asks for what a member missed, or ends its catching up.
    fn pump(&mut self, peer: PeerIndex, outlet: &mut impl Outlet) {
        let Some(state) = self.members.get_mut(&peer) else { return };
        let member = Member { peer, incarnation: state.incarnation };
        for (partition, missed) in state.ask(self.partitions) {
            outlet.refill(partition, self.index, member, N::missed(missed));
        }
        if state.held || state.walks_left > 0 || state.arrival.is_some() || state.slow || !state.is_caught_up() {
            return;
        }
        self.push_ends(peer, outlet);
    }

    fn next_member(&mut self, peer: PeerIndex) -> Member {
        self.incarnations = self.incarnations.wrapping_add(1);
        Member { peer, incarnation: self.incarnations }
    }
}

/// The state of a member, if it is still the same membership.
fn current<N: Nlri>(members: &mut BTreeMap<PeerIndex, MemberState<N>>, member: Member) -> Option<&mut MemberState<N>> {
    members.get_mut(&member.peer).filter(|state| state.incarnation == member.incarnation)
}

macro_rules! any_group {
    ($($family:ident $field:ident,)*) => {
        /// A group of any family.
        pub enum AnyGroup {
            $(#[doc = concat!("Of `", stringify!($family), "`.")] $family(Pair<$family>),)*
        }

        impl AnyGroup {
            /// A group of the family of `spec`, if that is a family that can be routed.
            #[must_use]
            pub fn new(index: GroupIndex, spec: ExportSpec, partitions: usize) -> Option<Self> {
                match spec.key().family {
                    $(<$family as Nlri>::FAMILY => {
                        Some(Self::$family(Pair::new(index, spec, partitions)))
                    })*
                    _ => None,
                }
            }

            /// The family.
            #[must_use]
            pub fn family(&self) -> Family {
                match self { $(Self::$family(_) => <$family as Nlri>::FAMILY,)* }
            }

            /// [`Group::handle`]; an emission of another family is none of this group's.
            pub fn handle(&mut self, emission: &AnyEmission, outlet: &mut impl Outlet) {
                match (self, emission) {
                    $((Self::$family(group), AnyEmission::$family(emission)) => {
                        group.handle(emission, outlet);
                    })*
                    _ => {}
                }
            }

            /// Breaks a rule: members keep routes whose place their own routes have taken.
            #[cfg(feature = "sabotage")]
            pub(crate) fn forget_private_withdrawals(&mut self) {
                match self { $(Self::$family(group) => group.forget_private_withdrawals(),)* }
            }

            /// [`Group::len`].
            #[must_use]
            pub fn len(&self) -> usize {
                match self { $(Self::$family(group) => group.len(),)* }
            }

            /// [`Group::is_empty`].
            #[must_use]
            pub fn is_empty(&self) -> bool {
                match self { $(Self::$family(group) => group.is_empty(),)* }
            }

            /// [`Group::statistics`].
            #[must_use]
            pub fn statistics(&self) -> GroupStatistics {
                match self { $(Self::$family(group) => group.statistics(),)* }
            }

            /// [`Group::slow_members`].
            #[must_use]
            pub fn slow_members(&self) -> Vec<PeerIndex> {
                match self { $(Self::$family(group) => group.slow_members().collect(),)* }
            }

            /// [`Group::join`].
            pub fn join(&mut self, peer: PeerIndex, outlet: &mut impl Outlet) {
                match self { $(Self::$family(group) => group.join(peer, outlet),)* }
            }

            /// [`Group::refresh`].
            pub fn refresh(
                &mut self,
                peer: PeerIndex,
                end: Option<Bytes>,
                outlet: &mut impl Outlet,
            ) {
                match self { $(Self::$family(group) => group.refresh(peer, end, outlet),)* }
            }

            /// [`Pair::shut_down`].
            pub fn shut_down(&mut self, peer: PeerIndex, on: bool, outlet: &mut impl Outlet) {
                match self { $(Self::$family(group) => group.shut_down(peer, on, outlet),)* }
            }

            /// [`Pair::arrive`].
            pub fn arrive(&mut self, member: Member, shut_down: bool, outlet: &mut impl Outlet) {
                match self { $(Self::$family(group) => group.arrive(member, shut_down, outlet),)* }
            }

            /// [`Pair::depart`].
            pub fn depart(&mut self, member: Member, to: GroupIndex, outlet: &mut impl Outlet) {
                match self { $(Self::$family(group) => group.depart(member, to, outlet),)* }
            }

            /// [`Pair::take_over`].
            pub fn take_over(&mut self, member: Member, handover: Handover, outlet: &mut impl Outlet) {
                match self { $(Self::$family(group) => group.take_over(member, handover, outlet),)* }
            }

            /// [`Group::hold_end`].
            pub fn hold_end(&mut self, peer: PeerIndex, hold: bool, outlet: &mut impl Outlet) {
                match self { $(Self::$family(group) => group.hold_end(peer, hold, outlet),)* }
            }

            /// [`Group::leave`].
            pub fn leave(&mut self, peer: PeerIndex, outlet: &mut impl Outlet) {
                match self { $(Self::$family(group) => group.leave(peer, outlet),)* }
            }

            /// [`Group::drained`].
            pub fn drained(&mut self, peer: PeerIndex, outlet: &mut impl Outlet) {
                match self { $(Self::$family(group) => group.drained(peer, outlet),)* }
            }

            /// [`Group::release_buffers`].
            pub fn release_buffers(&mut self) {
                match self { $(Self::$family(group) => group.release_buffers(),)* }
            }

            /// [`Group::flush`].
            pub fn flush(&mut self, outlet: &mut impl Outlet) {
                match self { $(Self::$family(group) => group.flush(outlet),)* }
            }
        }
    };
}
for_each_family!(any_group);
