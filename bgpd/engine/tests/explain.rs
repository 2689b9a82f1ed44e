//! Explanations are true: for 100,000 random sets of paths, which come and go in random order and batches, the path that
//! is explained as the best, and the rule, are those of the RIB and of a model that does what the RFCs say step by step.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use bgp_engine::attr::{AttrRef, Interner, Local, edit};
use bgp_engine::id::{PeerIndex, Source, SourceKind};
use bgp_engine::rib::decision::{Options, Reason};
use bgp_engine::rib::{Cursor, Explanation, Partition, PartitionSettings, RouteQuery, Verdict};
use bgp_engine::stage::{Batch, Fence, Import, Routed};
use bgp_wire::attribute::{AsPath, Attribute, AttributeBlock, Community, Origin};
use bgp_wire::nlri::Ipv4Unicast;
use bgp_wire::update::{NextHop, PathKey};
use bgp_wire::{Family, Nlri};
use ipnet::IpNet;

const SETS: u32 = 100_000;
/// Router ID of this speaker.
const OWN: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// Peers by index: kind, router ID, address. Some share a router ID: two sessions with one router.
const PEERS: [(SourceKind, u32, u32); 6] = [
    (SourceKind::External, 20, 4),
    (SourceKind::External, 10, 5),
    (SourceKind::External, 10, 3),
    (SourceKind::Client, 30, 2),
    (SourceKind::Client, 30, 1),
    (SourceKind::NonClient, 5, 6),
];

/// A small generator: the same numbers each time.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u32) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) % u64::from(limit)) as u32
    }

    fn one_in(&mut self, times: u32) -> bool {
        self.below(times) == 0
    }

    fn option(&mut self, limit: u32) -> Option<u32> {
        (!self.one_in(2)).then(|| self.below(limit))
    }
}

/// What a path says, as the rules read it.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Path {
    peer: PeerIndex,
    path_id: u32,
    stale: bool,
    weight: u16,
    local_pref: Option<u32>,
    asns: [u32; 3],
    length: u32,
    origin: u8,
    med: Option<u32>,
    originator: Option<u32>,
    clusters: u32,
}

impl Path {
    fn random(random: &mut Random) -> Self {
        let peer = random.below(PEERS.len() as u32 + 1);
        let local = peer == PEERS.len() as u32;
        Self {
            peer: if local { PeerIndex::LOCAL } else { PeerIndex(peer) },
            path_id: if local { 0 } else { random.below(2) },
            stale: random.one_in(12),
            weight: if random.one_in(12) { 7 } else { 0 },
            local_pref: random.option(2).map(|more| 100 + more),
            asns: [65_001 + random.below(2), 65_010, 65_011],
            length: random.below(2) + random.below(2),
            origin: if random.one_in(6) { 2 } else { 0 },
            med: random.option(2),
            originator: if random.one_in(3) { Some(random.below(3) * 10) } else { None },
            clusters: random.below(2),
        }
    }

    fn peer(&self) -> (SourceKind, u32, u32) {
        let own = u32::from(OWN);
        PEERS.get(self.peer.0 as usize).copied().unwrap_or((SourceKind::Local, own, own))
    }

    fn attrs(&self, interner: &Interner) -> AttrRef {
        let origin = Origin::from_code(self.origin).expect("a code");
        let path = AsPath::sequence(&self.asns[..self.length as usize]);
        let mut attributes = vec![Attribute::Origin(origin), Attribute::AsPath(path)];
        attributes.extend(self.med.map(Attribute::MultiExitDisc));
        attributes.extend(self.local_pref.map(Attribute::LocalPref));
        attributes.extend(self.stale.then(|| Attribute::Communities(vec![Community::LLGR_STALE])));
        attributes.extend(self.originator.map(|id| Attribute::OriginatorId(Ipv4Addr::from(id))));
        if self.clusters > 0 {
            attributes.push(Attribute::ClusterList(vec![Ipv4Addr::LOCALHOST; self.clusters as usize]));
        }
        let mut local = Local::default();
        local.set_weight(self.weight);
        let block = edit::build(&attributes);
        interner.intern_local(NextHop::V4(Ipv4Addr::new(192, 0, 2, 9)), AttributeBlock::from_canonical(&block), local)
    }

    fn key(&self, prefix: IpNet) -> PathKey<<Ipv4Unicast as Nlri>::Key> {
        PathKey { key: Ipv4Unicast::from_prefix(prefix).expect("IPv4"), path_id: self.path_id }
    }

    fn router_id(&self) -> u32 {
        self.originator.unwrap_or(self.peer().1)
    }

    fn neighbor_as(&self) -> Option<u32> {
        (self.length > 0).then_some(self.asns[0])
    }
}

/// A rule that gives each path a rank; the lowest wins.
type Rule = (Reason, fn(&Path) -> i64);

/// The rules that give each path a rank by itself, in the order of the RFCs; MED comes behind the origin, age before the
/// router ID.
const BEFORE_MED: [Rule; 6] = [
    (Reason::LongLivedStale, |path| path.stale.into()),
    (Reason::Weight, |path| -i64::from(path.weight)),
    (Reason::LocalPref, |path| -i64::from(path.local_pref.unwrap_or(100))),
    (Reason::Local, |path| (path.peer != PeerIndex::LOCAL).into()),
    (Reason::AsPathLength, |path| path.length.into()),
    (Reason::Origin, |path| path.origin.into()),
];
const TIES: [Rule; 5] = [
    (Reason::RouterId, |path| path.router_id().into()),
    (Reason::ClusterListLength, |path| path.clusters.into()),
    (Reason::PeerAddress, |path| path.peer().2.into()),
    (Reason::PathId, |path| path.path_id.into()),
    (Reason::PathId, |path| path.peer.0.into()),
];

/// The decision process as the RFCs have it: which is the best path, and which rule left no other.
fn decide(paths: &[Path], incumbent: Option<Path>, compare_med: bool) -> Option<(Path, Reason)> {
    let (mut left, mut reason) = (paths.to_vec(), Reason::OnlyPath);
    let mut keep = |left: &mut Vec<Path>, rule, keeps: &dyn Fn(&Path) -> bool| {
        let before = left.len();
        left.retain(keeps);
        if left.len() < before {
            reason = rule;
        }
    };
    let lowest = |left: &[Path], rank: fn(&Path) -> i64| left.iter().map(rank).min();
    for (rule, rank) in BEFORE_MED {
        let best = lowest(&left, rank);
        keep(&mut left, rule, &|path| Some(rank(path)) == best);
    }
    // RFC 4271 §9.1.2.2(c)
    let others = left.clone();
    let beats = |other: &Path, path: &Path| {
        let comparable = compare_med || other.neighbor_as() == path.neighbor_as();
        comparable && other.med.unwrap_or(0) < path.med.unwrap_or(0)
    };
    keep(&mut left, Reason::MultiExitDisc, &|path| !others.iter().any(|other| beats(other, path)));
    // RFC 4271 §9.1.2.2(d)
    let external = |path: &Path| path.peer().0 == SourceKind::External;
    let any_external = left.iter().any(external);
    keep(&mut left, Reason::External, &|path| !any_external || external(path));
    // RFC 5004 §3: said only where it makes a difference.
    if let Some(incumbent) = incumbent.filter(|path| left.contains(path) && external(path)) {
        let lowest = left.iter().map(Path::router_id).min();
        if lowest != Some(incumbent.router_id()) {
            keep(&mut left, Reason::Older, &|path| path.router_id() == incumbent.router_id());
        }
    }
    for (rule, rank) in TIES {
        let best = lowest(&left, rank);
        keep(&mut left, rule, &|path| Some(rank(path)) == best);
    }
    left.first().map(|best| (*best, reason))
}

/// A partition with all peers, and which paths it was told of one prefix.
struct Router {
    interner: Arc<Interner>,
    partition: Partition,
    compare_med: bool,
}

impl Router {
    fn new(compare_med: bool) -> Self {
        let interner = Arc::new(Interner::new(1));
        let decision = Options { always_compare_med: compare_med };
        let settings = PartitionSettings { index: 0, seed: 1, router_id: OWN, decision };
        let mut partition = Partition::new(settings, Arc::clone(&interner));
        for (peer, (kind, router_id, address)) in PEERS.into_iter().enumerate() {
            let source = Source { peer: PeerIndex(peer as u32), router_id: Ipv4Addr::from(router_id), kind };
            let (address, import) = (IpAddr::V4(Ipv4Addr::from(address)), Import::ACCEPT_ALL);
            partition
                .fence(&Fence::PeerUp { source, address, asn: 65_001, import, awaited: Vec::new() }, &mut Vec::new());
        }
        Self { interner, partition, compare_med }
    }

    /// One batch of one peer: announcements, or withdrawals.
    fn say(&mut self, prefix: IpNet, paths: &[Path], announce: bool) {
        let mut batch = Batch::<Ipv4Unicast>::new(paths[0].peer);
        for path in paths {
            let attrs = announce.then(|| path.attrs(&self.interner));
            batch.push(attrs.as_ref(), None, path.key(prefix));
        }
        self.partition.batch(Ipv4Unicast::batch(batch), 0, &mut Vec::new());
    }

    /// A random life of a prefix; the paths that are left, and what the model says of them.
    fn live(&mut self, prefix: IpNet, random: &mut Random) -> (Vec<Path>, Option<(Path, Reason)>) {
        let (mut paths, mut best): (Vec<Path>, _) = (Vec::new(), None);
        for _ in 0..2 + random.below(5) {
            let path = Path::random(random);
            let same = |other: &Path| (other.peer, other.path_id) == (path.peer, path.path_id);
            let mut said = vec![path];
            let announce = !(random.one_in(4) && paths.iter().any(same));
            if announce && path.peer != PeerIndex::LOCAL && random.one_in(4) {
                // Two paths of one peer at once (RFC 7911).
                let second = Path { peer: path.peer, path_id: 1 - path.path_id, ..Path::random(random) };
                said.push(second);
            }
            self.say(prefix, &said, announce);
            for one in said {
                let at = paths.iter().position(|other| (other.peer, other.path_id) == (one.peer, one.path_id));
                match (at, announce) {
                    (Some(at), true) => paths[at] = one,
                    (Some(at), false) => drop(paths.remove(at)),
                    (None, true) => paths.push(one),
                    (None, false) => {}
                }
            }
            // What is announced anew is another path, but in the place of the best one it is still the incumbent.
            let incumbent = best.and_then(|(best, _): (Path, Reason)| {
                paths.iter().find(|path| (path.peer, path.path_id) == (best.peer, best.path_id)).copied()
            });
            best = decide(&paths, incumbent, self.compare_med);
        }
        (paths, best)
    }

    /// Which path the RIB has chosen, and the rule as listings say it.
    fn chosen(&self, prefix: IpNet) -> Option<((PeerIndex, u32), Option<Reason>)> {
        let query = RouteQuery { prefix: Some(prefix), best_only: true, ..RouteQuery::all(Family::IPV4_UNICAST) };
        let slice = self.partition.query(&query, Cursor::default(), 1);
        slice.routes.first().map(|route| ((route.source.peer, route.path_id), route.reason))
    }
}

/// The path that is explained as the best, and the rule.
fn explained(explanation: &Explanation) -> Option<((PeerIndex, u32), Reason)> {
    let mut best = explanation.candidates.iter().filter_map(|candidate| match candidate.verdict {
        Verdict::Best(reason) => Some(((candidate.route.source.peer, candidate.route.path_id), reason)),
        _ => None,
    });
    let first = best.next();
    assert!(best.next().is_none(), "there is one best path");
    first
}

fn compare(seed: u64, compare_med: bool, sets: u32) {
    let (mut random, mut router) = (Random(seed), Router::new(compare_med));
    let (mut compared, mut reasons) = (0, std::collections::BTreeSet::new());
    for at in 0..sets {
        let prefix = IpNet::new(Ipv4Addr::from(0x0b00_0000 + (at << 8)).into(), 24).expect("a length");
        let (paths, expected) = router.live(prefix, &mut random);
        let named = expected.map(|(path, reason)| ((path.peer, path.path_id), reason));
        let explanation = router.partition.explain(Family::IPV4_UNICAST, prefix);
        let said = explanation.as_ref().and_then(explained);
        assert_eq!(said, named, "explained of {paths:#?}");
        let chosen = router.chosen(prefix).map(|(path, reason)| (path, reason.expect("the best has a reason")));
        assert_eq!(chosen, named, "chosen of {paths:#?}");
        let candidates = explanation.map_or(0, |explanation| explanation.candidates.len());
        assert_eq!(candidates, paths.len(), "every path is explained");
        compared += 1;
        reasons.extend(named.map(|(_, reason)| reason));
    }
    assert_eq!((compared, reasons.len()), (sets, 14), "every rule decides somewhere: {reasons:?}");
}

#[test]
fn the_best_path_and_the_rule_that_are_explained_are_those_of_the_rib() {
    std::thread::scope(|scope| {
        scope.spawn(|| compare(1, false, SETS / 2));
        scope.spawn(|| compare(2, true, SETS / 2));
    });
}
