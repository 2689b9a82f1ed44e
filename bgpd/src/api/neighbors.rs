//! `NeighborService`.

use bgpd_proto::v1;
use bgpd_proto::v1::watch_neighbors_response::Event;
use tonic::{Request, Response, Status};

use super::streams::Streams;
use super::{Streamed, convert, streamed};
use crate::config::Declared;
use crate::runtime::handle::{Handle, NeighborWatch, ResetKind, WatchedNeighbors};

pub(super) struct Service(pub(super) Handle, pub(super) Streams);

#[tonic::async_trait]
impl v1::neighbor_service_server::NeighborService for Service {
    async fn list(
        &self,
        request: Request<v1::ListNeighborsRequest>,
    ) -> Result<Response<v1::ListNeighborsResponse>, Status> {
        let v1::ListNeighborsRequest { page_size, page_token, state, peer_group, asn } = request.into_inner();
        let filter = convert::neighbor_filter(&state, peer_group, asn)?;
        let after = convert::optional_address("page_token", &page_token)?;
        let most = if page_size == 0 { usize::MAX } else { page_size as usize };
        let (statuses, more) = self.0.neighbors_page(&filter, after, most).await;
        let next_page_token = convert::text(statuses.last().filter(|_| more).map(|last| last.address));
        let neighbors = statuses.iter().map(convert::neighbor).collect();
        Ok(Response::new(v1::ListNeighborsResponse { neighbors, next_page_token }))
    }

    async fn get(&self, request: Request<v1::GetNeighborRequest>) -> Result<Response<v1::GetNeighborResponse>, Status> {
        let address = convert::address("address", &request.get_ref().address)?;
        let found = self.0.neighbor(address).await;
        let found = found.ok_or_else(|| Status::not_found(format!("neighbor {address} does not exist")))?;
        Ok(Response::new(v1::GetNeighborResponse { neighbor: Some(convert::neighbor(&found)) }))
    }

    async fn add(&self, request: Request<v1::AddNeighborRequest>) -> Result<Response<v1::AddNeighborResponse>, Status> {
        let v1::AddNeighborRequest { neighbor, owner } = request.into_inner();
        let wanted = neighbor.ok_or_else(|| convert::invalid("neighbor", "missing"))?;
        let running = self.0.desired().await.map_err(convert::status_of)?;
        let (address, keys) = convert::neighbor_keys(wanted, &running)?;
        let declared = Declared { owner: convert::owner_name(&owner)?, keys };
        self.0.add_neighbor(address, declared).await.map_err(convert::status_of)?;
        Ok(Response::new(v1::AddNeighborResponse {}))
    }

    async fn update(
        &self,
        request: Request<v1::UpdateNeighborRequest>,
    ) -> Result<Response<v1::UpdateNeighborResponse>, Status> {
        let v1::UpdateNeighborRequest { neighbor, owner, clear } = request.into_inner();
        let wanted = neighbor.ok_or_else(|| convert::invalid("neighbor", "missing"))?;
        let running = self.0.desired().await.map_err(convert::status_of)?;
        let (address, keys) = convert::neighbor_keys(wanted, &running)?;
        let declared = Declared { owner: convert::owner_name(&owner)?, keys };
        self.0.update_neighbor(address, declared, clear).await.map_err(convert::status_of)?;
        Ok(Response::new(v1::UpdateNeighborResponse {}))
    }

    async fn delete(
        &self,
        request: Request<v1::DeleteNeighborRequest>,
    ) -> Result<Response<v1::DeleteNeighborResponse>, Status> {
        let v1::DeleteNeighborRequest { address, owner } = request.into_inner();
        let (address, owner) = (convert::address("address", &address)?, convert::owner_name(&owner)?);
        self.0.delete_neighbor(address, owner).await.map_err(convert::status_of)?;
        Ok(Response::new(v1::DeleteNeighborResponse {}))
    }

    async fn enable(
        &self,
        request: Request<v1::EnableNeighborRequest>,
    ) -> Result<Response<v1::EnableNeighborResponse>, Status> {
        let address = convert::address("address", &request.get_ref().address)?;
        self.0.enable(address).await.map_err(convert::status_of)?;
        Ok(Response::new(v1::EnableNeighborResponse {}))
    }

    async fn disable(
        &self,
        request: Request<v1::DisableNeighborRequest>,
    ) -> Result<Response<v1::DisableNeighborResponse>, Status> {
        let v1::DisableNeighborRequest { address, message } = request.into_inner();
        let address = convert::address("address", &address)?;
        self.0.disable(address, message).await.map_err(convert::status_of)?;
        Ok(Response::new(v1::DisableNeighborResponse {}))
    }

    async fn drain(
        &self,
        request: Request<v1::DrainNeighborRequest>,
    ) -> Result<Response<v1::DrainNeighborResponse>, Status> {
        let v1::DrainNeighborRequest { address, all, undo } = request.into_inner();
        let address = match (all, address.is_empty()) {
            (true, true) => None,
            (false, false) => Some(convert::address("address", &address)?),
            _ => return Err(convert::invalid("address", "expected an address, or all")),
        };
        self.0.drain(address, !undo).await.map_err(convert::status_of)?;
        Ok(Response::new(v1::DrainNeighborResponse {}))
    }

    async fn reset(
        &self,
        request: Request<v1::ResetNeighborRequest>,
    ) -> Result<Response<v1::ResetNeighborResponse>, Status> {
        let request = request.into_inner();
        let address = convert::address("address", &request.address)?;
        let kind = match request.kind() {
            v1::ResetKind::Hard => ResetKind::Hard,
            v1::ResetKind::SoftIn => ResetKind::SoftIn,
            v1::ResetKind::SoftOut => ResetKind::SoftOut,
            v1::ResetKind::Soft => ResetKind::Soft,
            v1::ResetKind::Unspecified => {
                return Err(convert::invalid("kind", "missing, expected hard, soft-in, soft-out or soft"));
            }
        };
        self.0.reset(address, kind).await.map_err(convert::status_of)?;
        Ok(Response::new(v1::ResetNeighborResponse {}))
    }

    type WatchStream = Streamed<v1::WatchNeighborsResponse>;

    async fn watch(&self, request: Request<v1::WatchNeighborsRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let v1::WatchNeighborsRequest { from_revision, heartbeat_seconds, state, peer_group, asn } =
            request.into_inner();
        let watch = NeighborWatch {
            filter: convert::neighbor_filter(&state, peer_group, asn)?,
            from: convert::revision(&from_revision)?,
            heartbeat: convert::heartbeat(heartbeat_seconds)?,
        };
        let permit = self.1.open()?;
        Ok(Response::new(streamed(self.0.watch_neighbors(watch), permit, |event| {
            let said = match event.said {
                WatchedNeighbors::Status(status) => Event::Neighbor(convert::neighbor(&status)),
                WatchedNeighbors::SnapshotEnd => Event::SnapshotEnd(v1::SnapshotEnd {}),
                WatchedNeighbors::Removed(address) => Event::Removed(address.to_string()),
                WatchedNeighbors::Heartbeat => Event::Heartbeat(v1::Heartbeat {}),
                WatchedNeighbors::Resync(reason) => Event::Resync(v1::Resync { reason }),
            };
            v1::WatchNeighborsResponse { event: Some(said), revision: convert::text(event.revision) }
        })))
    }
}
