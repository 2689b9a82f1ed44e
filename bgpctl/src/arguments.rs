//! The words of the command line.

mod neighbors;

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub(crate) use self::neighbors::{Neighbors, WatchNeighbors};
use crate::client::Server;
use crate::key::AoKeyFile;

/// Shows and steers a running bgpd.
#[derive(Debug, Parser)]
#[command(
    name = "bgpctl",
    version,
    after_help = "Exit codes: 0 done, 1 the daemon said no, 2 wrong usage, 3 the daemon cannot be reached."
)]
pub struct Arguments {
    /// Where bgpd is.
    #[command(flatten)]
    pub server: Server,
    /// How to print
    #[arg(short, long, global = true, value_enum, default_value_t = Format::Table)]
    pub output: Format,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// How answers are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    Table,
    /// For programs
    Json,
}

/// All commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show neighbors, routes, or the speaker as a whole
    #[command(subcommand)]
    Show(Show),
    /// Say why the best path to a prefix is best, and who is told
    Explain {
        /// Prefix, such as 10.1.0.0/24, or an address: the longest prefix that covers it
        prefix: String,
        /// Only what this neighbor is told
        #[arg(long, value_name = "ADDRESS")]
        to: Option<IpAddr>,
    },
    /// Print everything, then every change, until interrupted
    #[command(subcommand)]
    Watch(Watch),
    /// Add, delete or reset a neighbor
    #[command(subcommand)]
    Neighbor(Neighbor),
    /// Originate a route, or replace the one originated for the prefix
    Announce(Announce),
    /// End the origination of a route
    Withdraw {
        /// Prefix, such as 10.1.0.0/24
        prefix: String,
    },
    /// Define or delete a cluster, or declare its nodes
    #[command(subcommand)]
    Cluster(Cluster),
    /// Check, compare or apply a configuration file
    #[command(subcommand)]
    Config(Config),
    /// Say what policies make of a route
    #[command(subcommand)]
    Policy(Policy),
    /// Live screen of sessions, rates, queues and the noisiest prefixes
    Top {
        /// Seconds between looks
        #[arg(long, value_name = "SECONDS", default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=60))]
        interval: u64,
    },
    /// Show or change what bgpd logs, until it ends
    #[command(subcommand)]
    Log(Log),
    /// Decode BGP messages, offline
    Decode(Decode),
    /// Print the manual page, or write those of all commands into a directory
    Man {
        /// Where bgpctl.1, bgpctl-show.1, … go
        #[arg(long, value_name = "DIRECTORY")]
        directory: Option<PathBuf>,
    },
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// `show …`
#[derive(Debug, Subcommand)]
pub enum Show {
    /// Neighbors and their sessions; with an address everything about one
    Neighbors(Neighbors),
    /// Routes: all paths, or those of one prefix
    Routes(Routes),
    /// Clusters, their networks and declared nodes
    Clusters,
    /// Policies that came through the API, by owner
    Policies,
    /// Who originates routes here, and what waits for another owner
    Owners,
    /// Caches of the RPKI; with a prefix what they say of it
    Rpki {
        /// Prefix, such as 192.0.2.0/24
        prefix: Option<String>,
        /// Last AS of the path; without it the answer is for a path that ends with a set
        #[arg(long, value_name = "ASN", requires = "prefix")]
        origin: Option<u32>,
    },
    /// The speaker as a whole
    Summary,
}

/// `show routes …`
#[derive(Debug, Args)]
pub struct Routes {
    /// Prefix such as 10.1.0.0/24, or an address for the longest prefix that covers it
    pub prefix: Option<String>,
    /// Only this family: ipv4-unicast or ipv6-unicast
    #[arg(long, value_name = "FAMILY")]
    pub family: Option<bgp_wire::Family>,
    /// Also prefixes inside the one given
    #[arg(long, requires = "prefix")]
    pub longer: bool,
    /// Only what this neighbor sent (Adj-RIB-In)
    #[arg(long, value_name = "ADDRESS", conflicts_with = "to")]
    pub from: Option<IpAddr>,
    /// Only what this neighbor was sent (Adj-RIB-Out)
    #[arg(long, value_name = "ADDRESS")]
    pub to: Option<IpAddr>,
    /// Only best paths (Loc-RIB)
    #[arg(long)]
    pub best: bool,
    /// Only routes whose origin is in this state (RFC 6811)
    #[arg(long, value_name = "STATE", value_parser = ["valid", "invalid", "not-found"])]
    pub validation: Option<String>,
    /// Only routes with this community, or one that matches, such as 65000:1-9; can be given several times
    #[arg(long = "community", value_name = "PATTERN")]
    pub communities: Vec<String>,
    /// Only routes whose AS path this expression matches, such as "^65001 .*"
    #[arg(long, value_name = "EXPRESSION")]
    pub as_path: Option<String>,
}

/// `watch …`
#[derive(Debug, Subcommand)]
pub enum Watch {
    /// The Loc-RIB
    Routes(WatchRoutes),
    /// Neighbors and their sessions
    Neighbors(WatchNeighbors),
}

/// `watch routes …`
#[derive(Debug, Args)]
pub struct WatchRoutes {
    /// Only this prefix, such as 10.1.0.0/16
    pub prefix: Option<String>,
    /// Also prefixes inside the one given
    #[arg(long, requires = "prefix")]
    pub longer: bool,
    /// Only this family: ipv4-unicast or ipv6-unicast
    #[arg(long, value_name = "FAMILY")]
    pub family: Option<bgp_wire::Family>,
    /// All paths that are as good as the best one but for tie-breakers
    #[arg(long)]
    pub multipath: bool,
    /// Only the changes since a revision that an earlier watch has said
    #[arg(long, value_name = "REVISION", default_value = "")]
    pub from_revision: String,
}

/// `neighbor …`
#[derive(Debug, Subcommand)]
pub enum Neighbor {
    /// Add a neighbor and start its session
    Add(Box<AddNeighbor>),
    /// Change what is given of a neighbor's settings, also of one of the file; its session is reset only if it must be
    Set(Box<SetNeighbor>),
    /// End the session of a neighbor that was added, and forget it
    Delete {
        /// The neighbor
        address: IpAddr,
        /// Whose it is
        #[arg(long, value_name = "NAME", default_value = "")]
        owner: String,
    },
    /// Let go of what was changed of a neighbor: what the file says of it holds again
    Revert {
        /// The neighbor
        address: IpAddr,
    },
    /// Reset a neighbor's session, or with --soft only the routes on it
    Reset {
        /// The neighbor
        address: IpAddr,
        /// Keep the session: ask for its routes (in), send ours (out), or both
        #[arg(
            long,
            value_enum,
            value_name = "DIRECTION",
            num_args = 0..=1,
            require_equals = true,
            default_missing_value = "both"
        )]
        soft: Option<Soft>,
    },
    /// Ask a neighbor for its routes again and send it ours
    Refresh {
        /// The neighbor
        address: IpAddr,
    },
    /// Make routes to and from a neighbor the last choice before a maintenance; its session stays (RFC 8326)
    Drain(Drain),
    /// End what drain began
    Undrain(Drain),
    /// Let a disabled neighbor's session start
    Enable {
        /// The neighbor
        address: IpAddr,
    },
    /// End a neighbor's session and keep it down
    Disable {
        /// The neighbor
        address: IpAddr,
        /// Text for the operator of the other side (RFC 9003)
        #[arg(long, default_value = "")]
        message: String,
    },
}

/// `neighbor drain …` and `neighbor undrain …`
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct Drain {
    /// The neighbor
    pub address: Option<IpAddr>,
    /// All neighbors, also those that come
    #[arg(long)]
    pub all: bool,
}

/// Which routes a soft reset is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Soft {
    /// Those that the neighbor sends
    In,
    /// Those that the neighbor is sent
    Out,
    /// Both
    Both,
}

/// `neighbor add …`
#[derive(Debug, Args)]
pub struct AddNeighbor {
    /// Address of the neighbor
    pub address: IpAddr,
    /// AS number, unless the peer group has one
    #[arg(long, value_name = "ASN")]
    pub remote_asn: Option<u32>,
    /// Peer group with the settings
    #[arg(long, value_name = "NAME")]
    pub peer_group: Option<String>,
    /// Free text
    #[arg(long)]
    pub description: Option<String>,
    /// Address families, such as ipv4-unicast
    #[arg(long = "family", value_name = "FAMILY")]
    pub families: Vec<bgp_wire::Family>,
    /// The neighbor is a route-reflector client
    #[arg(long)]
    pub route_reflector_client: bool,
    /// Hold time in seconds
    #[arg(long, value_name = "SECONDS")]
    pub hold_time: Option<u32>,
    /// Wait for the neighbor to connect
    #[arg(long)]
    pub passive: bool,
    /// TCP port to connect to
    #[arg(long)]
    pub port: Option<u16>,
    /// Local end of the connection
    #[arg(long, value_name = "ADDRESS")]
    pub local_address: Option<IpAddr>,
    /// File with the TCP-MD5 key (RFC 2385)
    #[arg(long, value_name = "FILE")]
    pub md5_password_file: Option<PathBuf>,
    /// TCP-AO key (RFC 5925): its KeyID and the file that it is in, such as 1=neighbor.key; 1/2=FILE has KeyID 2 on what
    /// comes in
    #[arg(long = "ao-key", value_name = "ID=FILE", conflicts_with = "md5_password_file")]
    pub ao_keys: Vec<AoKeyFile>,
    /// Algorithm of the TCP-AO keys: hmac-sha-1-96, or aes-128-cmac-96
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true, requires = "ao_keys")]
    pub ao_algorithm: String,
    /// Import policies in order, such as accept-all
    #[arg(long = "import-policy", value_name = "NAME")]
    pub import_policy: Vec<String>,
    /// Export policies in order, such as accept-all
    #[arg(long = "export-policy", value_name = "NAME")]
    pub export_policy: Vec<String>,
}

/// `neighbor set …`
#[derive(Debug, Args)]
pub struct SetNeighbor {
    /// What is to change
    #[command(flatten)]
    pub settings: AddNeighbor,
    /// Key of the file, such as hold-time, that is to be as in the file or the peer group again; can be given several times
    #[arg(long, value_name = "KEY")]
    pub clear: Vec<String>,
}

/// `announce …`
#[derive(Debug, Args)]
pub struct Announce {
    /// Prefix, such as 10.1.0.0/24
    pub prefix: String,
    /// Next hop; without it each session's own address
    #[arg(long, value_name = "ADDRESS")]
    pub next_hop: Option<IpAddr>,
    /// LOCAL_PREF
    #[arg(long)]
    pub local_pref: Option<u32>,
    /// MULTI_EXIT_DISC
    #[arg(long)]
    pub med: Option<u32>,
    /// Community, such as 65000:100 or no-export; can be given several times
    #[arg(long = "community", value_name = "COMMUNITY")]
    pub communities: Vec<String>,
    /// Large community, such as 65000:1:2; can be given several times
    #[arg(long = "large-community", value_name = "COMMUNITY")]
    pub large_communities: Vec<String>,
}

/// `cluster …`
#[derive(Debug, Subcommand)]
pub enum Cluster {
    /// Define a cluster, or replace what was defined so before: what its nodes may announce
    Set(SetCluster),
    /// Forget a cluster that was defined so, and its nodes
    Delete {
        /// Name of the cluster
        name: String,
    },
    /// Declare all nodes of a cluster: what the nodes of a strict cluster may announce
    Nodes {
        /// Name of the cluster
        name: String,
        /// Name, addresses and pod CIDRs of a node, such as w1,192.0.2.21,10.2.1.0/24; can be given several times
        #[arg(long = "node", value_name = "NODE")]
        nodes: Vec<String>,
        /// Whose declaration it is; nobody else changes it until its owner declares none
        #[arg(long, value_name = "NAME")]
        owner: Option<String>,
    },
}

/// `cluster set …`
#[derive(Debug, Args)]
pub struct SetCluster {
    /// Name of the cluster
    pub name: String,
    /// What its pods have their addresses from; can be given several times
    #[arg(long = "pod-cidr", value_name = "PREFIX", required = true)]
    pub pod_cidrs: Vec<String>,
    /// Addresses of its nodes; can be given several times
    #[arg(long = "node-range", value_name = "PREFIX")]
    pub node_ranges: Vec<String>,
    /// A peer group of its nodes; can be given several times
    #[arg(long = "peer-group", value_name = "NAME")]
    pub peer_groups: Vec<String>,
    /// A node may announce only what is declared for it
    #[arg(long)]
    pub strict: bool,
    /// Longest IPv4 prefix; 28 if not given
    #[arg(long, value_name = "LENGTH", default_value_t = 0, hide_default_value = true)]
    pub max_length_ipv4: u32,
    /// Longest IPv6 prefix; 80 if not given
    #[arg(long, value_name = "LENGTH", default_value_t = 0, hide_default_value = true)]
    pub max_length_ipv6: u32,
}

/// `config …`
#[derive(Debug, Subcommand)]
pub enum Config {
    /// Say what is wrong with a file, if anything
    Check {
        /// The file
        file: PathBuf,
    },
    /// Say what applying a file would do, to which sessions, and to how many routes of each neighbor
    Diff {
        /// The file
        file: PathBuf,
    },
    /// Make a file what runs: all of it or nothing
    Apply {
        /// The file
        file: PathBuf,
        /// Only if this revision runs (`show summary -o json`): nobody has changed anything since
        #[arg(long, value_name = "REVISION", default_value = "")]
        expected_revision: String,
        /// Go back by itself unless `config confirm` comes in this time, such as 60s or 5m
        #[arg(long, value_name = "TIME", value_parser = seconds)]
        confirm: Option<u32>,
    },
    /// Show the document that runs and, apart from it, what came through the API, without secrets
    Show,
    /// Keep what was applied with --confirm
    Confirm,
    /// Go back to what ran before what was applied with --confirm
    Rollback,
}

/// A time such as `60s`, `5m` or `1h`; a number without a unit is seconds.
fn seconds(text: &str) -> Result<u32, String> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let factor = match unit {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return Err(format!("\"{unit}\" is no unit, expected s, m or h")),
    };
    let seconds = number.parse::<u32>().ok().and_then(|number| number.checked_mul(factor));
    seconds.filter(|seconds| *seconds > 0).ok_or_else(|| "expected a time such as 60s".to_owned())
}

/// `policy …`
#[derive(Debug, Subcommand)]
pub enum Policy {
    /// Say step by step what policies make of a route: of one that is described, or with --existing of one in the table
    Test(Box<PolicyTest>),
    /// Declare policies and the sets that they name, in place of those that the owner has: they stay over restarts
    Set {
        /// File with [[policy]] and sets, as in the configuration file, and nothing else
        file: PathBuf,
        /// Whose they are; nobody else changes them
        #[arg(long, value_name = "NAME")]
        owner: Option<String>,
    },
    /// Forget the policies and sets of an owner
    Delete {
        /// Whose they are
        #[arg(long, value_name = "NAME")]
        owner: Option<String>,
    },
}

/// `policy test …`
#[derive(Debug, Args)]
pub struct PolicyTest {
    /// Prefix, such as 10.1.0.0/24
    pub prefix: String,
    /// The neighbor that the route comes from; its import policy is tested unless --to is there
    #[arg(long, value_name = "ADDRESS")]
    pub from: Option<IpAddr>,
    /// The neighbor that the route goes to: its export policy is tested
    #[arg(long, value_name = "ADDRESS")]
    pub to: Option<IpAddr>,
    /// Test these policies, in order, instead of those of the neighbor
    #[arg(long = "policy", value_name = "NAME")]
    pub policies: Vec<String>,
    /// With --policy: test them as export policies
    #[arg(long, requires = "policies")]
    pub export: bool,
    /// Take policies and neighbors from this configuration file, without bgpd
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Take the route from the table of the running bgpd: that of --from, else the best one
    #[arg(
        long,
        conflicts_with_all = [
            "as_path", "next_hop", "origin", "local_pref", "med", "communities", "from_asn", "route_type"
        ]
    )]
    pub existing: bool,
    /// AS path, such as "65001 65002 {65003}"; without it that of a route which the neighbor originates
    #[arg(long, value_name = "PATH")]
    pub as_path: Option<String>,
    /// Next hop; without it the neighbor's address
    #[arg(long, value_name = "ADDRESS")]
    pub next_hop: Option<IpAddr>,
    /// ORIGIN
    #[arg(long, value_enum, value_name = "ORIGIN", default_value_t = Origin::Igp)]
    pub origin: Origin,
    /// LOCAL_PREF
    #[arg(long)]
    pub local_pref: Option<u32>,
    /// MULTI_EXIT_DISC
    #[arg(long)]
    pub med: Option<u32>,
    /// Community of any kind, such as 65000:100, 65000:1:2 or rt:65000:1; can be given several times
    #[arg(long = "community", value_name = "COMMUNITY")]
    pub communities: Vec<String>,
    /// AS number of the neighbor that the route comes from, if it is not configured
    #[arg(long, value_name = "ASN")]
    pub from_asn: Option<u32>,
    /// How the route comes, if not as the neighbor is configured
    #[arg(long, value_enum, value_name = "TYPE")]
    pub route_type: Option<RouteType>,
}

/// ORIGIN.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Origin {
    /// From an IGP
    Igp,
    /// From EGP
    Egp,
    /// From elsewhere
    Incomplete,
}

/// How a route comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum RouteType {
    /// Originated here
    Local,
    /// Over eBGP
    External,
    /// Over iBGP from a route-reflector client
    Client,
    /// Over iBGP from another than a client
    NonClient,
}

/// `log …`
#[derive(Debug, Subcommand)]
pub enum Log {
    /// The levels in force, and how many lines were suppressed
    Show,
    /// Set a level until bgpd ends
    Level {
        /// How much; default sets back to what is configured
        #[arg(value_parser = ["off", "error", "warn", "info", "debug", "trace", "default"])]
        level: String,
        /// Only what this module says, such as bgpd::peer
        #[arg(long, value_name = "MODULE", conflicts_with = "peer")]
        module: Option<String>,
        /// Only what is said about this neighbor
        #[arg(long, value_name = "ADDRESS")]
        peer: Option<IpAddr>,
    },
    /// Set all levels back to what is configured
    Reset,
}

/// `decode …`
#[derive(Debug, Args)]
pub struct Decode {
    /// Whole messages in hexadecimal (spaces and colons do not matter), or - for standard input
    #[arg(required = true)]
    pub hex: Vec<String>,
    /// AS numbers have two octets
    #[arg(long)]
    pub two_octet_as: bool,
    /// NLRI have path identifiers (RFC 7911)
    #[arg(long)]
    pub add_path: bool,
    /// Judge as from an eBGP peer
    #[arg(long)]
    pub external: bool,
}
