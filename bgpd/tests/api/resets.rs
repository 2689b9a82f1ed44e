//! What `Diff` says of sessions is what happens: for random pairs of configurations, on real sessions.

use std::collections::{BTreeMap, BTreeSet};

use bgp_wire::capability::Capability;
use bgp_wire::open::Open;
use bgpd_proto::v1;
use bgpd_proto::v1::config_service_client::ConfigServiceClient;
use bgpd_proto::v1::neighbor_service_client::NeighborServiceClient;

use crate::daemon::{Daemon, free_port, wait_until};
use crate::random::Random;
use crate::speaker::{Path, Speaker, plain_open};

/// Random configurations that are applied one after the other.
const CONFIGURATIONS: u64 = 80;
/// Neighbors that are configured, and one that a range lets in.
const HOSTS: [u8; 4] = [11, 12, 13, 70];

/// What the peer at an address can do: each kind of change meets one that can follow it and one that cannot.
fn opening(host: u8) -> Open {
    let mut open = plain_open(host, 65000);
    match host {
        11 => open.capabilities.push(Capability::EnhancedRouteRefresh),
        12 => open.capabilities.retain(|capability| *capability != Capability::RouteRefresh),
        _ => {}
    }
    open
}

/// Settings that differ from one configuration to the next.
const SETTINGS: [&str; 19] = [
    "restart-time = 60",
    "hold-time = 30",
    "idle-hold-time = 0",
    "connect-retry = 2",
    "import-policy = [\"one\", \"accept-all\"]",
    "import-policy = [\"two\", \"accept-all\"]",
    "export-policy = [\"one\", \"accept-all\"]",
    "export-policy = [\"one\", \"accept-all\"]",
    "export-policy = [\"two\", \"accept-all\"]",
    "export-policy = [\"two\", \"accept-all\"]",
    "next-hop-self = true",
    "add-path = \"receive\"",
    "extended-messages = false",
    "reject-as-sets = true",
    "graceful-restart = false",
    "stale-path-time = 10",
    "graceful-shutdown = true",
    "route-reflector-client = true",
    "families = [\"ipv4-unicast\", \"ipv6-unicast\"]",
];

/// At most two of the settings, so that most changes are small.
fn settings(random: &mut Random) -> String {
    let mut chosen = BTreeMap::new();
    for _ in 0..random.below(3) {
        let setting = SETTINGS[random.below(SETTINGS.len() as u64) as usize];
        chosen.insert(setting.split(' ').next().unwrap_or_default(), setting);
    }
    chosen.into_values().map(|setting| format!("{setting}\n")).collect()
}

fn configuration(random: &mut Random, port: u16) -> String {
    let mut text = format!(
        "[global]\nasn = 65000\nrouter-id = \"192.0.2.1\"\nlisten = [\"127.0.0.1:{port}\"]\nmax-setup-rate = 0\n"
    );
    for (chance, line) in [
        (12, "cluster-id = \"192.0.2.9\""),
        (12, "client-to-client-reflection = false"),
        (4, "always-compare-med = true"),
        (6, "graceful-shutdown = true"),
        (6, "import-policy = [\"one\", \"accept-all\"]"),
        (6, "export-policy = [\"two\", \"accept-all\"]"),
    ] {
        if random.below(chance) == 0 {
            text += &format!("{line}\n");
        }
    }
    for name in ["one", "two"] {
        let med = random.below(3);
        text += &format!("[[policy]]\nname = \"{name}\"\n[[policy.statement]]\nset.med = {med}\n");
    }
    for host in [11, 12, 13] {
        if random.below(10) > 0 {
            text += &format!("[[neighbor]]\naddress = \"127.0.0.{host}\"\nremote-asn = 65000\npassive = true\n");
            text += &settings(random);
            if random.below(12) == 0 {
                text += "shutdown = \"maintenance\"\n";
            }
        }
    }
    text += "[[peer-group]]\nname = \"nodes\"\nremote-asn = 65000\n";
    text += &settings(random);
    if random.below(10) > 0 {
        text += "[[dynamic-neighbors]]\nprefix = \"127.0.0.64/26\"\npeer-group = \"nodes\"\n";
    }
    if random.below(2) == 0 {
        let (pods, node) = (1 + random.below(2), 11 + random.below(3));
        text += &format!(
            "[[cluster]]\nname = \"east\"\npod-cidrs = [\"10.{pods}.0.0/16\"]\nnodes = [\"127.0.0.{node}/32\"]\n"
        );
    }
    text
}

/// Of each neighbor with a session, how often one has ended.
pub(crate) async fn sessions(daemon: &Daemon) -> BTreeMap<String, u64> {
    let mut client = NeighborServiceClient::new(daemon.connect().await);
    let all = client.list(v1::ListNeighborsRequest::default()).await.expect("a list").into_inner().neighbors;
    let up = all.into_iter().filter(|one| one.state == "Established");
    up.map(|one| (one.address, one.flaps)).collect()
}

pub(crate) async fn received(daemon: &Daemon, address: &str, prefix: &str) -> bool {
    let request = v1::ListRoutesRequest {
        from: address.to_owned(),
        prefix: prefix.to_owned(),
        ..v1::ListRoutesRequest::default()
    };
    let Ok(stream) = daemon.routes().await.list(request).await else { return false };
    let mut stream = stream.into_inner();
    while let Ok(Some(part)) = stream.message().await {
        if !part.routes.is_empty() {
            return true;
        }
    }
    false
}

struct World {
    daemon: Daemon,
    port: u16,
    speakers: BTreeMap<u8, Speaker>,
    marks: u32,
}

impl World {
    /// Has all peers connect that the configuration wants.
    async fn connect(&mut self, configuration: &str) {
        self.speakers.retain(|_, speaker| !speaker.has_ended());
        for host in HOSTS {
            let section = configuration.split("[[").find(|part| part.contains(&format!("\"127.0.0.{host}\"\nremote")));
            let wanted = match host {
                70 => configuration.contains("[[dynamic-neighbors]]"),
                _ => section.is_some_and(|section| !section.contains("shutdown = \"")),
            };
            while wanted && !self.speakers.contains_key(&host) {
                match Speaker::try_connect(self.port, host, &opening(host)).await {
                    Some(speaker) => drop(self.speakers.insert(host, speaker)),
                    // It may not have noticed the end of the last session yet.
                    None => tokio::time::sleep(std::time::Duration::from_millis(10)).await,
                }
            }
        }
        let expected = self.speakers.len();
        wait_until("the sessions are up", || async { sessions(&self.daemon).await.len() == expected }).await;
    }

    /// Sends a route on a session; when bgpd has it, it has also done what it was told before.
    async fn mark(&mut self, host: u8) {
        let Some(speaker) = self.speakers.get_mut(&host) else { return };
        for _ in 0..2 {
            self.marks += 1;
            let prefix = format!("10.200.{}.{}/32", self.marks >> 8 & 255, self.marks & 255);
            speaker.announce(&prefix, &Path { local_pref: 100 }).await;
            let address = format!("127.0.0.{host}");
            wait_until(&format!("a route of {address} is there"), || received(&self.daemon, &address, &prefix)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn exactly_the_sessions_that_a_diff_names_are_reset() {
    let port = free_port();
    let mut random = Random::new(7);
    let mut text = configuration(&mut random, port);
    let daemon = Daemon::start(&text).await;
    let mut world = World { daemon, port, speakers: BTreeMap::new(), marks: 0 };
    let (mut resets, mut kept) = (0, 0);
    for number in 0..CONFIGURATIONS {
        world.connect(&text).await;
        let before = sessions(&world.daemon).await;
        let next = configuration(&mut random, port);
        let document = Some(v1::Document { text: next.clone(), name: String::new() });
        let mut configs = ConfigServiceClient::new(world.daemon.connect().await);
        let diff =
            configs.diff(v1::DiffConfigRequest { document: document.clone() }).await.expect("a diff").into_inner();
        let named: BTreeSet<String> = diff.resets.iter().map(|reset| reset.address.clone()).collect();
        let applied = configs.apply(v1::ApplyConfigRequest { document, ..Default::default() }).await.expect("applied");
        assert_eq!(applied.into_inner().resets, diff.resets);
        let said = format!("configuration {number}: {:?}\n{:?}\n{text}\n-- and then\n{next}", diff.resets, diff.steps);
        for host in HOSTS {
            let address = format!("127.0.0.{host}");
            let Some(flaps) = before.get(&address) else { continue };
            if named.contains(&address) {
                let ended = || async { sessions(&world.daemon).await.get(&address) != Some(flaps) };
                wait_until(&format!("{address} is reset, {said}"), ended).await;
                resets += 1;
            } else {
                let ended = world.speakers.get(&host).is_none_or(Speaker::has_ended);
                assert!(!ended, "{address} has ended, {said}");
                world.mark(host).await;
                assert_eq!(sessions(&world.daemon).await.get(&address), Some(flaps), "{address}, {said}");
                kept += 1;
            }
        }
        for host in HOSTS.into_iter().filter(|host| named.contains(&format!("127.0.0.{host}"))) {
            world.speakers.remove(&host);
        }
        text = next;
    }
    assert!(resets > 40 && kept > 40, "{resets} resets, {kept} sessions kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_comes_to_another_address_than_the_local_address_is_refused() {
    let port = free_port();
    let configuration = |local: &str| {
        format!(
            "[global]\nasn = 65000\nrouter-id = \"192.0.2.1\"\nlisten = [\"127.0.0.1:{port}\"]\n\
             [[neighbor]]\naddress = \"127.0.0.11\"\nremote-asn = 65000\npassive = true\nlocal-address = \"{local}\"\n"
        )
    };
    let daemon = Daemon::start(&configuration("127.0.0.9")).await;
    // Else a session that was reset for its address would come back with the same one.
    assert!(Speaker::try_connect(port, 11, &plain_open(11, 65000)).await.is_none());
    assert!(daemon.log().contains("it came to another address than local-address"), "{}", daemon.log());
    let document = Some(v1::Document { text: configuration("127.0.0.1"), name: String::new() });
    let mut configs = ConfigServiceClient::new(daemon.connect().await);
    configs.apply(v1::ApplyConfigRequest { document, ..Default::default() }).await.expect("applied");
    assert!(Speaker::try_connect(port, 11, &plain_open(11, 65000)).await.is_some());
}
