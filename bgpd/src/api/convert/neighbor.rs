//! Neighbors: status to message.

use bgp_engine::session::State;
use bgpd_proto::v1;
use tonic::Status;

use super::{from_family, invalid, seconds_since, text};
use crate::runtime::handle::NeighborFilter;
use crate::runtime::status::{MessageCounts, NeighborStatus, RestartStatus};

/// Which neighbors a request asks for.
pub(in crate::api) fn neighbor_filter(state: &str, peer_group: String, asn: u32) -> Result<NeighborFilter, Status> {
    let known = State::ALL.into_iter().find(|known| known.to_string().eq_ignore_ascii_case(state));
    let state = match (state, known) {
        ("", _) => None,
        ("down", _) => Some(None),
        (_, Some(state)) => Some(Some(state)),
        _ => {
            let states = State::ALL.map(|state| state.to_string()).join(", ");
            return Err(invalid("state", format_args!("\"{state}\" is none of {states}, down")));
        }
    };
    let peer_group = (!peer_group.is_empty()).then_some(peer_group);
    Ok(NeighborFilter { state, peer_group, asn: (asn != 0).then_some(asn) })
}

pub(in crate::api) fn neighbor(status: &NeighborStatus) -> v1::Neighbor {
    let NeighborStatus { malformed, messages, .. } = status;
    v1::Neighbor {
        address: status.address.to_string(),
        asn: status.asn,
        local_asn: status.local_asn,
        description: status.description.clone().unwrap_or_default(),
        peer_group: status.peer_group.clone().unwrap_or_default(),
        dynamic_range: text(status.dynamic),
        route_reflector_client: status.route_reflector_client,
        shutdown: status.shutdown.clone(),
        graceful_shutdown: status.graceful_shutdown,
        passive: status.passive,
        md5: status.md5,
        ttl_security: status.ttl_security,
        import_policy: status.import_policy.clone(),
        export_policy: status.export_policy.clone(),
        state: status.state.to_string(),
        uptime_seconds: seconds_since(status.since),
        established_count: status.established_count,
        flaps: status.flaps,
        last_error: status.last_error.clone().unwrap_or_default(),
        last_error_seconds_ago: status.last_error_at.map(seconds_since),
        last_notification_sent: status.last_notification_sent.clone().unwrap_or_default(),
        last_notification_received: status.last_notification_received.clone().unwrap_or_default(),
        local: text(status.local),
        remote: text(status.remote),
        router_id: text(status.router_id),
        capabilities_sent: status.capabilities_sent.iter().map(ToString::to_string).collect(),
        capabilities_received: status.capabilities_received.iter().map(ToString::to_string).collect(),
        negotiated: status.negotiated.clone(),
        hold_seconds_configured: status.hold_seconds_configured.into(),
        hold_seconds: status.hold_seconds.map(u32::from),
        keepalive_millis: status.keepalive_millis,
        hold_remaining_seconds: status.hold_remaining_seconds,
        retry_in_seconds: status.retry_in_seconds,
        received: Some(counts(&messages.received)),
        sent: Some(counts(&messages.sent)),
        queued_bytes: status.queued_bytes,
        slow: status.slow,
        graceful_restart: Some(restart(&status.graceful_restart)),
        prefixes: status
            .prefixes
            .iter()
            .map(|(family, counts)| v1::PrefixCounts {
                family: Some(from_family(*family)),
                received: counts.received,
                accepted: counts.accepted,
                advertised: counts.advertised,
                stale: counts.stale,
                limit: counts.limit,
                refused: counts.refused,
            })
            .collect(),
        refused_by_guard: status.refused_by_guard,
        source: status.source.word().to_owned(),
        owner: text(status.source.owner()),
        changed: status.source.changed().to_vec(),
        problems: status.problems.clone(),
        malformed: Some(v1::Malformed {
            treat_as_withdraw: malformed.treat_as_withdraw,
            attribute_discard: malformed.attribute_discard,
            afi_safi_disable: malformed.afi_safi_disable,
            session_reset: malformed.session_reset,
            last: malformed.last.clone().unwrap_or_default(),
            last_hex: malformed.last_hex.clone().unwrap_or_default(),
            last_attribute: malformed.last_attribute.clone().unwrap_or_default(),
            last_attribute_hex: malformed.last_attribute_hex.clone().unwrap_or_default(),
        }),
    }
}

fn restart(restart: &RestartStatus) -> v1::GracefulRestart {
    v1::GracefulRestart {
        offered: restart.offered.clone(),
        received: restart.received.clone(),
        effect: restart.effect.clone(),
        stale: restart
            .stale
            .iter()
            .map(|stale| v1::StaleRoutes {
                family: Some(from_family(stale.family)),
                waiting: stale.waiting.to_string(),
                seconds_left: stale.seconds_left,
            })
            .collect(),
    }
}

fn counts(counts: &MessageCounts) -> v1::MessageCounts {
    v1::MessageCounts {
        open: counts.open,
        update: counts.update,
        notification: counts.notification,
        keepalive: counts.keepalive,
        route_refresh: counts.route_refresh,
        bytes: counts.bytes,
    }
}
