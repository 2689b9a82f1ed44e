//! What is wrong costs what it touches and nothing else: one message with the name of the object, in the log once, in the
//! status, the metrics and an Event; tried again with growing pauses; and well again by itself.

use std::cell::OnceCell;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use interop::lab::{Bgpd, Lab, Node, Sidecar, run_ok, to, wait_until};
use serde_json::{Value, json};

use crate::apiserver::ApiServer;
use crate::tls::{Certificate, Terminator};
use crate::world::{
    SIDECAR_CAPABILITIES, api_server, kernel_routes, node_config, node_object, start_bgpd_with, start_only_reflector,
};

/// Something wrong, and what must be said of it.
struct Fault<'a> {
    object: &'a str,
    reason: &'a str,
    message: &'a str,
    /// Whether the API server can be told.
    has_event: bool,
    come: &'a dyn Fn(),
    /// What must work all the same.
    meanwhile: &'a dyn Fn(),
    go: &'a dyn Fn(),
}

/// A reflector, a node of cluster 1 beside it, and the cluster's API server.
struct Scene {
    sidecar: Sidecar,
    /// Where the sidecar runs.
    place: usize,
    /// That of the reflector, then that of the node.
    bgpds: Vec<Bgpd>,
    api: ApiServer,
    nodes: [Node; 3],
    _router: Node,
    _lab: Lab,
}

const API: &str = "http://172.16.0.100:8081";
/// Where learned routes lead.
const ROUTER: &str = "172.16.1.254";

fn of_node(bgpd: &Bgpd, options: &[&str]) -> Vec<String> {
    let own = [format!("--server=unix:{}", bgpd.socket()), "--node-name=n21".to_owned()];
    own.into_iter().chain(options.iter().map(|&option| option.to_owned())).collect()
}

fn strs(all: &[String]) -> Vec<&str> {
    all.iter().map(String::as_str).collect()
}

impl Scene {
    /// A sidecar beside the reflector that speaks for all nodes.
    fn of_cluster(name: &str) -> Self {
        let start = |nodes: &[Node; 3], bgpds: &[Bgpd]| {
            let server = format!("--server=unix:{}", bgpds[0].socket());
            Sidecar::start(&nodes[0], API, SIDECAR_CAPABILITIES, &[&server, "--mode=cluster", "--drain-time=1"])
        };
        Self::start(name, 0, &start)
    }

    /// A sidecar on the node.
    fn of_node(name: &str, options: &[&str]) -> Self {
        let start = |nodes: &[Node; 3], bgpds: &[Bgpd]| {
            Sidecar::start(&nodes[1], API, SIDECAR_CAPABILITIES, &strs(&of_node(&bgpds[1], options)))
        };
        Self::start(name, 1, &start)
    }

    fn start(name: &str, place: usize, sidecar: &dyn Fn(&[Node; 3], &[Bgpd]) -> Sidecar) -> Self {
        let lab = Lab::new(name, &["nft", "setpriv"]);
        let router = lab.router([0, 1]);
        let nodes = [lab.host("rr1", 0, 1), lab.host("n21", 1, 21), lab.host("api", 0, 100)];
        let api = api_server(&nodes[2].namespace, API.trim_start_matches("http://"));
        api.put("nodes", node_object("n21", 1, 21));
        api.put("nodes", node_object("n22", 1, 22));
        let mut bgpds = vec![start_only_reflector(&nodes[0])];
        if place == 1 {
            // The other reflector does not run: that would be one more thing wrong.
            let config = node_config(&nodes[1]);
            let (config, _) = config.split_once("[[neighbor]]\naddress = \"172.16.0.2\"").expect("two reflectors");
            bgpds.push(start_bgpd_with(&nodes[1], config));
        }
        let sidecar = sidecar(&nodes, &bgpds);
        let scene = Self { sidecar, place, bgpds, api, nodes, _router: router, _lab: lab };
        wait_until("the node's pods are known", || scene.announces("10.1.21.0/24"), || scene.picture());
        scene.learns("10.3.1.0/24");
        scene
    }

    fn picture(&self) -> String {
        self.sidecar.picture() + &self.bgpds.iter().map(Bgpd::picture).collect::<String>()
    }

    /// Whether the reflector has a route of the sidecar.
    fn announces(&self, prefix: &str) -> bool {
        to(&self.bgpds[0].routes(), prefix).is_some()
    }

    /// The reflector learns a route.
    fn announce(&self, prefix: &str, next_hop: &str) {
        let _ = self.bgpds[0].ctl(&["announce", prefix, "--next-hop", next_hop]);
    }

    fn installs(&self, prefix: &str) -> bool {
        kernel_routes(&self.nodes[1]).contains(prefix)
    }

    /// What the reflector learns is installed, where the sidecar installs anything.
    fn learns(&self, prefix: &str) {
        if self.place == 1 {
            self.announce(prefix, if prefix.contains(':') { "2001:db8:1::254" } else { ROUTER });
            wait_until(&format!("{prefix} is installed"), || self.installs(prefix), || self.picture());
        }
    }

    /// A Node is announced when it comes, and those that were there still are.
    fn follows(&self, net: u8) {
        self.api.put("nodes", node_object(&format!("n{net}"), 1, net));
        let prefix = format!("10.1.{net}.0/24");
        wait_until(&format!("{prefix} is announced"), || self.announces(&prefix), || self.picture());
        assert!(self.announces("10.1.21.0/24") && self.announces("10.1.22.0/24"), "{}", self.picture());
    }

    /// What the node announces stays, and what it learns is installed.
    fn goes_on(&self, prefix: &str) {
        assert!(self.announces("10.1.21.0/24"), "{}", self.picture());
        self.learns(prefix);
    }

    fn metrics(&self) -> String {
        self.nodes[self.place].namespace.inside(|| {
            let mut answer = String::new();
            let mut stream = TcpStream::connect("127.0.0.1:50180").expect("the sidecar listens");
            stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").expect("the sidecar reads");
            stream.read_to_string(&mut answer).expect("the sidecar answers");
            answer
        })
    }

    fn has_metric(&self, line: &str) -> bool {
        self.metrics().lines().any(|one| one == line)
    }

    fn shows(&self, fault: &Fault) {
        let has = |problem: &Value| {
            problem["object"] == fault.object
                && problem["reason"] == fault.reason
                && problem["message"] == fault.message
        };
        let problems = || self.sidecar.status()["problems"].as_array().cloned().unwrap_or_default();
        let Fault { object, reason, message, .. } = fault;
        assert_eq!(problems(), Vec::<Value>::new());
        (fault.come)();
        wait_until(&format!("{object}: {message}"), || problems().iter().any(has), || self.picture());
        let gauge = |count: usize| format!("bgp_sidecar_problems{{reason=\"{reason}\"}} {count}");
        wait_until("the metric", || self.has_metric(&gauge(1)), || self.metrics());
        assert!(self.has_metric(&format!("bgp_sidecar_problems_seen_total{{reason=\"{reason}\"}} 1")));
        if fault.has_event {
            let note = format!("{object}: {message}");
            let is_event = |(_, event): &(String, Value)| event["reason"] == *reason && event["note"] == note;
            wait_until("the Event", || self.api.store().written.iter().any(is_event), || self.picture());
        }
        (fault.meanwhile)();
        assert!(problems().iter().all(has), "{}", self.picture());
        (fault.go)();
        wait_until("all is well again", || problems().is_empty() && self.has_metric(&gauge(0)), || self.picture());
        let log = self.sidecar.daemon.log();
        let warnings: Vec<&str> = log.lines().filter(|line| line.contains(&format!("reason={reason}"))).collect();
        let says = |line: &&str| line.contains(&format!("object=\"{object}\""));
        assert_eq!(warnings.len(), 2, "said once when it comes and once when it goes: {warnings:#?}");
        assert!(warnings.iter().all(says) && warnings[0].contains(message) && warnings[1].contains("is well again"));
    }
}

/// A problem of a Node in cluster mode: what it makes of the object, and what must be said.
fn node_is_wrong(name: &str, spoil: &dyn Fn(&mut Value), reason: &str, message: &str) {
    let scene = Scene::of_cluster(name);
    let right = node_object("n23", 1, 23);
    let mut wrong = right.clone();
    spoil(&mut wrong);
    scene.shows(&Fault {
        object: "node/n23",
        reason,
        message,
        has_event: true,
        come: &|| scene.api.put("nodes", wrong.clone()),
        meanwhile: &|| scene.follows(24),
        go: &|| scene.api.put("nodes", right.clone()),
    });
    wait_until("it is announced", || scene.announces("10.1.23.0/24"), || scene.picture());
}

#[test]
fn node_without_pod_cidr_costs_its_own_routes_only() {
    let message = "has no pod CIDR; is the controller manager started with --allocate-node-cidrs?";
    node_is_wrong("no-pod-cidr", &|node| node["spec"] = json!({}), "NoPodCidr", message);
}

#[test]
fn pod_cidr_of_a_family_that_the_node_has_no_address_of_costs_its_own_route_only() {
    let spoil = |node: &mut Value| {
        node["spec"]["podCIDRs"] = json!(["fd00:1:23::/64"]);
        node["status"]["addresses"] = json!([{"type": "InternalIP", "address": "172.16.1.23"}]);
    };
    let message = "pod CIDR fd00:1:23::/64 has no next hop: the node has no IPv6 InternalIP";
    node_is_wrong("wrong-family", &spoil, "NoNextHop", message);
}

#[test]
fn pod_cidr_that_overlaps_another_nodes_costs_its_own_route_only() {
    let spoil = |node: &mut Value| node["spec"]["podCIDRs"] = json!(["10.1.22.128/25"]);
    let message = "pod CIDR 10.1.22.128/25 overlaps 10.1.22.0/24 of node n22, which keeps it";
    node_is_wrong("overlap", &spoil, "OverlappingPodCidr", message);
}

#[test]
fn node_without_an_internal_address_costs_its_own_routes_only() {
    let spoil = |node: &mut Value| {
        node["spec"]["podCIDRs"] = json!(["10.1.23.0/24"]);
        node["status"]["addresses"] = json!([{"type": "Hostname", "address": "n23"}]);
    };
    let message = "pod CIDR 10.1.23.0/24 has no next hop: the node has no IPv4 InternalIP";
    node_is_wrong("no-address", &spoil, "NoNextHop", message);
}

#[test]
fn sidecar_of_a_node_without_pod_cidr_installs_routes_all_the_same() {
    let scene = Scene::of_node("own-pod-cidr", &["--drain-time=1"]);
    let right = node_object("n21", 1, 21);
    let mut wrong = right.clone();
    wrong["spec"] = json!({});
    scene.shows(&Fault {
        object: "node/n21",
        reason: "NoPodCidr",
        message: "has no pod CIDR; is the controller manager started with --allocate-node-cidrs?",
        has_event: true,
        come: &|| scene.api.put("nodes", wrong.clone()),
        meanwhile: &|| scene.learns("10.3.2.0/24"),
        go: &|| scene.api.put("nodes", right.clone()),
    });
    wait_until("it is announced again", || scene.announces("10.1.21.0/24"), || scene.picture());
}

#[test]
fn pod_cidr_that_another_node_announces_too_is_not_installed() {
    let scene = Scene::of_node("own-overlap", &[]);
    scene.shows(&Fault {
        object: "route/10.1.21.128/25",
        reason: "RouteRefused",
        message: "not installed: it is inside this node's pod CIDR 10.1.21.0/24",
        has_event: true,
        come: &|| scene.announce("10.1.21.128/25", ROUTER),
        meanwhile: &|| scene.goes_on("10.3.2.0/24"),
        go: &|| drop(scene.bgpds[0].ctl(&["withdraw", "10.1.21.128/25"])),
    });
}

/// The first pauses grow, where nothing else is asked for. A pause is never shorter than meant, however busy the machine is.
fn assert_backs_off(attempts: &[Instant]) {
    let pauses: Vec<Duration> = attempts.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(pauses[0] >= Duration::from_millis(400) && pauses[1] >= Duration::from_millis(800), "{pauses:?}");
}

#[test]
fn api_server_that_forbids_is_asked_again_and_routing_goes_on() {
    let scene = Scene::of_node("forbidden", &["--no-report"]);
    let refused = || scene.api.store().refused.clone();
    scene.shows(&Fault {
        object: "kubernetes/nodes",
        reason: "KubernetesUnavailable",
        message: "the API server forbids it (403): nodes is forbidden: User \
                  \"system:serviceaccount:kube-system:bgp\" cannot list resource; the ClusterRole needs list and watch \
                  of nodes",
        has_event: false,
        come: &|| {
            scene.api.store().refuse = Some(403);
            scene.api.end_watches();
        },
        meanwhile: &|| {
            scene.goes_on("10.3.2.0/24");
            wait_until("it is asked three times", || refused().len() > 2, || scene.picture());
            assert_backs_off(&refused());
        },
        go: &|| scene.api.store().refuse = None,
    });
}

#[test]
fn api_server_with_the_certificate_of_somebody_else_is_asked_again_and_routing_goes_on() {
    let terminator = OnceCell::new();
    let scene = Scene::start("certificate", 1, &|nodes, bgpds| {
        let terminator = terminator.get_or_init(|| Terminator::start(&nodes[2], "172.16.0.100", 8443, 8081));
        let authority = nodes[1].write("authority.pem", terminator.authority());
        let cluster = json!({"server": "https://172.16.0.100:8443", "certificate-authority": authority});
        let arguments = of_node(&bgpds[1], &["--no-report"]);
        Sidecar::start_at(&nodes[1], &cluster, SIDECAR_CAPABILITIES, &strs(&arguments), &[])
    });
    let terminator: &Terminator = terminator.get().expect("it has been started");
    scene.shows(&Fault {
        object: "kubernetes/nodes",
        reason: "KubernetesUnavailable",
        message: "the API server cannot be used: invalid peer certificate: UnknownIssuer; expected a certificate of the \
                  authority in our configuration",
        has_event: false,
        come: &|| terminator.show(Certificate::OfSomebodyElse),
        meanwhile: &|| {
            scene.goes_on("10.3.2.0/24");
            wait_until("it is asked three times", || terminator.refused().len() > 2, || scene.picture());
            assert_backs_off(&terminator.refused());
        },
        go: &|| terminator.show(Certificate::Own),
    });
}

#[test]
fn route_whose_next_hop_is_unreachable_waits_for_a_way_and_others_go_on() {
    let scene = Scene::of_node("unreachable", &[]);
    let node = &scene.nodes[1].namespace;
    scene.shows(&Fault {
        object: "route/10.3.9.0/24",
        reason: "NextHopUnresolved",
        message: "next hop 203.0.113.7 is reachable through the default route only, and --resolve-via-default is not given",
        has_event: true,
        come: &|| scene.announce("10.3.9.0/24", "203.0.113.7"),
        meanwhile: &|| {
            scene.goes_on("10.3.2.0/24");
            // bgpd has no way to know, but whoever installs its routes says it.
            let why = scene.bgpds[1].ctl(&["explain", "10.3.9.0/24"]);
            let kernel = why.split_once("In the kernel\n").map(|(_, said)| said).unwrap_or_default();
            assert!(kernel.contains("  not installed: next hop 203.0.113.7 is reachable through the default"), "{why}");
        },
        go: &|| drop(node.ip(&format!("route add 203.0.113.0/24 via {ROUTER}"))),
    });
    wait_until("it is installed", || scene.installs("10.3.9.0/24"), || scene.picture());
}

/// The kernel's answer to a new route, and what must be said of it.
fn kernel_refuses(name: &str, errno: i32, message: &str) {
    let file = |node: &Node, name: &str| node.dir.join(name);
    let scene = Scene::start(name, 1, &|nodes, bgpds| {
        let node = &nodes[1];
        let library = file(node, "refusing-kernel.so").display().to_string();
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/peers/refusing-kernel.c");
        let _ = run_ok(&["cc", "-shared", "-fPIC", "-o", &library, source, "-ldl"]);
        let environment = [
            format!("LD_PRELOAD={library}"),
            format!("REFUSE_ROUTES={}", file(node, "refuse").display()),
            format!("REFUSED_ROUTES={}", file(node, "refused").display()),
        ];
        let arguments = of_node(&bgpds[1], &[]);
        let cluster = json!({"server": API});
        Sidecar::start_at(node, &cluster, SIDECAR_CAPABILITIES, &strs(&arguments), &strs(&environment))
    });
    let node = &scene.nodes[1];
    let refused = || std::fs::read_to_string(file(node, "refused")).unwrap_or_default();
    scene.shows(&Fault {
        object: "route/10.3.9.0/24",
        reason: "KernelRefused",
        message,
        has_event: true,
        come: &|| {
            node.write("refuse", &errno.to_string());
            scene.announce("10.3.9.0/24", ROUTER);
        },
        meanwhile: &|| {
            // What is announced stays, what is installed goes when it is withdrawn, and the other table has room.
            scene.goes_on("fd00:3:2::/64");
            let _ = scene.bgpds[0].ctl(&["withdraw", "10.3.1.0/24"]);
            wait_until("10.3.1.0/24 is removed", || !scene.installs("10.3.1.0/24"), || scene.picture());
            wait_until("it is tried three times", || refused().lines().count() > 2, || scene.picture());
            let (begin, attempts) = (Instant::now(), refused());
            let attempts = attempts.lines().filter_map(|line| line.parse().ok());
            assert_backs_off(&attempts.map(|time| begin + Duration::from_millis(time)).collect::<Vec<_>>());
        },
        go: &|| std::fs::remove_file(file(node, "refuse")).expect("it is there"),
    });
    assert!(scene.installs("10.3.9.0/24"), "{}", scene.picture());
}

#[test]
fn route_that_the_kernel_refuses_because_its_table_is_full_is_tried_again_and_others_go_on() {
    let message =
        "the kernel refuses it: No space left on device (os error 28); its routing table or its memory is full";
    kernel_refuses("full-table", 28, message);
}

#[test]
fn route_that_the_kernel_refuses_because_it_has_no_way_is_tried_again_and_others_go_on() {
    let message =
        "the kernel refuses it: Network is unreachable (os error 101); its next hop cannot be reached from here";
    kernel_refuses("no-way", 101, message);
}
