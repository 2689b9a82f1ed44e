//! What clients of the API of a real bgpd see.

mod broken;
mod clusters;
mod confirm;
mod daemon;
mod dashboard;
mod declared;
mod explain;
#[cfg(feature = "roto")]
mod filter;
mod guard;
mod impacts;
mod log;
mod metrics;
mod neighbor_watch;
mod owners;
mod policies;
mod policy;
mod random;
mod resets;
mod restart;
mod security;
mod speaker;
mod stream;
mod watch;
