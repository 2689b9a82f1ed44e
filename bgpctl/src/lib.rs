//! The command line of bgpd: a thin client of its gRPC API, and an offline decoder of BGP messages.

#![forbid(unsafe_code)]

mod arguments;
mod client;
mod commands;
mod decode;
mod error;
mod key;
mod output;
mod top;

pub use arguments::Arguments;
pub use commands::run;
pub use error::Error;
