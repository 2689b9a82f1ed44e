//! A bounded log of changes that many readers follow, each at its own pace.
//!
//! Every change has a number; a reader says after which one it wants to go on. The oldest changes are forgotten when the
//! log is full, and a reader that is behind them, or comes from another run of the log, is told so. Readers cost the log
//! nothing, so that one that stops reading disturbs nobody.

use std::collections::VecDeque;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::str::FromStr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

/// A place in a log: all changes up to `number` are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Revision {
    /// Which log. It begins anew with the daemon, and after a while without readers.
    run: u64,
    number: u64,
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{}", self.run, self.number)
    }
}

/// A text is not a revision.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not a revision, expected one that a watch has said")]
pub struct NotARevision(String);

impl FromStr for Revision {
    type Err = NotARevision;

    fn from_str(text: &str) -> Result<Self, NotARevision> {
        let read = || {
            let (run, number) = text.split_once('-')?;
            Some(Self { run: u64::from_str_radix(run, 16).ok()?, number: number.parse().ok()? })
        };
        read().ok_or_else(|| NotARevision(text.chars().take(64).collect()))
    }
}

/// How much a log remembers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// Changes.
    pub(crate) entries: usize,
    /// Octets, as the changes themselves say.
    pub(crate) weight: usize,
}

/// What a change costs in a log.
pub(crate) trait Weigh {
    /// Octets, roughly.
    fn weight(&self) -> usize;
}

/// A reader cannot go on from where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Lost {
    #[error("the revision is of another run")]
    OtherRun,
    #[error("the revision is too old")]
    TooOld,
}

/// The log.
pub(crate) struct ChangeLog<T> {
    run: u64,
    bounds: Bounds,
    changes: Mutex<Changes<T>>,
    head: watch::Sender<u64>,
}

struct Changes<T> {
    entries: VecDeque<T>,
    /// Number of the change before the first entry.
    before: u64,
    weight: usize,
}

/// Some changes in a row.
pub(crate) struct Stretch<T> {
    pub(crate) changes: Vec<T>,
    /// Where a reader stands behind them.
    pub(crate) at: Revision,
}

impl<T: Clone + Weigh> ChangeLog<T> {
    pub(crate) fn new(bounds: Bounds) -> Self {
        // Two runs with the same number would make a reader believe what is not so.
        let run = RandomState::new().hash_one(std::time::SystemTime::now());
        let changes = Changes { entries: VecDeque::new(), before: 0, weight: 0 };
        Self { run, bounds, changes: Mutex::new(changes), head: watch::Sender::new(0) }
    }

    fn changes(&self) -> MutexGuard<'_, Changes<T>> {
        // A panic in between leaves a log that is whole.
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn append(&self, new: impl IntoIterator<Item = T>) {
        let mut changes = self.changes();
        for change in new {
            changes.weight += change.weight();
            changes.entries.push_back(change);
            while changes.entries.len() > self.bounds.entries || changes.weight > self.bounds.weight {
                let Some(oldest) = changes.entries.pop_front() else { break };
                changes.weight -= oldest.weight();
                changes.before += 1;
            }
        }
        let head = changes.before + changes.entries.len() as u64;
        drop(changes);
        self.head.send_if_modified(|known| std::mem::replace(known, head.max(*known)) < head);
    }

    /// Where the log ends now.
    pub(crate) fn head(&self) -> Revision {
        Revision { run: self.run, number: *self.head.borrow() }
    }

    /// The changes after `at`, as many as weigh `weight` (at least one if there is one), and none after `end`.
    pub(crate) fn read(&self, at: Revision, end: Option<Revision>, weight: usize) -> Result<Stretch<T>, Lost> {
        if at.run != self.run {
            return Err(Lost::OtherRun);
        }
        let changes = self.changes();
        let Some(skip) = at.number.checked_sub(changes.before) else { return Err(Lost::TooOld) };
        let known = changes.before + changes.entries.len() as u64;
        if at.number > known {
            return Err(Lost::OtherRun);
        }
        let until = end.map_or(known, |end| end.number.min(known));
        let count = until.saturating_sub(at.number) as usize;
        let mut left = weight;
        let fits = |change: &&T| {
            let fits = left > 0;
            left = left.saturating_sub(change.weight());
            fits
        };
        let found: Vec<T> = changes.entries.range(skip as usize..).take(count).take_while(fits).cloned().collect();
        let at = Revision { number: at.number + found.len() as u64, ..at };
        Ok(Stretch { changes: found, at })
    }

    /// Returns when there are changes after `at`.
    pub(crate) async fn grown(&self, at: Revision) {
        // The sender is this very log, which is borrowed here.
        let _ = self.head.subscribe().wait_for(|head| *head > at.number).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Weigh for u32 {
        fn weight(&self) -> usize {
            4
        }
    }

    fn log() -> ChangeLog<u32> {
        ChangeLog::new(Bounds { entries: 4, weight: 1 << 20 })
    }

    fn read(log: &ChangeLog<u32>, at: Revision) -> Result<Vec<u32>, Lost> {
        log.read(at, None, usize::MAX).map(|stretch| stretch.changes)
    }

    #[test]
    fn readers_go_on_where_they_were() {
        let log = log();
        let start = log.head();
        log.append([1, 2, 3]);
        let first = log.read(start, None, 8).expect("they are there");
        assert_eq!((first.changes, first.at.to_string()), (vec![1, 2], format!("{:016x}-2", log.run)));
        assert_eq!(read(&log, first.at), Ok(vec![3]));
        assert_eq!(read(&log, log.head()), Ok(vec![]));
        let bounded = log.read(start, Some(first.at), usize::MAX).expect("they are there");
        assert_eq!(bounded.changes, [1, 2]);
    }

    #[test]
    fn a_reader_that_is_too_far_behind_is_told_so() {
        let log = log();
        let start = log.head();
        log.append([1, 2, 3, 4]);
        let at = log.read(start, None, 1).expect("it is there").at;
        log.append([5]);
        assert_eq!(read(&log, start), Err(Lost::TooOld));
        assert_eq!(read(&log, at), Ok(vec![2, 3, 4, 5]));
    }

    #[test]
    fn the_weight_bounds_what_is_remembered() {
        let log = ChangeLog::new(Bounds { entries: 1000, weight: 8 });
        let start = log.head();
        log.append([1, 2]);
        assert_eq!(read(&log, start), Ok(vec![1, 2]));
        log.append([3]);
        assert_eq!(read(&log, start), Err(Lost::TooOld));
    }

    #[test]
    fn a_revision_of_another_run_is_not_taken_for_one_of_this() {
        let (one, other) = (log(), log());
        other.append([1]);
        assert_eq!(read(&other, one.head()), Err(Lost::OtherRun));
        let text = other.head().to_string();
        assert_eq!(text.parse(), Ok(other.head()));
        let ahead: Revision = text.replace("-1", "-9").parse().expect("a revision");
        assert_eq!(read(&other, ahead), Err(Lost::OtherRun));
        assert!("12".parse::<Revision>().is_err());
    }
}
