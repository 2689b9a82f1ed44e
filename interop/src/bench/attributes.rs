//! Attribute sets of the synthetic routes, and their identity.
//!
//! The *identity* of an attribute set is a 64-bit sum over its attributes that does not depend on their order and
//! leaves out what a reflector may add (ORIGINATOR_ID and CLUSTER_LIST, RFC 4456 §8). The generator computes it from
//! the set it wrote, a receiver from the bytes it read; they are equal only when AS_PATH, NEXT_HOP, MED, LOCAL_PREF,
//! ORIGIN and communities are, and nothing else was added.

use std::hash::{BuildHasher, Hasher};
use std::net::{Ipv4Addr, Ipv6Addr};

use foldhash::fast::FixedState;

use super::table::Rng;

pub(crate) const ORIGIN: u8 = 1;
pub(crate) const AS_PATH: u8 = 2;
pub(crate) const NEXT_HOP: u8 = 3;
pub(crate) const MULTI_EXIT_DISC: u8 = 4;
pub(crate) const LOCAL_PREF: u8 = 5;
pub(crate) const COMMUNITIES: u8 = 8;
pub(crate) const ORIGINATOR_ID: u8 = 9;
pub(crate) const CLUSTER_LIST: u8 = 10;
pub(crate) const MP_REACH_NLRI: u8 = 14;
pub(crate) const MP_UNREACH_NLRI: u8 = 15;

/// One attribute's part of the identity.
#[inline]
pub(crate) fn part(code: u8, value: &[u8]) -> u64 {
    let mut hasher = FixedState::with_seed(u64::from(code)).build_hasher();
    hasher.write(value);
    hasher.finish()
}

/// Which attributes a route carries: announced by `client` for `group`, in the given variant.
///
/// Variant 0 is the first announcement, variant 1 what churn replaces it with. `detour` is how many ASes the path is
/// longer than the group's own, which decides who wins where several clients announce the same group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Recipe {
    pub(crate) client: u32,
    pub(crate) group: u32,
    pub(crate) variant: u8,
    pub(crate) detour: u8,
}

/// What one UPDATE says about its prefixes.
#[derive(Clone, Debug)]
pub(crate) struct AttributeSet {
    /// (flags, code, value), NEXT_HOP left out, in ascending order of code.
    attributes: Vec<(u8, u8, Vec<u8>)>,
    client: u32,
}

/// Private range for the ASNs of transit networks, so that none is the reflector's own.
const FIRST_TRANSIT: u32 = 3_000;
const FIRST_ORIGIN: u32 = 100_000;

impl AttributeSet {
    /// The set of a recipe; the same recipe gives the same set.
    pub(crate) fn of(recipe: Recipe) -> Self {
        let mut rng = Rng::new(u64::from(recipe.group) << 1 | u64::from(recipe.variant));
        let path = as_path(&mut rng, recipe);
        let mut attributes = vec![(0x40, ORIGIN, vec![if rng.percent(90) { 0 } else { 2 }])];
        attributes.push((0x40, AS_PATH, path));
        if rng.percent(20) {
            attributes.push((0x80, MULTI_EXIT_DISC, (1 + rng.below(200) as u32).to_be_bytes().to_vec()));
        }
        attributes.push((0x40, LOCAL_PREF, 100_u32.to_be_bytes().to_vec()));
        let communities = communities(&mut rng);
        if !communities.is_empty() {
            attributes.push((0xc0, COMMUNITIES, communities));
        }
        Self { attributes, client: recipe.client }
    }

    /// The next hop of a client's IPv4 routes.
    pub(crate) fn next_hop(client: u32) -> Ipv4Addr {
        Ipv4Addr::from(0x6440_0100 + client)
    }

    /// The next hop of a client's IPv6 routes.
    pub(crate) fn next_hop_v6(client: u32) -> Ipv6Addr {
        Ipv6Addr::from(0x2001_0db8_ffff_0000_u128 << 64 | u128::from(client + 1))
    }

    /// See the module's text.
    pub(crate) fn identity(&self, v6: bool) -> u64 {
        let next_hop = if v6 {
            part(NEXT_HOP, &Self::next_hop_v6(self.client).octets())
        } else {
            part(NEXT_HOP, &Self::next_hop(self.client).octets())
        };
        self.attributes.iter().fold(next_hop, |sum, (_, code, value)| sum.wrapping_add(part(*code, value)))
    }

    /// Appends the attributes with the IPv4 next hop.
    pub(crate) fn encode_v4(&self, out: &mut Vec<u8>) {
        for (flags, code, value) in &self.attributes {
            put(*flags, *code, value, out);
            if *code == AS_PATH {
                put(0x40, NEXT_HOP, &Self::next_hop(self.client).octets(), out);
            }
        }
    }

    /// Appends MP_REACH_NLRI for `nlri` (RFC 4760 §3), then the attributes.
    pub(crate) fn encode_v6(&self, nlri: &[u8], out: &mut Vec<u8>) {
        let mut value = vec![0, 2, 1, 16]; // IPv6, unicast, length of the next hop
        value.extend_from_slice(&Self::next_hop_v6(self.client).octets());
        value.push(0);
        value.extend_from_slice(nlri);
        put(0x80, MP_REACH_NLRI, &value, out);
        for (flags, code, value) in &self.attributes {
            put(*flags, *code, value, out);
        }
    }
}

/// Two to six ASes, the origin last; longer by the recipe's detour.
fn as_path(rng: &mut Rng, recipe: Recipe) -> Vec<u8> {
    let transits = match rng.below(100) {
        0..10 => 1,
        10..40 => 2,
        40..75 => 3,
        75..93 => 4,
        _ => 5,
    };
    let mut path = Vec::with_capacity(8);
    path.extend((0..recipe.detour).map(|_| FIRST_TRANSIT + 1_000 + recipe.client % 1_000));
    path.extend((0..transits).map(|_| FIRST_TRANSIT + rng.below(60) as u32));
    path.push(if rng.percent(40) { FIRST_ORIGIN + recipe.group } else { 5_000 + recipe.group % 18_000 });
    let mut value = vec![2, path.len() as u8]; // AS_SEQUENCE
    value.extend(path.iter().flat_map(|asn| asn.to_be_bytes()));
    value
}

/// None to four, ascending, so that a daemon that sorts them changes nothing.
fn communities(rng: &mut Rng) -> Vec<u8> {
    let mut values: Vec<u32> = (0..rng.below(5))
        .map(|_| ((FIRST_TRANSIT + rng.below(60) as u32) << 16) | (100 + rng.below(40) as u32))
        .collect();
    values.sort_unstable();
    values.dedup();
    values.iter().flat_map(|value| value.to_be_bytes()).collect()
}

/// Appends one attribute, with the extended length where it is needed (RFC 4271 §4.3).
pub(crate) fn put(flags: u8, code: u8, value: &[u8], out: &mut Vec<u8>) {
    match u8::try_from(value.len()) {
        Ok(length) => out.extend_from_slice(&[flags, code, length]),
        Err(_) => {
            out.extend_from_slice(&[flags | 0x10, code]);
            out.extend_from_slice(&(value.len() as u16).to_be_bytes());
        }
    }
    out.extend_from_slice(value);
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECIPE: Recipe = Recipe { client: 0, group: 7, variant: 0, detour: 0 };

    #[test]
    fn the_same_recipe_has_the_same_identity() {
        assert_eq!(AttributeSet::of(RECIPE).identity(false), AttributeSet::of(RECIPE).identity(false));
    }

    #[test]
    fn client_variant_and_detour_each_change_the_identity() {
        let identity = |recipe| AttributeSet::of(recipe).identity(false);
        assert_ne!(identity(RECIPE), identity(Recipe { client: 1, ..RECIPE }));
        assert_ne!(identity(RECIPE), identity(Recipe { variant: 1, ..RECIPE }));
        assert_ne!(identity(RECIPE), identity(Recipe { detour: 1, ..RECIPE }));
    }
}
