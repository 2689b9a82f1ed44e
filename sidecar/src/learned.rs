//! The best routes of the speaker, as its route watch tells them.
//!
//! A watch begins with a snapshot; changes can come between its parts, and the last word on a prefix counts. What an
//! earlier watch said and this one has not confirmed stays until the snapshot's end: then the truth is known again and
//! what is stale goes. A broken watch changes nothing (fail-static).

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr};

use ipnet::IpNet;

/// Where a learned route leads.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Path {
    /// The next hop; for IPv6 the global one, or a link-local one that stands alone.
    pub next_hop: IpAddr,
    /// The link-local address that came with it (RFC 2545 §3).
    pub link_local: Option<Ipv6Addr>,
    /// Name of the interface a link-local next hop is on, as the neighbor's address says it.
    pub interface: Option<String>,
}

/// A best path that was learned from a neighbor, or one that is originated by the speaker itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The destination.
    pub prefix: IpNet,
    /// Where it leads; none for a route that this speaker originates.
    pub path: Option<Path>,
}

/// What a route watch says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RouteEvent {
    /// A new watch begins.
    Started,
    /// Part of the table.
    Snapshot(Vec<Route>),
    /// The table is complete.
    SnapshotEnd,
    /// Best paths that are new or others than before. All paths of a prefix come in one event.
    Changed(Vec<Route>),
    /// Prefixes without a usable path.
    Withdrawn(Vec<IpNet>),
    /// A watch goes on where the one before ended: nothing was missed.
    Resumed,
    /// The watch is over; another one will begin.
    Ended,
}

#[derive(Debug)]
struct Entry {
    paths: BTreeSet<Path>,
    watch: u64,
}

/// The routes that the speaker has learned.
#[derive(Debug, Default)]
pub(crate) struct Learned {
    routes: BTreeMap<IpNet, Entry>,
    watch: u64,
    /// A snapshot has ended at least once.
    known: bool,
    /// The snapshot of this watch, or of the one that it goes on with, has ended.
    told: bool,
    /// A watch runs that has told everything.
    current: bool,
}

impl Learned {
    /// Takes an event in; the prefixes that may have changed.
    pub(crate) fn apply(&mut self, event: RouteEvent) -> BTreeSet<IpNet> {
        match event {
            RouteEvent::Started => {
                self.watch += 1;
                self.current = false;
                self.told = false;
                BTreeSet::new()
            }
            RouteEvent::Snapshot(routes) | RouteEvent::Changed(routes) => self.learn(routes),
            RouteEvent::Withdrawn(prefixes) => {
                prefixes.into_iter().filter(|prefix| self.routes.remove(prefix).is_some()).collect()
            }
            RouteEvent::SnapshotEnd => {
                self.known = true;
                self.told = true;
                self.current = true;
                let watch = self.watch;
                self.routes.extract_if(.., |_, entry| entry.watch != watch).map(|(prefix, _)| prefix).collect()
            }
            RouteEvent::Resumed => {
                self.current = self.told;
                BTreeSet::new()
            }
            RouteEvent::Ended => {
                self.current = false;
                BTreeSet::new()
            }
        }
    }

    fn learn(&mut self, routes: Vec<Route>) -> BTreeSet<IpNet> {
        let mut together: BTreeMap<IpNet, BTreeSet<Path>> = BTreeMap::new();
        for Route { prefix, path } in routes {
            together.entry(prefix.trunc()).or_default().extend(path);
        }
        let mut changed = BTreeSet::new();
        for (prefix, paths) in together {
            let entry = Entry { paths, watch: self.watch };
            let is_same = self.routes.get(&prefix).is_some_and(|known| known.paths == entry.paths);
            self.routes.insert(prefix, entry);
            if !is_same {
                changed.insert(prefix);
            }
        }
        changed
    }

    /// Whether the whole table has been told at least once, so that what is not in it is stale.
    pub(crate) fn is_known(&self) -> bool {
        self.known
    }

    /// Whether the table is that of a running watch.
    pub(crate) fn is_current(&self) -> bool {
        self.current
    }

    /// The paths to a prefix; none when it was not learned, or is originated here.
    pub(crate) fn paths(&self, prefix: &IpNet) -> impl Iterator<Item = &Path> {
        self.routes.get(prefix).into_iter().flat_map(|entry| &entry.paths)
    }

    /// All prefixes that were learned from others.
    pub(crate) fn prefixes(&self) -> impl Iterator<Item = IpNet> {
        self.routes.iter().filter(|(_, entry)| !entry.paths.is_empty()).map(|(prefix, _)| *prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(prefix: &str, next_hop: &str) -> Route {
        let next_hop = next_hop.parse().expect("an address");
        let path = Path { next_hop, link_local: None, interface: None };
        Route { prefix: prefix.parse().expect("a prefix"), path: Some(path) }
    }

    fn prefixes(learned: &Learned) -> Vec<String> {
        learned.prefixes().map(|prefix| prefix.to_string()).collect()
    }

    #[test]
    fn broken_watch_changes_nothing_until_the_next_snapshot_ends() {
        let mut learned = Learned::default();
        learned.apply(RouteEvent::Started);
        learned.apply(RouteEvent::Snapshot(vec![route("10.2.0.0/24", "192.0.2.2"), route("10.3.0.0/24", "192.0.2.3")]));
        assert!(!learned.is_known());
        learned.apply(RouteEvent::SnapshotEnd);
        assert!(learned.is_known() && learned.is_current());
        learned.apply(RouteEvent::Ended);
        learned.apply(RouteEvent::Started);
        learned.apply(RouteEvent::Snapshot(vec![route("10.3.0.0/24", "192.0.2.3")]));
        assert_eq!(prefixes(&learned), ["10.2.0.0/24", "10.3.0.0/24"]);
        assert!(!learned.is_current());
        let stale = learned.apply(RouteEvent::SnapshotEnd);
        assert_eq!(stale.into_iter().map(|prefix| prefix.to_string()).collect::<Vec<_>>(), ["10.2.0.0/24"]);
        assert_eq!(prefixes(&learned), ["10.3.0.0/24"]);
    }

    #[test]
    fn paths_that_come_together_are_equal_and_the_last_word_counts() {
        let mut learned = Learned::default();
        let prefix: IpNet = "10.2.0.0/24".parse().expect("a prefix");
        learned.apply(RouteEvent::Started);
        learned.apply(RouteEvent::Snapshot(vec![route("10.2.0.0/24", "192.0.2.2"), route("10.2.0.0/24", "192.0.2.3")]));
        assert_eq!(learned.paths(&prefix).count(), 2);
        assert!(learned.apply(RouteEvent::Changed(vec![route("10.2.0.0/24", "192.0.2.4")])).contains(&prefix));
        assert_eq!(learned.paths(&prefix).count(), 1);
        assert!(learned.apply(RouteEvent::Changed(vec![route("10.2.0.0/24", "192.0.2.4")])).is_empty());
    }

    #[test]
    fn own_route_hides_what_was_learned() {
        let mut learned = Learned::default();
        learned.apply(RouteEvent::Started);
        learned.apply(RouteEvent::Snapshot(vec![route("10.2.0.0/24", "192.0.2.2")]));
        let prefix = "10.2.0.0/24".parse().expect("a prefix");
        assert_eq!(learned.apply(RouteEvent::Changed(vec![Route { prefix, path: None }])).len(), 1);
        assert_eq!(prefixes(&learned), Vec::<String>::new());
    }
}
