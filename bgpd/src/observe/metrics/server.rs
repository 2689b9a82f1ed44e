//! The endpoint that a monitoring system scrapes: HTTP/1.1, `GET /metrics`, one request per connection.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tracing::{debug, info, warn};

use super::page;
use crate::config::MetricsSettings;
use crate::runtime::handle::Handle;

/// Scrapes at a time; one more is closed at once.
const CONNECTIONS: usize = 16;
/// A scrape that takes longer than this is ended.
const PATIENCE: Duration = Duration::from_secs(30);
/// Pause after a connection could not be accepted: out of descriptors, most likely.
const PAUSE: Duration = Duration::from_millis(100);
/// OpenMetrics §4.4.
const OPEN_METRICS: HeaderValue =
    HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");

/// The endpoint cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} for [metrics]: {source}")]
pub struct MetricsError {
    address: SocketAddr,
    source: std::io::Error,
}

/// An endpoint that is open. It is closed when this is dropped.
pub struct Server {
    _tasks: JoinSet<()>,
}

impl Server {
    /// Opens the endpoint and serves it.
    ///
    /// # Errors
    /// When an address cannot be listened on; then none is.
    pub async fn start(handle: &Handle, settings: &MetricsSettings) -> Result<Self, MetricsError> {
        let mut listeners = Vec::new();
        for &address in &settings.listen {
            let listener = TcpListener::bind(address).await;
            listeners.push(listener.map_err(|source| MetricsError { address, source })?);
        }
        let mut tasks = JoinSet::new();
        for listener in listeners {
            let address = listener.local_addr().map(|address| address.to_string()).unwrap_or_default();
            info!(address, "metrics listening");
            tasks.spawn(accept(listener, handle.clone(), settings.neighbor_limit));
        }
        Ok(Self { _tasks: tasks })
    }
}

async fn accept(listener: TcpListener, handle: Handle, neighbor_limit: usize) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                warn!(%error, "cannot accept a scrape");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        // A stream that gets no place is closed by dropping it.
        if let Ok(place) = Arc::clone(&places).try_acquire_owned() {
            let handle = handle.clone();
            tokio::spawn(async move {
                serve(stream, handle, neighbor_limit).await;
                drop(place);
            });
        }
    }
}

async fn serve(stream: TcpStream, handle: Handle, neighbor_limit: usize) {
    let service = service_fn(move |request| {
        let handle = handle.clone();
        async move { Ok::<_, Infallible>(answer(&request, &handle, neighbor_limit).await) }
    });
    let connection = http1::Builder::new().keep_alive(false).serve_connection(TokioIo::new(stream), service);
    match tokio::time::timeout(PATIENCE, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => debug!(%error, "a scrape failed"),
        Err(_) => debug!("a scrape took too long"),
    }
}

async fn answer(request: &Request<Incoming>, handle: &Handle, neighbor_limit: usize) -> Response<Full<Bytes>> {
    let plain = |status, text: String| {
        let mut response = Response::new(Full::from(text));
        *response.status_mut() = status;
        response
    };
    if request.uri().path() != "/metrics" {
        return plain(StatusCode::NOT_FOUND, "the metrics are at /metrics\n".to_owned());
    }
    if request.method() != Method::GET {
        return plain(StatusCode::METHOD_NOT_ALLOWED, "expected GET\n".to_owned());
    }
    match page(handle, neighbor_limit).await {
        Ok(text) => {
            let mut response = plain(StatusCode::OK, text);
            response.headers_mut().insert(CONTENT_TYPE, OPEN_METRICS);
            response
        }
        Err(error) => plain(StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")),
    }
}
