//! Rules broken on purpose, to prove that the simulation would notice. Never part of the daemon.

use super::Speaker;
use crate::stage::{AnyEmission, Cause, Fence};

/// A rule to break.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sabotage {
    /// A member is not told to forget a route whose place its own route has taken.
    NoPrivateWithdrawals,
    /// Live changes go before walk slices and refills that were emitted earlier.
    LiveOvertakesWalks,
    /// Partitions do not hear that a session has ended.
    KeepLostRoutes,
    /// Stale routes of a peer that has restarted are not swept (RFC 4724 §4.2).
    KeepStaleRoutes,
}

impl Sabotage {
    /// Whether a fence that sweeps stale routes is not heard.
    pub(super) fn keeps_stale(self, fence: &Fence) -> bool {
        self == Self::KeepStaleRoutes && matches!(fence, Fence::EndOfRib { .. } | Fence::EndRetention { .. })
    }

    /// Whether an emission goes before those that are not live.
    pub(super) fn overtakes(self, emission: &AnyEmission) -> bool {
        self == Self::LiveOvertakesWalks && is_live(emission)
    }
}

pub(super) fn is_live(emission: &AnyEmission) -> bool {
    let cause = match emission {
        AnyEmission::Ipv4Unicast(emission) => emission.cause,
        AnyEmission::Ipv6Unicast(emission) => emission.cause,
    };
    cause == Cause::Live
}

impl Speaker {
    /// Breaks a rule from now on.
    pub fn sabotage(&mut self, sabotage: Sabotage) {
        self.fabric.sabotage = Some(sabotage);
    }
}
