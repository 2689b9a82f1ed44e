//! What a query says that a member was told is what it was told, also while it goes from one group to another.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use bgp_engine::attr::{AttrRef, Interner, edit};
use bgp_engine::export::{ExportKey, ExportSpec, LocalAddresses};
use bgp_engine::id::{GroupIndex, PeerIndex, Source, SourceKind};
use bgp_engine::policy::{
    Action, Amount, Condition, Definitions, Direction, Library, Outcome, Policy, PolicyDefinition, PrefixEntry,
    SetName, Statement,
};
use bgp_engine::rib::{Cursor, Partition, PartitionSettings, RouteQuery, decision};
use bgp_engine::stage::{AnyEmission, Batch, Fence, Import, Member, Routed, Target};
use bgp_wire::attribute::{AsPath, Attribute, AttributeBlock, Origin};
use bgp_wire::nlri::Ipv4Unicast;
use bgp_wire::update::{NextHop, PathKey};
use bgp_wire::{Family, Nlri};
use ipnet::IpNet;

const FAMILY: Family = Family::IPV4_UNICAST;
const OLD: GroupIndex = GroupIndex(0);
const NEW: GroupIndex = GroupIndex(1);
const SOURCE: PeerIndex = PeerIndex(0);
const READER: PeerIndex = PeerIndex(1);
const JOINED: Member = Member { peer: READER, incarnation: 1 };
const PASSING: Member = Member { peer: READER, incarnation: 77 };
const ROUTES: u8 = 40;

fn prefix(at: u8) -> IpNet {
    format!("10.{at}.0.0/16").parse().expect("a prefix")
}

/// What somebody holds, by prefix.
type Held = BTreeMap<IpNet, AttrRef>;

struct Router {
    interner: Arc<Interner>,
    partition: Partition,
    /// What the reader holds: what it was told, in order.
    held: Held,
    has_passed: bool,
}

impl Router {
    fn new() -> Self {
        let interner = Arc::new(Interner::new(1));
        let router_id = Ipv4Addr::new(192, 0, 2, 1);
        let settings = PartitionSettings { index: 0, seed: 1, router_id, decision: decision::Options::default() };
        let partition = Partition::new(settings, Arc::clone(&interner));
        let mut router = Self { interner, partition, held: Held::new(), has_passed: false };
        for peer in [SOURCE, READER] {
            let id = Ipv4Addr::from(0x0a00_0001 + peer.0);
            let source = Source { peer, router_id: id, kind: SourceKind::Client };
            let (address, import) = (IpAddr::V4(id), Import::ACCEPT_ALL);
            let up = Fence::PeerUp { source, address, asn: 65_000, import, awaited: Vec::new() };
            router.partition.fence(&up, &mut Vec::new());
        }
        router
    }

    /// Rejects the routes whose number leaves a rest of `rejected` when divided by four, and changes those that leave
    /// one of `changed`.
    fn policy(&self, [rejected, changed]: [u8; 2]) -> Policy {
        let mut definitions = Definitions::default();
        let prefer = Action::LocalPref(Amount::Set(200));
        let mut statements = Vec::new();
        for (rest, actions, then) in [(rejected, Vec::new(), Outcome::Reject), (changed, vec![prefer], Outcome::Accept)]
        {
            let of_rest = (0..ROUTES).filter(|at| at % 4 == rest).map(|at| prefix(at).to_string());
            let set = of_rest.map(|entry| entry.parse::<PrefixEntry>().expect("an entry")).collect();
            let name = format!("rest-{rest}");
            definitions.prefix_sets.insert(name.clone(), Arc::new(set));
            let conditions = vec![Condition::PrefixSets(vec![SetName::from(name.as_str())])];
            statements.push(Statement { name, conditions, actions, then });
        }
        definitions.policies.insert("it".into(), PolicyDefinition { statements, default: Outcome::Accept });
        let library = Library::new(Arc::clone(&self.interner)).with(&definitions).expect("its sets exist");
        library.resolve(Some(&["it".to_owned()]), false, Direction::Export).expect("it exists")
    }

    fn add_group(&mut self, group: GroupIndex, rests: [u8; 2]) {
        let key = ExportKey {
            family: FAMILY,
            external_as: None,
            client: true,
            client_to_client: true,
            cluster_id: Some(Ipv4Addr::new(192, 0, 2, 1)),
            next_hop_self: false,
            local: LocalAddresses::default(),
            four_octet_as: true,
            max_message_len: 4096,
            add_path: false,
            extended_next_hop: false,
            long_lived: true,
            role: None,
            policy: None,
        };
        let spec = ExportSpec::new(key, self.policy(rests));
        self.partition.add_group(group, spec);
    }

    fn announce(&mut self, at: u8, med: u32) {
        let bytes = edit::build(&[
            Attribute::Origin(Origin::Igp),
            Attribute::MultiExitDisc(med),
            Attribute::AsPath(AsPath::sequence(&[])),
        ]);
        let next_hop = NextHop::V4(Ipv4Addr::new(192, 0, 2, 10));
        let attrs = self.interner.intern(next_hop, AttributeBlock::from_canonical(&bytes));
        let key = Ipv4Unicast::from_prefix(prefix(at)).expect("an IPv4 prefix");
        let mut batch = Batch::<Ipv4Unicast>::new(SOURCE);
        batch.push(Some(&attrs), None, PathKey { key, path_id: 0 });
        let mut out = Vec::new();
        self.partition.batch(Ipv4Unicast::batch(batch), 0, &mut out);
        self.take(out);
    }

    fn work(&mut self, budget: usize) -> bool {
        [OLD, NEW].iter().for_each(|group| self.partition.walk_credit(*group));
        let mut out = Vec::new();
        let more = self.partition.work(budget, &mut out);
        self.take(out);
        more
    }

    /// The reader takes what is for it: as a member of one group, on its way, or of the other.
    fn take(&mut self, emissions: Vec<AnyEmission>) {
        for emission in emissions {
            let AnyEmission::Ipv4Unicast(emission) = emission else { continue };
            let is_for_it = match &emission.target {
                Target::All => emission.group == if self.has_passed { NEW } else { OLD },
                Target::Members(members) => members.iter().any(|member| member.peer == READER),
            };
            for change in emission.changes.into_iter().filter(|_| is_for_it) {
                let prefix = Ipv4Unicast::prefix(&change.key.key);
                match change.new {
                    Some((attrs, _)) => drop(self.held.insert(prefix, attrs)),
                    None => drop(self.held.remove(&prefix)),
                }
            }
        }
    }

    /// What a query says.
    fn said(&self, former: Option<(GroupIndex, u32)>, group: GroupIndex) -> Held {
        let query = RouteQuery { to: Some((group, READER)), former, ..RouteQuery::all(FAMILY) };
        let slice = self.partition.query(&query, Cursor::default(), usize::MAX);
        slice.routes.into_iter().map(|view| (view.prefix, view.attrs)).collect()
    }
}

/// Goes from one group to another, which may have a member, and asks after every step.
fn passes_into(is_founded: bool) {
    let mut router = Router::new();
    router.add_group(OLD, [0, 1]);
    (0..ROUTES).for_each(|at| router.announce(at, 0));
    router.partition.join(OLD, JOINED);
    while router.work(usize::MAX) {}
    assert_eq!((router.said(None, OLD), router.held.len()), (router.held.clone(), 30));

    router.add_group(NEW, [1, 2]);
    if !is_founded {
        router.partition.join(NEW, Member { peer: PeerIndex(9), incarnation: 1 });
        while router.work(usize::MAX) {}
    }
    // It is said to be in the new group, which the partition has not heard yet.
    let former = Some((OLD, PASSING.incarnation));
    assert_eq!(router.said(former, NEW), router.held);
    let mut out = Vec::new();
    router.partition.pass(OLD, NEW, PASSING, false, &mut out);
    router.has_passed = true;
    router.take(out);
    let mut partly = 0;
    for step in 0.. {
        assert_eq!(router.said(former, NEW), router.held, "step {step}");
        // What is decided ahead of the walk and behind it goes over at once.
        router.announce((step * 7) % ROUTES, 1 + u32::from(step));
        assert_eq!(router.said(former, NEW), router.held, "step {step}");
        if !router.work(3) {
            break;
        }
        partly += 1;
    }
    assert!(partly > 3, "the walk has been seen under way {partly} times");
    assert_eq!((router.said(former, NEW), router.held.len()), (router.held.clone(), 30));
    assert_eq!(router.said(None, NEW), router.held);
}

#[test]
fn a_query_says_what_a_member_holds_on_its_way_to_a_new_group() {
    passes_into(true);
}

#[test]
fn a_query_says_what_a_member_holds_on_its_way_to_a_group_that_is_there() {
    passes_into(false);
}
