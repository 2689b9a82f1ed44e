//! Update groups when export policies change.
//!
//! A group whose members all go to the same policies stays together and is given new rules. The members of a group that
//! go different ways part.

use std::collections::BTreeMap;

use super::ExportKey;
use crate::config::Step;
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
    /// A member goes another way than the rest of its group.
    Leave {
        /// Which member.
        member: PeerIndex,
    },
}

/// The members of each group, with the names of the export policies that each has now.
pub type Memberships = BTreeMap<GroupIndex, Vec<(PeerIndex, Option<Vec<String>>)>>;

/// What is to be done about the groups with these `keys`, given the policies that their `members` have now, and the
/// steps that were taken. The order is that of the groups.
pub fn regroup<'a>(
    keys: impl Iterator<Item = (GroupIndex, &'a ExportKey)>,
    members: &Memberships,
    steps: &[Step],
) -> Vec<Regrouping> {
    let mut keys: BTreeMap<GroupIndex, ExportKey> = keys.map(|(index, key)| (index, key.clone())).collect();
    let changed = |name: &String| {
        steps.iter().any(|step| matches!(step, Step::SetPolicies { changed, .. } if changed.contains(name)))
    };
    let mut out = Vec::new();
    for (&group, members) in members {
        let Some(old) = keys.get(&group).cloned() else { continue };
        let Some((_, first)) = members.first() else { continue };
        let together = members.iter().all(|(_, policy)| policy == first);
        let key = ExportKey { policy: first.clone(), ..old.clone() };
        let is_free = key == old || keys.values().all(|other| *other != key);
        if together && is_free {
            if key != old || key.policy.iter().flatten().any(changed) {
                keys.insert(group, key.clone());
                out.push(Regrouping::Replace { group, key });
            }
            continue;
        }
        let leaving = members.iter().filter(|(_, policy)| *policy != old.policy);
        out.extend(leaving.map(|(member, _)| Regrouping::Leave { member: *member }));
        if old.policy.iter().flatten().any(changed) {
            out.push(Regrouping::Replace { group, key: old });
        }
    }
    out
}
