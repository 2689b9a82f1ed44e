//! An owner of groups: control, then emissions in order; what is open is flushed when no more input waits.

use std::collections::{BTreeMap, VecDeque};

use super::outlet::OutQueue;
use super::partitions::{PartitionWorker, RibControl};
use super::{Fabric, Socket};
use crate::group::{self, AnyGroup, Chunk, Handover, Outlet, Push};
use crate::id::{GroupIndex, PeerIndex};
use crate::stage::{AnyEmission, AnyMissed, Member};

/// What an owner of groups is told besides changes.
pub(super) type GroupControl = group::GroupControl<Socket>;

/// What groups say to others than partitions.
pub(super) enum GroupNews {
    /// To the owner of another group.
    Control(GroupIndex, GroupControl),
    /// To the controller: a member that came from another group is one like all others.
    Settled(GroupIndex, PeerIndex),
}

/// A group and the connections of its members.
struct Owned {
    group: AnyGroup,
    sockets: BTreeMap<PeerIndex, Socket>,
    /// It goes when the last of those that leave it has been handed over.
    ending: bool,
}

/// Groups, and what waits for them.
#[derive(Default)]
pub(super) struct GroupWorker {
    pub(super) data: VecDeque<AnyEmission>,
    pub(super) control: VecDeque<(GroupIndex, GroupControl)>,
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
        let Some(Owned { group, sockets, ending }) = self.groups.get_mut(&index) else { return };
        let mut queues = Queues { outside, sockets };
        act(group, &mut queues);
        if *ending && group.is_empty() {
            queues.tell_all(&RibControl::RemoveGroup { group: index });
            self.groups.remove(&index);
        }
    }

    pub(super) fn release(&mut self) {
        self.groups.values_mut().for_each(|owned| owned.group.release_buffers());
    }

    #[cfg(feature = "sabotage")]
    pub(super) fn forget_private_withdrawals(&mut self) {
        self.groups.values_mut().for_each(|owned| owned.group.forget_private_withdrawals());
    }

    fn take_control(&mut self, (index, message): (GroupIndex, GroupControl), outside: Outside<'_>) {
        if let GroupControl::Add { spec } = message {
            if let Some(group) = AnyGroup::new(index, spec, outside.partitions.len()) {
                self.groups.insert(index, Owned { group, sockets: BTreeMap::new(), ending: false });
            }
            return;
        }
        if let Some(owned) = self.groups.get_mut(&index) {
            owned.note(&message);
        }
        let left = if let GroupControl::Leave { member } = message { Some(member) } else { None };
        self.with(index, outside, |group, outlet| group.control(message, outlet));
        if let (Some(member), Some(owned)) = (left, self.groups.get_mut(&index)) {
            owned.sockets.remove(&member);
        }
    }
}

impl Owned {
    /// Takes in what a message says of the group as a whole, and of members' connections.
    fn note(&mut self, message: &GroupControl) {
        match message {
            GroupControl::Remove => self.ending = true,
            GroupControl::Join { member, queue, .. } => drop(self.sockets.insert(*member, *queue)),
            GroupControl::TakeOver { member, queue: Some(socket), .. } => {
                self.sockets.entry(member.peer).or_insert(*socket);
            }
            _ => {}
        }
    }
}

/// What of the speaker a group can reach.
struct Outside<'a> {
    partitions: &'a mut [PartitionWorker],
    queues: &'a mut BTreeMap<Socket, OutQueue>,
    news: &'a mut Vec<GroupNews>,
}

/// Where a group's output goes.
struct Queues<'a> {
    outside: Outside<'a>,
    sockets: &'a mut BTreeMap<PeerIndex, Socket>,
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

    fn pass(&mut self, from: GroupIndex, to: GroupIndex, member: Member, anew: bool) {
        self.tell_all(&RibControl::Pass { from, to, member, anew });
    }

    fn hand_over(&mut self, to: GroupIndex, member: Member, handover: Handover) {
        let queue = self.sockets.remove(&member.peer);
        self.outside.news.push(GroupNews::Control(to, GroupControl::TakeOver { member, handover, queue }));
    }

    fn settled(&mut self, group: GroupIndex, member: PeerIndex) {
        self.outside.news.push(GroupNews::Settled(group, member));
    }
}

impl Fabric {
    pub(super) fn tell_group(&mut self, index: GroupIndex, message: GroupControl) {
        self.owner(index).control.push_back((index, message));
    }

    /// One control message, or one emission behind all control.
    pub(super) fn step_group(&mut self, at: usize) {
        let mut news = Vec::new();
        self.turn(at, &mut news);
        for one in news {
            match one {
                GroupNews::Control(group, control) => self.tell_group(group, control),
                GroupNews::Settled(group, member) => self.settled.push((group, member)),
            }
        }
    }

    fn turn(&mut self, at: usize, news: &mut Vec<GroupNews>) {
        let Self { partitions, groups, queues, .. } = self;
        let worker = &mut groups[at];
        match worker.control.pop_front() {
            Some(message) => worker.take_control(message, Outside { partitions, queues, news }),
            None => {
                let Some(emission) = worker.data.pop_front() else { return };
                let index = emission.group();
                let outside = Outside { partitions, queues, news };
                worker.with(index, outside, |group, outlet| group.handle(&emission, outlet));
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
                let outside = Outside { partitions, queues, news };
                worker.with(index, outside, |group, outlet| group.flush(outlet));
            }
        }
    }
}
