//! Prefixes as 64-bit keys, and the look-up from a prefix to its number.
//!
//! A receiver does this look-up for every NLRI of every session (fifty million times in the larger loads), so the
//! table is open-addressed and keeps neighbors in address space on neighboring cache lines.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

/// Longest IPv6 prefix a key can hold; the loads stay below it.
pub(crate) const MAX_V6_LENGTH: u8 = 56;

const V6: u64 = 0x80;

/// An IPv4 prefix, or an IPv6 prefix of at most 56 bits.
///
/// ```text
/// 63                        8   7    6      0
/// | address, left-aligned   | v6? | length  |
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(crate) struct PrefixKey(u64);

impl PrefixKey {
    /// The IPv4 prefix of `length` bits at `address`, host bits cleared.
    pub(crate) fn v4(address: u32, length: u8) -> Self {
        Self::from_top(u64::from(address) << 32, length, false)
    }

    /// The IPv6 prefix of `length` (at most 56) bits whose upper half is `top`, host bits cleared.
    pub(crate) fn v6(top: u64, length: u8) -> Self {
        Self::from_top(top, length, true)
    }

    /// The prefix whose left-aligned first 64 bits are `top`.
    #[inline]
    pub(crate) fn from_top(top: u64, length: u8, v6: bool) -> Self {
        let masked = if length == 0 { 0 } else { top & (u64::MAX << (64 - u32::from(length))) };
        Self(masked | if v6 { V6 } else { 0 } | u64::from(length))
    }

    pub(crate) fn is_v6(self) -> bool {
        self.0 & V6 != 0
    }

    /// The address of an IPv4 prefix.
    pub(crate) fn v4_address(self) -> u32 {
        (self.0 >> 32) as u32
    }

    fn length(self) -> u8 {
        (self.0 & 0x7f) as u8
    }

    /// Appends the prefix in NLRI form (RFC 4271 §4.3): length in bits, then as few octets as hold them.
    pub(crate) fn encode(self, out: &mut Vec<u8>) {
        let length = self.length();
        out.push(length);
        out.extend_from_slice(&self.0.to_be_bytes()[..usize::from(length.div_ceil(8))]);
    }

    /// Where the probe starts: eight neighbors share a place, so that a run of prefixes costs one cache miss.
    #[inline]
    fn place(self) -> u64 {
        let shift = match (self.is_v6(), self.length()) {
            (false, 0..=24) => 40,
            (false, _) => 32,
            (true, _) => 16,
        };
        let unit = self.0 >> shift;
        ((unit >> 3).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20).wrapping_add(unit & 7)
    }
}

impl fmt::Display for PrefixKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let top = self.0 & !0xff;
        if self.is_v6() {
            write!(out, "{}/{}", Ipv6Addr::from(u128::from(top) << 64), self.length())
        } else {
            write!(out, "{}/{}", Ipv4Addr::from(self.v4_address()), self.length())
        }
    }
}

const VACANT: u32 = u32::MAX;

/// Prefix → number, fixed once built.
pub(crate) struct PrefixIndex {
    slots: Vec<(PrefixKey, u32)>,
    mask: u64,
}

impl PrefixIndex {
    /// Numbers `keys` in their order.
    ///
    /// # Panics
    /// When a key is there twice: a table like that is a bug of the generator.
    pub(crate) fn new(keys: &[PrefixKey]) -> Self {
        let size = (keys.len().max(8) * 3).next_power_of_two();
        let mut index = Self { slots: vec![(PrefixKey(0), VACANT); size], mask: size as u64 - 1 };
        for (number, &key) in keys.iter().enumerate() {
            let slot = index.slot(key);
            assert!(index.slots[slot].1 == VACANT, "prefix {key} is in the table twice");
            index.slots[slot] = (key, number as u32);
        }
        index
    }

    #[inline]
    fn slot(&self, key: PrefixKey) -> usize {
        let mut at = key.place() & self.mask;
        loop {
            let (there, number) = self.slots[at as usize];
            if there == key || number == VACANT {
                return at as usize;
            }
            at = (at + 1) & self.mask;
        }
    }

    /// The number of `key`, if it is in the table.
    #[inline]
    pub(crate) fn get(&self, key: PrefixKey) -> Option<u32> {
        let (there, number) = self.slots[self.slot(key)];
        (number != VACANT && there == key).then_some(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_prefix_is_found_under_its_number_and_no_other() {
        let keys: Vec<_> = (0..5000_u32).map(|n| PrefixKey::v4(0x0a00_0000 + (n << 8), 24)).collect();
        let index = PrefixIndex::new(&keys);
        assert!(keys.iter().enumerate().all(|(number, &key)| index.get(key) == Some(number as u32)));
        assert_eq!(index.get(PrefixKey::v4(0x0a00_0000, 23)), None);
        assert_eq!(index.get(PrefixKey::v4(0x0b00_0000, 24)), None);
    }

    #[test]
    fn families_do_not_collide() {
        assert_ne!(PrefixKey::v4(0x2001_0db8, 32), PrefixKey::v6(0x2001_0db8_0000_0000, 32));
    }

    #[test]
    fn host_bits_are_cleared() {
        assert_eq!(PrefixKey::v4(0x0a01_02ff, 24).to_string(), "10.1.2.0/24");
        assert_eq!(PrefixKey::v6(0x2400_0000_0001_ffff, 48).to_string(), "2400:0:1::/48");
    }
}
