//! The owner of a partition: control, then data in order, with a little pending work after every message.

use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Instant;

use super::Fabric;
use crate::attr::Interner;
use crate::export::ExportSpec;
use crate::id::GroupIndex;
use crate::rib::{Partition, PartitionSettings, decision};
use crate::stage::{AnyBatch, AnyEmission, AnyMissed, Fence, Member};

/// Data for a partition, in order.
pub(super) enum RibMessage {
    Batch(AnyBatch),
    Fence(Fence),
}

/// What a partition is asked besides routes. None of it waits for room anywhere.
#[derive(Clone)]
pub(super) enum RibControl {
    AddGroup { group: GroupIndex, spec: ExportSpec },
    RemoveGroup { group: GroupIndex },
    ReplaceExport { group: GroupIndex, spec: ExportSpec },
    Join { group: GroupIndex, member: Member },
    Leave { group: GroupIndex, member: Member },
    Credit { group: GroupIndex },
    Pass { from: GroupIndex, to: GroupIndex, member: Member, anew: bool },
    Refill { group: GroupIndex, member: Member, missed: AnyMissed },
    EndDeferral,
    Reconfigure { router_id: Ipv4Addr, options: decision::Options },
}

/// A partition, what waits for it, and what it could not hand on yet.
pub(super) struct PartitionWorker {
    pub(super) partition: Partition,
    pub(super) data: VecDeque<RibMessage>,
    pub(super) control: VecDeque<RibControl>,
    emissions: VecDeque<AnyEmission>,
    /// Work that can be done without a message.
    more: bool,
}

impl PartitionWorker {
    pub(super) fn new(settings: PartitionSettings, interner: &Arc<Interner>) -> Self {
        Self {
            partition: Partition::new(settings, Arc::clone(interner)),
            data: VecDeque::new(),
            control: VecDeque::new(),
            emissions: VecDeque::new(),
            more: false,
        }
    }

    fn take_control(&mut self, message: RibControl, out: &mut Vec<AnyEmission>) {
        let partition = &mut self.partition;
        match message {
            RibControl::AddGroup { group, spec } => partition.add_group(group, spec),
            RibControl::RemoveGroup { group } => partition.remove_group(group),
            RibControl::ReplaceExport { group, spec } => partition.replace_export(group, &spec),
            RibControl::Join { group, member } => partition.join(group, member),
            RibControl::Leave { group, member } => partition.leave(group, member),
            RibControl::Credit { group } => partition.walk_credit(group),
            RibControl::Pass { from, to, member, anew } => partition.pass(from, to, member, anew, out),
            RibControl::Refill { group, member, missed } => partition.refill(group, member, &missed, out),
            RibControl::EndDeferral => partition.end_deferral(),
            RibControl::Reconfigure { router_id, options } => partition.reconfigure(router_id, options, out),
        }
    }
}

impl Fabric {
    /// Whether a partition's queue takes one more message.
    pub(super) fn has_room(&self, partition: usize) -> bool {
        self.partitions[partition].data.len() < self.limits.rib_queue
    }

    pub(super) fn control_all(&mut self, message: &RibControl) {
        self.partitions.iter_mut().for_each(|worker| worker.control.push_back(message.clone()));
    }

    pub(super) fn partition_is_ready(&self, at: usize) -> bool {
        let worker = &self.partitions[at];
        match worker.emissions.front() {
            Some(emission) => self.group_has_room(emission.group()),
            None => worker.more || !worker.control.is_empty() || !worker.data.is_empty(),
        }
    }

    /// One message, a little work, and the emissions that follow as far as there is room for them.
    pub(super) fn step_partition(&mut self, at: usize, now: Instant) {
        if self.partitions[at].emissions.is_empty() {
            let (now_seconds, budget) = (self.uptime_seconds(now), self.limits.work_budget);
            #[cfg(feature = "sabotage")]
            let sabotage = self.sabotage;
            let worker = &mut self.partitions[at];
            let mut out = Vec::new();
            if let Some(message) = worker.control.pop_front() {
                worker.take_control(message, &mut out);
            } else {
                match worker.data.pop_front() {
                    Some(RibMessage::Batch(batch)) => worker.partition.batch(batch, now_seconds, &mut out),
                    #[cfg(feature = "sabotage")]
                    Some(RibMessage::Fence(fence)) if sabotage.is_some_and(|sabotage| sabotage.keeps_stale(&fence)) => {
                    }
                    Some(RibMessage::Fence(fence)) => worker.partition.fence(&fence, &mut out),
                    None => {}
                }
            }
            worker.more = worker.partition.work(budget, &mut out);
            worker.emissions.extend(out);
        }
        while let Some(emission) = self.partitions[at].emissions.front()
            && self.group_has_room(emission.group())
        {
            let emission = self.partitions[at].emissions.pop_front();
            emission.into_iter().for_each(|emission| self.emit(emission));
        }
    }

    fn group_has_room(&self, group: GroupIndex) -> bool {
        let owner = &self.groups[group.0 as usize % self.groups.len()];
        owner.data.len() < self.limits.group_queue
    }

    fn emit(&mut self, emission: AnyEmission) {
        #[cfg(feature = "sabotage")]
        if self.sabotage.is_some_and(|sabotage| sabotage.overtakes(&emission)) {
            let at =
                self.owner(emission.group()).data.iter().take_while(|other| super::sabotage::is_live(other)).count();
            self.owner(emission.group()).data.insert(at, emission);
            return;
        }
        self.owner(emission.group()).data.push_back(emission);
    }
}
