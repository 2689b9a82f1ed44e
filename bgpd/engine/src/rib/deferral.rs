//! Route selection that is put off after a restart of this speaker (RFC 4724 §4.1).
//!
//! Paths come in, but nothing is decided and nobody told, until every peer that is waited for has sent its End-of-RIB,
//! or is known not to be worth waiting for, or whoever drives the partition has waited long enough. What has come in
//! by then is decided in slices, and walks of members begin behind it: so that the first thing that a peer hears is
//! complete, and End-of-RIB comes behind it.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::Context;
use super::table::Table;
use crate::stage::Routed;

/// Whom a table waits for.
#[derive(Default)]
pub(super) struct Deferral {
    waiting: BTreeSet<IpAddr>,
    /// Destinations that were marked meanwhile.
    backlog: Vec<u32>,
    active: bool,
}

impl Deferral {
    /// Waits for these peers; for none, not at all.
    pub(super) fn begin(&mut self, peers: &BTreeSet<IpAddr>) {
        self.waiting.clone_from(peers);
        self.active = !peers.is_empty();
    }

    pub(super) fn is_active(&self) -> bool {
        self.active
    }

    /// Peers that are waited for.
    pub(super) fn waiting(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.waiting.iter().copied()
    }

    /// A peer is not waited for any more.
    pub(super) fn excuse(&mut self, peer: IpAddr) {
        if self.waiting.remove(&peer) && self.waiting.is_empty() {
            self.end();
        }
    }

    /// Nobody is.
    pub(super) fn end(&mut self) {
        self.active = false;
        self.waiting.clear();
    }
}

impl<N: Routed> Table<N> {
    /// Keeps what is marked for later, if that is how it is.
    pub(super) fn put_off(&mut self) -> bool {
        if self.deferral.active {
            self.deferral.backlog.append(&mut self.dirty);
        }
        self.deferral.active
    }

    pub(super) fn has_backlog(&self) -> bool {
        !self.deferral.active && !self.deferral.backlog.is_empty()
    }

    /// Decides at most `budget` of the destinations that waited; returns how many.
    pub(super) fn backlog_slice(&mut self, budget: usize, context: &mut Context<'_>) -> usize {
        let rest = self.deferral.backlog.len().saturating_sub(budget);
        let slice = self.deferral.backlog.split_off(rest);
        slice.iter().for_each(|position| self.decide(*position, context));
        if rest == 0 {
            self.deferral.backlog = Vec::new();
        }
        self.emit_all(context);
        slice.len().max(1)
    }
}
