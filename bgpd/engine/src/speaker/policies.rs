//! Policies that change while sessions are up: routes that are in are judged again where they are, routes that are out
//! are told anew by the groups' walks.

use std::sync::Arc;
use std::time::Instant;

use bgp_wire::Notification;
use bgp_wire::notification::CeaseSubcode;

use super::Speaker;
use super::partitions::RibControl;
use super::peer::Arrival;
use crate::config::Step;
use crate::export::{ExportKey, Memberships, Regrouping, regroup};
use crate::id::GroupIndex;
use crate::policy::{Definitions, Library};

impl Speaker {
    /// Takes over policies, and has the routes of neighbors judged again that use one of those that changed.
    pub(super) fn set_policies(&mut self, policies: &Arc<Definitions>, changed: &[String], now: Instant) {
        let Ok(library) = Library::new(Arc::clone(&self.interner)).with(policies) else { return };
        self.library = Arc::new(library);
        let uses = |names: &Option<Vec<String>>| names.iter().flatten().any(|name| changed.contains(name));
        let neighbors = self.desired.neighbors.values().filter(|neighbor| uses(&neighbor.settings.import_policy));
        let neighbors: Vec<_> = neighbors.map(|neighbor| neighbor.address).collect();
        neighbors.into_iter().for_each(|address| self.tell(address, Arrival::Policies, now));
    }

    /// Has update groups follow the export policies that steps have changed.
    pub(super) fn regroup(&mut self, steps: &[Step], now: Instant) {
        let mut members = Memberships::new();
        for (index, peer) in &self.peers {
            // A driver that waits for room has not taken its new settings in yet.
            let Some(neighbor) = self.desired.neighbors.get(&peer.address) else { continue };
            for (_, group) in &peer.memberships {
                members.entry(*group).or_default().push((*index, neighbor.settings.export_policy.clone()));
            }
        }
        let keys = self.controller.groups.iter().map(|(index, registered)| (*index, &registered.key));
        for change in regroup(keys, &members, steps) {
            match change {
                Regrouping::Replace { group, key } => self.replace_export(group, key),
                Regrouping::Leave { member } => self.arrive(
                    member,
                    Arrival::Reset(Notification::cease(CeaseSubcode::OtherConfigurationChange)),
                    now,
                ),
            }
        }
    }

    fn replace_export(&mut self, group: GroupIndex, key: ExportKey) {
        // A policy that does not exist was to be refused before; the old one stays.
        let Ok(spec) = key.clone().resolve(&self.library) else { return };
        self.fabric.control_all(&RibControl::ReplaceExport { group, spec });
        self.controller.groups.entry(group).and_modify(|registered| registered.key = key);
    }
}
