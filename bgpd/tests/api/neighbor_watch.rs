//! Watches of some of the neighbors: whoever applies the events has exactly those that match.

use std::collections::BTreeMap;
use std::time::Duration;

use bgpd_proto::v1;
use bgpd_proto::v1::neighbor_service_client::NeighborServiceClient;
use bgpd_proto::v1::watch_neighbors_response::Event;
use tokio::time::{Instant, timeout};
use tonic::Streaming;
use tonic::transport::Channel;

use crate::daemon::{Daemon, free_port};
use crate::random::Random;
use crate::speaker::{Speaker, plain_open};

const PATIENCE: Duration = Duration::from_secs(60);
/// Neighbors are 127.0.0.11 to 127.0.0.18.
const HOSTS: std::ops::Range<u8> = 11..19;
const GROUPS: [&str; 2] = ["one", "two"];

/// State, peer group and AS by address.
type Table = BTreeMap<String, (String, String, u32)>;

#[derive(Clone, Copy, Default)]
struct Filter {
    state: &'static str,
    peer_group: &'static str,
    asn: u32,
}

const FILTERS: [Filter; 7] = [
    Filter { state: "", peer_group: "", asn: 0 },
    Filter { state: "down", peer_group: "", asn: 0 },
    Filter { state: "established", peer_group: "", asn: 0 },
    Filter { state: "", peer_group: "one", asn: 0 },
    Filter { state: "", peer_group: "", asn: 65001 },
    Filter { state: "Established", peer_group: "two", asn: 65002 },
    Filter { state: "", peer_group: "nobody", asn: 0 },
];

impl Filter {
    fn holds(&self, (state, group, asn): &(String, String, u32)) -> bool {
        let in_state = match self.state {
            "" => true,
            "down" => state != "Established",
            wanted => state.eq_ignore_ascii_case(wanted),
        };
        in_state && ["", group].contains(&self.peer_group) && [0, *asn].contains(&self.asn)
    }

    fn holds_all(&self) -> bool {
        self.state.is_empty() && self.peer_group.is_empty() && self.asn == 0
    }
}

fn known(neighbor: v1::Neighbor) -> (String, (String, String, u32)) {
    (neighbor.address, (neighbor.state, neighbor.peer_group, neighbor.asn))
}

async fn client(daemon: &Daemon) -> NeighborServiceClient<Channel> {
    NeighborServiceClient::new(daemon.connect().await)
}

async fn listed(daemon: &Daemon, filter: Filter) -> Table {
    let (state, peer_group, asn) = (filter.state.to_owned(), filter.peer_group.to_owned(), filter.asn);
    let request = v1::ListNeighborsRequest { state, peer_group, asn, ..Default::default() };
    let list = client(daemon).await.list(request).await.expect("bgpd answers").into_inner();
    list.neighbors.into_iter().map(known).collect()
}

/// A client of a watch with a filter.
#[derive(Default)]
struct Follower {
    filter: Filter,
    table: Table,
    snapshot: Option<Table>,
    revision: String,
    stream: Option<Streaming<v1::WatchNeighborsResponse>>,
    /// Its stream began with a snapshot: it is told nothing that does not concern it.
    from_snapshot: bool,
    heartbeats: u32,
}

impl Follower {
    fn new(filter: Filter) -> Self {
        Self { filter, ..Self::default() }
    }

    async fn open(&mut self, daemon: &Daemon) {
        let from_revision = self.revision.clone();
        self.from_snapshot = from_revision.is_empty();
        self.snapshot = self.from_snapshot.then(Table::new);
        let Filter { state, peer_group, asn } = self.filter;
        let (state, peer_group) = (state.to_owned(), peer_group.to_owned());
        let request = v1::WatchNeighborsRequest { from_revision, heartbeat_seconds: 1, state, peer_group, asn };
        self.stream = Some(client(daemon).await.watch(request).await.expect("a watch").into_inner());
    }

    fn close(&mut self) {
        self.stream = None;
        self.snapshot = None;
    }

    async fn read(&mut self) {
        let stream = self.stream.as_mut().expect("it is open");
        let message = timeout(PATIENCE, stream.message()).await.expect("a heartbeat at least");
        let message = message.expect("the watch goes on").expect("it does not end");
        let target = self.snapshot.as_mut().unwrap_or(&mut self.table);
        match message.event.expect("a message has an event") {
            Event::Neighbor(neighbor) => {
                let (address, neighbor) = known(neighbor);
                assert!(self.filter.holds(&neighbor), "{address} {neighbor:?} does not match");
                target.insert(address, neighbor);
            }
            Event::Removed(address) => {
                let had = target.remove(&address).is_some();
                let concerned = had || !self.from_snapshot || self.filter.holds_all();
                assert!(concerned, "{address} was not there");
            }
            Event::SnapshotEnd(_) => self.table = self.snapshot.take().expect("a snapshot was under way"),
            Event::Heartbeat(_) => self.heartbeats += 1,
            Event::Resync(_) => (self.snapshot, self.from_snapshot) = (Some(Table::new()), true),
        }
        if !message.revision.is_empty() {
            assert!(self.snapshot.is_none(), "a revision in an incomplete snapshot");
            self.revision = message.revision;
        }
    }

    /// Reads until it has what the list has.
    async fn agrees(&mut self, daemon: &Daemon) {
        let deadline = Instant::now() + PATIENCE;
        if self.stream.is_none() {
            self.open(daemon).await;
        }
        loop {
            let listed = listed(daemon, self.filter).await;
            if self.snapshot.is_none() && self.table == listed {
                return;
            }
            assert!(Instant::now() < deadline, "{:?} instead of {listed:?}", self.table);
            self.read().await;
        }
    }
}

/// bgpd and its neighbors, to which things happen.
struct World {
    daemon: Daemon,
    port: u16,
    /// AS numbers of those that are configured.
    neighbors: BTreeMap<u8, u16>,
    speakers: BTreeMap<u8, Speaker>,
}

impl World {
    async fn new() -> Self {
        let port = free_port();
        let groups = GROUPS.map(|name| {
            format!("[[peer-group]]\nname = \"{name}\"\nremote-asn = 65001\npassive = true\nidle-hold-time = 0\n")
        });
        let config = format!(
            "[global]\nasn = 65000\nrouter-id = \"192.0.2.1\"\nlisten = [\"127.0.0.1:{port}\"]\n{}",
            groups.concat()
        );
        let daemon = Daemon::start(&config).await;
        Self { daemon, port, neighbors: BTreeMap::new(), speakers: BTreeMap::new() }
    }

    /// Adds or changes a neighbor.
    async fn configure(&mut self, host: u8, group: &str, asn: u16) {
        let neighbor = Some(v1::NeighborConfig {
            address: format!("127.0.0.{host}"),
            peer_group: Some(group.to_owned()),
            remote_asn: Some(asn.into()),
            ..Default::default()
        });
        let mut client = client(&self.daemon).await;
        if self.neighbors.insert(host, asn).is_some() {
            let request = v1::UpdateNeighborRequest { neighbor, ..Default::default() };
            client.update(request).await.expect("it can be changed");
        } else {
            let request = v1::AddNeighborRequest { neighbor, ..Default::default() };
            client.add(request).await.expect("it can be added");
        }
    }

    async fn delete(&mut self, host: u8) {
        if self.neighbors.remove(&host).is_some() {
            let request = v1::DeleteNeighborRequest { address: format!("127.0.0.{host}"), ..Default::default() };
            client(&self.daemon).await.delete(request).await.expect("it is there");
        }
    }

    async fn connect(&mut self, host: u8) {
        let Some(asn) = self.neighbors.get(&host) else { return };
        let open = plain_open(host, *asn);
        // It may have been disabled, or its session may not have ended yet.
        let tried = timeout(Duration::from_secs(1), Speaker::try_connect(self.port, host, &open)).await;
        if let Ok(Some(speaker)) = tried {
            self.speakers.insert(host, speaker);
        }
    }

    async fn set_disabled(&self, host: u8, disabled: bool) {
        if !self.neighbors.contains_key(&host) {
            return;
        }
        let (address, mut client) = (format!("127.0.0.{host}"), client(&self.daemon).await);
        if disabled {
            let request = v1::DisableNeighborRequest { address, ..Default::default() };
            client.disable(request).await.expect("it is there");
        } else {
            client.enable(v1::EnableNeighborRequest { address }).await.expect("it is there");
        }
    }

    async fn happen(&mut self, random: &mut Random) {
        let host = HOSTS.start + random.below(HOSTS.len() as u64) as u8;
        match random.below(8) {
            0 => self.delete(host).await,
            1 | 2 => {
                let group = GROUPS[random.below(2) as usize];
                self.configure(host, group, 65001 + random.below(2) as u16).await;
            }
            3 => drop(self.speakers.remove(&host)),
            4 => self.set_disabled(host, true).await,
            5 => self.set_disabled(host, false).await,
            _ => self.connect(host).await,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_watches_with_a_filter_has_exactly_the_filtered_list_over_any_number_of_breaks() {
    let mut random = Random::new(7);
    let mut world = World::new().await;
    for host in HOSTS.take(5) {
        world.configure(host, GROUPS[usize::from(host) % 2], 65001 + u16::from(host) % 2).await;
    }
    let mut followers = FILTERS.map(Follower::new);
    for _ in 0..12 {
        for _ in 0..8 {
            world.happen(&mut random).await;
            // Some break off, also in the middle of a snapshot, some begin or go on.
            let follower = &mut followers[random.below(FILTERS.len() as u64) as usize];
            match follower.stream {
                Some(_) if random.below(2) == 0 => follower.close(),
                Some(_) => follower.read().await,
                None => follower.open(&world.daemon).await,
            }
        }
        for follower in &mut followers {
            follower.agrees(&world.daemon).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_neighbor_that_ceased_to_match_during_a_break_is_removed_at_the_resumption() {
    let mut world = World::new().await;
    for host in HOSTS.take(3) {
        world.configure(host, "one", 65001).await;
    }
    let mut follower = Follower::new(Filter { peer_group: "one", ..Filter::default() });
    follower.agrees(&world.daemon).await;
    assert_eq!(follower.table.len(), 3);
    follower.close();
    world.configure(11, "two", 65001).await;
    world.delete(12).await;
    follower.agrees(&world.daemon).await;
    assert_eq!(follower.table.keys().collect::<Vec<_>>(), ["127.0.0.13"]);
    assert!(!follower.from_snapshot, "it went on from its revision");
    // A change of settings that no session notices is a change.
    world.configure(11, "one", 65001).await;
    follower.agrees(&world.daemon).await;
    assert_eq!(follower.table.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn heartbeats_come_although_others_change_all_the_time() {
    let mut world = World::new().await;
    world.configure(11, "one", 65001).await;
    let mut follower = Follower::new(Filter { peer_group: "two", ..Filter::default() });
    follower.agrees(&world.daemon).await;
    let daemon = &world.daemon;
    let churn = async {
        let mut client = client(daemon).await;
        for number in 0_u64.. {
            let neighbor = Some(v1::NeighborConfig {
                address: "127.0.0.11".to_owned(),
                description: Some(number.to_string()),
                ..Default::default()
            });
            let request = v1::UpdateNeighborRequest { neighbor, ..Default::default() };
            client.update(request).await.expect("it can be changed");
        }
    };
    let before = follower.revision.clone();
    let reading = async {
        while follower.heartbeats < 3 {
            follower.read().await;
        }
    };
    tokio::select! {
        () = churn => {}
        done = timeout(PATIENCE, reading) => done.expect("heartbeats"),
    }
    // They say how far it has come.
    assert_ne!(follower.revision, before);
    assert!(follower.table.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_that_is_none_is_refused() {
    let world = World::new().await;
    let request = v1::WatchNeighborsRequest { state: "up".to_owned(), ..Default::default() };
    let refused = client(&world.daemon).await.watch(request).await.expect_err("there is no such state");
    assert_eq!(refused.code(), tonic::Code::InvalidArgument);
    assert!(refused.message().contains("Established, down"), "{refused:?}");
}
