//! Deterministic simulation of many speakers: thousands of seeds, each a network of its own with its own disasters.
//!
//! `SIM_SEEDS=N` runs N seeds of each test instead of the usual number, `SIM_SEED=N` only that one.

use std::io::Write;
use std::time::Instant;

use bgp_engine::speaker::{Sabotage, Speaker};
use interop::sim::chaos::Faults;
use interop::sim::{Outcome, Plan, Shape, away, run};

/// Small networks, with everything that can happen.
fn small(shape: Shape) -> Plan {
    Plan { shape, size: (2, 8), prefixes: (1, 24), disturbances: (4, 30), faults: Faults::ALL, prepare: |_| {} }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().unwrap_or_else(|_| panic!("{name} is to be a number")))
}

/// Runs many seeds of a plan; the first that fails ends the test, with what it takes to see it again.
fn seeds(test: &str, plan: &Plan, usual: u64) {
    let seeds = match number("SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SIM_SEEDS").unwrap_or(usual),
    };
    let began = Instant::now();
    let (count, mut events, mut sessions, mut hours) = (seeds.end - seeds.start, 0, 0, 0.0);
    for seed in seeds {
        let outcome = run(plan, seed);
        events += outcome.events;
        sessions += outcome.sessions;
        hours += outcome.time.as_secs_f64() / 3600.0;
        if let Some(failure) = outcome.failure {
            panic!(
                "{}, seed {seed}, {} speakers, {} sessions, {failure}\nagain: SIM_SEED={seed} cargo test -p interop \
                 --test simulation {test}",
                plan.shape, outcome.speakers, outcome.sessions
            );
        }
    }
    say(&format!(
        "{:<40} {count:>6} seeds {sessions:>7} sessions {events:>10} events {hours:>7.1} virtual hours {:>6.1} s",
        test,
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
    seeds("full_mesh", &small(Shape::FullMesh), 400);
}

#[test]
fn one_reflector_comes_to_what_the_model_says() {
    seeds("one_reflector", &small(Shape::OneReflector), 500);
}

#[test]
fn pair_of_one_cluster_comes_to_what_the_model_says() {
    seeds("pair_of_one_cluster", &small(Shape::PairSameCluster), 500);
}

#[test]
fn pair_of_own_clusters_comes_to_what_the_model_says() {
    seeds("pair_of_own_clusters", &small(Shape::PairOwnClusters), 500);
}

#[test]
fn hierarchy_comes_to_what_the_model_says() {
    seeds("hierarchy", &Plan { size: (5, 12), ..small(Shape::Hierarchy) }, 400);
}

#[test]
fn of_a_speaker_that_is_away_the_others_keep_what_the_model_says() {
    let seeds = match number("SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SIM_SEEDS").unwrap_or(150),
    };
    let began = Instant::now();
    let (count, mut events) = (seeds.end - seeds.start, 0);
    let shapes =
        [Shape::FullMesh, Shape::OneReflector, Shape::PairSameCluster, Shape::PairOwnClusters, Shape::Hierarchy];
    for seed in seeds {
        let shape = shapes[seed as usize % shapes.len()];
        events += away::run(shape, seed, |_| {}).unwrap_or_else(|failure| {
            panic!(
                "{shape}, seed {seed}, {failure}\nagain: SIM_SEED={seed} cargo test -p interop --test simulation away"
            )
        });
    }
    let seconds = began.elapsed().as_secs_f64();
    say(&format!("{:<40} {count:>6} seeds {events:>10} events {seconds:>6.1} s", "a speaker that is away"));
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
