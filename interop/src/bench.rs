//! The benchmark: this project's daemon beside BIRD, FRR, GoBGP and OpenBGPD, each a route reflector with the same
//! config, under the same load, measured the same way, with every route at every receiver checked.
//!
//! ```text
//! trial ──► daemon (its own process)        one trial = one load, one daemon, from a fresh start
//!   │          ▲
//!   │          │ 127.x.y.z, up to thousands of BGP sessions
//!   └──► fleet (this process, one thread) ──► board: what must arrive, what did
//! ```
//!
//! What is counted is the daemon's wall time, CPU time and memory; the generator is made to be much cheaper and its
//! cost is reported beside. "Bytes alone" (`copier`) puts a process in the daemon's place that only copies bytes.
//! The receivers read with a decoder of their own, so that no bug of the codec can hide behind itself.

mod attributes;
mod board;
mod churn;
mod daemon;
mod decode;
mod fleet;
pub mod keepalive;
mod latency;
mod load;
mod machine;
mod message;
mod namespace;
mod options;
mod outcome;
mod plot;
mod prefix;
mod report;
mod table;
mod trial;
mod usage;

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

pub use daemon::DaemonKind;
pub use load::Load;
pub use options::Options;

use machine::Machine;
use outcome::Outcome;
use report::{Report, Row};

/// Runs what the options ask for. The exit code says whether every result was right.
///
/// # Errors
/// When the machine does not play along: no namespace, no sockets, no file.
pub fn run(options: &Options) -> io::Result<ExitCode> {
    if options.role.is_some() {
        daemon::copier::serve()?;
        return Ok(ExitCode::SUCCESS);
    }
    if !options.merge.is_empty() {
        return publish(options, &merged(&options.merge)?);
    }
    if !namespace::entered() {
        let mut extra = Vec::new();
        if options.bgpd.is_none() && options.daemons.contains(&DaemonKind::Bgpd) {
            extra = vec!["--bgpd".into(), crate::lab::build_bgpd().join("bgpd").into_os_string()];
        }
        let status = namespace::reenter(extra)?;
        return Ok(ExitCode::from(status.code().map_or(1, |code| code as u8)));
    }
    namespace::prepare()?;
    let report = measure(options, options.bgpd.as_deref().unwrap_or(Path::new("bgpd")));
    publish(options, &report)
}

/// Shows the figures and writes the files asked for.
fn publish(options: &Options, report: &Report) -> io::Result<ExitCode> {
    println!("\n{}\n{}", report.table(), report.ratios());
    if let Some(path) = &options.json {
        std::fs::write(path, serde_json::to_string_pretty(report)?)?;
    }
    if let Some(path) = &options.svg {
        std::fs::write(path, plot::svg(report))?;
    }
    Ok(if report.rows.iter().all(Row::right) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The reports in `files` as one; runs of the same load and daemon together.
fn merged(files: &[PathBuf]) -> io::Result<Report> {
    let mut reports = files.iter().map(|path| {
        let text = std::fs::read_to_string(path)?;
        serde_json::from_str::<Report>(&text).map_err(io::Error::from)
    });
    let mut all = reports.next().ok_or_else(|| io::Error::other("no file to merge"))??;
    for report in reports {
        all.merge(report?);
    }
    Ok(all)
}

/// All loads on all daemons. Daemons take turns within a load, so that what else the machine does hits all alike.
fn measure(options: &Options, bgpd: &Path) -> Report {
    let mut report = Report {
        machine: Machine::describe(),
        quick: options.quick,
        versions: options.daemons.iter().map(|kind| (kind.name().to_owned(), kind.version(bgpd))).collect(),
        rows: Vec::new(),
    };
    for load in options.loads() {
        let daemons = options.daemons.iter().copied();
        let daemons: Vec<DaemonKind> = daemons.filter(|kind| load.is_for(*kind)).collect();
        let mut outcomes: Vec<Vec<Outcome>> = vec![Vec::new(); daemons.len()];
        for _ in 0..options.runs() {
            for (kind, outcomes) in daemons.iter().zip(&mut outcomes) {
                // A daemon that failed once is not tried again: some failures take minutes.
                if outcomes.iter().all(|outcome| outcome.wrong.is_empty()) {
                    let outcome = trial::run(load, *kind, bgpd, options.quick);
                    outcomes.push(outcome.unwrap_or_else(|error| Outcome::impossible(error.to_string())));
                }
            }
        }
        for (kind, outcomes) in daemons.into_iter().zip(outcomes) {
            let row = Row::new(load, kind, outcomes);
            println!("{}", report.line(&row));
            for wrong in row.runs.iter().flat_map(|run| run.wrong.iter().chain([&run.log])) {
                println!("    {wrong}");
            }
            report.rows.push(row);
        }
    }
    report
}
