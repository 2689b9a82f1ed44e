//! What clients of the API of a real bgpd see.

mod daemon;
mod metrics;
mod owners;
