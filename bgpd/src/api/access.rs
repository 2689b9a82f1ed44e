//! Who may call what. Whoever can open the Unix socket may do everything; over TCP a certificate's name or a token
//! decides, unless neither is configured and the address is a loopback one.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, PoisonError, RwLock};
use std::task::{Context, Poll};

use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::http::header::AUTHORIZATION;
use tonic::codegen::http::{Request, Response};
use tonic::transport::server::{TcpConnectInfo, TlsConnectInfo};
use tower::{Layer, Service};
use tracing::warn;
use webpki::EndEntityCert;

use crate::config::{Credentials, Role};

/// Methods that change nothing. `Check` and `Diff` of a configuration are not among them: they read the files that the
/// document names.
const READS: [&str; 16] = [
    "/bgpd.v1.ClusterService/List",
    "/bgpd.v1.ConfigService/Show",
    "/bgpd.v1.LogService/Get",
    "/bgpd.v1.NeighborService/List",
    "/bgpd.v1.NeighborService/Get",
    "/bgpd.v1.NeighborService/Watch",
    "/bgpd.v1.PolicyService/ListDeclared",
    "/bgpd.v1.PolicyService/Test",
    "/bgpd.v1.RouteService/List",
    "/bgpd.v1.RouteService/ListOwners",
    "/bgpd.v1.RouteService/Explain",
    "/bgpd.v1.RouteService/Watch",
    "/bgpd.v1.RpkiService/List",
    "/bgpd.v1.RpkiService/Validate",
    "/bgpd.v1.StatusService/Get",
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
];
/// Anybody who can connect may ask whether the server is healthy: that is what load balancers do.
const HEALTH: &str = "/grpc.health.v1.Health/";

/// The role that a method needs; `None` is anybody.
fn needed(path: &str) -> Option<Role> {
    match path {
        path if path.starts_with(HEALTH) => None,
        path if READS.contains(&path) => Some(Role::ReadOnly),
        _ => Some(Role::ReadWrite),
    }
}

/// The credentials in force. Cheap to clone; a replacement holds for connections and calls from then on.
#[derive(Clone, Default)]
pub struct Access(Arc<RwLock<Arc<Credentials>>>);

impl Access {
    pub(super) fn new(credentials: Credentials) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(credentials))))
    }

    /// Puts other certificates, names and tokens in force. Whether there is TLS stays: listeners are opened with it or
    /// without.
    pub fn replace(&self, credentials: Credentials) {
        if credentials.tls.is_some() != self.tls().is_some() {
            warn!("[api.tls] came or went: that takes effect when bgpd starts anew, what was in force stays");
            return;
        }
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(credentials);
    }

    fn now(&self) -> Arc<Credentials> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// What the next TLS connection needs.
    pub(super) fn tls(&self) -> Option<Arc<ServerConfig>> {
        self.now().tls.clone()
    }

    /// Whether a call may go on; else what its caller is told. The token itself is never said or logged.
    fn judge<B>(&self, request: &Request<B>) -> Result<(), Status> {
        let path = request.uri().path();
        let Some(needed) = needed(path) else { return Ok(()) };
        let credentials = self.now();
        if credentials.is_open() {
            return Ok(());
        }
        let token = request.headers().get(AUTHORIZATION).and_then(|value| bearer(value.as_bytes()));
        let by_token = token.and_then(|token| credentials.role_of_token(token));
        let role = match (token, by_token) {
            // A token that is wrong is not made good by a certificate: somebody believes that it counts.
            (Some(_), None) => None,
            _ => by_token.max(certificate(request).and_then(|der| role_of_certificate(&credentials, &der))),
        };
        match role {
            Some(role) if role >= needed => Ok(()),
            Some(role) => Err(Status::permission_denied(format!("the role {role} may not call {path}"))),
            None if token.is_some() => Err(Status::unauthenticated("the token is not one that bgpd knows")),
            None => {
                Err(Status::unauthenticated("bgpd knows neither the certificate's name nor a token of this client"))
            }
        }
    }
}

fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then_some(token)
}

/// The certificate that the client has shown; the TLS handshake has verified it.
fn certificate<B>(request: &Request<B>) -> Option<CertificateDer<'static>> {
    let info = request.extensions().get::<TlsConnectInfo<TcpConnectInfo>>()?;
    info.peer_certs()?.first().cloned()
}

fn role_of_certificate(credentials: &Credentials, der: &CertificateDer<'_>) -> Option<Role> {
    let certificate = EndEntityCert::try_from(der).ok()?;
    credentials.role_of_names(certificate.valid_dns_names())
}

/// Asks for a role before each call; `None` lets everything pass.
#[derive(Clone)]
pub(super) struct Guard(pub(super) Option<Access>);

impl<S> Layer<S> for Guard {
    type Service = Guarded<S>;

    fn layer(&self, inner: S) -> Guarded<S> {
        Guarded { access: self.0.clone(), inner }
    }
}

/// A service behind a [`Guard`].
#[derive(Clone)]
pub(super) struct Guarded<S> {
    access: Option<Access>,
    inner: S,
}

impl<S, B> Service<Request<B>> for Guarded<S>
where
    S: Service<Request<B>, Response = Response<Body>>,
    S::Future: Send + 'static,
    S::Error: 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        match self.access.as_ref().map_or(Ok(()), |access| access.judge(&request)) {
            Ok(()) => Box::pin(self.inner.call(request)),
            Err(status) => {
                warn!(path = request.uri().path(), reason = status.message(), "call refused");
                Box::pin(async move { Ok(status.into_http()) })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bgpd_proto::FILE_DESCRIPTOR_SET;

    use super::*;

    #[test]
    fn methods_that_read_exist() {
        // The names of services and methods stand in the descriptors as they are.
        let text = String::from_utf8_lossy(FILE_DESCRIPTOR_SET);
        for path in READS.iter().filter(|path| path.starts_with("/bgpd.")) {
            let (service, method) = path[1..].rsplit_once('/').expect("a service and a method");
            let service = service.rsplit('.').next().expect("a name");
            assert!(text.contains(service) && text.contains(method), "{path}");
        }
    }

    #[test]
    fn what_is_not_known_to_read_needs_the_greater_role() {
        assert_eq!(needed("/grpc.health.v1.Health/Check"), None);
        assert_eq!(needed("/bgpd.v1.StatusService/Get"), Some(Role::ReadOnly));
        for path in ["/bgpd.v1.ConfigService/Apply", "/bgpd.v1.ConfigService/Diff", "/bgpd.v1.Other/List", ""] {
            assert_eq!(needed(path), Some(Role::ReadWrite), "{path}");
        }
    }

    #[test]
    fn a_bearer_token_is_what_follows_the_scheme() {
        assert_eq!(bearer(b"Bearer abc"), Some(&b"abc"[..]));
        assert_eq!(bearer(b"bearer abc"), Some(&b"abc"[..]));
        assert_eq!((bearer(b"Basic abc"), bearer(b"Bear")), (None, None));
    }
}
