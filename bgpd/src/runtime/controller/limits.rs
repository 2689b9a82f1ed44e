//! Sessions that end because they have more prefixes than a new configuration allows: said in advance.

use bgp_engine::config::{Desired, LimitAction};

use super::super::rib_worker::{CounterAnswer, CounterQuery, RibControl};
use super::Controller;
use super::resets::{Resets, in_wanted};

impl Controller {
    /// Sessions that have more prefixes than they may have in `wanted`, where that ends them.
    pub(super) async fn over_limit(&self, wanted: &Desired) -> Resets {
        let mut asked = Vec::new();
        let mut allowed = Vec::new();
        for entry in self.neighbors.values().filter(|entry| entry.is_established()) {
            let Some(neighbor) = in_wanted(entry, wanted) else { continue };
            let limits = &neighbor.settings.prefix_limits;
            if *limits == entry.neighbor.settings.prefix_limits || limits.action != LimitAction::Restart {
                continue;
            }
            for family in entry.cell.families() {
                let Some(most) = limits.most.get(&family) else { continue };
                asked.push(CounterQuery { peer: entry.cell.index, family, group: None });
                allowed.push((entry.cell.address, family, *most));
            }
        }
        if asked.is_empty() {
            return Resets::new();
        }
        let mut held = vec![0; asked.len()];
        for answers in self.fabric.ask_all(|reply| RibControl::Counters { asked: asked.clone(), reply }).await {
            for (held, CounterAnswer { counters, .. }) in held.iter_mut().zip(answers) {
                *held += counters.received - counters.stale;
            }
        }
        let over = allowed.into_iter().zip(held).filter(|((.., most), held)| *held > *most as usize);
        over.map(|((address, family, most), held)| {
            (address, format!("max-prefixes: {held} {family} prefixes are there, {most} are allowed"))
        })
        .collect()
    }
}
