//! Neighbors that come through the API: they stay, they have an owner, and they do not fight with the file.

use bgpd_proto::v1;
use bgpd_proto::v1::config_service_client::ConfigServiceClient;
use bgpd_proto::v1::neighbor_service_client::NeighborServiceClient;
use tempfile::TempDir;
use tonic::Code;
use tonic::transport::Channel;

use crate::daemon::{Daemon, wait_until};

const GLOBAL: &str = "[global]\nasn = 65000\nrouter-id = \"192.0.2.1\"\nlisten = []\n";
const GROUP: &str = "[[peer-group]]\nname = \"nodes\"\nremote-asn = 65000\nhold-time = 60\n";
const OF_FILE: &str = "[[neighbor]]\naddress = \"127.0.0.11\"\nremote-asn = 65000\n";

fn with_state(state: &TempDir, sections: &[&str]) -> String {
    format!("{GLOBAL}{}[restart]\nstate-directory = \"{}\"\n", sections.concat(), state.path().display())
}

async fn client(daemon: &Daemon) -> NeighborServiceClient<Channel> {
    NeighborServiceClient::new(daemon.connect().await)
}

fn config(address: &str) -> v1::NeighborConfig {
    v1::NeighborConfig { address: address.to_owned(), ..Default::default() }
}

fn of_group(address: &str) -> v1::NeighborConfig {
    v1::NeighborConfig { peer_group: Some("nodes".to_owned()), ..config(address) }
}

async fn add(daemon: &Daemon, neighbor: v1::NeighborConfig, owner: &str) -> Result<(), tonic::Status> {
    let request = v1::AddNeighborRequest { neighbor: Some(neighbor), owner: owner.to_owned() };
    client(daemon).await.add(request).await.map(drop)
}

async fn update(
    daemon: &Daemon,
    neighbor: v1::NeighborConfig,
    owner: &str,
    clear: &[&str],
) -> Result<(), tonic::Status> {
    let clear = clear.iter().map(|key| (*key).to_owned()).collect();
    let request = v1::UpdateNeighborRequest { neighbor: Some(neighbor), owner: owner.to_owned(), clear };
    client(daemon).await.update(request).await.map(drop)
}

async fn delete(daemon: &Daemon, address: &str, owner: &str) -> Result<(), tonic::Status> {
    let request = v1::DeleteNeighborRequest { address: address.to_owned(), owner: owner.to_owned() };
    client(daemon).await.delete(request).await.map(drop)
}

async fn disable(daemon: &Daemon, address: &str, message: &str) {
    let request = v1::DisableNeighborRequest { address: address.to_owned(), message: message.to_owned() };
    client(daemon).await.disable(request).await.expect("disabled");
}

async fn get(daemon: &Daemon, address: &str) -> Option<v1::Neighbor> {
    let request = v1::GetNeighborRequest { address: address.to_owned() };
    client(daemon).await.get(request).await.ok().and_then(|answer| answer.into_inner().neighbor)
}

/// Address, source, owner and hold time of all neighbors.
async fn all(daemon: &Daemon) -> Vec<(String, String, String, u32)> {
    let answer = client(daemon).await.list(v1::ListNeighborsRequest::default()).await.expect("a list").into_inner();
    let seen = |one: v1::Neighbor| (one.address, one.source, one.owner, one.hold_seconds_configured);
    answer.neighbors.into_iter().map(seen).collect()
}

fn seen(address: &str, source: &str, owner: &str, hold: u32) -> (String, String, String, u32) {
    (address.to_owned(), source.to_owned(), owner.to_owned(), hold)
}

async fn reloaded(daemon: &Daemon, config: &str, times: usize) {
    daemon.reload(config, "", "");
    let count =
        || async { daemon.log().lines().filter(|line| line.contains("configuration reloaded")).count() >= times };
    wait_until("it has reloaded", count).await;
}

#[tokio::test]
async fn added_neighbors_survive_crashes_and_reloads_and_follow_their_peer_group() {
    let state = tempfile::tempdir().expect("a directory");
    let config = with_state(&state, &[GROUP, OF_FILE]);
    let mut daemon = Daemon::start(&config).await;
    add(&daemon, of_group("127.0.0.12"), "").await.expect("added");
    let own = v1::NeighborConfig { hold_time: Some(30), ..of_group("127.0.0.13") };
    add(&daemon, own, "robot").await.expect("added");
    let expected = |hold| {
        [
            seen("127.0.0.11", "file", "", 90),
            seen("127.0.0.12", "api", "bgpctl", hold),
            seen("127.0.0.13", "api", "robot", 30),
        ]
    };
    assert_eq!(all(&daemon).await, expected(60));
    daemon.kill_and_start().await;
    assert_eq!(all(&daemon).await, expected(60));
    let slower = with_state(&state, &[&GROUP.replace("60", "45"), OF_FILE]);
    reloaded(&daemon, &slower, 1).await;
    assert_eq!(all(&daemon).await, expected(45));
    daemon.kill_and_start().await;
    assert_eq!(all(&daemon).await, expected(45));
    delete(&daemon, "127.0.0.12", "").await.expect("deleted");
    daemon.kill_and_start().await;
    assert_eq!(all(&daemon).await.len(), 2);
}

#[tokio::test]
async fn neighbors_come_in_pages_in_the_order_of_their_addresses() {
    let daemon = Daemon::start(&format!("{GLOBAL}{GROUP}{OF_FILE}")).await;
    for host in [9, 12, 100, 13] {
        add(&daemon, of_group(&format!("127.0.0.{host}")), "").await.expect("added");
    }
    let (mut pages, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = v1::ListNeighborsRequest { page_size: 2, page_token, ..Default::default() };
        let page = client(&daemon).await.list(request).await.expect("a page").into_inner();
        pages.push(page.neighbors.into_iter().map(|one| one.address).collect::<Vec<_>>().join(" "));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(pages, ["127.0.0.9 127.0.0.11", "127.0.0.12 127.0.0.13", "127.0.0.100"]);
    let wrong = v1::ListNeighborsRequest { page_token: "x".to_owned(), ..Default::default() };
    let error = client(&daemon).await.list(wrong).await.expect_err("not a token");
    assert_eq!(error.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn neighbors_are_filtered_by_state_peer_group_and_as() {
    let daemon = Daemon::start(&format!("{GLOBAL}{GROUP}{OF_FILE}")).await;
    add(&daemon, of_group("127.0.0.12"), "").await.expect("added");
    let alone = v1::NeighborConfig { remote_asn: Some(65001), ..config("127.0.0.13") };
    add(&daemon, alone, "").await.expect("added");
    disable(&daemon, "127.0.0.13", "").await;
    let list = async |state: &str, peer_group: &str, asn: u32| {
        let (state, peer_group) = (state.to_owned(), peer_group.to_owned());
        let request = v1::ListNeighborsRequest { page_size: 9, state, peer_group, asn, ..Default::default() };
        let found = client(&daemon).await.list(request).await?.into_inner().neighbors;
        Ok::<_, tonic::Status>(found.into_iter().map(|one| one.address).collect::<Vec<_>>().join(" "))
    };
    let all = list("", "", 0).await.expect("a list");
    assert_eq!(list("down", "", 0).await.expect("a list"), all);
    assert_eq!(list("established", "", 0).await.expect("a list"), "");
    assert_eq!(list("Idle", "", 0).await.expect("a list"), "127.0.0.13");
    assert!(list("", "nodes", 0).await.expect("a list").ends_with("127.0.0.12"));
    assert_eq!(list("", "nobody", 0).await.expect("a list"), "");
    assert_eq!(list("", "", 65001).await.expect("a list"), "127.0.0.13");
    assert_eq!(list("", "", 65099).await.expect("a list"), "");
    assert_eq!(list("up", "", 0).await.expect_err("no state").code(), Code::InvalidArgument);
}

#[tokio::test]
async fn only_the_owner_changes_or_deletes_what_it_has_added() {
    let daemon = Daemon::start(&format!("{GLOBAL}{GROUP}{OF_FILE}")).await;
    add(&daemon, of_group("127.0.0.12"), "robot").await.expect("added");
    let again = add(&daemon, of_group("127.0.0.12"), "robot").await.expect_err("it is there");
    assert_eq!(again.code(), Code::AlreadyExists);
    for refused in [
        delete(&daemon, "127.0.0.12", "").await,
        update(&daemon, v1::NeighborConfig { hold_time: Some(9), ..config("127.0.0.12") }, "other", &[]).await,
        delete(&daemon, "127.0.0.11", "").await,
    ] {
        let error = refused.expect_err("it is another's");
        assert_eq!(error.code(), Code::FailedPrecondition, "{error}");
        assert!(error.message().contains("owner robot") || error.message().contains("configuration file"), "{error}");
    }
    // Whoever operates the speaker may stop every session.
    disable(&daemon, "127.0.0.12", "maintenance").await;
    let neighbor = get(&daemon, "127.0.0.12").await.expect("it is there");
    assert_eq!((neighbor.owner.as_str(), neighbor.shutdown.as_deref()), ("robot", Some("maintenance")));
    delete(&daemon, "127.0.0.12", "robot").await.expect("deleted");
}

#[tokio::test]
async fn the_file_comes_before_a_neighbor_that_was_added_and_that_is_said() {
    let state = tempfile::tempdir().expect("a directory");
    let mut daemon = Daemon::start(&with_state(&state, &[GROUP])).await;
    add(&daemon, of_group("127.0.0.11"), "robot").await.expect("added");
    let both = with_state(&state, &[GROUP, OF_FILE]);
    let document = Some(v1::Document { text: both.clone(), name: String::new() });
    let mut configs = ConfigServiceClient::new(daemon.connect().await);
    let diff = configs.diff(v1::DiffConfigRequest { document }).await.expect("a diff").into_inner();
    let note = "neighbor 127.0.0.11: the file has it, so the one of robot is not in force";
    assert_eq!(diff.notes, [note]);
    reloaded(&daemon, &both, 1).await;
    assert!(daemon.log().contains(note), "{}", daemon.log());
    assert_eq!(all(&daemon).await, [seen("127.0.0.11", "file", "", 90)]);
    daemon.kill_and_start().await;
    assert_eq!(all(&daemon).await, [seen("127.0.0.11", "file", "", 90)]);
    // When the file lets go, it is there again.
    reloaded(&daemon, &with_state(&state, &[GROUP]), 2).await;
    assert_eq!(all(&daemon).await, [seen("127.0.0.11", "api", "robot", 60)]);
    // A file without the peer group that it needs is refused.
    daemon.reload(&with_state(&state, &[]), "", "");
    let refused = || async {
        daemon.log().contains("there is no peer group \\\"nodes\\\"")
            || daemon.log().contains("there is no peer group \"nodes\"")
    };
    wait_until("the file is refused", refused).await;
    assert_eq!(all(&daemon).await, [seen("127.0.0.11", "api", "robot", 60)]);
}

#[tokio::test]
async fn what_is_changed_of_a_neighbor_of_the_file_stays_and_is_listed_until_it_is_reverted() {
    let state = tempfile::tempdir().expect("a directory");
    let config_file = with_state(&state, &[GROUP, OF_FILE]);
    let mut daemon = Daemon::start(&config_file).await;
    update(&daemon, v1::NeighborConfig { hold_time: Some(30), ..config("127.0.0.11") }, "", &[])
        .await
        .expect("updated");
    disable(&daemon, "127.0.0.11", "new switch").await;
    let is_changed = |neighbor: v1::Neighbor| {
        assert_eq!(neighbor.changed, ["hold-time", "shutdown"]);
        assert_eq!((neighbor.source.as_str(), neighbor.owner.as_str()), ("file", "bgpctl"));
        assert_eq!((neighbor.hold_seconds_configured, neighbor.shutdown.as_deref()), (30, Some("new switch")));
    };
    is_changed(get(&daemon, "127.0.0.11").await.expect("it is there"));
    daemon.kill_and_start().await;
    is_changed(get(&daemon, "127.0.0.11").await.expect("it is there"));
    reloaded(&daemon, &config_file, 1).await;
    is_changed(get(&daemon, "127.0.0.11").await.expect("it is there"));
    let note = "neighbor 127.0.0.11: hold-time, shutdown not as in the file, changed by bgpctl";
    assert!(daemon.log().contains(note), "{}", daemon.log());
    client(&daemon)
        .await
        .enable(v1::EnableNeighborRequest { address: "127.0.0.11".to_owned() })
        .await
        .expect("enabled");
    let neighbor = get(&daemon, "127.0.0.11").await.expect("it is there");
    assert_eq!((neighbor.changed.as_slice(), neighbor.shutdown), (["hold-time".to_owned()].as_slice(), None));
    update(&daemon, config("127.0.0.11"), "", &["*"]).await.expect("reverted");
    let neighbor = get(&daemon, "127.0.0.11").await.expect("it is there");
    assert_eq!((neighbor.changed.len(), neighbor.hold_seconds_configured), (0, 90));
    // Drained as a whole, it stays drained.
    let drain = v1::DrainNeighborRequest { all: true, ..Default::default() };
    client(&daemon).await.drain(drain).await.expect("drained");
    daemon.kill_and_start().await;
    assert!(get(&daemon, "127.0.0.11").await.expect("it is there").graceful_shutdown);
}

#[tokio::test]
async fn every_setting_of_the_file_can_come_through_the_api() {
    let daemon = Daemon::start(&format!("{GLOBAL}{GROUP}")).await;
    let family = Some(v1::Family { afi: 1, safi: 1 });
    let number = |number| vec![v1::FamilyNumber { family, number }];
    let whole = v1::NeighborConfig {
        address: "127.0.0.12".to_owned(),
        peer_group: None,
        description: Some("rack 4".to_owned()),
        remote_asn: Some(65001),
        local_asn: Some(65002),
        route_reflector_client: Some(false),
        families: vec![v1::Family { afi: 2, safi: 1 }],
        hold_time: Some(30),
        idle_hold_time: Some(1),
        connect_retry: Some(2),
        port: Some(1179),
        local_address: Some("127.0.0.1".to_owned()),
        passive: Some(false),
        md5_password: Some("hush".to_owned()),
        ttl_security: Some(false),
        ebgp_multihop: Some(3),
        next_hop_self: Some(true),
        add_path_receive: Some(true),
        add_path_send: Some(true),
        import_policy: vec!["accept-all".to_owned()],
        export_policy: vec!["reject-all".to_owned()],
        graceful_restart: Some(true),
        restart_time: Some(60),
        long_lived_stale_time: None,
        max_prefixes: None,
        max_prefixes_warning: Some(90),
        max_prefixes_action: v1::LimitAction::Warn.into(),
        max_prefixes_restart_time: Some(5),
        graceful_shutdown: Some(true),
        stale_path_time: Some(60),
        extended_messages: Some(false),
        extended_next_hop: Some(true),
        role: Some("customer".to_owned()),
        role_strict: Some(true),
        reject_as_sets: Some(false),
        shutdown: Some("later".to_owned()),
        max_prefixes_of: number(1000),
        long_lived_stale_time_of: number(3600),
        ao_keys: Vec::new(),
    };
    add(&daemon, whole, "").await.expect("added");
    // What was said is what a file with the same words would say: the diff of both is only where it comes from.
    let neighbor = "[[neighbor]]\naddress = \"127.0.0.12\"\ndescription = \"rack 4\"\nremote-asn = 65001\n\
        local-asn = 65002\nroute-reflector-client = false\nfamilies = [\"ipv6-unicast\"]\nhold-time = 30\n\
        idle-hold-time = 1\nconnect-retry = 2\nport = 1179\nlocal-address = \"127.0.0.1\"\npassive = false\n\
        md5-password = \"hush\"\nttl-security = false\nebgp-multihop = 3\nnext-hop-self = true\nadd-path = \"both\"\n\
        import-policy = [\"accept-all\"]\nexport-policy = [\"reject-all\"]\ngraceful-restart = true\n\
        restart-time = 60\nlong-lived-stale-time = { ipv4-unicast = 3600 }\nmax-prefixes = { ipv4-unicast = 1000 }\n\
        max-prefixes-warning = 90\nmax-prefixes-action = \"warn\"\nmax-prefixes-restart-time = 5\n\
        graceful-shutdown = true\nstale-path-time = 60\nextended-messages = false\nextended-next-hop = true\n\
        role = \"customer\"\nrole-strict = true\nreject-as-sets = false\nshutdown = \"later\"\n";
    let document = Some(v1::Document { text: format!("{GLOBAL}{GROUP}{neighbor}"), name: String::new() });
    let mut configs = ConfigServiceClient::new(daemon.connect().await);
    let diff = configs.diff(v1::DiffConfigRequest { document }).await.expect("a diff").into_inner();
    assert_eq!(diff.steps, [], "{:?}", diff.steps);
    assert_eq!(diff.notes.len(), 1, "{:?}", diff.notes);
    // And every key of the page is among them.
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/configuration.md");
    let page = std::fs::read_to_string(page).expect("it can be read");
    let section = page.split("## `[[neighbor]]` and `[[peer-group]]`").nth(1).expect("the section");
    let section = section.split("\n## ").next().unwrap_or_default();
    let keys = section.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    // Keys of TCP-AO take the place of the one of TCP-MD5, in a test of their own.
    let of_files = ["name", "peer-group", "md5-password-file", "ao-key"];
    for key in keys.filter(|key| !of_files.contains(key)) {
        assert!(neighbor.contains(&format!("\n{key} = ")), "{key} cannot be set through the API");
    }
    let secret = std::fs::read_to_string(daemon.dir().join("log")).expect("a log");
    assert!(!secret.contains("hush"), "{secret}");
}

#[tokio::test]
async fn what_is_wrong_with_a_neighbor_is_said_in_the_words_of_the_file() {
    let daemon = Daemon::start(&format!("{GLOBAL}{GROUP}{OF_FILE}")).await;
    let with = |change: fn(&mut v1::NeighborConfig)| {
        let mut neighbor = of_group("127.0.0.12");
        change(&mut neighbor);
        neighbor
    };
    for (neighbor, parts) in [
        (with(|one| one.hold_time = Some(1)), "hold-time: 1 s is too short"),
        (with(|one| one.peer_group = Some("node".to_owned())), "did you mean \"nodes\"?"),
        (with(|one| one.peer_group = None), "no remote-asn"),
        (with(|one| one.import_policy = vec!["nowhere".to_owned()]), "nowhere"),
        (with(|one| one.ebgp_multihop = Some(300)), "ebgp-multihop"),
        (with(|one| one.md5_password = Some("hush".repeat(30))), "80 octets"),
    ] {
        let error = add(&daemon, neighbor, "").await.expect_err(parts);
        assert_eq!(error.code(), Code::InvalidArgument, "{error}");
        assert!(error.message().contains(parts) && !error.message().contains("hush"), "{error}");
    }
    let group = update(&daemon, of_group("127.0.0.11"), "", &[]).await.expect_err("it is the file's");
    assert!(group.message().contains("configuration file"), "{group}");
}

fn ao_key(id: u32, key: &str) -> v1::AoKey {
    v1::AoKey { id, receive_id: None, algorithm: String::new(), key: key.to_owned() }
}

/// RFC 5925, where the kernel has it.
#[tokio::test]
async fn keys_of_tcp_ao_are_taken_or_refused_by_name_and_never_shown() {
    let daemon = Daemon::start(&format!("[log]\nlevel = \"trace\"\n{GLOBAL}{GROUP}{OF_FILE}")).await;
    let signed = |keys: Vec<v1::AoKey>| v1::NeighborConfig { ao_keys: keys, ..of_group("127.0.0.12") };
    let good = || signed(vec![ao_key(1, "hush-one"), ao_key(2, "hush-two")]);
    let mut said = String::new();
    for (neighbor, parts) in [
        (signed(vec![ao_key(1, "hush-one"), ao_key(1, "hush-two")]), "two keys of TCP-AO have the same id"),
        (signed(vec![ao_key(256, "hush")]), "id"),
        (signed(vec![ao_key(1, &"hush".repeat(30))]), "80 octets"),
        (signed(vec![ao_key(1, "")]), "80 octets"),
        (signed(vec![v1::AoKey { algorithm: "md5".to_owned(), ..ao_key(1, "hush") }]), "is not an algorithm of TCP-AO"),
        (v1::NeighborConfig { md5_password: Some("hush".to_owned()), ..good() }, "TCP-MD5"),
    ] {
        let error = add(&daemon, neighbor, "").await.expect_err(parts);
        assert_eq!(error.code(), Code::InvalidArgument, "{error}");
        assert!(error.message().contains(parts), "{error}");
        said += error.message();
    }
    match add(&daemon, good(), "").await {
        Ok(_) => {
            let neighbor = NeighborServiceClient::new(daemon.connect().await);
            let request = v1::GetNeighborRequest { address: "127.0.0.12".to_owned() };
            said += &format!("{:?}", neighbor.clone().get(request).await.expect("it is there"));
            let file = v1::NeighborConfig { address: "127.0.0.11".to_owned(), ..v1::NeighborConfig::default() };
            update(&daemon, v1::NeighborConfig { ao_keys: good().ao_keys, ..file.clone() }, "", &[])
                .await
                .expect("changed");
            update(&daemon, file, "", &["ao-key"]).await.expect("changed back");
        }
        // A kernel without TCP-AO.
        Err(error) => {
            assert_eq!(error.code(), Code::InvalidArgument, "{error}");
            let refused = "neighbor 127.0.0.12: ao-key: this kernel has no TCP-AO with hmac-sha-1-96";
            assert!(error.message().contains(refused) && error.message().contains("CONFIG_TCP_AO"), "{error}");
            said += error.message();
        }
    }
    said += &daemon.log();
    assert!(!said.contains("hush"), "{said}");
}
