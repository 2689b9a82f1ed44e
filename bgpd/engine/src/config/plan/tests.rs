use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use bgp_wire::Family;
use ipnet::{IpNet, Ipv4Net};
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;

use super::*;
use crate::config::cluster::Guard;
use crate::config::desired::{
    AddPath, DynamicNeighbors, Global, GracefulRestart, Neighbor, NeighborSettings, Originate, Secret,
};
use crate::config::{ConnectionLimits, PrefixLimits};
use crate::rpki::CacheSettings;

pub(in crate::config) fn settings(remote_asn: u32) -> NeighborSettings {
    NeighborSettings {
        remote_asn,
        local_asn: None,
        route_reflector_client: false,
        families: vec![Family::IPV4_UNICAST],
        hold_seconds: 90,
        idle_hold: Duration::from_secs(5),
        connect_retry: Duration::from_secs(5),
        local_address: None,
        passive: false,
        md5_password: None,
        ao_keys: Vec::new(),
        ttl_security: false,
        ebgp_multihop: None,
        next_hop_self: false,
        add_path: AddPath::default(),
        extended_messages: true,
        extended_next_hop: false,
        role: None,
        role_strict: false,
        reject_as_sets: None,
        graceful_restart: GracefulRestart::default(),
        prefix_limits: PrefixLimits::default(),
        import_policy: None,
        export_policy: None,
        graceful_shutdown: false,
        shutdown: None,
    }
}

fn neighbor(last: u8) -> Neighbor {
    let address = IpAddr::from([192, 0, 2, last]);
    Neighbor { address, port: 179, peer_group: None, description: None, settings: settings(65000) }
}

fn desired(neighbors: &[Neighbor]) -> Desired {
    Desired {
        global: Global {
            asn: 65000,
            router_id: Ipv4Addr::new(192, 0, 2, 1),
            cluster_id: Ipv4Addr::new(192, 0, 2, 1),
            listen: Vec::new(),
            client_to_client: true,
            graceful_shutdown: false,
            always_compare_med: false,
            connections: ConnectionLimits::default(),
            import_policy: None,
            export_policy: None,
        },
        neighbors: neighbors.iter().map(|neighbor| (neighbor.address, neighbor.clone())).collect(),
        dynamic: BTreeMap::new(),
        peer_groups: BTreeMap::new(),
        policies: std::sync::Arc::default(),
        originate: BTreeMap::new(),
        guard: Guard::default(),
        caches: BTreeMap::new(),
    }
}

fn steps_for(edit: impl FnOnce(&mut Neighbor)) -> Vec<Step> {
    let mut changed = neighbor(10);
    edit(&mut changed);
    plan(&desired(&[neighbor(10)]), &desired(&[changed]))
}

fn shown(steps: &[Step]) -> Vec<String> {
    steps.iter().map(Step::to_string).collect()
}

#[test]
fn equal_states_need_no_steps() {
    assert_eq!(plan(&desired(&[neighbor(10)]), &desired(&[neighbor(10)])), []);
}

#[test]
fn hold_time_waits_for_the_next_session() {
    let steps = steps_for(|neighbor| neighbor.settings.hold_seconds = 30);
    assert_eq!(shown(&steps), ["neighbor 192.0.2.10: hold-time 90 -> 30: takes effect at the next session"]);
}

#[test]
fn several_changes_show_the_greatest_impact_and_keep_each() {
    let steps = steps_for(|neighbor| {
        neighbor.description = Some("spine".to_owned());
        neighbor.settings.import_policy = Some(vec!["accept-all".to_owned()]);
        neighbor.settings.hold_seconds = 30;
    });
    assert_eq!(
        shown(&steps),
        ["neighbor 192.0.2.10: description none -> \"spine\", hold-time 90 -> 30, \
          import-policy none -> [\"accept-all\"]: routes are judged again"]
    );
    assert!(steps[0].has(Impact::NextSession) && steps[0].has(Impact::PolicyAgain));
    assert!(!steps[0].has(Impact::SessionReset));
}

#[test]
fn passwords_are_never_shown() {
    let mut old = neighbor(10);
    old.settings.md5_password = Some(Secret("hush-old".to_owned()));
    let mut new = neighbor(10);
    new.settings.md5_password = Some(Secret("hush-new".to_owned()));
    let steps = plan(&desired(&[old]), &desired(&[new]));
    assert_eq!(shown(&steps), ["neighbor 192.0.2.10: md5-password changed: no effect on sessions"]);
    assert!(!format!("{steps:?}").contains("hush"));
}

#[test]
fn removals_come_before_additions() {
    let steps = plan(&desired(&[neighbor(20)]), &desired(&[neighbor(10)]));
    assert_eq!(
        shown(&steps),
        ["neighbor 192.0.2.20: removed, its session ends", "neighbor 192.0.2.10: added, AS 65000"]
    );
}

fn any_settings() -> impl Strategy<Value = NeighborSettings> {
    let first = (1u32..4, option::of(1u32..3), any::<bool>(), 3u16..6, 0u64..3, any::<bool>(), option::of("[ab]"));
    let second = (option::of(1u8..3), any::<bool>(), any::<bool>(), option::of(any::<bool>()), option::of("[ab]"));
    (first, second, vec(option::of(vec("[ab]", 0..2)), 2)).prop_map(|(first, second, policies)| NeighborSettings {
        local_asn: first.1,
        route_reflector_client: first.2,
        hold_seconds: first.3,
        idle_hold: Duration::from_secs(first.4),
        passive: first.5,
        md5_password: first.6.map(Secret),
        ebgp_multihop: second.0,
        next_hop_self: second.1,
        add_path: AddPath { receive: second.2, send: false },
        reject_as_sets: second.3,
        graceful_restart: GracefulRestart { enabled: second.1, ..GracefulRestart::default() },
        prefix_limits: PrefixLimits { warning_percent: 50 + u8::from(second.1), ..PrefixLimits::default() },
        graceful_shutdown: first.2,
        shutdown: second.4,
        import_policy: policies[0].clone(),
        export_policy: policies[1].clone(),
        ..settings(first.0)
    })
}

fn prefix(index: u8) -> IpNet {
    Ipv4Net::new_assert(Ipv4Addr::new(10, index, 0, 0), 24).into()
}

fn any_desired() -> impl Strategy<Value = Desired> {
    let neighbors = btree_map(0u8..5, (any_settings(), option::of("[ab]"), 1u16..3), 0..5);
    let dynamic = btree_map(0u8..4, (any_settings(), 1usize..3), 0..4);
    let originate = btree_map(0u8..4, (option::of(0u32..2), vec(0u32..3, 0..2)), 0..4);
    let caches = btree_map(0u8..3, 0u8..2, 0..3);
    let global = (1u32..3, any::<bool>(), any::<bool>());
    (global, neighbors, dynamic, btree_map("[abc]", any_settings(), 0..3), originate, caches).prop_map(
        |((asn, client_to_client, always_compare_med), neighbors, dynamic, peer_groups, originate, caches)| {
            let cache = |(last, preference): (u8, u8)| {
                let settings = CacheSettings { preference, ..CacheSettings::default() };
                (([192, 0, 2, last], 323).into(), settings)
            };
            let global = Global { asn, client_to_client, always_compare_med, ..desired(&[]).global };
            let neighbors = neighbors.into_iter().map(|(last, (settings, description, port))| {
                let neighbor = Neighbor { settings, description, port, ..neighbor(last) };
                (neighbor.address, neighbor)
            });
            let dynamic = dynamic.into_iter().map(|(index, (settings, limit))| {
                let prefix = prefix(index);
                (prefix, DynamicNeighbors { prefix, peer_group: "nodes".to_owned(), limit, settings })
            });
            let originate = originate.into_iter().map(|(index, (med, communities))| {
                let prefix = prefix(index);
                let large_communities = Vec::new();
                (prefix, Originate { prefix, next_hop: None, local_pref: None, med, communities, large_communities })
            });
            Desired {
                global,
                neighbors: neighbors.collect(),
                dynamic: dynamic.collect(),
                peer_groups,
                policies: std::sync::Arc::default(),
                originate: originate.collect(),
                guard: Guard::default(),
                caches: caches.into_iter().map(cache).collect(),
            }
        },
    )
}

proptest! {
    #[test]
    fn applying_the_plan_gives_what_was_wanted(running in any_desired(), wanted in any_desired()) {
        let mut result = running.clone();
        let steps = plan(&running, &wanted);
        steps.iter().for_each(|step| apply(&mut result, step));
        prop_assert_eq!(&result, &wanted);
        prop_assert_eq!(plan(&result, &wanted), vec![]);
    }
}
