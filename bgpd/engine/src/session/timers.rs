//! Jitter (RFC 4271 §10).

use std::time::Duration;

/// A small generator (splitmix64): the same seed gives the same times.
#[derive(Debug, Clone)]
pub(super) struct Jitter(u64);

impl Jitter {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Between 0.75 and 1 times `base`.
    pub(super) fn of(&mut self, base: Duration) -> Duration {
        let fraction = (self.next() >> 40) as f64 / (1_u64 << 24) as f64;
        base.mul_f64(0.75 + fraction / 4.0)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }
}
