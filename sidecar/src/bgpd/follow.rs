//! The best routes of bgpd: a snapshot once, then the changes, going on after a pause where the watch before ended.
//!
//! A bgpd that has just started knows little: what its neighbors have not told it yet is not gone. So the end of a
//! snapshot counts only once its sessions have stood for a while, or when some of them have not come back for half a minute.

use std::time::Duration;

use bgpd_proto::v1 as api;
use bgpd_proto::v1::neighbor_service_client::NeighborServiceClient;
use bgpd_proto::v1::route_service_client::RouteServiceClient;
use bgpd_proto::v1::status_service_client::StatusServiceClient;
use ipnet::IpNet;
use tokio::sync::{mpsc, watch};
use tonic::transport::Channel;
use tracing::{debug, info, warn};

use super::{Backoff, BgpdError, Server};
use crate::kernel::Input;
use crate::learned::{Path, Route, RouteEvent};

/// Longest silence that is asked for.
const HEARTBEAT_SECONDS: u32 = 2;
/// A stream on which nothing comes for that long is given up.
const SILENCE: Duration = Duration::from_secs(15);
/// A session, and bgpd itself, must have run for that long before what is missing counts as gone.
const SETTLED_SECONDS: u64 = 3;
/// Sessions that have not come back after that long are not waited for.
const GIVEN_UP_SECONDS: u64 = 30;
/// Time between two looks at whether bgpd has settled.
const SETTLE_PAUSE: Duration = Duration::from_millis(500);

/// How it stands with the watch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Followed {
    /// A watch runs.
    pub is_open: bool,
    /// Snapshots that were taken since the start.
    pub snapshots: u64,
    /// Watches that went on where the one before ended.
    pub resumed: u64,
    /// Why bgpd cannot be used.
    pub trouble: Option<String>,
}

/// Follows the routes until nobody takes them any more.
pub async fn follow(server: Server, routes: mpsc::Sender<Input>, state: watch::Sender<Followed>) {
    let mut watching = Watching { revision: String::new(), is_open: false, withheld: None, routes, state };
    let mut backoff = Backoff::new();
    loop {
        let error = match watching.once(&server, &mut backoff).await {
            Ok(()) => return,
            Err(error) => error,
        };
        debug!(%error, "routes are not followed");
        if std::mem::take(&mut watching.is_open) && watching.tell(RouteEvent::Ended).await.is_err() {
            return;
        }
        watching.state.send_modify(|state| {
            state.is_open = false;
            state.trouble = Some(error.to_string());
        });
        backoff.pause().await;
    }
}

/// Nobody takes events any more.
struct Unwanted;

struct Watching {
    /// Everything up to here has been told; empty when a snapshot is needed.
    revision: String,
    /// `Started` or `Resumed` has been told.
    is_open: bool,
    /// The snapshot has ended but its end does not count yet; everything up to this revision has been told.
    withheld: Option<String>,
    routes: mpsc::Sender<Input>,
    state: watch::Sender<Followed>,
}

impl Watching {
    /// One watch, to its end. `Ok` when nobody wants to know.
    async fn once(&mut self, server: &Server, backoff: &mut Backoff) -> Result<(), BgpdError> {
        let channel = server.connect().await?;
        let mut client = RouteServiceClient::new(channel.clone());
        let request = api::WatchRoutesRequest {
            multipath: true,
            from_revision: self.revision.clone(),
            heartbeat_seconds: HEARTBEAT_SECONDS,
            ..api::WatchRoutesRequest::default()
        };
        let mut messages = client.watch(request).await?.into_inner();
        let resumes = !self.revision.is_empty();
        if !resumes && self.start().await.is_err() {
            return Ok(());
        }
        let mut look = tokio::time::interval(SETTLE_PAUSE);
        loop {
            let outcome = tokio::select! {
                message = tokio::time::timeout(SILENCE, messages.message()) => {
                    let message = message.map_err(|_| BgpdError::Silent)??.ok_or(BgpdError::Closed)?;
                    backoff.succeeded();
                    self.take(message).await
                }
                _ = look.tick(), if self.withheld.is_some() => {
                    if has_settled(&channel).await? { self.release().await } else { Ok(()) }
                }
            };
            if outcome.is_err() {
                return Ok(());
            }
        }
    }

    /// Tells the end of the snapshot.
    async fn release(&mut self) -> Result<(), Unwanted> {
        if let Some(revision) = self.withheld.take() {
            self.tell(RouteEvent::SnapshotEnd).await?;
            self.revision = revision;
        }
        Ok(())
    }

    async fn start(&mut self) -> Result<(), Unwanted> {
        self.revision.clear();
        self.withheld = None;
        self.opened(|state| state.snapshots += 1);
        self.tell(RouteEvent::Started).await
    }

    fn opened(&mut self, count: impl FnOnce(&mut Followed)) {
        self.is_open = true;
        self.state.send_modify(|state| {
            state.is_open = true;
            state.trouble = None;
            count(state);
        });
    }

    async fn take(&mut self, message: api::WatchRoutesResponse) -> Result<(), Unwanted> {
        use api::watch_routes_response::Event::{Changed, Heartbeat, Resync, Snapshot, SnapshotEnd as End, Withdrawn};
        let Some(event) = message.event else { return Ok(()) };
        if let Resync(resync) = event {
            info!(reason = resync.reason, "the whole table is read again");
            return self.start().await;
        }
        if !self.is_open {
            // The first word of a watch that goes on: nothing was missed.
            self.opened(|state| state.resumed += 1);
            self.tell(RouteEvent::Resumed).await?;
        }
        match event {
            Snapshot(routes) => self.tell(RouteEvent::Snapshot(read(routes))).await?,
            End(_) => self.withheld = Some(String::new()),
            Changed(routes) => self.tell(RouteEvent::Changed(read(routes))).await?,
            Withdrawn(prefixes) => self.tell(RouteEvent::Withdrawn(prefixes_of(&prefixes))).await?,
            Heartbeat(_) | Resync(_) => {}
        }
        // Only once it has been told: what is lost on the way is told again.
        match &mut self.withheld {
            Some(revision) => *revision = message.revision,
            None => self.revision = message.revision,
        }
        Ok(())
    }

    async fn tell(&self, event: RouteEvent) -> Result<(), Unwanted> {
        self.routes.send(Input::Routes(event)).await.map_err(|_| Unwanted)
    }
}

/// Whether bgpd knows what its neighbors know.
async fn has_settled(channel: &Channel) -> Result<bool, BgpdError> {
    let status = StatusServiceClient::new(channel.clone()).get(api::GetStatusRequest {}).await?.into_inner();
    if status.uptime_seconds < SETTLED_SECONDS {
        return Ok(false);
    }
    if status.uptime_seconds >= GIVEN_UP_SECONDS {
        return Ok(true);
    }
    let neighbors =
        NeighborServiceClient::new(channel.clone()).list(api::ListNeighborsRequest::default()).await?.into_inner();
    Ok(neighbors.neighbors.iter().all(|neighbor| {
        let stands = neighbor.state == "Established" && neighbor.uptime_seconds >= SETTLED_SECONDS;
        stands || neighbor.shutdown.is_some()
    }))
}

fn prefixes_of(prefixes: &api::Prefixes) -> Vec<IpNet> {
    prefixes.prefixes.iter().filter_map(|text| prefix(text)).collect()
}

fn prefix(text: &str) -> Option<IpNet> {
    text.parse().inspect_err(|_| warn!(prefix = text, "bgpd tells a prefix that cannot be read")).ok()
}

fn read(routes: api::Routes) -> Vec<Route> {
    routes.routes.iter().filter_map(route).collect()
}

/// None for what is no unicast route to a prefix.
fn route(route: &api::Route) -> Option<Route> {
    let is_unicast = route.family.is_none_or(|family| family.safi == 1);
    if !is_unicast || !route.rejected.is_empty() {
        return None;
    }
    let prefix = prefix(&route.prefix)?;
    if route.from.is_empty() {
        return Some(Route { prefix, path: None });
    }
    let attributes = route.attributes.as_ref()?;
    let Ok(next_hop) = attributes.next_hop.parse() else {
        warn!(%prefix, next_hop = attributes.next_hop, "a next hop cannot be read");
        return None;
    };
    let link_local = attributes.next_hop_link_local.parse().ok();
    let interface = Some(route.interface.clone()).filter(|name| !name.is_empty());
    Some(Route { prefix, path: Some(Path { next_hop, link_local, interface }) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(prefix: &str, from: &str, next_hop: &str) -> api::Route {
        api::Route {
            prefix: prefix.to_owned(),
            from: from.to_owned(),
            attributes: Some(api::Attributes { next_hop: next_hop.to_owned(), ..api::Attributes::default() }),
            ..api::Route::default()
        }
    }

    #[test]
    fn own_routes_lead_nowhere_and_what_cannot_be_read_is_left_out() {
        let routes = vec![
            told("10.1.0.0/24", "", "192.0.2.1"),
            told("10.2.0.0/24", "192.0.2.9", "192.0.2.2"),
            told("10.3.0.0/24", "192.0.2.9", "nowhere"),
            told("10.4.0.0/240", "192.0.2.9", "192.0.2.2"),
        ];
        let read = read(api::Routes { routes });
        assert_eq!(read.len(), 2);
        assert_eq!(read[0].path, None);
        assert_eq!(read[1].path.as_ref().map(|path| path.next_hop.to_string()).as_deref(), Some("192.0.2.2"));
    }

    #[test]
    fn link_local_next_hop_keeps_its_interface() {
        let mut link = told("fd00:2::/64", "fe80::2", "fe80::2");
        link.interface = "eth0".to_owned();
        let path = route(&link).and_then(|route| route.path).expect("a path");
        assert_eq!(path.interface.as_deref(), Some("eth0"));
    }
}
