//! Histograms of how long things take: what the hot path writes to with three atomic additions.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds of the buckets, in microseconds: from 100 µs to 10 minutes.
const BOUNDS: [u64; 16] = [
    100,
    250,
    500,
    1_000,
    2_500,
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    1_000_000,
    5_000_000,
    30_000_000,
    120_000_000,
    600_000_000,
];

/// How often something took how long.
#[derive(Debug, Default)]
pub(crate) struct Histogram {
    /// The last one is of what is over all bounds.
    counts: [AtomicU64; BOUNDS.len() + 1],
    micros: AtomicU64,
}

/// A histogram as it was at one time.
#[derive(Debug)]
pub(super) struct Reading {
    pub(super) seconds: f64,
    pub(super) count: u64,
    /// Upper bound in seconds, and how many are in the bucket.
    pub(super) buckets: Vec<(f64, u64)>,
}

impl Histogram {
    /// Notes how long something took.
    pub(crate) fn observe(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = BOUNDS.partition_point(|bound| *bound < micros);
        self.counts[bucket].fetch_add(1, Ordering::Relaxed);
        self.micros.fetch_add(micros, Ordering::Relaxed);
    }

    pub(super) fn read(&self) -> Reading {
        let bounds = BOUNDS.iter().map(|micros| *micros as f64 / 1e6).chain([f64::INFINITY]);
        let counts = self.counts.iter().map(|count| count.load(Ordering::Relaxed));
        let buckets: Vec<_> = bounds.zip(counts).collect();
        Reading {
            seconds: self.micros.load(Ordering::Relaxed) as f64 / 1e6,
            count: buckets.iter().map(|(_, count)| count).sum(),
            buckets,
        }
    }
}

/// What is measured on the way of a route.
#[derive(Debug, Default)]
pub(crate) struct Latencies {
    /// From the read of a burst until the partitions have taken what is in it: decoding, policy, and waiting for room.
    pub(crate) intake: Histogram,
    /// From the read of a burst until the last chunk of what it changed is in the members' queues, once per group.
    pub(crate) propagation: Histogram,
    /// From Established to the peer's End-of-RIB, by family.
    pub(crate) convergence_in: Histogram,
    /// From Established until a peer's whole table and End-of-RIB are in its queue, by family.
    pub(crate) convergence_out: Histogram,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_is_part_of_its_bucket_and_nothing_is_lost_above_the_last() {
        let histogram = Histogram::default();
        for micros in [0, 100, 101, 600_000_000, 600_000_001] {
            histogram.observe(Duration::from_micros(micros));
        }
        let reading = histogram.read();
        let counts: Vec<u64> = reading.buckets.iter().map(|(_, count)| *count).collect();
        assert_eq!((counts[0], counts[1], counts[15], counts[16], reading.count), (2, 1, 1, 1, 5));
        assert!((reading.seconds - 1_200.000_202).abs() < 1e-6, "{}", reading.seconds);
    }
}
