//! `[global]`.

use std::net::SocketAddr;

use bgp_engine::config::{ConnectionLimits, Global};
use bgp_engine::policy::Definitions;
use toml::de::DeValue;

use super::diagnosis::Problems;
use super::neighbor;
use super::reader::Section;
use super::value::{Asn, FromToml, Identifier, Wrong, bounded};

/// Addresses that accept BGP connections unless configured otherwise.
const LISTEN: [&str; 2] = ["0.0.0.0:179", "[::]:179"];

pub(super) fn read(mut section: Section<'_>, policies: &Definitions, problems: &mut Problems<'_>) -> Option<Global> {
    let asn = section.need::<Asn>("asn", "65000", problems);
    let router_id = section.need::<Identifier>("router-id", "\"192.0.2.1\"", problems);
    let cluster_id = section.value::<Identifier>("cluster-id", problems);
    let listen = section.list::<SocketAddr>("listen", problems);
    let client_to_client = section.value("client-to-client-reflection", problems);
    let graceful_shutdown = section.value("graceful-shutdown", problems);
    let always_compare_med = section.value("always-compare-med", problems);
    let connections = connections(&mut section, problems);
    let import_policy = neighbor::policies(&mut section, "import-policy", policies, problems);
    let export_policy = neighbor::policies(&mut section, "export-policy", policies, problems);
    section.finish(problems);
    let router_id = router_id?.value.0;
    Some(Global {
        asn: asn?.value.0,
        router_id,
        cluster_id: cluster_id.map_or(router_id, |id| id.0),
        listen: match listen {
            Some(listen) => listen.into_iter().map(|at| at.value).collect(),
            None => LISTEN.iter().filter_map(|text| text.parse().ok()).collect(),
        },
        client_to_client: client_to_client.unwrap_or(true),
        graceful_shutdown: graceful_shutdown.unwrap_or(false),
        always_compare_med: always_compare_med.unwrap_or(false),
        connections,
        import_policy,
        export_policy,
    })
}

struct AtLeastOne(u32);

impl FromToml for AtLeastOne {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, Wrong> {
        bounded(value, 1, 1_000_000).map(Self)
    }
}

struct Rate(u32);

impl FromToml for Rate {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, Wrong> {
        bounded(value, 0, 1_000_000).map(Self)
    }
}

fn connections(section: &mut Section<'_>, problems: &mut Problems<'_>) -> ConnectionLimits {
    let defaults = ConnectionLimits::default();
    let pending = section.value::<AtLeastOne>("max-pending", problems);
    let per_source = section.value::<AtLeastOne>("max-pending-per-source", problems);
    let rate = section.value::<Rate>("max-setup-rate", problems);
    ConnectionLimits {
        pending: pending.map_or(defaults.pending, |number| number.0),
        pending_per_source: per_source.map_or(defaults.pending_per_source, |number| number.0),
        setup_rate: rate.map_or(defaults.setup_rate, |rate| rate.0),
    }
}
