//! The update groups of a router, what they ask of partitions and of each other, and the members' ends of the sessions.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use bgp_engine::attr::Interner;
use bgp_engine::export::{ExportKey, ExportSpec, LocalAddresses};
use bgp_engine::group::{Chunk, Handover, Outlet, PASSAGES, Pair, Push};
use bgp_engine::id::{GroupIndex, PeerIndex};
use bgp_engine::policy::{
    Action, Amount, Condition, Definitions, Direction, Library, Outcome, PolicyDefinition, PrefixEntry, SetName,
    Statement,
};
use bgp_engine::stage::{AnyEmission, AnyMissed, Emission, Member};
use bgp_wire::Nlri;
use bgp_wire::frame::MessageType;
use bgp_wire::nlri::Ipv4Unicast;
use bgp_wire::update::{DecodeContext, Decoder, PathKey, Update};

use super::router::{FAMILY, Key};

/// Kinds of groups: everything goes out; some routes do not; others do not, and some look otherwise; everything goes out
/// and looks otherwise.
pub(crate) const KINDS: usize = 4;
/// What routes of the last kind have in CLUSTER_LIST.
const OTHER_CLUSTER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 101);
/// What is added to their LOCAL_PREF here, to tell them apart.
pub(crate) const OTHER: u32 = 1000;

/// What a group of a kind makes of the LOCAL_PREF of a route.
pub(crate) fn exported(kind: usize, key: &Key, pref: u32) -> Option<u32> {
    let IpAddr::V4(address) = Ipv4Unicast::prefix(key).addr() else { return None };
    match (kind, address.octets()[1]) {
        (1, 0..8) | (2, 4..12) => None,
        (2, 12..16) => Some(pref + 10),
        _ => Some(pref),
    }
}

/// What a group asks of a partition.
pub(crate) enum Control {
    Join(GroupIndex, Member),
    Leave(GroupIndex, Member),
    Refill(GroupIndex, Member, AnyMissed),
    Credit(GroupIndex),
    Pass { from: GroupIndex, to: GroupIndex, member: Member, anew: bool },
    Remove(GroupIndex),
}

/// The members' ends of the sessions, and what groups ask of others.
#[derive(Default)]
pub(crate) struct Outside {
    pub(crate) blocked: BTreeSet<PeerIndex>,
    pub(crate) tables: BTreeMap<PeerIndex, BTreeMap<PathKey<Key>, u32>>,
    pub(crate) ends: BTreeMap<PeerIndex, usize>,
    pub(crate) refreshed: BTreeMap<PeerIndex, usize>,
    /// Routes announced to and withdrawn from members.
    pub(crate) announced: Vec<(PeerIndex, Key)>,
    pub(crate) withdrawn: Vec<(PeerIndex, Key)>,
    pub(crate) add_path: bool,
    partitions: usize,
    /// Which group is busy now.
    busy: Option<GroupIndex>,
    /// By who asks, and of which partition: only these are in order.
    control: BTreeMap<(GroupIndex, usize), VecDeque<Control>>,
    handed_over: BTreeMap<(GroupIndex, GroupIndex), VecDeque<(Member, Handover)>>,
    settled: Vec<PeerIndex>,
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

    fn refill(&mut self, partition: usize, group: GroupIndex, member: Member, missed: AnyMissed) {
        self.ask(partition, Control::Refill(group, member, missed));
    }

    fn walk(&mut self, group: GroupIndex, member: Member) {
        (0..self.partitions).for_each(|partition| self.ask(partition, Control::Join(group, member)));
    }

    fn end_walk(&mut self, group: GroupIndex, member: Member) {
        (0..self.partitions).for_each(|partition| self.ask(partition, Control::Leave(group, member)));
    }

    fn walk_credit(&mut self, partition: usize, group: GroupIndex) {
        self.ask(partition, Control::Credit(group));
    }

    fn pass(&mut self, from: GroupIndex, to: GroupIndex, member: Member, anew: bool) {
        (0..self.partitions).for_each(|partition| self.ask(partition, Control::Pass { from, to, member, anew }));
    }

    fn hand_over(&mut self, to: GroupIndex, member: Member, handover: Handover) {
        let from = self.busy.expect("a group hands over");
        self.handed_over.entry((from, to)).or_default().push_back((member, handover));
    }

    fn settled(&mut self, _: GroupIndex, member: PeerIndex) {
        self.settled.push(member);
    }
}

impl Outside {
    pub(crate) fn new(partitions: usize, add_path: bool) -> Self {
        Self { partitions, add_path, ..Self::default() }
    }

    fn ask(&mut self, partition: usize, control: Control) {
        let from = self.busy.expect("a group asks");
        self.control.entry((from, partition)).or_default().push_back(control);
    }

    /// One request, of those that can be next.
    pub(crate) fn next_control(&mut self, which: usize) -> Option<(usize, Control)> {
        let count = self.control.len();
        let (&at, queue) = self.control.iter_mut().nth(which % count.max(1))?;
        let control = queue.pop_front();
        if queue.is_empty() {
            self.control.remove(&at);
        }
        control.map(|control| (at.1, control))
    }

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
            self.withdrawn.push((member, key.key));
        }
        let block = update.attributes;
        let pref = block.get(bgp_wire::attribute::code::LOCAL_PREF);
        let clusters = block.get(bgp_wire::attribute::code::CLUSTER_LIST);
        let is_other = clusters.is_some_and(|clusters| clusters.starts_with(&OTHER_CLUSTER.octets()));
        for key in update.nlri.iter::<Ipv4Unicast>() {
            let pref = pref.and_then(|value| value.try_into().ok()).map(u32::from_be_bytes);
            let pref = pref.expect("LOCAL_PREF is in every UPDATE to an iBGP peer");
            table.insert(key, pref + if is_other { OTHER } else { 0 });
            self.announced.push((member, key.key));
            assert!(clusters.is_some(), "reflected");
        }
    }
}

struct Owned {
    kind: usize,
    pair: Pair<Ipv4Unicast>,
    members: usize,
    ending: bool,
}

/// What a controller and the owners of groups know.
pub(crate) struct Groups {
    specs: Vec<ExportSpec>,
    owned: BTreeMap<GroupIndex, Owned>,
    next: u32,
    passages: u32,
    /// In which group a member is, or to which it is on its way.
    home: BTreeMap<PeerIndex, GroupIndex>,
    /// Those on their way, and from where.
    passing: BTreeMap<PeerIndex, GroupIndex>,
    /// The kind that each member is to be in.
    wanted: BTreeMap<PeerIndex, usize>,
    /// Groups that partitions have not heard of.
    pub(crate) added: Vec<(GroupIndex, ExportSpec)>,
}

impl Groups {
    pub(crate) fn new(interner: &Arc<Interner>, add_path: bool) -> Self {
        Self {
            specs: specs(interner, add_path),
            owned: BTreeMap::new(),
            next: 7,
            passages: 0,
            home: BTreeMap::new(),
            passing: BTreeMap::new(),
            wanted: BTreeMap::new(),
            added: Vec::new(),
        }
    }

    /// The kind of group that a member is to be in.
    pub(crate) fn kind(&self, peer: PeerIndex) -> usize {
        self.wanted.get(&peer).copied().unwrap_or(0)
    }

    /// Has a member's group do something.
    pub(crate) fn with(
        &mut self,
        peer: PeerIndex,
        outside: &mut Outside,
        act: impl FnOnce(&mut Pair<Ipv4Unicast>, &mut Outside),
    ) {
        if let Some(group) = self.home.get(&peer).copied() {
            self.at(group, outside, act);
        }
    }

    fn at(&mut self, group: GroupIndex, outside: &mut Outside, act: impl FnOnce(&mut Pair<Ipv4Unicast>, &mut Outside)) {
        outside.busy = Some(group);
        if let Some(owned) = self.owned.get_mut(&group) {
            act(&mut owned.pair, outside);
            if owned.ending && owned.pair.is_empty() {
                (0..outside.partitions).for_each(|partition| outside.ask(partition, Control::Remove(group)));
                self.owned.remove(&group);
            }
        }
    }

    /// The group of a kind, with one more member.
    fn enter(&mut self, kind: usize, partitions: usize) -> GroupIndex {
        let found = self.owned.iter_mut().find(|(_, owned)| owned.kind == kind && !owned.ending);
        if let Some((group, owned)) = found {
            owned.members += 1;
            return *group;
        }
        let group = GroupIndex(self.next);
        self.next += 1;
        let spec = self.specs[kind].clone();
        let pair = Pair::new(group, spec.clone(), partitions);
        self.owned.insert(group, Owned { kind, pair, members: 1, ending: false });
        self.added.push((group, spec));
        group
    }

    fn count_out(&mut self, group: GroupIndex, outside: &mut Outside) {
        let Some(owned) = self.owned.get_mut(&group) else { return };
        owned.members -= 1;
        owned.ending = owned.members == 0;
        self.at(group, outside, |pair, outside| pair.flush(outside));
    }

    pub(crate) fn join(&mut self, peer: PeerIndex, outside: &mut Outside) {
        let group = self.enter(self.kind(peer), outside.partitions);
        self.home.insert(peer, group);
        self.at(group, outside, |pair, outside| pair.join(peer, outside));
    }

    pub(crate) fn leave(&mut self, peer: PeerIndex, outside: &mut Outside) {
        let Some(group) = self.home.remove(&peer) else { return };
        self.at(group, outside, |pair, outside| pair.leave(peer, outside));
        if let Some(from) = self.passing.remove(&peer) {
            self.at(from, outside, |pair, outside| pair.leave(peer, outside));
        }
        self.count_out(group, outside);
    }

    /// A member is to be in a group of another kind; one on its way goes on when it has come.
    pub(crate) fn change(&mut self, peer: PeerIndex, kind: usize, shut_down: bool, outside: &mut Outside) {
        self.wanted.insert(peer, kind);
        let Some(from) = self.home.get(&peer).copied() else { return };
        let is_there = self.owned.get(&from).is_some_and(|owned| owned.kind == kind);
        if is_there || self.passing.contains_key(&peer) {
            return;
        }
        let to = self.enter(kind, outside.partitions);
        let member = Member { peer, incarnation: PASSAGES + self.passages };
        self.passages += 1;
        self.home.insert(peer, to);
        self.passing.insert(peer, from);
        self.at(to, outside, |pair, outside| pair.arrive(member, shut_down, outside));
        self.at(from, outside, |pair, outside| pair.depart(member, to, outside));
        self.count_out(from, outside);
    }

    /// Members that have come; they may have been told to go on.
    pub(crate) fn note_settled(&mut self, shut_down: &BTreeSet<u32>, outside: &mut Outside) {
        for peer in std::mem::take(&mut outside.settled) {
            self.passing.remove(&peer);
            self.change(peer, self.kind(peer), shut_down.contains(&peer.0), outside);
        }
    }

    /// One hand-over reaches the group that it is for.
    pub(crate) fn hand_over(&mut self, which: usize, outside: &mut Outside) -> bool {
        let count = outside.handed_over.len();
        let Some((&at, queue)) = outside.handed_over.iter_mut().nth(which % count.max(1)) else { return false };
        let handed = queue.pop_front();
        if queue.is_empty() {
            outside.handed_over.remove(&at);
        }
        if let Some((member, handover)) = handed {
            self.at(at.1, outside, |pair, outside| pair.take_over(member, handover, outside));
        }
        true
    }

    pub(crate) fn handle(&mut self, emission: &AnyEmission, outside: &mut Outside) {
        let AnyEmission::Ipv4Unicast(emission) = emission else { return };
        let Emission { group, changes, .. } = emission;
        let keys: BTreeSet<_> = changes.iter().map(|change| change.key).collect();
        assert_eq!(keys.len(), changes.len(), "a key at most once in an emission");
        self.at(*group, outside, |pair, outside| pair.handle(emission, outside));
    }

    pub(crate) fn flush(&mut self, outside: &mut Outside) {
        let groups: Vec<GroupIndex> = self.owned.keys().copied().collect();
        groups.into_iter().for_each(|group| self.at(group, outside, |pair, outside| pair.flush(outside)));
    }

    /// The group that a member is in.
    pub(crate) fn home(&self, peer: PeerIndex) -> Option<GroupIndex> {
        self.home.get(&peer).copied()
    }
}

fn specs(interner: &Arc<Interner>, add_path: bool) -> Vec<ExportSpec> {
    let statement = |set: &str, action: Option<Action>, then| Statement {
        name: set.into(),
        conditions: vec![Condition::PrefixSets(vec![SetName::from(set)])],
        actions: action.into_iter().collect(),
        then,
    };
    let mut definitions = Definitions::default();
    for (name, entries) in [
        ("low", &["10.0.0.0/13 le 16"][..]),
        ("middle", &["10.4.0.0/14 le 16", "10.8.0.0/14 le 16"]),
        ("high", &["10.12.0.0/14 le 16"]),
    ] {
        let set = entries.iter().map(|entry| entry.parse::<PrefixEntry>().expect("an entry")).collect();
        definitions.prefix_sets.insert(name.into(), Arc::new(set));
    }
    let low = vec![statement("low", None, Outcome::Reject)];
    let more = Action::LocalPref(Amount::Add(10));
    let middle = vec![statement("middle", None, Outcome::Reject), statement("high", Some(more), Outcome::Accept)];
    for (name, statements) in [("one", low), ("two", middle)] {
        definitions.policies.insert(name.into(), PolicyDefinition { statements, default: Outcome::Accept });
    }
    let library = Library::new(Arc::clone(interner)).with(&definitions).expect("its sets exist");
    let spec = |policy: Option<&str>, cluster_id| {
        let policy = policy.map(|name| vec![name.to_owned()]);
        let resolved = library.resolve(policy.as_deref(), false, Direction::Export).expect("it exists");
        ExportSpec::new(ExportKey { policy, cluster_id, ..key(add_path) }, resolved)
    };
    let own = Some(Ipv4Addr::new(10, 0, 0, 100));
    vec![spec(None, own), spec(Some("one"), own), spec(Some("two"), own), spec(None, Some(OTHER_CLUSTER))]
}

fn key(add_path: bool) -> ExportKey {
    ExportKey {
        family: FAMILY,
        external_as: None,
        client: true,
        client_to_client: true,
        cluster_id: None,
        next_hop_self: false,
        local: LocalAddresses::default(),
        four_octet_as: true,
        max_message_len: 4096,
        add_path,
        extended_next_hop: false,
        long_lived: true,
        role: None,
        policy: None,
    }
}
