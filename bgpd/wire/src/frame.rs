//! Message boundaries in a byte stream (RFC 4271 §4.1, RFC 8654).
//!
//! ```text
//!  marker, 16 octets of 0xff | length (2) | type (1) | body
//! ```

use crate::Notification;

/// Octets of the header.
pub const HEADER_LEN: usize = 19;
/// Longest message (RFC 4271 §4.1).
pub const MAX_LEN: usize = 4096;
/// Longest message where extended messages are negotiated (RFC 8654 §2).
pub const MAX_EXTENDED_LEN: usize = 65_535;

/// A whole KEEPALIVE message (RFC 4271 §4.4).
pub const KEEPALIVE: [u8; HEADER_LEN] = {
    let mut message = [0xff; HEADER_LEN];
    message[16] = 0;
    message[17] = HEADER_LEN as u8;
    message[18] = 4;
    message
};

/// Message types (RFC 4271 §4.1, RFC 2918 §3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MessageType {
    /// OPEN, type 1.
    Open,
    /// UPDATE, type 2.
    Update,
    /// NOTIFICATION, type 3.
    Notification,
    /// KEEPALIVE, type 4.
    Keepalive,
    /// ROUTE-REFRESH, type 5.
    RouteRefresh,
}

impl MessageType {
    /// The type code.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Open => 1,
            Self::Update => 2,
            Self::Notification => 3,
            Self::Keepalive => 4,
            Self::RouteRefresh => 5,
        }
    }

    /// The name in the RFCs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Open => "OPEN",
            Self::Update => "UPDATE",
            Self::Notification => "NOTIFICATION",
            Self::Keepalive => "KEEPALIVE",
            Self::RouteRefresh => "ROUTE-REFRESH",
        }
    }

    /// The type with a code.
    #[must_use]
    pub const fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            1 => Self::Open,
            2 => Self::Update,
            3 => Self::Notification,
            4 => Self::Keepalive,
            5 => Self::RouteRefresh,
            _ => return None,
        })
    }

    /// Least length of a whole message (RFC 4271 §6.1).
    const fn min_len(self) -> usize {
        match self {
            Self::Open => 29,
            Self::Update | Self::RouteRefresh => 23,
            Self::Notification => 21,
            Self::Keepalive => HEADER_LEN,
        }
    }

    /// Greatest length. OPEN and KEEPALIVE are never extended (RFC 8654 §4).
    const fn max_len(self, negotiated: usize) -> usize {
        match self {
            Self::Open => MAX_LEN,
            Self::Keepalive => HEADER_LEN,
            Self::Update | Self::Notification | Self::RouteRefresh => negotiated,
        }
    }
}

/// One message in a byte stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Its type.
    pub kind: MessageType,
    /// What follows the header.
    pub body: &'a [u8],
    /// The whole message.
    pub raw: &'a [u8],
}

/// The first message of `buf`; `None` if it is not whole yet. `max_len` is [`MAX_LEN`] or [`MAX_EXTENDED_LEN`].
///
/// # Errors
/// The NOTIFICATION of RFC 4271 §6.1, as soon as the header is there.
pub fn split(buf: &[u8], max_len: usize) -> Result<Option<Frame<'_>>, Notification> {
    let Some((header, _)) = buf.split_first_chunk::<HEADER_LEN>() else {
        // A marker that is wrong already does not get better.
        let bad = buf.iter().take(16).any(|octet| *octet != 0xff);
        return if bad { Err(Notification::not_synchronized()) } else { Ok(None) };
    };
    let [marker @ .., high, low, code] = header;
    if marker.iter().any(|octet| *octet != 0xff) {
        return Err(Notification::not_synchronized());
    }
    let len = usize::from(u16::from_be_bytes([*high, *low]));
    // RFC 4271 §6.1: the length is judged before the type where no type could make it right.
    if !(HEADER_LEN..=max_len).contains(&len) {
        return Err(Notification::bad_length(len));
    }
    let Some(kind) = MessageType::from_code(*code) else {
        return Err(Notification::bad_type(*code));
    };
    // RFC 7313 §5 has an error of its own for ROUTE-REFRESH of a wrong length, found when the body is decoded.
    let wrong_len = !(kind.min_len()..=kind.max_len(max_len)).contains(&len);
    if wrong_len && kind != MessageType::RouteRefresh {
        return Err(Notification::bad_length(len));
    }
    let Some(raw) = buf.get(..len) else { return Ok(None) };
    Ok(raw.get(HEADER_LEN..).map(|body| Frame { kind, body, raw }))
}

/// Appends a message: header, then what `body` writes.
pub(crate) fn put(out: &mut Vec<u8>, kind: MessageType, body: impl FnOnce(&mut Vec<u8>)) {
    let start = begin(out, kind);
    body(out);
    finish(out, start);
}

/// Appends a header whose length is not known yet; returns where it starts.
pub(crate) fn begin(out: &mut Vec<u8>, kind: MessageType) -> usize {
    let start = out.len();
    out.extend_from_slice(&[0xff; 16]);
    out.extend_from_slice(&[0, 0, kind.code()]);
    start
}

/// Fills in the length of the message that starts at `start` and ends here.
pub(crate) fn finish(out: &mut [u8], start: usize) {
    let len = (out.len() - start).min(MAX_EXTENDED_LEN) as u16;
    if let Some(field) = out.get_mut(start + 16..start + 18) {
        field.copy_from_slice(&len.to_be_bytes());
    }
}
