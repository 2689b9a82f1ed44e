//! PDUs of the RPKI-to-Router protocol, version 1 (RFC 8210 §5) and version 0 (RFC 6810 §5).
//!
//! ```text
//!  0          8          16                    31
//! +----------+----------+---------------------+
//! | version  | type     | session ID, code, 0 |
//! +----------+----------+---------------------+
//! | length of the whole PDU                   |
//! +-------------------------------------------+
//! | body                                      |
//! ```

use std::fmt;
use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::cursor::{Cursor, Overrun};
use crate::text::printable;

/// Octets of the header.
pub const HEADER_LEN: usize = 8;
/// Longest PDU that is accepted. Only Router Keys and Error Reports have no fixed length, and none needs as much.
pub const LEN_MAX: usize = 8192;
/// Most octets of a PDU or a text that an Error Report of ours repeats.
const REPEATED_MAX: usize = 512;

/// What is wrong, as an Error Report says it (RFC 8210 §12).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ErrorCode(pub u16);

impl ErrorCode {
    /// What was received cannot be what was meant.
    pub const CORRUPT_DATA: Self = Self(0);
    /// The other side has a problem of its own.
    pub const INTERNAL_ERROR: Self = Self(1);
    /// The cache has no data yet. The only code that is not fatal.
    pub const NO_DATA_AVAILABLE: Self = Self(2);
    /// A request that makes no sense to the cache.
    pub const INVALID_REQUEST: Self = Self(3);
    /// The cache does not speak this version.
    pub const UNSUPPORTED_VERSION: Self = Self(4);
    /// A type of PDU that nobody knows.
    pub const UNSUPPORTED_PDU_TYPE: Self = Self(5);
    /// What is withdrawn was not announced.
    pub const WITHDRAWAL_OF_UNKNOWN: Self = Self(6);
    /// What is announced is there already.
    pub const DUPLICATE_ANNOUNCEMENT: Self = Self(7);
    /// Another version than the one agreed on.
    pub const UNEXPECTED_VERSION: Self = Self(8);
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match *self {
            Self::CORRUPT_DATA => "corrupt data",
            Self::INTERNAL_ERROR => "internal error",
            Self::NO_DATA_AVAILABLE => "no data available",
            Self::INVALID_REQUEST => "invalid request",
            Self::UNSUPPORTED_VERSION => "unsupported protocol version",
            Self::UNSUPPORTED_PDU_TYPE => "unsupported PDU type",
            Self::WITHDRAWAL_OF_UNKNOWN => "withdrawal of unknown record",
            Self::DUPLICATE_ANNOUNCEMENT => "duplicate announcement received",
            Self::UNEXPECTED_VERSION => "unexpected protocol version",
            Self(other) => return write!(f, "error {other}"),
        })
    }
}

/// A validated ROA payload (RFC 6811 §2): an AS that may originate a prefix and what is more specific up to a length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Vrp {
    /// The prefix, without host bits.
    pub prefix: IpNet,
    /// Longest announcement that is meant.
    pub max_length: u8,
    /// Who may originate it; 0 stands for nobody (RFC 6483 §4).
    pub asn: u32,
}

impl fmt::Display for Vrp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} up to /{} by AS{}", self.prefix, self.max_length, self.asn)
    }
}

/// How often to ask, in seconds (RFC 8210 §6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Intervals {
    /// From an answer to the next question.
    pub refresh: u32,
    /// From a failed question to the next one.
    pub retry: u32,
    /// From an answer until its data must not be used any more.
    pub expire: u32,
}

impl Default for Intervals {
    /// The values that RFC 8210 §6 recommends.
    fn default() -> Self {
        Self { refresh: 3600, retry: 600, expire: 7200 }
    }
}

/// One PDU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pdu {
    /// The cache has something new (§5.2).
    SerialNotify {
        /// The cache's session.
        session: u16,
        /// Its newest data.
        serial: u32,
    },
    /// What is new since a serial number? (§5.3)
    SerialQuery {
        /// The session that the number belongs to.
        session: u16,
        /// What the router has.
        serial: u32,
    },
    /// What is there? (§5.4)
    ResetQuery,
    /// The answer begins (§5.5).
    CacheResponse {
        /// The cache's session.
        session: u16,
    },
    /// One VRP (§5.6, §5.7).
    Prefix {
        /// Whether it is announced or withdrawn.
        announce: bool,
        /// The VRP.
        vrp: Vrp,
    },
    /// The answer is complete (§5.8).
    EndOfData {
        /// The cache's session.
        session: u16,
        /// What the router has now.
        serial: u32,
        /// How often to ask; version 0 does not say.
        intervals: Option<Intervals>,
    },
    /// The cache cannot say what is new (§5.9).
    CacheReset,
    /// A key for BGPsec (§5.10), of which nothing is used.
    RouterKey,
    /// Something was wrong (§5.11).
    ErrorReport {
        /// What.
        code: ErrorCode,
        /// For people.
        text: String,
    },
}

/// A PDU that cannot be used: what the Error Report about it says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {what}")]
pub struct PduError {
    /// The code.
    pub code: ErrorCode,
    /// For people.
    pub what: String,
}

impl PduError {
    fn corrupt(what: impl Into<String>) -> Self {
        Self { code: ErrorCode::CORRUPT_DATA, what: what.into() }
    }
}

impl From<Overrun> for PduError {
    fn from(overrun: Overrun) -> Self {
        Self::corrupt(overrun.to_string())
    }
}

/// The octets of the next PDU of a stream; `None` if it is not complete.
///
/// # Errors
/// A length that no PDU can have: where the next one begins is not known.
pub fn split(stream: &[u8]) -> Result<Option<&[u8]>, PduError> {
    let Some((header, _)) = stream.split_first_chunk::<HEADER_LEN>() else { return Ok(None) };
    let [.., a, b, c, d] = *header;
    let length = u32::from_be_bytes([a, b, c, d]) as usize;
    if !(HEADER_LEN..=LEN_MAX).contains(&length) {
        return Err(PduError::corrupt(format!("length {length}, expected {HEADER_LEN} to {LEN_MAX}")));
    }
    Ok(stream.get(..length))
}

/// The version and the PDU that `bytes` are: exactly one, as [`split`] gives it.
///
/// # Errors
/// What is wrong with it.
pub fn decode(bytes: &[u8]) -> Result<(u8, Pdu), PduError> {
    let mut body = Cursor::new(bytes);
    let (version, kind, field) = (body.u8()?, body.u8()?, body.u16()?);
    let length = body.u32()? as usize;
    if length != bytes.len() {
        return Err(PduError::corrupt(format!("length {length} of {} octets", bytes.len())));
    }
    if version > 1 {
        let what = format!("version {version}, expected 0 or 1");
        return Err(PduError { code: ErrorCode::UNSUPPORTED_VERSION, what });
    }
    let pdu = match kind {
        0 => Pdu::SerialNotify { session: field, serial: body.u32()? },
        1 => Pdu::SerialQuery { session: field, serial: body.u32()? },
        2 => Pdu::ResetQuery,
        3 => Pdu::CacheResponse { session: field },
        4 => prefix(&mut body, 32)?,
        6 => prefix(&mut body, 128)?,
        7 => end_of_data(version, field, &mut body)?,
        8 => Pdu::CacheReset,
        9 if version == 1 => {
            // The key identifier, the AS number and the key follow.
            body.take(24)?;
            body.take(body.left())?;
            Pdu::RouterKey
        }
        10 => error_report(field, &mut body)?,
        _ => {
            let what = format!("type {kind} in version {version}");
            return Err(PduError { code: ErrorCode::UNSUPPORTED_PDU_TYPE, what });
        }
    };
    match body.left() {
        0 => Ok((version, pdu)),
        left => Err(PduError::corrupt(format!("{left} octets too many for type {kind}"))),
    }
}

fn prefix(body: &mut Cursor<'_>, longest: u8) -> Result<Pdu, PduError> {
    let (flags, length, max_length, _) = (body.u8()?, body.u8()?, body.u8()?, body.u8()?);
    let address: IpAddr = if longest == 32 { body.ipv4()?.into() } else { body.ipv6()?.into() };
    let asn = body.u32()?;
    // RFC 8210 §5.6: the lengths in their order, and nothing behind the prefix.
    if length > max_length || max_length > longest {
        let what = format!("{address}/{length} up to /{max_length}, expected lengths that rise to at most {longest}");
        return Err(PduError::corrupt(what));
    }
    let net = match address {
        IpAddr::V4(address) => Ipv4Net::new(address, length).map(IpNet::V4),
        IpAddr::V6(address) => Ipv6Net::new(address, length).map(IpNet::V6),
    };
    match net {
        Ok(net) if net.trunc() == net => {
            Ok(Pdu::Prefix { announce: flags & 1 == 1, vrp: Vrp { prefix: net, max_length, asn } })
        }
        _ => Err(PduError::corrupt(format!("{address}/{length} has host bits"))),
    }
}

fn end_of_data(version: u8, session: u16, body: &mut Cursor<'_>) -> Result<Pdu, PduError> {
    let serial = body.u32()?;
    let intervals = match version {
        // RFC 6810 §5.8.
        0 => None,
        _ => Some(Intervals { refresh: body.u32()?, retry: body.u32()?, expire: body.u32()? }),
    };
    Ok(Pdu::EndOfData { session, serial, intervals })
}

fn error_report(code: u16, body: &mut Cursor<'_>) -> Result<Pdu, PduError> {
    let repeated = body.u32()? as usize;
    body.take(repeated)?;
    let length = body.u32()? as usize;
    let text = body.take(length)?;
    let text = text.get(..REPEATED_MAX).unwrap_or(text);
    Ok(Pdu::ErrorReport { code: ErrorCode(code), text: printable(text) })
}

impl Pdu {
    /// Its octets in a version.
    #[must_use]
    pub fn encode(&self, version: u8) -> Vec<u8> {
        let (kind, field, body) = match self {
            Self::SerialNotify { session, serial } => (0, *session, serial.to_be_bytes().to_vec()),
            Self::SerialQuery { session, serial } => (1, *session, serial.to_be_bytes().to_vec()),
            Self::ResetQuery => (2, 0, Vec::new()),
            Self::CacheResponse { session } => (3, *session, Vec::new()),
            Self::Prefix { announce, vrp } => encode_prefix(*announce, vrp),
            Self::EndOfData { session, serial, intervals } => {
                let Intervals { refresh, retry, expire } = intervals.unwrap_or_default();
                let numbers = [*serial, refresh, retry, expire];
                let count = if version == 0 { 1 } else { numbers.len() };
                (7, *session, numbers.iter().take(count).flat_map(|one| one.to_be_bytes()).collect())
            }
            Self::CacheReset => (8, 0, Vec::new()),
            Self::RouterKey => (9, 0, vec![0; 24]),
            Self::ErrorReport { code, text } => (10, code.0, report(&[], text)),
        };
        frame(version, kind, field, &body)
    }
}

/// An Error Report about `about`, the octets that were received, and why (RFC 8210 §5.11).
#[must_use]
pub fn encode_error(version: u8, error: &PduError, about: &[u8]) -> Vec<u8> {
    frame(version, 10, error.code.0, &report(about.get(..REPEATED_MAX).unwrap_or(about), &error.what))
}

fn report(about: &[u8], text: &str) -> Vec<u8> {
    let mut body = (about.len() as u32).to_be_bytes().to_vec();
    body.extend_from_slice(about);
    body.extend_from_slice(&(text.len() as u32).to_be_bytes());
    body.extend_from_slice(text.as_bytes());
    body
}

fn encode_prefix(announce: bool, vrp: &Vrp) -> (u8, u16, Vec<u8>) {
    let mut body = vec![u8::from(announce), vrp.prefix.prefix_len(), vrp.max_length, 0];
    let kind = match vrp.prefix.addr() {
        IpAddr::V4(address) => {
            body.extend_from_slice(&address.octets());
            4
        }
        IpAddr::V6(address) => {
            body.extend_from_slice(&address.octets());
            6
        }
    };
    body.extend_from_slice(&vrp.asn.to_be_bytes());
    (kind, 0, body)
}

fn frame(version: u8, kind: u8, field: u16, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![version, kind];
    bytes.extend_from_slice(&field.to_be_bytes());
    bytes.extend_from_slice(&((HEADER_LEN + body.len()) as u32).to_be_bytes());
    bytes.extend_from_slice(body);
    bytes
}

#[cfg(test)]
mod tests;
