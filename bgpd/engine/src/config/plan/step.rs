//! The steps of a plan, and how people read them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use ipnet::IpNet;

use super::change::{Change, Impact};
use crate::config::cluster::Guard;
use crate::config::desired::{DynamicNeighbors, Global, Neighbor, NeighborSettings, Originate};
use crate::policy::Definitions;
use crate::rpki::CacheSettings;

/// One step from what runs to what is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Settings of the speaker itself change.
    SetGlobal {
        /// All of them, as they are to be.
        global: Global,
        /// The greatest impact among the changes.
        impact: Impact,
        /// What is different, never empty.
        changed: Vec<Change>,
    },
    /// Policies, or sets that they name, change. Routes are judged again where a neighbor has one of those that changed.
    SetPolicies {
        /// All of them, as they are to be.
        policies: Arc<Definitions>,
        /// Names of the policies that are new, gone or others than before. Empty if only unused sets change.
        changed: Vec<String>,
    },
    /// A template for neighbors that are added later is new or changed. Neighbors that came from it have their own steps.
    SetPeerGroup {
        /// Name of the peer group.
        name: String,
        /// Its settings.
        settings: NeighborSettings,
    },
    /// A template goes.
    RemovePeerGroup(String),
    /// A neighbor is new.
    AddNeighbor(Neighbor),
    /// A neighbor goes, with its session and its routes.
    RemoveNeighbor(IpAddr),
    /// A neighbor changes. Every impact that stands in `changed` is to be carried out, not only the greatest.
    UpdateNeighbor {
        /// The neighbor as it is to be.
        neighbor: Neighbor,
        /// The greatest impact among the changes.
        impact: Impact,
        /// What is different, never empty.
        changed: Vec<Change>,
    },
    /// A range of dynamic neighbors is new.
    AddDynamic(DynamicNeighbors),
    /// A range goes, with the sessions that it let in.
    RemoveDynamic(IpNet),
    /// A range changes; the impact is that on the sessions that it let in.
    UpdateDynamic {
        /// The range as it is to be.
        range: DynamicNeighbors,
        /// The greatest impact among the changes.
        impact: Impact,
        /// What is different, never empty.
        changed: Vec<Change>,
    },
    /// Other caches of the RPKI from now on. Routes are judged again when what the caches say is other than before.
    SetCaches(BTreeMap<SocketAddr, CacheSettings>),
    /// What clients of clusters may announce changes.
    SetGuard {
        /// What runs.
        from: Guard,
        /// What is wanted.
        guard: Guard,
    },
    /// A route is originated, or originated with other attributes than before.
    Originate(Originate),
    /// A route is originated no longer.
    WithdrawOriginated(IpNet),
}

impl Step {
    /// The greatest thing that this step does to sessions.
    pub fn impact(&self) -> Impact {
        match self {
            Self::SetGlobal { impact, .. }
            | Self::UpdateNeighbor { impact, .. }
            | Self::UpdateDynamic { impact, .. } => *impact,
            Self::SetPolicies { .. } | Self::SetGuard { .. } => Impact::PolicyAgain,
            Self::RemoveNeighbor(_) | Self::RemoveDynamic(_) => Impact::SessionReset,
            Self::SetPeerGroup { .. }
            | Self::RemovePeerGroup(_)
            | Self::AddNeighbor(_)
            | Self::AddDynamic(_)
            | Self::SetCaches(_)
            | Self::Originate(_)
            | Self::WithdrawOriginated(_) => Impact::None,
        }
    }

    /// What is different, of steps that change settings.
    pub fn changed(&self) -> &[Change] {
        match self {
            Self::SetGlobal { changed, .. }
            | Self::UpdateNeighbor { changed, .. }
            | Self::UpdateDynamic { changed, .. } => changed,
            _ => &[],
        }
    }

    /// Whether some change in this step has this very impact.
    pub fn has(&self, impact: Impact) -> bool {
        match self.changed() {
            [] => self.impact() == impact,
            changed => changed.iter().any(|change| change.impact == impact),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SetGlobal { changed, impact, .. } => write!(f, "global: {}: {impact}", Listed(changed)),
            Self::SetPolicies { changed, .. } if changed.is_empty() => {
                f.write_str("policies: only what no policy uses")
            }
            Self::SetPolicies { changed, .. } => {
                write!(f, "policies: {}: {}", changed.join(", "), Impact::PolicyAgain)
            }
            Self::SetPeerGroup { name, .. } => write!(f, "peer-group {name}: set for neighbors that are added later"),
            Self::RemovePeerGroup(name) => write!(f, "peer-group {name}: removed"),
            Self::AddNeighbor(neighbor) => {
                write!(f, "neighbor {}: added, AS {}", neighbor.address, neighbor.settings.remote_asn)
            }
            Self::RemoveNeighbor(address) => write!(f, "neighbor {address}: removed, its session ends"),
            Self::UpdateNeighbor { neighbor, impact, changed } => {
                write!(f, "neighbor {}: {}: {impact}", neighbor.address, Listed(changed))
            }
            Self::AddDynamic(range) => {
                write!(f, "dynamic-neighbors {}: added, at most {}", range.prefix, range.limit)
            }
            Self::RemoveDynamic(prefix) => write!(f, "dynamic-neighbors {prefix}: removed, its sessions end"),
            Self::UpdateDynamic { range, impact, changed } => {
                write!(f, "dynamic-neighbors {}: {}: {impact}", range.prefix, Listed(changed))
            }
            Self::SetCaches(caches) if caches.is_empty() => f.write_str("rpki: no caches"),
            Self::SetCaches(caches) => {
                let caches: Vec<String> = caches.keys().map(ToString::to_string).collect();
                write!(f, "rpki: caches {}", caches.join(", "))
            }
            Self::SetGuard { from, guard } => {
                let names: BTreeSet<&String> = from.clusters.keys().chain(guard.clusters.keys()).collect();
                let differs = |name: &&&String| {
                    from.clusters.get(**name) != guard.clusters.get(**name)
                        || from.nodes.get(**name) != guard.nodes.get(**name)
                        || from.declared.get(**name) != guard.declared.get(**name)
                };
                let changed: Vec<&str> = names.iter().filter(differs).map(|name| name.as_str()).collect();
                write!(f, "cluster {}: changed: routes of the neighbors concerned are judged again", changed.join(", "))
            }
            Self::Originate(route) => match route.next_hop {
                Some(next_hop) => write!(f, "originate {}: announced via {next_hop}", route.prefix),
                None => write!(f, "originate {}: announced", route.prefix),
            },
            Self::WithdrawOriginated(prefix) => write!(f, "originate {prefix}: withdrawn"),
        }
    }
}

struct Listed<'a>(&'a [Change]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, change) in self.0.iter().enumerate() {
            f.write_str(if index == 0 { "" } else { ", " })?;
            fmt::Display::fmt(change, f)?;
        }
        Ok(())
    }
}
