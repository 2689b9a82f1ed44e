//! Builds the bodies of UPDATEs, right and wrong.

use bgp_wire::Family;
use bgp_wire::update::{DecodeContext, Decoder, Fault, FaultAction, FaultReason, ResetFault, Update};

/// Well-known.
pub(crate) const WELL_KNOWN: u8 = 0x40;
/// Optional transitive.
pub(crate) const TRANSITIVE: u8 = 0xc0;
/// Optional non-transitive.
pub(crate) const OPTIONAL: u8 = 0x80;

pub(crate) const ORIGIN: &[u8] = &[0x40, 1, 1, 0];
/// AS_SEQUENCE of 65001 and 65002, with four octets each.
pub(crate) const AS_PATH: &[u8] = &[0x40, 2, 10, 2, 2, 0, 0, 0xfd, 0xe9, 0, 0, 0xfd, 0xea];
pub(crate) const NEXT_HOP: &[u8] = &[0x40, 3, 4, 192, 0, 2, 1];
/// 203.0.113.0/24.
pub(crate) const PREFIX: &[u8] = &[24, 203, 0, 113];

/// The three fields of an UPDATE.
pub(crate) fn body(withdrawn: &[u8], attributes: &[&[u8]], nlri: &[u8]) -> Vec<u8> {
    let attributes = attributes.concat();
    let mut body = (withdrawn.len() as u16).to_be_bytes().to_vec();
    body.extend_from_slice(withdrawn);
    body.extend_from_slice(&(attributes.len() as u16).to_be_bytes());
    body.extend_from_slice(&attributes);
    body.extend_from_slice(nlri);
    body
}

/// An announcement with the mandatory attributes and `more` of them.
pub(crate) fn announcement(more: &[&[u8]]) -> Vec<u8> {
    let attributes = [&[ORIGIN, AS_PATH, NEXT_HOP], more].concat();
    body(&[], &attributes, PREFIX)
}

pub(crate) fn attribute(flags: u8, code: u8, value: &[u8]) -> Vec<u8> {
    let mut bytes = vec![flags | 0x10, code];
    bytes.extend_from_slice(&(value.len() as u16).to_be_bytes());
    bytes.extend_from_slice(value);
    bytes
}

/// MP_REACH_NLRI of a family.
pub(crate) fn mp_reach(family: Family, next_hop: &[u8], nlri: &[u8]) -> Vec<u8> {
    let mut value = family.afi.to_be_bytes().to_vec();
    value.extend_from_slice(&[family.safi, next_hop.len() as u8]);
    value.extend_from_slice(next_hop);
    value.push(0);
    value.extend_from_slice(nlri);
    attribute(OPTIONAL, 14, &value)
}

pub(crate) fn mp_unreach(family: Family, nlri: &[u8]) -> Vec<u8> {
    let mut value = family.afi.to_be_bytes().to_vec();
    value.push(family.safi);
    value.extend_from_slice(nlri);
    attribute(OPTIONAL, 15, &value)
}

/// An iBGP session with both families and four octets.
pub(crate) fn internal() -> DecodeContext {
    DecodeContext {
        external: false,
        four_octet_as: true,
        families: vec![Family::IPV4_UNICAST, Family::IPV6_UNICAST],
        ..DecodeContext::default()
    }
}

pub(crate) fn external() -> DecodeContext {
    DecodeContext { external: true, ..internal() }
}

pub(crate) fn ipv4_only() -> DecodeContext {
    DecodeContext { families: vec![Family::IPV4_UNICAST], ..internal() }
}

/// What is wrong with an UPDATE that does not end the session: whether its routes are withdrawn, and the faults.
pub(crate) struct Verdict {
    pub(crate) withdraw: bool,
    pub(crate) disable: Option<Family>,
    pub(crate) faults: Vec<(Option<u8>, FaultReason, FaultAction)>,
    /// Codes of the attributes that are left.
    pub(crate) codes: Vec<u8>,
}

#[track_caller]
pub(crate) fn verdict(body: &[u8], context: &DecodeContext) -> Verdict {
    let mut decoder = Decoder::new();
    let update = decoder.decode(body, context).expect("no reset");
    Verdict {
        withdraw: update.treat_as_withdraw,
        disable: update.disable,
        faults: update.faults.iter().map(|fault| (fault.attribute, fault.reason, fault.action)).collect(),
        codes: update.attributes.iter().map(|attribute| attribute.code).collect(),
    }
}

#[track_caller]
pub(crate) fn reset(body: &[u8], context: &DecodeContext) -> ResetFault {
    let reset = Decoder::new().decode(body, context).map(|update| format!("{update:?}")).expect_err("a reset");
    assert_eq!(reset.fault.action, FaultAction::SessionReset);
    assert_eq!(reset.notification.code, 3, "UPDATE Message Error");
    reset
}

/// The one fault of an UPDATE whose routes are withdrawn for it.
#[track_caller]
pub(crate) fn withdraw(body: &[u8], context: &DecodeContext) -> (Option<u8>, FaultReason) {
    let verdict = verdict(body, context);
    assert!(verdict.withdraw, "treat-as-withdraw");
    assert!(verdict.codes.is_empty(), "no attributes of routes that are withdrawn");
    only(&verdict, FaultAction::TreatAsWithdraw)
}

/// The one fault of an UPDATE that is used without the attribute.
#[track_caller]
pub(crate) fn discard(body: &[u8], context: &DecodeContext) -> (Option<u8>, FaultReason) {
    let verdict = verdict(body, context);
    assert!(!verdict.withdraw, "the routes are used");
    only(&verdict, FaultAction::AttributeDiscard)
}

#[track_caller]
fn only(verdict: &Verdict, action: FaultAction) -> (Option<u8>, FaultReason) {
    match verdict.faults.as_slice() {
        [(attribute, reason, found)] if *found == action => (*attribute, *reason),
        other => panic!("one fault with {action} expected, found {other:?}"),
    }
}

#[track_caller]
pub(crate) fn clean(body: &[u8], context: &DecodeContext) -> Vec<u8> {
    let verdict = verdict(body, context);
    assert_eq!(verdict.faults, []);
    assert!(!verdict.withdraw);
    verdict.codes
}

/// Runs `look` on a decoded UPDATE.
#[track_caller]
pub(crate) fn decoded<T>(body: &[u8], context: &DecodeContext, look: impl FnOnce(&Update<'_>) -> T) -> T {
    look(&Decoder::new().decode(body, context).expect("no reset"))
}

/// Faults as text, for people.
pub(crate) fn texts(faults: &[Fault]) -> Vec<String> {
    faults.iter().map(ToString::to_string).collect()
}
