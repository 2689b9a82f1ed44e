//! `RouteService`.

use std::net::IpAddr;
use std::time::Instant;

use bgpd_proto::v1;
use bgpd_proto::v1::watch_routes_response::Event;
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::kernel::Installers;
use super::streams::Streams;
use super::{Streamed, convert, owners, streamed};
use crate::runtime::handle::{Handle, RouteRecord, WatchedRoutes};

pub(super) struct Service(pub(super) Handle, pub(super) Streams, pub(super) Installers);

#[tonic::async_trait]
impl v1::route_service_server::RouteService for Service {
    type ListStream = Streamed<v1::ListRoutesResponse>;

    async fn list(&self, request: Request<v1::ListRoutesRequest>) -> Result<Response<Self::ListStream>, Status> {
        let filter = convert::filter(request.into_inner())?;
        for (field, address) in [("from", filter.from), ("to", filter.to)] {
            if let Some(address) = address
                && self.0.neighbor(address).await.is_none()
            {
                return Err(Status::not_found(format!("{field}: neighbor {address} does not exist")));
            }
        }
        let permit = self.1.open()?;
        Ok(Response::new(streamed(self.0.routes(filter), permit, |page| v1::ListRoutesResponse {
            routes: all(&page.routes),
            next_page_token: page.next.map(|place| place.to_string()).unwrap_or_default(),
        })))
    }

    type ApplyRoutesStream = Streamed<v1::ApplyRoutesResponse>;

    async fn apply_routes(
        &self,
        request: Request<tonic::Streaming<v1::ApplyRoutesRequest>>,
    ) -> Result<Response<Self::ApplyRoutesStream>, Status> {
        let permit = self.1.open()?;
        let (answers, receiver) = mpsc::channel(owners::ANSWERS);
        tokio::spawn(owners::serve(self.0.clone(), request.into_inner(), answers));
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver).map(move |answer| {
            let _ = &permit;
            answer
        }))))
    }

    async fn list_owners(&self, _: Request<v1::ListOwnersRequest>) -> Result<Response<v1::ListOwnersResponse>, Status> {
        let (owners, now) = (self.0.owners().await.map_err(convert::status_of)?, Instant::now());
        let owners = owners.iter().map(|view| convert::owner(view, now)).collect();
        Ok(Response::new(v1::ListOwnersResponse { owners }))
    }

    async fn announce(&self, request: Request<v1::AnnounceRequest>) -> Result<Response<v1::AnnounceResponse>, Status> {
        let v1::AnnounceRequest { prefix, next_hop, local_pref, med, communities, large_communities } =
            request.into_inner();
        let route = v1::Announcement { prefix, next_hop, local_pref, med, communities, large_communities };
        let route = convert::originate(route)?;
        self.0.announce(route).await.map_err(convert::status_of)?;
        Ok(Response::new(v1::AnnounceResponse {}))
    }

    async fn withdraw(&self, request: Request<v1::WithdrawRequest>) -> Result<Response<v1::WithdrawResponse>, Status> {
        let prefix = convert::prefix("prefix", &request.get_ref().prefix)?;
        self.0.withdraw(prefix).await.map_err(convert::status_of)?;
        Ok(Response::new(v1::WithdrawResponse {}))
    }

    async fn explain(&self, request: Request<v1::ExplainRequest>) -> Result<Response<v1::ExplainResponse>, Status> {
        let v1::ExplainRequest { prefix, to } = request.into_inner();
        let (wanted, to) = (convert::prefix("prefix", &prefix)?, convert::optional_address("to", &to)?);
        let covering = self.0.longest_match(wanted).await;
        let missing = |there: &str| Status::not_found(format!("a route to {prefix} does not exist{there}"));
        let wanted = match covering {
            None => return Err(missing("")),
            // Of an address people want to know which route it takes.
            Some(longest) if longest == wanted || prefix.parse::<IpAddr>().is_ok() => longest,
            Some(longest) => return Err(missing(&format!("; the longest prefix that covers it is {longest}"))),
        };
        let explanation = self.0.explain(wanted, to).await.map_err(convert::status_of)?;
        let kernels = self.2.explain(wanted).await;
        Ok(Response::new(v1::ExplainResponse { kernels, ..convert::explanation(&explanation) }))
    }

    type WatchStream = Streamed<v1::WatchRoutesResponse>;

    async fn watch(&self, request: Request<v1::WatchRoutesRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let (wanted, permit) = (convert::route_watch(request.into_inner())?, self.1.open()?);
        Ok(Response::new(streamed(self.0.watch_routes(wanted), permit, |event| v1::WatchRoutesResponse {
            event: Some(watched(event.said)),
            revision: convert::text(event.revision),
        })))
    }
}

fn all(records: &[RouteRecord]) -> Vec<v1::Route> {
    records.iter().map(convert::route).collect()
}

fn watched(said: WatchedRoutes) -> Event {
    match said {
        WatchedRoutes::Snapshot(records) => Event::Snapshot(v1::Routes { routes: all(&records) }),
        WatchedRoutes::SnapshotEnd => Event::SnapshotEnd(v1::SnapshotEnd {}),
        WatchedRoutes::Changed(records) => Event::Changed(v1::Routes { routes: all(&records) }),
        WatchedRoutes::Withdrawn(family, prefixes) => Event::Withdrawn(v1::Prefixes {
            family: Some(convert::from_family(family)),
            prefixes: prefixes.iter().map(ToString::to_string).collect(),
        }),
        WatchedRoutes::Heartbeat => Event::Heartbeat(v1::Heartbeat {}),
        WatchedRoutes::Resync(reason) => Event::Resync(v1::Resync { reason }),
    }
}
