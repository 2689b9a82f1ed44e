//! IP prefixes as NLRI: `length (1 octet, in bits) | prefix (the octets needed)`, RFC 4271 §4.3.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::{Nlri, NlriFault, sealed::Address};
use crate::Family;
use crate::cursor::Cursor;

/// An IP prefix of `N` address octets with host bits zero: 5 octets for IPv4, 17 for IPv6.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Prefix<const N: usize> {
    bytes: [u8; N],
    len: u8,
}

/// Unicast NLRI over addresses of `N` octets.
pub struct Unicast<const N: usize>;

impl<const N: usize> Prefix<N> {
    /// The prefix of `len` bits; bits behind it are set to zero. `len` is cut to the address's bits.
    #[must_use]
    pub fn new(bytes: [u8; N], len: u8) -> Self {
        let bits = N as u8 * 8;
        let len = len.min(bits);
        // In one number instead of octet by octet: this is done for every route.
        let host = u128::MAX.checked_shr(u32::from(128 - bits + len)).unwrap_or(0);
        Self { bytes: narrow(wide(bytes) & !host), len }
    }

    /// The address, host bits zero.
    #[must_use]
    pub fn bytes(&self) -> &[u8; N] {
        &self.bytes
    }

    /// The prefix length in bits.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a prefix length, not a number of elements")]
    pub fn len(&self) -> u8 {
        self.len
    }

    fn octets(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len.div_ceil(8))).unwrap_or(&self.bytes)
    }

    /// The address as one number, for hashing: at most 16 octets.
    fn wide(&self) -> u128 {
        wide(self.bytes)
    }
}

/// At most 16 octets as one number.
fn wide<const N: usize>(bytes: [u8; N]) -> u128 {
    let mut wide = [0; 16];
    if let Some(end) = wide.last_chunk_mut() {
        *end = bytes;
    }
    u128::from_be_bytes(wide)
}

/// The last octets of a number.
fn narrow<const N: usize>(wide: u128) -> [u8; N] {
    wide.to_be_bytes().last_chunk().copied().unwrap_or([0; N])
}

impl<const N: usize> Hash for Prefix<N> {
    // Few writes: the hash of a key is taken for every route.
    fn hash<H: Hasher>(&self, state: &mut H) {
        let wide = self.wide();
        if N <= 4 {
            state.write_u64((wide as u64) << 8 | u64::from(self.len));
        } else {
            state.write_u64((wide >> 64) as u64);
            state.write_u64(wide as u64);
            state.write_u8(self.len);
        }
    }
}

impl Address for [u8; 4] {
    const FAMILY: Family = Family::IPV4_UNICAST;
    const SHARED: u8 = 16;
    const MULTICAST_LEN: u8 = 4;

    fn ip(self) -> IpAddr {
        IpAddr::V4(Ipv4Addr::from(self))
    }

    fn from_ip(ip: IpAddr) -> Option<Self> {
        match ip {
            IpAddr::V4(address) => Some(address.octets()),
            IpAddr::V6(_) => None,
        }
    }

    fn is_multicast(self) -> bool {
        matches!(self, [224..=239, ..])
    }
}

impl Address for [u8; 16] {
    const FAMILY: Family = Family::IPV6_UNICAST;
    const SHARED: u8 = 48;
    const MULTICAST_LEN: u8 = 8;

    fn ip(self) -> IpAddr {
        IpAddr::V6(Ipv6Addr::from(self))
    }

    fn from_ip(ip: IpAddr) -> Option<Self> {
        match ip {
            IpAddr::V4(_) => None,
            IpAddr::V6(address) => Some(address.octets()),
        }
    }

    fn is_multicast(self) -> bool {
        matches!(self, [0xff, ..])
    }
}

impl<const N: usize> From<Prefix<N>> for IpNet
where
    [u8; N]: Address,
{
    fn from(prefix: Prefix<N>) -> Self {
        let ip = prefix.bytes.ip();
        // The length of a `Prefix` is never over what its address has; a host route is the nearest that always is.
        IpNet::new(ip, prefix.len).unwrap_or_else(|_| Self::from(ip))
    }
}

impl<const N: usize> fmt::Display for Prefix<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let wide = self.wide();
        let text = if N <= 4 {
            format!("{}/{}", Ipv4Addr::from(wide as u32), self.len)
        } else {
            format!("{}/{}", Ipv6Addr::from(wide), self.len)
        };
        f.pad(&text)
    }
}

impl<const N: usize> fmt::Debug for Prefix<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<const N: usize> Nlri for Unicast<N>
where
    [u8; N]: Address,
{
    const FAMILY: Family = <[u8; N] as Address>::FAMILY;
    type Key = Prefix<N>;

    fn decode(cursor: &mut Cursor<'_>) -> Result<Self::Key, NlriFault> {
        let len = cursor.u8().map_err(|_| NlriFault::Overrun)?;
        if usize::from(len) > N * 8 {
            return Err(NlriFault::PrefixLength(len));
        }
        // All octets of an address are taken where they are there, which they are but at the end of a message.
        let whole = cursor.rest().first_chunk().copied();
        let octets = cursor.take(usize::from(len.div_ceil(8))).map_err(|_| NlriFault::Overrun)?;
        let bytes = whole.unwrap_or_else(|| {
            let mut bytes = [0; N];
            bytes.iter_mut().zip(octets).for_each(|(to, from)| *to = *from);
            bytes
        });
        // RFC 4271 §4.3: the value of bits behind the prefix is irrelevant.
        Ok(Prefix::new(bytes, len))
    }

    fn encode(key: &Self::Key, out: &mut Vec<u8>) {
        out.push(key.len);
        out.extend_from_slice(key.octets());
    }

    fn encoded_len(key: &Self::Key) -> usize {
        1 + key.octets().len()
    }

    fn prefix(key: &Self::Key) -> IpNet {
        (*key).into()
    }

    fn from_prefix(prefix: IpNet) -> Option<Self::Key> {
        Address::from_ip(prefix.network()).map(|bytes| Prefix::new(bytes, prefix.prefix_len()))
    }

    fn is_routable(key: &Self::Key) -> bool {
        // Shorter prefixes than the multicast networks hold other addresses as well.
        key.len < <[u8; N] as Address>::MULTICAST_LEN || !key.bytes.is_multicast()
    }

    fn partition(key: &Self::Key) -> u64 {
        let covering = Prefix::new(key.bytes, key.len.min(<[u8; N] as Address>::SHARED));
        let wide = covering.wide();
        // The finalizer of splitmix64: neighboring networks go to different partitions.
        let mut mixed = (wide >> 64) as u64 ^ wide as u64;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }
}
