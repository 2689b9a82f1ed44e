//! `[[prefix-set]]`, `[[as-path-set]]`, `[[community-set]]`, `[[neighbor-set]]` and `[[policy]]`.

mod statement;

use std::collections::BTreeMap;
use std::sync::Arc;

use bgp_engine::policy::{
    ACCEPT_ALL, AsPathPattern, CommunityPattern, CommunitySet, Definitions, NeighborSet, Outcome, PolicyDefinition,
    PrefixEntry, PrefixSet, REJECT_ALL,
};
use ipnet::IpNet;
use toml::de::DeValue;

use super::diagnosis::Problems;
use super::reader::{At, Section, nearest};
use super::value::{Asn, FromToml, Wrong, named, text, wrong};
use super::{Named, filter};

/// The sections of a document that policies are made of.
pub(super) struct Sections<'a> {
    prefix_sets: Vec<Section<'a>>,
    as_path_sets: Vec<Section<'a>>,
    community_sets: Vec<Section<'a>>,
    neighbor_sets: Vec<Section<'a>>,
    policies: Vec<Section<'a>>,
    filters: Vec<Section<'a>>,
}

impl<'a> Sections<'a> {
    pub(super) fn take(document: &mut Section<'a>, problems: &mut Problems<'_>) -> Self {
        Self {
            prefix_sets: document.tables("prefix-set", problems),
            as_path_sets: document.tables("as-path-set", problems),
            community_sets: document.tables("community-set", problems),
            neighbor_sets: document.tables("neighbor-set", problems),
            policies: document.tables("policy", problems),
            filters: document.tables("filter", problems),
        }
    }

    /// The same of a document that comes through the API.
    pub(super) fn take_declared(document: &mut Section<'a>, problems: &mut Problems<'_>) -> Self {
        let sections = Self { filters: Vec::new(), ..Self::take(document, problems) };
        if document.has("filter") {
            let help = "a filter is a file where bgpd runs: name it in the configuration file";
            problems.error(0..0, "[[filter]] cannot come through the API", help);
        }
        sections
    }
}

/// Reads a value through its own parser, whose errors say what would be right.
fn parsed<T: std::str::FromStr<Err: std::fmt::Display>>(value: &DeValue<'_>, example: &str) -> Result<T, Wrong> {
    let text = text(value, example)?;
    text.parse().or_else(|error: T::Err| {
        let said = error.to_string();
        // An error that says both has what would be right behind its first comma or in its last part.
        let (message, help) = match said.split_once(", ") {
            Some((message, help)) => (message.to_owned(), help.to_owned()),
            None => (said, format!("expected one such as \"{example}\"")),
        };
        wrong(message, help)
    })
}

impl FromToml for PrefixEntry {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, Wrong> {
        parsed(value, "10.0.0.0/8 le 24")
    }
}

impl FromToml for AsPathPattern {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, Wrong> {
        let text = text(value, "^65001 .* [65010-65020]$")?;
        text.parse().or_else(|error: bgp_engine::policy::InvalidAsPathPattern| {
            wrong(
                error.to_string(),
                "numbers are whole AS numbers; docs/policy.md has the signs and what they stand for",
            )
        })
    }
}

impl FromToml for CommunityPattern {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, Wrong> {
        parsed(value, "65000:*")
    }
}

/// An address, or the addresses within a prefix.
pub(super) struct Addresses(pub(super) IpNet);

impl FromToml for Addresses {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, Wrong> {
        match value.as_str().and_then(|text| text.parse::<std::net::IpAddr>().ok()) {
            Some(address) => Ok(Self(address.into())),
            None => IpNet::from_toml(value).map(Self),
        }
    }
}

/// `accept`, `reject`, `next`.
pub(super) struct OutcomeWord(pub(super) Outcome);

impl FromToml for OutcomeWord {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, Wrong> {
        let text = text(value, "accept")?;
        named(text, &["accept", "reject", "next"], "outcome")?;
        Ok(Self(match text {
            "accept" => Outcome::Accept,
            "reject" => Outcome::Reject,
            _ => Outcome::Next,
        }))
    }
}

/// Reads everything that policies are made of.
pub(super) fn read(sections: Sections<'_>, problems: &mut Problems<'_>) -> Definitions {
    let mut definitions = Definitions {
        prefix_sets: sets(sections.prefix_sets, "prefix set", problems, |section, problems| {
            let entries = members::<PrefixEntry>(section, "prefixes", "[\"10.0.0.0/8 le 24\"]", problems);
            entries.into_iter().collect::<PrefixSet>()
        }),
        as_path_sets: sets(sections.as_path_sets, "AS-path set", problems, |section, problems| {
            members::<AsPathPattern>(section, "patterns", "[\"^65001 .* [65010-65020]$\"]", problems)
        }),
        community_sets: sets(sections.community_sets, "community set", problems, |section, problems| {
            let members = members::<CommunityPattern>(section, "communities", "[\"65000:*\"]", problems);
            CommunitySet { members, all: section.value("all", problems).unwrap_or(false) }
        }),
        neighbor_sets: sets(sections.neighbor_sets, "neighbor set", problems, neighbor_set),
        policies: BTreeMap::new(),
        filters: filter::read(sections.filters, problems),
    };
    let mut policies = Named::new("policy");
    for mut section in sections.policies {
        let name = section.need::<String>("name", "\"from-transit\"", problems);
        let default = section.value::<OutcomeWord>("default", problems).map_or(Outcome::Next, |word| word.0);
        let statements = section.tables("statement", problems);
        let statements = statement::read(statements, &definitions, problems);
        section.finish(problems);
        let Some(name) = name else { continue };
        if definitions.filters.contains_key(&name.value) {
            let message = format!("there is a [[filter]] \"{}\" as well", name.value);
            problems.error(name.span, message, "give this policy another name");
            continue;
        }
        if [ACCEPT_ALL, REJECT_ALL].contains(&name.value.as_str()) {
            let message = format!("policy \"{}\" is built in", name.value);
            problems.error(name.span, message, "give this one another name");
            continue;
        }
        policies.insert(name.value, PolicyDefinition { statements, default }, name.span, problems);
    }
    definitions.policies = policies.entries;
    definitions
}

fn sets<T>(
    sections: Vec<Section<'_>>,
    noun: &'static str,
    problems: &mut Problems<'_>,
    read: impl Fn(&mut Section<'_>, &mut Problems<'_>) -> T,
) -> BTreeMap<String, Arc<T>> {
    let mut all = Named::new(noun);
    for mut section in sections {
        let name = section.need::<SetNameValue>("name", "\"customers\"", problems);
        let set = Arc::new(read(&mut section, problems));
        section.finish(problems);
        if let Some(name) = name {
            all.insert(name.value.0, set, name.span, problems);
        }
    }
    all.entries
}

/// The name of a set that is defined: `!` before a name says "not in it".
struct SetNameValue(String);

impl FromToml for SetNameValue {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, Wrong> {
        let text = text(value, "customers")?;
        match text.strip_prefix('!') {
            Some(rest) => wrong("a name cannot begin with \"!\"", format!("write \"{rest}\"; \"!\" is for conditions")),
            None => Ok(Self(text.to_owned())),
        }
    }
}

fn members<T: FromToml>(
    section: &mut Section<'_>,
    key: &'static str,
    example: &str,
    problems: &mut Problems<'_>,
) -> Vec<T> {
    if !section.has(key) {
        // Says that the key is missing.
        section.need::<String>(key, example, problems);
    }
    section.list::<T>(key, problems).unwrap_or_default().into_iter().map(|at| at.value).collect()
}

fn neighbor_set(section: &mut Section<'_>, problems: &mut Problems<'_>) -> NeighborSet {
    let addresses = section.list::<Addresses>("addresses", problems).unwrap_or_default();
    let asns = section.list::<Asn>("asns", problems).unwrap_or_default();
    if !section.has("addresses") && !section.has("asns") {
        let help = "add addresses = [\"192.0.2.0/24\"] or asns = [65001]";
        problems.error(section.span.clone(), "this [[neighbor-set]] has neither addresses nor asns", help);
    }
    NeighborSet {
        addresses: addresses.into_iter().map(|at| at.value.0).collect(),
        asns: asns.into_iter().map(|at| at.value.0).collect(),
    }
}

/// Says which of some names of policies do not exist.
pub(super) fn check_names(names: &[At<String>], key: &str, policies: &Definitions, problems: &mut Problems<'_>) {
    let all = || policies.policies.keys().chain(policies.filters.keys());
    let known = || all().map(String::as_str).chain([ACCEPT_ALL, REJECT_ALL]);
    for At { value, span } in names.iter().filter(|name| !known().any(|known| known == name.value)) {
        let known: Vec<&str> = known().collect();
        let help = match nearest(value, known.iter().copied()) {
            Some(near) => format!("did you mean \"{near}\"?"),
            None => format!("add [[policy]] with name = \"{value}\", or write \"{ACCEPT_ALL}\" or \"{REJECT_ALL}\""),
        };
        problems.error(span.clone(), format!("{key}: \"{value}\" is not a policy"), help);
    }
}
