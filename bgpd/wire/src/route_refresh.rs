//! ROUTE-REFRESH messages (RFC 2918 §3, RFC 7313 §3.2).

use crate::Family;

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
