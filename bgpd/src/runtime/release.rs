//! Memory that was not needed lately goes back, a little at a time, so that nobody waits for it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::{MissedTickBehavior, interval};

use super::fabric::Fabric;
use super::rib_worker::RibControl;

/// Time between two steps. What a peer takes and gives up again within that time stays.
const STEP: Duration = Duration::from_secs(4);
/// Of the 64 stripes of the table of attribute sets, how many are swept in a step.
const STRIPES: usize = 16;

/// Runs as long as the daemon.
pub(super) async fn run(fabric: Arc<Fabric>) {
    let mut steps = interval(STEP);
    steps.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        steps.tick().await;
        fabric.control_all(|| RibControl::Release);
        fabric.admission.release(Instant::now());
        (0..STRIPES).for_each(|_| fabric.interner.release());
    }
}
