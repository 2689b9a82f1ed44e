//! `StatusService` and `ConfigService`.

use std::path::PathBuf;
use std::time::Duration;

use bgpd_proto::v1;
use tonic::{Request, Response, Status};

use super::convert;
use super::streams::Streams;
use crate::config::{self, Document};
use crate::runtime::handle::{Changes, Handle, Shown, Terms};
use crate::runtime::kernel;

pub(super) struct StatusOf(pub(super) Handle, pub(super) Streams);
/// The configuration. Files that a document names relative to itself are looked for beside the daemon's own.
pub(super) struct ConfigOf(pub(super) Handle, pub(super) PathBuf);

#[tonic::async_trait]
impl v1::status_service_server::StatusService for StatusOf {
    async fn get(&self, _: Request<v1::GetStatusRequest>) -> Result<Response<v1::GetStatusResponse>, Status> {
        let status = self.0.status().await.map_err(convert::status_of)?;
        Ok(Response::new(convert::speaker(&status, self.1.counts())))
    }
}

/// Longest time for a confirmation: a day.
const CONFIRM_MAX_SECONDS: u32 = 86_400;

impl ConfigOf {
    fn parse(&self, document: Option<v1::Document>) -> Result<Result<Document, String>, Status> {
        let v1::Document { text, name } = document.ok_or_else(|| convert::invalid("document", "missing"))?;
        let name = if name.is_empty() { "document" } else { &name };
        Ok(config::parse(&text, name, &self.1).map_err(|diagnosis| diagnosis.to_string()))
    }

    fn valid(&self, document: Option<v1::Document>) -> Result<Document, Status> {
        let invalid = |diagnosis| Status::invalid_argument(format!("document is not valid\n{diagnosis}"));
        self.parse(document)?.map_err(invalid)
    }
}

#[tonic::async_trait]
impl v1::config_service_server::ConfigService for ConfigOf {
    async fn check(
        &self,
        request: Request<v1::CheckConfigRequest>,
    ) -> Result<Response<v1::CheckConfigResponse>, Status> {
        let parsed = self.parse(request.into_inner().document)?;
        let checked = parsed.and_then(|document| match kernel::check(&document.desired) {
            Ok(()) => Ok(document),
            Err(error) => Err(format!("error: {error}")),
        });
        Ok(Response::new(match checked {
            Ok(document) => {
                let diagnosis = document.warnings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
                v1::CheckConfigResponse { valid: true, diagnosis }
            }
            Err(diagnosis) => v1::CheckConfigResponse { valid: false, diagnosis },
        }))
    }

    async fn diff(&self, request: Request<v1::DiffConfigRequest>) -> Result<Response<v1::DiffConfigResponse>, Status> {
        let document = self.valid(request.into_inner().document)?;
        let warnings = document.warnings.iter().map(ToString::to_string).collect();
        let changes = self.0.plan(document.desired).await.map_err(convert::status_of)?;
        let Changes { steps, resets, routes, notes } = changes;
        let (steps, resets) = (steps.iter().map(convert::step).collect(), convert::resets(resets));
        let (routes_counted, routes) = (routes.is_some(), convert::route_changes(routes.unwrap_or_default()));
        Ok(Response::new(v1::DiffConfigResponse { steps, warnings, resets, notes, routes, routes_counted }))
    }

    async fn show(&self, _: Request<v1::ShowConfigRequest>) -> Result<Response<v1::ShowConfigResponse>, Status> {
        let Shown { name, file, declared, revision } = self.0.show().await.map_err(convert::status_of)?;
        Ok(Response::new(v1::ShowConfigResponse { name, file, declared, revision }))
    }

    async fn apply(
        &self,
        request: Request<v1::ApplyConfigRequest>,
    ) -> Result<Response<v1::ApplyConfigResponse>, Status> {
        let v1::ApplyConfigRequest { document, expected_revision, confirm_seconds } = request.into_inner();
        let document = self.valid(document)?;
        if confirm_seconds > CONFIRM_MAX_SECONDS {
            let reason = format!("{confirm_seconds} is not possible, expected 1 to {CONFIRM_MAX_SECONDS}");
            return Err(convert::invalid("confirm_seconds", reason));
        }
        let confirm = (confirm_seconds > 0).then(|| Duration::from_secs(confirm_seconds.into()));
        let terms = Terms::Applied { expected_revision, confirm };
        let Changes { steps, resets, notes, .. } =
            self.0.apply(document.into(), terms).await.map_err(convert::status_of)?;
        let (steps, resets) = (steps.iter().map(convert::step).collect(), convert::resets(resets));
        Ok(Response::new(v1::ApplyConfigResponse { steps, resets, notes }))
    }

    async fn confirm(
        &self,
        _: Request<v1::ConfirmConfigRequest>,
    ) -> Result<Response<v1::ConfirmConfigResponse>, Status> {
        self.0.confirm().await.map_err(convert::status_of)?;
        Ok(Response::new(v1::ConfirmConfigResponse {}))
    }

    async fn rollback(
        &self,
        _: Request<v1::RollbackConfigRequest>,
    ) -> Result<Response<v1::RollbackConfigResponse>, Status> {
        let changes = self.0.roll_back().await.map_err(convert::status_of)?;
        Ok(Response::new(v1::RollbackConfigResponse { steps: changes.steps.iter().map(convert::step).collect() }))
    }
}
