//! Conditions with the sets that they name, and what they say of a route.

use std::net::IpAddr;
use std::sync::Arc;

use bgp_wire::attribute::{as_path, code};
use ipnet::IpNet;

use super::definition::{Condition, Definitions, NeighborSet, SetName};
use super::rpki::OriginValidation;
use super::{AsPathPattern, CommunitySet, PrefixSet, Provenance, UnknownPolicy};
use crate::attr::AttrRef;
use crate::id::SourceKind;

/// LOCAL_PREF of a route without one, as in the decision process.
pub(super) const DEFAULT_LOCAL_PREF: u32 = 100;

/// Sets, each with whether routes are meant that are not in it.
type Sets<T> = Vec<(bool, Arc<T>)>;

/// A condition that can be asked.
#[derive(Clone)]
pub(super) struct Test {
    /// As it was configured.
    pub(super) condition: Condition,
    sets: Named,
}

/// The sets that a condition names.
#[derive(Clone)]
enum Named {
    None,
    Prefix(Sets<PrefixSet>),
    AsPath(Sets<Vec<AsPathPattern>>),
    Community(Sets<CommunitySet>),
    Neighbor(Sets<NeighborSet>),
}

impl Test {
    pub(super) fn new(condition: &Condition, definitions: &Definitions) -> Result<Self, UnknownPolicy> {
        let sets = match condition {
            Condition::PrefixSets(names) => Named::Prefix(find(names, "prefix set", &definitions.prefix_sets)?),
            Condition::AsPathSets(names) => Named::AsPath(find(names, "AS-path set", &definitions.as_path_sets)?),
            Condition::CommunitySets(names) => {
                Named::Community(find(names, "community set", &definitions.community_sets)?)
            }
            Condition::NeighborSets(names) => Named::Neighbor(find(names, "neighbor set", &definitions.neighbor_sets)?),
            _ => Named::None,
        };
        Ok(Self { condition: condition.clone(), sets })
    }

    /// Whether the answer depends on the prefix.
    pub(super) fn reads_prefix(&self) -> bool {
        matches!(self.condition, Condition::PrefixSets(_) | Condition::Rpki(_))
    }

    /// The answer of a condition that does not depend on the prefix.
    pub(super) fn holds(&self, attrs: &AttrRef, from: &Provenance) -> bool {
        let digest = &attrs.digest;
        match (&self.condition, &self.sets) {
            (_, Named::AsPath(sets)) => {
                let path = attrs.block().get(code::AS_PATH).unwrap_or_default();
                any(sets, |set| set.iter().any(|pattern| pattern.matches(path)))
            }
            (_, Named::Community(sets)) => any(sets, |set| set.matches(attrs.block())),
            (_, Named::Neighbor(sets)) => any(sets, |set| set.holds(from)),
            (Condition::ReceivedFrom(prefixes), _) => is_received(from) && within(from.address, prefixes),
            (Condition::NextHop(prefixes), _) => within(attrs.next_hop.addr(), prefixes),
            (Condition::Origin(origins), _) => origins.iter().any(|origin| origin.code() == digest.origin),
            (Condition::LocalPref(bounds), _) => bounds.holds(digest.local_pref.unwrap_or(DEFAULT_LOCAL_PREF)),
            // RFC 4271 §9.1.2.2(c): no MED is the lowest MED.
            (Condition::Med(bounds), _) => bounds.holds(digest.med.unwrap_or(0)),
            (Condition::AsPathLength(bounds), _) => bounds.holds(digest.as_path_len),
            (Condition::Family(families), _) => families.contains(&from.family),
            (Condition::RouteType(types), _) => types.iter().any(|one| one.holds(from.kind)),
            _ => false,
        }
    }

    /// The answer of a condition that depends on the prefix.
    pub(super) fn holds_for(&self, prefix: &IpNet, attrs: &AttrRef, validation: &dyn OriginValidation) -> bool {
        match (&self.condition, &self.sets) {
            (_, Named::Prefix(sets)) => any(sets, |set| set.contains(prefix)),
            (Condition::Rpki(states), _) => {
                let path = attrs.block().get(code::AS_PATH).unwrap_or_default();
                states.contains(&validation.state(prefix, as_path::origin_as(path)))
            }
            _ => false,
        }
    }
}

impl NeighborSet {
    fn holds(&self, from: &Provenance) -> bool {
        is_received(from) && (self.asns.contains(&from.asn) || within(from.address, &self.addresses))
    }
}

/// What is originated here comes from no neighbor.
fn is_received(from: &Provenance) -> bool {
    from.kind != SourceKind::Local
}

fn within(address: IpAddr, prefixes: &[IpNet]) -> bool {
    prefixes.iter().any(|prefix| prefix.contains(&address))
}

fn any<T>(sets: &Sets<T>, holds: impl Fn(&T) -> bool) -> bool {
    sets.iter().any(|(negated, set)| holds(set) != *negated)
}

fn find<T>(
    names: &[SetName],
    what: &'static str,
    sets: &std::collections::BTreeMap<String, Arc<T>>,
) -> Result<Sets<T>, UnknownPolicy> {
    let one = |SetName { name, negated }: &SetName| match sets.get(name) {
        Some(set) => Ok((*negated, Arc::clone(set))),
        None => Err(UnknownPolicy { what, name: name.clone() }),
    };
    names.iter().map(one).collect()
}
