//! Streams that speak for owners of routes.

use std::time::Duration;

use bgp_engine::config::owners::OwnerName;
use bgpd_proto::v1;
use tokio::sync::{mpsc, watch};
use tonic::{Status, Streaming};

use super::convert;
use crate::runtime::handle::{Applied, Handle, OwnerSignal};

/// Lease where the client does not say another.
const LEASE_SECONDS: u32 = 300;
/// Longest lease.
const LEASE_MAX_SECONDS: u32 = 86_400;
/// Answers that may wait for a client; one that reads none of them is not listened to either.
pub(super) const ANSWERS: usize = 4;
/// Largest message: the most routes of an owner, with attributes, fit.
pub(super) const MESSAGE_MAX: usize = 32 << 20;

type Answer = Result<v1::ApplyRoutesResponse, Status>;

/// A stream that speaks for an owner.
struct Speaker {
    handle: Handle,
    name: OwnerName,
    stream: u64,
    lease: Duration,
    sets_applied: u64,
    /// What could not be read of the latest set.
    unreadable: Vec<v1::RefusedRoute>,
}

/// Serves one stream from its first message to its end.
pub(super) async fn serve(
    handle: Handle,
    mut requests: Streaming<v1::ApplyRoutesRequest>,
    answers: mpsc::Sender<Answer>,
) {
    let mut speaker = match open(&handle, &mut requests, &answers).await {
        Ok(Some(speaker)) => speaker,
        Ok(None) => return,
        Err(status) => {
            // A client that has gone needs no answer.
            let _ = answers.send(Err(status)).await;
            return;
        }
    };
    if let Err(status) = speaker.0.listen(&mut requests, &mut speaker.1, &answers).await {
        let _ = answers.try_send(Err(status));
    }
    handle.close_owner(speaker.0.name, speaker.0.stream).await;
}

type Opened = (Speaker, watch::Receiver<OwnerSignal>);

/// The first message names the owner.
async fn open(
    handle: &Handle,
    requests: &mut Streaming<v1::ApplyRoutesRequest>,
    answers: &mpsc::Sender<Answer>,
) -> Result<Option<Opened>, Status> {
    let Some(first) = requests.message().await? else { return Ok(None) };
    let name: OwnerName = first.owner.parse().map_err(|error| convert::invalid("owner", error))?;
    let lease = lease(first.lease_seconds)?.unwrap_or(Duration::from_secs(LEASE_SECONDS.into()));
    // The first value is nothing that the stream must know.
    let (signal, signals) = watch::channel(OwnerSignal::Concerned);
    let stream = handle.open_owner(name.clone(), lease, signal).await.map_err(convert::status_of)?;
    let mut speaker = Speaker { handle: handle.clone(), name, stream, lease, sets_applied: 0, unreadable: Vec::new() };
    match speaker.request(first, answers).await {
        Ok(()) => Ok(Some((speaker, signals))),
        Err(status) => {
            handle.close_owner(speaker.name, stream).await;
            Err(status)
        }
    }
}

fn lease(seconds: u32) -> Result<Option<Duration>, Status> {
    match seconds {
        0 => Ok(None),
        1..=LEASE_MAX_SECONDS => Ok(Some(Duration::from_secs(seconds.into()))),
        _ => {
            let reason = format!("{seconds} is not possible, expected 1 to {LEASE_MAX_SECONDS}");
            Err(convert::invalid("lease_seconds", reason))
        }
    }
}

impl Speaker {
    async fn listen(
        &mut self,
        requests: &mut Streaming<v1::ApplyRoutesRequest>,
        signals: &mut watch::Receiver<OwnerSignal>,
        answers: &mpsc::Sender<Answer>,
    ) -> Result<(), Status> {
        loop {
            tokio::select! {
                request = requests.message() => match request? {
                    Some(request) => self.request(request, answers).await?,
                    None => return Ok(()),
                },
                Ok(()) = signals.changed() => {
                    let signal = *signals.borrow_and_update();
                    self.signal(signal, answers).await?;
                }
                () = answers.closed() => return Ok(()),
            }
        }
    }

    async fn request(&mut self, request: v1::ApplyRoutesRequest, answers: &mpsc::Sender<Answer>) -> Result<(), Status> {
        let v1::ApplyRoutesRequest { owner, lease_seconds, routes } = request;
        if !owner.is_empty() && owner != self.name.as_str() {
            let reason = format!("this stream speaks for {}, open another one for {owner}", self.name);
            return Err(convert::invalid("owner", reason));
        }
        let lease = lease(lease_seconds)?;
        self.lease = lease.unwrap_or(self.lease);
        let routes = routes.map(convert::route_set).map(|(routes, unreadable)| {
            self.sets_applied += 1;
            self.unreadable = unreadable;
            routes
        });
        let applied = self.handle.apply_routes(self.name.clone(), self.stream, lease, routes).await;
        self.answer(&applied.map_err(convert::status_of)?, answers).await
    }

    async fn signal(&self, signal: OwnerSignal, answers: &mpsc::Sender<Answer>) -> Result<(), Status> {
        match signal {
            OwnerSignal::TakenOver => {
                Err(Status::aborted(format!("another stream speaks for owner {} now", self.name)))
            }
            OwnerSignal::Expired => {
                let message = format!("the lease of owner {} has run out, its routes are withdrawn", self.name);
                Err(Status::deadline_exceeded(message))
            }
            OwnerSignal::Concerned => {
                let state = self.handle.owner_state(self.name.clone(), self.stream).await;
                self.answer(&state.map_err(convert::status_of)?, answers).await
            }
        }
    }

    /// Waits for a client that does not read; meanwhile nothing more is taken from it.
    async fn answer(&self, applied: &Applied, answers: &mpsc::Sender<Answer>) -> Result<(), Status> {
        let waiting = applied.waiting.iter().map(|(prefix, holder)| convert::refused(*prefix, holder));
        let answer = v1::ApplyRoutesResponse {
            sets_applied: self.sets_applied,
            announced: applied.announced as u32,
            changed: applied.changed as u32,
            withdrawn: applied.withdrawn as u32,
            refused: waiting.chain(self.unreadable.iter().cloned()).collect(),
            lease_seconds: self.lease.as_secs() as u32,
        };
        // A client that has gone is noticed where its requests end.
        let _ = answers.send(Ok(answer)).await;
        Ok(())
    }
}
