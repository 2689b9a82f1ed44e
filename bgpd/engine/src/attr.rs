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
use std::sync::Arc;

use bgp_wire::attribute::AttributeBlock;
use bgp_wire::update::NextHop;

pub use digest::{Digest, Scope};
pub use interner::Interner;

/// One distinct set of path attributes.
#[derive(Debug)]
pub struct AttrSet {
    /// Next hop, whichever attribute carried it.
    pub next_hop: NextHop,
    /// What decision and export read.
    pub digest: Digest,
    /// Hash of next hop and bytes, for the interner.
    hash: u64,
    /// All other attributes in canonical form.
    bytes: Box<[u8]>,
}

impl AttrSet {
    /// The attributes without the next hop, canonical.
    #[must_use]
    pub fn block(&self) -> AttributeBlock<'_> {
        AttributeBlock::from_canonical(&self.bytes)
    }

    /// The canonical bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// A reference to an interned [`AttrSet`]. Two references are equal if they are the same set.
#[derive(Clone)]
pub struct AttrRef(Arc<AttrSet>);

impl AttrRef {
    /// A number that is the same for equal references while they live. Never an order.
    #[must_use]
    pub fn token(&self) -> usize {
        Arc::as_ptr(&self.0).addr()
    }
}

impl std::ops::Deref for AttrRef {
    type Target = AttrSet;

    fn deref(&self) -> &AttrSet {
        &self.0
    }
}

impl PartialEq for AttrRef {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for AttrRef {}

impl fmt::Debug for AttrRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "attributes via {}, {} octets", self.next_hop, self.bytes.len())
    }
}

const _: () = assert!(size_of::<AttrRef>() == 8, "routes are small because references are");
const _: () = assert!(size_of::<AttrSet>() <= 104, "one per distinct set, but sets can be many");
