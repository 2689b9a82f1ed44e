//! `log …`.

use std::fmt::Write;

use bgpd_proto::v1;
use bgpd_proto::v1::log_service_client::LogServiceClient;
use serde_json::json;

use super::Context;
use crate::Error;
use crate::arguments::Log;

pub(super) async fn run(context: &Context, command: Log) -> Result<(), Error> {
    let mut client = LogServiceClient::new(context.connect().await?);
    match command {
        Log::Show => {
            let log = client.get(v1::GetLogRequest {}).await?.into_inner();
            let level = |one: &v1::LogLevel| json!({ "for": subject(one), "level": one.level });
            let levels: Vec<_> = log.levels.iter().map(level).collect();
            let json = json!({ "configured": log.configured, "levels": levels, "suppressed": log.suppressed });
            context.print(&json, || text(&log))
        }
        Log::Level { level, module, peer } => {
            let peer = peer.map(|peer| peer.to_string()).unwrap_or_default();
            let wanted = v1::LogLevel { level, module: module.unwrap_or_default(), peer };
            let done = format!("{} set to {} until bgpd ends", subject(&wanted), wanted.level);
            client.set_level(v1::SetLogLevelRequest { level: Some(wanted), reset: false }).await?;
            context.print(&json!({ "done": done }), || format!("{done}\n"))
        }
        Log::Reset => {
            client.set_level(v1::SetLogLevelRequest { level: None, reset: true }).await?;
            let done = "all levels as configured";
            context.print(&json!({ "done": done }), || format!("{done}\n"))
        }
    }
}

/// Whom a level is for.
fn subject(level: &v1::LogLevel) -> String {
    match (level.module.as_str(), level.peer.as_str()) {
        ("", "") => "everything else".to_owned(),
        (module, "") => format!("module {module}"),
        (_, peer) => format!("peer {peer}"),
    }
}

fn text(log: &v1::GetLogResponse) -> String {
    let mut text = format!("configured: {}\n", log.configured);
    for level in &log.levels {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{}: {}", subject(level), level.level);
    }
    let _ = writeln!(text, "lines suppressed since the start: {}", log.suppressed);
    text
}
