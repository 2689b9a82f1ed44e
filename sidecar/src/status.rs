//! How the sidecar stands, as one value: for `bgp-sidecar status`, the probes, the metrics and the Node condition.

use std::fmt::Write;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::forwarding::Counts;
use crate::problem::Problem;

/// Everything that a person or a program may want to know.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// What is to be announced is, and what was learned is installed.
    pub ready: bool,
    /// What is missing for that.
    pub missing: Vec<String>,
    /// `node` or `cluster`.
    pub mode: String,
    /// The Node it speaks for, in node mode.
    pub node: Option<String>,
    /// The Kubernetes API.
    pub kubernetes: KubernetesStatus,
    /// bgpd.
    pub bgpd: BgpdStatus,
    /// What the guard of bgpd is told.
    pub guard: GuardStatus,
    /// What is announced, or will be.
    pub announcements: Vec<AnnouncementStatus>,
    /// Learned routes in numbers.
    pub routes: Counts,
    /// Destinations of the routes in the kernel.
    pub installed: Vec<IpNet>,
    /// Prefixes between which nothing is masqueraded.
    pub exempt: Vec<IpNet>,
    /// What is wrong.
    pub problems: Vec<Problem>,
}

/// How it stands with the Kubernetes API.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KubernetesStatus {
    /// All that matters has been listed, or is remembered.
    pub known: bool,
    /// It can be used now.
    pub reachable: bool,
    /// Nodes that are known.
    pub nodes: usize,
}

/// How it stands with bgpd.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BgpdStatus {
    /// Where its API is.
    pub server: String,
    /// Its API can be used now.
    pub reachable: bool,
    /// In whose name routes are announced there.
    pub owner: String,
    /// How many it announces for that owner.
    pub announced: u32,
    /// Neighbors.
    pub neighbors: usize,
    /// Of those, with an Established session.
    pub established: usize,
}

/// What the guard of bgpd is told of the cluster's nodes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuardStatus {
    /// As which of its clusters; none: nothing is declared.
    pub cluster: Option<String>,
    /// How many nodes are declared, or will be.
    pub nodes: usize,
}

/// A route that is announced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnnouncementStatus {
    /// Its destination.
    pub prefix: IpNet,
    /// Its next hop.
    pub next_hop: IpAddr,
    /// Its communities.
    pub communities: Vec<String>,
}

impl Status {
    /// One line: that all is well, or what is missing.
    #[must_use]
    pub fn summary(&self) -> String {
        if self.ready {
            let Counts { installed, .. } = self.routes;
            format!("routes: {} announced, {installed} installed", self.bgpd.announced)
        } else {
            self.missing.join("; ")
        }
    }

    /// For people.
    #[must_use]
    pub fn table(&self) -> String {
        let mut text = String::new();
        let mut line = |name: &str, value: String| {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{name:<12}{value}");
        };
        let can = |yes: bool| if yes { "reachable" } else { "not reachable" };
        line("ready", if self.ready { "yes".into() } else { format!("no: {}", self.missing.join("; ")) });
        line("speaks for", self.node.as_ref().map_or("the cluster".into(), |name| format!("node {name}")));
        line("kubernetes", format!("{}, nodes known: {}", can(self.kubernetes.reachable), self.kubernetes.nodes));
        let BgpdStatus { server, reachable, owner, neighbors, established, .. } = &self.bgpd;
        line("bgpd", format!("{} at {server}, {established} of {neighbors} sessions Established", can(*reachable)));
        if let Some(cluster) = &self.guard.cluster {
            line("guard", format!("nodes declared as those of cluster {cluster}: {}", self.guard.nodes));
        }
        line("announced", format!("{} of {} as \"{owner}\"", self.bgpd.announced, self.announcements.len()));
        for one in &self.announcements {
            line(
                "",
                format!("{} via {} {}", one.prefix, one.next_hop, one.communities.join(" ")).trim_end().to_owned(),
            );
        }
        let Counts { learned, installed, refused, unresolved, failed } = self.routes;
        line(
            "routes",
            format!(
                "{learned} learned, {installed} installed, {refused} refused, {unresolved} without a reachable next hop, \
                {failed} failed"
            ),
        );
        line("exempt", format!("prefixes from masquerade: {}", self.exempt.len()));
        for (index, problem) in self.problems.iter().enumerate() {
            line(if index == 0 { "problems" } else { "" }, problem.to_string());
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::problem::Reason;

    #[test]
    fn table_says_what_is_announced_and_what_is_wrong() {
        let prefix = "10.1.0.0/24".parse().expect("a prefix");
        let next_hop = "192.0.2.1".parse().expect("an address");
        let status = Status {
            ready: false,
            missing: vec!["no session is Established".into()],
            mode: "node".into(),
            node: Some("a".into()),
            kubernetes: KubernetesStatus { known: true, reachable: true, nodes: 3 },
            bgpd: BgpdStatus {
                server: "unix:/run/bgpd/bgpd.sock".into(),
                reachable: true,
                owner: "bgp-sidecar".into(),
                announced: 1,
                neighbors: 2,
                established: 0,
            },
            announcements: vec![AnnouncementStatus { prefix, next_hop, communities: vec!["65535:0".into()] }],
            problems: vec![Problem::new("neighbor/192.0.2.9", Reason::SessionDown, "Active")],
            ..Status::default()
        };
        insta::assert_snapshot!(status.table());
    }
}
