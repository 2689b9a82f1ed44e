//! Storms: everything that peers can do to wear a reflector down, while others have sessions that must not notice.
//!
//! One host plays all peers, from thousands of addresses. Bystanders are a BIRD and an observer that watches how soon
//! routes come through. Before and after, the memory and the descriptors of bgpd are counted.

mod peers;

use std::fmt;
use std::time::{Duration, Instant};

use crate::lab::{BIRD, Bgpd, Bird, Lab, Node};
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
    /// How often all of it: what is not given back adds up.
    pub rounds: usize,
}

/// Memory that may be held after a round and was not before the first: code that has run once, and pages of which a part
/// is in use or is kept by a thread to take from.
const KEPT_KIB: u64 = 10 << 10;
/// What a later round may leave more than the second: what is not given back adds up.
const GROWN_KIB: u64 = 2 << 10;
/// Octets that may wait for a peer that reads nothing: its queue (4 MiB), and what one chunk is more.
const QUEUED: u64 = 5 << 20;
/// bgpd remembers peers from a range for a minute, so that their last error can be read; then it gives memory back in
/// steps of seconds, some of them to the kernel.
const SETTLED: Duration = Duration::from_secs(180);
/// In so much time bgpd has made all of those steps.
const STEPS: Duration = Duration::from_secs(60);

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
    /// Resident memory at most, in KiB.
    pub peak_kib: u64,
}

/// What a process holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// Resident memory, in KiB.
    pub resident_kib: u64,
    /// Open descriptors.
    pub descriptors: usize,
}

/// All storms, one after the other, and what was left when their peers had gone.
#[derive(Debug)]
pub struct Round {
    /// Each storm.
    pub phases: Vec<Phase>,
    /// When all peers had gone and were forgotten.
    pub after: Held,
}

/// The summary of all rounds.
#[derive(Debug)]
pub struct Summary {
    /// Before anything.
    pub before: Held,
    /// Each round.
    pub rounds: Vec<Round>,
    /// Ends of bystanders' sessions.
    pub bystander_flaps: u64,
    /// Octets that waited for the peer that reads nothing, at most.
    pub stuck_octets: u64,
}

impl Summary {
    /// What was not given back, and who noticed: empty if all is well.
    #[must_use]
    pub fn wrong(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        for (number, Round { after, .. }) in self.rounds.iter().enumerate() {
            if after.resident_kib > self.before.resident_kib + KEPT_KIB {
                let kept = (after.resident_kib - self.before.resident_kib) as f64 / 1024.0;
                wrong.push(format!("{kept:.1} MiB more than before are held after round {}", number + 1));
            }
            if after.descriptors > self.before.descriptors {
                let (before, after) = (self.before.descriptors, after.descriptors);
                wrong.push(format!(
                    "{after} descriptors are open after round {}, {before} before the first",
                    number + 1
                ));
            }
        }
        if let [_, second, .., last] = self.rounds.as_slice()
            && last.after.resident_kib > second.after.resident_kib + GROWN_KIB
        {
            let grown = (last.after.resident_kib - second.after.resident_kib) as f64 / 1024.0;
            wrong.push(format!("{grown:.1} MiB more are held after the last round than after the second"));
        }
        if self.bystander_flaps > 0 {
            wrong.push(format!("sessions of bystanders ended {} times", self.bystander_flaps));
        }
        if self.stuck_octets > QUEUED {
            wrong.push(format!("{} octets waited for a peer that reads nothing", self.stuck_octets));
        }
        wrong
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = |kib: u64| format!("{:.1} MiB", kib as f64 / 1024.0);
        let mut line = |name: &str, count: &str, took: &str, peak: &str, after: &str, descriptors: &str| {
            writeln!(f, "{name:<40} {count:>6} {took:>8} {peak:>10} {after:>10} {descriptors:>6}")
        };
        line("storm", "times", "seconds", "peak", "after", "fds")?;
        let held = |held: &Held| (mib(held.resident_kib), held.descriptors.to_string());
        let (memory, descriptors) = held(&self.before);
        line("before", "", "", "", &memory, &descriptors)?;
        for Round { phases, after } in &self.rounds {
            for Phase { name, count, took, after, peak_kib } in phases {
                let (memory, descriptors) = held(after);
                let took = format!("{:.1}", took.as_secs_f64());
                line(name, &count.to_string(), &took, &mib(*peak_kib), &memory, &descriptors)?;
            }
            let (memory, descriptors) = held(after);
            line("all peers gone", "", "", "", &memory, &descriptors)?;
        }
        writeln!(f, "sessions of bystanders flapped: {}", self.bystander_flaps)?;
        writeln!(f, "octets queued for a peer that reads nothing, at most: {}", self.stuck_octets)
    }
}

const BIRD_ADDRESS: &str = "192.0.2.12";
/// BIRD, the watcher and the speaker.
const BYSTANDERS: u64 = 3;
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
    let bystander = neighbor(BIRD_ADDRESS.to_owned()) + "hold-time = 9\n";
    // The storms are to reach what is behind the gate.
    format!(
        "[global]\nasn = 65000\nrouter-id = \"192.0.2.1\"\nmax-setup-rate = 0\n{group}{range}{neighbors}{bystander}"
    )
}

/// One kind of storm: so many times.
type Storm = fn(&Storms<'_>, &mut Peers<'_>, usize);

/// The bgpd that is stormed, and from where.
struct Storms<'a> {
    bgpd: Bgpd,
    us: &'a Node,
    measure: &'a Measure,
}

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
    let bgpd = Bgpd::start(&us, &config(0));
    let bird = Bird::start(&bird_node, BYSTANDER);
    bgpd.wait_established(&[BIRD_ADDRESS.to_owned()]);
    let mut peers = Peers::new(&crowd);
    peers.look_through();
    let mut storms = Storms { bgpd, us: &us, measure };
    let before = storms.held();
    let mut stuck_octets = 0;
    let rounds = (0..measure.rounds).map(|_| storms.round(&mut peers, before, &mut stuck_octets)).collect();
    assert!(storms.bgpd.daemon.is_running(), "bgpd ended\n{}", storms.bgpd.daemon.log_end());
    let bystander_flaps = storms.bgpd.neighbor(BIRD_ADDRESS)["flaps"].as_u64().unwrap_or(u64::MAX);
    drop(bird);
    Summary { before, rounds, bystander_flaps, stuck_octets }
}

impl Storms<'_> {
    /// All storms, one after the other, while one peer reads nothing.
    fn round(&mut self, peers: &mut Peers<'_>, before: Held, stuck_octets: &mut u64) -> Round {
        let stuck = peers.stuck();
        let of = self.measure;
        let storms: [(&str, usize, Storm); 5] = [
            ("connections opened and closed", of.cycles, |_, peers, count| peers.cycle(count)),
            ("OPENs that dribble in octet by octet", of.dribblers, |_, peers, count| peers.dribble(count)),
            ("connection collisions", of.colliding, |this, peers, count| this.collide(peers, count)),
            ("a whole table announced and withdrawn", of.flaps, |this, peers, count| {
                peers.flap(this.measure.table, count)
            }),
            ("UPDATEs with one octet changed", of.flipped, |_, peers, count| peers.flip(count)),
        ];
        let mut phases = Vec::new();
        for (name, count, storm) in storms {
            self.forget_peak();
            let began = Instant::now();
            storm(self, peers, count);
            // A route from one bystander to the other: nobody is held up.
            peers.look_through();
            let took = began.elapsed();
            assert!(self.bgpd.daemon.is_running(), "bgpd ended\n{}", self.bgpd.daemon.log_end());
            let queued = self.bgpd.neighbor(&peers::STUCK.to_string())["queued_bytes"].as_u64().unwrap_or(0);
            *stuck_octets = queued.max(*stuck_octets);
            phases.push(Phase { name, count, took, after: self.held(), peak_kib: self.status_kib("VmHWM:") });
        }
        drop(stuck);
        Round { phases, after: self.settled(before) }
    }

    /// Neighbors that are there for this storm only.
    fn collide(&self, peers: &mut Peers<'_>, count: usize) {
        self.bgpd.reload(self.us, &config(count));
        peers.collide(count);
        self.bgpd.reload(self.us, &config(0));
    }

    /// What bgpd holds when it has let go of all peers and has given their memory back, or has had time enough for that.
    fn settled(&self, before: Held) -> Held {
        let deadline = Instant::now() + SETTLED;
        let neighbors = || self.bgpd.json(&["show", "summary"])["neighbors"].as_u64();
        let mut forgotten = None;
        loop {
            forgotten = forgotten.or_else(|| (neighbors() == Some(BYSTANDERS)).then(Instant::now));
            let held = self.held();
            let is_back = held.descriptors <= before.descriptors
                && held.resident_kib <= before.resident_kib + KEPT_KIB
                && forgotten.is_some_and(|since| since.elapsed() >= STEPS);
            if is_back || Instant::now() >= deadline {
                return held;
            }
            std::thread::sleep(Duration::from_secs(1));
        }
    }

    fn held(&self) -> Held {
        let descriptors = std::fs::read_dir(format!("/proc/{}/fd", self.bgpd.daemon.pid())).map_or(0, Iterator::count);
        Held { resident_kib: self.status_kib("VmRSS:"), descriptors }
    }

    fn status_kib(&self, name: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.bgpd.daemon.pid())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
    }

    /// The peak of memory is counted from now on (proc(5), clear_refs).
    fn forget_peak(&self) {
        std::fs::write(format!("/proc/{}/clear_refs", self.bgpd.daemon.pid()), "5").expect("root may reset the peak");
    }
}
