//! bgpd and bgpctl, built from this tree.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use serde_json::Value;

use super::route::text;
use super::{Daemon, Node, SeenRoute, wait_until};

/// A running bgpd.
pub struct Bgpd {
    /// The process.
    pub daemon: Daemon,
    socket: String,
    namespace: String,
}

/// Builds bgpd, bgpctl and bgp-sidecar once and says where they are: beside the program that asks.
///
/// # Panics
/// When they do not build.
#[must_use]
pub fn build() -> &'static PathBuf {
    static DIR: OnceLock<PathBuf> = OnceLock::new();
    DIR.get_or_init(|| {
        let here = std::env::current_exe().expect("a program knows where it is");
        // target/PROFILE/deps/test or target/PROFILE/program.
        let mut dir = here.parent().expect("a program is in a directory");
        if dir.ends_with("deps") {
            dir = dir.parent().expect("deps is in a directory");
        }
        let release = dir.ends_with("release");
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.args(["build", "--quiet", "--package", "bgpd", "--package", "bgpctl", "--package", "bgp-sidecar"]);
        if release {
            cargo.arg("--release");
        }
        if cfg!(feature = "roto") {
            cargo.args(["--features", "bgpd/roto"]);
        }
        cargo.current_dir(env!("CARGO_MANIFEST_DIR"));
        if let Some(target) = dir.parent() {
            cargo.env("CARGO_TARGET_DIR", target);
        }
        let status = cargo.status().expect("cargo can be started");
        assert!(status.success(), "bgpd, bgpctl and bgp-sidecar do not build");
        dir.to_owned()
    })
}

impl Bgpd {
    /// Starts bgpd on a node with a configuration; returns when its API answers.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start(node: &Node, config: &str) -> Self {
        Self::confined(node, config, "+all")
    }

    /// The same with a bounding set of capabilities, as `setpriv` reads it: `-all,+net_bind_service`.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn confined(node: &Node, config: &str, capabilities: &str) -> Self {
        let socket = node.dir.join("bgpd.sock").display().to_string();
        let file = write_config(node, config, &socket);
        let program = build().join("bgpd").display().to_string();
        let daemon =
            Daemon::start(node, "bgpd", "setpriv", &["--bounding-set", capabilities, &program, "--config", &file]);
        let mut bgpd = Self { daemon, socket, namespace: node.namespace.name().to_owned() };
        wait_until(
            "bgpd answers",
            || {
                assert!(bgpd.daemon.is_running(), "bgpd ended\n{}", bgpd.daemon.log_end());
                bgpd.try_ctl(&["show", "summary"]).is_ok()
            },
            String::new,
        );
        bgpd
    }

    /// Where its API listens.
    #[must_use]
    pub fn socket(&self) -> &str {
        &self.socket
    }

    /// Gives it another configuration file and has it read.
    pub fn reload(&self, node: &Node, config: &str) {
        let _ = write_config(node, config, &self.socket);
        self.daemon.signal("HUP");
    }

    /// Runs bgpctl; its standard output, or what it says of its failure.
    ///
    /// # Errors
    /// Exit code and standard error of bgpctl.
    pub fn try_ctl(&self, arguments: &[&str]) -> Result<String, (i32, String)> {
        let program = build().join("bgpctl").display().to_string();
        let server = format!("unix:{}", self.socket);
        let mut all = vec!["ip", "netns", "exec", &self.namespace, &program, "--server", &server];
        all.extend(arguments);
        let output = super::run(&all);
        if output.status.success() {
            Ok(String::from_utf8_lossy(&output.stdout).into_owned())
        } else {
            let errors = String::from_utf8_lossy(&output.stderr).into_owned();
            Err((output.status.code().unwrap_or(-1), errors))
        }
    }

    /// Runs bgpctl, which must succeed.
    ///
    /// # Panics
    /// When it fails.
    #[must_use]
    pub fn ctl(&self, arguments: &[&str]) -> String {
        self.try_ctl(arguments).unwrap_or_else(|(code, errors)| panic!("bgpctl {arguments:?} exits {code}: {errors}"))
    }

    /// Runs bgpctl with JSON output.
    ///
    /// # Panics
    /// When it fails or does not print JSON.
    #[must_use]
    pub fn json(&self, arguments: &[&str]) -> Value {
        let mut all = vec!["-o", "json"];
        all.extend(arguments);
        serde_json::from_str(&self.ctl(&all)).expect("bgpctl -o json prints JSON")
    }

    /// One neighbor, as `show neighbors -o json` has it.
    #[must_use]
    pub fn neighbor(&self, address: &str) -> Value {
        self.json(&["show", "neighbors"])
            .as_array()
            .and_then(|all| all.iter().find(|one| one["address"] == address).cloned())
            .unwrap_or_default()
    }

    /// Whether a session is Established.
    #[must_use]
    pub fn is_established(&self, address: &str) -> bool {
        self.neighbor(address)["state"] == "Established"
    }

    /// Waits until sessions are Established.
    ///
    /// # Panics
    /// When they are not in time.
    pub fn wait_established(&self, addresses: &[String]) {
        wait_until(
            &format!("Established: {addresses:?}"),
            || addresses.iter().all(|address| self.is_established(address)),
            || self.picture(),
        );
    }

    /// Best routes.
    #[must_use]
    pub fn routes(&self) -> Vec<SeenRoute> {
        self.json(&["show", "routes", "--best"])
            .as_array()
            .map(|all| all.iter().map(seen).collect())
            .unwrap_or_default()
    }

    /// Neighbors, routes and the end of the log, for a failure.
    #[must_use]
    pub fn picture(&self) -> String {
        let tables = [["show", "neighbors"], ["show", "routes"]];
        let tables = tables.map(|command| self.try_ctl(&command).unwrap_or_else(|(_, errors)| errors));
        format!("{}\n{}", tables.join("\n"), self.daemon.log_end())
    }
}

fn write_config(node: &Node, config: &str, socket: &str) -> String {
    let listen = format!("[api]\nlisten = [\"unix:{socket}\"]\n");
    let config = match config {
        config if config.contains(&listen[6..listen.len() - 2]) => config.to_owned(),
        config if config.contains("[api]\n") => config.replace("[api]\n", &listen),
        config => format!("{config}\n{listen}"),
    };
    node.write("bgpd.toml", &config).display().to_string()
}

fn seen(route: &Value) -> SeenRoute {
    let list = |key: &str| route[key].as_array().map(|all| all.iter().map(text).collect()).unwrap_or_default();
    SeenRoute {
        prefix: text(&route["prefix"]),
        next_hop: text(&route["next_hop"]),
        as_path: text(&route["as_path"]),
        originator_id: text(&route["originator_id"]),
        cluster_list: list("cluster_list"),
        communities: list("communities"),
        local_pref: route["local_pref"].as_u64().map(|value| value as u32),
        med: route["med"].as_u64().map(|value| value as u32),
    }
}
