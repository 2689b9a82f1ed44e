//! A network namespace of its own, so that port 179 and thousands of loopback sessions are nobody else's business, and
//! a process namespace, so that no daemon outlives the run.

use std::ffi::OsString;
use std::io;
use std::process::{Command, ExitStatus};

const MARK: &str = "BGP_BENCH_NAMESPACE";

/// True inside.
pub(crate) fn entered() -> bool {
    std::env::var_os(MARK).is_some()
}

/// Runs this program again, with the same arguments and `extra` ones, inside.
pub(crate) fn reenter(extra: Vec<OsString>) -> io::Result<ExitStatus> {
    // SAFETY: getuid cannot fail and touches no memory of ours.
    let root = unsafe { libc::getuid() } == 0;
    let mut command = Command::new("unshare");
    if !root {
        command.arg("--map-root-user");
    }
    command
        .args(["--net", "--pid", "--fork", "--mount-proc", "--kill-child", "--"])
        .arg(std::env::current_exe()?)
        .args(std::env::args_os().skip(1))
        .args(extra)
        .env(MARK, "1")
        .status()
}

/// Brings the loopback interface up, with addresses that cover the next hops.
pub(crate) fn prepare() -> io::Result<()> {
    for arguments in ["link set lo up", "addr add 100.64.0.1/10 dev lo", "addr add 2001:db8:ffff::ffff:1/48 dev lo"] {
        let status = Command::new("ip").args(arguments.split(' ')).status()?;
        if !status.success() {
            return Err(io::Error::other(format!("ip {arguments}: {status}")));
        }
    }
    Ok(())
}
