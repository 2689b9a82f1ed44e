//! Routes as records.

use std::net::IpAddr;

use bgp_engine::id::PeerIndex;
use bgp_engine::rib::RouteView;
use bgp_engine::stage::Rejection;
use bgp_wire::Family;
use ipnet::IpNet;

use super::Reads;
use crate::runtime::handle::RouteRecord;

/// A route of a partition's answer. `now_seconds` counts from the start of the speaker.
pub(super) fn of_view(reads: &Reads, family: Family, view: RouteView, now_seconds: u32) -> RouteRecord {
    let validation = reads.validation_of(&view.prefix, &view.attrs);
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
        rejected: view.rejection.map(|rejection| rejected(reads, rejection, &view.prefix, view.address)),
        stale: view.stale,
        validation,
    }
}

/// Why a path cannot be used; of what the guard refuses, also whose it is.
fn rejected(reads: &Reads, rejection: Rejection, prefix: &IpNet, from: IpAddr) -> String {
    let Rejection::Guard(refused) = rejection else { return rejection.to_string() };
    let peer_group = reads.directory.get(from).and_then(|cell| cell.view().neighbor.peer_group.clone());
    reads.directory.guard().explain(refused, prefix, from, peer_group.as_deref())
}
