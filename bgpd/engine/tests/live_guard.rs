//! The guard of the clusters, or the cluster of this speaker, changes while routes are in: they go and come without the
//! peer's help.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bgp_engine::attr::{Interner, edit};
use bgp_engine::config::cluster::{Cluster, Guard, SessionGuard};
use bgp_engine::id::{PeerIndex, Source, SourceKind};
use bgp_engine::policy::Policy;
use bgp_engine::rib::{Partition, PartitionSettings, decision};
use bgp_engine::stage::{Batch, Fence, Import, PrefixGuard, Routed};
use bgp_wire::Family;
use bgp_wire::Nlri;
use bgp_wire::attribute::{AsPath, Attribute, AttributeBlock, Origin};
use bgp_wire::nlri::Ipv4Unicast;
use bgp_wire::update::{NextHop, PathKey};

const PEER: PeerIndex = PeerIndex(0);
const ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);

/// What a node of a cluster with these pods may announce.
fn rules(pods: &str) -> SessionGuard {
    let cluster = Cluster {
        name: "east".to_owned(),
        pod_cidrs: vec![pods.parse().expect("a prefix")],
        node_ranges: vec!["192.0.2.0/24".parse().expect("a prefix")],
        peer_groups: Vec::new(),
        strict: false,
        max_length_v4: 28,
        max_length_v6: 80,
    };
    let guard = Guard { clusters: [("east".to_owned(), cluster)].into(), ..Guard::default() };
    guard.session_of(IpAddr::V4(ADDRESS), None, false).expect("it is of a cluster")
}

struct Router {
    interner: Arc<Interner>,
    partition: Partition,
    refused: Arc<AtomicU64>,
}

impl Router {
    fn new() -> Self {
        let interner = Arc::new(Interner::new(1));
        let router_id = Ipv4Addr::new(192, 0, 2, 1);
        let settings = PartitionSettings { index: 0, seed: 1, router_id, decision: decision::Options::default() };
        let partition = Partition::new(settings, Arc::clone(&interner));
        let mut router = Self { interner, partition, refused: Arc::default() };
        let source = Source { peer: PEER, router_id: ADDRESS, kind: SourceKind::Client };
        let (address, import) = (IpAddr::V4(ADDRESS), Import::ACCEPT_ALL);
        router.fence(&Fence::PeerUp { source, address, asn: 65_000, import, awaited: Vec::new() });
        router
    }

    fn fence(&mut self, fence: &Fence) {
        self.partition.fence(fence, &mut Vec::new());
        while self.partition.work(1, &mut Vec::new()) {}
    }

    fn guard(&mut self, pods: &str) {
        let guard = Some(PrefixGuard::new(rules(pods), Arc::clone(&self.refused)));
        self.fence(&Fence::GuardReplaced { peer: PEER, guard });
    }

    fn announce(&mut self, prefix: &str) {
        self.announce_from(&[], prefix);
    }

    /// A route that has been in clusters.
    fn announce_from(&mut self, clusters: &[Ipv4Addr], prefix: &str) {
        let mut attributes = vec![Attribute::Origin(Origin::Igp), Attribute::AsPath(AsPath::sequence(&[]))];
        attributes.extend((!clusters.is_empty()).then(|| Attribute::ClusterList(clusters.to_vec())));
        let bytes = edit::build(&attributes);
        let attrs = self.interner.intern(NextHop::V4(ADDRESS), AttributeBlock::from_canonical(&bytes));
        let key = Ipv4Unicast::from_prefix(prefix.parse().expect("a prefix")).expect("IPv4");
        let mut batch = Batch::<Ipv4Unicast>::new(PEER);
        batch.push(Some(&attrs), None, PathKey { key, path_id: 0 });
        self.partition.batch(Ipv4Unicast::batch(batch), 0, &mut Vec::new());
    }

    fn accepted(&self) -> usize {
        self.partition.counters(Family::IPV4_UNICAST, PEER).accepted
    }

    fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }
}

#[test]
fn routes_that_are_in_go_and_come_with_the_rules_of_the_guard() {
    let mut router = Router::new();
    for prefix in ["10.1.1.0/24", "10.1.2.0/24", "10.2.1.0/24"] {
        router.announce(prefix);
    }
    for (pods, accepted, refused) in
        [("10.1.0.0/16", 2, 1), ("10.1.1.0/24", 1, 2), ("10.2.0.0/16", 1, 3), ("10.0.0.0/8", 3, 3)]
    {
        router.guard(pods);
        assert_eq!((router.accepted(), router.refused()), (accepted, refused), "{pods}");
    }
    router.guard("10.3.0.0/16");
    router.fence(&Fence::GuardReplaced { peer: PEER, guard: None });
    assert_eq!(router.accepted(), 3);
}

#[test]
fn routes_that_graceful_restart_keeps_go_when_the_guard_refuses_them() {
    let mut router = Router::new();
    router.announce("10.1.1.0/24");
    router.announce("10.2.1.0/24");
    router.fence(&Fence::PeerDown { peer: PEER, retained: vec![Family::IPV4_UNICAST] });
    assert_eq!(router.accepted(), 2, "RFC 4724 §4.2");
    router.guard("10.1.0.0/16");
    assert_eq!(router.accepted(), 1);
    // What comes in again under other rules is judged by these.
    router.guard("10.2.0.0/16");
    assert_eq!(router.accepted(), 0);
}

#[test]
fn routes_that_have_been_in_the_cluster_go_and_come_with_its_identifier() {
    // RFC 4456 §8
    let mut router = Router::new();
    let [one, two] = [Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(192, 0, 2, 2)];
    router.announce("10.1.1.0/24");
    router.announce_from(&[one], "10.1.2.0/24");
    router.announce_from(&[one, two], "10.1.3.0/24");
    let policy = Policy::RejectAll;
    for (import, accepted) in [
        (Import { cluster_id: Some(one), ..Import::ACCEPT_ALL }, 1),
        (Import { cluster_id: Some(two), ..Import::ACCEPT_ALL }, 2),
        (Import { cluster_id: Some(two), policy, ..Import::ACCEPT_ALL }, 0),
        (Import { cluster_id: Some(one), ..Import::ACCEPT_ALL }, 1),
        (Import { cluster_id: Some(ADDRESS), ..Import::ACCEPT_ALL }, 3),
    ] {
        router.fence(&Fence::ImportReplaced { peer: PEER, import: import.clone() });
        assert_eq!(router.accepted(), accepted, "{import:?}");
    }
}
