//! Watches of routes and neighbors, and listings in pages.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bgpd_proto::v1;
use bgpd_proto::v1::neighbor_service_client::NeighborServiceClient;
use bgpd_proto::v1::watch_routes_response::Event;
use tokio::time::timeout;
use tonic::{Code, Streaming};

use crate::daemon::Daemon;
use crate::random::Random;
use crate::speaker::{Path, Speaker as Peer};
use crate::stream::Speaker;

const CONFIG: &str = "[global]\nasn = 65000\nrouter-id = \"192.0.2.1\"\nlisten = []\n";
const PATIENCE: Duration = Duration::from_secs(60);

/// Prefix to MED.
type Table = BTreeMap<String, u32>;

/// What a client of a watch knows.
#[derive(Default)]
struct Client {
    table: Table,
    /// What has been said in the snapshot that is not complete yet.
    snapshot: Option<Table>,
    revision: String,
    changes: u64,
    resyncs: u64,
}

impl Client {
    async fn open(&mut self, daemon: &Daemon) -> Streaming<v1::WatchRoutesResponse> {
        let from_revision = self.revision.clone();
        self.snapshot = from_revision.is_empty().then(Table::new);
        let request = v1::WatchRoutesRequest { from_revision, heartbeat_seconds: 1, ..Default::default() };
        daemon.routes().await.watch(request).await.expect("bgpd serves it").into_inner()
    }

    fn take(&mut self, message: v1::WatchRoutesResponse) {
        let target = self.snapshot.as_mut().unwrap_or(&mut self.table);
        match message.event.expect("a message has an event") {
            Event::Snapshot(routes) | Event::Changed(routes) => {
                self.changes += routes.routes.len() as u64;
                for route in routes.routes {
                    let med = route.attributes.expect("attributes").med.expect("a MED");
                    target.insert(route.prefix, med);
                }
            }
            Event::Withdrawn(gone) => {
                for prefix in &gone.prefixes {
                    target.remove(prefix);
                }
            }
            Event::SnapshotEnd(_) => self.table = self.snapshot.take().expect("a snapshot was under way"),
            Event::Heartbeat(_) => {}
            Event::Resync(_) => {
                self.resyncs += 1;
                self.snapshot = Some(Table::new());
            }
        }
        if !message.revision.is_empty() {
            assert!(self.snapshot.is_none(), "a revision in an incomplete snapshot");
            self.revision = message.revision;
        }
    }

    async fn read(&mut self, stream: &mut Streaming<v1::WatchRoutesResponse>) {
        let message = timeout(PATIENCE, stream.message()).await.expect("a heartbeat at least");
        self.take(message.expect("the watch goes on").expect("it does not end"));
    }

    /// Reads until the table is as it should be.
    async fn read_until(&mut self, stream: &mut Streaming<v1::WatchRoutesResponse>, wanted: &Table) {
        let read = async {
            while self.snapshot.is_some() || self.table != *wanted {
                self.read(stream).await;
            }
        };
        if timeout(PATIENCE, read).await.is_err() {
            let wrong: Vec<_> = wanted.iter().filter(|(prefix, med)| self.table.get(*prefix) != Some(med)).collect();
            let more: Vec<_> = self.table.keys().filter(|prefix| !wanted.contains_key(*prefix)).collect();
            panic!("not the table: wrong {wrong:?}, too many {more:?}");
        }
    }
}

fn prefix(number: u64) -> String {
    format!("10.{}.{}.0/24", number / 256, number % 256)
}

fn random_table(random: &mut Random, size: u64) -> Table {
    let draw = |number| (random.below(4) > 0).then(|| named((number, random.below(1000) as u32)));
    (0..size).filter_map(draw).collect()
}

fn named((number, med): (u64, u32)) -> (String, u32) {
    (prefix(number), med)
}

async fn apply(owner: &mut Speaker, table: &Table) {
    let routes: Vec<_> = table.iter().map(|(prefix, med)| (prefix.as_str(), *med)).collect();
    owner.apply(&routes).await;
}

/// Changes the table again and again until told to stop; what it is then.
async fn churn(
    mut owner: Speaker,
    mut random: Random,
    size: u64,
    stop: Arc<AtomicBool>,
    changed: Arc<AtomicU64>,
) -> (Speaker, Random, Table) {
    loop {
        let table = random_table(&mut random, size);
        apply(&mut owner, &table).await;
        changed.fetch_add(table.len() as u64, Ordering::Relaxed);
        if stop.load(Ordering::Relaxed) {
            return (owner, random, table);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watcher_killed_a_thousand_times_under_load_ends_each_time_with_exactly_the_table() {
    const ROUNDS: usize = 1000;
    let daemon = Daemon::start(CONFIG).await;
    let mut owner = Speaker::open(&daemon, "churn", 3600, None).await;
    owner.answer().await.expect("an answer");
    let mut random = Random::new(7);
    let mut churner = (owner, Random::new(8));
    let changed = Arc::new(AtomicU64::new(0));
    let mut client = Client::default();
    let mut stream = client.open(&daemon).await;
    let began = std::time::Instant::now();
    for _ in 0..ROUNDS {
        let stop = Arc::new(AtomicBool::new(false));
        let (owner, seed) = churner;
        let running = tokio::spawn(churn(owner, seed, 300, Arc::clone(&stop), Arc::clone(&changed)));
        for _ in 0..random.below(8) {
            client.read(&mut stream).await;
        }
        // Killed, and started again: with what it knows, or as if it knew nothing.
        drop(stream);
        if random.below(8) == 0 {
            client = Client { changes: client.changes, resyncs: client.resyncs, ..Client::default() };
        }
        stream = client.open(&daemon).await;
        for _ in 0..random.below(4) {
            client.read(&mut stream).await;
        }
        stop.store(true, Ordering::Relaxed);
        let (owner, seed, table) = running.await.expect("the churn goes on");
        churner = (owner, seed);
        client.read_until(&mut stream, &table).await;
    }
    eprintln!(
        "{} routes declared, {:.0} a second, {} read, {} resyncs",
        changed.load(Ordering::Relaxed),
        changed.load(Ordering::Relaxed) as f64 / began.elapsed().as_secs_f64(),
        client.changes,
        client.resyncs
    );
    assert!(changed.load(Ordering::Relaxed) > 100_000 && client.changes > 100_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_that_stop_cost_under_8_mib_each_and_disturb_nobody() {
    const STOPPED: u64 = 32;
    const SIZE: u64 = 4000;
    let daemon = Daemon::start(CONFIG).await;
    let mut owner = Speaker::open(&daemon, "churn", 3600, None).await;
    owner.answer().await.expect("an answer");
    let mut random = Random::new(1);
    apply(&mut owner, &random_table(&mut random, SIZE)).await;
    let mut client = Client::default();
    let mut stream = client.open(&daemon).await;
    // The log is as full as it gets before anything is measured.
    let mut table = Table::new();
    for _ in 0..40 {
        table = random_table(&mut random, SIZE);
        apply(&mut owner, &table).await;
        client.read_until(&mut stream, &table).await;
    }
    let before = daemon.memory();
    let mut stopped = Vec::new();
    for _ in 0..STOPPED {
        stopped.push(Client::default().open(&daemon).await);
    }
    for _ in 0..10 {
        table = random_table(&mut random, SIZE);
        apply(&mut owner, &table).await;
        client.read_until(&mut stream, &table).await;
    }
    let each = daemon.memory().saturating_sub(before) / STOPPED;
    eprintln!("{} KiB for each reader that has stopped", each >> 10);
    assert!(each < 8 << 20, "{each} octets each");
    assert_eq!(client.resyncs, 0);
    // One that reads on after all that ends with the table too.
    let mut late = Client { snapshot: Some(Table::new()), ..Client::default() };
    late.read_until(&mut stopped[0], &table).await;
}

#[tokio::test]
async fn a_revision_that_cannot_be_resumed_is_answered_with_a_resync_and_a_snapshot() {
    let daemon = Daemon::start(CONFIG).await;
    let mut owner = Speaker::open(&daemon, "one", 3600, None).await;
    owner.answer().await.expect("an answer");
    let table: Table = (0..20).map(|number| named((number, 1))).collect();
    apply(&mut owner, &table).await;
    let mut client = Client::default();
    let mut stream = client.open(&daemon).await;
    client.read_until(&mut stream, &table).await;
    let known = client.revision.clone();
    // Of another run, though it looks like one of this.
    let other = format!("{:016x}{}", 0x1234, &known[16..]);
    let mut stranger = Client { revision: other, ..Client::default() };
    let mut stream = stranger.open(&daemon).await;
    stranger.read_until(&mut stream, &table).await;
    assert_eq!((stranger.resyncs, stranger.changes), (1, 20));
    // More changes than the log remembers.
    for med in 2..2 + 300 {
        let table: Table = (0..1000).map(|number| named((number, med))).collect();
        apply(&mut owner, &table).await;
    }
    let table: Table = (0..1000).map(|number| named((number, 301))).collect();
    let mut late = Client { revision: known, table: Table::new(), ..Client::default() };
    let mut stream = late.open(&daemon).await;
    late.read_until(&mut stream, &table).await;
    assert_eq!(late.resyncs, 1);
    let request = v1::WatchRoutesRequest { from_revision: "x".to_owned(), ..Default::default() };
    let error = daemon.routes().await.watch(request).await.expect_err("not a revision");
    assert_eq!(error.code(), Code::InvalidArgument, "{error}");
}

#[tokio::test]
async fn filters_and_heartbeats_are_the_servers() {
    let daemon = Daemon::start(CONFIG).await;
    let mut owner = Speaker::open(&daemon, "one", 3600, None).await;
    owner.answer().await.expect("an answer");
    owner.apply(&[("10.1.0.0/24", 1), ("10.1.1.0/24", 1), ("10.2.0.0/24", 1), ("2001:db8:1::/64", 1)]).await;
    let request = v1::WatchRoutesRequest {
        prefix: "10.1.0.0/16".to_owned(),
        longer: true,
        heartbeat_seconds: 1,
        ..Default::default()
    };
    let mut stream = daemon.routes().await.watch(request).await.expect("a watch").into_inner();
    let mut client = Client { snapshot: Some(Table::new()), ..Client::default() };
    let wanted: Table = [("10.1.0.0/24".to_owned(), 1), ("10.1.1.0/24".to_owned(), 1)].into();
    client.read_until(&mut stream, &wanted).await;
    owner.apply(&[("10.1.0.0/24", 1), ("10.2.0.0/24", 2), ("10.2.1.0/24", 2)]).await;
    client.read_until(&mut stream, &[("10.1.0.0/24".to_owned(), 1)].into()).await;
    let seen = client.changes;
    let beat = loop {
        let message = stream.message().await.expect("it goes on").expect("no end");
        if matches!(message.event, Some(Event::Heartbeat(_))) {
            break message;
        }
        client.take(message);
    };
    assert!(!beat.revision.is_empty());
    assert_eq!(client.changes, seen, "what is not wanted is not sent");
}

#[tokio::test(flavor = "multi_thread")]
async fn heartbeats_come_while_only_what_is_not_wanted_changes() {
    let daemon = Daemon::start(CONFIG).await;
    let mut owner = Speaker::open(&daemon, "churn", 3600, None).await;
    owner.answer().await.expect("an answer");
    let stop = Arc::new(AtomicBool::new(false));
    let running = tokio::spawn(churn(owner, Random::new(3), 300, Arc::clone(&stop), Arc::default()));
    let request =
        v1::WatchRoutesRequest { prefix: "203.0.113.0/24".to_owned(), heartbeat_seconds: 1, ..Default::default() };
    let mut stream = daemon.routes().await.watch(request).await.expect("a watch").into_inner();
    let mut revisions = Vec::new();
    while revisions.len() < 4 {
        let message = timeout(Duration::from_secs(10), stream.message()).await.expect("a heartbeat at least");
        revisions.push(message.expect("the watch goes on").expect("it does not end").revision);
    }
    stop.store(true, Ordering::Relaxed);
    running.await.expect("the churn goes on");
    revisions.dedup();
    assert_eq!(revisions.len(), 4, "each says how far the watch is: {revisions:?}");
}

#[tokio::test]
async fn listings_are_filtered_by_communities_and_as_paths() {
    let daemon = Daemon::start(&format!(
        "{CONFIG}[[originate]]\nprefix = \"10.1.0.0/24\"\ncommunities = [\"65000:1\", \"65000:2\"]\n\
         [[originate]]\nprefix = \"10.2.0.0/24\"\nlarge-communities = [\"65000:1:2\"]\n"
    ))
    .await;
    let list = async |communities: &[&str], as_path: &str| {
        let request = v1::ListRoutesRequest {
            communities: communities.iter().map(|one| (*one).to_owned()).collect(),
            as_path: as_path.to_owned(),
            page_size: 1,
            ..Default::default()
        };
        let mut stream = daemon.routes().await.list(request).await?.into_inner();
        let mut found = Vec::new();
        while let Some(part) = stream.message().await? {
            found.extend(part.routes.into_iter().map(|route| route.prefix));
        }
        Ok::<_, tonic::Status>(found.join(" "))
    };
    let cases: [(&[&str], &str, &str); 6] = [
        (&["65000:1"], "", "10.1.0.0/24"),
        (&["65000:1-9", "*:2"], "^$", "10.1.0.0/24"),
        (&["65000:1", "65000:3"], "", ""),
        (&["*:*:*"], "", "10.2.0.0/24"),
        (&[], "65001", ""),
        (&["rt:*:*"], "", ""),
    ];
    for (communities, as_path, expected) in cases {
        assert_eq!(list(communities, as_path).await.expect("a list"), expected, "{communities:?} {as_path}");
    }
    for (communities, as_path) in [(&["x"][..], ""), (&[][..], "(65001")] {
        assert_eq!(list(communities, as_path).await.expect_err("wrong").code(), Code::InvalidArgument);
    }
}

#[tokio::test]
async fn a_listing_comes_in_pages() {
    let daemon = Daemon::start(CONFIG).await;
    let mut owner = Speaker::open(&daemon, "one", 3600, None).await;
    owner.answer().await.expect("an answer");
    let table: Table = (0..2500).map(|number| named((number, 1))).collect();
    apply(&mut owner, &table).await;
    crate::daemon::wait_until("all are in the table", || async {
        let status = daemon.status().await;
        status.tables.iter().map(|table| table.prefixes).sum::<u64>() == 2500
    })
    .await;
    let (mut seen, mut pages, mut page_token) = (Table::new(), 0, String::new());
    loop {
        let request = v1::ListRoutesRequest { page_size: 400, page_token, ..Default::default() };
        let mut stream = daemon.routes().await.list(request).await.expect("a list").into_inner();
        let (mut count, mut next) = (0, String::new());
        while let Some(part) = stream.message().await.expect("it goes on") {
            count += part.routes.len();
            next = part.next_page_token;
            seen.extend(part.routes.into_iter().map(|route| (route.prefix, 1)));
        }
        assert!(count <= 400, "{count} in a page");
        pages += 1;
        if next.is_empty() {
            break;
        }
        page_token = next;
    }
    assert_eq!((seen == table, pages), (true, 7));
}

#[tokio::test(flavor = "multi_thread")]
async fn all_equal_paths_are_told_together_and_the_best_one_first() {
    let port = crate::daemon::free_port();
    let neighbor = |host| {
        format!(
            "[[neighbor]]\naddress = \"127.0.0.{host}\"\nremote-asn = 65000\nroute-reflector-client = true\npassive = true\n"
        )
    };
    let config = format!(
        "[global]\nasn = 65000\nrouter-id = \"192.0.2.1\"\nlisten = [\"127.0.0.1:{port}\"]\n{}{}{}",
        neighbor(11),
        neighbor(12),
        neighbor(13)
    );
    let daemon = Daemon::start(&config).await;
    let mut peers = Vec::new();
    for host in 11..=13 {
        peers.push(Peer::connect(port, host, 65000).await);
    }
    let request = v1::WatchRoutesRequest { multipath: true, ..Default::default() };
    let mut stream = daemon.routes().await.watch(request).await.expect("a watch").into_inner();
    let mut next_hops = async |wanted: &[&str]| {
        let read = async {
            loop {
                let message = stream.message().await.expect("it goes on").expect("no end");
                let routes = match message.event {
                    Some(Event::Snapshot(routes) | Event::Changed(routes)) => routes.routes,
                    Some(Event::Withdrawn(_)) => Vec::new(),
                    _ => continue,
                };
                let best: Vec<bool> = routes.iter().map(|route| route.best).collect();
                let expected: Vec<bool> = (0..routes.len()).map(|at| at == 0).collect();
                assert_eq!(best, expected);
                let hops: Vec<_> = routes.into_iter().map(|r| r.attributes.expect("attributes").next_hop).collect();
                let mut sorted = hops.clone();
                sorted.sort();
                if sorted == wanted {
                    return;
                }
            }
        };
        timeout(PATIENCE, read).await.unwrap_or_else(|_| panic!("never {wanted:?}"));
    };
    let path = |local_pref| Path { local_pref };
    peers[0].announce("10.1.0.0/24", &path(100)).await;
    next_hops(&["192.0.2.11"]).await;
    peers[1].announce("10.1.0.0/24", &path(100)).await;
    next_hops(&["192.0.2.11", "192.0.2.12"]).await;
    peers[2].announce("10.1.0.0/24", &path(100)).await;
    next_hops(&["192.0.2.11", "192.0.2.12", "192.0.2.13"]).await;
    // A better one is alone; a worse one does not count.
    peers[2].announce("10.1.0.0/24", &path(200)).await;
    next_hops(&["192.0.2.13"]).await;
    peers[2].announce("10.1.0.0/24", &path(50)).await;
    next_hops(&["192.0.2.11", "192.0.2.12"]).await;
    peers[0].withdraw("10.1.0.0/24").await;
    next_hops(&["192.0.2.12"]).await;
    drop(peers);
    next_hops(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_neighbor_watch_goes_on_where_it_was() {
    use bgpd_proto::v1::watch_neighbors_response::Event;
    let port = crate::daemon::free_port();
    let config = format!(
        "[global]\nasn = 65000\nrouter-id = \"192.0.2.1\"\nlisten = [\"127.0.0.1:{port}\"]\n\
         [[neighbor]]\naddress = \"127.0.0.11\"\nremote-asn = 65000\npassive = true\n"
    );
    let daemon = Daemon::start(&config).await;
    let watch = async |from_revision: String| {
        let request = v1::WatchNeighborsRequest { from_revision, heartbeat_seconds: 1, ..Default::default() };
        NeighborServiceClient::new(daemon.connect().await).watch(request).await.expect("a watch").into_inner()
    };
    let mut stream = watch(String::new()).await;
    let (mut said, revision) = (0, String::new());
    let mut revision = revision;
    while revision.is_empty() {
        let message = stream.message().await.expect("it goes on").expect("no end");
        said += u32::from(matches!(message.event, Some(Event::Neighbor(_))));
        revision = message.revision;
    }
    assert!(said >= 1);
    drop(stream);
    let peer = Peer::connect(port, 11, 65000).await;
    let mut stream = watch(revision.clone()).await;
    // What it missed comes in order, and no snapshot.
    let mut states = Vec::new();
    while states.last().is_none_or(|state| state != "Established") {
        match stream.message().await.expect("it goes on").expect("no end").event {
            Some(Event::Neighbor(neighbor)) => states.push(neighbor.state),
            Some(Event::Heartbeat(_)) => {}
            other => panic!("{other:?}"),
        }
    }
    drop(peer);
    let mut again = watch("0000000000000000-1".to_owned()).await;
    let first = again.message().await.expect("it goes on").expect("no end");
    assert!(matches!(first.event, Some(Event::Resync(_))), "{first:?}");
}
