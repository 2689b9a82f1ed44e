//! NOTIFICATION messages (RFC 4271 §4.5, §6; RFC 4486; RFC 9003; RFC 8538; RFC 9687; RFC 6608).

use std::fmt;

use crate::Family;
use crate::cursor::Cursor;
use crate::frame::{self, MessageType};
use crate::text::printable;

/// A NOTIFICATION: why a session ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notification {
    /// Error code (RFC 4271 §4.5).
    pub code: u8,
    /// Error subcode.
    pub subcode: u8,
    /// Diagnostic data; for Cease/2 and Cease/4 a length-prefixed UTF-8 text (RFC 9003).
    pub data: Vec<u8>,
}

/// Error codes (RFC 4271 §4.5, RFC 7313 §5, RFC 9687 §3).
pub mod code {
    /// Message Header Error.
    pub const HEADER: u8 = 1;
    /// OPEN Message Error.
    pub const OPEN: u8 = 2;
    /// UPDATE Message Error.
    pub const UPDATE: u8 = 3;
    /// Hold Timer Expired.
    pub const HOLD_TIMER: u8 = 4;
    /// Finite State Machine Error.
    pub const FSM: u8 = 5;
    /// Cease.
    pub const CEASE: u8 = 6;
    /// ROUTE-REFRESH Message Error.
    pub const ROUTE_REFRESH: u8 = 7;
    /// Send Hold Timer Expired.
    pub const SEND_HOLD_TIMER: u8 = 8;
}

/// Subcodes of OPEN Message Error (RFC 4271 §6.2, RFC 5492 §5, RFC 9234 §4.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum OpenSubcode {
    /// Unspecific, 0.
    Unspecific = 0,
    /// Unsupported Version Number, 1; the data is the version that is supported.
    UnsupportedVersion = 1,
    /// Bad Peer AS, 2.
    BadPeerAs = 2,
    /// Bad BGP Identifier, 3.
    BadBgpIdentifier = 3,
    /// Unsupported Optional Parameter, 4.
    UnsupportedOptionalParameter = 4,
    /// Unacceptable Hold Time, 6.
    UnacceptableHoldTime = 6,
    /// Unsupported Capability, 7; the data are the capabilities missed.
    UnsupportedCapability = 7,
    /// Role Mismatch, 11.
    RoleMismatch = 11,
}

/// Subcodes of UPDATE Message Error (RFC 4271 §6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum UpdateSubcode {
    /// Malformed Attribute List, 1.
    MalformedAttributeList = 1,
    /// Unrecognized Well-known Attribute, 2.
    UnrecognizedWellKnown = 2,
    /// Missing Well-known Attribute, 3.
    MissingWellKnown = 3,
    /// Attribute Flags Error, 4.
    AttributeFlags = 4,
    /// Attribute Length Error, 5.
    AttributeLength = 5,
    /// Invalid ORIGIN Attribute, 6.
    InvalidOrigin = 6,
    /// Invalid NEXT_HOP Attribute, 8.
    InvalidNextHop = 8,
    /// Optional Attribute Error, 9.
    OptionalAttribute = 9,
    /// Invalid Network Field, 10.
    InvalidNetworkField = 10,
    /// Malformed AS_PATH, 11.
    MalformedAsPath = 11,
}

/// Subcodes of Finite State Machine Error (RFC 6608 §3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum FsmSubcode {
    /// Unspecified, 0.
    Unspecified = 0,
    /// Receive Unexpected Message in OpenSent State, 1.
    OpenSent = 1,
    /// Receive Unexpected Message in OpenConfirm State, 2.
    OpenConfirm = 2,
    /// Receive Unexpected Message in Established State, 3.
    Established = 3,
}

/// Subcodes of Cease (RFC 4486 §3, RFC 8538 §3, RFC 9384).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum CeaseSubcode {
    /// Maximum Number of Prefixes Reached, 1.
    MaximumPrefixes = 1,
    /// Administrative Shutdown, 2.
    AdministrativeShutdown = 2,
    /// Peer De-configured, 3.
    PeerDeconfigured = 3,
    /// Administrative Reset, 4.
    AdministrativeReset = 4,
    /// Connection Rejected, 5.
    ConnectionRejected = 5,
    /// Other Configuration Change, 6.
    OtherConfigurationChange = 6,
    /// Connection Collision Resolution, 7.
    ConnectionCollision = 7,
    /// Out of Resources, 8.
    OutOfResources = 8,
    /// Hard Reset, 9.
    HardReset = 9,
    /// BFD Down, 10.
    BfdDown = 10,
}

/// Longest shutdown text (RFC 9003 §2).
const SHUTDOWN_TEXT_MAX: usize = 255;

impl Notification {
    fn new(code: u8, subcode: u8, data: &[u8]) -> Self {
        Self { code, subcode, data: data.to_vec() }
    }

    /// Cease with a subcode and no data (RFC 4486).
    #[must_use]
    pub fn cease(subcode: CeaseSubcode) -> Self {
        Self::new(code::CEASE, subcode as u8, &[])
    }

    /// Cease / Maximum Number of Prefixes Reached; the data are the family and the limit (RFC 4486 §4).
    #[must_use]
    pub fn max_prefixes(family: Family, limit: u32) -> Self {
        let mut data = family.afi.to_be_bytes().to_vec();
        data.push(family.safi);
        data.extend_from_slice(&limit.to_be_bytes());
        Self::new(code::CEASE, CeaseSubcode::MaximumPrefixes as u8, &data)
    }

    /// Cease / Administrative Shutdown with a text for the peer's operator (RFC 9003 §2), cut to 255 octets.
    #[must_use]
    pub fn admin_shutdown(text: &str) -> Self {
        Self::with_text(CeaseSubcode::AdministrativeShutdown, text)
    }

    /// Cease / Administrative Reset with a text for the peer's operator (RFC 9003 §2), cut to 255 octets.
    #[must_use]
    pub fn admin_reset(text: &str) -> Self {
        Self::with_text(CeaseSubcode::AdministrativeReset, text)
    }

    fn with_text(subcode: CeaseSubcode, text: &str) -> Self {
        let end = text.floor_char_boundary(SHUTDOWN_TEXT_MAX);
        let text = text.get(..end).unwrap_or_default().as_bytes();
        let mut data = Vec::new();
        if !text.is_empty() {
            data.push(text.len() as u8);
            data.extend_from_slice(text);
        }
        Self { code: code::CEASE, subcode: subcode as u8, data }
    }

    /// Cease / Hard Reset (RFC 8538 §3): the session ends without graceful restart, for the reason inside.
    #[must_use]
    pub fn hard_reset(reason: &Self) -> Self {
        let mut data = vec![reason.code, reason.subcode];
        data.extend_from_slice(&reason.data);
        Self { code: code::CEASE, subcode: CeaseSubcode::HardReset as u8, data }
    }

    /// Whether it is a Hard Reset (RFC 8538 §3).
    #[must_use]
    pub fn is_hard_reset(&self) -> bool {
        self.code == code::CEASE && self.subcode == CeaseSubcode::HardReset as u8
    }

    /// The reason inside a Hard Reset; one of a Hard Reset inside is not looked into.
    #[must_use]
    pub fn hard_reset_reason(&self) -> Option<Self> {
        if !self.is_hard_reset() || self.data.len() < 2 {
            return None;
        }
        Some(Self::decode(&self.data)).filter(|inner| !inner.is_hard_reset())
    }

    /// Header error: the marker is not all ones (RFC 4271 §6.1).
    #[must_use]
    pub fn not_synchronized() -> Self {
        Self::new(code::HEADER, 1, &[])
    }

    /// Header error: the length is not possible (RFC 4271 §6.1). The data is the length field.
    #[must_use]
    pub fn bad_length(len: usize) -> Self {
        Self::new(code::HEADER, 2, &(len.min(0xffff) as u16).to_be_bytes())
    }

    /// Header error: the type is not known (RFC 4271 §6.1). The data is the type field.
    #[must_use]
    pub fn bad_type(kind: u8) -> Self {
        Self::new(code::HEADER, 3, &[kind])
    }

    /// OPEN Message Error (RFC 4271 §6.2).
    #[must_use]
    pub fn open(subcode: OpenSubcode, data: &[u8]) -> Self {
        Self::new(code::OPEN, subcode as u8, data)
    }

    /// UPDATE Message Error (RFC 4271 §6.3).
    #[must_use]
    pub fn update(subcode: UpdateSubcode, data: &[u8]) -> Self {
        Self::new(code::UPDATE, subcode as u8, data)
    }

    /// Hold Timer Expired (RFC 4271 §6.5).
    #[must_use]
    pub fn hold_timer_expired() -> Self {
        Self::new(code::HOLD_TIMER, 0, &[])
    }

    /// Finite State Machine Error; the data is the type of the message (RFC 6608 §4).
    #[must_use]
    pub fn fsm(subcode: FsmSubcode, message: MessageType) -> Self {
        Self::new(code::FSM, subcode as u8, &[message.code()])
    }

    /// ROUTE-REFRESH Message Error / Invalid Message Length; the data is the message (RFC 7313 §5).
    #[must_use]
    pub fn route_refresh_length(message: &[u8]) -> Self {
        Self::new(code::ROUTE_REFRESH, 1, message)
    }

    /// Send Hold Timer Expired (RFC 9687 §3).
    #[must_use]
    pub fn send_hold_timer_expired() -> Self {
        Self::new(code::SEND_HOLD_TIMER, 0, &[])
    }

    /// Decodes the body. There is no error to send about a NOTIFICATION (RFC 4271 §6.4): what is missing is zero.
    #[must_use]
    pub fn decode(body: &[u8]) -> Self {
        let mut cursor = Cursor::new(body);
        let code = cursor.u8().unwrap_or(0);
        let subcode = cursor.u8().unwrap_or(0);
        Self { code, subcode, data: cursor.rest().to_vec() }
    }

    /// Appends the whole message.
    pub fn encode(&self, out: &mut Vec<u8>) {
        frame::put(out, MessageType::Notification, |out| {
            out.extend_from_slice(&[self.code, self.subcode]);
            let room = frame::MAX_LEN - frame::HEADER_LEN - 2;
            out.extend_from_slice(self.data.get(..room).unwrap_or(&self.data));
        });
    }

    /// The text that came with Administrative Shutdown or Reset (RFC 9003 §2); what cannot be shown is replaced.
    #[must_use]
    pub fn shutdown_text(&self) -> Option<String> {
        if self.code != code::CEASE || !matches!(self.subcode, 2 | 4) {
            return None;
        }
        let (len, text) = self.data.split_first()?;
        let text = text.get(..usize::from(*len)).unwrap_or(text);
        (!text.is_empty()).then(|| printable(text))
    }

    /// The error code in the RFCs' words.
    #[must_use]
    pub fn code_name(&self) -> &'static str {
        match self.code {
            code::HEADER => "Message Header Error",
            code::OPEN => "OPEN Message Error",
            code::UPDATE => "UPDATE Message Error",
            code::HOLD_TIMER => "Hold Timer Expired",
            code::FSM => "Finite State Machine Error",
            code::CEASE => "Cease",
            code::ROUTE_REFRESH => "ROUTE-REFRESH Message Error",
            code::SEND_HOLD_TIMER => "Send Hold Timer Expired",
            _ => "Unknown Error",
        }
    }

    /// The subcode in the RFCs' words, where it has a name.
    #[must_use]
    pub fn subcode_name(&self) -> Option<&'static str> {
        let names: &[&str] = match self.code {
            code::HEADER => &["", "Connection Not Synchronized", "Bad Message Length", "Bad Message Type"],
            code::OPEN => &[
                "",
                "Unsupported Version Number",
                "Bad Peer AS",
                "Bad BGP Identifier",
                "Unsupported Optional Parameter",
                "Authentication Failure",
                "Unacceptable Hold Time",
                "Unsupported Capability",
                "",
                "",
                "",
                "Role Mismatch",
            ],
            code::UPDATE => &[
                "",
                "Malformed Attribute List",
                "Unrecognized Well-known Attribute",
                "Missing Well-known Attribute",
                "Attribute Flags Error",
                "Attribute Length Error",
                "Invalid ORIGIN Attribute",
                "AS Routing Loop",
                "Invalid NEXT_HOP Attribute",
                "Optional Attribute Error",
                "Invalid Network Field",
                "Malformed AS_PATH",
            ],
            code::FSM => &[
                "",
                "Receive Unexpected Message in OpenSent State",
                "Receive Unexpected Message in OpenConfirm State",
                "Receive Unexpected Message in Established State",
            ],
            code::CEASE => &[
                "",
                "Maximum Number of Prefixes Reached",
                "Administrative Shutdown",
                "Peer De-configured",
                "Administrative Reset",
                "Connection Rejected",
                "Other Configuration Change",
                "Connection Collision Resolution",
                "Out of Resources",
                "Hard Reset",
                "BFD Down",
            ],
            code::ROUTE_REFRESH => &["", "Invalid Message Length"],
            _ => &[],
        };
        names.get(usize::from(self.subcode)).copied().filter(|name| !name.is_empty())
    }
}

impl fmt::Display for Notification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code_name())?;
        if self.code_name() == "Unknown Error" {
            write!(f, " {}", self.code)?;
        }
        match self.subcode_name() {
            Some(name) => write!(f, " / {name}")?,
            None if self.subcode != 0 => write!(f, " / subcode {}", self.subcode)?,
            None => {}
        }
        match (self.shutdown_text(), self.hard_reset_reason()) {
            (Some(text), _) => write!(f, ": {text:?}"),
            (None, Some(inner)) => write!(f, ": {inner}"),
            (None, None) => Ok(()),
        }
    }
}
