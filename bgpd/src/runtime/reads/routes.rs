//! Route listings and explanations.

use std::net::IpAddr;
use std::sync::Arc;

use bgp_engine::id::PeerIndex;
use bgp_engine::rib::{self, Cursor, RouteQuery, Scope, Slice};
use bgp_wire::Family;
use ipnet::IpNet;
use tokio::sync::{mpsc, oneshot};

use super::{FAMILIES, Reads, record};
use crate::peer::NeighborCell;
use crate::runtime::handle::{Candidate, ControlError, Explanation, ExportVerdict, RouteFilter, RouteRecord};
use crate::runtime::rib_worker::RibControl;

/// Destinations that a partition visits for one slice: some tens of microseconds of its time.
const SLICE: usize = 512;
/// Slices that may wait for a reader; the walk goes on at the reader's pace.
const QUEUE: usize = 8;

/// Walks the tables in a task of its own.
pub(super) fn stream(reads: Reads, filter: RouteFilter) -> mpsc::Receiver<Vec<RouteRecord>> {
    let (sender, receiver) = mpsc::channel(QUEUE);
    tokio::spawn(async move {
        if filter.covering {
            return longest_match(reads, filter, sender).await;
        }
        for family in families(&filter) {
            let Some(query) = query(&reads, &filter, family) else { continue };
            for partition in 0..reads.fabric.partitions.len() {
                if walk(&reads, partition, &query, &sender).await.is_none() {
                    return;
                }
            }
        }
    });
    receiver
}

/// Partitions hold different lengths, so each has its own longest match: the longest of them is the answer.
async fn longest_match(reads: Reads, filter: RouteFilter, sender: mpsc::Sender<Vec<RouteRecord>>) {
    let (collect, mut collected) = mpsc::channel(QUEUE);
    let walks = async {
        for family in families(&filter) {
            let Some(query) = query(&reads, &filter, family) else { continue };
            for partition in 0..reads.fabric.partitions.len() {
                // What a partition that has stopped would say is missing.
                let _ = walk(&reads, partition, &query, &collect).await;
            }
        }
        drop(collect);
    };
    let gather = async {
        let mut all = Vec::new();
        while let Some(records) = collected.recv().await {
            all.extend(records);
        }
        all
    };
    let ((), mut all) = tokio::join!(walks, gather);
    let longest = all.iter().map(|record| record.prefix.prefix_len()).max();
    all.retain(|record| Some(record.prefix.prefix_len()) == longest);
    // A reader that has gone needs no answer.
    let _ = sender.send(all).await;
}

fn families(filter: &RouteFilter) -> Vec<Family> {
    let by_prefix = filter.prefix.map(family_of);
    FAMILIES
        .into_iter()
        .filter(|f| filter.family.is_none_or(|w| w == *f) && by_prefix.is_none_or(|w| w == *f))
        .collect()
}

fn family_of(prefix: IpNet) -> Family {
    if prefix.addr().is_ipv4() { Family::IPV4_UNICAST } else { Family::IPV6_UNICAST }
}

/// The partitions' form of a filter; `None` when nothing can match.
fn query(reads: &Reads, filter: &RouteFilter, family: Family) -> Option<RouteQuery> {
    let cell = |address: Option<IpAddr>| match address {
        Some(address) => reads.directory.get(address).map(Some),
        None => Some(None),
    };
    let from = cell(filter.from)?.map(|cell| cell.index);
    let to = match cell(filter.to)? {
        Some(cell) => Some((group_of(&cell, family)?, cell.index)),
        None => None,
    };
    let scope = match (filter.covering, filter.longer) {
        (true, _) => Scope::Covering,
        (false, true) => Scope::Longer,
        (false, false) => Scope::Exact,
    };
    Some(RouteQuery { family, prefix: filter.prefix, scope, from, to, best_only: filter.best_only })
}

fn group_of(cell: &NeighborCell, family: Family) -> Option<bgp_engine::id::GroupIndex> {
    cell.memberships().into_iter().find(|(of, _)| *of == family).map(|(_, group)| group)
}

/// One partition from beginning to end; `None` when the reader has gone or the daemon stops.
async fn walk(
    reads: &Reads,
    partition: usize,
    query: &RouteQuery,
    sender: &mpsc::Sender<Vec<RouteRecord>>,
) -> Option<()> {
    let mut cursor = Cursor::default();
    loop {
        let slice = ask(reads, partition, query, cursor).await?;
        let now = reads.fabric.uptime_seconds();
        let records: Vec<_> = slice.routes.into_iter().map(|view| record::of_view(query.family, view, now)).collect();
        if !records.is_empty() {
            sender.send(records).await.ok()?;
        }
        match slice.next {
            Some(next) => cursor = next,
            None => return Some(()),
        }
    }
}

async fn ask(reads: &Reads, partition: usize, query: &RouteQuery, cursor: Cursor) -> Option<Slice> {
    let (reply, answer) = oneshot::channel();
    let question = RibControl::Query { query: query.clone(), cursor, limit: SLICE, reply };
    reads.fabric.partitions.get(partition)?.control.send(question).ok()?;
    answer.await.ok()
}

/// Asks the partition that has the prefix to run decision and export again, and says what came out.
pub(super) async fn explain(reads: &Reads, prefix: IpNet, to: Option<IpAddr>) -> Result<Explanation, ControlError> {
    let family = family_of(prefix);
    let only = match to {
        Some(address) => match reads.directory.get(address) {
            Some(cell) => vec![cell],
            None => return Err(ControlError::NotFound { what: format!("neighbor {address}") }),
        },
        None => reads.directory.all(),
    };
    let answers = reads.ask_all(|reply| RibControl::Explain { family, prefix, reply }).await;
    let Some(found) = answers.into_iter().flatten().next() else {
        return Err(ControlError::NotFound { what: format!("a route to {prefix}") });
    };
    let now = reads.fabric.uptime_seconds();
    let exports = only.iter().filter_map(|cell| export_of(cell, family, &found)).collect();
    let candidates = found.candidates.into_iter().map(|candidate| Candidate {
        verdict: candidate.verdict.to_string(),
        route: record::of_view(family, candidate.route, now),
    });
    Ok(Explanation { prefix: found.prefix, candidates: candidates.collect(), exports })
}

/// What one neighbor is told; `None` when its session is not in the family.
fn export_of(cell: &Arc<NeighborCell>, family: Family, found: &rib::Explanation) -> Option<ExportVerdict> {
    let group = group_of(cell, family)?;
    let verdict = found.exports.iter().find(|export| export.group == group)?.verdict;
    let advertised = verdict.reaches(cell.index);
    let why = match verdict {
        rib::ExportVerdict::Advertised { source } if source == cell.index => {
            "not advertised: it is this neighbor's own route".to_owned()
        }
        rib::ExportVerdict::Advertised { source: PeerIndex::LOCAL } => "advertised: originated here".to_owned(),
        rib::ExportVerdict::Advertised { .. } => "advertised".to_owned(),
        other => other.to_string(),
    };
    Some(ExportVerdict { to: cell.address, advertised, why })
}
