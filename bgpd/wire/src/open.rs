//! OPEN messages (RFC 4271 §4.2, RFC 5492 §4, RFC 9072).

use std::net::Ipv4Addr;

use crate::Notification;
use crate::capability::Capability;
use crate::cursor::{Cursor, Overrun};
use crate::frame::{self, MessageType};
use crate::notification::OpenSubcode;

/// The version of BGP that there is.
const VERSION: u8 = 4;
/// Optional parameter type of capabilities (RFC 5492 §4).
const PARAMETER_CAPABILITIES: u8 = 2;
/// Optional parameter type that says extended lengths follow (RFC 9072 §2).
const PARAMETER_EXTENDED: u8 = 255;
/// Stands for an AS number that does not fit into two octets (RFC 6793 §9).
pub const AS_TRANS: u16 = 23_456;

/// An OPEN message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Open {
    /// "My Autonomous System": 23456 (AS_TRANS) where the AS number needs four octets (RFC 6793 §9).
    pub my_as: u16,
    /// Proposed hold time in seconds, 0 or at least 3.
    pub hold_seconds: u16,
    /// BGP identifier.
    pub router_id: Ipv4Addr,
    /// Capabilities in the order received.
    pub capabilities: Vec<Capability>,
}

impl Open {
    /// Decodes the body.
    ///
    /// # Errors
    /// The NOTIFICATION of RFC 4271 §6.2 for a version, hold time or identifier that cannot be, and for parameters
    /// that cannot be read. Whether the AS number is the right one is for the session to say.
    pub fn decode(body: &[u8]) -> Result<Self, Notification> {
        let unspecific = |_: Overrun| Notification::open(OpenSubcode::Unspecific, &[]);
        let mut cursor = Cursor::new(body);
        if cursor.u8().map_err(unspecific)? != VERSION {
            let supported = u16::from(VERSION).to_be_bytes();
            return Err(Notification::open(OpenSubcode::UnsupportedVersion, &supported));
        }
        let my_as = cursor.u16().map_err(unspecific)?;
        let hold_seconds = cursor.u16().map_err(unspecific)?;
        let router_id = cursor.ipv4().map_err(unspecific)?;
        // RFC 7607 §2, also where a capability says another one.
        if my_as == 0 {
            return Err(Notification::open(OpenSubcode::BadPeerAs, &[]));
        }
        if matches!(hold_seconds, 1 | 2) {
            return Err(Notification::open(OpenSubcode::UnacceptableHoldTime, &[]));
        }
        // RFC 6286 §2.1: any value but zero.
        if router_id.is_unspecified() {
            return Err(Notification::open(OpenSubcode::BadBgpIdentifier, &[]));
        }
        let capabilities = parameters(&mut cursor)?;
        Ok(Self { my_as, hold_seconds, router_id, capabilities })
    }

    /// Appends the whole message. All capabilities go into one parameter, with the extended length of RFC 9072 where
    /// they need it.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut capabilities = Vec::new();
        self.capabilities.iter().for_each(|capability| capability.encode(&mut capabilities));
        frame::put(out, MessageType::Open, |out| {
            out.push(VERSION);
            out.extend_from_slice(&self.my_as.to_be_bytes());
            out.extend_from_slice(&self.hold_seconds.to_be_bytes());
            out.extend_from_slice(&self.router_id.octets());
            put_parameters(out, &capabilities);
        });
    }

    /// The AS number: from the capability (RFC 6793 §4.1), else the field.
    #[must_use]
    pub fn asn(&self) -> u32 {
        let four_octets = self.capabilities.iter().find_map(|capability| match capability {
            Capability::FourOctetAs(asn) => Some(*asn),
            _ => None,
        });
        four_octets.unwrap_or(u32::from(self.my_as))
    }
}

/// ```text
///  RFC 4271: length (1) | { type (1) | length (1) | value } …
///  RFC 9072: 255 (1) | 255 (1) | length (2) | { type (1) | length (2) | value } …
/// ```
fn parameters(cursor: &mut Cursor<'_>) -> Result<Vec<Capability>, Notification> {
    let unspecific = |_: Overrun| Notification::open(OpenSubcode::Unspecific, &[]);
    let mut len = usize::from(cursor.u8().map_err(unspecific)?);
    let extended = len > 0 && cursor.rest().first() == Some(&PARAMETER_EXTENDED);
    if extended {
        cursor.u8().map_err(unspecific)?;
        len = usize::from(cursor.u16().map_err(unspecific)?);
    }
    let block = cursor.take(len).map_err(unspecific)?;
    if !cursor.is_empty() {
        return Err(Notification::open(OpenSubcode::Unspecific, &[]));
    }
    let mut block = Cursor::new(block);
    let mut found = Vec::new();
    while !block.is_empty() {
        let kind = block.u8().map_err(unspecific)?;
        let len = if extended { block.u16().map(usize::from) } else { block.u8().map(usize::from) };
        let value = len.and_then(|len| block.take(len)).map_err(unspecific)?;
        if kind != PARAMETER_CAPABILITIES {
            return Err(Notification::open(OpenSubcode::UnsupportedOptionalParameter, &[]));
        }
        capabilities(value, &mut found).map_err(unspecific)?;
    }
    Ok(found)
}

fn capabilities(value: &[u8], found: &mut Vec<Capability>) -> Result<(), Overrun> {
    let mut cursor = Cursor::new(value);
    while !cursor.is_empty() {
        let (code, len) = (cursor.u8()?, cursor.u8()?);
        let capability = Capability::decode(code, cursor.take(len.into())?);
        // RFC 5492 §4: the same capability twice means the same as once.
        if !found.contains(&capability) {
            found.push(capability);
        }
    }
    Ok(())
}

fn put_parameters(out: &mut Vec<u8>, capabilities: &[u8]) {
    match capabilities.len() {
        0 => out.push(0),
        len @ 1..=253 => {
            out.extend_from_slice(&[len as u8 + 2, PARAMETER_CAPABILITIES, len as u8]);
            out.extend_from_slice(capabilities);
        }
        len => {
            out.extend_from_slice(&[PARAMETER_EXTENDED, PARAMETER_EXTENDED]);
            out.extend_from_slice(&(len as u16 + 3).to_be_bytes());
            out.push(PARAMETER_CAPABILITIES);
            out.extend_from_slice(&(len as u16).to_be_bytes());
            out.extend_from_slice(capabilities);
        }
    }
}
