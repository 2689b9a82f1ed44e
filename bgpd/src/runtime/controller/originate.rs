//! Routes originated here: attribute sets and batches like those of any peer.

use std::collections::BTreeMap;
use std::time::Instant;

use bgp_engine::attr::AttrRef;
use bgp_engine::config::Originate;
use bgp_engine::id::PeerIndex;
use bgp_engine::intake;
use bgp_engine::stage::{AnyBatch, Batch, Routed, partition_of};
use bgp_wire::nlri::{Ipv4Unicast, Ipv6Unicast};
use bgp_wire::update::PathKey;
use ipnet::IpNet;

use super::super::fabric::RibMessage;
use super::Controller;

/// Routes in one batch: what a partition decides at once.
const BATCH: usize = 1024;

impl Controller {
    /// Announces routes, or replaces what was announced for their prefixes; `None` withdraws.
    pub(super) async fn originate(&self, changes: impl IntoIterator<Item = (IpNet, Option<&Originate>)>) {
        let interned = |route: &Originate| intake::originated(&self.fabric.interner, route);
        let changes: Vec<_> = changes.into_iter().map(|(prefix, route)| (prefix, route.map(interned))).collect();
        for changes in changes.chunks(BATCH) {
            for (partition, batch) in
                self.batches::<Ipv4Unicast>(changes).into_iter().chain(self.batches::<Ipv6Unicast>(changes))
            {
                self.fabric.partitions[partition].send(RibMessage::Batch(batch, Instant::now())).await;
            }
        }
    }

    /// What is of the family, by partition.
    fn batches<N: Routed>(&self, changes: &[(IpNet, Option<AttrRef>)]) -> BTreeMap<usize, AnyBatch> {
        let mut batches = BTreeMap::new();
        for (prefix, attrs) in changes {
            let Some(key) = N::from_prefix(*prefix) else { continue };
            let partition = partition_of::<N>(&key, self.fabric.partitions.len());
            let batch = batches.entry(partition).or_insert_with(|| Batch::<N>::new(PeerIndex::LOCAL));
            batch.push(attrs.as_ref(), None, PathKey { key, path_id: 0 });
        }
        batches.into_iter().map(|(partition, batch)| (partition, N::batch(batch))).collect()
    }
}
