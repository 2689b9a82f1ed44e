//! What a BGP speaker is, without any I/O: bytes and time come in, effects go out.
//!
//! The modules depend on each other in one direction only:
//! `id → attr → policy → rpki → config → session → export → stage → rib, intake → group → speaker`; a test holds them to it.
#![forbid(unsafe_code)]

pub mod attr;
pub mod config;
pub mod export;
pub mod group;
pub mod id;
pub mod intake;
pub mod policy;
pub mod rib;
pub mod rpki;
pub mod session;
pub mod speaker;
pub mod stage;
