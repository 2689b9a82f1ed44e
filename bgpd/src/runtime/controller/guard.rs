//! The guard of the clusters: what each session may announce, changed while it runs.

use std::net::IpAddr;
use std::sync::Arc;

use bgp_engine::config::cluster::{ClusterChange, Conflict, DeclaredNodes, FileClusters, Guard};
use bgp_engine::config::owners::OwnerName;
use tracing::warn;

use super::super::handle::ControlError;
use super::Controller;
use super::commands::tell;
use crate::peer::PeerCommand;

impl Controller {
    /// New rules: the routes of those whom they concern are judged again.
    pub(super) fn set_guard(&mut self, guard: &Guard) {
        say_waiting(&self.desired.guard, guard);
        self.desired.guard.clone_from(guard);
        self.directory.set_guard(Arc::new(guard.clone()));
        let addresses: Vec<IpAddr> = self.neighbors.keys().copied().collect();
        addresses.into_iter().for_each(|address| self.guard_again(address));
    }

    /// Finds what a neighbor may announce, and has its routes judged again if that has changed.
    pub(super) fn guard_again(&mut self, address: IpAddr) {
        let Some(entry) = self.neighbors.get_mut(&address) else { return };
        let guard = self.desired.guard.session(&entry.neighbor, self.desired.global.asn);
        if entry.guard != guard {
            entry.guard.clone_from(&guard);
            tell(entry, PeerCommand::Guard(guard));
        }
    }

    /// Declares the nodes of a cluster. They are the owner's until it declares none.
    pub(super) async fn set_nodes(&mut self, cluster: String, declared: DeclaredNodes) -> Result<(), ControlError> {
        if !self.desired.guard.clusters.contains_key(&cluster) {
            return Err(ControlError::NotFound { what: format!("cluster {cluster}") });
        }
        let before = self.nodes.get(&cluster);
        if let Some(other) = before.map(|before| &before.owner).filter(|owner| **owner != declared.owner) {
            return Err(ControlError::Conflict(format!("cluster {cluster}: owner {other} has declared its nodes")));
        }
        let declared = Some(declared).filter(|declared| !declared.nodes.is_empty());
        if before == declared.as_ref() {
            return Ok(());
        }
        match declared {
            Some(declared) => drop(self.nodes.insert(cluster, declared)),
            None => drop(self.nodes.remove(&cluster)),
        }
        self.guard_changed().await;
        Ok(())
    }

    /// Defines or deletes clusters for an owner.
    pub(super) async fn change_clusters(
        &mut self,
        owner: OwnerName,
        change: ClusterChange,
    ) -> Result<(), ControlError> {
        let file = self.file_clusters();
        let defined = match &change {
            ClusterChange::Set(cluster) => std::slice::from_ref(cluster.as_ref()),
            ClusterChange::Replace(clusters) => clusters,
            ClusterChange::Delete(_) => &[],
        };
        for (cluster, group) in defined.iter().flat_map(|one| one.peer_groups.iter().map(move |group| (one, group))) {
            if !self.desired.peer_groups.contains_key(group) {
                let reason = format!("cluster {}: there is no peer group {group}", cluster.name);
                return Err(ControlError::Invalid { field: "peer_groups".to_owned(), reason });
            }
        }
        let before = self.clusters.clone();
        self.clusters.change(&owner, change, &file).map_err(refused)?;
        if self.clusters == before {
            return Ok(());
        }
        // Whoever deletes a cluster does not want its nodes back with the next one of the name.
        let is_left = |name: &str| file.contains_key(name) || self.clusters.iter().any(|(_, one)| one.name == name);
        let gone: Vec<String> = before.iter().map(|(_, one)| one.name.clone()).filter(|name| !is_left(name)).collect();
        gone.iter().for_each(|name| drop(self.nodes.remove(name)));
        self.guard_changed().await;
        Ok(())
    }

    /// Puts in force and writes down what came through the API.
    async fn guard_changed(&mut self) {
        let guard = self.guard_of(self.file_clusters());
        self.changes += 1;
        self.set_guard(&guard);
        self.save().await;
    }

    /// The clusters of the file that runs.
    fn file_clusters(&self) -> FileClusters {
        self.desired.guard.file_clusters().map(|cluster| (cluster.name.clone(), cluster.clone())).collect()
    }

    /// The rules of a file together with what came through the API.
    pub(super) fn guard_of(&self, file: FileClusters) -> Guard {
        Guard::new(file, &self.clusters, &self.nodes)
    }
}

/// Says which clusters of the API must make room for the file, unless that is known.
pub(super) fn say_waiting(before: &Guard, guard: &Guard) {
    for (name, declared) in &guard.declared {
        let waited = before.declared.get(name).and_then(|before| before.waits_for.as_ref());
        if let Some(other) = declared.waits_for.as_ref().filter(|other| Some(*other) != waited) {
            let owner = &declared.owner;
            warn!(cluster = name, %owner, other, "not in force: the configuration file has the other cluster");
        }
    }
}

fn refused(conflict: Conflict) -> ControlError {
    match &conflict {
        Conflict::Taken { .. } => ControlError::Conflict(conflict.to_string()),
        Conflict::Overlap { .. } => {
            ControlError::Invalid { field: "pod_cidrs".to_owned(), reason: conflict.to_string() }
        }
        Conflict::Missing(name) => ControlError::NotFound { what: format!("cluster {name}") },
        Conflict::TooMany => ControlError::Exhausted(conflict.to_string()),
    }
}
