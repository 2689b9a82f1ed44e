//! What origin validation says of a route (RFC 6811), as far as policy reads it.

use std::fmt;

use ipnet::IpNet;

/// The state of a route's origin (RFC 6811 §2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RpkiState {
    /// A VRP covers the prefix and matches the origin.
    Valid,
    /// VRPs cover the prefix, and none of them matches.
    Invalid,
    /// No VRP covers the prefix.
    NotFound,
}

impl RpkiState {
    /// All of them, with the words for them.
    pub const NAMES: [(&'static str, Self); 3] =
        [("valid", Self::Valid), ("invalid", Self::Invalid), ("not-found", Self::NotFound)];
}

impl fmt::Display for RpkiState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Valid => "valid",
            Self::Invalid => "invalid",
            Self::NotFound => "not-found",
        })
    }
}

/// Who knows the state of origins. It is asked for single routes, in the middle of their way: no waiting.
pub trait OriginValidation: Send + Sync {
    /// The state of a route to `prefix` whose path ends with `origin`; `None` where it ends with a set (RFC 6811 §2).
    fn state(&self, prefix: &IpNet, origin: Option<u32>) -> RpkiState;
}

/// There is no validator: nothing is found.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoValidator;

impl OriginValidation for NoValidator {
    fn state(&self, _: &IpNet, _: Option<u32>) -> RpkiState {
        RpkiState::NotFound
    }
}
