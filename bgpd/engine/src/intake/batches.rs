//! Keys of one read burst, sorted by partition.

use bgp_wire::nlri::{Ipv4Unicast, Ipv6Unicast};
use bgp_wire::update::NlriBlock;
use bgp_wire::{Family, Nlri};
use ipnet::IpNet;

use crate::attr::AttrRef;
use crate::id::PeerIndex;
use crate::stage::{AnyBatch, Batch, PrefixGuard, Rejection, Routed, for_each_family, partition_of};

/// The batches of one family, one per partition.
struct Sorted<N: Nlri> {
    peer: PeerIndex,
    partitions: Vec<Batch<N>>,
}

impl<N: Routed> Sorted<N> {
    fn new(peer: PeerIndex, partitions: usize) -> Self {
        Self { peer, partitions: (0..partitions.max(1)).map(|_| Batch::new(peer)).collect() }
    }

    fn push(
        &mut self,
        block: &NlriBlock<'_>,
        attrs: Option<&AttrRef>,
        received: Option<&AttrRef>,
        rejection: Option<Rejection>,
        guard: Option<&PrefixGuard>,
    ) -> u64 {
        let count = self.partitions.len();
        let mut pushed = 0;
        for key in block.iter::<N>() {
            pushed += 1;
            let martian = attrs.is_some() && !N::is_routable(&key.key);
            let rejection = if martian { Some(Rejection::PrefixMartian) } else { rejection };
            // Before any policy: what is refused stays so whatever policies come.
            let rejection = match attrs {
                Some(_) if is_open(rejection) => refuse(guard, || N::prefix(&key.key)).or(rejection),
                _ => rejection,
            };
            self.partitions[partition_of::<N>(&key.key, count)].push_changed(attrs, received, rejection, key);
        }
        pushed
    }

    fn push_each(
        &mut self,
        block: &NlriBlock<'_>,
        received: &AttrRef,
        guard: Option<&PrefixGuard>,
        judge: &mut impl FnMut(IpNet) -> (AttrRef, Option<Rejection>),
    ) -> u64 {
        let count = self.partitions.len();
        let mut pushed = 0;
        for key in block.iter::<N>() {
            pushed += 1;
            let (attrs, rejection) = judge(N::prefix(&key.key));
            let rejection = if N::is_routable(&key.key) { rejection } else { Some(Rejection::PrefixMartian) };
            let refused = if is_open(rejection) { refuse(guard, || N::prefix(&key.key)) } else { None };
            let rejection = refused.or(rejection);
            let received = (attrs != *received).then_some(received);
            let partition = &mut self.partitions[partition_of::<N>(&key.key, count)];
            partition.push_changed(Some(&attrs), received, rejection, key);
        }
        pushed
    }

    fn drain(&mut self, out: &mut Vec<(usize, AnyBatch)>) {
        for (partition, batch) in self.partitions.iter_mut().enumerate() {
            if !batch.keys.is_empty() {
                let empty = Batch::new(self.peer);
                out.push((partition, N::batch(std::mem::replace(batch, empty))));
            }
        }
    }
}

/// Why the guard of the session refuses a prefix that comes.
fn refuse(guard: Option<&PrefixGuard>, prefix: impl FnOnce() -> IpNet) -> Option<Rejection> {
    guard?.refuse(&prefix(), None)
}

/// Whether nothing but a policy speaks against a path.
fn is_open(rejection: Option<Rejection>) -> bool {
    rejection.is_none_or(Rejection::is_by_policy)
}

macro_rules! batches {
    ($($family:ident $field:ident,)*) => {
        /// The batches of all families.
        pub(super) struct Batches {
            pending: u64,
            $($field: Sorted<$family>,)*
        }

        impl Batches {
            pub(super) fn new(peer: PeerIndex, partitions: usize) -> Self {
                Self { pending: 0, $($field: Sorted::new(peer, partitions),)* }
            }

            /// Appends a block of NLRI; returns how many there were.
            pub(super) fn push(
                &mut self,
                block: &NlriBlock<'_>,
                attrs: Option<&AttrRef>,
                received: Option<&AttrRef>,
                rejection: Option<Rejection>,
                guard: Option<&PrefixGuard>,
            ) -> u64 {
                let family: Family = block.family();
                let mut pushed = 0;
                $(if family == <$family as Nlri>::FAMILY {
                    pushed = self.$field.push(block, attrs, received, rejection, guard);
                })*
                self.pending += pushed;
                pushed
            }

            /// Appends a block of NLRI of which each is judged by itself; returns how many there were.
            pub(super) fn push_each(
                &mut self,
                block: &NlriBlock<'_>,
                received: &AttrRef,
                guard: Option<&PrefixGuard>,
                mut judge: impl FnMut(IpNet) -> (AttrRef, Option<Rejection>),
            ) -> u64 {
                let family: Family = block.family();
                let mut pushed = 0;
                $(if family == <$family as Nlri>::FAMILY {
                    pushed = self.$field.push_each(block, received, guard, &mut judge);
                })*
                self.pending += pushed;
                pushed
            }

            /// Takes all batches that are not empty.
            pub(super) fn drain(&mut self) -> Vec<(usize, AnyBatch)> {
                let mut out = Vec::new();
                if self.pending > 0 {
                    self.pending = 0;
                    $(self.$field.drain(&mut out);)*
                }
                out
            }
        }
    };
}
for_each_family!(batches);

impl Batches {
    /// Keys that wait to be drained.
    pub(super) fn pending(&self) -> usize {
        self.pending as usize
    }
}
