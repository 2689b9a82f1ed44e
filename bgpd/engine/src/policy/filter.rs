//! Policies that are programs: whoever compiles them gives the engine something that it can call.

use std::fmt;
use std::sync::Arc;

use ipnet::IpNet;

use super::Provenance;
use super::definition::{Action, Outcome};
use super::rpki::OriginValidation;
use crate::attr::AttrRef;

/// What a program says of a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgment {
    /// What is to be changed before the route passes or goes on. One that does not pass is not changed.
    pub changes: Vec<Action>,
    /// Whether it passes; `Next` leaves that to the next policy of the list.
    pub then: Outcome,
}

/// A program that decides about single routes. It is called in the middle of their way: it must not wait, and it must
/// say the same of the same route each time.
pub trait Filter: Send + Sync {
    /// What becomes of a route.
    fn decide(&self, prefix: &IpNet, attrs: &AttrRef, from: &Provenance, validation: &dyn OriginValidation)
    -> Judgment;

    /// Whether what it says can depend on the state of the origin: then it is asked again when that changes.
    fn reads_rpki(&self) -> bool;
}

/// A program as it is configured, and what can be called. Programs of the same source are equal.
#[derive(Clone)]
pub struct FilterProgram {
    /// Its source.
    pub source: String,
    /// Its compiled form.
    pub filter: Arc<dyn Filter>,
}

impl PartialEq for FilterProgram {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

impl Eq for FilterProgram {}

impl fmt::Debug for FilterProgram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a program of {} octets", self.source.len())
    }
}
