//! The Kubernetes API: what the sidecar knows of the cluster, and what it says about itself there.
//!
//! Objects are listed once and then watched. What was last known stays while the API server cannot be reached, for
//! however long; a list that is not complete changes nothing.

mod cache;
mod follow;
mod report;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::watcher;
use kube::{Api, Client, Config};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

pub use self::cache::Cache;
use self::follow::{Change, follow};
pub use self::report::{Reporter, Standing};
use crate::announcement::Scope;
use crate::cluster::{Cluster, Node, Service, Slice};

/// Seconds after which the API server ends a watch and it is begun again from where it was.
const WATCH_SECONDS: u32 = 120;
/// A connection on which nothing comes for that long is given up.
const SILENCE: Duration = Duration::from_secs(WATCH_SECONDS as u64 + 10);

/// What is known of the cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    /// The last complete state, changed by what came since.
    pub cluster: Cluster,
    /// All Nodes that matter have been listed once, or remembered from an earlier run.
    pub has_nodes: bool,
    /// All Services have been listed once, or remembered.
    pub has_services: bool,
    /// All EndpointSlices have been listed once, or remembered.
    pub has_slices: bool,
    /// Why the API cannot be used now, by kind of object.
    #[serde(skip)]
    pub trouble: std::collections::BTreeMap<&'static str, String>,
}

impl Known {
    /// Whether all that matters is known.
    #[must_use]
    pub fn is_complete(&self, with_services: bool) -> bool {
        self.has_nodes && (!with_services || self.has_services && self.has_slices)
    }
}

/// Why there is no client for the API.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The kubeconfig cannot be used.
    #[error("kubeconfig {file}: {reason}")]
    Kubeconfig {
        /// Its name.
        file: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Neither a pod nor a kubeconfig.
    #[error("no Kubernetes configuration: {0}; expected a service account in the pod, or --kubeconfig FILE")]
    NoConfiguration(String),
    /// The client cannot be made of the configuration.
    #[error("Kubernetes configuration: {0}")]
    Client(String),
}

/// Makes a client from a kubeconfig, else from the pod's service account, else from kubectl's configuration. Nothing is
/// sent yet.
///
/// # Errors
/// When there is no configuration or it is wrong in itself.
pub async fn connect(kubeconfig: Option<&Path>) -> Result<Client, ConnectError> {
    let mut config = match kubeconfig {
        Some(file) => {
            let wrong = |error: kube::config::KubeconfigError| ConnectError::Kubeconfig {
                file: file.display().to_string(),
                reason: root(&error),
            };
            let kubeconfig = Kubeconfig::read_from(file).map_err(wrong)?;
            Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.map_err(wrong)?
        }
        None => Config::infer().await.map_err(|error| ConnectError::NoConfiguration(root(&error)))?,
    };
    config.read_timeout = Some(SILENCE);
    Client::try_from(config).map_err(|error| ConnectError::Client(root(&error)))
}

/// Follows Nodes, and Services where they are announced, for ever.
pub async fn observe(client: Client, nodes: NodeSelection, with_services: bool, known: Arc<watch::Sender<Known>>) {
    let mut selected = watcher::Config::default().timeout(WATCH_SECONDS);
    if let NodeSelection::One(name) = &nodes {
        selected = selected.fields(&format!("metadata.name={name}"));
    }
    let of_nodes = follow::<core::Node>(Api::all(client.clone()), selected, |change| {
        let read = |node: &core::Node| (node.metadata.name.clone().unwrap_or_default(), Node::read(node));
        known.send_if_modified(|known| {
            let completes = matches!(change, Change::Replaced(_)) && !known.has_nodes;
            known.has_nodes |= completes;
            change.apply(&mut known.cluster.nodes, read)
                | said(&mut known.trouble, "nodes", change.trouble())
                | completes
        });
    });
    let of_services = async {
        if !with_services {
            return;
        }
        let all = || watcher::Config::default().timeout(WATCH_SECONDS);
        let services = follow::<core::Service>(Api::all(client.clone()), all(), |change| {
            let read = |service: &core::Service| (key(&service.metadata), Service::read(service));
            known.send_if_modified(|known| {
                let completes = matches!(change, Change::Replaced(_)) && !known.has_services;
                known.has_services |= completes;
                change.apply(&mut known.cluster.services, read)
                    | said(&mut known.trouble, "services", change.trouble())
                    | completes
            });
        });
        let slices = follow::<EndpointSlice>(Api::all(client.clone()), all(), |change| {
            let read = |slice: &EndpointSlice| (key(&slice.metadata), Slice::read(slice));
            known.send_if_modified(|known| {
                let completes = matches!(change, Change::Replaced(_)) && !known.has_slices;
                known.has_slices |= completes;
                change.apply(&mut known.cluster.slices, read)
                    | said(&mut known.trouble, "endpointslices", change.trouble())
                    | completes
            });
        });
        tokio::join!(services, slices);
    };
    tokio::join!(of_nodes, of_services);
}

/// Which Nodes are followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodeSelection {
    /// The one with this name.
    One(String),
    /// All of them.
    All,
}

impl From<&Scope> for NodeSelection {
    fn from(scope: &Scope) -> Self {
        match scope {
            Scope::Node(name) => Self::One(name.clone()),
            Scope::Cluster => Self::All,
        }
    }
}

fn said(trouble: &mut std::collections::BTreeMap<&'static str, String>, kind: &'static str, now: Option<&str>) -> bool {
    match now {
        Some(message) => trouble.insert(kind, message.to_owned()).as_deref() != Some(message),
        None => trouble.remove(kind).is_some(),
    }
}

fn key(metadata: &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta) -> String {
    let part = |text: &Option<String>| text.clone().unwrap_or_default();
    format!("{}/{}", part(&metadata.namespace), part(&metadata.name))
}

/// What the API or the way to it said, in one line, and what would help.
fn explained(error: &kube::Error, needs: &str) -> String {
    match error {
        kube::Error::Api(status) => match status.code {
            401 => format!("the API server does not know us (401): {}; is the token valid?", status.message),
            403 => format!("the API server forbids it (403): {}; the ClusterRole needs {needs}", status.message),
            code => format!("the API server says {code}: {}", status.message),
        },
        other => {
            let cause = root(other);
            let is_of_certificate = cause.contains("certificate");
            let wanted = "; expected a certificate of the authority in our configuration";
            format!("the API server cannot be used: {cause}{}", if is_of_certificate { wanted } else { "" })
        }
    }
}

/// The innermost cause: the outer ones only say that something went wrong.
fn root(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => root(source),
        None => error.to_string(),
    }
}
