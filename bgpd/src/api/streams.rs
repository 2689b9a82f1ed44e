//! Server streams of the API: how many there may be at a time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::Status;
use tracing::warn;

/// The streams that are open.
#[derive(Clone)]
pub(super) struct Streams {
    limit: usize,
    free: Arc<Semaphore>,
    refused: Arc<AtomicU64>,
}

impl Streams {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, free: Arc::new(Semaphore::new(limit)), refused: Arc::default() }
    }

    /// A place for one more stream; it is free again when the permit is dropped.
    pub(super) fn open(&self) -> Result<OwnedSemaphorePermit, Status> {
        Arc::clone(&self.free).try_acquire_owned().map_err(|_| {
            self.refused.fetch_add(1, Ordering::Relaxed);
            warn!(limit = self.limit, "API stream refused: too many are open");
            let limit = self.limit;
            Status::resource_exhausted(format!(
                "{limit} streams are open already: close some, or raise [api] max-streams"
            ))
        })
    }

    /// How many are open, and how many were refused.
    pub(super) fn counts(&self) -> (u64, u64) {
        let open = self.limit - self.free.available_permits();
        (open as u64, self.refused.load(Ordering::Relaxed))
    }
}
