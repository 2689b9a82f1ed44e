//! What the sidecar says of itself in the cluster: Events, and a condition of its Node.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, ObjectReference};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use kube::runtime::events::{Event, EventType, Recorder};
use kube::{Api, Client};
use serde_json::json;
use tokio::sync::{mpsc, watch};
use tracing::{debug, warn};

use super::explained;
use crate::problem::Problem;

/// Type of the condition.
const CONDITION: &str = "BgpReady";
/// Name that Events come from.
const CONTROLLER: &str = "bgp-sidecar";
/// Where Events of Nodes are.
const NAMESPACE: &str = "default";
/// Shortest time between two requests, so that many problems at once do not load the API server.
const PAUSE: Duration = Duration::from_secs(1);
/// How often the condition is said again.
const HEARTBEAT: Duration = Duration::from_secs(300);

/// Whether the node's routes are announced and installed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standing {
    /// They are.
    pub ready: bool,
    /// What is missing.
    pub message: String,
}

/// Writes Events and the Node condition. What it cannot write is logged and costs nothing else.
pub struct Reporter {
    client: Client,
    /// The Node that gets the condition; none in cluster mode.
    node: Option<String>,
    recorder: Recorder,
    said: Option<Standing>,
    complained: bool,
}

impl Reporter {
    /// A reporter for the Node with this name, or for none.
    #[must_use]
    pub fn new(client: Client, node: Option<String>) -> Self {
        let reporter = kube::runtime::events::Reporter { controller: CONTROLLER.into(), instance: node.clone() };
        let recorder = Recorder::new(client.clone(), reporter);
        Self { client, node, recorder, said: None, complained: false }
    }

    /// Writes what comes until both senders are gone.
    pub async fn run(mut self, mut problems: mpsc::Receiver<Problem>, mut standing: watch::Receiver<Standing>) {
        let mut heartbeat = tokio::time::interval_at(tokio::time::Instant::now() + HEARTBEAT, HEARTBEAT);
        loop {
            tokio::select! {
                problem = problems.recv() => match problem {
                    Some(problem) => self.event(&problem).await,
                    None => return,
                },
                changed = standing.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let now = standing.borrow_and_update().clone();
                    self.condition(&now).await;
                }
                _ = heartbeat.tick() => {
                    if let Some(standing) = self.said.clone() {
                        self.condition(&standing).await;
                    }
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn event(&mut self, problem: &Problem) {
        let named = problem.object.strip_prefix("node/").map(ToOwned::to_owned);
        let Some(name) = named.or_else(|| self.node.clone()) else { return };
        let regarding = ObjectReference {
            api_version: Some("v1".into()),
            kind: Some("Node".into()),
            // API servers up to 1.20 take an Event without this in no other namespace than kube-system; later ones take
            // it in that of Events of Nodes as well. With it, all do.
            namespace: Some(NAMESPACE.into()),
            // Events of Nodes carry the name as UID, as those of the kubelet do.
            uid: Some(name.clone()),
            name: Some(name),
            ..ObjectReference::default()
        };
        let event = Event {
            type_: EventType::Warning,
            reason: problem.reason.to_string(),
            note: Some(problem.to_string().chars().take(1000).collect()),
            action: "Route".into(),
            secondary: None,
        };
        if let Err(error) = self.recorder.publish(&event, &regarding).await {
            self.complain(&error, "create and patch of events");
        }
    }

    async fn condition(&mut self, standing: &Standing) {
        let Some(name) = self.node.clone() else { return };
        let now = Timestamp::now().to_string();
        let mut condition = json!({
            "type": CONDITION,
            "status": if standing.ready { "True" } else { "False" },
            "reason": if standing.ready { "AnnouncedAndInstalled" } else { "NotReady" },
            "message": standing.message,
            "lastHeartbeatTime": now,
        });
        if self.said.as_ref().is_none_or(|said| said.ready != standing.ready) {
            condition["lastTransitionTime"] = json!(now);
        }
        let patch = Patch::Strategic(json!({ "status": { "conditions": [condition] } }));
        let nodes: Api<Node> = Api::all(self.client.clone());
        match nodes.patch_status(&name, &PatchParams::default(), &patch).await {
            Ok(_) => self.complained = false,
            Err(error) => self.complain(&error, "patch of nodes/status"),
        }
        // Said again with the next heartbeat if it did not get through.
        self.said = Some(standing.clone());
    }

    fn complain(&mut self, error: &kube::Error, kind: &str) {
        let message = explained(error, kind);
        if std::mem::replace(&mut self.complained, true) {
            debug!(message, "still cannot report to the cluster");
        } else {
            warn!(message, "cannot report to the cluster");
        }
    }
}
