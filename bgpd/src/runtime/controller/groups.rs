//! The registry of update groups: which key has which index, and who is in.

use std::collections::HashMap;
use std::sync::Arc;

use bgp_engine::config::{Global, Step};
use bgp_engine::export::{ExportKey, LocalAddresses, Memberships, Regrouping, SessionFacts, regroup};
use bgp_engine::group::PASSAGES;
use bgp_engine::id::{GroupIndex, PeerIndex};
use bgp_engine::policy::UnknownPolicy;
use bgp_engine::session::Negotiated;
use bgp_engine::stage::Member;
use bgp_wire::Family;
use bytes::Bytes;
use tracing::debug;

use super::super::fabric::Fabric;
use super::super::group_worker::GroupControl;
use super::super::rib_worker::RibControl;
use super::Entry;
use crate::peer::queue::OutQueue;

struct Registered {
    key: ExportKey,
    members: usize,
}

/// All update groups. Indices are never used twice, so that what is under way to a group that is gone finds nobody.
pub(super) struct Groups {
    fabric: Arc<Fabric>,
    by_key: HashMap<ExportKey, GroupIndex>,
    registered: HashMap<GroupIndex, Registered>,
    next: u32,
    /// Members that are on their way to a group, and from which.
    passages: HashMap<(PeerIndex, GroupIndex), GroupIndex>,
    next_passage: u32,
}

impl Groups {
    pub(super) fn new(fabric: Arc<Fabric>) -> Self {
        Self {
            fabric,
            by_key: HashMap::new(),
            registered: HashMap::new(),
            next: 0,
            passages: HashMap::new(),
            next_passage: 0,
        }
    }

    /// Puts an Established neighbor into the group of each of its families.
    pub(super) fn join(
        &mut self,
        entry: &Entry,
        global: &Global,
        negotiated: &Negotiated,
        local: LocalAddresses,
        queue: &Arc<OutQueue>,
    ) -> Vec<(Family, GroupIndex)> {
        let settings = &entry.neighbor.settings;
        let member = entry.cell.index;
        let mut joined = Vec::new();
        for &family in &negotiated.families {
            let facts = SessionFacts {
                external: negotiated.external,
                four_octet_as: negotiated.four_octet_as,
                extended_messages: negotiated.extended_messages,
                add_path: negotiated.add_path_send.contains(&family),
                extended_next_hop: negotiated.extended_next_hop.contains(&family),
                long_lived: negotiated.received_long_lived().iter().any(|(of, ..)| *of == family),
                local,
            };
            let key = ExportKey::new(global, settings, family, &facts);
            match self.index_of(key) {
                Ok(index) => {
                    let (queue, hold_end) = (Arc::clone(queue), negotiated.peer_restarted());
                    self.control(index, GroupControl::Join { member, queue, hold_end });
                    joined.push((family, index));
                }
                Err(unknown) => debug!(peer = %entry.cell.address, %unknown, "nothing is announced"),
            }
        }
        joined
    }

    /// Takes a neighbor out of its groups; a group without members ends.
    pub(super) fn leave(&mut self, member: PeerIndex, memberships: &[(Family, GroupIndex)]) {
        for &(_, index) in memberships {
            self.control(index, GroupControl::Leave { member });
            if let Some(from) = self.passages.remove(&(member, index)) {
                self.control(from, GroupControl::Leave { member });
            }
            self.count_out(index);
        }
    }

    fn count_out(&mut self, index: GroupIndex) {
        let Some(group) = self.registered.get_mut(&index) else { return };
        group.members -= 1;
        if group.members == 0 {
            self.control(index, GroupControl::Remove);
            if let Some(group) = self.registered.remove(&index) {
                self.by_key.remove(&group.key);
            }
        }
    }

    /// Has a member go to the group of another key; its session does not notice. One that is still on its way goes on
    /// when it has come ([`Groups::settled`]).
    pub(super) fn pass(&mut self, entry: &Entry, from: GroupIndex, key: ExportKey, shut_down: bool) {
        let peer = entry.cell.index;
        if self.passages.contains_key(&(peer, from)) {
            return;
        }
        // Policies that do not exist were refused before the first step.
        let Ok(to) = self.index_of(key) else { return };
        let member = Member { peer, incarnation: PASSAGES + self.next_passage };
        self.next_passage = (self.next_passage + 1) % PASSAGES;
        self.control(to, GroupControl::Arrive { member, shut_down });
        self.control(from, GroupControl::Depart { member, to });
        self.passages.insert((peer, to), from);
        self.count_out(from);
        // Before anybody reads that it is in the other group.
        entry.cell.pass(from, to, member.incarnation);
        let mut memberships = entry.cell.memberships();
        memberships.iter_mut().filter(|(_, group)| *group == from).for_each(|(_, group)| *group = to);
        entry.cell.replace_memberships(memberships);
    }

    /// A member that came from another group is one like all others now.
    pub(super) fn settled(&mut self, member: PeerIndex, group: GroupIndex) {
        self.passages.remove(&(member, group));
    }

    /// Sends a member its whole Adj-RIB-Out again (of one family, or all).
    /// `end` is what the peer is told behind the last route (RFC 7313 §4).
    pub(super) fn refresh(
        &self,
        member: PeerIndex,
        memberships: &[(Family, GroupIndex)],
        family: Option<Family>,
        end: impl Fn(Family) -> Option<Bytes>,
    ) {
        let wanted = |of: Family| family.is_none_or(|family| family == of);
        for &(of, index) in memberships.iter().filter(|(of, _)| wanted(*of)) {
            self.control(index, GroupControl::Refresh { member, end: end(of) });
        }
    }

    /// Tells a member from now on that this speaker is about to go, or that it stays (RFC 8326).
    pub(super) fn shut_down(&self, member: PeerIndex, memberships: &[(Family, GroupIndex)], on: bool) {
        for &(_, index) in memberships {
            self.control(index, GroupControl::ShutDown { member, on });
        }
    }

    /// Lets a member's End-of-RIB go.
    pub(super) fn release_end(&self, member: PeerIndex, memberships: &[(Family, GroupIndex)]) {
        for &(_, index) in memberships {
            self.control(index, GroupControl::ReleaseEnd { member });
        }
    }

    /// Tells a member's groups that it takes data again.
    pub(super) fn drained(&self, member: PeerIndex, memberships: &[(Family, GroupIndex)]) {
        for &(_, index) in memberships {
            self.control(index, GroupControl::Drained { member });
        }
    }

    fn index_of(&mut self, key: ExportKey) -> Result<GroupIndex, UnknownPolicy> {
        if let Some(&index) = self.by_key.get(&key) {
            if let Some(group) = self.registered.get_mut(&index) {
                group.members += 1;
            }
            return Ok(index);
        }
        let spec = key.clone().resolve(&self.fabric.library())?;
        let index = GroupIndex(self.next);
        self.next += 1;
        self.control(index, GroupControl::Add { spec: spec.clone() });
        self.fabric.control_all(|| RibControl::AddGroup { group: index, spec: spec.clone() });
        self.by_key.insert(key.clone(), index);
        self.registered.insert(index, Registered { key, members: 1 });
        Ok(index)
    }

    /// Whether members are on their way from one group to another.
    pub(super) fn are_passing(&self) -> bool {
        !self.passages.is_empty()
    }

    /// The key of a group.
    pub(super) fn key(&self, group: GroupIndex) -> Option<&ExportKey> {
        self.registered.get(&group).map(|registered| &registered.key)
    }

    /// What becomes of groups when steps are taken. `members` are those of each, with the keys that they have then.
    pub(super) fn regrouping(&self, members: &Memberships, steps: &[Step]) -> Vec<Regrouping> {
        // The others have lost, or are about to lose, their last member.
        let registered = self.registered.iter().filter(|(index, _)| members.contains_key(index));
        regroup(registered.map(|(index, registered)| (*index, &registered.key)), members, steps)
    }

    pub(super) fn replace_export(&mut self, group: GroupIndex, key: ExportKey) {
        // Policies that do not exist were refused before the first step.
        let Ok(spec) = key.clone().resolve(&self.fabric.library()) else { return };
        self.fabric.control_all(|| RibControl::ReplaceExport { group, spec: spec.clone() });
        if let Some(registered) = self.registered.get_mut(&group) {
            self.by_key.remove(&registered.key);
            self.by_key.insert(key.clone(), group);
            registered.key = key;
        }
    }

    fn control(&self, index: GroupIndex, message: GroupControl) {
        // A worker that has stopped has no members either.
        self.fabric.group(index).tell((index, message));
    }
}
