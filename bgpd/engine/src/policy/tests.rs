//! Policies on routes.

use std::net::Ipv4Addr;

use bgp_wire::attribute::{AsPath, Attribute, AttributeBlock, Community, Origin};
use bgp_wire::update::NextHop;
use proptest::prelude::*;

use super::*;
use crate::attr::{Interner, edit};

/// Policies, and what they are tried on.
struct Bench {
    interner: Arc<Interner>,
    definitions: Definitions,
}

fn statement(name: &str, conditions: Vec<Condition>, actions: Vec<Action>, then: Outcome) -> Statement {
    Statement { name: name.to_owned(), conditions, actions, then }
}

fn prefix_sets(names: &[&str]) -> Condition {
    Condition::PrefixSets(names.iter().map(|name| SetName::from(*name)).collect())
}

impl Bench {
    fn new(statements: Vec<Statement>, default: Outcome) -> Self {
        let mut definitions = Definitions::default();
        let set = |entry: &str| Arc::new([entry.parse::<PrefixEntry>().expect("an entry")].into_iter().collect());
        definitions.prefix_sets.insert("ten".into(), set("10.0.0.0/8 le 24"));
        definitions.prefix_sets.insert("long".into(), set("0.0.0.0/0 ge 25"));
        let patterns = vec!["^65001 .* [65010-65020]$".parse().expect("an expression")];
        definitions.as_path_sets.insert("through".into(), Arc::new(patterns));
        let members = vec!["65000:*".parse().expect("a pattern"), "65000:1:1".parse().expect("a pattern")];
        let community_set = |all| CommunitySet { members: members.clone(), all };
        definitions.community_sets.insert("any-of".into(), Arc::new(community_set(false)));
        definitions.community_sets.insert("all-of".into(), Arc::new(community_set(true)));
        let neighbors = NeighborSet { addresses: vec!["192.0.2.0/24".parse().expect("a prefix")], asns: vec![65_003] };
        definitions.neighbor_sets.insert("transit".into(), Arc::new(neighbors));
        definitions.policies.insert("tested".into(), PolicyDefinition { statements, default });
        Self { interner: Arc::new(Interner::new(1)), definitions }
    }

    fn resolve(&self, names: &[&str], direction: Direction) -> Policy {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let library = Library::new(Arc::clone(&self.interner)).with(&self.definitions).expect("sets that exist");
        library.resolve(Some(&names), true, direction).expect("policies that exist")
    }

    fn attrs(&self, attributes: &[Attribute]) -> AttrRef {
        let next_hop = NextHop::V4(Ipv4Addr::new(192, 0, 2, 1));
        self.interner.intern(next_hop, AttributeBlock::from_canonical(&edit::build(attributes)))
    }

    /// What the policy says of a route, and the steps to it. Whoever remembers says the same.
    fn judge(&self, attributes: &[Attribute], prefix: &str) -> (Verdict, Trace) {
        let (policy, prefix) = (self.resolve(&["tested"], Direction::Import), prefix.parse().expect("a prefix"));
        let (attrs, mut trace, mut memo) = (self.attrs(attributes), Trace::default(), Memo::default());
        let verdict = policy.explain(&attrs, &FROM, &prefix, &mut trace);
        for _ in 0..2 {
            assert_eq!(policy.judge(&attrs, &FROM, &prefix, &mut memo), verdict);
        }
        (verdict, trace)
    }

    fn accepts(&self, attributes: &[Attribute], prefix: &str) -> bool {
        matches!(self.judge(attributes, prefix).0, Verdict::Accept(_))
    }

    /// The attributes after the policy.
    fn after(&self, attributes: &[Attribute]) -> (AttrRef, Vec<Attribute>) {
        match self.judge(attributes, "10.0.0.0/8").0 {
            Verdict::Accept(attrs) => {
                let decoded =
                    attrs.block().iter().map(|raw| bgp_wire::attribute::decode_value(raw.flags, raw.code, raw.value));
                let decoded = decoded.map(|one| one.expect("canonical")).collect();
                (attrs, decoded)
            }
            other => panic!("{other:?}"),
        }
    }
}

const FROM: Provenance = Provenance {
    family: Family::IPV4_UNICAST,
    address: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7)),
    asn: 65_001,
    kind: SourceKind::External,
};

fn path(asns: &[u32]) -> Attribute {
    Attribute::AsPath(AsPath::sequence(asns))
}

fn basic() -> Vec<Attribute> {
    vec![Attribute::Origin(Origin::Igp), path(&[65_001, 65_002])]
}

fn with(more: &[Attribute]) -> Vec<Attribute> {
    [basic(), more.to_vec()].concat()
}

fn communities(low: &[u32]) -> Attribute {
    Attribute::Communities(low.iter().map(|low| Community(65_000 << 16 | low)).collect())
}

/// Whether a policy of one statement with one condition accepts.
fn holds(condition: Condition, attributes: &[Attribute]) -> bool {
    let only = statement("only", vec![condition], Vec::new(), Outcome::Accept);
    Bench::new(vec![only], Outcome::Reject).accepts(attributes, "10.1.0.0/16")
}

#[test]
fn ebgp_without_policy_passes_nothing() {
    // RFC 8212 §3
    let library = Library::new(Arc::new(Interner::new(1)));
    assert_eq!(library.resolve(None, true, Direction::Import), Ok(Policy::Missing));
    assert_eq!(library.resolve(None, false, Direction::Import), Ok(Policy::AcceptAll));
}

#[test]
fn the_first_policy_that_decides_counts() {
    let bench = Bench::new(Vec::new(), Outcome::Next);
    assert_eq!(bench.resolve(&["reject-all", "accept-all"], Direction::Import), Policy::RejectAll);
    let attrs = bench.attrs(&basic());
    let judge = |names: &[&str]| {
        let policy = bench.resolve(names, Direction::Import);
        policy.judge(&attrs, &FROM, &"10.0.0.0/8".parse().expect("a prefix"), &mut Memo::default())
    };
    assert_eq!(judge(&["tested", "accept-all", "reject-all"]), Verdict::Accept(attrs.clone()));
    assert_eq!(judge(&["tested", "reject-all"]), Verdict::Reject);
    assert_eq!(judge(&["tested"]), Verdict::Reject, "what no policy decides is rejected");
}

#[test]
fn an_unknown_name_is_an_error_wherever_it_stands() {
    let library = Library::new(Arc::new(Interner::new(1)));
    let names = ["accept-all".to_owned(), "acept-all".to_owned()];
    let error = library.resolve(Some(&names), false, Direction::Import).expect_err("it does not exist");
    assert_eq!(error, UnknownPolicy { what: "policy", name: "acept-all".into() });
}

#[test]
fn every_condition_asks_what_it_says() {
    let bounds = |text: &str| text.parse::<Bounds>().expect("bounds");
    let net = |text: &str| vec![text.parse::<IpNet>().expect("a prefix")];
    let names = |name: &str| vec![SetName::from(name)];
    let yes = [
        prefix_sets(&["ten"]),
        prefix_sets(&["!long"]),
        prefix_sets(&["long", "ten"]),
        Condition::AsPathSets(names("!through")),
        Condition::CommunitySets(names("any-of")),
        Condition::CommunitySets(names("!all-of")),
        Condition::NeighborSets(names("transit")),
        Condition::ReceivedFrom(net("192.0.2.7/32")),
        Condition::NextHop(net("192.0.2.0/24")),
        Condition::Origin(vec![Origin::Egp, Origin::Igp]),
        Condition::LocalPref(bounds("100")),
        Condition::Med(bounds("<=10")),
        Condition::AsPathLength(bounds("2-4")),
        Condition::Family(vec![Family::IPV4_UNICAST]),
        Condition::Rpki(vec![RpkiState::NotFound]),
        Condition::RouteType(vec![RouteType::External]),
    ];
    let no = [
        prefix_sets(&["long"]),
        Condition::AsPathSets(names("through")),
        Condition::CommunitySets(names("all-of")),
        Condition::ReceivedFrom(net("192.0.2.8/32")),
        Condition::NextHop(net("198.51.100.0/24")),
        Condition::Origin(vec![Origin::Incomplete]),
        Condition::LocalPref(bounds(">=101")),
        Condition::Med(bounds(">=1")),
        Condition::AsPathLength(bounds("3")),
        Condition::Family(vec![Family::IPV6_UNICAST]),
        Condition::Rpki(vec![RpkiState::Valid, RpkiState::Invalid]),
        Condition::RouteType(vec![RouteType::Internal, RouteType::Local]),
    ];
    let attributes = with(&[communities(&[7])]);
    yes.into_iter().for_each(|condition| assert!(holds(condition.clone(), &attributes), "{condition}"));
    no.into_iter().for_each(|condition| assert!(!holds(condition.clone(), &attributes), "{condition}"));
}

#[test]
fn what_is_originated_here_comes_from_no_neighbor() {
    let local = Provenance::local(Family::IPV4_UNICAST, Ipv4Addr::new(192, 0, 2, 1));
    let neighbors = Condition::NeighborSets(vec![SetName::from("transit")]);
    let received = Condition::ReceivedFrom(vec!["192.0.2.0/24".parse().expect("a prefix")]);
    for condition in [neighbors, received] {
        let only = statement("only", vec![condition.clone()], Vec::new(), Outcome::Accept);
        let bench = Bench::new(vec![only], Outcome::Reject);
        let (policy, prefix) = (bench.resolve(&["tested"], Direction::Export), "10.0.0.0/8".parse().expect("a prefix"));
        let verdict = policy.explain(&bench.attrs(&basic()), &local, &prefix, &mut Trace::default());
        assert_eq!(verdict, Verdict::Reject, "{condition}");
    }
}

/// A route target of an IPv6 address (RFC 5701).
fn of_ipv6() -> Attribute {
    let text = "rt:[2001:db8::1]:7";
    Attribute::Ipv6ExtendedCommunities(vec![text.parse().unwrap_or_else(|error| panic!("{error}"))])
}

#[test]
fn every_action_changes_what_it_says() {
    let after = |action: Action, attributes: &[Attribute]| {
        Bench::new(vec![statement("only", Vec::new(), vec![action], Outcome::Accept)], Outcome::Reject)
            .after(attributes)
            .1
    };
    let add = |text: &str| text.parse::<AnyCommunity>().expect("a community");
    let remove = |text: &str| text.parse::<CommunityPattern>().expect("a pattern");
    let cases = [
        (Action::LocalPref(Amount::Set(200)), with(&[]), with(&[Attribute::LocalPref(200)])),
        (Action::LocalPref(Amount::Add(10)), with(&[]), with(&[Attribute::LocalPref(110)])),
        (Action::Med(Amount::Subtract(5)), with(&[Attribute::MultiExitDisc(3)]), with(&[Attribute::MultiExitDisc(0)])),
        (Action::Med(Amount::Add(5)), with(&[Attribute::MultiExitDisc(3)]), with(&[Attribute::MultiExitDisc(8)])),
        (Action::NoMed, with(&[Attribute::MultiExitDisc(3)]), with(&[])),
        (Action::MedIgp, with(&[]), with(&[])),
        (
            Action::Origin(Origin::Incomplete),
            with(&[]),
            vec![Attribute::Origin(Origin::Incomplete), path(&[65_001, 65_002])],
        ),
        (
            Action::Prepend(vec![65_000, 65_009]),
            with(&[]),
            vec![Attribute::Origin(Origin::Igp), path(&[65_000, 65_009, 65_001, 65_002])],
        ),
        (
            Action::AddCommunities(vec![add("65000:1"), add("65000:2")]),
            with(&[communities(&[2])]),
            with(&[communities(&[2, 1])]),
        ),
        (Action::RemoveCommunities(vec![remove("65000:*")]), with(&[communities(&[2])]), with(&[])),
        (Action::ReplaceCommunities(vec![add("65000:9")]), with(&[communities(&[2])]), with(&[communities(&[9])])),
        (Action::ReplaceCommunities(vec![add("65000:9")]), with(&[of_ipv6()]), with(&[communities(&[9])])),
        (Action::RemoveCommunities(vec![remove("rt:*:*")]), with(&[of_ipv6()]), with(&[])),
        (Action::AddCommunities(vec![add("rt:[2001:db8::1]:7")]), with(&[]), with(&[of_ipv6()])),
    ];
    for (action, before, expected) in cases {
        assert_eq!(after(action.clone(), &before), expected, "{action}");
    }
}

#[test]
fn med_can_become_the_accumulated_igp_metric() {
    // RFC 7311 §3: type 1, length 11, metric.
    let aigp = Attribute::Unknown { flags: 0x80, code: 26, value: vec![1, 0, 11, 0, 0, 0, 0, 0, 0, 1, 2] };
    let only = statement("only", Vec::new(), vec![Action::MedIgp], Outcome::Accept);
    let (attrs, _) = Bench::new(vec![only], Outcome::Reject).after(&with(&[aigp]));
    assert_eq!(attrs.digest.med, Some(0x102));
}

#[test]
fn weight_and_next_hop_are_set() {
    let address = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1));
    let actions = vec![Action::Weight(7), Action::NextHop(NewNextHop::Address(address))];
    let bench = Bench::new(vec![statement("only", Vec::new(), actions, Outcome::Accept)], Outcome::Reject);
    let (attrs, _) = bench.after(&basic());
    assert_eq!((attrs.local.weight(), attrs.next_hop.addr()), (7, address));
    assert!(!attrs.local.next_hop_set(), "an import policy leaves the rules of eBGP in force");
    let export = bench.resolve(&["tested"], Direction::Export);
    let verdict = export.judge(&attrs, &FROM, &"10.0.0.0/8".parse().expect("a prefix"), &mut Memo::default());
    assert!(matches!(verdict, Verdict::Accept(attrs) if attrs.local.next_hop_set()));
}

#[test]
fn what_a_statement_sets_the_next_one_reads() {
    let first = statement("tag", vec![prefix_sets(&["ten"])], vec![Action::LocalPref(Amount::Set(300))], Outcome::Next);
    let second = statement("pass", vec![Condition::LocalPref(Bounds::new(300, 300))], Vec::new(), Outcome::Accept);
    let bench = Bench::new(vec![first, second], Outcome::Reject);
    assert!(bench.accepts(&basic(), "10.1.0.0/16"));
    assert!(!bench.accepts(&basic(), "11.1.0.0/16"));
}

#[test]
fn a_trace_names_each_statement_and_what_decided() {
    let first = statement("long", vec![prefix_sets(&["long"])], Vec::new(), Outcome::Reject);
    let actions = vec![Action::LocalPref(Amount::Set(200))];
    let second = statement("ten", vec![prefix_sets(&["ten"])], actions, Outcome::Accept);
    let bench = Bench::new(vec![first, second], Outcome::Next);
    let steps = |prefix: &str| {
        let (_, trace) = bench.judge(&basic(), prefix);
        let steps: Vec<String> = trace.steps.iter().map(ToString::to_string).collect();
        (steps, trace.decided_by().expect("it was decided"))
    };
    let no_long = "tested, long: no match (prefix-sets long)".to_owned();
    let set = "tested, ten: match, set local-pref 200: accept".to_owned();
    assert_eq!(steps("10.1.0.0/16"), (vec![no_long.clone(), set], "policy \"tested\", statement \"ten\"".into()));
    let no_ten = "tested, ten: no match (prefix-sets ten)".to_owned();
    let rest = (vec![no_long, no_ten, "tested: next".into()], "policy \"tested\", which no other follows".into());
    assert_eq!(steps("11.0.0.0/8"), rest);
}

#[test]
fn a_trace_has_each_condition_and_what_each_action_changed() {
    let conditions =
        vec![prefix_sets(&["ten"]), Condition::Med(Bounds::new(0, 9)), Condition::LocalPref(Bounds::new(1, 2))];
    let first = statement("low", conditions, Vec::new(), Outcome::Reject);
    let added = vec!["65000:1".parse().expect("a community"), "65000:1:2".parse().expect("a community")];
    let hop = NewNextHop::Address(IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1)));
    let actions = vec![
        Action::LocalPref(Amount::Add(50)),
        Action::Med(Amount::Set(5)),
        Action::Weight(7),
        Action::NextHop(hop),
        Action::Prepend(vec![65_000]),
        Action::AddCommunities(added),
        Action::Origin(Origin::Incomplete),
    ];
    let second = statement("all", vec![prefix_sets(&["ten"])], actions, Outcome::Accept);
    let (_, trace) = Bench::new(vec![first, second], Outcome::Next).judge(&with(&[communities(&[2])]), "10.1.0.0/16");
    let asked = |step: &Step| {
        let asked = step.conditions.iter().map(|asked| (asked.condition.clone(), asked.holds));
        asked.collect::<Vec<_>>()
    };
    let expected = [("med <=9", Some(true)), ("local-pref 1-2", Some(false)), ("prefix-sets ten", None)];
    assert_eq!(asked(&trace.steps[0]), expected.map(|(condition, holds)| (condition.to_owned(), holds)));
    assert_eq!(asked(&trace.steps[1]), [("prefix-sets ten".to_owned(), Some(true))]);
    let What::Match { changes, .. } = &trace.steps[1].what else { panic!("{trace:?}") };
    let changes: Vec<_> =
        changes.iter().map(|one| format!("{}: {} -> {}", one.action, one.before, one.after)).collect();
    let expected = [
        "local-pref +50: none -> 150",
        "med 5: none -> 5",
        "weight 7: 0 -> 7",
        "next-hop 198.51.100.1: 192.0.2.1 -> 198.51.100.1",
        "prepend 65000: 65001 65002 -> 65000 65001 65002",
        "add-communities 65000:1, 65000:1:2: 65000:2 -> 65000:2 65000:1 65000:1:2",
        "origin incomplete: IGP -> incomplete",
    ];
    assert_eq!(changes, expected);
}

#[test]
fn a_change_of_a_set_is_a_change_of_the_policies_that_name_it() {
    let first = statement("long", vec![prefix_sets(&["long"])], Vec::new(), Outcome::Reject);
    let before = Bench::new(vec![first], Outcome::Next).definitions;
    let mut after = before.clone();
    after.prefix_sets.insert("ten".into(), Arc::default());
    assert!(after.changed(&before).is_empty(), "no policy names it");
    after.prefix_sets.insert("long".into(), Arc::default());
    assert_eq!(after.changed(&before).into_iter().collect::<Vec<_>>(), ["tested"]);
}

fn any_statement() -> impl Strategy<Value = Statement> {
    let condition = prop_oneof![
        Just(prefix_sets(&["ten"])),
        Just(prefix_sets(&["!long"])),
        Just(Condition::LocalPref(Bounds::new(0, 105))),
        Just(Condition::AsPathLength(Bounds::new(3, 9))),
        Just(Condition::Rpki(vec![RpkiState::NotFound])),
        Just(Condition::CommunitySets(vec![SetName::from("any-of")])),
    ];
    let action = prop_oneof![
        Just(Action::LocalPref(Amount::Add(5))),
        Just(Action::Prepend(vec![65_000])),
        Just(Action::AddCommunities(vec![AnyCommunity::Standard(Community(65_000 << 16 | 1))])),
        Just(Action::ReplaceCommunities(Vec::new())),
    ];
    let outcome = prop_oneof![Just(Outcome::Accept), Just(Outcome::Reject), Just(Outcome::Next), Just(Outcome::Next)];
    let parts = (proptest::collection::vec(condition, 0..3), proptest::collection::vec(action, 0..2), outcome);
    parts.prop_map(|(conditions, actions, then)| statement("any", conditions, actions, then))
}

proptest! {
    #[test]
    fn remembering_changes_no_verdict(
        statements in proptest::collection::vec(any_statement(), 0..12),
        routes in proptest::collection::vec((0..4u32, 6..30u8, 0..3u32), 1..24),
    ) {
        let bench = Bench::new(statements, Outcome::Accept);
        let (policy, mut memo) = (bench.resolve(&["tested"], Direction::Import), Memo::default());
        for (net, len, low) in routes {
            let prefix: IpNet = ipnet::Ipv4Net::new(Ipv4Addr::from((8 + net) << 24), len).expect("a length").trunc().into();
            let attrs = bench.attrs(&with(&[communities(&[low])]));
            let plain = policy.explain(&attrs, &FROM, &prefix, &mut Trace::default());
            prop_assert_eq!(policy.judge(&attrs, &FROM, &prefix, &mut memo), plain);
        }
    }
}

/// A program that passes prefixes in 10.0.0.0/8 on, those of odd length with a new LOCAL_PREF, and rejects others.
struct Program;

impl Filter for Program {
    fn decide(&self, prefix: &IpNet, _: &AttrRef, _: &Provenance, _: &dyn OriginValidation) -> Judgment {
        let inside = "10.0.0.0/8".parse().is_ok_and(|ten: IpNet| ten.contains(prefix));
        let changes = vec![Action::LocalPref(Amount::Set(300)); usize::from(prefix.prefix_len() % 2)];
        Judgment { changes, then: if inside { Outcome::Next } else { Outcome::Reject } }
    }

    fn reads_rpki(&self) -> bool {
        false
    }
}

#[test]
fn what_a_filter_passes_on_is_decided_by_the_next_policy() {
    let tagged = vec![Condition::LocalPref(Bounds::new(300, 300))];
    let mut bench = Bench::new(vec![statement("tagged", tagged, Vec::new(), Outcome::Accept)], Outcome::Reject);
    let program = FilterProgram { source: String::new(), filter: Arc::new(Program) };
    bench.definitions.filters.insert("program".into(), program);
    let attrs = bench.attrs(&basic());
    let mut memo = Memo::default();
    let policy = bench.resolve(&["program", "tested"], Direction::Import);
    for (prefix, steps) in [
        ("10.1.0.0/17", &["program: filter, set local-pref 300: next", "tested, tagged: match: accept"][..]),
        ("10.1.0.0/16", &["program: filter: next", "tested, tagged: no match (local-pref 300)", "tested: reject"]),
        ("11.1.0.0/16", &["program: filter: reject"]),
    ] {
        let (prefix, mut trace) = (prefix.parse().expect("a prefix"), Trace::default());
        let verdict = policy.explain(&attrs, &FROM, &prefix, &mut trace);
        assert_eq!(trace.steps.iter().map(ToString::to_string).collect::<Vec<_>>(), steps);
        assert_eq!(matches!(verdict, Verdict::Accept(_)), steps.len() == 2);
        for _ in 0..2 {
            assert_eq!(policy.judge(&attrs, &FROM, &prefix, &mut memo), verdict);
        }
    }
    // Nobody is left to decide.
    let (alone, mut trace) = (bench.resolve(&["program"], Direction::Import), Trace::default());
    let verdict = alone.explain(&attrs, &FROM, &"10.1.0.0/16".parse().expect("a prefix"), &mut trace);
    assert_eq!(verdict, Verdict::Reject);
    assert_eq!(trace.decided_by().as_deref(), Some("filter \"program\", which no other follows"));
}
