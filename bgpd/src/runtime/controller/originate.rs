//! Routes originated here: attribute sets and batches like those of any peer.

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

impl Controller {
    /// Announces a route, or replaces what was announced for its prefix.
    pub(super) async fn originate(&self, route: &Originate) {
        let attrs = intake::originated(&self.fabric.interner, route);
        self.originated(route.prefix, Some(&attrs)).await;
    }

    pub(super) async fn withdraw_originated(&self, prefix: IpNet) {
        self.originated(prefix, None).await;
    }

    async fn originated(&self, prefix: IpNet, attrs: Option<&AttrRef>) {
        let partitions = self.fabric.partitions.len();
        let batch = one::<Ipv4Unicast>(prefix, attrs, partitions);
        let Some((partition, batch)) = batch.or_else(|| one::<Ipv6Unicast>(prefix, attrs, partitions)) else { return };
        // A partition ends only with the daemon.
        let _ = self.fabric.partitions[partition].data.send(RibMessage::Batch(batch)).await;
    }
}

/// A batch of one route of this speaker, if the prefix is of the family.
fn one<N: Routed>(prefix: IpNet, attrs: Option<&AttrRef>, partitions: usize) -> Option<(usize, AnyBatch)> {
    let key = N::from_prefix(prefix)?;
    let mut batch = Batch::<N>::new(PeerIndex::LOCAL);
    batch.push(attrs, None, PathKey { key, path_id: 0 });
    Some((partition_of::<N>(&key, partitions), N::batch(batch)))
}
