//! Threads that own update groups: changes in, chunks into the members' queues.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::thread;

use bgp_engine::export::ExportSpec;
use bgp_engine::group::{AnyGroup, Chunk, Outlet, Push};
use bgp_engine::id::{GroupIndex, PeerIndex};
use bgp_engine::stage::{AnyEmission, AnyMissed, Member};
use bytes::Bytes;
use tokio::sync::mpsc;

use super::fabric::Fabric;
use super::rib_worker::RibControl;
use crate::peer::queue::OutQueue;

/// What a group's owner is told besides changes. None of it waits for room anywhere.
pub(crate) enum GroupControl {
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
        queue: Arc<OutQueue>,
    },
    Leave {
        group: GroupIndex,
        member: PeerIndex,
    },
    /// Send everything again, then `end` (EoRR, RFC 7313 §4).
    Refresh {
        group: GroupIndex,
        member: PeerIndex,
        end: Option<Bytes>,
    },
    Drained {
        group: GroupIndex,
        member: PeerIndex,
    },
}

/// The receiving ends of a group worker's channels.
pub(super) struct Input {
    pub(super) data: mpsc::Receiver<AnyEmission>,
    pub(super) control: mpsc::UnboundedReceiver<GroupControl>,
}

/// A group and the queues of its members.
struct Owned {
    group: AnyGroup,
    queues: HashMap<PeerIndex, Arc<OutQueue>>,
}

struct Worker {
    fabric: Arc<Fabric>,
    groups: HashMap<GroupIndex, Owned>,
    /// Groups that have an open chunk, in the order in which they got it.
    unflushed: Vec<GroupIndex>,
}

/// Where a group's output goes.
struct Queues<'a> {
    fabric: &'a Fabric,
    queues: &'a HashMap<PeerIndex, Arc<OutQueue>>,
}

impl Outlet for Queues<'_> {
    fn push(&mut self, member: PeerIndex, chunk: Chunk) -> Push {
        match self.queues.get(&member) {
            Some(queue) if queue.push(chunk, member).is_err() => Push::Full,
            // A member without a queue has left; what is for it is for nobody.
            _ => Push::Taken,
        }
    }

    fn refill(&mut self, partition: usize, group: GroupIndex, member: Member, missed: AnyMissed) {
        self.tell(partition, RibControl::Refill { group, member, missed });
    }

    fn walk(&mut self, group: GroupIndex, member: Member) {
        self.fabric.control_all(|| RibControl::Join { group, member });
    }

    fn end_walk(&mut self, group: GroupIndex, member: Member) {
        self.fabric.control_all(|| RibControl::Leave { group, member });
    }

    fn walk_credit(&mut self, partition: usize, group: GroupIndex) {
        self.tell(partition, RibControl::Credit { group });
    }
}

impl Queues<'_> {
    fn tell(&self, partition: usize, message: RibControl) {
        // A partition ends only with the daemon.
        let _ = self.fabric.partitions[partition].control.send(message);
    }
}

/// Starts the thread of group worker `index`.
pub(super) fn spawn(index: usize, input: Input, fabric: Arc<Fabric>) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    thread::Builder::new().name(format!("group-{index}")).spawn(move || {
        let worker = Worker { fabric, groups: HashMap::new(), unflushed: Vec::new() };
        runtime.block_on(worker.run(input));
    })?;
    Ok(())
}

impl Worker {
    async fn run(mut self, input: Input) {
        let Input { mut data, mut control } = input;
        loop {
            tokio::select! {
                biased;
                message = control.recv() => match message {
                    Some(message) => self.control(message),
                    None => return,
                },
                emission = data.recv() => match emission {
                    Some(emission) => {
                        // What was said to a group before a partition emitted to it stands in the control channel by
                        // now: a partition learns of a group or member later than its owner.
                        while let Ok(message) = control.try_recv() {
                            self.control(message);
                        }
                        self.emission(&emission);
                    }
                    None => return,
                },
            }
            if data.is_empty() {
                self.flush();
            }
        }
    }

    fn emission(&mut self, emission: &AnyEmission) {
        let index = emission.group();
        let Some(Owned { group, queues }) = self.groups.get_mut(&index) else { return };
        group.handle(emission, &mut Queues { fabric: &self.fabric, queues });
        if !self.unflushed.contains(&index) {
            self.unflushed.push(index);
        }
    }

    /// Sends what is in open chunks: no more input waits.
    fn flush(&mut self) {
        for index in self.unflushed.drain(..) {
            if let Some(Owned { group, queues }) = self.groups.get_mut(&index) {
                group.flush(&mut Queues { fabric: &self.fabric, queues });
            }
        }
    }

    fn control(&mut self, message: GroupControl) {
        match message {
            GroupControl::Add { group: index, spec } => self.add(index, spec),
            GroupControl::Remove { group } => drop(self.groups.remove(&group)),
            GroupControl::Join { group, member, queue } => {
                if let Some(owned) = self.groups.get_mut(&group) {
                    owned.queues.insert(member, queue);
                }
                self.with(group, |group, outlet| group.join(member, outlet));
            }
            GroupControl::Leave { group: index, member } => {
                self.with(index, |group, outlet| group.leave(member, outlet));
                if let Some(owned) = self.groups.get_mut(&index) {
                    owned.queues.remove(&member);
                }
            }
            GroupControl::Refresh { group, member, end } => {
                self.with(group, |group, outlet| group.refresh(member, end, outlet));
            }
            GroupControl::Drained { group, member } => {
                self.with(group, |group, outlet| group.drained(member, outlet));
            }
        }
    }

    fn add(&mut self, index: GroupIndex, spec: ExportSpec) {
        // The controller makes groups of negotiated families only, and those can all be routed.
        if let Some(group) = AnyGroup::new(index, spec, self.fabric.partitions.len()) {
            self.groups.insert(index, Owned { group, queues: HashMap::new() });
        }
    }

    fn with(&mut self, index: GroupIndex, act: impl FnOnce(&mut AnyGroup, &mut Queues<'_>)) {
        if let Some(Owned { group, queues }) = self.groups.get_mut(&index) {
            act(group, &mut Queues { fabric: &self.fabric, queues });
        }
    }
}
