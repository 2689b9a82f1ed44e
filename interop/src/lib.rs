//! Proof that bgpd works with real peers: labs in network namespaces, and benchmarks beside other daemons.

pub mod bench;
pub mod lab;
pub mod malformed;
pub mod sim;
pub mod storm;
