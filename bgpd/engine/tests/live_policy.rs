//! Policies that change while routes are in: a partition judges them again from what was received.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use bgp_engine::attr::{AttrRef, Interner, edit};
use bgp_engine::id::{PeerIndex, Source, SourceKind};
use bgp_engine::policy::{
    Action, Amount, Condition, Definitions, Direction, Library, Outcome, Policy, PolicyDefinition, PrefixEntry,
    SetName, Statement,
};
use bgp_engine::rib::{Explanation, Partition, PartitionSettings, decision};
use bgp_engine::stage::{Batch, Fence, Import, Routed};
use bgp_wire::Family;
use bgp_wire::Nlri;
use bgp_wire::attribute::{AsPath, Attribute, AttributeBlock, Origin};
use bgp_wire::nlri::Ipv4Unicast;
use bgp_wire::update::{NextHop, PathKey};
use ipnet::IpNet;

const PEER: PeerIndex = PeerIndex(0);
const ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);

struct Router {
    interner: Arc<Interner>,
    partition: Partition,
}

impl Router {
    fn new() -> Self {
        let interner = Arc::new(Interner::new(1));
        let router_id = Ipv4Addr::new(192, 0, 2, 1);
        let settings = PartitionSettings { index: 0, seed: 1, router_id, decision: decision::Options::default() };
        let mut partition = Partition::new(settings, Arc::clone(&interner));
        let source = Source { peer: PEER, router_id: ADDRESS, kind: SourceKind::External };
        let (address, import) = (IpAddr::V4(ADDRESS), Import::ACCEPT_ALL);
        let up = Fence::PeerUp { source, address, asn: 65_001, import, awaited: Vec::new() };
        partition.fence(&up, &mut Vec::new());
        Self { interner, partition }
    }

    /// A policy that rejects 10.0.0.0/8 and gives the rest a LOCAL_PREF.
    fn policy(&self, local_pref: u32) -> Policy {
        let set = ["10.0.0.0/8".parse::<PrefixEntry>().expect("an entry")].into_iter().collect();
        let statement =
            |name: &str, conditions, actions, then| Statement { name: name.into(), conditions, actions, then };
        let ten = Condition::PrefixSets(vec![SetName::from("ten")]);
        let prefer = Action::LocalPref(Amount::Set(local_pref));
        let statements = vec![
            statement("no-ten", vec![ten], Vec::new(), Outcome::Reject),
            statement("prefer", Vec::new(), vec![prefer], Outcome::Accept),
        ];
        let mut definitions = Definitions::default();
        definitions.prefix_sets.insert("ten".into(), Arc::new(set));
        definitions.policies.insert("transit".into(), PolicyDefinition { statements, default: Outcome::Next });
        let library = Library::new(Arc::clone(&self.interner)).with(&definitions).expect("its sets exist");
        library.resolve(Some(&["transit".to_owned()]), true, Direction::Import).expect("it exists")
    }

    fn announce(&mut self, prefix: &str) -> AttrRef {
        let attributes = [Attribute::Origin(Origin::Igp), Attribute::AsPath(AsPath::sequence(&[65_001]))];
        let bytes = edit::build(&attributes);
        let attrs = self.interner.intern(NextHop::V4(ADDRESS), AttributeBlock::from_canonical(&bytes));
        let key = Ipv4Unicast::from_prefix(net(prefix)).expect("IPv4");
        let mut batch = Batch::<Ipv4Unicast>::new(PEER);
        batch.push(Some(&attrs), None, PathKey { key, path_id: 0 });
        self.partition.batch(Ipv4Unicast::batch(batch), 0, &mut Vec::new());
        attrs
    }

    fn replace(&mut self, policy: Policy) {
        let import = Import { policy, ..Import::ACCEPT_ALL };
        self.partition.fence(&Fence::ImportReplaced { peer: PEER, import }, &mut Vec::new());
        while self.partition.work(1, &mut Vec::new()) {}
    }

    fn explain(&self, prefix: &str) -> Explanation {
        self.partition.explain(Family::IPV4_UNICAST, net(prefix)).expect("a route")
    }

    fn verdict(&self, prefix: &str) -> String {
        self.explain(prefix).candidates[0].verdict.to_string()
    }

    fn local_pref(&self, prefix: &str) -> Option<u32> {
        self.explain(prefix).candidates[0].route.attrs.digest.local_pref
    }
}

fn net(text: &str) -> IpNet {
    text.parse().expect("a prefix")
}

#[test]
fn a_new_import_policy_judges_routes_that_are_in_without_asking_the_peer() {
    let mut router = Router::new();
    router.announce("10.0.0.0/8");
    router.announce("11.0.0.0/8");
    assert_eq!(router.partition.counters(Family::IPV4_UNICAST, PEER).accepted, 2);
    router.replace(router.policy(200));
    assert_eq!(router.verdict("10.0.0.0/8"), "not usable: rejected by import policy");
    assert_eq!(router.local_pref("11.0.0.0/8"), Some(200));
    assert_eq!(router.partition.counters(Family::IPV4_UNICAST, PEER).accepted, 1);
}

#[test]
fn each_policy_begins_with_what_was_received() {
    let mut router = Router::new();
    let received = router.announce("11.0.0.0/8");
    router.replace(router.policy(200));
    router.replace(router.policy(300));
    assert_eq!(router.local_pref("11.0.0.0/8"), Some(300));
    router.replace(Policy::AcceptAll);
    assert_eq!(router.explain("11.0.0.0/8").candidates[0].route.attrs, received);
}

#[test]
fn a_policy_that_goes_lets_rejected_routes_in() {
    let mut router = Router::new();
    router.announce("10.0.0.0/8");
    router.replace(router.policy(200));
    router.replace(Policy::AcceptAll);
    assert_eq!(router.verdict("10.0.0.0/8"), "best: only path");
    router.replace(Policy::Missing);
    assert_eq!(router.verdict("10.0.0.0/8"), "not usable: eBGP without an import policy");
}

#[test]
fn an_explanation_names_the_statement_that_decided() {
    let mut router = Router::new();
    router.announce("10.0.0.0/8");
    router.announce("11.0.0.0/8");
    router.replace(router.policy(200));
    let place = |prefix: &str| router.explain(prefix).candidates[0].import.decided_by();
    assert_eq!(place("10.0.0.0/8").as_deref(), Some("policy \"transit\", statement \"no-ten\""));
    assert_eq!(place("11.0.0.0/8").as_deref(), Some("policy \"transit\", statement \"prefer\""));
}
