//! All neighbors' cells and the log of which have changed, and who originates routes.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLock};

use bgp_engine::config::cluster::Guard;
use bgp_engine::config::owners::OwnerName;
use bgp_engine::id::PeerIndex;
use ipnet::IpNet;

use super::neighbor::status_of;
use super::neighbor_watch::{BOUNDS, NeighborLog};
use crate::peer::NeighborCell;
use crate::runtime::status::NeighborStatus;

/// What the API may read without asking anybody.
pub(crate) struct Directory {
    cells: RwLock<BTreeMap<IpAddr, Arc<NeighborCell>>>,
    addresses: RwLock<HashMap<PeerIndex, IpAddr>>,
    owners: RwLock<HashMap<IpNet, OwnerName>>,
    guard: RwLock<Arc<Guard>>,
    log: NeighborLog,
}

impl Default for Directory {
    fn default() -> Self {
        Self {
            cells: RwLock::default(),
            addresses: RwLock::default(),
            owners: RwLock::default(),
            guard: RwLock::default(),
            log: NeighborLog::new(BOUNDS),
        }
    }
}

impl Directory {
    pub(crate) fn insert(&self, cell: Arc<NeighborCell>) {
        let address = cell.address;
        self.cells.write().unwrap_or_else(PoisonError::into_inner).insert(address, Arc::clone(&cell));
        self.addresses.write().unwrap_or_else(PoisonError::into_inner).insert(cell.index, address);
        self.announce(&cell);
    }

    /// The address of a peer that routes came from, also shortly after it has gone; `None` for this speaker itself.
    pub(in crate::runtime) fn address_of(&self, peer: PeerIndex) -> Option<IpAddr> {
        self.addresses.read().unwrap_or_else(PoisonError::into_inner).get(&peer).copied()
    }

    pub(crate) fn remove(&self, address: IpAddr) {
        self.cells.write().unwrap_or_else(PoisonError::into_inner).remove(&address);
        self.log.append([address]);
    }

    pub(super) fn get(&self, address: IpAddr) -> Option<Arc<NeighborCell>> {
        self.cells.read().unwrap_or_else(PoisonError::into_inner).get(&address).cloned()
    }

    /// All cells behind an address, sorted by address.
    pub(super) fn behind(&self, after: Option<IpAddr>) -> Vec<Arc<NeighborCell>> {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let cells = self.cells.read().unwrap_or_else(PoisonError::into_inner);
        cells.range((start, Bound::Unbounded)).map(|(_, cell)| Arc::clone(cell)).collect()
    }

    /// Writes down that a neighbor has changed.
    pub(crate) fn announce(&self, cell: &NeighborCell) {
        self.log.append([cell.address]);
    }

    /// A neighbor as it is now, without what only the partitions know.
    pub(super) fn status(&self, address: IpAddr) -> Option<NeighborStatus> {
        self.get(address).map(|cell| status_of(&cell, None))
    }

    /// What has changed, for watchers.
    pub(super) fn log(&self) -> &NeighborLog {
        &self.log
    }

    /// Notes who originates routes; `None` for prefixes that are not originated any more.
    pub(crate) fn set_owners(&self, changes: impl IntoIterator<Item = (IpNet, Option<OwnerName>)>) {
        let mut owners = self.owners.write().unwrap_or_else(PoisonError::into_inner);
        for (prefix, owner) in changes {
            match owner {
                Some(owner) => drop(owners.insert(prefix, owner)),
                None => drop(owners.remove(&prefix)),
            }
        }
    }

    /// The guard of the clusters that is in force.
    pub(crate) fn set_guard(&self, guard: Arc<Guard>) {
        *self.guard.write().unwrap_or_else(PoisonError::into_inner) = guard;
    }

    pub(super) fn guard(&self) -> Arc<Guard> {
        Arc::clone(&self.guard.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn owner_of(&self, prefix: &IpNet) -> Option<OwnerName> {
        self.owners.read().unwrap_or_else(PoisonError::into_inner).get(prefix).cloned()
    }
}
