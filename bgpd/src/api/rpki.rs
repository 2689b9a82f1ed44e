//! `RpkiService`.

use std::time::{Duration, Instant};

use bgp_engine::policy::OriginValidation;
use bgpd_proto::v1;
use tonic::{Request, Response, Status};

use super::convert;
use crate::rpki::CacheStatus;
use crate::runtime::handle::Handle;

/// Most VRPs of an answer: what covers one prefix is a handful.
const COVERING_MAX: usize = 100;

pub(super) struct Service(pub(super) Handle);

#[tonic::async_trait]
impl v1::rpki_service_server::RpkiService for Service {
    async fn list(&self, _: Request<v1::ListCachesRequest>) -> Result<Response<v1::ListCachesResponse>, Status> {
        let caches = self.0.caches().iter().map(message).collect();
        let vrps = self.0.vrps().map_or(0, |table| table.len() as u64);
        Ok(Response::new(v1::ListCachesResponse { caches, vrps }))
    }

    async fn validate(&self, request: Request<v1::ValidateRequest>) -> Result<Response<v1::ValidateResponse>, Status> {
        let v1::ValidateRequest { prefix, origin } = request.into_inner();
        let prefix = convert::prefix("prefix", &prefix)?;
        let Some(table) = self.0.vrps() else {
            return Err(Status::failed_precondition("no cache is configured, add [[rpki]] with its address"));
        };
        let vrp = |vrp: bgp_wire::rtr::Vrp| v1::Vrp {
            prefix: vrp.prefix.to_string(),
            max_length: vrp.max_length.into(),
            asn: vrp.asn,
        };
        Ok(Response::new(v1::ValidateResponse {
            state: table.state(&prefix, origin).to_string(),
            covering: table.covering(prefix).take(COVERING_MAX).map(vrp).collect(),
        }))
    }
}

fn message(cache: &CacheStatus) -> v1::Cache {
    let expires = cache.synchronized.map(|then| then + Duration::from_secs(cache.intervals.expire.into()));
    v1::Cache {
        address: cache.address.to_string(),
        preference: cache.settings.preference.into(),
        state: cache.phase.to_string(),
        in_use: cache.in_use,
        stale: cache.stale,
        vrps: cache.vrps as u64,
        version: cache.position.map(|(version, ..)| version.into()),
        session_id: cache.position.map(|(_, session, _)| session.into()),
        serial: cache.position.map(|(.., serial)| serial),
        synchronized_seconds_ago: cache.synchronized.map(|then| then.elapsed().as_secs()),
        expires_in_seconds: expires.map(|at| at.saturating_duration_since(Instant::now()).as_secs()),
        refresh_interval: cache.intervals.refresh,
        retry_interval: cache.intervals.retry,
        expire_interval: cache.intervals.expire,
        last_error: cache.last_error.clone().unwrap_or_default(),
    }
}
