//! IP prefixes as NLRI: `length (1 octet, in bits) | prefix (the octets needed)`, RFC 4271 §4.3.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::{Nlri, NlriFault};
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
