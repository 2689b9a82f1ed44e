//! What a proposal is said to change is what it changes: random routes, random proposals, then the real thing.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use bgp_engine::attr::{AttrRef, Interner, edit};
use bgp_engine::config::cluster::{Cluster, Guard};
use bgp_engine::export::{ExportKey, ExportSpec, LocalAddresses};
use bgp_engine::id::{GroupIndex, PeerIndex, Source, SourceKind};
use bgp_engine::policy::{
    Action, Amount, Condition, Definitions, Direction, Library, Outcome, Policy, PolicyDefinition, PrefixEntry,
    SetName, Statement,
};
use bgp_engine::rib::{
    Counted, Cursor, Outgoing, Partition, PartitionSettings, Proposal, RouteChanges, RouteQuery, decision,
};
use bgp_engine::stage::{Batch, Fence, Import, Member, PrefixGuard, Routed};
use bgp_wire::attribute::{AsPath, Attribute, AttributeBlock, Origin};
use bgp_wire::nlri::Ipv4Unicast;
use bgp_wire::update::{NextHop, PathKey};
use bgp_wire::{Family, Nlri};
use ipnet::IpNet;
use proptest::prelude::*;

const FAMILY: Family = Family::IPV4_UNICAST;
const PEERS: u32 = 4;
const PREFIXES: usize = 16;
/// In the first group are peers 0 and 1, in the second one peers 2 and 3.
const GROUPS: [GroupIndex; 2] = [GroupIndex(0), GroupIndex(1)];

/// Policies: of each prefix, whether it passes, and with which LOCAL_PREF; 0 as it is.
type Rules = Vec<Option<u32>>;
/// Routes by prefix and path identifier, with what they look like.
type Routes<T> = BTreeMap<(IpNet, u32), T>;

/// Clusters that this speaker can be in.
const CLUSTERS: [Ipv4Addr; 2] = [Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(192, 0, 2, 2)];

/// What the routes of a peer pass on their way in.
#[derive(Debug, Clone)]
struct In {
    rules: Rules,
    guarded: bool,
    draining: bool,
    cluster: usize,
}

/// What a group is told.
#[derive(Debug, Clone)]
struct Out {
    rules: Rules,
    next_hop_self: bool,
    client: bool,
    draining: bool,
    cluster: usize,
}

/// What a path looks like.
#[derive(Debug, Clone, Copy)]
struct Looks {
    /// The one that it has been in, if any.
    cluster: Option<usize>,
    pref: u32,
    med: u32,
    neighbor_as: u32,
}

fn prefix(at: usize) -> IpNet {
    format!("10.{at}.0.0/16").parse().expect("a prefix")
}

fn key(at: usize) -> PathKey<<Ipv4Unicast as Nlri>::Key> {
    PathKey { key: Ipv4Unicast::from_prefix(prefix(at)).expect("an IPv4 prefix"), path_id: 0 }
}

fn router_id(peer: u32) -> Ipv4Addr {
    Ipv4Addr::from(0x0a00_0001 + peer)
}

fn kind(client: bool) -> SourceKind {
    if client { SourceKind::Client } else { SourceKind::NonClient }
}

fn options(always_compare_med: bool) -> decision::Options {
    decision::Options { always_compare_med }
}

struct Router {
    interner: Arc<Interner>,
    partition: Partition,
    add_path: bool,
    outs: [Out; 2],
}

impl Router {
    fn new(import: &In, outs: [Out; 2], add_path: bool) -> Self {
        let interner = Arc::new(Interner::new(1));
        let router_id_here = Ipv4Addr::new(192, 0, 2, 1);
        let settings = PartitionSettings { index: 0, seed: 1, router_id: router_id_here, decision: options(false) };
        let partition = Partition::new(settings, Arc::clone(&interner));
        let mut router = Self { interner, partition, add_path, outs };
        for peer in 0..PEERS {
            // Not more than one that is external: which of two equal paths of such peers wins is a matter of history
            // (RFC 5004).
            let kind = if peer == 3 { SourceKind::External } else { SourceKind::Client };
            let source = Source { peer: PeerIndex(peer), router_id: router_id(peer), kind };
            let (address, import) = (IpAddr::V4(router_id(peer)), router.import(import));
            router.fence(&Fence::PeerUp { source, address, asn: 65_000, import, awaited: Vec::new() });
        }
        for group in GROUPS {
            let spec = router.spec(&router.outs[group.0 as usize]);
            router.partition.add_group(group, spec);
            router.partition.join(group, Member { peer: PeerIndex(group.0 * 2), incarnation: 1 });
        }
        router
    }

    fn fence(&mut self, fence: &Fence) {
        self.partition.fence(fence, &mut Vec::new());
    }

    fn policy(&self, rules: &Rules, direction: Direction) -> Policy {
        let mut definitions = Definitions::default();
        let statement = |(at, rule): (usize, &Option<u32>)| {
            let name = format!("set-{at}");
            let set = [format!("{}", prefix(at)).parse::<PrefixEntry>().expect("an entry")].into_iter().collect();
            definitions.prefix_sets.insert(name.clone(), Arc::new(set));
            let prefer = rule.filter(|pref| *pref > 0).map(|pref| Action::LocalPref(Amount::Set(pref)));
            Statement {
                name: name.clone(),
                conditions: vec![Condition::PrefixSets(vec![SetName::from(name.as_str())])],
                actions: prefer.into_iter().collect(),
                then: if rule.is_some() { Outcome::Accept } else { Outcome::Reject },
            }
        };
        let statements = rules.iter().enumerate().map(statement).collect();
        definitions.policies.insert("it".into(), PolicyDefinition { statements, default: Outcome::Accept });
        let library = Library::new(Arc::clone(&self.interner)).with(&definitions).expect("its sets exist");
        library.resolve(Some(&["it".to_owned()]), false, direction).expect("it exists")
    }

    fn import(&self, import: &In) -> Import {
        let cluster = Cluster {
            name: "east".to_owned(),
            pod_cidrs: vec!["10.0.0.0/13".parse().expect("a prefix")],
            node_ranges: vec!["10.0.0.0/24".parse().expect("a prefix")],
            peer_groups: Vec::new(),
            strict: false,
            max_length_v4: 28,
            max_length_v6: 80,
        };
        let guard = Guard { clusters: [("east".to_owned(), cluster)].into(), ..Guard::default() };
        let rules = guard.session_of(IpAddr::V4(router_id(0)), None, false).filter(|_| import.guarded);
        Import {
            policy: self.policy(&import.rules, Direction::Import),
            graceful_shutdown: import.draining,
            cluster_id: Some(CLUSTERS[import.cluster]),
            guard: rules.map(|rules| PrefixGuard::new(rules, Arc::default())),
        }
    }

    fn spec(&self, out: &Out) -> ExportSpec {
        let key = ExportKey {
            family: FAMILY,
            external_as: None,
            client: out.client,
            client_to_client: true,
            cluster_id: Some(CLUSTERS[out.cluster]),
            next_hop_self: out.next_hop_self,
            local: LocalAddresses::of(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1))),
            four_octet_as: true,
            max_message_len: 4096,
            add_path: self.add_path,
            extended_next_hop: false,
            long_lived: true,
            role: None,
            policy: None,
        };
        ExportSpec::new(key, self.policy(&out.rules, Direction::Export))
    }

    /// As members of a group are told.
    fn told_spec(&self, out: &Out) -> ExportSpec {
        let spec = self.spec(out);
        if out.draining { spec.shutting_down() } else { spec }
    }

    fn attrs(&self, peer: u32, looks: Looks) -> AttrRef {
        let mut attributes = vec![
            Attribute::LocalPref(looks.pref),
            Attribute::Origin(Origin::Igp),
            Attribute::MultiExitDisc(looks.med),
            Attribute::AsPath(AsPath::sequence(&[looks.neighbor_as])),
        ];
        attributes.extend(looks.cluster.map(|at| Attribute::ClusterList(vec![CLUSTERS[at]])));
        let bytes = edit::build(&attributes);
        self.interner.intern(NextHop::V4(router_id(peer)), AttributeBlock::from_canonical(&bytes))
    }

    /// What a peer says goes by its import rules, as its intake would have it.
    fn announce(&mut self, peer: u32, at: usize, looks: Looks, import: &In) {
        let attrs = self.attrs(peer, looks);
        let mut batch = Batch::<Ipv4Unicast>::new(PeerIndex(peer));
        batch.push(Some(&attrs), None, key(at));
        self.partition.batch(Ipv4Unicast::batch(batch), 0, &mut Vec::new());
        let import = self.import(import);
        self.fence(&Fence::ImportReplaced { peer: PeerIndex(peer), import });
        self.work();
    }

    fn originate(&mut self, routes: &[(IpNet, Option<AttrRef>)]) {
        let mut batch = Batch::<Ipv4Unicast>::new(PeerIndex::LOCAL);
        for (prefix, attrs) in routes {
            let key = Ipv4Unicast::from_prefix(*prefix).expect("an IPv4 prefix");
            batch.push(attrs.as_ref(), None, PathKey { key, path_id: 0 });
        }
        self.partition.batch(Ipv4Unicast::batch(batch), 0, &mut Vec::new());
    }

    fn work(&mut self) {
        for _ in 0..100 {
            GROUPS.iter().for_each(|group| self.partition.walk_credit(*group));
            while self.partition.work(1000, &mut Vec::new()) {}
        }
    }

    /// Routes of a peer that are used.
    fn from(&self, peer: u32) -> Routes<AttrRef> {
        let query = RouteQuery { from: Some(PeerIndex(peer)), ..RouteQuery::all(FAMILY) };
        let slice = self.partition.query(&query, Cursor::default(), usize::MAX);
        let used = slice.routes.into_iter().filter(|view| view.rejection.is_none());
        used.map(|view| ((view.prefix, view.path_id), view.attrs)).collect()
    }

    /// Routes to a peer, as it sees them.
    fn to(&self, peer: u32) -> Routes<(Option<NextHop>, Vec<u8>)> {
        let group = peer as usize / 2;
        let query = RouteQuery { to: Some((GROUPS[group], PeerIndex(peer))), ..RouteQuery::all(FAMILY) };
        let spec = self.told_spec(&self.outs[group]);
        let slice = self.partition.query(&query, Cursor::default(), usize::MAX);
        let of = |view: bgp_engine::rib::RouteView| {
            let mut bytes = Vec::new();
            let next_hop = spec.outgoing(&view.attrs, &view.source, &mut bytes);
            ((view.prefix, view.path_id), (next_hop, bytes))
        };
        slice.routes.into_iter().map(of).collect()
    }

    /// Does what was proposed.
    fn carry_out(&mut self, proposal: &Proposal, outs: [Out; 2]) {
        for (peer, import) in &proposal.incoming {
            self.fence(&Fence::ImportReplaced { peer: *peer, import: import.clone() });
        }
        for (peer, kind) in &proposal.kinds {
            self.fence(&Fence::KindReplaced { peer: *peer, kind: *kind });
        }
        for (group, out) in GROUPS.into_iter().zip(&outs) {
            let spec = self.spec(out);
            self.partition.replace_export(group, &spec);
        }
        self.outs = outs;
        for (peer, _) in &proposal.lost {
            self.fence(&Fence::PeerDown { peer: *peer, retained: Vec::new() });
        }
        self.partition.reconfigure(Ipv4Addr::new(192, 0, 2, 1), proposal.decision, &mut Vec::new());
        self.originate(&proposal.originated);
        self.work();
    }
}

/// How many are only before, only after, and otherwise after.
fn differences<T: PartialEq>(was: &Routes<T>, is: &Routes<T>) -> [i64; 3] {
    let keys: BTreeSet<_> = was.keys().chain(is.keys()).collect();
    let mut counts = [0; 3];
    for key in keys {
        match (was.get(key), is.get(key)) {
            (Some(_), None) => counts[0] += 1,
            (None, Some(_)) => counts[1] += 1,
            (Some(was), Some(is)) if was != is => counts[2] += 1,
            _ => {}
        }
    }
    counts
}

fn rules() -> impl Strategy<Value = Rules> {
    // Some reject, some leave as it is, some change.
    proptest::collection::vec(prop_oneof![Just(None), Just(Some(0)), (1..4u32).prop_map(Some)], PREFIXES)
}

fn import() -> impl Strategy<Value = In> {
    let bools = any::<(bool, bool)>();
    (rules(), bools, 0..2usize).prop_map(|(rules, (guarded, draining), cluster)| In {
        rules,
        guarded,
        draining,
        cluster,
    })
}

fn out() -> impl Strategy<Value = Out> {
    let bools = any::<(bool, bool, bool)>();
    (rules(), bools, 0..2usize).prop_map(|(rules, (next_hop_self, client, draining), cluster)| Out {
        rules,
        next_hop_self,
        client,
        draining,
        cluster,
    })
}

fn looks() -> impl Strategy<Value = Looks> {
    let cluster = proptest::option::weighted(0.3, 0..2usize);
    (cluster, 0..3u32, 0..3u32, 65_100..65_102u32).prop_map(|(cluster, pref, med, neighbor_as)| Looks {
        cluster,
        pref,
        med,
        neighbor_as,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn what_is_counted_is_what_happens(
        add_path: bool,
        routes in proptest::collection::vec((0..PEERS, 0..PREFIXES, looks()), 0..48),
        local in proptest::collection::btree_map(0..PREFIXES, looks(), 0..3),
        old_import in import(),
        outs in [out(), out()],
        new_imports in proptest::collection::btree_map(0..PEERS, import(), 0..3),
        new_outs in [proptest::option::of(out()), proptest::option::of(out())],
        new_kinds in proptest::collection::btree_map(0..PEERS - 1, any::<bool>(), 0..3),
        lost in proptest::option::of(0..PEERS),
        new_local in proptest::collection::btree_map(0..PREFIXES, proptest::option::of(looks()), 0..4),
        always_compare_med: bool,
        limit in 1..20usize,
    ) {
        let mut router = Router::new(&old_import, outs.clone(), add_path);
        for (peer, at, looks) in &routes {
            router.announce(*peer, *at, *looks, &old_import);
        }
        let attrs = |looks: &Looks| router.attrs(9, *looks);
        let local: Vec<_> = local.iter().map(|(at, looks)| (prefix(*at), Some(attrs(looks)))).collect();
        let mut originated: Vec<_> =
            new_local.iter().map(|(at, looks)| (prefix(*at), looks.as_ref().map(attrs))).collect();
        originated.sort_by_key(|(prefix, _)| *prefix);
        router.originate(&local);
        router.work();
        let before: Vec<_> = (0..PEERS).map(|peer| (router.from(peer), router.to(peer))).collect();
        let way = |(group, out): (GroupIndex, &Option<Out>)| Outgoing {
            group,
            shutting_down: outs[group.0 as usize].draining,
            spec: out.as_ref().map(|out| router.told_spec(out)),
            members: [group.0 * 2, group.0 * 2 + 1].map(PeerIndex).into(),
        };
        let proposal = Proposal {
            incoming: new_imports.iter().map(|(peer, new)| (PeerIndex(*peer), router.import(new))).collect(),
            kinds: new_kinds.iter().map(|(peer, client)| (PeerIndex(*peer), kind(*client))).collect(),
            lost: lost.into_iter().map(|peer| (PeerIndex(peer), FAMILY)).collect(),
            originated,
            partitions: 1,
            outgoing: GROUPS.into_iter().zip(&new_outs).map(way).collect(),
            decision: options(always_compare_med),
        };
        let (mut counted, mut next) = (Counted::new(), Some(Cursor::default()));
        while let Some(cursor) = next {
            next = router.partition.preview(FAMILY, &proposal, cursor, limit, &mut counted);
        }
        let untouched: Vec<_> = (0..PEERS).map(|peer| (router.from(peer), router.to(peer))).collect();
        prop_assert_eq!(&untouched, &before);
        let mut outs = outs;
        for (out, new) in outs.iter_mut().zip(new_outs) {
            *out = new.unwrap_or_else(|| out.clone());
        }
        router.carry_out(&proposal, outs);
        for peer in 0..PEERS {
            let (from, to) = &before[peer as usize];
            let [rejected, accepted, modified] = differences(from, &router.from(peer));
            let [withdrawn, announced, changed] = differences(to, &router.to(peer));
            let happened = RouteChanges { rejected, accepted, modified, announced, withdrawn, changed };
            let said = counted.get(&PeerIndex(peer)).copied().unwrap_or_default();
            prop_assert_eq!(said, happened, "peer {}", peer);
        }
    }
}
