//! `bgpd`: BGP route reflector and speaker.

#![forbid(unsafe_code)]

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use bgpd::api::{Access, Api};
use bgpd::config::{self, Document, OnTerminate};
use bgpd::observe::metrics::Server;
use bgpd::runtime::document::Documents;
use bgpd::runtime::handle::{Changes, Handle, Terms};
use bgpd::runtime::kernel;
use bgpd::{observe, privileges, runtime};
use clap::{CommandFactory, Parser};
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tracing::{error, info, warn};

/// BGP route reflector and speaker (RFC 4271, RFC 4456).
#[derive(Parser)]
#[command(
    version,
    after_help = "Signals: HUP reloads the configuration. TERM stops for a restart: peers with graceful restart keep the \
    routes ([restart] on-sigterm). INT stops for good.\n\
    Exit codes: 0 stopped as asked or configuration valid, 1 configuration not valid or start failed, 2 usage."
)]
struct Arguments {
    /// Configuration file
    #[arg(long, value_name = "FILE", default_value = "/etc/bgpd/bgpd.toml")]
    config: PathBuf,
    /// Check a configuration file and exit: 0 if it is valid, else 1 and a diagnosis
    #[arg(long, value_name = "FILE", conflicts_with = "config")]
    check: Option<PathBuf>,
    /// Print the manual page
    #[arg(long, conflicts_with_all = ["config", "check"])]
    man: bool,
    /// Print a completion script for a shell
    #[arg(long, value_name = "SHELL", conflicts_with_all = ["config", "check", "man"])]
    completions: Option<clap_complete::Shell>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match (&arguments.check, arguments.completions) {
        _ if arguments.man => print(|out| clap_mangen::Man::new(Arguments::command()).section("8").render(out)),
        (_, Some(shell)) => print(|out| {
            clap_complete::generate(shell, &mut Arguments::command(), "bgpd", out);
            Ok(())
        }),
        (Some(file), None) => check(file),
        (None, None) => run(&arguments.config),
    }
}

/// Prints a text that is made from the definitions of the command line.
fn print(make: impl FnOnce(&mut Vec<u8>) -> std::io::Result<()>) -> ExitCode {
    let mut text = Vec::new();
    match make(&mut text).and_then(|()| std::io::stdout().lock().write_all(&text)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bgpd: {error}");
            ExitCode::FAILURE
        }
    }
}

fn check(file: &Path) -> ExitCode {
    match config::load(file) {
        Ok(document) => {
            document.warnings.iter().for_each(|warning| eprintln!("{warning}"));
            if let Err(error) = kernel::check(&document.desired) {
                eprintln!("error: {error}");
                return ExitCode::FAILURE;
            }
            let desired = &document.desired;
            println!(
                "{}: valid: AS {}, router ID {}, neighbors: {}, dynamic ranges: {}, originated routes: {}",
                file.display(),
                desired.global.asn,
                desired.global.router_id,
                desired.neighbors.len(),
                desired.dynamic.len(),
                desired.originate.len(),
            );
            ExitCode::SUCCESS
        }
        Err(diagnosis) => {
            eprintln!("{diagnosis}");
            ExitCode::FAILURE
        }
    }
}

fn run(file: &Path) -> ExitCode {
    let document = match config::load(file) {
        Ok(document) => document,
        Err(diagnosis) => {
            eprintln!("{diagnosis}");
            return ExitCode::FAILURE;
        }
    };
    observe::log::start(&document.log);
    document.warnings.iter().for_each(|warning| warn!("{warning}"));
    privileges::drop_unneeded(&document.desired, &document.api);
    // The API has threads of its own: sessions do not wait behind tables that are written out for its clients.
    let (runtime, api) = match (threads("bgpd"), threads("bgpd-api")) {
        (Ok(runtime), Ok(api)) => (runtime, api),
        (Err(error), _) | (_, Err(error)) => {
            error!(%error, "cannot start the runtime");
            return ExitCode::FAILURE;
        }
    };
    runtime.block_on(serve(document, file.to_owned(), api.handle()))
}

fn threads(name: &str) -> io::Result<Runtime> {
    Builder::new_multi_thread().thread_name(name).enable_all().build()
}

async fn serve(document: Document, file: PathBuf, api_threads: &tokio::runtime::Handle) -> ExitCode {
    let (api_settings, metrics, restart) = (document.api.clone(), document.metrics.clone(), document.restart.clone());
    let documents = Documents::open(&restart, &file);
    let base = documents.base().to_owned();
    let document = documents.choose(document);
    let desired = &document.desired;
    info!(version = env!("CARGO_PKG_VERSION"), asn = desired.global.asn, router_id = %desired.global.router_id, "bgpd starts");
    let handle = match runtime::start(document, documents, &restart) {
        Ok(handle) => handle,
        Err(error) => {
            error!(%error, "cannot start");
            return ExitCode::FAILURE;
        }
    };
    let (stop, stopped) = watch::channel(false);
    let api = match Api::open(handle.clone(), &api_settings, &base) {
        Ok(api) => api,
        Err(error) => {
            error!(%error, "cannot start");
            return ExitCode::FAILURE;
        }
    };
    let _metrics = match Server::start(&handle, &metrics).await {
        Ok(server) => server,
        Err(error) => {
            error!(%error, "cannot start");
            return ExitCode::FAILURE;
        }
    };
    tokio::spawn(observe::log::report());
    let access = api.access();
    let mut api = api_threads.spawn(api.serve(stopped));
    let how = tokio::select! {
        how = signals(&handle, &access, &file, restart.on_sigterm) => how,
        result = &mut api => {
            match result {
                Ok(Err(error)) => error!(%error, "the API cannot be served"),
                other => error!(?other, "the API ended"),
            }
            handle.shutdown(OnTerminate::Stop).await;
            return ExitCode::FAILURE;
        }
    };
    handle.shutdown(how).await;
    // The API task may have ended already; it is waited for either way.
    let _ = stop.send(true);
    let _ = api.await;
    info!("bgpd stops");
    ExitCode::SUCCESS
}

/// Handles signals until one of them says stop, and how.
async fn signals(handle: &Handle, access: &Access, file: &Path, on_sigterm: OnTerminate) -> OnTerminate {
    let (Ok(mut hangup), Ok(mut terminate), Ok(mut interrupt)) =
        (signal(SignalKind::hangup()), signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        error!("cannot listen to signals");
        return OnTerminate::Stop;
    };
    loop {
        tokio::select! {
            _ = hangup.recv() => reload(handle, access, file).await,
            _ = terminate.recv() => return on_sigterm,
            _ = interrupt.recv() => return OnTerminate::Stop,
        }
    }
}

async fn reload(handle: &Handle, access: &Access, file: &Path) {
    let document = match config::load(file) {
        Ok(document) => document,
        Err(diagnosis) => {
            error!("configuration not reloaded, what runs goes on\n{diagnosis}");
            return;
        }
    };
    document.warnings.iter().for_each(|warning| warn!("{warning}"));
    // Certificates, names and tokens of the API hold by themselves: what else the file says cannot undo them.
    access.replace(document.api.credentials.clone());
    match handle.apply(document.into(), Terms::Reload).await {
        Ok(Changes { steps, resets, notes, .. }) => {
            notes.iter().for_each(|note| warn!("{note}"));
            steps.iter().for_each(|step| info!(%step, "configuration reloaded"));
            resets.iter().for_each(|(peer, reason)| info!(%peer, reason, "session is reset"));
            if steps.is_empty() {
                info!("configuration reloaded: nothing has changed");
            }
        }
        Err(error) => error!(%error, "configuration not reloaded, what runs goes on"),
    }
}
