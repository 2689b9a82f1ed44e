//! Network Layer Reachability Information, one type per family (RFC 4271 §4.3, RFC 4760 §5).
//!
//! A family is data: everything that stores, batches or packs routes is generic over [`Nlri`].

mod prefix;

use std::fmt;
use std::hash::Hash;

use ipnet::IpNet;

use crate::Family;
use crate::cursor::Cursor;
pub use prefix::{Prefix, Unicast};

/// What differs between IPv4 and IPv6 prefixes.
mod sealed {
    use std::net::IpAddr;

    use crate::Family;

    /// The octets of an address.
    pub trait Address: Sized + Copy + Send + Sync + 'static {
        /// The unicast family of these addresses.
        const FAMILY: Family;
        /// Prefixes with this many leading bits in common share a partition.
        const SHARED: u8;
        /// Length of the multicast network: 224.0.0.0/4, ff00::/8.
        const MULTICAST_LEN: u8;
        /// As an address.
        fn ip(self) -> IpAddr;
        /// From an address of this family.
        fn from_ip(ip: IpAddr) -> Option<Self>;
        /// Within the multicast network.
        fn is_multicast(self) -> bool;
    }
}

/// IPv4 unicast (AFI 1, SAFI 1).
pub type Ipv4Unicast = Unicast<4>;
/// IPv6 unicast (AFI 2, SAFI 1).
pub type Ipv6Unicast = Unicast<16>;

/// What a family's NLRI looks like on the wire and as a table key.
pub trait Nlri: Sized + Send + Sync + 'static {
    /// The family.
    const FAMILY: Family;
    /// The table key: what two routes must share to be routes to the same destination.
    type Key: Copy + Eq + Ord + Hash + fmt::Debug + fmt::Display + Send + Sync + 'static;

    /// Decodes one NLRI without its path identifier (RFC 7911 §3 puts that before it).
    fn decode(cursor: &mut Cursor<'_>) -> Result<Self::Key, NlriFault>;
    /// Appends the encoding of `key`.
    fn encode(key: &Self::Key, out: &mut Vec<u8>);
    /// Octets that [`Nlri::encode`] appends.
    fn encoded_len(key: &Self::Key) -> usize;
    /// The IP prefix that the route is about, for filters and for people.
    fn prefix(key: &Self::Key) -> IpNet;
    /// The key of an IP prefix, where the family has one. Host bits must be zero.
    fn from_prefix(prefix: IpNet) -> Option<Self::Key>;
    /// Whether a route to the prefix can be used: not those within the multicast addresses, which have families of
    /// their own (RFC 4271 §6.3, semantically incorrect).
    fn is_routable(key: &Self::Key) -> bool;
    /// A value that is equal for prefixes that should share a partition: the covering /16 (IPv4)
    /// or /48 (IPv6), mixed: all its bits are equally good.
    fn partition(key: &Self::Key) -> u64;
}

/// Why an NLRI field cannot be parsed (RFC 7606 §5.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NlriFault {
    /// The prefix length is larger than the family's addresses have bits.
    #[error("prefix length {0} is over the family's maximum")]
    PrefixLength(u8),
    /// The field ends inside an NLRI.
    #[error("NLRI field ends inside a prefix")]
    Overrun,
}
