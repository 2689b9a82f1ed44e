//! Three clusters in networks of their own behind a router, and a pair of reflectors.
//!
//! | | runs on its nodes | pods |
//! |---|---|---|
//! | cluster 1 | bgpd and the sidecar, as config/kubernetes has them | 10.1.N.0/24, fd00:1:N::/64 |
//! | cluster 2 | BIRD as Calico configures it | 10.2.N.0/24, fd00:2:N::/64 |
//! | cluster 3 | GoBGP as kube-router runs it; a sidecar that only installs | 10.3.N.0/24, fd00:3:N::/64 |
//!
//! Every node masquerades what leaves its cluster, as the CNI would.

use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant};

use interop::lab::{
    BIRD, Bgpd, Bird, GOBGP, GoBgp, Lab, Namespace, Node, Pod, Sidecar, segment_v4, segment_v6, wait_until,
};
use nix::sched::{CloneFlags, setns};
use serde_json::{Value, json};

use crate::apiserver::ApiServer;
use crate::page;

const ROUTER: &str = include_str!("../../peers/router-bird.conf");
const NODE: &str = include_str!("../../../config/kubernetes/two-clusters/cluster-1/bgpd.toml");
const SIDECAR: &str = include_str!("../../../config/kubernetes/two-clusters/cluster-1/sidecar.env");
const REFLECTORS: [&str; 2] = [
    include_str!("../../../config/kubernetes/two-clusters/reflectors/172.16.0.1.toml"),
    include_str!("../../../config/kubernetes/two-clusters/reflectors/172.16.0.2.toml"),
];
/// What config/kubernetes/base/daemonset.yaml gives to bgpd and to the sidecar.
const BGPD_CAPABILITIES: &str = "-all,+net_bind_service";
pub(crate) const SIDECAR_CAPABILITIES: &str = "-all,+net_admin";

/// What speaks BGP on a node, and what installs routes.
pub(crate) enum Speaker {
    Own {
        bgpd: Box<Bgpd>,
        sidecar: Box<Sidecar>,
    },
    Calico(Bird),
    KubeRouter {
        gobgp: GoBgp,
        sidecar: Box<Sidecar>,
    },
    /// Nothing runs yet, or any more.
    Stopped,
}

/// A node of a cluster with a pod behind it.
pub(crate) struct Member {
    pub(crate) name: String,
    pub(crate) cluster: u8,
    pub(crate) net: u8,
    pub(crate) node: Node,
    pub(crate) pod: Pod,
    pub(crate) speaker: Speaker,
}

/// That a pod was reached.
pub(crate) struct Echo {
    pub(crate) from: String,
    pub(crate) to: String,
    pub(crate) after: Duration,
    /// Echo requests up to the one that was answered.
    pub(crate) tries: u32,
}

pub(crate) struct World {
    pub(crate) members: Vec<Member>,
    pub(crate) reflectors: Vec<Bgpd>,
    pub(crate) apis: [ApiServer; 2],
    pub(crate) router: Node,
    _router_bird: Bird,
    /// Of the reflectors and of the API servers.
    _nodes: Vec<Node>,
    pub(crate) lab: Lab,
}

/// bgpd's configuration with a directory of the node's own for what it remembers.
pub(crate) fn remembering(config: &str, node: &Node) -> String {
    let directory = node.dir.join("state");
    std::fs::create_dir_all(&directory).expect("the lab's directory can be written");
    let key = format!("state-directory = \"{}\"\n", directory.display());
    if config.contains("[restart]\n") {
        config.replace("[restart]\n", &format!("[restart]\n{key}"))
    } else {
        format!("{config}\n[restart]\n{key}")
    }
}

/// The Node object of a member.
pub(crate) fn node_object(name: &str, cluster: u8, net: u8) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Node", "metadata": {"name": name},
        "spec": {"podCIDRs": [format!("10.{cluster}.{net}.0/24"), format!("fd00:{cluster}:{net}::/64")]},
        "status": {"addresses": [
            {"type": "InternalIP", "address": segment_v4(cluster, net)},
            {"type": "InternalIP", "address": segment_v6(cluster, net)},
        ]},
    })
}

/// Starts an API server in a namespace.
pub(crate) fn api_server(namespace: &Namespace, address: &str) -> ApiServer {
    let file = std::fs::File::open(format!("/run/netns/{}", namespace.name())).expect("a namespace");
    let address = address.parse().expect("an address");
    let thread = thread::spawn(move || {
        setns(file, CloneFlags::CLONE_NEWNET).expect("a namespace needs root");
        ApiServer::start_at(address)
    });
    thread.join().expect("an API server")
}

/// The masquerade rules of a node, as its CNI writes them.
fn masquerade(namespace: &Namespace, cluster: u8) {
    // iptables over nftables, and the old one; both are in use.
    let variant = if cluster == 3 { "legacy" } else { "nft" };
    let families =
        [("iptables", format!("10.{cluster}.0.0/16"), false), ("ip6tables", format!("fd00:{cluster}::/32"), true)];
    for (program, pods, is_v6) in families {
        let program = format!("{program}-{variant}");
        let rule = |rule: &str| {
            let words = format!("{program} -w -t nat -A POSTROUTING {rule}");
            let _ = namespace.run_ok(&words.split_whitespace().collect::<Vec<_>>());
        };
        if cluster == 2 {
            // Calico: what its pools name is not masqueraded. Those of cluster 1 are on the page, that of cluster 3 is
            // as them.
            let pools = page::calico_pools().into_iter().filter(|pool| pool.contains(':') == is_v6);
            for pool in pools.flat_map(|pool| [pool.replace("10.1.", "10.3.").replace("fd00:1:", "fd00:3:"), pool]) {
                rule(&format!("-s {pods} -d {pool} -j ACCEPT"));
            }
        }
        // kube-router: whatever leaves its own pods.
        rule(&format!("-s {pods} ! -d {pods} -j MASQUERADE --random-fully"));
        if cluster == 3 {
            // flannel: also what comes to its pods from elsewhere.
            rule(&format!("! -s {pods} -d {pods} -j MASQUERADE --random-fully"));
        }
    }
}

impl World {
    pub(crate) fn build(name: &str) -> Self {
        let commands = [&BIRD[..], &GOBGP[..], &["ping", "tcpdump", "nft", "iptables-nft", "iptables-legacy"]].concat();
        let lab = Lab::new(name, &commands);
        let router = lab.router([0, 1, 2, 3]);
        let nodes = vec![lab.host("rr1", 0, 1), lab.host("rr2", 0, 2), lab.host("api", 0, 100)];
        let reflectors = vec![start_reflector(&nodes[0], 0), start_reflector(&nodes[1], 1)];
        let apis = [8081, 8083].map(|port| api_server(&nodes[2].namespace, &format!("172.16.0.100:{port}")));
        let router_bird = Bird::start(&router, &ROUTER.replace("ADDRESS", &router.ipv4.to_string()));
        let mut world =
            Self { members: Vec::new(), reflectors, apis, router, _router_bird: router_bird, _nodes: nodes, lab };
        for cluster in 1..=3 {
            for number in 1..=3 {
                let mut member = world.place(cluster, 10 + number);
                world.start(&mut member);
                world.members.push(member);
            }
        }
        world
    }

    fn api(&self, cluster: u8) -> &ApiServer {
        &self.apis[usize::from(cluster == 3)]
    }

    /// A node on which nothing runs yet.
    pub(crate) fn place(&self, cluster: u8, net: u8) -> Member {
        let name = format!("c{cluster}n{}", net - 10);
        let node = self.lab.host(&name, cluster, net);
        let pod = node.pod(cluster, net);
        masquerade(&node.namespace, cluster);
        Member { name, cluster, net, node, pod, speaker: Speaker::Stopped }
    }

    /// The node joins its cluster.
    pub(crate) fn start(&self, member: &mut Member) {
        let Member { name, cluster, net, node, .. } = &*member;
        let fill = |template: &str| fill(template, node, *cluster, *net);
        if *cluster != 2 {
            self.api(*cluster).put("nodes", node_object(name, *cluster, *net));
        }
        member.speaker = match cluster {
            1 => {
                let bgpd = start_bgpd(node);
                let sidecar = start_sidecar(node, name, &bgpd);
                Speaker::Own { bgpd: Box::new(bgpd), sidecar: Box::new(sidecar) }
            }
            2 => Speaker::Calico(Bird::start(node, &fill(&page::calico_bird()))),
            _ => self.start_kube_router(node, name, &fill),
        };
    }

    fn start_kube_router(&self, node: &Node, name: &str, fill: &dyn Fn(&str) -> String) -> Speaker {
        let gobgp = start_gobgp(node, &page::kube_router_gobgp(), fill);
        let sidecar = watching_sidecar(node, name, &self.reflectors[0], "http://172.16.0.100:8083");
        Speaker::KubeRouter { gobgp, sidecar: Box::new(sidecar) }
    }

    /// The node is drained and deleted from its cluster; then it is switched off, and its disk is wiped: the next node of
    /// its name is a new one, not one that has restarted.
    pub(crate) fn delete(&self, member: &mut Member) {
        self.api(member.cluster).delete("nodes", &member.name);
        if let Speaker::Own { bgpd, sidecar } = &mut member.speaker {
            let gone = || sidecar.status()["announcements"].as_array().is_some_and(Vec::is_empty);
            wait_until("nothing is announced any more", gone, || sidecar.picture());
            assert!(sidecar.daemon.terminate().success());
            let _ = bgpd.daemon.terminate();
            std::fs::remove_dir_all(member.node.dir.join("state")).expect("bgpd has remembered something");
            std::fs::remove_file(member.node.dir.join("sidecar.json")).expect("the sidecar has remembered something");
            // The kernel of a machine that is switched off forgets what the sidecar would leave in it.
            let namespace = &member.node.namespace;
            namespace.ip("route flush proto 145");
            namespace.ip("-6 route flush proto 145");
            let _ = namespace.run_ok(&["nft", "delete", "table", "inet", "bgp-sidecar"]);
        }
        member.speaker = Speaker::Stopped;
    }

    /// The ends of the logs of a node and of the reflectors.
    pub(crate) fn story(&self, member: &Member) -> String {
        let mut text: String = self.reflectors.iter().map(|bgpd| bgpd.daemon.log_end()).collect();
        if let Speaker::Own { bgpd, sidecar } = &member.speaker {
            text += &(bgpd.daemon.log_end() + &sidecar.daemon.log_end());
        }
        text
    }

    /// How things are, for a failure.
    pub(crate) fn picture(&self) -> String {
        let mut text: String = self.reflectors.iter().map(Bgpd::picture).collect();
        for member in &self.members {
            text += &format!("== {}\n", member.name);
            text += &match &member.speaker {
                Speaker::Own { bgpd, sidecar } => bgpd.picture() + &sidecar.picture(),
                Speaker::Calico(bird) => bird.picture(),
                Speaker::KubeRouter { gobgp, sidecar } => gobgp.picture() + &sidecar.picture(),
                Speaker::Stopped => "stopped\n".to_owned(),
            };
            text += &member.node.namespace.ip("route show");
        }
        text
    }

    /// All namespaces in which routes may be.
    pub(crate) fn kernels(&self) -> impl Iterator<Item = (&str, &Namespace)> {
        let members = self.members.iter().map(|member| (member.name.as_str(), &member.node.namespace));
        members.chain([("router", &self.router.namespace)])
    }

    /// Which kernels know anything of a pod network.
    pub(crate) fn traces(&self, cluster: u8, net: u8) -> Vec<String> {
        let texts = [format!("10.{cluster}.{net}."), format!("fd00:{cluster}:{net}:")];
        let mut found = Vec::new();
        for (name, namespace) in self.kernels() {
            let listing = namespace.ip("route show table all")
                + &namespace.ip("-6 route show table all")
                + &namespace.run_ok(&["nft", "list", "ruleset"]);
            let lines = listing.lines().filter(|line| texts.iter().any(|text| line.contains(text)));
            found.extend(lines.map(|line| format!("{name}: {line}")));
        }
        found
    }

    /// Waits until all pods reach each other; or, with `others`, until these reach all and are reached by all.
    pub(crate) fn wait_reachable(&self, what: &str, others: &[&Member]) -> Vec<Echo> {
        self.wait_reachable_since(Instant::now(), what, others)
    }

    /// The same with times since another moment.
    pub(crate) fn wait_reachable_since(&self, since: Instant, what: &str, others: &[&Member]) -> Vec<Echo> {
        let all: Vec<&Pod> = self.members.iter().chain(others.iter().copied()).map(|member| &member.pod).collect();
        let is_other = |pod: &Pod| others.iter().any(|member| member.pod.ipv4 == pod.ipv4);
        thread::scope(|scope| {
            let mut waits = Vec::new();
            for from in &all {
                let wanted = all.iter().copied().filter(|to| to.ipv4 != from.ipv4);
                let wanted = wanted.filter(|to| others.is_empty() || is_other(from) || is_other(to));
                let addresses: Vec<String> = wanted.flat_map(|to| [to.ipv4.to_string(), to.ipv6.to_string()]).collect();
                // A new node has as many pings under way as it has targets, so that their number does not count.
                for part in addresses.chunks(if is_other(from) { 1 } else { addresses.len() }) {
                    let part = part.to_vec();
                    waits.push(scope.spawn(move || {
                        part.into_iter().map(|to| self.wait_echo(since, what, from, to)).collect::<Vec<_>>()
                    }));
                }
            }
            waits.into_iter().flat_map(|wait| wait.join().expect("a pod is reached")).collect()
        })
    }

    fn wait_echo(&self, since: Instant, what: &str, from: &Pod, to: String) -> Echo {
        let mut tries = 0;
        wait_until(
            &format!("{what}: {} reaches {to}", from.ipv4),
            || {
                tries += 1;
                from.namespace.succeeds(&["ping", "-c1", "-W0.3", "-n", &to])
            },
            || self.picture(),
        );
        Echo { from: from.ipv4.to_string(), to, after: since.elapsed(), tries }
    }
}

/// The first or the second reflector. Its configuration guards two clusters; the third is told to it as to any that runs.
pub(crate) fn start_reflector(node: &Node, index: usize) -> Bgpd {
    start_reflector_with(node, REFLECTORS[index])
}

/// The first reflector without the other one.
pub(crate) fn start_only_reflector(node: &Node) -> Bgpd {
    let (before, after) = REFLECTORS[0].split_once("[[neighbor]]\n").expect("the other reflector");
    let (_, after) = after.split_once("\n\n").expect("something after it");
    start_reflector_with(node, &format!("{before}{after}"))
}

fn start_reflector_with(node: &Node, config: &str) -> Bgpd {
    let bgpd = Bgpd::confined(node, &remembering(config, node), BGPD_CAPABILITIES);
    let pods = ["--pod-cidr=10.3.0.0/16", "--pod-cidr=fd00:3::/32"];
    let nodes = ["--node-range=172.16.3.0/24", "--node-range=2001:db8:3::/64"];
    let _ = bgpd.ctl(&[&["cluster", "set", "cluster-3"], &pods[..], &nodes[..]].concat());
    bgpd
}

/// bgpd's configuration on a node of cluster 1.
pub(crate) fn node_config(node: &Node) -> String {
    NODE.replace("NODE_IP", &node.ipv4.to_string())
}

pub(crate) fn start_bgpd(node: &Node) -> Bgpd {
    start_bgpd_with(node, &node_config(node))
}

pub(crate) fn start_bgpd_with(node: &Node, config: &str) -> Bgpd {
    Bgpd::confined(node, &remembering(config, node), BGPD_CAPABILITIES)
}

/// A sidecar with the options of config/kubernetes.
pub(crate) fn start_sidecar(node: &Node, name: &str, bgpd: &Bgpd) -> Sidecar {
    let options: Vec<String> = SIDECAR.lines().filter_map(option).collect();
    sidecar_on(node, name, bgpd, &options.iter().map(String::as_str).collect::<Vec<_>>())
}

/// A sidecar of cluster 1 with other options.
pub(crate) fn sidecar_on(node: &Node, name: &str, bgpd: &Bgpd, options: &[&str]) -> Sidecar {
    let arguments = [
        format!("--server=unix:{}", bgpd.socket()),
        format!("--node-name={name}"),
        format!("--cache={}", node.dir.join("sidecar.json").display()),
        "--drain-time=1".to_owned(),
    ];
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).chain(options.iter().copied()).collect();
    Sidecar::start(node, "http://172.16.0.100:8081", SIDECAR_CAPABILITIES, &arguments)
}

/// A template with what is a node's own.
pub(crate) fn fill(template: &str, node: &Node, cluster: u8, net: u8) -> String {
    template
        .replace("ADDRESS6", &node.ipv6.to_string())
        .replace("ADDRESS", &node.ipv4.to_string())
        .replace("POD4", &format!("10.{cluster}.{net}.0/24"))
        .replace("POD6", &format!("fd00:{cluster}:{net}::/64"))
}

/// GoBGP that announces its node's pod CIDRs.
pub(crate) fn start_gobgp(node: &Node, config: &str, fill: &dyn Fn(&str) -> String) -> GoBgp {
    let gobgp = GoBgp::start(node, &fill(config));
    let announced =
        || gobgp.announce(&fill("POD4"), &fill("ADDRESS")) && gobgp.announce(&fill("POD6"), &fill("ADDRESS6"));
    wait_until("GoBGP takes its routes", announced, || gobgp.picture());
    gobgp
}

/// The sidecar of a node whose speaker announces by itself; its routes come from a reflector.
pub(crate) fn watching_sidecar(node: &Node, name: &str, reflector: &Bgpd, api: &str) -> Sidecar {
    let own = [format!("--server=unix:{}", reflector.socket()), format!("--node-name={name}")];
    let arguments: Vec<&str> =
        own.iter().map(String::as_str).chain(page::sidecar_options(&["--no-announce", "--node-name=NODE"])).collect();
    Sidecar::start(node, api, SIDECAR_CAPABILITIES, &arguments)
}

/// Destinations of the sidecar's routes in a node's kernel.
pub(crate) fn kernel_routes(node: &Node) -> BTreeSet<String> {
    let read =
        |arguments: &str| -> Vec<Value> { serde_json::from_str(&node.namespace.ip(arguments)).unwrap_or_default() };
    let mut routes = read("-j route show table all proto 145");
    routes.extend(read("-j -6 route show table all proto 145"));
    routes.iter().filter_map(|route| route["dst"].as_str().map(str::to_owned)).collect()
}

/// A line of the environment file as the option that it stands for.
fn option(line: &str) -> Option<String> {
    let (name, value) = line.strip_prefix("BGP_SIDECAR_")?.split_once('=')?;
    let name = name.to_lowercase().replace('_', "-");
    Some(if value == "true" { format!("--{name}") } else { format!("--{name}={value}") })
}
