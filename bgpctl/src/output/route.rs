//! Routes.

use std::cmp::Ordering;
use std::net::{IpAddr, Ipv4Addr};

use bgpd_proto::v1;
use serde::Serialize;

use super::table::{Align, Table};
use super::{family_name, some, span};

/// A route for programs.
#[derive(Serialize)]
pub(crate) struct Json<'a> {
    prefix: &'a str,
    family: String,
    path_id: u32,
    best: bool,
    #[serde(flatten)]
    attributes: JsonAttributes<'a>,
    from: Option<&'a str>,
    from_router_id: &'a str,
    age_seconds: Option<u32>,
    reason: Option<&'a str>,
    rejected: Option<&'a str>,
    stale: bool,
    validation: Option<&'a str>,
}

/// Attributes for programs.
#[derive(Serialize)]
pub(crate) struct JsonAttributes<'a> {
    next_hop: &'a str,
    next_hop_link_local: Option<&'a str>,
    as_path: &'a str,
    origin: &'static str,
    local_pref: Option<u32>,
    med: Option<u32>,
    communities: &'a [String],
    large_communities: &'a [String],
    extended_communities: &'a [String],
    originator_id: Option<&'a str>,
    cluster_list: &'a [String],
    atomic_aggregate: bool,
    aggregator: Option<String>,
    aigp: Option<u64>,
    only_to_customer: Option<u32>,
    weight: u32,
    other_attributes: Vec<Other>,
}

#[derive(Serialize)]
struct Other {
    flags: u32,
    code: u32,
    value: String,
}

/// The attributes; a server always sends them.
fn attributes(route: &v1::Route) -> &v1::Attributes {
    static NONE: std::sync::LazyLock<v1::Attributes> = std::sync::LazyLock::new(v1::Attributes::default);
    route.attributes.as_ref().unwrap_or(&NONE)
}

pub(crate) fn json(route: &v1::Route) -> Json<'_> {
    Json {
        prefix: &route.prefix,
        family: family_name(route.family),
        path_id: route.path_id,
        best: route.best,
        attributes: json_attributes(attributes(route)),
        from: some(&route.from),
        from_router_id: &route.from_router_id,
        age_seconds: route.age_seconds,
        reason: some(&route.reason),
        rejected: some(&route.rejected),
        stale: route.stale,
        validation: some(&route.validation),
    }
}

pub(crate) fn json_attributes(attributes: &v1::Attributes) -> JsonAttributes<'_> {
    let hex = |value: &[u8]| value.iter().map(|octet| format!("{octet:02x}")).collect();
    let others = attributes.others.iter();
    JsonAttributes {
        next_hop: &attributes.next_hop,
        next_hop_link_local: some(&attributes.next_hop_link_local),
        as_path: &attributes.as_path,
        origin: origin(attributes).0,
        local_pref: attributes.local_pref,
        med: attributes.med,
        communities: &attributes.communities,
        large_communities: &attributes.large_communities,
        extended_communities: &attributes.extended_communities,
        originator_id: some(&attributes.originator_id),
        cluster_list: &attributes.cluster_list,
        atomic_aggregate: attributes.atomic_aggregate,
        aggregator: attributes.aggregator.as_ref().map(|a| format!("AS {} {}", a.asn, a.address)),
        aigp: attributes.aigp,
        only_to_customer: attributes.only_to_customer,
        weight: attributes.weight,
        other_attributes: others
            .map(|other| Other { flags: other.flags, code: other.code, value: hex(&other.value) })
            .collect(),
    }
}

/// Attributes for people, each with its name; what a route does not have is not there.
pub(super) fn named(attributes: &v1::Attributes) -> Vec<(&'static str, String)> {
    let number = |value: Option<u32>| value.map(|value| value.to_string()).unwrap_or_default();
    let communities = attributes.communities.iter().chain(&attributes.large_communities);
    let communities: Vec<&str> = communities.chain(&attributes.extended_communities).map(String::as_str).collect();
    let mut named = vec![
        ("next hop", next_hop(attributes)),
        ("AS path", attributes.as_path.clone()),
        ("origin", origin(attributes).0.to_owned()),
        ("local-pref", number(attributes.local_pref)),
        ("MED", number(attributes.med)),
        ("communities", communities.join(" ")),
        ("weight", number(Some(attributes.weight).filter(|weight| *weight != 0))),
        ("OTC", number(attributes.only_to_customer)),
    ];
    named.retain(|(_, value)| !value.is_empty());
    named
}

/// The origin's name, and its letter behind an AS path.
fn origin(attributes: &v1::Attributes) -> (&'static str, char) {
    match attributes.origin() {
        v1::Origin::Igp => ("igp", 'i'),
        v1::Origin::Egp => ("egp", 'e'),
        v1::Origin::Incomplete | v1::Origin::Unspecified => ("incomplete", '?'),
    }
}

/// By prefix as numbers, the best path first.
pub(crate) fn sort(routes: &mut [v1::Route]) {
    routes.sort_by_cached_key(|route| {
        let (address, len) = route.prefix.split_once('/').unwrap_or((&route.prefix, ""));
        // A server sends prefixes; anything else would sort first.
        let address = address.parse().unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        let len: u8 = len.parse().unwrap_or(0);
        let best = if route.best { Ordering::Less } else { Ordering::Greater };
        (address, len, best, route.from.parse::<IpAddr>().ok(), route.path_id)
    });
}

/// AS path and origin as operators write them: `65001 65002 i`.
fn path(attributes: &v1::Attributes) -> String {
    let (_, letter) = origin(attributes);
    match attributes.as_path.as_str() {
        "" => letter.to_string(),
        path => format!("{path} {letter}"),
    }
}

fn number(value: Option<u32>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}

/// What does not have a column of its own.
fn rest(route: &v1::Route) -> String {
    let attributes = attributes(route);
    let mut parts = Vec::new();
    let communities = attributes.communities.iter().chain(&attributes.large_communities);
    parts.extend(communities.chain(&attributes.extended_communities).cloned());
    if attributes.weight != 0 {
        parts.push(format!("weight {}", attributes.weight));
    }
    if route.path_id != 0 {
        parts.push(format!("path-id {}", route.path_id));
    }
    if let Some(rejected) = some(&route.rejected) {
        parts.push(format!("({rejected})"));
    }
    parts.join(" ")
}

fn marks(route: &v1::Route) -> &'static str {
    match (route.rejected.is_empty(), route.best, route.stale) {
        (false, _, false) => "x",
        (false, _, true) => "x s",
        (true, true, false) => "*>",
        (true, true, true) => "*>s",
        (true, false, false) => "*",
        (true, false, true) => "* s",
    }
}

/// The next hop; unspecified stands for each session's own address.
fn next_hop(attributes: &v1::Attributes) -> String {
    match attributes.next_hop.as_str() {
        "0.0.0.0" | "::" => "self".to_owned(),
        address => address.to_owned(),
    }
}

fn from(route: &v1::Route) -> String {
    some(&route.from).unwrap_or("local").to_owned()
}

/// Column of the communities; what the RPKI says stands before it, where it says anything.
const COMMUNITIES: usize = 8;

pub(crate) fn table(routes: &[v1::Route]) -> String {
    use Align::{Left, Right};
    if routes.is_empty() {
        return "no routes\n".to_owned();
    }
    let validated = routes.iter().any(|route| !route.validation.is_empty());
    let mut columns = vec![
        ("", Left),
        ("Prefix", Left),
        ("Next hop", Left),
        ("From", Left),
        ("LocPref", Right),
        ("MED", Right),
        ("Age", Right),
        ("AS path", Left),
        ("Communities", Left),
    ];
    if validated {
        columns.insert(COMMUNITIES, ("RPKI", Left));
    }
    let mut table = Table::new(&columns);
    for route in routes {
        let attributes = attributes(route);
        let mut row = vec![
            marks(route).to_owned(),
            route.prefix.clone(),
            next_hop(attributes),
            from(route),
            number(attributes.local_pref),
            number(attributes.med),
            route.age_seconds.map(|age| span(age.into())).unwrap_or_default(),
            path(attributes),
            rest(route),
        ];
        if validated {
            row.insert(COMMUNITIES, route.validation.clone());
        }
        table.row(row);
    }
    table.text() + "\n* usable, > best, x not usable, s stale; i IGP, e EGP, ? incomplete\n"
}

/// A route on one line.
pub(crate) fn line(route: &v1::Route) -> String {
    let attributes = attributes(route);
    let rest = rest(route);
    let line = format!("{} via {} from {} {}", route.prefix, next_hop(attributes), from(route), path(attributes));
    let rpki = some(&route.validation).map(|state| format!("RPKI {state}")).unwrap_or_default();
    [line, rpki, rest].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
}
