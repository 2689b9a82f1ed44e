//! Neighbors and policies that came through the API: what was said, in the words of the file, and what follows together
//! with a file.
//!
//! The keys are kept rather than the settings that follow from them, so that a neighbor follows its peer group when the
//! file changes that, and so that the one reader of `[[neighbor]]` judges both. Where both speak of the same address:
//!
//! - a neighbor that was added is not in force while the file has one with its address; it comes back when the file
//!   lets go;
//! - what was changed of a neighbor of the file stays changed, until the API says otherwise or the file drops the
//!   neighbor;
//! - policies and sets of an owner are one document, in force as a whole: not while the file, or an owner before it by
//!   name, has one of their names.
//!
//! All of it is said whenever a file is compared or applied.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use bgp_engine::config::owners::OwnerName;
use bgp_engine::config::{Desired, Neighbor};
use bgp_engine::policy::Definitions;
use toml::de::DeTable;

use super::diagnosis::Problems;
use super::neighbor::{Groups, read_one};
use super::parse_policies;
use super::reader::Section;

/// Keys of a `[[neighbor]]` and their values, without the address.
pub type Keys = toml::Table;

/// What the API has said of one neighbor.
#[derive(Debug, Clone, PartialEq)]
pub struct Declared {
    /// Who said it.
    pub owner: OwnerName,
    /// What was said.
    pub keys: Keys,
}

/// All that the API has said of neighbors.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Declarations {
    /// Neighbors that were added.
    pub added: BTreeMap<IpAddr, Declared>,
    /// What was changed of neighbors of the file.
    pub changed: BTreeMap<IpAddr, Declared>,
    /// Whether all neighbors are drained, where that is not as in the file.
    pub drained: Option<bool>,
    /// Policies and sets by owner, each a document of these alone.
    pub policies: BTreeMap<OwnerName, String>,
}

/// What of an owner's policies is in force.
#[derive(Debug, Clone)]
pub(crate) struct InForce {
    pub(crate) owner: OwnerName,
    /// What the document says; none if it cannot be read, which an older bgpd may have.
    pub(crate) definitions: Definitions,
    /// Why they are not in force, if they are not.
    pub(crate) waits_for: Option<String>,
}

/// What comes of declarations together with a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Laid {
    /// What is worth knowing, for people.
    pub notes: Vec<String>,
    /// What cannot be in force, and why.
    pub refused: Vec<String>,
}

/// Where a neighbor's settings come from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Source {
    /// The file.
    #[default]
    File,
    /// The file, and the API has changed something.
    Changed {
        /// Who.
        owner: OwnerName,
        /// Which keys.
        keys: Vec<String>,
    },
    /// The API.
    Api {
        /// Who added it.
        owner: OwnerName,
    },
    /// A range of dynamic neighbors.
    Dynamic,
}

impl Source {
    /// One word for it.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::File | Self::Changed { .. } => "file",
            Self::Api { .. } => "api",
            Self::Dynamic => "dynamic",
        }
    }

    /// Who has added the neighbor, or changed something of it.
    #[must_use]
    pub fn owner(&self) -> Option<&OwnerName> {
        match self {
            Self::Changed { owner, .. } | Self::Api { owner } => Some(owner),
            Self::File | Self::Dynamic => None,
        }
    }

    /// The keys of the file that the API has changed.
    #[must_use]
    pub fn changed(&self) -> &[String] {
        if let Self::Changed { keys, .. } = self { keys } else { &[] }
    }
}

/// The neighbor that follows from keys, over `known` if there is one already, in a configuration and with the policies that
/// are in force.
///
/// # Errors
/// Everything that is wrong with the keys, in sentences.
pub fn neighbor(
    address: IpAddr,
    keys: &Keys,
    known: Option<&Neighbor>,
    of: &Desired,
    policies: &Arc<Definitions>,
) -> Result<Neighbor, String> {
    let mut keys = keys.clone();
    keys.insert("address".to_owned(), address.to_string().into());
    let text = toml::to_string(&keys).map_err(|error| error.to_string())?;
    let table = DeTable::parse(&text).map_err(|error| error.message().to_owned())?;
    let mut problems = Problems::new(&text, "API", Path::new("."));
    let section = Section::neighbor(table.get_ref(), table.span());
    let read = read_one(section, &Groups::of(of, policies), known, Some(&of.global), &mut problems);
    match read {
        Some(read) if !problems.any_error() => Ok(read.value),
        _ => Err(problems.diagnosis().sentences()),
    }
}

/// Who has a name that is wanted, and which: the file, or an owner whose policies are in force.
fn shared(wanted: &Definitions, of_file: &Definitions, owners: &[InForce]) -> Option<(String, String)> {
    let in_file = wanted.shared_name(of_file).map(|name| ("the file".to_owned(), name));
    let mut in_force = owners.iter().filter(|one| one.waits_for.is_none());
    in_file.or_else(|| {
        in_force.find_map(|one| Some((format!("owner {}", one.owner), wanted.shared_name(&one.definitions)?)))
    })
}

impl Declarations {
    /// Lays what was declared over what a file says.
    pub fn lay_over(&self, file: &mut Desired) -> Laid {
        let mut laid = Laid::default();
        self.lay_policies(file, &mut laid);
        let plain = file.clone();
        for (address, Declared { owner, keys }) in &self.changed {
            let Some(known) = plain.neighbors.get(address) else {
                laid.notes.push(format!("neighbor {address}: not in the file, so what {owner} changed is dropped"));
                continue;
            };
            match neighbor(*address, keys, Some(known), &plain, &plain.policies) {
                Ok(neighbor) => {
                    let keys = keys.keys().cloned().collect::<Vec<_>>().join(", ");
                    laid.notes.push(format!("neighbor {address}: {keys} not as in the file, changed by {owner}"));
                    file.neighbors.insert(*address, neighbor);
                }
                Err(why) => laid.refused.push(format!("neighbor {address}, changed by {owner}: {why}")),
            }
        }
        for (address, Declared { owner, keys }) in &self.added {
            if plain.neighbors.contains_key(address) {
                laid.notes.push(format!("neighbor {address}: the file has it, so the one of {owner} is not in force"));
                continue;
            }
            match neighbor(*address, keys, None, &plain, &plain.policies) {
                Ok(neighbor) => drop(file.neighbors.insert(*address, neighbor)),
                Err(why) => laid.refused.push(format!("neighbor {address}, added by {owner}: {why}")),
            }
        }
        if let Some(drained) = self.drained.filter(|drained| *drained != plain.global.graceful_shutdown) {
            laid.notes
                .push(format!("graceful-shutdown of all is {drained}, not as in the file: bgpctl neighbor drain"));
            file.global.graceful_shutdown = drained;
        }
        laid
    }

    /// The policies of each owner beside those of a file.
    pub(crate) fn policies_in_force(&self, of_file: &Definitions) -> Vec<InForce> {
        let mut all = Vec::new();
        for (owner, text) in &self.policies {
            let (definitions, unread) = match parse_policies(text, owner.as_str()) {
                Ok(definitions) => (definitions, None),
                Err(diagnosis) => (Definitions::default(), Some(diagnosis.sentences())),
            };
            let waits_for = unread.or_else(|| {
                let (who, name) = shared(&definitions, of_file, &all)?;
                Some(format!("{who} has {name}"))
            });
            all.push(InForce { owner: owner.clone(), definitions, waits_for });
        }
        all
    }

    /// Who has a name of these policies and sets already, and which: the file, or an owner whose policies are in force.
    pub(crate) fn policies_shared(&self, wanted: &Definitions, of_file: &Definitions) -> Option<(String, String)> {
        shared(wanted, of_file, &self.policies_in_force(of_file))
    }

    fn lay_policies(&self, file: &mut Desired, laid: &mut Laid) {
        for InForce { owner, definitions, waits_for } in self.policies_in_force(&file.policies) {
            match waits_for {
                None => Arc::make_mut(&mut file.policies).extend(definitions),
                Some(why) => laid.notes.push(format!("policies of {owner} are not in force: {why}")),
            }
        }
    }

    /// Forgets changes of neighbors that a file does not have.
    pub fn settle(&mut self, file: &Desired) {
        self.changed.retain(|address, _| file.neighbors.contains_key(address));
        self.drained = self.drained.filter(|drained| *drained != file.global.graceful_shutdown);
    }

    /// Where a configured neighbor comes from.
    #[must_use]
    pub fn source(&self, address: &IpAddr, file: &Desired) -> Source {
        match (file.neighbors.contains_key(address), self.added.get(address), self.changed.get(address)) {
            (false, Some(added), _) => Source::Api { owner: added.owner.clone() },
            (true, _, Some(changed)) => {
                Source::Changed { owner: changed.owner.clone(), keys: changed.keys.keys().cloned().collect() }
            }
            _ => Source::File,
        }
    }
}
