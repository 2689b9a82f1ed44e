//! Filters in Roto: programs that judge single routes, compiled to machine code when the configuration is read.
//!
//! A program has a `filtermap main(route: Route)`; what it asks of a route and changes on it are the functions below. It
//! is called for every route in the middle of its way and costs one piece of memory each time.

use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bgp_engine::attr::AttrRef;
use bgp_engine::policy::{
    Action, Amount, AnyCommunity, Filter, Judgment, NewNextHop, OriginValidation, Outcome, Provenance, RpkiState,
};
use bgp_wire::attribute::{Community, LargeCommunity, as_path, code};
use inetnum::addr::Prefix;
use inetnum::asn::Asn;
use ipnet::IpNet;
use roto::{FileTree, NoCtx, RegistrationError, RotoReport, Runtime, SourceFile, TypedFunc, Val, Verdict, library};

/// What the compiler calls a source.
const NAME: &str = "filter";
/// LOCAL_PREF of a route without one, as in the decision process.
const DEFAULT_LOCAL_PREF: u32 = 100;

/// Why a source is no filter.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Mistake {
    /// Counted from 1.
    pub(crate) line: usize,
    /// Counted from 1.
    pub(crate) column: usize,
    pub(crate) message: String,
    pub(crate) help: String,
}

/// A route as a program sees it.
struct Subject {
    prefix: Prefix,
    attrs: AttrRef,
    from: Provenance,
    rpki: RpkiState,
    /// What the program changes.
    actions: Mutex<Vec<Action>>,
    /// The program leaves what it accepts to the next policy.
    goes_on: AtomicBool,
}

#[derive(Clone)]
struct Route(Arc<Subject>);

impl PartialEq for Route {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Route {
    fn attribute(&self, code: u8) -> &[u8] {
        self.0.attrs.block().get(code).unwrap_or_default()
    }

    fn has(&self, community: AnyCommunity) -> bool {
        let mut octets = Vec::with_capacity(12);
        community.encode(&mut octets);
        self.attribute(community.code()).chunks_exact(octets.len()).any(|one| one == octets)
    }

    fn change(&self, action: Action) {
        self.0.actions.lock().unwrap_or_else(PoisonError::into_inner).push(action);
    }

    fn remove(&self, community: AnyCommunity) {
        // What is written like a community is a pattern that stands for it alone.
        if let Ok(pattern) = community.to_string().parse() {
            self.change(Action::RemoveCommunities(vec![pattern]));
        }
    }
}

fn standard(high: u16, low: u16) -> AnyCommunity {
    AnyCommunity::Standard(Community(u32::from(high) << 16 | u32::from(low)))
}

fn large(global: u32, local1: u32, local2: u32) -> AnyCommunity {
    AnyCommunity::Large(LargeCommunity { global, local1, local2 })
}

/// What programs can do.
fn runtime() -> Result<Runtime<NoCtx>, RegistrationError> {
    Runtime::from_lib(library! {
        /// A route under judgment.
        #[clone] type Route = Val<Route>;

        impl Val<Route> {
            /// Its prefix.
            fn prefix(route: Val<Route>) -> Prefix { route.0.0.prefix }
            /// Whether its prefix is within another one.
            fn is_within(route: Val<Route>, prefix: Prefix) -> bool { prefix.covers(route.0.0.prefix) }
            /// The length of its prefix.
            fn prefix_length(route: Val<Route>) -> u8 { route.0.0.prefix.len() }
            /// The neighbor that it comes from.
            fn peer_address(route: Val<Route>) -> IpAddr { route.0.0.from.address }
            /// The AS of that neighbor; AS0 of routes originated here.
            fn peer_as(route: Val<Route>) -> Asn { Asn::from_u32(route.0.0.from.asn) }
            /// Its next hop.
            fn next_hop(route: Val<Route>) -> IpAddr { route.0.0.attrs.next_hop.addr() }
            /// Whether an AS is in its path.
            fn path_contains(route: Val<Route>, asn: Asn) -> bool {
                as_path::contains(route.0.attribute(code::AS_PATH), asn.into_u32())
            }
            /// The length of its path as the decision process counts it.
            fn path_length(route: Val<Route>) -> u32 { route.0.0.attrs.digest.as_path_len }
            /// The last AS of its path; AS0 if there is none.
            fn origin_as(route: Val<Route>) -> Asn {
                Asn::from_u32(as_path::origin_as(route.0.attribute(code::AS_PATH)).unwrap_or(0))
            }
            /// LOCAL_PREF; 100 where there is none.
            fn local_pref(route: Val<Route>) -> u32 { route.0.0.attrs.digest.local_pref.unwrap_or(DEFAULT_LOCAL_PREF) }
            /// MULTI_EXIT_DISC; 0 where there is none.
            fn med(route: Val<Route>) -> u32 { route.0.0.attrs.digest.med.unwrap_or(0) }
            /// Whether it has a community (RFC 1997).
            fn has_community(route: Val<Route>, high: u16, low: u16) -> bool { route.0.has(standard(high, low)) }
            /// Whether it has a large community (RFC 8092).
            fn has_large_community(route: Val<Route>, global: u32, local1: u32, local2: u32) -> bool {
                route.0.has(large(global, local1, local2))
            }
            /// Whether its origin is valid (RFC 6811).
            fn is_rpki_valid(route: Val<Route>) -> bool { route.0.0.rpki == RpkiState::Valid }
            /// Whether its origin is invalid.
            fn is_rpki_invalid(route: Val<Route>) -> bool { route.0.0.rpki == RpkiState::Invalid }
            /// Leaves what is accepted to the next policy of the list.
            fn next(route: Val<Route>) { route.0.0.goes_on.store(true, Ordering::Relaxed); }
            /// Sets LOCAL_PREF.
            fn set_local_pref(route: Val<Route>, value: u32) { route.0.change(Action::LocalPref(Amount::Set(value))); }
            /// Sets MULTI_EXIT_DISC.
            fn set_med(route: Val<Route>, value: u32) { route.0.change(Action::Med(Amount::Set(value))); }
            /// Takes MULTI_EXIT_DISC away.
            fn remove_med(route: Val<Route>) { route.0.change(Action::NoMed); }
            /// Sets the weight, which stands before LOCAL_PREF and is never sent.
            fn set_weight(route: Val<Route>, value: u16) { route.0.change(Action::Weight(value)); }
            /// Sets the next hop; a route whose family cannot have it keeps its own.
            fn set_next_hop(route: Val<Route>, address: IpAddr) {
                route.0.change(Action::NextHop(NewNextHop::Address(address)));
            }
            /// Each session's own address becomes the next hop.
            fn set_next_hop_self(route: Val<Route>) { route.0.change(Action::NextHop(NewNextHop::Own)); }
            /// The neighbor that it comes from becomes the next hop.
            fn set_next_hop_peer(route: Val<Route>) { route.0.change(Action::NextHop(NewNextHop::Peer)); }
            /// Puts an AS in front of the path.
            fn prepend(route: Val<Route>, asn: Asn) { route.0.change(Action::Prepend(vec![asn.into_u32()])); }
            /// Adds a community.
            fn add_community(route: Val<Route>, high: u16, low: u16) {
                route.0.change(Action::AddCommunities(vec![standard(high, low)]));
            }
            /// Removes a community.
            fn remove_community(route: Val<Route>, high: u16, low: u16) { route.0.remove(standard(high, low)); }
            /// Adds a large community.
            fn add_large_community(route: Val<Route>, global: u32, local1: u32, local2: u32) {
                route.0.change(Action::AddCommunities(vec![large(global, local1, local2)]));
            }
            /// Removes a large community.
            fn remove_large_community(route: Val<Route>, global: u32, local1: u32, local2: u32) {
                route.0.remove(large(global, local1, local2));
            }
        }
    })
}

/// `filtermap main(route: Route)`.
type Main = fn(Val<Route>) -> Verdict<(), ()>;

/// A program that can be called.
struct Program {
    main: TypedFunc<NoCtx, Main>,
    reads_rpki: bool,
}

impl Filter for Program {
    fn decide(
        &self,
        prefix: &IpNet,
        attrs: &AttrRef,
        from: &Provenance,
        validation: &dyn OriginValidation,
    ) -> Judgment {
        let reject = || Judgment { changes: Vec::new(), then: Outcome::Reject };
        let origin = || as_path::origin_as(attrs.block().get(code::AS_PATH).unwrap_or_default());
        let rpki = if self.reads_rpki { validation.state(prefix, origin()) } else { RpkiState::NotFound };
        let Ok(prefix) = Prefix::new_relaxed(prefix.addr(), prefix.prefix_len()) else { return reject() };
        let subject = Arc::new(Subject {
            prefix,
            attrs: attrs.clone(),
            from: *from,
            rpki,
            actions: Mutex::default(),
            goes_on: AtomicBool::new(false),
        });
        match self.main.call(Val(Route(Arc::clone(&subject)))) {
            Verdict::Accept(()) => {
                let changes = std::mem::take(&mut *subject.actions.lock().unwrap_or_else(PoisonError::into_inner));
                let goes_on = subject.goes_on.load(Ordering::Relaxed);
                Judgment { changes, then: if goes_on { Outcome::Next } else { Outcome::Accept } }
            }
            Verdict::Reject(()) => reject(),
        }
    }

    fn reads_rpki(&self) -> bool {
        self.reads_rpki
    }
}

/// Compiles a source.
///
/// # Errors
/// The first mistake in it, and where.
pub(crate) fn compile(source: &str) -> Result<Arc<dyn Filter>, Mistake> {
    // A mistake of the compiler's own must not end the daemon when a file is reloaded.
    catch_unwind(AssertUnwindSafe(|| try_compile(source)))
        .unwrap_or_else(|_| Err(at_start("the compiler of filters fails on this one".to_owned())))
}

fn try_compile(source: &str) -> Result<Arc<dyn Filter>, Mistake> {
    let runtime = runtime().map_err(|error| at_start(error.to_string()))?;
    let file = SourceFile {
        name: NAME.to_owned(),
        module_name: "pkg".to_owned(),
        contents: source.to_owned(),
        location_offset: 0,
        children: Vec::new(),
    };
    let mut package = FileTree { files: vec![file] }.compile(&runtime).map_err(|report| first(&report))?;
    let main = package.get_function("main").map_err(|error| {
        let said = error.to_string();
        let help = "a filter begins with: filtermap main(route: Route)".to_owned();
        Mistake { help, ..at_start(said.lines().next().unwrap_or_default().trim().to_owned()) }
    })?;
    Ok(Arc::new(Program { main, reads_rpki: source.contains("rpki") }))
}

fn at_start(message: String) -> Mistake {
    Mistake { line: 1, column: 1, message, help: String::new() }
}

/// What a report says: it gives its message, place and label as text only.
///
/// ```text
/// Error: Type error: cannot find value `routes` in this scope
///    ╭─[ filter:3:9 ]
///    │
///  3 │         routes.set_med(5);
///    │         ──┬───
///    │           ╰───── not found in this scope
/// ───╯
/// ```
fn first(report: &RotoReport) -> Mistake {
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = report.write(&mut text, false);
    let message = text.lines().next().unwrap_or_default().trim_start_matches("Error: ").to_owned();
    let place = text.split(&format!("{NAME}:")).nth(1).unwrap_or_default();
    let mut numbers = place.split(|c: char| !c.is_ascii_digit()).map(|number| number.parse().unwrap_or(1));
    let (line, column) = (numbers.next().unwrap_or(1), numbers.next().unwrap_or(1));
    let label = text.lines().find_map(|line| line.split_once('╰').map(|(_, rest)| rest));
    let help = label.map(|rest| rest.trim_start_matches('─').trim().to_owned()).unwrap_or_default();
    Mistake { line, column, message, help }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use bgp_engine::attr::{Interner, edit};
    use bgp_engine::id::SourceKind;
    use bgp_engine::policy::{Definitions, FilterProgram, Library, NoValidator};
    use bgp_wire::Family;
    use bgp_wire::attribute::{AsPath, Attribute, AttributeBlock, Origin};
    use bgp_wire::update::NextHop;

    use super::*;

    /// What a program says of a route to 10.1.0.0/24 from AS 65001 with the path 65001 65002 and the community
    /// 65000:7: what is changed, and what then. What is rejected is not changed.
    fn decide(body: &str) -> (Vec<String>, Outcome) {
        let program = compile(&format!("filtermap main(route: Route) {{ {body} }}")).expect(body);
        let attributes = edit::build(&[
            Attribute::Origin(Origin::Igp),
            Attribute::AsPath(AsPath::sequence(&[65_001, 65_002])),
            Attribute::MultiExitDisc(9),
            Attribute::Communities(vec![Community(65_000 << 16 | 7)]),
            Attribute::LargeCommunities(vec![LargeCommunity { global: 65_000, local1: 1, local2: 2 }]),
        ]);
        let next_hop = NextHop::V4(Ipv4Addr::new(192, 0, 2, 9));
        let attrs = Interner::new(1).intern(next_hop, AttributeBlock::from_canonical(&attributes));
        let address = Ipv4Addr::new(192, 0, 2, 7).into();
        let from = Provenance { family: Family::IPV4_UNICAST, address, asn: 65_001, kind: SourceKind::External };
        let prefix = "10.1.0.0/24".parse().expect("a prefix");
        let Judgment { changes, then } = program.decide(&prefix, &attrs, &from, &NoValidator);
        (changes.iter().map(ToString::to_string).collect(), then)
    }

    fn holds(condition: &str) -> bool {
        decide(&format!("if {condition} {{ accept }} else {{ reject }}")).1 == Outcome::Accept
    }

    #[test]
    fn a_program_reads_what_a_route_has() {
        for condition in [
            "route.prefix() == 10.1.0.0 / 24",
            "route.is_within(10.0.0.0 / 8)",
            "route.prefix_length() == 24",
            "route.peer_address() == 192.0.2.7",
            "route.peer_as() == AS65001",
            "route.next_hop() == 192.0.2.9",
            "route.path_contains(AS65002)",
            "route.path_length() == 2",
            "route.origin_as() == AS65002",
            "route.local_pref() == 100",
            "route.med() == 9",
            "route.has_community(65000, 7)",
            "route.has_large_community(65000, 1, 2)",
        ] {
            assert!(holds(condition), "{condition}");
        }
        for condition in [
            "route.is_within(11.0.0.0 / 8)",
            "route.path_contains(AS65003)",
            "route.has_community(65000, 8)",
            "route.has_large_community(65000, 1, 3)",
            "route.is_rpki_valid()",
            "route.is_rpki_invalid()",
        ] {
            assert!(!holds(condition), "{condition}");
        }
    }

    #[test]
    fn programs_that_ask_for_the_state_of_the_origin_are_asked_again_when_that_changes() {
        let program = |body: &str| {
            let source = format!("filtermap main(route: Route) {{ {body} }}");
            FilterProgram { filter: compile(&source).expect(body), source }
        };
        let mut definitions = Definitions::default();
        let judges = program("if route.is_rpki_invalid() { reject } else { accept }");
        definitions.filters.insert("judges".to_owned(), judges);
        definitions.filters.insert("indifferent".to_owned(), program("accept"));
        let library = Library::new(Arc::new(Interner::new(1))).with(&definitions).expect("all are there");
        assert_eq!(library.reading_rpki(), ["judges"]);
    }

    #[test]
    fn what_an_accepted_route_is_changed_to_is_in_order() {
        let body = "route.set_local_pref(200); route.set_med(5); route.prepend(AS65000); route.add_community(65000, 1); \
                    route.remove_community(65000, 7); route.add_large_community(65000, 3, 4); \
                    route.remove_large_community(65000, 1, 2); route.set_weight(7); route.set_next_hop(192.0.2.1); \
                    route.set_next_hop(2001:db8::1); route.set_next_hop_self(); route.set_next_hop_peer(); \
                    route.remove_med(); accept";
        let expected = [
            "local-pref 200",
            "med 5",
            "prepend 65000",
            "add-communities 65000:1",
            "remove-communities 65000:7",
            "add-communities 65000:3:4",
            "remove-communities 65000:1:2",
            "weight 7",
            "next-hop 192.0.2.1",
            "next-hop 2001:db8::1",
            "next-hop self",
            "next-hop peer",
            "med none",
        ];
        assert_eq!(decide(body), (expected.map(str::to_owned).to_vec(), Outcome::Accept));
        assert_eq!(decide("route.set_local_pref(200); reject"), (Vec::new(), Outcome::Reject));
    }

    #[test]
    fn what_is_accepted_can_go_on_to_the_next_policy() {
        assert_eq!(decide("route.next(); accept"), (Vec::new(), Outcome::Next));
        assert_eq!(decide("route.set_med(5); route.next(); accept"), (vec!["med 5".to_owned()], Outcome::Next));
        assert_eq!(decide("route.next(); reject"), (Vec::new(), Outcome::Reject));
    }

    #[test]
    fn a_mistake_has_a_line_and_a_column() {
        let mistake = |source: &str| compile(source).map(|_| ()).expect_err("it is wrong");
        let typed = mistake("filtermap main(route: Route) {\n    route.set_med(true);\n    accept\n}\n");
        assert_eq!((typed.line, typed.column), (2, 19), "{typed:?}");
        assert!(typed.message.contains("Type error"), "{typed:?}");
        let parsed = mistake("filtermap main(route: Route) {\n    if { accept }\n}\n");
        assert_eq!((parsed.line, parsed.column), (3, 1), "{parsed:?}");
        let missing = mistake("filtermap other(route: Route) {\n    accept\n}\n");
        assert!(missing.help.contains("filtermap main"), "{missing:?}");
    }
}
