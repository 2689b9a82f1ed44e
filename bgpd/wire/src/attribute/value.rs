//! Attributes as typed values: for people, and for building routes.

use std::fmt;
use std::net::Ipv4Addr;

use super::{AsPath, Check, Community, ExtendedCommunity, Ipv6ExtendedCommunity, LargeCommunity, Origin};
use super::{code, descriptor, flag, name, put};
use crate::update::FaultReason;

/// One attribute, typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attribute {
    /// ORIGIN (RFC 4271 §5.1.1).
    Origin(Origin),
    /// AS_PATH (RFC 4271 §5.1.2).
    AsPath(AsPath),
    /// NEXT_HOP (RFC 4271 §5.1.3).
    NextHop(Ipv4Addr),
    /// MULTI_EXIT_DISC (RFC 4271 §5.1.4).
    MultiExitDisc(u32),
    /// LOCAL_PREF (RFC 4271 §5.1.5).
    LocalPref(u32),
    /// ATOMIC_AGGREGATE (RFC 4271 §5.1.6).
    AtomicAggregate,
    /// AGGREGATOR (RFC 4271 §5.1.7).
    Aggregator {
        /// The AS that aggregated.
        asn: u32,
        /// The speaker that did.
        address: Ipv4Addr,
    },
    /// COMMUNITIES (RFC 1997).
    Communities(Vec<Community>),
    /// ORIGINATOR_ID (RFC 4456 §8).
    OriginatorId(Ipv4Addr),
    /// CLUSTER_LIST (RFC 4456 §8), the latest cluster first.
    ClusterList(Vec<Ipv4Addr>),
    /// EXTENDED COMMUNITIES (RFC 4360).
    ExtendedCommunities(Vec<ExtendedCommunity>),
    /// IPv6-address-specific extended communities (RFC 5701).
    Ipv6ExtendedCommunities(Vec<Ipv6ExtendedCommunity>),
    /// LARGE_COMMUNITY (RFC 8092).
    LargeCommunities(Vec<LargeCommunity>),
    /// Accumulated IGP metric (RFC 7311).
    Aigp(u64),
    /// Only to customer (RFC 9234 §5): the AS that said so.
    OnlyToCustomer(u32),
    /// Any other.
    Unknown {
        /// Flags, without Extended Length.
        flags: u8,
        /// Type code.
        code: u8,
        /// Value.
        value: Vec<u8>,
    },
}

/// The typed value of an attribute in canonical form.
///
/// # Errors
/// What is wrong with the value.
pub fn decode_value(flags: u8, code: u8, value: &[u8]) -> Result<Attribute, FaultReason> {
    let unknown = |value: &[u8]| Attribute::Unknown { flags, code, value: value.to_vec() };
    let Some(known) = descriptor(code) else { return Ok(unknown(value)) };
    (known.check)(value, Check { four_octet_as: true, reject_as_sets: false })?;
    let tidied = known.tidied(value);
    let value = tidied.as_deref().unwrap_or(value);
    Ok((known.typed)(value).unwrap_or_else(|| unknown(value)))
}

impl Attribute {
    /// The type code.
    #[must_use]
    pub fn code(&self) -> u8 {
        match self {
            Self::Origin(_) => code::ORIGIN,
            Self::AsPath(_) => code::AS_PATH,
            Self::NextHop(_) => code::NEXT_HOP,
            Self::MultiExitDisc(_) => code::MULTI_EXIT_DISC,
            Self::LocalPref(_) => code::LOCAL_PREF,
            Self::AtomicAggregate => code::ATOMIC_AGGREGATE,
            Self::Aggregator { .. } => code::AGGREGATOR,
            Self::Communities(_) => code::COMMUNITIES,
            Self::OriginatorId(_) => code::ORIGINATOR_ID,
            Self::ClusterList(_) => code::CLUSTER_LIST,
            Self::ExtendedCommunities(_) => code::EXTENDED_COMMUNITIES,
            Self::Ipv6ExtendedCommunities(_) => code::IPV6_EXTENDED_COMMUNITIES,
            Self::LargeCommunities(_) => code::LARGE_COMMUNITIES,
            Self::Aigp(_) => code::AIGP,
            Self::OnlyToCustomer(_) => code::ONLY_TO_CUSTOMER,
            Self::Unknown { code, .. } => *code,
        }
    }

    /// Appends the attribute in canonical form.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut value = Vec::new();
        self.encode_value(&mut value);
        let known = descriptor(self.code());
        let flags = match self {
            Self::Unknown { flags, .. } => *flags,
            _ => known.map_or(flag::OPTIONAL, |known| known.flags),
        };
        let tidied = known.and_then(|known| known.tidied(&value));
        put(out, flags, self.code(), tidied.as_deref().unwrap_or(&value));
    }

    fn encode_value(&self, out: &mut Vec<u8>) {
        match self {
            Self::AtomicAggregate => {}
            Self::Origin(origin) => out.push(origin.code()),
            Self::AsPath(path) => path.encode_value(out),
            Self::NextHop(address) | Self::OriginatorId(address) => out.extend_from_slice(&address.octets()),
            Self::MultiExitDisc(number) | Self::LocalPref(number) | Self::OnlyToCustomer(number) => {
                out.extend_from_slice(&number.to_be_bytes());
            }
            Self::Aggregator { asn, address } => {
                out.extend_from_slice(&asn.to_be_bytes());
                out.extend_from_slice(&address.octets());
            }
            Self::Communities(all) => all.iter().for_each(|one| out.extend_from_slice(&one.0.to_be_bytes())),
            Self::ClusterList(all) => all.iter().for_each(|one| out.extend_from_slice(&one.octets())),
            Self::ExtendedCommunities(all) => all.iter().for_each(|one| out.extend_from_slice(&one.0)),
            Self::Ipv6ExtendedCommunities(all) => all.iter().for_each(|one| out.extend_from_slice(&one.0)),
            Self::LargeCommunities(all) => {
                let parts = all.iter().flat_map(|one| [one.global, one.local1, one.local2]);
                parts.for_each(|part| out.extend_from_slice(&part.to_be_bytes()));
            }
            Self::Aigp(metric) => {
                out.extend_from_slice(&[1, 0, 11]);
                out.extend_from_slice(&metric.to_be_bytes());
            }
            Self::Unknown { value, .. } => out.extend_from_slice(value),
        }
    }
}

impl fmt::Display for Attribute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Origin(origin) => origin.fmt(f),
            Self::AsPath(path) => path.fmt(f),
            Self::NextHop(address) | Self::OriginatorId(address) => address.fmt(f),
            Self::MultiExitDisc(number) | Self::LocalPref(number) | Self::OnlyToCustomer(number) => number.fmt(f),
            Self::AtomicAggregate => f.write_str("set"),
            Self::Aggregator { asn, address } => write!(f, "AS {asn}, {address}"),
            Self::Communities(all) => list(f, all),
            Self::ClusterList(all) => list(f, all),
            Self::ExtendedCommunities(all) => list(f, all),
            Self::Ipv6ExtendedCommunities(all) => list(f, all),
            Self::LargeCommunities(all) => list(f, all),
            Self::Aigp(metric) => metric.fmt(f),
            Self::Unknown { flags, code, value } => {
                let partial = if flags & flag::PARTIAL == 0 { "" } else { ", partial" };
                write!(f, "{} octets{partial}", value.len())?;
                if name(*code).is_none() {
                    write!(f, ", type {code}")?;
                }
                f.write_str(if value.is_empty() { "" } else { ": " })?;
                value.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
            }
        }
    }
}

fn list(f: &mut fmt::Formatter<'_>, all: &[impl fmt::Display]) -> fmt::Result {
    all.iter().enumerate().try_for_each(|(at, one)| write!(f, "{}{one}", if at == 0 { "" } else { " " }))
}
