//! `LogService`.

use bgpd_proto::v1;
use tonic::{Request, Response, Status};
use tracing::info;
use tracing::level_filters::LevelFilter;

use super::convert;
use crate::observe::log::{self, Subject};

pub(super) struct Service;

#[tonic::async_trait]
impl v1::log_service_server::LogService for Service {
    async fn get(&self, _: Request<v1::GetLogRequest>) -> Result<Response<v1::GetLogResponse>, Status> {
        let levels = log::levels();
        let log::Overrides { base, all, modules, peers } = levels.overrides();
        let text = |level: LevelFilter| level.to_string();
        let all = all.map(|level| v1::LogLevel { level: text(level), ..v1::LogLevel::default() });
        let modules =
            modules.into_iter().map(|(module, level)| v1::LogLevel { level: text(level), module, peer: String::new() });
        let peers = peers.into_iter().map(|(peer, level)| v1::LogLevel {
            level: text(level),
            module: String::new(),
            peer: peer.to_string(),
        });
        Ok(Response::new(v1::GetLogResponse {
            configured: base,
            levels: all.into_iter().chain(modules).chain(peers).collect(),
            suppressed: levels.suppressed(),
        }))
    }

    async fn set_level(
        &self,
        request: Request<v1::SetLogLevelRequest>,
    ) -> Result<Response<v1::SetLogLevelResponse>, Status> {
        let v1::SetLogLevelRequest { level, reset } = request.into_inner();
        let wanted = level.map(read).transpose()?;
        if reset {
            log::levels().reset();
            info!("log levels set back to what is configured");
        }
        if let Some((subject, level)) = wanted {
            info!(?subject, level = level.map(tracing::field::display), "log level set");
            log::levels().set(subject, level).map_err(|error| convert::invalid("level", error))?;
        }
        Ok(Response::new(v1::SetLogLevelResponse {}))
    }
}

/// A subject and its level; `None` is what is configured.
fn read(level: v1::LogLevel) -> Result<(Subject, Option<LevelFilter>), Status> {
    let v1::LogLevel { level, module, peer } = level;
    let subject = match (module.as_str(), peer.as_str()) {
        ("", "") => Subject::All,
        (_, "") => Subject::Module(module),
        ("", peer) => Subject::Peer(convert::address("peer", peer)?),
        _ => return Err(convert::invalid("level", "a module and a peer, expected one of the two")),
    };
    match level.as_str() {
        "default" => Ok((subject, None)),
        // A number would be a level as well.
        text if text.starts_with(|c: char| c.is_ascii_alphabetic()) => match text.parse() {
            Ok(level) => Ok((subject, Some(level))),
            Err(_) => Err(unknown(text)),
        },
        text => Err(unknown(text)),
    }
}

fn unknown(text: &str) -> Status {
    let expected = "expected off, error, warn, info, debug, trace or default";
    convert::invalid("level", format_args!("\"{text}\" is not a level, {expected}"))
}
