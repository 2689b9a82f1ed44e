//! Owners of routes that are originated here.

use bgpd_proto::v1;
use serde::Serialize;

use super::table::{Align, Table};
use super::{some, span};

/// An owner for programs.
#[derive(Serialize)]
pub(crate) struct Json<'a> {
    name: &'a str,
    connected: bool,
    lease_seconds: Option<u32>,
    lease_remaining_seconds: Option<u32>,
    routes: Vec<RouteJson<'a>>,
}

#[derive(Serialize)]
struct RouteJson<'a> {
    prefix: &'a str,
    next_hop: Option<&'a str>,
    local_pref: Option<u32>,
    med: Option<u32>,
    communities: &'a [String],
    large_communities: &'a [String],
    held_by: Option<&'a str>,
}

pub(crate) fn json(owner: &v1::Owner) -> Json<'_> {
    let routes = owner.routes.iter().filter_map(|route| {
        let announcement = route.announcement.as_ref()?;
        Some(RouteJson {
            prefix: &announcement.prefix,
            next_hop: some(&announcement.next_hop),
            local_pref: announcement.local_pref,
            med: announcement.med,
            communities: &announcement.communities,
            large_communities: &announcement.large_communities,
            held_by: some(&route.holder),
        })
    });
    Json {
        name: &owner.name,
        connected: owner.connected,
        lease_seconds: (owner.lease_seconds != 0).then_some(owner.lease_seconds),
        lease_remaining_seconds: owner.lease_remaining_seconds,
        routes: routes.collect(),
    }
}

pub(crate) fn table(owners: &[v1::Owner]) -> String {
    use Align::{Left, Right};
    if owners.is_empty() {
        return "nobody originates routes here\n".to_owned();
    }
    let mut table =
        Table::new(&[("Owner", Left), ("Routes", Right), ("Waiting", Right), ("Lease left", Right), ("State", Left)]);
    for owner in owners {
        let waiting = owner.routes.iter().filter(|route| !route.holder.is_empty()).count();
        table.row(vec![
            owner.name.clone(),
            (owner.routes.len() - waiting).to_string(),
            waiting.to_string(),
            owner.lease_remaining_seconds.map_or_else(|| "none".to_owned(), |left| span(left.into())),
            state(owner).to_owned(),
        ]);
    }
    let mut text = table.text();
    for owner in owners {
        for route in owner.routes.iter().filter(|route| !route.holder.is_empty()) {
            let prefix = route.announcement.as_ref().map_or("", |announcement| &announcement.prefix);
            text += &format!("{}: {prefix} waits, owner {} has it\n", owner.name, route.holder);
        }
    }
    text
}

fn state(owner: &v1::Owner) -> &'static str {
    match (owner.lease_seconds, owner.connected) {
        (0, _) => "permanent",
        (_, true) => "connected",
        (_, false) => "gone, its lease runs",
    }
}
