//! Replays the seed corpus of the fuzz targets, as it is and changed at random: what a fuzzer once found stays found, and
//! some of what is near it is looked at, without a fuzzer.

use std::fs;
use std::path::Path;
use std::sync::LazyLock;
use std::time::Instant;

use proptest::prelude::*;

#[path = "../../wire/fuzz/src/targets.rs"]
mod targets;

/// A target and the octets of its seeds by name, in order.
type Target = (String, Vec<(String, Vec<u8>)>);

static CORPUS: LazyLock<Vec<Target>> = LazyLock::new(|| {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../wire/fuzz/corpus");
    let target = |name: String| {
        let seeds = names(&corpus.join(&name)).into_iter().map(|seed| {
            let octets = read(&corpus.join(&name).join(&seed));
            (seed, octets)
        });
        let seeds = seeds.collect();
        (name, seeds)
    };
    names(&corpus).into_iter().map(target).collect()
});

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("a folder of the corpus");
    let mut names: Vec<String> = entries
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("seeds and targets have plain names"))
        .collect();
    names.sort();
    names
}

#[expect(clippy::disallowed_methods, reason = "reads the corpus")]
fn read(seed: &Path) -> Vec<u8> {
    fs::read(seed).expect("the octets of a seed")
}

#[expect(clippy::disallowed_methods, reason = "a session begins now, whenever that is")]
fn run(target: &str, octets: &[u8]) {
    targets::run(target, octets, Instant::now());
}

#[test]
#[expect(clippy::disallowed_macros, reason = "says which seed it is")]
fn corpus_of_every_fuzz_target_holds() {
    let mut replayed = 0;
    for (target, seeds) in CORPUS.iter() {
        assert!(!seeds.is_empty(), "{target} has no seeds");
        for (name, octets) in seeds {
            println!("{target}/{name}");
            run(target, octets);
            replayed += 1;
        }
    }
    assert!(replayed > 100, "only {replayed} seeds");
}

/// What is done to a seed.
#[derive(Debug, Clone)]
enum Change {
    Set(u8),
    Flip(u8),
    Insert(Vec<u8>),
    Remove(usize),
    Repeat(usize),
    /// Ends here, and another seed of the target goes on.
    Join(prop::sample::Index),
}

fn change() -> impl Strategy<Value = Change> {
    // Numbers that something often begins or ends at.
    let octet = prop_oneof![Just(0), Just(1), Just(0x7f), Just(0x80), Just(0xff), any::<u8>()];
    prop_oneof![
        octet.prop_map(Change::Set),
        (0_u8..8).prop_map(Change::Flip),
        proptest::collection::vec(any::<u8>(), 1..9).prop_map(Change::Insert),
        (1_usize..20).prop_map(Change::Remove),
        (1_usize..30).prop_map(Change::Repeat),
        any::<prop::sample::Index>().prop_map(Change::Join),
    ]
}

fn changed(seeds: &[(String, Vec<u8>)], mut octets: Vec<u8>, changes: &[(prop::sample::Index, Change)]) -> Vec<u8> {
    for (place, change) in changes {
        let at = place.index(octets.len() + 1);
        let until = |count: usize| (at + count).min(octets.len());
        match change {
            Change::Set(octet) => octets.iter_mut().skip(at).take(1).for_each(|one| *one = *octet),
            Change::Flip(bit) => octets.iter_mut().skip(at).take(1).for_each(|one| *one ^= 1 << bit),
            Change::Insert(more) => drop(octets.splice(at..at, more.iter().copied())),
            Change::Remove(count) => drop(octets.drain(at..until(*count))),
            Change::Repeat(count) => {
                let again = octets[at..until(*count)].to_vec();
                drop(octets.splice(at..at, again));
            }
            Change::Join(other) => {
                octets.truncate(at);
                octets.extend_from_slice(&other.get(seeds).1);
            }
        }
    }
    octets
}

/// More where `PROPTEST_CASES` asks for them.
fn cases() -> ProptestConfig {
    let default = ProptestConfig::default();
    ProptestConfig { cases: default.cases.max(20_000), ..default }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn seeds_that_are_changed_at_random_hold(
        target in any::<prop::sample::Index>(),
        seed in any::<prop::sample::Index>(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), change()), 1..8),
    ) {
        let (target, seeds) = target.get(&CORPUS);
        let octets = changed(seeds, seed.get(seeds).1.clone(), &changes);
        run(target, &octets);
    }
}
