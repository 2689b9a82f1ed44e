//! A router of partitions and one group whose every step is the test's choice.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use bgp_engine::attr::{AttrRef, Interner, edit};
use bgp_engine::config::{LimitAction, PrefixLimits};
use bgp_engine::export::{ExportKey, ExportSpec, LocalAddresses};
use bgp_engine::group::{Chunk, Outlet, Pair, Push};
use bgp_engine::id::{GroupIndex, PeerIndex, Source, SourceKind};
use bgp_engine::policy::Policy;
use bgp_engine::rib::{Partition, PartitionSettings, decision};
use bgp_engine::stage::{
    AlarmKind, AnyEmission, AnyMissed, Batch, Fence, Import, Member, PrefixBudget, Routed, partition_of,
};
use bgp_wire::attribute::{AsPath, Attribute, AttributeBlock, Origin};
use bgp_wire::frame::MessageType;
use bgp_wire::nlri::{Ipv4Unicast, Prefix};
use bgp_wire::route_refresh::{RefreshSubtype, RouteRefresh};
use bgp_wire::update::{DecodeContext, Decoder, NextHop, PathKey, Update};
use bgp_wire::{Family, Nlri};

pub(crate) const PEERS: u32 = 4;
const GROUP: GroupIndex = GroupIndex(7);
const FAMILY: Family = Family::IPV4_UNICAST;

type Key = Prefix<4>;
/// What a member holds: by prefix, the LOCAL_PREF of each path it was told, in no order.
type Told = BTreeMap<Key, Vec<u32>>;

enum Control {
    Join(Member),
    Leave(Member),
    Refill(usize, Member, AnyMissed),
    Credit(usize),
}

/// The members' ends of the sessions, and what the group asks of the partitions.
#[derive(Default)]
struct Outside {
    blocked: BTreeSet<PeerIndex>,
    tables: BTreeMap<PeerIndex, BTreeMap<PathKey<Key>, u32>>,
    ends: BTreeMap<PeerIndex, usize>,
    refreshed: BTreeMap<PeerIndex, usize>,
    add_path: bool,
    control: VecDeque<Control>,
}

impl Outlet for Outside {
    fn push(&mut self, member: PeerIndex, chunk: Chunk) -> Push {
        if self.blocked.contains(&member) {
            return Push::Full;
        }
        for part in chunk.parts(member) {
            let mut rest = &part[..];
            while rest.len() >= 19 {
                let len = usize::from(u16::from_be_bytes([rest[16], rest[17]]));
                match MessageType::from_code(rest[18]) {
                    Some(MessageType::Update) => self.receive(member, &rest[19..len]),
                    _ => *self.refreshed.entry(member).or_default() += 1,
                }
                rest = &rest[len..];
            }
        }
        Push::Taken
    }

    fn refill(&mut self, partition: usize, _: GroupIndex, member: Member, missed: AnyMissed) {
        self.control.push_back(Control::Refill(partition, member, missed));
    }

    fn walk(&mut self, _: GroupIndex, member: Member) {
        self.control.push_back(Control::Join(member));
    }

    fn end_walk(&mut self, _: GroupIndex, member: Member) {
        self.control.push_back(Control::Leave(member));
    }

    fn walk_credit(&mut self, partition: usize, _: GroupIndex) {
        self.control.push_back(Control::Credit(partition));
    }
}

impl Outside {
    fn receive(&mut self, member: PeerIndex, body: &[u8]) {
        let context = DecodeContext {
            external: false,
            four_octet_as: true,
            families: vec![FAMILY],
            add_path: if self.add_path { vec![FAMILY] } else { vec![] },
            extended_next_hop: vec![],
            reject_as_sets: false,
        };
        let mut decoder = Decoder::new();
        let update = decoder.decode(body, &context).expect("the group writes what can be read");
        assert!(update.faults.is_empty(), "{:?}", update.faults);
        if update.end_of_rib().is_some() {
            *self.ends.entry(member).or_default() += 1;
        }
        self.apply(member, &update);
    }

    fn apply(&mut self, member: PeerIndex, update: &Update<'_>) {
        let table = self.tables.entry(member).or_default();
        for key in update.withdrawn.iter::<Ipv4Unicast>() {
            table.remove(&key);
        }
        let block = update.attributes;
        let pref = block.get(bgp_wire::attribute::code::LOCAL_PREF);
        for key in update.nlri.iter::<Ipv4Unicast>() {
            let pref = pref.and_then(|value| value.try_into().ok()).map(u32::from_be_bytes);
            table.insert(key, pref.expect("LOCAL_PREF is in every UPDATE to an iBGP peer"));
            assert!(block.get(bgp_wire::attribute::code::CLUSTER_LIST).is_some(), "reflected");
        }
    }
}

pub(crate) struct Router {
    partitions: Vec<Partition>,
    emitted: Vec<VecDeque<AnyEmission>>,
    group: Pair<Ipv4Unicast>,
    outside: Outside,
    interner: Arc<Interner>,
    up: BTreeSet<u32>,
    /// The model: what each peer announces now.
    announced: BTreeMap<(u32, Key), u32>,
    /// Those of them that are of a session that has ended, and whether for long.
    stale: BTreeMap<(u32, Key), bool>,
    /// What the present sessions may have.
    budgets: BTreeMap<u32, Arc<PrefixBudget>>,
    /// Members that are told that everything is about to go.
    shut_down: BTreeSet<u32>,
}

impl Router {
    pub(crate) fn new(partitions: usize, add_path: bool) -> Self {
        let spec = spec(add_path);
        let partition = |index| {
            let settings = PartitionSettings {
                index,
                seed: 1,
                router_id: Ipv4Addr::new(10, 0, 0, 100),
                decision: decision::Options::default(),
            };
            let mut partition = Partition::new(settings, Arc::new(Interner::new(7)));
            partition.add_group(GROUP, spec.clone());
            partition
        };
        Self {
            partitions: (0..partitions).map(partition).collect(),
            emitted: (0..partitions).map(|_| VecDeque::new()).collect(),
            group: Pair::new(GROUP, spec.clone(), partitions),
            outside: Outside { add_path, ..Outside::default() },
            interner: Arc::new(Interner::new(1)),
            up: BTreeSet::new(),
            announced: BTreeMap::new(),
            stale: BTreeMap::new(),
            budgets: BTreeMap::new(),
            shut_down: BTreeSet::new(),
        }
    }

    /// Tells a member that this speaker is about to go, or that it stays (RFC 8326).
    pub(crate) fn shut_down(&mut self, peer: u32, on: bool) {
        self.group.shut_down(PeerIndex(peer), on, &mut self.outside);
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
        self.group.hold_end(PeerIndex(peer), hold, &mut self.outside);
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
            self.group.leave(PeerIndex(peer), &mut self.outside);
            self.forget(peer);
            self.drop_stale(peer);
            let kept = self.announced.keys().filter(|(source, _)| *source == peer);
            self.stale.extend(kept.map(|key| (*key, false)));
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
            self.stale.iter_mut().filter(|((source, _), _)| *source == peer).for_each(|(_, long)| *long = true);
        }
    }

    fn drop_stale(&mut self, peer: u32) {
        let Self { announced, stale, .. } = self;
        announced.retain(|key, _| key.0 != peer || !stale.contains_key(key));
        stale.retain(|(source, _), _| *source != peer);
    }

    pub(crate) fn up(&mut self, peer: u32) {
        if self.up.insert(peer) {
            let source = Source { peer: PeerIndex(peer), router_id: router_id(peer), kind: SourceKind::Client };
            let (address, import) = (IpAddr::V4(router_id(peer)), Import::ACCEPT_ALL);
            self.fence(&Fence::PeerUp { source, address, asn: 65_000, import, awaited: vec![FAMILY] });
            self.limit(peer, &PrefixLimits { action: LimitAction::Warn, ..limits(5) });
            self.group.join(PeerIndex(peer), &mut self.outside);
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
            self.group.leave(PeerIndex(peer), &mut self.outside);
            self.forget(peer);
            self.announced.retain(|(source, _), _| *source != peer);
            self.stale.retain(|(source, _), _| *source != peer);
        }
    }

    /// The session of a member begins anew for the group only.
    pub(crate) fn rejoin(&mut self, peer: u32) {
        if self.up.contains(&peer) {
            self.group.leave(PeerIndex(peer), &mut self.outside);
            self.forget(peer);
            self.group.join(PeerIndex(peer), &mut self.outside);
        }
    }

    pub(crate) fn refresh(&mut self, peer: u32) {
        self.group.refresh(PeerIndex(peer), None, &mut self.outside);
    }

    /// As [`Router::refresh`], with a marker behind the routes (RFC 7313 §4).
    pub(crate) fn refresh_with_end(&mut self, peer: u32) {
        let mut end = Vec::new();
        RouteRefresh { family: FAMILY, subtype: RefreshSubtype::End }.encode(&mut end);
        self.group.refresh(PeerIndex(peer), Some(end.into()), &mut self.outside);
    }

    pub(crate) fn block(&mut self, peer: u32) {
        self.outside.blocked.insert(PeerIndex(peer));
    }

    pub(crate) fn unblock(&mut self, peer: u32) {
        if self.outside.blocked.remove(&PeerIndex(peer)) {
            self.group.drained(PeerIndex(peer), &mut self.outside);
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

    pub(crate) fn deliver(&mut self, partition: usize) {
        let count = self.emitted.len();
        if let Some(AnyEmission::Ipv4Unicast(emission)) = self.emitted[partition % count].pop_front() {
            let keys: BTreeSet<_> = emission.changes.iter().map(|change| change.key).collect();
            assert_eq!(keys.len(), emission.changes.len(), "a key at most once in an emission");
            self.group.handle(&emission, &mut self.outside);
        }
    }

    pub(crate) fn control(&mut self) {
        let Some(control) = self.outside.control.pop_front() else { return };
        match control {
            Control::Join(member) => self.partitions.iter_mut().for_each(|one| one.join(GROUP, member)),
            Control::Leave(member) => self.partitions.iter_mut().for_each(|one| one.leave(GROUP, member)),
            Control::Credit(partition) => self.partitions[partition].walk_credit(GROUP),
            Control::Refill(partition, member, missed) => {
                let mut out = Vec::new();
                self.partitions[partition].refill(GROUP, member, &missed, &mut out);
                self.emitted[partition].extend(out);
            }
        }
    }

    pub(crate) fn work(&mut self, partition: usize, budget: usize) -> bool {
        let partition = partition % self.partitions.len();
        let mut out = Vec::new();
        let more = self.partitions[partition].work(budget, &mut out);
        self.emitted[partition].extend(out);
        more
    }

    pub(crate) fn flush(&mut self) {
        self.group.flush(&mut self.outside);
    }

    /// Everybody reads, and everything that can happen happens.
    pub(crate) fn settle(&mut self) {
        (0..PEERS).for_each(|peer| self.unblock(peer));
        for _ in 0..10_000 {
            let mut more = !self.outside.control.is_empty();
            self.control();
            for partition in 0..self.partitions.len() {
                more |= self.work(partition, 100);
                more |= !self.emitted[partition].is_empty();
                self.deliver(partition);
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
            let mut prefs: Vec<u32> = others.map(|(_, pref)| *pref).collect();
            if self.shut_down.contains(&peer) {
                prefs.fill(0);
            }
            prefs.sort_unstable();
            if !prefs.is_empty() && self.up.contains(&peer) {
                expected.insert(key, prefs);
            }
        }
        expected
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
        for (partition, emitted) in self.partitions.iter_mut().zip(&mut self.emitted) {
            let mut out = Vec::new();
            partition.fence(fence, &mut out);
            emitted.extend(out);
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
            self.emitted[at].extend(out);
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

fn spec(add_path: bool) -> ExportSpec {
    let key = ExportKey {
        family: FAMILY,
        external_as: None,
        client: true,
        client_to_client: true,
        cluster_id: Ipv4Addr::new(10, 0, 0, 100),
        next_hop_self: false,
        local: LocalAddresses::default(),
        four_octet_as: true,
        max_message_len: 4096,
        add_path,
        extended_next_hop: false,
        long_lived: true,
        role: None,
        policy: None,
    };
    ExportSpec::new(key, Policy::AcceptAll)
}
