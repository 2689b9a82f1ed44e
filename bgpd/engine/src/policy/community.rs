//! Patterns of communities of all kinds, and sets of them.
//!
//! A pattern is written like a community, and each of its numbers can be `*` or a range: `65000:*`, `65000:100-199`,
//! `65000:1:*` (large), `rt:65000:*` (extended). Which kind is meant shows in the form.

use std::fmt;
use std::str::FromStr;

use bgp_wire::attribute::{AttributeBlock, Community, ExtendedCommunity, LargeCommunity, code};

/// A community of any kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AnyCommunity {
    /// RFC 1997.
    Standard(Community),
    /// RFC 4360.
    Extended(ExtendedCommunity),
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
            Self::Large(_) => code::LARGE_COMMUNITIES,
        }
    }

    /// Appends its octets.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Standard(Community(value)) => out.extend_from_slice(&value.to_be_bytes()),
            Self::Extended(ExtendedCommunity(octets)) => out.extend_from_slice(octets),
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

/// What a pattern stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Shape {
    Standard(Span, Span),
    Large(Span, Span, Span),
    /// As its text says, whatever the administrator is: an AS with two or four octets, or an address.
    Extended {
        subtype: &'static str,
        global: Option<String>,
        local: Span,
    },
    Exactly(AnyCommunity),
}

/// Some communities of one kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommunityPattern {
    text: String,
    shape: Shape,
}

impl FromStr for CommunityPattern {
    type Err = InvalidCommunity;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let exactly = |text: &str| text.parse().map(Shape::Exactly).ok();
        let shape = exactly(text).or_else(|| {
            let mut parts = text.split(':');
            let (first, second, third) = (parts.next()?, parts.next()?, parts.next());
            let most = u32::MAX;
            match (first, third, parts.next()) {
                (_, _, Some(_)) => None,
                ("rt" | "soo", Some(third), None) => Some(Shape::Extended {
                    subtype: if first == "rt" { "rt" } else { "soo" },
                    global: match second {
                        "*" => None,
                        _ => exactly(&format!("{first}:{second}:0")).map(|_| Some(second.to_owned()))?,
                    },
                    local: Span::parse(third, most)?,
                }),
                (_, Some(third), None) => {
                    Some(Shape::Large(Span::parse(first, most)?, Span::parse(second, most)?, Span::parse(third, most)?))
                }
                (_, None, None) => {
                    let most = u16::MAX.into();
                    Some(Shape::Standard(Span::parse(first, most)?, Span::parse(second, most)?))
                }
            }
        });
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
            (Shape::Extended { subtype, global, local }, AnyCommunity::Extended(community)) => {
                let text = community.to_string();
                let mut parts = text.split(':');
                let is = |part: Option<&str>, wanted: &str| part == Some(wanted);
                is(parts.next(), subtype)
                    && parts.next().is_some_and(|part| global.as_deref().is_none_or(|global| part == global))
                    && parts.next().and_then(|part| part.parse().ok()).is_some_and(|number| local.holds(number))
            }
            _ => false,
        }
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
    let large = large.chunks_exact(12).map(move |octets| {
        let (global, rest) = octets.split_at(4);
        let (local1, local2) = rest.split_at(4);
        let (global, local1, local2) = (number(global), number(local1), number(local2));
        AnyCommunity::Large(LargeCommunity { global, local1, local2 })
    });
    standard.chain(extended).chain(large)
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
        assert!(matches("no-export", "65535:65281"));
    }

    #[test]
    fn kinds_are_not_mixed_up() {
        assert!(!matches("*:*", "65000:1:2") && !matches("*:*:*", "65000:1") && !matches("*:*:*", "rt:65000:1"));
    }

    #[test]
    fn a_wrong_pattern_says_what_would_be_right() {
        for wrong in ["65000", "65000:65536", "65000:9-1", "1:2:3:4", "rt:65000", "no-exprot", "rt:x:1", "65000:"] {
            let said = wrong.parse::<CommunityPattern>().expect_err(wrong).to_string();
            assert!(
                said.starts_with(&format!("\"{wrong}\" is not a community")) && said.contains("65000:100"),
                "{said}"
            );
        }
    }
}
