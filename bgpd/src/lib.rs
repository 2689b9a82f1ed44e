//! The bgpd daemon: the edge where I/O happens.
//!
//! Everything that a BGP speaker *is* stands in `bgp-engine`; this crate gives it sockets, threads, files and an API.
#![deny(unsafe_code)]

pub mod api;
pub mod config;
#[cfg(feature = "roto")]
mod filter;
pub mod observe;
mod peer;
pub mod privileges;
pub mod rpki;
pub mod runtime;
