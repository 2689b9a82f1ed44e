//! The exemption from masquerade in a real kernel, in a network namespace of its own. Needs root and `nft`.

#[expect(dead_code, reason = "other tests use the rest")]
mod lab;

use std::collections::BTreeSet;

use bgp_sidecar::masquerade::{self, Exemption};
use ipnet::IpNet;
use lab::{in_namespace, ip, run};

fn nets(texts: &[&str]) -> Vec<IpNet> {
    texts.iter().map(|text| text.parse().expect("a prefix")).collect()
}

fn tables() -> String {
    run("nft", "list ruleset")
}

#[test]
fn table_holds_the_prefixes_and_decides_before_the_usual_chains() {
    in_namespace(|| async {
        ip("link set lo up");
        masquerade::write(&nets(&["10.1.0.0/24", "fd00:1::/64"])).expect("written");
        // Again, with others: there is one table with one chain, and nothing of the first.
        masquerade::write(&nets(&["10.1.0.0/24", "10.2.0.0/16"])).expect("written again");
        let listed = tables();
        assert!(listed.contains("elements = { 10.1.0.0/24, 10.2.0.0/16 }"), "{listed}");
        assert!(!listed.contains("fd00"), "{listed}");
        assert_eq!(listed.matches("chain postrouting").count(), 1, "{listed}");
        assert!(listed.contains("type nat hook postrouting priority srcnat - 10"), "{listed}");
        assert!(listed.contains("ip saddr @pods-v4 ip daddr @pods-v4 snat ip to ip saddr"), "{listed}");
        masquerade::remove().expect("removed");
        masquerade::remove().expect("gone already");
        assert_eq!(tables(), "");
    });
}

#[test]
fn exemption_is_in_the_kernel_when_it_holds_and_tables_of_others_are_left_alone() {
    in_namespace(|| async {
        run("nft", "add table inet theirs");
        let mut exemption = Exemption::new(nets(&["10.0.0.0/8"]));
        assert_eq!(tables().matches("table").count(), 1);
        let own = nets(&["10.1.0.0/24"]);
        let routes = |texts: &[&str]| nets(texts).into_iter().collect::<BTreeSet<IpNet>>();
        exemption.hold(&own, &routes(&["10.3.0.0/24", "192.0.2.0/24"])).await;
        assert!(tables().contains("elements = { 10.1.0.0/24, 10.3.0.0/24 }"), "{}", tables());
        exemption.hold(&own, &routes(&["10.5.0.0/24"])).await;
        assert!(tables().contains("elements = { 10.1.0.0/24, 10.5.0.0/24 }"), "{}", tables());
        assert!(tables().contains("table inet theirs"));
        assert_eq!((exemption.problem(), exemption.prefixes()), (None, &nets(&["10.1.0.0/24", "10.5.0.0/24"])[..]));
    });
}
