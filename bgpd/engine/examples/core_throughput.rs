//! Prints what a route costs from UPDATE bytes to encoded chunks: one client announces a million prefixes, six per
//! attribute set, to ten clients of one group.
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    reason = "a measurement needs a clock and says what it found"
)]

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bgp_engine::attr::{Interner, edit};
use bgp_engine::export::{ExportKey, ExportSpec, LocalAddresses};
use bgp_engine::group::{AnyGroup, Chunk, Handover, Outlet, Push};
use bgp_engine::id::{GroupIndex, PeerIndex, Source, SourceKind};
use bgp_engine::intake::{Intake, IntakeSettings};
use bgp_engine::policy::Policy;
use bgp_engine::rib::{Partition, PartitionSettings, decision};
use bgp_engine::stage::{AnyMissed, Fence, Import, Member};
use bgp_wire::Family;
use bgp_wire::attribute::{AsPath, Attribute, AttributeBlock, Community, Origin};
use bgp_wire::nlri::{Ipv4Unicast, Prefix};
use bgp_wire::update::{DecodeContext, NextHop, PathKey, UpdateEncoder};

const ROUTES: u32 = 1_000_000;
const PER_SET: u32 = 6;
const CLIENTS: u32 = 11;
const GROUP: GroupIndex = GroupIndex(0);
/// Octets of one read from the socket.
const BURST: usize = 64 * 1024;

/// Counts what it is given.
#[derive(Default)]
struct Sink {
    bytes: usize,
    chunks: usize,
    walks: Vec<Member>,
}

impl Outlet for Sink {
    fn push(&mut self, member: PeerIndex, chunk: Chunk) -> Push {
        self.bytes += chunk.len_for(member);
        self.chunks += 1;
        Push::Taken
    }

    fn refill(&mut self, _: usize, _: GroupIndex, _: Member, _: AnyMissed) {}

    fn walk(&mut self, _: GroupIndex, member: Member) {
        self.walks.push(member);
    }

    fn end_walk(&mut self, _: GroupIndex, _: Member) {}

    fn walk_credit(&mut self, _: usize, _: GroupIndex) {}

    fn pass(&mut self, _: GroupIndex, _: GroupIndex, _: Member, _: bool) {}

    fn hand_over(&mut self, _: GroupIndex, _: Member, _: Handover) {}
}

/// The UPDATEs of the load, whole messages one after the other.
fn load() -> Vec<u8> {
    let encoder = UpdateEncoder { max_len: 4096, four_octet_as: true };
    let mut out = Vec::new();
    for set in 0..ROUTES.div_ceil(PER_SET) {
        let attributes = edit::build(&[
            Attribute::Origin(Origin::Igp),
            Attribute::AsPath(AsPath::sequence(&[65_001, 3_000 + set % 70_000, set])),
            Attribute::LocalPref(100),
            Attribute::Communities(vec![Community(set)]),
        ]);
        let prefix = |at: u32| Prefix::new((0x0100_0000 + (at << 8)).to_be_bytes(), 24);
        let keys: Vec<_> = (set * PER_SET..((set + 1) * PER_SET).min(ROUTES))
            .map(|at| PathKey { key: prefix(at), path_id: 0 })
            .collect();
        let next_hop = NextHop::V4(Ipv4Addr::new(192, 0, 2, 1));
        let block = AttributeBlock::from_canonical(&attributes);
        encoder.reach::<Ipv4Unicast>(block, &next_hop, false, &keys, &mut out).expect("small attributes");
    }
    out
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

fn intake(interner: &Arc<Interner>) -> Intake {
    let settings = IntakeSettings {
        own_asn: 65_000,
        router_id: Ipv4Addr::new(10, 0, 0, 100),
        kind: SourceKind::Client,
        address: IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)),
        asn: 65_000,
        own_addresses: Vec::new(),
        partitions: 1,
        role: None,
        import: Import::ACCEPT_ALL,
        decode: DecodeContext {
            external: false,
            four_octet_as: true,
            families: vec![Family::IPV4_UNICAST],
            add_path: Vec::new(),
            extended_next_hop: Vec::new(),
            reject_as_sets: false,
        },
    };
    Intake::new(PeerIndex(0), settings, Arc::clone(interner))
}

/// Resident memory in octets.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    status.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).unwrap_or(0) * 4096
}

fn main() {
    let load = load();
    let interner = Arc::new(Interner::new(1));
    let mut intake = intake(&interner);
    let settings = PartitionSettings {
        index: 0,
        seed: 1,
        router_id: Ipv4Addr::new(10, 0, 0, 100),
        decision: decision::Options::default(),
    };
    let mut partition = Partition::new(settings, Arc::new(Interner::new(7)));
    let mut group = AnyGroup::new(GROUP, spec(), 1).expect("IPv4 unicast can be routed");
    let mut sink = Sink::default();
    partition.add_group(GROUP, spec());
    for peer in 0..CLIENTS {
        let router_id = Ipv4Addr::from(0x0a00_0001 + peer);
        let source = Source { peer: PeerIndex(peer), router_id, kind: SourceKind::Client };
        let (address, import) = (IpAddr::V4(router_id), Import::ACCEPT_ALL);
        let fence = Fence::PeerUp { source, address, asn: 65_000, import, awaited: Vec::new() };
        partition.fence(&fence, &mut Vec::new());
        group.join(PeerIndex(peer), &mut sink);
    }
    let before = resident();
    let mut spent = [Duration::ZERO; 3];
    let (mut at, mut emissions) = (0, Vec::new());
    while at < load.len() {
        let (start, burst) = (Instant::now(), at);
        while at < load.len() && at - burst < BURST {
            let len = usize::from(u16::from_be_bytes([load[at + 16], load[at + 17]]));
            intake.update(&load[at + 19..at + len]).expect("well-formed UPDATEs");
            at += len;
        }
        let batches: Vec<_> = intake.drain().collect();
        let taken_in = Instant::now();
        for (_, batch) in batches {
            partition.batch(batch, 0, &mut emissions);
        }
        let decided = Instant::now();
        for emission in emissions.drain(..) {
            group.handle(&emission, &mut sink);
        }
        group.flush(&mut sink);
        spent[0] += taken_in - start;
        spent[1] += decided - taken_in;
        spent[2] += decided.elapsed();
    }
    let per_route = |time: Duration| time.as_nanos() / u128::from(ROUTES);
    for (stage, time) in ["intake", "partition", "group"].iter().zip(spent) {
        println!("{stage:>10} {:>5} ns/route", per_route(time));
    }
    println!("{:>10} {:>5} ns/route", "total", per_route(spent.iter().sum()));
    println!("{:>10} {:>5} bytes/route", "memory", (resident() - before) / ROUTES as usize);
    println!("{} octets in {} chunks to {CLIENTS} members, {} sets", sink.bytes, sink.chunks, interner.len());
}
