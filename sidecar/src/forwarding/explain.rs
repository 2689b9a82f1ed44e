//! Why a route is in the kernel, or why not.

use std::collections::BTreeSet;

use ipnet::IpNet;

use super::{Failure, Forwarding, Resolved, Wanted};
use crate::problem::Reason;
use crate::topology::Hop;

/// What has become of a prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fate {
    /// A route of ours is in the kernel.
    pub installed: bool,
    /// Why, or why not.
    pub why: String,
}

impl Forwarding {
    /// What has become of a prefix, and why: what [`Forwarding::plan`] decides by.
    #[must_use]
    pub fn explain(&self, prefix: IpNet) -> Fate {
        let there = self.installed.get(&prefix);
        let why = match self.wanted(prefix, &mut Resolved::new()) {
            _ if self.cluster.is_none() => "not installed yet: the node's own pod CIDRs are not known".to_owned(),
            Err(problem) if problem.reason == Reason::RouteRefused => problem.message,
            Err(problem) => format!("not installed: {}", problem.message),
            Ok(Wanted::Own) => "no route is needed: it leads to this node".to_owned(),
            Ok(Wanted::Unknown) if there.is_some() && !self.learned.is_known() => {
                "installed by an earlier run: it stays until bgpd has told its whole table".to_owned()
            }
            Ok(Wanted::Unknown) => "not installed: bgpd has not told a route from a neighbor".to_owned(),
            Ok(Wanted::Ways(ways)) => self.standing(prefix, there, &ways),
        };
        Fate { installed: there.is_some(), why }
    }

    fn standing(&self, prefix: IpNet, there: Option<&BTreeSet<Hop>>, ways: &BTreeSet<Hop>) -> String {
        let described: Vec<String> = ways.iter().map(|way| self.topology.describe(way)).collect();
        let described = described.join(", and ");
        match self.failures.get(&prefix) {
            Some(Failure { attempts, message, .. }) => {
                format!("not installed {described}: {message} (attempt {attempts}, it is tried again)")
            }
            None if there == Some(ways) => {
                let place = &self.placement;
                format!("installed {described}, table {}, metric {}", place.table, place.metric)
            }
            None => format!("about to be installed {described}"),
        }
    }
}
