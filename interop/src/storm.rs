//! Storms: everything that peers can do to wear a reflector down, while others have sessions that must not notice.
//!
//! One host plays all peers, from thousands of addresses. Bystanders are a BIRD and an observer that watches how soon
//! routes come through. Before and after, the memory and the descriptors of bgpd are counted.

mod peers;

use std::fmt;
use std::time::{Duration, Instant};

use crate::lab::{BIRD, Bgpd, Bird, Lab, wait_until};
use peers::Peers;

/// How much of everything.
#[derive(Debug, Clone, Copy)]
pub struct Measure {
    /// Connections that are opened and closed, in all states.
    pub cycles: usize,
    /// Connections at a time that send an OPEN octet by octet.
    pub dribblers: usize,
    /// Neighbors whose connections collide, each at least once.
    pub colliding: usize,
    /// Prefixes of a peer that announces and withdraws its whole table.
    pub table: u32,
    /// How often it does.
    pub flaps: usize,
    /// UPDATEs with one octet changed.
    pub flipped: usize,
    /// How often all of it: what is not given back would add up.
    pub rounds: usize,
    /// Wait until bgpd has forgotten the peers from the range: a minute.
    pub settle: bool,
}

/// Peers from a range are remembered for a minute, so that their last error can be read.
const FORGOTTEN: Duration = Duration::from_secs(150);

/// What a storm came to.
#[derive(Debug, Clone, Copy)]
pub struct Phase {
    /// Which one.
    pub name: &'static str,
    /// How many times.
    pub count: usize,
    /// How long it took.
    pub took: Duration,
    /// Of bgpd, when it was over.
    pub after: Held,
}

/// What a process holds.
#[derive(Debug, Clone, Copy)]
pub struct Held {
    /// Resident memory, in KiB.
    pub resident_kib: u64,
    /// Open descriptors.
    pub descriptors: usize,
}

/// The summary of all storms.
#[derive(Debug)]
pub struct Summary {
    /// Before the first one.
    pub before: Held,
    /// Each storm.
    pub phases: Vec<Phase>,
    /// When all peers had gone.
    pub after: Held,
    /// Ends of bystanders' sessions.
    pub bystander_flaps: u64,
    /// Octets that waited for the peer that reads nothing, at most.
    pub stuck_octets: u64,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = |f: &mut fmt::Formatter<'_>, name: &str, count: &str, took: &str, held: Held| {
            let Held { resident_kib, descriptors } = held;
            writeln!(f, "{name:<44} {count:>8} {took:>9} {:>7.1} MiB {descriptors:>5}", resident_kib as f64 / 1024.0)
        };
        writeln!(f, "{:<44} {:>8} {:>9} {:>11} {:>5}", "storm", "times", "seconds", "memory", "fds")?;
        line(f, "before", "", "", self.before)?;
        for phase in &self.phases {
            let took = format!("{:.1}", phase.took.as_secs_f64());
            line(f, phase.name, &phase.count.to_string(), &took, phase.after)?;
        }
        line(f, "after, all peers gone", "", "", self.after)?;
        writeln!(f, "sessions of bystanders flapped: {}", self.bystander_flaps)?;
        writeln!(f, "octets queued for a peer that reads nothing, at most: {}", self.stuck_octets)
    }
}

const BYSTANDER: &str = "router id 192.0.2.12; protocol device {}
    protocol static { ipv4; route 10.12.0.0/24 unreachable; }
    protocol direct { ipv4; interface \"eth0\"; }
    protocol bgp up { local as 65000; neighbor 192.0.2.1 as 65000; connect retry time 1; hold time 9;
    ipv4 { import all; export where source = RTS_STATIC; next hop self; }; }";

fn config(colliding: usize) -> String {
    let group = "[[peer-group]]\nname = \"nodes\"\nremote-asn = 65000\nroute-reflector-client = true\n\
                 families = [\"ipv4-unicast\", \"ipv6-unicast\"]\nidle-hold-time = 0\nconnect-retry = 1\n\
                 hold-time = 0\n";
    let range = "[[dynamic-neighbors]]\nprefix = \"10.8.0.0/16\"\npeer-group = \"nodes\"\nlimit = 5000\n";
    let neighbor = |address: String| format!("[[neighbor]]\naddress = \"{address}\"\npeer-group = \"nodes\"\n");
    let neighbors: String = (0..colliding).map(|at| neighbor(peers::colliding(at).to_string())).collect();
    let bystander = neighbor("192.0.2.12".to_owned()) + "hold-time = 9\n";
    // The storms are to reach what is behind the gate.
    format!(
        "[global]\nasn = 65000\nrouter-id = \"192.0.2.1\"\nmax-setup-rate = 0\n{group}{range}{neighbors}{bystander}"
    )
}

/// One kind of storm: so many times.
type Storm = fn(&mut Peers<'_>, usize, &Measure);

/// Lets all storms loose on a bgpd of its own.
///
/// # Panics
/// When bgpd dies, or a route does not come through in time.
#[must_use]
pub fn run(measure: &Measure) -> Summary {
    let lab = Lab::new("storm", &BIRD);
    let (us, crowd, bird_node) = (lab.node("us", 1), lab.node("crowd", 2), lab.node("bird", 12));
    us.namespace.ip("route add 10.8.0.0/15 via 192.0.2.2");
    crowd.namespace.ip("route add local 10.8.0.0/15 dev lo");
    let mut bgpd = Bgpd::start(&us, &config(measure.colliding));
    let bird = Bird::start(&bird_node, BYSTANDER);
    bgpd.wait_established(&["192.0.2.12".to_owned()]);
    let mut peers = Peers::new(&crowd);
    let stuck = peers.stuck();
    let mut stuck_octets = 0;
    let before = held(&bgpd);
    let mut phases = Vec::new();
    let storms: [(&str, usize, Storm); 5] = [
        ("connections opened and closed", measure.cycles, |peers, count, _| peers.cycle(count)),
        ("OPENs that dribble in octet by octet", measure.dribblers, |peers, count, _| peers.dribble(count)),
        ("connection collisions", measure.colliding, |peers, count, _| peers.collide(count)),
        ("a whole table announced and withdrawn", measure.flaps, |peers, count, of| peers.flap(of.table, count)),
        ("UPDATEs with one octet changed", measure.flipped, |peers, count, _| peers.flip(count)),
    ];
    for (name, count, storm) in std::iter::repeat_n(storms, measure.rounds).flatten() {
        let began = Instant::now();
        storm(&mut peers, count, measure);
        // A route from one bystander to the other: nobody is held up.
        peers.look_through();
        let took = began.elapsed();
        assert!(bgpd.daemon.is_running(), "bgpd ended\n{}", bgpd.daemon.log_end());
        let queued = bgpd.neighbor(&peers::STUCK.to_string())["queued_bytes"].as_u64().unwrap_or(0);
        stuck_octets = stuck_octets.max(queued);
        phases.push(Phase { name, count, took, after: held(&bgpd) });
    }
    drop(stuck);
    drop(peers);
    let all_gone = || held(&bgpd).descriptors <= before.descriptors;
    wait_until("all descriptors are back", all_gone, || format!("{:?}\n{}", held(&bgpd), bgpd.daemon.log_end()));
    let deadline = Instant::now() + FORGOTTEN;
    let neighbors = || bgpd.json(&["show", "summary"])["neighbors"].as_u64();
    while measure.settle && neighbors() > Some(measure.colliding as u64 + 1) && Instant::now() < deadline {
        std::thread::sleep(Duration::from_secs(1));
    }
    let bystander_flaps = bgpd.neighbor("192.0.2.12")["flaps"].as_u64().unwrap_or(u64::MAX);
    drop(bird);
    Summary { before, phases, after: held(&bgpd), bystander_flaps, stuck_octets }
}

fn held(bgpd: &Bgpd) -> Held {
    let pid = bgpd.daemon.pid();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let resident_kib = line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0);
    Held { resident_kib, descriptors: std::fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count) }
}
