//! One reader of the neighbors: all of them as they are, then those that change.

use std::collections::HashSet;
use std::net::IpAddr;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::sleep;

use super::Reads;
use crate::runtime::change_log::{Bounds, ChangeLog, Lost, Revision, Weigh};
use crate::runtime::handle::{NeighborEvent, NeighborFilter, WatchedNeighbors};

/// What the log remembers. A reader that is further behind is sent all neighbors again.
pub(super) const BOUNDS: Bounds = Bounds { entries: 4096, weight: 4096 * size_of::<IpAddr>() };
/// Events that may wait for whoever listens.
const QUEUE: usize = 16;

/// Neighbors that have changed, are new or gone. How they are is looked up when that is said: statuses of hundreds of
/// neighbors that live on in the log, each of them in many pieces, would keep all memory around them in use.
pub(super) type NeighborLog = ChangeLog<IpAddr>;

impl Weigh for IpAddr {
    fn weight(&self) -> usize {
        size_of::<Self>()
    }
}

/// Starts a reader.
pub(super) fn read(reads: Reads, from: Option<Revision>, heartbeat: Duration) -> mpsc::Receiver<NeighborEvent> {
    let (events, receiver) = mpsc::channel(QUEUE);
    tokio::spawn(async move {
        // It ends when nobody listens any more.
        let _ = Reader { reads, heartbeat, events }.run(from).await;
    });
    receiver
}

struct Reader {
    reads: Reads,
    heartbeat: Duration,
    events: mpsc::Sender<NeighborEvent>,
}

/// Nobody listens any more.
struct Gone;

impl Reader {
    async fn run(&self, from: Option<Revision>) -> Result<(), Gone> {
        let log = self.reads.directory.log();
        let mut at = match from {
            Some(revision) => match log.read(revision, None, 0) {
                Ok(_) => revision,
                Err(lost) => self.resync(lost).await?,
            },
            None => self.snapshot().await?,
        };
        loop {
            match log.read(at, None, usize::MAX) {
                Err(lost) => at = self.resync(lost).await?,
                Ok(stretch) if stretch.changes.is_empty() => tokio::select! {
                    () = log.grown(at) => {}
                    () = self.events.closed() => return Err(Gone),
                    () = sleep(self.heartbeat) => self.send(WatchedNeighbors::Heartbeat, Some(at)).await?,
                },
                Ok(stretch) => {
                    at = stretch.at;
                    self.say(stretch.changes, Some(at)).await?;
                }
            }
        }
    }

    async fn resync(&self, lost: Lost) -> Result<Revision, Gone> {
        self.send(WatchedNeighbors::Resync(lost.to_string()), None).await?;
        self.snapshot().await
    }

    /// All neighbors as they are, and what has changed since the first of them was looked at.
    async fn snapshot(&self) -> Result<Revision, Gone> {
        let log = self.reads.directory.log();
        loop {
            let start = log.head();
            for status in self.reads.neighbors(&NeighborFilter::default(), None, usize::MAX).await.0 {
                self.send(WatchedNeighbors::Status(Box::new(status)), None).await?;
            }
            match log.read(start, None, usize::MAX) {
                Ok(stretch) => {
                    self.say(stretch.changes, None).await?;
                    self.send(WatchedNeighbors::SnapshotEnd, Some(stretch.at)).await?;
                    return Ok(stretch.at);
                }
                Err(lost) => self.send(WatchedNeighbors::Resync(lost.to_string()), None).await?,
            }
        }
    }

    /// Says how neighbors are now, each once.
    async fn say(&self, changed: Vec<IpAddr>, at: Option<Revision>) -> Result<(), Gone> {
        let mut known = HashSet::new();
        let mut last: Vec<IpAddr> = changed.into_iter().rev().filter(|address| known.insert(*address)).collect();
        while let Some(address) = last.pop() {
            let said = match self.reads.directory.status(address) {
                Some(status) => WatchedNeighbors::Status(Box::new(status)),
                None => WatchedNeighbors::Removed(address),
            };
            // Only behind the last one has everything up to `at` been said.
            self.send(said, at.filter(|_| last.is_empty())).await?;
        }
        Ok(())
    }

    async fn send(&self, said: WatchedNeighbors, revision: Option<Revision>) -> Result<(), Gone> {
        self.events.send(NeighborEvent { said, revision }).await.map_err(|_| Gone)
    }
}
