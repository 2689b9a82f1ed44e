//! Policies and sets as they are configured.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

use bgp_wire::Family;
use bgp_wire::attribute::Origin;
use ipnet::IpNet;

use super::FilterProgram;
use super::community::{AnyCommunity, CommunityPattern, CommunitySet};
use super::rpki::RpkiState;
use super::{AsPathPattern, PrefixSet};
use crate::id::SourceKind;

/// Everything that policies are made of, by name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Definitions {
    /// Prefix sets.
    pub prefix_sets: BTreeMap<String, Arc<PrefixSet>>,
    /// AS-path sets: a path is in a set if one of its expressions matches.
    pub as_path_sets: BTreeMap<String, Arc<Vec<AsPathPattern>>>,
    /// Community sets.
    pub community_sets: BTreeMap<String, Arc<CommunitySet>>,
    /// Neighbor sets.
    pub neighbor_sets: BTreeMap<String, Arc<NeighborSet>>,
    /// Policies.
    pub policies: BTreeMap<String, PolicyDefinition>,
    /// Programs that stand beside policies, under names of their own.
    pub filters: BTreeMap<String, FilterProgram>,
}

impl Definitions {
    /// Names of the policies that are new, gone or other than in `before`, also through a set that they name.
    #[must_use]
    pub fn changed(&self, before: &Self) -> BTreeSet<String> {
        let names = self.policies.keys().chain(before.policies.keys());
        let changed = names.filter(|name| self.parts(name) != before.parts(name));
        let filters = self.filters.keys().chain(before.filters.keys());
        let filters = filters.filter(|name| self.filters.get(*name) != before.filters.get(*name));
        changed.chain(filters).cloned().collect()
    }

    /// A name that both have for the same kind of thing; policies and filters share theirs.
    #[must_use]
    pub fn shared_name(&self, other: &Self) -> Option<String> {
        fn first<A, B>(noun: &str, one: &BTreeMap<String, A>, other: &BTreeMap<String, B>) -> Option<String> {
            one.keys().find(|name| other.contains_key(*name)).map(|name| format!("{noun} \"{name}\""))
        }
        first("policy", &self.policies, &other.policies)
            .or_else(|| first("policy", &self.policies, &other.filters))
            .or_else(|| first("filter", &self.filters, &other.policies))
            .or_else(|| first("filter", &self.filters, &other.filters))
            .or_else(|| first("prefix set", &self.prefix_sets, &other.prefix_sets))
            .or_else(|| first("AS-path set", &self.as_path_sets, &other.as_path_sets))
            .or_else(|| first("community set", &self.community_sets, &other.community_sets))
            .or_else(|| first("neighbor set", &self.neighbor_sets, &other.neighbor_sets))
    }

    /// Adds all that another one has.
    pub fn extend(&mut self, other: Self) {
        let Self { prefix_sets, as_path_sets, community_sets, neighbor_sets, policies, filters } = other;
        self.prefix_sets.extend(prefix_sets);
        self.as_path_sets.extend(as_path_sets);
        self.community_sets.extend(community_sets);
        self.neighbor_sets.extend(neighbor_sets);
        self.policies.extend(policies);
        self.filters.extend(filters);
    }

    /// A policy and the sets that it names.
    fn parts(&self, name: &str) -> Option<(&PolicyDefinition, Self)> {
        let policy = self.policies.get(name)?;
        let mut used = Self::default();
        for condition in policy.statements.iter().flat_map(|statement| &statement.conditions) {
            match condition {
                Condition::PrefixSets(names) => copy(names, &self.prefix_sets, &mut used.prefix_sets),
                Condition::AsPathSets(names) => copy(names, &self.as_path_sets, &mut used.as_path_sets),
                Condition::CommunitySets(names) => copy(names, &self.community_sets, &mut used.community_sets),
                Condition::NeighborSets(names) => copy(names, &self.neighbor_sets, &mut used.neighbor_sets),
                _ => {}
            }
        }
        Some((policy, used))
    }
}

fn copy<T>(names: &[SetName], from: &BTreeMap<String, Arc<T>>, to: &mut BTreeMap<String, Arc<T>>) {
    for SetName { name, .. } in names {
        to.extend(from.get(name).map(|set| (name.clone(), Arc::clone(set))));
    }
}

/// Neighbors that a route can come from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NeighborSet {
    /// By address.
    pub addresses: Vec<IpNet>,
    /// By AS number.
    pub asns: Vec<u32>,
}

/// A policy: statements in order, and what becomes of a route that none of them decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyDefinition {
    /// The statements.
    pub statements: Vec<Statement>,
    /// What becomes of the rest; `Next` leaves it to the next policy.
    pub default: Outcome,
}

/// A statement: if all conditions hold, the actions are done, and then the outcome is as it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// What it is called in explanations.
    pub name: String,
    /// When it applies: all of these.
    pub conditions: Vec<Condition>,
    /// What it changes, in order.
    pub actions: Vec<Action>,
    /// What becomes of the route.
    pub then: Outcome,
}

/// What becomes of a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It passes.
    Accept,
    /// It does not.
    Reject,
    /// The next statement or policy decides.
    Next,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Accept => "accept",
            Self::Reject => "reject",
            Self::Next => "next",
        })
    }
}

/// The name of a set in a condition, `!` before it where routes are meant that are not in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetName {
    /// The name.
    pub name: String,
    /// Not in it.
    pub negated: bool,
}

impl From<&str> for SetName {
    fn from(text: &str) -> Self {
        let name = text.strip_prefix('!');
        Self { name: name.unwrap_or(text).to_owned(), negated: name.is_some() }
    }
}

impl fmt::Display for SetName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", if self.negated { "!" } else { "" }, self.name)
    }
}

/// How a route came to this speaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RouteType {
    /// Originated here.
    Local,
    /// Over eBGP.
    External,
    /// Over iBGP.
    Internal,
    /// Over iBGP from a client (RFC 4456).
    Client,
    /// Over iBGP from another than a client.
    NonClient,
}

impl RouteType {
    /// All of them, with the words for them.
    pub const NAMES: [(&'static str, Self); 5] = [
        ("local", Self::Local),
        ("external", Self::External),
        ("internal", Self::Internal),
        ("client", Self::Client),
        ("non-client", Self::NonClient),
    ];

    pub(super) fn holds(self, kind: SourceKind) -> bool {
        match self {
            Self::Local => kind == SourceKind::Local,
            Self::External => kind == SourceKind::External,
            Self::Internal => matches!(kind, SourceKind::Client | SourceKind::NonClient),
            Self::Client => kind == SourceKind::Client,
            Self::NonClient => kind == SourceKind::NonClient,
        }
    }
}

/// Numbers from one to another, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    least: u32,
    most: u32,
}

/// The text does not name numbers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is neither a number nor a range, expected 100, \"100-200\", \">=100\" or \"<=100\"")]
pub struct InvalidBounds(String);

impl Bounds {
    /// From `least` to `most`.
    #[must_use]
    pub const fn new(least: u32, most: u32) -> Self {
        Self { least, most }
    }

    pub(super) fn holds(self, number: u32) -> bool {
        self.least <= number && number <= self.most
    }
}

impl FromStr for Bounds {
    type Err = InvalidBounds;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = |text: &str| text.trim().parse::<u32>().ok();
        let bounds = if let Some(least) = text.strip_prefix(">=") {
            number(least).map(|least| (least, u32::MAX))
        } else if let Some(most) = text.strip_prefix("<=") {
            number(most).map(|most| (0, most))
        } else if let Some((least, most)) = text.split_once('-') {
            number(least).zip(number(most))
        } else {
            number(text).map(|number| (number, number))
        };
        let bounds = bounds.filter(|(least, most)| least <= most);
        bounds.map(|(least, most)| Self { least, most }).ok_or_else(|| InvalidBounds(text.to_owned()))
    }
}

impl fmt::Display for Bounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.least, self.most) {
            (least, most) if least == most => write!(f, "{least}"),
            (least, u32::MAX) => write!(f, ">={least}"),
            (0, most) => write!(f, "<={most}"),
            (least, most) => write!(f, "{least}-{most}"),
        }
    }
}

/// What must hold of a route. Of several values one is enough.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// Its prefix is in a set.
    PrefixSets(Vec<SetName>),
    /// Its AS path is in a set.
    AsPathSets(Vec<SetName>),
    /// It has communities of a set.
    CommunitySets(Vec<SetName>),
    /// It came from a neighbor of a set.
    NeighborSets(Vec<SetName>),
    /// It came from a neighbor with such an address.
    ReceivedFrom(Vec<IpNet>),
    /// Its next hop is within these.
    NextHop(Vec<IpNet>),
    /// Its ORIGIN.
    Origin(Vec<Origin>),
    /// Its LOCAL_PREF; 100 where it has none.
    LocalPref(Bounds),
    /// Its MULTI_EXIT_DISC; 0 where it has none, as in the decision process.
    Med(Bounds),
    /// The length of its AS_PATH as the decision process counts it.
    AsPathLength(Bounds),
    /// Its family.
    Family(Vec<Family>),
    /// The state of its origin (RFC 6811).
    Rpki(Vec<RpkiState>),
    /// How it came.
    RouteType(Vec<RouteType>),
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PrefixSets(names) => list(f, "prefix-sets", names),
            Self::AsPathSets(names) => list(f, "as-path-sets", names),
            Self::CommunitySets(names) => list(f, "community-sets", names),
            Self::NeighborSets(names) => list(f, "neighbor-sets", names),
            Self::ReceivedFrom(prefixes) => list(f, "received-from", prefixes),
            Self::NextHop(prefixes) => list(f, "next-hop", prefixes),
            Self::Origin(origins) => list(f, "origin", origins),
            Self::LocalPref(bounds) => write!(f, "local-pref {bounds}"),
            Self::Med(bounds) => write!(f, "med {bounds}"),
            Self::AsPathLength(bounds) => write!(f, "as-path-length {bounds}"),
            Self::Family(families) => list(f, "family", families),
            Self::Rpki(states) => list(f, "rpki", states),
            Self::RouteType(types) => {
                let word =
                    |of: &RouteType| RouteType::NAMES.iter().find(|(_, one)| one == of).map_or("", |(word, _)| word);
                list(f, "route-type", &types.iter().map(word).collect::<Vec<_>>())
            }
        }
    }
}

fn list<T: fmt::Display>(f: &mut fmt::Formatter<'_>, what: &str, values: &[T]) -> fmt::Result {
    f.write_str(what)?;
    values.iter().enumerate().try_for_each(|(at, value)| write!(f, "{}{value}", if at == 0 { " " } else { ", " }))
}

/// A number that is set, or changed. Sums end at 0 and at 4294967295.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Amount {
    /// Becomes this.
    Set(u32),
    /// Grows by this.
    Add(u32),
    /// Shrinks by this.
    Subtract(u32),
}

impl Amount {
    pub(super) fn of(self, old: u32) -> u32 {
        match self {
            Self::Set(value) => value,
            Self::Add(more) => old.saturating_add(more),
            Self::Subtract(less) => old.saturating_sub(less),
        }
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Set(value) => write!(f, "{value}"),
            Self::Add(more) => write!(f, "+{more}"),
            Self::Subtract(less) => write!(f, "-{less}"),
        }
    }
}

/// A next hop that a policy sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NewNextHop {
    /// Each session's own address.
    Own,
    /// The address of the neighbor that the route came from.
    Peer,
    /// This one. Routes whose family cannot have it keep theirs.
    Address(IpAddr),
}

/// A change of a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// LOCAL_PREF, counted from 100 where there is none.
    LocalPref(Amount),
    /// MULTI_EXIT_DISC, counted from 0 where there is none.
    Med(Amount),
    /// MULTI_EXIT_DISC becomes the accumulated IGP metric (RFC 7311); stays as it is where the route has none.
    MedIgp,
    /// No MULTI_EXIT_DISC.
    NoMed,
    /// The weight.
    Weight(u16),
    /// ORIGIN.
    Origin(Origin),
    /// The next hop.
    NextHop(NewNextHop),
    /// These go in front of the AS path, the first being the first.
    Prepend(Vec<u32>),
    /// Adds communities.
    AddCommunities(Vec<AnyCommunity>),
    /// Removes those that match.
    RemoveCommunities(Vec<CommunityPattern>),
    /// All communities of all kinds go, and these come.
    ReplaceCommunities(Vec<AnyCommunity>),
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LocalPref(amount) => write!(f, "local-pref {amount}"),
            Self::Med(amount) => write!(f, "med {amount}"),
            Self::MedIgp => f.write_str("med igp"),
            Self::NoMed => f.write_str("med none"),
            Self::Weight(weight) => write!(f, "weight {weight}"),
            Self::Origin(origin) => write!(f, "origin {origin}"),
            Self::NextHop(NewNextHop::Own) => f.write_str("next-hop self"),
            Self::NextHop(NewNextHop::Peer) => f.write_str("next-hop peer"),
            Self::NextHop(NewNextHop::Address(address)) => write!(f, "next-hop {address}"),
            Self::Prepend(asns) => list(f, "prepend", asns),
            Self::AddCommunities(communities) => list(f, "add-communities", communities),
            Self::RemoveCommunities(patterns) => list(f, "remove-communities", patterns),
            Self::ReplaceCommunities(communities) => list(f, "replace-communities", communities),
        }
    }
}
