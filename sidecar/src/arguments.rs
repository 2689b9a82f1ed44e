//! The command line, and what it means to the parts.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use ipnet::IpNet;

use crate::announcement::{AnnouncementRules, Scope};
use crate::bgpd::Ownership;
use crate::cluster::ServiceAddress;
use crate::cni::CniRules;
use crate::forwarding::Placement;
use crate::kubernetes::NodeSelection;
use crate::masquerade::Exemption;
use crate::mesh::MeshRules;
use crate::topology::NextHopRules;

/// Announces a Kubernetes cluster's pod CIDRs through bgpd and installs the routes that bgpd learns.
#[derive(Debug, Parser)]
#[command(
    name = "bgp-sidecar",
    version,
    args_conflicts_with_subcommands = true,
    after_help = "Without a command it runs until TERM or INT. Kernel routes and announcements stay when it stops; \
    \"uninstall\" removes what it put on the node.\n\
    Exit codes: 0 as asked, 1 failed or not ready, 2 usage."
)]
pub struct Arguments {
    /// Something else than to run.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// How to run.
    #[command(flatten)]
    pub run: RunArguments,
}

/// What to do instead of running.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show what a running sidecar announces, has installed and finds wrong
    Status {
        /// Where the sidecar serves its status
        #[arg(long, value_name = "ADDRESS:PORT", env = "BGP_SIDECAR_LISTEN", default_value = DEFAULT_LISTEN)]
        listen: SocketAddr,
        /// Form of the output
        #[arg(short, long, value_enum, default_value = "table")]
        output: Output,
    },
    /// Remove the routes, the announcements, the exemption from masquerade and the CNI configuration that a sidecar
    /// left on this node
    Uninstall {
        /// Protocol number of the routes
        #[arg(long, env = "BGP_SIDECAR_PROTOCOL", default_value_t = DEFAULT_PROTOCOL, value_parser = protocol)]
        protocol: u8,
        /// bgpd's API, to withdraw what was announced; where nobody answers, the lease ends it
        #[arg(long, value_name = "SERVER", env = "BGPCTL_SERVER", default_value = DEFAULT_SERVER)]
        server: String,
        /// In whose name routes were announced
        #[arg(long, value_name = "NAME", env = "BGP_SIDECAR_OWNER", default_value = DEFAULT_OWNER)]
        owner: String,
        /// CNI configuration to remove
        #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = DEFAULT_CNI_CONF)]
        cni_conf: Option<PathBuf>,
    },
}

/// Forms of output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    Table,
    /// For programs.
    Json,
}

/// For whom the sidecar speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// For the node it runs on.
    Node,
    /// For all nodes of the cluster, beside a reflector.
    Cluster,
}

const DEFAULT_SERVER: &str = "unix:/run/bgpd/bgpd.sock";
const DEFAULT_OWNER: &str = "bgp-sidecar";
const DEFAULT_LISTEN: &str = "127.0.0.1:50180";
const DEFAULT_CNI_CONF: &str = "/etc/cni/net.d/10-bgp.conflist";
/// Free in iproute2's `rt_protos`.
const DEFAULT_PROTOCOL: u8 = 145;
/// Protocol numbers of others: kernel, boot, static, and those of routing daemons that may run on a node.
const FOREIGN_PROTOCOLS: [u8; 10] = [0, 1, 2, 3, 4, 11, 12, 16, 17, 186];

/// How to run.
#[derive(Debug, Args)]
pub struct RunArguments {
    /// For whom to speak: the node it runs on, or all nodes of the cluster
    #[arg(long, value_enum, env = "BGP_SIDECAR_MODE", default_value = "node")]
    pub mode: Mode,
    /// Name of the Node it runs on; needed in node mode
    #[arg(long, value_name = "NAME", env = "NODE_NAME", required_if_eq("mode", "node"))]
    pub node_name: Option<String>,
    /// bgpd's API: unix:PATH or http://HOST:PORT
    #[arg(long, value_name = "SERVER", env = "BGPCTL_SERVER", default_value = DEFAULT_SERVER)]
    pub server: String,
    /// In whose name routes are announced. Two sidecars beside one bgpd need different ones
    #[arg(long, value_name = "NAME", env = "BGP_SIDECAR_OWNER", default_value = DEFAULT_OWNER)]
    pub owner: String,
    /// Seconds that announcements outlive the sidecar
    #[arg(long, value_name = "SECONDS", env = "BGP_SIDECAR_LEASE", default_value_t = 300,
        value_parser = clap::value_parser!(u32).range(10..=86400))]
    pub lease: u32,
    /// Kubernetes client configuration; default that of the pod, then that of kubectl
    #[arg(long, value_name = "FILE", env = "BGP_SIDECAR_KUBECONFIG")]
    pub kubeconfig: Option<PathBuf>,

    /// Next hop of announced routes instead of the node's InternalIP; once per family
    #[arg(long, value_name = "ADDRESS", env = "BGP_SIDECAR_NEXT_HOP", value_delimiter = ',', num_args = 1)]
    pub next_hop: Vec<IpAddr>,
    /// Announce nothing
    #[arg(long, env = "BGP_SIDECAR_NO_ANNOUNCE")]
    pub no_announce: bool,
    /// Also announce these addresses of Services
    #[arg(long, value_enum, value_name = "KIND", env = "BGP_SIDECAR_SERVICES", value_delimiter = ',', num_args = 1)]
    pub services: Vec<ServiceAddress>,
    /// Community of every announced route
    #[arg(long, value_name = "N:N", env = "BGP_SIDECAR_COMMUNITY", value_delimiter = ',', num_args = 1)]
    pub community: Vec<String>,
    /// Seconds between asking peers to avoid a route (RFC 8326) and withdrawing it
    #[arg(long, value_name = "SECONDS", env = "BGP_SIDECAR_DRAIN_TIME", default_value_t = 5)]
    pub drain_time: u64,
    /// Cluster mode: declare the Nodes to the guard of bgpd as those of its cluster of this name, whose nodes may announce
    /// only their own pod CIDRs where it is strict
    #[arg(long, value_name = "NAME", env = "BGP_SIDECAR_GUARD_CLUSTER")]
    pub guard_cluster: Option<String>,
    /// Configure every other Node as a neighbor of bgpd, for a cluster without a reflector
    #[arg(long, env = "BGP_SIDECAR_FULL_MESH", requires = "node_name")]
    pub full_mesh: bool,
    /// Configure the neighbors of bgpd that kube-router's annotations on the Node name
    #[arg(long, env = "BGP_SIDECAR_KUBE_ROUTER_PEERS", requires = "node_name")]
    pub kube_router_peers: bool,
    /// Peer group, of bgpd's configuration, of the neighbors that are configured here
    #[arg(long, value_name = "NAME", env = "BGP_SIDECAR_PEER_GROUP")]
    pub peer_group: Option<String>,

    /// Do not install learned routes (the default in cluster mode)
    #[arg(long, env = "BGP_SIDECAR_NO_INSTALL", conflicts_with = "install")]
    pub no_install: bool,
    /// Install learned routes in cluster mode, too
    #[arg(long, env = "BGP_SIDECAR_INSTALL")]
    pub install: bool,
    /// Routing table for learned routes
    #[arg(long, env = "BGP_SIDECAR_TABLE", default_value_t = crate::topology::MAIN_TABLE)]
    pub table: u32,
    /// Metric of learned routes
    #[arg(long, env = "BGP_SIDECAR_METRIC", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    pub metric: u32,
    /// Protocol number that marks routes as the sidecar's; it touches no others
    #[arg(long, env = "BGP_SIDECAR_PROTOCOL", default_value_t = DEFAULT_PROTOCOL, value_parser = protocol)]
    pub protocol: u8,
    /// Install a learned default route
    #[arg(long, env = "BGP_SIDECAR_ALLOW_DEFAULT_ROUTE")]
    pub allow_default_route: bool,
    /// The cluster's service range, never to be overlapped by a learned route
    #[arg(long, value_name = "PREFIX", env = "BGP_SIDECAR_SERVICE_CIDR", value_delimiter = ',', num_args = 1)]
    pub service_cidr: Vec<IpNet>,
    /// Another prefix never to be overlapped by a learned route
    #[arg(long, value_name = "PREFIX", env = "BGP_SIDECAR_PROTECT", value_delimiter = ',', num_args = 1)]
    pub protect: Vec<IpNet>,
    /// All next hops are on the link of this interface, whatever its subnet
    #[arg(long, value_name = "NAME", env = "BGP_SIDECAR_ONLINK_INTERFACE")]
    pub onlink_interface: Option<String>,
    /// Interface of link-local next hops that name none
    #[arg(long, value_name = "NAME", env = "BGP_SIDECAR_LINK_LOCAL_INTERFACE")]
    pub link_local_interface: Option<String>,
    /// A next hop may be reached through the default route
    #[arg(long, env = "BGP_SIDECAR_RESOLVE_VIA_DEFAULT")]
    pub resolve_via_default: bool,

    /// Do not exempt traffic between pods of different nodes and clusters from masquerade
    #[arg(long, env = "BGP_SIDECAR_NO_MASQUERADE_EXEMPTION")]
    pub no_masquerade_exemption: bool,
    /// Of the learned routes, exempt only those inside this prefix; default all but a default route
    #[arg(long, value_name = "PREFIX", env = "BGP_SIDECAR_EXEMPT_WITHIN", value_delimiter = ',', num_args = 1)]
    pub exempt_within: Vec<IpNet>,
    /// Write a CNI configuration for the node's pod CIDRs
    #[arg(long, value_name = "FILE", env = "BGP_SIDECAR_CNI_CONF", num_args = 0..=1,
        default_missing_value = DEFAULT_CNI_CONF)]
    pub cni_conf: Option<PathBuf>,
    /// Leave the portmap plugin out of the CNI configuration
    #[arg(long, env = "BGP_SIDECAR_CNI_NO_PORTMAP")]
    pub cni_no_portmap: bool,
    /// Where the CNI plugins are; they are asked for the newest version of the specification that they support
    #[arg(long, value_name = "DIR", env = "BGP_SIDECAR_CNI_PLUGINS", default_value = "/opt/cni/bin")]
    pub cni_plugins: PathBuf,
    /// Version of the CNI specification to write instead
    #[arg(long, value_name = "VERSION", env = "BGP_SIDECAR_CNI_VERSION")]
    pub cni_version: Option<String>,
    /// MTU of pods in the CNI configuration; default the bridge's
    #[arg(long, env = "BGP_SIDECAR_CNI_MTU")]
    pub cni_mtu: Option<u32>,

    /// Where to serve /healthz, /readyz, /livez, /metrics and /status
    #[arg(long, value_name = "ADDRESS:PORT", env = "BGP_SIDECAR_LISTEN", default_value = DEFAULT_LISTEN)]
    pub listen: SocketAddr,
    /// File to keep the last known state of Nodes in, for a start without an API server
    #[arg(long, value_name = "FILE", env = "BGP_SIDECAR_CACHE")]
    pub cache: Option<PathBuf>,
    /// Do not write Kubernetes Events nor the Node condition
    #[arg(long, env = "BGP_SIDECAR_NO_REPORT")]
    pub no_report: bool,
}

impl RunArguments {
    /// Whether the options go together.
    ///
    /// # Errors
    /// Which do not.
    pub fn check(&self) -> Result<(), &'static str> {
        if self.guard_cluster.is_some() && self.mode == Mode::Node {
            // A node that says what it may announce would guard nothing.
            return Err("--guard-cluster needs --mode cluster: beside the reflector, where all Nodes are known");
        }
        Ok(())
    }

    /// What to announce.
    #[must_use]
    pub fn announcement_rules(&self) -> AnnouncementRules {
        AnnouncementRules {
            scope: self.scope(),
            next_hop_v4: self.next_hop.iter().find_map(v4),
            next_hop_v6: self.next_hop.iter().find_map(v6),
            services: self.services.iter().copied().collect(),
            communities: self.community.iter().cloned().collect::<BTreeSet<_>>(),
        }
    }

    /// For whom to speak.
    #[must_use]
    pub fn scope(&self) -> Scope {
        match (self.mode, &self.node_name) {
            (Mode::Node, Some(name)) => Scope::Node(name.clone()),
            // Clap lets node mode pass only with a name.
            (Mode::Node, None) | (Mode::Cluster, _) => Scope::Cluster,
        }
    }

    /// What keeps traffic between pods from being masqueraded; none where nothing does.
    #[must_use]
    pub fn exemption(&self) -> Option<Exemption> {
        (!self.no_masquerade_exemption).then(|| Exemption::new(self.exempt_within.clone()))
    }

    /// Where learned routes go; none when they are not installed.
    #[must_use]
    pub fn placement(&self) -> Option<Placement> {
        let installs = !self.no_install && (self.mode == Mode::Node || self.install);
        installs.then(|| Placement {
            table: self.table,
            metric: self.metric,
            protocol: self.protocol,
            allow_default: self.allow_default_route,
            next_hops: NextHopRules {
                onlink_interface: self.onlink_interface.clone(),
                via_default: self.resolve_via_default,
                link_local_interface: self.link_local_interface.clone(),
            },
        })
    }

    /// In whose name routes are announced and for how long.
    #[must_use]
    pub fn ownership(&self) -> Ownership {
        Ownership { owner: self.owner.clone(), lease: Duration::from_secs(self.lease.into()) }
    }

    /// Which neighbors to configure.
    #[must_use]
    pub fn mesh_rules(&self) -> MeshRules {
        MeshRules {
            node: self.node_name.clone().unwrap_or_default(),
            full_mesh: self.full_mesh,
            annotated_peers: self.kube_router_peers,
            peer_group: self.peer_group.clone(),
        }
    }

    /// Which Nodes to follow.
    #[must_use]
    pub fn nodes(&self) -> NodeSelection {
        if self.full_mesh { NodeSelection::All } else { NodeSelection::from(&self.scope()) }
    }

    /// The CNI configuration to write, if any.
    #[must_use]
    pub fn cni_rules(&self) -> Option<CniRules> {
        self.cni_conf.as_ref().map(|file| CniRules {
            file: file.clone(),
            portmap: !self.cni_no_portmap,
            mtu: self.cni_mtu,
            version: self.cni_version.clone(),
            plugins: self.cni_plugins.clone(),
        })
    }

    /// Time between the request to avoid a route and its withdrawal.
    #[must_use]
    pub fn drain_time(&self) -> Duration {
        Duration::from_secs(self.drain_time)
    }
}

fn v4(address: &IpAddr) -> Option<Ipv4Addr> {
    match address {
        IpAddr::V4(address) => Some(*address),
        IpAddr::V6(_) => None,
    }
}

fn v6(address: &IpAddr) -> Option<Ipv6Addr> {
    match address {
        IpAddr::V4(_) => None,
        IpAddr::V6(address) => Some(*address),
    }
}

fn protocol(text: &str) -> Result<u8, String> {
    let number: u8 = text.parse().map_err(|_| "expected a number from 5 to 255".to_owned())?;
    if FOREIGN_PROTOCOLS.contains(&number) {
        return Err(format!("{number} marks the routes of others (/etc/iproute2/rt_protos)"));
    }
    Ok(number)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parsed(arguments: &[&str]) -> Result<Arguments, clap::Error> {
        Arguments::try_parse_from([&["bgp-sidecar"], arguments].concat())
    }

    #[test]
    fn command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn node_mode_installs_routes_and_cluster_mode_does_not() {
        let node = parsed(&["--node-name", "a"]).expect("node mode");
        assert_eq!(node.run.scope(), Scope::Node("a".into()));
        assert_eq!(node.run.placement().map(|placement| placement.protocol), Some(DEFAULT_PROTOCOL));
        let cluster = parsed(&["--mode", "cluster"]).expect("cluster mode");
        assert_eq!((cluster.run.scope(), cluster.run.placement()), (Scope::Cluster, None));
    }

    #[test]
    fn a_node_does_not_declare_what_it_may_announce() {
        let node = parsed(&["--node-name", "a", "--guard-cluster", "east"]).expect("options").run;
        assert!(node.check().is_err_and(|reason| reason.contains("--mode cluster")));
        let cluster = parsed(&["--mode", "cluster", "--guard-cluster", "east"]).expect("options").run;
        assert_eq!((cluster.check(), cluster.guard_cluster.as_deref()), (Ok(()), Some("east")));
    }

    #[test]
    fn protocol_numbers_of_others_are_not_taken() {
        for number in ["2", "3", "4", "11", "12", "16", "17", "186", "256"] {
            assert!(parsed(&["--node-name", "a", "--protocol", number]).is_err(), "{number}");
        }
        assert!(!FOREIGN_PROTOCOLS.contains(&DEFAULT_PROTOCOL));
    }

    #[test]
    fn next_hops_are_told_apart_by_family() {
        let arguments = parsed(&["--node-name", "a", "--next-hop", "192.0.2.1,2001:db8::1", "--cni-conf"]);
        let run = arguments.expect("two next hops").run;
        let rules = run.announcement_rules();
        assert!(rules.next_hop_v4.is_some() && rules.next_hop_v6.is_some());
        assert_eq!(run.cni_conf, Some(PathBuf::from(DEFAULT_CNI_CONF)));
    }
}
