//! Validated ROA payloads: how they come from caches (RFC 8210), and what they say of routes (RFC 6811).
//!
//! [`Client`] is the router's side of one cache: octets and time come in, octets and changes go out. [`VrpTable`] is what
//! policy asks. Between the two [`in_use`] says which caches count.

mod client;
mod table;

pub use client::{Action, Client, Input, Phase};
pub use table::VrpTable;

/// Most VRPs of one cache unless configured otherwise: several times what the RPKI had in 2026.
pub const LIMIT: u32 = 2_000_000;

/// How to talk to one cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheSettings {
    /// Of the caches that have data the one with the lowest number counts; those with the same number count together.
    pub preference: u8,
    /// Seconds from an answer to the next question, in place of what the cache says.
    pub refresh: Option<u32>,
    /// Seconds from a failure to the next attempt, in place of what the cache says.
    pub retry: Option<u32>,
    /// Seconds that data is used without an answer, in place of what the cache says.
    pub expire: Option<u32>,
    /// Most VRPs.
    pub limit: u32,
}

impl Default for CacheSettings {
    fn default() -> Self {
        Self { preference: 0, refresh: None, retry: None, expire: None, limit: LIMIT }
    }
}

/// The places of the clients whose data counts (RFC 8210 §10): of those that have data, the ones that are in touch with
/// their cache come before those that are not, and then the preferred ones before the others.
#[must_use]
pub fn in_use<'a>(clients: impl IntoIterator<Item = &'a Client>) -> Vec<usize> {
    let rank = |client: &Client| (client.is_stale(), client.preference());
    let with_data: Vec<_> =
        clients.into_iter().enumerate().filter(|(_, one)| one.has_data()).map(|(at, one)| (rank(one), at)).collect();
    let best = with_data.iter().map(|(rank, _)| *rank).min();
    with_data.into_iter().filter(|(rank, _)| Some(*rank) == best).map(|(_, at)| at).collect()
}
