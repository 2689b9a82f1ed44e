//! What the daemon says of itself while it runs.

mod latency;
pub mod log;
pub mod metrics;

pub(crate) use self::latency::Latencies;
