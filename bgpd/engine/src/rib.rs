//! Adj-RIB-In, Loc-RIB and Adj-RIB-Out, in partitions.
//!
//! A [`Partition`] is everything one thread owns: for each family a table of destinations, each
//! with its Adj-RIB-In paths and, per update group, what that group was last told. A batch is
//! applied, every destination it touched is decided once (RFC 4271 §9.1), and what differs from the
//! groups' columns leaves as one [`Emission`](crate::stage::Emission) per group. Long work (the
//! paths of a lost peer, walks for members that join) is done in slices by [`Partition::work`].
//!
//! Implements RFC 4271 §3.2, §9.1; RFC 4456 §9; RFC 4724 §4; RFC 5004; RFC 7313 §4; RFC 7911 §3; RFC 9494 §4.

mod apply;
mod column;
pub mod decision;
mod deferral;
mod destination;
mod explain;
mod passage;
mod peers;
mod preview;
mod query;
mod reimport;
mod slab;
mod sweep;
mod table;
mod told;
mod walk;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use bgp_wire::nlri::{Ipv4Unicast, Ipv6Unicast};
use bgp_wire::{Family, Nlri};
use ipnet::IpNet;

use crate::attr::Interner;
use crate::export::ExportSpec;
use crate::id::{GroupIndex, PeerIndex, Source};
use crate::stage::{Alarm, AnyBatch, AnyEmission, AnyMissed, Fence, Member, for_each_family};

pub use explain::{CandidateView, Explanation, ExportVerdict, ExportView, MemberVerdict, Verdict};
pub use peers::PeerCounters;
pub use preview::{Counted, Outgoing, Proposal, RouteChanges};
pub use query::{Cursor, RouteQuery, RouteView, Scope, Slice};

use peers::Peers;
use preview::Around;
use table::{FamilyTable, Table};

/// What a partition is made with.
#[derive(Debug, Clone, Copy)]
pub struct PartitionSettings {
    /// Which partition it is.
    pub index: usize,
    /// Seed of the tables' hashes.
    pub seed: u64,
    /// Own BGP identifier: the router ID of routes originated here.
    pub router_id: Ipv4Addr,
    /// How paths are compared.
    pub decision: decision::Options,
}

/// One thread's share of the routing state, all families.
pub struct Partition {
    settings: PartitionSettings,
    interner: Arc<Interner>,
    peers: Peers,
    tables: Tables,
}

/// What table operations need of the partition around them.
pub(crate) struct Context<'a> {
    partition: usize,
    decision: decision::Options,
    peers: &'a Peers,
    interner: &'a Interner,
    out: &'a mut Vec<AnyEmission>,
}

macro_rules! tables {
    ($($family:ident $field:ident,)*) => {
        struct Tables {
            $($field: Table<$family>,)*
        }

        impl Tables {
            fn new(seed: u64) -> Self {
                Self { $($field: Table::new(seed),)* }
            }

            fn batch(&mut self, batch: AnyBatch, now: u32, context: &mut Context<'_>) {
                match batch {
                    $(AnyBatch::$family(batch) => self.$field.batch(&batch, now, context),)*
                }
            }

            fn refill(
                &mut self,
                group: GroupIndex,
                to: Member,
                missed: &AnyMissed,
                context: &mut Context<'_>,
            ) {
                match missed {
                    $(AnyMissed::$family(missed) => self.$field.refill(group, to, missed, context),)*
                }
            }

            fn of(&self, family: Family) -> Option<&dyn FamilyTable> {
                match family {
                    $(<$family as Nlri>::FAMILY => Some(&self.$field),)*
                    _ => None,
                }
            }

            fn of_mut(&mut self, family: Family) -> Option<&mut dyn FamilyTable> {
                match family {
                    $(<$family as Nlri>::FAMILY => Some(&mut self.$field),)*
                    _ => None,
                }
            }

            fn each(&mut self, mut with: impl FnMut(&mut dyn FamilyTable)) {
                $(with(&mut self.$field);)*
            }

            fn each_family(&mut self, mut with: impl FnMut(Family, &mut dyn FamilyTable)) {
                $(with(<$family as Nlri>::FAMILY, &mut self.$field);)*
            }

            /// Whether any table says yes. All are asked.
            fn any(&self, mut is: impl FnMut(&dyn FamilyTable) -> bool) -> bool {
                $(if is(&self.$field) { return true; })*
                false
            }
        }
    };
}
for_each_family!(tables);

impl Partition {
    /// An empty partition.
    #[must_use]
    pub fn new(settings: PartitionSettings, interner: Arc<Interner>) -> Self {
        Self { settings, interner, peers: Peers::new(settings.router_id), tables: Tables::new(settings.seed) }
    }

    /// Puts route selection off until these peers have sent their End-of-RIB (RFC 4724 §4.1); before the first batch.
    pub fn defer(&mut self, family: Family, peers: &BTreeSet<IpAddr>) {
        self.tables.of_mut(family).into_iter().for_each(|table| table.deferral_mut().begin(peers));
    }

    /// Selects routes with what there is, whoever is still waited for.
    pub fn end_deferral(&mut self) {
        self.tables.each(|table| table.deferral_mut().end());
    }

    /// Waits for this peer no longer.
    pub fn excuse(&mut self, peer: IpAddr) {
        self.excuse_unawaited(peer, &[]);
    }

    /// Whether route selection is put off in any family.
    #[must_use]
    pub fn is_deferring(&self) -> bool {
        self.tables.any(|table| table.deferral().is_active())
    }

    /// Peers whose End-of-RIB of a family is waited for.
    #[must_use]
    pub fn awaited(&self, family: Family) -> Vec<IpAddr> {
        self.tables.of(family).map(|table| table.deferral().waiting().collect()).unwrap_or_default()
    }

    /// Applies a batch, decides what it touched and appends the groups' changes to `out`.
    /// `now_seconds` counts from the start of the speaker and becomes the age of new paths.
    /// A batch of a peer that is not up is dropped: it was under way when the session ended.
    pub fn batch(&mut self, batch: AnyBatch, now_seconds: u32, out: &mut Vec<AnyEmission>) {
        let (tables, mut context) = self.split(out);
        tables.batch(batch, now_seconds, &mut context);
    }

    /// Takes note of an event among a peer's batches. What it costs is done in [`Partition::work`].
    pub fn fence(&mut self, fence: &Fence, out: &mut Vec<AnyEmission>) {
        match *fence {
            Fence::PeerUp { source, address, asn, ref import, ref awaited } => {
                self.forget_other(&source, address, out);
                self.peers.up(source, address, asn, import.clone());
                self.excuse_unawaited(address, awaited);
            }
            Fence::ImportReplaced { peer, ref import } => {
                self.peers.replace_import(peer, import);
                self.tables.each(|table| table.import_again(peer, false));
            }
            Fence::GuardReplaced { peer, ref guard } => {
                self.peers.replace_guard(peer, guard);
                self.tables.each(|table| table.import_again(peer, false));
            }
            Fence::KindReplaced { peer, kind } => {
                self.peers.replace_kind(peer, kind);
                self.tables.each(|table| table.import_again(peer, true));
            }
            Fence::PeerDown { peer, ref retained } => {
                self.peers.down(peer);
                let (tables, mut context) = self.split(out);
                tables.each_family(|family, table| match retained.contains(&family) {
                    true => table.retain(peer, &mut context),
                    false => table.peer_down(peer, &mut context),
                });
            }
            Fence::LongLived { peer, family } => {
                self.tables.of_mut(family).into_iter().for_each(|table| table.begin_long_lived(peer));
            }
            Fence::EndRetention { peer, family } => {
                self.tables.of_mut(family).into_iter().for_each(|table| table.end_retention(peer));
            }
            Fence::Limit { peer, ref budgets } => self.tables.each(|table| table.limit(peer, budgets)),
            Fence::RefreshBegin { peer, family } => {
                self.tables.of_mut(family).into_iter().for_each(|table| table.refresh_begin(peer));
            }
            Fence::RefreshEnd { peer, family } => {
                self.tables.of_mut(family).into_iter().for_each(|table| table.refresh_end(peer));
            }
            Fence::EndOfRib { peer, family } => {
                let Some(table) = self.tables.of_mut(family) else { return };
                table.end_retention(peer);
                table.deferral_mut().excuse(self.peers.get(peer).address);
            }
        }
    }

    /// What is left of somebody else with a peer's index goes.
    fn forget_other(&mut self, source: &Source, address: IpAddr, out: &mut Vec<AnyEmission>) {
        if self.peers.replaces(source, address) {
            let (tables, mut context) = self.split(out);
            tables.each(|table| table.forget(source.peer, &mut context));
        }
    }

    fn excuse_unawaited(&mut self, address: IpAddr, awaited: &[Family]) {
        self.tables.each_family(|family, table| {
            if !awaited.contains(&family) {
                table.deferral_mut().excuse(address);
            }
        });
    }

    /// Goes on with pending work, visiting about `budget` destinations; says whether there is more
    /// that can be done now. Walks that wait for a credit are not.
    pub fn work(&mut self, budget: usize, out: &mut Vec<AnyEmission>) -> bool {
        let (tables, mut context) = self.split(out);
        let mut budget = budget.max(1);
        tables.each(|table| {
            if budget > 0 {
                budget = budget.saturating_sub(table.work(budget, &mut context));
            }
        });
        self.has_work()
    }

    /// Whether [`Partition::work`] has something to do.
    #[must_use]
    pub fn has_work(&self) -> bool {
        self.tables.any(|table| table.has_work())
    }

    /// A step towards giving memory back that has not been needed since the step before: a bounded one, so that nobody
    /// notices it. To be called every few seconds.
    pub fn release(&mut self) {
        self.tables.each(|table| table.release());
        if !self.tables.any(|table| !table.is_at_rest()) {
            let Self { tables, peers, .. } = self;
            peers.forget_absent(|peer| tables.any(|table| table.counters(peer).received > 0));
            tables.each(|table| table.forget_absent(peers));
        }
    }

    /// What budgets have come to since this was asked last.
    pub fn take_alarms(&mut self) -> Vec<Alarm> {
        let mut alarms = Vec::new();
        self.tables.each(|table| table.take_alarms(&mut alarms));
        alarms
    }

    /// Adds a group of the key's family. Its column fills when the first member joins.
    pub fn add_group(&mut self, group: GroupIndex, spec: ExportSpec) {
        if let Some(table) = self.tables.of_mut(spec.key().family) {
            table.add_group(group, spec);
        }
    }

    /// Removes a group; what is under way to it is to be dropped by whoever receives it. Group
    /// indexes are not used again.
    pub fn remove_group(&mut self, group: GroupIndex) {
        self.tables.each(|table| table.remove_group(group));
    }

    /// Gives a group new export rules and tells its members, in walk slices, what differs.
    pub fn replace_export(&mut self, group: GroupIndex, spec: &ExportSpec) {
        self.tables.each(|table| table.replace_export(group, spec));
    }

    /// Starts a walk over the group's column for a member, which the group must know already. The
    /// first slice needs no credit. When the walk comes round, the member is in `end_of_rib`.
    pub fn join(&mut self, group: GroupIndex, member: Member) {
        self.tables.each(|table| table.join(group, member));
    }

    /// Ends a member's walk.
    pub fn leave(&mut self, group: GroupIndex, member: Member) {
        self.tables.each(|table| table.leave(group, member));
    }

    /// A member goes from one group to another, in `out` from here on. `member` has the number of its passage, `anew`
    /// says that it has not been told all of the old column.
    pub fn pass(&mut self, from: GroupIndex, to: GroupIndex, member: Member, anew: bool, out: &mut Vec<AnyEmission>) {
        let (tables, mut context) = self.split(out);
        tables.each(|table| table.pass((from, to), member, anew, &mut context));
    }

    /// Allows the group's walk one more slice.
    pub fn walk_credit(&mut self, group: GroupIndex) {
        self.tables.each(|table| table.walk_credit(group));
    }

    /// Tells one member the present state of what it missed, in one emission.
    pub fn refill(&mut self, group: GroupIndex, member: Member, missed: &AnyMissed, out: &mut Vec<AnyEmission>) {
        let (tables, mut context) = self.split(out);
        tables.refill(group, member, missed, &mut context);
    }

    /// Routes that match, one slice at a time: visits at most `limit` destinations from `cursor`
    /// on. The order is the table's own and stable as long as nothing changes.
    #[must_use]
    pub fn query(&self, query: &RouteQuery, cursor: Cursor, limit: usize) -> Slice {
        match self.tables.of(query.family) {
            Some(table) => table.query(query, cursor, limit, &self.peers, self.settings.decision),
            None => Slice::default(),
        }
    }

    /// Why the best path to `prefix` is the best, and whom it is told to. `None` if there is no
    /// such destination.
    #[must_use]
    pub fn explain(&self, family: Family, prefix: IpNet) -> Option<Explanation> {
        let table = self.tables.of(family)?;
        table.explain(prefix, &self.peers, self.settings.decision)
    }

    /// Counts what a proposal would change in a family, and changes nothing: goes on from `cursor` until about `limit`
    /// paths have been looked at, and returns where to go on.
    pub fn preview(
        &self,
        family: Family,
        proposal: &Proposal,
        cursor: Cursor,
        limit: usize,
        counted: &mut Counted,
    ) -> Option<Cursor> {
        let PartitionSettings { index, decision, .. } = self.settings;
        let around = Around { partition: index, peers: &self.peers, interner: &self.interner, decision };
        self.tables.of(family)?.preview(proposal, cursor, limit, around, counted)
    }

    /// How many paths a peer has in a family.
    #[must_use]
    pub fn counters(&self, family: Family, peer: PeerIndex) -> PeerCounters {
        self.tables.of(family).map(|table| table.counters(peer)).unwrap_or_default()
    }

    /// How many routes a member of `group` has been told: the column without its own routes.
    #[must_use]
    pub fn advertised(&self, family: Family, group: GroupIndex, peer: PeerIndex) -> usize {
        self.tables.of(family).map_or(0, |table| table.advertised(group, peer))
    }

    /// Takes over new settings of the speaker and decides everything again.
    pub fn reconfigure(&mut self, router_id: Ipv4Addr, options: decision::Options, out: &mut Vec<AnyEmission>) {
        self.settings.router_id = router_id;
        self.settings.decision = options;
        self.peers.set_local(router_id);
        let (tables, mut context) = self.split(out);
        tables.each(|table| table.decide_all(&mut context));
    }

    /// Number of paths in a family, usable or not.
    #[must_use]
    pub fn paths(&self, family: Family) -> usize {
        self.tables.of(family).map_or(0, FamilyTable::paths)
    }

    /// Number of destinations in a family.
    #[must_use]
    pub fn destinations(&self, family: Family) -> usize {
        self.tables.of(family).map_or(0, FamilyTable::destinations)
    }

    fn split<'a>(&'a mut self, out: &'a mut Vec<AnyEmission>) -> (&'a mut Tables, Context<'a>) {
        let context = Context {
            partition: self.settings.index,
            decision: self.settings.decision,
            peers: &self.peers,
            interner: &self.interner,
            out,
        };
        (&mut self.tables, context)
    }
}
