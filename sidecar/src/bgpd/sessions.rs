//! Neighbors: those that the cluster's state calls for are added to bgpd, changed and deleted there; the states of all
//! are followed. A neighbor is ours when its description says so; no other is ever touched.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use bgpd_proto::v1 as api;
use bgpd_proto::v1::neighbor_service_client::NeighborServiceClient;
use tokio::sync::watch;
use tonic::transport::Channel;
use tracing::{debug, info};

use super::{Backoff, BgpdError, Server};
use crate::mesh::{Neighbor, Neighbors};
use crate::problem::{Problem, Reason};

/// Begins the description of a neighbor that is ours.
const MARK: &str = "bgp-sidecar: ";
/// Whose neighbors they are in bgpd.
const OWNER: &str = "bgp-sidecar";
/// Longest silence that is asked for.
const HEARTBEAT_SECONDS: u32 = 5;
/// A stream on which nothing comes for that long is given up.
const SILENCE: Duration = Duration::from_secs(20);
/// Time before a neighbor that bgpd refused is tried again.
const RETRY: Duration = Duration::from_secs(10);

/// The session with a neighbor, as far as it matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Its state, as RFC 4271 §8.2.2 calls it.
    pub state: String,
    /// What ended the last session or attempt.
    pub last_error: String,
    /// Shut down on purpose.
    pub is_shut_down: bool,
    is_ours: bool,
    is_dynamic: bool,
}

impl Session {
    /// Routes are exchanged.
    #[must_use]
    pub fn is_established(&self) -> bool {
        self.state == "Established"
    }
}

/// All sessions of bgpd.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sessions {
    /// By address; those with an interface or without an address are under their text.
    pub by_address: BTreeMap<String, Session>,
    /// The table is complete and current.
    pub is_current: bool,
    /// Which neighbors bgpd refuses.
    pub problems: Vec<Problem>,
}

impl Sessions {
    /// The neighbors with which no session stands although one could.
    pub fn down(&self) -> impl Iterator<Item = (&String, &Session)> {
        self.by_address.iter().filter(|(_, session)| {
            !session.is_established() && !session.is_shut_down && !session.is_dynamic && !session.last_error.is_empty()
        })
    }
}

/// Keeps the neighbors as they are wanted, and follows all, until the sender is gone. They stay in bgpd then. Nothing
/// is changed while nothing is wanted (`None`).
pub async fn keep_neighbors(
    server: Server,
    wanted: watch::Receiver<Option<Neighbors>>,
    sessions: watch::Sender<Sessions>,
) {
    let mut keeping = Keeping {
        wanted,
        sessions,
        seen: BTreeMap::new(),
        is_complete: false,
        told: BTreeMap::new(),
        refused: BTreeMap::new(),
    };
    let mut backoff = Backoff::new();
    loop {
        let error = match keeping.once(&server, &mut backoff).await {
            Ok(()) => return,
            Err(error) => error,
        };
        debug!(%error, "neighbors are not followed");
        keeping.is_complete = false;
        // Whatever bgpd knew may be forgotten there.
        keeping.told.clear();
        keeping.sessions.send_modify(|sessions| sessions.is_current = false);
        backoff.pause().await;
    }
}

struct Keeping {
    wanted: watch::Receiver<Option<Neighbors>>,
    sessions: watch::Sender<Sessions>,
    seen: BTreeMap<String, Session>,
    is_complete: bool,
    /// Settings that this connection has given to bgpd.
    told: BTreeMap<IpAddr, Neighbor>,
    refused: BTreeMap<IpAddr, String>,
}

impl Keeping {
    async fn once(&mut self, server: &Server, backoff: &mut Backoff) -> Result<(), BgpdError> {
        let mut client = NeighborServiceClient::new(server.connect().await?);
        let heartbeat_seconds = HEARTBEAT_SECONDS;
        let request = api::WatchNeighborsRequest { heartbeat_seconds, ..api::WatchNeighborsRequest::default() };
        let mut messages = client.watch(request).await?.into_inner();
        let mut confirmed = BTreeSet::new();
        let mut retry = tokio::time::interval(RETRY);
        loop {
            tokio::select! {
                message = tokio::time::timeout(SILENCE, messages.message()) => {
                    let message = message.map_err(|_| BgpdError::Silent)??.ok_or(BgpdError::Closed)?;
                    backoff.succeeded();
                    self.take(message, &mut confirmed);
                }
                changed = self.wanted.changed() => if changed.is_err() { return Ok(()) },
                _ = retry.tick() => {}
            }
            if self.is_complete {
                self.reconcile(&mut client).await?;
            }
            self.report();
        }
    }

    fn take(&mut self, message: api::WatchNeighborsResponse, confirmed: &mut BTreeSet<String>) {
        use api::watch_neighbors_response::Event::{Heartbeat, Neighbor, Removed, Resync, SnapshotEnd};
        match message.event {
            Some(Neighbor(neighbor)) => {
                if !self.is_complete {
                    confirmed.insert(neighbor.address.clone());
                }
                self.seen.insert(neighbor.address.clone(), session(&neighbor));
            }
            Some(Removed(address)) => {
                if let Ok(address) = address.parse() {
                    self.told.remove(&address);
                }
                self.seen.remove(&address);
            }
            Some(SnapshotEnd(_)) => {
                self.seen.retain(|address, _| confirmed.contains(address));
                self.is_complete = true;
            }
            Some(Resync(_)) => {
                confirmed.clear();
                self.is_complete = false;
            }
            Some(Heartbeat(_)) | None => {}
        }
    }

    fn report(&self) {
        let problem = |(address, message): (&IpAddr, &String)| {
            Problem::new(format_args!("neighbor/{address}"), Reason::NeighborRefused, message)
        };
        let next = Sessions {
            by_address: self.seen.clone(),
            is_current: self.is_complete,
            problems: self.refused.iter().map(problem).collect(),
        };
        self.sessions.send_if_modified(|sessions| {
            let is_news = *sessions != next;
            *sessions = next;
            is_news
        });
    }

    async fn reconcile(&mut self, client: &mut NeighborServiceClient<Channel>) -> Result<(), BgpdError> {
        let Some(wanted) = self.wanted.borrow_and_update().clone() else { return Ok(()) };
        let ours = |seen: &BTreeMap<String, Session>, address: &IpAddr| {
            seen.get(&address.to_string()).map(|session| session.is_ours)
        };
        self.refused.retain(|address, _| wanted.contains_key(address));
        for (address, neighbor) in &wanted {
            let outcome = match ours(&self.seen, address) {
                None => {
                    let request =
                        api::AddNeighborRequest { neighbor: Some(config(address, neighbor)), owner: OWNER.to_owned() };
                    client.add(request).await.map(drop)
                }
                Some(true) if self.told.get(address) != Some(neighbor) => {
                    let request = api::UpdateNeighborRequest {
                        neighbor: Some(config(address, neighbor)),
                        owner: OWNER.to_owned(),
                        clear: Vec::new(),
                    };
                    client.update(request).await.map(drop)
                }
                // Somebody else's, or as it should be.
                Some(_) => continue,
            };
            match outcome {
                Ok(()) => {
                    info!(%address, node = neighbor.name, "neighbor configured");
                    self.told.insert(*address, neighbor.clone());
                    self.refused.remove(address);
                }
                // It came in the meantime; the watch says so.
                Err(status) if status.code() == tonic::Code::AlreadyExists => {}
                Err(status) => self.refuse(*address, status)?,
            }
        }
        let stale = self.seen.iter().filter(|(_, session)| session.is_ours).filter_map(|(text, _)| text.parse().ok());
        let stale: Vec<IpAddr> = stale.filter(|address| !wanted.contains_key(address)).collect();
        for address in stale {
            let request = api::DeleteNeighborRequest { address: address.to_string(), owner: OWNER.to_owned() };
            match client.delete(request).await {
                Ok(_) => info!(%address, "neighbor deleted"),
                Err(status) if status.code() == tonic::Code::NotFound => {}
                Err(status) => self.refuse(address, status)?,
            }
            self.told.remove(&address);
            self.seen.remove(&address.to_string());
        }
        Ok(())
    }

    /// Remembers a refusal; an error when bgpd is not there at all.
    fn refuse(&mut self, address: IpAddr, status: tonic::Status) -> Result<(), BgpdError> {
        match BgpdError::from(status) {
            BgpdError::Refused(message) => {
                self.refused.insert(address, message);
                Ok(())
            }
            error => Err(error),
        }
    }
}

fn session(neighbor: &api::Neighbor) -> Session {
    Session {
        state: neighbor.state.clone(),
        last_error: neighbor.last_error.clone(),
        is_shut_down: neighbor.shutdown.is_some(),
        is_ours: neighbor.description.starts_with(MARK),
        is_dynamic: !neighbor.dynamic_range.is_empty(),
    }
}

fn config(address: &IpAddr, neighbor: &Neighbor) -> api::NeighborConfig {
    api::NeighborConfig {
        address: address.to_string(),
        peer_group: neighbor.peer_group.clone(),
        description: Some(format!("{MARK}{}", neighbor.name)),
        remote_asn: neighbor.asn,
        route_reflector_client: neighbor.is_client.then_some(true),
        port: neighbor.port.map(u32::from),
        local_address: neighbor.local_address.map(|address| address.to_string()),
        md5_password: neighbor.password.clone(),
        ..api::NeighborConfig::default()
    }
}
