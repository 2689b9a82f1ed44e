//! BIRD 2, read through birdc.

use super::{Daemon, Node, SeenRoute};

/// A running BIRD.
pub struct Bird {
    /// The process.
    pub daemon: Daemon,
    socket: String,
}

/// What a lab with BIRD needs.
pub const COMMANDS: [&str; 2] = ["bird", "birdc"];

impl Bird {
    /// Starts BIRD on a node.
    #[must_use]
    pub fn start(node: &Node, config: &str) -> Self {
        let socket = node.dir.join("bird.ctl").display().to_string();
        let file = node.write("bird.conf", config).display().to_string();
        let daemon = Daemon::start(node, "bird", "bird", &["-f", "-c", &file, "-s", &socket]);
        Self { daemon, socket }
    }

    /// Starts BIRD again after it has ended, so that it recovers what it can (graceful restart).
    #[must_use]
    pub fn recover(node: &Node) -> Self {
        let path = |name: &str| node.dir.join(name).display().to_string();
        let (socket, file) = (path("bird.ctl"), path("bird.conf"));
        let daemon = Daemon::start(node, "bird", "bird", &["-f", "-R", "-c", &file, "-s", &socket]);
        Self { daemon, socket }
    }

    /// Runs a birdc command; its output.
    #[must_use]
    pub fn birdc(&self, command: &str) -> String {
        let mut arguments = vec!["birdc", "-s", &self.socket];
        arguments.extend(command.split_whitespace());
        String::from_utf8_lossy(&super::run(&arguments).stdout).into_owned()
    }

    /// Best BGP routes of a family, with all attributes.
    #[must_use]
    pub fn routes(&self, ipv6: bool) -> Vec<SeenRoute> {
        let table = if ipv6 { "master6" } else { "master4" };
        parse(&self.birdc(&format!("show route table {table} primary all where source = RTS_BGP")))
    }

    /// Whether a protocol's session is Established.
    #[must_use]
    pub fn is_established(&self, protocol: &str) -> bool {
        self.birdc(&format!("show protocols {protocol}")).contains("Established")
    }

    /// Protocols, routes and the end of the log, for a failure.
    #[must_use]
    pub fn picture(&self) -> String {
        self.birdc("show protocols all") + &self.birdc("show route all") + &self.daemon.log_end()
    }
}

/// `PREFIX unicast [protocol time from …] * (…)`, then indented lines with the attributes.
fn parse(listing: &str) -> Vec<SeenRoute> {
    let mut routes: Vec<SeenRoute> = Vec::new();
    for line in listing.lines() {
        let starts_route = line.starts_with(|c: char| c.is_ascii_hexdigit()) && line.contains('/');
        if starts_route && let Some(prefix) = line.split_whitespace().next() {
            routes.push(SeenRoute { prefix: prefix.to_owned(), ..SeenRoute::default() });
        }
        let Some(route) = routes.last_mut() else { continue };
        let Some((name, value)) = line.trim().split_once(':') else { continue };
        let value = value.trim();
        match name {
            "BGP.next_hop" => route.next_hop = value.split_whitespace().next().unwrap_or_default().to_owned(),
            "BGP.as_path" => route.as_path = value.to_owned(),
            "BGP.originator_id" => route.originator_id = value.to_owned(),
            "BGP.cluster_list" => route.cluster_list = value.split_whitespace().map(str::to_owned).collect(),
            "BGP.community" => {
                let plain = value.replace(['(', ')'], "").replace(',', ":");
                route.communities = plain.split_whitespace().map(str::to_owned).collect();
            }
            "BGP.local_pref" => route.local_pref = value.parse().ok(),
            "BGP.med" => route.med = value.parse().ok(),
            _ => {}
        }
    }
    routes
}
