//! What the daemon says of itself while it runs.

pub mod log;
