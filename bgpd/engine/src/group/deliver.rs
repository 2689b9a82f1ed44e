//! Chunks go to members; what a member cannot take is noted.

use std::collections::BTreeMap;

use bgp_wire::update::PathKey;

use super::chunk::{Noted, Place};
use super::{Chunk, Closed, Group, Outlet, Push};
use crate::id::PeerIndex;
use crate::stage::{Change, Emission, Member, Routed};

/// What members lose because their own routes are the best now.
type Private<N> = BTreeMap<PeerIndex, Vec<PathKey<<N as bgp_wire::Nlri>::Key>>>;

impl<N: Routed> Group<N> {
    /// Sends what is encoded and waits for more to share its chunk.
    pub fn flush(&mut self, outlet: &mut impl Outlet) {
        if self.open.is_empty() {
            return;
        }
        let closed = self.open.close();
        for (peer, state) in &mut self.members {
            self.statistics.chunks += 1;
            self.statistics.slow += u64::from(offer(*peer, state, &closed, outlet));
        }
        self.open.reuse(closed);
    }

    /// Changes for all members. What a member loses because its own path is the best now, it is
    /// told by itself, behind everything before.
    pub(super) fn deliver_to_all(&mut self, emission: &Emission<N>, outlet: &mut impl Outlet) {
        if !self.is_whole(emission.partition) {
            let recipients = self.recipients(emission.partition);
            return self.deliver_to(&recipients, emission, outlet);
        }
        let changes = &emission.changes[..];
        let mut live = self.members.iter().filter(|(_, state)| !state.is_blocked());
        let (first, second) = (live.next(), live.next());
        let only = first.filter(|_| second.is_none()).map(|(peer, _)| *peer);
        if first.is_none() {
            self.note_for_slow(emission);
            return;
        }
        if only.is_some() && self.members.len() > 1 {
            // Members that are slow note what chunks are about, so a chunk must have all of them.
            self.encode(emission, None, |group| group.flush(outlet));
        } else {
            self.encode(emission, only, |group| group.flush(outlet));
        }
        let private = self.private_withdrawals(changes);
        if !private.is_empty() {
            self.flush(outlet);
            self.withdraw_privately(private, None, outlet);
        }
    }

    /// Nobody can be sent anything.
    fn note_for_slow(&mut self, emission: &Emission<N>) {
        for (peer, state) in &mut self.members {
            state.missed.note(emission.changes.iter().map(|change| match change.new {
                // A member's own route takes away what it was told before.
                Some((_, source)) if source.peer != *peer => {
                    Noted::At(Place { partition: emission.partition, position: change.position })
                }
                _ => Noted::Key(change.key),
            }));
        }
    }

    fn private_withdrawals(&self, changes: &[Change<N>]) -> Private<N> {
        let mut private = BTreeMap::<_, Vec<_>>::new();
        #[cfg(feature = "sabotage")]
        if self.no_private_withdrawals {
            return private;
        }
        for change in changes {
            let (Some(old), Some((_, source))) = (change.old_source, &change.new) else { continue };
            if old != source.peer && self.serves(source.peer) {
                private.entry(source.peer).or_default().push(change.key);
            }
        }
        private
    }

    /// Of some members only, or of all.
    fn withdraw_privately(&mut self, private: Private<N>, to: Option<&[Member]>, outlet: &mut impl Outlet) {
        for (peer, keys) in private {
            let bytes = self.withdrawal(&keys);
            let closed = Closed::private(bytes, keys);
            let whole = self.members.get(&peer).map(|state| Member { peer, incarnation: state.incarnation });
            let whole = whole.as_slice();
            for &member in to.unwrap_or(whole).iter().filter(|member| member.peer == peer) {
                self.statistics.private_withdrawals += closed.noted.len() as u64;
                self.offer_to(member, &closed, outlet);
            }
        }
    }

    fn offer_to(&mut self, member: Member, closed: &Closed<PathKey<N::Key>>, outlet: &mut impl Outlet) {
        if let Some(state) = self.state_of(member) {
            let found = offer(member.peer, state, closed, outlet);
            self.statistics.chunks += 1;
            self.statistics.slow += u64::from(found);
        }
    }

    /// Changes for some members, where they are still the same membership.
    pub(super) fn deliver_to(&mut self, targets: &[Member], emission: &Emission<N>, outlet: &mut impl Outlet) {
        self.flush(outlet);
        let there: Vec<Member> = targets.iter().copied().filter(|member| self.state_of(*member).is_some()).collect();
        if there.is_empty() || emission.changes.is_empty() {
            return;
        }
        self.encode(emission, None, |group| group.flush_to(&there, outlet));
        self.flush_to(&there, outlet);
        let private = self.private_withdrawals(&emission.changes);
        self.withdraw_privately(private, Some(&there), outlet);
    }

    fn flush_to(&mut self, targets: &[Member], outlet: &mut impl Outlet) {
        if self.open.is_empty() {
            return;
        }
        let closed = self.open.close();
        for member in targets {
            self.offer_to(*member, &closed, outlet);
        }
        self.open.reuse(closed);
    }

    /// Sends the markers behind a member's walk; a full queue gets them later.
    pub(super) fn push_ends(&mut self, peer: PeerIndex, outlet: &mut impl Outlet) {
        let Some(state) = self.members.get_mut(&peer) else { return };
        let is_first = state.end_of_rib.is_some();
        for marker in [&mut state.end_of_rib, &mut state.end_of_refresh] {
            let Some(bytes) = marker.clone() else { continue };
            if outlet.push(peer, Chunk { bytes, skip: [].into() }) == Push::Full {
                state.slow = true;
                return;
            }
            *marker = None;
        }
        if is_first {
            outlet.told_all(peer);
        }
    }
}

/// Offers a chunk to a member. What it cannot take, it has missed; says whether its queue was found
/// full now.
fn offer<N: Routed>(
    peer: PeerIndex,
    state: &mut super::MemberState<N>,
    closed: &Closed<PathKey<N::Key>>,
    outlet: &mut impl Outlet,
) -> bool {
    if closed.chunk.len_for(peer) == 0 {
        return false;
    }
    if !state.is_blocked() && outlet.push(peer, closed.chunk.clone()) == Push::Taken {
        return false;
    }
    let found = !state.is_blocked();
    state.slow |= found;
    state.missed.note(closed.noted_for(peer));
    found
}
