//! Decoding, with a verdict on everything that is wrong (RFC 7606).

use std::net::Ipv6Addr;
use std::ops::Range;

use super::{DecodeContext, Fault, FaultAction, FaultReason, MpReach, NextHop, NlriBlock, ResetFault, Update, merge};
use crate::attribute::{AttributeBlock, Check, Descriptor, Fallback, code, descriptor, flag, put, put_header};
use crate::cursor::Cursor;
use crate::nlri::{Ipv4Unicast, Ipv6Unicast, NlriFault};
use crate::notification::UpdateSubcode;
use crate::{Family, Nlri, Notification};

const MALFORMED_LIST: UpdateSubcode = UpdateSubcode::MalformedAttributeList;

/// One attribute of the message at hand.
#[derive(Debug, Clone, Copy)]
struct Found {
    code: u8,
    flags: u8,
    /// Where it begins in the body, where its value does, and where both end.
    from: usize,
    start: usize,
    end: usize,
}

impl Found {
    /// Where its value stands in the body.
    fn place(&self) -> Range<usize> {
        self.start..self.end
    }
}

/// Reusable buffers for decoding UPDATEs.
#[derive(Debug, Default)]
pub struct Decoder {
    found: Vec<Found>,
    canonical: Vec<u8>,
    faults: Vec<Fault>,
}

/// The message at hand, while its attributes are gone through.
struct Work<'a, 'd> {
    body: &'a [u8],
    context: &'d DecodeContext,
    decoder: &'d mut Decoder,
    next_hop: Option<NextHop>,
    mp_reach: Option<MpReach<'a>>,
    mp_unreach: Option<NlriBlock<'a>>,
    treat_as_withdraw: bool,
    disable: Option<Family>,
    /// Attributes that were there, usable or not.
    seen: Codes,
}

/// A set of type codes.
#[derive(Clone, Copy, Default)]
struct Codes([u64; 4]);

impl Codes {
    /// Adds a code; false when it is there already.
    fn insert(&mut self, code: u8) -> bool {
        let [word, bit] = [code >> 6, code & 63];
        let Some(word) = self.0.get_mut(usize::from(word)) else { return false };
        let before = *word;
        *word |= 1 << bit;
        before != *word
    }

    fn contains(&self, code: u8) -> bool {
        self.0.get(usize::from(code >> 6)).is_some_and(|word| word & 1 << (code & 63) != 0)
    }

    fn without(mut self, code: u8) -> Self {
        if let Some(word) = self.0.get_mut(usize::from(code >> 6)) {
            *word &= !(1 << (code & 63));
        }
        self
    }

    fn is_empty(&self) -> bool {
        self.0 == [0; 4]
    }
}

impl Decoder {
    /// A decoder with cold buffers.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Decodes the body of an UPDATE.
    ///
    /// # Errors
    /// What ends the session by RFC 4271 §6.3 or RFC 7606, with its NOTIFICATION.
    pub fn decode<'a>(&'a mut self, body: &'a [u8], context: &DecodeContext) -> Result<Update<'a>, ResetFault> {
        self.found.clear();
        self.canonical.clear();
        self.faults.clear();
        let (withdrawn, attributes, nlri) =
            fields(body).ok_or_else(|| reset(None, FaultReason::MessageLengths, 0..body.len(), MALFORMED_LIST, &[]))?;
        let withdrawn = self.ipv4_field(body, withdrawn, context)?;
        let has_nlri = !nlri.is_empty();
        let nlri = self.ipv4_field(body, nlri, context)?;
        let mut work = Work {
            body,
            context,
            decoder: self,
            next_hop: None,
            mp_reach: None,
            mp_unreach: None,
            treat_as_withdraw: false,
            disable: None,
            seen: Codes::default(),
        };
        work.attributes(attributes)?;
        work.check_reachable(has_nlri)?;
        work.check_mandatory(&nlri);
        work.canonical();
        let Work { next_hop, mp_reach, mp_unreach, treat_as_withdraw, disable, seen, .. } = work;
        Ok(Update {
            withdrawn,
            nlri,
            mp_reach,
            mp_unreach,
            next_hop,
            attributes: AttributeBlock::from_canonical(&self.canonical),
            treat_as_withdraw,
            disable,
            faults: &self.faults,
            bare: seen.without(code::MP_UNREACH_NLRI).is_empty(),
        })
    }
}

impl Decoder {
    /// RFC 7606 §5.3: routes that cannot be told apart leave nothing but a reset (RFC 4271 §6.3, Invalid Network
    /// Field).
    fn ipv4_field<'a>(
        &mut self,
        body: &[u8],
        field: &'a [u8],
        context: &DecodeContext,
    ) -> Result<NlriBlock<'a>, ResetFault> {
        let family = Family::IPV4_UNICAST;
        let offset = offset_in(body, field);
        let add_path = context.add_path.contains(&family);
        let block = NlriBlock::checked::<Ipv4Unicast>(field, add_path).map_err(|fault| {
            let place = offset..offset + field.len();
            reset(None, FaultReason::Nlri(fault), place, UpdateSubcode::InvalidNetworkField, &[])
        })?;
        // RFC 4760 §7, for the fields of RFC 4271 as well: what was not negotiated, or was disabled, is ignored.
        if field.is_empty() || context.families.contains(&family) {
            return Ok(block);
        }
        let (action, reason) = (FaultAction::AttributeDiscard, FaultReason::NotNegotiated(family));
        self.faults.push(Fault { attribute: None, action, reason, offset, len: field.len() });
        Ok(NlriBlock::empty(family))
    }
}

/// The three fields of the body; `None` when a length runs over the end.
fn fields(body: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let mut cursor = Cursor::new(body);
    let len = cursor.u16().ok()?;
    let withdrawn = cursor.take(len.into()).ok()?;
    let len = cursor.u16().ok()?;
    let attributes = cursor.take(len.into()).ok()?;
    Some((withdrawn, attributes, cursor.rest()))
}

fn offset_in(body: &[u8], part: &[u8]) -> usize {
    (part.as_ptr() as usize).saturating_sub(body.as_ptr() as usize)
}

fn reset(
    attribute: Option<u8>,
    reason: FaultReason,
    place: Range<usize>,
    subcode: UpdateSubcode,
    data: &[u8],
) -> ResetFault {
    let (offset, len) = (place.start, place.len());
    let fault = Fault { attribute, action: FaultAction::SessionReset, reason, offset, len };
    ResetFault { notification: Notification::update(subcode, data), fault }
}

impl<'a> Work<'a, '_> {
    fn attributes(&mut self, block: &'a [u8]) -> Result<(), ResetFault> {
        let base = offset_in(self.body, block);
        let mut cursor = Cursor::new(block);
        while !cursor.is_empty() {
            let start = base + cursor.offset();
            let Some((flags, code, value)) = header(&mut cursor) else {
                return self.overrun(start..base + block.len(), block.get(start - base + 1).copied());
            };
            let end = base + cursor.offset();
            let found =
                Found { code, flags: flags & !flag::EXTENDED_LENGTH, from: start, start: end - value.len(), end };
            self.attribute(found, value)?;
        }
        Ok(())
    }

    /// RFC 7606 §4: an attribute that runs over the end of all attributes. The routes are known all the same, unless
    /// it is the one that carries them.
    fn overrun(&mut self, place: Range<usize>, code: Option<u8>) -> Result<(), ResetFault> {
        if matches!(code, Some(code::MP_REACH_NLRI | code::MP_UNREACH_NLRI)) {
            return Err(reset(code, FaultReason::Overrun, place, MALFORMED_LIST, &[]));
        }
        self.fault(code, FaultReason::Overrun, FaultAction::TreatAsWithdraw, place);
        Ok(())
    }

    fn attribute(&mut self, found: Found, value: &'a [u8]) -> Result<(), ResetFault> {
        let first = self.seen.insert(found.code);
        match found.code {
            code::MP_REACH_NLRI => return self.mp_reach(found, value, first),
            code::MP_UNREACH_NLRI => return self.mp_unreach(found, value, first),
            _ => {}
        }
        // RFC 7606 §3(g): the first counts, even if it was discarded itself.
        if !first {
            self.fault_of(&found, FaultReason::Duplicate, FaultAction::AttributeDiscard);
            return Ok(());
        }
        match descriptor(found.code) {
            Some(known) => self.known(found, value, known),
            None => return self.unknown(found),
        }
        Ok(())
    }

    fn known(&mut self, found: Found, value: &[u8], known: &Descriptor) {
        // RFC 7606 §7.5, §7.9, §7.10 discard before anything else is looked at.
        if known.internal_only && self.context.external {
            self.fault_of(&found, FaultReason::NotFromExternal, FaultAction::AttributeDiscard);
            return;
        }
        let is_as4 = matches!(found.code, code::AS4_PATH | code::AS4_AGGREGATOR);
        if is_as4 && self.context.four_octet_as {
            self.fault_of(&found, FaultReason::NotFromFourOctetPeer, FaultAction::AttributeDiscard);
            return;
        }
        let checked = flags_of(found.flags, known).map_err(|reason| (reason, known.wrong_flags)).and_then(|()| {
            let context = self.context;
            let check = Check { four_octet_as: context.four_octet_as, reject_as_sets: context.reject_as_sets };
            (known.check)(value, check).map_err(|reason| (reason, known.fallback))
        });
        match checked {
            Ok(()) => self.decoder.found.push(Found { flags: canonical_flags(found.flags, known), ..found }),
            // RFC 9774 §3: an AS_SET is treated the same wherever it stands.
            Err((reason @ FaultReason::AsSet, _)) | Err((reason, Fallback::TreatAsWithdraw)) => {
                self.decoder.found.push(found);
                self.fault_of(&found, reason, FaultAction::TreatAsWithdraw);
            }
            Err((reason, Fallback::Discard)) => self.fault_of(&found, reason, FaultAction::AttributeDiscard),
        }
    }

    /// RFC 4271 §5, §9: unknown transitive attributes are passed on, others are not.
    fn unknown(&mut self, found: Found) -> Result<(), ResetFault> {
        if found.flags & flag::OPTIONAL == 0 {
            let data = self.data_of(&found);
            let (reason, subcode) = (FaultReason::UnrecognizedWellKnown, UpdateSubcode::UnrecognizedWellKnown);
            return Err(reset(Some(found.code), reason, found.place(), subcode, data));
        }
        if found.flags & flag::TRANSITIVE != 0 {
            self.decoder.found.push(Found { flags: flag::OPTIONAL | flag::TRANSITIVE | flag::PARTIAL, ..found });
        }
        Ok(())
    }

    /// RFC 7606 §3(g): these two must not be there twice.
    fn once(found: &Found, first: bool) -> Result<(), ResetFault> {
        if first {
            return Ok(());
        }
        Err(reset(Some(found.code), FaultReason::Duplicate, found.place(), MALFORMED_LIST, &[]))
    }

    fn mp_reach(&mut self, found: Found, value: &'a [u8], first: bool) -> Result<(), ResetFault> {
        Self::once(&found, first)?;
        let mut cursor = Cursor::new(value);
        let Some((family, next_hop)) = reach_head(&mut cursor) else {
            return Err(self.optional(&found, FaultReason::Length(value.len())));
        };
        if !self.is_negotiated(&found, family) {
            return Ok(());
        }
        if let Err(reason) = mp_flags(&found) {
            return self.unusable(&found, family, reason);
        }
        let Some(next_hop) = self.next_hop_of(family, next_hop) else {
            return self.unusable(&found, family, FaultReason::NextHopLength(next_hop.len() as u8));
        };
        match self.block(family, cursor.rest()) {
            Ok(nlri) => self.mp_reach = Some(MpReach { next_hop, nlri }),
            Err(fault) => return self.unusable(&found, family, FaultReason::Nlri(fault)),
        }
        Ok(())
    }

    fn mp_unreach(&mut self, found: Found, value: &'a [u8], first: bool) -> Result<(), ResetFault> {
        Self::once(&found, first)?;
        let mut cursor = Cursor::new(value);
        let Some(family) = family(&mut cursor) else {
            return Err(self.optional(&found, FaultReason::Length(value.len())));
        };
        if !self.is_negotiated(&found, family) {
            return Ok(());
        }
        if let Err(reason) = mp_flags(&found) {
            return self.unusable(&found, family, reason);
        }
        match self.block(family, cursor.rest()) {
            Ok(nlri) => self.mp_unreach = Some(nlri),
            Err(fault) => return self.unusable(&found, family, FaultReason::Nlri(fault)),
        }
        Ok(())
    }

    /// RFC 7606 §7.11, §5.3: routes that cannot be told apart, or cannot be relied on. If the session has other families, only this one ends.
    fn unusable(&mut self, found: &Found, family: Family, reason: FaultReason) -> Result<(), ResetFault> {
        if self.context.families.iter().any(|other| *other != family) {
            self.disable = Some(family);
            self.fault_of(found, reason, FaultAction::AfiSafiDisable);
            return Ok(());
        }
        Err(self.optional(found, reason))
    }

    /// RFC 4271 §6.3, Optional Attribute Error or Attribute Flags Error: the data is the attribute.
    fn optional(&self, found: &Found, reason: FaultReason) -> ResetFault {
        let subcode = match reason {
            FaultReason::Flags(_) => UpdateSubcode::AttributeFlags,
            _ => UpdateSubcode::OptionalAttribute,
        };
        reset(Some(found.code), reason, found.place(), subcode, self.data_of(found))
    }

    /// An attribute as it came, as the data of a NOTIFICATION (RFC 4271 §6.3).
    fn data_of(&self, found: &Found) -> &'a [u8] {
        self.body.get(found.from..found.end).unwrap_or_default()
    }

    /// RFC 4760 §7 lets a speaker ignore a family that it did not negotiate; the session has done nothing wrong that
    /// would make its other routes suspect.
    fn is_negotiated(&mut self, found: &Found, family: Family) -> bool {
        let negotiated = self.context.families.contains(&family);
        if !negotiated {
            self.fault_of(found, FaultReason::NotNegotiated(family), FaultAction::AttributeDiscard);
        }
        negotiated
    }

    fn block(&self, family: Family, bytes: &'a [u8]) -> Result<NlriBlock<'a>, NlriFault> {
        let add_path = self.context.add_path.contains(&family);
        match family {
            Ipv4Unicast::FAMILY => NlriBlock::checked::<Ipv4Unicast>(bytes, add_path),
            Ipv6Unicast::FAMILY => NlriBlock::checked::<Ipv6Unicast>(bytes, add_path),
            // No other family is ever negotiated.
            _ => Ok(NlriBlock::empty(family)),
        }
    }

    /// RFC 2545 §3, RFC 8950 §3; IPv4 unicast in MP_REACH_NLRI may have an IPv4 next hop as well (RFC 4760 §3).
    fn next_hop_of(&self, family: Family, octets: &[u8]) -> Option<NextHop> {
        let ipv4 = family == Family::IPV4_UNICAST;
        let ipv6_is_good = !ipv4 || self.context.extended_next_hop.contains(&family);
        let mut cursor = Cursor::new(octets);
        match octets.len() {
            4 if ipv4 => cursor.ipv4().ok().map(NextHop::V4),
            16 if ipv6_is_good => cursor.ipv6().ok().map(|global| NextHop::V6 { global, link_local: None }),
            32 if ipv6_is_good => {
                let global = cursor.ipv6().ok()?;
                // What is not link-local in the second place means nothing.
                let link_local = cursor.ipv6().ok().filter(Ipv6Addr::is_unicast_link_local);
                Some(NextHop::V6 { global, link_local })
            }
            _ => None,
        }
    }

    /// RFC 7606 §5.2: where attributes are wrong and there are no routes to withdraw for it, the routes may have been
    /// missed, and nothing but a reset is left.
    fn check_reachable(&self, has_nlri: bool) -> Result<(), ResetFault> {
        // Routes in MP_REACH_NLRI that cannot be used have been dealt with there.
        let mp_routes = match self.mp_reach {
            Some(reach) => !reach.nlri.is_empty(),
            None => self.seen.contains(code::MP_REACH_NLRI),
        };
        if !self.treat_as_withdraw || mp_routes || has_nlri {
            return Ok(());
        }
        let counts = |fault: &&Fault| fault.action == FaultAction::TreatAsWithdraw;
        let Some(fault) = self.decoder.faults.iter().find(counts) else { return Ok(()) };
        let found = self.decoder.found.iter().find(|found| found.start == fault.offset);
        let data = found.map(|found| self.data_of(found)).unwrap_or_default();
        let place = fault.offset..fault.offset + fault.len;
        Err(reset(fault.attribute, fault.reason, place, fault.reason.subcode(), data))
    }

    /// RFC 7606 §3(d), §3(e): what every announcement must have.
    fn check_mandatory(&mut self, nlri: &NlriBlock<'_>) {
        let announces = !nlri.is_empty() || self.mp_reach.is_some_and(|reach| !reach.nlri.is_empty());
        if !announces {
            return;
        }
        let mandatory = [code::ORIGIN, code::AS_PATH, code::NEXT_HOP];
        let needed = if nlri.is_empty() { &mandatory[..2] } else { &mandatory[..] };
        for code in needed {
            let there = self.decoder.found.iter().any(|found| found.code == *code);
            if !there {
                self.fault(Some(*code), FaultReason::Missing, FaultAction::TreatAsWithdraw, 0..0);
            }
        }
        if let Some(octets) = self.value_of(code::NEXT_HOP) {
            self.next_hop = Cursor::new(octets).ipv4().ok().map(NextHop::V4);
        }
    }

    fn value_of(&self, code: u8) -> Option<&'a [u8]> {
        let found = self.decoder.found.iter().find(|found| found.code == code)?;
        self.body.get(found.start..found.end)
    }

    /// Writes the canonical form; nothing where the routes are withdrawn anyway.
    fn canonical(&mut self) {
        if self.treat_as_withdraw {
            return;
        }
        let (as4_path, four_octets) = (self.value_of(code::AS4_PATH), self.context.four_octet_as);
        let as4_aggregator = self.value_of(code::AS4_AGGREGATOR);
        let stale = merge::is_stale(self.value_of(code::AGGREGATOR), as4_aggregator);
        let mut too_long = None;
        let Decoder { found, canonical, .. } = &mut *self.decoder;
        if !found.is_sorted_by_key(|found| found.code) {
            found.sort_unstable_by_key(|found| found.code);
        }
        for attribute in found.iter() {
            let value = self.body.get(attribute.start..attribute.end).unwrap_or_default();
            match attribute.code {
                code::NEXT_HOP | code::AS4_PATH | code::AS4_AGGREGATOR => {}
                code::AS_PATH if !four_octets => {
                    let written = merge::path(attribute.flags, value, as4_path.filter(|_| !stale), canonical);
                    too_long = written.err().map(|reason| (*attribute, reason));
                }
                code::AGGREGATOR if !four_octets => match as4_aggregator.filter(|_| !stale) {
                    Some(new) => put(canonical, attribute.flags, attribute.code, new),
                    None => {
                        put_header(canonical, attribute.flags, attribute.code, 8);
                        merge::aggregator(value, canonical);
                    }
                },
                _ => {
                    let tidied = descriptor(attribute.code).and_then(|known| known.tidied(value));
                    put(canonical, attribute.flags, attribute.code, tidied.as_deref().unwrap_or(value));
                }
            }
        }
        if let Some((attribute, reason)) = too_long {
            self.decoder.canonical.clear();
            self.fault_of(&attribute, reason, FaultAction::TreatAsWithdraw);
        }
    }

    fn fault_of(&mut self, found: &Found, reason: FaultReason, action: FaultAction) {
        self.fault(Some(found.code), reason, action, found.place());
    }

    fn fault(&mut self, attribute: Option<u8>, reason: FaultReason, action: FaultAction, place: Range<usize>) {
        self.treat_as_withdraw |= action == FaultAction::TreatAsWithdraw;
        let (offset, len) = (place.start, place.len());
        self.decoder.faults.push(Fault { attribute, action, reason, offset, len });
    }
}

fn header<'a>(cursor: &mut Cursor<'a>) -> Option<(u8, u8, &'a [u8])> {
    let (flags, code) = (cursor.u8().ok()?, cursor.u8().ok()?);
    let len = match flags & flag::EXTENDED_LENGTH {
        0 => cursor.u8().ok()?.into(),
        _ => cursor.u16().ok()?.into(),
    };
    Some((flags, code, cursor.take(len).ok()?))
}

/// RFC 7606 §3(c). Partial is only meaningful on optional transitive attributes (RFC 4271 §4.3).
fn flags_of(flags: u8, known: &Descriptor) -> Result<(), FaultReason> {
    let defining = flag::OPTIONAL | flag::TRANSITIVE;
    if flags & defining == known.flags { Ok(()) } else { Err(FaultReason::Flags(flags)) }
}

/// RFC 7606 §5.3: both MP attributes are optional and not transitive (RFC 4760 §3, §4).
fn mp_flags(found: &Found) -> Result<(), FaultReason> {
    match found.flags & (flag::OPTIONAL | flag::TRANSITIVE) {
        flag::OPTIONAL => Ok(()),
        _ => Err(FaultReason::Flags(found.flags)),
    }
}

/// Flags as the definition has them; Partial is kept where it means something, the unused bits never
/// (RFC 4271 §4.3).
fn canonical_flags(flags: u8, known: &Descriptor) -> u8 {
    let optional_transitive = known.flags == flag::OPTIONAL | flag::TRANSITIVE;
    known.flags | if optional_transitive { flags & flag::PARTIAL } else { 0 }
}

fn family(cursor: &mut Cursor<'_>) -> Option<Family> {
    Some(Family { afi: cursor.u16().ok()?, safi: cursor.u8().ok()? })
}

/// Family and next hop of MP_REACH_NLRI; the cursor is then at the NLRI.
fn reach_head<'a>(cursor: &mut Cursor<'a>) -> Option<(Family, &'a [u8])> {
    let family = family(cursor)?;
    let len = cursor.u8().ok()?;
    let next_hop = cursor.take(len.into()).ok()?;
    cursor.u8().ok()?;
    Some((family, next_hop))
}
