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
    let mut client = ConfigServiceClient::new(context.connect().await?);
    match command {
        Config::Check { file } => {
            let request = v1::CheckConfigRequest { document: document(&file)? };
            let answer = client.check(request).await?.into_inner();
            if !answer.valid {
                return Err(Error::Refused(tonic::Status::invalid_argument(answer.diagnosis)));
            }
            let json = serde_json::json!({ "valid": true, "warnings": answer.diagnosis });
            context.print(&json, || format!("{}{}: valid\n", newline(&answer.diagnosis), file.display()))
        }
        Config::Diff { file } => {
            let request = v1::DiffConfigRequest { document: document(&file)? };
            let answer = client.diff(request).await?.into_inner();
            print(context, (&answer.steps, &answer.resets, &answer.notes), "nothing would change")
        }
        Config::Apply { file, expected_revision, confirm } => {
            let (document, confirm_seconds) = (document(&file)?, confirm.unwrap_or(0));
            let request = v1::ApplyConfigRequest { document, expected_revision, confirm_seconds };
            let answer = client.apply(request).await?.into_inner();
            print(context, (&answer.steps, &answer.resets, &answer.notes), "nothing has changed")
        }
        Config::Confirm => {
            client.confirm(v1::ConfirmConfigRequest {}).await?;
            context.print(&serde_json::json!({ "done": "confirmed" }), || "confirmed\n".to_owned())
        }
        Config::Rollback => {
            let answer = client.rollback(v1::RollbackConfigRequest {}).await?.into_inner();
            print(context, (&answer.steps, &[], &[]), "nothing has changed")
        }
        Config::Show => {
            let answer = client.show(v1::ShowConfigRequest {}).await?.into_inner();
            let v1::ShowConfigResponse { name, file, declared, revision } = answer;
            let json =
                serde_json::json!({ "document": name, "revision": revision, "file": file, "declared": declared });
            context.print(&json, || {
                format!("# {name}, revision {revision}\n\n{file}\n# declared through the API\n\n{declared}")
            })
        }
    }
}

fn newline(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("{text}\n") }
}

/// Sessions that end and notes stand below the steps, and among them for programs.
fn print(
    context: &Context,
    (steps, resets, notes): (&[v1::Step], &[v1::SessionReset], &[String]),
    nothing: &str,
) -> Result<(), Error> {
    let ends = |reset: &v1::SessionReset| format!("session with {} is reset: {}", reset.address, reset.reason);
    let as_step = |step: &v1::Step| serde_json::json!({ "step": step.text, "impact": step.impact });
    let as_reset = |reset: &v1::SessionReset| serde_json::json!({ "step": ends(reset), "impact": "resets the session", "neighbor": reset.address });
    let as_note = |note: &String| serde_json::json!({ "step": note, "impact": "note" });
    let json = steps.iter().map(as_step).chain(resets.iter().map(as_reset)).chain(notes.iter().map(as_note));
    context.print(&json.collect::<Vec<_>>(), || {
        let mut lines: Vec<String> = steps.iter().map(|step| format!("{}\n", step.text)).collect();
        if lines.is_empty() {
            lines.push(format!("{nothing}\n"));
        }
        lines.extend(resets.iter().map(|reset| format!("{}\n", ends(reset))));
        lines.extend(notes.iter().map(|note| format!("note: {note}\n")));
        lines.concat()
    })
}
