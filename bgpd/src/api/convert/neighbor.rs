//! Neighbors: status to message, request to settings.

use std::time::Duration;

use bgp_engine::config::{Desired, GracefulRestart, LimitAction, Neighbor, NeighborSettings, PrefixLimits, Secret};
use bgp_wire::Family;
use bgpd_proto::v1;
use tonic::Status;

use super::{address, family, from_family, invalid, seconds_since, text};
use crate::config::base_settings;
use crate::runtime::status::{MessageCounts, NeighborStatus, RestartStatus};

/// Families that a neighbor can have.
const FAMILIES: [Family; 2] = [Family::IPV4_UNICAST, Family::IPV6_UNICAST];
/// TCP port of BGP.
const PORT: u16 = 179;

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

/// A new neighbor: what the request sets, over the peer group, over the defaults.
pub(in crate::api) fn configured(request: v1::NeighborConfig, running: &Desired) -> Result<Neighbor, Status> {
    let address = address("neighbor.address", &request.address)?;
    let base = match &request.peer_group {
        Some(name) => running.peer_groups.get(name).cloned().ok_or_else(|| {
            invalid(
                "neighbor.peer_group",
                format_args!("there is no peer group \"{name}\" in the running configuration"),
            )
        })?,
        None => base_settings(&running.global),
    };
    if request.remote_asn.is_none() && base.remote_asn == 0 {
        return Err(invalid("neighbor.remote_asn", "missing, and no peer group has it"));
    }
    let settings = settings(&request, base)?;
    check(&settings, running)?;
    Ok(Neighbor {
        address,
        port: port(&request)?.unwrap_or(PORT),
        peer_group: request.peer_group,
        description: request.description,
        settings,
    })
}

/// A neighbor that is there: what the request sets, over what it has.
pub(in crate::api) fn updated(request: v1::NeighborConfig, running: &Desired) -> Result<Neighbor, Status> {
    let address = address("neighbor.address", &request.address)?;
    let old = running.neighbors.get(&address);
    let old = old.ok_or_else(|| Status::not_found(format!("neighbor {address} does not exist")))?;
    let settings = settings(&request, old.settings.clone())?;
    check(&settings, running)?;
    Ok(Neighbor {
        address,
        port: port(&request)?.unwrap_or(old.port),
        peer_group: old.peer_group.clone(),
        description: request.description.or_else(|| old.description.clone()),
        settings,
    })
}

fn port(request: &v1::NeighborConfig) -> Result<Option<u16>, Status> {
    let Some(port) = request.port else { return Ok(None) };
    match u16::try_from(port) {
        Ok(port) if port > 0 => Ok(Some(port)),
        _ => Err(invalid("neighbor.port", format_args!("{port} is not a TCP port, expected 1 to 65535"))),
    }
}

fn settings(request: &v1::NeighborConfig, base: NeighborSettings) -> Result<NeighborSettings, Status> {
    let seconds = |value: Option<u32>, or: Duration| value.map_or(or, |value| Duration::from_secs(value.into()));
    let families = request.families.iter().map(|one| family("neighbor.families", *one));
    let families: Vec<Family> = families.collect::<Result<_, _>>()?;
    let names = |names: &Vec<String>, or: Option<Vec<String>>| if names.is_empty() { or } else { Some(names.clone()) };
    let local_address = request.local_address.as_deref().map(|text| address("neighbor.local_address", text));
    let mut settings = NeighborSettings {
        remote_asn: request.remote_asn.unwrap_or(base.remote_asn),
        local_asn: request.local_asn.or(base.local_asn),
        route_reflector_client: request.route_reflector_client.unwrap_or(base.route_reflector_client),
        families: if families.is_empty() { base.families } else { families },
        hold_seconds: hold_seconds(request.hold_time)?.unwrap_or(base.hold_seconds),
        idle_hold: seconds(request.idle_hold_time, base.idle_hold),
        connect_retry: seconds(request.connect_retry, base.connect_retry),
        local_address: local_address.transpose()?.or(base.local_address),
        passive: request.passive.unwrap_or(base.passive),
        md5_password: request.md5_password.clone().map(Secret).or(base.md5_password),
        ttl_security: request.ttl_security.unwrap_or(base.ttl_security),
        ebgp_multihop: hops(request.ebgp_multihop)?.or(base.ebgp_multihop),
        next_hop_self: request.next_hop_self.unwrap_or(base.next_hop_self),
        import_policy: names(&request.import_policy, base.import_policy),
        export_policy: names(&request.export_policy, base.export_policy),
        add_path: base.add_path,
        extended_messages: base.extended_messages,
        extended_next_hop: base.extended_next_hop,
        role: base.role,
        role_strict: base.role_strict,
        reject_as_sets: base.reject_as_sets,
        graceful_restart: graceful_restart(request, base.graceful_restart)?,
        prefix_limits: prefix_limits(request, base.prefix_limits)?,
        graceful_shutdown: request.graceful_shutdown.unwrap_or(base.graceful_shutdown),
        shutdown: base.shutdown,
    };
    settings.add_path.receive = request.add_path_receive.unwrap_or(settings.add_path.receive);
    settings.add_path.send = request.add_path_send.unwrap_or(settings.add_path.send);
    Ok(settings)
}

fn prefix_limits(request: &v1::NeighborConfig, base: PrefixLimits) -> Result<PrefixLimits, Status> {
    let action = match v1::LimitAction::try_from(request.max_prefixes_action) {
        Ok(v1::LimitAction::Unspecified) => base.action,
        Ok(v1::LimitAction::Warn) => LimitAction::Warn,
        Ok(v1::LimitAction::DiscardNew) => LimitAction::DiscardNew,
        Ok(v1::LimitAction::Restart) => LimitAction::Restart,
        Err(_) => {
            return Err(invalid("neighbor.max_prefixes_action", "unknown, expected warn, discard-new or restart"));
        }
    };
    let warning_percent = match request.max_prefixes_warning {
        None => base.warning_percent,
        Some(percent @ 1..=100) => percent as u8,
        Some(percent) => {
            let reason = format_args!("{percent} is not possible, expected 1 to 100").to_string();
            return Err(invalid("neighbor.max_prefixes_warning", reason));
        }
    };
    let for_all = |most| FAMILIES.into_iter().filter(|_| most > 0).map(|family| (family, most)).collect();
    let restart = |seconds: u32| (seconds > 0).then(|| Duration::from_secs(seconds.into()));
    Ok(PrefixLimits {
        most: request.max_prefixes.map_or(base.most, for_all),
        warning_percent,
        action,
        restart: request.max_prefixes_restart_time.map_or(base.restart, restart),
    })
}

fn graceful_restart(request: &v1::NeighborConfig, base: GracefulRestart) -> Result<GracefulRestart, Status> {
    let bounded = |field: &str, value: Option<u32>, least: u32, most: u32| match value {
        Some(value) if value < least || value > most => {
            Err(invalid(field, format_args!("{value} is not possible, expected {least} to {most}")))
        }
        value => Ok(value),
    };
    let most = GracefulRestart::RESTART_SECONDS_MAX.into();
    let restart = bounded("neighbor.restart_time", request.restart_time, 1, most)?;
    let most = GracefulRestart::LONG_LIVED_SECONDS_MAX;
    let long_lived = bounded("neighbor.long_lived_stale_time", request.long_lived_stale_time, 0, most)?;
    let for_all = |seconds| FAMILIES.into_iter().filter(|_| seconds > 0).map(|family| (family, seconds)).collect();
    Ok(GracefulRestart {
        enabled: request.graceful_restart.unwrap_or(base.enabled),
        restart_seconds: restart.and_then(|time| u16::try_from(time).ok()).unwrap_or(base.restart_seconds),
        stale_path: base.stale_path,
        long_lived_seconds: long_lived.map_or(base.long_lived_seconds, for_all),
    })
}

fn hold_seconds(value: Option<u32>) -> Result<Option<u16>, Status> {
    let Some(value) = value else { return Ok(None) };
    match u16::try_from(value) {
        Ok(seconds) if seconds == 0 || seconds >= 3 => Ok(Some(seconds)),
        _ => Err(invalid("neighbor.hold_time", format_args!("{value} is not possible, expected 0 or 3 to 65535"))),
    }
}

fn hops(value: Option<u32>) -> Result<Option<u8>, Status> {
    let Some(value) = value else { return Ok(None) };
    match u8::try_from(value) {
        Ok(hops) if hops > 0 => Ok(Some(hops)),
        _ => Err(invalid("neighbor.ebgp_multihop", format_args!("{value} is not possible, expected 1 to 255"))),
    }
}

/// Contradictions that a configuration file is refused for as well.
fn check(settings: &NeighborSettings, running: &Desired) -> Result<(), Status> {
    let external = settings.remote_asn != settings.local_asn.unwrap_or(running.global.asn);
    if external && settings.route_reflector_client {
        let reason = "only iBGP neighbors can be route-reflector clients (RFC 4456)";
        return Err(invalid("neighbor.route_reflector_client", reason));
    }
    if settings.ttl_security && settings.ebgp_multihop.is_some() {
        return Err(invalid("neighbor.ebgp_multihop", "cannot be set together with ttl_security (RFC 5082)"));
    }
    Ok(())
}
