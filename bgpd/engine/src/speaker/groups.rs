//! An owner of groups: control, then emissions in order; what is open is flushed when no more input waits.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use super::outlet::OutQueue;
use super::partitions::{PartitionWorker, RibControl};
use super::{Fabric, Socket};
use crate::export::ExportSpec;
use crate::group::{AnyGroup, Chunk, Outlet, Push};
use crate::id::{GroupIndex, PeerIndex};
use crate::stage::{AnyEmission, AnyMissed, Member};

/// What an owner of groups is told besides changes. None of it waits for room anywhere.
pub(super) enum GroupControl {
    Add { group: GroupIndex, spec: ExportSpec },
    Remove { group: GroupIndex },
    Join { group: GroupIndex, member: PeerIndex, socket: Socket },
    Leave { group: GroupIndex, member: PeerIndex },
    ShutDown { group: GroupIndex, member: PeerIndex, on: bool },
    Refresh { group: GroupIndex, member: PeerIndex, end: Option<Bytes> },
    Drained { group: GroupIndex, member: PeerIndex },
}

/// A group and the connections of its members.
struct Owned {
    group: AnyGroup,
    sockets: BTreeMap<PeerIndex, Socket>,
}

/// Groups, and what waits for them.
#[derive(Default)]
pub(super) struct GroupWorker {
    pub(super) data: VecDeque<AnyEmission>,
    pub(super) control: VecDeque<GroupControl>,
    groups: BTreeMap<GroupIndex, Owned>,
    /// Groups that have an open chunk, in the order in which they got it.
    unflushed: Vec<GroupIndex>,
}

impl GroupWorker {
    pub(super) fn has_work(&self) -> bool {
        !self.data.is_empty() || !self.control.is_empty()
    }

    /// The groups, for those who look on.
    pub(super) fn groups(&self) -> impl Iterator<Item = &AnyGroup> {
        self.groups.values().map(|owned| &owned.group)
    }

    fn with(&mut self, index: GroupIndex, outside: Outside<'_>, act: impl FnOnce(&mut AnyGroup, &mut Queues<'_>)) {
        if let Some(Owned { group, sockets }) = self.groups.get_mut(&index) {
            act(group, &mut Queues { outside, sockets });
        }
    }

    #[cfg(feature = "sabotage")]
    pub(super) fn forget_private_withdrawals(&mut self) {
        self.groups.values_mut().for_each(|owned| owned.group.forget_private_withdrawals());
    }

    fn take_control(&mut self, message: GroupControl, outside: Outside<'_>) {
        match message {
            GroupControl::Add { group, spec } => {
                if let Some(any) = AnyGroup::new(group, spec, outside.partitions.len()) {
                    self.groups.insert(group, Owned { group: any, sockets: BTreeMap::new() });
                }
            }
            GroupControl::Remove { group } => drop(self.groups.remove(&group)),
            GroupControl::Join { group, member, socket } => {
                if let Some(owned) = self.groups.get_mut(&group) {
                    owned.sockets.insert(member, socket);
                }
                self.with(group, outside, |group, outlet| group.join(member, outlet));
            }
            GroupControl::Leave { group: index, member } => {
                self.with(index, outside, |group, outlet| group.leave(member, outlet));
                if let Some(owned) = self.groups.get_mut(&index) {
                    owned.sockets.remove(&member);
                }
            }
            GroupControl::ShutDown { group, member, on } => {
                self.with(group, outside, |group, outlet| group.shut_down(member, on, outlet));
            }
            GroupControl::Refresh { group, member, end } => {
                self.with(group, outside, |group, outlet| group.refresh(member, end, outlet));
            }
            GroupControl::Drained { group, member } => {
                self.with(group, outside, |group, outlet| group.drained(member, outlet));
            }
        }
    }
}

/// What of the speaker a group can reach.
struct Outside<'a> {
    partitions: &'a mut [PartitionWorker],
    queues: &'a mut BTreeMap<Socket, OutQueue>,
}

/// Where a group's output goes.
struct Queues<'a> {
    outside: Outside<'a>,
    sockets: &'a BTreeMap<PeerIndex, Socket>,
}

impl Queues<'_> {
    fn tell_all(&mut self, message: &RibControl) {
        self.outside.partitions.iter_mut().for_each(|worker| worker.control.push_back(message.clone()));
    }
}

impl Outlet for Queues<'_> {
    fn push(&mut self, member: PeerIndex, chunk: Chunk) -> Push {
        // A connection without a queue is closed; what is for it is for nobody.
        let queue = self.sockets.get(&member).and_then(|socket| self.outside.queues.get_mut(socket));
        queue.map_or(Push::Taken, |queue| queue.push(&chunk, member))
    }

    fn refill(&mut self, partition: usize, group: GroupIndex, member: Member, missed: AnyMissed) {
        self.outside.partitions[partition].control.push_back(RibControl::Refill { group, member, missed });
    }

    fn walk(&mut self, group: GroupIndex, member: Member) {
        self.tell_all(&RibControl::Join { group, member });
    }

    fn end_walk(&mut self, group: GroupIndex, member: Member) {
        self.tell_all(&RibControl::Leave { group, member });
    }

    fn walk_credit(&mut self, partition: usize, group: GroupIndex) {
        self.outside.partitions[partition].control.push_back(RibControl::Credit { group });
    }
}

impl Fabric {
    pub(super) fn tell_group(&mut self, index: GroupIndex, message: GroupControl) {
        self.owner(index).control.push_back(message);
    }

    /// One control message, or one emission behind all control.
    pub(super) fn step_group(&mut self, at: usize) {
        let Self { partitions, groups, queues, .. } = self;
        let worker = &mut groups[at];
        match worker.control.pop_front() {
            Some(message) => worker.take_control(message, Outside { partitions, queues }),
            None => {
                let Some(emission) = worker.data.pop_front() else { return };
                let index = emission.group();
                worker.with(index, Outside { partitions, queues }, |group, outlet| group.handle(&emission, outlet));
                if !worker.unflushed.contains(&index) {
                    worker.unflushed.push(index);
                }
            }
        }
        #[cfg(feature = "sabotage")]
        if self.sabotage == Some(super::Sabotage::NoPrivateWithdrawals) {
            worker.forget_private_withdrawals();
        }
        if worker.data.is_empty() {
            for index in std::mem::take(&mut worker.unflushed) {
                worker.with(index, Outside { partitions, queues }, |group, outlet| group.flush(outlet));
            }
        }
    }
}
