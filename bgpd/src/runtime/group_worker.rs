//! Threads that own update groups: changes in, chunks into the members' queues. A few changes for groups whose owner has
//! nothing else to do are dealt with by who has them ([`take_at_once`]).

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use bgp_engine::export::ExportSpec;
use bgp_engine::group::{self, AnyGroup, Chunk, Handover, Outlet, Push};
use bgp_engine::id::{GroupIndex, PeerIndex};
use bgp_engine::stage::{AnyMissed, Member};

use super::fabric::{Fabric, GroupPort, Timed};
use super::port::{Input, LITTLE};
use super::rib_worker::RibControl;
use crate::peer::queue::OutQueue;

/// Members that a change is written to by the group's own thread, if it is small. The writers of larger groups are
/// woken, so that the system calls are made by all cores.
const AT_ONCE: usize = 32;

/// What a group's owner is told besides changes.
pub(crate) type GroupControl = group::GroupControl<Arc<OutQueue>>;

/// A group and the queues of its members.
struct Owned {
    group: AnyGroup,
    queues: HashMap<PeerIndex, Arc<OutQueue>>,
    /// Members that have not been told everything yet, and since when.
    joined: HashMap<PeerIndex, Instant>,
    /// When the octets were read that caused the oldest change that may be in an open chunk.
    unsent: Option<Instant>,
    /// It ends when the last of those that leave it has been handed over.
    ending: bool,
}

/// The groups of one worker.
#[derive(Default)]
pub(crate) struct Groups {
    groups: HashMap<GroupIndex, Owned>,
    /// Groups that have an open chunk, in the order in which they got it.
    unflushed: Vec<GroupIndex>,
}

/// Where a group's output goes.
struct Queues<'a> {
    fabric: &'a Fabric,
    queues: &'a mut HashMap<PeerIndex, Arc<OutQueue>>,
    joined: &'a mut HashMap<PeerIndex, Instant>,
    /// A chunk was handed out.
    pushed: bool,
    /// Members that may still be written to in this thread.
    at_once: usize,
}

impl Outlet for Queues<'_> {
    fn push(&mut self, member: PeerIndex, chunk: Chunk) -> Push {
        self.pushed = true;
        // A member without a queue has left; what is for it is for nobody.
        let Some(queue) = self.queues.get(&member) else { return Push::Taken };
        let at_once = self.at_once > 0;
        self.at_once = self.at_once.saturating_sub(1);
        if queue.push(chunk, at_once).is_ok() { Push::Taken } else { Push::Full }
    }

    fn told_all(&mut self, member: PeerIndex) {
        if let Some(since) = self.joined.remove(&member) {
            self.fabric.latencies.convergence_out.observe(since.elapsed());
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

    fn pass(&mut self, from: GroupIndex, to: GroupIndex, member: Member, anew: bool) {
        self.fabric.control_all(|| RibControl::Pass { from, to, member, anew });
    }

    fn hand_over(&mut self, to: GroupIndex, member: Member, handover: Handover) {
        self.joined.remove(&member.peer);
        let queue = self.queues.remove(&member.peer);
        self.fabric.group(to).tell((to, GroupControl::TakeOver { member, handover, queue }));
    }

    fn settled(&mut self, group: GroupIndex, member: PeerIndex) {
        // Without a controller the daemon is stopping.
        let _ = self.fabric.settled.send((member, group));
    }
}

impl Queues<'_> {
    fn tell(&self, partition: usize, message: RibControl) {
        self.fabric.partitions[partition].tell(message);
    }
}

/// Starts the thread of group worker `index`.
pub(super) fn spawn(
    index: usize,
    input: Input<Timed, (GroupIndex, GroupControl)>,
    fabric: Arc<Fabric>,
) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    thread::Builder::new()
        .name(format!("group-{index}"))
        .spawn(move || runtime.block_on(run(&fabric.groups[index], input, &fabric)))?;
    Ok(())
}

async fn run(port: &GroupPort, input: Input<Timed, (GroupIndex, GroupControl)>, fabric: &Fabric) {
    let Input { mut data, mut control } = input;
    loop {
        let message = tokio::select! {
            biased;
            message = control.recv() => match message {
                Some(message) => Message::Control(message),
                None => return,
            },
            emission = data.recv() => match emission {
                Some(emission) => Message::Data(emission),
                None => return,
            },
        };
        let mut groups = port.stage().await;
        let mut dealt_with = 1;
        match message {
            Message::Control(message) => groups.control(message, fabric),
            Message::Data(emission) => {
                // What was said to a group before a partition emitted to it stands in the control channel by now: a
                // partition learns of a group or member later than its owner.
                while let Ok(message) = control.try_recv() {
                    groups.control(message, fabric);
                    dealt_with += 1;
                }
                groups.emission(&emission, fabric);
            }
        }
        if data.is_empty() {
            groups.flush(fabric);
        }
        port.dealt_with(dealt_with);
    }
}

/// What the thread of a group worker takes from its channels.
enum Message {
    Control((GroupIndex, GroupControl)),
    Data(Timed),
}

/// Deals with a few changes where the groups' owner has nothing else to do. Else gives them back.
///
/// What was said to a group before the partition emitted to it was sent by then, so that it is dealt with or still waits;
/// in that case the changes go behind it.
pub(super) fn take_at_once(port: &GroupPort, timed: Timed, fabric: &Fabric) -> Result<(), Timed> {
    if timed.emission.len() > LITTLE {
        return Err(timed);
    }
    let Some(mut groups) = port.idle() else { return Err(timed) };
    groups.emission(&timed, fabric);
    groups.flush(fabric);
    Ok(())
}

impl Owned {
    /// Has the group do something; says whether a chunk was handed out.
    fn with(&mut self, fabric: &Fabric, act: impl FnOnce(&mut AnyGroup, &mut Queues<'_>)) -> bool {
        let (queues, joined) = (&mut self.queues, &mut self.joined);
        let mut outlet = Queues { fabric, queues, joined, pushed: false, at_once: AT_ONCE };
        act(&mut self.group, &mut outlet);
        outlet.pushed
    }

    /// Takes in what a message says of the group as a whole, and of where members' queues are.
    fn note(&mut self, message: &GroupControl) {
        match message {
            GroupControl::Remove => self.ending = true,
            GroupControl::Join { member, queue, .. } => {
                self.queues.insert(*member, Arc::clone(queue));
                self.joined.insert(*member, Instant::now());
            }
            GroupControl::TakeOver { member, queue: Some(queue), .. } => {
                // Another queue is that of a later session, which this member is not.
                self.queues.entry(member.peer).or_insert_with(|| Arc::clone(queue));
            }
            _ => {}
        }
    }

    /// All that waited is in the members' queues.
    fn sent(&mut self, fabric: &Fabric) {
        if let Some(read) = self.unsent.take() {
            fabric.latencies.propagation.observe(read.elapsed());
        }
    }
}

impl Groups {
    fn emission(&mut self, timed: &Timed, fabric: &Fabric) {
        let Timed { emission, read } = timed;
        let index = emission.group();
        let Some(owned) = self.groups.get_mut(&index) else { return };
        let pushed = owned.with(fabric, |group, outlet| group.handle(emission, outlet));
        if pushed {
            // Whatever waited before is out with that; some of this emission may still wait.
            owned.sent(fabric);
        }
        owned.unsent = owned.unsent.or(*read);
        if owned.ending {
            return self.end(index, fabric);
        }
        if !self.unflushed.contains(&index) {
            self.unflushed.push(index);
        }
    }

    /// Sends what is in open chunks: no more input waits.
    fn flush(&mut self, fabric: &Fabric) {
        for index in self.unflushed.drain(..) {
            if let Some(owned) = self.groups.get_mut(&index) {
                owned.with(fabric, |group, outlet| group.flush(outlet));
                owned.sent(fabric);
            }
        }
    }

    /// A step towards giving memory back that is not needed now.
    pub(super) fn release(&mut self) {
        for Owned { group, queues, joined, .. } in self.groups.values_mut() {
            group.release_buffers();
            queues.shrink_to(2 * queues.len());
            joined.shrink_to(2 * joined.len());
        }
    }

    fn control(&mut self, (index, message): (GroupIndex, GroupControl), fabric: &Fabric) {
        if let GroupControl::Add { spec } = message {
            return self.add(index, spec, fabric);
        }
        let Some(owned) = self.groups.get_mut(&index) else { return };
        owned.note(&message);
        let left = if let GroupControl::Leave { member } = message { Some(member) } else { None };
        owned.with(fabric, |group, outlet| group.control(message, outlet));
        if let Some(member) = left {
            owned.queues.remove(&member);
            owned.joined.remove(&member);
        }
        if owned.ending {
            self.end(index, fabric);
        }
    }

    /// Ends a group that nobody joins any more, if nobody is to be handed over either. Partitions hear it from here,
    /// because they hear of members that leave from here.
    fn end(&mut self, index: GroupIndex, fabric: &Fabric) {
        if self.groups.get(&index).is_some_and(|owned| owned.group.is_empty()) {
            self.groups.remove(&index);
            fabric.control_all(|| RibControl::RemoveGroup { group: index });
        }
    }

    fn add(&mut self, index: GroupIndex, spec: ExportSpec, fabric: &Fabric) {
        // The controller makes groups of negotiated families only, and those can all be routed.
        if let Some(group) = AnyGroup::new(index, spec, fabric.partitions.len()) {
            let owned = Owned { group, queues: HashMap::new(), joined: HashMap::new(), unsent: None, ending: false };
            self.groups.insert(index, owned);
        }
    }
}
