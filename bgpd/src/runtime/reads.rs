//! Answers to questions: put together outside the threads that route, from slices that those give between batches.

mod directory;
mod neighbor;
mod neighbor_watch;
mod origins;
mod problems;
mod record;
pub(super) mod routes;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use bgp_engine::attr::{AttrRef, Interner};
use bgp_engine::config::owners::OwnerName;
use bgp_engine::policy::{Library, OriginValidation, RpkiState};
use bgp_engine::rpki::VrpTable;
use bgp_wire::Family;
use bgp_wire::attribute::{as_path, code};
use bgp_wire::update::NextHop;
use ipnet::IpNet;
use tokio::sync::{mpsc, oneshot};

pub(crate) use self::directory::Directory;
use self::neighbor::status_of;
pub use self::origins::OriginCounts;
pub use self::routes::Place;
use super::fabric::Fabric;
use super::handle::{
    ControlError, Explanation, NeighborEvent, NeighborFilter, NeighborWatch, RouteEvent, RouteFilter, RoutePage,
    RouteWatch,
};
use super::rib_worker::{CounterAnswer, CounterQuery, RibControl};
use super::status::{NeighborStatus, PrefixCounts, StageQueue, TableCounts};
use super::watch::{self, Subscribe};
use crate::observe::Latencies;
use crate::peer::NeighborCell;
use crate::rpki::CacheStatus;

/// Families that the tables have.
pub(super) const FAMILIES: [Family; 2] = [Family::IPV4_UNICAST, Family::IPV6_UNICAST];

/// The reading side of a running speaker.
#[derive(Clone)]
pub(crate) struct Reads {
    directory: Arc<Directory>,
    pub(super) fabric: Arc<Fabric>,
    subscriptions: mpsc::Sender<Subscribe>,
    origins: Arc<origins::Origins>,
}

impl Reads {
    pub(super) fn new(directory: Arc<Directory>, fabric: Arc<Fabric>, subscriptions: mpsc::Sender<Subscribe>) -> Self {
        Self { directory, fabric, subscriptions, origins: Arc::default() }
    }

    pub(super) fn library(&self) -> Arc<Library> {
        self.fabric.library()
    }

    pub(super) fn interner(&self) -> Arc<Interner> {
        Arc::clone(&self.fabric.interner)
    }

    pub(super) fn latencies(&self) -> &Latencies {
        &self.fabric.latencies
    }

    /// What waits for the partitions, and for the groups.
    pub(super) fn queues(&self) -> [StageQueue; 2] {
        let fabric = &self.fabric;
        [
            StageQueue::over(fabric.partitions.iter().map(|port| (port.waiting(), port.taken()))),
            StageQueue::over(fabric.groups.iter().map(|port| (port.waiting(), port.taken()))),
        ]
    }

    /// Neighbors that match, sorted by address: those behind `after`, and so many at most. And whether there are more.
    pub(super) async fn neighbors(
        &self,
        filter: &NeighborFilter,
        after: Option<IpAddr>,
        most: usize,
    ) -> (Vec<NeighborStatus>, bool) {
        let mut cells = self.directory.behind(after);
        if *filter != NeighborFilter::default() {
            cells.retain(|cell| filter.holds(&status_of(cell, None)));
        }
        let more = cells.len() > most;
        cells.truncate(most);
        let mut counts = self.counts(&cells).await;
        let statuses = cells.iter().map(|cell| status_of(cell, counts.remove(&cell.address)));
        (statuses.collect(), more)
    }

    pub(super) async fn neighbor(&self, address: IpAddr) -> Option<NeighborStatus> {
        let cell = self.directory.get(address)?;
        let mut counts = self.counts(std::slice::from_ref(&cell)).await;
        Some(status_of(&cell, counts.remove(&address)))
    }

    /// Prefix counters of neighbors, summed over all partitions.
    async fn counts(&self, cells: &[Arc<NeighborCell>]) -> HashMap<IpAddr, BTreeMap<Family, PrefixCounts>> {
        let mut asked = Vec::new();
        let mut whose = Vec::new();
        for cell in cells {
            let memberships = cell.memberships();
            for family in cell.families() {
                let group = memberships.iter().find(|(of, _)| *of == family).map(|(_, group)| *group);
                asked.push(CounterQuery { peer: cell.index, family, group });
                whose.push((cell.address, family));
            }
        }
        let answers = self.fabric.ask_all(|reply| RibControl::Counters { asked: asked.clone(), reply }).await;
        let mut counts: HashMap<IpAddr, BTreeMap<Family, PrefixCounts>> = HashMap::new();
        for partition in answers {
            for ((address, family), CounterAnswer { counters, advertised }) in whose.iter().zip(partition) {
                let sum = counts.entry(*address).or_default().entry(*family).or_default();
                sum.received += counters.received as u64;
                sum.accepted += counters.accepted as u64;
                sum.advertised += advertised as u64;
                sum.stale += counters.stale as u64;
            }
        }
        counts
    }

    /// Sizes of the tables, and the number of attribute sets.
    pub(super) async fn tables(&self) -> (BTreeMap<Family, TableCounts>, u64) {
        let answers = self.fabric.ask_all(|reply| RibControl::Tables { families: FAMILIES.to_vec(), reply }).await;
        let mut tables: BTreeMap<Family, TableCounts> = BTreeMap::new();
        for partition in answers {
            for (family, counts) in FAMILIES.iter().zip(partition) {
                let sum = tables.entry(*family).or_default();
                sum.prefixes += counts.prefixes;
                sum.paths += counts.paths;
            }
        }
        (tables, self.fabric.interner.len() as u64)
    }

    /// Peers that route selection waits for after a restart.
    pub(super) async fn awaited(&self) -> Vec<IpAddr> {
        let answers = self.fabric.ask_all(|reply| RibControl::Awaited { families: FAMILIES.to_vec(), reply }).await;
        let all: BTreeSet<IpAddr> = answers.into_iter().flatten().collect();
        all.into_iter().collect()
    }

    pub(super) fn routes(&self, filter: RouteFilter) -> mpsc::Receiver<RoutePage> {
        routes::stream(self.clone(), filter)
    }

    pub(super) async fn longest_match(&self, prefix: IpNet) -> Option<IpNet> {
        let filter = RouteFilter { prefix: Some(prefix), covering: true, ..RouteFilter::default() };
        routes::longest_match(routes::Walk::new(self, &filter)).await.first().map(|record| record.prefix)
    }

    pub(super) async fn explain(&self, prefix: IpNet, to: Option<IpAddr>) -> Result<Explanation, ControlError> {
        routes::explain(self, prefix, to).await
    }

    pub(super) fn watch_routes(&self, wanted: RouteWatch) -> mpsc::Receiver<RouteEvent> {
        let (subscribe, log) = oneshot::channel();
        let subscriptions = self.subscriptions.clone();
        tokio::spawn(async move {
            // When nobody takes it the daemon is stopping, and the receiver ends.
            let _ = subscriptions.send(subscribe).await;
        });
        watch::read(self.clone(), log, wanted)
    }

    pub(super) fn watch_neighbors(&self, wanted: NeighborWatch) -> mpsc::Receiver<NeighborEvent> {
        neighbor_watch::read(self.clone(), wanted)
    }

    /// The interface of the session with a neighbor, where a next hop is of no use without it.
    pub(super) fn interface_of(&self, from: Option<IpAddr>, attrs: &AttrRef) -> Option<String> {
        let NextHop::V6 { global, link_local } = attrs.next_hop else { return None };
        if link_local.is_none() && !global.is_unicast_link_local() {
            return None;
        }
        self.directory.get(from?)?.view().interface.clone()
    }

    /// What the RPKI says of a route's origin; `None` where no cache is configured.
    pub(super) fn validation_of(&self, prefix: &IpNet, attrs: &AttrRef) -> Option<RpkiState> {
        self.fabric.rpki.table().map(|table| state_of(&table, prefix, attrs))
    }

    /// How many paths have which state of their origin, as counted last.
    pub(super) fn origins(&self) -> BTreeMap<Family, OriginCounts> {
        origins::counts(self)
    }

    pub(super) fn caches(&self) -> Arc<[CacheStatus]> {
        self.fabric.rpki.status()
    }

    pub(super) fn vrps(&self) -> Option<Arc<VrpTable>> {
        self.fabric.rpki.table()
    }

    /// Who originates the route to a prefix.
    pub(super) fn owner_of(&self, prefix: &IpNet) -> Option<OwnerName> {
        self.directory.owner_of(prefix)
    }
}

/// What the VRPs say of a route's origin.
fn state_of(table: &VrpTable, prefix: &IpNet, attrs: &AttrRef) -> RpkiState {
    let path = attrs.block().get(code::AS_PATH).unwrap_or_default();
    table.state(prefix, as_path::origin_as(path))
}
