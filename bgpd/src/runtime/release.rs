//! Memory that was not needed lately goes back, a little at a time, so that nobody waits for it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::{MissedTickBehavior, interval};

use super::fabric::Fabric;
use super::rib_worker::RibControl;
use crate::peer::socket;

/// Time between two steps. What a peer takes and gives up again within that time stays.
const STEP: Duration = Duration::from_secs(4);
/// Of the 64 stripes of the table of attribute sets, how many are swept in a step.
const STRIPES: usize = 16;
/// After so many steps the allocator gives back to the kernel what is free: the less there is each time, the less
/// anybody waits for it.
const STEPS_TO_KERNEL: u64 = 4;

/// Runs as long as the daemon.
pub(super) async fn run(fabric: Arc<Fabric>) {
    socket::limit_free_memory();
    let mut steps = interval(STEP);
    steps.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for step in 1_u64.. {
        steps.tick().await;
        fabric.control_all(|| RibControl::Release);
        for groups in &fabric.groups {
            groups.stage().await.release();
        }
        fabric.admission.release(Instant::now());
        (0..STRIPES).for_each(|_| fabric.interner.release());
        if step.is_multiple_of(STEPS_TO_KERNEL) {
            // It takes milliseconds: no task is to wait behind it. Only a panic could be told of, and there is none.
            let _ = tokio::task::spawn_blocking(socket::release_memory).await;
        }
    }
}
