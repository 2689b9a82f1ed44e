//! `StatusService` and `ConfigService`.

use std::path::Path;

use bgpd_proto::v1;
use tonic::{Request, Response, Status};

use super::convert;
use super::streams::Streams;
use crate::config::{self, Document};
use crate::runtime::handle::Handle;

pub(super) struct StatusOf(pub(super) Handle, pub(super) Streams);
pub(super) struct ConfigOf(pub(super) Handle);

#[tonic::async_trait]
impl v1::status_service_server::StatusService for StatusOf {
    async fn get(&self, _: Request<v1::GetStatusRequest>) -> Result<Response<v1::GetStatusResponse>, Status> {
        let status = self.0.status().await.map_err(convert::status_of)?;
        Ok(Response::new(convert::speaker(&status, self.1.counts())))
    }
}

/// Files that a document names relative to itself are looked for beside the daemon's own configuration.
const BASE: &str = "/etc/bgpd";

fn parse(document: Option<v1::Document>) -> Result<Result<Document, String>, Status> {
    let v1::Document { text, name } = document.ok_or_else(|| convert::invalid("document", "missing"))?;
    let name = if name.is_empty() { "document" } else { &name };
    Ok(config::parse(&text, name, Path::new(BASE)).map_err(|diagnosis| diagnosis.to_string()))
}

fn valid(document: Option<v1::Document>) -> Result<Document, Status> {
    parse(document)?.map_err(|diagnosis| Status::invalid_argument(format!("document is not valid\n{diagnosis}")))
}

#[tonic::async_trait]
impl v1::config_service_server::ConfigService for ConfigOf {
    async fn check(
        &self,
        request: Request<v1::CheckConfigRequest>,
    ) -> Result<Response<v1::CheckConfigResponse>, Status> {
        Ok(Response::new(match parse(request.into_inner().document)? {
            Ok(document) => {
                let diagnosis = document.warnings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
                v1::CheckConfigResponse { valid: true, diagnosis }
            }
            Err(diagnosis) => v1::CheckConfigResponse { valid: false, diagnosis },
        }))
    }

    async fn diff(&self, request: Request<v1::DiffConfigRequest>) -> Result<Response<v1::DiffConfigResponse>, Status> {
        let document = valid(request.into_inner().document)?;
        let steps = self.0.plan(document.desired).await.map_err(convert::status_of)?;
        let steps = steps.iter().map(convert::step).collect();
        let warnings = document.warnings.iter().map(ToString::to_string).collect();
        Ok(Response::new(v1::DiffConfigResponse { steps, warnings }))
    }

    async fn apply(
        &self,
        request: Request<v1::ApplyConfigRequest>,
    ) -> Result<Response<v1::ApplyConfigResponse>, Status> {
        let v1::ApplyConfigRequest { document, expected_revision } = request.into_inner();
        let document = valid(document)?;
        let steps = self.0.apply_to(document.desired, expected_revision).await.map_err(convert::status_of)?;
        Ok(Response::new(v1::ApplyConfigResponse { steps: steps.iter().map(convert::step).collect() }))
    }
}
