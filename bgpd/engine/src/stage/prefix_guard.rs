//! The guard of the clusters at work on one session: the same in the intake, for what comes, and in all partitions, for
//! what is in.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ipnet::IpNet;

use super::Rejection;
use crate::config::cluster::SessionGuard;

/// What a session may announce, and how often it was refused.
#[derive(Debug, Clone)]
pub struct PrefixGuard {
    rules: Arc<SessionGuard>,
    refused: Arc<AtomicU64>,
}

impl PrefixGuard {
    /// These rules, counting what they refuse in `refused`.
    #[must_use]
    pub fn new(rules: SessionGuard, refused: Arc<AtomicU64>) -> Self {
        Self { rules: Arc::new(rules), refused }
    }

    /// Why a prefix may not be announced. A path that `before` had another verdict is counted.
    pub(crate) fn refuse(&self, prefix: &IpNet, before: Option<Rejection>) -> Option<Rejection> {
        let refused = self.rules.check(prefix).err()?;
        if !matches!(before, Some(Rejection::Guard(_))) {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
        Some(Rejection::Guard(refused))
    }
}

impl PartialEq for PrefixGuard {
    fn eq(&self, other: &Self) -> bool {
        self.rules == other.rules
    }
}

impl Eq for PrefixGuard {}
