//! Owners of originated routes: what they declare, and the streams that speak for them.

use std::time::{Duration, Instant};

use bgp_engine::config::Originate;
use bgp_engine::config::cluster::Guard;
use bgp_engine::config::owners::{Declared, OwnerName, Routes};
use bgp_engine::id::PeerIndex;
use bgp_engine::stage::Fence;
use bgp_wire::Family;
use ipnet::IpNet;
use tokio::sync::watch;
use tracing::{info, warn};

use super::super::fabric::RibMessage;
use super::super::handle::{Applied, ControlError, OwnerSignal};
use super::super::state::{Lasting, Restored, StateFile};
use super::guard::say_waiting;
use super::{Controller, Running};

/// How streams of owners are told.
pub(super) type Signals = std::collections::BTreeMap<OwnerName, watch::Sender<OwnerSignal>>;

impl Controller {
    /// A stream begins to speak for an owner; the one before is told.
    pub(super) fn open_owner(
        &mut self,
        name: &OwnerName,
        lease: Duration,
        signal: watch::Sender<OwnerSignal>,
    ) -> Result<u64, ControlError> {
        let stream = self.owners.open(name, lease, Instant::now());
        let stream = stream.map_err(|error| ControlError::Exhausted(error.to_string()))?;
        if let Some(before) = self.signals.insert(name.clone(), signal) {
            // A stream that has ended by itself does not listen any more.
            let _ = before.send(OwnerSignal::TakenOver);
        }
        info!(owner = %name, lease_seconds = lease.as_secs(), "owner connected");
        Ok(stream)
    }

    /// A sign of life of an owner, and the routes that it wants originated if it says so.
    pub(super) async fn apply_routes(
        &mut self,
        name: &OwnerName,
        stream: u64,
        lease: Option<Duration>,
        routes: Option<Routes>,
    ) -> Result<Applied, ControlError> {
        self.owner_state(name, stream)?;
        self.owners.renew(name, lease, Instant::now());
        let mut declared = Declared::default();
        let has_declared = routes.is_some();
        if let Some(routes) = routes {
            declared = self.owners.declare(name, routes).map_err(|error| ControlError::Exhausted(error.to_string()))?;
        }
        let (changed, withdrawn) = (declared.changed, declared.withdrawn);
        self.declared(declared).await;
        if has_declared && self.deferral.returning.remove(name) && self.deferral.returning.is_empty() {
            self.all_owners_are_back().await;
        }
        Ok(Applied { changed, withdrawn, ..self.owner_state(name, stream)? })
    }

    /// Owners that have not come back after a restart are waited for no longer. Their leases still run.
    pub(super) async fn give_owners_up(&mut self) {
        for owner in std::mem::take(&mut self.deferral.returning) {
            warn!(%owner, "has not declared its routes again since the restart: route selection does not wait for it");
        }
        self.all_owners_are_back().await;
    }

    /// What is originated here is complete after a restart: End-of-RIB of this speaker itself, behind the routes.
    async fn all_owners_are_back(&mut self) {
        self.deferral.owners_until = None;
        for port in &self.fabric.partitions {
            for family in [Family::IPV4_UNICAST, Family::IPV6_UNICAST] {
                let fence = Fence::EndOfRib { peer: PeerIndex::LOCAL, family };
                port.send(RibMessage::Fence(fence)).await;
            }
        }
    }

    /// What of an owner's declaration is in force.
    pub(super) fn owner_state(&self, name: &OwnerName, stream: u64) -> Result<Applied, ControlError> {
        if !self.owners.speaks(name, stream) {
            let reason = format!("another stream speaks for owner {name} now, or its lease has run out");
            return Err(ControlError::Superseded(reason));
        }
        let waiting: Vec<_> = self.owners.waiting(name).map(|(prefix, holder)| (prefix, holder.clone())).collect();
        let announced = self.owners.routes(name).map_or(0, Routes::len) - waiting.len();
        Ok(Applied { announced, changed: 0, withdrawn: 0, waiting })
    }

    pub(super) fn close_owner(&mut self, name: &OwnerName, stream: u64) {
        if self.owners.speaks(name, stream) {
            self.owners.close(name, stream, Instant::now());
            self.signals.remove(name);
            info!(owner = %name, "owner disconnected, its lease runs");
        }
    }

    /// Withdraws what nobody renewed.
    pub(super) async fn expire_owners(&mut self) {
        for (name, declared) in self.owners.expire(Instant::now()) {
            warn!(owner = %name, routes = declared.withdrawn, "lease has run out, routes withdrawn");
            if let Some(signal) = self.signals.remove(&name) {
                let _ = signal.send(OwnerSignal::Expired);
            }
            self.declared(declared).await;
        }
    }

    /// Takes up what an earlier run left behind, before anything runs. The file comes first.
    pub(in super::super) fn remember(&mut self, state: StateFile, restored: Restored, running: Running) {
        self.state = state;
        self.base = running;
        self.owners.declare_file(std::mem::take(&mut self.desired.originate));
        restored.restore(&mut self.owners, Instant::now());
        self.desired.originate = self.owners.originated();
        self.nodes = restored.nodes;
        self.declarations = restored.neighbors;
        self.clusters = restored.clusters;
        let file = std::mem::take(&mut self.desired.guard);
        self.desired.guard = self.guard_of(file.clusters);
        say_waiting(&Guard::default(), &self.desired.guard);
    }

    /// Originates what a declaration changed, and tells the owners that it concerns.
    async fn declared(&mut self, declared: Declared) {
        self.originate(declared.changes.iter().map(|(prefix, route)| (*prefix, route.as_ref()))).await;
        self.note_owners(declared.changes.keys());
        for (prefix, route) in declared.changes {
            match route {
                Some(route) => drop(self.desired.originate.insert(prefix, route)),
                None => drop(self.desired.originate.remove(&prefix)),
            }
        }
        self.tell_owners(declared.concerned.iter());
        if declared.changed > 0 || declared.withdrawn > 0 {
            self.changes += 1;
            self.save().await;
        }
    }

    /// Writes down what is to survive a restart.
    pub(super) async fn save(&self) {
        self.state.save(self.lasting()).await;
    }

    pub(super) fn lasting(&self) -> Lasting<'_> {
        let Self { owners, nodes, clusters, declarations, .. } = self;
        Lasting { owners, nodes, clusters, neighbors: declarations }
    }

    /// Lets the API know who originates prefixes now.
    pub(super) fn note_owners<'a>(&self, changed: impl Iterator<Item = &'a IpNet>) {
        self.directory.set_owners(changed.map(|prefix| (*prefix, self.owners.holder(prefix).cloned())));
    }

    pub(super) fn tell_owners<'a>(&self, concerned: impl Iterator<Item = &'a OwnerName>) {
        for signal in concerned.filter_map(|name| self.signals.get(name)) {
            let _ = signal.send(OwnerSignal::Concerned);
        }
    }

    pub(super) async fn announce(&mut self, route: Originate) -> Result<(), ControlError> {
        let owner = OwnerName::bgpctl();
        if let Some(holder) = self.owners.holder(&route.prefix).filter(|holder| **holder != owner) {
            let what = format!("{}: owner {holder} has it; an announcement of it", route.prefix);
            return Err(ControlError::AlreadyExists { what });
        }
        let declared = self.owners.add(&owner, route).map_err(|error| ControlError::Exhausted(error.to_string()))?;
        self.declared(declared).await;
        Ok(())
    }

    pub(super) async fn withdraw(&mut self, prefix: IpNet) -> Result<(), ControlError> {
        let owner = OwnerName::bgpctl();
        let Some(declared) = self.owners.remove(&owner, prefix) else {
            let mut what = format!("an announcement of {prefix} by {owner}");
            if let Some(holder) = self.owners.holder(&prefix) {
                what = format!("{what} (owner {holder} has the prefix)");
            }
            return Err(ControlError::NotFound { what });
        };
        self.declared(declared).await;
        Ok(())
    }
}
