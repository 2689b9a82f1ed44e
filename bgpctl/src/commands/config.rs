//! `config …`: the daemon judges, so that what it says is what it would do.

use std::path::Path;

use bgpd_proto::v1;
use bgpd_proto::v1::config_service_client::ConfigServiceClient;

use super::Context;
use crate::Error;
use crate::arguments::Config;

pub(super) fn document(file: &Path) -> Result<Option<v1::Document>, Error> {
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
            let counted = answer.routes_counted.then_some(&answer.routes[..]);
            let v1::DiffConfigResponse { steps, resets, notes, .. } = &answer;
            print(context, &Said { steps, resets, routes: counted, notes }, "nothing would change")
        }
        Config::Apply { file, expected_revision, confirm } => {
            let (document, confirm_seconds) = (document(&file)?, confirm.unwrap_or(0));
            let request = v1::ApplyConfigRequest { document, expected_revision, confirm_seconds };
            let answer = client.apply(request).await?.into_inner();
            let v1::ApplyConfigResponse { steps, resets, notes } = &answer;
            print(context, &Said { steps, resets, routes: None, notes }, "nothing has changed")
        }
        Config::Confirm => {
            client.confirm(v1::ConfirmConfigRequest {}).await?;
            context.print(&serde_json::json!({ "done": "confirmed" }), || "confirmed\n".to_owned())
        }
        Config::Rollback => {
            let answer = client.rollback(v1::RollbackConfigRequest {}).await?.into_inner();
            print(context, &Said { steps: &answer.steps, ..Said::default() }, "nothing has changed")
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

/// What applying a document does, as the daemon says it.
#[derive(Default)]
struct Said<'a> {
    steps: &'a [v1::Step],
    resets: &'a [v1::SessionReset],
    /// How many routes change, where that was counted.
    routes: Option<&'a [v1::RouteChanges]>,
    notes: &'a [String],
}

/// Steps that were taken, and what else is worth knowing.
pub(super) fn print_steps(context: &Context, steps: &[v1::Step], notes: &[String]) -> Result<(), Error> {
    print(context, &Said { steps, notes, ..Said::default() }, "nothing has changed")
}

/// How many routes of a neighbor change.
fn in_words(routes: &v1::RouteChanges) -> String {
    let said = |what: &str, counts: [(u64, &str); 3]| {
        let some = counts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}"));
        let some = some.collect::<Vec<_>>().join(", ");
        (!some.is_empty()).then(|| format!("routes {what} {}: {some}", routes.address))
    };
    let from = [(routes.rejected, "rejected"), (routes.accepted, "accepted"), (routes.modified, "modified")];
    let to = [(routes.announced, "announced"), (routes.withdrawn, "withdrawn"), (routes.changed, "changed")];
    said("from", from).into_iter().chain(said("to", to)).collect::<Vec<_>>().join("; ")
}

/// As [`in_words`], for programs.
fn in_numbers(routes: &v1::RouteChanges) -> serde_json::Value {
    serde_json::json!({
        "step": in_words(routes),
        "impact": "changes routes",
        "peer": routes.address,
        "routes_rejected": routes.rejected,
        "routes_accepted": routes.accepted,
        "routes_modified": routes.modified,
        "routes_announced": routes.announced,
        "routes_withdrawn": routes.withdrawn,
        "routes_changed": routes.changed,
    })
}

/// Sessions that end and notes stand below the steps, and among them for programs.
fn print(context: &Context, said: &Said<'_>, nothing: &str) -> Result<(), Error> {
    let Said { steps, resets, routes, notes } = *said;
    let ends = |reset: &v1::SessionReset| format!("session with {} is reset: {}", reset.address, reset.reason);
    let as_step = |step: &v1::Step| serde_json::json!({ "step": step.text, "impact": step.impact });
    let as_reset = |reset: &v1::SessionReset| serde_json::json!({ "step": ends(reset), "impact": "resets the session", "neighbor": reset.address });
    let as_note = |note: &String| serde_json::json!({ "step": note, "impact": "note" });
    let json = steps.iter().map(as_step).chain(resets.iter().map(as_reset));
    let json = json.chain(routes.into_iter().flatten().map(in_numbers)).chain(notes.iter().map(as_note));
    context.print(&json.collect::<Vec<_>>(), || {
        let mut lines: Vec<String> = steps.iter().map(|step| format!("{}\n", step.text)).collect();
        if lines.is_empty() {
            lines.push(format!("{nothing}\n"));
        }
        lines.extend(resets.iter().map(|reset| format!("{}\n", ends(reset))));
        lines.extend(routes.into_iter().flatten().map(|routes| format!("{}\n", in_words(routes))));
        if !steps.is_empty() && routes.is_some_and(<[_]>::is_empty) {
            lines.push("no route changes\n".to_owned());
        }
        lines.extend(notes.iter().map(|note| format!("note: {note}\n")));
        lines.concat()
    })
}
