//! Whether it is a new TCP-MD5 key that has ended a connection.

use std::time::{Duration, Instant};

/// When a connection was given another TCP-MD5 key than it had.
#[derive(Debug, Default)]
pub(super) struct Rekeyed(Option<Instant>);

impl Rekeyed {
    /// A connection has another key from now on.
    pub(super) fn note(&mut self, now: Instant) {
        self.0 = Some(now);
    }

    /// Connections have the keys that they began with.
    pub(super) fn forget(&mut self) {
        self.0 = None;
    }

    /// Whether a peer that begins anew does so for the key, on a session with this hold time; asked once. Either both
    /// sides have the key within a hold time, or the session is over: what happens later has other causes. Without a hold
    /// time the key has all the time there is.
    pub(super) fn explains(&mut self, hold: Duration, now: Instant) -> bool {
        let since = self.0.take();
        since.is_some_and(|since| hold.is_zero() || now.saturating_duration_since(since) <= hold)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOLD: Duration = Duration::from_secs(90);

    #[test]
    fn a_peer_that_begins_anew_within_a_hold_time_does_so_for_the_key() {
        let (mut rekeyed, start) = (Rekeyed::default(), Instant::now());
        assert!(!rekeyed.explains(HOLD, start));
        rekeyed.note(start);
        assert!(rekeyed.explains(HOLD, start + HOLD));
        // It has begun anew, with the key that the next connection begins with.
        assert!(!rekeyed.explains(HOLD, start + HOLD));
    }

    #[test]
    fn a_key_that_both_sides_have_explains_no_later_loss() {
        let (mut rekeyed, start) = (Rekeyed::default(), Instant::now());
        rekeyed.note(start);
        assert!(!rekeyed.explains(HOLD, start + HOLD + Duration::from_secs(1)));
        rekeyed.note(start);
        rekeyed.note(start + HOLD);
        assert!(rekeyed.explains(HOLD, start + HOLD + HOLD));
        rekeyed.note(start);
        rekeyed.forget();
        assert!(!rekeyed.explains(HOLD, start));
    }

    #[test]
    fn without_a_hold_time_the_key_has_all_the_time_there_is() {
        let (mut rekeyed, start) = (Rekeyed::default(), Instant::now());
        rekeyed.note(start);
        assert!(rekeyed.explains(Duration::ZERO, start + 100 * HOLD));
    }
}
