//! Neighbors that came through the API: what was said of them, in the words of the file, and what follows together with
//! a file.
//!
//! The keys are kept rather than the settings that follow from them, so that a neighbor follows its peer group when the
//! file changes that, and so that the one reader of `[[neighbor]]` judges both. Where both speak of the same address:
//!
//! - a neighbor that was added is not in force while the file has one with its address; it comes back when the file
//!   lets go;
//! - what was changed of a neighbor of the file stays changed, until the API says otherwise or the file drops the
//!   neighbor.
//!
//! Both are said whenever a file is compared or applied.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;

use bgp_engine::config::owners::OwnerName;
use bgp_engine::config::{Desired, Neighbor};
use toml::de::DeTable;

use super::diagnosis::Problems;
use super::neighbor::{Groups, read_one};
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

/// The neighbor that follows from keys, over `known` if there is one already, in a configuration.
///
/// # Errors
/// Everything that is wrong with the keys, in sentences.
pub fn neighbor(address: IpAddr, keys: &Keys, known: Option<&Neighbor>, of: &Desired) -> Result<Neighbor, String> {
    let mut keys = keys.clone();
    keys.insert("address".to_owned(), address.to_string().into());
    let text = toml::to_string(&keys).map_err(|error| error.to_string())?;
    let table = DeTable::parse(&text).map_err(|error| error.message().to_owned())?;
    let mut problems = Problems::new(&text, "API", Path::new("."));
    let section = Section::neighbor(table.get_ref(), table.span());
    let read = read_one(section, &Groups::of(of), known, Some(&of.global), &mut problems);
    match read {
        Some(read) if !problems.any_error() => Ok(read.value),
        _ => Err(problems.diagnosis().sentences()),
    }
}

impl Declarations {
    /// Lays what was declared over what a file says.
    pub fn lay_over(&self, file: &mut Desired) -> Laid {
        let mut laid = Laid::default();
        let plain = file.clone();
        for (address, Declared { owner, keys }) in &self.changed {
            let Some(known) = plain.neighbors.get(address) else {
                laid.notes.push(format!("neighbor {address}: not in the file, so what {owner} changed is dropped"));
                continue;
            };
            match neighbor(*address, keys, Some(known), &plain) {
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
            match neighbor(*address, keys, None, &plain) {
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
