//! Failures that are in the log already: a peer that is away fails again and again, in turn for one reason and another.

use std::hash::{DefaultHasher, Hash, Hasher};

/// Most reasons that are remembered; then the oldest is logged again.
const REASONS: usize = 8;

/// Reasons since the session was Established last, by hash.
#[derive(Debug, Default)]
pub(super) struct Logged(Vec<u64>);

impl Logged {
    /// Whether a reason is to be logged; it is logged then.
    pub(super) fn is_news(&mut self, reason: &str) -> bool {
        let mut hasher = DefaultHasher::new();
        reason.hash(&mut hasher);
        let reason = hasher.finish();
        if self.0.contains(&reason) {
            return false;
        }
        if self.0.len() >= REASONS {
            self.0.remove(0);
        }
        self.0.push(reason);
        true
    }

    /// What failed before is over.
    pub(super) fn forget(&mut self) {
        self.0 = Vec::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_that_take_turns_are_logged_once_each() {
        let mut logged = Logged::default();
        let mut news = |reason: &str| logged.is_news(reason);
        assert_eq!(["no route", "no answer", "no route", "no answer"].map(&mut news), [true, true, false, false]);
        logged.forget();
        assert!(logged.is_news("no route"), "it was up since");
    }

    #[test]
    fn not_more_than_so_many_reasons_are_remembered() {
        let mut logged = Logged::default();
        assert!((0..=REASONS).all(|number| logged.is_news(&number.to_string())));
        assert!(logged.is_news("0"), "the oldest is forgotten");
        assert!(!logged.is_news(&REASONS.to_string()));
    }
}
