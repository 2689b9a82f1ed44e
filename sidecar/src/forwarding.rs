//! Which routes of ours are to be in the kernel, and the steps from what is there to that.
//!
//! Pure: what the speaker says and what the kernel says go in, operations come out, their results go in again. A route
//! is ours when it carries our protocol number; no other is ever touched. Those of an earlier run are adopted where
//! they are right, and removed only once the speaker's snapshot has ended: until then nobody knows that they are stale.

mod explain;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use ipnet::IpNet;

pub use self::explain::Fate;
use crate::guard::{Guard, Protected};
use crate::learned::{Learned, Path, RouteEvent};
use crate::problem::{Problem, Reason};
use crate::topology::{Dump, Hop, KernelRoute, NextHopRules, RouteKey, Topology, Unresolved};

/// Longest time between two attempts at a route that the kernel refuses.
const LONGEST_BACKOFF: Duration = Duration::from_secs(60);

/// Where and how routes are installed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    /// Routing table.
    pub table: u32,
    /// Metric.
    pub metric: u32,
    /// Our protocol number.
    pub protocol: u8,
    /// Whether a default route may be installed.
    pub allow_default: bool,
    /// How next hops are looked up.
    pub next_hops: NextHopRules,
}

/// One change of the kernel's tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// Add a route, or replace ours.
    Install {
        /// Which route.
        key: RouteKey,
        /// Its ways, at least one.
        hops: BTreeSet<Hop>,
        /// One of ours is there already.
        replace: bool,
    },
    /// Remove one of ours.
    Remove(RouteKey),
}

impl Operation {
    /// The route that it is about.
    #[must_use]
    pub fn key(&self) -> RouteKey {
        match self {
            Self::Install { key, .. } | Self::Remove(key) => *key,
        }
    }
}

/// What somebody else did to the kernel's tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KernelEvent {
    /// A route is new or replaced another one.
    RouteAdded(KernelRoute),
    /// A route is gone.
    RouteRemoved(KernelRoute),
    /// Interfaces or addresses changed, or events were lost: only a dump tells what is there.
    Unclear,
}

/// Numbers for the status and the metrics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Counts {
    /// Prefixes learned from neighbors.
    pub learned: usize,
    /// Routes of ours in the kernel.
    pub installed: usize,
    /// Learned, but kept out by a guard rail.
    pub refused: usize,
    /// Learned, but without a reachable next hop.
    pub unresolved: usize,
    /// Learned, but not installed for another reason.
    pub failed: usize,
}

/// What there is to do about a prefix.
enum Wanted {
    /// Nothing: it is not learned.
    Unknown,
    /// Nothing: it leads to this node, whose pods are reached without a route.
    Own,
    /// A route with these ways, at least one.
    Ways(BTreeSet<Hop>),
}

#[derive(Debug)]
struct Failure {
    attempts: u32,
    retry_at: Instant,
    message: String,
}

/// Desired and actual routes.
#[derive(Debug)]
pub struct Forwarding {
    placement: Placement,
    learned: Learned,
    /// None until the node's own prefixes are known; nothing is installed before.
    cluster: Option<Vec<(IpNet, Protected)>>,
    guard: Guard,
    topology: Topology,
    /// Routes of ours at the configured place.
    installed: BTreeMap<IpNet, BTreeSet<Hop>>,
    /// Routes with our protocol number elsewhere: an earlier configuration's.
    misplaced: BTreeSet<RouteKey>,
    /// Routes of others at the configured place.
    occupied: BTreeMap<IpNet, u8>,
    dirty: BTreeSet<IpNet>,
    failures: BTreeMap<IpNet, Failure>,
    problems: BTreeMap<IpNet, Problem>,
}

impl Forwarding {
    /// Nothing is known yet.
    #[must_use]
    pub fn new(placement: Placement) -> Self {
        let guard = Guard::new(placement.allow_default);
        Self {
            placement,
            learned: Learned::default(),
            cluster: None,
            guard,
            topology: Topology::default(),
            installed: BTreeMap::new(),
            misplaced: BTreeSet::new(),
            occupied: BTreeMap::new(),
            dirty: BTreeSet::new(),
            failures: BTreeMap::new(),
            problems: BTreeMap::new(),
        }
    }

    /// Takes in what the speaker says.
    pub fn learn(&mut self, event: RouteEvent) {
        let ends = event == RouteEvent::SnapshotEnd;
        let changed = self.learned.apply(event);
        for prefix in &changed {
            self.failures.remove(prefix);
        }
        self.dirty.extend(changed);
        if ends {
            // What was left by an earlier run and not confirmed is stale from now on.
            self.dirty.extend(self.installed.keys());
        }
    }

    /// Takes in what the cluster's state protects.
    pub fn protect(&mut self, protected: Vec<(IpNet, Protected)>) {
        if self.cluster.as_ref() != Some(&protected) {
            self.cluster = Some(protected);
            self.rebuild();
        }
    }

    /// Takes in all that the kernel has.
    pub fn observe(&mut self, dump: Dump) {
        let Dump { interfaces, addresses, routes } = dump;
        self.topology = Topology::new(interfaces, addresses);
        self.installed.clear();
        self.misplaced.clear();
        self.occupied.clear();
        for route in routes {
            self.add(route);
        }
        self.rebuild();
    }

    /// Takes in what somebody else did. False when only a dump helps.
    #[must_use]
    pub fn notice(&mut self, event: KernelEvent) -> bool {
        match event {
            KernelEvent::RouteAdded(route) => {
                if self.is_here(&route.key) {
                    // It may have replaced ours.
                    self.installed.remove(&route.key.prefix);
                    self.dirty.insert(route.key.prefix);
                }
                let leads = route.protocol != self.placement.protocol;
                self.add(route);
                if leads {
                    self.all_dirty();
                }
                true
            }
            KernelEvent::RouteRemoved(route) => {
                let KernelRoute { key, protocol, .. } = route;
                if protocol != self.placement.protocol {
                    self.topology.remove(&key);
                    if self.is_here(&key) {
                        self.occupied.remove(&key.prefix);
                    }
                    self.all_dirty();
                } else if self.is_here(&key) {
                    self.installed.remove(&key.prefix);
                    self.dirty.insert(key.prefix);
                } else {
                    self.misplaced.remove(&key);
                }
                true
            }
            KernelEvent::Unclear => false,
        }
    }

    fn add(&mut self, route: KernelRoute) {
        let is_here = self.is_here(&route.key);
        if route.protocol != self.placement.protocol {
            if is_here {
                self.occupied.insert(route.key.prefix, route.protocol);
            }
            self.topology.insert(route);
        } else if is_here {
            self.installed.insert(route.key.prefix, route.hops);
        } else {
            self.misplaced.insert(route.key);
        }
    }

    fn is_here(&self, key: &RouteKey) -> bool {
        key.table == self.placement.table && key.metric == self.placement.metric
    }

    fn key(&self, prefix: IpNet) -> RouteKey {
        RouteKey { table: self.placement.table, prefix, metric: self.placement.metric }
    }

    fn rebuild(&mut self) {
        let mut guard = Guard::new(self.placement.allow_default);
        for (prefix, what) in self.cluster.iter().flatten() {
            guard.protect(*prefix, *what);
        }
        for address in self.topology.addresses() {
            guard.protect(address, Protected::NodeSubnet);
        }
        self.guard = guard;
        self.all_dirty();
    }

    fn all_dirty(&mut self) {
        self.dirty.extend(self.learned.prefixes());
        self.dirty.extend(self.installed.keys());
    }

    /// The operations that are due.
    pub fn plan(&mut self, now: Instant) -> Vec<Operation> {
        if self.cluster.is_none() {
            return Vec::new();
        }
        let due = self.failures.iter().filter(|(_, failure)| failure.retry_at <= now).map(|(prefix, _)| *prefix);
        self.dirty.extend(due);
        let mut resolved = BTreeMap::new();
        let mut operations: Vec<Operation> = Vec::new();
        if self.learned.is_known() {
            let is_due = |key: &RouteKey| self.failures.get(&key.prefix).is_none_or(|one| one.retry_at <= now);
            operations.extend(self.misplaced.extract_if(.., |key| is_due(key)).map(Operation::Remove));
        }
        for prefix in std::mem::take(&mut self.dirty) {
            if self.failures.get(&prefix).is_none_or(|failure| failure.retry_at <= now) {
                operations.extend(self.step(prefix, &mut resolved));
            }
        }
        operations
    }

    /// What is to be done about one prefix.
    fn step(&mut self, prefix: IpNet, resolved: &mut Resolved) -> Option<Operation> {
        self.problems.remove(&prefix);
        let wanted = match self.wanted(prefix, resolved) {
            Ok(Wanted::Ways(ways)) => ways,
            Ok(Wanted::Unknown | Wanted::Own) => BTreeSet::new(),
            Err(problem) => {
                self.problems.insert(prefix, problem);
                BTreeSet::new()
            }
        };
        let key = self.key(prefix);
        let installed = self.installed.get(&prefix);
        match installed {
            _ if wanted.is_empty() => {
                self.failures.remove(&prefix);
                let is_stale = self.learned.is_known() || self.problems.contains_key(&prefix);
                (installed.is_some() && is_stale).then_some(Operation::Remove(key))
            }
            Some(hops) if *hops == wanted => {
                self.failures.remove(&prefix);
                None
            }
            _ => Some(Operation::Install { key, hops: wanted, replace: installed.is_some() }),
        }
    }

    fn wanted(&self, prefix: IpNet, resolved: &mut Resolved) -> Result<Wanted, Problem> {
        let paths: Vec<&Path> = self.learned.paths(&prefix).collect();
        if paths.is_empty() {
            return Ok(Wanted::Unknown);
        }
        if paths.iter().all(|path| self.topology.is_own(path.next_hop)) {
            return Ok(Wanted::Own);
        }
        let problem = |reason, message: String| Problem::new(format_args!("route/{prefix}"), reason, message);
        self.guard.check(prefix).map_err(|refusal| problem(Reason::RouteRefused, refusal.to_string()))?;
        if let Some(protocol) = self.occupied.get(&prefix) {
            let message = format!(
                "a route of protocol {protocol} has the same metric {} in table {}; it is left alone",
                self.placement.metric, self.placement.table
            );
            return Err(problem(Reason::RouteOccupied, message));
        }
        let mut hops = BTreeSet::new();
        let mut failed = None;
        for path in paths {
            let found = resolved
                .entry(path.clone())
                .or_insert_with(|| self.topology.resolve(path, &self.placement.next_hops))
                .clone();
            match found {
                Ok(found) => hops.extend(found),
                Err(unresolved) => failed = Some(unresolved),
            }
        }
        match failed {
            // Where several paths are equal, those that can be used are.
            Some(unresolved) if hops.is_empty() => Err(problem(Reason::NextHopUnresolved, unresolved.to_string())),
            _ => Ok(Wanted::Ways(hops)),
        }
    }

    /// Takes in that the kernel did what was asked.
    pub fn succeeded(&mut self, operation: Operation) {
        let key = operation.key();
        if !self.is_here(&key) {
            return;
        }
        match operation {
            Operation::Install { hops, .. } => self.installed.insert(key.prefix, hops),
            Operation::Remove(_) => self.installed.remove(&key.prefix),
        };
        self.failures.remove(&key.prefix);
    }

    /// Takes in that the kernel refused; it is asked again later.
    pub fn failed(&mut self, operation: &Operation, message: &str, now: Instant) {
        let key = operation.key();
        let prefix = key.prefix;
        if !self.is_here(&key) {
            self.misplaced.insert(key);
        }
        let attempts = self.failures.get(&prefix).map_or(0, |failure| failure.attempts) + 1;
        let backoff = Duration::from_millis(250).saturating_mul(1 << attempts.min(10)).min(LONGEST_BACKOFF);
        self.failures.insert(prefix, Failure { attempts, retry_at: now + backoff, message: message.to_owned() });
    }

    /// When a refused route is tried again.
    #[must_use]
    pub fn next_retry(&self) -> Option<Instant> {
        self.failures.values().map(|failure| failure.retry_at).min()
    }

    /// Whether every learned route that may be in the kernel is, as the running watch tells them.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.cluster.is_some() && self.learned.is_current() && self.dirty.is_empty() && self.failures.is_empty()
    }

    /// The node's own pod CIDRs; none until they are known.
    #[must_use]
    pub fn pod_cidrs(&self) -> Option<Vec<IpNet>> {
        let own = self.cluster.as_ref()?.iter().filter(|(_, what)| *what == Protected::PodCidr);
        Some(own.map(|(prefix, _)| *prefix).collect())
    }

    /// The destinations of our routes in the kernel.
    pub fn installed(&self) -> impl Iterator<Item = IpNet> {
        self.installed.keys().copied()
    }

    /// What is wrong with which route.
    #[must_use]
    pub fn problems(&self) -> Vec<Problem> {
        let refused = self.failures.iter().map(|(prefix, failure)| {
            Problem::new(format_args!("route/{prefix}"), Reason::KernelRefused, &failure.message)
        });
        self.problems.values().cloned().chain(refused).collect()
    }

    /// Numbers for the status.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let with = |reason| self.problems.values().filter(|problem| problem.reason == reason).count();
        Counts {
            learned: self.learned.prefixes().count(),
            installed: self.installed.len(),
            refused: with(Reason::RouteRefused),
            unresolved: with(Reason::NextHopUnresolved),
            failed: with(Reason::RouteOccupied) + self.failures.len(),
        }
    }
}

/// What was looked up during one plan: many routes share few next hops.
type Resolved = BTreeMap<Path, Result<BTreeSet<Hop>, Unresolved>>;

#[cfg(test)]
mod tests;
