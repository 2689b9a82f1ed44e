//! `config …`: the daemon judges, so that what it says is what it would do.

use std::path::Path;

use bgpd_proto::v1;
use bgpd_proto::v1::config_service_client::ConfigServiceClient;

use super::Context;
use crate::Error;
use crate::arguments::Config;

fn document(file: &Path) -> Result<Option<v1::Document>, Error> {
    let text = std::fs::read_to_string(file);
    let text = text.map_err(|error| Error::Input(format!("{}: {error}", file.display())))?;
    Ok(Some(v1::Document { text, name: file.display().to_string() }))
}

pub(super) async fn run(context: &Context, command: Config) -> Result<(), Error> {
    let file = match &command {
        Config::Check { file } | Config::Diff { file } | Config::Apply { file, .. } => file.clone(),
    };
    let document = document(&file)?;
    let mut client = ConfigServiceClient::new(context.connect().await?);
    match command {
        Config::Check { .. } => {
            let answer = client.check(v1::CheckConfigRequest { document }).await?.into_inner();
            if !answer.valid {
                return Err(Error::Refused(tonic::Status::invalid_argument(answer.diagnosis)));
            }
            let json = serde_json::json!({ "valid": true, "warnings": answer.diagnosis });
            context.print(&json, || format!("{}{}: valid\n", newline(&answer.diagnosis), file.display()))
        }
        Config::Diff { .. } => {
            let answer = client.diff(v1::DiffConfigRequest { document }).await?.into_inner();
            print(context, &answer.steps, "nothing would change")
        }
        Config::Apply { expected_revision, .. } => {
            let answer = client.apply(v1::ApplyConfigRequest { document, expected_revision }).await?.into_inner();
            print(context, &answer.steps, "nothing has changed")
        }
    }
}

fn newline(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("{text}\n") }
}

fn print(context: &Context, steps: &[v1::Step], nothing: &str) -> Result<(), Error> {
    let json: Vec<_> =
        steps.iter().map(|step| serde_json::json!({ "step": step.text, "impact": step.impact })).collect();
    context.print(&json, || match steps {
        [] => format!("{nothing}\n"),
        steps => steps.iter().map(|step| format!("{}\n", step.text)).collect(),
    })
}
