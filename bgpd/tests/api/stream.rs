//! A client that speaks for an owner of routes.

use bgpd_proto::v1;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use crate::daemon::Daemon;

/// An open stream of an owner.
pub(crate) struct Speaker {
    requests: mpsc::Sender<v1::ApplyRoutesRequest>,
    answers: Streaming<v1::ApplyRoutesResponse>,
}

/// Routes by prefix and MED.
pub(crate) fn set(routes: &[(&str, u32)]) -> Option<v1::RouteSet> {
    let announcement = |(prefix, med): &(&str, u32)| v1::Announcement {
        prefix: (*prefix).to_owned(),
        next_hop: if prefix.contains(':') { "2001:db8::7".to_owned() } else { "192.0.2.7".to_owned() },
        med: Some(*med),
        ..v1::Announcement::default()
    };
    Some(v1::RouteSet { announcements: routes.iter().map(announcement).collect() })
}

impl Speaker {
    pub(crate) async fn open(daemon: &Daemon, owner: &str, lease_seconds: u32, routes: Option<v1::RouteSet>) -> Self {
        let (requests, receiver) = mpsc::channel(4);
        let first = v1::ApplyRoutesRequest { owner: owner.to_owned(), lease_seconds, routes };
        requests.send(first).await.expect("the stream is open");
        let answers = daemon.routes().await.apply_routes(ReceiverStream::new(receiver)).await;
        Self { requests, answers: answers.expect("bgpd serves it").into_inner() }
    }

    pub(crate) async fn say(&self, routes: Option<v1::RouteSet>) {
        let request = v1::ApplyRoutesRequest { routes, ..v1::ApplyRoutesRequest::default() };
        self.requests.send(request).await.expect("the stream is open");
    }

    pub(crate) async fn answer(&mut self) -> Result<v1::ApplyRoutesResponse, Status> {
        self.answers.message().await.map(|answer| answer.expect("the stream goes on"))
    }

    pub(crate) async fn apply(&mut self, routes: &[(&str, u32)]) -> v1::ApplyRoutesResponse {
        self.say(set(routes)).await;
        self.answer().await.expect("an answer")
    }
}
