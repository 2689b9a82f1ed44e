//! Routes as records, wherever they come from.

use bgp_engine::attr::AttrRef;
use bgp_engine::id::{PeerIndex, Source};
use bgp_engine::rib::RouteView;
use bgp_engine::stage::{AnyEmission, Cause, Emission, Member, Routed, Target};
use bgp_wire::{Family, Nlri};
use ipnet::IpNet;

use super::Directory;
use crate::runtime::handle::{RouteEvent, RouteRecord};

/// A route of a partition's answer. `now_seconds` counts from the start of the speaker.
pub(super) fn of_view(family: Family, view: RouteView, now_seconds: u32) -> RouteRecord {
    RouteRecord {
        family,
        prefix: view.prefix,
        path_id: view.path_id,
        from: (view.source.peer != PeerIndex::LOCAL).then_some(view.address),
        from_router_id: view.source.router_id,
        attrs: view.attrs,
        best: view.best,
        age_seconds: Some(now_seconds.saturating_sub(view.since_seconds)),
        reason: view.reason.map(|reason| reason.to_string()),
        rejected: view.rejection.map(|rejection| rejection.to_string()),
        stale: view.stale,
    }
}

/// An emission for watchers, its family forgotten.
pub(in crate::runtime) struct Emitted<'a> {
    pub(in crate::runtime) partition: usize,
    pub(in crate::runtime) target: &'a Target,
    pub(in crate::runtime) cause: Cause,
    pub(in crate::runtime) end_of_rib: &'a [Member],
    pub(in crate::runtime) events: Vec<RouteEvent>,
}

/// What watchers are told of an emission.
pub(in crate::runtime) fn emitted<'a>(emission: &'a AnyEmission, directory: &Directory) -> Emitted<'a> {
    match emission {
        AnyEmission::Ipv4Unicast(emission) => of_emission(emission, directory),
        AnyEmission::Ipv6Unicast(emission) => of_emission(emission, directory),
    }
}

fn of_emission<'a, N: Routed>(emission: &'a Emission<N>, directory: &Directory) -> Emitted<'a> {
    let (mut announced, mut withdrawn) = (Vec::new(), Vec::new());
    for change in &emission.changes {
        let prefix = N::prefix(&change.key.key);
        match &change.new {
            Some((attrs, source)) => announced.push(of_change::<N>(prefix, attrs, source, directory)),
            None => withdrawn.push(prefix),
        }
    }
    let mut events = Vec::new();
    if !announced.is_empty() {
        let live = emission.cause == Cause::Live;
        events.push(if live { RouteEvent::Changed(announced) } else { RouteEvent::Snapshot(announced) });
    }
    if !withdrawn.is_empty() {
        events.push(RouteEvent::Withdrawn(N::FAMILY, withdrawn));
    }
    Emitted {
        partition: emission.partition,
        target: &emission.target,
        cause: emission.cause,
        end_of_rib: &emission.end_of_rib,
        events,
    }
}

fn of_change<N: Nlri>(prefix: IpNet, attrs: &AttrRef, source: &Source, directory: &Directory) -> RouteRecord {
    RouteRecord {
        family: N::FAMILY,
        prefix,
        path_id: 0,
        from: directory.address_of(source.peer),
        from_router_id: source.router_id,
        attrs: attrs.clone(),
        best: true,
        age_seconds: None,
        reason: None,
        rejected: None,
        // Of a watched route only what it is counts, not whether its source is there.
        stale: false,
    }
}
