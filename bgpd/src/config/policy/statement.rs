//! `[[policy.statement]]`: `match`, `set` and `then`.

use std::net::IpAddr;

use bgp_engine::policy::{
    Action, Amount, AnyCommunity, Bounds, CommunityPattern, Condition, Definitions, NewNextHop, Outcome, RouteType,
    RpkiState, SetName, Statement,
};
use bgp_wire::Family;
use bgp_wire::attribute::Origin;
use ipnet::IpNet;
use toml::de::DeValue;

use super::{Addresses, OutcomeWord, parsed};
use crate::config::diagnosis::Problems;
use crate::config::reader::{Section, article, nearest};
use crate::config::value::{Asn, FromToml, HostAddress, Wrong, bounded, integer, named, text, wrong};

/// Most AS numbers that one statement prepends.
const PREPEND_MAX: usize = 32;

pub(super) fn read(
    sections: Vec<Section<'_>>,
    definitions: &Definitions,
    problems: &mut Problems<'_>,
) -> Vec<Statement> {
    let mut statements: Vec<Statement> = Vec::new();
    for (at, mut section) in sections.into_iter().enumerate() {
        let name = section.get::<String>("name", problems);
        let matches = section.table("match", problems);
        let sets = section.table("set", problems);
        let then = section.value::<OutcomeWord>("then", problems).map_or(Outcome::Next, |word| word.0);
        section.finish(problems);
        if let Some(name) = &name
            && statements.iter().any(|other| other.name == name.value)
        {
            let message = format!("statement \"{}\" is there twice in this policy", name.value);
            problems.error(name.span.clone(), message, "give one of the two another name");
        }
        statements.push(Statement {
            name: name.map_or_else(|| (at + 1).to_string(), |name| name.value),
            conditions: matches.map(|section| conditions(section, definitions, problems)).unwrap_or_default(),
            actions: sets.map(|section| actions(section, problems)).unwrap_or_default(),
            then,
        });
    }
    statements
}

fn conditions(mut section: Section<'_>, definitions: &Definitions, problems: &mut Problems<'_>) -> Vec<Condition> {
    let Definitions { prefix_sets, as_path_sets, community_sets, neighbor_sets, policies: _, filters: _ } = definitions;
    let section = &mut section;
    let mut all = Vec::new();
    let prefixes = set_names(section, "prefix-sets", "prefix-set", prefix_sets.keys(), problems);
    all.extend(prefixes.map(Condition::PrefixSets));
    let paths = set_names(section, "as-path-sets", "as-path-set", as_path_sets.keys(), problems);
    all.extend(paths.map(Condition::AsPathSets));
    let communities = set_names(section, "community-sets", "community-set", community_sets.keys(), problems);
    all.extend(communities.map(Condition::CommunitySets));
    let neighbors = set_names(section, "neighbor-sets", "neighbor-set", neighbor_sets.keys(), problems);
    all.extend(neighbors.map(Condition::NeighborSets));
    all.extend(any_of::<Addresses, _>(section, "received-from", |one| one.0, problems).map(Condition::ReceivedFrom));
    all.extend(any_of::<Addresses, _>(section, "next-hop", |one| one.0, problems).map(Condition::NextHop));
    all.extend(any_of::<OriginWord, _>(section, "origin", |one| one.0, problems).map(Condition::Origin));
    all.extend(section.value::<Bounds>("local-pref", problems).map(Condition::LocalPref));
    all.extend(section.value::<Bounds>("med", problems).map(Condition::Med));
    all.extend(section.value::<Bounds>("as-path-length", problems).map(Condition::AsPathLength));
    all.extend(any_of::<Family, _>(section, "family", |one| one, problems).map(Condition::Family));
    all.extend(any_of::<RpkiWord, _>(section, "rpki", |one| one.0, problems).map(Condition::Rpki));
    all.extend(any_of::<TypeWord, _>(section, "route-type", |one| one.0, problems).map(Condition::RouteType));
    section.report_unknown(problems);
    all
}

/// A list of which one is enough; an empty one would never hold.
fn any_of<T: FromToml, V>(
    section: &mut Section<'_>,
    key: &'static str,
    value: impl Fn(T) -> V,
    problems: &mut Problems<'_>,
) -> Option<Vec<V>> {
    let listed = section.list::<T>(key, problems)?;
    if listed.is_empty() {
        let help = format!("name at least one, or leave {key} out");
        problems.error(section.place(&[key]), format!("{key}: an empty list matches no route"), help);
    }
    Some(listed.into_iter().map(|at| value(at.value)).collect())
}

fn set_names<'n>(
    section: &mut Section<'_>,
    key: &'static str,
    heading: &str,
    known: impl Iterator<Item = &'n String> + Clone,
    problems: &mut Problems<'_>,
) -> Option<Vec<SetName>> {
    let listed = section.list::<String>(key, problems)?;
    if listed.is_empty() {
        let help = format!("name at least one, or leave {key} out");
        problems.error(section.place(&[key]), format!("{key}: an empty list matches no route"), help);
    }
    let names = listed.iter().map(|at| (at, SetName::from(at.value.as_str())));
    for (at, SetName { name, .. }) in names.clone().filter(|(_, name)| !known.clone().any(|known| *known == name.name))
    {
        let help = match nearest(&name, known.clone().map(String::as_str)) {
            Some(near) => format!("did you mean \"{near}\"?"),
            None => format!("add [[{heading}]] with name = \"{name}\""),
        };
        problems.error(at.span.clone(), format!("{key}: there is no [[{heading}]] \"{name}\""), help);
    }
    Some(names.map(|(_, name)| name).collect())
}

fn actions(mut section: Section<'_>, problems: &mut Problems<'_>) -> Vec<Action> {
    let section = &mut section;
    let mut all = Vec::new();
    all.extend(section.value::<AmountValue>("local-pref", problems).map(|amount| Action::LocalPref(amount.0)));
    all.extend(section.value::<MedValue>("med", problems).map(|med| med.0));
    all.extend(section.value::<WeightValue>("weight", problems).map(|weight| Action::Weight(weight.0)));
    all.extend(section.value::<OriginWord>("origin", problems).map(|origin| Action::Origin(origin.0)));
    all.extend(section.value::<NextHopValue>("next-hop", problems).map(|next_hop| Action::NextHop(next_hop.0)));
    all.extend(prepend(section, problems));
    let replaced = values::<AnyCommunity>(section, "replace-communities", problems);
    all.extend(replaced.map(Action::ReplaceCommunities));
    let removed = values::<CommunityPattern>(section, "remove-communities", problems);
    all.extend(removed.map(Action::RemoveCommunities));
    let added = values::<AnyCommunity>(section, "add-communities", problems);
    all.extend(added.map(Action::AddCommunities));
    section.report_unknown(problems);
    all
}

fn values<T: FromToml>(section: &mut Section<'_>, key: &'static str, problems: &mut Problems<'_>) -> Option<Vec<T>> {
    Some(section.list::<T>(key, problems)?.into_iter().map(|at| at.value).collect())
}

fn prepend(section: &mut Section<'_>, problems: &mut Problems<'_>) -> Option<Action> {
    let asns = values::<Asn>(section, "prepend", problems)?;
    if asns.is_empty() || asns.len() > PREPEND_MAX {
        let message = format!("prepend: expected 1 to {PREPEND_MAX} AS numbers, found {}", asns.len());
        problems.error(section.place(&["prepend"]), message, "write prepend = [65000, 65000]");
    }
    Some(Action::Prepend(asns.into_iter().map(|asn| asn.0).collect()))
}

impl FromToml for AnyCommunity {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, Wrong> {
        parsed(value, "65000:100")
    }
}

/// A number as it is, or `>=100`, `<=100`, `100-200`.
impl FromToml for Bounds {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, Wrong> {
        if value.as_integer().is_some() {
            let number = u32::from_toml(value)?;
            return Ok(Self::new(number, number));
        }
        match value.as_str() {
            Some(_) => parsed(value, "100-200"),
            None => {
                let found = article(value.type_str());
                wrong(
                    format!("expected a number or a range, found {found}"),
                    "write 100, \"100-200\", \">=100\" or \"<=100\"",
                )
            }
        }
    }
}

/// `200`, `"+10"`, `"-10"`.
struct AmountValue(Amount);

fn amount(value: &DeValue<'_>, also: &str) -> Result<Amount, Wrong> {
    if value.as_integer().is_some() {
        return match integer(value)? {
            Some(number) if number < 0 => {
                wrong(format!("{number} is out of range"), format!("write \"{number}\" in quotes to subtract"))
            }
            _ => u32::from_toml(value).map(Amount::Set),
        };
    }
    let text = text(value, "+10")?;
    let change = |sign: char| text.strip_prefix(sign).and_then(|rest| rest.parse::<u32>().ok());
    match (change('+'), change('-')) {
        (Some(more), _) => Ok(Amount::Add(more)),
        (_, Some(less)) => Ok(Amount::Subtract(less)),
        _ => wrong(
            format!("\"{text}\" is neither a number nor a change of one"),
            format!("write 200, \"+10\", \"-10\"{also}"),
        ),
    }
}

impl FromToml for AmountValue {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, Wrong> {
        amount(value, "").map(Self)
    }
}

/// As an amount, or `"igp"`, or `"none"`.
struct MedValue(Action);

impl FromToml for MedValue {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, Wrong> {
        Ok(Self(match value.as_str() {
            Some("igp") => Action::MedIgp,
            Some("none") => Action::NoMed,
            _ => Action::Med(amount(value, ", \"igp\", \"none\"")?),
        }))
    }
}

/// A weight.
struct WeightValue(u16);

impl FromToml for WeightValue {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, Wrong> {
        bounded(value, 0, u16::MAX).map(Self)
    }
}

/// `igp`, `egp`, `incomplete`.
struct OriginWord(Origin);

impl FromToml for OriginWord {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, Wrong> {
        let words = [("igp", Origin::Igp), ("egp", Origin::Egp), ("incomplete", Origin::Incomplete)];
        word(value, &words, "origin").map(Self)
    }
}

/// `valid`, `invalid`, `not-found`.
struct RpkiWord(RpkiState);

impl FromToml for RpkiWord {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, Wrong> {
        word(value, &RpkiState::NAMES, "state of origin validation").map(Self)
    }
}

/// How a route came.
struct TypeWord(RouteType);

impl FromToml for TypeWord {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, Wrong> {
        word(value, &RouteType::NAMES, "route type").map(Self)
    }
}

/// One of some words, and what it stands for.
fn word<T: Copy>(value: &DeValue<'_>, words: &[(&'static str, T)], what: &str) -> Result<T, Wrong> {
    let text = text(value, words.first().map_or("", |(word, _)| word))?;
    let names: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
    named(text, &names, what)?;
    match words.iter().find(|(word, _)| *word == text) {
        Some((_, meaning)) => Ok(*meaning),
        None => wrong(format!("\"{text}\" is not {}", article(what)), "write one of the words"),
    }
}

/// An address, `self`, `peer`.
struct NextHopValue(NewNextHop);

impl FromToml for NextHopValue {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, Wrong> {
        Ok(Self(match value.as_str() {
            Some("self") => NewNextHop::Own,
            Some("peer") => NewNextHop::Peer,
            Some(text) if text.parse::<IpAddr>().is_err() && text.parse::<IpNet>().is_err() => {
                return wrong(format!("\"{text}\" is not a next hop"), "write an address, \"self\" or \"peer\"");
            }
            _ => NewNextHop::Address(HostAddress::from_toml(value)?.0),
        }))
    }
}
