//! Update groups when what their keys are made of changes.
//!
//! A group whose members all go the same way stays together and is given new rules, if these only decide which routes go
//! out. Otherwise members go to other groups, one by one, and their sessions stay up.

use std::collections::BTreeMap;

use super::ExportKey;
use crate::config::{Global, NeighborSettings, Step};
use crate::id::{GroupIndex, PeerIndex};

/// What happens to a group or to a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Regrouping {
    /// The group has another key now, and its members are told what differs.
    Replace {
        /// Which group.
        group: GroupIndex,
        /// Its key from now on.
        key: ExportKey,
    },
    /// A member goes to another group, which may be new.
    Pass {
        /// Which member.
        member: PeerIndex,
        /// From where.
        from: GroupIndex,
        /// The key of the group that it goes to.
        key: ExportKey,
    },
}

/// The members of each group, with the key that each is to have.
pub type Memberships = BTreeMap<GroupIndex, Vec<(PeerIndex, ExportKey)>>;

impl ExportKey {
    /// The key of a session that has this one, under other settings: of those that change it while the session goes on.
    #[must_use]
    pub fn under(&self, global: &Global, settings: &NeighborSettings) -> Self {
        Self {
            // RFC 4456 §6: of eBGP sessions it means nothing.
            client: self.external_as.is_none() && settings.route_reflector_client,
            client_to_client: global.client_to_client,
            cluster_id: self.cluster_id.map(|_| global.cluster_id),
            next_hop_self: settings.next_hop_self,
            policy: settings.export_policy.clone(),
            ..self.clone()
        }
    }

    /// Whether routes that go to groups with both keys look the same in both.
    pub(super) fn looks_like(&self, other: &Self) -> bool {
        let decides = |key: &Self| Self { policy: None, client: true, client_to_client: true, ..key.clone() };
        decides(self) == decides(other)
    }
}

/// What is to be done about the groups with these `keys`, given the keys that their `members` are to have, and the
/// steps that were taken. Groups come before members.
pub fn regroup<'a>(
    keys: impl Iterator<Item = (GroupIndex, &'a ExportKey)>,
    members: &Memberships,
    steps: &[Step],
) -> Vec<Regrouping> {
    let mut keys: BTreeMap<GroupIndex, ExportKey> = keys.map(|(index, key)| (index, key.clone())).collect();
    let changed = |name: &String| {
        steps.iter().any(|step| matches!(step, Step::SetPolicies { changed, .. } if changed.contains(name)))
    };
    let mut groups = Vec::new();
    let mut passing = Vec::new();
    for (&group, members) in members {
        let Some(old) = keys.get(&group).cloned() else { continue };
        let Some((_, first)) = members.first() else { continue };
        let together = members.iter().all(|(_, key)| key == first);
        let is_free = *first == old || keys.values().all(|other| other != first);
        let key = if together && is_free && first.looks_like(&old) { first } else { &old };
        if *key != old || key.policy.iter().flatten().any(changed) {
            keys.insert(group, key.clone());
            groups.push(Regrouping::Replace { group, key: key.clone() });
        }
        let leaving = members.iter().filter(|(_, wanted)| wanted != key);
        passing.extend(leaving.map(|(member, wanted)| Regrouping::Pass {
            member: *member,
            from: group,
            key: wanted.clone(),
        }));
    }
    groups.extend(passing);
    groups
}
