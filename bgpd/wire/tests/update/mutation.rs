//! Realistic UPDATEs with every octet changed: never a panic, and a verdict that fits together.

use bgp_wire::Family;
use bgp_wire::nlri::{Ipv4Unicast, Ipv6Unicast};
use bgp_wire::update::{DecodeContext, Decoder, FaultAction, NlriBlock, Update};
use proptest::prelude::*;

use crate::message::*;

fn realistic() -> Vec<Vec<u8>> {
    let med = attribute(OPTIONAL, 4, &[0, 0, 0, 50]);
    let communities = attribute(TRANSITIVE, 8, &[0xfd, 0xe9, 0, 1, 0xfd, 0xe9, 0, 2, 0xff, 0xff, 0xff, 1]);
    let large = attribute(TRANSITIVE, 32, &[0, 0, 0xfd, 0xe9, 0, 0, 0, 1, 0, 0, 0, 2]);
    let cluster = attribute(OPTIONAL, 10, &[10, 0, 0, 1, 10, 0, 0, 2]);
    let originator = attribute(OPTIONAL, 9, &[10, 0, 0, 3]);
    let aggregator = attribute(TRANSITIVE, 7, &[0, 0, 0xfd, 0xe9, 10, 0, 0, 1]);
    let unknown = attribute(TRANSITIVE, 99, &[1, 2, 3, 4]);
    let nlri = [PREFIX, &[8, 10], &[32, 192, 0, 2, 9], &[0]].concat();
    let next_hop6 = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    let nlri6 = [32, 0x20, 1, 0xd, 0xb8, 48, 0x20, 1, 0xd, 0xb8, 0, 7];
    let reach6 = mp_reach(Family::IPV6_UNICAST, &next_hop6, &nlri6);
    let unreach6 = mp_unreach(Family::IPV6_UNICAST, &nlri6);
    vec![
        body(&[], &[], &[]),
        body(&nlri, &[], &[]),
        announcement(&[&med, &communities, &large]),
        body(&nlri, &[ORIGIN, AS_PATH, NEXT_HOP, &originator, &cluster, &aggregator, &unknown], &nlri),
        body(&[], &[&reach6, ORIGIN, AS_PATH, &communities], &[]),
        body(&[], &[&unreach6], &[]),
        body(&nlri, &[&reach6, ORIGIN, AS_PATH, NEXT_HOP, &unreach6, &large], &nlri),
    ]
}

fn contexts() -> Vec<DecodeContext> {
    let both = vec![Family::IPV4_UNICAST, Family::IPV6_UNICAST];
    vec![
        internal(),
        external(),
        ipv4_only(),
        DecodeContext { four_octet_as: false, reject_as_sets: true, ..internal() },
        DecodeContext { add_path: both.clone(), extended_next_hop: both, ..internal() },
    ]
}

fn count(block: NlriBlock<'_>) -> usize {
    match block.family() {
        Family::IPV4_UNICAST => block.iter::<Ipv4Unicast>().count(),
        _ => block.iter::<Ipv6Unicast>().count(),
    }
}

fn check_update(update: &Update<'_>, body: &[u8], context: &DecodeContext) {
    let strongest = update.faults.iter().map(|fault| fault.action).min();
    assert_ne!(strongest, Some(FaultAction::SessionReset), "that would be an error");
    let withdraws = update.faults.iter().any(|fault| fault.action == FaultAction::TreatAsWithdraw);
    let disables = update.faults.iter().any(|fault| fault.action == FaultAction::AfiSafiDisable);
    assert_eq!((withdraws, disables), (update.treat_as_withdraw, update.disable.is_some()));
    assert!(update.faults.iter().all(|fault| fault.offset <= body.len() && !fault.to_string().is_empty()));
    let blocks =
        [Some(update.withdrawn), Some(update.nlri), update.mp_reach.map(|reach| reach.nlri), update.mp_unreach];
    for block in blocks.into_iter().flatten() {
        assert_eq!(count(block) == 0, block.is_empty());
        assert!(block.is_empty() || context.families.contains(&block.family()));
    }
    if update.treat_as_withdraw {
        assert!(update.attributes.bytes().is_empty());
        return;
    }
    if !update.nlri.is_empty() {
        assert!(update.next_hop.is_some());
    }
    // What is left is canonical: whole TLVs in the order of their codes, each of which can be read.
    let parsed: usize = update.attributes.iter().map(|a| a.value.len() + if a.value.len() > 255 { 4 } else { 3 }).sum();
    assert_eq!(parsed, update.attributes.bytes().len());
    let codes: Vec<_> = update.attributes.iter().map(|attribute| attribute.code).collect();
    assert!(codes.is_sorted_by(|a, b| a < b), "{codes:?}");
    for attribute in update.attributes.iter() {
        assert!(bgp_wire::attribute::decode_value(attribute.flags, attribute.code, attribute.value).is_ok());
    }
}

fn check(decoder: &mut Decoder, body: &[u8], context: &DecodeContext) {
    match decoder.decode(body, context) {
        Ok(update) => check_update(&update, body, context),
        Err(reset) => {
            assert_eq!((reset.fault.action, reset.notification.code), (FaultAction::SessionReset, 3));
            assert!(reset.fault.offset <= body.len());
        }
    }
}

#[test]
fn every_changed_octet_has_a_verdict() {
    let mut decoder = Decoder::new();
    for context in contexts() {
        for original in realistic() {
            check(&mut decoder, &original, &context);
            for at in 0..original.len() {
                for change in 1..=255 {
                    let mut body = original.clone();
                    body[at] ^= change;
                    check(&mut decoder, &body, &context);
                }
            }
        }
    }
}

#[test]
fn every_truncated_or_lengthened_update_has_a_verdict() {
    let mut decoder = Decoder::new();
    for context in contexts() {
        for original in realistic() {
            (0..original.len()).for_each(|len| check(&mut decoder, &original[..len], &context));
            for octet in [0, 1, 24, 255] {
                check(&mut decoder, &[original.as_slice(), &[octet]].concat(), &context);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn several_changes_have_a_verdict(
        which in 0_usize..7,
        context in 0_usize..5,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut body = realistic().swap_remove(which);
        changes.iter().for_each(|(at, octet)| {
            let at = at.index(body.len());
            body[at] = *octet;
        });
        check(&mut Decoder::new(), &body, &contexts()[context]);
    }

    #[test]
    fn any_octets_have_a_verdict(body in prop::collection::vec(any::<u8>(), 0..200), context in 0_usize..5) {
        check(&mut Decoder::new(), &body, &contexts()[context]);
    }
}
