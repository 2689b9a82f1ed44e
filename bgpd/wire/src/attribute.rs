//! Path attributes (RFC 4271 §4.3, §5): one descriptor per type code, a canonical form, typed values for people.
//!
//! Canonical form, which the engine stores and compares: TLVs in ascending order of type code, extended length only
//! where it is needed, AS numbers with four octets and already merged with AS4_PATH and AS4_AGGREGATOR
//! (RFC 6793 §4.2.3), flags as the attribute's definition has them, Partial set on unknown transitive attributes.
//! NEXT_HOP, MP_REACH_NLRI and MP_UNREACH_NLRI are not part of it: they belong to the message, not to the route.

pub mod as_path;
mod basic;
mod community;
mod descriptor;
mod tlv;
mod value;

pub use as_path::{AsPath, AsSegment, SegmentKind};
pub use basic::Origin;
pub use community::{Community, ExtendedCommunity, Ipv6ExtendedCommunity, LargeCommunity, UnknownCommunity};
pub use descriptor::name;
pub(crate) use descriptor::{Check, Descriptor, Fallback, descriptor};
pub use value::{Attribute, decode_value};

use crate::cursor::Cursor;

/// Attribute flags (RFC 4271 §4.3).
pub mod flag {
    /// Optional rather than well-known.
    pub const OPTIONAL: u8 = 0x80;
    /// Passed on by speakers that do not know it.
    pub const TRANSITIVE: u8 = 0x40;
    /// A speaker on the way did not know it.
    pub const PARTIAL: u8 = 0x20;
    /// The length has two octets.
    pub const EXTENDED_LENGTH: u8 = 0x10;
}

/// Type codes (the IANA registry of BGP path attributes).
#[expect(missing_docs, reason = "the names are those of the registry")]
pub mod code {
    pub const ORIGIN: u8 = 1;
    pub const AS_PATH: u8 = 2;
    pub const NEXT_HOP: u8 = 3;
    pub const MULTI_EXIT_DISC: u8 = 4;
    pub const LOCAL_PREF: u8 = 5;
    pub const ATOMIC_AGGREGATE: u8 = 6;
    pub const AGGREGATOR: u8 = 7;
    pub const COMMUNITIES: u8 = 8;
    pub const ORIGINATOR_ID: u8 = 9;
    pub const CLUSTER_LIST: u8 = 10;
    pub const MP_REACH_NLRI: u8 = 14;
    pub const MP_UNREACH_NLRI: u8 = 15;
    pub const EXTENDED_COMMUNITIES: u8 = 16;
    pub const AS4_PATH: u8 = 17;
    pub const AS4_AGGREGATOR: u8 = 18;
    pub const PMSI_TUNNEL: u8 = 22;
    pub const TUNNEL_ENCAPSULATION: u8 = 23;
    pub const IPV6_EXTENDED_COMMUNITIES: u8 = 25;
    pub const AIGP: u8 = 26;
    pub const LARGE_COMMUNITIES: u8 = 32;
    pub const ONLY_TO_CUSTOMER: u8 = 35;
    pub const PREFIX_SID: u8 = 40;
}

/// One attribute: flags, type code and value as they stand in a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RawAttribute<'a> {
    /// Flags, without Extended Length.
    pub flags: u8,
    /// Type code.
    pub code: u8,
    /// Value.
    pub value: &'a [u8],
}

/// Attributes in canonical form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AttributeBlock<'a>(&'a [u8]);

impl<'a> AttributeBlock<'a> {
    /// Octets that are known to be in canonical form.
    #[must_use]
    pub fn from_canonical(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The octets.
    #[must_use]
    pub fn bytes(&self) -> &'a [u8] {
        self.0
    }

    /// The attributes in order.
    pub fn iter(&self) -> impl Iterator<Item = RawAttribute<'a>> + use<'a> {
        let mut cursor = Cursor::new(self.0);
        std::iter::from_fn(move || next(&mut cursor))
    }

    /// The value of one attribute.
    #[must_use]
    pub fn get(&self, code: u8) -> Option<&'a [u8]> {
        self.iter().find(|attribute| attribute.code == code).map(|attribute| attribute.value)
    }
}

fn next<'a>(cursor: &mut Cursor<'a>) -> Option<RawAttribute<'a>> {
    let (flags, code) = (cursor.u8().ok()?, cursor.u8().ok()?);
    let len = match flags & flag::EXTENDED_LENGTH {
        0 => cursor.u8().ok()?.into(),
        _ => cursor.u16().ok()?.into(),
    };
    Some(RawAttribute { flags: flags & !flag::EXTENDED_LENGTH, code, value: cursor.take(len).ok()? })
}

/// Appends one attribute, with extended length where it needs it.
pub fn put(out: &mut Vec<u8>, flags: u8, code: u8, value: &[u8]) {
    put_header(out, flags, code, value.len());
    out.extend_from_slice(value);
}

/// Appends what comes before a value of `len` octets.
pub(crate) fn put_header(out: &mut Vec<u8>, flags: u8, code: u8, len: usize) {
    let flags = flags & !flag::EXTENDED_LENGTH;
    if len > 255 {
        out.extend_from_slice(&[flags | flag::EXTENDED_LENGTH, code]);
        out.extend_from_slice(&(len.min(0xffff) as u16).to_be_bytes());
    } else {
        out.extend_from_slice(&[flags, code, len as u8]);
    }
}
