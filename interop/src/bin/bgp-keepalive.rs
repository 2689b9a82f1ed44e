//! Watches bgpd's KEEPALIVEs under load; see `docs/robustness.md`.

use std::process::ExitCode;

use clap::Parser;
use interop::bench::keepalive::{self, Options};

fn main() -> ExitCode {
    match keepalive::run(&Options::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("bgp-keepalive: {error}");
            ExitCode::from(2)
        }
    }
}
