//! Compares what speakers hold with what they must hold.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use bgp_engine::attr::AttrRef;
use bgp_engine::rib::{RouteQuery, RouteView};
use bgp_engine::session::State;
use bgp_engine::speaker::{NeighborView, Speaker};
use bgp_wire::Family;
use bgp_wire::attribute::code;
use ipnet::IpNet;

use super::model::{self, Entry, Route};
use super::topology::Link;
use super::world::World;

/// Differences that are listed.
const LISTED: usize = 20;

/// Adj-RIB-In and best routes of all speakers as they should be, by prefix.
pub type Expected = BTreeMap<IpNet, Vec<Entry>>;

/// The next hop of each speaker's best route to each prefix.
type BestNextHops = BTreeMap<(usize, IpNet), IpAddr>;

/// Sessions that are not up: a state other than Established on one side, or two connections.
#[must_use]
pub fn sessions_down(world: &World) -> Vec<String> {
    let down = |link: &Link| {
        let [a, b] = link.ends;
        let views = [(a, b), (b, a)].map(|(of, other)| neighbor(world, of, other));
        let is_up = views.iter().all(|view| view.as_ref().is_some_and(|view| view.state == State::Established));
        let streams: BTreeSet<_> = [a, b].iter().zip(&views).map(|(host, view)| stream(world, *host, view)).collect();
        if is_up && streams.len() == 1 {
            return None;
        }
        let state = |view: &Option<NeighborView>| match view {
            Some(view) => format!("{} ({})", view.state, view.last_error.as_deref().unwrap_or("no error")),
            None => "not running".to_owned(),
        };
        Some(format!("session {a}-{b}: {} / {}", state(&views[0]), state(&views[1])))
    };
    world.topology.links.iter().filter_map(down).collect()
}

fn neighbor(world: &World, of: usize, other: usize) -> Option<NeighborView> {
    world.speaker(of)?.neighbor(world.topology.nodes[other].address.into())
}

fn stream(world: &World, host: usize, view: &Option<NeighborView>) -> Option<usize> {
    let socket = view.as_ref()?.established?;
    world.hosts[host].streams.get(&socket).copied()
}

/// Everything in which the speakers differ from the model: Adj-RIB-In, Loc-RIB, Adj-RIB-Out, counters, End-of-RIB
/// markers; and forwarding loops. Empty if all is well. All sessions must be up.
#[must_use]
pub fn differences(world: &World) -> Vec<String> {
    differences_from(world, &expected(world), None)
}

/// What all speakers should hold now, by prefix.
#[must_use]
pub fn expected(world: &World) -> Expected {
    let prefixes: BTreeSet<IpNet> = world.routes.keys().map(|(_, prefix)| *prefix).collect();
    let solved = |prefix: IpNet| (prefix, model::solve(&world.topology, &world.routes, prefix));
    prefixes.into_iter().map(solved).collect()
}

/// As [`differences`], compared with what is given, while one speaker is away.
#[must_use]
pub fn differences_from(world: &World, expected: &Expected, away: Option<usize>) -> Vec<String> {
    let mut found = Vec::new();
    let mut best = BTreeMap::new();
    for host in (0..world.topology.nodes.len()).filter(|host| Some(*host) != away) {
        let Some(speaker) = world.speaker(host) else {
            found.push(format!("{host}: no speaker"));
            continue;
        };
        for family in [Family::IPV4_UNICAST, Family::IPV6_UNICAST] {
            loc_rib(world, host, speaker, family, expected, &mut best, &mut found);
        }
        for link in world.topology.links_of(host) {
            for &family in &link.families {
                session(world, host, link, family, expected, &mut found);
            }
        }
    }
    forwarding(world, &best, away, &mut found);
    let more = found.len().saturating_sub(LISTED);
    found.truncate(LISTED);
    found.extend((more > 0).then(|| format!("and {more} more")));
    found
}

/// Compares the best routes; notes them for [`forwarding`].
fn loc_rib(
    world: &World,
    host: usize,
    speaker: &Speaker,
    family: Family,
    expected: &Expected,
    best: &mut BestNextHops,
    found: &mut Vec<String>,
) {
    let held = speaker.routes(&RouteQuery { best_only: true, ..RouteQuery::all(family) });
    let mut seen = BTreeSet::new();
    for view in &held {
        seen.insert(view.prefix);
        let local = world.topology.nodes[host].address;
        let actual = (world.topology.at(view.address).filter(|peer| *peer != host), route(view, local.into()));
        best.insert((host, view.prefix), actual.1.next_hop);
        let wanted = expected.get(&view.prefix).map(|tables| &tables[host].best).into_iter().flatten();
        let wanted: Vec<_> = wanted.map(|candidate| (candidate.from, candidate.route.clone())).collect();
        if !wanted.contains(&own_next_hop(world, host, actual.clone())) {
            found.push(format!("{host}: best for {} is {actual:?}, should be {wanted:?}", view.prefix));
        }
    }
    let missing = |(prefix, tables): (&IpNet, &Vec<Entry>)| {
        let wanted = is_of(*prefix, family) && !tables[host].best.is_empty() && !seen.contains(prefix);
        wanted.then(|| format!("{host}: no best for {prefix}, should be {:?}", tables[host].best))
    };
    found.extend(expected.iter().filter_map(missing));
    let destinations: usize = speaker.partitions().map(|partition| partition.destinations(family)).sum();
    let known = |(prefix, tables): &(&IpNet, &Vec<Entry>)| is_of(**prefix, family) && is_known(&tables[host]);
    let known = expected.iter().filter(known).count();
    if destinations != known {
        found.push(format!("{host}: {destinations} destinations of {family}, should be {known}"));
    }
}

/// An own route whose next hop was left to each session has none in the Loc-RIB.
fn own_next_hop(world: &World, host: usize, (from, mut route): (Option<usize>, Route)) -> (Option<usize>, Route) {
    if from.is_none() && route.next_hop.is_unspecified() {
        let node = &world.topology.nodes[host];
        route.next_hop = if route.next_hop.is_ipv4() { node.address.into() } else { node.address6.into() };
    }
    (from, route)
}

fn is_known(entry: &Entry) -> bool {
    !entry.best.is_empty() || entry.received.values().any(|routes| !routes.is_empty())
}

fn is_of(prefix: IpNet, family: Family) -> bool {
    matches!(prefix, IpNet::V4(_)) == (family == Family::IPV4_UNICAST)
}

/// Compares one direction of one session: what `host` has from the other end, and what that says it has told.
fn session(world: &World, host: usize, link: &Link, family: Family, expected: &Expected, found: &mut Vec<String>) {
    let other = link.other(host);
    let (Some(speaker), Some(view)) = (world.speaker(host), neighbor(world, host, other)) else { return };
    let held = speaker.routes(&RouteQuery { from: Some(view.index), ..RouteQuery::all(family) });
    let actual = by_prefix(held.iter().map(|view| (view.prefix, route(view, IpAddr::V4(Ipv4Addr::UNSPECIFIED)))));
    let told = expected.iter().filter(|(prefix, _)| is_of(**prefix, family));
    let told = told.flat_map(|(prefix, tables)| {
        let routes = tables[host].received.get(&other).into_iter().flatten();
        routes.map(|route| (*prefix, route.clone()))
    });
    let wanted = by_prefix(told);
    compare(&format!("{host}: Adj-RIB-In from {other}"), &actual, &wanted, found);
    let usable = wanted.values().flatten().filter(|route| model::is_usable(&world.topology, host, route)).count();
    let counters = speaker.partitions().map(|partition| partition.counters(family, view.index));
    let (received, accepted) = counters.fold((0, 0), |sum, one| (sum.0 + one.received, sum.1 + one.accepted));
    let wanted_received = wanted.values().map(Vec::len).sum::<usize>();
    if (received, accepted) != (wanted_received, usable) {
        found.push(format!("{host}: counts {received}, {accepted} from {other}, not {wanted_received}, {usable}"));
    }
    let (Some(sender), Some(back)) = (world.speaker(other), neighbor(world, other, host)) else { return };
    if !view.end_of_rib.contains(&family) {
        found.push(format!("{host}: no End-of-RIB of {family} from {other}"));
    }
    let group = back.memberships.iter().find(|(of, _)| *of == family).map(|(_, group)| *group);
    let to = group.map(|group| (group, back.index));
    let advertised = to.map(|_| sender.routes(&RouteQuery { to, ..RouteQuery::all(family) })).unwrap_or_default();
    let prefixes = |routes: &BTreeMap<IpNet, Vec<Route>>| {
        routes.iter().map(|(prefix, routes)| (*prefix, routes.len())).collect::<BTreeMap<_, _>>()
    };
    let advertised = by_prefix(advertised.iter().map(|view| (view.prefix, route(view, view.address))));
    if prefixes(&advertised) != prefixes(&wanted) {
        let (is, should) = (prefixes(&advertised), prefixes(&wanted));
        found.push(format!("{other}: Adj-RIB-Out to {host} is {is:?}, should be {should:?}"));
    }
}

fn by_prefix(routes: impl Iterator<Item = (IpNet, Route)>) -> BTreeMap<IpNet, Vec<Route>> {
    let mut sorted = BTreeMap::<IpNet, Vec<Route>>::new();
    routes.for_each(|(prefix, route)| sorted.entry(prefix).or_default().push(route));
    sorted.values_mut().for_each(|routes| routes.sort());
    sorted
}

fn compare(
    what: &str,
    actual: &BTreeMap<IpNet, Vec<Route>>,
    wanted: &BTreeMap<IpNet, Vec<Route>>,
    found: &mut Vec<String>,
) {
    let prefixes: BTreeSet<_> = actual.keys().chain(wanted.keys()).collect();
    let different = prefixes.into_iter().filter(|prefix| actual.get(prefix) != wanted.get(prefix));
    let said =
        |prefix: &IpNet| format!("{what}: {prefix} is {:?}, should be {:?}", actual.get(prefix), wanted.get(prefix));
    found.extend(different.map(said));
}

/// A route as the model says it.
fn route(view: &RouteView, _of: IpAddr) -> Route {
    let attrs: &AttrRef = &view.attrs;
    let block = attrs.block();
    let words = |code: u8| {
        let value = block.get(code).unwrap_or_default();
        value.chunks_exact(4).filter_map(|word| word.try_into().ok()).map(u32::from_be_bytes).collect::<Vec<_>>()
    };
    Route {
        next_hop: attrs.next_hop.addr(),
        local_pref: words(code::LOCAL_PREF).first().copied().unwrap_or(100),
        med: words(code::MULTI_EXIT_DISC).first().copied(),
        originator: words(code::ORIGINATOR_ID).first().copied().map(Ipv4Addr::from),
        clusters: words(code::CLUSTER_LIST).into_iter().map(Ipv4Addr::from).collect(),
        communities: words(code::COMMUNITIES),
    }
}

/// Follows every best route hop by hop, through the speakers' own next hops and nothing else: the way must end with
/// somebody who originates the prefix, and come by nobody twice. While a speaker is away, ways end there as well.
fn forwarding(world: &World, best: &BestNextHops, away: Option<usize>, found: &mut Vec<String>) {
    for (host, prefix) in best.keys() {
        let mut way = vec![*host];
        let mut at = *host;
        while Some(at) != away {
            let next = match best.get(&(at, *prefix)) {
                Some(next) if next.is_unspecified() => Some(at),
                Some(next) => world.topology.at(*next),
                None => None,
            };
            match next {
                Some(next) if next == at && world.routes.contains_key(&(at, *prefix)) => break,
                Some(next) if way.contains(&next) => {
                    found.push(format!("forwarding loop for {prefix}: {way:?}, then {next}"));
                    break;
                }
                Some(next) => {
                    way.push(next);
                    at = next;
                }
                // What is kept of a reflector that is away may lead to somebody who has nothing any more.
                None if away.is_some() => break,
                None => {
                    found.push(format!("the way to {prefix} ends on the way: {way:?}"));
                    break;
                }
            }
        }
    }
}

/// What is left in tables when nobody originates anything. Empty if they are.
#[must_use]
pub fn leftovers(world: &World) -> Vec<String> {
    let mut found = Vec::new();
    for host in 0..world.topology.nodes.len() {
        let partitions = world.speaker(host).into_iter().flat_map(Speaker::partitions);
        for partition in partitions {
            for family in [Family::IPV4_UNICAST, Family::IPV6_UNICAST] {
                let (paths, destinations) = (partition.paths(family), partition.destinations(family));
                if (paths, destinations) != (0, 0) {
                    found.push(format!("{host}: {paths} paths, {destinations} destinations of {family} are left"));
                }
            }
        }
    }
    found
}
