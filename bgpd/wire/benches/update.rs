//! Time of decoding and encoding UPDATEs as routers send them: six prefixes, an AS path, three communities.

use std::net::Ipv4Addr;

use bgp_wire::Family;
use bgp_wire::attribute::{AsPath, Attribute, AttributeBlock, Community, Origin};
use bgp_wire::frame::{HEADER_LEN, MAX_LEN};
use bgp_wire::nlri::{Ipv4Unicast, Ipv6Unicast, Prefix};
use bgp_wire::update::{DecodeContext, Decoder, NextHop, PathKey, UpdateEncoder};
use divan::{AllocProfiler, Bencher, black_box};

#[global_allocator]
static ALLOCATIONS: AllocProfiler = AllocProfiler::system();

fn main() {
    divan::main();
}

fn attributes(path: u32) -> Vec<u8> {
    let asns: Vec<_> = (0..path).map(|at| 65_001 + at).collect();
    let mut block = Vec::new();
    for attribute in [
        Attribute::Origin(Origin::Igp),
        Attribute::AsPath(AsPath::sequence(&asns)),
        Attribute::MultiExitDisc(50),
        Attribute::LocalPref(100),
        Attribute::Communities([1, 2, 3].map(Community).to_vec()),
    ] {
        attribute.encode(&mut block);
    }
    block
}

fn keys4(count: u32) -> Vec<PathKey<Prefix<4>>> {
    (0..count).map(|at| PathKey { key: Prefix::new((0x0a00_0000 + (at << 8)).to_be_bytes(), 24), path_id: 0 }).collect()
}

fn keys6(count: u32) -> Vec<PathKey<Prefix<16>>> {
    let address = |at: u32| (0x2001_0db8_u128 << 96 | u128::from(at) << 80).to_be_bytes();
    (0..count).map(|at| PathKey { key: Prefix::new(address(at), 48), path_id: 0 }).collect()
}

fn encoder(four_octet_as: bool) -> UpdateEncoder {
    UpdateEncoder { max_len: MAX_LEN, four_octet_as }
}

fn context(four_octet_as: bool) -> DecodeContext {
    let families = vec![Family::IPV4_UNICAST, Family::IPV6_UNICAST];
    DecodeContext { four_octet_as, families, ..DecodeContext::default() }
}

const NEXT_HOP: NextHop = NextHop::V4(Ipv4Addr::new(192, 0, 2, 1));

fn update4(path: u32, prefixes: u32, four_octet_as: bool) -> Vec<u8> {
    let (block, mut out) = (attributes(path), Vec::new());
    let block = AttributeBlock::from_canonical(&block);
    encoder(four_octet_as).reach::<Ipv4Unicast>(block, &NEXT_HOP, false, &keys4(prefixes), &mut out).expect("fits");
    out
}

fn update6(prefixes: u32) -> Vec<u8> {
    let (block, mut out) = (attributes(4), Vec::new());
    let next_hop = NextHop::V6 { global: 1.into(), link_local: None };
    let block = AttributeBlock::from_canonical(&block);
    encoder(true).reach::<Ipv6Unicast>(block, &next_hop, false, &keys6(prefixes), &mut out).expect("fits");
    out
}

fn decode(bencher: Bencher<'_, '_>, message: &[u8], context: &DecodeContext) {
    let mut decoder = Decoder::new();
    let body = &message[HEADER_LEN..];
    bencher.bench_local(|| {
        let update = decoder.decode(black_box(body), black_box(context)).expect("valid");
        black_box(update.attributes.bytes().len())
    });
}

#[divan::bench(args = [2, 4, 6])]
fn decode_six_prefixes_with_a_path_of(bencher: Bencher<'_, '_>, path: u32) {
    decode(bencher, &update4(path, 6, true), &context(true));
}

#[divan::bench]
fn decode_six_prefixes_of_a_two_octet_peer(bencher: Bencher<'_, '_>) {
    decode(bencher, &update4(4, 6, false), &context(false));
}

#[divan::bench]
fn decode_six_ipv6_prefixes(bencher: Bencher<'_, '_>) {
    decode(bencher, &update6(6), &context(true));
}

#[divan::bench]
fn decode_a_full_message(bencher: Bencher<'_, '_>) {
    decode(bencher, &update4(4, 1_000, true), &context(true));
}

#[divan::bench(args = [1, 6, 900])]
fn encode_prefixes(bencher: Bencher<'_, '_>, count: u32) {
    let (block, keys, mut out) = (attributes(4), keys4(count), Vec::with_capacity(8192));
    bencher.bench_local(|| {
        out.clear();
        let block = AttributeBlock::from_canonical(black_box(&block));
        encoder(true).reach::<Ipv4Unicast>(block, &NEXT_HOP, false, black_box(&keys), &mut out).expect("fits");
        black_box(out.len())
    });
}
