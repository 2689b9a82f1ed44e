//! An owner of groups: control, then emissions in order; what is open is flushed when no more input waits.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use super::outlet::OutQueue;
use super::partitions::{PartitionWorker, RibControl};
use super::{Fabric, Socket};
use crate::export::ExportSpec;
use crate::group::{AnyGroup, Chunk, Handover, Outlet, Push};
use crate::id::{GroupIndex, PeerIndex};
use crate::stage::{AnyEmission, AnyMissed, Member};

/// What an owner of groups is told besides changes. None of it waits for room anywhere.
pub(super) enum GroupControl {
    Add {
        group: GroupIndex,
        spec: ExportSpec,
    },
    Remove {
        group: GroupIndex,
    },
    Join {
        group: GroupIndex,
        member: PeerIndex,
        socket: Socket,
    },
    Leave {
        group: GroupIndex,
        member: PeerIndex,
    },
    ShutDown {
        group: GroupIndex,
        member: PeerIndex,
        on: bool,
    },
    Refresh {
        group: GroupIndex,
        member: PeerIndex,
        end: Option<Bytes>,
    },
    Drained {
        group: GroupIndex,
        member: PeerIndex,
    },
    /// A member comes from another group.
    Arrive {
        group: GroupIndex,
        member: Member,
        shut_down: bool,
    },
    /// A member goes to another group.
    Depart {
        group: GroupIndex,
        member: Member,
        to: GroupIndex,
    },
    /// From the group that a member leaves to the one that it comes to.
    TakeOver {
        group: GroupIndex,
        member: Member,
        handover: Handover,
        socket: Option<Socket>,
    },
}

/// What groups say to others than partitions.
pub(super) enum GroupNews {
    /// To the owner of another group.
    Control(GroupControl),
    /// To the controller: a member that came from another group is one like all others.
    Settled(GroupIndex, PeerIndex),
}

impl GroupControl {
    /// Which group it is about.
    fn group(&self) -> GroupIndex {
        match self {
            Self::Add { group, .. }
            | Self::Remove { group }
            | Self::Join { group, .. }
            | Self::Leave { group, .. }
            | Self::ShutDown { group, .. }
            | Self::Refresh { group, .. }
            | Self::Drained { group, .. }
            | Self::Arrive { group, .. }
            | Self::Depart { group, .. }
            | Self::TakeOver { group, .. } => *group,
        }
    }
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
        let Some(Owned { group, sockets, ending }) = self.groups.get_mut(&index) else { return };
        let mut queues = Queues { outside, sockets };
        act(group, &mut queues);
        if *ending && group.is_empty() {
            queues.tell_all(&RibControl::RemoveGroup { group: index });
            self.groups.remove(&index);
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
                    self.groups.insert(group, Owned { group: any, sockets: BTreeMap::new(), ending: false });
                }
            }
            GroupControl::Remove { group } => {
                if let Some(owned) = self.groups.get_mut(&group) {
                    owned.ending = true;
                }
                self.with(group, outside, |group, outlet| group.flush(outlet));
            }
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
            GroupControl::Arrive { group, member, shut_down } => {
                self.with(group, outside, |group, outlet| group.arrive(member, shut_down, outlet));
            }
            GroupControl::Depart { group, member, to } => {
                self.with(group, outside, |group, outlet| group.depart(member, to, outlet));
            }
            GroupControl::TakeOver { group, member, handover, socket } => {
                if let (Some(owned), Some(socket)) = (self.groups.get_mut(&group), socket) {
                    owned.sockets.entry(member.peer).or_insert(socket);
                }
                self.with(group, outside, |group, outlet| group.take_over(member, handover, outlet));
            }
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
        let socket = self.sockets.remove(&member.peer);
        self.outside.news.push(GroupNews::Control(GroupControl::TakeOver { group: to, member, handover, socket }));
    }

    fn settled(&mut self, group: GroupIndex, member: PeerIndex) {
        self.outside.news.push(GroupNews::Settled(group, member));
    }
}

impl Fabric {
    pub(super) fn tell_group(&mut self, index: GroupIndex, message: GroupControl) {
        self.owner(index).control.push_back(message);
    }

    /// One control message, or one emission behind all control.
    pub(super) fn step_group(&mut self, at: usize) {
        let mut news = Vec::new();
        self.turn(at, &mut news);
        for one in news {
            match one {
                GroupNews::Control(control) => self.tell_group(control.group(), control),
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
