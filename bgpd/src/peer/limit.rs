//! Prefix limits: the budgets of a session, and what is done when one is used up.

use std::sync::Arc;

use bgp_engine::config::LimitAction;
use bgp_engine::session::Input;
use bgp_engine::stage::{Alarm, AlarmKind, Fence, PrefixBudget};
use bgp_wire::Notification;
use tracing::warn;

use super::driver::Driver;

impl Driver {
    /// Gives the session budgets as configured. The partitions hear of it behind the routes that came before.
    pub(super) fn replace_budgets(&mut self) {
        let Some((_, negotiated)) = self.session.established() else { return };
        let budgets = PrefixBudget::of_session(&self.neighbor.settings.prefix_limits, &negotiated.families);
        let had = std::mem::replace(&mut self.cell.view().budgets, budgets.clone());
        if !(had.is_empty() && budgets.is_empty()) {
            self.fences.push(Fence::Limit { peer: self.cell.index, budgets });
        }
    }

    /// A budget has come to something. Of a session that has ended, or of one from before a change, it is no news.
    pub(super) fn alarm(&mut self, alarm: &Alarm) {
        let budget = &alarm.budget;
        if !self.cell.view().budgets.iter().any(|mine| Arc::ptr_eq(mine, budget)) {
            return;
        }
        let (peer, family, limit) = (self.cell.address, budget.family(), budget.limit());
        let limits = &self.neighbor.settings.prefix_limits;
        match (alarm.kind, limits.action) {
            (AlarmKind::Warning, _) => {
                warn!(%peer, %family, limit, prefixes = budget.used(), "the prefix limit is near");
            }
            (AlarmKind::Exceeded, LimitAction::Warn) => {
                warn!(%peer, %family, limit, "prefix limit exceeded");
            }
            (AlarmKind::Exceeded, LimitAction::DiscardNew) => {
                warn!(%peer, %family, limit, "prefix limit exceeded: what is above it is dropped");
            }
            (AlarmKind::Exceeded, LimitAction::Restart) => {
                let wait = limits.restart;
                let until = match wait {
                    Some(wait) => format!("down for {} s", wait.as_secs()),
                    None => "down until it is reset".to_owned(),
                };
                let notification = Notification::max_prefixes(family, limit as u32);
                let error = format!("prefix limit exceeded: more than {limit} {family}; {until}");
                self.input(Input::Limited { notification, error, wait });
            }
        }
    }
}
