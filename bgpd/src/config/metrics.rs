//! `[metrics]`.

use std::net::SocketAddr;

use super::diagnosis::Problems;
use super::reader::Section;

/// Neighbors with series of their own unless configured otherwise.
const NEIGHBOR_LIMIT: usize = 1000;

/// Where and how metrics are served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetricsSettings {
    /// Addresses; none is off.
    pub listen: Vec<SocketAddr>,
    /// Most neighbors that have series of their own.
    pub neighbor_limit: usize,
}

impl Default for MetricsSettings {
    fn default() -> Self {
        Self { listen: Vec::new(), neighbor_limit: NEIGHBOR_LIMIT }
    }
}

pub(super) fn read(mut section: Section<'_>, problems: &mut Problems<'_>) -> MetricsSettings {
    let defaults = MetricsSettings::default();
    let listen = section.list("listen", problems);
    let limit = section.value("neighbor-limit", problems);
    section.finish(problems);
    MetricsSettings {
        listen: listen.map_or(defaults.listen, |all| all.into_iter().map(|at| at.value).collect()),
        neighbor_limit: limit.unwrap_or(defaults.neighbor_limit),
    }
}
