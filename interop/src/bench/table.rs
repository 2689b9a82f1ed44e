//! Synthetic routing tables: which prefixes exist, and which of them are announced together.
//!
//! `Table::internet` has the shape of a full table: mostly /24, half of them more-specifics of a shorter prefix, about
//! six prefixes with the same attributes. `Table::fleet` is what the nodes of a cluster announce: one or two each.
//! Everything is derived from a fixed seed, so that every run and every daemon sees the same bytes.

use super::prefix::PrefixKey;

/// Splitmix64: small, fixed, good enough to shape a table.
#[derive(Clone, Debug)]
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x2545_f491_4f6c_dd1d) ^ 0x6a09_e667_f3bc_c908)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// True `percent` times in a hundred.
    pub(crate) fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last as u64 + 1) as usize);
        }
    }
}

/// Prefixes that are announced with one attribute set: `count` numbers from `first`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Group {
    pub(crate) first: u32,
    pub(crate) count: u32,
    pub(crate) v6: bool,
}

impl Group {
    pub(crate) fn range(self) -> std::ops::Range<usize> {
        self.first as usize..(self.first + self.count) as usize
    }
}

/// All prefixes of a load. A prefix's number is its place in `keys`.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) keys: Vec<PrefixKey>,
    pub(crate) groups: Vec<Group>,
    pub(crate) group_of: Vec<u32>,
}

/// Share of each prefix length in percent; what is missing to a hundred is /24 (or /48).
const V4_MIX: [(u8, usize); 8] = [(16, 1), (17, 1), (18, 2), (19, 3), (20, 5), (21, 5), (22, 11), (23, 10)];
const V6_MIX: [(u8, usize); 5] = [(29, 4), (32, 14), (36, 8), (40, 12), (44, 12)];

/// First addresses of blocks the table stays out of, as (first /24, number of /24s): private and shared space carries
/// the sessions and next hops.
const RESERVED: [(u32, u32); 6] = [
    (0x000a_0000, 0x1_0000), // 10.0.0.0/8
    (0x0064_4000, 0x4000),   // 100.64.0.0/10
    (0x007f_0000, 0x1_0000), // 127.0.0.0/8
    (0x00a9_fe00, 0x100),    // 169.254.0.0/16
    (0x00ac_1000, 0x1000),   // 172.16.0.0/12
    (0x00c0_a800, 0x100),    // 192.168.0.0/16
];

impl Table {
    /// A table of `v4` IPv4 and `v6` IPv6 prefixes, in groups of about six.
    pub(crate) fn internet(v4: usize, v6: usize) -> Self {
        let mut rng = Rng::new(0xb69d);
        let mut runs = Vec::new();
        group(v4_pools(v4), &mut rng, &mut runs);
        group(v6_pools(v6), &mut rng, &mut runs);
        rng.shuffle(&mut runs);
        Self::from_runs(runs)
    }

    /// What a fleet announces: node `n` has its own /24 and every other node a /32 besides (IPv4), a /48 and every
    /// other node a /56 (IPv6). Group `n * families + family` belongs to node `n`.
    pub(crate) fn fleet(nodes: u32, v4: bool, v6: bool) -> Self {
        let mut runs = Vec::new();
        for node in 0..nodes {
            if v4 {
                let mut run = vec![PrefixKey::v4(0x0a00_0000 + (node << 8), 24)];
                if node % 2 == 1 {
                    run.push(PrefixKey::v4(0xac10_0000 + node, 32));
                }
                runs.push(run);
            }
            if v6 {
                let mut run = vec![PrefixKey::v6(0xfd00_0000_0000_0000 + (u64::from(node) << 16), 48)];
                if node % 2 == 1 {
                    run.push(PrefixKey::v6(0xfd01_0000_0000_0000 + (u64::from(node) << 16), 56));
                }
                runs.push(run);
            }
        }
        Self::from_runs(runs)
    }

    fn from_runs(runs: Vec<Vec<PrefixKey>>) -> Self {
        let mut table = Self { keys: Vec::new(), groups: Vec::with_capacity(runs.len()), group_of: Vec::new() };
        for run in runs {
            let number = table.groups.len() as u32;
            table.groups.push(Group { first: table.keys.len() as u32, count: run.len() as u32, v6: run[0].is_v6() });
            table.group_of.extend(run.iter().map(|_| number));
            table.keys.extend(run);
        }
        table
    }

    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }
}

/// Deals the pools out in runs of 1 to 11 prefixes. A run stays in one pool four times out of five, as the prefixes
/// of one origin are often, but not always, neighbors.
fn group(mut pools: Vec<Vec<PrefixKey>>, rng: &mut Rng, runs: &mut Vec<Vec<PrefixKey>>) {
    pools.iter_mut().for_each(|pool| pool.reverse());
    let mut left: usize = pools.iter().map(Vec::len).sum();
    while left > 0 {
        let size = (1 + rng.below(11) as usize).min(left);
        let mut run = Vec::with_capacity(size);
        let mut pool = pick(&pools, left, rng);
        for _ in 0..size {
            if pools[pool].is_empty() || rng.percent(20) {
                pool = pick(&pools, left, rng);
            }
            run.extend(pools[pool].pop());
            left -= 1;
        }
        runs.push(run);
    }
}

/// A pool, drawn by how much is left in it.
fn pick(pools: &[Vec<PrefixKey>], left: usize, rng: &mut Rng) -> usize {
    let mut draw = rng.below(left as u64) as usize;
    for (number, pool) in pools.iter().enumerate() {
        if draw < pool.len() {
            return number;
        }
        draw -= pool.len();
    }
    unreachable!("the draw is below the number of prefixes left")
}

/// One pool per length, the shortest prefixes first so that no address space is lost to alignment.
fn v4_pools(total: usize) -> Vec<Vec<PrefixKey>> {
    let mut cursor = 0x0001_0000_u32; // 1.0.0.0, in /24s
    let mut pools: Vec<Vec<PrefixKey>> = Vec::new();
    let mut given = 0;
    for (length, percent) in V4_MIX {
        let count = (total * percent / 100).min(total - given);
        given += count;
        pools.push((0..count).map(|_| PrefixKey::v4(allocate(&mut cursor, length) << 8, length)).collect());
    }
    let specifics: Vec<PrefixKey> = more_specifics(&pools[0], (total - given) / 2);
    let fresh = total - given - specifics.len();
    pools.push(specifics);
    pools.push((0..fresh).map(|_| PrefixKey::v4(allocate(&mut cursor, 24) << 8, 24)).collect());
    pools
}

/// `count` /24s inside the /16s `covers`, evenly spread (none when there is no /16).
fn more_specifics(covers: &[PrefixKey], count: usize) -> Vec<PrefixKey> {
    if covers.is_empty() {
        return Vec::new();
    }
    let each = count.div_ceil(covers.len()).min(255);
    let inside = |cover: &PrefixKey| {
        let top = cover.v4_address();
        (1..=each as u32).map(move |third| PrefixKey::v4(top | (third << 8), 24))
    };
    covers.iter().flat_map(inside).take(count).collect()
}

/// The next free block of a length of at most 24, as a number of /24s.
fn allocate(cursor: &mut u32, length: u8) -> u32 {
    let size = 1_u32 << (24 - length);
    let mut at = cursor.next_multiple_of(size);
    while let Some((first, count)) =
        RESERVED.into_iter().find(|(first, count)| at < first + count && *first < at + size)
    {
        at = (first + count).next_multiple_of(size);
    }
    *cursor = at + size;
    assert!(*cursor <= 0x00e0_0000, "the table does not fit below 224.0.0.0");
    at
}

fn v6_pools(total: usize) -> Vec<Vec<PrefixKey>> {
    let mut cursor = 0x2400_0000_0000_u64; // 2400::, in /48s
    let mut pools = Vec::new();
    let mut given = 0;
    let mut allocate = |length: u8| {
        let at = cursor;
        cursor += 1 << (48 - length);
        PrefixKey::v6(at << 16, length)
    };
    for (length, percent) in V6_MIX {
        let count = total * percent / 100;
        given += count;
        pools.push((0..count).map(|_| allocate(length)).collect());
    }
    pools.push((given..total).map(|_| allocate(48)).collect());
    pools
}

#[cfg(test)]
mod tests {
    use super::super::prefix::PrefixIndex;
    use super::*;

    #[test]
    fn a_million_prefixes_fit_without_a_duplicate() {
        let table = Table::internet(1_000_000, 200_000);
        assert_eq!(table.len(), 1_200_000);
        PrefixIndex::new(&table.keys);
    }

    #[test]
    fn groups_hold_about_six_prefixes_of_one_family() {
        let table = Table::internet(60_000, 6_000);
        let average = table.len() as f64 / table.groups.len() as f64;
        assert!((5.0..7.0).contains(&average), "{average} prefixes in a group");
        for group in &table.groups {
            assert!(table.keys[group.range()].iter().all(|key| key.is_v6() == group.v6));
        }
    }

    #[test]
    fn a_fleet_of_both_families_has_two_groups_a_node() {
        let table = Table::fleet(10, true, true);
        assert_eq!(table.groups.len(), 20);
        assert_eq!(table.len(), 30);
        PrefixIndex::new(&table.keys);
    }
}
