//! VRPs by prefix, and the question that RFC 6811 asks of them.

use bgp_wire::rtr::Vrp;
use foldhash::fast::FixedState;
use hashbrown::HashMap;
use ipnet::IpNet;

use crate::policy::{OriginValidation, RpkiState};

/// VRPs that count.
#[derive(Debug, Clone, Default)]
pub struct VrpTable {
    by_prefix: HashMap<IpNet, Vec<Authorized>, FixedState>,
    /// Lengths that prefixes of VRPs have, in order, of IPv4 and of IPv6: a look-up tries no others.
    lengths: [Vec<u8>; 2],
    count: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Authorized {
    asn: u32,
    max_length: u8,
}

fn side(prefix: &IpNet) -> usize {
    usize::from(prefix.addr().is_ipv6())
}

impl VrpTable {
    /// How many VRPs.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The VRPs that cover a prefix, the least specific first (RFC 6811 §2).
    pub fn covering(&self, prefix: IpNet) -> impl Iterator<Item = Vrp> {
        let lengths = self.lengths[side(&prefix)].iter().take_while(move |length| **length <= prefix.prefix_len());
        lengths.flat_map(move |length| {
            let covering = IpNet::new(prefix.addr(), *length).ok().map(|net| net.trunc());
            let found = covering.and_then(|net| self.by_prefix.get_key_value(&net));
            found.into_iter().flat_map(|(net, all)| {
                all.iter().map(|one| Vrp { prefix: *net, max_length: one.max_length, asn: one.asn })
            })
        })
    }
}

impl FromIterator<Vrp> for VrpTable {
    /// What several caches say counts once.
    fn from_iter<I: IntoIterator<Item = Vrp>>(vrps: I) -> Self {
        let mut table = Self::default();
        for Vrp { prefix, max_length, asn } in vrps {
            table.by_prefix.entry(prefix).or_default().push(Authorized { asn, max_length });
        }
        for (prefix, all) in &mut table.by_prefix {
            all.sort_unstable();
            all.dedup();
            table.count += all.len();
            let lengths = &mut table.lengths[side(prefix)];
            if let Err(at) = lengths.binary_search(&prefix.prefix_len()) {
                lengths.insert(at, prefix.prefix_len());
            }
        }
        table
    }
}

impl OriginValidation for VrpTable {
    /// RFC 6811 §2: covered and matched is valid, covered only is invalid. A path that ends with a set matches nothing,
    /// and neither does AS 0 (RFC 6483 §4).
    fn state(&self, prefix: &IpNet, origin: Option<u32>) -> RpkiState {
        let mut state = RpkiState::NotFound;
        for vrp in self.covering(*prefix) {
            state = RpkiState::Invalid;
            if prefix.prefix_len() <= vrp.max_length && vrp.asn != 0 && origin == Some(vrp.asn) {
                return RpkiState::Valid;
            }
        }
        state
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn vrp(prefix: &str, max_length: u8, asn: u32) -> Vrp {
        Vrp { prefix: prefix.parse().expect("a prefix"), max_length, asn }
    }

    fn table() -> VrpTable {
        [
            vrp("10.0.0.0/16", 24, 65001),
            vrp("10.0.0.0/16", 16, 65002),
            vrp("10.0.0.0/8", 8, 65003),
            vrp("192.0.2.0/24", 32, 0),
            vrp("2001:db8::/32", 48, 65001),
        ]
        .into_iter()
        .collect()
    }

    /// RFC 6811 §2.
    #[test]
    fn covered_and_matched_is_valid_and_covered_only_is_invalid() {
        let state = |prefix: &str, origin| table().state(&prefix.parse().expect("a prefix"), origin);
        assert_eq!(state("10.0.0.0/16", Some(65001)), RpkiState::Valid);
        assert_eq!(state("10.0.7.0/24", Some(65001)), RpkiState::Valid);
        assert_eq!(state("10.0.0.0/16", Some(65002)), RpkiState::Valid);
        assert_eq!(state("10.0.7.0/24", Some(65002)), RpkiState::Invalid);
        assert_eq!(state("10.0.7.0/25", Some(65001)), RpkiState::Invalid);
        assert_eq!(state("10.9.0.0/16", Some(65003)), RpkiState::Invalid);
        assert_eq!(state("10.0.0.0/8", Some(65003)), RpkiState::Valid);
        assert_eq!(state("0.0.0.0/0", Some(65003)), RpkiState::NotFound);
        assert_eq!(state("11.0.0.0/8", Some(65003)), RpkiState::NotFound);
        assert_eq!(state("2001:db8:1::/48", Some(65001)), RpkiState::Valid);
        assert_eq!(state("2001:db8:1::/49", Some(65001)), RpkiState::Invalid);
    }

    /// RFC 6811 §2 and RFC 6483 §4.
    #[test]
    fn a_set_at_the_end_and_as_0_match_nothing() {
        let state = |prefix: &str, origin| table().state(&prefix.parse().expect("a prefix"), origin);
        assert_eq!(state("10.0.0.0/16", None), RpkiState::Invalid);
        assert_eq!(state("11.0.0.0/16", None), RpkiState::NotFound);
        assert_eq!(state("192.0.2.0/24", Some(0)), RpkiState::Invalid);
    }

    #[test]
    fn what_two_caches_say_counts_once() {
        let both: VrpTable = [vrp("10.0.0.0/8", 8, 1), vrp("10.0.0.0/8", 8, 1)].into_iter().collect();
        assert_eq!(both.len(), 1);
    }

    /// VRPs and routes that meet often.
    fn prefixes() -> impl Strategy<Value = IpNet> {
        (0_u8..4, 0_u8..=32)
            .prop_map(|(octet, length)| IpNet::new([10, octet, 0, octet].into(), length).expect("a length").trunc())
    }

    proptest! {
        #[test]
        fn the_table_says_what_a_search_through_all_vrps_says(
            vrps in proptest::collection::vec((prefixes(), 0_u8..=8, 0_u32..3), 0..12),
            route in prefixes(),
            origin in proptest::option::of(0_u32..3),
        ) {
            let vrps = vrps.into_iter().map(|(prefix, more, asn)| {
                Vrp { prefix, max_length: (prefix.prefix_len() + more).min(32), asn }
            });
            let vrps: Vec<Vrp> = vrps.collect();
            let covers = |vrp: &&Vrp| vrp.prefix.contains(&route);
            let matches = |vrp: &Vrp| route.prefix_len() <= vrp.max_length && vrp.asn != 0 && origin == Some(vrp.asn);
            let expected = match vrps.iter().find(covers) {
                None => RpkiState::NotFound,
                Some(_) if vrps.iter().filter(covers).any(matches) => RpkiState::Valid,
                Some(_) => RpkiState::Invalid,
            };
            prop_assert_eq!(vrps.iter().copied().collect::<VrpTable>().state(&route, origin), expected);
        }
    }
}
