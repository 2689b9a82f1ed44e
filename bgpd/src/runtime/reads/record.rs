//! Routes as records.

use bgp_engine::id::PeerIndex;
use bgp_engine::rib::RouteView;
use bgp_wire::Family;

use super::Reads;
use crate::runtime::handle::RouteRecord;

/// A route of a partition's answer. `now_seconds` counts from the start of the speaker.
pub(super) fn of_view(reads: &Reads, family: Family, view: RouteView, now_seconds: u32) -> RouteRecord {
    let from = (view.source.peer != PeerIndex::LOCAL).then_some(view.address);
    RouteRecord {
        family,
        prefix: view.prefix,
        path_id: view.path_id,
        from,
        from_router_id: view.source.router_id,
        interface: reads.interface_of(from, &view.attrs),
        owner: if from.is_none() { reads.owner_of(&view.prefix) } else { None },
        attrs: view.attrs,
        best: view.best,
        age_seconds: Some(now_seconds.saturating_sub(view.since_seconds)),
        reason: view.reason.map(|reason| reason.to_string()),
        rejected: view.rejection.map(|rejection| rejection.to_string()),
        stale: view.stale,
    }
}
