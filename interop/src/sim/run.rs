//! One run: a random network, a time of disturbances, rest, and the comparison; several times over.

use std::fmt;
use std::time::Duration;

use bgp_engine::speaker::Limits;

use super::chaos::{self, Faults};
use super::check;
use super::network::Weather;
use super::random::Random;
use super::topology::{Announced, Shape, Topology};
use super::world::{Pace, Prepare, Time, World};

/// How long a network may take to come to rest.
const PATIENCE: Duration = Duration::from_secs(1800);
/// Nothing may have happened for so long for it to count as rest.
const REST: Duration = Duration::from_secs(3);

/// What a run is to be.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Kind of topology.
    pub shape: Shape,
    /// Fewest and most speakers.
    pub size: (usize, usize),
    /// Fewest and most prefixes.
    pub prefixes: (usize, usize),
    /// Fewest and most disturbances in each round.
    pub disturbances: (usize, usize),
    /// What may happen.
    pub faults: Faults,
    /// Done to every speaker when it starts.
    pub prepare: Prepare,
}

/// What a run came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Speakers.
    pub speakers: usize,
    /// Sessions.
    pub sessions: usize,
    /// Events, and steps of stages inside speakers.
    pub events: u64,
    /// A number that two runs share only if all their events were the same.
    pub digest: u64,
    /// Virtual time.
    pub time: Time,
    /// What was wrong when the network had come to rest, if anything was.
    pub failure: Option<Failure>,
}

/// What was wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// When in the run.
    pub after: &'static str,
    /// In words.
    pub findings: Vec<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.after)?;
        self.findings.iter().try_for_each(|finding| write!(f, "\n  {finding}"))
    }
}

/// Runs one seed.
#[must_use]
pub fn run(plan: &Plan, seed: u64) -> Outcome {
    let mut random = Random::new(seed);
    let size = random.between(plan.size.0, plan.size.1);
    let topology = Topology::random(plan.shape, size, &mut random);
    let sessions = topology.links.len();
    let (storm, calm) = weathers(&mut random);
    let pace = pace(&mut random);
    let mut world = World::new(topology, storm, pace, Random::new(random.number()), plan.prepare);
    let failure = drive(&mut world, plan, [storm, calm], &mut random).err();
    Outcome { speakers: size, sessions, events: world.events, digest: world.digest, time: world.now(), failure }
}

fn drive(world: &mut World, plan: &Plan, [storm, calm]: [Weather; 2], random: &mut Random) -> Result<(), Failure> {
    let prefixes = chaos::prefixes(random.between(plan.prefixes.0, plan.prefixes.1));
    for &prefix in &prefixes {
        let host = random.below(world.topology.nodes.len());
        world.announce(host, prefix, Announced::random(random));
    }
    for after in ["after the first disturbances", "after the second disturbances"] {
        world.calm(storm);
        for _ in 0..random.between(plan.disturbances.0, plan.disturbances.1) {
            let pause = if random.once_in(8) { Duration::from_secs(60) } else { Duration::from_secs(5) };
            let end = world.now() + random.time(Duration::ZERO, pause);
            world.run_until(end);
            chaos::disturb(world, &prefixes, plan.faults, random);
        }
        rest(world, calm, after)?;
        found(after, check::differences(world))?;
    }
    let all: Vec<_> = world.routes.keys().copied().collect();
    all.into_iter().for_each(|(host, prefix)| world.withdraw(host, prefix));
    let after = "after everything was withdrawn";
    rest(world, calm, after)?;
    found(after, check::leftovers(world))
}

fn found(after: &'static str, findings: Vec<String>) -> Result<(), Failure> {
    if findings.is_empty() { Ok(()) } else { Err(Failure { after, findings }) }
}

/// Ends all disturbances and waits until everything has come to rest with all sessions up.
fn rest(world: &mut World, calm: Weather, after: &'static str) -> Result<(), Failure> {
    world.calm(calm);
    chaos::repair(world);
    let end = world.now() + PATIENCE;
    while world.now() < end {
        let next = world.now() + Duration::from_secs(1);
        world.run_until(next);
        if world.is_quiet(REST) && check::sessions_down(world).is_empty() {
            return Ok(());
        }
    }
    let mut findings = check::sessions_down(world);
    findings.push(format!("no rest within {} s", PATIENCE.as_secs()));
    Err(Failure { after, findings })
}

/// The weather during disturbances, and that in which everything comes to rest.
fn weathers(random: &mut Random) -> (Weather, Weather) {
    let slowest = random.pick(&[2, 20, 200, 1000]);
    let delay = (Duration::from_micros(100), Duration::from_millis(slowest));
    let window = random.pick(&[400, 2_000, 20_000, 200_000]);
    let storm = Weather { delay, loss: random.pick(&[0, 100, 20, 8]), window, segment: random.pick(&[60, 500, 1460]) };
    let calm = Weather { delay: (delay.0, Duration::from_millis(slowest.min(100))), loss: 0, ..storm };
    (storm, calm)
}

fn pace(random: &mut Random) -> Pace {
    let slowest = random.pick(&[20, 500, 5_000, 50_000]);
    Pace {
        step: (Duration::from_micros(1), Duration::from_micros(slowest)),
        limits: Limits {
            rib_queue: random.pick(&[1, 4, 64]),
            group_queue: random.pick(&[1, 8, 256]),
            out_queue: random.pick(&[200, 1_000, 10_000, 4 << 20]),
            work_budget: random.pick(&[1, 5, 100, 1024]),
        },
        selection_deferral: Duration::from_secs(random.pick(&[1, 30, 120])),
    }
}
