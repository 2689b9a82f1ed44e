//! Measures BGP daemons side by side; see `docs/performance.md`.

use std::process::ExitCode;

use clap::Parser;
use interop::bench::{self, Options};

fn main() -> ExitCode {
    match bench::run(&Options::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("bgp-bench: {error}");
            ExitCode::from(2)
        }
    }
}
