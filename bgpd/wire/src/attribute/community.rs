//! Communities: standard (RFC 1997), extended (RFC 4360, RFC 5668), IPv6-extended (RFC 5701), large (RFC 8092).

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// A standard community (RFC 1997).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Community(pub u32);

/// The text is not a community.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{text}\" is not {expected}")]
pub struct UnknownCommunity {
    text: String,
    expected: &'static str,
}

impl Community {
    /// Graceful shutdown (RFC 8326).
    pub const GRACEFUL_SHUTDOWN: Self = Self(0xffff_0000);
    /// Accept own (RFC 7611).
    pub const ACCEPT_OWN: Self = Self(0xffff_0001);
    /// Long-lived stale (RFC 9494).
    pub const LLGR_STALE: Self = Self(0xffff_0006);
    /// Not to be kept as long-lived stale (RFC 9494).
    pub const NO_LLGR: Self = Self(0xffff_0007);
    /// Blackhole (RFC 7999).
    pub const BLACKHOLE: Self = Self(0xffff_029a);
    /// Not to eBGP peers (RFC 1997).
    pub const NO_EXPORT: Self = Self(0xffff_ff01);
    /// To nobody (RFC 1997).
    pub const NO_ADVERTISE: Self = Self(0xffff_ff02);
    /// Not to other confederation members either (RFC 1997).
    pub const NO_EXPORT_SUBCONFED: Self = Self(0xffff_ff03);
    /// Not to bilateral peers (RFC 3765).
    pub const NO_PEER: Self = Self(0xffff_ff04);

    const NAMES: [(Self, &'static str); 9] = [
        (Self::GRACEFUL_SHUTDOWN, "graceful-shutdown"),
        (Self::ACCEPT_OWN, "accept-own"),
        (Self::LLGR_STALE, "llgr-stale"),
        (Self::NO_LLGR, "no-llgr"),
        (Self::BLACKHOLE, "blackhole"),
        (Self::NO_EXPORT, "no-export"),
        (Self::NO_ADVERTISE, "no-advertise"),
        (Self::NO_EXPORT_SUBCONFED, "no-export-subconfed"),
        (Self::NO_PEER, "no-peer"),
    ];
}

impl fmt::Display for Community {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Self::NAMES.iter().find(|(community, _)| community == self) {
            Some((_, name)) => f.write_str(name),
            None => write!(f, "{}:{}", self.0 >> 16, self.0 & 0xffff),
        }
    }
}

impl FromStr for Community {
    type Err = UnknownCommunity;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some((community, _)) = Self::NAMES.iter().find(|(_, name)| *name == text) {
            return Ok(*community);
        }
        let expected =
            "a community: expected \"65000:100\" with two numbers up to 65535, or a name such as \"no-export\"";
        let parts =
            text.split_once(':').and_then(|(high, low)| Some((high.parse::<u16>().ok()?, low.parse::<u16>().ok()?)));
        match parts {
            Some((high, low)) => Ok(Self(u32::from(high) << 16 | u32::from(low))),
            None => Err(UnknownCommunity { text: text.to_owned(), expected }),
        }
    }
}

/// A large community (RFC 8092).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LargeCommunity {
    /// Global administrator: an AS number.
    pub global: u32,
    /// Local data part 1.
    pub local1: u32,
    /// Local data part 2.
    pub local2: u32,
}

impl fmt::Display for LargeCommunity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.global, self.local1, self.local2)
    }
}

impl FromStr for LargeCommunity {
    type Err = UnknownCommunity;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let expected = "a large community: expected three numbers such as \"65000:1:2\"";
        let unknown = || UnknownCommunity { text: text.to_owned(), expected };
        let parts = text.split(':').map(str::parse).collect::<Result<Vec<u32>, _>>().map_err(|_| unknown())?;
        match parts.as_slice() {
            &[global, local1, local2] => Ok(Self { global, local1, local2 }),
            _ => Err(unknown()),
        }
    }
}

/// An extended community (RFC 4360): type, subtype and value as they stand on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExtendedCommunity(pub [u8; 8]);

/// Subtypes with a name that operators write (RFC 4360 §4, §5).
const EXTENDED_NAMES: [(u8, &str); 2] = [(2, "rt"), (3, "soo")];

impl ExtendedCommunity {
    /// Whether it may be sent to another AS (RFC 4360 §6).
    #[must_use]
    pub const fn is_transitive(&self) -> bool {
        let [kind, ..] = self.0;
        kind & 0x40 == 0
    }
}

impl fmt::Display for ExtendedCommunity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [kind, subtype, a, b, c, d, g, h] = self.0;
        let name = EXTENDED_NAMES.iter().find(|(code, _)| *code == subtype).map(|(_, name)| *name);
        let low = u16::from_be_bytes([g, h]);
        match (kind, name) {
            (0, Some(name)) => {
                let value = u32::from_be_bytes([c, d, g, h]);
                write!(f, "{name}:{}:{value}", u16::from_be_bytes([a, b]))
            }
            (1, Some(name)) => write!(f, "{name}:{}:{low}", Ipv4Addr::new(a, b, c, d)),
            (2, Some(name)) => write!(f, "{name}:{}:{low}", u32::from_be_bytes([a, b, c, d])),
            _ => {
                f.write_str("0x")?;
                self.0.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
            }
        }
    }
}

impl FromStr for ExtendedCommunity {
    type Err = UnknownCommunity;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let expected =
            "an extended community: expected \"rt:65000:100\", \"soo:192.0.2.1:7\" or \"0x\" and 16 hexadecimal digits";
        let parsed = match text.strip_prefix("0x") {
            Some(hex) if hex.len() == 16 && !hex.starts_with('+') => {
                u64::from_str_radix(hex, 16).ok().map(|value| Self(value.to_be_bytes()))
            }
            Some(_) => None,
            None => named(text),
        };
        parsed.ok_or_else(|| UnknownCommunity { text: text.to_owned(), expected })
    }
}

fn named(text: &str) -> Option<ExtendedCommunity> {
    let mut parts = text.split(':');
    let (name, global, local) = (parts.next()?, parts.next()?, parts.next()?);
    let subtype = EXTENDED_NAMES.iter().find(|(_, known)| *known == name).map(|(code, _)| *code)?;
    if parts.next().is_some() {
        return None;
    }
    let join = |kind: u8, global: [u8; 4], local: u16| {
        let [a, b, c, d] = global;
        let [g, h] = local.to_be_bytes();
        ExtendedCommunity([kind, subtype, a, b, c, d, g, h])
    };
    if let Ok(address) = global.parse::<Ipv4Addr>() {
        return Some(join(1, address.octets(), local.parse().ok()?));
    }
    let asn: u32 = global.parse().ok()?;
    match u16::try_from(asn) {
        Ok(short) => {
            let [a, b] = short.to_be_bytes();
            let [c, d, g, h] = local.parse::<u32>().ok()?.to_be_bytes();
            Some(ExtendedCommunity([0, subtype, a, b, c, d, g, h]))
        }
        Err(_) => Some(join(2, asn.to_be_bytes(), local.parse().ok()?)),
    }
}

/// An IPv6-address-specific extended community (RFC 5701).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ipv6ExtendedCommunity(pub [u8; 20]);

impl fmt::Display for Ipv6ExtendedCommunity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [kind, subtype, address @ .., high, low] = self.0;
        let local = u16::from_be_bytes([high, low]);
        let address = Ipv6Addr::from(address);
        match EXTENDED_NAMES.iter().find(|(code, _)| kind == 0 && *code == subtype) {
            Some((_, name)) => write!(f, "{name}:[{address}]:{local}"),
            None => write!(f, "0x{kind:02x}{subtype:02x}:[{address}]:{local}"),
        }
    }
}

impl FromStr for Ipv6ExtendedCommunity {
    type Err = UnknownCommunity;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let expected = "an extended community of an IPv6 address: expected \"rt:[2001:db8::1]:100\"";
        let parsed = || {
            let (name, rest) = text.split_once(":[")?;
            let (address, local) = rest.split_once("]:")?;
            let kind = match name.strip_prefix("0x") {
                Some(hex) if hex.len() == 4 && !hex.starts_with('+') => u16::from_str_radix(hex, 16).ok()?,
                Some(_) => return None,
                None => EXTENDED_NAMES.iter().find(|(_, known)| *known == name).map(|(code, _)| u16::from(*code))?,
            };
            let mut octets = [0; 20];
            let (head, tail) = octets.split_at_mut(2);
            let (middle, end) = tail.split_at_mut(16);
            head.copy_from_slice(&kind.to_be_bytes());
            middle.copy_from_slice(&address.parse::<Ipv6Addr>().ok()?.octets());
            end.copy_from_slice(&local.parse::<u16>().ok()?.to_be_bytes());
            Some(Self(octets))
        };
        parsed().ok_or_else(|| UnknownCommunity { text: text.to_owned(), expected })
    }
}
