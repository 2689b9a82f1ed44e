//! A router of partitions and groups whose every step is the test's choice.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use bgp_engine::attr::{AttrRef, Interner, edit};
use bgp_engine::config::{LimitAction, PrefixLimits};
use bgp_engine::id::{GroupIndex, PeerIndex, Source, SourceKind};
use bgp_engine::rib::{Partition, PartitionSettings, decision};
use bgp_engine::stage::{AlarmKind, AnyEmission, Batch, Fence, Import, PrefixBudget, Routed, partition_of};
use bgp_wire::attribute::{AsPath, Attribute, AttributeBlock, Origin};
use bgp_wire::nlri::{Ipv4Unicast, Prefix};
use bgp_wire::route_refresh::{RefreshSubtype, RouteRefresh};
use bgp_wire::update::{NextHop, PathKey};
use bgp_wire::{Family, Nlri};

use super::groups::{Control, Groups, OTHER, Outside, exported};

pub(crate) const PEERS: u32 = 4;
pub(crate) const FAMILY: Family = Family::IPV4_UNICAST;

pub(crate) type Key = Prefix<4>;
/// What a member holds: by prefix, the LOCAL_PREF of each path it was told, in no order.
pub(crate) type Told = BTreeMap<Key, Vec<u32>>;

pub(crate) struct Router {
    partitions: Vec<Partition>,
    /// What waits for groups, by partition.
    emitted: Vec<BTreeMap<GroupIndex, VecDeque<AnyEmission>>>,
    groups: Groups,
    outside: Outside,
    interner: Arc<Interner>,
    up: BTreeSet<u32>,
    /// The model: what each peer announces now.
    announced: BTreeMap<(u32, Key), u32>,
    /// Those of them that are of a session that has ended, and whether for long.
    stale: BTreeMap<(u32, Key), bool>,
    /// Peers whose stale paths are there for long, until they say that they have sent everything.
    lasting: BTreeSet<u32>,
    /// What the present sessions may have.
    budgets: BTreeMap<u32, Arc<PrefixBudget>>,
    /// Members that are told that everything is about to go.
    shut_down: BTreeSet<u32>,
}

impl Router {
    pub(crate) fn new(partitions: usize, add_path: bool) -> Self {
        let partition = |index| {
            let settings = PartitionSettings {
                index,
                seed: 1,
                router_id: Ipv4Addr::new(10, 0, 0, 100),
                decision: decision::Options::default(),
            };
            Partition::new(settings, Arc::new(Interner::new(7)))
        };
        let interner = Arc::new(Interner::new(1));
        Self {
            partitions: (0..partitions).map(partition).collect(),
            emitted: (0..partitions).map(|_| BTreeMap::new()).collect(),
            groups: Groups::new(&interner, add_path),
            outside: Outside::new(partitions, add_path),
            interner,
            up: BTreeSet::new(),
            announced: BTreeMap::new(),
            stale: BTreeMap::new(),
            lasting: BTreeSet::new(),
            budgets: BTreeMap::new(),
            shut_down: BTreeSet::new(),
        }
    }

    /// Tells a member that this speaker is about to go, or that it stays (RFC 8326).
    pub(crate) fn shut_down(&mut self, peer: u32, on: bool) {
        self.groups.with(PeerIndex(peer), &mut self.outside, |pair, outside| {
            pair.shut_down(PeerIndex(peer), on, outside);
        });
        if on && self.up.contains(&peer) {
            self.shut_down.insert(peer);
        } else {
            self.shut_down.remove(&peer);
        }
    }

    /// Begins as after a restart, when these peers are to come back.
    pub(crate) fn defer(&mut self, peers: &[u32]) {
        let peers = peers.iter().map(|peer| IpAddr::V4(router_id(*peer))).collect();
        self.partitions.iter_mut().for_each(|partition| partition.defer(FAMILY, &peers));
    }

    /// Holds a member's End-of-RIB back, or lets it go.
    pub(crate) fn hold_end(&mut self, peer: u32, hold: bool) {
        self.groups.with(PeerIndex(peer), &mut self.outside, |pair, outside| {
            pair.hold_end(PeerIndex(peer), hold, outside);
        });
    }

    pub(crate) fn end_deferral(&mut self) {
        self.partitions.iter_mut().for_each(Partition::end_deferral);
    }

    pub(crate) fn is_deferring(&self) -> bool {
        self.partitions.iter().any(Partition::is_deferring)
    }

    /// A session ends and leaves its routes behind (RFC 4724 §4.2).
    pub(crate) fn restart(&mut self, peer: u32) {
        if self.up.remove(&peer) {
            self.fence(&Fence::PeerDown { peer: PeerIndex(peer), retained: vec![FAMILY] });
            self.groups.leave(PeerIndex(peer), &mut self.outside);
            self.forget(peer);
            // RFC 9494 §4.2: what is there for long stays.
            if !self.lasting.contains(&peer) {
                self.drop_stale(peer);
            }
            let kept = self.announced.keys().filter(|(source, _)| *source == peer);
            for key in kept {
                self.stale.entry(*key).or_insert(false);
            }
        }
    }

    pub(crate) fn end_of_rib(&mut self, peer: u32) {
        if self.up.contains(&peer) {
            self.fence(&Fence::EndOfRib { peer: PeerIndex(peer), family: FAMILY });
            self.drop_stale(peer);
        }
    }

    pub(crate) fn end_retention(&mut self, peer: u32) {
        self.fence(&Fence::EndRetention { peer: PeerIndex(peer), family: FAMILY });
        self.drop_stale(peer);
    }

    pub(crate) fn long_lived(&mut self, peer: u32) {
        if !self.up.contains(&peer) {
            self.fence(&Fence::LongLived { peer: PeerIndex(peer), family: FAMILY });
            self.lasting.insert(peer);
            self.stale.iter_mut().filter(|((source, _), _)| *source == peer).for_each(|(_, long)| *long = true);
        }
    }

    fn drop_stale(&mut self, peer: u32) {
        let Self { announced, stale, lasting, .. } = self;
        lasting.remove(&peer);
        announced.retain(|key, _| key.0 != peer || !stale.contains_key(key));
        stale.retain(|(source, _), _| *source != peer);
    }

    pub(crate) fn up(&mut self, peer: u32) {
        if self.up.insert(peer) {
            let source = Source { peer: PeerIndex(peer), router_id: router_id(peer), kind: SourceKind::Client };
            let (address, import) = (IpAddr::V4(router_id(peer)), Import::ACCEPT_ALL);
            self.fence(&Fence::PeerUp { source, address, asn: 65_000, import, awaited: vec![FAMILY] });
            self.limit(peer, &PrefixLimits { action: LimitAction::Warn, ..limits(5) });
            self.join(peer);
        }
    }

    /// Gives a peer another budget.
    pub(crate) fn limit(&mut self, peer: u32, limits: &PrefixLimits) {
        let budgets = PrefixBudget::of_session(limits, &[FAMILY]);
        budgets.first().and_then(|budget| self.budgets.insert(peer, Arc::clone(budget)));
        self.fence(&Fence::Limit { peer: PeerIndex(peer), budgets });
    }

    /// Places taken of a peer's budget, and announcements refused.
    pub(crate) fn used(&self, peer: u32) -> (usize, u64) {
        self.budgets.get(&peer).map_or((0, 0), |budget| (budget.used(), budget.refused()))
    }

    /// What budgets have come to.
    pub(crate) fn alarms(&mut self) -> Vec<(u32, AlarmKind)> {
        let alarms = self.partitions.iter_mut().flat_map(Partition::take_alarms);
        alarms.map(|alarm| (alarm.peer.0, alarm.kind)).collect()
    }

    pub(crate) fn down(&mut self, peer: u32) {
        if self.up.remove(&peer) {
            self.fence(&Fence::PeerDown { peer: PeerIndex(peer), retained: Vec::new() });
            self.groups.leave(PeerIndex(peer), &mut self.outside);
            self.forget(peer);
            self.lasting.remove(&peer);
            self.announced.retain(|(source, _), _| *source != peer);
            self.stale.retain(|(source, _), _| *source != peer);
        }
    }

    /// The session of a member begins anew for the group only.
    pub(crate) fn rejoin(&mut self, peer: u32) {
        if self.up.contains(&peer) {
            self.groups.leave(PeerIndex(peer), &mut self.outside);
            self.forget(peer);
            self.join(peer);
        }
    }

    pub(crate) fn refresh(&mut self, peer: u32) {
        self.groups.with(PeerIndex(peer), &mut self.outside, |pair, outside| {
            pair.refresh(PeerIndex(peer), None, outside);
        });
    }

    /// As [`Router::refresh`], with a marker behind the routes (RFC 7313 §4).
    pub(crate) fn refresh_with_end(&mut self, peer: u32) {
        let mut end = Vec::new();
        RouteRefresh { family: FAMILY, subtype: RefreshSubtype::End }.encode(&mut end);
        self.groups.with(PeerIndex(peer), &mut self.outside, |pair, outside| {
            pair.refresh(PeerIndex(peer), Some(end.into()), outside);
        });
    }

    pub(crate) fn block(&mut self, peer: u32) {
        self.outside.blocked.insert(PeerIndex(peer));
    }

    pub(crate) fn unblock(&mut self, peer: u32) {
        if self.outside.blocked.remove(&PeerIndex(peer)) {
            self.groups.with(PeerIndex(peer), &mut self.outside, |pair, outside| {
                pair.drained(PeerIndex(peer), outside);
            });
        }
    }

    pub(crate) fn announce(&mut self, peer: u32, keys: &[u8], pref: u32) {
        if self.up.contains(&peer) {
            let attrs = self.attrs(peer, pref);
            self.say(peer, keys, Some(&attrs));
            keys.iter().for_each(|&at| {
                self.announced.insert((peer, key(at)), pref);
                self.stale.remove(&(peer, key(at)));
            });
        }
    }

    pub(crate) fn withdraw(&mut self, peer: u32, keys: &[u8]) {
        if !self.up.contains(&peer) {
            return;
        }
        self.say(peer, keys, None);
        keys.iter().for_each(|&at| {
            self.announced.remove(&(peer, key(at)));
            self.stale.remove(&(peer, key(at)));
        });
    }

    fn join(&mut self, peer: u32) {
        self.groups.join(PeerIndex(peer), &mut self.outside);
        self.add_groups();
    }

    /// The controller tells partitions of groups before anybody else does.
    fn add_groups(&mut self) {
        for (group, spec) in std::mem::take(&mut self.groups.added) {
            self.partitions.iter_mut().for_each(|partition| partition.add_group(group, spec.clone()));
        }
    }

    /// A peer is to be in a group of another kind.
    pub(crate) fn change(&mut self, peer: u32, kind: usize) {
        let shut_down = self.shut_down.contains(&peer);
        self.groups.change(PeerIndex(peer), kind, shut_down, &mut self.outside);
        self.add_groups();
    }

    fn note_settled(&mut self) {
        self.groups.note_settled(&self.shut_down, &mut self.outside);
        self.add_groups();
    }

    /// One emission reaches its group: those of one partition to one group are in order.
    pub(crate) fn deliver(&mut self, which: usize) -> bool {
        let waiting = self.emitted.iter_mut().flat_map(|queues| queues.values_mut().filter(|queue| !queue.is_empty()));
        let mut waiting: Vec<_> = waiting.collect();
        let count = waiting.len();
        let emission = waiting.get_mut(which % count.max(1)).and_then(|queue| queue.pop_front());
        if let Some(emission) = &emission {
            self.groups.handle(emission, &mut self.outside);
            self.note_settled();
        }
        emission.is_some()
    }

    /// A group hands a member over.
    pub(crate) fn hand_over(&mut self, which: usize) -> bool {
        let done = self.groups.hand_over(which, &mut self.outside);
        self.note_settled();
        done
    }

    /// One request of a group reaches its partition.
    pub(crate) fn control(&mut self, which: usize) -> bool {
        let Some((at, control)) = self.outside.next_control(which) else { return false };
        let (partition, mut out) = (&mut self.partitions[at], Vec::new());
        match control {
            Control::Join(group, member) => partition.join(group, member),
            Control::Leave(group, member) => partition.leave(group, member),
            Control::Credit(group) => partition.walk_credit(group),
            Control::Refill(group, member, missed) => partition.refill(group, member, &missed, &mut out),
            Control::Pass { from, to, member, anew } => partition.pass(from, to, member, anew, &mut out),
            Control::Remove(group) => partition.remove_group(group),
        }
        self.emit(at, out);
        true
    }

    fn emit(&mut self, partition: usize, out: Vec<AnyEmission>) {
        for emission in out {
            self.emitted[partition].entry(emission.group()).or_default().push_back(emission);
        }
    }

    pub(crate) fn work(&mut self, partition: usize, budget: usize) -> bool {
        let partition = partition % self.partitions.len();
        let mut out = Vec::new();
        let more = self.partitions[partition].work(budget, &mut out);
        self.emit(partition, out);
        more
    }

    pub(crate) fn flush(&mut self) {
        self.groups.flush(&mut self.outside);
    }

    /// Everybody reads, and everything that can happen happens.
    pub(crate) fn settle(&mut self) {
        (0..PEERS).for_each(|peer| self.unblock(peer));
        for _ in 0..10_000 {
            let mut more = self.control(0) | self.hand_over(0);
            for partition in 0..self.partitions.len() {
                more |= self.work(partition, 100) | self.deliver(partition);
            }
            self.flush();
            if !more {
                return;
            }
        }
        panic!("no end of work");
    }

    pub(crate) fn told(&self, peer: u32) -> Told {
        let mut told = Told::new();
        for (key, pref) in self.outside.tables.get(&PeerIndex(peer)).into_iter().flatten() {
            told.entry(key.key).or_default().push(*pref);
        }
        told.values_mut().for_each(|prefs| prefs.sort_unstable());
        told
    }

    /// The naive Adj-RIB-Out: all paths of others, or the best one if it is another's.
    pub(crate) fn expected(&self, peer: u32) -> Told {
        let mut by_key = BTreeMap::<Key, Vec<(u32, u32)>>::new();
        let is_last = |source: u32, key: &Key| self.stale.get(&(source, *key)).copied().unwrap_or(false);
        for ((source, key), pref) in &self.announced {
            by_key.entry(*key).or_default().push((*source, *pref));
        }
        let mut expected = Told::new();
        for (key, mut paths) in by_key {
            // What is long-lived stale is last (RFC 9494 §4.4); then the highest LOCAL_PREF, then the lowest router ID,
            // which is in the order of peers.
            paths.sort_by_key(|(source, pref)| (is_last(*source, &key), u32::MAX - pref, *source));
            paths.truncate(if self.outside.add_path { usize::MAX } else { 1 });
            let others = paths.iter().filter(|(source, _)| *source != peer);
            let kind = self.groups.kind(PeerIndex(peer));
            let mut prefs: Vec<u32> = others.filter_map(|(_, pref)| exported(kind, &key, *pref)).collect();
            if self.shut_down.contains(&peer) {
                prefs.fill(0);
            }
            if kind == 3 {
                prefs.iter_mut().for_each(|pref| *pref += OTHER);
            }
            prefs.sort_unstable();
            if !prefs.is_empty() && self.up.contains(&peer) {
                expected.insert(key, prefs);
            }
        }
        expected
    }

    /// Routes announced to and withdrawn from a peer since this was asked last.
    pub(crate) fn take_news(&mut self, peer: u32) -> (Vec<Key>, Vec<Key>) {
        let mut of = |news: fn(&mut Outside) -> &mut Vec<(PeerIndex, Key)>| {
            let news = std::mem::take(news(&mut self.outside)).into_iter();
            news.filter(|(member, _)| member.0 == peer).map(|(_, key)| key).collect()
        };
        (of(|outside| &mut outside.announced), of(|outside| &mut outside.withdrawn))
    }

    /// Routes that partitions say that they have told a peer.
    pub(crate) fn advertised(&self, peer: u32) -> Option<usize> {
        let group = self.groups.home(PeerIndex(peer))?;
        Some(self.partitions.iter().map(|one| one.advertised(FAMILY, group, PeerIndex(peer))).sum())
    }

    pub(crate) fn is_up(&self, peer: u32) -> bool {
        self.up.contains(&peer)
    }

    pub(crate) fn ends(&self, peer: u32) -> usize {
        self.outside.ends.get(&PeerIndex(peer)).copied().unwrap_or(0)
    }

    pub(crate) fn refreshed(&self, peer: u32) -> usize {
        self.outside.refreshed.get(&PeerIndex(peer)).copied().unwrap_or(0)
    }

    /// Paths by peer as the partitions count them.
    pub(crate) fn counted(&self) -> Vec<usize> {
        let count = |peer| {
            let counters = self.partitions.iter().map(|one| one.counters(FAMILY, PeerIndex(peer)));
            counters.map(|counters| counters.received).sum()
        };
        (0..PEERS).map(count).collect()
    }

    /// Paths by peer as the model holds them.
    pub(crate) fn held(&self) -> Vec<usize> {
        (0..PEERS).map(|peer| self.announced.keys().filter(|(source, _)| *source == peer).count()).collect()
    }

    /// Stale paths by peer as the partitions count them.
    pub(crate) fn counted_stale(&self) -> Vec<usize> {
        let count = |peer| self.partitions.iter().map(|one| one.counters(FAMILY, PeerIndex(peer)).stale).sum();
        (0..PEERS).map(count).collect()
    }

    /// Stale paths by peer as the model holds them.
    pub(crate) fn held_stale(&self) -> Vec<usize> {
        (0..PEERS).map(|peer| self.stale.keys().filter(|(source, _)| *source == peer).count()).collect()
    }

    fn forget(&mut self, peer: u32) {
        self.shut_down.remove(&peer);
        self.outside.tables.remove(&PeerIndex(peer));
        self.outside.ends.remove(&PeerIndex(peer));
        self.outside.blocked.remove(&PeerIndex(peer));
    }

    fn fence(&mut self, fence: &Fence) {
        for at in 0..self.partitions.len() {
            let mut out = Vec::new();
            self.partitions[at].fence(fence, &mut out);
            self.emit(at, out);
        }
    }

    fn say(&mut self, peer: u32, keys: &[u8], attrs: Option<&AttrRef>) {
        let count = self.partitions.len();
        let batch = || Batch::<Ipv4Unicast>::new(PeerIndex(peer));
        let mut batches: Vec<_> = (0..count).map(|_| batch()).collect();
        for &at in keys {
            let key = PathKey { key: key(at), path_id: 0 };
            batches[partition_of::<Ipv4Unicast>(&key.key, count)].push(attrs, None, key);
        }
        for (at, batch) in batches.into_iter().enumerate() {
            let mut out = Vec::new();
            self.partitions[at].batch(Ipv4Unicast::batch(batch), 0, &mut out);
            self.emit(at, out);
        }
    }

    fn attrs(&self, peer: u32, pref: u32) -> AttrRef {
        let bytes = edit::build(&[
            Attribute::LocalPref(pref),
            Attribute::Origin(Origin::Igp),
            Attribute::AsPath(AsPath { segments: Vec::new() }),
        ]);
        let next_hop = NextHop::V4(router_id(peer));
        self.interner.intern(next_hop, AttributeBlock::from_canonical(&bytes))
    }
}

fn key(at: u8) -> Key {
    let prefix = format!("10.{at}.0.0/16").parse().expect("a prefix");
    Ipv4Unicast::from_prefix(prefix).expect("an IPv4 prefix")
}

fn router_id(peer: u32) -> Ipv4Addr {
    Ipv4Addr::from(0x0a00_0001 + peer)
}

/// At most so many prefixes.
pub(crate) fn limits(most: u32) -> PrefixLimits {
    PrefixLimits { most: BTreeMap::from([(FAMILY, most)]), ..PrefixLimits::default() }
}
