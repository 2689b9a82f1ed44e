//! bgp-sidecar, built from this tree.

use serde_json::{Value, json};

use super::{Daemon, Node, build_bgpd};

/// A running sidecar.
pub struct Sidecar {
    /// The process.
    pub daemon: Daemon,
    namespace: String,
}

impl Sidecar {
    /// Starts a sidecar on a node with a bounding set of capabilities, as `setpriv` reads it: `-all,+net_admin`.
    #[must_use]
    pub fn start(node: &Node, api_server: &str, capabilities: &str, arguments: &[&str]) -> Self {
        Self::start_with(node, api_server, capabilities, arguments, &[])
    }

    /// The same with more variables in its environment, as `NAME=VALUE`.
    #[must_use]
    pub fn start_with(
        node: &Node,
        api_server: &str,
        capabilities: &str,
        arguments: &[&str],
        environment: &[&str],
    ) -> Self {
        Self::start_at(node, &json!({"server": api_server}), capabilities, arguments, environment)
    }

    /// The same with a cluster as a kubeconfig describes it.
    #[must_use]
    pub fn start_at(
        node: &Node,
        cluster: &Value,
        capabilities: &str,
        arguments: &[&str],
        environment: &[&str],
    ) -> Self {
        let kubeconfig = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "lab",
            "clusters": [{"name": "lab", "cluster": cluster}],
            "users": [{"name": "lab", "user": {"token": "secret"}}],
            "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": "lab"}}],
        });
        // Sidecars of several clusters can run on one node.
        let server = cluster["server"].as_str().unwrap_or_default();
        let file = format!("kubeconfig-{}", server.rsplit([':', '/']).next().unwrap_or_default());
        let kubeconfig = node.write(&file, &kubeconfig.to_string()).display().to_string();
        let program = build_bgpd().join("bgp-sidecar").display().to_string();
        let mut all = environment.to_vec();
        all.extend(["setpriv", "--bounding-set", capabilities, &program, "--kubeconfig", &kubeconfig]);
        all.extend(arguments);
        let daemon = Daemon::start(node, "sidecar", "env", &all);
        Self { daemon, namespace: node.namespace.name().to_owned() }
    }

    /// Runs the sidecar's program with other arguments in its namespace; whether it succeeded, and what it printed.
    #[must_use]
    pub fn ask(&self, arguments: &[&str]) -> (bool, String) {
        let program = build_bgpd().join("bgp-sidecar").display().to_string();
        let mut all = vec!["ip", "netns", "exec", &self.namespace, &program];
        all.extend(arguments);
        let output = super::run(&all);
        let text = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&text).into_owned())
    }

    /// What it says of itself; null when it does not answer.
    #[must_use]
    pub fn status(&self) -> Value {
        serde_json::from_str(&self.ask(&["status", "-o", "json"]).1).unwrap_or_default()
    }

    /// Whether what is to be announced is, and what was learned is installed.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.ask(&["status"]).0
    }

    /// Its status and the end of its log, for a failure.
    #[must_use]
    pub fn picture(&self) -> String {
        self.ask(&["status"]).1 + &self.daemon.log_end()
    }
}
