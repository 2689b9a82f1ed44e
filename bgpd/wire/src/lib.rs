//! BGP messages to and from bytes.
//!
//! Pure and synchronous: bytes in, values and RFC 7606 verdicts out. Nothing here knows a clock,
//! a socket or a policy; nothing panics on input from a peer.
//!
//! | module | what |
//! |---|---|
//! | [`frame`] | the 19-octet header, message boundaries in a byte stream (RFC 4271 §4.1) |
//! | [`open`], [`capability`] | OPEN and its capabilities (RFC 4271 §4.2, RFC 5492, RFC 9072) |
//! | [`update`], [`attribute`], [`nlri`] | UPDATE (RFC 4271 §4.3, RFC 4760, RFC 7606) |
//! | [`notification`] | NOTIFICATION (RFC 4271 §4.5, RFC 9003) |
//! | [`route_refresh`] | ROUTE-REFRESH (RFC 2918, RFC 7313) |
//! | [`text`] | what peers write for people (RFC 9003, host names) |
//! | [`rtr`] | PDUs of the RPKI-to-Router protocol (RFC 8210, RFC 6810) |
#![forbid(unsafe_code)]
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

pub mod attribute;
pub mod capability;
pub mod cursor;
pub mod family;
pub mod frame;
pub mod nlri;
pub mod notification;
pub mod open;
pub mod route_refresh;
pub mod rtr;
pub mod text;
pub mod update;

pub use family::Family;
pub use nlri::Nlri;
pub use notification::Notification;
