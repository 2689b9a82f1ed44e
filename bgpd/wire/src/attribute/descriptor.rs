//! The table of attributes: what each is called, how it is flagged, how its value is checked, and what RFC 7606 says
//! to do when it is wrong.

use std::net::Ipv4Addr;

use super::{AsPath, Attribute, Community, ExtendedCommunity, Ipv6ExtendedCommunity, LargeCommunity, Origin};
use super::{SegmentKind, code, flag, tlv};
use crate::cursor::Cursor;
use crate::update::{FaultReason, NextHop};

const WELL_KNOWN: u8 = flag::TRANSITIVE;
const OPTIONAL_TRANSITIVE: u8 = flag::OPTIONAL | flag::TRANSITIVE;
const OPTIONAL_NON_TRANSITIVE: u8 = flag::OPTIONAL;

/// What becomes of the routes of an UPDATE in which an attribute's value is wrong (RFC 7606 §2). Session reset is not
/// among them: only MP_REACH_NLRI and MP_UNREACH_NLRI lead to it, and they are not values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fallback {
    TreatAsWithdraw,
    Discard,
}

/// What a check depends on besides the value.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Check {
    /// AS numbers in AS_PATH and AGGREGATOR have four octets.
    pub(crate) four_octet_as: bool,
    /// AS_SET is a fault (RFC 9774).
    pub(crate) reject_as_sets: bool,
}

type CheckValue = fn(&[u8], Check) -> Result<(), FaultReason>;
/// Only called for values that passed the check; a short value gives `None`.
type Typed = fn(&[u8]) -> Option<Attribute>;
/// `None` where nothing has to go.
type Tidy = fn(&[u8]) -> Option<Vec<u8>>;

/// One known attribute.
pub(crate) struct Descriptor {
    pub(crate) code: u8,
    pub(crate) name: &'static str,
    /// Optional and Transitive bits that it must have.
    pub(crate) flags: u8,
    pub(crate) fallback: Fallback,
    /// What is done about flags that it must not have (RFC 7606 §3(c)).
    pub(crate) wrong_flags: Fallback,
    tidy: Option<Tidy>,
    /// Discarded when an eBGP peer sends it (RFC 7606 §7.5, §7.9, §7.10; RFC 7311 §3.3; RFC 8669 §5; RFC 9012 §11).
    pub(crate) internal_only: bool,
    pub(crate) check: CheckValue,
    pub(super) typed: Typed,
}

const fn entry(code: u8, name: &'static str, flags: u8, check: CheckValue, typed: Typed) -> Descriptor {
    let (fallback, wrong_flags) = (Fallback::TreatAsWithdraw, Fallback::TreatAsWithdraw);
    Descriptor { code, name, flags, fallback, wrong_flags, tidy: None, internal_only: false, check, typed }
}

impl Descriptor {
    /// What a value that passed the check is used and passed on as, where that is not as it came.
    pub(crate) fn tidied(&self, value: &[u8]) -> Option<Vec<u8>> {
        self.tidy.and_then(|tidy| tidy(value))
    }

    const fn discarded_if_wrong(self) -> Self {
        Self { fallback: Fallback::Discard, ..self }
    }

    const fn discarded_if_flagged_wrong(self) -> Self {
        Self { wrong_flags: Fallback::Discard, ..self }
    }

    const fn tidied_by(self, tidy: Tidy) -> Self {
        Self { tidy: Some(tidy), ..self }
    }

    const fn internal(self) -> Self {
        Self { internal_only: true, ..self }
    }
}

static TABLE: [Descriptor; 20] = [
    entry(code::ORIGIN, "ORIGIN", WELL_KNOWN, origin, |v| Origin::from_code(*v.first()?).map(Attribute::Origin)),
    entry(code::AS_PATH, "AS_PATH", WELL_KNOWN, as_path, |v| Some(Attribute::AsPath(AsPath::decode(v)))),
    entry(code::NEXT_HOP, "NEXT_HOP", WELL_KNOWN, host, |v| Cursor::new(v).ipv4().ok().map(Attribute::NextHop)),
    entry(code::MULTI_EXIT_DISC, "MULTI_EXIT_DISC", OPTIONAL_NON_TRANSITIVE, four, |v| {
        Cursor::new(v).u32().ok().map(Attribute::MultiExitDisc)
    }),
    entry(code::LOCAL_PREF, "LOCAL_PREF", WELL_KNOWN, four, |v| Cursor::new(v).u32().ok().map(Attribute::LocalPref))
        .internal(),
    entry(code::ATOMIC_AGGREGATE, "ATOMIC_AGGREGATE", WELL_KNOWN, empty, |_| Some(Attribute::AtomicAggregate))
        .discarded_if_wrong(),
    entry(code::AGGREGATOR, "AGGREGATOR", OPTIONAL_TRANSITIVE, aggregator, typed_aggregator).discarded_if_wrong(),
    entry(code::COMMUNITIES, "COMMUNITIES", OPTIONAL_TRANSITIVE, fours, |v| {
        each(v, |cursor| cursor.u32().ok().map(Community)).map(Attribute::Communities)
    }),
    entry(code::ORIGINATOR_ID, "ORIGINATOR_ID", OPTIONAL_NON_TRANSITIVE, four, |v| {
        Cursor::new(v).ipv4().ok().map(Attribute::OriginatorId)
    })
    .internal(),
    entry(code::CLUSTER_LIST, "CLUSTER_LIST", OPTIONAL_NON_TRANSITIVE, fours, |v| {
        each(v, |cursor| cursor.ipv4().ok()).map(Attribute::ClusterList)
    })
    .internal(),
    entry(code::EXTENDED_COMMUNITIES, "EXTENDED_COMMUNITIES", OPTIONAL_TRANSITIVE, eights, |v| {
        each(v, |cursor| cursor.take(8).ok()?.try_into().ok().map(ExtendedCommunity))
            .map(Attribute::ExtendedCommunities)
    }),
    // Merged into AS_PATH and AGGREGATOR when they are decoded, and never typed themselves.
    // RFC 6793 §6: what is wrong in AS4_PATH and AS4_AGGREGATOR is discarded, the route is used without.
    entry(code::AS4_PATH, "AS4_PATH", OPTIONAL_TRANSITIVE, as4_path, |_| None).discarded_if_wrong(),
    entry(code::AS4_AGGREGATOR, "AS4_AGGREGATOR", OPTIONAL_TRANSITIVE, as4_aggregator, |_| None).discarded_if_wrong(),
    entry(code::IPV6_EXTENDED_COMMUNITIES, "IPV6_EXTENDED_COMMUNITIES", OPTIONAL_TRANSITIVE, twenties, |v| {
        each(v, |cursor| cursor.take(20).ok()?.try_into().ok().map(Ipv6ExtendedCommunity))
            .map(Attribute::Ipv6ExtendedCommunities)
    }),
    // RFC 7311 §3.2: one that is transitive is malformed, and discarded like any other.
    entry(code::AIGP, "AIGP", OPTIONAL_NON_TRANSITIVE, tlv::aigp, |v| tlv::aigp_metric(v).map(Attribute::Aigp))
        .discarded_if_wrong()
        .discarded_if_flagged_wrong()
        .internal(),
    entry(code::LARGE_COMMUNITIES, "LARGE_COMMUNITIES", OPTIONAL_TRANSITIVE, twelves, |v| {
        each(v, large_community).map(Attribute::LargeCommunities)
    })
    .tidied_by(without_repeats),
    entry(code::ONLY_TO_CUSTOMER, "ONLY_TO_CUSTOMER", OPTIONAL_TRANSITIVE, four, |v| {
        Cursor::new(v).u32().ok().map(Attribute::OnlyToCustomer)
    }),
    // RFC 6514 §5: flags, tunnel type, label.
    entry(code::PMSI_TUNNEL, "PMSI_TUNNEL", OPTIONAL_TRANSITIVE, at_least_five, |_| None),
    entry(code::TUNNEL_ENCAPSULATION, "TUNNEL_ENCAPSULATION", OPTIONAL_TRANSITIVE, tlv::tunnel_encapsulation, |_| None)
        .tidied_by(tlv::usable_tunnels)
        .internal(),
    entry(code::PREFIX_SID, "PREFIX_SID", OPTIONAL_TRANSITIVE, tlv::prefix_sid, |_| None)
        .discarded_if_wrong()
        .tidied_by(tlv::first_of_each)
        .internal(),
];

/// Names of attributes that belong to the message, not to a route.
const OTHER_NAMES: [(u8, &str); 2] =
    [(code::MP_REACH_NLRI, "MP_REACH_NLRI"), (code::MP_UNREACH_NLRI, "MP_UNREACH_NLRI")];

/// Position in the table by type code; 255 is not known.
#[expect(clippy::indexing_slicing, reason = "the compiler evaluates it: it cannot fail later")]
static POSITION: [u8; 256] = {
    let mut position = [255; 256];
    let mut at = 0;
    while at < TABLE.len() {
        position[TABLE[at].code as usize] = at as u8;
        at += 1;
    }
    position
};

/// The descriptor of a known attribute.
pub(crate) fn descriptor(code: u8) -> Option<&'static Descriptor> {
    TABLE.get(usize::from(*POSITION.get(usize::from(code))?))
}

/// What an attribute is called.
#[must_use]
pub fn name(code: u8) -> Option<&'static str> {
    let other = || OTHER_NAMES.iter().find(|(known, _)| *known == code).map(|(_, name)| *name);
    descriptor(code).map(|descriptor| descriptor.name).or_else(other)
}

fn exactly(value: &[u8], len: usize) -> Result<(), FaultReason> {
    if value.len() == len { Ok(()) } else { Err(FaultReason::Length(value.len())) }
}

fn multiple(value: &[u8], of: usize) -> Result<(), FaultReason> {
    let whole = !value.is_empty() && value.len().is_multiple_of(of);
    if whole { Ok(()) } else { Err(FaultReason::Length(value.len())) }
}

fn empty(value: &[u8], _: Check) -> Result<(), FaultReason> {
    exactly(value, 0)
}

fn four(value: &[u8], _: Check) -> Result<(), FaultReason> {
    exactly(value, 4)
}

/// RFC 4271 §6.3: a next hop is the address of a host.
fn host(value: &[u8], check: Check) -> Result<(), FaultReason> {
    four(value, check)?;
    match value.first_chunk::<4>().map(|octets| Ipv4Addr::from(*octets)) {
        Some(address) if !NextHop::V4(address).is_host() => Err(FaultReason::NotAHost(address)),
        _ => Ok(()),
    }
}

fn fours(value: &[u8], _: Check) -> Result<(), FaultReason> {
    multiple(value, 4)
}

fn eights(value: &[u8], _: Check) -> Result<(), FaultReason> {
    multiple(value, 8)
}

fn twelves(value: &[u8], _: Check) -> Result<(), FaultReason> {
    multiple(value, 12)
}

fn twenties(value: &[u8], _: Check) -> Result<(), FaultReason> {
    multiple(value, 20)
}

fn at_least_five(value: &[u8], _: Check) -> Result<(), FaultReason> {
    if value.len() >= 5 { Ok(()) } else { Err(FaultReason::Length(value.len())) }
}

fn origin(value: &[u8], _: Check) -> Result<(), FaultReason> {
    match value {
        [0..=2] => Ok(()),
        [other] => Err(FaultReason::UndefinedOrigin(*other)),
        _ => Err(FaultReason::Length(value.len())),
    }
}

fn aggregator(value: &[u8], check: Check) -> Result<(), FaultReason> {
    let width = if check.four_octet_as { 4 } else { 2 };
    exactly(value, width + 4)?;
    // RFC 7607 §2: AS 0 is not an AS.
    if value.iter().take(width).all(|octet| *octet == 0) { Err(FaultReason::AsZero) } else { Ok(()) }
}

fn as4_aggregator(value: &[u8], check: Check) -> Result<(), FaultReason> {
    aggregator(value, Check { four_octet_as: true, ..check })
}

fn typed_aggregator(value: &[u8]) -> Option<Attribute> {
    let mut cursor = Cursor::new(value);
    Some(Attribute::Aggregator { asn: cursor.u32().ok()?, address: cursor.ipv4().ok()? })
}

fn as4_path(value: &[u8], check: Check) -> Result<(), FaultReason> {
    // RFC 6793 §3: confederation segments cannot be in AS4_PATH; what is left of it is used by the merge.
    segments(value, Check { four_octet_as: true, ..check }, |kind| match kind {
        SegmentKind::Set if check.reject_as_sets => Err(FaultReason::AsSet),
        _ => Ok(()),
    })
}

/// RFC 7606 §7.2; RFC 5065 §5.3 (confederation segments from outside); RFC 9774 §3.
fn as_path(value: &[u8], check: Check) -> Result<(), FaultReason> {
    segments(value, check, |kind| match kind {
        SegmentKind::ConfedSequence | SegmentKind::ConfedSet => Err(FaultReason::ConfederationSegment),
        SegmentKind::Set if check.reject_as_sets => Err(FaultReason::AsSet),
        SegmentKind::Set | SegmentKind::Sequence => Ok(()),
    })
}

fn segments(
    value: &[u8],
    check: Check,
    kind_is_good: impl Fn(SegmentKind) -> Result<(), FaultReason>,
) -> Result<(), FaultReason> {
    let width = if check.four_octet_as { 4 } else { 2 };
    let mut cursor = Cursor::new(value);
    while let Ok(kind) = cursor.u8() {
        let kind = SegmentKind::from_code(kind).ok_or(FaultReason::SegmentType(kind))?;
        let count = usize::from(cursor.u8().map_err(|_| FaultReason::SegmentOverrun)?);
        let asns = cursor.take(count * width).map_err(|_| FaultReason::SegmentOverrun)?;
        if count == 0 {
            return Err(FaultReason::EmptySegment);
        }
        // RFC 7607 §2: AS 0 is not an AS.
        if asns.chunks_exact(width).any(|asn| asn.iter().all(|octet| *octet == 0)) {
            return Err(FaultReason::AsZero);
        }
        kind_is_good(kind)?;
    }
    Ok(())
}

fn large_community(cursor: &mut Cursor<'_>) -> Option<LargeCommunity> {
    Some(LargeCommunity { global: cursor.u32().ok()?, local1: cursor.u32().ok()?, local2: cursor.u32().ok()? })
}

/// RFC 8092 §3: a value that is there already is removed.
fn without_repeats(value: &[u8]) -> Option<Vec<u8>> {
    if !has_repeats(value) {
        return None;
    }
    let mut places: Vec<_> = value.chunks_exact(12).enumerate().map(|(at, one)| (one, at)).collect();
    places.sort_unstable();
    places.dedup_by_key(|(one, _)| *one);
    // The first of each stays in its place.
    places.sort_unstable_by_key(|(_, at)| *at);
    Some(places.into_iter().flat_map(|(one, _)| one).copied().collect())
}

/// Few are compared with each other; a peer that sends thousands is not to cost the square of that.
fn has_repeats(value: &[u8]) -> bool {
    const FEW: usize = 16;
    let values = value.chunks_exact(12);
    if values.len() <= FEW {
        return values.clone().enumerate().any(|(at, one)| values.clone().take(at).any(|other| other == one));
    }
    let mut sorted: Vec<_> = values.collect();
    sorted.sort_unstable();
    sorted.windows(2).any(|pair| matches!(pair, [one, next] if one == next))
}

fn each<T>(value: &[u8], mut one: impl FnMut(&mut Cursor<'_>) -> Option<T>) -> Option<Vec<T>> {
    let mut cursor = Cursor::new(value);
    let mut all = Vec::new();
    while !cursor.is_empty() {
        all.push(one(&mut cursor)?);
    }
    Some(all)
}
