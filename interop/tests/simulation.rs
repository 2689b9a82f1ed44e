//! Deterministic simulation of many speakers: thousands of seeds, each a network of its own with its own disasters.
//!
//! `SIM_SEEDS=N` runs N seeds of each test instead of the usual number, `SIM_SEED=N` only that one.

use std::io::Write;
use std::ops::Range;
use std::time::Instant;

use bgp_engine::speaker::{Sabotage, Speaker};
use interop::sim::chaos::Faults;
use interop::sim::{Outcome, Plan, Shape, away, run, seeds};

/// Small networks, with everything that can happen.
fn small(shape: Shape) -> Plan {
    Plan { shape, size: (2, 8), prefixes: (1, 24), disturbances: (4, 30), faults: Faults::ALL, prepare: |_| {} }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().unwrap_or_else(|_| panic!("{name} is to be a number")))
}

/// Networks as large as they get, at rest and with everything that can happen.
fn large(shape: Shape, size: (usize, usize)) -> Plan {
    Plan { shape, size, prefixes: (10, 40), disturbances: (4, 16), faults: Faults::ALL, prepare: |_| {} }
}

/// The seeds to run: so many, or what the environment says.
fn range(usual: u64) -> Range<u64> {
    match number("SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SIM_SEEDS").unwrap_or(usual),
    }
}

/// Runs many seeds of a plan; one that fails ends the test, with what it takes to see it again.
fn seeds(test: &str, plan: &Plan, usual: u64) {
    let began = Instant::now();
    let outcomes = seeds::all(range(usual), |seed| {
        let outcome = run(plan, seed);
        if outcome.failure.is_some() { Err(outcome) } else { Ok(outcome) }
    });
    let outcomes = outcomes.unwrap_or_else(|(seed, Outcome { speakers, sessions, failure, .. })| {
        let failure = failure.map(|failure| failure.to_string()).unwrap_or_default();
        panic!(
            "{}, seed {seed}, {speakers} speakers, {sessions} sessions, {failure}\nagain: SIM_SEED={seed} cargo test \
             -p interop --test simulation {test}",
            plan.shape
        )
    });
    let sum = |of: fn(&Outcome) -> f64| outcomes.iter().map(of).sum::<f64>();
    say(&format!(
        "{test:<42} {:>6} seeds, {:>6} speakers, {:>7} sessions, {:>9} events, {:>6.0} virtual hours: {:>5.1} s",
        outcomes.len(),
        sum(|outcome| outcome.speakers as f64),
        sum(|outcome| outcome.sessions as f64),
        sum(|outcome| outcome.events as f64),
        sum(|outcome| outcome.time.as_secs_f64() / 3600.0),
        began.elapsed().as_secs_f64()
    ));
}

/// Past the capture of the test harness, so that the figures are in every log.
fn say(line: &str) {
    // Without a standard error there is nobody to tell.
    let _ = writeln!(std::io::stderr(), "simulation: {line}");
}

#[test]
fn full_mesh_comes_to_what_the_model_says() {
    seeds("full_mesh", &small(Shape::FullMesh), 1000);
}

#[test]
fn one_reflector_comes_to_what_the_model_says() {
    seeds("one_reflector", &small(Shape::OneReflector), 1000);
}

#[test]
fn pair_of_one_cluster_comes_to_what_the_model_says() {
    seeds("pair_of_one_cluster", &small(Shape::PairSameCluster), 1000);
}

#[test]
fn pair_of_own_clusters_comes_to_what_the_model_says() {
    seeds("pair_of_own_clusters", &small(Shape::PairOwnClusters), 1000);
}

#[test]
fn hierarchy_comes_to_what_the_model_says() {
    seeds("hierarchy", &Plan { size: (5, 12), ..small(Shape::Hierarchy) }, 1000);
}

#[test]
fn mesh_of_thirty_comes_to_what_the_model_says() {
    seeds("mesh_of_thirty", &large(Shape::FullMesh, (30, 30)), 12);
}

#[test]
fn pair_with_a_hundred_clients_comes_to_what_the_model_says() {
    seeds("pair_with_a_hundred_clients", &large(Shape::PairOwnClusters, (102, 130)), 12);
}

#[test]
fn hierarchy_with_a_hundred_clients_comes_to_what_the_model_says() {
    seeds("hierarchy_with_a_hundred_clients", &large(Shape::Hierarchy, (120, 150)), 12);
}

#[test]
fn of_a_speaker_that_is_away_the_others_keep_what_the_model_says() {
    let began = Instant::now();
    let shapes =
        [Shape::FullMesh, Shape::OneReflector, Shape::PairSameCluster, Shape::PairOwnClusters, Shape::Hierarchy];
    let shape = |seed: u64| shapes[seed as usize % shapes.len()];
    let events = seeds::all(range(500), |seed| away::run(shape(seed), seed, |_| {}));
    let events = events.unwrap_or_else(|(seed, failure)| {
        panic!(
            "{}, seed {seed}, {failure}\nagain: SIM_SEED={seed} cargo test -p interop --test simulation away",
            shape(seed)
        )
    });
    let (count, sum, seconds) = (events.len(), events.iter().sum::<u64>(), began.elapsed().as_secs_f64());
    say(&format!("{:<42} {count:>6} seeds, {sum:>9} events: {seconds:>5.1} s", "away"));
}

#[test]
fn a_stale_route_that_is_not_swept_while_its_speaker_is_away_is_noticed() {
    let broken = |speaker: &mut Speaker| speaker.sabotage(Sabotage::KeepStaleRoutes);
    let noticed = (0..100).find_map(|seed| away::run(Shape::OneReflector, seed, broken).err());
    let failure = noticed.expect("KeepStaleRoutes is noticed");
    say(&format!("KeepStaleRoutes is noticed {}: {}", failure.after, failure.findings[0]));
}

#[test]
fn a_seed_replays_exactly() {
    for seed in 0..5 {
        let plan = small(Shape::PairOwnClusters);
        assert_eq!(run(&plan, seed), run(&plan, seed));
    }
}

/// Runs seeds until a broken rule is noticed.
fn caught(rule: Sabotage, prepare: fn(&mut Speaker)) -> Outcome {
    let plan = Plan { prepare, ..small(Shape::OneReflector) };
    let caught = (0..500).map(|seed| (seed, run(&plan, seed))).find(|(_, outcome)| outcome.failure.is_some());
    let (seed, outcome) = caught.unwrap_or_else(|| panic!("{rule:?} was not noticed"));
    let failure = outcome.failure.as_ref().expect("just found");
    say(&format!("{rule:?} is noticed at seed {seed}, {}: {}", failure.after, failure.findings[0]));
    outcome
}

#[test]
fn a_missing_private_withdrawal_is_noticed() {
    caught(Sabotage::NoPrivateWithdrawals, |speaker| speaker.sabotage(Sabotage::NoPrivateWithdrawals));
}

#[test]
fn live_changes_that_overtake_a_walk_are_noticed() {
    caught(Sabotage::LiveOvertakesWalks, |speaker| speaker.sabotage(Sabotage::LiveOvertakesWalks));
}

#[test]
fn stale_routes_that_are_not_swept_after_a_restart_are_noticed() {
    caught(Sabotage::KeepStaleRoutes, |speaker| speaker.sabotage(Sabotage::KeepStaleRoutes));
}

#[test]
fn routes_that_outlive_their_session_are_noticed() {
    caught(Sabotage::KeepLostRoutes, |speaker| speaker.sabotage(Sabotage::KeepLostRoutes));
}
