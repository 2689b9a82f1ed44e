//! Owners of routes and their leases.

use std::collections::BTreeMap;

use bgpd_proto::v1;
use bgpd_proto::v1::config_service_client::ConfigServiceClient;
use bgpd_proto::v1::watch_routes_response::Event;
use tonic::{Code, Streaming};

use crate::daemon::{Daemon, wait_until};
use crate::stream::{Speaker, set};

const CONFIG: &str = "[global]\nasn = 65000\nrouter-id = \"192.0.2.1\"\nlisten = []\n\
                      [[originate]]\nprefix = \"10.0.0.0/24\"\n";

/// The Loc-RIB: prefix, next hop and MED.
async fn table(daemon: &Daemon) -> BTreeMap<String, (String, Option<u32>)> {
    let request = v1::ListRoutesRequest { best_only: true, ..v1::ListRoutesRequest::default() };
    let mut stream = daemon.routes().await.list(request).await.expect("bgpd lists").into_inner();
    let mut table = BTreeMap::new();
    while let Some(part) = stream.message().await.expect("the list goes on") {
        for route in part.routes {
            let attributes = route.attributes.expect("a route has attributes");
            table.insert(route.prefix, (attributes.next_hop, attributes.med));
        }
    }
    table
}

async fn has(daemon: &Daemon, expected: &[(&str, Option<u32>)]) -> bool {
    let table = table(daemon).await;
    let meds: Vec<_> = table.iter().map(|(prefix, (_, med))| (prefix.as_str(), *med)).collect();
    meds == expected
}

/// The prefixes that a watch says before the end of its snapshot.
async fn snapshot(watch: &mut Streaming<v1::WatchRoutesResponse>) -> Vec<String> {
    let mut prefixes = Vec::new();
    loop {
        match watch.message().await.expect("the watch goes on").expect("no end").event {
            Some(Event::Snapshot(part)) => prefixes.extend(part.routes.into_iter().map(|route| route.prefix)),
            Some(Event::SnapshotEnd(_)) => return prefixes,
            other => panic!("not part of a snapshot: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_set_is_applied_as_a_whole_and_goes_when_its_lease_has_run_out() {
    let daemon = Daemon::start(CONFIG).await;
    let mut owner = Speaker::open(&daemon, "node-1", 1, set(&[("10.1.0.0/24", 1), ("2001:db8:1::/64", 1)])).await;
    let first = owner.answer().await.expect("an answer");
    assert_eq!((first.announced, first.changed, first.lease_seconds, first.sets_applied), (2, 2, 1, 1));
    let second = owner.apply(&[("10.1.0.0/24", 1), ("10.2.0.0/24", 5)]).await;
    assert_eq!((second.announced, second.changed, second.withdrawn), (2, 1, 1));
    let now = [("10.0.0.0/24", None), ("10.1.0.0/24", Some(1)), ("10.2.0.0/24", Some(5))];
    wait_until("the set is in the table", || has(&daemon, &now)).await;
    let again = owner.apply(&[("10.1.0.0/24", 1), ("10.2.0.0/24", 5)]).await;
    assert_eq!((again.changed, again.withdrawn), (0, 0));
    drop(owner);
    wait_until("the lease runs out", || has(&daemon, &now[..1])).await;
    let owners = daemon.routes().await.list_owners(v1::ListOwnersRequest {}).await.expect("an answer").into_inner();
    let names: Vec<_> = owners.owners.iter().map(|owner| owner.name.as_str()).collect();
    assert_eq!(names, ["file"]);
}

#[tokio::test]
async fn a_client_that_says_nothing_loses_its_routes_and_its_stream() {
    let daemon = Daemon::start(CONFIG).await;
    let mut owner = Speaker::open(&daemon, "node-1", 1, set(&[("10.1.0.0/24", 1)])).await;
    owner.answer().await.expect("an answer");
    let ended = owner.answer().await.expect_err("the lease runs out");
    assert_eq!(ended.code(), Code::DeadlineExceeded, "{ended}");
    wait_until("its routes are gone", || has(&daemon, &[("10.0.0.0/24", None)])).await;
}

#[tokio::test]
async fn a_restarted_owner_takes_over_and_untouched_routes_keep_their_age() {
    let daemon = Daemon::start(CONFIG).await;
    // While a snapshot is read, a route can come in it and as a change: the watch begins before there is anything.
    wait_until("the file's route is in the table", || has(&daemon, &[("10.0.0.0/24", None)])).await;
    let mut watch = daemon.routes().await.watch(v1::WatchRoutesRequest::default()).await.expect("a watch").into_inner();
    assert_eq!(snapshot(&mut watch).await, ["10.0.0.0/24"]);
    let routes = [("10.1.0.0/24", 1), ("10.2.0.0/24", 1)];
    let mut first = Speaker::open(&daemon, "node-1", 0, set(&routes)).await;
    assert_eq!(first.answer().await.expect("an answer").lease_seconds, 300);
    let mut second = Speaker::open(&daemon, "node-1", 60, set(&routes)).await;
    let answer = second.answer().await.expect("an answer");
    assert_eq!((answer.announced, answer.changed, answer.withdrawn), (2, 0, 0));
    let ended = first.answer().await.expect_err("it is taken over");
    assert_eq!(ended.code(), Code::Aborted, "{ended}");
    // What the one that was taken over leaves behind is not the end of the owner.
    drop(first);
    let answer = second.apply(&[("10.1.0.0/24", 1), ("10.3.0.0/24", 1)]).await;
    assert_eq!((answer.announced, answer.changed, answer.withdrawn), (2, 1, 1));
    // Nothing flapped: each prefix was announced once, and only what left the set was withdrawn.
    let (mut announced, mut withdrawn) = (Vec::new(), Vec::new());
    while announced.len() < 3 || withdrawn.is_empty() {
        match watch.message().await.expect("the watch goes on").expect("no end").event {
            Some(Event::Changed(routes)) => announced.extend(routes.routes.into_iter().map(|route| route.prefix)),
            Some(Event::Withdrawn(gone)) => withdrawn.extend(gone.prefixes),
            _ => {}
        }
    }
    announced.sort();
    assert_eq!(announced, ["10.1.0.0/24", "10.2.0.0/24", "10.3.0.0/24"]);
    assert_eq!(withdrawn, ["10.2.0.0/24"]);
}

#[tokio::test]
async fn two_owners_cannot_touch_each_others_routes() {
    let daemon = Daemon::start(CONFIG).await;
    let mut first = Speaker::open(&daemon, "east", 60, set(&[("10.1.0.0/24", 1)])).await;
    first.answer().await.expect("an answer");
    let wanted = [("10.0.0.0/24", 2), ("10.1.0.0/24", 2), ("10.2.0.0/24", 2)];
    let mut second = Speaker::open(&daemon, "west", 60, set(&wanted)).await;
    let answer = second.answer().await.expect("an answer");
    let refused: Vec<_> = answer.refused.iter().map(|one| (one.prefix.as_str(), one.holder.as_str())).collect();
    assert_eq!((answer.announced, refused), (1, vec![("10.0.0.0/24", "file"), ("10.1.0.0/24", "east")]));
    assert!(answer.refused.iter().all(|one| one.refusal() == v1::Refusal::Conflict));
    let single = v1::AnnounceRequest { prefix: "10.1.0.0/24".to_owned(), ..v1::AnnounceRequest::default() };
    let refused = daemon.routes().await.announce(single).await.expect_err("another owner has it");
    assert_eq!(refused.code(), Code::AlreadyExists, "{refused}");
    let withdraw = v1::WithdrawRequest { prefix: "10.1.0.0/24".to_owned() };
    let refused = daemon.routes().await.withdraw(withdraw).await.expect_err("it is not its own");
    assert!(refused.code() == Code::NotFound && refused.message().contains("east"), "{refused}");
    wait_until("the first one's is announced", || {
        has(&daemon, &[("10.0.0.0/24", None), ("10.1.0.0/24", Some(1)), ("10.2.0.0/24", Some(2))])
    })
    .await;
    // What is let go goes to the next in line, which is told without asking.
    first.apply(&[]).await;
    let told = second.answer().await.expect("it is told");
    assert_eq!((told.announced, told.refused.len()), (2, 1));
    wait_until("the second one's is announced", || {
        has(&daemon, &[("10.0.0.0/24", None), ("10.1.0.0/24", Some(2)), ("10.2.0.0/24", Some(2))])
    })
    .await;
}

#[tokio::test]
async fn what_cannot_be_read_is_refused_by_name_and_the_rest_is_announced() {
    let daemon = Daemon::start(CONFIG).await;
    let mut routes = set(&[("10.1.0.0/24", 1), ("10.1.0.1/24", 1), ("x", 1), ("10.1.0.0/24", 2)]).expect("a set");
    routes.announcements.push(v1::Announcement {
        prefix: "2001:db8:1::/64".to_owned(),
        next_hop: "192.0.2.7".to_owned(),
        ..v1::Announcement::default()
    });
    let mut owner = Speaker::open(&daemon, "node-1", 60, Some(routes)).await;
    let answer = owner.answer().await.expect("an answer");
    assert_eq!(answer.announced, 1);
    let said: Vec<_> = answer.refused.iter().map(|one| format!("{}: {}", one.prefix, one.message)).collect();
    let expected = [
        "10.1.0.1/24: prefix: 10.1.0.1/24 has host bits set, did you mean 10.1.0.0/24?",
        "x: prefix: \"x\" is not a prefix such as 10.1.0.0/24",
        "10.1.0.0/24: prefix: it is in the set twice",
        "2001:db8:1::/64: next_hop: 192.0.2.7 is an IPv4 address, but 2001:db8:1::/64 needs an IPv6 next hop",
    ];
    assert_eq!(said, expected);
    for (owner, wrong) in [("", "expected 1 to 63"), ("file", "taken"), ("a b", "is not a name")] {
        let error = Speaker::open(&daemon, owner, 60, None).await.answer().await.expect_err("not a name");
        assert!(error.code() == Code::InvalidArgument && error.message().contains(wrong), "{error}");
    }
    let error = Speaker::open(&daemon, "a", 86_401, None).await.answer().await.expect_err("too long");
    assert!(error.code() == Code::InvalidArgument && error.message().contains("86400"), "{error}");
}

#[tokio::test]
async fn a_set_over_the_bound_is_refused_and_what_was_there_stays() {
    let daemon = Daemon::start(CONFIG).await;
    let mut owner = Speaker::open(&daemon, "node-1", 60, set(&[("10.1.0.0/24", 1)])).await;
    owner.answer().await.expect("an answer");
    let prefixes: Vec<String> =
        (0..=65_536u32).map(|n| format!("11.{}.{}.{}/32", n >> 16, n >> 8 & 255, n & 255)).collect();
    let many: Vec<(&str, u32)> = prefixes.iter().map(|prefix| (prefix.as_str(), 1)).collect();
    owner.say(set(&many)).await;
    let error = owner.answer().await.expect_err("too many");
    assert_eq!(error.code(), Code::ResourceExhausted, "{error}");
    assert!(has(&daemon, &[("10.0.0.0/24", None), ("10.1.0.0/24", Some(1))]).await);
}

#[tokio::test]
async fn what_was_declared_survives_a_crash_and_the_file_comes_first() {
    let state = tempfile::tempdir().expect("a directory");
    let config = format!("{CONFIG}[restart]\nstate-directory = \"{}\"\n", state.path().display());
    let mut daemon = Daemon::start(&config).await;
    let single = v1::AnnounceRequest {
        prefix: "10.9.0.0/24".to_owned(),
        med: Some(9),
        communities: vec!["65000:7".to_owned(), "no-export".to_owned()],
        large_communities: vec!["65000:1:2".to_owned()],
        ..Default::default()
    };
    daemon.routes().await.announce(single).await.expect("done");
    let shown = ConfigServiceClient::new(daemon.connect().await).show(v1::ShowConfigRequest {}).await;
    let shown = shown.expect("an answer").into_inner().declared;
    assert!(["\"65000:7\"", "\"no-export\"", "\"65000:1:2\""].iter().all(|one| shown.contains(one)), "{shown}");
    let mut owner = Speaker::open(&daemon, "node-1", 600, set(&[("10.1.0.0/24", 1), ("10.8.0.0/24", 8)])).await;
    owner.answer().await.expect("an answer");
    daemon.kill_and_start().await;
    let all = [("10.0.0.0/24", None), ("10.1.0.0/24", Some(1)), ("10.8.0.0/24", Some(8)), ("10.9.0.0/24", Some(9))];
    wait_until("all is there again", || has(&daemon, &all)).await;
    let tagged = v1::ListRoutesRequest {
        communities: ["65000:7", "no-export", "65000:1:2"].map(str::to_owned).to_vec(),
        ..Default::default()
    };
    let found = daemon.routes().await.list(tagged).await.expect("a list").into_inner().message().await.expect("routes");
    assert_eq!(found.map(|part| part.routes.len()), Some(1), "with its communities");
    // Its lease runs until it is back; what it says then is the difference.
    let mut owner = Speaker::open(&daemon, "node-1", 600, set(&[("10.1.0.0/24", 1)])).await;
    let answer = owner.answer().await.expect("an answer");
    assert_eq!((answer.announced, answer.changed, answer.withdrawn), (1, 0, 1));
    // What the file says now comes before what was declared.
    let more = format!("{config}[[originate]]\nprefix = \"10.9.0.0/24\"\nmed = 1\n");
    daemon.reload(&more, "", "");
    wait_until("the file's is announced", || {
        has(&daemon, &[("10.0.0.0/24", None), ("10.1.0.0/24", Some(1)), ("10.9.0.0/24", Some(1))])
    })
    .await;
    daemon.kill_and_start().await;
    wait_until("and still is", || {
        has(&daemon, &[("10.0.0.0/24", None), ("10.1.0.0/24", Some(1)), ("10.9.0.0/24", Some(1))])
    })
    .await;
    let withdraw = v1::WithdrawRequest { prefix: "10.9.0.0/24".to_owned() };
    daemon.routes().await.withdraw(withdraw).await.expect("it waits, and can be given up");
}

#[tokio::test]
async fn a_document_for_another_revision_is_not_applied() {
    let daemon = Daemon::start(CONFIG).await;
    let mut configs = ConfigServiceClient::new(daemon.connect().await);
    let before = daemon.status().await.revision;
    let single = v1::AnnounceRequest { prefix: "10.9.0.0/24".to_owned(), ..Default::default() };
    daemon.routes().await.announce(single).await.expect("done");
    let document = Some(v1::Document { text: CONFIG.replace("10.0.0.0", "10.5.0.0"), name: String::new() });
    let stale = v1::ApplyConfigRequest { document: document.clone(), expected_revision: before, ..Default::default() };
    assert_eq!(configs.apply(stale).await.expect_err("it has changed").code(), Code::Aborted);
    let expected_revision = daemon.status().await.revision;
    let current = v1::ApplyConfigRequest { document, expected_revision, ..Default::default() };
    configs.apply(current).await.expect("it is the one");
    wait_until("it is applied", || has(&daemon, &[("10.5.0.0/24", None), ("10.9.0.0/24", None)])).await;
}
