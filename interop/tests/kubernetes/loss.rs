//! Nodes that are switched off without a drain: nobody says good-bye, the hold time ends their sessions.

use std::collections::BTreeSet;

use interop::lab::{Bgpd, Lab, Node, Sidecar, wait_until};

use crate::apiserver::ApiServer;
use crate::world::{
    api_server, kernel_routes, node_config, node_object, start_bgpd_with, start_reflector, start_sidecar,
};

struct Own {
    node: Node,
    bgpd: Bgpd,
    sidecar: Sidecar,
}

fn start(lab: &Lab, api: &ApiServer, host: u8, restart: &str) -> Own {
    let name = format!("n{host}");
    let node = lab.host(&name, 1, host);
    api.put("nodes", node_object(&name, 1, host));
    let config = node_config(&node);
    assert!(config.contains("restart-time = 30"), "{config}");
    let bgpd = start_bgpd_with(&node, &config.replace("restart-time = 30", restart));
    let sidecar = start_sidecar(&node, &name, &bgpd);
    Own { node, bgpd, sidecar }
}

fn networks(hosts: &[u8]) -> BTreeSet<String> {
    hosts.iter().flat_map(|host| [format!("10.1.{host}.0/24"), format!("fd00:1:{host}::/64")]).collect()
}

/// Pod networks that a reflector has, and whether they are of a session that has ended.
fn reflected(reflector: &Bgpd, host: u8) -> Vec<bool> {
    let routes = reflector.json(&["show", "routes", "--best"]);
    let own = networks(&[host]);
    let is_own = |route: &&serde_json::Value| route["prefix"].as_str().is_some_and(|prefix| own.contains(prefix));
    routes.as_array().into_iter().flatten().filter(is_own).map(|route| route["stale"] == true).collect()
}

#[test]
fn nodes_that_are_switched_off_go_with_their_hold_time_or_their_restart_time() {
    let lab = Lab::new("loss", &["nft", "setpriv"]);
    let _router = lab.router([0, 1]);
    let hosts = [lab.host("rr1", 0, 1), lab.host("rr2", 0, 2), lab.host("api", 0, 100)];
    let api = api_server(&hosts[2].namespace, "172.16.0.100:8081");
    let reflectors = [start_reflector(&hosts[0], 0), start_reflector(&hosts[1], 1)];
    // The first has asked to be waited for, the second not.
    let stays = start(&lab, &api, 21, "restart-time = 30");
    let (waited, other) =
        (start(&lab, &api, 22, "restart-time = 20"), start(&lab, &api, 23, "graceful-restart = false"));
    let picture = || stays.bgpd.picture() + &stays.sidecar.picture() + &reflectors[0].picture();
    let all = [&waited, &other];
    for one in all {
        let ready = || one.sidecar.is_ready();
        wait_until("the nodes are ready", ready, || one.bgpd.picture() + &one.sidecar.picture());
    }
    wait_until("routes to both", || kernel_routes(&stays.node) == networks(&[22, 23]), picture);
    all.iter().for_each(|one| one.node.cut());
    let noticed = || reflectors.iter().all(|one| reflected(one, 23).is_empty() && reflected(one, 22) == [true, true]);
    wait_until("one is gone, the other may come back", noticed, picture);
    wait_until("routes to the one that may", || kernel_routes(&stays.node) == networks(&[22]), picture);
    wait_until("its restart time is over", || kernel_routes(&stays.node).is_empty(), picture);
    let forgotten = || reflectors.iter().all(|one| reflected(one, 22).is_empty());
    wait_until("no reflector has it any more", forgotten, picture);
    let exempt = || stays.node.namespace.run_ok(&["nft", "list", "ruleset"]);
    let neither = || !exempt().contains("10.1.22.0/24") && !exempt().contains("10.1.23.0/24");
    wait_until("nor is it exempt from masquerade", neither, picture);
    assert!(reflectors.iter().all(|one| one.is_established("172.16.1.21")), "{}", picture());
}
