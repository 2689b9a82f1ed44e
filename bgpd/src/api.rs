//! The gRPC management API: a thin layer over [`Handle`].
//!
//! Listens on Unix sockets (mode 0660 unless configured otherwise), on TCP with TLS, and on loopback TCP; health checking and reflection
//! are served beside bgpd's own services. A client that reads slowly has its own bounded stream and holds up nobody.

mod access;
mod clusters;
mod convert;
mod endpoint;
mod kernel;
mod log;
mod neighbors;
mod owners;
mod policy;
mod routes;
mod rpki;
mod streams;
mod system;
mod tls;

use std::path::{Path, PathBuf};
use std::pin::Pin;

use bgpd_proto::{FILE_DESCRIPTOR_SET, v1};
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt};
use tonic::Status;
use tonic::service::Routes;
use tracing::info;

pub use self::access::Access;
use self::endpoint::Listener;
use self::kernel::Installers;
pub use self::policy::test as test_policy;
use self::streams::Streams;
use crate::config::ApiSettings;
use crate::runtime::handle::Handle;

/// Why the API cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// The socket file belongs to a process that answers on it.
    #[error("{0} is in use: another bgpd is running, or set [api] listen")]
    InUse(PathBuf),
    /// A listener cannot be opened.
    #[error("cannot listen on {endpoint}: {source}")]
    Listen {
        /// The endpoint as configured.
        endpoint: String,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// Reflection cannot be set up.
    #[error("reflection: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// Serving failed.
    #[error("serving: {0}")]
    Serve(#[from] tonic::transport::Error),
}

/// A server stream.
type Streamed<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Messages from the runtime as a stream of answers.
fn streamed<T, U>(
    receiver: mpsc::Receiver<T>,
    permit: OwnedSemaphorePermit,
    convert: impl Fn(T) -> U + Send + 'static,
) -> Streamed<U>
where
    T: Send + 'static,
    U: Send + 'static,
{
    Box::pin(ReceiverStream::new(receiver).map(move |item| {
        // The place among the streams is taken as long as this closure is there.
        let _ = &permit;
        Ok(convert(item))
    }))
}

/// Listeners that are open and not yet served.
pub struct Api {
    handle: Handle,
    /// Files that documents name are relative to this directory.
    base: PathBuf,
    listeners: Vec<Listener>,
    streams: Streams,
    installers: Installers,
    access: Access,
}

impl Api {
    /// Opens the listeners. Files that documents name are looked for in `base`.
    ///
    /// # Errors
    /// When one of them cannot be opened; then none is.
    pub fn open(handle: Handle, settings: &ApiSettings, base: &Path) -> Result<Self, ApiError> {
        let listeners = settings.listen.iter().map(|endpoint| endpoint::open(endpoint, settings));
        let streams = Streams::new(settings.max_streams);
        let access = Access::new(settings.credentials.clone());
        let (listeners, base) = (listeners.collect::<Result<_, _>>()?, base.to_owned());
        Ok(Self { handle, base, listeners, streams, installers: Installers::default(), access })
    }

    /// The credentials in force.
    #[must_use]
    pub fn access(&self) -> Access {
        self.access.clone()
    }

    /// Serves until `stopped` says so.
    ///
    /// # Errors
    /// When serving fails.
    pub async fn serve(self, stopped: watch::Receiver<bool>) -> Result<(), ApiError> {
        let mut servers = tokio::task::JoinSet::new();
        for listener in self.listeners {
            info!(endpoint = %listener, "API listening");
            let routes = services(&self.handle, &self.streams, &self.installers, &self.base).await?;
            servers.spawn(listener.serve(routes, self.access.clone(), stopped.clone()));
        }
        while let Some(ended) = servers.join_next().await {
            // A task that was cancelled or panicked has nothing to serve any more.
            if let Ok(result) = ended {
                result?;
            }
        }
        Ok(())
    }
}

async fn services(
    handle: &Handle,
    streams: &Streams,
    installers: &Installers,
    base: &Path,
) -> Result<Routes, ApiError> {
    let neighbors =
        v1::neighbor_service_server::NeighborServiceServer::new(neighbors::Service(handle.clone(), streams.clone()));
    let routes = routes::Service(handle.clone(), streams.clone(), installers.clone());
    let routes =
        v1::route_service_server::RouteServiceServer::new(routes).max_decoding_message_size(owners::MESSAGE_MAX);
    let kernel = kernel::Service(installers.clone(), streams.clone());
    let kernel = v1::kernel_service_server::KernelServiceServer::new(kernel);
    let clusters = v1::cluster_service_server::ClusterServiceServer::new(clusters::Service(handle.clone()));
    let rpki = v1::rpki_service_server::RpkiServiceServer::new(rpki::Service(handle.clone()));
    let log = v1::log_service_server::LogServiceServer::new(log::Service);
    let status = v1::status_service_server::StatusServiceServer::new(system::StatusOf(handle.clone(), streams.clone()));
    let config = v1::config_service_server::ConfigServiceServer::new(system::ConfigOf(handle.clone(), base.to_owned()));
    let policies = v1::policy_service_server::PolicyServiceServer::new(policy::Service(handle.clone()));
    let (reporter, health) = tonic_health::server::health_reporter();
    reporter.set_service_status("", tonic_health::ServingStatus::Serving).await;
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()?;
    Ok(Routes::new(health)
        .add_service(reflection)
        .add_service(neighbors)
        .add_service(clusters)
        .add_service(kernel)
        .add_service(policies)
        .add_service(routes)
        .add_service(rpki)
        .add_service(log)
        .add_service(status)
        .add_service(config))
}
