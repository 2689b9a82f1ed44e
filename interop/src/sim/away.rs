//! Runs in which one speaker goes away, and the others keep what they are to keep of it, for as long as they are to.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bgp_engine::config::GracefulRestart;
use bgp_engine::rib::RouteQuery;
use bgp_engine::speaker::{Limits, Speaker};
use bgp_wire::Family;
use ipnet::IpNet;

use super::chaos;
use super::check::{self, Expected};
use super::model::{self, Absence, Away};
use super::network::Weather;
use super::random::Random;
use super::run::Failure;
use super::topology::{Announced, Shape, Topology};
use super::world::{Pace, Prepare, Time, World};

/// The restart time of all speakers.
const RESTART: Duration = Duration::from_secs(120);
/// Their long-lived stale time, in runs that have one.
const LONG_LIVED: Duration = Duration::from_secs(600);
/// Nothing may have happened for so long for it to count as rest.
const REST: Duration = Duration::from_secs(3);

/// Runs one seed, with something done to every speaker when it starts; the events that it took.
///
/// # Errors
/// What was wrong, and when.
pub fn run(shape: Shape, seed: u64, prepare: Prepare) -> Result<u64, Failure> {
    let mut random = Random::new(seed);
    let size = random.between(3, 8);
    let mut topology = Topology::random(shape, size, &mut random);
    offer_restart(&mut topology, &mut random);
    let slowest = Duration::from_millis(random.pick(&[2, 20, 100]));
    let weather = Weather { delay: (Duration::from_micros(100), slowest), loss: 0, window: 200_000, segment: 1460 };
    let step = (Duration::from_micros(1), Duration::from_micros(random.pick(&[20, 500, 5_000])));
    let limits = Limits { work_budget: random.pick(&[1, 5, 1024]), ..Limits::default() };
    let pace = Pace { step, limits, selection_deferral: Duration::from_secs(30) };
    let mut world = World::new(topology, weather, pace, Random::new(random.number()), prepare);
    let node = random.below(size);
    let prefixes = chaos::prefixes(random.between(1, 16));
    for &prefix in &prefixes {
        world.announce(random.below(size), prefix, Announced::random(&mut random));
    }
    let mut run = Run { world, random, node, prefixes };
    run.go()?;
    Ok(run.world.events)
}

/// Most sessions have graceful restart; in some runs all have it, and for long.
fn offer_restart(topology: &mut Topology, random: &mut Random) {
    let long_lived = random.once_in(2);
    let families = [Family::IPV4_UNICAST, Family::IPV6_UNICAST].into_iter().filter(|_| long_lived);
    let long: BTreeMap<_, _> = families.map(|family| (family, LONG_LIVED.as_secs() as u32)).collect();
    for link in &mut topology.links {
        link.graceful_restart = GracefulRestart {
            enabled: long_lived || !random.once_in(4),
            restart_seconds: RESTART.as_secs() as u16,
            stale_path: Duration::from_secs(300),
            long_lived_seconds: long.clone(),
        };
    }
}

struct Run {
    world: World,
    random: Random,
    /// Who goes away.
    node: usize,
    prefixes: Vec<IpNet>,
}

impl Run {
    fn go(&mut self) -> Result<(), Failure> {
        self.rest("before", true)?;
        found("before", check::differences(&self.world))?;
        let left = check::expected(&self.world);
        let since = self.world.now();
        let forever = since + Duration::from_secs(1_000_000);
        match self.random.once_in(2) {
            true => self.world.restart(self.node, forever),
            false => self.world.kill(self.node, false, true, forever),
        }
        self.change_routes();
        self.rest("while it restarts", false)?;
        self.compare("while it restarts", &left, Absence::Restarting)?;
        if self.random.once_in(2) {
            return self.come_back(&left);
        }
        self.world.run_until(since + RESTART + Duration::from_secs(5));
        self.rest("after the restart time", false)?;
        self.compare("after the restart time", &left, Absence::LongLived)?;
        self.world.run_until(since + RESTART + LONG_LIVED + Duration::from_secs(10));
        self.rest("after the long-lived stale time", false)?;
        self.compare("after the long-lived stale time", &left, Absence::Gone)?;
        self.world.start_now(self.node);
        self.rest("when it is back", true)?;
        found("when it is back", check::differences(&self.world))
    }

    /// Back in time, and with its memory: nobody misses a route that it has before and after.
    fn come_back(&mut self, left: &Expected) -> Result<(), Failure> {
        let after = "while it comes back";
        let (kept, whole) = (self.expected(left, Absence::Restarting), check::expected(&self.world));
        let others: Vec<usize> = (0..self.world.topology.nodes.len()).filter(|host| *host != self.node).collect();
        let has = |tables: &Expected, host: usize| -> BTreeSet<IpNet> {
            tables.iter().filter(|(_, tables)| !tables[host].best.is_empty()).map(|(prefix, _)| *prefix).collect()
        };
        let graceful = self.world.topology.links.iter().all(|link| link.graceful_restart.enabled);
        self.world.start_now(self.node);
        let end = self.world.now() + Duration::from_secs(60);
        while self.world.now() < end {
            let next = self.world.now() + Duration::from_millis(50);
            self.world.run_until(next);
            // Where a session has no graceful restart its routes were gone already, and may come and go.
            for &host in others.iter().filter(|_| graceful) {
                let needed: BTreeSet<_> = has(&kept, host).intersection(&has(&whole, host)).copied().collect();
                let held = self.world.speaker(host).map(best).unwrap_or_default();
                let missing: Vec<_> = needed.difference(&held).collect();
                let said = missing.iter().map(|prefix| format!("{host}: misses {prefix}")).collect();
                found(after, said)?;
            }
        }
        self.rest(after, true)?;
        found(after, check::differences(&self.world))
    }

    fn expected(&self, left: &Expected, since: Absence) -> Expected {
        let nothing = vec![model::Entry::default(); self.world.topology.nodes.len()];
        let prefixes: BTreeSet<IpNet> =
            left.keys().copied().chain(self.world.routes.keys().map(|(_, prefix)| *prefix)).collect();
        let solved = |prefix: IpNet| {
            let away = Away { node: self.node, left: left.get(&prefix).unwrap_or(&nothing), since };
            let tables = model::solve_without(&self.world.topology, &self.world.routes, prefix, Some(away));
            (prefix, tables)
        };
        prefixes.into_iter().map(solved).collect()
    }

    fn compare(&self, after: &'static str, left: &Expected, since: Absence) -> Result<(), Failure> {
        found(after, check::differences_from(&self.world, &self.expected(left, since), Some(self.node)))
    }

    /// The others announce and withdraw a few routes.
    fn change_routes(&mut self) {
        for _ in 0..self.random.between(0, 4) {
            let host = self.random.below(self.world.topology.nodes.len());
            let prefix = self.random.pick(&self.prefixes);
            if host == self.node {
                continue;
            }
            match self.random.once_in(3) {
                true => self.world.withdraw(host, prefix),
                false => self.world.announce(host, prefix, Announced::random(&mut self.random)),
            }
        }
    }

    /// Waits until everything has come to rest, well within the restart time.
    fn rest(&mut self, after: &'static str, all_up: bool) -> Result<(), Failure> {
        let end: Time = self.world.now() + RESTART / 2;
        while self.world.now() < end {
            let next = self.world.now() + Duration::from_secs(1);
            self.world.run_until(next);
            if self.world.is_quiet(REST) && (!all_up || check::sessions_down(&self.world).is_empty()) {
                return Ok(());
            }
        }
        Err(Failure { after, findings: vec!["no rest".to_owned()] })
    }
}

fn best(speaker: &Speaker) -> BTreeSet<IpNet> {
    let of = |family| speaker.routes(&RouteQuery { best_only: true, ..RouteQuery::all(family) });
    let all = [Family::IPV4_UNICAST, Family::IPV6_UNICAST].into_iter().flat_map(of);
    all.map(|view| view.prefix).collect()
}

fn found(after: &'static str, findings: Vec<String>) -> Result<(), Failure> {
    if findings.is_empty() { Ok(()) } else { Err(Failure { after, findings }) }
}
