//! ExaBGP: says exactly what its configuration says, and nothing else.

use super::{Daemon, Node};

/// A running ExaBGP.
pub struct ExaBgp {
    /// The process.
    pub daemon: Daemon,
}

/// What a lab with ExaBGP needs.
pub const COMMANDS: [&str; 1] = ["exabgp"];

impl ExaBgp {
    /// Starts ExaBGP on a node.
    #[must_use]
    pub fn start(node: &Node, config: &str) -> Self {
        let file = node.write("exabgp.conf", config).display().to_string();
        // It reads its settings from the environment. Without a bind address it only connects.
        let settings =
            ["exabgp.daemon.user=root", "exabgp.daemon.drop=false", "exabgp.tcp.bind=", "exabgp.api.cli=false"];
        let arguments = [&settings[..], &["exabgp", &file]].concat();
        Self { daemon: Daemon::start(node, "exabgp", "env", &arguments) }
    }
}
