//! AS_PATH and AGGREGATOR of a peer with 2-octet AS numbers, merged with AS4_PATH and AS4_AGGREGATOR
//! (RFC 6793 §4.2.3).

use crate::attribute::{AsPath, AsSegment, SegmentKind, as_path};
use crate::cursor::Cursor;
use crate::open::AS_TRANS;

/// The canonical AS_PATH value; `old` has 2-octet AS numbers and has been checked.
pub(super) fn path(old: &[u8], as4: Option<&[u8]>, out: &mut Vec<u8>) {
    let old = widen(old);
    let Some(as4) = as4 else { return old.encode_value(out) };
    // RFC 6793 §3: confederation segments in AS4_PATH are to be ignored.
    let mut new = AsPath::decode(as4);
    new.segments.retain(|segment| !segment.kind.is_confed());
    let lengths = |path: &AsPath| {
        let mut value = Vec::new();
        path.encode_value(&mut value);
        as_path::length(&value)
    };
    let (old_len, new_len) = (lengths(&old), lengths(&new));
    // A shorter AS_PATH: somebody who does not know AS4_PATH aggregated, so that it no longer belongs here.
    if old_len < new_len {
        return old.encode_value(out);
    }
    let mut merged = leading(&old, old_len - new_len);
    for segment in new.segments {
        append(&mut merged, segment);
    }
    AsPath { segments: merged }.encode_value(out);
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

fn widen(old: &[u8]) -> AsPath {
    let mut cursor = Cursor::new(old);
    let mut segments = Vec::new();
    while let Some(segment) = narrow_segment(&mut cursor) {
        segments.push(segment);
    }
    AsPath { segments }
}

fn narrow_segment(cursor: &mut Cursor<'_>) -> Option<AsSegment> {
    let kind = SegmentKind::from_code(cursor.u8().ok()?)?;
    let count = cursor.u8().ok()?;
    let asns = (0..count).map(|_| cursor.u16().ok().map(u32::from)).collect::<Option<Vec<u32>>>()?;
    Some(AsSegment { kind, asns })
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
