//! The speaker as a whole.

use std::fmt::Write;

use bgpd_proto::v1;
use serde::Serialize;

use super::{counted, family_name, span};

/// The speaker for programs.
#[derive(Serialize)]
pub(crate) struct Json<'a> {
    version: &'a str,
    asn: u32,
    router_id: &'a str,
    cluster_id: &'a str,
    uptime_seconds: u64,
    neighbors: u64,
    established: u64,
    tables: Vec<TableJson>,
    attribute_sets: u64,
    listen: &'a [String],
    revision: &'a str,
    document: &'a str,
    confirm_seconds_left: Option<u64>,
    awaited: &'a [String],
    selection_deferral_seconds: u64,
    connections: ConnectionsJson,
    streams: u64,
    streams_refused: u64,
}

#[derive(Serialize)]
struct ConnectionsJson {
    pending: u64,
    refused_pending: u64,
    refused_pending_of_source: u64,
    refused_rate: u64,
    refused_range: u64,
}

#[derive(Serialize)]
struct TableJson {
    family: String,
    prefixes: u64,
    paths: u64,
}

pub(crate) fn json(status: &v1::GetStatusResponse) -> Json<'_> {
    let tables = status.tables.iter();
    let connections = status.connections.unwrap_or_default();
    Json {
        version: &status.version,
        asn: status.asn,
        router_id: &status.router_id,
        cluster_id: &status.cluster_id,
        uptime_seconds: status.uptime_seconds,
        neighbors: status.neighbors,
        established: status.established,
        tables: tables
            .map(|t| TableJson { family: family_name(t.family), prefixes: t.prefixes, paths: t.paths })
            .collect(),
        attribute_sets: status.attribute_sets,
        listen: &status.listen,
        revision: &status.revision,
        document: &status.document,
        confirm_seconds_left: status.confirm_seconds_left,
        awaited: &status.awaited,
        selection_deferral_seconds: status.selection_deferral_seconds,
        connections: ConnectionsJson {
            pending: connections.pending,
            refused_pending: connections.refused_pending,
            refused_pending_of_source: connections.refused_pending_of_source,
            refused_rate: connections.refused_rate,
            refused_range: connections.refused_range,
        },
        streams: status.streams,
        streams_refused: status.streams_refused,
    }
}

pub(crate) fn table(status: &v1::GetStatusResponse) -> String {
    let mut rows = vec![
        ("bgpd", format!("{}, up {}", status.version, span(status.uptime_seconds))),
        ("AS", status.asn.to_string()),
        ("Router ID", status.router_id.clone()),
        ("Cluster ID", status.cluster_id.clone()),
        ("Listening", status.listen.join(", ")),
        ("Neighbors", format!("{}, {} Established", status.neighbors, status.established)),
    ];
    let tables = status.tables.iter();
    let tables = tables.map(|table| {
        let (prefixes, paths) = (counted(table.prefixes, "prefix"), counted(table.paths, "path"));
        format!("{}: {prefixes}, {paths}", family_name(table.family))
    });
    rows.extend(tables.map(|line| ("Table", line)));
    rows.push(("Attribute sets", status.attribute_sets.to_string()));
    if let Some(left) = status.confirm_seconds_left {
        let document = &status.document;
        rows.push(("Configuration", format!("{document}: goes back in {} unless it is confirmed", span(left))));
    }
    rows.extend(refused(status).map(|refused| ("Refused", refused)));
    if !status.awaited.is_empty() {
        let left = span(status.selection_deferral_seconds);
        rows.push(("Restarted", format!("routes are selected in {left} at most: waits for {}", awaited(status))));
    }
    let mut text = String::new();
    for (name, value) in rows {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{name:<16}{value}");
    }
    text
}

/// Connections and streams that were refused, if any were.
fn refused(status: &v1::GetStatusResponse) -> Option<String> {
    let connections = status.connections.unwrap_or_default();
    let reasons = [
        (connections.refused_rate, "connections too fast"),
        (connections.refused_pending_of_source, "connections without OPEN of one address"),
        (connections.refused_pending, "connections without OPEN in all"),
        (connections.refused_range, "connections above the limit of a range"),
        (status.streams_refused, "API streams"),
    ];
    let reasons: Vec<_> =
        reasons.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect();
    (!reasons.is_empty()).then(|| reasons.join(", "))
}

/// The peers that are waited for; of many, how many.
fn awaited(status: &v1::GetStatusResponse) -> String {
    const LISTED: usize = 8;
    let listed = status.awaited.iter().take(LISTED).cloned().collect::<Vec<_>>().join(", ");
    match status.awaited.len().saturating_sub(LISTED) {
        0 => listed,
        more => format!("{listed} and {more} more"),
    }
}
