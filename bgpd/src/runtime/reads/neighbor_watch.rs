//! One reader of the neighbors: all of them that match as they are, then those that change.
//!
//! A neighbor that does not match any more is said to be removed, so that whoever listens always has exactly those that
//! match.

use std::collections::HashSet;
use std::net::IpAddr;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::Reads;
use crate::runtime::change_log::{Bounds, ChangeLog, Lost, Revision, Weigh};
use crate::runtime::handle::{NeighborEvent, NeighborFilter, NeighborWatch, WatchedNeighbors};

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
pub(super) fn read(reads: Reads, watch: NeighborWatch) -> mpsc::Receiver<NeighborEvent> {
    let (events, receiver) = mpsc::channel(QUEUE);
    let reader = Reader { reads, watch, events, said: Instant::now(), held: Held::anything() };
    tokio::spawn(async move {
        // It ends when nobody listens any more.
        let _ = reader.run().await;
    });
    receiver
}

struct Reader {
    reads: Reads,
    watch: NeighborWatch,
    events: mpsc::Sender<NeighborEvent>,
    /// When something was said last.
    said: Instant,
    held: Held,
}

/// Nobody listens any more.
struct Gone;

impl Reader {
    async fn run(mut self) -> Result<(), Gone> {
        let mut at = match self.watch.from {
            Some(revision) => self.go_on(revision).await?,
            None => self.snapshot().await?,
        };
        loop {
            match self.reads.directory.log().read(at, None, usize::MAX) {
                Err(lost) => at = self.resync(lost).await?,
                Ok(stretch) if stretch.changes.is_empty() => self.wait(at).await?,
                Ok(stretch) => {
                    at = stretch.at;
                    self.say(stretch.changes, Some(at)).await?;
                    // Changes that are not wanted do not break the silence.
                    if self.silence() <= Instant::now() {
                        self.beat(at).await?;
                    }
                }
            }
        }
    }

    async fn go_on(&mut self, revision: Revision) -> Result<Revision, Gone> {
        match self.reads.directory.log().read(revision, None, 0) {
            Ok(_) => Ok(revision),
            Err(lost) => self.resync(lost).await,
        }
    }

    async fn resync(&mut self, lost: Lost) -> Result<Revision, Gone> {
        self.send(WatchedNeighbors::Resync(lost.to_string()), None).await?;
        self.snapshot().await
    }

    /// Waits for a change, and says now and then that there is none.
    async fn wait(&mut self, at: Revision) -> Result<(), Gone> {
        tokio::select! {
            () = self.reads.directory.log().grown(at) => Ok(()),
            () = self.events.closed() => Err(Gone),
            () = sleep_until(self.silence()) => self.beat(at).await,
        }
    }

    /// When it has been silent for as long as it may be.
    fn silence(&self) -> Instant {
        self.said + self.watch.heartbeat
    }

    async fn beat(&mut self, at: Revision) -> Result<(), Gone> {
        self.send(WatchedNeighbors::Heartbeat, Some(at)).await
    }

    /// All neighbors that match as they are, and what has changed since the first of them was looked at.
    async fn snapshot(&mut self) -> Result<Revision, Gone> {
        loop {
            let start = self.reads.directory.log().head();
            self.held = Held::nothing(&self.watch.filter);
            for status in self.reads.neighbors(&self.watch.filter, None, usize::MAX).await.0 {
                // The partitions have been asked meanwhile.
                if self.watch.filter.holds(&status) {
                    self.held.said(status.address);
                    self.send(WatchedNeighbors::Status(Box::new(status)), None).await?;
                }
            }
            let stretch = self.reads.directory.log().read(start, None, usize::MAX);
            match stretch {
                Ok(stretch) => {
                    self.say(stretch.changes, None).await?;
                    self.send(WatchedNeighbors::SnapshotEnd, Some(stretch.at)).await?;
                    return Ok(stretch.at);
                }
                Err(lost) => self.send(WatchedNeighbors::Resync(lost.to_string()), None).await?,
            }
        }
    }

    /// Says how neighbors are now, each once, if whoever listens is concerned.
    async fn say(&mut self, changed: Vec<IpAddr>, at: Option<Revision>) -> Result<(), Gone> {
        let mut known = HashSet::new();
        let mut last: Vec<IpAddr> = changed.into_iter().rev().filter(|address| known.insert(*address)).collect();
        let mut waiting = None;
        while let Some(address) = last.pop() {
            let Some(said) = self.word_on(address) else { continue };
            if let Some(before) = waiting.replace(said) {
                self.send(before, None).await?;
            }
        }
        match waiting {
            // Only behind the last one has everything up to `at` been said.
            Some(said) => self.send(said, at).await,
            None => Ok(()),
        }
    }

    /// What there is to be said of a neighbor that has changed.
    fn word_on(&mut self, address: IpAddr) -> Option<WatchedNeighbors> {
        let status = self.reads.directory.status(address);
        let exists = status.is_some();
        match status.filter(|status| self.watch.filter.holds(status)) {
            Some(status) => {
                self.held.said(address);
                Some(WatchedNeighbors::Status(Box::new(status)))
            }
            None => self.held.removed(address, exists).then_some(WatchedNeighbors::Removed(address)),
        }
    }

    async fn send(&mut self, said: WatchedNeighbors, revision: Option<Revision>) -> Result<(), Gone> {
        self.events.send(NeighborEvent { said, revision }).await.map_err(|_| Gone)?;
        self.said = Instant::now();
        Ok(())
    }
}

/// What whoever listens may hold. It never has more addresses than there are neighbors; without a filter it has none.
#[derive(Debug)]
enum Held {
    /// These neighbors at most.
    These(HashSet<IpAddr>),
    /// Whatever an earlier watch has said, but not these, which are there and do not match.
    AllBut(HashSet<IpAddr>),
}

impl Held {
    fn anything() -> Self {
        Self::AllBut(HashSet::new())
    }

    /// At the beginning of a snapshot.
    fn nothing(filter: &NeighborFilter) -> Self {
        // Without a filter only those go that are gone, and they are said as such in any case.
        if *filter == NeighborFilter::default() { Self::anything() } else { Self::These(HashSet::new()) }
    }

    /// A neighbor is said.
    fn said(&mut self, address: IpAddr) {
        match self {
            Self::These(held) => drop(held.insert(address)),
            Self::AllBut(others) => drop(others.remove(&address)),
        }
    }

    /// A neighbor is gone, or `exists` and does not match: whether that is to be said.
    fn removed(&mut self, address: IpAddr, exists: bool) -> bool {
        match self {
            Self::These(held) => held.remove(&address),
            Self::AllBut(others) if exists => others.insert(address),
            Self::AllBut(others) => !others.remove(&address),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 11));

    fn filter() -> NeighborFilter {
        NeighborFilter { asn: Some(65001), ..NeighborFilter::default() }
    }

    #[test]
    fn only_what_was_said_in_a_snapshot_or_later_is_removed() {
        let mut held = Held::nothing(&filter());
        assert!(!held.removed(ADDRESS, true));
        held.said(ADDRESS);
        assert!(held.removed(ADDRESS, true));
        assert!(!held.removed(ADDRESS, false));
    }

    #[test]
    fn what_an_earlier_watch_may_have_said_is_removed_once() {
        let mut held = Held::anything();
        assert!(held.removed(ADDRESS, true));
        assert!(!held.removed(ADDRESS, true));
        // It was removed before it was gone, and nothing is remembered of it.
        assert!(!held.removed(ADDRESS, false));
        assert!(matches!(&held, Held::AllBut(others) if others.is_empty()));
        held.said(ADDRESS);
        assert!(held.removed(ADDRESS, false));
    }

    #[test]
    fn without_a_filter_nothing_is_remembered() {
        let mut held = Held::nothing(&NeighborFilter::default());
        held.said(ADDRESS);
        assert!(held.removed(ADDRESS, false));
        assert!(matches!(&held, Held::AllBut(others) if others.is_empty()));
    }
}
