//! The exemption from masquerade in a real kernel, in a network namespace of its own. Needs root and `nft`.

mod lab;

use bgp_sidecar::masquerade;
use ipnet::IpNet;
use lab::{eventually, in_namespace, ip, run};
use tokio::sync::watch;

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
fn nothing_is_touched_until_something_is_wanted_and_tables_of_others_never() {
    in_namespace(|| async {
        run("nft", "add table inet theirs");
        let (wanted, receiver) = watch::channel(None);
        let (problem, said) = watch::channel(None);
        tokio::spawn(masquerade::keep(receiver, problem));
        tokio::task::yield_now().await;
        assert_eq!(tables().matches("table").count(), 1);
        wanted.send(Some(nets(&["10.1.0.0/24"]))).expect("a keeper");
        eventually("the table", || tables().contains("10.1.0.0/24")).await;
        wanted.send(Some(nets(&["10.3.0.0/24"]))).expect("a keeper");
        eventually("the other prefix", || tables().contains("10.3.0.0/24") && !tables().contains("10.1.0.0/24")).await;
        assert!(tables().contains("table inet theirs"));
        assert_eq!(*said.borrow(), None);
    });
}
