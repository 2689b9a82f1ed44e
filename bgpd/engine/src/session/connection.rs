//! One connection of a session and what it knows.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bgp_wire::open::Open;

use super::{Negotiated, State};

/// Hold time until the peer's OPEN is there (RFC 4271 §8.2.2, "a large value").
const OPEN_HOLD: Duration = Duration::from_secs(240);

/// How far a connection has come.
#[derive(Debug)]
pub(super) enum Phase {
    OpenSent,
    OpenConfirm { negotiated: Arc<Negotiated> },
    Established { negotiated: Arc<Negotiated>, since: Instant },
}

impl Phase {
    pub(super) fn state(&self) -> State {
        match self {
            Self::OpenSent => State::OpenSent,
            Self::OpenConfirm { .. } => State::OpenConfirm,
            Self::Established { .. } => State::Established,
        }
    }

    pub(super) fn negotiated(&self) -> Option<&Arc<Negotiated>> {
        match self {
            Self::OpenSent => None,
            Self::OpenConfirm { negotiated } | Self::Established { negotiated, .. } => Some(negotiated),
        }
    }
}

#[derive(Debug)]
pub(super) struct Connection {
    pub(super) phase: Phase,
    /// The OPEN that we sent on it.
    pub(super) sent: Open,
    /// When that was.
    pub(super) opened: Instant,
    /// HoldTimer.
    pub(super) hold: Option<Instant>,
    /// KeepaliveTimer.
    pub(super) keepalive: Option<Instant>,
}

impl Connection {
    pub(super) fn new(sent: Open, now: Instant) -> Self {
        Self { phase: Phase::OpenSent, sent, opened: now, hold: Some(now + OPEN_HOLD), keepalive: None }
    }

    /// Restarts the hold timer; a hold time of 0 means that there is none (RFC 4271 §4.2).
    pub(super) fn heard(&mut self, now: Instant) {
        if let Some(negotiated) = self.phase.negotiated() {
            let seconds = u64::from(negotiated.hold_seconds);
            self.hold = (seconds > 0).then(|| now + Duration::from_secs(seconds));
        }
    }

    /// Time between KEEPALIVEs, if there are any.
    pub(super) fn keepalive_interval(&self) -> Option<Duration> {
        self.phase.negotiated().map(|negotiated| negotiated.keepalive).filter(|interval| !interval.is_zero())
    }

    /// What the expiry of the hold timer means, in words.
    pub(super) fn hold_error(&self) -> String {
        match self.phase.negotiated() {
            None => format!("no OPEN from the peer within {} s", OPEN_HOLD.as_secs()),
            Some(negotiated) => format!("hold timer expired: nothing heard for {} s", negotiated.hold_seconds),
        }
    }
}
