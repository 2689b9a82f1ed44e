//! Capabilities (RFC 5492): what a speaker says of itself in OPEN.

use std::fmt;

use crate::Family;
use crate::cursor::{Cursor, Overrun};
use crate::text::printable;

/// Capability codes (the IANA registry).
mod code {
    pub(super) const MULTIPROTOCOL: u8 = 1;
    pub(super) const ROUTE_REFRESH: u8 = 2;
    pub(super) const EXTENDED_NEXT_HOP: u8 = 5;
    pub(super) const EXTENDED_MESSAGE: u8 = 6;
    pub(super) const ROLE: u8 = 9;
    pub(super) const GRACEFUL_RESTART: u8 = 64;
    pub(super) const FOUR_OCTET_AS: u8 = 65;
    pub(super) const ADD_PATH: u8 = 69;
    pub(super) const ENHANCED_ROUTE_REFRESH: u8 = 70;
    pub(super) const LONG_LIVED_GRACEFUL_RESTART: u8 = 71;
    pub(super) const FQDN: u8 = 73;
    pub(super) const ROUTE_REFRESH_BEFORE_RFC: u8 = 128;
}

/// One capability. Unknown ones are kept as they came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Capability {
    /// Multiprotocol extensions, code 1 (RFC 4760 §8).
    Multiprotocol(Family),
    /// Route refresh, code 2 (RFC 2918).
    RouteRefresh,
    /// Extended next hop encoding, code 5 (RFC 8950 §4): family and next-hop AFI.
    ExtendedNextHop(Vec<(Family, u16)>),
    /// Extended messages, code 6 (RFC 8654).
    ExtendedMessage,
    /// BGP role, code 9 (RFC 9234 §4.1).
    Role(u8),
    /// Graceful restart, code 64 (RFC 4724 §3, RFC 8538 §2).
    GracefulRestart(GracefulRestart),
    /// 4-octet AS number, code 65 (RFC 6793 §3).
    FourOctetAs(u32),
    /// ADD-PATH, code 69 (RFC 7911 §4).
    AddPath(Vec<(Family, AddPathMode)>),
    /// Enhanced route refresh, code 70 (RFC 7313 §3.1).
    EnhancedRouteRefresh,
    /// Long-lived graceful restart, code 71 (RFC 9494 §3.1): family, forwarding state kept, stale time in seconds.
    LongLivedGracefulRestart(Vec<(Family, bool, u32)>),
    /// FQDN, code 73: host name and domain name.
    Fqdn(String, String),
    /// Anything else.
    Unknown {
        /// Capability code.
        code: u8,
        /// Its value.
        value: Vec<u8>,
    },
}

/// Graceful restart capability (RFC 4724 §3).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GracefulRestart {
    /// The R bit: the sender has restarted.
    pub restarting: bool,
    /// The N bit: GR also after NOTIFICATION (RFC 8538 §2).
    pub notification: bool,
    /// Restart time, 0 to 4095 seconds.
    pub restart_seconds: u16,
    /// Families and whether their forwarding state was kept.
    pub families: Vec<(Family, bool)>,
}

/// What a speaker can do with ADD-PATH in a family (RFC 7911 §4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AddPathMode {
    /// Can receive several paths.
    pub receive: bool,
    /// Can send several paths.
    pub send: bool,
}

impl Capability {
    /// Decodes one capability's value. One that is malformed is kept as it came: RFC 5492 has no error for it, and
    /// it must not count as offered.
    #[must_use]
    pub fn decode(code: u8, value: &[u8]) -> Self {
        let mut cursor = Cursor::new(value);
        match Self::known(code, &mut cursor) {
            Ok(Some(capability)) if cursor.is_empty() => capability,
            _ => Self::Unknown { code, value: value.to_vec() },
        }
    }

    fn known(code: u8, cursor: &mut Cursor<'_>) -> Result<Option<Self>, Overrun> {
        Ok(Some(match code {
            code::MULTIPROTOCOL => {
                let (afi, _reserved, safi) = (cursor.u16()?, cursor.u8()?, cursor.u8()?);
                Self::Multiprotocol(Family { afi, safi })
            }
            code::ROUTE_REFRESH => Self::RouteRefresh,
            code::EXTENDED_NEXT_HOP => return extended_next_hop(cursor),
            code::EXTENDED_MESSAGE => Self::ExtendedMessage,
            code::ROLE => Self::Role(cursor.u8()?),
            code::GRACEFUL_RESTART => Self::GracefulRestart(GracefulRestart::decode(cursor)?),
            code::FOUR_OCTET_AS => Self::FourOctetAs(cursor.u32()?),
            code::ADD_PATH => return add_path(cursor),
            code::ENHANCED_ROUTE_REFRESH => Self::EnhancedRouteRefresh,
            code::LONG_LIVED_GRACEFUL_RESTART => Self::LongLivedGracefulRestart(list(cursor, |cursor| {
                let (family, flags) = (family(cursor)?, cursor.u8()?);
                let time = [cursor.u8()?, cursor.u8()?, cursor.u8()?];
                Ok((family, flags & 0x80 != 0, u32::from_be_bytes([0, time[0], time[1], time[2]])))
            })?),
            code::FQDN => Self::Fqdn(text(cursor)?, text(cursor)?),
            _ => return Ok(None),
        }))
    }

    /// Appends `code | length | value`. A value of more than 255 octets cannot be sent and is cut at whole entries by
    /// whoever builds it; here it is cut bluntly so that what follows stays readable.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&[self.code(), 0]);
        let start = out.len();
        self.encode_value(out);
        out.truncate(start + 255);
        let len = (out.len() - start) as u8;
        if let Some(field) = out.get_mut(start - 1) {
            *field = len;
        }
    }

    fn encode_value(&self, out: &mut Vec<u8>) {
        match self {
            Self::RouteRefresh | Self::ExtendedMessage | Self::EnhancedRouteRefresh => {}
            Self::Multiprotocol(family) => {
                out.extend_from_slice(&family.afi.to_be_bytes());
                out.extend_from_slice(&[0, family.safi]);
            }
            Self::ExtendedNextHop(entries) => {
                for (family, next_hop_afi) in entries {
                    out.extend_from_slice(&family.afi.to_be_bytes());
                    out.extend_from_slice(&u16::from(family.safi).to_be_bytes());
                    out.extend_from_slice(&next_hop_afi.to_be_bytes());
                }
            }
            Self::Role(role) => out.push(*role),
            Self::GracefulRestart(restart) => restart.encode(out),
            Self::FourOctetAs(asn) => out.extend_from_slice(&asn.to_be_bytes()),
            Self::AddPath(entries) => {
                for (family, mode) in entries {
                    put_family(out, *family);
                    out.push(u8::from(mode.receive) | u8::from(mode.send) << 1);
                }
            }
            Self::LongLivedGracefulRestart(entries) => {
                for (family, kept, seconds) in entries {
                    put_family(out, *family);
                    let [_, high, middle, low] = seconds.to_be_bytes();
                    out.extend_from_slice(&[u8::from(*kept) << 7, high, middle, low]);
                }
            }
            Self::Fqdn(host, domain) => {
                for name in [host, domain] {
                    let name = name.as_bytes();
                    let name = name.get(..64).unwrap_or(name);
                    out.push(name.len() as u8);
                    out.extend_from_slice(name);
                }
            }
            Self::Unknown { value, .. } => out.extend_from_slice(value),
        }
    }

    /// The capability code.
    #[must_use]
    pub fn code(&self) -> u8 {
        match self {
            Self::Multiprotocol(_) => code::MULTIPROTOCOL,
            Self::RouteRefresh => code::ROUTE_REFRESH,
            Self::ExtendedNextHop(_) => code::EXTENDED_NEXT_HOP,
            Self::ExtendedMessage => code::EXTENDED_MESSAGE,
            Self::Role(_) => code::ROLE,
            Self::GracefulRestart(_) => code::GRACEFUL_RESTART,
            Self::FourOctetAs(_) => code::FOUR_OCTET_AS,
            Self::AddPath(_) => code::ADD_PATH,
            Self::EnhancedRouteRefresh => code::ENHANCED_ROUTE_REFRESH,
            Self::LongLivedGracefulRestart(_) => code::LONG_LIVED_GRACEFUL_RESTART,
            Self::Fqdn(..) => code::FQDN,
            Self::Unknown { code, .. } => *code,
        }
    }
}

impl GracefulRestart {
    fn decode(cursor: &mut Cursor<'_>) -> Result<Self, Overrun> {
        let head = cursor.u16()?;
        let families = list(cursor, |cursor| Ok((family(cursor)?, cursor.u8()? & 0x80 != 0)))?;
        Ok(Self {
            restarting: head & 0x8000 != 0,
            notification: head & 0x4000 != 0,
            restart_seconds: head & 0x0fff,
            families,
        })
    }

    fn encode(&self, out: &mut Vec<u8>) {
        let flags = u16::from(self.restarting) << 15 | u16::from(self.notification) << 14;
        out.extend_from_slice(&(flags | self.restart_seconds & 0x0fff).to_be_bytes());
        for (family, kept) in &self.families {
            put_family(out, *family);
            out.push(u8::from(*kept) << 7);
        }
    }
}

fn family(cursor: &mut Cursor<'_>) -> Result<Family, Overrun> {
    Ok(Family { afi: cursor.u16()?, safi: cursor.u8()? })
}

fn put_family(out: &mut Vec<u8>, family: Family) {
    out.extend_from_slice(&family.afi.to_be_bytes());
    out.push(family.safi);
}

fn list<T>(
    cursor: &mut Cursor<'_>,
    mut entry: impl FnMut(&mut Cursor<'_>) -> Result<T, Overrun>,
) -> Result<Vec<T>, Overrun> {
    let mut entries = Vec::new();
    while !cursor.is_empty() {
        entries.push(entry(cursor)?);
    }
    Ok(entries)
}

/// RFC 8950 §4: the SAFI has two octets here; an entry with one that needs them is of no family that there is.
fn extended_next_hop(cursor: &mut Cursor<'_>) -> Result<Option<Capability>, Overrun> {
    let entries = list(cursor, |cursor| Ok((cursor.u16()?, cursor.u16()?, cursor.u16()?)))?;
    let known = entries.into_iter().filter_map(|(afi, safi, next_hop_afi)| {
        let safi = u8::try_from(safi).ok()?;
        Some((Family { afi, safi }, next_hop_afi))
    });
    Ok(Some(Capability::ExtendedNextHop(known.collect())))
}

/// RFC 7911 §4: an entry with another Send/Receive value than 1, 2 or 3 is ignored.
fn add_path(cursor: &mut Cursor<'_>) -> Result<Option<Capability>, Overrun> {
    let entries = list(cursor, |cursor| Ok((family(cursor)?, cursor.u8()?)))?;
    let known = entries.into_iter().filter(|(_, mode)| (1..=3).contains(mode));
    let entries = known.map(|(family, mode)| (family, AddPathMode { receive: mode & 1 != 0, send: mode & 2 != 0 }));
    Ok(Some(Capability::AddPath(entries.collect())))
}

fn text(cursor: &mut Cursor<'_>) -> Result<String, Overrun> {
    let len = cursor.u8()?;
    Ok(printable(cursor.take(len.into())?))
}

fn join<T>(entries: &[T], text: impl Fn(&T) -> String) -> String {
    entries.iter().map(text).collect::<Vec<_>>().join(", ")
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Multiprotocol(family) => write!(f, "multiprotocol {family}"),
            Self::RouteRefresh => f.write_str("route-refresh"),
            Self::ExtendedNextHop(entries) => {
                let entries = join(entries, |(family, afi)| format!("{family} with AFI {afi}"));
                write!(f, "extended-next-hop {entries}")
            }
            Self::ExtendedMessage => f.write_str("extended-message"),
            Self::Role(role) => {
                let name = ["provider", "route server", "route server client", "customer", "peer"];
                write!(f, "role {}", name.get(usize::from(*role)).unwrap_or(&"unknown"))
            }
            Self::GracefulRestart(restart) => restart.fmt(f),
            Self::FourOctetAs(asn) => write!(f, "4-octet-as {asn}"),
            Self::AddPath(entries) => {
                let entries = join(entries, |(family, mode)| match (mode.send, mode.receive) {
                    (true, true) => format!("{family} send/receive"),
                    (true, false) => format!("{family} send"),
                    (false, _) => format!("{family} receive"),
                });
                write!(f, "add-path {entries}")
            }
            Self::EnhancedRouteRefresh => f.write_str("enhanced-route-refresh"),
            // A peer that keeps our routes, but asks us to keep none of its own.
            Self::LongLivedGracefulRestart(entries) if entries.is_empty() => {
                f.write_str("long-lived-graceful-restart, no family")
            }
            Self::LongLivedGracefulRestart(entries) => {
                let entries = join(entries, |(family, _, seconds)| format!("{family} {seconds} s"));
                write!(f, "long-lived-graceful-restart {entries}")
            }
            Self::Fqdn(host, domain) if domain.is_empty() => write!(f, "fqdn {host}"),
            Self::Fqdn(host, domain) => write!(f, "fqdn {host}.{domain}"),
            Self::Unknown { code: code::ROUTE_REFRESH_BEFORE_RFC, value } if value.is_empty() => {
                f.write_str("route-refresh (code 128, from before RFC 2918)")
            }
            Self::Unknown { code, value } => {
                write!(f, "unknown capability {code}")?;
                value
                    .iter()
                    .enumerate()
                    .try_for_each(|(at, octet)| write!(f, "{}{octet:02x}", if at == 0 { " 0x" } else { "" }))
            }
        }
    }
}

impl fmt::Display for GracefulRestart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "graceful-restart {} s", self.restart_seconds)?;
        if self.restarting {
            f.write_str(", restarting")?;
        }
        if self.notification {
            f.write_str(", notification")?;
        }
        self.families.iter().try_for_each(|(family, kept)| {
            write!(f, ", {family}{}", if *kept { " (forwarding state kept)" } else { "" })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_capability_without_families_says_so() {
        let none = Capability::LongLivedGracefulRestart(Vec::new());
        assert_eq!(none.to_string(), "long-lived-graceful-restart, no family");
        let one = Capability::LongLivedGracefulRestart(vec![(Family::IPV4_UNICAST, true, 60)]);
        assert_eq!(one.to_string(), "long-lived-graceful-restart ipv4-unicast 60 s");
    }
}
