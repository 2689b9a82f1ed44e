//! What people and programs read, letter by letter.

use bgpd_proto::v1;

use super::{counted, explain, neighbor, owner, route, span, summary};

fn established() -> v1::Neighbor {
    v1::Neighbor {
        address: "192.0.2.11".into(),
        asn: 65000,
        local_asn: 65000,
        description: "rack 4".into(),
        peer_group: "nodes".into(),
        source: "file".into(),
        owner: "bgpctl".into(),
        changed: vec!["hold-time".into()],
        route_reflector_client: true,
        state: "Established".into(),
        uptime_seconds: 93_784,
        established_count: 2,
        flaps: 1,
        last_error: "received NOTIFICATION: Cease / Administrative Shutdown: \"maintenance\"".into(),
        last_error_seconds_ago: Some(93_800),
        last_notification_received: "Cease / Administrative Shutdown: \"maintenance\"".into(),
        local: "192.0.2.1:179".into(),
        remote: "192.0.2.11:48184".into(),
        router_id: "192.0.2.11".into(),
        import_policy: "none: all routes".into(),
        export_policy: "none: all routes".into(),
        capabilities_sent: vec!["multiprotocol ipv4-unicast".into(), "route-refresh".into()],
        capabilities_received: vec!["multiprotocol ipv4-unicast".into(), "fqdn node11".into()],
        negotiated: vec!["ipv4-unicast".into()],
        hold_seconds_configured: 90,
        hold_seconds: Some(9),
        keepalive_millis: Some(3000),
        hold_remaining_seconds: Some(7),
        received: Some(v1::MessageCounts {
            open: 2,
            update: 1200,
            keepalive: 31_261,
            bytes: 650_000,
            ..Default::default()
        }),
        sent: Some(v1::MessageCounts { open: 2, update: 7, keepalive: 31_262, bytes: 594_400, ..Default::default() }),
        prefixes: vec![v1::PrefixCounts {
            family: Some(v1::Family { afi: 1, safi: 1 }),
            received: 256,
            accepted: 255,
            advertised: 1024,
            stale: 0,
            limit: Some(1000),
            refused: 7,
        }],
        graceful_restart: Some(restart()),
        refused_by_guard: 3,
        problems: vec!["prefixes refused by the guard of the clusters: 3".into()],
        malformed: Some(v1::Malformed {
            treat_as_withdraw: 1,
            last: "ORIGIN: undefined origin 7 at offset 26 (treat-as-withdraw)".into(),
            last_attribute: "ORIGIN".into(),
            last_attribute_hex: "07".into(),
            last_hex: "0000".into(),
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn restart() -> v1::GracefulRestart {
    v1::GracefulRestart {
        offered: "graceful-restart 120 s, notification, ipv4-unicast (forwarding state kept)".into(),
        received: "graceful-restart 90 s, ipv4-unicast (forwarding state kept)".into(),
        effect: "each side keeps the other's routes, not after a NOTIFICATION; of the peer: ipv4-unicast".into(),
        stale: Vec::new(),
    }
}

fn restarting() -> v1::Neighbor {
    let family = Some(v1::Family { afi: 1, safi: 1 });
    let waiting = "waits for the peer to restart".into();
    let stale = vec![v1::StaleRoutes { family, waiting, seconds_left: 87 }];
    v1::Neighbor {
        state: "Active".into(),
        graceful_restart: Some(v1::GracefulRestart {
            received: String::new(),
            effect: String::new(),
            stale,
            ..restart()
        }),
        prefixes: vec![v1::PrefixCounts {
            family,
            received: 256,
            accepted: 255,
            advertised: 0,
            stale: 256,
            ..Default::default()
        }],
        ..established()
    }
}

fn down() -> v1::Neighbor {
    v1::Neighbor {
        address: "2001:db8::12".into(),
        asn: 4_200_000_001,
        local_asn: 65000,
        state: "Idle".into(),
        uptime_seconds: 12,
        shutdown: Some("moved".into()),
        source: "api".into(),
        owner: "bgp-sidecar".into(),
        last_error: "sent NOTIFICATION: OPEN Message Error / Bad Peer AS: peer says AS 65002, configured is AS 65001"
            .into(),
        last_error_seconds_ago: Some(12),
        ..Default::default()
    }
}

fn plain(text: &str) -> String {
    anstream::adapter::strip_str(text).to_string()
}

#[test]
fn neighbors_are_a_table_with_numbers_to_the_right() {
    insta::assert_snapshot!(plain(&neighbor::table(&[established(), down(), restarting()])));
}

#[test]
fn no_neighbors_are_said_in_words() {
    assert_eq!(neighbor::table(&[]), "no neighbors\n");
}

#[test]
fn one_neighbor_is_shown_whole() {
    insta::assert_snapshot!(plain(&neighbor::details(&established())));
}

#[test]
fn a_neighbor_that_restarts_says_which_routes_wait_for_it() {
    let text = plain(&neighbor::details(&restarting()));
    assert!(text.contains("256 stale routes, waits for the peer to restart, 00:01:27 left"), "{text}");
}

#[test]
fn neighbor_keys_for_programs_stay() {
    insta::assert_snapshot!(serde_json::to_string_pretty(&neighbor::json(&established())).unwrap());
}

fn routes() -> Vec<v1::Route> {
    let family = Some(v1::Family { afi: 1, safi: 1 });
    let best = v1::Route {
        family,
        prefix: "10.1.11.0/24".into(),
        from: "192.0.2.11".into(),
        from_router_id: "192.0.2.11".into(),
        attributes: Some(v1::Attributes {
            origin: v1::Origin::Igp.into(),
            as_path: "65001 65002".into(),
            next_hop: "192.0.2.11".into(),
            med: Some(10),
            local_pref: Some(100),
            communities: vec!["65000:100".into(), "no-export".into()],
            originator_id: "192.0.2.11".into(),
            cluster_list: vec!["192.0.2.1".into()],
            ..Default::default()
        }),
        best: true,
        age_seconds: Some(59),
        reason: "higher LOCAL_PREF".into(),
        ..Default::default()
    };
    let looped = v1::Route {
        from: "192.0.2.2".into(),
        best: false,
        reason: String::new(),
        rejected: "own cluster ID in CLUSTER_LIST".into(),
        ..best.clone()
    };
    let local = v1::Route {
        prefix: "9.0.0.0/8".into(),
        from: String::new(),
        attributes: Some(v1::Attributes {
            origin: v1::Origin::Igp.into(),
            next_hop: "0.0.0.0".into(),
            ..Default::default()
        }),
        ..best.clone()
    };
    vec![looped, best, local]
}

#[test]
fn routes_are_sorted_by_number_with_the_best_first() {
    let mut routes = routes();
    route::sort(&mut routes);
    insta::assert_snapshot!(plain(&route::table(&routes)));
}

#[test]
fn route_keys_for_programs_stay() {
    insta::assert_snapshot!(serde_json::to_string_pretty(&route::json(&routes()[1])).unwrap());
}

#[test]
fn an_explanation_names_the_rule_and_who_is_told() {
    let [looped, best, _] = routes().try_into().unwrap();
    let answer = v1::ExplainResponse {
        prefix: "10.1.11.0/24".into(),
        candidates: vec![
            v1::Candidate { route: Some(best), verdict: "best: only path".into() },
            v1::Candidate { route: Some(looped), verdict: "not usable: own cluster ID in CLUSTER_LIST".into() },
        ],
        exports: vec![
            v1::Export {
                to: "192.0.2.11".into(),
                advertised: false,
                why: "not advertised: it is this neighbor's own route".into(),
            },
            v1::Export { to: "2001:db8::12".into(), advertised: true, why: "advertised".into() },
        ],
        kernels: vec![v1::Kernel {
            by: "kubernetes".into(),
            installed: true,
            why: "installed via 192.0.2.11 dev eth0, table 254, metric 20".into(),
        }],
    };
    insta::assert_snapshot!(explain::text(&answer));
}

#[test]
fn the_summary_fits_on_a_screen() {
    let status = v1::GetStatusResponse {
        awaited: vec!["192.0.2.12".into()],
        selection_deferral_seconds: 42,
        version: "0.1.0".into(),
        asn: 65000,
        router_id: "192.0.2.1".into(),
        cluster_id: "192.0.2.1".into(),
        uptime_seconds: 1_900_000,
        neighbors: 3,
        established: 2,
        tables: vec![v1::TableCounts { family: Some(v1::Family { afi: 1, safi: 1 }), prefixes: 10, paths: 20 }],
        attribute_sets: 4,
        listen: vec!["0.0.0.0:179".into(), "[::]:179".into()],
        connections: Some(v1::ConnectionCounts { refused_rate: 12, refused_pending: 1, ..Default::default() }),
        ..Default::default()
    };
    insta::assert_snapshot!(summary::table(&status));
}

#[test]
fn spans_are_written_as_operators_write_them() {
    assert_eq!([59, 3_661, 93_784, 1_900_000].map(span), ["00:00:59", "01:01:01", "1d02h", "3w0d"]);
}

fn owners() -> Vec<v1::Owner> {
    let route = |prefix: &str, holder: &str| v1::OwnedRoute {
        announcement: Some(v1::Announcement { prefix: prefix.into(), med: Some(5), ..Default::default() }),
        holder: holder.into(),
    };
    vec![
        v1::Owner { name: "file".into(), routes: vec![route("10.1.0.0/24", "")], ..Default::default() },
        v1::Owner {
            name: "sidecar/node-1".into(),
            routes: vec![route("10.1.0.0/24", "file"), route("10.2.0.0/24", "")],
            lease_seconds: 300,
            lease_remaining_seconds: Some(211),
            connected: false,
        },
    ]
}

#[test]
fn owners_table_says_who_waits_for_whom() {
    insta::assert_snapshot!(plain(&owner::table(&owners())));
}

#[test]
fn owners_json_has_stable_keys() {
    let json: Vec<_> = owners().iter().map(|one| serde_json::to_value(owner::json(one)).expect("JSON")).collect();
    assert_eq!(json[1]["routes"][0]["held_by"], "file");
    assert_eq!(json[1]["lease_remaining_seconds"], 211);
    assert_eq!(json[0]["lease_seconds"], serde_json::Value::Null);
}

#[test]
fn clusters_table_says_whose_they_are_and_what_waits() {
    let east = v1::Cluster {
        name: "east".into(),
        pod_cidrs: vec!["10.1.0.0/16".into(), "fd00:1::/32".into()],
        node_ranges: vec!["192.0.2.0/24".into()],
        peer_groups: vec!["nodes".into()],
        max_length_ipv4: 28,
        max_length_ipv6: 80,
        owner: "file".into(),
        refused_by_guard: 4,
        ..v1::Cluster::default()
    };
    let of_api = v1::Cluster { owner: "inventory".into(), refused_by_guard: 0, ..east.clone() };
    let waiting = v1::Cluster { waits_for: "east".into(), ..of_api.clone() };
    let strict = v1::Cluster { name: "west".into(), strict: true, ..of_api };
    let text = super::cluster::table(&[east, waiting, strict]);
    let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
    let rest = ["10.1.0.0/16", "fd00:1::/32", "192.0.2.0/24", "nodes"];
    let row = |start: &[&'static str]| [start, &rest[..]].concat();
    assert_eq!(rows[1], row(&["east", "file", "cluster", "/28", "/80", "0", "4"]), "{text}");
    let waits = row(&["east", "inventory", "waits", "for", "east", "of", "the", "file", "/28", "/80", "0", "0"]);
    assert_eq!(rows[2], waits, "{text}");
    assert_eq!(rows[3], row(&["west", "inventory", "strict", "/28", "/80", "0", "0"]), "{text}");
}

#[test]
fn one_thing_is_one() {
    let said = [counted(0, "path"), counted(1, "path"), counted(1, "prefix"), counted(2, "prefix")];
    assert_eq!(said, ["0 paths", "1 path", "1 prefix", "2 prefixes"]);
}
