//! `show routes`, `explain`, `watch routes`, `announce`, `withdraw`.

use std::net::IpAddr;

use bgpd_proto::v1;
use bgpd_proto::v1::route_service_client::RouteServiceClient;
use bgpd_proto::v1::watch_routes_response::Event;

use super::{Context, json_line, say};
use crate::Error;
use crate::arguments::{Announce, Format, Routes, WatchRoutes};
use crate::client::Connection;
use crate::output::{explain as explained, family_of, owner, route};

async fn client(context: &Context) -> Result<RouteServiceClient<Connection>, Error> {
    Ok(RouteServiceClient::new(context.connect().await?).max_decoding_message_size(usize::MAX))
}

fn text<T: ToString>(value: Option<T>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}

pub(super) async fn list(context: &Context, wanted: Routes) -> Result<(), Error> {
    let request = v1::ListRoutesRequest {
        family: wanted.family.map(family_of),
        prefix: wanted.prefix.unwrap_or_default(),
        longer: wanted.longer,
        from: text(wanted.from),
        to: text(wanted.to),
        best_only: wanted.best,
        validation: wanted.validation.unwrap_or_default(),
        communities: wanted.communities,
        as_path: wanted.as_path.unwrap_or_default(),
        ..Default::default()
    };
    let mut stream = client(context).await?.list(request).await?.into_inner();
    let mut routes = Vec::new();
    while let Some(part) = stream.message().await? {
        routes.extend(part.routes);
    }
    route::sort(&mut routes);
    let json: Vec<_> = routes.iter().map(route::json).collect();
    context.print(&json, || route::table(&routes))
}

pub(super) async fn explain(context: &Context, prefix: String, to: Option<IpAddr>) -> Result<(), Error> {
    let request = v1::ExplainRequest { prefix, to: text(to) };
    let answer = client(context).await?.explain(request).await?.into_inner();
    context.print(&explained::json(&answer), || explained::text(&answer))
}

pub(super) async fn announce(context: &Context, wanted: Announce) -> Result<(), Error> {
    let prefix = wanted.prefix.clone();
    let request = v1::AnnounceRequest {
        prefix: wanted.prefix,
        next_hop: text(wanted.next_hop),
        local_pref: wanted.local_pref,
        med: wanted.med,
        communities: wanted.communities,
        large_communities: wanted.large_communities,
    };
    client(context).await?.announce(request).await?;
    let done = format!("{prefix} announced");
    context.print(&serde_json::json!({ "done": done }), || format!("{done}\n"))
}

pub(super) async fn withdraw(context: &Context, prefix: String) -> Result<(), Error> {
    client(context).await?.withdraw(v1::WithdrawRequest { prefix: prefix.clone() }).await?;
    let done = format!("{prefix} withdrawn");
    context.print(&serde_json::json!({ "done": done }), || format!("{done}\n"))
}

pub(super) async fn owners(context: &Context) -> Result<(), Error> {
    let owners = client(context).await?.list_owners(v1::ListOwnersRequest {}).await?.into_inner().owners;
    let json: Vec<_> = owners.iter().map(owner::json).collect();
    context.print(&json, || owner::table(&owners))
}

pub(super) async fn watch(context: &Context, wanted: WatchRoutes) -> Result<(), Error> {
    let request = v1::WatchRoutesRequest {
        families: wanted.family.map(family_of).into_iter().collect(),
        prefix: wanted.prefix.unwrap_or_default(),
        longer: wanted.longer,
        multipath: wanted.multipath,
        from_revision: wanted.from_revision,
        heartbeat_seconds: 0,
        changes_only: false,
    };
    let mut events = client(context).await?.watch(request).await?.into_inner();
    while let Some(message) = events.message().await? {
        let Some(event) = message.event else { continue };
        match context.format {
            Format::Json => event_json(&event, &message.revision).iter().try_for_each(|line| json_line(line, false))?,
            Format::Table => say(&event_lines(&event, &message.revision))?,
        }
    }
    Ok(())
}

/// One line per route, so that a program can go line by line. The last line of an event has the revision, if the event
/// has one.
fn event_json(event: &Event, revision: &str) -> Vec<serde_json::Value> {
    let routes = |name: &str, routes: &v1::Routes| {
        let line = |one| serde_json::json!({ "event": name, "route": route::json(one) });
        routes.routes.iter().map(line).collect()
    };
    let mut lines: Vec<serde_json::Value> = match event {
        Event::Snapshot(all) => routes("snapshot", all),
        Event::Changed(all) => routes("changed", all),
        Event::Withdrawn(gone) => {
            let line = |prefix| serde_json::json!({ "event": "withdrawn", "prefix": prefix });
            gone.prefixes.iter().map(line).collect()
        }
        Event::SnapshotEnd(_) => vec![serde_json::json!({ "event": "snapshot_end" })],
        Event::Heartbeat(_) => vec![serde_json::json!({ "event": "heartbeat" })],
        Event::Resync(resync) => vec![serde_json::json!({ "event": "resync", "reason": resync.reason })],
    };
    if let Some(last) = lines.last_mut()
        && !revision.is_empty()
    {
        last["revision"] = revision.into();
    }
    lines
}

fn event_lines(event: &Event, revision: &str) -> String {
    let lines = |sign: &str, routes: &v1::Routes| {
        routes.routes.iter().map(|one| format!("{sign} {}\n", route::line(one))).collect::<String>()
    };
    match event {
        Event::Snapshot(all) | Event::Changed(all) => lines("+", all),
        Event::Withdrawn(gone) => gone.prefixes.iter().map(|prefix| format!("- {prefix}\n")).collect(),
        Event::SnapshotEnd(_) => format!("-- that is the whole table, revision {revision}, now the changes\n"),
        Event::Heartbeat(_) => String::new(),
        Event::Resync(resync) => format!("-- from the beginning: {}\n", resync.reason),
    }
}
