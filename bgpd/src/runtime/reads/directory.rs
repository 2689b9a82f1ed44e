//! All neighbors' cells, and the watchers of their changes.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use bgp_engine::id::PeerIndex;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use super::super::handle::NeighborEvent;
use super::neighbor::status_of;
use crate::peer::NeighborCell;

/// Events that may wait for one watcher; one that is further behind is told so and dropped.
const WATCH_QUEUE: usize = 4096;

/// What the API may read without asking anybody.
#[derive(Default)]
pub(crate) struct Directory {
    cells: RwLock<BTreeMap<IpAddr, Arc<NeighborCell>>>,
    addresses: RwLock<HashMap<PeerIndex, IpAddr>>,
    watchers: Mutex<Vec<mpsc::Sender<NeighborEvent>>>,
}

impl Directory {
    pub(crate) fn insert(&self, cell: Arc<NeighborCell>) {
        let address = cell.address;
        self.cells.write().unwrap_or_else(PoisonError::into_inner).insert(address, Arc::clone(&cell));
        self.addresses.write().unwrap_or_else(PoisonError::into_inner).insert(cell.index, address);
        self.announce(&cell);
    }

    /// The address of a peer that routes came from, also shortly after it has gone; `None` for this speaker itself.
    pub(super) fn address_of(&self, peer: PeerIndex) -> Option<IpAddr> {
        self.addresses.read().unwrap_or_else(PoisonError::into_inner).get(&peer).copied()
    }

    pub(crate) fn remove(&self, address: IpAddr) {
        self.cells.write().unwrap_or_else(PoisonError::into_inner).remove(&address);
    }

    pub(super) fn get(&self, address: IpAddr) -> Option<Arc<NeighborCell>> {
        self.cells.read().unwrap_or_else(PoisonError::into_inner).get(&address).cloned()
    }

    /// All cells, sorted by address.
    pub(super) fn all(&self) -> Vec<Arc<NeighborCell>> {
        self.cells.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Tells the watchers of a neighbor's new state.
    pub(crate) fn announce(&self, cell: &NeighborCell) {
        if !self.watchers().is_empty() {
            self.tell(&NeighborEvent::Status(Box::new(status_of(cell, None))));
        }
    }

    /// Tells the watchers; one that has no room gets `Lagged` as its last event.
    pub(crate) fn tell(&self, event: &NeighborEvent) {
        // One slot is kept back for `Lagged`, see `watch`.
        self.watchers().retain(|watcher| {
            if watcher.capacity() > 1 {
                return !matches!(watcher.try_send(event.clone()), Err(TrySendError::Closed(_)));
            }
            // The watcher may be gone, which is what it would be told.
            let _ = watcher.try_send(NeighborEvent::Lagged);
            false
        });
    }

    /// Registers a watcher; changes from now on go to it.
    pub(super) fn watch(&self) -> (mpsc::Sender<NeighborEvent>, mpsc::Receiver<NeighborEvent>) {
        let (sender, receiver) = mpsc::channel(WATCH_QUEUE);
        self.watchers().push(sender.clone());
        (sender, receiver)
    }

    fn watchers(&self) -> MutexGuard<'_, Vec<mpsc::Sender<NeighborEvent>>> {
        self.watchers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
