//! A bgpd that has crashed waits for the owners of its routes before it tells peers that it has said all.

use std::fs;

use crate::daemon::{Daemon, free_port, wait_until};
use crate::speaker::Speaker as Peer;
use crate::stream::{Speaker, set};

/// An empty UPDATE (RFC 4724 §2).
const END_OF_RIB: [u8; 4] = [0; 4];
/// 10.7.0.0/24 and 10.8.0.0/24 as they stand at the end of an UPDATE.
const OLD: [u8; 4] = [24, 10, 7, 0];
const NEW: [u8; 4] = [24, 10, 8, 0];

/// bgpd after a crash: a peer that keeps its routes, and an owner with a lease, are remembered.
async fn crashed(port: u16) -> Daemon {
    let dir = tempfile::tempdir().expect("a directory");
    let state = dir.path().to_owned();
    let config = format!(
        "[global]\nasn = 65000\nrouter-id = \"192.0.2.1\"\nlisten = [\"127.0.0.1:{port}\"]\n\
         [restart]\nstate-directory = \"{}\"\n\
         [[neighbor]]\naddress = \"127.0.0.11\"\nremote-asn = 65000\npassive = true\n",
        state.display(),
    );
    let mut daemon = Daemon::start_in(dir, &config, "", "").await;
    let mut owner = Speaker::open(&daemon, "node", 600, set(&[("10.7.0.0/24", 1)])).await;
    owner.answer().await.expect("an answer");
    fs::write(state.join("restart-state"), "bgpd restart state 1\nboot b00t\n127.0.0.11 ipv4-unicast\n")
        .expect("written");
    daemon.kill_and_start().await;
    daemon
}

async fn waits_for(daemon: &Daemon, expected: &[&str]) {
    wait_until("it waits for these", || async { daemon.status().await.awaited == expected }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn end_of_rib_comes_behind_what_owners_declare_after_a_crash() {
    let port = free_port();
    let daemon = crashed(port).await;
    waits_for(&daemon, &["127.0.0.11", "192.0.2.1"]).await;
    // The peer has no routes that could be waited for; this speaker's own are.
    let peer = Peer::connect(port, 11, 65000).await;
    waits_for(&daemon, &["192.0.2.1"]).await;
    assert_eq!(peer.updates(), Vec::<Vec<u8>>::new());
    let mut owner = Speaker::open(&daemon, "node", 600, set(&[("10.8.0.0/24", 1)])).await;
    owner.answer().await.expect("an answer");
    wait_until("the peer has been told all", || async {
        peer.updates().last().is_some_and(|last| *last == END_OF_RIB)
    })
    .await;
    let updates = peer.updates();
    assert!(updates.iter().any(|update| update.ends_with(&NEW)), "{updates:02x?}");
    assert!(
        !updates.iter().any(|update| update.ends_with(&OLD)),
        "what is no longer declared is never said: {updates:02x?}"
    );
    assert!(daemon.status().await.awaited.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn owner_that_does_not_come_back_is_waited_for_only_for_a_while() {
    let port = free_port();
    let daemon = crashed(port).await;
    let peer = Peer::connect(port, 11, 65000).await;
    waits_for(&daemon, &["192.0.2.1"]).await;
    wait_until("the peer has been told all", || async {
        peer.updates().last().is_some_and(|last| *last == END_OF_RIB)
    })
    .await;
    assert!(peer.updates().iter().any(|update| update.ends_with(&OLD)), "its lease runs: {:02x?}", peer.updates());
    assert!(daemon.log().contains("has not declared its routes again since the restart"), "{}", daemon.log());
}
