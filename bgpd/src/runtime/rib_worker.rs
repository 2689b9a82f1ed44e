//! One thread per partition: takes batches and fences in order, does pending work in between, answers queries.
//! A small batch for a partition that has nothing else to do is taken by who has it ([`take_at_once`]).

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use bgp_engine::attr::Interner;
use bgp_engine::config::Global;
use bgp_engine::export::ExportSpec;
use bgp_engine::id::{GroupIndex, PeerIndex};
use bgp_engine::rib::{
    Counted, Cursor, Explanation, Partition, PartitionSettings, PeerCounters, Proposal, RouteQuery, Slice, decision,
};
use bgp_engine::stage::{AnyEmission, AnyMissed, Member};
use bgp_wire::Family;
use ipnet::IpNet;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::oneshot;

use super::fabric::{Fabric, PartitionPort, RibMessage, Timed};
use super::group_worker;
use super::port::{Input, LITTLE};
use super::status::TableCounts;
use super::watch::{WatchMessage, is_watched};

/// Destinations visited by one round of pending work (walks, removal of a lost peer's paths) where nothing else happens.
const WORK_MOST: usize = 2048;
/// The same right after a change has come: what comes next waits for no more than this, here and in the groups.
const WORK_LEAST: usize = 256;
/// By how much the one becomes the other with each round in which nothing comes.
const WORK_STEP: usize = 64;

/// What a partition is asked besides routes. None of it waits for room anywhere.
pub(crate) enum RibControl {
    AddGroup {
        group: GroupIndex,
        spec: ExportSpec,
    },
    RemoveGroup {
        group: GroupIndex,
    },
    ReplaceExport {
        group: GroupIndex,
        spec: ExportSpec,
    },
    Join {
        group: GroupIndex,
        member: Member,
    },
    Leave {
        group: GroupIndex,
        member: Member,
    },
    Credit {
        group: GroupIndex,
    },
    /// A member goes from one group to another.
    Pass {
        from: GroupIndex,
        to: GroupIndex,
        member: Member,
        anew: bool,
    },
    Refill {
        group: GroupIndex,
        member: Member,
        missed: AnyMissed,
    },
    Query {
        query: RouteQuery,
        cursor: Cursor,
        limit: usize,
        reply: oneshot::Sender<Slice>,
    },
    Explain {
        family: Family,
        prefix: IpNet,
        reply: oneshot::Sender<Option<Explanation>>,
    },
    /// Counts what a proposal would change.
    Preview {
        family: Family,
        proposal: Arc<Proposal>,
        cursor: Cursor,
        limit: usize,
        reply: oneshot::Sender<(Counted, Option<Cursor>)>,
    },
    Counters {
        asked: Vec<CounterQuery>,
        reply: oneshot::Sender<Vec<CounterAnswer>>,
    },
    Tables {
        families: Vec<Family>,
        reply: oneshot::Sender<Vec<TableCounts>>,
    },
    Awaited {
        families: Vec<Family>,
        reply: oneshot::Sender<Vec<IpAddr>>,
    },
    EndDeferral,
    /// A step towards giving memory back.
    Release,
    /// Route selection does not wait for this peer any more.
    Excuse(IpAddr),
    Reconfigure {
        router_id: Ipv4Addr,
        options: decision::Options,
    },
    /// Answered by the watch task, behind all changes that were made so far.
    Mark(oneshot::Sender<()>),
    /// Something was left for the thread to do.
    Work,
}

/// Whose counters, and of which group what was announced.
#[derive(Clone)]
pub(crate) struct CounterQuery {
    pub(crate) peer: PeerIndex,
    pub(crate) family: Family,
    pub(crate) group: Option<GroupIndex>,
}

/// The answer to a [`CounterQuery`].
#[derive(Default, Clone, Copy)]
pub(crate) struct CounterAnswer {
    pub(crate) counters: PeerCounters,
    pub(crate) advertised: usize,
}

/// A partition, and what it said last.
pub(crate) struct Rib {
    partition: Partition,
    /// What is still to be handed on, in order.
    emissions: Vec<AnyEmission>,
    /// How many of the emissions are live changes, and when the octets that caused them were read.
    live: (usize, Option<Instant>),
    /// Route selection is put off after a restart (RFC 4724 §4.1).
    deferring: bool,
    /// Marks that go out behind the emissions.
    marks: Vec<oneshot::Sender<()>>,
}

impl Rib {
    /// Partition `index` of a speaker. `expected` are the peers whose routes it waits for before it selects any.
    pub(super) fn new(
        settings: PartitionSettings,
        interner: Arc<Interner>,
        expected: &BTreeMap<Family, BTreeSet<IpAddr>>,
    ) -> Self {
        let mut partition = Partition::new(settings, interner);
        expected.iter().for_each(|(family, peers)| partition.defer(*family, peers));
        let deferring = partition.is_deferring();
        Self { partition, emissions: Vec::new(), live: (0, None), deferring, marks: Vec::new() }
    }
}

/// Starts the thread of partition `index`.
pub(super) fn spawn(index: usize, input: Input<RibMessage, RibControl>, fabric: Arc<Fabric>) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    thread::Builder::new()
        .name(format!("rib-{index}"))
        .spawn(move || runtime.block_on(run(&fabric.partitions[index], input, &fabric)))?;
    Ok(())
}

/// How paths are compared, as configured.
pub(super) fn decision_options(global: &Global) -> decision::Options {
    decision::Options { always_compare_med: global.always_compare_med }
}

async fn run(port: &PartitionPort, input: Input<RibMessage, RibControl>, fabric: &Fabric) {
    let Input { mut data, mut control } = input;
    let mut more = false;
    let mut budget = WORK_MOST;
    loop {
        let message = tokio::select! {
            biased;
            message = control.recv() => match message {
                Some(message) => Some(Message::Control(message)),
                None => return,
            },
            message = data.recv() => match message {
                Some(message) => Some(Message::Data(message)),
                None => return,
            },
            () = std::future::ready(()), if more => None,
        };
        let mut rib = port.stage().await;
        let dealt_with = usize::from(message.is_some());
        match message {
            Some(Message::Control(message)) => rib.control(message),
            Some(Message::Data(message)) => {
                rib.data(message, fabric);
                budget = WORK_LEAST;
            }
            None => {}
        }
        rib.settle(fabric);
        // A little pending work after every message: neither starves the other.
        more = rib.work(budget);
        budget = (budget + WORK_STEP).min(WORK_MOST);
        rib.emit(fabric, port.waiting() == dealt_with).await;
        port.dealt_with(dealt_with);
    }
}

/// What the thread of a partition takes from its channels.
enum Message {
    Control(RibControl),
    Data(RibMessage),
}

/// Deals with a small batch where the partition has nothing else to do. Else gives the message back.
pub(crate) fn take_at_once(port: &PartitionPort, message: RibMessage, fabric: &Fabric) -> Result<(), RibMessage> {
    if !matches!(&message, RibMessage::Batch(batch, _) if batch.len() <= LITTLE) {
        return Err(message);
    }
    let Some(mut rib) = port.idle() else { return Err(message) };
    let busy = rib.partition.has_work();
    rib.data(message, fabric);
    rib.settle(fabric);
    if !rib.emit_at_once(fabric) || (!busy && rib.partition.has_work()) {
        port.tell(RibControl::Work);
    }
    Ok(())
}

impl Rib {
    fn data(&mut self, message: RibMessage, fabric: &Fabric) {
        match message {
            RibMessage::Batch(batch, read) => {
                self.partition.batch(batch, fabric.uptime_seconds(), &mut self.emissions);
                self.live = (self.emissions.len(), Some(read));
            }
            RibMessage::Fence(fence) => self.partition.fence(&fence, &mut self.emissions),
        }
    }

    fn control(&mut self, message: RibControl) {
        let partition = &mut self.partition;
        match message {
            RibControl::AddGroup { group, spec } => partition.add_group(group, spec),
            RibControl::RemoveGroup { group } => partition.remove_group(group),
            RibControl::ReplaceExport { group, spec } => partition.replace_export(group, &spec),
            RibControl::Join { group, member } => partition.join(group, member),
            RibControl::Leave { group, member } => partition.leave(group, member),
            RibControl::Credit { group } => partition.walk_credit(group),
            RibControl::Pass { from, to, member, anew } => {
                partition.pass(from, to, member, anew, &mut self.emissions);
            }
            RibControl::Refill { group, member, missed } => {
                partition.refill(group, member, &missed, &mut self.emissions);
            }
            RibControl::EndDeferral => partition.end_deferral(),
            RibControl::Release => partition.release(),
            RibControl::Excuse(peer) => partition.excuse(peer),
            RibControl::Awaited { families, reply } => {
                drop(reply.send(families.iter().flat_map(|family| partition.awaited(*family)).collect()));
            }
            RibControl::Reconfigure { router_id, options } => {
                partition.reconfigure(router_id, options, &mut self.emissions);
            }
            RibControl::Mark(reply) => self.marks.push(reply),
            RibControl::Work => {}
            // Whoever asked a question may be gone; then the answer is dropped.
            RibControl::Query { query, cursor, limit, reply } => {
                drop(reply.send(partition.query(&query, cursor, limit)));
            }
            RibControl::Preview { family, proposal, cursor, limit, reply } => {
                let mut counted = Counted::new();
                let next = partition.preview(family, &proposal, cursor, limit, &mut counted);
                drop(reply.send((counted, next)));
            }
            RibControl::Explain { family, prefix, reply } => drop(reply.send(partition.explain(family, prefix))),
            RibControl::Counters { asked, reply } => {
                drop(reply.send(asked.iter().map(|one| counters(partition, one)).collect()));
            }
            RibControl::Tables { families, reply } => {
                drop(reply.send(families.iter().map(|family| table_counts(partition, *family)).collect()));
            }
        }
    }

    /// Tells others what has come of the last message besides emissions.
    fn settle(&mut self, fabric: &Fabric) {
        if self.deferring && !self.partition.is_deferring() {
            self.deferring = false;
            fabric.restart.partition_is_done();
        }
        for alarm in self.partition.take_alarms() {
            // Without a controller the daemon is stopping.
            let _ = fabric.alarms.send(alarm);
        }
    }

    /// Walks and sweeps so many destinations at most. Says whether there are more.
    fn work(&mut self, budget: usize) -> bool {
        self.partition.work(budget, &mut self.emissions)
    }

    /// Hands emissions to their groups' owners; waits where one has too much to do. Where nothing else waits for the
    /// partition (`alone`), it does itself what little there is to do in a group.
    async fn emit(&mut self, fabric: &Fabric, alone: bool) {
        let (live, read) = std::mem::take(&mut self.live);
        for (at, emission) in self.emissions.drain(..).enumerate() {
            if is_watched(emission.group()) {
                // An owner ends only with the daemon.
                let _ = fabric.watch.send(WatchMessage::Emission(emission)).await;
                continue;
            }
            let port = fabric.group(emission.group());
            let timed = Timed { emission, read: read.filter(|_| at < live) };
            let left = if alone { group_worker::take_at_once(port, timed, fabric) } else { Err(timed) };
            if let Err(timed) = left {
                port.send(timed).await;
            }
        }
        for mark in self.marks.drain(..) {
            let _ = fabric.watch.send(WatchMessage::Mark(mark)).await;
        }
    }

    /// The same without waiting: says whether everything is handed on. What is not stays, in order.
    fn emit_at_once(&mut self, fabric: &Fabric) -> bool {
        let (live, read) = std::mem::take(&mut self.live);
        let mut emissions = std::mem::take(&mut self.emissions).into_iter().enumerate();
        for (at, emission) in emissions.by_ref() {
            let left = if is_watched(emission.group()) {
                match fabric.watch.try_send(WatchMessage::Emission(emission)) {
                    Err(TrySendError::Full(WatchMessage::Emission(emission))) => Some(emission),
                    _ => None,
                }
            } else {
                let port = fabric.group(emission.group());
                let timed = Timed { emission, read: read.filter(|_| at < live) };
                let left = group_worker::take_at_once(port, timed, fabric);
                left.or_else(|timed| port.try_send(timed)).err().map(|timed| timed.emission)
            };
            if let Some(left) = left {
                self.emissions.push(left);
                break;
            }
        }
        self.emissions.extend(emissions.map(|(_, emission)| emission));
        self.emissions.is_empty()
    }
}

fn counters(partition: &Partition, asked: &CounterQuery) -> CounterAnswer {
    let CounterQuery { peer, family, group } = *asked;
    CounterAnswer {
        counters: partition.counters(family, peer),
        advertised: group.map_or(0, |group| partition.advertised(family, group, peer)),
    }
}

fn table_counts(partition: &Partition, family: Family) -> TableCounts {
    TableCounts { prefixes: partition.destinations(family) as u64, paths: partition.paths(family) as u64 }
}
