//! One reader of the Loc-RIB: the table in slices, then the log, at the pace of whoever listens.
//!
//! While the table is read, it changes. What the log says from before the first slice until behind the last one is
//! repeated before the end of the snapshot, so that what has been said then is the table at that revision.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use super::{RouteChange, RouteLog};
use crate::runtime::change_log::{Lost, Revision};
use crate::runtime::handle::{RouteEvent, RouteFilter, RouteRecord, RouteWatch, WatchedRoutes};
use crate::runtime::reads::{Reads, routes};
use crate::runtime::rib_worker::RibControl;

/// Events that may wait for whoever listens.
const QUEUE: usize = 2;
/// Octets of one event, roughly: with what is written out of it and what gRPC buffers, a reader that has stopped costs
/// a few of these.
const WEIGHT: usize = 128 << 10;

/// Starts a reader.
pub(in crate::runtime) fn read(
    reads: Reads,
    log: oneshot::Receiver<Arc<RouteLog>>,
    watch: RouteWatch,
) -> mpsc::Receiver<RouteEvent> {
    let (events, receiver) = mpsc::channel(QUEUE);
    tokio::spawn(async move {
        let log = tokio::select! {
            log = log => log,
            () = events.closed() => return,
        };
        // Without a log the daemon is stopping.
        let Ok(log) = log else { return };
        let reader = Reader { reads, log, watch, events, said: Mutex::new(Instant::now()) };
        // It ends when nobody listens any more.
        let _ = reader.run().await;
    });
    receiver
}

struct Reader {
    reads: Reads,
    log: Arc<RouteLog>,
    watch: RouteWatch,
    events: mpsc::Sender<RouteEvent>,
    /// When something was said last.
    said: Mutex<Instant>,
}

/// Nobody listens any more.
struct Gone;

impl Reader {
    async fn run(&self) -> Result<(), Gone> {
        let mut at = match self.watch.from {
            Some(revision) => self.go_on(revision).await?,
            None => self.snapshot().await?,
        };
        loop {
            match self.log.read(at, None, WEIGHT) {
                Err(lost) => at = self.resync(lost).await?,
                Ok(stretch) if stretch.changes.is_empty() => self.wait(at).await?,
                Ok(stretch) => {
                    at = stretch.at;
                    self.say(&stretch.changes, Some(at)).await?;
                    // Changes that are not wanted do not break the silence.
                    if self.silence() <= Instant::now() {
                        self.beat(at).await?;
                    }
                }
            }
        }
    }

    async fn go_on(&self, revision: Revision) -> Result<Revision, Gone> {
        match self.log.read(revision, None, 0) {
            Ok(_) => Ok(revision),
            Err(lost) => self.resync(lost).await,
        }
    }

    async fn resync(&self, lost: Lost) -> Result<Revision, Gone> {
        self.send(RouteEvent { said: WatchedRoutes::Resync(lost.to_string()), revision: None }).await?;
        self.snapshot().await
    }

    /// Waits for a change, and says now and then that there is none.
    async fn wait(&self, at: Revision) -> Result<(), Gone> {
        tokio::select! {
            () = self.log.grown(at) => Ok(()),
            () = self.events.closed() => Err(Gone),
            () = sleep_until(self.silence()) => self.beat(at).await,
        }
    }

    /// When it has been silent for as long as it may be.
    fn silence(&self) -> Instant {
        *self.said.lock().unwrap_or_else(PoisonError::into_inner) + self.watch.heartbeat
    }

    async fn beat(&self, at: Revision) -> Result<(), Gone> {
        self.send(RouteEvent { said: WatchedRoutes::Heartbeat, revision: Some(at) }).await
    }

    /// The whole table, if it is wanted; where the log is to be followed from.
    async fn snapshot(&self) -> Result<Revision, Gone> {
        if self.watch.changes_only {
            let now = self.log.head();
            self.send(RouteEvent { said: WatchedRoutes::SnapshotEnd, revision: Some(now) }).await?;
            return Ok(now);
        }
        loop {
            match self.try_snapshot().await? {
                Ok(revision) => return Ok(revision),
                Err(lost) => {
                    let said = WatchedRoutes::Resync(format!("during the snapshot: {lost}"));
                    self.send(RouteEvent { said, revision: None }).await?;
                }
            }
        }
    }

    async fn try_snapshot(&self) -> Result<Result<Revision, Lost>, Gone> {
        let mut at = self.log.head();
        let filter = self.filter();
        let mut walk = routes::Walk::new(&self.reads, &filter);
        while let Some(records) = walk.next().await {
            self.send(RouteEvent { said: WatchedRoutes::Snapshot(records), revision: None }).await?;
        }
        self.catch_up().await;
        let end = self.log.head();
        while at != end {
            match self.log.read(at, Some(end), WEIGHT) {
                Err(lost) => return Ok(Err(lost)),
                Ok(stretch) => {
                    at = stretch.at;
                    self.say(&stretch.changes, None).await?;
                }
            }
        }
        self.send(RouteEvent { said: WatchedRoutes::SnapshotEnd, revision: Some(end) }).await?;
        Ok(Ok(end))
    }

    /// Returns when the log has everything that a slice can have shown.
    async fn catch_up(&self) {
        for mark in self.reads.fabric.ask_all_later(RibControl::Mark) {
            // A partition that has stopped has nothing more to say.
            let _ = mark.await;
        }
    }

    fn filter(&self) -> RouteFilter {
        let RouteWatch { prefix, longer, multipath, .. } = self.watch;
        RouteFilter {
            prefix,
            longer,
            multipath,
            best_only: true,
            families: self.watch.families.clone(),
            ..RouteFilter::default()
        }
    }

    fn wants(&self, change: &RouteChange) -> bool {
        let RouteWatch { families, prefix, longer, .. } = &self.watch;
        let inside = |within: &ipnet::IpNet| *within == change.prefix || *longer && within.contains(&change.prefix);
        (families.is_empty() || families.contains(&change.family)) && prefix.as_ref().is_none_or(inside)
    }

    /// Tells changes in their order; of each event the last one says where the watch is.
    async fn say(&self, changes: &[RouteChange], at: Option<Revision>) -> Result<(), Gone> {
        let wanted: Vec<&RouteChange> = changes.iter().filter(|change| self.wants(change)).collect();
        let mut rest = &wanted[..];
        while let Some(first) = rest.first() {
            let mut seen = HashSet::new();
            // All paths of a prefix stand together, so that a prefix comes once in an event.
            let fits = |change: &&&RouteChange| {
                change.paths.is_empty() == first.paths.is_empty()
                    && (first.family == change.family || !first.paths.is_empty())
                    && seen.insert(change.prefix)
            };
            let count = rest.iter().take_while(fits).count();
            let (now, later) = rest.split_at(count);
            rest = later;
            let said = match first.paths.is_empty() {
                true => WatchedRoutes::Withdrawn(first.family, now.iter().map(|change| change.prefix).collect()),
                false => WatchedRoutes::Changed(now.iter().flat_map(|change| self.records(change)).collect()),
            };
            // Only behind the last event has everything up to `at` been said.
            let revision = at.filter(|_| rest.is_empty());
            self.send(RouteEvent { said, revision }).await?;
        }
        Ok(())
    }

    fn records(&self, change: &RouteChange) -> impl Iterator<Item = RouteRecord> {
        let count = if self.watch.multipath { change.paths.len() } else { 1 };
        change.paths.iter().take(count).enumerate().map(|(at, path)| RouteRecord {
            family: change.family,
            prefix: change.prefix,
            path_id: 0,
            from: path.from,
            from_router_id: path.from_router_id,
            attrs: path.attrs.clone(),
            best: at == 0,
            age_seconds: None,
            reason: None,
            rejected: None,
            // Of a watched route only what it is counts, not whether its source is there.
            stale: false,
            // It can change while the route does not.
            validation: None,
            interface: self.reads.interface_of(path.from, &path.attrs),
            owner: if path.from.is_none() { self.reads.owner_of(&change.prefix) } else { None },
        })
    }

    async fn send(&self, event: RouteEvent) -> Result<(), Gone> {
        self.events.send(event).await.map_err(|_| Gone)?;
        *self.said.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        Ok(())
    }
}
