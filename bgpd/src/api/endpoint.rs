//! Listeners of the API: Unix sockets with a mode, an owner and a group, TCP with TLS, and loopback TCP.

use std::fmt;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::unistd::{Group, User, chown};
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
    if is_in_use(path) {
        return Err(ApiError::InUse(path.to_owned()));
    }
    fs::remove_file(path).map_err(|source| ApiError::Listen { endpoint: format!("unix:{}", path.display()), source })
}

/// Whether somebody answers on a socket. One of another owner may not be ours to connect to: then the kernel is asked
/// whether anybody has it open.
fn is_in_use(path: &Path) -> bool {
    match std::os::unix::net::UnixStream::connect(path) {
        Ok(_) => true,
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            let end = format!(" {}", path.display());
            let open = fs::read_to_string("/proc/self/net/unix");
            open.map_or(true, |open| open.lines().any(|line| line.ends_with(&end)))
        }
        Err(_) => false,
    }
}

fn unix(path: &Path, settings: &ApiSettings) -> io::Result<UnixListener> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(settings.socket_mode))?;
    give(path, settings)?;
    Ok(listener)
}

/// Gives a socket to the owner and the group that are configured.
fn give(path: &Path, settings: &ApiSettings) -> io::Result<()> {
    let unknown = |kind: &str, name: &str| io::Error::other(format!("there is no {kind} \"{name}\""));
    let user = |name: &String| User::from_name(name)?.map(|user| user.uid).ok_or_else(|| unknown("user", name));
    let group = |name: &String| Group::from_name(name)?.map(|group| group.gid).ok_or_else(|| unknown("group", name));
    let owner = settings.socket_owner.as_ref().map(user).transpose()?;
    let group = settings.socket_group.as_ref().map(group).transpose()?;
    if owner.is_none() && group.is_none() {
        return Ok(());
    }
    let failed = |error| {
        let needs = "another owner needs CAP_CHOWN, and so does a group that bgpd's user is not in";
        io::Error::other(format!("socket-owner and socket-group not set: {error}: {needs}"))
    };
    chown(path, owner, group).map_err(failed)
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
