//! How many prefixes a peer may have: one budget per session and family, shared by all partitions.
//!
//! A path of the present session takes a place of the budget, in whichever partition it is; a stale path of an earlier
//! session (RFC 4724 §4.2) has none until it is announced again. With ADD-PATH each path counts. What happens at the
//! limit is an [`Alarm`] that the partition hands out; who gets it acts on the session.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use bgp_wire::Family;

use crate::config::{LimitAction, PrefixLimits};
use crate::id::PeerIndex;

/// What a peer may have in one family, and what it has.
#[derive(Debug)]
pub struct PrefixBudget {
    family: Family,
    limit: usize,
    warning: usize,
    action: LimitAction,
    used: AtomicUsize,
    refused: AtomicU64,
    warned: AtomicBool,
    exceeded: AtomicBool,
}

/// Something that a peer's budget has come to.
#[derive(Debug, Clone)]
pub struct Alarm {
    /// Whose.
    pub peer: PeerIndex,
    /// Of which session and family.
    pub budget: Arc<PrefixBudget>,
    /// What.
    pub kind: AlarmKind,
}

/// What a budget has come to. Each is told once, until there is room again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AlarmKind {
    /// The warning threshold is reached.
    Warning,
    /// One more than the limit was announced.
    Exceeded,
}

impl PrefixBudget {
    /// The budgets of a session: one for each of its families that has a limit.
    #[must_use]
    pub fn of_session(limits: &PrefixLimits, families: &[Family]) -> Vec<Arc<Self>> {
        let budget = |family: &Family| {
            let limit = *limits.most.get(family)? as usize;
            let warning = (limit * usize::from(limits.warning_percent)).div_ceil(100);
            Some(Arc::new(Self {
                family: *family,
                limit,
                warning,
                action: limits.action,
                used: AtomicUsize::new(0),
                refused: AtomicU64::new(0),
                warned: AtomicBool::new(false),
                exceeded: AtomicBool::new(false),
            }))
        };
        families.iter().filter_map(budget).collect()
    }

    /// The family.
    #[must_use]
    pub fn family(&self) -> Family {
        self.family
    }

    /// Most prefixes.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Prefixes that the peer has.
    #[must_use]
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Announcements that were dropped because there was no room.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Takes a place; says whether there was one, and what there is to tell. Above the limit there is a place only
    /// where a warning is all that is wanted.
    pub(crate) fn admit(&self) -> (bool, Option<AlarmKind>) {
        let before = self.used.fetch_add(1, Ordering::Relaxed);
        let has_room = before < self.limit || self.action == LimitAction::Warn;
        if !has_room {
            self.used.fetch_sub(1, Ordering::Relaxed);
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
        (has_room, self.alarm(before + 1))
    }

    /// Takes places for paths that are there already.
    pub(crate) fn attach(&self, paths: usize) -> Option<AlarmKind> {
        let before = self.used.fetch_add(paths, Ordering::Relaxed);
        if paths == 0 { None } else { self.alarm(before + paths) }
    }

    fn alarm(&self, wanted: usize) -> Option<AlarmKind> {
        let first = |told: &AtomicBool| !told.swap(true, Ordering::Relaxed);
        if wanted > self.limit {
            return first(&self.exceeded).then_some(AlarmKind::Exceeded);
        }
        (wanted >= self.warning && first(&self.warned)).then_some(AlarmKind::Warning)
    }

    /// Gives a place back.
    pub(crate) fn release(&self) {
        let left = self.used.fetch_sub(1, Ordering::Relaxed) - 1;
        // A tenth below the threshold it is another story that may be told again.
        if left + left / 10 < self.warning {
            self.warned.store(false, Ordering::Relaxed);
            self.exceeded.store(false, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn budget(action: LimitAction) -> Arc<PrefixBudget> {
        let most = BTreeMap::from([(Family::IPV4_UNICAST, 4)]);
        let limits = PrefixLimits { most, warning_percent: 75, action, ..PrefixLimits::default() };
        let families = [Family::IPV4_UNICAST, Family::IPV6_UNICAST];
        PrefixBudget::of_session(&limits, &families).pop().expect("the family with a limit has a budget")
    }

    fn admitted(budget: &PrefixBudget, count: usize) -> Vec<(bool, Option<AlarmKind>)> {
        (0..count).map(|_| budget.admit()).collect()
    }

    #[test]
    fn what_is_over_the_limit_is_refused_and_told_once() {
        let budget = budget(LimitAction::DiscardNew);
        let warning = Some(AlarmKind::Warning);
        assert_eq!(admitted(&budget, 4), [(true, None), (true, None), (true, warning), (true, None)]);
        assert_eq!(admitted(&budget, 2), [(false, Some(AlarmKind::Exceeded)), (false, None)]);
        assert_eq!((budget.used(), budget.refused()), (4, 2));
        budget.release();
        assert_eq!(admitted(&budget, 1), [(true, None)]);
    }

    #[test]
    fn a_warning_refuses_nothing() {
        let budget = budget(LimitAction::Warn);
        assert!(admitted(&budget, 9).iter().all(|(admitted, _)| *admitted));
        assert_eq!((budget.used(), budget.refused()), (9, 0));
    }

    #[test]
    fn with_room_again_the_next_time_is_told_as_well() {
        let budget = budget(LimitAction::DiscardNew);
        admitted(&budget, 5);
        (0..3).for_each(|_| budget.release());
        let told: Vec<_> = admitted(&budget, 4).into_iter().filter_map(|(_, alarm)| alarm).collect();
        assert_eq!(told, [AlarmKind::Warning, AlarmKind::Exceeded]);
    }

    #[test]
    fn paths_that_are_there_count_when_a_limit_comes() {
        assert_eq!(budget(LimitAction::Restart).attach(5), Some(AlarmKind::Exceeded));
        assert_eq!(budget(LimitAction::Restart).attach(0), None);
    }
}
