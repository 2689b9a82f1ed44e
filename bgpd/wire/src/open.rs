//! OPEN messages (RFC 4271 §4.2, RFC 5492 §4, RFC 9072).

use std::net::Ipv4Addr;

use crate::capability::Capability;

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

// Open::decode(body: &[u8]) -> Result<Open, Notification>
//   every syntactic error of RFC 4271 §6.2 / RFC 5492 §5 / RFC 9072 with exact code/subcode/data. (Semantic checks such as bad peer AS, unacceptable
//   hold time, identifier 0: hold time and identifier 0 and version here; peer AS in the session.)
// Open::encode(&self, out: &mut Vec<u8>)        whole message with header; RFC 9072 form when the parameters exceed 255 octets
// Open::asn(&self) -> u32                       4-octet AS from the capability, else my_as
