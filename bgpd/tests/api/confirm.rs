//! Documents that are applied through the API: they stay, or go back by themselves.

use bgpd_proto::v1;
use bgpd_proto::v1::config_service_client::ConfigServiceClient;
use tempfile::TempDir;
use tonic::Code;

use crate::daemon::{Daemon, wait_until};

/// A configuration that originates one route, by which it is known.
fn config(state: &TempDir, net: u8) -> String {
    format!(
        "[global]\nasn = 65000\nrouter-id = \"192.0.2.1\"\nlisten = []\n[[originate]]\nprefix = \"10.{net}.0.0/24\"\n\
         [restart]\nstate-directory = \"{}\"\n",
        state.path().display()
    )
}

async fn apply(daemon: &Daemon, text: &str, confirm_seconds: u32) -> Result<Vec<String>, tonic::Status> {
    let document = Some(v1::Document { text: text.to_owned(), name: "new.toml".to_owned() });
    let request = v1::ApplyConfigRequest { document, confirm_seconds, ..Default::default() };
    let mut client = ConfigServiceClient::new(daemon.connect().await);
    client.apply(request).await.map(|answer| answer.into_inner().notes)
}

async fn confirm(daemon: &Daemon) -> Result<(), tonic::Status> {
    ConfigServiceClient::new(daemon.connect().await).confirm(v1::ConfirmConfigRequest {}).await.map(drop)
}

/// Which configuration runs.
async fn running(daemon: &Daemon) -> Vec<String> {
    let request = v1::ListRoutesRequest { best_only: true, ..Default::default() };
    let mut stream = daemon.routes().await.list(request).await.expect("a list").into_inner();
    let mut prefixes = Vec::new();
    while let Some(part) = stream.message().await.expect("it goes on") {
        prefixes.extend(part.routes.into_iter().map(|route| route.prefix));
    }
    prefixes
}

async fn runs(daemon: &Daemon, net: u8) {
    let expected = [format!("10.{net}.0.0/24")];
    wait_until(&format!("configuration {net} runs"), || async { running(daemon).await == expected }).await;
}

struct Place {
    state: TempDir,
    daemon: Daemon,
}

impl Place {
    async fn start() -> Self {
        let state = tempfile::tempdir().expect("a directory");
        let daemon = Daemon::start(&config(&state, 1)).await;
        Self { state, daemon }
    }
}

#[tokio::test]
async fn an_applied_document_survives_a_crash_until_the_file_is_changed_or_reloaded() {
    let Place { state, mut daemon } = Place::start().await;
    assert_eq!(apply(&daemon, &config(&state, 2), 0).await.expect("applied"), [""; 0]);
    runs(&daemon, 2).await;
    daemon.kill_and_start().await;
    runs(&daemon, 2).await;
    assert_eq!(daemon.status().await.document, "new.toml");
    daemon.reload(&config(&state, 1), "", "");
    runs(&daemon, 1).await;
    daemon.kill_and_start().await;
    runs(&daemon, 1).await;
    apply(&daemon, &config(&state, 2), 0).await.expect("applied");
    daemon.write(&config(&state, 3));
    daemon.kill_and_start().await;
    runs(&daemon, 3).await;
}

#[tokio::test]
async fn without_a_state_directory_it_is_said_that_a_restart_takes_the_file() {
    let state = tempfile::tempdir().expect("a directory");
    let nowhere = "/proc/nowhere";
    let text = config(&state, 1).replace(&state.path().display().to_string(), nowhere);
    let daemon = Daemon::start(&text).await;
    let notes = apply(&daemon, &text, 0).await.expect("applied");
    assert!(notes.len() == 1 && notes[0].contains("after a restart of bgpd the configuration file runs"), "{notes:?}");
}

#[tokio::test]
async fn an_unconfirmed_document_goes_back_by_itself() {
    let Place { state, mut daemon } = Place::start().await;
    let notes = apply(&daemon, &config(&state, 2), 1).await.expect("applied");
    assert!(notes.iter().any(|note| note.contains("goes back by itself")), "{notes:?}");
    // What was applied may not be in the table yet: its time is what counts.
    wait_until("its time is over", || async { daemon.status().await.confirm_seconds_left.is_none() }).await;
    runs(&daemon, 1).await;
    let error = confirm(&daemon).await.expect_err("it is too late");
    assert_eq!(error.code(), Code::FailedPrecondition, "{error}");
    daemon.kill_and_start().await;
    runs(&daemon, 1).await;
}

#[tokio::test]
async fn a_confirmed_document_stays() {
    let Place { state, mut daemon } = Place::start().await;
    apply(&daemon, &config(&state, 2), 600).await.expect("applied");
    runs(&daemon, 2).await;
    assert!(daemon.status().await.confirm_seconds_left.is_some());
    // Meanwhile nothing else is applied, or reloaded.
    let error = apply(&daemon, &config(&state, 3), 0).await.expect_err("one waits");
    assert!(error.code() == Code::Aborted && error.message().contains("bgpctl config confirm"), "{error}");
    daemon.reload(&config(&state, 3), "", "");
    wait_until("the reload is refused", || async { daemon.log().contains("configuration not reloaded") }).await;
    runs(&daemon, 2).await;
    daemon.write(&config(&state, 1));
    confirm(&daemon).await.expect("confirmed");
    assert_eq!(daemon.status().await.confirm_seconds_left, None);
    daemon.kill_and_start().await;
    runs(&daemon, 2).await;
}

#[tokio::test]
async fn a_rollback_takes_the_document_from_before_at_once() {
    let Place { state, mut daemon } = Place::start().await;
    apply(&daemon, &config(&state, 2), 0).await.expect("applied");
    apply(&daemon, &config(&state, 3), 600).await.expect("applied");
    runs(&daemon, 3).await;
    let mut client = ConfigServiceClient::new(daemon.connect().await);
    let steps = client.rollback(v1::RollbackConfigRequest {}).await.expect("rolled back").into_inner().steps;
    assert_eq!(steps.len(), 2, "{steps:?}");
    runs(&daemon, 2).await;
    daemon.kill_and_start().await;
    runs(&daemon, 2).await;
}

#[tokio::test]
async fn a_crash_before_the_confirmation_goes_back() {
    let Place { state, mut daemon } = Place::start().await;
    apply(&daemon, &config(&state, 2), 600).await.expect("applied");
    runs(&daemon, 2).await;
    daemon.kill_and_start().await;
    runs(&daemon, 1).await;
    assert_eq!(confirm(&daemon).await.expect_err("nothing waits").code(), Code::FailedPrecondition);
    // Also if the file itself was edited, and then applied.
    daemon.write(&config(&state, 4));
    let file = std::fs::read_to_string(daemon.dir().join("bgpd.toml")).expect("it is there");
    apply(&daemon, &file, 600).await.expect("applied");
    runs(&daemon, 4).await;
    daemon.kill_and_start().await;
    runs(&daemon, 1).await;
    daemon.kill_and_start().await;
    runs(&daemon, 1).await;
    daemon.reload(&config(&state, 4), "", "");
    runs(&daemon, 4).await;
}
