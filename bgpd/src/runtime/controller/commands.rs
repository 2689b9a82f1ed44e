//! What the API asks for, one function per command.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use bgp_engine::session::State;
use bgp_wire::Notification;
use bgp_wire::notification::CeaseSubcode;

use super::super::handle::{Command, ControlError, ResetKind};
use super::super::status::{ConnectionCounts, Status};
use super::{Controller, Entry};
use crate::peer::PeerCommand;

impl Controller {
    pub(super) async fn command(&mut self, command: Command) {
        // Whoever asked may be gone by now; then the answer is dropped, as it should be.
        match command {
            Command::Status(reply) => drop(reply.send(self.status())),
            Command::Desired(reply) => drop(reply.send(Arc::new(self.desired.clone()))),
            Command::Apply(document, terms, reply) => drop(reply.send(self.apply(*document, terms).await)),
            Command::Confirm(reply) => drop(reply.send(self.confirm())),
            Command::RollBack(reply) => drop(reply.send(self.roll_back().await)),
            Command::AddNeighbor(address, declared, reply) => drop(reply.send(self.add(address, declared).await)),
            Command::UpdateNeighbor(address, declared, clear, reply) => {
                drop(reply.send(self.update(address, declared, &clear).await));
            }
            Command::DeleteNeighbor(address, owner, reply) => drop(reply.send(self.delete(address, &owner).await)),
            Command::Enable(address, reply) => drop(reply.send(self.set_shutdown(address, None).await)),
            Command::Disable(address, text, reply) => drop(reply.send(self.set_shutdown(address, Some(text)).await)),
            Command::Drain(address, on, reply) => drop(reply.send(self.drain(address, on).await)),
            Command::Reset(address, kind, reply) => drop(reply.send(self.reset(address, kind))),
            Command::Announce(route, reply) => drop(reply.send(self.announce(*route).await)),
            Command::Withdraw(prefix, reply) => drop(reply.send(self.withdraw(prefix).await)),
            Command::OpenOwner(name, lease, signal, reply) => {
                drop(reply.send(self.open_owner(&name, lease, signal)));
            }
            Command::ApplyRoutes { owner, stream, lease, routes, reply } => {
                drop(reply.send(self.apply_routes(&owner, stream, lease, routes).await));
            }
            Command::OwnerState(name, stream, reply) => drop(reply.send(self.owner_state(&name, stream))),
            Command::CloseOwner(name, stream) => self.close_owner(&name, stream),
            Command::SetNodes(cluster, nodes, reply) => drop(reply.send(self.set_nodes(cluster, nodes).await)),
            Command::ChangeClusters(owner, change, reply) => {
                drop(reply.send(self.change_clusters(owner, change).await));
            }
            Command::DeclarePolicies(owner, text, reply) => {
                drop(reply.send(self.declare_policies(owner, text).await));
            }
            Command::Policies(reply) => drop(reply.send(self.declared_policies())),
            Command::Owners(reply) => drop(reply.send(self.owners.views().collect())),
            Command::Plan(wanted, reply) => self.preview(&wanted, reply).await,
            Command::Show(reply) => drop(reply.send(self.shown())),
            // The event loop takes this one before it comes here.
            Command::Shutdown(_, done) => drop(done),
        }
    }

    fn status(&self) -> Status {
        let global = &self.desired.global;
        let established = self.neighbors.values().filter(|entry| entry.cell.view().state == State::Established).count();
        Status {
            version: env!("CARGO_PKG_VERSION"),
            asn: global.asn,
            router_id: global.router_id,
            cluster_id: global.cluster_id,
            started: self.started,
            neighbors: self.neighbors.len() as u64,
            established: established as u64,
            tables: std::collections::BTreeMap::new(),
            attribute_sets: 0,
            awaited: Vec::new(),
            selection_deferral_seconds: self
                .deferral
                .until
                .map_or(0, |until| until.saturating_duration_since(Instant::now()).as_secs()),
            connections: ConnectionCounts { refused_range: self.refused_range, ..self.fabric.admission.counts() },
            revision: self.revision(),
            document: self.base.document.name.clone(),
            confirm_seconds_left: self
                .base
                .deadline()
                .map(|until| until.saturating_duration_since(Instant::now()).as_secs()),
            listen: self.listeners.values().filter_map(|listening| listening.socket.local_addr().ok()).collect(),
        }
    }

    /// The revision of the desired state; that of another run is never the same.
    pub(super) fn revision(&self) -> String {
        let start = self.started.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        format!("{:x}-{}", start.as_nanos(), self.changes)
    }

    /// Disables or enables a neighbor that has no place in the configuration, as long as it is known.
    pub(super) fn set_dynamic_shutdown(&mut self, address: IpAddr, text: Option<String>) -> Result<(), ControlError> {
        self.changes += 1;
        let entry = self.entry(address)?;
        Arc::make_mut(&mut entry.neighbor).settings.shutdown.clone_from(&text);
        entry.cell.view().neighbor = Arc::clone(&entry.neighbor);
        tell(
            entry,
            match &text {
                Some(text) => PeerCommand::Stop(Notification::admin_shutdown(text)),
                None => PeerCommand::Start,
            },
        );
        Ok(())
    }

    fn reset(&mut self, address: IpAddr, kind: ResetKind) -> Result<(), ControlError> {
        let entry = self.entry(address)?;
        if kind == ResetKind::Hard {
            tell(entry, PeerCommand::Reset(Notification::cease(CeaseSubcode::AdministrativeReset)));
            return Ok(());
        }
        let negotiated = entry.cell.view().negotiated.clone();
        let Some(negotiated) = negotiated else {
            let reason = format!("neighbor {address} is not Established: there is nothing to refresh");
            return Err(ControlError::Unavailable(reason));
        };
        if matches!(kind, ResetKind::SoftIn | ResetKind::Soft) {
            if !negotiated.route_refresh {
                let reason =
                    format!("neighbor {address} does not support route refresh (RFC 2918); a hard reset would do");
                return Err(ControlError::Unavailable(reason));
            }
            tell(entry, PeerCommand::RefreshIn);
        }
        if matches!(kind, ResetKind::SoftOut | ResetKind::Soft) {
            let (index, memberships) = (entry.cell.index, entry.cell.memberships());
            self.groups.refresh(index, &memberships, None, |_| None);
        }
        Ok(())
    }
}

/// A driver that has ended needs no telling.
pub(super) fn tell(entry: &Entry, command: PeerCommand) {
    let _ = entry.commands.send(Box::new(command));
}
