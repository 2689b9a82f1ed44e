//! Policies that are programs: whoever compiles them gives the engine something that it can call.

use ipnet::IpNet;

use super::Provenance;
use super::definition::Action;
use crate::attr::AttrRef;

/// A program that decides about single routes. It is called in the middle of their way: it must not wait, and it must
/// say the same of the same route each time.
pub trait Filter: Send + Sync {
    /// What is to be changed before the route passes; `None` if it does not pass.
    fn decide(&self, prefix: &IpNet, attrs: &AttrRef, from: &Provenance) -> Option<Vec<Action>>;
}
