//! Reading routes without stopping routing: bounded slices with a cursor.

use std::net::IpAddr;

use bgp_wire::Family;
use ipnet::IpNet;

use super::apply::{equal_paths, line_up};
use super::decision::{Options, Reason, select};
use super::destination::{Destination, Path};
use super::peers::{Peers, position};
use super::table::{Scratch, Table};
use crate::attr::AttrRef;
use crate::id::{GroupIndex, PeerIndex, Source};
use crate::stage::{Rejection, Routed};

/// Which routes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteQuery {
    /// Of this family.
    pub family: Family,
    /// To this prefix.
    pub prefix: Option<IpNet>,
    /// What `prefix` asks for.
    pub scope: Scope,
    /// In the Adj-RIB-In of this peer.
    pub from: Option<PeerIndex>,
    /// In the Adj-RIB-Out of this group, as its member sees it.
    pub to: Option<(GroupIndex, PeerIndex)>,
    /// The group that the member comes from, with the number of its passage, while it is on its way.
    pub former: Option<(GroupIndex, u32)>,
    /// Only best paths.
    pub best_only: bool,
    /// With `best_only`, also the paths that are as good as the best one.
    pub multipath: bool,
    /// The slice ends with the destination that makes it this many routes.
    pub routes_max: usize,
}

/// Which destinations a prefix in a query stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Scope {
    /// Itself.
    #[default]
    Exact,
    /// Itself and what is in it.
    Longer,
    /// Itself and what it is in, the longest first. Partitions hold different lengths: the longest
    /// match is the longest of all partitions' answers.
    Covering,
}

impl RouteQuery {
    /// All routes of a family.
    #[must_use]
    pub fn all(family: Family) -> Self {
        Self {
            family,
            prefix: None,
            scope: Scope::Exact,
            from: None,
            to: None,
            former: None,
            best_only: false,
            multipath: false,
            routes_max: usize::MAX,
        }
    }
}

/// Where to go on; starts at the default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cursor(u32);

impl Cursor {
    /// The cursor as a number, for whoever keeps it elsewhere.
    #[must_use]
    pub fn position(self) -> u32 {
        self.0
    }

    /// The cursor that was this number.
    #[must_use]
    pub fn at(position: u32) -> Self {
        Self(position)
    }
}

/// A part of an answer.
#[derive(Debug, Clone, Default)]
pub struct Slice {
    /// Routes, those of one destination together with the best first.
    pub routes: Vec<RouteView>,
    /// Where the next part starts; `None` if this is the last.
    pub next: Option<Cursor>,
}

/// A route as people see it.
#[derive(Debug, Clone)]
pub struct RouteView {
    /// The destination.
    pub prefix: IpNet,
    /// Path identifier as received, or as sent in an Adj-RIB-Out; 0 without ADD-PATH.
    pub path_id: u32,
    /// Path identifier that groups with ADD-PATH are told.
    pub local_id: u32,
    /// Attributes after import policy; in an Adj-RIB-Out after export policy.
    pub attrs: AttrRef,
    /// Whose path it is.
    pub source: Source,
    /// The address of that peer.
    pub address: IpAddr,
    /// It is the best path to the destination.
    pub best: bool,
    /// Which rule made it the best.
    pub reason: Option<Reason>,
    /// Why it is not usable.
    pub rejection: Option<Rejection>,
    /// It is of a session that has ended (RFC 4724 §4.2).
    pub stale: bool,
    /// When it came, in seconds since the start of the speaker.
    pub since_seconds: u32,
}

impl<N: Routed> Table<N> {
    /// The routes that match among at most `limit` destinations from `cursor` on.
    pub(super) fn answer(
        &self,
        query: &RouteQuery,
        cursor: Cursor,
        limit: usize,
        peers: &Peers,
        options: Options,
    ) -> Slice {
        let mut slice = Slice::default();
        let view = |position: u32, routes: &mut Vec<RouteView>| {
            self.view(position, query, peers, options, routes);
        };
        match (query.prefix, query.scope) {
            (Some(prefix), Scope::Exact) => {
                self.find_prefix(prefix).into_iter().for_each(|position| view(position, &mut slice.routes));
            }
            (Some(prefix), Scope::Covering) => {
                let covering = covering(prefix).filter_map(|prefix| self.find_prefix(prefix));
                covering.for_each(|position| view(position, &mut slice.routes));
            }
            (within, _) => {
                let positions = self.destinations.positions();
                let limit = u32::try_from(limit.max(1)).unwrap_or(u32::MAX);
                let mut end = cursor.0.saturating_add(limit).min(positions);
                for position in cursor.0..end {
                    let Some(destination) = self.destinations.get(position) else { continue };
                    if within.is_none_or(|within| within.contains(&N::prefix(&destination.key))) {
                        view(position, &mut slice.routes);
                    }
                    if slice.routes.len() >= query.routes_max {
                        end = position + 1;
                        break;
                    }
                }
                slice.next = (end < positions).then_some(Cursor(end));
            }
        }
        slice
    }

    fn view(&self, position: u32, query: &RouteQuery, peers: &Peers, options: Options, out: &mut Vec<RouteView>) {
        if let Some((group, member)) = query.to {
            self.view_told(position, query, (group, member), peers, out);
            return;
        }
        let destination = self.destinations.at(position);
        let wanted = |path: &&Path| query.from.is_none_or(|peer| path.peer == peer);
        let mut scratch = Scratch::default();
        let equals: Vec<usize> = match query.multipath {
            true => equal_paths(destination, peers, options, &mut scratch).collect(),
            false => Vec::new(),
        };
        let reason = || {
            let mut scratch = Scratch::default();
            let incumbent = line_up(destination, peers, &mut scratch);
            select(&scratch.candidates, incumbent, options, &mut scratch.left, |_, _| {})
                .map(|selection| selection.reason)
        };
        for (at, path) in destination.paths.as_slice().iter().enumerate() {
            let best = at == 0 && destination.has_best;
            if wanted(&path) && (best || !query.best_only || equals.contains(&at)) {
                let reason = if best { reason() } else { None };
                out.push(self.view_path(destination, path, best, reason, peers));
            }
        }
    }

    fn is_stale(&self, path: &Path) -> bool {
        self.paths_of[position(path.peer)].is_stale(path.generation)
    }

    /// A path as people see it.
    pub(super) fn view_path(
        &self,
        destination: &Destination<N::Key>,
        path: &Path,
        best: bool,
        reason: Option<Reason>,
        peers: &Peers,
    ) -> RouteView {
        let peer = peers.get(path.peer);
        RouteView {
            prefix: N::prefix(&destination.key),
            path_id: path.path_id,
            local_id: path.local_id.into(),
            attrs: path.attrs.clone(),
            source: peer.source,
            address: peer.address,
            best,
            reason,
            rejection: path.rejection,
            stale: self.is_stale(path),
            since_seconds: path.since,
        }
    }

    fn view_told(
        &self,
        position: u32,
        query: &RouteQuery,
        (group, member): (GroupIndex, PeerIndex),
        peers: &Peers,
        out: &mut Vec<RouteView>,
    ) {
        let Some(slot) = self.slot_told(position, (group, member), query.former) else { return };
        let destination = self.destinations.at(position);
        let told = self.destinations.told(position, slot);
        let told = told.filter(|told| told.peer != member && query.from.is_none_or(|peer| told.peer == peer));
        for told in told {
            let is_source =
                |path: &&Path| path.peer == told.peer && (told.path_id == 0 || path.local_id == told.path_id);
            let path = destination.paths.as_slice().iter().find(is_source);
            let best = path.is_some_and(|path| destination.best().is_some_and(|best| best.local_id == path.local_id));
            if query.best_only && !best {
                continue;
            }
            let peer = peers.get(told.peer);
            out.push(RouteView {
                prefix: N::prefix(&destination.key),
                path_id: told.path_id.into(),
                local_id: told.path_id.into(),
                attrs: told.attrs.clone(),
                source: peer.source,
                address: peer.address,
                best,
                reason: None,
                rejection: None,
                stale: path.is_some_and(|path| self.is_stale(path)),
                since_seconds: path.map_or(0, |path| path.since),
            });
        }
    }
}

/// A prefix and everything it is in, the longest first.
fn covering(prefix: IpNet) -> impl Iterator<Item = IpNet> {
    std::iter::successors(Some(prefix.trunc()), IpNet::supernet)
}
