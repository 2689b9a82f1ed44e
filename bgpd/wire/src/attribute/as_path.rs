//! AS_PATH (RFC 4271 §5.1.2, RFC 5065 §3, RFC 6793): typed for people, and readers over the canonical value that
//! allocate nothing.
//!
//! ```text
//!  { segment type (1) | number of ASes (1) | AS number (4) … } …
//! ```

use std::fmt;
use std::str::FromStr;

use crate::cursor::Cursor;

/// Kind of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SegmentKind {
    /// AS_SET, 1: unordered.
    Set,
    /// AS_SEQUENCE, 2: ordered.
    Sequence,
    /// AS_CONFED_SEQUENCE, 3 (RFC 5065 §3).
    ConfedSequence,
    /// AS_CONFED_SET, 4 (RFC 5065 §3).
    ConfedSet,
}

impl SegmentKind {
    /// The kind with a type code.
    #[must_use]
    pub const fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            1 => Self::Set,
            2 => Self::Sequence,
            3 => Self::ConfedSequence,
            4 => Self::ConfedSet,
            _ => return None,
        })
    }

    /// Its type code.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Set => 1,
            Self::Sequence => 2,
            Self::ConfedSequence => 3,
            Self::ConfedSet => 4,
        }
    }

    /// Whether it belongs to a confederation (RFC 5065).
    #[must_use]
    pub const fn is_confed(self) -> bool {
        matches!(self, Self::ConfedSequence | Self::ConfedSet)
    }
}

/// One segment.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AsSegment {
    /// Its kind.
    pub kind: SegmentKind,
    /// Its AS numbers.
    pub asns: Vec<u32>,
}

/// A whole AS_PATH.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct AsPath {
    /// Its segments, the nearest AS first.
    pub segments: Vec<AsSegment>,
}

impl AsPath {
    /// A path of one AS_SEQUENCE; empty without AS numbers.
    #[must_use]
    pub fn sequence(asns: &[u32]) -> Self {
        let segment = |asns: &[u32]| AsSegment { kind: SegmentKind::Sequence, asns: asns.to_vec() };
        Self { segments: asns.chunks(255).map(segment).collect() }
    }

    /// From a canonical value.
    #[must_use]
    pub fn decode(value: &[u8]) -> Self {
        let segments = iter(value).map(|(kind, asns)| AsSegment { kind, asns: asns.collect() });
        Self { segments: segments.collect() }
    }

    /// Appends the canonical value.
    pub fn encode_value(&self, out: &mut Vec<u8>) {
        for segment in &self.segments {
            for asns in segment.asns.chunks(255) {
                out.extend_from_slice(&[segment.kind.code(), asns.len() as u8]);
                asns.iter().for_each(|asn| out.extend_from_slice(&asn.to_be_bytes()));
            }
        }
    }
}

/// AS numbers of one segment of a canonical value.
#[derive(Debug, Clone)]
pub struct Asns<'a>(std::slice::Chunks<'a, u8>);

impl Iterator for Asns<'_> {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        // A canonical segment has whole AS numbers; a rest would end the iteration.
        self.0.next()?.try_into().ok().map(u32::from_be_bytes)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

impl ExactSizeIterator for Asns<'_> {}

/// The segments of a canonical value.
pub fn iter(value: &[u8]) -> impl Iterator<Item = (SegmentKind, Asns<'_>)> {
    let mut cursor = Cursor::new(value);
    std::iter::from_fn(move || {
        let kind = SegmentKind::from_code(cursor.u8().ok()?)?;
        let count = usize::from(cursor.u8().ok()?);
        Some((kind, Asns(cursor.take(count * 4).ok()?.chunks(4))))
    })
}

/// Length as the decision process counts it: a set is one AS (RFC 4271 §9.1.2.2(a)), a confederation's segments are
/// none (RFC 5065 §5.3).
#[must_use]
pub fn length(value: &[u8]) -> u32 {
    let count = |(kind, asns): (SegmentKind, Asns<'_>)| match kind {
        SegmentKind::Sequence => asns.len() as u32,
        SegmentKind::Set => 1,
        SegmentKind::ConfedSequence | SegmentKind::ConfedSet => 0,
    };
    iter(value).map(count).sum()
}

/// Whether an AS is on the path (RFC 4271 §9.1.2).
#[must_use]
pub fn contains(value: &[u8], asn: u32) -> bool {
    iter(value).any(|(_, mut asns)| asns.any(|one| one == asn))
}

/// The AS that the route was received from: the first of the path, if it begins with a sequence
/// (RFC 4271 §9.1.2.2(c)).
#[must_use]
pub fn neighbor_as(value: &[u8]) -> Option<u32> {
    match iter(value).find(|(kind, _)| !kind.is_confed()) {
        Some((SegmentKind::Sequence, mut asns)) => asns.next(),
        _ => None,
    }
}

/// The AS that originated the route: the last of the path, if it ends with a sequence.
#[must_use]
pub fn origin_as(value: &[u8]) -> Option<u32> {
    match iter(value).filter(|(kind, _)| !kind.is_confed()).last() {
        Some((SegmentKind::Sequence, asns)) => asns.last(),
        _ => None,
    }
}

/// Appends the canonical value of the path with `asn` prepended `count` times (RFC 4271 §5.1.2(b)).
pub fn prepend(value: &[u8], asn: u32, count: u8, out: &mut Vec<u8>) {
    let first = match value {
        [2, len, ..] => usize::from(*len),
        _ => 0,
    };
    let joins = first > 0 && first + usize::from(count) <= 255;
    out.extend_from_slice(&[2, if joins { first as u8 + count } else { count }]);
    (0..count).for_each(|_| out.extend_from_slice(&asn.to_be_bytes()));
    out.extend_from_slice(if joins { value.get(2..).unwrap_or_default() } else { value });
}

impl fmt::Display for AsPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, segment) in self.segments.iter().enumerate() {
            let (open, between, close) = match segment.kind {
                SegmentKind::Sequence => ("", " ", ""),
                SegmentKind::Set => ("{", ",", "}"),
                SegmentKind::ConfedSequence => ("(", " ", ")"),
                SegmentKind::ConfedSet => ("[", ",", "]"),
            };
            f.write_str(if at == 0 { "" } else { " " })?;
            f.write_str(open)?;
            for (at, asn) in segment.asns.iter().enumerate() {
                write!(f, "{}{asn}", if at == 0 { "" } else { between })?;
            }
            f.write_str(close)?;
        }
        Ok(())
    }
}

/// The text is not an AS path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not an AS path, expected AS numbers such as \"65001 65002 {{65003,65004}}\"")]
pub struct InvalidAsPath(String);

impl FromStr for AsPath {
    type Err = InvalidAsPath;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidAsPath(text.to_owned());
        let mut path = Self::default();
        let mut rest = text.trim();
        while let Some(first) = rest.chars().next() {
            let (kind, close) = match first {
                '{' => (SegmentKind::Set, Some('}')),
                '(' => (SegmentKind::ConfedSequence, Some(')')),
                '[' => (SegmentKind::ConfedSet, Some(']')),
                _ => (SegmentKind::Sequence, None),
            };
            let (inside, after) = match close {
                Some(close) => rest.get(1..).and_then(|rest| rest.split_once(close)).ok_or_else(invalid)?,
                None => rest.split_at(rest.find(['{', '(', '[']).unwrap_or(rest.len())),
            };
            let words = inside.split([' ', ',']).filter(|word| !word.is_empty());
            let asns = words.map(|word| word.parse().map_err(|_| invalid())).collect::<Result<Vec<u32>, _>>()?;
            if asns.is_empty() {
                return Err(invalid());
            }
            path.segments.push(AsSegment { kind, asns });
            rest = after.trim_start();
        }
        Ok(path)
    }
}
