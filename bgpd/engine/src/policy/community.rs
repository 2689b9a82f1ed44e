//! Patterns of communities of all kinds, and sets of them.
//!
//! A pattern is written like a community, and each of its numbers can be `*` or a range: `65000:*`, `65000:100-199`,
//! `65000:1:*` (large), `rt:65000:*` (extended). Which kind is meant shows in the form. Extended communities without a
//! form of their own are octets: `0x4004*` stands for those that begin so.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use bgp_wire::attribute::{AttributeBlock, Community, ExtendedCommunity, Ipv6ExtendedCommunity, LargeCommunity, code};

/// The attributes that communities are in.
pub(super) const CODES: [u8; 4] =
    [code::COMMUNITIES, code::EXTENDED_COMMUNITIES, code::IPV6_EXTENDED_COMMUNITIES, code::LARGE_COMMUNITIES];

/// A community of any kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AnyCommunity {
    /// RFC 1997.
    Standard(Community),
    /// RFC 4360.
    Extended(ExtendedCommunity),
    /// RFC 5701.
    Ipv6Extended(Ipv6ExtendedCommunity),
    /// RFC 8092.
    Large(LargeCommunity),
}

/// The text is not a community, or not a pattern of some.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{text}\" is not {expected}")]
pub struct InvalidCommunity {
    text: String,
    expected: &'static str,
}

const COMMUNITY: &str =
    "a community, expected \"65000:100\", \"65000:1:2\", \"rt:65000:100\" or a name such as \"no-export\"";
const PATTERN: &str =
    "a community or a pattern of some, expected \"65000:100\", \"65000:*\", \"65000:1:10-19\" or \"rt:65000:*\"";

impl AnyCommunity {
    /// The type code of the attribute that has it.
    #[must_use]
    pub fn code(&self) -> u8 {
        match self {
            Self::Standard(_) => code::COMMUNITIES,
            Self::Extended(_) => code::EXTENDED_COMMUNITIES,
            Self::Ipv6Extended(_) => code::IPV6_EXTENDED_COMMUNITIES,
            Self::Large(_) => code::LARGE_COMMUNITIES,
        }
    }

    /// Appends its octets.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Standard(Community(value)) => out.extend_from_slice(&value.to_be_bytes()),
            Self::Extended(ExtendedCommunity(octets)) => out.extend_from_slice(octets),
            Self::Ipv6Extended(Ipv6ExtendedCommunity(octets)) => out.extend_from_slice(octets),
            Self::Large(LargeCommunity { global, local1, local2 }) => {
                [global, local1, local2].into_iter().for_each(|part| out.extend_from_slice(&part.to_be_bytes()));
            }
        }
    }
}

/// Whether a text is written like an extended community.
fn is_extended(text: &str) -> bool {
    ["rt:", "soo:", "0x"].iter().any(|start| text.starts_with(start))
}

impl FromStr for AnyCommunity {
    type Err = InvalidCommunity;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parsed = match text.matches(':').count() {
            _ if is_extended(text) && text.contains('[') => text.parse().map(Self::Ipv6Extended).ok(),
            _ if is_extended(text) => text.parse().map(Self::Extended).ok(),
            2 => text.parse().map(Self::Large).ok(),
            _ => text.parse().map(Self::Standard).ok(),
        };
        parsed.ok_or_else(|| InvalidCommunity { text: text.to_owned(), expected: COMMUNITY })
    }
}

impl fmt::Display for AnyCommunity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Standard(community) => community.fmt(f),
            Self::Extended(community) => community.fmt(f),
            Self::Ipv6Extended(community) => community.fmt(f),
            Self::Large(community) => community.fmt(f),
        }
    }
}

/// Numbers from one to another, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span(u32, u32);

impl Span {
    fn parse(text: &str, most: u32) -> Option<Self> {
        let span = match text.split_once('-') {
            _ if text == "*" => Self(0, most),
            Some((from, to)) => Self(from.parse().ok()?, to.parse().ok()?),
            None => text.parse().map(|number| Self(number, number)).ok()?,
        };
        (span.0 <= span.1 && span.1 <= most).then_some(span)
    }

    fn holds(self, number: u32) -> bool {
        self.0 <= number && number <= self.1
    }
}

/// Whose extended communities are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Administrator {
    Any,
    /// With two or four octets.
    As(Span),
    V4(Ipv4Addr),
    V6(Ipv6Addr),
}

impl Administrator {
    fn parse(text: &str) -> Option<Self> {
        let inside = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        match inside {
            _ if text == "*" => Some(Self::Any),
            Some(address) => address.parse().map(Self::V6).ok(),
            None => text.parse().map(Self::V4).ok().or_else(|| Span::parse(text, u32::MAX).map(Self::As)),
        }
    }

    fn is_as(self, asn: u32) -> bool {
        matches!(self, Self::Any) || matches!(self, Self::As(span) if span.holds(asn))
    }

    fn is_v4(self, address: Ipv4Addr) -> bool {
        matches!(self, Self::Any) || self == Self::V4(address)
    }

    fn is_v6(self, address: Ipv6Addr) -> bool {
        matches!(self, Self::Any) || self == Self::V6(address)
    }
}

/// Half octets that octets begin with.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Beginning(Vec<u8>);

impl Beginning {
    fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix("0x")?.strip_suffix('*')?;
        let digits: Option<Vec<u8>> =
            digits.chars().map(|digit| digit.to_digit(16).and_then(|digit| digit.try_into().ok())).collect();
        digits.filter(|digits| digits.len() < 16).map(Self)
    }

    fn begins(&self, octets: &[u8]) -> bool {
        let halves = octets.iter().flat_map(|octet| [octet >> 4, octet & 0xf]);
        self.0.iter().copied().eq(halves.take(self.0.len()))
    }
}

/// What a pattern stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Shape {
    Standard(Span, Span),
    Large(Span, Span, Span),
    /// Route targets or route origins (RFC 4360 §4, §5) of any form.
    Extended {
        subtype: u8,
        administrator: Administrator,
        local: Span,
    },
    /// Extended communities of both attributes.
    Octets(Beginning),
    Exactly(AnyCommunity),
}

/// Some communities of one kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommunityPattern {
    text: String,
    shape: Shape,
}

/// `rt:65000:*`, `soo:192.0.2.1:1-9`, `rt:[2001:db8::1]:*`.
fn extended(text: &str) -> Option<Shape> {
    let (name, rest) = text.split_once(':')?;
    let (administrator, local) = rest.rsplit_once(':')?;
    let subtype = match name {
        "rt" => 2,
        "soo" => 3,
        _ => return None,
    };
    let administrator = Administrator::parse(administrator)?;
    Some(Shape::Extended { subtype, administrator, local: Span::parse(local, u32::MAX)? })
}

/// `65000:*`, `65000:1:10-19`.
fn plain(text: &str) -> Option<Shape> {
    let parts: Vec<&str> = text.split(':').collect();
    let short = |text| Span::parse(text, u16::MAX.into());
    let long = |text| Span::parse(text, u32::MAX);
    match *parts.as_slice() {
        [high, low] => Some(Shape::Standard(short(high)?, short(low)?)),
        [global, local1, local2] => Some(Shape::Large(long(global)?, long(local1)?, long(local2)?)),
        _ => None,
    }
}

impl FromStr for CommunityPattern {
    type Err = InvalidCommunity;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let shape = text.parse().map(Shape::Exactly).ok();
        let shape = shape.or_else(|| Beginning::parse(text).map(Shape::Octets));
        let shape = shape.or_else(|| extended(text)).or_else(|| plain(text));
        match shape {
            Some(shape) => Ok(Self { text: text.to_owned(), shape }),
            None => Err(InvalidCommunity { text: text.to_owned(), expected: PATTERN }),
        }
    }
}

impl fmt::Display for CommunityPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl CommunityPattern {
    /// Whether a community is one of these.
    #[must_use]
    pub fn matches(&self, community: AnyCommunity) -> bool {
        match (&self.shape, community) {
            (Shape::Exactly(one), community) => *one == community,
            (Shape::Standard(high, low), AnyCommunity::Standard(Community(value))) => {
                high.holds(value >> 16) && low.holds(value & 0xffff)
            }
            (Shape::Large(a, b, c), AnyCommunity::Large(LargeCommunity { global, local1, local2 })) => {
                a.holds(global) && b.holds(local1) && c.holds(local2)
            }
            (Shape::Octets(beginning), AnyCommunity::Extended(ExtendedCommunity(octets))) => beginning.begins(&octets),
            (Shape::Octets(beginning), AnyCommunity::Ipv6Extended(Ipv6ExtendedCommunity(octets))) => {
                beginning.begins(&octets)
            }
            (Shape::Extended { subtype, administrator, local }, community) => {
                is_of(community, *subtype, *administrator, *local)
            }
            _ => false,
        }
    }
}

/// Whether it is an extended community of that subtype and of such an administrator, with such a number.
fn is_of(community: AnyCommunity, subtype: u8, administrator: Administrator, local: Span) -> bool {
    match community {
        AnyCommunity::Extended(ExtendedCommunity([kind, sub, a, b, c, d, g, h])) if sub == subtype => {
            let short = u16::from_be_bytes([g, h]).into();
            match kind {
                0 => {
                    let asn = u16::from_be_bytes([a, b]).into();
                    administrator.is_as(asn) && local.holds(u32::from_be_bytes([c, d, g, h]))
                }
                1 => administrator.is_v4(Ipv4Addr::new(a, b, c, d)) && local.holds(short),
                2 => administrator.is_as(u32::from_be_bytes([a, b, c, d])) && local.holds(short),
                _ => false,
            }
        }
        AnyCommunity::Ipv6Extended(Ipv6ExtendedCommunity([0, sub, address @ .., high, low])) if sub == subtype => {
            administrator.is_v6(Ipv6Addr::from(address)) && local.holds(u16::from_be_bytes([high, low]).into())
        }
        _ => false,
    }
}

/// All communities of a route.
pub(super) fn communities(block: AttributeBlock<'_>) -> impl Iterator<Item = AnyCommunity> + Clone {
    let standard = block.get(code::COMMUNITIES).unwrap_or_default();
    let extended = block.get(code::EXTENDED_COMMUNITIES).unwrap_or_default();
    let large = block.get(code::LARGE_COMMUNITIES).unwrap_or_default();
    let number = |octets: &[u8]| octets.try_into().map(u32::from_be_bytes).unwrap_or_default();
    let standard = standard.chunks_exact(4).map(move |octets| AnyCommunity::Standard(Community(number(octets))));
    let extended = extended.chunks_exact(8).filter_map(|octets| octets.try_into().ok());
    let extended = extended.map(|octets| AnyCommunity::Extended(ExtendedCommunity(octets)));
    let of_ipv6 = block.get(code::IPV6_EXTENDED_COMMUNITIES).unwrap_or_default();
    let of_ipv6 = of_ipv6.chunks_exact(20).filter_map(|octets| octets.try_into().ok());
    let of_ipv6 = of_ipv6.map(|octets| AnyCommunity::Ipv6Extended(Ipv6ExtendedCommunity(octets)));
    let large = large.chunks_exact(12).map(move |octets| {
        let (global, rest) = octets.split_at(4);
        let (local1, local2) = rest.split_at(4);
        let (global, local1, local2) = (number(global), number(local1), number(local2));
        AnyCommunity::Large(LargeCommunity { global, local1, local2 })
    });
    standard.chain(extended).chain(of_ipv6).chain(large)
}

/// A named set of communities.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CommunitySet {
    /// What is in it.
    pub members: Vec<CommunityPattern>,
    /// A route must have one of each member, not only of one.
    pub all: bool,
}

impl CommunitySet {
    /// Whether a route has such communities.
    #[must_use]
    pub fn matches(&self, block: AttributeBlock<'_>) -> bool {
        let has = |pattern: &CommunityPattern| communities(block).any(|community| pattern.matches(community));
        if self.all { self.members.iter().all(has) } else { self.members.iter().any(has) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, community: &str) -> bool {
        let pattern: CommunityPattern = pattern.parse().unwrap_or_else(|invalid| panic!("{invalid}"));
        pattern.matches(community.parse().unwrap_or_else(|invalid| panic!("{invalid}")))
    }

    #[test]
    fn each_number_can_be_any_or_a_range() {
        assert!(matches("65000:100", "65000:100") && !matches("65000:100", "65000:101"));
        assert!(matches("65000:*", "65000:7") && !matches("65000:*", "65001:7"));
        assert!(matches("*:100-199", "1:150") && !matches("*:100-199", "1:200"));
        assert!(matches("65000:1:*", "65000:1:7") && !matches("65000:1:*", "65000:2:7"));
        assert!(matches("rt:65000:*", "rt:65000:7") && !matches("rt:65000:*", "soo:65000:7"));
        assert!(matches("rt:192.0.2.1:1-9", "rt:192.0.2.1:7") && !matches("rt:192.0.2.1:1-9", "rt:192.0.2.2:7"));
        assert!(matches("soo:*:7", "soo:4200000000:7"));
        assert!(matches("rt:65000-65010:*", "rt:65010:7") && !matches("rt:65000-65010:*", "rt:65011:7"));
        assert!(matches("rt:4200000000-4200000009:7", "rt:4200000009:7"));
        assert!(matches("no-export", "65535:65281"));
    }

    #[test]
    fn extended_communities_of_ipv6_addresses_are_route_targets_as_well() {
        assert!(matches("rt:[2001:db8::1]:1-9", "rt:[2001:db8::1]:7"));
        assert!(!matches("rt:[2001:db8::1]:1-9", "rt:[2001:db8::2]:7"));
        assert!(matches("rt:*:*", "rt:[2001:db8::1]:7") && !matches("soo:*:*", "rt:[2001:db8::1]:7"));
        assert!(matches("0x0004:[2001:db8::1]:7", "0x0004:[2001:db8::1]:7"));
    }

    #[test]
    fn what_has_no_form_of_its_own_is_matched_by_how_its_octets_begin() {
        // A link bandwidth: type 0x40, subtype 4.
        assert!(matches("0x4004*", "0x4004fde84cbebc20") && !matches("0x4006*", "0x4004fde84cbebc20"));
        assert!(matches("0x4*", "0x4004fde84cbebc20") && matches("0x*", "rt:65000:1") && !matches("0x*", "65000:1"));
        assert!(matches("0x0004*", "0x0004:[2001:db8::1]:7"));
    }

    #[test]
    fn kinds_are_not_mixed_up() {
        assert!(!matches("*:*", "65000:1:2") && !matches("*:*:*", "65000:1") && !matches("*:*:*", "rt:65000:1"));
    }

    #[test]
    fn a_wrong_pattern_says_what_would_be_right() {
        for wrong in [
            "65000",
            "65000:65536",
            "65000:9-1",
            "1:2:3:4",
            "rt:65000",
            "no-exprot",
            "rt:x:1",
            "65000:",
            "0x40g*",
            "rt:[x]:1",
        ] {
            let said = wrong.parse::<CommunityPattern>().expect_err(wrong).to_string();
            assert!(
                said.starts_with(&format!("\"{wrong}\" is not a community")) && said.contains("65000:100"),
                "{said}"
            );
        }
    }
}
