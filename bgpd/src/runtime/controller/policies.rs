//! Policies: what their names stand for, and what follows for running sessions when that changes.

use std::sync::Arc;

use bgp_engine::config::{Desired, Step};
use bgp_engine::export::{ExportKey, Memberships, Regrouping};
use bgp_engine::id::{GroupIndex, PeerIndex};
use bgp_engine::policy::{Definitions, Direction, Library};

use super::super::fabric::Fabric;
use super::super::handle::ControlError;
use super::commands::tell;
use super::resets::in_wanted;
use super::{Controller, Entry};
use crate::peer::PeerCommand;

/// The compiled form of policies.
pub(super) fn library(fabric: &Fabric, policies: &Definitions) -> Result<Library, ControlError> {
    let invalid = |reason: String| ControlError::Invalid { field: "policy".to_owned(), reason };
    let library = Library::new(Arc::clone(&fabric.interner)).with(policies);
    let library = library.map_err(|unknown| invalid(unknown.to_string()))?;
    Ok(match fabric.rpki.table() {
        Some(table) => library.with_validation(table),
        None => library,
    })
}

/// Refuses neighbors, ranges and groups whose policies would not exist.
pub(super) fn check(fabric: &Fabric, wanted: &Desired) -> Result<(), ControlError> {
    let library = library(fabric, &wanted.policies)?;
    let neighbors = wanted.neighbors.values().map(|one| (format!("neighbor {}", one.address), &one.settings));
    let ranges = wanted.dynamic.values().map(|one| (format!("dynamic-neighbors {}", one.prefix), &one.settings));
    for (who, settings) in neighbors.chain(ranges) {
        let external = settings.is_external(wanted.global.asn);
        for (field, names, direction) in [
            ("import-policy", &settings.import_policy, Direction::Import),
            ("export-policy", &settings.export_policy, Direction::Export),
        ] {
            library.resolve(names.as_deref(), external, direction).map_err(|unknown| ControlError::Invalid {
                field: format!("{who}: {field}"),
                reason: unknown.to_string(),
            })?;
        }
    }
    Ok(())
}

impl Controller {
    /// Takes over policies, and has the routes of neighbors judged again that use one of those that changed.
    pub(super) fn set_policies(&mut self, policies: &Definitions, changed: &[String]) {
        // What cannot be compiled was refused before the first step.
        let Ok(library) = library(&self.fabric, policies) else { return };
        self.fabric.replace_library(library);
        let uses = |names: &Option<Vec<String>>| names.iter().flatten().any(|name| changed.contains(name));
        let entries = self.neighbors.values().filter(|entry| uses(&entry.neighbor.settings.import_policy));
        entries.for_each(|entry| tell(entry, PeerCommand::Policies));
    }

    /// Has the routes judged again whose policies ask for the state of origins: live, without resetting a session or
    /// asking a peer (RFC 8481 §5, RFC 9324 §4).
    pub(super) fn validate_again(&mut self) {
        let policies = Arc::clone(&self.desired.policies);
        let Ok(library) = library(&self.fabric, &policies) else { return };
        let changed = library.reading_rpki();
        self.set_policies(&policies, &changed);
        self.regroup(&[Step::SetPolicies { policies, changed }]);
    }

    /// Has update groups follow the export policies that steps have changed.
    pub(super) fn regroup(&mut self, steps: &[Step]) {
        for change in self.regrouping(steps) {
            match change {
                Regrouping::Replace { group, key } => self.groups.replace_export(group, key),
                Regrouping::Pass { member, from, key } => {
                    if let Some(entry) = self.neighbors.values().find(|entry| entry.cell.index == member) {
                        let shut_down = entry.neighbor.settings.is_shutting_down(&self.desired.global);
                        self.groups.pass(entry, from, key, shut_down);
                    }
                }
            }
        }
    }

    /// A member that went to another group has come there. It may have been told to go on meanwhile.
    pub(super) fn settled(&mut self, member: PeerIndex, group: GroupIndex) {
        self.groups.settled(member, group);
        let entry = self.entry_of(member);
        entry.iter().for_each(|entry| entry.cell.settled(group));
        let wanted = entry.and_then(|entry| self.wanted_key(entry, group));
        if wanted.is_some_and(|key| self.groups.key(group) != Some(&key)) {
            self.regroup(&[]);
        }
    }

    /// The key that the group of a member of `group` is to have.
    fn wanted_key(&self, entry: &Entry, group: GroupIndex) -> Option<ExportKey> {
        let neighbor = in_wanted(entry, &self.desired)?;
        Some(self.groups.key(group)?.under(&self.desired.global, &neighbor.settings))
    }

    /// What becomes of update groups when `steps` have been taken.
    fn regrouping(&self, steps: &[Step]) -> Vec<Regrouping> {
        let mut members = Memberships::new();
        for entry in self.neighbors.values() {
            for (_, group) in entry.cell.memberships() {
                let Some(key) = self.wanted_key(entry, group) else { continue };
                members.entry(group).or_default().push((entry.cell.index, key));
            }
        }
        self.groups.regrouping(&members, steps)
    }
}
