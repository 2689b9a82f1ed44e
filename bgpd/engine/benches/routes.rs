//! Time of what is done for every attribute set, destination and change: intern, select, pack and encode.

use std::net::{IpAddr, Ipv4Addr};

use bgp_engine::attr::{AttrRef, Digest, Interner, edit};
use bgp_engine::export::{ExportKey, ExportSpec, LocalAddresses};
use bgp_engine::group::{Chunk, Group, Handover, Outlet, Push};
use bgp_engine::id::{GroupIndex, PeerIndex, Source, SourceKind};
use bgp_engine::policy::Policy;
use bgp_engine::rib::decision::{Candidate, Options, select};
use bgp_engine::stage::{AnyMissed, Cause, Change, Emission, Member, Target};
use bgp_wire::Family;
use bgp_wire::attribute::{AsPath, Attribute, AttributeBlock, Community, Origin};
use bgp_wire::nlri::{Ipv4Unicast, Prefix};
use bgp_wire::update::{NextHop, PathKey};
use divan::counter::ItemsCount;
use divan::{AllocProfiler, Bencher, black_box};

#[global_allocator]
static ALLOCATIONS: AllocProfiler = AllocProfiler::system();

fn main() {
    divan::main();
}

const NEXT_HOP: NextHop = NextHop::V4(Ipv4Addr::new(192, 0, 2, 1));
const GROUP: GroupIndex = GroupIndex(0);
/// Sets in a table that does not fit into a cache.
const SETS: u32 = 100_000;

fn attributes(number: u32) -> Vec<u8> {
    edit::build(&[
        Attribute::Origin(Origin::Igp),
        Attribute::AsPath(AsPath::sequence(&[65_001, 3_000 + number % 70_000, number])),
        Attribute::LocalPref(100),
        Attribute::Communities(vec![Community(number)]),
    ])
}

fn intern(interner: &Interner, bytes: &[u8]) -> AttrRef {
    interner.intern(NEXT_HOP, AttributeBlock::from_canonical(bytes))
}

#[divan::bench]
fn intern_a_set_that_is_in_a_cache(bencher: Bencher<'_, '_>) {
    let (interner, bytes) = (Interner::new(1), attributes(7));
    let kept = intern(&interner, &bytes);
    bencher.bench_local(|| black_box(intern(&interner, black_box(&bytes)) == kept));
}

#[divan::bench]
fn intern_known_sets(bencher: Bencher<'_, '_>) {
    let interner = Interner::new(1);
    let bytes: Vec<_> = (0..SETS).map(attributes).collect();
    let kept: Vec<_> = bytes.iter().map(|bytes| intern(&interner, bytes)).collect();
    bencher.counter(ItemsCount::new(SETS)).bench_local(|| {
        let found = bytes.iter().zip(&kept).filter(|(bytes, kept)| intern(&interner, bytes) == **kept);
        black_box(found.count())
    });
}

#[divan::bench]
fn intern_new_sets(bencher: Bencher<'_, '_>) {
    let bytes: Vec<_> = (0..SETS).map(attributes).collect();
    bencher.counter(ItemsCount::new(SETS)).with_inputs(|| Interner::new(1)).bench_local_refs(|interner| {
        let kept: Vec<_> = bytes.iter().map(|bytes| intern(interner, bytes)).collect();
        black_box(kept)
    });
}

fn source(peer: u32) -> Source {
    let router_id = Ipv4Addr::from(0x0a00_0001 + peer);
    Source { peer: PeerIndex(peer), router_id, kind: SourceKind::Client }
}

/// Candidates of as many peers, of which `digest` says what they look like.
fn candidates(count: u32, digest: impl Fn(u32) -> Digest) -> Vec<Candidate> {
    let candidate = |peer| Candidate::new(&digest(peer), &source(peer), IpAddr::V4(source(peer).router_id), 0);
    (0..count).map(candidate).collect()
}

fn choose(bencher: Bencher<'_, '_>, candidates: &[Candidate]) {
    let mut scratch = Vec::new();
    bencher.bench_local(|| select(black_box(candidates), Some(0), Options::default(), &mut scratch, |_, _| {}));
}

#[divan::bench(args = [2, 10])]
fn select_by_the_length_of_the_path(bencher: Bencher<'_, '_>, count: u32) {
    let digest = |peer| Digest { as_path_len: count - peer, ..Digest::default() };
    choose(bencher, &candidates(count, digest));
}

#[divan::bench(args = [2, 10])]
fn select_by_the_last_rules(bencher: Bencher<'_, '_>, count: u32) {
    choose(bencher, &candidates(count, |_| Digest::default()));
}

#[divan::bench(args = [2, 10])]
fn select_by_med(bencher: Bencher<'_, '_>, count: u32) {
    let digest = |peer| Digest { neighbor_as: Some(65_001), med: Some(count - peer), ..Digest::default() };
    choose(bencher, &candidates(count, digest));
}

/// Takes everything.
struct Sink;

impl Outlet for Sink {
    fn push(&mut self, _: PeerIndex, chunk: Chunk) -> Push {
        black_box(chunk);
        Push::Taken
    }

    fn refill(&mut self, _: usize, _: GroupIndex, _: Member, _: AnyMissed) {}

    fn walk(&mut self, _: GroupIndex, _: Member) {}

    fn end_walk(&mut self, _: GroupIndex, _: Member) {}

    fn walk_credit(&mut self, _: usize, _: GroupIndex) {}

    fn pass(&mut self, _: GroupIndex, _: GroupIndex, _: Member, _: bool) {}

    fn hand_over(&mut self, _: GroupIndex, _: Member, _: Handover) {}
}

fn spec() -> ExportSpec {
    let key = ExportKey {
        family: Family::IPV4_UNICAST,
        external_as: None,
        client: true,
        client_to_client: true,
        cluster_id: Some(Ipv4Addr::new(10, 0, 0, 100)),
        next_hop_self: false,
        local: LocalAddresses::default(),
        four_octet_as: true,
        max_message_len: 4096,
        add_path: false,
        extended_next_hop: false,
        long_lived: false,
        role: None,
        policy: None,
    };
    ExportSpec::new(key, Policy::AcceptAll)
}

/// An emission of 6,000 changes in which `per_set` neighbors share their attributes.
fn emission(per_set: u32) -> Emission<Ipv4Unicast> {
    let interner = Interner::new(1);
    let change = |at: u32| Change {
        key: PathKey { key: Prefix::new((0x0100_0000 + (at << 8)).to_be_bytes(), 24), path_id: 0 },
        position: at,
        old_source: None,
        new: Some((intern(&interner, &attributes(at / per_set)), source(0))),
    };
    Emission {
        group: GROUP,
        partition: 0,
        target: Target::All,
        cause: Cause::Live,
        changes: (0..6_000).map(change).collect(),
        end_of_rib: Vec::new(),
    }
}

#[divan::bench(args = [1, 6, 600])]
fn pack_and_encode_routes_per_set(bencher: Bencher<'_, '_>, per_set: u32) {
    let mut group = Group::<Ipv4Unicast>::new(GROUP, spec(), 1);
    (0..11).for_each(|peer| group.join(PeerIndex(peer), &mut Sink));
    let emission = emission(per_set);
    bencher.counter(ItemsCount::new(emission.changes.len())).bench_local(|| {
        group.handle(black_box(&emission), &mut Sink);
        group.flush(&mut Sink);
    });
}
