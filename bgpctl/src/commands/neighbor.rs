//! `show neighbors`, `watch neighbors`, `neighbor …`.

use std::net::IpAddr;

use bgpd_proto::v1;
use bgpd_proto::v1::neighbor_service_client::NeighborServiceClient;
use bgpd_proto::v1::watch_neighbors_response::Event;

use super::{Context, json_line, say};
use crate::Error;
use crate::arguments::{AddNeighbor, Drain, Format, Neighbor, Neighbors, SetNeighbor, Soft, WatchNeighbors};
use crate::client::Connection;
use crate::key;
use crate::output::{family_of, neighbor};

/// Neighbors in one answer.
const PAGE: u32 = 1000;

async fn client(context: &Context) -> Result<NeighborServiceClient<Connection>, Error> {
    // A reflector with thousands of neighbors has a long answer.
    Ok(NeighborServiceClient::new(context.connect().await?).max_decoding_message_size(usize::MAX))
}

pub(super) async fn list(context: &Context, wanted: Neighbors) -> Result<(), Error> {
    let (state, peer_group, asn) = wanted.filter.into_fields();
    let mut client = client(context).await?;
    let (mut neighbors, mut page_token) = (Vec::new(), String::new());
    loop {
        let (state, peer_group) = (state.clone(), peer_group.clone());
        let request = v1::ListNeighborsRequest { page_size: PAGE, page_token, state, peer_group, asn };
        let page = client.list(request).await?.into_inner();
        neighbors.extend(page.neighbors);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    let json: Vec<_> = neighbors.iter().map(neighbor::json).collect();
    context.print(&json, || neighbor::table(&neighbors))
}

pub(super) async fn show(context: &Context, address: IpAddr) -> Result<(), Error> {
    let request = v1::GetNeighborRequest { address: address.to_string() };
    let found = client(context).await?.get(request).await?.into_inner().neighbor.unwrap_or_default();
    context.print(&[neighbor::json(&found)], || neighbor::details(&found))
}

pub(super) async fn watch(context: &Context, wanted: WatchNeighbors) -> Result<(), Error> {
    let (state, peer_group, asn) = wanted.filter.into_fields();
    let filtered = !state.is_empty() || !peer_group.is_empty() || asn != 0;
    let from_revision = wanted.from_revision;
    let request = v1::WatchNeighborsRequest { from_revision, heartbeat_seconds: 0, state, peer_group, asn };
    let mut events = client(context).await?.watch(request).await?.into_inner();
    while let Some(message) = events.message().await? {
        let Some(event) = message.event else { continue };
        match context.format {
            Format::Json => json_line(&event_json(&event, &message.revision), false)?,
            Format::Table => say(&event_line(&event, &message.revision, filtered))?,
        }
    }
    Ok(())
}

fn event_json(event: &Event, revision: &str) -> serde_json::Value {
    let mut json = match event {
        Event::Neighbor(changed) => serde_json::json!({ "event": "neighbor", "neighbor": neighbor::json(changed) }),
        Event::SnapshotEnd(_) => serde_json::json!({ "event": "snapshot_end" }),
        Event::Removed(address) => serde_json::json!({ "event": "removed", "address": address }),
        Event::Heartbeat(_) => serde_json::json!({ "event": "heartbeat" }),
        Event::Resync(resync) => serde_json::json!({ "event": "resync", "reason": resync.reason }),
    };
    if !revision.is_empty() {
        json["revision"] = revision.into();
    }
    json
}

fn event_line(event: &Event, revision: &str, filtered: bool) -> String {
    match event {
        Event::Neighbor(changed) if changed.last_error.is_empty() => {
            format!("{} AS {} {}\n", changed.address, changed.asn, changed.state)
        }
        Event::Neighbor(changed) => {
            format!("{} AS {} {}, last error: {}\n", changed.address, changed.asn, changed.state, changed.last_error)
        }
        Event::SnapshotEnd(_) => format!("-- that is all of them, revision {revision}, now the changes\n"),
        Event::Removed(address) if filtered => format!("{address} does not match any more, or is gone\n"),
        Event::Removed(address) => format!("{address} removed\n"),
        Event::Heartbeat(_) => String::new(),
        Event::Resync(resync) => format!("-- from the beginning: {}\n", resync.reason),
    }
}

pub(super) async fn steer(context: &Context, command: Neighbor) -> Result<(), Error> {
    let mut client = client(context).await?;
    let done = match command {
        Neighbor::Add(wanted) => {
            let address = wanted.address;
            client.add(v1::AddNeighborRequest { neighbor: Some(config(*wanted)?), owner: String::new() }).await?;
            format!("neighbor {address} added")
        }
        Neighbor::Set(wanted) => {
            let SetNeighbor { settings, clear } = *wanted;
            let address = settings.address;
            let neighbor = Some(config(settings)?);
            client.update(v1::UpdateNeighborRequest { neighbor, owner: String::new(), clear }).await?;
            format!("neighbor {address} changed")
        }
        Neighbor::Delete { address, owner } => {
            client.delete(v1::DeleteNeighborRequest { address: address.to_string(), owner }).await?;
            format!("neighbor {address} deleted")
        }
        Neighbor::Revert { address } => {
            let neighbor = v1::NeighborConfig { address: address.to_string(), ..v1::NeighborConfig::default() };
            let clear = vec!["*".to_owned()];
            let request = v1::UpdateNeighborRequest { neighbor: Some(neighbor), owner: String::new(), clear };
            client.update(request).await?;
            format!("neighbor {address} is as in the file")
        }
        Neighbor::Reset { address, soft } => {
            reset(&mut client, address, soft).await?;
            format!("neighbor {address} {}", if soft.is_some() { "refreshed" } else { "reset" })
        }
        Neighbor::Refresh { address } => {
            reset(&mut client, address, Some(Soft::Both)).await?;
            format!("neighbor {address} refreshed")
        }
        Neighbor::Drain(whom) => drain(&mut client, whom, false).await?,
        Neighbor::Undrain(whom) => drain(&mut client, whom, true).await?,
        Neighbor::Enable { address } => {
            client.enable(v1::EnableNeighborRequest { address: address.to_string() }).await?;
            format!("neighbor {address} enabled")
        }
        Neighbor::Disable { address, message } => {
            client.disable(v1::DisableNeighborRequest { address: address.to_string(), message }).await?;
            format!("neighbor {address} disabled")
        }
    };
    context.print(&serde_json::json!({ "done": done }), || format!("{done}\n"))
}

async fn drain(client: &mut NeighborServiceClient<Connection>, whom: Drain, undo: bool) -> Result<String, Error> {
    let address = whom.address.map(|address| address.to_string()).unwrap_or_default();
    let who = if whom.all { "all neighbors".to_owned() } else { format!("neighbor {address}") };
    client.drain(v1::DrainNeighborRequest { address, all: whom.all, undo }).await?;
    Ok(format!("{who} {}", if undo { "undrained" } else { "drained: routes are told again as the last choice" }))
}

async fn reset(
    client: &mut NeighborServiceClient<Connection>,
    address: IpAddr,
    soft: Option<Soft>,
) -> Result<(), Error> {
    let kind = match soft {
        None => v1::ResetKind::Hard,
        Some(Soft::In) => v1::ResetKind::SoftIn,
        Some(Soft::Out) => v1::ResetKind::SoftOut,
        Some(Soft::Both) => v1::ResetKind::Soft,
    };
    client.reset(v1::ResetNeighborRequest { address: address.to_string(), kind: kind.into() }).await?;
    Ok(())
}

fn config(wanted: AddNeighbor) -> Result<v1::NeighborConfig, Error> {
    let ao_keys = wanted.ao_keys.into_iter().map(|key| key.read(&wanted.ao_algorithm));
    Ok(v1::NeighborConfig {
        address: wanted.address.to_string(),
        peer_group: wanted.peer_group,
        description: wanted.description,
        remote_asn: wanted.remote_asn,
        route_reflector_client: wanted.route_reflector_client.then_some(true),
        families: wanted.families.into_iter().map(family_of).collect(),
        hold_time: wanted.hold_time,
        port: wanted.port.map(u32::from),
        local_address: wanted.local_address.map(|address| address.to_string()),
        passive: wanted.passive.then_some(true),
        import_policy: wanted.import_policy,
        export_policy: wanted.export_policy,
        md5_password: wanted.md5_password_file.map(|file| key::read(&file)).transpose()?,
        ao_keys: ao_keys.collect::<Result<_, _>>()?,
        ..v1::NeighborConfig::default()
    })
}
