//! What is wrong with an UPDATE, and what RFC 7606 says to do about it.

use std::fmt;
use std::net::Ipv4Addr;

use crate::attribute;
use crate::nlri::NlriFault;
use crate::notification::UpdateSubcode;
use crate::{Family, Notification};

/// What is done about a fault, the strongest first (RFC 7606 §2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FaultAction {
    /// The session ends.
    SessionReset,
    /// The family is no longer used on the session.
    AfiSafiDisable,
    /// The routes of the message count as withdrawn.
    TreatAsWithdraw,
    /// The attribute is dropped and the message used without it.
    AttributeDiscard,
}

impl fmt::Display for FaultAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::SessionReset => "session reset",
            Self::AfiSafiDisable => "AFI/SAFI disable",
            Self::TreatAsWithdraw => "treat-as-withdraw",
            Self::AttributeDiscard => "attribute discard",
        })
    }
}

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FaultReason {
    /// RFC 7606 §3(c).
    #[error("flags {0:#04x} are not what the attribute must have")]
    Flags(u8),
    /// RFC 7606 §7.
    #[error("length {0} is not possible")]
    Length(usize),
    /// RFC 4271 §6.3.
    #[error("{0} is not the address of a host")]
    NotAHost(Ipv4Addr),
    /// RFC 7606 §7.1.
    #[error("undefined origin {0}")]
    UndefinedOrigin(u8),
    /// RFC 7606 §7.2.
    #[error("unknown AS_PATH segment type {0}")]
    SegmentType(u8),
    /// RFC 7606 §7.2.
    #[error("AS_PATH segment is longer than the attribute")]
    SegmentOverrun,
    /// RFC 7606 §7.2.
    #[error("AS_PATH segment without an AS number")]
    EmptySegment,
    /// RFC 5065 §5.3.
    #[error("confederation segment from a peer outside a confederation")]
    ConfederationSegment,
    /// RFC 7607 §2.
    #[error("AS number 0")]
    AsZero,
    /// RFC 9774 §3.
    #[error("AS_SET, which is deprecated")]
    AsSet,
    /// RFC 7606 §3(g).
    #[error("occurs more than once")]
    Duplicate,
    /// RFC 7606 §3(d).
    #[error("missing")]
    Missing,
    /// RFC 7606 §4.
    #[error("runs over the end of the attributes")]
    Overrun,
    /// RFC 4271 §6.3.
    #[error("claims to be well-known but is not known")]
    UnrecognizedWellKnown,
    /// RFC 7606 §7.5, §7.9, §7.10; RFC 7311 §3.3.
    #[error("not allowed from an eBGP peer")]
    NotFromExternal,
    /// RFC 6793 §6.
    #[error("not allowed from a peer with 4-octet AS numbers")]
    NotFromFourOctetPeer,
    /// RFC 4760 §7.
    #[error("{0} is not negotiated on this session")]
    NotNegotiated(Family),
    /// RFC 7606 §7.11.
    #[error("next hop of {0} octets is not possible in this family")]
    NextHopLength(u8),
    /// RFC 7606 §5.3.
    #[error("{0}")]
    Nlri(NlriFault),
    /// RFC 8669 §6, RFC 9012 §13.
    #[error("a TLV does not end where the attribute does")]
    TlvOverrun,
    /// RFC 9012 §13.
    #[error("no tunnel with exactly one egress endpoint, of a right length")]
    NoUsableTunnel,
    /// RFC 8669 §6.
    #[error("a TLV of type {0} cannot have length {1}")]
    TlvLength(u8, usize),
    /// RFC 4271 §6.3.
    #[error("length fields of the message contradict each other")]
    MessageLengths,
}

impl FaultReason {
    /// How a NOTIFICATION says it (RFC 4271 §6.3).
    pub(super) fn subcode(self) -> UpdateSubcode {
        match self {
            Self::Flags(_) => UpdateSubcode::AttributeFlags,
            Self::Length(_) => UpdateSubcode::AttributeLength,
            Self::NotAHost(_) => UpdateSubcode::InvalidNextHop,
            Self::UndefinedOrigin(_) => UpdateSubcode::InvalidOrigin,
            Self::SegmentType(_)
            | Self::SegmentOverrun
            | Self::EmptySegment
            | Self::ConfederationSegment
            | Self::AsZero
            | Self::AsSet => UpdateSubcode::MalformedAsPath,
            Self::Missing => UpdateSubcode::MissingWellKnown,
            Self::UnrecognizedWellKnown => UpdateSubcode::UnrecognizedWellKnown,
            Self::Overrun | Self::Duplicate | Self::MessageLengths => UpdateSubcode::MalformedAttributeList,
            Self::NotFromExternal
            | Self::NotFromFourOctetPeer
            | Self::NotNegotiated(_)
            | Self::NextHopLength(_)
            | Self::TlvOverrun
            | Self::NoUsableTunnel
            | Self::TlvLength(..)
            | Self::Nlri(_) => UpdateSubcode::OptionalAttribute,
        }
    }
}

/// One deviation, with its place in the message's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// Type code of the attribute; `None` for the fields around the attributes.
    pub attribute: Option<u8>,
    /// What is done about it.
    pub action: FaultAction,
    /// What is wrong.
    pub reason: FaultReason,
    /// Where in the body it is, in octets: at an attribute's value, where there is one.
    pub offset: usize,
    /// How many octets it has; 0 for what is missing.
    pub len: usize,
}

impl Fault {
    /// The octets that are wrong.
    #[must_use]
    pub fn octets<'a>(&self, body: &'a [u8]) -> &'a [u8] {
        body.get(self.offset..self.offset.saturating_add(self.len)).unwrap_or_default()
    }

    /// What it is that is wrong: the attribute by name or number, or the UPDATE itself.
    #[must_use]
    pub fn subject(&self) -> String {
        match self.attribute.map(|code| (code, attribute::name(code))) {
            None => "UPDATE".to_owned(),
            Some((_, Some(name))) => name.to_owned(),
            Some((code, None)) => format!("attribute {code}"),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} at offset {} ({})", self.subject(), self.reason, self.offset, self.action)
    }
}

/// A fault that ends the session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResetFault {
    /// What the peer is told.
    pub notification: Notification,
    /// What was wrong.
    pub fault: Fault,
}
