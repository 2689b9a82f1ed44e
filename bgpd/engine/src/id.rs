//! Small identifiers that stages use instead of names.

use std::fmt;
use std::net::Ipv4Addr;

/// A peer of this speaker, stable while the neighbor is configured or the dynamic session lives.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerIndex(pub u32);

impl PeerIndex {
    /// This speaker itself: the source of originated routes.
    pub const LOCAL: Self = Self(u32::MAX);
}

impl fmt::Debug for PeerIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::LOCAL { f.write_str("local") } else { write!(f, "peer {}", self.0) }
    }
}

/// An update group of one family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupIndex(pub u32);

/// How a path came to this speaker, as far as reflection and decision care (RFC 4456 §6, RFC 4271 §9.1.2.2(d)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SourceKind {
    /// Originated here.
    Local,
    /// Received over eBGP.
    External,
    /// Received over iBGP from a route-reflector client.
    Client,
    /// Received over iBGP from a non-client.
    NonClient,
}

impl SourceKind {
    /// How the routes of a session come.
    #[must_use]
    pub fn of_peer(external: bool, client: bool) -> Self {
        match (external, client) {
            (true, _) => Self::External,
            (false, true) => Self::Client,
            (false, false) => Self::NonClient,
        }
    }
}

/// Who a path came from: travels by value with every exported route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Source {
    /// The peer.
    pub peer: PeerIndex,
    /// The peer's BGP identifier: what ORIGINATOR_ID becomes when the route is reflected (RFC 4456 §8).
    pub router_id: Ipv4Addr,
    /// How the route came.
    pub kind: SourceKind,
}
