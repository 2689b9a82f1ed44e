//! UPDATE messages (RFC 4271 §4.3, RFC 4760, RFC 7606).
//!
//! ```text
//!  withdrawn length (2) | withdrawn NLRI | attributes length (2) | attributes | NLRI
//! ```
//!
//! A [`Decoder`] checks a whole message in one pass, says by RFC 7606 what is to be done about what is wrong, and
//! gives the attributes in canonical form; nothing is allocated once its buffers are warm. An [`UpdateEncoder`] writes.

mod decode;
mod encode;
mod fault;
mod merge;

use std::fmt;
use std::marker::PhantomData;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::attribute::AttributeBlock;
use crate::cursor::Cursor;
use crate::nlri::NlriFault;
use crate::{Family, Nlri};

pub use decode::Decoder;
pub use encode::{TooLarge, UpdateEncoder};
pub use fault::{Fault, FaultAction, FaultReason, ResetFault};

/// A destination and, with ADD-PATH, which of the peer's paths to it (RFC 7911 §3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PathKey<K> {
    /// The destination.
    pub key: K,
    /// Path identifier; 0 where ADD-PATH is not negotiated.
    pub path_id: u32,
}

/// An NLRI field that has been checked: iteration cannot fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NlriBlock<'a> {
    family: Family,
    add_path: bool,
    bytes: &'a [u8],
}

impl<'a> NlriBlock<'a> {
    /// An empty field.
    #[must_use]
    pub fn empty(family: Family) -> Self {
        Self { family, add_path: false, bytes: &[] }
    }

    /// Checks a field.
    fn checked<N: Nlri>(bytes: &'a [u8], add_path: bool) -> Result<Self, NlriFault> {
        let mut cursor = Cursor::new(bytes);
        while !cursor.is_empty() {
            next::<N>(&mut cursor, add_path)?;
        }
        Ok(Self { family: N::FAMILY, add_path, bytes })
    }

    /// The family.
    #[must_use]
    pub fn family(&self) -> Family {
        self.family
    }

    /// Whether each NLRI has a path identifier.
    #[must_use]
    pub fn add_path(&self) -> bool {
        self.add_path
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The field as received.
    #[must_use]
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The NLRI in order. `N` must be of the block's family, else there are none.
    #[must_use]
    pub fn iter<N: Nlri>(&self) -> NlriIter<'a, N> {
        debug_assert_eq!(N::FAMILY, self.family);
        let bytes = if N::FAMILY == self.family { self.bytes } else { &[] };
        NlriIter { cursor: Cursor::new(bytes), add_path: self.add_path, family: PhantomData }
    }
}

/// Iterates over a checked NLRI field.
pub struct NlriIter<'a, N> {
    cursor: Cursor<'a>,
    add_path: bool,
    family: PhantomData<N>,
}

impl<N: Nlri> Iterator for NlriIter<'_, N> {
    type Item = PathKey<N::Key>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.cursor.is_empty() {
            return None;
        }
        next::<N>(&mut self.cursor, self.add_path).ok()
    }
}

fn next<N: Nlri>(cursor: &mut Cursor<'_>, add_path: bool) -> Result<PathKey<N::Key>, NlriFault> {
    let path_id = if add_path { cursor.u32().map_err(|_| NlriFault::Overrun)? } else { 0 };
    Ok(PathKey { key: N::decode(cursor)?, path_id })
}

/// Where packets go.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum NextHop {
    /// An IPv4 address.
    V4(Ipv4Addr),
    /// An IPv6 address, and the link-local one that may come with it (RFC 2545 §3).
    V6 {
        /// The global address; the link-local one where it came alone.
        global: Ipv6Addr,
        /// The link-local address.
        link_local: Option<Ipv6Addr>,
    },
}

impl NextHop {
    /// The address; of two the global one.
    #[must_use]
    pub fn addr(&self) -> IpAddr {
        match self {
            Self::V4(address) => IpAddr::V4(*address),
            Self::V6 { global, .. } => IpAddr::V6(*global),
        }
    }

    /// Whether it is the address of a host (RFC 4271 §6.3).
    #[must_use]
    pub fn is_host(&self) -> bool {
        match self {
            // Not 0.0.0.0/8, 127.0.0.0/8 and, from 224.0.0.0 up, classes D and E.
            Self::V4(address) => !matches!(address.octets(), [0 | 127 | 224.., ..]),
            Self::V6 { global, .. } => !(global.is_unspecified() || global.is_loopback() || global.is_multicast()),
        }
    }
}

impl fmt::Display for NextHop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.addr().fmt(f)
    }
}

/// What the session negotiated, as far as decoding depends on it.
#[derive(Debug, Clone, Default)]
pub struct DecodeContext {
    /// eBGP session.
    pub external: bool,
    /// AS numbers have four octets (RFC 6793).
    pub four_octet_as: bool,
    /// Families negotiated.
    pub families: Vec<Family>,
    /// Those of them whose NLRI come with path identifiers (RFC 7911).
    pub add_path: Vec<Family>,
    /// Those of them that may have an IPv6 next hop though they are IPv4 (RFC 8950).
    pub extended_next_hop: Vec<Family>,
    /// AS_SET is a fault (RFC 9774).
    pub reject_as_sets: bool,
}

/// MP_REACH_NLRI (RFC 4760 §3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MpReach<'a> {
    /// Next hop of all its routes.
    pub next_hop: NextHop,
    /// Its routes.
    pub nlri: NlriBlock<'a>,
}

/// One UPDATE, checked.
#[derive(Debug)]
pub struct Update<'a> {
    /// IPv4 unicast routes withdrawn.
    pub withdrawn: NlriBlock<'a>,
    /// IPv4 unicast routes announced with `next_hop`.
    pub nlri: NlriBlock<'a>,
    /// Routes announced in MP_REACH_NLRI.
    pub mp_reach: Option<MpReach<'a>>,
    /// Routes withdrawn in MP_UNREACH_NLRI.
    pub mp_unreach: Option<NlriBlock<'a>>,
    /// NEXT_HOP.
    pub next_hop: Option<NextHop>,
    /// All other attributes.
    pub attributes: AttributeBlock<'a>,
    /// The routes announced are to be treated as withdrawn (RFC 7606 §2).
    pub treat_as_withdraw: bool,
    /// The family cannot be used any more on this session (RFC 7606 §2, "AFI/SAFI disable").
    pub disable: Option<Family>,
    /// All that is wrong with the message.
    pub faults: &'a [Fault],
    /// There is no attribute but MP_UNREACH_NLRI, not even one that is ignored.
    pub(crate) bare: bool,
}

impl Update<'_> {
    /// The family whose End-of-RIB marker this is (RFC 4724 §2).
    #[must_use]
    pub fn end_of_rib(&self) -> Option<Family> {
        let nothing = self.bare && self.withdrawn.is_empty() && self.nlri.is_empty() && self.faults.is_empty();
        match self.mp_unreach {
            _ if !nothing => None,
            None => Some(Family::IPV4_UNICAST),
            Some(unreach) => unreach.is_empty().then_some(unreach.family()),
        }
    }
}
