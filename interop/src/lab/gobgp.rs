//! GoBGP, read through its command line.

use serde_json::Value;

use super::route::text;
use super::{Daemon, Node, SeenRoute};

/// A running GoBGP.
pub struct GoBgp {
    /// The process.
    pub daemon: Daemon,
    namespace: String,
}

/// What a lab with GoBGP needs.
pub const COMMANDS: [&str; 2] = ["gobgpd", "gobgp"];

impl GoBgp {
    /// Starts GoBGP on a node with a TOML configuration.
    #[must_use]
    pub fn start(node: &Node, config: &str) -> Self {
        let file = node.write("gobgpd.toml", config).display().to_string();
        let arguments = ["-t", "toml", "-f", &file, "--api-hosts", "127.0.0.1:50051"];
        let daemon = Daemon::start(node, "gobgpd", "gobgpd", &arguments);
        Self { daemon, namespace: node.namespace.name().to_owned() }
    }

    /// Runs a gobgp command; its output.
    #[must_use]
    pub fn gobgp(&self, command: &str) -> String {
        let mut all = vec!["ip", "netns", "exec", &self.namespace, "gobgp"];
        all.extend(command.split_whitespace());
        String::from_utf8_lossy(&super::run(&all).stdout).into_owned()
    }

    /// Announces a route; false until the API answers.
    #[must_use]
    pub fn announce(&self, prefix: &str, next_hop: &str) -> bool {
        let family = if prefix.contains(':') { "ipv6" } else { "ipv4" };
        let command = format!("global rib add -a {family} {prefix} nexthop {next_hop}");
        let mut all = vec!["ip", "netns", "exec", &self.namespace, "gobgp"];
        all.extend(command.split_whitespace());
        super::run(&all).status.success()
    }

    /// Best routes of a family.
    #[must_use]
    pub fn routes(&self, ipv6: bool) -> Vec<SeenRoute> {
        let family = if ipv6 { "ipv6" } else { "ipv4" };
        let table: Value = serde_json::from_str(&self.gobgp(&format!("global rib -a {family} -j"))).unwrap_or_default();
        let Some(prefixes) = table.as_object() else { return Vec::new() };
        let best = |(prefix, paths): (&String, &Value)| {
            let paths = paths.as_array()?;
            let path = paths.iter().find(|path| path["best"] == true).or(paths.first())?;
            Some(seen(prefix, path))
        };
        prefixes.iter().filter_map(best).collect()
    }

    /// Neighbors, routes and the end of the log, for a failure.
    #[must_use]
    pub fn picture(&self) -> String {
        let shows = ["neighbor", "global rib -a ipv4", "global rib -a ipv6"];
        shows.map(|command| self.gobgp(command)).join("\n") + &self.daemon.log_end()
    }
}

fn seen(prefix: &str, path: &Value) -> SeenRoute {
    let attributes = path["attrs"].as_array().cloned().unwrap_or_default();
    let attribute = |code: u64| attributes.iter().find(|one| one["type"] == code).cloned().unwrap_or_default();
    let next_hop = match attribute(3)["nexthop"].as_str() {
        Some(next_hop) => next_hop.to_owned(),
        None => text(&attribute(14)["nexthop"]),
    };
    let segments = attribute(2)["as_paths"].as_array().cloned().unwrap_or_default();
    let asns = segments.iter().flat_map(|segment| segment["asns"].as_array().cloned().unwrap_or_default());
    let clusters = attribute(10)["value"].as_array().map(|all| all.iter().map(text).collect());
    SeenRoute {
        prefix: prefix.to_owned(),
        next_hop,
        as_path: asns.map(|asn| text(&asn)).collect::<Vec<_>>().join(" "),
        originator_id: text(&attribute(9)["value"]),
        cluster_list: clusters.unwrap_or_default(),
        communities: Vec::new(),
        local_pref: attribute(5)["value"].as_u64().map(|value| value as u32),
        med: attribute(4)["metric"].as_u64().map(|value| value as u32),
    }
}
