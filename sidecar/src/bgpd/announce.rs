//! Announcements: the whole set is declared under an owner, and again whenever it changes. bgpd computes what is
//! different, so that a sidecar that starts again changes nothing.

use std::time::Duration;

use bgpd_proto::v1 as api;
use bgpd_proto::v1::route_service_client::RouteServiceClient;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tracing::{debug, info};

use super::{Backoff, BgpdError, Server};
use crate::announcement::Announcements;
use crate::problem::{Problem, Reason};

/// How it stands with what is declared.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Applied {
    /// The set as it is wanted now is announced, but for what is refused.
    pub is_current: bool,
    /// How many routes bgpd announces for us.
    pub announced: u32,
    /// What it refuses.
    pub problems: Vec<Problem>,
    /// Why bgpd cannot be used.
    pub trouble: Option<String>,
}

/// In whose name routes are declared, and how long they outlive the sidecar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ownership {
    /// The owner.
    pub owner: String,
    /// How long.
    pub lease: Duration,
}

impl Ownership {
    fn request(&self, routes: Option<&Announcements>) -> api::ApplyRoutesRequest {
        let announcement = |(prefix, route): (&ipnet::IpNet, &crate::announcement::Announcement)| api::Announcement {
            prefix: prefix.to_string(),
            next_hop: route.next_hop.to_string(),
            communities: route.communities.iter().cloned().collect(),
            ..api::Announcement::default()
        };
        api::ApplyRoutesRequest {
            owner: self.owner.clone(),
            lease_seconds: u32::try_from(self.lease.as_secs()).unwrap_or(u32::MAX),
            routes: routes.map(|all| api::RouteSet { announcements: all.iter().map(announcement).collect() }),
        }
    }
}

/// Declares what is wanted until the sender is gone; what is announced then stays for the lease. Nothing is declared
/// before something is wanted.
pub async fn announce(
    server: Server,
    ownership: Ownership,
    mut wanted: watch::Receiver<Option<Announcements>>,
    applied: watch::Sender<Applied>,
) {
    if wanted.wait_for(Option::is_some).await.is_err() {
        return;
    }
    let mut backoff = Backoff::new();
    loop {
        let error = match declare(&server, &ownership, &mut wanted, &applied, &mut backoff).await {
            Ok(()) => return,
            Err(error) => error,
        };
        debug!(%error, "announcements are not declared");
        applied.send_modify(|state| {
            state.is_current = false;
            state.trouble = Some(error.to_string());
        });
        backoff.pause().await;
    }
}

/// One stream, to its end. `Ok` when nobody wants anything any more.
async fn declare(
    server: &Server,
    ownership: &Ownership,
    wanted: &mut watch::Receiver<Option<Announcements>>,
    applied: &watch::Sender<Applied>,
    backoff: &mut Backoff,
) -> Result<(), BgpdError> {
    let mut client = RouteServiceClient::new(server.connect().await?);
    let (requests, receiver) = mpsc::channel(4);
    let closed = |_| BgpdError::Closed;
    let set = wanted.borrow_and_update().clone();
    requests.send(ownership.request(set.as_ref())).await.map_err(closed)?;
    let mut responses = client.apply_routes(ReceiverStream::new(receiver)).await?.into_inner();
    let mut sent = 1;
    let mut renewal = tokio::time::interval(ownership.lease / 4);
    loop {
        tokio::select! {
            response = responses.message() => {
                let response = response?.ok_or(BgpdError::Closed)?;
                backoff.succeeded();
                take(&response, response.sets_applied >= sent, applied);
            }
            changed = wanted.changed() => {
                if changed.is_err() {
                    return Ok(());
                }
                let set = wanted.borrow_and_update().clone();
                applied.send_modify(|state| state.is_current = false);
                requests.send(ownership.request(set.as_ref())).await.map_err(closed)?;
                sent += 1;
            }
            _ = renewal.tick() => requests.send(ownership.request(None)).await.map_err(closed)?,
        }
    }
}

fn take(response: &api::ApplyRoutesResponse, is_current: bool, applied: &watch::Sender<Applied>) {
    if response.changed + response.withdrawn > 0 {
        info!(
            changed = response.changed,
            withdrawn = response.withdrawn,
            announced = response.announced,
            "announcements changed"
        );
    }
    let problem = |refused: &api::RefusedRoute| {
        Problem::new(format_args!("route/{}", refused.prefix), Reason::AnnouncementRefused, &refused.message)
    };
    let next = Applied {
        is_current,
        announced: response.announced,
        problems: response.refused.iter().map(problem).collect(),
        trouble: None,
    };
    applied.send_if_modified(|state| {
        let is_news = *state != next;
        *state = next;
        is_news
    });
}

/// Gives up all that an owner has declared.
///
/// # Errors
/// When bgpd cannot be reached or refuses.
pub async fn withdraw(server: &Server, ownership: &Ownership) -> Result<u32, BgpdError> {
    let mut client = RouteServiceClient::new(server.connect().await?);
    let nothing = tokio_stream::once(ownership.request(Some(&Announcements::new())));
    let mut responses = client.apply_routes(nothing).await?.into_inner();
    let response = responses.message().await?.ok_or(BgpdError::Closed)?;
    Ok(response.withdrawn)
}
