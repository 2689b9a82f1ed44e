//! Listeners of the API: Unix sockets with a mode, TCP with TLS, and loopback TCP.

use std::fmt;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;
use tokio_stream::wrappers::{TcpListenerStream, UnixListenerStream};
use tonic::service::Routes;
use tonic::transport::Server;

use super::access::{Access, Guard};
use super::{ApiError, tls};
use crate::config::{ApiSettings, Endpoint};

/// One open listener.
pub(super) enum Listener {
    Unix(UnixListener, PathBuf),
    Tcp(TcpListener, SocketAddr),
    Tls(TcpListener, SocketAddr),
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(_, path) => write!(f, "unix:{}", path.display()),
            Self::Tcp(_, address) => write!(f, "tcp://{address}"),
            Self::Tls(_, address) => write!(f, "tcp://{address} with TLS"),
        }
    }
}

/// Opens a listener.
pub(super) fn open(endpoint: &Endpoint, settings: &ApiSettings) -> Result<Listener, ApiError> {
    let failed = |source| ApiError::Listen { endpoint: endpoint.to_string(), source };
    match endpoint {
        Endpoint::Unix(path) => {
            clear_the_way(path)?;
            let listener = unix(path, settings).map_err(failed)?;
            Ok(Listener::Unix(listener, path.clone()))
        }
        Endpoint::Tcp(address) => {
            let listener = std::net::TcpListener::bind(address).and_then(|listener| {
                listener.set_nonblocking(true)?;
                TcpListener::from_std(listener)
            });
            let listener = listener.map_err(failed)?;
            let address = listener.local_addr().map_err(failed)?;
            let is_tls = settings.credentials.tls.is_some();
            Ok(if is_tls { Listener::Tls(listener, address) } else { Listener::Tcp(listener, address) })
        }
    }
}

/// Removes a socket that a process left behind; one that somebody answers on is not ours to remove.
fn clear_the_way(path: &Path) -> Result<(), ApiError> {
    let is_socket = fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket());
    if !is_socket {
        return Ok(());
    }
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        return Err(ApiError::InUse(path.to_owned()));
    }
    fs::remove_file(path).map_err(|source| ApiError::Listen { endpoint: format!("unix:{}", path.display()), source })
}

fn unix(path: &Path, settings: &ApiSettings) -> io::Result<UnixListener> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(settings.socket_mode))?;
    if let Some(group) = &settings.socket_group {
        let group = nix::unistd::Group::from_name(group)?
            .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("there is no group \"{group}\"")))?;
        nix::unistd::chown(path, None, Some(group.gid))?;
    }
    Ok(listener)
}

impl Listener {
    /// Serves until `stopped` says so; then the socket file is removed.
    pub(super) async fn serve(
        self,
        routes: Routes,
        access: Access,
        mut stopped: watch::Receiver<bool>,
    ) -> Result<(), ApiError> {
        let stop = async move {
            // A sender that is gone means stop as well.
            let _ = stopped.wait_for(|stopped| *stopped).await;
        };
        let guard = |access| Server::builder().layer(Guard(access));
        match self {
            Self::Tcp(listener, _) => {
                let router = guard(Some(access)).add_routes(routes);
                router.serve_with_incoming_shutdown(TcpListenerStream::new(listener), stop).await?;
            }
            Self::Tls(listener, _) => {
                let router = guard(Some(access.clone())).add_routes(routes);
                router.serve_with_incoming_shutdown(tls::incoming(listener, access), stop).await?;
            }
            Self::Unix(listener, path) => {
                let router = guard(None).add_routes(routes);
                let result = router.serve_with_incoming_shutdown(UnixListenerStream::new(listener), stop).await;
                // A file that is gone already needs no removal.
                let _ = fs::remove_file(&path);
                result?;
            }
        }
        Ok(())
    }
}
