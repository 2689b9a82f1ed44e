//! Clusters that clients of the API define, and how they stand beside those of the configuration file.
//!
//! Whoever defined a cluster owns it, and nobody else changes it. The file comes before everybody, as for routes: what
//! is defined already must make room when the file takes the name or the addresses, and waits until the file lets go.

use std::collections::BTreeMap;

use ipnet::IpNet;

use super::{Cluster, DeclaredNodes, Guard};
use crate::config::owners::OwnerName;

/// Most clusters that can be defined through the API.
pub const CLUSTERS_MAX: usize = 1024;

/// A cluster that was defined through the API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeclaredCluster {
    /// Who defined it.
    pub owner: OwnerName,
    /// What it is.
    pub cluster: Cluster,
    /// It is not in force, because the file has this cluster.
    pub waits_for: Option<String>,
}

/// All clusters that were defined through the API, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeclaredClusters(BTreeMap<String, (OwnerName, Cluster)>);

/// What an owner does with its clusters.
#[derive(Debug, Clone)]
pub enum ClusterChange {
    /// Defines one, or replaces it.
    Set(Box<Cluster>),
    /// Makes these all that it has.
    Replace(Vec<Cluster>),
    /// Forgets the one of this name.
    Delete(String),
}

/// Why a cluster cannot be defined or deleted. Nothing has changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Conflict {
    /// Somebody else has the name.
    #[error("cluster {name}: owner {owner} has it")]
    Taken {
        /// The cluster.
        name: String,
        /// Who has it.
        owner: OwnerName,
    },
    /// Somebody else has the addresses.
    #[error("{prefix} of cluster {name} overlaps {other_prefix} of cluster {other} (owner {owner})")]
    Overlap {
        /// The pod CIDR.
        prefix: IpNet,
        /// The cluster.
        name: String,
        /// The pod CIDR that is there.
        other_prefix: IpNet,
        /// The cluster that is there.
        other: String,
        /// Who has that.
        owner: OwnerName,
    },
    /// There is no such cluster.
    #[error("cluster {0} does not exist")]
    Missing(String),
    /// There would be too many.
    #[error("there are {CLUSTERS_MAX} clusters of the API already")]
    TooMany,
}

/// Clusters of the configuration file, by name.
pub type FileClusters = BTreeMap<String, Cluster>;

impl DeclaredClusters {
    /// Does what an owner wants.
    ///
    /// # Errors
    /// Those of the three.
    pub fn change(&mut self, owner: &OwnerName, change: ClusterChange, file: &FileClusters) -> Result<(), Conflict> {
        match change {
            ClusterChange::Set(cluster) => self.set(owner, *cluster, file),
            ClusterChange::Replace(clusters) => self.replace(owner, clusters, file),
            ClusterChange::Delete(name) => self.delete(owner, &name, file),
        }
    }

    /// Defines a cluster, or replaces what its owner defined under the name.
    ///
    /// # Errors
    /// [`Conflict`], with the file's clusters and those of other owners.
    pub fn set(&mut self, owner: &OwnerName, cluster: Cluster, file: &FileClusters) -> Result<(), Conflict> {
        let name = cluster.name.clone();
        self.check_owner(owner, &name, file)?;
        if self.0.len() >= CLUSTERS_MAX && !self.0.contains_key(&name) {
            return Err(Conflict::TooMany);
        }
        let file_owner = OwnerName::file();
        let others = self.0.values().map(|(owner, other)| (owner, other));
        let others = others.chain(file.values().map(|other| (&file_owner, other)));
        for (owner, other) in others.filter(|(_, other)| other.name != name) {
            if let Some((prefix, other_prefix)) = overlap(&cluster, other) {
                return Err(Conflict::Overlap {
                    prefix,
                    name,
                    other_prefix,
                    other: other.name.clone(),
                    owner: owner.clone(),
                });
            }
        }
        self.0.insert(name, (owner.clone(), cluster));
        Ok(())
    }

    /// Makes these all clusters of an owner.
    ///
    /// # Errors
    /// As [`DeclaredClusters::set`]; then nothing has changed.
    pub fn replace(
        &mut self,
        owner: &OwnerName,
        clusters: impl IntoIterator<Item = Cluster>,
        file: &FileClusters,
    ) -> Result<(), Conflict> {
        let mut all = self.clone();
        all.0.retain(|_, (other, _)| other != owner);
        for cluster in clusters {
            all.set(owner, cluster, file)?;
        }
        *self = all;
        Ok(())
    }

    /// Forgets a cluster of an owner.
    ///
    /// # Errors
    /// When there is none of that name, or it is another's.
    pub fn delete(&mut self, owner: &OwnerName, name: &str, file: &FileClusters) -> Result<(), Conflict> {
        let is_own = self.0.get(name).is_some_and(|(other, _)| other == owner);
        if !is_own {
            self.check_owner(owner, name, file)?;
            return Err(Conflict::Missing(name.to_owned()));
        }
        self.0.remove(name);
        Ok(())
    }

    fn check_owner(&self, owner: &OwnerName, name: &str, file: &FileClusters) -> Result<(), Conflict> {
        let taken = |owner| Err(Conflict::Taken { name: name.to_owned(), owner });
        match self.0.get(name) {
            _ if file.contains_key(name) => taken(OwnerName::file()),
            Some((other, _)) if other != owner => taken(other.clone()),
            _ => Ok(()),
        }
    }

    /// All of them with their owners.
    pub fn iter(&self) -> impl Iterator<Item = (&OwnerName, &Cluster)> {
        self.0.values().map(|(owner, cluster)| (owner, cluster))
    }

    /// Takes in what an earlier run wrote down, without asking for conflicts: the file decides later.
    pub fn restore(&mut self, owner: OwnerName, cluster: Cluster) {
        self.0.insert(cluster.name.clone(), (owner, cluster));
    }
}

/// Whether two prefixes have an address in common.
#[must_use]
pub fn share_addresses(one: &IpNet, other: &IpNet) -> bool {
    one.contains(other) || other.contains(one)
}

/// The first pod CIDRs that two clusters share addresses in.
fn overlap(one: &Cluster, other: &Cluster) -> Option<(IpNet, IpNet)> {
    one.pod_cidrs.iter().find_map(|prefix| {
        other.pod_cidrs.iter().find(|theirs| share_addresses(prefix, theirs)).map(|theirs| (*prefix, *theirs))
    })
}

impl Guard {
    /// The clusters of a file, those of the API that it leaves room for, and what is known of their nodes.
    #[must_use]
    pub fn new(file: FileClusters, declarations: &DeclaredClusters, nodes: &BTreeMap<String, DeclaredNodes>) -> Self {
        let mut guard = Self { clusters: file, ..Self::default() };
        for (owner, cluster) in declarations.iter() {
            let name = &cluster.name;
            let in_the_way = |theirs: &&Cluster| theirs.name == *name || overlap(cluster, theirs).is_some();
            let waits_for = guard.file_clusters().find(in_the_way).map(|theirs| theirs.name.clone());
            if waits_for.is_none() {
                guard.clusters.insert(name.clone(), cluster.clone());
            }
            guard
                .declared
                .insert(name.clone(), DeclaredCluster { owner: owner.clone(), cluster: cluster.clone(), waits_for });
        }
        let known = nodes.iter().filter(|(cluster, _)| guard.clusters.contains_key(*cluster));
        guard.nodes = known.map(|(cluster, nodes)| (cluster.clone(), nodes.clone())).collect();
        guard
    }

    /// The clusters in force that the file has.
    pub fn file_clusters(&self) -> impl Iterator<Item = &Cluster> {
        self.clusters.values().filter(|cluster| *self.owner_of(&cluster.name) == OwnerName::file())
    }

    /// Who defined the cluster of that name that is in force.
    #[must_use]
    pub fn owner_of(&self, name: &str) -> std::borrow::Cow<'_, OwnerName> {
        match self.declared.get(name) {
            Some(declared) if declared.waits_for.is_none() => std::borrow::Cow::Borrowed(&declared.owner),
            _ => std::borrow::Cow::Owned(OwnerName::file()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster(name: &str, pods: &str) -> Cluster {
        Cluster {
            name: name.to_owned(),
            pod_cidrs: vec![pods.parse().expect("a prefix")],
            node_ranges: vec!["192.0.2.0/24".parse().expect("a prefix")],
            peer_groups: Vec::new(),
            strict: false,
            max_length_v4: 28,
            max_length_v6: 80,
        }
    }

    fn file(clusters: &[(&str, &str)]) -> FileClusters {
        clusters.iter().map(|(name, pods)| ((*name).to_owned(), cluster(name, pods))).collect()
    }

    fn owner(name: &str) -> OwnerName {
        name.parse().expect("a name")
    }

    fn in_force(file: FileClusters, declarations: &DeclaredClusters) -> Vec<String> {
        Guard::new(file, declarations, &BTreeMap::new()).clusters.into_keys().collect()
    }

    #[test]
    fn cluster_of_another_owner_or_of_the_file_is_left_alone() {
        let file = file(&[("east", "10.1.0.0/16")]);
        let mut all = DeclaredClusters::default();
        all.set(&owner("a"), cluster("west", "10.2.0.0/16"), &file).expect("it is free");
        for (result, said) in [
            (all.set(&owner("b"), cluster("west", "10.3.0.0/16"), &file), "cluster west: owner a has it"),
            (all.set(&owner("a"), cluster("east", "10.3.0.0/16"), &file), "cluster east: owner file has it"),
            (
                all.set(&owner("b"), cluster("north", "10.2.7.0/24"), &file),
                "10.2.7.0/24 of cluster north overlaps 10.2.0.0/16 of cluster west (owner a)",
            ),
            (
                all.set(&owner("b"), cluster("north", "10.0.0.0/8"), &file),
                "10.0.0.0/8 of cluster north overlaps 10.2.0.0/16 of cluster west (owner a)",
            ),
            (all.delete(&owner("b"), "west", &file), "cluster west: owner a has it"),
            (all.delete(&owner("a"), "east", &file), "cluster east: owner file has it"),
            (all.delete(&owner("a"), "south", &file), "cluster south does not exist"),
        ] {
            assert_eq!(result.expect_err(said).to_string(), said);
        }
        assert_eq!(in_force(file.clone(), &all), ["east", "west"]);
        all.delete(&owner("a"), "west", &file).expect("it is its own");
        assert_eq!(in_force(file, &all), ["east"]);
    }

    #[test]
    fn all_clusters_of_an_owner_are_replaced_at_once_or_not_at_all() {
        let none = FileClusters::new();
        let mut all = DeclaredClusters::default();
        all.set(&owner("a"), cluster("east", "10.1.0.0/16"), &none).expect("it is free");
        all.set(&owner("b"), cluster("west", "10.2.0.0/16"), &none).expect("it is free");
        let bad = [cluster("north", "10.3.0.0/16"), cluster("south", "10.2.1.0/24")];
        assert!(all.replace(&owner("a"), bad, &none).is_err());
        assert_eq!(in_force(none.clone(), &all), ["east", "west"]);
        // The networks may change places within an owner's set.
        all.replace(&owner("a"), [cluster("north", "10.1.0.0/16"), cluster("east", "10.3.0.0/16")], &none)
            .expect("they are free");
        assert_eq!(in_force(none, &all), ["east", "north", "west"]);
    }

    #[test]
    fn file_that_takes_a_name_or_addresses_comes_first_and_gives_them_back() {
        let mut all = DeclaredClusters::default();
        let none = FileClusters::new();
        all.set(&owner("a"), cluster("east", "10.1.0.0/16"), &none).expect("it is free");
        all.set(&owner("a"), cluster("west", "10.2.0.0/16"), &none).expect("it is free");
        let file = file(&[("east", "10.9.0.0/16"), ("other", "10.2.0.0/24")]);
        let guard = Guard::new(file, &all, &BTreeMap::new());
        let waits = |name: &str| guard.declared[name].waits_for.as_deref();
        assert_eq!((waits("east"), waits("west")), (Some("east"), Some("other")));
        assert_eq!(guard.clusters.keys().collect::<Vec<_>>(), ["east", "other"]);
        assert_eq!(guard.file_clusters().count(), 2);
        let guard = Guard::new(none, &all, &BTreeMap::new());
        assert_eq!(guard.clusters["east"].pod_cidrs, all.0["east"].1.pod_cidrs);
        assert_eq!(*guard.owner_of("east"), owner("a"));
        assert_eq!(guard.file_clusters().count(), 0);
    }
}
