//! Routes that outlive their session: graceful restart as the helper (RFC 4724 §4.2, RFC 8538 §4) and long-lived
//! graceful restart (RFC 9494 §4.2).
//!
//! A session that ends in a way that the peer may come back from leaves its routes behind, by family. What ends that
//! again is the peer's End-of-RIB, a new OPEN that does not speak for them, the operator, or time:
//!
//! ```text
//!  Down ─► Restarting ──restart time──► LongLived ──long-lived stale time──► gone
//!              └────────── the session is back ──► Returning ──End-of-RIB, or stale path time──► gone
//! ```

use std::fmt;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use bgp_wire::Family;

use super::{Action, Negotiated};

/// How a session ends, as far as its routes are concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// The connection was lost without a NOTIFICATION.
    Transport,
    /// A NOTIFICATION was sent or received; routes stay if both sides have said so (RFC 8538 §4).
    Notification,
    /// For good: the operator's will, or a Hard Reset (RFC 8538 §3).
    Hard,
}

/// Why the stale routes of a family are still there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waiting {
    /// For the peer, within its restart time (RFC 4724 §4.2).
    Restarting,
    /// For the peer, within the long-lived stale time (RFC 9494 §4.2).
    LongLived,
    /// For the End-of-RIB of the peer that is back.
    Returning,
}

impl fmt::Display for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Restarting => "waits for the peer to restart",
            Self::LongLived => "long-lived stale, waits for the peer",
            Self::Returning => "waits for End-of-RIB",
        })
    }
}

/// The stale routes of one family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retained {
    /// The family.
    pub family: Family,
    /// What is waited for.
    pub waiting: Waiting,
    /// Until when.
    pub until: Instant,
    /// Long-lived stale time, where there is one.
    long_lived: Option<LongLived>,
}

/// A long-lived stale time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LongLived {
    /// As long as this once it begins.
    For(Duration),
    /// It has begun, and goes on however many sessions there are until one is synchronized (RFC 9494 §4.2).
    Until(Instant),
}

impl LongLived {
    fn has_begun(self) -> bool {
        matches!(self, Self::Until(_))
    }
}

/// All stale routes of a neighbor.
#[derive(Debug, Default)]
pub(super) struct Retention {
    router_id: Option<Ipv4Addr>,
    families: Vec<Retained>,
    /// Families whose long-lived stale time ended while the peer was sending its routes: nothing of them outlives a
    /// session that is not synchronized (RFC 9494 §4.2).
    expired: Vec<Family>,
}

impl Negotiated {
    /// Families whose routes are kept here when the connection is lost (RFC 4724 §4.2).
    #[must_use]
    pub fn kept_for_peer(&self) -> Vec<Family> {
        self.families.iter().copied().filter(|family| self.outlives(*family, Ending::Transport)).collect()
    }

    /// Whether the routes of a family outlive a session that ends so.
    fn outlives(&self, family: Family, ending: Ending) -> bool {
        let Some(restart) = self.graceful_restart.as_ref().filter(|_| self.sent_graceful_restart()) else {
            return false;
        };
        let ending = match ending {
            Ending::Transport => true,
            Ending::Notification => restart.notification && self.notifies_gracefully(),
            Ending::Hard => false,
        };
        // RFC 9494 §4.2: with a restart time of zero the long-lived phase begins at once.
        let time = restart.restart_seconds > 0 || self.long_lived(family).is_some();
        let listed = restart.families.iter().any(|(of, _)| *of == family) || self.long_lived(family).is_some();
        ending && time && listed
    }

    /// The long-lived stale time of a family: the peer's wish, as far as it is granted here (RFC 9494 §4.2).
    pub(super) fn long_lived(&self, family: Family) -> Option<Duration> {
        let (_, _, theirs) = *self.received_long_lived().iter().find(|(of, ..)| *of == family)?;
        let (_, _, ours) = *self.sent_long_lived().iter().find(|(of, ..)| *of == family)?;
        let seconds = theirs.min(ours);
        (seconds > 0).then(|| Duration::from_secs(seconds.into()))
    }

    /// Whether the peer has kept its forwarding state in a family over its restart: F bit, in either capability.
    fn forwarding_state_kept(&self, family: Family) -> bool {
        let restart = self.graceful_restart.as_ref();
        let graceful = restart.is_some_and(|restart| restart.families.contains(&(family, true)));
        graceful || self.received_long_lived().iter().any(|(of, kept, _)| *of == family && *kept)
    }
}

impl Retention {
    /// A session has ended: which of its families keep their routes. Routes of an earlier session that are still
    /// stale do not count any more (RFC 4724 §4.2), unless their long-lived stale time runs (RFC 9494 §4.2).
    pub(super) fn begin(&mut self, negotiated: &Negotiated, ending: Ending, now: Instant) -> Vec<Family> {
        let seconds = negotiated.graceful_restart.as_ref().map_or(0, |restart| restart.restart_seconds);
        let until = now + Duration::from_secs(seconds.into());
        let Self { families: before, expired, .. } = self;
        let kept = negotiated.families.iter().filter(|family| negotiated.outlives(**family, ending));
        let retained = kept.filter(|family| !expired.contains(family)).map(|&family| {
            let running = before.iter().find(|old| old.family == family).and_then(|old| old.long_lived);
            let (until, long_lived) = match running {
                Some(LongLived::Until(end)) => (until.min(end), running),
                _ => (until, negotiated.long_lived(family).map(LongLived::For)),
            };
            Retained { family, waiting: Waiting::Restarting, until, long_lived }
        });
        self.families = retained.collect();
        self.expired.clear();
        self.router_id = Some(negotiated.peer_router_id);
        self.families.iter().map(|retained| retained.family).collect()
    }

    /// The session is back. Routes stay until End-of-RIB where the new OPEN lists the family with the F bit set
    /// (RFC 4724 §4.2, RFC 9494 §4.2), and where it comes from the same router.
    pub(super) fn returned(
        &mut self,
        negotiated: &Negotiated,
        stale_path: Duration,
        now: Instant,
        actions: &mut Vec<Action>,
    ) {
        let same = self.router_id == Some(negotiated.peer_router_id);
        self.families.retain_mut(|retained| {
            let family = retained.family;
            let stays = same && negotiated.families.contains(&family) && negotiated.forwarding_state_kept(family);
            if !stays {
                actions.push(Action::EndRetention { family });
            }
            // RFC 9494 §4.2: the long-lived stale time goes on as it was.
            retained.until = match retained.long_lived {
                Some(LongLived::Until(end)) => end,
                _ => now + stale_path,
            };
            retained.waiting = Waiting::Returning;
            stays
        });
    }

    /// The peer has sent all it has: whoever is told, removes what is stale.
    pub(super) fn end_of_rib(&mut self, family: Family) {
        self.expired.retain(|expired| *expired != family);
        self.families.retain(|retained| retained.family != family || retained.waiting != Waiting::Returning);
    }

    /// Nothing stays.
    pub(super) fn end(&mut self, actions: &mut Vec<Action>) {
        self.expired.clear();
        actions.extend(self.families.drain(..).map(|retained| Action::EndRetention { family: retained.family }));
    }

    pub(super) fn tick(&mut self, now: Instant, actions: &mut Vec<Action>) {
        let Self { families, expired, .. } = self;
        families.retain_mut(|retained| {
            if retained.until > now {
                return true;
            }
            let family = retained.family;
            let end = match (retained.waiting, retained.long_lived) {
                (Waiting::Restarting, Some(LongLived::For(time))) => now + time,
                (Waiting::Restarting, Some(LongLived::Until(end))) if end > now => end,
                (waiting, long_lived) => {
                    let unsynchronized = waiting == Waiting::Returning && long_lived.is_some_and(LongLived::has_begun);
                    expired.extend(unsynchronized.then_some(family));
                    actions.push(Action::EndRetention { family });
                    return false;
                }
            };
            (retained.waiting, retained.until) = (Waiting::LongLived, end);
            retained.long_lived = Some(LongLived::Until(end));
            actions.push(Action::LongLived { family });
            true
        });
    }

    /// Whether routes wait for the peer within its restart time.
    pub(super) fn awaits_peer(&self) -> bool {
        self.families.iter().any(|retained| retained.waiting == Waiting::Restarting)
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.families.iter().map(|retained| retained.until).min()
    }

    pub(super) fn families(&self) -> &[Retained] {
        &self.families
    }
}
