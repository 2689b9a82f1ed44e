//! What the operator wants, and the steps from what runs to what is wanted.
//!
//! A TOML file and the gRPC API both end as a [`Desired`]; [`plan()`] compares two of them. Routes originated here have
//! [`owners`].

pub mod cluster;
mod desired;
mod keys;
pub mod owners;
mod plan;
mod role;

pub use desired::{
    AddPath, ConnectionLimits, Desired, DynamicNeighbors, Global, GracefulRestart, LimitAction, Neighbor,
    NeighborSettings, Originate, PrefixLimits, Secret,
};
pub use keys::{AoAlgorithm, AoKey, Keys, signed_range};
pub use plan::{Change, Impact, Step, apply, plan};
pub use role::{Role, UnknownRole};
