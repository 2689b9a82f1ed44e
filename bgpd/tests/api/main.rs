//! What clients of the API of a real bgpd see.

mod confirm;
mod broken;
mod daemon;
mod declared;
mod guard;
mod metrics;
mod owners;
mod random;
mod security;
mod speaker;
mod stream;
mod watch;
