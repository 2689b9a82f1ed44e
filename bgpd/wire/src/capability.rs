//! Capabilities (RFC 5492): what a speaker says of itself in OPEN.

use crate::Family;

/// One capability. Unknown ones are kept as they came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Capability {
    /// Multiprotocol extensions, code 1 (RFC 4760 §8).
    Multiprotocol(Family),
    /// Route refresh, code 2 (RFC 2918).
    RouteRefresh,
    /// Extended next hop encoding, code 5 (RFC 8950 §4): family and next-hop AFI.
    ExtendedNextHop(Vec<(Family, u16)>),
    /// Extended messages, code 6 (RFC 8654).
    ExtendedMessage,
    /// BGP role, code 9 (RFC 9234 §4.1).
    Role(u8),
    /// Graceful restart, code 64 (RFC 4724 §3, RFC 8538 §2).
    GracefulRestart(GracefulRestart),
    /// 4-octet AS number, code 65 (RFC 6793 §3).
    FourOctetAs(u32),
    /// ADD-PATH, code 69 (RFC 7911 §4).
    AddPath(Vec<(Family, AddPathMode)>),
    /// Enhanced route refresh, code 70 (RFC 7313 §3.1).
    EnhancedRouteRefresh,
    /// Long-lived graceful restart, code 71 (RFC 9494 §3.1): family, forwarding state kept, stale time in seconds.
    LongLivedGracefulRestart(Vec<(Family, bool, u32)>),
    /// FQDN, code 73: host name and domain name.
    Fqdn(String, String),
    /// Anything else.
    Unknown {
        /// Capability code.
        code: u8,
        /// Its value.
        value: Vec<u8>,
    },
}

/// Graceful restart capability (RFC 4724 §3).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GracefulRestart {
    /// The R bit: the sender has restarted.
    pub restarting: bool,
    /// The N bit: GR also after NOTIFICATION (RFC 8538 §2).
    pub notification: bool,
    /// Restart time, 0 to 4095 seconds.
    pub restart_seconds: u16,
    /// Families and whether their forwarding state was kept.
    pub families: Vec<(Family, bool)>,
}

/// What a speaker can do with ADD-PATH in a family (RFC 7911 §4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AddPathMode {
    /// Can receive several paths.
    pub receive: bool,
    /// Can send several paths.
    pub send: bool,
}
