//! Broken set-ups: each is run on a real bgpd, and bgpd says in one line what is wrong. docs/troubleshooting.md is the
//! list of these; `UPDATE_GOLDEN=1` writes it anew.

mod cases;

use std::fmt::Write;
use std::path::Path;

use bgp_wire::attribute::Attribute;
use bgp_wire::capability::Capability;
use bgpd_proto::v1;
use bgpd_proto::v1::neighbor_service_client::NeighborServiceClient;

use self::cases::{Case, GLOBAL, ROUTES_IN, ROUTES_OUT, SESSIONS};
use super::daemon::{Daemon, free_port};
use super::speaker::{Speaker, plain_open};

/// Where the line is read.
#[derive(Clone, Copy)]
enum Page {
    /// `bgpctl show neighbors ADDRESS`, "Problem".
    Neighbor,
    /// `bgpctl explain PREFIX`, below the path from the neighbor.
    Path,
    /// `bgpctl explain PREFIX --to ADDRESS`.
    Told,
}

/// What the peer at the other end does.
enum Peer {
    /// There is none.
    Absent,
    /// Listens, and never says anything.
    Listens,
    /// Opens a session.
    Opens(fn(&mut bgp_wire::open::Open)),
    /// Opens a session and sends octets.
    Sends(fn() -> Vec<u8>),
    /// Opens a session with these capabilities more and announces routes.
    Announces(fn() -> Vec<Capability>, fn() -> Vec<Route>),
}

/// A route that a peer announces.
struct Route {
    prefix: &'static str,
    attributes: Vec<Attribute>,
    next_hop: Option<std::net::Ipv4Addr>,
}

/// What stays open until the test has read everything.
#[derive(Default)]
struct Open {
    speakers: Vec<Speaker>,
    listeners: Vec<tokio::net::TcpListener>,
}

impl Open {
    async fn run(&mut self, case: &Case, port: u16, peer_port: u16) {
        let mut opening = plain_open(case.host, case.says_asn);
        match &case.peer {
            Peer::Absent => {}
            Peer::Listens => {
                let address = (std::net::Ipv4Addr::new(127, 0, 0, case.host), peer_port);
                self.listeners.push(tokio::net::TcpListener::bind(address).await.expect("a free port"));
            }
            Peer::Opens(change) => {
                change(&mut opening);
                self.speakers.push(Speaker::open(port, case.host, &opening).await);
            }
            Peer::Sends(octets) => {
                let mut speaker = Speaker::open(port, case.host, &opening).await;
                speaker.send(&octets()).await;
                self.speakers.push(speaker);
            }
            Peer::Announces(capabilities, routes) => {
                opening.capabilities.extend(capabilities());
                let mut speaker = Speaker::open(port, case.host, &opening).await;
                speaker.accepted().await;
                for Route { prefix, attributes, next_hop } in routes() {
                    speaker.announce_with(prefix, &attributes, next_hop).await;
                }
                self.speakers.push(speaker);
            }
        }
    }
}

/// The lines among which the cause must be.
async fn said(daemon: &Daemon, page: Page, case: &Case) -> Vec<String> {
    let address = format!("127.0.0.{}", case.host);
    if matches!(page, Page::Neighbor) {
        let mut client = NeighborServiceClient::new(daemon.connect().await);
        let answer = client.get(v1::GetNeighborRequest { address }).await.expect("it is configured").into_inner();
        return answer.neighbor.expect("it is there").problems;
    }
    let to = if matches!(page, Page::Told) { address.clone() } else { String::new() };
    let wanted = v1::ExplainRequest { prefix: case.prefix.into(), to };
    let Ok(answer) = daemon.routes().await.explain(wanted).await else { return Vec::new() };
    let v1::ExplainResponse { candidates, exports, .. } = answer.into_inner();
    match page {
        Page::Told => exports.into_iter().filter(|one| one.to == address).map(|one| one.why).collect(),
        _ => {
            let of_peer = |one: &v1::Candidate| one.route.as_ref().is_some_and(|route| route.from == address);
            candidates.into_iter().filter(of_peer).map(|one| one.verdict).collect()
        }
    }
}

/// Waits until bgpd says the cause of every set-up.
async fn wait_for_causes(daemon: &Daemon, mut cases: Vec<(Page, &Case)>) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    loop {
        let mut missing = Vec::new();
        let mut picture = String::new();
        for (page, case) in cases {
            let lines = said(daemon, page, case).await;
            if lines.iter().all(|line| line != case.cause) {
                let _ = writeln!(picture, "{}: expected {:?}, bgpd says {lines:#?}", case.what, case.cause);
                missing.push((page, case));
            }
        }
        if missing.is_empty() {
            return;
        }
        assert!(std::time::Instant::now() < deadline, "{}\n{picture}", daemon.log());
        cases = missing;
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

const PAGES: [(Page, &[Case], &str); 3] = [
    (Page::Neighbor, &SESSIONS, "Sessions: `bgpctl show neighbors ADDRESS`, the line `Problem`"),
    (Page::Path, &ROUTES_IN, "Routes that come in: `bgpctl explain PREFIX`, below the path"),
    (Page::Told, &ROUTES_OUT, "Routes that go out: `bgpctl explain PREFIX --to ADDRESS`"),
];

fn document() -> String {
    let mut page = String::from(cases::INTRODUCTION);
    for (_, cases, heading) in PAGES {
        // Writing to a string does not fail.
        let _ = write!(page, "\n## {heading}\n\n| what is wrong | what bgpd says |\n|---|---|\n");
        for Case { what, cause, .. } in cases.iter().filter(|case| !case.cause.is_empty()) {
            let _ = writeln!(page, "| {what} | {cause} |");
        }
    }
    page + cases::LIMITS
}

#[test]
fn the_page_lists_what_is_tested() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/troubleshooting.md");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, document()).expect("it can be written");
    }
    assert_eq!(std::fs::read_to_string(&path).unwrap_or_default(), document());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_broken_set_up_is_told_its_cause_in_one_line() {
    let (port, peer_port) = (free_port(), free_port());
    let all = || PAGES.iter().flat_map(|(page, cases, _)| cases.iter().map(move |case| (*page, case)));
    let neighbors = all().filter(|(_, case)| !case.config.is_empty()).map(|(_, case)| {
        let Case { host, config, .. } = case;
        // A passive neighbor has no port to connect to.
        let port = if config.contains("passive") { String::new() } else { format!("port = {peer_port}\n") };
        format!("[[neighbor]]\naddress = \"127.0.0.{host}\"\n{port}{config}\n")
    });
    let config = format!("{}{}", GLOBAL.replace("PORT", &port.to_string()), neighbors.collect::<String>());
    let daemon = Daemon::start(&config).await;
    let mut open = Open::default();
    for (_, case) in all() {
        open.run(case, port, peer_port).await;
    }
    wait_for_causes(&daemon, all().filter(|(_, case)| !case.cause.is_empty()).collect()).await;
}
