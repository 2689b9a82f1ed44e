//! The guard of the clusters: what each session may announce, changed while it runs.

use std::net::IpAddr;
use std::sync::Arc;

use bgp_engine::config::cluster::{Guard, Nodes};

use super::super::handle::ControlError;
use super::Controller;
use super::commands::tell;
use super::steps::refresh_or_reset;
use crate::peer::PeerCommand;

impl Controller {
    /// New rules: whom they concern is asked for its routes again.
    pub(super) fn set_guard(&mut self, guard: &Guard) {
        self.desired.guard.clone_from(guard);
        self.directory.set_guard(Arc::new(guard.clone()));
        let addresses: Vec<IpAddr> = self.neighbors.keys().copied().collect();
        addresses.into_iter().for_each(|address| self.guard_again(address));
    }

    /// Finds what a neighbor may announce, and has its routes come in again if that has changed.
    pub(super) fn guard_again(&mut self, address: IpAddr) {
        let Some(entry) = self.neighbors.get_mut(&address) else { return };
        let guard = self.desired.guard.session(&entry.neighbor, self.desired.global.asn);
        if entry.guard != guard {
            entry.guard.clone_from(&guard);
            tell(entry, PeerCommand::Guard(guard));
            refresh_or_reset(entry);
        }
    }

    /// Declares the nodes of a cluster.
    pub(super) async fn set_nodes(&mut self, cluster: String, nodes: Nodes) -> Result<(), ControlError> {
        if !self.desired.guard.clusters.contains_key(&cluster) {
            return Err(ControlError::NotFound { what: format!("cluster {cluster}") });
        }
        self.nodes.insert(cluster, nodes);
        let guard = self.guard_of(self.desired.guard.clone());
        self.changes += 1;
        self.set_guard(&guard);
        self.save().await;
        Ok(())
    }

    /// The rules of a file together with the nodes that were declared for its clusters.
    pub(super) fn guard_of(&self, file: Guard) -> Guard {
        let known = self.nodes.iter().filter(|(cluster, _)| file.clusters.contains_key(*cluster));
        let nodes = known.map(|(cluster, nodes)| (cluster.clone(), nodes.clone())).collect();
        Guard { nodes, ..file }
    }
}
