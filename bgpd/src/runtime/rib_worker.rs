//! One thread per partition: takes batches and fences in order, does pending work in between, answers queries.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use bgp_engine::config::Global;
use bgp_engine::export::ExportSpec;
use bgp_engine::id::{GroupIndex, PeerIndex};
use bgp_engine::rib::{Cursor, Explanation, Partition, PartitionSettings, PeerCounters, RouteQuery, Slice, decision};
use bgp_engine::stage::{AnyEmission, AnyMissed, Member};
use bgp_wire::Family;
use ipnet::IpNet;
use tokio::sync::{mpsc, oneshot};

use super::fabric::{Fabric, RibMessage, Timed};
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
    /// Route selection does not wait for this peer any more.
    Excuse(IpAddr),
    Reconfigure {
        router_id: Ipv4Addr,
        options: decision::Options,
    },
    /// Answered by the watch task, behind all changes that were made so far.
    Mark(oneshot::Sender<()>),
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

/// The receiving ends of a partition's channels.
pub(super) struct Input {
    pub(super) data: mpsc::Receiver<RibMessage>,
    pub(super) control: mpsc::UnboundedReceiver<RibControl>,
}

struct Worker {
    partition: Partition,
    fabric: Arc<Fabric>,
    emissions: Vec<AnyEmission>,
    /// How many of the emissions are live changes, and when the octets that caused them were read.
    live: (usize, Option<Instant>),
    /// Route selection is put off after a restart (RFC 4724 §4.1).
    deferring: bool,
    /// Marks that go out behind the emissions.
    marks: Vec<oneshot::Sender<()>>,
}

/// Starts the thread of partition `index`.
/// `expected` are the peers whose routes it waits for before it selects any.
pub(super) fn spawn(
    index: usize,
    input: Input,
    fabric: Arc<Fabric>,
    global: &Global,
    expected: BTreeMap<Family, BTreeSet<IpAddr>>,
) -> io::Result<()> {
    let settings = PartitionSettings {
        index,
        seed: fabric.next_seed(),
        router_id: global.router_id,
        decision: decision_options(global),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    thread::Builder::new().name(format!("rib-{index}")).spawn(move || {
        let mut partition = Partition::new(settings, Arc::clone(&fabric.interner));
        expected.iter().for_each(|(family, peers)| partition.defer(*family, peers));
        let deferring = partition.is_deferring();
        let marks = Vec::new();
        let worker = Worker { partition, fabric, emissions: Vec::new(), live: (0, None), deferring, marks };
        runtime.block_on(worker.run(input));
    })?;
    Ok(())
}

/// How paths are compared, as configured.
pub(super) fn decision_options(global: &Global) -> decision::Options {
    decision::Options { always_compare_med: global.always_compare_med }
}

impl Worker {
    async fn run(mut self, input: Input) {
        let Input { mut data, mut control } = input;
        let mut more = false;
        let mut budget = WORK_MOST;
        loop {
            tokio::select! {
                biased;
                message = control.recv() => match message {
                    Some(message) => self.control(message),
                    None => return,
                },
                message = data.recv() => match message {
                    Some(message) => {
                        self.data(message);
                        budget = WORK_LEAST;
                    }
                    None => return,
                },
                () = std::future::ready(()), if more => {}
            }
            // A little pending work after every message: neither starves the other.
            if self.deferring && !self.partition.is_deferring() {
                self.deferring = false;
                self.fabric.restart.partition_is_done();
            }
            for alarm in self.partition.take_alarms() {
                // Without a controller the daemon is stopping.
                let _ = self.fabric.alarms.send(alarm);
            }
            more = self.partition.work(budget, &mut self.emissions);
            budget = (budget + WORK_STEP).min(WORK_MOST);
            self.emit().await;
        }
    }

    fn data(&mut self, message: RibMessage) {
        match message {
            RibMessage::Batch(batch, read) => {
                self.partition.batch(batch, self.fabric.uptime_seconds(), &mut self.emissions);
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
            RibControl::Refill { group, member, missed } => {
                partition.refill(group, member, &missed, &mut self.emissions);
            }
            RibControl::EndDeferral => partition.end_deferral(),
            RibControl::Excuse(peer) => partition.excuse(peer),
            RibControl::Awaited { families, reply } => {
                drop(reply.send(families.iter().flat_map(|family| partition.awaited(*family)).collect()));
            }
            RibControl::Reconfigure { router_id, options } => {
                partition.reconfigure(router_id, options, &mut self.emissions);
            }
            RibControl::Mark(reply) => self.marks.push(reply),
            // Whoever asked a question may be gone; then the answer is dropped.
            RibControl::Query { query, cursor, limit, reply } => {
                drop(reply.send(partition.query(&query, cursor, limit)));
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

    /// Hands emissions to their groups' owners; waits where one has too much to do.
    async fn emit(&mut self) {
        let (live, read) = std::mem::take(&mut self.live);
        for (at, emission) in self.emissions.drain(..).enumerate() {
            let group = emission.group();
            // An owner ends only with the daemon.
            if is_watched(group) {
                let _ = self.fabric.watch.send(WatchMessage::Emission(emission)).await;
            } else {
                let read = read.filter(|_| at < live);
                let _ = self.fabric.group(group).data.send(Timed { emission, read }).await;
            }
        }
        for mark in self.marks.drain(..) {
            let _ = self.fabric.watch.send(WatchMessage::Mark(mark)).await;
        }
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
