//! Starting each daemon as the same thing: a route reflector of AS 65000 on 127.0.0.1:179 whose clients are whoever
//! connects from 127.0.0.0/8, with no kernel routes, no policy, no advertisement interval, hold time 180 s.

mod configs;
pub(crate) mod copier;
mod policy;
mod prefix_list;

use std::fs::{self, File};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde::{Deserialize, Serialize};
use tempfile::TempDir;

pub(crate) use self::policy::ImportPolicy;
use super::message::Families;
use super::usage::{self, Usage};
use crate::lab::make_openbgpd_chroot;

/// A daemon to measure.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DaemonKind {
    /// This project's.
    Bgpd,
    /// BIRD 2.
    Bird,
    /// FRR's bgpd, without zebra.
    Frr,
    /// GoBGP.
    Gobgp,
    /// OpenBGPD.
    Openbgpd,
    /// No daemon: a process that copies the bytes of each client to all others ("bytes alone").
    Copier,
}

impl DaemonKind {
    /// How it is named in tables.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Bgpd => "bgpd",
            Self::Bird => "BIRD",
            Self::Frr => "FRR",
            Self::Gobgp => "GoBGP",
            Self::Openbgpd => "OpenBGPD",
            Self::Copier => "bytes alone",
        }
    }

    fn program(self, bgpd: &Path) -> io::Result<PathBuf> {
        let path = match self {
            Self::Bgpd => bgpd.to_owned(),
            Self::Bird => "/usr/sbin/bird".into(),
            Self::Frr => "/usr/lib/frr/bgpd".into(),
            Self::Gobgp => "/usr/bin/gobgpd".into(),
            Self::Openbgpd => "/usr/sbin/bgpd".into(),
            Self::Copier => std::env::current_exe()?,
        };
        if path.exists() {
            return Ok(path);
        }
        Err(io::Error::new(io::ErrorKind::NotFound, format!("{} is not there", path.display())))
    }

    /// What it says of its version, for the report.
    pub(crate) fn version(self, bgpd: &Path) -> String {
        let Ok(program) = self.program(bgpd) else { return "not installed".into() };
        let flag = match self {
            Self::Copier => return "no daemon".into(),
            Self::Openbgpd => "-V",
            _ => "--version",
        };
        let Ok(output) = Command::new(program).arg(flag).output() else { return "unknown".into() };
        let text = [output.stdout, output.stderr].concat();
        String::from_utf8_lossy(&text).lines().next().unwrap_or("unknown").trim().to_owned()
    }
}

/// A running daemon; killed when dropped.
pub(crate) struct Daemon {
    child: Child,
    directory: TempDir,
}

impl Daemon {
    /// Writes the config and starts the daemon. It listens a moment later, and has what takes long to read.
    pub(crate) fn start(kind: DaemonKind, bgpd: &Path, families: Families, import: ImportPolicy) -> io::Result<Self> {
        let directory = tempfile::Builder::new().prefix("bgp-bench-").tempdir()?;
        let config = directory.path().join("config");
        let text = configs::text(kind, families, import, directory.path());
        let list = policy::frr_prefix_list(import).filter(|_| kind == DaemonKind::Frr);
        // Neighbors come when the list is there.
        let (first, rest) = text.split_at(list.as_ref().and_then(|_| text.find("router bgp")).unwrap_or(text.len()));
        fs::write(&config, first)?;
        if kind == DaemonKind::Openbgpd {
            make_openbgpd_chroot()?;
        }
        let arguments = configs::arguments(kind, directory.path(), &config);
        let log = File::create(directory.path().join("log"))?;
        let child = Command::new(kind.program(bgpd)?)
            .args(arguments)
            .args(list.as_ref().map(|_| "--tcli"))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .spawn()?;
        let daemon = Self { child, directory };
        if let Some(list) = list {
            prefix_list::load(daemon.directory.path(), &list, rest)?;
        }
        Ok(daemon)
    }

    /// CPU and memory of the daemon and its children.
    pub(crate) fn usage(&self) -> Usage {
        usage::of_tree(self.child.id())
    }

    /// Where this project's daemon serves its API.
    pub(crate) fn api(&self) -> PathBuf {
        self.directory.path().join("api.sock")
    }

    /// False when it has ended.
    pub(crate) fn alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// The end of its log.
    pub(crate) fn log_tail(&self) -> String {
        let text = fs::read(self.directory.path().join("log")).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(5)..].join(" | ")
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let group = -(self.child.id() as i32);
        // SAFETY: kill takes two integers and touches no memory of ours; the group is the child's own.
        unsafe { libc::kill(group, libc::SIGKILL) };
        let _ = self.child.wait();
    }
}
