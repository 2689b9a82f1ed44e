//! FRR: zebra and bgpd, read through vtysh.

use serde_json::Value;

use super::route::text;
use super::{Daemon, Node, SeenRoute};

/// A running FRR.
pub struct Frr {
    /// Its routing daemon.
    pub bgpd: Daemon,
    /// The daemon that installs routes.
    pub zebra: Daemon,
    dir: String,
    namespace: String,
}

/// What a lab with FRR needs.
pub const COMMANDS: [&str; 3] = ["/usr/lib/frr/zebra", "/usr/lib/frr/bgpd", "vtysh"];

impl Frr {
    /// Starts zebra and bgpd on a node; `config` is that of bgpd.
    #[must_use]
    pub fn start(node: &Node, config: &str) -> Self {
        let dir = node.dir.display().to_string();
        // FRR drops its privileges and makes its sockets as a user of its own.
        super::run_ok(&["chmod", "777", &dir]);
        node.write("zebra.conf", "log stdout\n");
        node.write("vtysh.conf", "");
        node.write("bgpd.conf", &format!("log stdout\n{config}"));
        let zebra = start(node, "zebra");
        let bgpd = start(node, "bgpd");
        Self { bgpd, zebra, dir, namespace: node.namespace.name().to_owned() }
    }

    /// Starts bgpd again after it has ended.
    pub fn restart_bgpd(&mut self, node: &Node) {
        self.bgpd = start(node, "bgpd");
    }

    /// Runs a vtysh command; its output.
    #[must_use]
    pub fn vtysh(&self, command: &str) -> String {
        let arguments = ["vtysh", "--vty_socket", &self.dir, "--config_dir", &self.dir, "-c", command];
        let mut all = vec!["ip", "netns", "exec", &self.namespace];
        all.extend(arguments);
        String::from_utf8_lossy(&super::run(&all).stdout).into_owned()
    }

    fn json(&self, command: &str) -> Value {
        serde_json::from_str(&self.vtysh(command)).unwrap_or_default()
    }

    /// Best routes of a family, with all attributes.
    #[must_use]
    pub fn routes(&self, ipv6: bool) -> Vec<SeenRoute> {
        let family = if ipv6 { "ipv6" } else { "ipv4" };
        let table = self.json(&format!("show bgp {family} unicast json"));
        let Some(prefixes) = table["routes"].as_object() else { return Vec::new() };
        let detail = |prefix: &String| {
            let detail = self.json(&format!("show bgp {family} unicast {prefix} json"));
            let paths = detail["paths"].as_array().cloned().unwrap_or_default();
            paths.iter().find(|path| path["bestpath"]["overall"] == true).map(|path| seen(prefix, path))
        };
        prefixes.keys().filter_map(detail).collect()
    }

    /// What it says of a neighbor.
    #[must_use]
    pub fn neighbor(&self, address: &str) -> Value {
        self.json(&format!("show bgp neighbors {address} json"))[address].clone()
    }

    /// Whether a session is Established.
    #[must_use]
    pub fn is_established(&self, address: &str) -> bool {
        self.neighbor(address)["bgpState"] == "Established"
    }

    /// Neighbors, routes and the end of the log, for a failure.
    #[must_use]
    pub fn picture(&self) -> String {
        let shows = ["show bgp summary", "show bgp ipv4 unicast", "show bgp ipv6 unicast"];
        shows.map(|command| self.vtysh(command)).join("\n") + &self.bgpd.log_end()
    }

    /// Kills it as a dead host does.
    pub fn kill(&mut self) {
        self.bgpd.kill();
        self.zebra.kill();
    }
}

fn start(node: &Node, name: &str) -> Daemon {
    let dir = node.dir.display().to_string();
    let path = |name: &str| format!("{dir}/{name}");
    let (config, pid, zebra) = (path(&format!("{name}.conf")), path(&format!("{name}.pid")), path("zserv.sock"));
    let arguments = ["-f", &config, "-i", &pid, "--vty_socket", &dir, "-P", "0", "-z", &zebra];
    Daemon::start(node, name, &format!("/usr/lib/frr/{name}"), &arguments)
}

fn seen(prefix: &str, path: &Value) -> SeenRoute {
    let hops = path["nexthops"].as_array().cloned().unwrap_or_default();
    let global = hops.iter().find(|hop| hop["scope"] != "link-local").or(hops.first()).cloned().unwrap_or_default();
    let clusters = path["clusterList"]["list"].as_array().map(|all| all.iter().map(text).collect());
    let communities = text(&path["community"]["string"]);
    SeenRoute {
        prefix: prefix.to_owned(),
        next_hop: text(&global["ip"]),
        as_path: text(&path["aspath"]["string"]).replace("Local", "").trim().to_owned(),
        originator_id: text(&path["originatorId"]),
        cluster_list: clusters.unwrap_or_default(),
        communities: communities.split_whitespace().map(str::to_owned).collect(),
        local_pref: path["locPrf"].as_u64().map(|value| value as u32),
        med: path["metric"].as_u64().map(|value| value as u32),
    }
}
