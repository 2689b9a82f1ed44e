//! Many seeds, on as many threads as there are processors.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

/// What one thread came to: what its seeds gave, and the one that failed.
type Share<T, E> = (Vec<T>, Option<(u64, E)>);

/// Runs every seed. After one that fails no further ones are begun; of several the least is told.
///
/// # Errors
/// The seed that failed, and how.
///
/// # Panics
/// When a run does; the seed is printed.
pub fn all<T: Send, E: Send>(seeds: Range<u64>, run: impl Fn(u64) -> Result<T, E> + Sync) -> Result<Vec<T>, (u64, E)> {
    let (next, failed) = (AtomicU64::new(seeds.start), AtomicBool::new(false));
    let share = || -> Share<T, E> {
        let mut done = Vec::new();
        while !failed.load(Ordering::Relaxed) {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                break;
            }
            match catch_unwind(AssertUnwindSafe(|| run(seed))) {
                Ok(Ok(outcome)) => done.push(outcome),
                Ok(Err(failure)) => {
                    failed.store(true, Ordering::Relaxed);
                    return (done, Some((seed, failure)));
                }
                Err(panic) => {
                    eprintln!("seed {seed} panicked");
                    failed.store(true, Ordering::Relaxed);
                    resume_unwind(panic);
                }
            }
        }
        (done, None)
    };
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let shares: Vec<Share<T, E>> = thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(share)).collect();
        running.into_iter().map(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic))).collect()
    });
    let (mut done, mut failures) = (Vec::new(), Vec::new());
    for (outcomes, failure) in shares {
        done.extend(outcomes);
        failures.extend(failure);
    }
    match failures.into_iter().min_by_key(|(seed, _)| *seed) {
        Some(failure) => Err(failure),
        None => Ok(done),
    }
}
