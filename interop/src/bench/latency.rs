//! A histogram of times with about three percent resolution and a fixed size.

/// Buckets per power of two.
const STEPS: usize = 32;

/// Times in nanoseconds.
#[derive(Clone, Debug)]
pub(crate) struct Histogram {
    buckets: Vec<u64>,
    count: u64,
    max: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: vec![0; 60 * STEPS], count: 0, max: 0 }
    }
}

impl Histogram {
    /// Adds one time.
    pub(crate) fn record(&mut self, nanos: u64) {
        self.buckets[bucket(nanos)] += 1;
        self.count += 1;
        self.max = self.max.max(nanos);
    }

    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    pub(crate) fn max(&self) -> u64 {
        self.max
    }

    /// The time below which a share of `quantile` (0 to 1) of all times lies.
    pub(crate) fn quantile(&self, quantile: f64) -> u64 {
        let rank = (self.count as f64 * quantile).ceil() as u64;
        let mut seen = 0;
        for (number, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= rank.max(1) {
                return upper(number).min(self.max);
            }
        }
        self.max
    }
}

fn bucket(nanos: u64) -> usize {
    if nanos < STEPS as u64 {
        return nanos as usize;
    }
    let power = nanos.ilog2() as usize; // at least 5
    let step = (nanos >> (power - 5)) as usize - STEPS;
    (power - 4) * STEPS + step
}

/// The largest time in a bucket.
fn upper(bucket: usize) -> u64 {
    if bucket < STEPS {
        return bucket as u64;
    }
    let power = bucket / STEPS + 4;
    let step = (bucket % STEPS + STEPS) as u64;
    ((step + 1) << (power - 5)) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_within_four_percent() {
        let mut histogram = Histogram::default();
        (1..=100_000_u64).for_each(|micros| histogram.record(micros * 1_000));
        for (quantile, want) in [(0.5, 50e6), (0.99, 99e6), (1.0, 100e6)] {
            let got = histogram.quantile(quantile) as f64;
            assert!((got - want).abs() / want < 0.04, "{quantile}: {got} instead of {want}");
        }
        assert_eq!((histogram.count(), histogram.max()), (100_000, 100_000_000));
    }

    #[test]
    fn every_time_is_below_its_buckets_upper_end() {
        for nanos in [0, 1, 31, 32, 33, 63, 64, 1_000, u64::from(u32::MAX), 1 << 50] {
            assert!(upper(bucket(nanos)) >= nanos);
        }
    }
}
