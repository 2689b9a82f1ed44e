//! The status over HTTP: `/healthz` and `/readyz` for readiness, `/livez` for a process that answers, `/metrics` for a
//! monitoring system, `/status` for `bgp-sidecar status`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tracing::warn;

use crate::metrics::Metrics;
use crate::status::Status;

/// Time before another attempt at a port that is taken.
const RETRY: Duration = Duration::from_secs(5);
/// OpenMetrics §4.4.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[derive(Clone)]
struct Served {
    status: watch::Receiver<Status>,
    metrics: Arc<Metrics>,
}

/// Serves until it is dropped. A port that is taken is said and tried again: routes go on without it.
pub async fn serve(address: SocketAddr, status: watch::Receiver<Status>, metrics: Arc<Metrics>) {
    let router = Router::new()
        .route("/healthz", get(ready))
        .route("/readyz", get(ready))
        .route("/livez", get(|| async { "ok\n" }))
        .route("/metrics", get(measured))
        .route("/status", get(|State(served): State<Served>| async move { Json(served.status.borrow().clone()) }))
        .with_state(Served { status, metrics });
    let mut complained = false;
    loop {
        let error = match TcpListener::bind(address).await {
            Ok(listener) => match axum::serve(listener, router.clone()).await {
                Ok(()) => return,
                Err(error) => error,
            },
            Err(error) => error,
        };
        if !std::mem::replace(&mut complained, true) {
            warn!(%address, %error, "the status cannot be served, trying again");
        }
        tokio::time::sleep(RETRY).await;
    }
}

async fn ready(State(served): State<Served>) -> impl IntoResponse {
    let status = served.status.borrow();
    let code = if status.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, format!("{}\n", status.summary()))
}

async fn measured(State(served): State<Served>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, OPEN_METRICS)], served.metrics.text())
}

/// Why a sidecar's status is not known.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// Nobody answers there.
    #[error("no sidecar answers at {address}: {reason}")]
    Unreachable {
        /// Where.
        address: SocketAddr,
        /// Why not.
        reason: String,
    },
    /// Something else answers there.
    #[error("what answers at {address} is no sidecar: {reason}")]
    Foreign {
        /// Where.
        address: SocketAddr,
        /// What is odd about it.
        reason: String,
    },
}

/// Asks a running sidecar for its status.
///
/// # Errors
/// When nobody answers, or not with a status.
pub async fn ask(address: SocketAddr) -> Result<Status, AskError> {
    let unreachable = |reason: String| AskError::Unreachable { address, reason };
    let stream = TcpStream::connect(address).await.map_err(|error| unreachable(error.to_string()))?;
    let foreign = |reason: String| AskError::Foreign { address, reason };
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| foreign(error.to_string()))?;
    let connection = tokio::spawn(connection);
    let request = hyper::Request::get("/status")
        .header(hyper::header::HOST, address.to_string())
        .body(Empty::<bytes::Bytes>::new())
        .map_err(|error| foreign(error.to_string()))?;
    let response = sender.send_request(request).await.map_err(|error| foreign(error.to_string()))?;
    let body = response.into_body().collect().await.map_err(|error| foreign(error.to_string()))?;
    connection.abort();
    serde_json::from_slice(&body.to_bytes()).map_err(|error| foreign(error.to_string()))
}
