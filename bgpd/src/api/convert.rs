//! From the runtime's values to the API's messages, and from strings in requests to values.

mod attributes;
mod declaration;
mod neighbor;
mod owner;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use bgp_engine::config::Step;
use bgp_engine::policy::{CommunitySet, RpkiState};
use bgp_engine::rib::RouteChanges;
use bgp_wire::Family;
use bgpd_proto::v1;
use ipnet::IpNet;
use tonic::Status;

pub(super) use self::attributes::{attributes, interned};
pub(super) use self::declaration::{neighbor_keys, owner_name};
pub(super) use self::neighbor::{neighbor, neighbor_filter};
pub(super) use self::owner::{originate, owner, refused, route_set};
use crate::runtime::handle::{
    ControlError, Explanation, NotARevision, Place, Revision, RouteFilter, RouteRecord, RouteWatch,
};
use crate::runtime::status;

/// Longest silence of a watch where the client does not say another.
const HEARTBEAT: Duration = Duration::from_secs(10);
const HEARTBEAT_MAX_SECONDS: u32 = 3600;

/// The gRPC status of a command that was not carried out.
pub(super) fn status_of(error: ControlError) -> Status {
    match &error {
        ControlError::NotFound { .. } => Status::not_found(error.to_string()),
        ControlError::AlreadyExists { .. } | ControlError::Conflict(_) => Status::already_exists(error.to_string()),
        ControlError::Invalid { .. } => Status::invalid_argument(error.to_string()),
        ControlError::Superseded(_) => Status::aborted(error.to_string()),
        ControlError::Exhausted(_) => Status::resource_exhausted(error.to_string()),
        ControlError::Unavailable(_) => Status::failed_precondition(error.to_string()),
    }
}

/// A value in a request that cannot be read: `field: "text" is not …`.
pub(super) fn invalid(field: &str, reason: impl std::fmt::Display) -> Status {
    Status::invalid_argument(format!("{field}: {reason}"))
}

fn parsed<T: FromStr>(field: &str, text: &str, what: &str) -> Result<T, Status> {
    match text {
        "" => Err(invalid(field, format_args!("missing, expected {what}"))),
        _ => text.parse().map_err(|_| invalid(field, format_args!("\"{text}\" is not {what}"))),
    }
}

/// An address that must be there.
pub(super) fn address(field: &str, text: &str) -> Result<IpAddr, Status> {
    parsed(field, text, "an IP address")
}

/// An address that may be missing.
pub(super) fn optional_address(field: &str, text: &str) -> Result<Option<IpAddr>, Status> {
    if text.is_empty() { Ok(None) } else { address(field, text).map(Some) }
}

/// A prefix that must be there. A bare address is its host route.
pub(super) fn prefix(field: &str, text: &str) -> Result<IpNet, Status> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(IpNet::from(address));
    }
    let prefix: IpNet = parsed(field, text, "a prefix such as 10.1.0.0/24")?;
    if prefix.trunc() != prefix {
        let right = prefix.trunc();
        return Err(invalid(field, format_args!("{prefix} has host bits set, did you mean {right}?")));
    }
    Ok(prefix)
}

/// A family as it stands in a request.
pub(super) fn family(field: &str, family: v1::Family) -> Result<Family, Status> {
    let read = || Some(Family { afi: u16::try_from(family.afi).ok()?, safi: u8::try_from(family.safi).ok()? });
    let known = |family: &Family| [Family::IPV4_UNICAST, Family::IPV6_UNICAST].contains(family);
    read().filter(known).ok_or_else(|| {
        let reason = format!(
            "AFI {} SAFI {} is not supported, expected IPv4 (1/1) or IPv6 (2/1) unicast",
            family.afi, family.safi
        );
        invalid(field, reason)
    })
}

pub(super) fn from_family(family: Family) -> v1::Family {
    v1::Family { afi: family.afi.into(), safi: family.safi.into() }
}

pub(super) fn filter(request: v1::ListRoutesRequest) -> Result<RouteFilter, Status> {
    let v1::ListRoutesRequest {
        family: wanted,
        prefix: text,
        longer,
        from,
        to,
        best_only,
        page_size,
        page_token,
        validation,
        communities,
        as_path,
    } = request;
    let start = match page_token.as_str() {
        "" => Place::default(),
        token => token.parse().map_err(|error| invalid("page_token", error))?,
    };
    Ok(RouteFilter {
        families: wanted.map(|wanted| family("family", wanted)).transpose()?.into_iter().collect(),
        prefix: optional_prefix("prefix", &text)?,
        longer,
        // Of an address people want to know which route it takes.
        covering: !longer && text.parse::<IpAddr>().is_ok(),
        from: optional_address("from", &from)?,
        to: optional_address("to", &to)?,
        best_only,
        validation: optional_state("validation", &validation)?,
        communities: CommunitySet { members: parsed_all("communities", &communities)?, all: true },
        as_path: match as_path.as_str() {
            "" => None,
            text => Some(text.parse().map_err(|error| invalid("as_path", error))?),
        },
        multipath: false,
        start,
        size: usize::try_from(page_size).ok().filter(|size| *size > 0),
    })
}

fn parsed_all<T: FromStr<Err: std::fmt::Display>>(field: &str, texts: &[String]) -> Result<Vec<T>, Status> {
    texts.iter().map(|text| text.parse().map_err(|error: T::Err| invalid(field, error))).collect()
}

fn optional_state(field: &str, text: &str) -> Result<Option<RpkiState>, Status> {
    let state = RpkiState::NAMES.iter().find(|(name, _)| *name == text).map(|(_, state)| *state);
    match (text, state) {
        ("", _) => Ok(None),
        (_, Some(state)) => Ok(Some(state)),
        _ => Err(invalid(field, format_args!("\"{text}\" is not valid, invalid or not-found"))),
    }
}

fn optional_prefix(field: &str, text: &str) -> Result<Option<IpNet>, Status> {
    if text.is_empty() { Ok(None) } else { prefix(field, text).map(Some) }
}

pub(super) fn route_watch(request: v1::WatchRoutesRequest) -> Result<RouteWatch, Status> {
    let v1::WatchRoutesRequest { families, prefix, longer, multipath, from_revision, heartbeat_seconds, changes_only } =
        request;
    Ok(RouteWatch {
        changes_only,
        families: families.into_iter().map(|one| family("families", one)).collect::<Result<_, _>>()?,
        prefix: optional_prefix("prefix", &prefix)?,
        longer,
        multipath,
        from: revision(&from_revision)?,
        heartbeat: heartbeat(heartbeat_seconds)?,
    })
}

/// Where a watch is to go on, if it is not to begin anew.
pub(super) fn revision(text: &str) -> Result<Option<Revision>, Status> {
    match text {
        "" => Ok(None),
        text => text.parse().map(Some).map_err(|error: NotARevision| invalid("from_revision", error)),
    }
}

/// Longest silence of a watch; a default for 0.
pub(super) fn heartbeat(seconds: u32) -> Result<Duration, Status> {
    match seconds {
        0 => Ok(HEARTBEAT),
        1..=HEARTBEAT_MAX_SECONDS => Ok(Duration::from_secs(seconds.into())),
        _ => {
            let reason = format!("{seconds} is not possible, expected 1 to {HEARTBEAT_MAX_SECONDS}");
            Err(invalid("heartbeat_seconds", reason))
        }
    }
}

pub(super) fn route(record: &RouteRecord) -> v1::Route {
    v1::Route {
        family: Some(from_family(record.family)),
        prefix: record.prefix.to_string(),
        path_id: record.path_id,
        from: text(record.from),
        from_router_id: record.from_router_id.to_string(),
        attributes: Some(attributes(&record.attrs)),
        best: record.best,
        age_seconds: record.age_seconds,
        reason: record.reason.clone().unwrap_or_default(),
        rejected: record.rejected.clone().unwrap_or_default(),
        stale: record.stale,
        interface: record.interface.clone().unwrap_or_default(),
        owner: text(record.owner.as_ref()),
        validation: text(record.validation),
    }
}

pub(super) fn explanation(explanation: &Explanation) -> v1::ExplainResponse {
    let candidates = explanation.candidates.iter();
    let exports = explanation.exports.iter();
    v1::ExplainResponse {
        prefix: explanation.prefix.to_string(),
        candidates: candidates
            .map(|one| v1::Candidate { route: Some(route(&one.route)), verdict: one.verdict.clone() })
            .collect(),
        exports: exports
            .map(|one| v1::Export { to: one.to.to_string(), advertised: one.advertised, why: one.why.clone() })
            .collect(),
        kernels: Vec::new(),
    }
}

/// `streams` are those of the API: open now, and refused.
pub(super) fn speaker(status: &status::Status, streams: (u64, u64)) -> v1::GetStatusResponse {
    let connections = status.connections;
    v1::GetStatusResponse {
        version: status.version.to_owned(),
        asn: status.asn,
        router_id: status.router_id.to_string(),
        cluster_id: status.cluster_id.to_string(),
        uptime_seconds: seconds_since(status.started),
        neighbors: status.neighbors,
        established: status.established,
        tables: status
            .tables
            .iter()
            .map(|(family, counts)| v1::TableCounts {
                family: Some(from_family(*family)),
                prefixes: counts.prefixes,
                paths: counts.paths,
            })
            .collect(),
        attribute_sets: status.attribute_sets,
        revision: status.revision.clone(),
        document: status.document.clone(),
        confirm_seconds_left: status.confirm_seconds_left,
        listen: status.listen.iter().map(ToString::to_string).collect(),
        awaited: status.awaited.iter().map(ToString::to_string).collect(),
        selection_deferral_seconds: status.selection_deferral_seconds,
        connections: Some(v1::ConnectionCounts {
            pending: connections.pending,
            refused_pending: connections.refused_pending,
            refused_pending_of_source: connections.refused_pending_of_source,
            refused_rate: connections.refused_rate,
            refused_range: connections.refused_range,
        }),
        streams: streams.0,
        streams_refused: streams.1,
    }
}

pub(super) fn step(step: &Step) -> v1::Step {
    v1::Step { text: step.to_string(), impact: step.impact().to_string() }
}

pub(super) fn resets(resets: BTreeMap<IpAddr, String>) -> Vec<v1::SessionReset> {
    resets.into_iter().map(|(address, reason)| v1::SessionReset { address: address.to_string(), reason }).collect()
}

pub(super) fn route_changes(routes: BTreeMap<IpAddr, RouteChanges>) -> Vec<v1::RouteChanges> {
    let count = |number: i64| u64::try_from(number).unwrap_or(0);
    let of = |(address, routes): (IpAddr, RouteChanges)| v1::RouteChanges {
        address: address.to_string(),
        rejected: count(routes.rejected),
        accepted: count(routes.accepted),
        modified: count(routes.modified),
        announced: count(routes.announced),
        withdrawn: count(routes.withdrawn),
        changed: count(routes.changed),
    };
    routes.into_iter().map(of).collect()
}

/// What may be missing, as text; empty if it is.
pub(super) fn text<T: ToString>(value: Option<T>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}

/// A clock that was set back counts as no time.
fn seconds_since(then: SystemTime) -> u64 {
    then.elapsed().map(|elapsed| elapsed.as_secs()).unwrap_or(0)
}
