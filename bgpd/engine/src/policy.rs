//! Import and export policy.
//!
//! [`Definitions`] are what is configured. A [`Library`] is their compiled form, in which names resolve to a
//! [`Policy`]; where none is configured, iBGP accepts and eBGP rejects everything (RFC 8212 §3). Intake evaluates import
//! policies, a partition evaluates export policies, both on interned sets: what a policy says of an attribute set is
//! kept in a [`Memo`], and only conditions that read the prefix are asked for every route. The same evaluator writes a
//! [`Trace`] for people.

mod action;
mod as_path;
mod community;
mod condition;
mod definition;
mod filter;
mod library;
mod memo;
mod prefix_set;
mod rpki;
mod rules;
mod trace;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use bgp_wire::Family;
use ipnet::IpNet;

use crate::attr::AttrRef;
use crate::id::SourceKind;

pub use as_path::{AsPathPattern, InvalidAsPathPattern};
pub use community::{AnyCommunity, CommunityPattern, CommunitySet, InvalidCommunity};
pub use definition::{
    Action, Amount, Bounds, Condition, Definitions, InvalidBounds, NeighborSet, NewNextHop, Outcome, PolicyDefinition,
    RouteType, SetName, Statement,
};
pub use filter::{Filter, FilterProgram, Judgment};
pub use library::Library;
pub use memo::{Memo, Tree};
pub use prefix_set::{InvalidPrefixEntry, PrefixEntry, PrefixSet};
pub use rpki::{NoValidator, OriginValidation, RpkiState};
pub use rules::Rules;
pub use trace::{Asked, Change, Step, Trace, What};

/// The policy that lets everything pass.
pub const ACCEPT_ALL: &str = "accept-all";
/// The policy that lets nothing pass.
pub const REJECT_ALL: &str = "reject-all";

fn is_built_in(name: &str) -> bool {
    name == ACCEPT_ALL || name == REJECT_ALL
}

/// Which way a route goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From a neighbor.
    Import,
    /// To a neighbor.
    Export,
}

/// What a policy knows of a route besides its attributes and its prefix, in both directions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Provenance {
    /// Its family.
    pub family: Family,
    /// The neighbor that it came from; the own router ID of routes originated here.
    pub address: IpAddr,
    /// Its AS number; 0 of routes originated here.
    pub asn: u32,
    /// How it came.
    pub kind: SourceKind,
}

impl Provenance {
    /// A route that is originated here.
    #[must_use]
    pub fn local(family: Family, router_id: Ipv4Addr) -> Self {
        Self { family, address: router_id.into(), asn: 0, kind: SourceKind::Local }
    }
}

/// What happens to the routes of a session in one direction.
#[derive(Debug, Clone)]
pub enum Policy {
    /// Every route passes as it is.
    AcceptAll,
    /// No route passes.
    RejectAll,
    /// No route passes, because nobody configured a policy on an eBGP session (RFC 8212 §3).
    Missing,
    /// Policies decide.
    Rules(Arc<Rules>),
}

impl PartialEq for Policy {
    /// Rules are equal if they are the same.
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::AcceptAll, Self::AcceptAll) | (Self::RejectAll, Self::RejectAll) => true,
            (Self::Missing, Self::Missing) => true,
            (Self::Rules(one), Self::Rules(other)) => Arc::ptr_eq(one, other),
            _ => false,
        }
    }
}

impl Eq for Policy {}

/// What a policy says of a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It passes, with these attributes.
    Accept(AttrRef),
    /// It does not pass.
    Reject,
    /// It does not pass for want of a policy (RFC 8212 §3).
    RejectMissing,
}

/// Something that a policy needs does not exist.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown {what} \"{name}\", expected one that is defined, or the policy \"accept-all\" or \"reject-all\"")]
pub struct UnknownPolicy {
    /// What kind of thing.
    pub what: &'static str,
    /// What it is called.
    pub name: String,
}

impl Policy {
    /// What becomes of a route, and why: nothing is remembered, and every step is written to `trace`.
    #[must_use]
    pub fn explain(&self, attrs: &AttrRef, from: &Provenance, prefix: &IpNet, trace: &mut Trace) -> Verdict {
        let step = |trace: &mut Trace, name: &str, outcome| {
            trace.note(name, None, What::Default(outcome));
        };
        match self {
            Self::AcceptAll => {
                step(trace, ACCEPT_ALL, Outcome::Accept);
                Verdict::Accept(attrs.clone())
            }
            Self::RejectAll => {
                step(trace, REJECT_ALL, Outcome::Reject);
                Verdict::Reject
            }
            Self::Missing => Verdict::RejectMissing,
            Self::Rules(rules) => rules.evaluate(attrs, from, prefix, Some(trace)),
        }
    }
}

#[cfg(test)]
mod tests;
