//! The command line of `bgp-bench`.

use std::path::PathBuf;

use clap::Parser;

use super::daemon::DaemonKind;
use super::load::Load;

/// Measures BGP daemons as route reflectors, side by side, and checks every route every client received.
#[derive(Clone, Debug, Parser)]
#[command(name = "bgp-bench", version)]
pub struct Options {
    /// Small loads: checks results, measures nothing worth quoting.
    #[arg(long)]
    pub quick: bool,

    /// Loads, separated by commas; all when left out.
    #[arg(long = "load", value_delimiter = ',', value_enum)]
    pub loads: Vec<Load>,

    /// Daemons, separated by commas.
    #[arg(long = "daemon", value_delimiter = ',', value_enum, default_value = "copier,bgpd,bird,frr")]
    pub daemons: Vec<DaemonKind>,

    /// Runs of each load on each daemon; the median counts. 1 when `--quick`.
    #[arg(long)]
    pub runs: Option<u32>,

    /// Writes all figures of all runs here.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,

    /// Writes a plot here.
    #[arg(long, value_name = "FILE")]
    pub svg: Option<PathBuf>,

    /// This project's daemon; built when left out.
    #[arg(long, value_name = "FILE")]
    pub bgpd: Option<PathBuf>,

    /// Reads figures from earlier runs (`--json`) and sums them up together; runs nothing.
    #[arg(long, value_name = "FILE", value_delimiter = ',')]
    pub merge: Vec<PathBuf>,

    /// Internal: be the "bytes alone" process.
    #[arg(hide = true, value_parser = ["byte-copier"])]
    pub role: Option<String>,
}

impl Options {
    /// The loads to run, in the order of the report.
    pub(crate) fn loads(&self) -> Vec<Load> {
        if self.loads.is_empty() { Load::ALL.to_vec() } else { self.loads.clone() }
    }

    /// How often to run each.
    pub(crate) fn runs(&self) -> u32 {
        self.runs.unwrap_or(if self.quick { 1 } else { 3 }).max(1)
    }
}
