//! `bgpctl`: the command line of bgpd.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use bgpctl::{Arguments, run};
use clap::Parser;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(arguments).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is_closed_pipe() => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bgpctl: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}
