//! Deterministic simulation: many real speakers on a virtual clock and network, and what they must come to.
//!
//! One seed decides everything: the topology, the routes, every delay, loss, reset, partition, slow reader and restart,
//! and in which order the stages inside each speaker go on. The speakers are [`bgp_engine::speaker::Speaker`]s: the
//! sessions, tables and groups of the daemon. When the network has become quiet, every table is compared with what a
//! [naive model](model) says, which shares no code with the engine.

pub mod away;
pub mod chaos;
pub mod check;
pub mod model;
pub mod network;
pub mod random;
pub mod run;
pub mod seeds;
pub mod topology;
pub mod world;

pub use random::Random;
pub use run::{Outcome, Plan, run};
pub use topology::{Shape, Topology};
pub use world::{Time, World};
