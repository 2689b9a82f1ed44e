//! Keys that the TCP connections of a neighbor are signed with.

use std::collections::BTreeMap;
use std::fmt;

use ipnet::IpNet;

use super::{DynamicNeighbors, Secret};

/// All keys of a neighbor or of a range. One of the two kinds at most.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Keys {
    /// TCP-MD5 (RFC 2385).
    pub md5: Option<Secret>,
    /// TCP-AO (RFC 5925). The first one is sent with until the peer asks for another.
    pub ao: Vec<AoKey>,
}

impl Keys {
    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.md5.is_none() && self.ao.is_empty()
    }
}

/// The longest range with keys that contains addresses. Linux asks whoever has one of them for the key of that range, if
/// there is none for the address itself: an unsigned SYN is dropped.
#[must_use]
pub fn signed_range(ranges: &BTreeMap<IpNet, DynamicNeighbors>, addresses: &IpNet) -> Option<IpNet> {
    let is_signed = |range: &&DynamicNeighbors| range.prefix.contains(addresses) && !range.settings.keys().is_empty();
    ranges.values().filter(is_signed).map(|range| range.prefix).max_by_key(IpNet::prefix_len)
}

/// A Master Key Tuple (RFC 5925 §3.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AoKey {
    /// KeyID of what is sent.
    pub send_id: u8,
    /// KeyID of what is received.
    pub receive_id: u8,
    /// How segments are signed.
    pub algorithm: AoAlgorithm,
    /// The master key.
    pub key: Secret,
}

/// What RFC 5926 §3 knows, with a MAC of 96 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum AoAlgorithm {
    /// HMAC-SHA-1-96.
    HmacSha1,
    /// AES-128-CMAC-96.
    Aes128Cmac,
}

impl AoAlgorithm {
    /// All of them, with the words for them.
    pub const NAMES: [(&'static str, Self); 2] =
        [("hmac-sha-1-96", Self::HmacSha1), ("aes-128-cmac-96", Self::Aes128Cmac)];
}

impl fmt::Display for AoAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::HmacSha1 => "hmac-sha-1-96",
            Self::Aes128Cmac => "aes-128-cmac-96",
        })
    }
}
