//! Random documents for a speaker whose peers can live with all that is in them, and what is to come of each.

use std::collections::BTreeMap;
use std::fmt::Write;

use interop::sim::Random;

/// Clients in this AS, neighbors in others, and clients that can be in a range of dynamic neighbors.
pub(crate) const CLIENTS: [u8; 2] = [11, 12];
pub(crate) const OUTSIDE: [u8; 3] = [13, 14, 15];
pub(crate) const RANGED: [u8; 2] = [17, 18];
/// All of them.
pub(crate) const HOSTS: [u8; 7] = [11, 12, 13, 14, 15, 17, 18];
/// It says no role, and refuses none.
const WITHOUT_ROLE: u8 = 15;
/// Its packets have a TTL of 255, and so has what it takes.
const SAME_LINK: u8 = 14;

/// Who can have a setting.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Who {
    All,
    Internal,
    External,
    Only(u8),
}

use Who::{All, External, Internal, Only};

/// A key and its value, and what goes with it.
type Fragment = &'static str;

const SETTINGS: [(Who, Fragment); 52] = [
    (All, "hold-time = 9"),
    (All, "hold-time = 30"),
    (All, "idle-hold-time = 0"),
    (All, "connect-retry = 2"),
    (All, "local-address = \"192.0.2.1\""),
    (All, "passive = true"),
    (All, "passive = false"),
    (All, "next-hop-self = true"),
    (All, "add-path = \"receive\""),
    (All, "add-path = \"send\""),
    (All, "add-path = \"both\""),
    (All, "add-path = \"none\""),
    (All, "extended-messages = false"),
    (All, "extended-messages = true"),
    (All, "extended-next-hop = true"),
    (All, "reject-as-sets = true"),
    (All, "reject-as-sets = false"),
    (All, "graceful-restart = false"),
    (All, "graceful-restart = true"),
    (All, "restart-time = 60"),
    (All, "stale-path-time = 60"),
    (All, "long-lived-stale-time = 3600"),
    (All, "long-lived-stale-time = { ipv4-unicast = 60 }"),
    (All, "import-policy = [\"accept-all\"]"),
    (All, "import-policy = [\"marked\", \"accept-all\"]"),
    (All, "import-policy = [\"reject-all\"]"),
    (All, "export-policy = [\"accept-all\"]"),
    (All, "export-policy = [\"marked\", \"accept-all\"]"),
    (All, "export-policy = [\"reject-all\"]"),
    (All, "max-prefixes = 1000"),
    (All, "max-prefixes = { ipv4-unicast = 500 }\nmax-prefixes-warning = 90"),
    (All, "max-prefixes = 1000\nmax-prefixes-action = \"discard-new\""),
    (All, "max-prefixes = 1\nmax-prefixes-action = \"warn\""),
    (All, "max-prefixes-restart-time = 0"),
    (All, "graceful-shutdown = true"),
    (All, "graceful-shutdown = false"),
    (All, "families = [\"ipv4-unicast\"]"),
    (All, "families = [\"ipv4-unicast\", \"ipv6-unicast\"]"),
    (All, "families = [\"ipv6-unicast\", \"ipv4-unicast\"]"),
    (Internal, "route-reflector-client = true"),
    (Internal, "route-reflector-client = false"),
    (External, "local-asn = 65007"),
    (External, "local-asn = 65008"),
    (Only(11), "ttl-security = true"),
    (Only(17), "ttl-security = true"),
    (Only(13), "role = \"provider\""),
    (Only(13), "role = \"provider\"\nrole-strict = true"),
    (Only(13), "ebgp-multihop = 3"),
    (Only(14), "role = \"provider\""),
    (Only(14), "role = \"provider\"\nrole-strict = true"),
    (Only(15), "role = \"customer\""),
    (Only(15), "ebgp-multihop = 255"),
];

/// With these a session ends and does not come back.
const KEEP_DOWN: [(Who, Fragment); 5] = [
    (All, "shutdown = true"),
    (All, "shutdown = \"maintenance\""),
    (All, "local-address = \"192.0.2.9\""),
    (All, "max-prefixes = 1\nmax-prefixes-action = \"restart\""),
    (Only(WITHOUT_ROLE), "role = \"customer\"\nrole-strict = true"),
];

const GLOBALS: [Fragment; 15] = [
    "always-compare-med = true",
    "cluster-id = \"192.0.2.8\"",
    "cluster-id = \"192.0.2.9\"",
    "client-to-client-reflection = false",
    "graceful-shutdown = true",
    "max-pending = 100",
    "max-pending-per-source = 20",
    "max-setup-rate = 1000",
    "listen = [\"0.0.0.0:179\"]",
    "import-policy = [\"accept-all\"]",
    "import-policy = [\"marked\", \"accept-all\"]",
    "export-policy = [\"accept-all\"]",
    "export-policy = [\"marked\", \"accept-all\"]",
    "router-id = \"192.0.2.2\"",
    "asn = 65001",
];

const SECTIONS: [Fragment; 4] = [
    "[[originate]]\nprefix = \"10.96.0.0/24\"",
    "[[originate]]\nprefix = \"10.96.1.0/24\"\nmed = 4",
    "[[cluster]]\nname = \"east\"\npod-cidrs = [\"10.11.0.0/16\"]\nnodes = [\"192.0.2.12/32\"]",
    "[[rpki]]\naddress = \"192.0.2.99\"",
];

/// Names as they are written, and who can be a member.
const GROUPS: [(&str, &[u8]); 6] = [
    ("\"nodes\"", &CLIENTS),
    ("\"racks\"", &CLIENTS),
    ("\"far\"", &OUTSIDE),
    ("\"near\"", &OUTSIDE),
    ("\"signed\"", &RANGED),
    ("\"sealed\"", &RANGED),
];
const RANGES: [&str; 2] = ["192.0.2.16/28", "192.0.2.16/29"];

/// Fragments by their first key.
type Settings = BTreeMap<&'static str, Fragment>;

fn toggle(settings: &mut Settings, fragment: Fragment) {
    let key = fragment.split(' ').next().unwrap_or_default();
    if settings.insert(key, fragment) == Some(fragment) {
        settings.remove(key);
    }
}

fn lines<'a>(
    settings: impl IntoIterator<Item = (&'a &'static str, &'a Fragment)>,
) -> impl Iterator<Item = (&'static str, &'static str)> {
    settings.into_iter().flat_map(|(_, fragment)| fragment.lines()).filter_map(|line| line.split_once(" = "))
}

#[derive(Clone, Default)]
struct Neighbor {
    group: Option<usize>,
    settings: Settings,
    /// The key is in a file.
    key_file: bool,
}

/// A document, and what is known of it beyond its text.
#[derive(Clone, Default)]
pub(crate) struct Document {
    global: Settings,
    sections: Settings,
    /// What the policy sets.
    med: usize,
    groups: [Settings; 6],
    /// Limits of the ranges.
    ranges: BTreeMap<&'static str, usize>,
    /// Which of [`GROUPS`] the ranges have.
    range_group: bool,
    neighbors: BTreeMap<u8, Neighbor>,
}

/// Whether there can be no session.
fn is_away(settings: &BTreeMap<&str, &str>) -> bool {
    settings.contains_key("shutdown") || settings.get("local-address") == Some(&"\"192.0.2.9\"")
}

fn is_internal(host: u8) -> bool {
    !OUTSIDE.contains(&host)
}

fn may_have(who: Who, host: u8) -> bool {
    match who {
        All => true,
        Internal => is_internal(host),
        External => !is_internal(host),
        Only(one) => one == host,
    }
}

impl Document {
    /// All neighbors, with nothing but what they need.
    pub(crate) fn plain() -> Self {
        let neighbors = HOSTS.into_iter().map(|host| (host, Neighbor::default())).collect();
        Self { neighbors, ..Self::default() }
    }

    /// Another document, in which some things are not as in this one.
    pub(crate) fn changed(&self, random: &mut Random) -> Self {
        let mut changed = self.clone();
        // What keeps sessions down is not to have the upper hand.
        for neighbor in changed.neighbors.values_mut() {
            neighbor.settings.retain(|_, kept| !KEEP_DOWN.iter().any(|(_, down)| down == kept) || random.once_in(3));
        }
        for host in HOSTS {
            if !changed.is_configured(host) && random.once_in(3) {
                changed.neighbors.insert(host, Neighbor::default());
            }
        }
        for _ in 0..random.between(1, 6) {
            changed.change(random);
        }
        changed
    }

    fn change(&mut self, random: &mut Random) {
        let host = random.pick(&HOSTS);
        match random.below(20) {
            0..8 => self.change_setting(host, &SETTINGS, random),
            8 => self.change_setting(host, &KEEP_DOWN, random),
            9..12 => self.change_group(random),
            12 | 13 => self.move_neighbor(host, random),
            14 | 15 => self.add_or_remove(host),
            16 => self.change_range(random),
            17 => toggle(&mut self.global, random.pick(&GLOBALS)),
            18 => {
                let section = random.pick(&SECTIONS);
                self.sections.remove(section).is_none().then(|| self.sections.insert(section, section));
            }
            _ => self.med = random.below(3),
        }
    }

    fn change_setting(&mut self, host: u8, from: &[(Who, Fragment)], random: &mut Random) {
        let possible: Vec<Fragment> = from.iter().filter(|(who, _)| may_have(*who, host)).map(|(_, it)| *it).collect();
        let Some(neighbor) = self.neighbors.get_mut(&host) else { return };
        if random.once_in(12) {
            neighbor.key_file = !neighbor.key_file;
        } else {
            toggle(&mut neighbor.settings, random.pick(&possible));
        }
    }

    fn change_group(&mut self, random: &mut Random) {
        let number = random.below(GROUPS.len());
        let inside = is_internal(GROUPS[number].1[0]);
        let for_all = |who| who == All || who == if inside { Internal } else { External };
        let possible: Vec<Fragment> = SETTINGS.iter().filter(|(who, _)| for_all(*who)).map(|(_, it)| *it).collect();
        toggle(&mut self.groups[number], random.pick(&possible));
    }

    fn move_neighbor(&mut self, host: u8, random: &mut Random) {
        let possible: Vec<usize> = (0..GROUPS.len()).filter(|number| GROUPS[*number].1.contains(&host)).collect();
        if let Some(neighbor) = self.neighbors.get_mut(&host) {
            neighbor.group =
                if neighbor.group.is_some() && random.once_in(3) { None } else { Some(random.pick(&possible)) };
        }
    }

    fn add_or_remove(&mut self, host: u8) {
        if self.neighbors.remove(&host).is_none() {
            self.neighbors.insert(host, Neighbor::default());
        }
    }

    fn change_range(&mut self, random: &mut Random) {
        let (prefix, limit) = (random.pick(&RANGES), random.between(10, 11));
        if random.once_in(3) {
            self.range_group = !self.range_group;
        } else if self.ranges.remove(prefix).is_none() || random.once_in(2) {
            self.ranges.insert(prefix, limit);
        }
    }

    /// The settings of a neighbor, with those of its group; none: there is no such neighbor.
    fn settings(&self, host: u8) -> Option<BTreeMap<&'static str, &'static str>> {
        let of_group = |number: usize| lines(&self.groups[number]).collect::<BTreeMap<_, _>>();
        if let Some(neighbor) = self.neighbors.get(&host) {
            let mut all = neighbor.group.map(of_group).unwrap_or_default();
            all.extend(lines(&neighbor.settings));
            return Some(all);
        }
        // 17 and 18 are in both ranges.
        let is_ranged = RANGED.contains(&host) && !self.ranges.is_empty();
        is_ranged.then(|| of_group(self.group_of_ranges()))
    }

    fn group_of_ranges(&self) -> usize {
        if self.range_group { 4 } else { 5 }
    }

    /// Whether a session is to be Established in the end.
    pub(crate) fn comes_up(&self, host: u8) -> bool {
        let Some(settings) = self.settings(host) else { return false };
        let is = |key: &str, value: &str| settings.get(key) == Some(&value);
        let is_silent = host == WITHOUT_ROLE && is("role-strict", "true");
        !(is_away(&settings) || is_silent || self.is_limited(host))
    }

    /// Whether a peer has more prefixes than it may have, and nothing else keeps it away.
    pub(crate) fn is_limited(&self, host: u8) -> bool {
        let settings = self.settings(host).unwrap_or_default();
        let is = |key: &str, value: &str| settings.get(key) == Some(&value);
        is("max-prefixes", "1") && is("max-prefixes-action", "\"restart\"") && !is_away(&settings)
    }

    /// Whether what is originated here is told to a neighbor.
    pub(crate) fn is_told(&self, host: u8) -> bool {
        let settings = self.settings(host).unwrap_or_default();
        let global = lines(&self.global).find(|(key, _)| *key == "export-policy").map(|(_, value)| value);
        match settings.get("export-policy").copied().or(global) {
            Some(policy) => !policy.contains("reject-all"),
            // RFC 8212
            None => is_internal(host),
        }
    }

    /// Whether a neighbor is configured, and not only let in by a range.
    pub(crate) fn is_configured(&self, host: u8) -> bool {
        self.neighbors.contains_key(&host)
    }

    pub(crate) fn text(&self) -> String {
        let mut global: BTreeMap<_, _> = [("asn", "65000"), ("router-id", "\"192.0.2.1\"")].into();
        global.extend(lines(&self.global));
        let own_asn = global["asn"] == "65000";
        let mut text = "[global]\n".to_owned();
        write(&mut text, global);
        // Writing to a string does not fail.
        let _ = write!(
            text,
            "[[prefix-set]]\nname = \"some\"\nprefixes = [\"10.11.0.0/24\", \"10.99.0.0/24\"]\n[[policy]]\nname = \"marked\"\n\
             [[policy.statement]]\nmatch.prefix-sets = [\"some\"]\nthen = \"reject\"\n\
             [[policy.statement]]\nset.med = {}\n",
            self.med
        );
        text.extend(self.sections.values().flat_map(|section| [*section, "\n"]));
        for ((name, members), settings) in GROUPS.iter().zip(&self.groups) {
            let _ = writeln!(text, "[[peer-group]]\nname = {name}");
            let mut all = base(members[0], own_asn);
            if RANGED.contains(&members[0]) {
                all.insert("md5-password", "\"range\"");
            }
            all.extend(lines(settings));
            write(&mut text, all);
        }
        for (prefix, limit) in &self.ranges {
            let group = GROUPS[self.group_of_ranges()].0;
            let _ =
                write!(text, "[[dynamic-neighbors]]\nprefix = \"{prefix}\"\npeer-group = {group}\nlimit = {limit}\n");
        }
        for (host, neighbor) in &self.neighbors {
            let _ = writeln!(text, "[[neighbor]]\naddress = \"192.0.2.{host}\"");
            write(&mut text, neighbor.all(*host, own_asn));
        }
        text
    }
}

fn write(text: &mut String, settings: BTreeMap<&str, &str>) {
    text.extend(settings.iter().flat_map(|(key, value)| [key, " = ", value, "\n"]));
}

/// What a neighbor that has no group, and a group, says at least: waits are short, and a limit stays until it is lifted.
fn base(host: u8, own_asn: bool) -> BTreeMap<&'static str, &'static str> {
    let waits = [("idle-hold-time", "1"), ("connect-retry", "1"), ("max-prefixes-restart-time", "3600")];
    let mut all = BTreeMap::from(waits);
    if is_internal(host) {
        all.insert("remote-asn", "65000");
        // In another AS these are still internal neighbors.
        all.extend((!own_asn).then_some(("local-asn", "65000")));
    }
    all
}

impl Neighbor {
    fn all(&self, host: u8, own_asn: bool) -> BTreeMap<&'static str, &'static str> {
        let mut all = if self.group.is_none() { base(host, own_asn) } else { BTreeMap::new() };
        all.extend(self.group.map(|number| ("peer-group", GROUPS[number].0)));
        let external = [(13, "65013"), (14, "65014"), (15, "65015")];
        all.extend(external.into_iter().find(|(of, _)| *of == host).map(|(_, asn)| ("remote-asn", asn)));
        let (key, file) = match host {
            12 | 13 => ("\"own\"", "\"own.key\""),
            17 | 18 => ("\"range\"", "\"range.key\""),
            _ => ("", ""),
        };
        let signed = !key.is_empty() && (self.group.is_none() || !RANGED.contains(&host) || self.key_file);
        if signed {
            all.extend([if self.key_file { ("md5-password-file", file) } else { ("md5-password", key) }]);
        }
        if host == SAME_LINK {
            // Either of them sends with a TTL of 255.
            all.extend([if self.key_file { ("ebgp-multihop", "255") } else { ("ttl-security", "true") }]);
        }
        all.extend(lines(&self.settings));
        all
    }
}
