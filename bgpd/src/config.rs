//! The configuration file: TOML in, a [`Desired`] out, or a diagnosis that says line and column of everything that is
//! wrong and what would be right.
//!
//! The document is walked key by key rather than deserialized at once, so that all problems are found, not just the
//! first, and each knows its place.

mod api;
mod cluster;
mod credentials;
mod declared;
mod diagnosis;
mod filter;
mod global;
mod graceful;
mod hidden;
mod metrics;
mod neighbor;
mod originate;
mod policy;
mod prefix_limit;
mod reader;
mod rpki;
mod syntax;
mod tcp_ao;
mod value;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use bgp_engine::config::Desired;
use bgp_engine::config::cluster::Guard;
use bgp_engine::policy::Definitions;
use toml::de::DeTable;

pub use self::api::{ApiSettings, Endpoint, LogFormat, LogSettings};
pub(crate) use self::cluster::{MAX_LENGTH_V4, MAX_LENGTH_V6};
pub use self::credentials::{Credentials, Role};
pub(crate) use self::declared::InForce;
pub use self::declared::{Declarations, Declared, Keys, Laid, Source, neighbor as declared_neighbor};
use self::diagnosis::Problems;
pub use self::diagnosis::{Diagnosis, Warning};
pub use self::graceful::{ForwardingState, OnTerminate, RestartSettings};
pub use self::hidden::hidden;
pub use self::metrics::MetricsSettings;
use self::neighbor::Groups;
pub(crate) use self::neighbor::unsigned;
pub use self::neighbor::{base_settings, default_settings};
use self::reader::Section;

/// A configuration file that is valid.
#[derive(Debug, Clone)]
pub struct Document {
    /// What the speaker should be and do.
    pub desired: Desired,
    /// How it is managed.
    pub api: ApiSettings,
    /// How it logs.
    pub log: LogSettings,
    /// Where it is measured.
    pub metrics: MetricsSettings,
    /// How it restarts.
    pub restart: RestartSettings,
    /// What is allowed but hardly meant.
    pub warnings: Vec<Warning>,
    /// The text that all of this was read from.
    pub text: Arc<str>,
    /// What diagnoses call it.
    pub name: String,
}

/// Reads a file. Files that it names are looked for beside it.
///
/// # Errors
/// Everything that is wrong with it.
pub fn load(path: &Path) -> Result<Document, Diagnosis> {
    let name = path.display().to_string();
    let text = fs::read_to_string(path).map_err(|error| Diagnosis::unreadable(&name, &error))?;
    parse(&text, &name, path.parent().unwrap_or(Path::new(".")))
}

/// Reads a document. `name` is what diagnoses call it; files that it names are relative to `base`.
///
/// # Errors
/// Everything that is wrong with it.
pub fn parse(text: &str, name: &str, base: &Path) -> Result<Document, Diagnosis> {
    let (document, warnings) = walk(text, name, base, read)?;
    Ok(Document { warnings, text: text.into(), name: name.to_owned(), ..document })
}

/// Reads a document of policies and sets alone, as it comes through the API. `name` is what diagnoses call it.
///
/// # Errors
/// Everything that is wrong with it.
pub fn parse_policies(text: &str, name: &str) -> Result<Definitions, Diagnosis> {
    let (definitions, _) = walk(text, name, Path::new("."), read_policies)?;
    Ok(definitions)
}

/// Has a document read, if it is TOML; what comes of it, and what is allowed but hardly meant.
fn walk<T>(
    text: &str,
    name: &str,
    base: &Path,
    read: impl FnOnce(Section<'_>, &mut Problems<'_>) -> Option<T>,
) -> Result<(T, Vec<Warning>), Diagnosis> {
    let mut problems = Problems::new(text, name, base);
    let (table, errors) = DeTable::parse_recoverable(text);
    syntax::report(&errors, &mut problems);
    // What could not be read would only give wrong conclusions about the rest.
    if !errors.is_empty() {
        return Err(problems.diagnosis());
    }
    match read(Section::document(table.get_ref(), table.span()), &mut problems) {
        Some(read) if !problems.any_error() => Ok((read, problems.warnings())),
        _ => Err(problems.diagnosis()),
    }
}

fn read_policies(mut document: Section<'_>, problems: &mut Problems<'_>) -> Option<Definitions> {
    let sections = policy::Sections::take_declared(&mut document, problems);
    document.finish(problems);
    let definitions = policy::read(sections, problems);
    if definitions == Definitions::default() && !problems.any_error() {
        problems.error(0..0, "there is no policy and no set in it", "add [[policy]]");
    }
    Some(definitions)
}

fn read(mut document: Section<'_>, problems: &mut Problems<'_>) -> Option<Document> {
    let no_global = !document.has("global");
    let global = document.table("global", problems);
    let api = document.table("api", problems);
    let log = document.table("log", problems);
    let metrics = document.table("metrics", problems);
    let restart = document.table("restart", problems);
    let groups = document.tables("peer-group", problems);
    let neighbors = document.tables("neighbor", problems);
    let ranges = document.tables("dynamic-neighbors", problems);
    let originated = document.tables("originate", problems);
    let clusters = document.tables("cluster", problems);
    let caches = document.tables("rpki", problems);
    let policies = policy::Sections::take(&mut document, problems);
    document.finish(problems);
    if no_global {
        let help = "add [global] with asn = 65000 and router-id = \"192.0.2.1\", your own";
        problems.error(0..0, "[global] is missing", help);
    }
    let policies = Arc::new(policy::read(policies, problems));
    let global = global.and_then(|section| global::read(section, &policies, problems));
    let api = api.map_or_else(ApiSettings::default, |section| api::read(section, problems));
    let log = log.map_or_else(LogSettings::default, |section| api::read_log(section, problems));
    let metrics = metrics.map_or_else(MetricsSettings::default, |section| metrics::read(section, problems));
    let restart = restart.map_or_else(RestartSettings::default, |section| graceful::read_restart(section, problems));
    let asn = global.as_ref().map(|global| global.asn);
    let base = global.as_ref().map_or_else(default_settings, base_settings);
    let groups = Groups::read(groups, &base, Arc::clone(&policies), asn, problems);
    let dynamic = neighbor::read_ranges(ranges, &groups, asn, problems);
    let desired = Desired {
        neighbors: neighbor::read(neighbors, &groups, &dynamic, global.as_ref(), problems),
        dynamic,
        originate: originate::read(originated, problems),
        guard: Guard { clusters: cluster::read(clusters, &groups, problems), ..Guard::default() },
        caches: rpki::read(caches, problems),
        peer_groups: groups.settings(),
        policies,
        global: global?,
    };
    let (warnings, text, name) = (Vec::new(), Arc::default(), String::new());
    Some(Document { desired, api, log, metrics, restart, warnings, text, name })
}

/// Entries by name, and where each stands.
struct Named<K, V> {
    /// What an entry is called.
    noun: &'static str,
    entries: BTreeMap<K, V>,
    lines: BTreeMap<K, usize>,
}

impl<K: Ord + Clone + std::fmt::Display, V> Named<K, V> {
    fn new(noun: &'static str) -> Self {
        Self { noun, entries: BTreeMap::new(), lines: BTreeMap::new() }
    }

    /// Adds an entry; a name that is there already is a problem.
    fn insert(&mut self, key: K, value: V, span: std::ops::Range<usize>, problems: &mut Problems<'_>) {
        let line = problems.line(&span);
        match self.lines.entry(key.clone()) {
            Entry::Occupied(first) => {
                let help = format!("the first is in line {}: remove one of the two", first.get());
                problems.error(span, format!("{} {key} is there twice", self.noun), help);
            }
            Entry::Vacant(place) => {
                place.insert(line);
                self.entries.insert(key, value);
            }
        }
    }
}

#[cfg(test)]
mod tests;
