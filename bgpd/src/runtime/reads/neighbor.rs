//! A neighbor's status, from its cell and the partitions' counters.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bgp_engine::session::{Negotiated, State};
use bgp_wire::Family;
use bgp_wire::capability::Capability;

use super::super::status::{Messages, NeighborStatus, PrefixCounts, RestartStatus, StaleStatus};
use super::problems;
use crate::config::Source;
use crate::peer::{NeighborCell, SessionView};

/// The status of a neighbor; `prefixes` where the caller has asked the partitions.
pub(super) fn status_of(cell: &NeighborCell, prefixes: Option<BTreeMap<Family, PrefixCounts>>) -> NeighborStatus {
    let view = cell.view();
    let settings = &view.neighbor.settings;
    let negotiated = view.negotiated.as_deref();
    let external = settings.remote_asn != cell.local_asn;
    let families = view.families();
    let none = || families.iter().map(|family| (*family, PrefixCounts::default())).collect();
    let status = NeighborStatus {
        address: cell.address,
        asn: settings.remote_asn,
        local_asn: cell.local_asn,
        description: view.neighbor.description.clone(),
        peer_group: view.neighbor.peer_group.clone(),
        source: if cell.dynamic.is_some() { Source::Dynamic } else { view.source.clone() },
        dynamic: cell.dynamic,
        route_reflector_client: settings.route_reflector_client,
        shutdown: settings.shutdown.clone(),
        graceful_shutdown: view.shutting_down,
        passive: settings.passive,
        md5: settings.md5_password.is_some(),
        ttl_security: settings.ttl_security,
        import_policy: policy_words(settings.import_policy.as_deref(), external, "accepted"),
        export_policy: policy_words(settings.export_policy.as_deref(), external, "announced"),
        state: view.state,
        since: view.since,
        established_count: view.established_count,
        flaps: view.flaps,
        last_error: view.last_error.as_ref().map(|(text, _)| text.clone()),
        last_error_at: view.last_error.as_ref().map(|(_, at)| *at),
        last_notification_sent: view.notification_sent.clone(),
        last_notification_received: view.notification_received.clone(),
        local: view.local,
        remote: view.remote,
        router_id: negotiated.map(|n| n.peer_router_id),
        capabilities_sent: view.capabilities_offered.clone(),
        capabilities_received: negotiated.map(|n| n.received.capabilities.clone()).unwrap_or_default(),
        negotiated: negotiated.map(negotiated_words).unwrap_or_default(),
        hold_seconds_configured: settings.hold_seconds,
        hold_seconds: negotiated.map(|n| n.hold_seconds),
        keepalive_millis: negotiated.map(|n| n.keepalive.as_millis() as u64),
        hold_remaining_seconds: hold_remaining(&view),
        retry_in_seconds: retry_in(&view),
        messages: Messages { received: cell.received.read(), sent: cell.sent.read() },
        queued_bytes: view.queue.as_ref().map_or(0, |queue| queue.queued_bytes()),
        slow: view.queue.as_ref().is_some_and(|queue| queue.is_slow()),
        prefixes: limited(prefixes.unwrap_or_else(none), &view),
        graceful_restart: restart_status(&view),
        refused_by_guard: cell.refused.load(std::sync::atomic::Ordering::Relaxed),
        malformed: view.malformed.clone(),
        problems: Vec::new(),
    };
    NeighborStatus { problems: problems::of(&status, &view), ..status }
}

/// Prefix counts with what the session's budgets say.
fn limited(mut prefixes: BTreeMap<Family, PrefixCounts>, view: &SessionView) -> BTreeMap<Family, PrefixCounts> {
    for budget in &view.budgets {
        let counts = prefixes.entry(budget.family()).or_default();
        (counts.limit, counts.refused) = (Some(budget.limit() as u64), budget.refused());
    }
    prefixes
}

fn hold_remaining(view: &SessionView) -> Option<u64> {
    let hold = view.negotiated.as_ref().map(|n| n.hold_seconds).filter(|seconds| *seconds > 0)?;
    let heard = view.last_heard?;
    Some(Duration::from_secs(hold.into()).saturating_sub(heard.elapsed()).as_secs())
}

/// Graceful restart in words (RFC 4724, RFC 8538, RFC 9494).
fn restart_status(view: &SessionView) -> RestartStatus {
    let offer = |capabilities: &[Capability]| {
        let of_restart = capabilities.iter().filter(|capability| {
            matches!(capability, Capability::GracefulRestart(_) | Capability::LongLivedGracefulRestart(_))
        });
        of_restart.map(ToString::to_string).collect::<Vec<_>>().join("; ")
    };
    let negotiated = view.negotiated.as_deref();
    let sent = negotiated.map_or(&view.capabilities_offered, |negotiated| &negotiated.sent.capabilities);
    let stale = view.retained.iter().map(|retained| StaleStatus {
        family: retained.family,
        waiting: retained.waiting,
        seconds_left: retained.until.saturating_duration_since(Instant::now()).as_secs(),
    });
    RestartStatus {
        offered: offer(sent),
        received: negotiated.map(|negotiated| offer(&negotiated.received.capabilities)).unwrap_or_default(),
        effect: negotiated.map(restart_effect).unwrap_or_default(),
        stale: stale.collect(),
    }
}

fn restart_effect(negotiated: &Negotiated) -> String {
    if negotiated.kept_by_peer().is_empty() {
        return "none: both sides must offer it".to_owned();
    }
    let notified = if negotiated.notifies_gracefully() {
        "also after a NOTIFICATION (RFC 8538)"
    } else {
        "not after a NOTIFICATION"
    };
    let theirs = negotiated.kept_for_peer();
    if theirs.is_empty() {
        return format!("the peer keeps our routes, {notified}; it asks us to keep none of its own");
    }
    let list = |families: &[Family]| families.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    format!("each side keeps the other's routes, {notified}; of the peer: {}", list(&theirs))
}

fn retry_in(view: &SessionView) -> Option<u64> {
    if view.state == State::Established {
        return None;
    }
    view.next_retry.map(|at| at.saturating_duration_since(Instant::now()).as_secs())
}

fn policy_words(names: Option<&[String]>, external: bool, verb: &str) -> String {
    match names {
        Some(names) => names.join(", "),
        None if external => format!("none: nothing is {verb} (RFC 8212)"),
        None => "none: all routes".to_owned(),
    }
}

fn negotiated_words(negotiated: &Negotiated) -> Vec<String> {
    let mut words: Vec<String> = negotiated.families.iter().map(ToString::to_string).collect();
    let flags = [
        (negotiated.four_octet_as, "4-octet AS"),
        (negotiated.route_refresh, "route refresh"),
        (negotiated.enhanced_route_refresh, "enhanced route refresh"),
        (negotiated.extended_messages, "extended messages"),
    ];
    words.extend(flags.iter().filter(|(on, _)| *on).map(|(_, name)| (*name).to_owned()));
    let lists = [
        ("add-path receive", &negotiated.add_path_receive),
        ("add-path send", &negotiated.add_path_send),
        ("extended next hop", &negotiated.extended_next_hop),
    ];
    for (name, families) in lists {
        words.extend(families.iter().map(|family| format!("{name} {family}")));
    }
    words
}
