//! ROUTE-REFRESH messages (RFC 2918 §3, RFC 7313 §3.2).

use crate::cursor::{Cursor, Overrun};
use crate::frame::{self, MessageType};
use crate::{Family, Notification};

/// A ROUTE-REFRESH message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RouteRefresh {
    /// The family asked for.
    pub family: Family,
    /// What it says.
    pub subtype: RefreshSubtype,
}

/// Message subtype (RFC 7313 §3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefreshSubtype {
    /// 0: a request to send everything again.
    Request,
    /// 1: beginning of a route refresh (BoRR).
    Begin,
    /// 2: end of a route refresh (EoRR).
    End,
    /// Any other value: ignored (RFC 7313 §5).
    Unknown(u8),
}

impl RouteRefresh {
    /// Decodes the body.
    ///
    /// # Errors
    /// ROUTE-REFRESH Message Error / Invalid Message Length when it has not four octets, unless it is of a subtype that is
    /// ignored whatever its length (RFC 7313 §5).
    pub fn decode(body: &[u8]) -> Result<Self, Notification> {
        let mut cursor = Cursor::new(body);
        match Self::fields(&mut cursor) {
            Ok(message) if cursor.is_empty() || matches!(message.subtype, RefreshSubtype::Unknown(_)) => Ok(message),
            _ => {
                let mut whole = Vec::new();
                frame::put(&mut whole, MessageType::RouteRefresh, |out| out.extend_from_slice(body));
                Err(Notification::route_refresh_length(&whole))
            }
        }
    }

    fn fields(cursor: &mut Cursor<'_>) -> Result<Self, Overrun> {
        let (afi, subtype, safi) = (cursor.u16()?, cursor.u8()?, cursor.u8()?);
        let subtype = match subtype {
            0 => RefreshSubtype::Request,
            1 => RefreshSubtype::Begin,
            2 => RefreshSubtype::End,
            other => RefreshSubtype::Unknown(other),
        };
        Ok(Self { family: Family { afi, safi }, subtype })
    }

    /// Appends the whole message.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let subtype = match self.subtype {
            RefreshSubtype::Request => 0,
            RefreshSubtype::Begin => 1,
            RefreshSubtype::End => 2,
            RefreshSubtype::Unknown(other) => other,
        };
        frame::put(out, MessageType::RouteRefresh, |out| {
            out.extend_from_slice(&self.family.afi.to_be_bytes());
            out.extend_from_slice(&[subtype, self.family.safi]);
        });
    }
}
