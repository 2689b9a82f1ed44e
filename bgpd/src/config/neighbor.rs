//! `[[peer-group]]`, `[[neighbor]]` and `[[dynamic-neighbors]]`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::IpAddr;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bgp_engine::config::{
    AddPath, Desired, DynamicNeighbors, Global, GracefulRestart, Neighbor, NeighborSettings, PrefixLimits, Secret,
    signed_range,
};
use bgp_engine::policy::Definitions;
use bgp_wire::Family;
use ipnet::IpNet;
use toml::de::DeValue;

use super::diagnosis::Problems;
use super::policy::check_names;
use super::reader::{At, Section, nearest};
use super::value::{Asn, FromToml, HoldTime, Hops, HostAddress, Port, Seconds, Shutdown, Wrong, named};
use super::{Named, graceful, prefix_limit, tcp_ao};

/// TCP port of BGP.
const PORT: u16 = 179;
/// Longest TCP-MD5 key (RFC 2385, `TCP_MD5SIG_MAXKEYLEN`).
const KEY_MAX: usize = 80;

/// Settings of a neighbor of which nothing is said. The AS number is none: it must come from somewhere.
#[must_use]
pub fn default_settings() -> NeighborSettings {
    NeighborSettings {
        remote_asn: 0,
        local_asn: None,
        route_reflector_client: false,
        families: vec![Family::IPV4_UNICAST],
        hold_seconds: 90,
        idle_hold: Duration::from_secs(5),
        connect_retry: Duration::from_secs(5),
        local_address: None,
        passive: false,
        md5_password: None,
        ao_keys: Vec::new(),
        ttl_security: false,
        ebgp_multihop: None,
        next_hop_self: false,
        add_path: AddPath::default(),
        extended_messages: true,
        extended_next_hop: false,
        role: None,
        role_strict: false,
        reject_as_sets: None,
        graceful_restart: GracefulRestart::default(),
        prefix_limits: PrefixLimits::default(),
        import_policy: None,
        export_policy: None,
        graceful_shutdown: false,
        shutdown: None,
    }
}

/// Settings of a neighbor that has none of its own and no peer group.
#[must_use]
pub fn base_settings(global: &Global) -> NeighborSettings {
    let Global { import_policy, export_policy, .. } = global;
    NeighborSettings {
        import_policy: import_policy.clone(),
        export_policy: export_policy.clone(),
        ..default_settings()
    }
}

/// `add-path`.
struct AddPathValue(AddPath);

impl FromToml for AddPathValue {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, Wrong> {
        let text = String::from_toml(value)?;
        named(&text, &["receive", "send", "both", "none"], "direction for add-path")?;
        let is = |words: [&str; 2]| words.contains(&text.as_str());
        Ok(Self(AddPath { receive: is(["receive", "both"]), send: is(["send", "both"]) }))
    }
}

/// The peer groups of the document.
pub(super) struct Groups {
    settings: BTreeMap<String, NeighborSettings>,
    /// Those whose AS number is there but wrong: it is not missed as well.
    unsure: BTreeSet<String>,
    /// Settings without a group.
    base: NeighborSettings,
    policies: Arc<Definitions>,
}

impl Groups {
    pub(super) fn read(
        sections: Vec<Section<'_>>,
        base: &NeighborSettings,
        policies: Arc<Definitions>,
        asn: Option<u32>,
        problems: &mut Problems<'_>,
    ) -> Self {
        let (mut groups, mut unsure) = (Named::new("peer group"), BTreeSet::new());
        for mut section in sections {
            let name = section.need::<String>("name", "\"nodes\"", problems);
            let settings = settings(&mut section, base.clone(), &policies, problems);
            check(&section, &settings, None, asn, problems);
            let asn_is_wrong = section.is_wrong(&["remote-asn"]);
            section.finish(problems);
            if let Some(name) = name {
                if asn_is_wrong {
                    unsure.insert(name.value.clone());
                }
                groups.insert(name.value, settings, name.span, problems);
            }
        }
        Self { settings: groups.entries, unsure, base: base.clone(), policies }
    }

    /// Those of a configuration that has been read, with the policies that are in force besides.
    pub(super) fn of(desired: &Desired, policies: &Arc<Definitions>) -> Self {
        Self {
            settings: desired.peer_groups.clone(),
            unsure: BTreeSet::new(),
            base: base_settings(&desired.global),
            policies: Arc::clone(policies),
        }
    }

    pub(super) fn settings(self) -> BTreeMap<String, NeighborSettings> {
        self.settings
    }

    /// The group with a name; that there is none is a problem.
    pub(super) fn find(&self, name: &At<String>, problems: &mut Problems<'_>) -> Option<&NeighborSettings> {
        let found = self.settings.get(&name.value);
        if found.is_none() {
            let help = match nearest(&name.value, self.settings.keys().map(String::as_str)) {
                Some(near) => format!("did you mean \"{near}\"?"),
                None => format!("add [[peer-group]] with name = \"{}\"", name.value),
            };
            problems.error(name.span.clone(), format!("there is no peer group \"{}\"", name.value), help);
        }
        found
    }
}

/// Reads what a peer group and a neighbor have in common, over `base`.
fn settings(
    section: &mut Section<'_>,
    base: NeighborSettings,
    names: &Definitions,
    problems: &mut Problems<'_>,
) -> NeighborSettings {
    let (md5_password, ao_keys) = (password(section, problems), tcp_ao::read(section, problems));
    if md5_password.is_some() && ao_keys.is_some() {
        let help = "remove one of the two: a connection is signed in one way";
        problems.error(section.place(&["ao-key"]), "TCP-MD5 and TCP-AO cannot both be set", help);
    }
    // A key of its own takes the place of those of its group, of whatever kind.
    let own_md5 = md5_password.is_some().then_some(());
    let seconds = |value: Option<Seconds>, or: Duration| value.map_or(or, |s| Duration::from_secs(s.0.into()));
    NeighborSettings {
        remote_asn: section.value::<Asn>("remote-asn", problems).map_or(base.remote_asn, |asn| asn.0),
        local_asn: section.value::<Asn>("local-asn", problems).map(|asn| asn.0).or(base.local_asn),
        route_reflector_client: section
            .value("route-reflector-client", problems)
            .unwrap_or(base.route_reflector_client),
        families: families(section, problems).unwrap_or(base.families),
        hold_seconds: section.value::<HoldTime>("hold-time", problems).map_or(base.hold_seconds, |hold| hold.0),
        idle_hold: seconds(section.value("idle-hold-time", problems), base.idle_hold),
        connect_retry: connect_retry(section, problems).unwrap_or(base.connect_retry),
        local_address: section.value("local-address", problems).map(|HostAddress(ip)| ip).or(base.local_address),
        passive: section.value("passive", problems).unwrap_or(base.passive),
        md5_password: md5_password.or(base.md5_password.filter(|_| ao_keys.is_none())),
        ao_keys: ao_keys.unwrap_or(own_md5.map_or(base.ao_keys, |()| Vec::new())),
        ttl_security: section.value("ttl-security", problems).unwrap_or(base.ttl_security),
        ebgp_multihop: section.value::<Hops>("ebgp-multihop", problems).map(|hops| hops.0).or(base.ebgp_multihop),
        next_hop_self: section.value("next-hop-self", problems).unwrap_or(base.next_hop_self),
        add_path: section.value::<AddPathValue>("add-path", problems).map_or(base.add_path, |value| value.0),
        extended_messages: section.value("extended-messages", problems).unwrap_or(base.extended_messages),
        extended_next_hop: section.value("extended-next-hop", problems).unwrap_or(base.extended_next_hop),
        role: section.value("role", problems).or(base.role),
        role_strict: section.value("role-strict", problems).unwrap_or(base.role_strict),
        reject_as_sets: section.value("reject-as-sets", problems).or(base.reject_as_sets),
        graceful_restart: graceful::read(section, base.graceful_restart, problems),
        prefix_limits: prefix_limit::read(section, base.prefix_limits, problems),
        import_policy: policies(section, "import-policy", names, problems).or(base.import_policy),
        export_policy: policies(section, "export-policy", names, problems).or(base.export_policy),
        graceful_shutdown: section.value("graceful-shutdown", problems).unwrap_or(base.graceful_shutdown),
        shutdown: section.value::<Shutdown>("shutdown", problems).map_or(base.shutdown, |shutdown| shutdown.0),
    }
}

pub(super) fn policies(
    section: &mut Section<'_>,
    key: &'static str,
    known: &Definitions,
    problems: &mut Problems<'_>,
) -> Option<Vec<String>> {
    let names = section.list::<String>(key, problems)?;
    check_names(&names, key, known, problems);
    if names.is_empty() {
        let help = format!("write {key} = [\"accept-all\"] or [\"reject-all\"], or leave it out");
        problems.error(section.place(&[key]), format!("{key}: an empty list says neither yes nor no"), help);
    }
    Some(names.into_iter().map(|at| at.value).collect())
}

fn families(section: &mut Section<'_>, problems: &mut Problems<'_>) -> Option<Vec<Family>> {
    let listed = section.list::<Family>("families", problems)?;
    let mut families = Vec::new();
    for family in listed {
        if families.contains(&family.value) {
            problems.error(family.span, format!("families: {} is there twice", family.value), "remove one of the two");
        } else {
            families.push(family.value);
        }
    }
    if families.is_empty() {
        let help = "write families = [\"ipv4-unicast\"], or leave it out";
        problems.error(section.place(&["families"]), "families: a session needs at least one", help);
    }
    Some(families)
}

fn connect_retry(section: &mut Section<'_>, problems: &mut Problems<'_>) -> Option<Duration> {
    let wait = section.get::<Seconds>("connect-retry", problems)?;
    if wait.value.0 == 0 {
        problems.error(wait.span, "connect-retry: 0 would try without a pause", "expected 1 to 3600");
        return None;
    }
    Some(Duration::from_secs(wait.value.0.into()))
}

fn password(section: &mut Section<'_>, problems: &mut Problems<'_>) -> Option<Secret> {
    let password = section.get::<String>("md5-password", problems);
    let file = section.get::<String>("md5-password-file", problems);
    let (key, span) = match (password, file) {
        (Some(_), Some(file)) => {
            problems.error(file.span, "md5-password and md5-password-file cannot both be set", "remove one of the two");
            return None;
        }
        (Some(password), None) => (password.value, password.span),
        (None, Some(file)) => match fs::read_to_string(problems.base.join(&file.value)) {
            Ok(text) => (text.trim_end_matches(['\r', '\n']).to_owned(), file.span),
            Err(error) => {
                let message = format!("md5-password-file: \"{}\": {error}", file.value);
                problems.error(file.span, message, "the name is relative to the directory of this file");
                return None;
            }
        },
        (None, None) => return None,
    };
    if key.is_empty() || key.len() > KEY_MAX {
        let message = format!("a TCP-MD5 key has 1 to {KEY_MAX} octets, this one has {}", key.len());
        problems.error(span, message, "write one that both sides have");
        return None;
    }
    Some(Secret(key))
}

fn is_external(settings: &NeighborSettings, asn: u32) -> bool {
    settings.remote_asn != 0 && settings.is_external(asn)
}

/// Contradictions between settings. Those of the peer group, `base`, are reported there.
fn check(
    section: &Section<'_>,
    settings: &NeighborSettings,
    base: Option<&NeighborSettings>,
    asn: Option<u32>,
    problems: &mut Problems<'_>,
) {
    let is_new = |holds: &dyn Fn(&NeighborSettings) -> bool| holds(settings) && !base.is_some_and(holds);
    let asn = asn.filter(|_| !section.is_wrong(&["remote-asn", "local-asn"]));
    let external = |of: &NeighborSettings| asn.is_some_and(|asn| is_external(of, asn));
    if is_new(&|of| external(of) && of.route_reflector_client) {
        let asn = settings.remote_asn;
        let message =
            format!("route-reflector-client: AS {asn} is another AS, and clients are iBGP peers (RFC 4456 §6)");
        let place = section.place(&["route-reflector-client", "remote-asn"]);
        problems.error(place, message, "remove route-reflector-client, or correct remote-asn");
    }
    if is_new(&|of| asn.is_some() && of.remote_asn != 0 && !external(of) && (of.role.is_some() || of.role_strict)) {
        let message = "roles are for eBGP neighbors (RFC 9234 §4.1), and this AS is the own one";
        problems.error(section.place(&["role", "role-strict"]), message, "remove role and role-strict");
    } else if is_new(&|of| of.role_strict && of.role.is_none()) {
        let message = "role-strict without a role: there is nothing to be strict about";
        problems.error(
            section.place(&["role-strict"]),
            message,
            "add role = \"customer\", what this speaker is to the neighbor",
        );
    }
    if is_new(&|of| of.ttl_security && of.ebgp_multihop.is_some()) {
        let message = "ttl-security and ebgp-multihop contradict each other (RFC 5082)";
        problems.error(section.place(&["ebgp-multihop", "ttl-security"]), message, "remove one of the two");
    }
}

/// RFC 8212: without policies nothing passes to or from another AS.
fn warn_without_policies(settings: &NeighborSettings, who: &str, place: &Range<usize>, problems: &mut Problems<'_>) {
    for (key, policy, verb) in [
        ("import-policy", &settings.import_policy, "accepted from"),
        ("export-policy", &settings.export_policy, "announced to"),
    ] {
        if policy.is_none() {
            let message = format!("{who} without {key}: nothing is {verb} it (RFC 8212)");
            problems.warning(place.clone(), message, format!("add {key} = [\"accept-all\"]"));
        }
    }
}

/// Who has no key and is in a range that has one cannot connect.
fn warn_unsigned(
    settings: &NeighborSettings,
    addresses: IpNet,
    ranges: &BTreeMap<IpNet, DynamicNeighbors>,
    place: &Range<usize>,
    problems: &mut Problems<'_>,
) {
    if settings.keys().is_empty()
        && let Some(range) = signed_range(ranges, &addresses)
    {
        problems.warning(place.clone(), unsigned(&addresses, &range), "give it a key, or take it out of the range");
    }
}

/// What happens to neighbors without a key in a range with one.
pub(crate) fn unsigned(addresses: &IpNet, range: &IpNet) -> String {
    let (who, comes) = match addresses.prefix_len() == addresses.max_prefix_len() {
        true => (format!("neighbor {}", addresses.addr()), "its connections are"),
        false => (format!("range {addresses}"), "connections from it are"),
    };
    format!("{who} has no key and is in range {range}, which has one: unsigned, {comes} dropped by the kernel")
}

/// What holds for single neighbors only.
fn check_neighbor(section: &Section<'_>, neighbor: &Neighbor, global: Option<&Global>, problems: &mut Problems<'_>) {
    let (address, settings) = (neighbor.address, &neighbor.settings);
    if let Some(local) = settings.local_address {
        check_local_address(section, address, local, problems);
    }
    let Some(global) = global else { return };
    if global.listen.iter().any(|listen| listen.ip() == address) {
        problems.error(
            section.place(&["address"]),
            format!("{address} is an address that bgpd itself listens on"),
            "write the address of the other router: a speaker cannot be its own neighbor",
        );
    }
    if is_external(settings, global.asn) {
        let who = format!("{address} is an eBGP neighbor");
        warn_without_policies(settings, &who, &section.span, problems);
    }
}

fn check_local_address(section: &Section<'_>, address: IpAddr, local: IpAddr, problems: &mut Problems<'_>) {
    let whose = if section.has("local-address") { "local-address" } else { "local-address of the peer group" };
    let place = section.place(&["local-address", "address"]);
    if local == address {
        let message = format!("{address} is this neighbor's address and its local-address");
        problems.error(place, message, "write an address of this host as local-address, or leave it out");
    } else if local.is_ipv4() != address.is_ipv4() {
        let message = format!("{whose}: {local} and the neighbor's address {address} are not of the same family");
        let right = if address.is_ipv4() { "an IPv4 address" } else { "an IPv6 address" };
        problems.error(place, message, format!("write {right} of this host as local-address here"));
    }
}

pub(super) fn read(
    sections: Vec<Section<'_>>,
    groups: &Groups,
    ranges: &BTreeMap<IpNet, DynamicNeighbors>,
    global: Option<&Global>,
    problems: &mut Problems<'_>,
) -> BTreeMap<IpAddr, Neighbor> {
    let mut neighbors = Named::new("neighbor");
    for section in sections {
        if let Some(At { value, span }) = read_one(section, groups, None, global, problems) {
            warn_unsigned(&value.settings, value.address.into(), ranges, &span, problems);
            neighbors.insert(value.address, value, span, problems);
        }
    }
    neighbors.entries
}

/// Reads one neighbor: over its peer group and the defaults, or over `known`, the neighbor as it is without this.
pub(super) fn read_one(
    mut section: Section<'_>,
    groups: &Groups,
    known: Option<&Neighbor>,
    global: Option<&Global>,
    problems: &mut Problems<'_>,
) -> Option<At<Neighbor>> {
    let address = section.need::<HostAddress>("address", "\"192.0.2.10\"", problems);
    let group = section.get::<String>("peer-group", problems);
    let base = group.as_ref().and_then(|group| groups.find(group, problems).cloned());
    let base = base.or_else(|| known.map(|known| known.settings.clone()));
    // A group that is not there has been said; the AS number that it would have is not missed as well.
    let is_known = group.as_ref().is_none_or(|group| base.is_some() && !groups.unsure.contains(&group.value));
    let own_base = base.clone().unwrap_or_else(|| groups.base.clone());
    let settings = settings(&mut section, own_base, &groups.policies, problems);
    let description = section.value("description", problems);
    let port = section.get::<Port>("port", problems);
    if is_known && settings.remote_asn == 0 && !section.is_wrong(&["remote-asn"]) {
        let help = "add remote-asn = 65000, here or in its peer group";
        problems.error(section.span.clone(), "this [[neighbor]] has no remote-asn", help);
    }
    if let Some(port) = &port
        && settings.passive
    {
        let message = "port: a passive neighbor is never connected to, so its port means nothing";
        problems.error(port.span.clone(), message, "remove port or passive");
    }
    let read = address.map(|address| {
        let neighbor = Neighbor {
            address: address.value.0,
            port: port.map(|port| port.value.0).or(known.map(|known| known.port)).unwrap_or(PORT),
            peer_group: group.map(|at| at.value).or_else(|| known.and_then(|known| known.peer_group.clone())),
            description: description.or_else(|| known.and_then(|known| known.description.clone())),
            settings,
        };
        check(&section, &neighbor.settings, base.as_ref(), global.map(|global| global.asn), problems);
        check_neighbor(&section, &neighbor, global, problems);
        At { value: neighbor, span: address.span }
    });
    section.finish(problems);
    read
}

pub(super) fn read_ranges(
    sections: Vec<Section<'_>>,
    groups: &Groups,
    asn: Option<u32>,
    problems: &mut Problems<'_>,
) -> BTreeMap<IpNet, DynamicNeighbors> {
    let mut ranges = Named::new("range");
    let mut places = Vec::new();
    for mut section in sections {
        let prefix = section.need::<IpNet>("prefix", "\"10.0.0.0/16\"", problems);
        let group = section.need::<String>("peer-group", "\"nodes\"", problems);
        let limit = section.value("limit", problems);
        let span: Range<usize> = section.span.clone();
        section.finish(problems);
        let (Some(prefix), Some(group)) = (prefix, group) else { continue };
        let settings = groups.find(&group, problems).cloned();
        if let Some(settings) = &settings {
            check_range(&prefix, &group, settings, groups, problems);
            if asn.is_some_and(|asn| is_external(settings, asn)) {
                let who = format!("{} is a range of eBGP neighbors", prefix.value);
                warn_without_policies(settings, &who, &span, problems);
            }
        }
        let range = DynamicNeighbors {
            prefix: prefix.value,
            peer_group: group.value,
            limit: limit.unwrap_or(DYNAMIC_LIMIT),
            settings: settings.unwrap_or_else(default_settings),
        };
        places.push(prefix.clone());
        ranges.insert(prefix.value, range, prefix.span, problems);
    }
    for At { value, span } in places {
        if let Some(range) = ranges.entries.get(&value) {
            warn_unsigned(&range.settings, value, &ranges.entries, &span, problems);
        }
    }
    ranges.entries
}

fn check_range(
    prefix: &At<IpNet>,
    group: &At<String>,
    settings: &NeighborSettings,
    groups: &Groups,
    problems: &mut Problems<'_>,
) {
    if settings.remote_asn == 0 && !groups.unsure.contains(&group.value) {
        let message =
            format!("peer group \"{}\" has no remote-asn, and neighbors from a range get theirs from it", group.value);
        problems.error(group.span.clone(), message, "add remote-asn = 65000 to the peer group");
    }
    if let Some(local) = settings.local_address
        && local.is_ipv4() != prefix.value.addr().is_ipv4()
    {
        let message =
            format!("local-address of the peer group: {local} and {} are not of the same family", prefix.value);
        problems.error(group.span.clone(), message, "name a group that has no local-address, or one of this family");
    }
    if prefix.value.prefix_len() == 0 {
        let message = format!("prefix: {} lets in every host there is", prefix.value);
        problems.warning(prefix.span.clone(), message, "name the networks that the neighbors are in");
    }
}

/// Sessions of a range unless configured otherwise.
const DYNAMIC_LIMIT: usize = 1000;
