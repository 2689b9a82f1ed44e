//! Neighbors.

use std::fmt::Write;

use bgpd_proto::v1;
use serde::Serialize;

use super::table::{Align, Table};
use super::{counted, family_name, some, span};

/// A neighbor for programs.
#[derive(Serialize)]
pub(crate) struct Json<'a> {
    address: &'a str,
    asn: u32,
    local_asn: u32,
    description: Option<&'a str>,
    peer_group: Option<&'a str>,
    dynamic_range: Option<&'a str>,
    source: &'a str,
    owner: Option<&'a str>,
    changed: &'a [String],
    route_reflector_client: bool,
    state: &'a str,
    uptime_seconds: u64,
    prefixes_received: u64,
    prefixes_accepted: u64,
    prefixes_advertised: u64,
    families: Vec<Prefixes>,
    shutdown: Option<&'a str>,
    graceful_shutdown: bool,
    last_error: Option<&'a str>,
    last_error_seconds_ago: Option<u64>,
    last_notification_sent: Option<&'a str>,
    last_notification_received: Option<&'a str>,
    established_count: u64,
    flaps: u64,
    local: Option<&'a str>,
    remote: Option<&'a str>,
    router_id: Option<&'a str>,
    passive: bool,
    md5: bool,
    ttl_security: bool,
    import_policy: &'a str,
    export_policy: &'a str,
    capabilities_sent: &'a [String],
    capabilities_received: &'a [String],
    negotiated: &'a [String],
    hold_seconds_configured: u32,
    hold_seconds: Option<u32>,
    keepalive_seconds: Option<f64>,
    hold_remaining_seconds: Option<u64>,
    retry_in_seconds: Option<u64>,
    messages_received: Messages,
    messages_sent: Messages,
    queued_bytes: u64,
    slow: bool,
    graceful_restart: Restart<'a>,
    refused_by_guard: u64,
    problems: &'a [String],
    malformed: Malformed<'a>,
}

#[derive(Serialize)]
struct Prefixes {
    family: String,
    received: u64,
    accepted: u64,
    advertised: u64,
    stale: u64,
    limit: Option<u64>,
    refused: u64,
}

#[derive(Serialize)]
struct Restart<'a> {
    offered: Option<&'a str>,
    received: Option<&'a str>,
    effect: Option<&'a str>,
    stale: Vec<Stale<'a>>,
}

#[derive(Serialize)]
struct Stale<'a> {
    family: String,
    waiting: &'a str,
    seconds_left: u64,
}

#[derive(Serialize)]
struct Messages {
    open: u64,
    update: u64,
    notification: u64,
    keepalive: u64,
    route_refresh: u64,
    bytes: u64,
}

#[derive(Serialize)]
struct Malformed<'a> {
    treat_as_withdraw: u64,
    attribute_discard: u64,
    afi_safi_disable: u64,
    session_reset: u64,
    last: Option<&'a str>,
    last_attribute: Option<&'a str>,
    last_attribute_hex: Option<&'a str>,
    last_hex: Option<&'a str>,
}

/// Prefixes received, accepted and advertised, all families together.
fn sums(neighbor: &v1::Neighbor) -> [u64; 3] {
    neighbor.prefixes.iter().fold([0; 3], |[received, accepted, advertised], counts| {
        [received + counts.received, accepted + counts.accepted, advertised + counts.advertised]
    })
}

fn messages(counts: Option<v1::MessageCounts>) -> Messages {
    let v1::MessageCounts { open, update, notification, keepalive, route_refresh, bytes } = counts.unwrap_or_default();
    Messages { open, update, notification, keepalive, route_refresh, bytes }
}

pub(crate) fn json(neighbor: &v1::Neighbor) -> Json<'_> {
    let [prefixes_received, prefixes_accepted, prefixes_advertised] = sums(neighbor);
    let malformed = neighbor.malformed.as_ref();
    let count = |read: fn(&v1::Malformed) -> u64| malformed.map(read).unwrap_or(0);
    let families = neighbor.prefixes.iter().map(|counts| Prefixes {
        family: family_name(counts.family),
        received: counts.received,
        accepted: counts.accepted,
        advertised: counts.advertised,
        stale: counts.stale,
        limit: counts.limit,
        refused: counts.refused,
    });
    Json {
        address: &neighbor.address,
        asn: neighbor.asn,
        local_asn: neighbor.local_asn,
        description: some(&neighbor.description),
        peer_group: some(&neighbor.peer_group),
        dynamic_range: some(&neighbor.dynamic_range),
        source: &neighbor.source,
        owner: some(&neighbor.owner),
        changed: &neighbor.changed,
        route_reflector_client: neighbor.route_reflector_client,
        state: &neighbor.state,
        uptime_seconds: neighbor.uptime_seconds,
        prefixes_received,
        prefixes_accepted,
        prefixes_advertised,
        families: families.collect(),
        shutdown: neighbor.shutdown.as_deref(),
        graceful_shutdown: neighbor.graceful_shutdown,
        last_error: some(&neighbor.last_error),
        last_error_seconds_ago: neighbor.last_error_seconds_ago,
        last_notification_sent: some(&neighbor.last_notification_sent),
        last_notification_received: some(&neighbor.last_notification_received),
        established_count: neighbor.established_count,
        flaps: neighbor.flaps,
        local: some(&neighbor.local),
        remote: some(&neighbor.remote),
        router_id: some(&neighbor.router_id),
        passive: neighbor.passive,
        md5: neighbor.md5,
        ttl_security: neighbor.ttl_security,
        import_policy: &neighbor.import_policy,
        export_policy: &neighbor.export_policy,
        capabilities_sent: &neighbor.capabilities_sent,
        capabilities_received: &neighbor.capabilities_received,
        negotiated: &neighbor.negotiated,
        hold_seconds_configured: neighbor.hold_seconds_configured,
        hold_seconds: neighbor.hold_seconds,
        keepalive_seconds: neighbor.keepalive_millis.map(|millis| millis as f64 / 1000.0),
        hold_remaining_seconds: neighbor.hold_remaining_seconds,
        retry_in_seconds: neighbor.retry_in_seconds,
        messages_received: messages(neighbor.received),
        messages_sent: messages(neighbor.sent),
        queued_bytes: neighbor.queued_bytes,
        slow: neighbor.slow,
        graceful_restart: restart_json(neighbor),
        refused_by_guard: neighbor.refused_by_guard,
        problems: &neighbor.problems,
        malformed: Malformed {
            treat_as_withdraw: count(|m| m.treat_as_withdraw),
            attribute_discard: count(|m| m.attribute_discard),
            afi_safi_disable: count(|m| m.afi_safi_disable),
            session_reset: count(|m| m.session_reset),
            last: malformed.and_then(|m| some(&m.last)),
            last_attribute: malformed.and_then(|m| some(&m.last_attribute)),
            last_attribute_hex: malformed.and_then(|m| some(&m.last_attribute_hex)),
            last_hex: malformed.and_then(|m| some(&m.last_hex)),
        },
    }
}

fn restart_json(neighbor: &v1::Neighbor) -> Restart<'_> {
    let Some(restart) = &neighbor.graceful_restart else {
        return Restart { offered: None, received: None, effect: None, stale: Vec::new() };
    };
    let stale = restart.stale.iter().map(|stale| Stale {
        family: family_name(stale.family),
        waiting: &stale.waiting,
        seconds_left: stale.seconds_left,
    });
    Restart {
        offered: some(&restart.offered),
        received: some(&restart.received),
        effect: some(&restart.effect),
        stale: stale.collect(),
    }
}

fn stale_routes(neighbor: &v1::Neighbor) -> &[v1::StaleRoutes] {
    neighbor.graceful_restart.as_ref().map_or(&[], |restart| &restart.stale)
}

/// The state, with what an operator would otherwise wonder about.
fn state(neighbor: &v1::Neighbor) -> String {
    match (&neighbor.shutdown, stale_routes(neighbor)) {
        (Some(_), _) => format!("{} (disabled)", neighbor.state),
        (None, []) if neighbor.graceful_shutdown => format!("{} (draining)", neighbor.state),
        (None, []) => neighbor.state.clone(),
        (None, _) => format!("{} (stale routes)", neighbor.state),
    }
}

/// Where it comes from; `*` where the API has changed what the file says.
fn source(neighbor: &v1::Neighbor) -> String {
    format!("{}{}", neighbor.source, if neighbor.changed.is_empty() { "" } else { "*" })
}

/// All neighbors, one a line.
pub(crate) fn table(neighbors: &[v1::Neighbor]) -> String {
    use Align::{Left, Right};
    if neighbors.is_empty() {
        return "no neighbors\n".to_owned();
    }
    let mut table = Table::new(&[
        ("Neighbor", Left),
        ("AS", Right),
        ("State", Left),
        ("Up/Down", Right),
        ("Received", Right),
        ("Accepted", Right),
        ("Advertised", Right),
        ("Source", Left),
        ("Last error", Left),
    ]);
    for neighbor in neighbors {
        let [received, accepted, advertised] = sums(neighbor);
        let error = match some(&neighbor.last_error) {
            Some(error) => {
                let ago = span(neighbor.last_error_seconds_ago.unwrap_or(0));
                format!("{error} ({ago} ago)")
            }
            None => "-".to_owned(),
        };
        table.row(vec![
            neighbor.address.clone(),
            neighbor.asn.to_string(),
            state(neighbor),
            span(neighbor.uptime_seconds),
            received.to_string(),
            accepted.to_string(),
            advertised.to_string(),
            source(neighbor),
            error,
        ]);
    }
    let up = neighbors.iter().filter(|neighbor| neighbor.state == "Established").count();
    table.text() + &format!("\n{}, {up} Established\n", counted(neighbors.len() as u64, "neighbor"))
}

/// Lines of `name   value` under headings.
struct Sheet(String);

impl Sheet {
    fn heading(&mut self, text: &str) {
        let bold = anstyle::Style::new().bold();
        // Writing to a string does not fail.
        let _ = writeln!(self.0, "\n{bold}{text}{bold:#}");
    }

    fn line(&mut self, name: &str, value: &str) {
        if !value.is_empty() {
            let _ = writeln!(self.0, "  {name:<28}{value}");
        }
    }
}

/// Everything about one neighbor.
pub(crate) fn details(neighbor: &v1::Neighbor) -> String {
    let kind = if neighbor.asn == neighbor.local_asn { "iBGP" } else { "eBGP" };
    let mut sheet = Sheet(format!("{} AS {} ({kind})", neighbor.address, neighbor.asn));
    if let Some(description) = some(&neighbor.description) {
        let _ = write!(sheet.0, ": {description}");
    }
    sheet.0.push('\n');
    session(&mut sheet, neighbor);
    capabilities(&mut sheet, neighbor);
    restart(&mut sheet, neighbor);
    timers(&mut sheet, neighbor);
    counters(&mut sheet, neighbor);
    malformed(&mut sheet, neighbor);
    sheet.0
}

fn session(sheet: &mut Sheet, neighbor: &v1::Neighbor) {
    sheet.heading("Session");
    let is_up = neighbor.state == "Established";
    let direction = if is_up { "up" } else { "down" };
    sheet.line("State", &format!("{}, {direction} for {}", state(neighbor), span(neighbor.uptime_seconds)));
    neighbor.problems.iter().for_each(|problem| sheet.line("Problem", problem));
    if let Some(text) = &neighbor.shutdown {
        let text = if text.is_empty() { "no message" } else { text };
        sheet.line("Disabled", text);
    }
    let draining = "routes in both directions are the last choice (RFC 8326)";
    sheet.line("Draining", if neighbor.graceful_shutdown { draining } else { "" });
    let role = if neighbor.route_reflector_client { "route-reflector client" } else { "" };
    sheet.line("Role", role);
    sheet.line("Peer group", &neighbor.peer_group);
    sheet.line("From dynamic range", &neighbor.dynamic_range);
    let of = if neighbor.source == "api" { format!("owner {}", neighbor.owner) } else { String::new() };
    sheet.line("Added through the API", &of);
    let by = format!("{}, by {}", neighbor.changed.join(", "), neighbor.owner);
    sheet.line("Not as in the file", if neighbor.changed.is_empty() { "" } else { &by });
    sheet.line("Router ID", &neighbor.router_id);
    sheet.line("Local end", &neighbor.local);
    sheet.line("Remote end", &neighbor.remote);
    let security = [(neighbor.md5, "TCP-MD5"), (neighbor.ttl_security, "TTL security")];
    let security: Vec<_> = security.iter().filter(|(on, _)| *on).map(|(_, name)| *name).collect();
    sheet.line("Security", &security.join(", "));
    sheet.line("Connects", if neighbor.passive { "no, waits for the peer" } else { "" });
    sheet.line("Import policy", &neighbor.import_policy);
    sheet.line("Export policy", &neighbor.export_policy);
    let since = [counted(neighbor.established_count, "time"), counted(neighbor.flaps, "flap")];
    sheet.line("Was Established", &since.join(", "));
    if let Some(error) = some(&neighbor.last_error) {
        let ago = span(neighbor.last_error_seconds_ago.unwrap_or(0));
        sheet.line("Last error", &format!("{error} ({ago} ago)"));
    }
    sheet.line("Last NOTIFICATION sent", &neighbor.last_notification_sent);
    sheet.line("Last NOTIFICATION received", &neighbor.last_notification_received);
}

fn capabilities(sheet: &mut Sheet, neighbor: &v1::Neighbor) {
    sheet.heading("Capabilities");
    let mut all: Vec<&String> = neighbor.capabilities_sent.iter().collect();
    all.extend(neighbor.capabilities_received.iter().filter(|one| !neighbor.capabilities_sent.contains(one)));
    for capability in all {
        let offered = neighbor.capabilities_sent.contains(capability);
        let received = neighbor.capabilities_received.contains(capability);
        let who = match (offered, received) {
            (true, true) => "offered and received",
            (true, false) => "offered",
            _ => "received",
        };
        sheet.line(who, capability);
    }
    sheet.line("negotiated", &neighbor.negotiated.join(", "));
}

fn restart(sheet: &mut Sheet, neighbor: &v1::Neighbor) {
    let Some(restart) = &neighbor.graceful_restart else { return };
    sheet.heading("Graceful restart");
    let or_nothing = |text: &str| if text.is_empty() { "nothing".to_owned() } else { text.to_owned() };
    sheet.line("offered", &or_nothing(&restart.offered));
    if neighbor.state == "Established" {
        sheet.line("received", &or_nothing(&restart.received));
    }
    sheet.line("effect", &restart.effect);
    for stale in &restart.stale {
        let count = neighbor.prefixes.iter().find(|counts| counts.family == stale.family);
        let count = count.map_or(0, |counts| counts.stale);
        let (waiting, left) = (&stale.waiting, span(stale.seconds_left));
        sheet.line(&family_name(stale.family), &format!("{count} stale routes, {waiting}, {left} left"));
    }
}

fn timers(sheet: &mut Sheet, neighbor: &v1::Neighbor) {
    sheet.heading("Timers");
    let configured = neighbor.hold_seconds_configured;
    sheet.line(
        "Hold time",
        &match neighbor.hold_seconds {
            Some(seconds) => format!("{seconds} s (configured {configured} s)"),
            None => format!("{configured} s configured"),
        },
    );
    if let Some(millis) = neighbor.keepalive_millis {
        sheet.line("KEEPALIVE every", &format!("{:.1} s", millis as f64 / 1000.0));
    }
    if let Some(seconds) = neighbor.hold_remaining_seconds {
        sheet.line("Hold timer expires in", &format!("{seconds} s"));
    }
    if let Some(seconds) = neighbor.retry_in_seconds {
        sheet.line("Next timer in", &format!("{seconds} s"));
    }
}

fn counters(sheet: &mut Sheet, neighbor: &v1::Neighbor) {
    use Align::{Left, Right};
    sheet.heading("Prefixes");
    let mut table = Table::new(&[("  Family", Left), ("Received", Right), ("Accepted", Right), ("Advertised", Right)]);
    for counts in &neighbor.prefixes {
        table.row(vec![
            format!("  {}", family_name(counts.family)),
            counts.received.to_string(),
            counts.accepted.to_string(),
            counts.advertised.to_string(),
        ]);
    }
    sheet.0.push_str(&table.text());
    for counts in &neighbor.prefixes {
        let Some(limit) = counts.limit else { continue };
        let refused = if counts.refused > 0 {
            format!(", {} above it dropped", counted(counts.refused, "announcement"))
        } else {
            String::new()
        };
        sheet.line(&format!("Limit of {}", family_name(counts.family)), &format!("{limit}{refused}"));
    }
    if neighbor.refused_by_guard > 0 {
        let refused = counted(neighbor.refused_by_guard, "prefix");
        sheet.line("Refused by the guard", &format!("{refused} of other clusters or nodes"));
    }
    sheet.heading("Messages");
    let (received, sent) = (messages(neighbor.received), messages(neighbor.sent));
    let mut table = Table::new(&[("  Type", Left), ("Received", Right), ("Sent", Right)]);
    let rows = [
        ("  OPEN", received.open, sent.open),
        ("  UPDATE", received.update, sent.update),
        ("  KEEPALIVE", received.keepalive, sent.keepalive),
        ("  NOTIFICATION", received.notification, sent.notification),
        ("  ROUTE-REFRESH", received.route_refresh, sent.route_refresh),
        ("  octets", received.bytes, sent.bytes),
    ];
    for (name, received, sent) in rows {
        table.row(vec![name.to_owned(), received.to_string(), sent.to_string()]);
    }
    sheet.0.push_str(&table.text());
    if neighbor.queued_bytes > 0 || neighbor.slow {
        let slow = if neighbor.slow { ", the peer takes updates slower than they come" } else { "" };
        sheet.line("Waiting to be written", &format!("{} octets{slow}", neighbor.queued_bytes));
    }
}

fn malformed(sheet: &mut Sheet, neighbor: &v1::Neighbor) {
    let Some(malformed) = neighbor.malformed.as_ref().filter(|malformed| !malformed.last.is_empty()) else { return };
    sheet.heading("Malformed messages (RFC 7606)");
    for (name, count) in [
        ("treat-as-withdraw", malformed.treat_as_withdraw),
        ("attribute discard", malformed.attribute_discard),
        ("AFI/SAFI disable", malformed.afi_safi_disable),
        ("session reset", malformed.session_reset),
    ] {
        sheet.line(name, &count.to_string());
    }
    sheet.line("last", &malformed.last);
    sheet.line("what was wrong", &malformed.last_attribute);
    sheet.line("its value in hex", &malformed.last_attribute_hex);
    sheet.line("last message in hex", &malformed.last_hex);
}
