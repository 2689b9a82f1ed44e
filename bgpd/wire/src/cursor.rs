//! A reader over received octets that knows where it is.

use std::net::{Ipv4Addr, Ipv6Addr};

/// Fewer octets are left than were asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{wanted} octets needed, {left} left")]
pub struct Overrun {
    /// Octets asked for.
    pub wanted: usize,
    /// Octets there.
    pub left: usize,
}

/// A position in received octets.
#[derive(Debug, Clone)]
pub struct Cursor<'a> {
    rest: &'a [u8],
    total: usize,
}

impl<'a> Cursor<'a> {
    /// At the beginning of `bytes`.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, total: bytes.len() }
    }

    /// Octets read so far.
    #[must_use]
    pub fn offset(&self) -> usize {
        self.total - self.rest.len()
    }

    /// Octets that are left.
    #[must_use]
    pub fn left(&self) -> usize {
        self.rest.len()
    }

    /// Nothing is left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// All that is left.
    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The next `count` octets.
    ///
    /// # Errors
    /// When fewer are left; then nothing is read.
    pub fn take(&mut self, count: usize) -> Result<&'a [u8], Overrun> {
        let Some((taken, rest)) = self.rest.split_at_checked(count) else {
            return Err(Overrun { wanted: count, left: self.rest.len() });
        };
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Overrun> {
        let Some((taken, rest)) = self.rest.split_first_chunk::<N>() else {
            return Err(Overrun { wanted: N, left: self.rest.len() });
        };
        self.rest = rest;
        Ok(*taken)
    }

    /// One octet.
    ///
    /// # Errors
    /// When none is left.
    pub fn u8(&mut self) -> Result<u8, Overrun> {
        self.array::<1>().map(|[octet]| octet)
    }

    /// Two octets in network order.
    ///
    /// # Errors
    /// When fewer are left.
    pub fn u16(&mut self) -> Result<u16, Overrun> {
        self.array().map(u16::from_be_bytes)
    }

    /// Four octets in network order.
    ///
    /// # Errors
    /// When fewer are left.
    pub fn u32(&mut self) -> Result<u32, Overrun> {
        self.array().map(u32::from_be_bytes)
    }

    /// An IPv4 address.
    ///
    /// # Errors
    /// When fewer than 4 octets are left.
    pub fn ipv4(&mut self) -> Result<Ipv4Addr, Overrun> {
        self.array::<4>().map(Ipv4Addr::from)
    }

    /// An IPv6 address.
    ///
    /// # Errors
    /// When fewer than 16 octets are left.
    pub fn ipv6(&mut self) -> Result<Ipv6Addr, Overrun> {
        self.array::<16>().map(Ipv6Addr::from)
    }
}
