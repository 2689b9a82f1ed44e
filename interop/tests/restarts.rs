//! Speakers crash, or are stopped, and start again while all pods ping each other a hundred times a second: nothing may be lost where
//! forwarding goes on. Nodes with FRR and BIRD keep their kernel routes; the reflectors forward nothing.

use std::io::Write;
use std::time::Instant;

use interop::lab::cluster::{bird_config, both_reflectors, frr_config, reflector};
use interop::lab::{BIRD, Bgpd, Bird, Daemon, FRR, Frr, Lab, Loss, Node, Pings, Pod, SeenRoute, to, wait_until};

/// How long pings go on at least around each restart, and around one that takes longer than the restart time.
const SECONDS: u32 = 15;
const LONG: u32 = 30;
/// The restart time of the reflectors.
const RESTART: u64 = 8;
/// Longest time that a reflector puts route selection off.
const CAP: u64 = 10;

fn reflector_config(node: &Node) -> String {
    let other = if node.ipv4.to_string() == "192.0.2.1" { "192.0.2.2" } else { "192.0.2.1" };
    let state = node.dir.join("state").display().to_string();
    // The reflectors know each other as non-clients, so that a node with one session left is still reachable.
    let restart = format!("hold-time = 9\nrestart-time = {RESTART}\nlong-lived-stale-time = 300");
    format!(
        "{}\n[[neighbor]]\naddress = \"{other}\"\nremote-asn = 65000\nconnect-retry = 1\nidle-hold-time = 1\n\
        families = [\"ipv4-unicast\", \"ipv6-unicast\"]\n{}{}\
        [restart]\nstate-directory = \"{state}\"\nselection-deferral-time = {CAP}\n",
        reflector(&node.ipv4.to_string(), None).replace("hold-time = 9", &restart),
        configured("192.0.2.11"),
        configured("2001:db8::11"),
    )
}

/// FRR does not connect again by itself once its routes are long-lived stale, so the reflectors connect to it.
fn configured(address: &str) -> String {
    format!("[[neighbor]]\naddress = \"{address}\"\npeer-group = \"nodes\"\nconnect-retry = 1\nidle-hold-time = 1\n")
}

fn start_reflector(node: &Node) -> Bgpd {
    Bgpd::start(node, &reflector_config(node))
}

/// FRR sets the R bit for two minutes after every start, whatever its restart time.
fn frr_graceful(node: &Node, net: u8) -> String {
    let restart = "bgp graceful-restart\n bgp graceful-restart preserve-fw-state\n \
        bgp graceful-restart restart-time 12\n bgp graceful-restart select-defer-time 20\n \
        bgp long-lived-graceful-restart stale-time 300\n bgp router-id";
    both_reflectors(&frr_config(node, net)).replacen("bgp router-id", restart, 1)
}

fn bird_graceful(node: &Node, net: u8) -> String {
    let config = both_reflectors(&bird_config(node, net));
    let config = config.replace(
        "hold time 9;",
        "hold time 9; graceful restart on; graceful restart time 30; \
        long lived graceful restart on; long lived stale time 300;",
    );
    let config = config.replace("protocol kernel {", "protocol kernel { graceful restart on;");
    config.replacen("protocol device {}", "graceful restart wait 20;\nprotocol device {}", 1)
}

/// Two reflectors, and three nodes with a pod each.
struct Restarts {
    reflectors: [Bgpd; 2],
    frr: Frr,
    birds: [Bird; 2],
    pods: [Pod; 3],
    rr_nodes: [Node; 2],
    nodes: [Node; 3],
    /// What the kernel's routes did, for whoever looks for a lost packet.
    _monitors: [Daemon; 3],
    _lab: Lab,
}

impl Restarts {
    fn start() -> Self {
        let lab = Lab::new("restarts", &[&FRR[..], &BIRD[..], &["ping"]].concat());
        let rr_nodes = [lab.node("rr1", 1), lab.node("rr2", 2)];
        let nodes = [lab.node("frr", 11), lab.node("bird", 12), lab.node("bird2", 13)];
        let pods = [nodes[0].pod(1, 11), nodes[1].pod(1, 12), nodes[2].pod(1, 13)];
        let reflectors = [start_reflector(&rr_nodes[0]), start_reflector(&rr_nodes[1])];
        let frr = Frr::start(&nodes[0], &frr_graceful(&nodes[0], 11));
        let birds = [
            Bird::start(&nodes[1], &bird_graceful(&nodes[1], 12)),
            Bird::start(&nodes[2], &bird_graceful(&nodes[2], 13)),
        ];
        let monitor = |node: &Node| Daemon::start(node, "routes", "ip", &["-ts", "monitor", "route"]);
        let monitors = nodes.each_ref().map(monitor);
        let lab = Self { reflectors, frr, birds, pods, rr_nodes, nodes, _monitors: monitors, _lab: lab };
        lab.wait_whole();
        let all = || lab.pairs().all(|(from, to)| from.reaches(to));
        wait_until("all pods reach each other", all, || lab.picture());
        lab
    }

    fn pairs(&self) -> impl Iterator<Item = (&Pod, &Pod)> {
        let others = |from: usize| (0..3).filter(move |to| *to != from).map(move |to| (from, to));
        (0..3).flat_map(others).map(|(from, to)| (&self.pods[from], &self.pods[to]))
    }

    fn picture(&self) -> String {
        let [one, two] = &self.reflectors;
        one.picture() + &two.picture() + &self.frr.picture() + &self.birds[0].picture()
    }

    /// Waits until every session is Established, nothing is stale or put off, and every node has every route.
    fn wait_whole(&self) {
        let nodes: Vec<String> =
            self.nodes.iter().flat_map(|node| [node.ipv4.to_string(), node.ipv6.to_string()]).collect();
        for (bgpd, other) in self.reflectors.iter().zip(["192.0.2.2", "192.0.2.1"]) {
            bgpd.wait_established(&nodes);
            bgpd.wait_established(&[other.to_owned()]);
            let settled = || {
                let neighbors = bgpd.json(&["show", "neighbors"]);
                let stale = |one: &serde_json::Value| one["graceful_restart"]["stale"].as_array().map_or(0, Vec::len);
                let none_stale = neighbors.as_array().is_some_and(|all| all.iter().all(|one| stale(one) == 0));
                none_stale && bgpd.json(&["show", "summary"])["awaited"] == serde_json::json!([])
            };
            wait_until("nothing is stale or put off", settled, || self.picture());
        }
        let has = |routes: &[_], own: u8| {
            let others = [11, 12, 13].into_iter().filter(|net| *net != own);
            others.into_iter().all(|net| to(routes, &format!("10.1.{net}.0/24")).is_some())
        };
        let complete = || {
            has(&self.frr.routes(false), 11)
                && has(&self.birds[0].routes(false), 12)
                && has(&self.birds[1].routes(false), 13)
        };
        wait_until("every node has every route", complete, || self.picture());
    }

    /// Pings, does something, waits until all is whole again and the pings have ended; what was lost.
    fn during(&mut self, what: &str, seconds: u32, act: impl FnOnce(&mut Self)) -> Vec<Loss> {
        let names = ["frr", "bird", "bird2"];
        let pods: Vec<(&str, &Pod)> = names.into_iter().zip(&self.pods).collect();
        let mut pings = Pings::start(&pods, seconds);
        let began = Instant::now();
        act(self);
        self.wait_whole();
        let took = began.elapsed();
        assert!(pings.go_on(), "{what}: the pings ended before all was whole, after {took:?}");
        let losses = pings.finish();
        let sent: u32 = losses.iter().map(|loss| loss.sent).sum();
        let lost: u32 = losses.iter().map(|loss| loss.lost).sum();
        say(&format!("{what}: {lost} of {sent} packets lost, whole again after {:.1} s", took.as_secs_f64()));
        losses.into_iter().filter(|loss| loss.lost > 0).collect()
    }

    fn restart_reflectors(&mut self, which: &[usize]) {
        which.iter().for_each(|at| self.reflectors[*at].daemon.kill());
        for &at in which {
            self.reflectors[at] = start_reflector(&self.rr_nodes[at]);
        }
    }

    /// As an operator does it (`systemctl restart`): SIGTERM, and a start when they have ended.
    fn stop_and_start_reflectors(&mut self, which: &[usize]) {
        for &at in which {
            let status = self.reflectors[at].daemon.terminate();
            assert!(status.success(), "{status}\n{}", self.reflectors[at].daemon.log_end());
        }
        for &at in which {
            self.reflectors[at] = start_reflector(&self.rr_nodes[at]);
        }
    }

    /// Both reflectors stay away until the nodes have nothing but long-lived stale routes of them.
    fn leave_for_long(&mut self) {
        self.reflectors.iter_mut().for_each(|bgpd| bgpd.daemon.kill());
        let is_stale = |routes: &[SeenRoute], prefix: &str| {
            let mark = |community: &String| community == "65535:6" || community == "llgr-stale";
            to(routes, prefix).is_some_and(|route| route.communities.iter().any(mark))
        };
        let stale = || {
            is_stale(&self.frr.routes(false), "10.1.12.0/24")
                && is_stale(&self.birds[0].routes(false), "10.1.11.0/24")
                && is_stale(&self.birds[1].routes(false), "10.1.11.0/24")
        };
        wait_until("routes are long-lived stale", stale, || self.frr.picture() + &self.birds[0].picture());
        for at in 0..2 {
            self.reflectors[at] = start_reflector(&self.rr_nodes[at]);
        }
    }

    /// A node does not come back: the reflector waits for it no longer than it may.
    fn wait_for_nobody(&mut self) -> f64 {
        self.birds[1].daemon.kill();
        self.reflectors[0].daemon.kill();
        self.reflectors[0] = start_reflector(&self.rr_nodes[0]);
        let ended = || logged(&self.reflectors[0], PATIENCE_ENDS).is_some();
        wait_until("route selection waits no longer", ended, || self.picture());
        deferral(&self.reflectors[0], PATIENCE_ENDS)
    }

    fn restart_frr(&mut self) {
        self.frr.bgpd.kill();
        self.frr.restart_bgpd(&self.nodes[0]);
    }

    fn restart_bird(&mut self, at: usize) {
        self.birds[at].daemon.kill();
        self.birds[at] = Bird::recover(&self.nodes[at + 1]);
    }
}

/// Past the capture of the test harness, so that the figures are in every log.
fn say(line: &str) {
    // Without a standard error there is nobody to tell.
    let _ = writeln!(std::io::stderr(), "restarts: {line}");
}

/// When a line of a reflector's log was written.
fn logged(bgpd: &Bgpd, part: &str) -> Option<f64> {
    let log = bgpd.daemon.log();
    let line = log.lines().rfind(|line| line.contains(part))?;
    let time = line.split('T').nth(1)?.split('Z').next()?;
    let mut seconds = 0.0;
    for number in time.split(':') {
        seconds = seconds * 60.0 + number.parse::<f64>().ok()?;
    }
    Some(seconds)
}

/// What a reflector says when all that it waited for have come, and when its patience ends.
const ALL_CAME: &str = "route selection begins";
const PATIENCE_ENDS: &str = "route selection has waited long enough";

/// How long the last start of a reflector put route selection off.
fn deferral(bgpd: &Bgpd, ended: &str) -> f64 {
    let began = "restarted: route selection waits";
    let times = (logged(bgpd, began), logged(bgpd, ended));
    let (Some(began), Some(ended)) = times else { panic!("{times:?}: {}", bgpd.daemon.log_end()) };
    (ended - began).rem_euclid(86_400.0)
}

#[test]
fn no_packet_is_lost_where_forwarding_goes_on() {
    let mut lab = Restarts::start();
    let mut lost = Vec::new();
    lost.extend(lab.during("one reflector of two crashes", SECONDS, |lab| lab.restart_reflectors(&[0])));
    lost.extend(lab.during("both reflectors crash", SECONDS, |lab| lab.restart_reflectors(&[0, 1])));
    let deferrals = lab.reflectors.each_ref().map(|bgpd| deferral(bgpd, ALL_CAME));
    say(&format!("route selection was put off for {deferrals:?} s"));
    let stopped = "one reflector of two is stopped and started";
    lost.extend(lab.during(stopped, SECONDS, |lab| lab.stop_and_start_reflectors(&[0])));
    let stopped = "both reflectors are stopped and started";
    lost.extend(lab.during(stopped, SECONDS, |lab| lab.stop_and_start_reflectors(&[0, 1])));
    lost.extend(lab.during("FRR crashes on a node", SECONDS, Restarts::restart_frr));
    lost.extend(lab.during("BIRD crashes on a node", SECONDS, |lab| lab.restart_bird(0)));
    lost.extend(lab.during("the speakers of all nodes crash at once", SECONDS, |lab| {
        lab.restart_frr();
        lab.restart_bird(0);
        lab.restart_bird(1);
    }));
    let away = "both reflectors stay away for longer than their restart time";
    lost.extend(lab.during(away, LONG, Restarts::leave_for_long));
    assert!(
        lost.is_empty(),
        "{}\n{}",
        lost.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"),
        lab.picture()
    );
    let in_vain = lab.wait_for_nobody();
    say(&format!("with a node that does not come back it was put off for {in_vain} s, of {CAP} s at most"));
    // The marks in the log are a little apart from what they mark.
    let longest = deferrals.into_iter().fold(in_vain, f64::max);
    assert!(longest <= CAP as f64 + 1.0, "{longest}");
}
