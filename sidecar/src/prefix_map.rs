//! Values by prefix, with the questions that routing asks: the longest match, what covers, what overlaps.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;

/// Values by prefix. Host bits of keys are ignored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PrefixMap<V> {
    entries: BTreeMap<IpNet, V>,
}

impl<V> Default for PrefixMap<V> {
    fn default() -> Self {
        Self { entries: BTreeMap::new() }
    }
}

impl<V> PrefixMap<V> {
    pub(crate) fn entry(&mut self, prefix: IpNet) -> std::collections::btree_map::Entry<'_, IpNet, V> {
        self.entries.entry(prefix.trunc())
    }

    pub(crate) fn remove(&mut self, prefix: IpNet) -> Option<V> {
        self.entries.remove(&prefix.trunc())
    }

    /// The entries whose prefixes contain this one or equal it, the longest first.
    pub(crate) fn covering(&self, prefix: IpNet) -> impl Iterator<Item = (IpNet, &V)> {
        (0..=prefix.prefix_len()).rev().filter_map(move |length| {
            let wider = IpNet::new(prefix.addr(), length).ok()?.trunc();
            self.entries.get(&wider).map(|value| (wider, value))
        })
    }

    /// The entries that contain an address, the longest first.
    pub(crate) fn matches(&self, address: IpAddr) -> impl Iterator<Item = (IpNet, &V)> {
        self.covering(IpNet::from(address))
    }

    /// Some entry whose prefix contains this one, equals it or lies inside it.
    pub(crate) fn overlapping(&self, prefix: IpNet) -> Option<(IpNet, &V)> {
        let prefix = prefix.trunc();
        let inside = || {
            let last = IpNet::from(prefix.broadcast());
            self.entries.range(prefix..=last).map(|(inner, value)| (*inner, value)).next()
        };
        self.covering(prefix).next().or_else(inside)
    }
}

impl<V> FromIterator<(IpNet, V)> for PrefixMap<V> {
    fn from_iter<I: IntoIterator<Item = (IpNet, V)>>(entries: I) -> Self {
        Self { entries: entries.into_iter().map(|(prefix, value)| (prefix.trunc(), value)).collect() }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn map(prefixes: &[&str]) -> PrefixMap<()> {
        prefixes.iter().map(|prefix| (prefix.parse().expect("a prefix"), ())).collect()
    }

    #[test]
    fn longest_match_comes_first() {
        let map = map(&["0.0.0.0/0", "10.0.0.0/8", "10.1.0.0/16", "10.2.0.0/16"]);
        let address = "10.1.2.3".parse().expect("an address");
        let found: Vec<String> = map.matches(address).map(|(prefix, ())| prefix.to_string()).collect();
        assert_eq!(found, ["10.1.0.0/16", "10.0.0.0/8", "0.0.0.0/0"]);
    }

    fn prefix() -> impl Strategy<Value = IpNet> {
        let v4 = (0u32..16, 24u8..=32).prop_map(|(host, length)| {
            let address = std::net::Ipv4Addr::from(0x0a00_0000 + host * 16);
            IpNet::new(address.into(), length).expect("a length of at most 32")
        });
        let v6 = (0u128..16, 120u8..=128).prop_map(|(host, length)| {
            let address = std::net::Ipv6Addr::from((0xfd << 120) + host * 8);
            IpNet::new(address.into(), length).expect("a length of at most 128")
        });
        prop_oneof![v4.boxed(), v6.boxed()]
    }

    proptest! {
        #[test]
        fn overlap_is_what_comparing_with_each_says(prefixes in prop::collection::vec(prefix(), 0..6), asked in prefix()) {
            let map: PrefixMap<()> = prefixes.iter().map(|prefix| (*prefix, ())).collect();
            let expected = prefixes.iter().any(|one| one.contains(&asked.trunc()) || asked.contains(&one.trunc()));
            prop_assert_eq!(map.overlapping(asked).is_some(), expected);
        }
    }
}
