//! Single values: what they may be, and what is said when they are not.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use bgp_engine::config::Role;
use bgp_wire::Family;
use bgp_wire::attribute::{Community, LargeCommunity};
use ipnet::IpNet;
use toml::de::DeValue;

use super::reader::{article, nearest};

/// A value that is not what it should be.
pub(super) struct Wrong {
    pub(super) message: String,
    pub(super) help: String,
}

pub(super) fn wrong<T>(message: impl Into<String>, help: impl Into<String>) -> Result<T, Wrong> {
    Err(Wrong { message: message.into(), help: help.into() })
}

/// What can be read from a TOML value.
pub(super) trait FromToml: Sized {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, Wrong>;
}

/// The text of a string, or what to say of something else.
pub(super) fn text<'v>(value: &'v DeValue<'_>, example: &str) -> Result<&'v str, Wrong> {
    match value.as_str() {
        Some(text) => Ok(text),
        None => {
            let found = article(value.type_str());
            wrong(format!("expected a string, found {found}"), format!("write it in quotes, such as \"{example}\""))
        }
    }
}

/// A number; `None` is one that no type of ours can hold.
pub(super) fn integer(value: &DeValue<'_>) -> Result<Option<i64>, Wrong> {
    let Some(integer) = value.as_integer() else {
        let found = article(value.type_str());
        let help = match value.as_str() {
            Some(text) if text.parse::<i64>().is_ok() => format!("write {text} without quotes"),
            Some(_) => "write a number without quotes".to_owned(),
            None => "write a whole number".to_owned(),
        };
        return wrong(format!("expected an integer, found {found}"), help);
    };
    Ok(i64::from_str_radix(integer.as_str(), integer.radix()).ok())
}

impl FromToml for String {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, Wrong> {
        text(value, "text").map(str::to_owned)
    }
}

impl FromToml for bool {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, Wrong> {
        match value.as_bool() {
            Some(value) => Ok(value),
            None => {
                let found = article(value.type_str());
                let help = match value.as_str() {
                    Some("true" | "yes" | "on") => "write true without quotes",
                    Some("false" | "no" | "off") => "write false without quotes",
                    _ => "write true or false",
                };
                wrong(format!("expected true or false, found {found}"), help)
            }
        }
    }
}

/// A number between two bounds.
pub(super) fn bounded<T>(value: &DeValue<'_>, least: T, most: T) -> Result<T, Wrong>
where
    T: TryFrom<i64> + std::fmt::Display + PartialOrd,
{
    let number = integer(value)?;
    match number.map(T::try_from) {
        Some(Ok(number)) if number >= least && number <= most => Ok(number),
        _ => {
            let number = number.map_or("this number".to_owned(), |number| number.to_string());
            wrong(format!("{number} is out of range"), format!("expected {least} to {most}"))
        }
    }
}

impl FromToml for u32 {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, Wrong> {
        bounded(value, 0, u32::MAX)
    }
}

impl FromToml for usize {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, Wrong> {
        bounded(value, 1, 1_000_000)
    }
}

/// A number between two bounds.
pub(super) struct Between<const LEAST: u32, const MOST: u32>(pub(super) u32);

impl<const LEAST: u32, const MOST: u32> FromToml for Between<LEAST, MOST> {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, Wrong> {
        bounded(value, LEAST, MOST).map(Self)
    }
}

/// A TCP port.
pub(super) struct Port(pub(super) u16);

impl FromToml for Port {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, Wrong> {
        bounded(value, 1, u16::MAX).map(Self)
    }
}

/// Seconds, up to an hour.
pub(super) struct Seconds(pub(super) u16);

impl FromToml for Seconds {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, Wrong> {
        bounded(value, 0, 3600).map(Self)
    }
}

impl FromToml for Role {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, Wrong> {
        let text = String::from_toml(value)?;
        named(&text, &["provider", "customer", "peer", "rs", "rs-client"], "role")?;
        text.parse().or_else(|_| wrong(format!("\"{text}\" is not a role"), ""))
    }
}

/// A number of hops.
pub(super) struct Hops(pub(super) u8);

impl FromToml for Hops {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, Wrong> {
        bounded(value, 1, u8::MAX).map(Self)
    }
}

/// RFC 4271 §4.2: no hold time, or at least three seconds.
pub(super) struct HoldTime(pub(super) u16);

impl FromToml for HoldTime {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, Wrong> {
        match bounded(value, 0, u16::MAX)? {
            short @ (1 | 2) => {
                wrong(format!("{short} s is too short"), "expected 0 (no hold timer) or at least 3 (RFC 4271 §4.2)")
            }
            seconds => Ok(Self(seconds)),
        }
    }
}

/// An AS number that a speaker can have.
#[derive(Clone, Copy)]
pub(super) struct Asn(pub(super) u32);

impl FromToml for Asn {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, Wrong> {
        let asn = if integer(value)? == Some(0) { 0 } else { bounded(value, 1, u32::MAX)? };
        let reserved = match asn {
            0 => "RFC 7607",
            23_456 => "RFC 6793: it stands for AS numbers that do not fit into two octets",
            65_535 | u32::MAX => "RFC 7300",
            _ => return Ok(Self(asn)),
        };
        wrong(
            format!("AS {asn} is reserved ({reserved})"),
            "for private use there are 64512 to 65534 and 4200000000 to 4294967294",
        )
    }
}

impl FromToml for IpAddr {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, Wrong> {
        let text = text(value, "192.0.2.1")?;
        match text.parse() {
            Ok(address) => Ok(address),
            Err(_) if text.contains('%') => link_local(format!("\"{text}\"")),
            Err(_) if text.contains('/') => {
                let address = text.split('/').next().unwrap_or_default();
                wrong(format!("\"{text}\" is a prefix, not an address"), format!("write \"{address}\""))
            }
            Err(_) => wrong(
                format!("\"{text}\" is not an IP address"),
                "expected one such as \"192.0.2.1\" or \"2001:db8::1\"",
            ),
        }
    }
}

/// The address of a host: what a connection goes to or comes from, or a packet is forwarded to.
pub(super) struct HostAddress(pub(super) IpAddr);

impl FromToml for HostAddress {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, Wrong> {
        let address = IpAddr::from_toml(value)?;
        let broadcast = matches!(address, IpAddr::V4(v4) if v4.is_broadcast());
        let what = match address {
            _ if address.is_unspecified() => "the unspecified address",
            _ if address.is_multicast() => "a multicast address",
            _ if broadcast => "the broadcast address",
            IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
                Some(v4) => return wrong(format!("{address} is an IPv4 address in IPv6"), format!("write \"{v4}\"")),
                None if v6.is_unicast_link_local() => return link_local(address),
                None => return Ok(Self(address)),
            },
            IpAddr::V4(_) => return Ok(Self(address)),
        };
        wrong(
            format!("{address} is {what}, not that of a host"),
            "expected one such as \"192.0.2.1\" or \"2001:db8::1\"",
        )
    }
}

/// An address that means something on one link only, and a configuration has no way to name a link.
fn link_local<T>(address: impl std::fmt::Display) -> Result<T, Wrong> {
    wrong(format!("{address} is a link-local address"), "write a global or unique local one, such as \"2001:db8::1\"")
}

/// A BGP identifier or cluster identifier.
pub(super) struct Identifier(pub(super) Ipv4Addr);

impl FromToml for Identifier {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, Wrong> {
        let text = text(value, "192.0.2.1")?;
        let example = "expected four numbers such as \"192.0.2.1\", unique in the AS";
        match text.parse::<Ipv4Addr>() {
            Ok(id) if id.is_unspecified() => wrong("0.0.0.0 is not an identifier (RFC 6286)", example),
            Ok(id) if id.is_multicast() || id.is_broadcast() => {
                wrong(format!("{id} is not the address of a host"), example)
            }
            Ok(id) => Ok(Self(id)),
            Err(_) => wrong(format!("\"{text}\" does not have the form of an IPv4 address"), example),
        }
    }
}

impl FromToml for SocketAddr {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, Wrong> {
        let text = text(value, "0.0.0.0:179")?;
        text.parse().or_else(|_| {
            let help = match text.parse::<IpAddr>() {
                Ok(IpAddr::V4(address)) => format!("write \"{address}:179\""),
                Ok(IpAddr::V6(address)) => format!("write \"[{address}]:179\""),
                Err(_) => "expected one such as \"0.0.0.0:179\" or \"[::]:179\"".to_owned(),
            };
            wrong(format!("\"{text}\" is not an address with a port"), help)
        })
    }
}

impl FromToml for IpNet {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, Wrong> {
        let text = text(value, "10.1.0.0/24")?;
        match text.parse::<Self>() {
            Ok(prefix) if prefix.trunc() != prefix => {
                let right = prefix.trunc();
                wrong(format!("{prefix} has host bits set"), format!("did you mean \"{right}\"?"))
            }
            Ok(prefix) => Ok(prefix),
            Err(_) => {
                let help = match text.parse::<IpAddr>() {
                    Ok(address) => format!("write \"{}\"", Self::from(address)),
                    Err(_) => "expected one such as \"10.1.0.0/24\" or \"fd00:1::/64\"".to_owned(),
                };
                wrong(format!("\"{text}\" is not a prefix"), help)
            }
        }
    }
}

/// Names of the families that are supported.
pub(super) const FAMILIES: [&str; 2] = ["ipv4-unicast", "ipv6-unicast"];

impl FromToml for Family {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, Wrong> {
        let text = text(value, "ipv4-unicast")?;
        named(text, &FAMILIES, "address family")?;
        text.parse().or_else(|_| wrong(format!("\"{text}\" is not an address family"), "expected \"ipv4-unicast\""))
    }
}

/// A word out of a list.
pub(super) fn named(text: &str, words: &[&str], what: &str) -> Result<(), Wrong> {
    if words.contains(&text) {
        return Ok(());
    }
    let help = match nearest(text, words.iter().copied()) {
        Some(near) => format!("did you mean \"{near}\"?"),
        None => format!("expected one of \"{}\"", words.join("\", \"")),
    };
    wrong(format!("\"{text}\" is not {}", article(what)), help)
}

impl FromToml for Community {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, Wrong> {
        let text = text(value, "65000:100")?;
        text.parse().or_else(|_| {
            let help = "expected two numbers up to 65535 such as \"65000:100\", or a name such as \"no-export\"";
            wrong(format!("\"{text}\" is not a community"), help)
        })
    }
}

impl FromToml for LargeCommunity {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, Wrong> {
        let text = text(value, "65000:1:2")?;
        text.parse().or_else(|_| {
            let help = "expected three numbers up to 4294967295 such as \"65000:1:2\"";
            wrong(format!("\"{text}\" is not a large community"), help)
        })
    }
}

/// `true`, `false`, or the text that the peer is told.
pub(super) struct Shutdown(pub(super) Option<String>);

impl FromToml for Shutdown {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, Wrong> {
        match (value.as_bool(), value.as_str()) {
            (Some(down), _) => Ok(Self(down.then(String::new))),
            (_, Some(text)) if text.len() <= 255 => Ok(Self(Some(text.to_owned()))),
            (_, Some(text)) => {
                let message = format!("the text has {} octets", text.len());
                wrong(message, "shorten it to 255 (RFC 9003)")
            }
            _ => {
                let found = article(value.type_str());
                wrong(format!("expected true, false or a text, found {found}"), "write true, false, or \"maintenance\"")
            }
        }
    }
}

/// One value for all families, or one for each.
pub(super) struct ByFamily<T>(pub(super) BTreeMap<Family, T>);

impl<T: Copy> ByFamily<T> {
    /// Reads a number or a table of numbers; `what` it is and `help` are said of anything else.
    pub(super) fn read(
        value: &DeValue<'_>,
        what: &str,
        help: &str,
        one: impl Fn(&DeValue<'_>) -> Result<T, Wrong>,
    ) -> Result<Self, Wrong> {
        let family = |name: &str| -> Result<Family, Wrong> {
            named(name, &FAMILIES, "address family")?;
            name.parse().map_err(|_| Wrong { message: format!("\"{name}\" is no family"), help: help.to_owned() })
        };
        let mut all = BTreeMap::new();
        match value.as_table() {
            Some(table) => {
                for (name, value) in table.iter() {
                    all.insert(family(name.get_ref())?, one(value.get_ref())?);
                }
            }
            None if value.as_integer().is_some() => {
                let same = one(value)?;
                for name in FAMILIES {
                    all.insert(family(name)?, same);
                }
            }
            None => return wrong(format!("expected {what}, found {}", article(value.type_str())), help),
        }
        Ok(Self(all))
    }
}
