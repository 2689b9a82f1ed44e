//! The connection to bgpd.

use std::path::PathBuf;

use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint};

use crate::Error;

/// Connects to `unix:PATH`, `http://HOST:PORT` or `tcp://HOST:PORT`.
pub(crate) async fn connect(server: &str) -> Result<Channel, Error> {
    let unreachable = |reason: String| Error::Unreachable { server: server.to_owned(), reason };
    if let Some(path) = server.strip_prefix("unix:") {
        let path = PathBuf::from(path.strip_prefix("//").unwrap_or(path));
        // Asked before tonic does, whose own error would not say why.
        drop(UnixStream::connect(&path).await.map_err(|error| unreachable(reason(&error)))?);
        let connector = tower::service_fn(move |_| {
            let path = path.clone();
            async move { UnixStream::connect(path).await.map(hyper_util::rt::TokioIo::new) }
        });
        let endpoint = Endpoint::from_static("http://bgpd");
        return endpoint.connect_with_connector(connector).await.map_err(|error| unreachable(error.to_string()));
    }
    let url = match server.strip_prefix("tcp://") {
        Some(rest) => format!("http://{rest}"),
        None => server.to_owned(),
    };
    if !url.starts_with("http://") {
        let message = format!("\"{server}\" is not a server, expected unix:PATH or http://HOST:PORT");
        return Err(Error::Input(message));
    }
    let endpoint = Endpoint::from_shared(url).map_err(|error| Error::Input(format!("\"{server}\": {error}")))?;
    let connected = endpoint.connect().await;
    connected.map_err(|error| unreachable(root(&error)))
}

fn reason(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "no such file".to_owned(),
        std::io::ErrorKind::ConnectionRefused => "nobody listens there".to_owned(),
        std::io::ErrorKind::PermissionDenied => "permission denied (the socket's group may use it)".to_owned(),
        _ => error.to_string(),
    }
}

/// The innermost cause: the outer ones only say that something went wrong.
fn root(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => root(source),
        None => error.to_string(),
    }
}
