//! OpenBGPD, read through its own bgpctl.

use serde_json::Value;

use super::route::text;
use super::{Daemon, Node, SeenRoute};

/// A running OpenBGPD.
pub struct OpenBgpd {
    /// The process.
    pub daemon: Daemon,
    socket: String,
    namespace: String,
}

/// What a lab with OpenBGPD needs. Its programs have the names of ours, so they are always called by their path.
pub const COMMANDS: [&str; 2] = ["/usr/sbin/bgpd", "/usr/sbin/bgpctl"];

/// Makes the directory it locks itself into: the service's unit file would, but the service never ran here.
///
/// # Errors
/// The directory cannot be made.
pub fn make_chroot() -> std::io::Result<()> {
    std::fs::create_dir_all("/run/openbgpd")
}

impl OpenBgpd {
    /// Starts OpenBGPD on a node.
    #[must_use]
    pub fn start(node: &Node, config: &str) -> Self {
        make_chroot().expect("a lab runs as root");
        let socket = node.dir.join("openbgpd.sock").display().to_string();
        let file = node.write("openbgpd.conf", &format!("socket \"{socket}\"\n{config}"));
        // OpenBGPD refuses a configuration that others may read.
        super::run_ok(&["chmod", "600", &file.display().to_string()]);
        let daemon = Daemon::start(node, "openbgpd", COMMANDS[0], &["-d", "-f", &file.display().to_string()]);
        Self { daemon, socket, namespace: node.namespace.name().to_owned() }
    }

    /// Runs a command of its control program; its output.
    #[must_use]
    pub fn ctl(&self, command: &str) -> String {
        let mut all = vec!["ip", "netns", "exec", &self.namespace, COMMANDS[1], "-s", &self.socket];
        all.extend(command.split_whitespace());
        String::from_utf8_lossy(&super::run(&all).stdout).into_owned()
    }

    /// Routes in its table.
    #[must_use]
    pub fn routes(&self) -> Vec<SeenRoute> {
        let table: Value = serde_json::from_str(&self.ctl("-j show rib")).unwrap_or_default();
        table["rib"].as_array().map(|all| all.iter().map(seen).collect()).unwrap_or_default()
    }

    /// Neighbors, routes and the end of the log, for a failure.
    #[must_use]
    pub fn picture(&self) -> String {
        self.ctl("show") + &self.ctl("show rib") + &self.daemon.log_end()
    }
}

fn seen(route: &Value) -> SeenRoute {
    SeenRoute {
        prefix: text(&route["prefix"]),
        next_hop: text(&route["exit_nexthop"]),
        as_path: text(&route["aspath"]),
        local_pref: route["localpref"].as_u64().map(|value| value as u32),
        med: route["metric"].as_u64().map(|value| value as u32),
        ..SeenRoute::default()
    }
}
