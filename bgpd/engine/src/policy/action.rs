//! What statements change.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bgp_wire::Family;
use bgp_wire::attribute::{AttributeBlock, as_path, code, flag, put};
use bgp_wire::update::NextHop;

use super::community::{AnyCommunity, CODES, communities};
use super::condition::DEFAULT_LOCAL_PREF;
use super::definition::{Action, Amount, NewNextHop};
use super::{Direction, Provenance};
use crate::attr::{AttrRef, Interner, Local};

/// A route under change.
struct Draft<'a> {
    next_hop: NextHop,
    local: Local,
    /// Flags and value by type code.
    attributes: BTreeMap<u8, (u8, Vec<u8>)>,
    from: &'a Provenance,
    direction: Direction,
}

/// The attributes after `actions`.
pub(super) fn apply(
    actions: &[Action],
    attrs: &AttrRef,
    from: &Provenance,
    direction: Direction,
    interner: &Interner,
) -> AttrRef {
    let attribute = |one: bgp_wire::attribute::RawAttribute<'_>| (one.code, (one.flags, one.value.to_vec()));
    let attributes = attrs.block().iter().map(attribute).collect();
    let mut draft = Draft { next_hop: attrs.next_hop, local: attrs.local, attributes, from, direction };
    actions.iter().for_each(|action| draft.change(action));
    let mut bytes = Vec::with_capacity(attrs.bytes().len() + 32);
    for (code, (flags, value)) in &draft.attributes {
        put(&mut bytes, *flags, *code, value);
    }
    interner.intern_local(draft.next_hop, AttributeBlock::from_canonical(&bytes), draft.local)
}

impl Draft<'_> {
    fn change(&mut self, action: &Action) {
        match action {
            Action::LocalPref(amount) => self.number(code::LOCAL_PREF, flag::TRANSITIVE, *amount, DEFAULT_LOCAL_PREF),
            Action::Med(amount) => self.med(*amount),
            Action::MedIgp => {
                if let Some(metric) = self.igp_metric() {
                    self.med(Amount::Set(metric));
                }
            }
            Action::NoMed => drop(self.attributes.remove(&code::MULTI_EXIT_DISC)),
            Action::Weight(weight) => self.local.set_weight(*weight),
            Action::Origin(origin) => self.set(code::ORIGIN, flag::TRANSITIVE, vec![origin.code()]),
            Action::NextHop(next_hop) => self.next_hop(*next_hop),
            Action::Prepend(asns) => self.prepend(asns),
            Action::AddCommunities(added) => self.add(added),
            Action::RemoveCommunities(patterns) => {
                self.retain(|community| !patterns.iter().any(|pattern| pattern.matches(community)));
            }
            Action::ReplaceCommunities(new) => {
                self.retain(|_| false);
                self.add(new);
            }
        }
    }

    fn set(&mut self, code: u8, flags: u8, value: Vec<u8>) {
        self.attributes.insert(code, (flags, value));
    }

    fn number(&mut self, code: u8, flags: u8, amount: Amount, default: u32) {
        let old = self.attributes.get(&code).and_then(|(_, value)| value.as_slice().try_into().ok());
        let new = amount.of(old.map_or(default, u32::from_be_bytes));
        self.set(code, flags, new.to_be_bytes().to_vec());
    }

    fn med(&mut self, amount: Amount) {
        self.number(code::MULTI_EXIT_DISC, flag::OPTIONAL, amount, 0);
        if self.direction == Direction::Export {
            self.local.note_med();
        }
    }

    /// The AIGP TLV: type 1, length 11, eight octets of metric (RFC 7311 §3).
    fn igp_metric(&self) -> Option<u32> {
        let (_, value) = self.attributes.get(&code::AIGP)?;
        let [1, 0, 11, metric @ ..] = value.as_slice() else { return None };
        let metric = u64::from_be_bytes(*metric.first_chunk()?);
        Some(u32::try_from(metric).unwrap_or(u32::MAX))
    }

    fn next_hop(&mut self, new: NewNextHop) {
        let is_v4 = self.from.family == Family::IPV4_UNICAST;
        let address = match new {
            // What is unspecified becomes the address of each session that the route is announced over.
            NewNextHop::Own if is_v4 => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            NewNextHop::Own => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
            NewNextHop::Peer => self.from.address,
            NewNextHop::Address(address) => address,
        };
        self.next_hop = match address {
            IpAddr::V4(v4) if is_v4 => NextHop::V4(v4),
            // An IPv4 next hop of an IPv6 route cannot be encoded (RFC 4760 §3).
            IpAddr::V4(_) => return,
            IpAddr::V6(global) => NextHop::V6 { global, link_local: None },
        };
        if self.direction == Direction::Export {
            self.local.note_next_hop();
        }
    }

    fn prepend(&mut self, asns: &[u32]) {
        let mut path = self.attributes.remove(&code::AS_PATH).map_or_else(Vec::new, |(_, path)| path);
        for asn in asns.iter().rev() {
            let mut longer = Vec::with_capacity(path.len() + 6);
            as_path::prepend(&path, *asn, 1, &mut longer);
            path = longer;
        }
        self.set(code::AS_PATH, flag::TRANSITIVE, path);
    }

    fn add(&mut self, added: &[AnyCommunity]) {
        let mut present = self.present();
        for community in added {
            if present.contains(community) {
                continue;
            }
            let flags = flag::OPTIONAL | flag::TRANSITIVE;
            let (_, value) = self.attributes.entry(community.code()).or_insert((flags, Vec::new()));
            community.encode(value);
            present.push(*community);
        }
    }

    fn retain(&mut self, keep: impl Fn(AnyCommunity) -> bool) {
        let kept: Vec<AnyCommunity> = self.present().into_iter().filter(|community| keep(*community)).collect();
        for code in CODES {
            let Some((_, value)) = self.attributes.get_mut(&code) else { continue };
            value.clear();
            kept.iter().filter(|community| community.code() == code).for_each(|community| community.encode(value));
            if value.is_empty() {
                self.attributes.remove(&code);
            }
        }
    }

    fn present(&self) -> Vec<AnyCommunity> {
        let mut bytes = Vec::new();
        for code in CODES {
            if let Some((flags, value)) = self.attributes.get(&code) {
                put(&mut bytes, *flags, code, value);
            }
        }
        communities(AttributeBlock::from_canonical(&bytes)).collect()
    }
}
