use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

use super::*;

fn name(text: &str) -> OwnerName {
    text.parse().expect("a name")
}

fn route(prefix: &str, med: u32) -> Originate {
    let prefix = prefix.parse().expect("a prefix");
    Originate {
        prefix,
        next_hop: None,
        local_pref: None,
        med: Some(med),
        communities: Vec::new(),
        large_communities: Vec::new(),
    }
}

fn set(routes: &[(&str, u32)]) -> Routes {
    routes.iter().map(|(prefix, med)| route(prefix, *med)).map(|route| (route.prefix, route)).collect()
}

fn changes(declared: &Declared) -> Vec<(String, Option<u32>)> {
    let med = |route: &Option<Originate>| route.as_ref().and_then(|route| route.med);
    declared.changes.iter().map(|(prefix, route)| (prefix.to_string(), med(route))).collect()
}

/// Some moment.
fn start() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "any instant will do, and there is no other way to have one")]
    Instant::now()
}

const LEASE: Duration = Duration::from_secs(300);

#[test]
fn restarted_owner_takes_over_and_unchanged_routes_are_not_touched() {
    let (mut owners, now) = (Owners::default(), start());
    let first = owners.open(&name("a"), LEASE, now).expect("room");
    owners.declare(&name("a"), set(&[("10.1.0.0/24", 1), ("10.2.0.0/24", 1)])).expect("room");
    owners.close(&name("a"), first, now);
    let second = owners.open(&name("a"), LEASE, now + LEASE / 2).expect("room");
    assert!(!owners.speaks(&name("a"), first) && owners.speaks(&name("a"), second));
    let declared = owners.declare(&name("a"), set(&[("10.1.0.0/24", 1), ("10.2.0.0/24", 2)])).expect("room");
    assert_eq!(changes(&declared), [("10.2.0.0/24".to_owned(), Some(2))]);
    assert!(owners.expire(now + LEASE + LEASE / 4).is_empty());
}

#[test]
fn routes_outlive_their_owner_for_the_lease_and_then_go() {
    let (mut owners, now) = (Owners::default(), start());
    let stream = owners.open(&name("a"), LEASE, now).expect("room");
    owners.declare(&name("a"), set(&[("10.1.0.0/24", 1)])).expect("room");
    owners.close(&name("a"), stream, now + LEASE / 2);
    assert_eq!(owners.next_deadline(), Some(now + LEASE / 2 + LEASE));
    assert!(owners.expire(now + LEASE).is_empty());
    let gone = owners.expire(now + 2 * LEASE);
    assert_eq!(gone.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["a"]);
    assert_eq!(changes(&gone[0].1), [("10.1.0.0/24".to_owned(), None)]);
    assert_eq!((owners.next_deadline(), owners.views().count()), (None, 0));
}

#[test]
fn first_owner_keeps_a_prefix_until_it_lets_go() {
    let mut owners = Owners::default();
    let one = set(&[("10.1.0.0/24", 1)]);
    owners.declare(&name("a"), one.clone()).expect("room");
    let second = owners.declare(&name("b"), set(&[("10.1.0.0/24", 2)])).expect("room");
    assert!(second.changes.is_empty());
    let waiting: Vec<_> = owners.waiting(&name("b")).map(|(_, holder)| holder.to_string()).collect();
    assert_eq!(waiting, ["a"]);
    // What waits can change without a trace; what is let go goes to the next in line.
    owners.declare(&name("b"), set(&[("10.1.0.0/24", 3)])).expect("room");
    let freed = owners.declare(&name("a"), Routes::new()).expect("room");
    assert_eq!(changes(&freed), [("10.1.0.0/24".to_owned(), Some(3))]);
    assert_eq!(freed.concerned, [name("b")].into());
}

#[test]
fn file_comes_before_everybody() {
    let mut owners = Owners::default();
    owners.declare(&name("a"), set(&[("10.1.0.0/24", 1)])).expect("room");
    let file = owners.declare(&OwnerName::file(), set(&[("10.1.0.0/24", 2)])).expect("room");
    assert_eq!(changes(&file), [("10.1.0.0/24".to_owned(), Some(2))]);
    assert_eq!(file.concerned, [name("a")].into());
    let back = owners.declare(&OwnerName::file(), Routes::new()).expect("room");
    assert_eq!(changes(&back), [("10.1.0.0/24".to_owned(), Some(1))]);
}

#[test]
fn bounds_refuse_and_change_nothing() {
    let (mut owners, now) = (Owners::default(), start());
    for number in 0..OWNERS_MAX {
        owners.open(&name(&format!("owner-{number}")), LEASE, now).expect("room");
    }
    assert_eq!(owners.open(&name("one-more"), LEASE, now), Err(TooMany::Owners));
    assert!(owners.open(&name("owner-7"), LEASE, now).is_ok());
    let many: Routes = (0..=OWNED_ROUTES_MAX as u32)
        .map(|number| route(&format!("{}/32", std::net::Ipv4Addr::from(number)), 1))
        .map(|route| (route.prefix, route))
        .collect();
    assert_eq!(owners.declare(&name("owner-7"), many), Err(TooMany::Routes));
    assert!(owners.originated().is_empty());
}

#[test]
fn names_say_what_is_wrong_with_them() {
    for wrong in ["", "a b", "ä", &"x".repeat(64)] {
        assert!(matches!(wrong.parse::<OwnerName>(), Err(OwnerNameError::Malformed(_))), "{wrong}");
    }
    assert!(matches!("file".parse::<OwnerName>(), Err(OwnerNameError::Reserved(_))));
    assert!("sidecar/node-1.example".parse::<OwnerName>().is_ok());
}

/// Four prefixes with some attribute.
fn sets() -> impl Strategy<Value = Routes> {
    let routes = btree_map(0..4u8, 0..3u32, 0..4);
    routes.prop_map(|routes| {
        let routes = routes.into_iter().map(|(number, med)| route(&format!("10.{number}.0.0/16"), med));
        routes.map(|route| (route.prefix, route)).collect()
    })
}

proptest! {
    /// Whatever is declared in whatever order, what was said to change adds up to what is originated, and every
    /// prefix that anybody declares is originated for exactly one of those who do.
    #[test]
    fn changes_add_up_to_what_is_originated(steps in vec((0..4usize, sets(), any::<bool>()), 1..40)) {
        let names = [OwnerName::file(), OwnerName::bgpctl(), name("a"), name("b")];
        let (mut owners, mut told) = (Owners::default(), Routes::new());
        let mut last = BTreeMap::new();
        for (who, wanted, single) in steps {
            let declared = match wanted.values().next() {
                Some(route) if single => {
                    last.entry(who).or_insert_with(Routes::new).insert(route.prefix, route.clone());
                    owners.add(&names[who], route.clone()).expect("room")
                }
                _ => {
                    last.insert(who, wanted.clone());
                    owners.declare(&names[who], wanted).expect("room")
                }
            };
            for (prefix, route) in declared.changes {
                match route {
                    Some(route) => drop(told.insert(prefix, route)),
                    None => prop_assert!(told.remove(&prefix).is_some()),
                }
            }
            prop_assert_eq!(&told, &owners.originated());
            let all: BTreeSet<IpNet> = last.values().flat_map(BTreeMap::keys).copied().collect();
            prop_assert_eq!(told.keys().copied().collect::<BTreeSet<_>>(), all);
            for (prefix, route) in &told {
                let holder = owners.holder(prefix).expect("it is originated");
                let who = names.iter().position(|name| name == holder).expect("one of them");
                prop_assert_eq!(last[&who].get(prefix), Some(route));
                let file_wants = last.get(&0).is_some_and(|routes| routes.contains_key(prefix));
                prop_assert_eq!(who == 0, file_wants);
            }
        }
    }
}
