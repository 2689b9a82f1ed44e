//! `bgp-sidecar`: between Kubernetes, bgpd and the kernel.

#![forbid(unsafe_code)]

use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;

use bgp_sidecar::arguments::{Arguments, Command, Output};
use bgp_sidecar::bgpd::Ownership;
use bgp_sidecar::runtime;
use clap::{CommandFactory, Parser};
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let (None, Err(reason)) = (&arguments.command, arguments.run.check()) {
        Arguments::command().error(clap::error::ErrorKind::ArgumentConflict, reason).exit();
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return failed(&format!("no threads: {error}")),
    };
    let code = runtime.block_on(execute(arguments));
    // Blocking work of a part that has ended is not waited for.
    runtime.shutdown_timeout(Duration::from_millis(200));
    code
}

async fn execute(arguments: Arguments) -> ExitCode {
    match arguments.command {
        None => {
            start_log();
            match runtime::run(&arguments.run).await {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => failed(&error.to_string()),
            }
        }
        Some(Command::Status { listen, output }) => match runtime::status(listen).await {
            Ok(status) => {
                match output {
                    Output::Table => print!("{}", status.table()),
                    Output::Json => println!("{:#}", serde_json::json!(status)),
                }
                if status.ready { ExitCode::SUCCESS } else { ExitCode::FAILURE }
            }
            Err(error) => failed(&error.to_string()),
        },
        Some(Command::Uninstall { protocol, server, owner, cni_conf }) => {
            let ownership = Ownership { owner, lease: Duration::from_secs(10) };
            match runtime::uninstall(protocol, &server, &ownership, cni_conf.as_deref()).await {
                Ok(()) => ExitCode::SUCCESS,
                Err(failures) => failed(&failures.join("\nbgp-sidecar: ")),
            }
        }
    }
}

fn failed(message: &str) -> ExitCode {
    eprintln!("bgp-sidecar: {message}");
    ExitCode::FAILURE
}

/// `BGP_SIDECAR_LOG` is a filter such as `info,bgp_sidecar=debug`.
fn start_log() {
    // The watches of the kube crate say at every attempt what is said here once.
    let default = || EnvFilter::new("info,kube_runtime=error,kube_client=error");
    let filter = EnvFilter::try_from_env("BGP_SIDECAR_LOG").unwrap_or_else(|_| default());
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    builder.with_ansi(std::io::stderr().is_terminal()).init();
}
