//! Address families (RFC 4760 §3, the IANA AFI and SAFI registries).

use std::fmt;
use std::str::FromStr;

use ipnet::IpNet;

/// An address family: AFI and SAFI as they stand on the wire (RFC 4760 §3).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Family {
    /// Address Family Identifier.
    pub afi: u16,
    /// Subsequent Address Family Identifier.
    pub safi: u8,
}

impl Family {
    /// IPv4 unicast, AFI 1 SAFI 1.
    pub const IPV4_UNICAST: Self = Self { afi: 1, safi: 1 };
    /// IPv6 unicast, AFI 2 SAFI 1.
    pub const IPV6_UNICAST: Self = Self { afi: 2, safi: 1 };

    /// The unicast family that a prefix is of.
    #[must_use]
    pub fn unicast_of(prefix: IpNet) -> Self {
        if prefix.addr().is_ipv4() { Self::IPV4_UNICAST } else { Self::IPV6_UNICAST }
    }

    const NAMES: [(Self, &'static str); 2] =
        [(Self::IPV4_UNICAST, "ipv4-unicast"), (Self::IPV6_UNICAST, "ipv6-unicast")];
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Self::NAMES.iter().find(|(family, _)| family == self) {
            Some((_, name)) => f.pad(name),
            None => write!(f, "afi {} safi {}", self.afi, self.safi),
        }
    }
}

impl fmt::Debug for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not the name of an address family.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown address family \"{0}\", expected \"ipv4-unicast\" or \"ipv6-unicast\"")]
pub struct UnknownFamily(pub String);

impl FromStr for Family {
    type Err = UnknownFamily;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::NAMES
            .iter()
            .find(|(_, name)| *name == text)
            .map(|(family, _)| *family)
            .ok_or_else(|| UnknownFamily(text.to_owned()))
    }
}
