//! Path attributes: hash-consed sets, their digest, edits.
//!
//! A set of path attributes is immutable and exists once ([`Interner`]): equality is pointer
//! equality, and what nobody changes is sent again from the bytes it is kept in. The bytes are the
//! canonical form of [`bgp_wire::attribute`]; decision and export read the [`Digest`] instead.
//! NEXT_HOP (RFC 4271 §5.1.3) and the next hop of MP_REACH_NLRI (RFC 4760 §3) are one field.

mod digest;
pub mod edit;
mod interner;

use std::fmt;

use bgp_wire::attribute::AttributeBlock;
use bgp_wire::update::NextHop;
use triomphe::ThinArc;

pub use digest::{Digest, Local, Scope};
pub use interner::Interner;

/// What a set begins with: what is read of it more often than its octets.
#[derive(Debug)]
pub struct AttrHead {
    /// Next hop, whichever attribute carried it.
    pub next_hop: NextHop,
    /// What decision and export read.
    pub digest: Digest,
    /// What no attribute says.
    pub local: Local,
}

/// A reference to one distinct, interned set of path attributes. Two references are equal if they are the same set.
/// Head and octets are one piece of memory.
#[derive(Clone)]
pub struct AttrRef(ThinArc<AttrHead, u8>);

impl AttrRef {
    /// All attributes but the next hop, canonical.
    #[must_use]
    pub fn block(&self) -> AttributeBlock<'_> {
        AttributeBlock::from_canonical(self.bytes())
    }

    /// The canonical bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0.slice
    }

    /// A number that is the same for equal references while they live. Never an order.
    #[must_use]
    pub fn token(&self) -> usize {
        std::ptr::from_ref(&**self).addr()
    }
}

impl std::ops::Deref for AttrRef {
    type Target = AttrHead;

    fn deref(&self) -> &AttrHead {
        &self.0.header.header
    }
}

impl PartialEq for AttrRef {
    fn eq(&self, other: &Self) -> bool {
        self.token() == other.token()
    }
}

impl Eq for AttrRef {}

impl fmt::Debug for AttrRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "attributes via {}, {} octets", self.next_hop, self.bytes().len())
    }
}

const _: () = assert!(size_of::<AttrRef>() == 8, "routes are small because references are");
const _: () = assert!(size_of::<AttrHead>() <= 80, "one per distinct set, but sets can be many");
