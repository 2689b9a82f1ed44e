//! Daemons as child processes.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::Node;
use super::namespace::run;

/// A running daemon; killed when dropped.
pub struct Daemon {
    name: String,
    child: Child,
    log: PathBuf,
}

/// Whether a command can be started.
pub(super) fn exists(command: &str) -> bool {
    if command.contains('/') {
        return Path::new(command).exists();
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]).any(|dir| dir.join(command).exists())
}

impl Daemon {
    /// Starts a program in a node's namespace; what it says goes into a log file there.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn start(node: &Node, name: &str, program: &str, arguments: &[&str]) -> Self {
        let log = node.dir.join(format!("{name}.log"));
        let open = || File::options().create(true).append(true).open(&log).expect("the lab's directory can be written");
        let mut command: Command = node.namespace.command(program);
        command.args(arguments).current_dir(&node.dir).stdin(Stdio::null()).stdout(open()).stderr(open());
        let child = command.spawn().unwrap_or_else(|error| panic!("{program} cannot be started: {error}"));
        Self { name: name.to_owned(), child, log }
    }

    /// What it has said so far.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The end of what it has said.
    #[must_use]
    pub fn log_end(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        let end = &lines[lines.len().saturating_sub(40)..];
        format!("-- end of the log of {}:\n{}\n", self.name, end.join("\n"))
    }

    /// Its process identifier. `ip netns exec` replaces itself by the daemon, so it is the daemon's own.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal, such as `HUP`.
    pub fn signal(&self, signal: &str) {
        let _ = run(&["kill", &format!("-{signal}"), &self.pid().to_string()]);
    }

    /// Kills it as a crash would.
    pub fn kill(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Asks it to stop; how it ended.
    ///
    /// # Panics
    /// When it has not stopped after ten seconds.
    pub fn terminate(&mut self) -> ExitStatus {
        self.signal("TERM");
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            if let Ok(Some(status)) = self.child.try_wait() {
                return status;
            }
            assert!(Instant::now() < deadline, "{} does not stop\n{}", self.name, self.log_end());
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.kill();
    }
}
