//! bgpd as a route reflector between real FRR, BIRD and GoBGP.

use interop::lab::cluster::Cluster;
use interop::lab::{SeenRoute, to, wait_until};

/// What a client must see of another's pod network (RFC 4456 §8).
fn assert_reflected(who: &str, route: Option<&SeenRoute>, next_hop: &str, originator: &str) {
    let route = route.unwrap_or_else(|| panic!("{who} has no route"));
    assert_eq!(route.next_hop, next_hop, "{who}: next hop unchanged: {route:?}");
    assert_eq!(route.originator_id, originator, "{who}: {route:?}");
    assert_eq!(route.cluster_list, ["192.0.2.1"], "{who}: {route:?}");
}

#[test]
fn clients_learn_each_others_pod_routes_and_their_pods_ping_each_other() {
    let cluster = Cluster::start();
    let picture =
        || cluster.bgpd.picture() + &cluster.frr.picture() + &cluster.bird.picture() + &cluster.gobgp.picture();
    let all = [11, 12, 13];
    for (ipv6, prefix) in [(false, "10.1.N.0/24"), (true, "fd00:1:N::/64")] {
        let prefix = |net: u8| prefix.replace('N', &net.to_string());
        let next_hop = |net: u8| if ipv6 { format!("2001:db8::{net}") } else { format!("192.0.2.{net}") };
        for (who, me, routes) in [
            ("FRR", 11, &(|| cluster.frr.routes(ipv6)) as &dyn Fn() -> Vec<SeenRoute>),
            ("BIRD", 12, &|| cluster.bird.routes(ipv6)),
            ("GoBGP", 13, &|| cluster.gobgp.routes(ipv6)),
        ] {
            let others = || all.into_iter().filter(move |net| *net != me);
            let has_all = || {
                let routes = routes();
                others().all(|net| to(&routes, &prefix(net)).is_some())
            };
            wait_until(&format!("{who} has the others' routes"), has_all, picture);
            let routes = routes();
            for net in others() {
                assert_reflected(who, to(&routes, &prefix(net)), &next_hop(net), &format!("192.0.2.{net}"));
            }
        }
        for (who, node, me) in [("zebra", &cluster.nodes[1], 11), ("BIRD", &cluster.nodes[2], 12)] {
            let installed = || {
                let kernel = node.namespace.kernel_routes(ipv6);
                all.iter().filter(|net| **net != me).all(|net| kernel.contains(&(prefix(*net), next_hop(*net))))
            };
            wait_until(&format!("{who} installs the routes"), installed, picture);
        }
    }
    wait_until("pods ping each other", || cluster.pods[0].reaches(&cluster.pods[1]), picture);
    assert!(cluster.pods[1].reaches(&cluster.pods[0]), "{}", picture());
}
