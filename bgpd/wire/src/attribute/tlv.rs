//! Checks of attributes that are lists of TLVs: AIGP (RFC 7311), tunnel encapsulation (RFC 9012), Prefix-SID
//! (RFC 8669). Only the frame is looked at, and lengths that the RFCs fix: what a TLV means is for others.

use super::Check;
use crate::cursor::Cursor;
use crate::update::FaultReason;

/// RFC 7311 §3: TLVs of type (1), length (2, header included), value; the AIGP TLV has type 1 and eleven octets.
pub(super) fn aigp(value: &[u8], _: Check) -> Result<(), FaultReason> {
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

/// RFC 9012 §13: a tunnel TLV ends where its last sub-TLV ends.
///
/// ```text
///  { tunnel type (2) | length (2) | { type (1) | length (1, or 2 from type 128 on) | value } … } …
/// ```
pub(super) fn tunnel_encapsulation(value: &[u8], _: Check) -> Result<(), FaultReason> {
    let malformed = |_| FaultReason::TlvOverrun;
    let mut cursor = Cursor::new(value);
    while !cursor.is_empty() {
        cursor.u16().map_err(malformed)?;
        let len = cursor.u16().map_err(malformed)?;
        let mut tunnel = Cursor::new(cursor.take(len.into()).map_err(malformed)?);
        while !tunnel.is_empty() {
            let wide = tunnel.u8().map_err(malformed)? >= 128;
            let len = if wide { tunnel.u16().map(usize::from) } else { tunnel.u8().map(usize::from) };
            len.and_then(|len| tunnel.take(len)).map_err(malformed)?;
        }
    }
    Ok(())
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
