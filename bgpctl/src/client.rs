//! The connection to bgpd.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use tokio::net::UnixStream;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Request, Status};

use crate::Error;

/// Where bgpd is and how to show who asks.
#[derive(Debug, Clone, Args)]
pub struct Server {
    /// Where bgpd listens: unix:PATH, https://HOST:PORT, or http://127.0.0.1:PORT
    #[arg(
        long,
        global = true,
        env = "BGPCTL_SERVER",
        value_name = "ADDRESS",
        default_value = "unix:/run/bgpd/bgpd.sock"
    )]
    pub server: String,
    /// Certificates of the CAs that may have signed bgpd's certificate (PEM)
    #[arg(long, global = true, env = "BGPCTL_CA", value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// Certificate to show to bgpd (PEM)
    #[arg(long, global = true, env = "BGPCTL_CERT", value_name = "FILE", requires = "key")]
    pub cert: Option<PathBuf>,
    /// Key of that certificate (PEM)
    #[arg(long, global = true, env = "BGPCTL_KEY", value_name = "FILE", requires = "cert")]
    pub key: Option<PathBuf>,
    /// File with a token to show to bgpd
    #[arg(long, global = true, env = "BGPCTL_TOKEN_FILE", value_name = "FILE")]
    pub token_file: Option<PathBuf>,
}

/// A connection that shows a token with each call, if there is one.
pub(crate) type Connection = InterceptedService<Channel, Bearer>;

/// The token, ready to be sent; marked so that it is not shown when a request is printed.
#[derive(Clone)]
pub(crate) struct Bearer(Option<MetadataValue<Ascii>>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(value) = &self.0 {
            request.metadata_mut().insert("authorization", value.clone());
        }
        Ok(request)
    }
}

impl Server {
    /// Connects to `unix:PATH`, `https://HOST:PORT`, `http://HOST:PORT` or `tcp://HOST:PORT`.
    pub(crate) async fn connect(&self) -> Result<Connection, Error> {
        let bearer = Bearer(self.token()?);
        let channel = match self.server.strip_prefix("unix:") {
            Some(path) => self.unix(path.strip_prefix("//").unwrap_or(path)).await?,
            None => self.tcp(bearer.0.is_some()).await?,
        };
        Ok(InterceptedService::new(channel, bearer))
    }

    fn unreachable(&self, reason: String) -> Error {
        Error::Unreachable { server: self.server.clone(), reason }
    }

    async fn unix(&self, path: &str) -> Result<Channel, Error> {
        let path = PathBuf::from(path);
        // Asked before tonic does, whose own error would not say why.
        drop(UnixStream::connect(&path).await.map_err(|error| self.unreachable(reason(&error)))?);
        let connector = tower::service_fn(move |_| {
            let path = path.clone();
            async move { UnixStream::connect(path).await.map(hyper_util::rt::TokioIo::new) }
        });
        let endpoint = Endpoint::from_static("http://bgpd");
        endpoint.connect_with_connector(connector).await.map_err(|error| self.unreachable(error.to_string()))
    }

    async fn tcp(&self, has_token: bool) -> Result<Channel, Error> {
        let server = &self.server;
        let url = match server.strip_prefix("tcp://") {
            Some(rest) if self.ca.is_some() => format!("https://{rest}"),
            Some(rest) => format!("http://{rest}"),
            None => server.clone(),
        };
        let is_tls = url.starts_with("https://");
        if !is_tls && !url.starts_with("http://") {
            let message = format!("\"{server}\" is not a server, expected unix:PATH or https://HOST:PORT");
            return Err(Error::Input(message));
        }
        let wrong = |error: tonic::transport::Error| Error::Input(format!("\"{server}\": {}", root(&error)));
        let mut endpoint = Endpoint::from_shared(url).map_err(wrong)?;
        if is_tls {
            endpoint = endpoint.tls_config(self.tls()?).map_err(wrong)?;
        } else if has_token && !is_loopback(&endpoint) {
            let message = format!("the token would cross the network to {server} unprotected: use https://");
            return Err(Error::Input(message));
        }
        endpoint.connect().await.map_err(|error| self.unreachable(root(&error)))
    }

    fn tls(&self) -> Result<ClientTlsConfig, Error> {
        let Some(ca) = &self.ca else {
            let message = format!("{} needs --ca FILE: who may have signed bgpd's certificate", self.server);
            return Err(Error::Input(message));
        };
        let mut config = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(read(ca)?));
        if let (Some(cert), Some(key)) = (&self.cert, &self.key) {
            config = config.identity(Identity::from_pem(read(cert)?, read(key)?));
        }
        Ok(config)
    }

    fn token(&self) -> Result<Option<MetadataValue<Ascii>>, Error> {
        let Some(file) = &self.token_file else { return Ok(None) };
        let text = String::from_utf8_lossy(&read(file)?).into_owned();
        let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let value = lines.next().and_then(|token| MetadataValue::try_from(format!("Bearer {token}")).ok());
        let Some(mut value) = value else {
            return Err(Error::Input(format!("{} has no token", file.display())));
        };
        value.set_sensitive(true);
        Ok(Some(value))
    }
}

fn read(file: &Path) -> Result<Vec<u8>, Error> {
    fs::read(file).map_err(|error| Error::Input(format!("{}: {error}", file.display())))
}

fn is_loopback(endpoint: &Endpoint) -> bool {
    let host = endpoint.uri().host().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    address.map_or(host == "localhost", |address| address.is_loopback())
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
