//! Checks of attributes that are lists of TLVs: AIGP (RFC 7311), tunnel encapsulation (RFC 9012), Prefix-SID
//! (RFC 8669). Only the frame is looked at, and lengths that the RFCs fix: what a TLV means is for others.

use super::Check;
use crate::cursor::{Cursor, Overrun};
use crate::update::FaultReason;

/// RFC 7311 §3: TLVs of type (1), length (2, header included), value; the AIGP TLV has type 1 and eleven octets.
pub(super) fn aigp(value: &[u8], _: Check) -> Result<(), FaultReason> {
    if value.is_empty() {
        // RFC 7606 §4.
        return Err(FaultReason::Length(0));
    }
    let mut cursor = Cursor::new(value);
    while !cursor.is_empty() {
        let malformed = |_| FaultReason::Length(value.len());
        let kind = cursor.u8().map_err(malformed)?;
        let len = usize::from(cursor.u16().map_err(malformed)?);
        let body = len.checked_sub(3).ok_or(FaultReason::Length(value.len()))?;
        cursor.take(body).map_err(malformed)?;
        if kind == 1 && len != 11 {
            return Err(FaultReason::Length(value.len()));
        }
    }
    Ok(())
}

/// The first AIGP TLV counts (RFC 7311 §3).
pub(super) fn aigp_metric(value: &[u8]) -> Option<u64> {
    let mut cursor = Cursor::new(value);
    loop {
        let (kind, len) = (cursor.u8().ok()?, cursor.u16().ok()?);
        let body = cursor.take(usize::from(len).checked_sub(3)?).ok()?;
        if kind == 1 {
            return body.try_into().ok().map(u64::from_be_bytes);
        }
    }
}

/// Tunnel Egress Endpoint sub-TLV: reserved (4), AFI (2), an address of that family, or none with AFI 0 (RFC 9012 §3.1).
const EGRESS_ENDPOINT: u8 = 6;

/// RFC 9012 §13: a tunnel TLV ends where its last sub-TLV ends, and one of them at least can be used.
///
/// ```text
///  { tunnel type (2) | length (2) | { type (1) | length (1, or 2 from type 128 on) | value } … } …
/// ```
pub(super) fn tunnel_encapsulation(value: &[u8], _: Check) -> Result<(), FaultReason> {
    if value.is_empty() {
        return Err(FaultReason::Length(0));
    }
    let (mut cursor, mut usable) = (Cursor::new(value), false);
    while !cursor.is_empty() {
        usable |= tunnel(&mut cursor).map_err(|_| FaultReason::TlvOverrun)?;
    }
    if usable { Ok(()) } else { Err(FaultReason::NoUsableTunnel) }
}

/// Takes one tunnel TLV. Whether it can be used: it has exactly one egress endpoint, and a right one (RFC 9012 §13).
fn tunnel(cursor: &mut Cursor<'_>) -> Result<bool, Overrun> {
    cursor.u16()?;
    let len = cursor.u16()?;
    let mut parts = Cursor::new(cursor.take(len.into())?);
    let (mut endpoints, mut right) = (0_u32, true);
    while !parts.is_empty() {
        let kind = parts.u8()?;
        let len = if kind >= 128 { parts.u16().map(usize::from) } else { parts.u8().map(usize::from) };
        let value = parts.take(len?)?;
        if kind == EGRESS_ENDPOINT {
            endpoints += 1;
            right &= is_endpoint(value);
        }
    }
    Ok(right && endpoints == 1)
}

fn is_endpoint(value: &[u8]) -> bool {
    let [_, _, _, _, high, low, address @ ..] = value else { return false };
    matches!((u16::from_be_bytes([*high, *low]), address.len()), (0, 0) | (1, 4) | (2, 16))
}

/// RFC 9012 §13: a tunnel with a malformed egress endpoint, or not exactly one, is ignored and not passed on. All others
/// are, whatever is in them.
pub(super) fn usable_tunnels(value: &[u8]) -> Option<Vec<u8>> {
    let mut kept = Vec::new();
    let mut rest = value;
    while !rest.is_empty() {
        let mut cursor = Cursor::new(rest);
        let usable = tunnel(&mut cursor).ok()?;
        let (whole, after) = rest.split_at_checked(cursor.offset())?;
        kept.extend_from_slice(if usable { whole } else { &[] });
        rest = after;
    }
    (kept.len() < value.len()).then_some(kept)
}

/// Label-Index TLV of Prefix-SID: reserved (1), flags (2), label index (4) (RFC 8669 §3.1).
const LABEL_INDEX: (u8, usize) = (1, 7);
/// Originator SRGB TLV: flags (2), then ranges of 6 octets (RFC 8669 §3.2).
const ORIGINATOR_SRGB: u8 = 3;

/// RFC 8669 §6: TLVs of type (1), length (2), value; at least one; those of the RFC have the length it gives.
pub(super) fn prefix_sid(value: &[u8], _: Check) -> Result<(), FaultReason> {
    let malformed = |_| FaultReason::TlvOverrun;
    if value.is_empty() {
        return Err(FaultReason::Length(0));
    }
    let mut cursor = Cursor::new(value);
    while !cursor.is_empty() {
        let kind = cursor.u8().map_err(malformed)?;
        let len = usize::from(cursor.u16().map_err(malformed)?);
        cursor.take(len).map_err(malformed)?;
        let possible = match kind {
            ORIGINATOR_SRGB => len >= 8 && (len - 2).is_multiple_of(6),
            kind if kind == LABEL_INDEX.0 => len == LABEL_INDEX.1,
            _ => true,
        };
        if !possible {
            return Err(FaultReason::TlvLength(kind, len));
        }
    }
    Ok(())
}

/// RFC 8669 §6: of a TLV that is there twice the first counts, and the others are discarded. What is not known stays.
pub(super) fn first_of_each(value: &[u8]) -> Option<Vec<u8>> {
    let (mut kept, mut seen) = (Vec::new(), [false; 2]);
    let mut rest = value;
    while let [kind, high, low, ..] = *rest {
        let (whole, after) = rest.split_at_checked(3 + usize::from(u16::from_be_bytes([high, low])))?;
        let known = [LABEL_INDEX.0, ORIGINATOR_SRGB].iter().position(|known| *known == kind);
        let again = known.and_then(|at| seen.get_mut(at)).is_some_and(|seen| std::mem::replace(seen, true));
        kept.extend_from_slice(if again { &[] } else { whole });
        rest = after;
    }
    (kept.len() < value.len()).then_some(kept)
}
