//! From what runs to what is wanted: a list of steps, each with its blast radius.
//!
//! [`plan()`] compares two [`Desired`] and changes nothing; [`apply`] does to a [`Desired`] what the steps say, so that
//! whoever carries them out knows what runs now. `apply(plan(a, b))` to `a` gives `b`.

mod change;
mod step;

use std::collections::BTreeMap;
use std::sync::Arc;

pub use self::change::{Change, Impact};
pub use self::step::Step;
use super::desired::Desired;

/// The steps that lead from `running` to `wanted`: removals first, then the speaker itself, then what is new or changed.
///
/// Equal states give no steps. The order is the same every time.
pub fn plan(running: &Desired, wanted: &Desired) -> Vec<Step> {
    let mut steps = Vec::new();
    removals(running, wanted, &mut steps);
    if running.policies != wanted.policies {
        let changed = wanted.policies.changed(&running.policies).into_iter().collect();
        steps.push(Step::SetPolicies { policies: Arc::clone(&wanted.policies), changed });
    }
    let changed = change::of_global(&running.global, &wanted.global);
    if !changed.is_empty() {
        steps.push(Step::SetGlobal { global: wanted.global.clone(), impact: change::greatest(&changed), changed });
    }
    for (name, settings) in different(&running.peer_groups, &wanted.peer_groups) {
        steps.push(Step::SetPeerGroup { name: name.clone(), settings: settings.clone() });
    }
    for (address, neighbor) in different(&running.neighbors, &wanted.neighbors) {
        steps.push(match running.neighbors.get(address) {
            None => Step::AddNeighbor(neighbor.clone()),
            Some(old) => {
                let changed = change::of_neighbor(old, neighbor);
                Step::UpdateNeighbor { neighbor: neighbor.clone(), impact: change::greatest(&changed), changed }
            }
        });
    }
    for (prefix, range) in different(&running.dynamic, &wanted.dynamic) {
        steps.push(match running.dynamic.get(prefix) {
            None => Step::AddDynamic(range.clone()),
            Some(old) => {
                let changed = change::of_dynamic(old, range);
                Step::UpdateDynamic { range: range.clone(), impact: change::greatest(&changed), changed }
            }
        });
    }
    if running.caches != wanted.caches {
        steps.push(Step::SetCaches(wanted.caches.clone()));
    }
    if running.guard != wanted.guard {
        steps.push(Step::SetGuard { from: running.guard.clone(), guard: wanted.guard.clone() });
    }
    steps.extend(different(&running.originate, &wanted.originate).map(|(_, route)| Step::Originate(route.clone())));
    steps
}

/// What was there and is not wanted any more. Neighbors go before the peer groups that they came from.
fn removals(running: &Desired, wanted: &Desired, steps: &mut Vec<Step>) {
    let originated = running.originate.keys().filter(|prefix| !wanted.originate.contains_key(prefix));
    steps.extend(originated.map(|prefix| Step::WithdrawOriginated(*prefix)));
    let dynamic = running.dynamic.keys().filter(|prefix| !wanted.dynamic.contains_key(prefix));
    steps.extend(dynamic.map(|prefix| Step::RemoveDynamic(*prefix)));
    let neighbors = running.neighbors.keys().filter(|address| !wanted.neighbors.contains_key(address));
    steps.extend(neighbors.map(|address| Step::RemoveNeighbor(*address)));
    let groups = running.peer_groups.keys().filter(|name| !wanted.peer_groups.contains_key(*name));
    steps.extend(groups.map(|name| Step::RemovePeerGroup(name.clone())));
}

/// The entries of `wanted` that are new or not as in `running`, by key.
fn different<'a, K: Ord, V: PartialEq>(
    running: &'a BTreeMap<K, V>,
    wanted: &'a BTreeMap<K, V>,
) -> impl Iterator<Item = (&'a K, &'a V)> {
    wanted.iter().filter(|(key, value)| running.get(key) != Some(value))
}

/// Does one step to a desired state.
pub fn apply(running: &mut Desired, step: &Step) {
    match step {
        Step::SetGlobal { global, .. } => running.global.clone_from(global),
        Step::SetPolicies { policies, .. } => running.policies = Arc::clone(policies),
        Step::SetPeerGroup { name, settings } => drop(running.peer_groups.insert(name.clone(), settings.clone())),
        Step::RemovePeerGroup(name) => drop(running.peer_groups.remove(name)),
        Step::AddNeighbor(neighbor) | Step::UpdateNeighbor { neighbor, .. } => {
            running.neighbors.insert(neighbor.address, neighbor.clone());
        }
        Step::RemoveNeighbor(address) => drop(running.neighbors.remove(address)),
        Step::AddDynamic(range) | Step::UpdateDynamic { range, .. } => {
            running.dynamic.insert(range.prefix, range.clone());
        }
        Step::RemoveDynamic(prefix) => drop(running.dynamic.remove(prefix)),
        Step::SetCaches(caches) => running.caches.clone_from(caches),
        Step::SetGuard { guard, .. } => running.guard.clone_from(guard),
        Step::Originate(route) => drop(running.originate.insert(route.prefix, route.clone())),
        Step::WithdrawOriginated(prefix) => drop(running.originate.remove(prefix)),
    }
}

#[cfg(test)]
pub(super) mod tests;
