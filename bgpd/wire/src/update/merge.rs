//! AS_PATH and AGGREGATOR of a peer with 2-octet AS numbers, merged with AS4_PATH and AS4_AGGREGATOR
//! (RFC 6793 §4.2.3).

use crate::attribute::{AsPath, AsSegment, SegmentKind, as_path, code, put, put_header};
use crate::cursor::Cursor;
use crate::open::AS_TRANS;
use crate::update::FaultReason;

/// Appends the canonical AS_PATH; `old` has 2-octet AS numbers and has been checked.
///
/// # Errors
/// The length, when four octets for each AS number do not fit into an attribute (RFC 4271 §4.3).
pub(super) fn path(flags: u8, old: &[u8], as4: Option<&[u8]>, out: &mut Vec<u8>) -> Result<(), FaultReason> {
    let Some(as4) = as4 else { return widened(flags, old, out) };
    let mut merged = Vec::new();
    merge(&widen(old), as4).encode_value(&mut merged);
    fits(merged.len())?;
    put(out, flags, code::AS_PATH, &merged);
    Ok(())
}

fn fits(len: usize) -> Result<(), FaultReason> {
    if len <= usize::from(u16::MAX) { Ok(()) } else { Err(FaultReason::Length(len)) }
}

/// The usual case, without an allocation: nothing to merge with.
fn widened(flags: u8, old: &[u8], out: &mut Vec<u8>) -> Result<(), FaultReason> {
    let len = narrow_segments(old).map(|(_, asns)| 2 + 2 * asns.len()).sum();
    fits(len)?;
    put_header(out, flags, code::AS_PATH, len);
    for (kind, asns) in narrow_segments(old) {
        out.extend_from_slice(&[kind.code(), (asns.len() / 2) as u8]);
        asns.chunks(2).for_each(|asn| {
            out.extend_from_slice(&[0, 0]);
            out.extend_from_slice(asn);
        });
    }
    Ok(())
}

/// AS_PATH with as much of its end as possible taken from AS4_PATH.
fn merge(old: &AsPath, as4: &[u8]) -> AsPath {
    // RFC 6793 §3: confederation segments in AS4_PATH are to be ignored.
    let mut new = AsPath::decode(as4);
    new.segments.retain(|segment| !segment.kind.is_confed());
    let lengths = |path: &AsPath| {
        let mut value = Vec::new();
        path.encode_value(&mut value);
        as_path::length(&value)
    };
    let (old_len, new_len) = (lengths(old), lengths(&new));
    // A shorter AS_PATH: somebody who does not know AS4_PATH aggregated, so that it no longer belongs here.
    if old_len < new_len {
        return old.clone();
    }
    let mut merged = leading(old, old_len - new_len);
    for segment in new.segments {
        append(&mut merged, segment);
    }
    AsPath { segments: merged }
}

/// Whether AS4_PATH and AS4_AGGREGATOR are to be ignored: somebody who knows 2 octets only has aggregated
/// (RFC 6793 §4.2.3).
pub(super) fn is_stale(aggregator: Option<&[u8]>, as4_aggregator: Option<&[u8]>) -> bool {
    let asn = aggregator.and_then(|value| Cursor::new(value).u16().ok());
    as4_aggregator.is_some() && asn.is_some_and(|asn| asn != AS_TRANS)
}

/// The canonical AGGREGATOR value of one with a 2-octet AS number.
pub(super) fn aggregator(old: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&[0, 0]);
    out.extend_from_slice(old);
}

/// The segments of a checked value with 2-octet AS numbers: kind, and AS numbers as they stand there.
fn narrow_segments(old: &[u8]) -> impl Iterator<Item = (SegmentKind, &[u8])> {
    let mut cursor = Cursor::new(old);
    std::iter::from_fn(move || {
        let kind = SegmentKind::from_code(cursor.u8().ok()?)?;
        let count = usize::from(cursor.u8().ok()?);
        Some((kind, cursor.take(count * 2).ok()?))
    })
}

fn widen(old: &[u8]) -> AsPath {
    let wide = |asn: &[u8]| asn.iter().fold(0, |sum, octet| sum << 8 | u32::from(*octet));
    let segment = |(kind, octets): (SegmentKind, &[u8])| AsSegment { kind, asns: octets.chunks(2).map(wide).collect() };
    AsPath { segments: narrow_segments(old).map(segment).collect() }
}

/// The segments that make up the first `count` ASes of a path.
fn leading(path: &AsPath, mut count: u32) -> Vec<AsSegment> {
    let mut taken = Vec::new();
    for segment in &path.segments {
        if count == 0 && !segment.kind.is_confed() {
            break;
        }
        let asns = match segment.kind {
            SegmentKind::Sequence => {
                let part = segment.asns.len().min(count as usize);
                count -= part as u32;
                segment.asns.iter().take(part).copied().collect()
            }
            SegmentKind::Set => {
                count -= 1;
                segment.asns.clone()
            }
            SegmentKind::ConfedSequence | SegmentKind::ConfedSet => segment.asns.clone(),
        };
        taken.push(AsSegment { kind: segment.kind, asns });
    }
    taken
}

/// Appends a segment; two sequences become one.
fn append(segments: &mut Vec<AsSegment>, segment: AsSegment) {
    match segments.last_mut() {
        Some(last)
            if last.kind == SegmentKind::Sequence
                && segment.kind == SegmentKind::Sequence
                && last.asns.len() + segment.asns.len() <= 255 =>
        {
            last.asns.extend(segment.asns);
        }
        _ => segments.push(segment),
    }
}
