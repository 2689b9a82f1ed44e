//! The same import policy in the language of each daemon: statements that ask about communities and AS paths in turn,
//! then a prefix set. None of them matches a route of the loads, so that each is asked about every route, or about every
//! attribute set where a daemon can do with that; what passes is unchanged.

use std::fmt::Write;

use super::prefix_list;

/// How much is asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct ImportPolicy {
    /// Statements that reject what has a community, or an AS in its path.
    pub(crate) statements: u32,
    /// Prefixes of a set that is rejected.
    pub(crate) prefixes: u32,
    /// The statements are a filter in Roto, which only bgpd has.
    pub(crate) as_filter: bool,
}

impl ImportPolicy {
    fn is_none(self) -> bool {
        self == Self::default()
    }

    /// The number of each statement, and whether it is about a community.
    fn questions(self) -> impl Iterator<Item = (u32, bool)> {
        (0..self.statements).map(|number| (number, number % 2 == 0))
    }

    /// /25s spread over the address space of the loads, whose prefixes are shorter.
    fn set(self) -> impl Iterator<Item = String> {
        (0..self.prefixes).map(|number| {
            let [a, b, c, d] = (0x0100_0080 + number * (100 << 8)).to_be_bytes();
            format!("{a}.{b}.{c}.{d}/25")
        })
    }
}

/// A community that no route has.
fn community(number: u32) -> (u32, u32) {
    (64_900, number)
}

/// An AS that is in no path.
fn asn(number: u32) -> u32 {
    64_000 + number
}

/// The sections for bgpd; the peer group then says `import-policy = ["bench"]`.
pub(super) fn bgpd(policy: ImportPolicy) -> String {
    if policy.is_none() {
        return String::new();
    }
    if policy.as_filter {
        return roto(policy);
    }
    let (mut sets, mut statements) = (String::new(), String::new());
    for (number, of_community) in policy.questions() {
        let ((high, low), asn) = (community(number), asn(number));
        // Writing to a string does not fail.
        let _ = if of_community {
            write!(sets, "[[community-set]]\nname = \"q{number}\"\ncommunities = [\"{high}:{low}\"]\n")
        } else {
            write!(sets, "[[as-path-set]]\nname = \"q{number}\"\npatterns = [\"{asn}\"]\n")
        };
        let kind = if of_community { "community" } else { "as-path" };
        let _ = write!(statements, "[[policy.statement]]\nmatch.{kind}-sets = [\"q{number}\"]\nthen = \"reject\"\n");
    }
    if policy.prefixes > 0 {
        let prefixes: Vec<String> = policy.set().map(|prefix| format!("\"{prefix}\"")).collect();
        let _ = write!(sets, "[[prefix-set]]\nname = \"set\"\nprefixes = [{}]\n", prefixes.join(", "));
        statements += "[[policy.statement]]\nmatch.prefix-sets = [\"set\"]\nthen = \"reject\"\n";
    }
    format!("{sets}[[policy]]\nname = \"bench\"\ndefault = \"accept\"\n{statements}")
}

/// The same questions as a filter.
fn roto(policy: ImportPolicy) -> String {
    let question = |(number, of_community): (u32, bool)| match (of_community, community(number)) {
        (true, (high, low)) => format!("route.has_community({high}, {low})"),
        (false, _) => format!("route.path_contains(AS{})", asn(number)),
    };
    let questions: Vec<String> = policy.questions().map(question).collect();
    let asked = questions.join("\n        || ");
    format!(
        "[[filter]]\nname = \"bench\"\nsource = '''\nfiltermap main(route: Route) {{\n    if {asked} {{\n        reject\n    \
         }} else {{\n        accept\n    }}\n}}\n'''\n"
    )
}

/// What bgpd's peer group says.
pub(super) fn bgpd_import(policy: ImportPolicy) -> &'static str {
    if policy.is_none() { "" } else { "import-policy = [\"bench\"]\n" }
}

/// The filter for BIRD, and what `import` is followed by.
pub(super) fn bird(policy: ImportPolicy) -> (String, &'static str) {
    if policy.is_none() {
        return (String::new(), "all");
    }
    let mut filter = String::new();
    if policy.prefixes > 0 {
        let _ = writeln!(filter, "define tested = [ {} ];", policy.set().collect::<Vec<_>>().join(", "));
    }
    filter += "filter bench {\n";
    for (number, of_community) in policy.questions() {
        let ((high, low), asn) = (community(number), asn(number));
        let _ = if of_community {
            writeln!(filter, "  if ({high},{low}) ~ bgp_community then reject;")
        } else {
            writeln!(filter, "  if bgp_path ~ [= * {asn} * =] then reject;")
        };
    }
    if policy.prefixes > 0 {
        filter += "  if net ~ tested then reject;\n";
    }
    (filter + "  accept;\n}\n", "filter bench")
}

/// The prefix list for FRR, where there is one; it is not in the configuration file.
pub(super) fn frr_prefix_list(policy: ImportPolicy) -> Option<String> {
    (policy.prefixes > 0).then(|| prefix_list::json("tested", policy.set()))
}

/// The route map for FRR, and the line that uses it.
pub(super) fn frr(policy: ImportPolicy) -> (String, &'static str) {
    if policy.is_none() {
        return (String::new(), "");
    }
    let (mut lists, mut map) = (String::new(), String::new());
    for (number, of_community) in policy.questions() {
        let ((high, low), asn) = (community(number), asn(number));
        let _ = if of_community {
            writeln!(lists, "bgp community-list standard q{number} permit {high}:{low}")
        } else {
            writeln!(lists, "bgp as-path access-list q{number} permit _{asn}_")
        };
        let kind = if of_community { "community" } else { "as-path" };
        let _ = write!(map, "route-map bench deny {}\n match {kind} q{number}\nexit\n", number + 1);
    }
    if policy.prefixes > 0 {
        map += "route-map bench deny 60000\n match ip address prefix-list tested\nexit\n";
    }
    (lists + &map + "route-map bench permit 65000\nexit\n", "  neighbor fleet route-map bench in\n")
}
