//! What a watch asks for, and what it says.

use std::net::IpAddr;
use std::time::Duration;

use bgp_wire::Family;
use ipnet::IpNet;

use super::{NeighborFilter, NeighborStatus, Revision, RouteRecord};

/// What to watch of the Loc-RIB, and how. Empty fields do not filter.
#[derive(Debug, Clone)]
pub struct RouteWatch {
    /// Only these families.
    pub families: Vec<Family>,
    /// Only this prefix; with `longer` also those inside it.
    pub prefix: Option<IpNet>,
    /// Also prefixes that `prefix` covers.
    pub longer: bool,
    /// All paths that are as good as the best one.
    pub multipath: bool,
    /// Only the changes since then.
    pub from: Option<Revision>,
    /// No table, only changes.
    pub changes_only: bool,
    /// Longest silence.
    pub heartbeat: Duration,
}

/// A message of a route watch.
#[derive(Debug, Clone)]
pub struct RouteEvent {
    /// What it says.
    pub said: WatchedRoutes,
    /// Where the watch can go on, if it could from here.
    pub revision: Option<Revision>,
}

/// What a route watch says. Changes can come between the parts of the snapshot; the last word on a prefix counts.
#[derive(Debug, Clone)]
pub enum WatchedRoutes {
    /// Part of the table.
    Snapshot(Vec<RouteRecord>),
    /// The table is complete; what follows are changes.
    SnapshotEnd,
    /// Best paths that are new or other ones than before, all of a prefix together.
    Changed(Vec<RouteRecord>),
    /// Prefixes without a usable path from now on.
    Withdrawn(Family, Vec<IpNet>),
    /// Nothing has happened for a while.
    Heartbeat,
    /// A snapshot follows, and why.
    Resync(String),
}

/// What a neighbor watch is about.
#[derive(Debug, Clone)]
pub struct NeighborWatch {
    /// Only those that match.
    pub filter: NeighborFilter,
    /// Only the changes since then.
    pub from: Option<Revision>,
    /// Longest silence.
    pub heartbeat: Duration,
}

/// A message of a neighbor watch.
#[derive(Debug, Clone)]
pub struct NeighborEvent {
    /// What it says.
    pub said: WatchedNeighbors,
    /// Where the watch can go on, if it could from here.
    pub revision: Option<Revision>,
}

/// What a neighbor watch says: a neighbor as it now is, or that it does not count any more.
#[derive(Debug, Clone)]
pub enum WatchedNeighbors {
    /// State of a neighbor that matches.
    Status(Box<NeighborStatus>),
    /// All neighbors that match have been said once.
    SnapshotEnd,
    /// The neighbor is gone, or does not match any more.
    Removed(IpAddr),
    /// Nothing has happened for a while.
    Heartbeat,
    /// A snapshot follows, and why.
    Resync(String),
}
