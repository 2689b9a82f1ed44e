//! The lab of the README: a reflector and three nodes, each another daemon with a pod behind it.

use super::{BIRD, Bgpd, Bird, FRR, Frr, GOBGP, GoBgp, Lab, Node, Pod, wait_until};

const FRR_CLIENT: &str = include_str!("../../peers/frr-client.conf");
const BIRD_CLIENT: &str = include_str!("../../peers/bird-client.conf");
const GOBGP_CLIENT: &str = include_str!("../../peers/gobgp-client.toml");
/// The configuration of a reflector for clusters of nodes.
pub const REFLECTOR: &str = include_str!("../../../config/reflector.toml");

/// A node's pod networks.
#[must_use]
pub fn pod_networks(net: u8) -> (String, String) {
    (format!("10.1.{net}.0/24"), format!("fd00:1:{net}::/64"))
}

/// Fills a peer's configuration in.
#[must_use]
pub fn fill(template: &str, node: &Node, net: u8) -> String {
    let (pod4, pod6) = pod_networks(net);
    template.replace("ADDRESS", &node.ipv4.to_string()).replace("POD4", &pod4).replace("POD6", &pod6)
}

/// Configuration of FRR on a node that announces pod network `net`.
#[must_use]
pub fn frr_config(node: &Node, net: u8) -> String {
    fill(FRR_CLIENT, node, net)
}

/// Configuration of BIRD on a node that announces pod network `net`.
#[must_use]
pub fn bird_config(node: &Node, net: u8) -> String {
    fill(BIRD_CLIENT, node, net)
}

/// The same without IPv6.
///
/// # Panics
/// When the template has another shape.
#[must_use]
pub fn bird_ipv4_only(node: &Node, net: u8) -> String {
    let config = bird_config(node, net);
    let (ipv4, _) = config.split_once("protocol bgp rr6").expect("the template has a protocol for IPv6");
    ipv4.to_owned()
}

/// The reflector's configuration with another router ID, and a cluster ID where one is given.
#[must_use]
pub fn reflector(router_id: &str, cluster_id: Option<&str>) -> String {
    let config = REFLECTOR.replace("192.0.2.1\"", &format!("{router_id}\""));
    match cluster_id {
        Some(id) => config.replace("[global]", &format!("[global]\ncluster-id = \"{id}\"")),
        None => config,
    }
}

/// A client's configuration with a second reflector at .2.
#[must_use]
pub fn both_reflectors(config: &str) -> String {
    let mut all = String::new();
    let (mut block, mut inside) = (String::new(), false);
    for line in config.lines() {
        all.push_str(line);
        all.push('\n');
        // FRR has a line for every setting of a neighbor; BIRD has a block for each protocol.
        let statement = line.trim();
        let of_neighbor =
            statement.starts_with("neighbor 192.0.2.1 ") || statement.starts_with("neighbor 2001:db8::1 ");
        if of_neighbor && !inside {
            all.push_str(&second(line));
            all.push('\n');
        }
        if line.starts_with("protocol bgp rr") {
            inside = true;
            block.clear();
        }
        if inside {
            block.push_str(line);
            block.push('\n');
            if line == "}" {
                inside = false;
                all.push_str(&second(&block).replace("protocol bgp rr", "protocol bgp second_rr"));
            }
        }
    }
    all
}

fn second(text: &str) -> String {
    text.replace("192.0.2.1 ", "192.0.2.2 ").replace("2001:db8::1 ", "2001:db8::2 ")
}

/// FRR on a node that announces pod network `net`.
#[must_use]
pub fn frr(node: &Node, net: u8) -> Frr {
    Frr::start(node, &frr_config(node, net))
}

/// BIRD on a node that announces pod network `net`.
#[must_use]
pub fn bird(node: &Node, net: u8) -> Bird {
    Bird::start(node, &bird_config(node, net))
}

/// BIRD on a node with an AS of its own, which announces 10.HOST.0.0/24 to the one at 192.0.2.1; `rest` is for its session.
#[must_use]
pub fn bird_of_as(node: &Node, asn: u32, rest: &str) -> Bird {
    let (address, host) = (node.ipv4, node.ipv4.octets()[3]);
    Bird::start(
        node,
        &format!(
            "router id {address}; protocol device {{}}\nprotocol direct {{ ipv4; interface \"eth0\"; }}\n\
             protocol static pods {{ ipv4; route 10.{host}.0.0/24 unreachable; }}\n\
             protocol bgp up {{ local as {asn}; neighbor 192.0.2.1 as 65000; hold time 9; connect retry time 1;\n\
             error wait time 1, 2; {rest} ipv4 {{ import all; export where proto = \"pods\"; next hop self; }}; }}\n"
        ),
    )
}

/// GoBGP on a node that announces pod network `net`.
#[must_use]
pub fn gobgp(node: &Node, net: u8) -> GoBgp {
    let gobgp = GoBgp::start(node, &fill(GOBGP_CLIENT, node, net));
    let (pod4, pod6) = pod_networks(net);
    let announced = || gobgp.announce(&pod4, &node.ipv4.to_string()) && gobgp.announce(&pod6, &node.ipv6.to_string());
    wait_until("GoBGP takes its routes", announced, || gobgp.picture());
    gobgp
}

/// A reflector between FRR, BIRD and GoBGP.
pub struct Cluster {
    /// The reflector.
    pub bgpd: Bgpd,
    /// Node 11.
    pub frr: Frr,
    /// Node 12.
    pub bird: Bird,
    /// Node 13.
    pub gobgp: GoBgp,
    /// The pods of nodes 11, 12 and 13.
    pub pods: [Pod; 3],
    /// The reflector's node, then nodes 11, 12 and 13.
    pub nodes: [Node; 4],
    /// The switch.
    pub lab: Lab,
}

/// Commands that the lab needs.
#[must_use]
pub fn commands() -> Vec<&'static str> {
    FRR.into_iter().chain(BIRD).chain(GOBGP).chain(["ping"]).collect()
}

impl Cluster {
    /// Brings it up; returns when all sessions are Established.
    #[must_use]
    pub fn start() -> Self {
        let lab = Lab::new("cluster", &commands());
        let nodes = [lab.node("rr", 1), lab.node("frr", 11), lab.node("bird", 12), lab.node("gobgp", 13)];
        let pods = [nodes[1].pod(1, 11), nodes[2].pod(1, 12), nodes[3].pod(1, 13)];
        let bgpd = Bgpd::start(&nodes[0], REFLECTOR);
        let (frr, bird, gobgp) = (frr(&nodes[1], 11), bird(&nodes[2], 12), gobgp(&nodes[3], 13));
        let cluster = Self { bgpd, frr, bird, gobgp, pods, nodes, lab };
        let addresses: Vec<String> =
            cluster.nodes[1..].iter().flat_map(|node| [node.ipv4.to_string(), node.ipv6.to_string()]).collect();
        cluster.bgpd.wait_established(&addresses);
        cluster
    }
}
