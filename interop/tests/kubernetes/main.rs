//! Pods of three clusters ping each other through a pair of reflectors; nodes come and go.

#[path = "../../../sidecar/tests/apiserver/mod.rs"]
#[expect(dead_code, reason = "the sidecar's own tests use the rest")]
mod apiserver;
mod clients;
mod crashes;
mod faults;
mod loss;
mod modes;
mod order;
mod page;
mod strict;
mod timeline;
mod tls;
mod world;

use std::collections::BTreeSet;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use interop::lab::{Daemon, Namespace, wait_until};
use timeline::{Timeline, distribution, summary};
use world::{Member, Speaker, World};

/// Listens in a namespace for echo requests.
struct Capture {
    process: Child,
}

impl Capture {
    fn start(namespace: &Namespace) -> Self {
        let mut tcpdump = namespace.command("tcpdump");
        tcpdump.args(["-n", "-l", "--immediate-mode", "-i", "eth0", "icmp or icmp6"]);
        let process = tcpdump.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("tcpdump can be started");
        let mut capture = Self { process };
        // Its first line on standard error says that it listens.
        let errors = capture.process.stderr.as_mut().expect("a pipe");
        let mut line = [0; 16];
        let _ = std::io::Read::read(errors, &mut line).expect("tcpdump says something");
        capture
    }

    /// The sources of the echo requests so far.
    fn sources(mut self) -> BTreeSet<String> {
        let _ = self.process.kill();
        let output = self.process.wait_with_output().expect("tcpdump ends");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let requests = text.lines().filter(|line| line.contains("echo request"));
        requests.filter_map(|line| line.split_whitespace().nth(2).map(str::to_owned)).collect()
    }
}

fn assert_every_pod_shows_its_own_address(world: &World) {
    let captures: Vec<Capture> = world.members.iter().map(|member| Capture::start(&member.pod.namespace)).collect();
    let _ = world.wait_reachable("with a capture", &[]);
    for (member, capture) in world.members.iter().zip(captures) {
        let others = world.members.iter().filter(|other| other.name != member.name);
        let mut expected: BTreeSet<String> =
            others.flat_map(|other| [other.pod.ipv4.to_string(), other.pod.ipv6.to_string()]).collect();
        let mut seen = capture.sources();
        // What the pod itself sends passes its interface, too.
        for own in [member.pod.ipv4.to_string(), member.pod.ipv6.to_string()] {
            seen.remove(&own);
            expected.remove(&own);
        }
        assert_eq!(seen, expected, "sources that {} sees", member.name);
    }
}

fn wait_ready(world: &World) {
    for member in &world.members {
        if let Speaker::Own { sidecar, .. } | Speaker::KubeRouter { sidecar, .. } = &member.speaker {
            wait_until(&format!("{} is ready", member.name), || sidecar.is_ready(), || sidecar.picture());
        }
    }
}

fn wait_no_trace(world: &World, member: &Member) -> Duration {
    let start = Instant::now();
    let gone = || world.traces(member.cluster, member.net).is_empty();
    wait_until("no trace in any kernel", gone, || {
        format!("{:#?}\n{}", world.traces(member.cluster, member.net), world.picture())
    });
    start.elapsed()
}

/// What a process holds: open files, threads, resident memory in kB.
fn holds(daemon: &Daemon) -> (usize, usize, usize) {
    let proc = std::path::PathBuf::from(format!("/proc/{}", daemon.pid()));
    let count = |name: &str| std::fs::read_dir(proc.join(name)).map(Iterator::count).unwrap_or_default();
    let status = std::fs::read_to_string(proc.join("status")).unwrap_or_default();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let resident = resident.and_then(|text| text.trim().trim_end_matches(" kB").parse().ok());
    (count("fd"), count("task"), resident.unwrap_or_default())
}

fn processes(world: &World) -> Vec<(String, &Daemon)> {
    let mut all: Vec<(String, &Daemon)> =
        world.reflectors.iter().map(|bgpd| ("reflector".to_owned(), &bgpd.daemon)).collect();
    for Member { name, speaker, .. } in &world.members {
        if let Speaker::Own { bgpd, .. } = speaker {
            all.push((format!("bgpd of {name}"), &bgpd.daemon));
        }
        if let Speaker::Own { sidecar, .. } | Speaker::KubeRouter { sidecar, .. } = speaker {
            all.push((format!("sidecar of {name}"), &sidecar.daemon));
        }
    }
    all
}

/// Lines of routes and of rules for packets, with the elements of their sets, in all kernels.
fn kernel_state(world: &World) -> usize {
    let count = |namespace: &Namespace| {
        let routes = namespace.ip("route show table all") + &namespace.ip("-6 route show table all");
        routes.lines().count() + namespace.run_ok(&["nft", "list", "ruleset"]).lines().count()
    };
    world.kernels().map(|(_, namespace)| count(namespace)).sum()
}

/// A join that takes longer tells its story.
const SLOW: Duration = Duration::from_secs(2);

/// How often, unless the environment says otherwise.
fn rounds(variable: &str, default: usize) -> usize {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[test]
fn every_pod_of_three_clusters_reaches_every_other_with_its_own_address_and_nodes_come_and_go() {
    let world = World::build("kubernetes");
    let start = Instant::now();
    wait_ready(&world);
    println!("all sidecars are ready after {:?}", start.elapsed());
    let reaching = Instant::now();
    let _ = world.wait_reachable("at first", &[]);
    println!("all pods reach each other after {:?}", reaching.elapsed());
    assert_every_pod_shows_its_own_address(&world);

    let mut tenth = world.place(1, 14);
    let timeline = Timeline::watch(&world, &tenth);
    let mut before = None;
    let (mut joins, mut departures) = (Vec::new(), Vec::new());
    for cycle in 0..rounds("BGPD_NODE_CYCLES", 3) {
        let start = Instant::now();
        world.start(&mut tenth);
        let started = start.elapsed();
        let join = timeline.join(start, started, &world.wait_reachable_since(start, "the tenth node", &[&tenth]));
        println!("cycle {cycle}: the tenth node reaches all and is reached by all: {join}");
        if join.reached > SLOW {
            println!("{}", world.story(&tenth));
        }
        joins.push(join);
        world.delete(&mut tenth);
        let gone = wait_no_trace(&world, &tenth);
        println!("cycle {cycle}: no trace of it is left after {} ms", gone.as_millis());
        departures.push(gone);
        // The first cycle warms up.
        if cycle == 0 {
            let held: Vec<_> = processes(&world).iter().map(|(_, daemon)| holds(daemon)).collect();
            before = Some((held, kernel_state(&world)));
        }
    }
    println!("{}\ngone: {}", summary(&joins), distribution(departures.into_iter()));
    let (held, in_kernels) = before.expect("at least one cycle");
    assert_eq!(kernel_state(&world), in_kernels);
    for ((name, daemon), (files, threads, resident)) in processes(&world).into_iter().zip(held) {
        let now = holds(daemon);
        println!("{name}: files {files} -> {}, threads {threads} -> {}, {resident} kB -> {} kB", now.0, now.1, now.2);
        assert!(now.0 <= files + 4 && now.1 <= threads + 2, "{name} leaks: {now:?}");
        assert!(now.2 <= resident + 8192, "{name} grows: {now:?}");
    }
    assert_every_pod_shows_its_own_address(&world);
}

#[test]
fn configurations_of_the_manifests_are_valid() {
    let kubernetes = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/kubernetes");
    let directory = tempfile::tempdir().expect("a directory");
    let files = ["base", "two-clusters/cluster-1", "two-clusters/cluster-2", "two-clusters/reflectors"]
        .into_iter()
        .flat_map(|name| std::fs::read_dir(kubernetes.join(name)).expect("a directory"))
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "toml"));
    let mut checked = 0;
    for file in files {
        // As the init container does.
        let text = std::fs::read_to_string(&file).expect("a file").replace("NODE_IP", "192.0.2.11");
        let copy = directory.path().join("bgpd.toml");
        std::fs::write(&copy, text).expect("a file");
        let program = interop::lab::build_bgpd().join("bgpd").display().to_string();
        let _ = interop::lab::run_ok(&[&program, "--check", &copy.display().to_string()]);
        checked += 1;
    }
    assert_eq!(checked, 5);
}
