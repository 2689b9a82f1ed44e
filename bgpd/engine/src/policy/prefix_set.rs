//! Sets of prefixes, each with the lengths that it stands for (`ge`, `le`).
//!
//! Entries lie sorted by address and length, and each knows the entry that covers it. The entries that cover a route
//! are all found from the last one that is not behind it: a look-up is one binary search and a short climb, whatever
//! the size of the set.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;

/// A prefix and the lengths of the prefixes within it that are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PrefixEntry {
    prefix: IpNet,
    least: u8,
    most: u8,
}

/// The text is not an entry of a prefix set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPrefixEntry {
    /// There is no prefix in it.
    #[error("\"{0}\" is not a prefix, expected \"10.0.0.0/8\", \"10.0.0.0/8 le 24\" or \"10.0.0.0/8 ge 16 le 24\"")]
    Form(String),
    /// Bits behind the prefix.
    #[error("{0} has host bits set, did you mean \"{1}\"?")]
    HostBits(IpNet, IpNet),
    /// Lengths that no prefix within it has.
    #[error("no prefix within {prefix} has {least} to {most} bits, expected lengths from {from} to {to}")]
    Lengths {
        /// The prefix.
        prefix: IpNet,
        /// Shortest.
        least: u8,
        /// Longest.
        most: u8,
        /// Its own length.
        from: u8,
        /// What its addresses have.
        to: u8,
    },
}

impl PrefixEntry {
    /// The prefix itself and nothing else.
    #[must_use]
    pub fn exact(prefix: IpNet) -> Self {
        Self { prefix: prefix.trunc(), least: prefix.prefix_len(), most: prefix.prefix_len() }
    }
}

impl FromStr for PrefixEntry {
    type Err = InvalidPrefixEntry;

    /// `10.0.0.0/8` is that prefix; `le 24` adds what is within it up to that length; `ge 16` is what is within it from
    /// that length on.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let form = || InvalidPrefixEntry::Form(text.to_owned());
        let mut words = text.split_whitespace();
        let prefix: IpNet = words.next().and_then(|word| word.parse().ok()).ok_or_else(form)?;
        if prefix.trunc() != prefix {
            return Err(InvalidPrefixEntry::HostBits(prefix, prefix.trunc()));
        }
        let (mut least, mut most) = (None, None);
        while let Some(word) = words.next() {
            let bound = match word {
                "ge" => &mut least,
                "le" => &mut most,
                _ => return Err(form()),
            };
            let length = words.next().and_then(|word| word.parse::<u8>().ok()).ok_or_else(form)?;
            if bound.replace(length).is_some() {
                return Err(form());
            }
        }
        let (from, to) = (prefix.prefix_len(), prefix.max_prefix_len());
        let most = most.unwrap_or(if least.is_some() { to } else { from });
        let least = least.unwrap_or(from);
        if least < from || most > to || least > most {
            return Err(InvalidPrefixEntry::Lengths { prefix, least, most, from, to });
        }
        Ok(Self { prefix, least, most })
    }
}

impl fmt::Display for PrefixEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (from, to) = (self.prefix.prefix_len(), self.prefix.max_prefix_len());
        write!(f, "{}", self.prefix)?;
        if self.least != from {
            write!(f, " ge {}", self.least)?;
        }
        if self.most != if self.least == from { from } else { to } {
            write!(f, " le {}", self.most)?;
        }
        Ok(())
    }
}

/// A set of prefixes of both address families.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PrefixSet {
    v4: Sorted,
    v6: Sorted,
}

/// The entries of one address family.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Sorted(Vec<Node>);

/// An entry. Addresses are aligned to the high end, so that both families look the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Node {
    bits: u128,
    len: u8,
    least: u8,
    most: u8,
    /// The longest other entry that covers this one, or [`NONE`].
    parent: u32,
}

/// No entry.
const NONE: u32 = u32::MAX;

impl FromIterator<PrefixEntry> for PrefixSet {
    fn from_iter<I: IntoIterator<Item = PrefixEntry>>(entries: I) -> Self {
        let (v4, v6): (Vec<_>, Vec<_>) = entries.into_iter().partition(|entry| entry.prefix.addr().is_ipv4());
        Self { v4: Sorted::new(v4), v6: Sorted::new(v6) }
    }
}

impl PrefixSet {
    /// Whether a route to `prefix` is meant.
    #[must_use]
    pub fn contains(&self, prefix: &IpNet) -> bool {
        let set = if prefix.addr().is_ipv4() { &self.v4 } else { &self.v6 };
        set.contains(aligned(prefix.network()), prefix.prefix_len())
    }

    /// Number of entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.v4.0.len() + self.v6.0.len()
    }

    /// Whether nothing is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

fn aligned(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(v4.to_bits()) << 96,
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

impl Sorted {
    fn new(entries: Vec<PrefixEntry>) -> Self {
        let node = |entry: PrefixEntry| Node {
            bits: aligned(entry.prefix.network()),
            len: entry.prefix.prefix_len(),
            least: entry.least,
            most: entry.most,
            parent: NONE,
        };
        let mut nodes: Vec<Node> = entries.into_iter().map(node).collect();
        nodes.sort_by_key(|node| (node.bits, node.len, node.least, node.most));
        nodes.dedup();
        // The entries that cover the present one, the longest last.
        let mut open: Vec<u32> = Vec::new();
        for at in 0..nodes.len() {
            let node = nodes[at];
            while open.last().is_some_and(|&outer| !nodes[outer as usize].covers(node.bits, node.len)) {
                open.pop();
            }
            nodes[at].parent = open.last().copied().unwrap_or(NONE);
            open.push(u32::try_from(at).unwrap_or(NONE));
        }
        Self(nodes)
    }

    fn contains(&self, bits: u128, len: u8) -> bool {
        // Whatever covers the route is not behind it and covers everything between itself and the route: it is the last
        // entry that is not behind the route, or one that covers that one.
        let mut at = self.0.partition_point(|node| (node.bits, node.len) <= (bits, len)).wrapping_sub(1) as u32;
        while let Some(node) = self.0.get(at as usize) {
            if node.least <= len && len <= node.most && node.covers(bits, len) {
                return true;
            }
            at = node.parent;
        }
        false
    }
}

impl Node {
    fn covers(&self, bits: u128, len: u8) -> bool {
        let outside = u128::MAX.checked_shr(self.len.into()).unwrap_or(0);
        self.len <= len && (self.bits ^ bits) & !outside == 0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn set(entries: &[&str]) -> PrefixSet {
        entries.iter().map(|entry| entry.parse::<PrefixEntry>().expect("an entry")).collect()
    }

    fn holds(set: &PrefixSet, prefix: &str) -> bool {
        set.contains(&prefix.parse().expect("a prefix"))
    }

    #[test]
    fn bounds_say_which_lengths_are_meant() {
        let set = set(&["10.0.0.0/8", "172.16.0.0/12 le 24", "192.168.0.0/16 ge 24", "2001:db8::/32 ge 40 le 48"]);
        let inside = ["10.0.0.0/8", "172.16.0.0/12", "172.20.1.0/24", "192.168.1.0/24", "192.168.1.1/32"];
        assert!(inside.iter().all(|prefix| holds(&set, prefix)));
        assert!(["2001:db8:100::/40", "2001:db8:1::/48"].iter().all(|prefix| holds(&set, prefix)));
        let outside = ["10.1.0.0/16", "0.0.0.0/0", "172.20.1.0/25", "192.168.0.0/16", "11.0.0.0/8"];
        assert!(!outside.iter().any(|prefix| holds(&set, prefix)));
        assert!(!["2001:db8::/32", "2001:db8:1:1::/64", "::/0"].iter().any(|prefix| holds(&set, prefix)));
    }

    #[test]
    fn an_entry_within_another_does_not_hide_it() {
        let set = set(&["0.0.0.0/0 ge 30", "10.0.0.0/8 le 16", "10.1.0.0/16 ge 20 le 20", "10.1.0.0/16 ge 28 le 28"]);
        assert!(["10.1.0.0/16", "10.1.16.0/20", "10.1.0.16/28", "10.1.2.4/30"].iter().all(|p| holds(&set, p)));
        assert!(!["10.1.2.0/24", "10.1.0.0/18"].iter().any(|p| holds(&set, p)));
    }

    #[test]
    fn a_wrong_entry_says_what_would_be_right() {
        let said = |text: &str| text.parse::<PrefixEntry>().expect_err("wrong").to_string();
        assert_eq!(said("10.0.0.1/8"), "10.0.0.1/8 has host bits set, did you mean \"10.0.0.0/8\"?");
        let lengths = "no prefix within 10.0.0.0/8 has 8 to 33 bits, expected lengths from 8 to 32";
        assert_eq!(said("10.0.0.0/8 le 33"), lengths);
        assert!(said("10.0.0.0/8 le").contains("ge 16 le 24"));
    }

    #[test]
    fn an_entry_is_written_as_it_is_read() {
        for text in ["10.0.0.0/8", "10.0.0.0/8 le 24", "10.0.0.0/8 ge 16", "10.0.0.0/8 ge 16 le 24", "::/0 le 48"] {
            assert_eq!(text.parse::<PrefixEntry>().expect("an entry").to_string(), text);
        }
    }

    fn entry() -> impl Strategy<Value = PrefixEntry> {
        (0..16u32, 0..=8u8, 0..4u8, 0..4u8).prop_map(|(bits, len, more, span)| {
            let prefix = ipnet::Ipv4Net::new(std::net::Ipv4Addr::from(bits << 26), len).expect("a length").trunc();
            PrefixEntry { prefix: prefix.into(), least: len + more, most: len + more + span }
        })
    }

    proptest! {
        #[test]
        fn look_up_finds_what_a_search_through_all_entries_finds(
            entries in proptest::collection::vec(entry(), 0..24),
            bits in 0..256u32,
            len in 0..=14u8,
        ) {
            let route: IpNet = ipnet::Ipv4Net::new((bits << 24).into(), len).expect("a length").trunc().into();
            let among = entries.iter().any(|e| e.prefix.contains(&route) && e.least <= len && len <= e.most);
            prop_assert_eq!(entries.into_iter().collect::<PrefixSet>().contains(&route), among);
        }
    }
}
