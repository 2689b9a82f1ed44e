//! Replays the seed corpus of the fuzz targets: what a fuzzer once found stays found, without a fuzzer.

use std::fs;
use std::path::Path;
use std::time::Instant;

#[path = "../../wire/fuzz/src/targets.rs"]
mod targets;

#[test]
#[expect(clippy::disallowed_methods, clippy::disallowed_macros, reason = "reads the corpus and says where it is")]
fn corpus_of_every_fuzz_target_holds() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../wire/fuzz/corpus");
    let mut replayed = 0;
    for folder in fs::read_dir(&corpus).expect("the corpus") {
        let folder = folder.expect("a folder").path();
        let target = folder.file_name().and_then(|name| name.to_str()).expect("the name of a target").to_owned();
        for seed in fs::read_dir(&folder).expect("the seeds of a target") {
            let seed = seed.expect("a seed").path();
            let octets = fs::read(&seed).expect("the octets of a seed");
            println!("{}", seed.display());
            targets::run(&target, &octets, Instant::now());
            replayed += 1;
        }
    }
    assert!(replayed > 100, "only {replayed} seeds");
}
