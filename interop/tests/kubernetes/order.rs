//! A route is never in the kernel without its exemption from masquerade: the connection that begins in between would be
//! masqueraded for as long as it lasts.

use std::collections::BTreeSet;
use std::fs;

use interop::lab::{Lab, Sidecar, wait_until};
use ipnet::IpNet;
use serde_json::Value;

use crate::world::{
    SIDECAR_CAPABILITIES, api_server, kernel_routes, node_object, start_bgpd, start_reflector, start_sidecar,
};

/// Stands before `nft` in the sidecar's path: writes down which of its routes are in the kernel and what is asked of nft,
/// one line each, and has nft do it.
const WITNESS: &str = "#!/bin/sh
asked=$(cat)
{
    ip -o route show table all proto 145
    ip -o -6 route show table all proto 145
} | cut -d' ' -f1 | tr '\\n' ' ' >>LOG
printf '\\t%s\\n' \"$asked\" >>LOG
printf %s \"$asked\" | NFT \"$@\"
";

/// One call of nft: the routes that were in the kernel, and the prefixes that are exempt after it.
struct Call {
    routes: Vec<IpNet>,
    exempt: BTreeSet<IpNet>,
}

fn calls(log: &str) -> Vec<Call> {
    // The last line may be half written.
    let whole = log.rsplit_once('\n').map_or("", |(whole, _)| whole);
    let call = |line: &str| {
        let (routes, asked) = line.split_once('\t').expect("routes and what is asked");
        let asked: Value = serde_json::from_str(asked).expect("JSON for nft");
        let commands = asked["nftables"].as_array().expect("commands").clone();
        let elements = commands.iter().filter_map(|one| one["add"]["element"]["elem"].as_array()).flatten();
        let prefix = |element: &Value| {
            let prefix = &element["prefix"];
            format!("{}/{}", prefix["addr"].as_str()?, prefix["len"]).parse().ok()
        };
        let routes = routes.split_whitespace().filter_map(|text| text.parse().ok());
        Call { routes: routes.collect(), exempt: elements.filter_map(prefix).collect() }
    };
    whole.lines().map(call).collect()
}

#[test]
fn no_route_is_in_the_kernel_before_or_after_its_exemption_from_masquerade() {
    let lab = Lab::new("order", &["nft", "setpriv"]);
    let _router = lab.router([0, 1]);
    let hosts = [lab.host("rr1", 0, 1), lab.host("rr2", 0, 2), lab.host("api", 0, 100)];
    let api = api_server(&hosts[2].namespace, "172.16.0.100:8081");
    let _reflectors = [start_reflector(&hosts[0], 0), start_reflector(&hosts[1], 1)];
    let (witnessed, other) = (lab.host("n21", 1, 21), lab.host("n22", 1, 22));
    api.put("nodes", node_object("n21", 1, 21));

    let log = witnessed.dir.join("nft.log");
    let nft = interop::lab::run_ok(&["sh", "-c", "PATH=$PATH:/usr/sbin:/sbin command -v nft"]);
    let script = WITNESS.replace("LOG", &log.display().to_string()).replace("NFT", nft.trim());
    let program = witnessed.write("nft", &script).display().to_string();
    let _ = interop::lab::run_ok(&["chmod", "755", &program]);
    let bgpd = start_bgpd(&witnessed);
    let arguments = [format!("--server=unix:{}", bgpd.socket()), "--node-name=n21".to_owned()];
    let arguments: Vec<&str> = arguments
        .iter()
        .map(String::as_str)
        .chain(["--resolve-via-default", "--exempt-within=10.0.0.0/8,fd00::/8"])
        .collect();
    let path = std::env::var("PATH").unwrap_or_default();
    let path = format!("PATH={}:{path}:/usr/sbin:/sbin", witnessed.dir.display());
    let server = "http://172.16.0.100:8081";
    let sidecar = Sidecar::start_with(&witnessed, server, SIDECAR_CAPABILITIES, &arguments, &[&path]);

    let bgpd_of_other = start_bgpd(&other);
    let sidecar_of_other = start_sidecar(&other, "n22", &bgpd_of_other);
    let picture = || bgpd.picture() + &sidecar.picture() + &sidecar_of_other.picture();
    let wanted = |present: bool| -> BTreeSet<String> {
        let networks = ["10.1.22.0/24".to_owned(), "fd00:1:22::/64".to_owned()];
        if present { networks.into() } else { BTreeSet::new() }
    };
    let read = || calls(&fs::read_to_string(&log).unwrap_or_default());
    let exempt = |prefix: &str| {
        let prefix = prefix.parse().expect("a prefix");
        read().last().is_some_and(|call| call.exempt.contains(&prefix))
    };
    for round in 0..3 {
        api.put("nodes", node_object("n22", 1, 22));
        let comes = || kernel_routes(&witnessed) == wanted(true);
        wait_until(&format!("routes come in round {round}"), comes, picture);
        assert!(exempt("10.1.22.0/24") && exempt("fd00:1:22::/64"), "{}", picture());
        api.delete("nodes", "n22");
        let goes =
            || kernel_routes(&witnessed) == wanted(false) && !exempt("10.1.22.0/24") && !exempt("fd00:1:22::/64");
        wait_until(&format!("routes and exemption go in round {round}"), goes, picture);
    }
    let (mut came, mut went, mut before) = (0, 0, BTreeSet::new());
    for Call { routes, exempt } in read() {
        let early: Vec<&IpNet> = routes.iter().filter(|route| !before.contains(*route)).collect();
        assert!(early.is_empty(), "{early:?} came before the exemption: {before:?}");
        let gone: BTreeSet<IpNet> = before.difference(&exempt).copied().collect();
        assert!(routes.iter().all(|route| !gone.contains(route)), "{gone:?} was not exempt any more with {routes:?}");
        came += exempt.difference(&before).count();
        went += gone.len();
        before = exempt;
    }
    // Two prefixes in each round, and its own.
    assert!(came >= 8 && went >= 6, "{came} came, {went} went");
}
