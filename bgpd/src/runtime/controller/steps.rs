//! From a plan to what runs: every step is checked before the first one is taken.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use bgp_engine::config::{self, Desired, DynamicNeighbors, Global, Impact, Keys, Neighbor, Step};
use bgp_wire::Notification;
use bgp_wire::notification::CeaseSubcode;
use ipnet::IpNet;
use tokio::net::TcpListener;
use tracing::info;

use super::super::handle::ControlError;
use super::super::kernel;
use super::super::rib_worker::{RibControl, decision_options};
use super::commands::tell;
use super::policies;
use super::resets::{can_refresh, ending};
use super::{Controller, Entry};
use crate::peer::PeerCommand;
use crate::peer::socket;

impl Controller {
    pub(super) async fn carry_out(&mut self, wanted: Desired) -> Result<(), ControlError> {
        let steps = config::plan(&self.desired, &wanted);
        self.take_all(&steps, &wanted).await
    }

    /// Takes the steps that lead to `wanted`.
    pub(super) async fn take_all(&mut self, steps: &[Step], wanted: &Desired) -> Result<(), ControlError> {
        let opened = self.preflight(steps, wanted)?;
        for step in steps {
            self.take(step).await;
            config::apply(&mut self.desired, step);
        }
        self.regroup(steps);
        self.listen_on(&wanted.global.listen, opened);
        self.changes += u64::from(!steps.is_empty());
        Ok(())
    }

    /// What could fail is tried here: policies that do not exist, sockets that cannot be opened.
    fn preflight(
        &self,
        steps: &[Step],
        wanted: &Desired,
    ) -> Result<BTreeMap<SocketAddr, Arc<TcpListener>>, ControlError> {
        if !steps.is_empty() {
            policies::check(&self.fabric, wanted)?;
            kernel::check(wanted)?;
        }
        let listen = &wanted.global.listen;
        let new = listen.iter().filter(|address| !self.listeners.contains_key(address));
        let leaving = self.listeners.iter().filter(|(address, _)| !listen.contains(address));
        let leaving: Vec<&TcpListener> = leaving.map(|(_, listening)| listening.socket.as_ref()).collect();
        let open = |address: &SocketAddr| match socket::listen(*address, &leaving) {
            Ok(listener) => Ok((*address, Arc::new(listener))),
            Err(error) => Err(ControlError::Invalid {
                field: "global.listen".to_owned(),
                reason: format!("cannot listen on {address}: {error}"),
            }),
        };
        new.map(open).collect()
    }

    fn listen_on(&mut self, wanted: &[SocketAddr], opened: BTreeMap<SocketAddr, Arc<TcpListener>>) {
        self.listeners.retain(|address, _| wanted.contains(address));
        if opened.is_empty() {
            return;
        }
        for (address, listener) in opened {
            info!(%address, "listening");
            self.add_listener(address, listener);
        }
        // The new sockets need the keys that the others have.
        let neighbors = self.desired.neighbors.values().map(|n| (IpNet::from(n.address), n.settings.keys()));
        let ranges = self.desired.dynamic.values().map(|range| (range.prefix, range.settings.keys()));
        for (prefix, keys) in neighbors.chain(ranges).filter(|(_, keys)| !keys.is_empty()) {
            self.set_range_keys(prefix, &Keys::default(), &keys);
        }
    }

    async fn take(&mut self, step: &Step) {
        match step {
            Step::SetGlobal { global, impact, .. } => self.set_global(global, *impact),
            // Templates are only read when a neighbor is added.
            Step::SetPeerGroup { .. } | Step::RemovePeerGroup(_) => {}
            Step::SetPolicies { policies, changed } => self.set_policies(policies, changed),
            Step::AddNeighbor(neighbor) => self.add_configured(neighbor),
            Step::RemoveNeighbor(address) => {
                self.remove_entry(*address, Notification::cease(CeaseSubcode::PeerDeconfigured));
            }
            Step::UpdateNeighbor { neighbor, .. } => self.update_entry(neighbor.address, neighbor.clone(), step),
            Step::AddDynamic(range) => {
                self.set_range_keys(range.prefix, &Keys::default(), &range.settings.keys());
            }
            Step::RemoveDynamic(prefix) => self.remove_range(*prefix),
            Step::UpdateDynamic { range, .. } => self.update_range(range, step),
            Step::SetCaches(caches) => self.fabric.rpki.set_caches(caches.clone()),
            Step::SetGuard { guard, .. } => self.set_guard(guard),
            Step::Originate(route) => self.originate([(route.prefix, Some(route))]).await,
            Step::WithdrawOriginated(prefix) => self.originate([(*prefix, None)]).await,
        }
    }

    fn set_global(&mut self, global: &Global, impact: Impact) {
        let shutdown_changed = self.desired.global.graceful_shutdown != global.graceful_shutdown;
        let options = decision_options(global);
        let router_id = global.router_id;
        self.fabric.control_all(|| RibControl::Reconfigure { router_id, options });
        // The drivers read it from here on; `config::apply` follows and stores the same.
        self.desired.global = global.clone();
        self.fabric.admission.set_limits(global.connections);
        let addresses: Vec<IpAddr> = self.neighbors.keys().copied().collect();
        for address in addresses {
            let Some(entry) = self.neighbors.get(&address) else { continue };
            tell(entry, PeerCommand::Settings(Arc::clone(&entry.neighbor), global.clone()));
            if impact == Impact::SessionReset {
                reset(entry);
            } else if shutdown_changed {
                self.tell_shutdown(address);
            }
        }
    }

    fn add_configured(&mut self, neighbor: &Neighbor) {
        if self.neighbors.contains_key(&neighbor.address) {
            // What is configured has precedence over what a range let in.
            let notification = Notification::cease(CeaseSubcode::OtherConfigurationChange);
            self.remove_entry(neighbor.address, notification);
        }
        if let Err(error) = self.add_entry(neighbor.clone(), None) {
            tracing::error!(peer = %neighbor.address, %error, "neighbor not started");
        }
    }

    /// New settings for a neighbor, and what follows from them for its session.
    fn update_entry(&mut self, address: IpAddr, neighbor: Neighbor, step: &Step) {
        let Some(entry) = self.neighbors.get_mut(&address) else { return };
        let (was, is) = (entry.neighbor.settings.shutdown.clone(), neighbor.settings.shutdown.clone());
        let dynamic = entry.dynamic.is_some();
        let (old_keys, keys) = (entry.neighbor.settings.keys(), neighbor.settings.keys());
        let ends = ending(entry, &neighbor.settings, step.changed()).is_some();
        let neighbor = Arc::new(neighbor);
        entry.neighbor = Arc::clone(&neighbor);
        // The driver does the same when it comes to it: whoever asks next reads what was written.
        entry.cell.view().neighbor = Arc::clone(&neighbor);
        tell(entry, PeerCommand::Settings(neighbor, self.desired.global.clone()));
        match (was, is) {
            // It is down already.
            (Some(_), Some(_)) => {}
            (None, Some(text)) => tell(entry, PeerCommand::Stop(Notification::admin_shutdown(&text))),
            (Some(_), None) => tell(entry, PeerCommand::Start),
            _ if ends => reset(entry),
            _ => {
                if step.has(Impact::RefreshIn) {
                    refresh_or_reset(entry);
                }
                if step.has(Impact::ExportAgain) {
                    self.tell_shutdown(address);
                }
            }
        }
        self.guard_again(address);
        if old_keys != keys && !dynamic {
            self.set_range_keys(address.into(), &old_keys, &keys);
        }
    }

    /// New settings for a range and for the sessions that it let in.
    fn update_range(&mut self, range: &DynamicNeighbors, step: &Step) {
        let old = self.desired.dynamic.get(&range.prefix).map(|range| range.settings.keys()).unwrap_or_default();
        self.set_range_keys(range.prefix, &old, &range.settings.keys());
        let members = self.neighbors.values().filter(|entry| entry.dynamic == Some(range.prefix));
        let members: Vec<IpAddr> = members.map(|entry| entry.cell.address).collect();
        for address in members {
            self.update_entry(address, super::neighbors::dynamic_neighbor(address, range), step);
        }
    }
}

/// Ends a session, to begin anew with other settings.
pub(super) fn reset(entry: &Entry) {
    tell(entry, PeerCommand::Reset(Notification::cease(CeaseSubcode::OtherConfigurationChange)));
}

/// Has the routes of a session come in again under a new import policy.
fn refresh_or_reset(entry: &Entry) {
    if can_refresh(entry) {
        tell(entry, PeerCommand::RefreshIn);
    } else {
        reset(entry);
    }
}
