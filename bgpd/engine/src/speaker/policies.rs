//! Policies that change while sessions are up: routes that are in are judged again where they are, routes that are out
//! are told anew by the groups' walks.

use std::sync::Arc;
use std::time::Instant;

use super::Speaker;
use super::partitions::RibControl;
use super::peer::Arrival;
use crate::config::Step;
use crate::export::{ExportKey, Memberships, Regrouping, regroup};
use crate::id::{GroupIndex, PeerIndex};
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
    pub(super) fn regroup(&mut self, steps: &[Step]) {
        let mut members = Memberships::new();
        for (index, peer) in &self.peers {
            for (_, group) in &peer.memberships {
                let Some(key) = self.wanted_key(*index, *group) else { continue };
                members.entry(*group).or_default().push((*index, key));
            }
        }
        let keys = self.controller.groups.iter().map(|(index, registered)| (*index, &registered.key));
        for change in regroup(keys, &members, steps) {
            match change {
                Regrouping::Replace { group, key } => self.replace_export(group, key),
                Regrouping::Pass { member, from, key } => self.pass(member, from, key),
            }
        }
    }

    /// The key that the group of a member of `group` is to have.
    pub(super) fn wanted_key(&self, member: PeerIndex, group: GroupIndex) -> Option<ExportKey> {
        // A driver that waits for room has not taken its new settings in yet.
        let neighbor = self.desired.neighbors.get(&self.peers.get(&member)?.address)?;
        Some(self.controller.groups.get(&group)?.key.under(&self.desired.global, &neighbor.settings))
    }

    /// Has a member go to another group. One that is still on its way goes on when it has come.
    fn pass(&mut self, index: PeerIndex, from: GroupIndex, key: ExportKey) {
        let Self { controller, fabric, library, desired, peers, .. } = self;
        let Some(peer) = peers.get_mut(&index).filter(|_| !controller.passages.contains_key(&(index, from))) else {
            return;
        };
        let neighbor = desired.neighbors.get(&peer.address).unwrap_or(&peer.neighbor);
        let shut_down = neighbor.settings.is_shutting_down(&desired.global);
        let Some(to) = controller.pass((index, shut_down), from, key, fabric, library) else { return };
        for membership in peer.memberships.iter_mut().filter(|(_, group)| *group == from) {
            membership.1 = to;
        }
    }

    fn replace_export(&mut self, group: GroupIndex, key: ExportKey) {
        // A policy that does not exist was to be refused before; the old one stays.
        let Ok(spec) = key.clone().resolve(&self.library) else { return };
        self.fabric.control_all(&RibControl::ReplaceExport { group, spec });
        self.controller.groups.entry(group).and_modify(|registered| registered.key = key);
    }
}
