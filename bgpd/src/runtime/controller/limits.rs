//! Sessions that end because they have more prefixes than a new configuration allows: said in advance.

use bgp_engine::config::{Desired, LimitAction};
use bgp_engine::id::PeerIndex;
use bgp_wire::Family;
use tokio::sync::oneshot;

use super::super::fabric::Fabric;
use super::super::rib_worker::{CounterQuery, RibControl};
use super::Controller;
use super::resets::{Resets, in_wanted};

impl Controller {
    /// Sessions that have more prefixes than they may have in `wanted`, where that ends them.
    pub(super) async fn over_limit(&self, wanted: &Desired) -> Resets {
        let mut over = Resets::new();
        for entry in self.neighbors.values().filter(|entry| entry.is_established()) {
            let Some(neighbor) = in_wanted(entry, wanted) else { continue };
            let limits = &neighbor.settings.prefix_limits;
            if *limits == entry.neighbor.settings.prefix_limits || limits.action != LimitAction::Restart {
                continue;
            }
            for family in entry.cell.families() {
                let Some(most) = limits.most.get(&family) else { continue };
                let held = held(&self.fabric, entry.cell.index, family).await;
                if held > *most as usize {
                    let reason = format!("max-prefixes: {held} {family} prefixes are there, {most} are allowed");
                    over.insert(entry.cell.address, reason);
                }
            }
        }
        over
    }
}

/// Prefixes that a session has.
async fn held(fabric: &Fabric, peer: PeerIndex, family: Family) -> usize {
    let mut held = 0;
    for partition in &fabric.partitions {
        let (reply, answer) = oneshot::channel();
        let asked = vec![CounterQuery { peer, family, group: None }];
        partition.tell(RibControl::Counters { asked, reply });
        let counters = answer.await.unwrap_or_default();
        held += counters.iter().map(|one| one.counters.received - one.counters.stale).sum::<usize>();
    }
    held
}
