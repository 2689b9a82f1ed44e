//! Route listings and explanations.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

use bgp_engine::id::PeerIndex;
use bgp_engine::policy::Trace;
use bgp_engine::rib::{self, Cursor, RouteQuery, Scope, Slice};
use bgp_engine::session::State;
use bgp_wire::Family;
use bgp_wire::attribute::code;
use ipnet::IpNet;
use tokio::sync::{mpsc, oneshot};

use super::{FAMILIES, Reads, record, status_of};
use crate::peer::NeighborCell;
use crate::runtime::handle::{
    Candidate, ControlError, Explanation, ExportVerdict, RouteFilter, RoutePage, RouteRecord,
};
use crate::runtime::rib_worker::RibControl;

/// Destinations that a partition visits for one slice: some tens of microseconds of its time.
const SLICE: usize = 512;
/// Slices that may wait for a reader; the walk goes on at the reader's pace.
const QUEUE: usize = 8;

/// A place in a listing: where a page ended and the next one begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Place {
    family: usize,
    partition: usize,
    cursor: Cursor,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.family, self.partition, self.cursor.position())
    }
}

/// A text is not a place in a listing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a token, expected one that a page ended with")]
pub struct NotAPlace;

impl FromStr for Place {
    type Err = NotAPlace;

    fn from_str(text: &str) -> Result<Self, NotAPlace> {
        let mut numbers = text.split('-').map(str::parse::<u32>);
        match (numbers.next(), numbers.next(), numbers.next(), numbers.next()) {
            (Some(Ok(family)), Some(Ok(partition)), Some(Ok(cursor)), None) => {
                Ok(Self { family: family as usize, partition: partition as usize, cursor: Cursor::at(cursor) })
            }
            _ => Err(NotAPlace),
        }
    }
}

/// Walks the tables in a task of its own.
pub(super) fn stream(reads: Reads, filter: RouteFilter) -> mpsc::Receiver<RoutePage> {
    let (sender, receiver) = mpsc::channel(QUEUE);
    tokio::spawn(async move {
        let mut walk = Walk::new(&reads, &filter);
        if filter.covering {
            let routes = longest_match(walk).await;
            // A reader that has gone needs no answer.
            let _ = sender.send(RoutePage { routes, next: None }).await;
            return;
        }
        while let Some(routes) = walk.next().await {
            if sender.send(RoutePage { routes, next: None }).await.is_err() {
                return;
            }
        }
        if let Some(next) = walk.next_page() {
            let _ = sender.send(RoutePage { routes: Vec::new(), next: Some(next) }).await;
        }
    });
    receiver
}

/// A walk through the tables for what matches, up to the size of a page.
pub(in crate::runtime) struct Walk<'a> {
    reads: &'a Reads,
    filter: &'a RouteFilter,
    families: Vec<Family>,
    place: Place,
    left: usize,
}

impl<'a> Walk<'a> {
    pub(in crate::runtime) fn new(reads: &'a Reads, filter: &'a RouteFilter) -> Self {
        let left = filter.size.unwrap_or(usize::MAX);
        Self { reads, filter, families: families(filter), place: filter.start, left }
    }

    /// The next routes; `None` at the end of the page, and when the daemon stops.
    pub(in crate::runtime) async fn next(&mut self) -> Option<Vec<RouteRecord>> {
        let reads = self.reads;
        while self.left > 0 {
            let &family = self.families.get(self.place.family)?;
            let query = query(reads, self.filter, family);
            let Some(query) = query.filter(|_| self.place.partition < reads.fabric.partitions.len()) else {
                self.place = Place { family: self.place.family + 1, ..Place::default() };
                continue;
            };
            let query = RouteQuery { routes_max: self.left, ..query };
            let slice = ask(reads, self.place.partition, &query, self.place.cursor).await?;
            self.place = match slice.next {
                Some(cursor) => Place { cursor, ..self.place },
                None => Place { partition: self.place.partition + 1, cursor: Cursor::default(), ..self.place },
            };
            let now = reads.fabric.uptime_seconds();
            let records = slice.routes.into_iter().map(|view| record::of_view(reads, family, view, now));
            let records: Vec<RouteRecord> = records.filter(|record| wants(self.filter, record)).collect();
            self.left = self.left.saturating_sub(records.len());
            if !records.is_empty() {
                return Some(records);
            }
        }
        None
    }

    /// Where the next page begins, if there may be one.
    fn next_page(&self) -> Option<Place> {
        (self.place.family < self.families.len()).then_some(self.place)
    }
}

/// Whether a route is wanted, as far as partitions do not say it.
fn wants(filter: &RouteFilter, record: &RouteRecord) -> bool {
    let block = record.attrs.block();
    let path = || block.get(code::AS_PATH).unwrap_or_default();
    filter.validation.is_none_or(|wanted| record.validation == Some(wanted))
        && (filter.communities.members.is_empty() || filter.communities.matches(block))
        && filter.as_path.as_ref().is_none_or(|pattern| pattern.matches(path()))
}

/// Partitions hold different lengths, so each has its own longest match: the longest of them is the answer.
pub(super) async fn longest_match(mut walk: Walk<'_>) -> Vec<RouteRecord> {
    let mut all = Vec::new();
    while let Some(records) = walk.next().await {
        all.extend(records);
    }
    let longest = all.iter().map(|record| record.prefix.prefix_len()).max();
    all.retain(|record| Some(record.prefix.prefix_len()) == longest);
    all
}

fn families(filter: &RouteFilter) -> Vec<Family> {
    let by_prefix = filter.prefix.map(Family::unicast_of);
    let wanted = |family: &Family| filter.families.is_empty() || filter.families.contains(family);
    FAMILIES.into_iter().filter(|f| wanted(f) && by_prefix.is_none_or(|w| w == *f)).collect()
}

/// The partitions' form of a filter; `None` when nothing can match.
fn query(reads: &Reads, filter: &RouteFilter, family: Family) -> Option<RouteQuery> {
    let cell = |address: Option<IpAddr>| match address {
        Some(address) => reads.directory.get(address).map(Some),
        None => Some(None),
    };
    let from = cell(filter.from)?.map(|cell| cell.index);
    let (to, former) = match cell(filter.to)? {
        Some(cell) => {
            let group = group_of(&cell, family)?;
            (Some((group, cell.index)), cell.former(group))
        }
        None => (None, None),
    };
    let scope = match (filter.covering, filter.longer) {
        (true, _) => Scope::Covering,
        (false, true) => Scope::Longer,
        (false, false) => Scope::Exact,
    };
    let RouteFilter { prefix, best_only, multipath, .. } = *filter;
    Some(RouteQuery { family, prefix, scope, from, to, former, best_only, multipath, routes_max: usize::MAX })
}

fn group_of(cell: &NeighborCell, family: Family) -> Option<bgp_engine::id::GroupIndex> {
    cell.memberships().into_iter().find(|(of, _)| *of == family).map(|(_, group)| group)
}

pub(super) async fn ask(reads: &Reads, partition: usize, query: &RouteQuery, cursor: Cursor) -> Option<Slice> {
    let (reply, answer) = oneshot::channel();
    let question = RibControl::Query { query: query.clone(), cursor, limit: SLICE, reply };
    reads.fabric.partitions.get(partition)?.tell(question);
    answer.await.ok()
}

/// Asks the partition that has the prefix to run decision and export again, and says what came out.
pub(super) async fn explain(reads: &Reads, prefix: IpNet, to: Option<IpAddr>) -> Result<Explanation, ControlError> {
    let family = Family::unicast_of(prefix);
    let only = match to {
        Some(address) => match reads.directory.get(address) {
            Some(cell) => vec![cell],
            None => return Err(ControlError::NotFound { what: format!("neighbor {address}") }),
        },
        None => reads.directory.behind(None),
    };
    let answers = reads.fabric.ask_all(|reply| RibControl::Explain { family, prefix, reply }).await;
    let Some(found) = answers.into_iter().flatten().next() else {
        return Err(ControlError::NotFound { what: format!("a route to {prefix}") });
    };
    let now = reads.fabric.uptime_seconds();
    // Whoever asks about one neighbor gets an answer about it.
    let untold = |cell: &Arc<NeighborCell>| to.map(|_| untold(cell, family));
    let exports = only.iter().filter_map(|cell| export_of(cell, family, &found).or_else(|| untold(cell))).collect();
    let candidates = found.candidates.into_iter().map(|candidate| {
        let verdict = candidate.verdict;
        let is_refused = candidate.route.rejection.is_some_and(|rejection| !rejection.is_by_policy());
        let route = record::of_view(reads, family, candidate.route, now);
        let verdict = match (&verdict, &route.rejected) {
            (rib::Verdict::Unusable(_), Some(why)) => format!("not usable: {why}"),
            _ => verdict.to_string(),
        };
        let refused = route.rejected.clone().filter(|_| is_refused);
        let verdict = by(verdict, &candidate.import);
        Candidate { verdict, route, received: candidate.received, provenance: candidate.from, refused }
    });
    Ok(Explanation { prefix: found.prefix, candidates: candidates.collect(), exports })
}

/// What one neighbor is told; `None` when its session is not in the family.
fn export_of(cell: &Arc<NeighborCell>, family: Family, found: &rib::Explanation) -> Option<ExportVerdict> {
    let group = group_of(cell, family)?;
    let rib::ExportView { verdict, export, .. } = found.exports.iter().find(|export| export.group == group)?.clone();
    let verdict = verdict.of(cell.index);
    let advertised = matches!(verdict, rib::MemberVerdict::Advertised { .. });
    let why = match verdict {
        // The export policy has not decided that.
        rib::MemberVerdict::Own | rib::MemberVerdict::Advertised { source: PeerIndex::LOCAL } => verdict.to_string(),
        _ => by(verdict.to_string(), &export),
    };
    Some(ExportVerdict { to: cell.address, advertised, why })
}

/// Why a neighbor is told nothing of a family at all.
fn untold(cell: &NeighborCell, family: Family) -> ExportVerdict {
    let status = status_of(cell, None);
    let has = cell.view().neighbor.settings.families.contains(&family);
    let of_family = || status.problems.iter().find(|problem| problem.starts_with(&family.to_string()));
    let why = match status.state {
        State::Established if !has => format!("{family} is not one of its families"),
        State::Established => of_family().cloned().unwrap_or_else(|| "its session has just come up".to_owned()),
        state => match status.problems.first() {
            Some(problem) => format!("its session is {state}: {problem}"),
            None => format!("its session is {state}"),
        },
    };
    ExportVerdict { to: cell.address, advertised: false, why: format!("not advertised: {why}") }
}

/// A verdict with the policy and statement that decided, where policies were asked.
fn by(verdict: String, trace: &Trace) -> String {
    match trace.decided_by() {
        Some(place) if !trace.is_built_in() => format!("{verdict} ({place})"),
        _ => verdict,
    }
}
