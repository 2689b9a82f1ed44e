//! What a run came to, and the medians of several.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::board::Counters;
use super::latency::Histogram;

/// Times from a change to the receivers, in milliseconds.
#[derive(Clone, Copy, Default, Debug, Serialize, Deserialize)]
pub(crate) struct Latency {
    pub(crate) count: u64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) max_ms: f64,
}

/// One run.
#[derive(Clone, Default, Debug, Serialize, Deserialize)]
pub(crate) struct Outcome {
    /// From the first byte to the last receiver being right.
    pub(crate) wall_seconds: f64,
    /// Until all sessions were Established.
    pub(crate) establish_seconds: f64,
    /// Of the daemon: user and system, all threads, until it was idle again.
    pub(crate) cpu_seconds: f64,
    /// Of the generator; not part of the comparison.
    pub(crate) generator_seconds: f64,
    pub(crate) idle_kib: u64,
    pub(crate) peak_kib: u64,
    pub(crate) settled_kib: u64,
    pub(crate) latency: Option<Latency>,
    pub(crate) updates_received: u64,
    pub(crate) routes_received: u64,
    pub(crate) withdrawals_received: u64,
    pub(crate) redundant: u64,
    /// UPDATEs with a client's own routes that were sent back to it.
    pub(crate) echoed: u64,
    pub(crate) bytes_received: u64,
    /// Figures of this load only.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) extra: BTreeMap<String, f64>,
    /// What was wrong; empty is right.
    pub(crate) wrong: Vec<String>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) log: String,
}

impl Outcome {
    pub(crate) fn take_latency(&mut self, histogram: &Histogram) {
        let millis = |nanos: u64| nanos as f64 / 1e6;
        self.latency = Some(Latency {
            count: histogram.count(),
            p50_ms: millis(histogram.quantile(0.5)),
            p99_ms: millis(histogram.quantile(0.99)),
            max_ms: millis(histogram.max()),
        });
    }

    pub(crate) fn note(&mut self, name: &str, value: f64) {
        self.extra.insert(name.to_owned(), value);
    }

    pub(crate) fn add_counters(&mut self, counters: &Counters, bytes: u64) {
        self.updates_received += counters.updates;
        self.routes_received += counters.announced;
        self.withdrawals_received += counters.withdrawn;
        self.redundant += counters.redundant;
        self.echoed += counters.echoed;
        self.bytes_received += bytes;
    }

    /// A run that could not be made.
    pub(crate) fn impossible(reason: String) -> Self {
        Self { wrong: vec![reason], ..Self::default() }
    }
}

/// A figure over all runs.
#[derive(Clone, Copy, Default, Debug, Serialize, Deserialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Spread {
    pub(crate) fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let Some((&min, &max)) = values.first().zip(values.last()) else { return Self::default() };
        let middle = values.len() / 2;
        let median = if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 };
        Self { median, min, max }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_or_the_mean_of_the_two_in_the_middle() {
        assert_eq!(Spread::of(vec![3.0, 1.0, 2.0]).median, 2.0);
        assert_eq!(Spread::of(vec![4.0, 1.0, 2.0, 3.0]).median, 2.5);
        assert_eq!(Spread::of(vec![]).max, 0.0);
    }
}
