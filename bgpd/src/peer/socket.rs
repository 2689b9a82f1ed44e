//! TCP sockets as BGP needs them: listeners, outgoing connections, TTL, TCP-MD5, TCP-AO.

mod option;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::time::Duration;

use bgp_engine::config::{AoAlgorithm, AoKey, Keys, NeighborSettings, Secret};
use ipnet::IpNet;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpStream};

pub(crate) use option::{limit_free_memory, release_memory};

/// Connections that may wait to be accepted: a fleet of nodes that start at once.
const LISTEN_BACKLOG: i32 = 4096;
/// Attempts to connect are given up after this.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// TTL of a packet that has not passed a router (RFC 5082 §3).
const TTL_MAX: u32 = 255;
/// TTL of packets to iBGP peers: the usual default of an IP stack.
const TTL_DEFAULT: u32 = 64;

/// What the TCP connection to a neighbor needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Transport {
    pub(crate) remote: SocketAddr,
    pub(crate) local: Option<IpAddr>,
    pub(crate) keys: Keys,
    pub(crate) ttl: Ttl,
}

/// TTL sent, and the least accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ttl {
    send: u32,
    receive_min: Option<u8>,
}

impl Ttl {
    /// RFC 5082 where it is configured, else 1 towards a directly connected eBGP peer.
    pub(crate) fn new(settings: &NeighborSettings, external: bool) -> Self {
        if settings.ttl_security {
            return Self { send: TTL_MAX, receive_min: Some(255) };
        }
        let send = match settings.ebgp_multihop {
            Some(hops) if external => u32::from(hops),
            _ if external => 1,
            _ => TTL_DEFAULT,
        };
        Self { send, receive_min: None }
    }
}

/// Opens a listening socket that shares nothing between IPv4 and IPv6. `leaving` are sockets that will be closed when this
/// one is there: until then both may have the same port, so that `0.0.0.0` can become an address of its own and nobody
/// is refused in between. Any other socket with the port is an error.
pub(crate) fn listen(address: SocketAddr, leaving: &[&TcpListener]) -> io::Result<TcpListener> {
    let share = |on| leaving.iter().try_for_each(|socket| SockRef::from(*socket).set_reuse_port(on));
    share(true)?;
    let opened = open_listener(address, !leaving.is_empty());
    share(false)?;
    opened
}

fn open_listener(address: SocketAddr, beside: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(beside)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // RFC 5082 §3: a neighbor with GTSM drops a SYN-ACK that could come from afar. Whose connection it is, and so which
    // TTL belongs on it, is known when it is accepted.
    match address {
        SocketAddr::V4(_) => socket.set_ttl_v4(TTL_MAX)?,
        SocketAddr::V6(_) => socket.set_unicast_hops_v6(TTL_MAX)?,
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(LISTEN_BACKLOG)?;
    socket.set_reuse_port(false)?;
    TcpListener::from_std(socket.into())
}

/// Connects to a neighbor.
pub(crate) async fn connect(transport: Transport) -> io::Result<TcpStream> {
    let remote = transport.remote;
    let socket = match remote {
        SocketAddr::V4(_) => tokio::net::TcpSocket::new_v4()?,
        SocketAddr::V6(_) => tokio::net::TcpSocket::new_v6()?,
    };
    replace_keys(&socket, IpNet::from(remote.ip()), &Keys::default(), &transport.keys)?;
    apply_ttl(&socket, &transport)?;
    if let Some(local) = transport.local {
        socket.bind(SocketAddr::new(local, 0))?;
    }
    let connecting = tokio::time::timeout(CONNECT_TIMEOUT, socket.connect(remote));
    let stream = connecting.await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    tune(&stream)?;
    Ok(stream)
}

/// Prepares a connection that a neighbor has opened.
pub(crate) fn accepted(stream: &TcpStream, transport: &Transport) -> io::Result<()> {
    apply_ttl(stream, transport)?;
    tune(stream)
}

/// Puts keys for peers in `prefix` in the place of others on a socket (RFC 2385, RFC 5925).
pub(crate) fn replace_keys(socket: &impl AsFd, prefix: IpNet, old: &Keys, new: &Keys) -> io::Result<()> {
    if old.md5.is_some() || new.md5.is_some() {
        option::set_md5_key(socket, prefix, new.md5.as_ref())?;
    }
    for key in old.ao.iter().filter(|key| !new.ao.contains(key)) {
        option::remove_ao_key(socket, prefix, key)?;
    }
    new.ao.iter().enumerate().try_for_each(|(at, key)| option::add_ao_key(socket, prefix, key, at == 0))
}

/// Whether the kernel has TCP-AO with an algorithm: a key is set on a socket that goes nowhere.
pub(crate) fn probe_ao(algorithm: AoAlgorithm) -> io::Result<()> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    // TEST-NET-1 (RFC 5737): nobody's.
    let nobody = IpNet::from(IpAddr::from([192, 0, 2, 255]));
    let key = AoKey { send_id: 1, receive_id: 1, algorithm, key: Secret("probe".to_owned()) };
    option::add_ao_key(&socket, nobody, &key, false)
}

/// Puts what differs between two transports to work on a connection that stands. TCP-AO keys and the own address are those
/// that it began with.
pub(crate) fn replace_transport(stream: &TcpStream, before: &Transport, now: &Transport) -> io::Result<()> {
    if before.ttl != now.ttl {
        apply_ttl(stream, now)?;
    }
    if before.keys.md5 != now.keys.md5 {
        option::set_md5_key(stream, IpNet::from(now.remote.ip()), now.keys.md5.as_ref())?;
    }
    Ok(())
}

fn apply_ttl(socket: &impl AsFd, transport: &Transport) -> io::Result<()> {
    let Ttl { send, receive_min } = transport.ttl;
    match transport.remote {
        SocketAddr::V4(_) => SockRef::from(socket).set_ttl_v4(send)?,
        SocketAddr::V6(_) => SockRef::from(socket).set_unicast_hops_v6(send)?,
    }
    // 0 is the kernel's default: every packet is taken.
    option::set_min_ttl(socket, transport.remote.is_ipv6(), receive_min.unwrap_or(0))
}

fn tune(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    // A peer whose host vanished is noticed by the hold timer; this catches sessions with hold time 0.
    let keepalive = TcpKeepalive::new().with_time(Duration::from_secs(60)).with_interval(Duration::from_secs(20));
    SockRef::from(stream).set_tcp_keepalive(&keepalive)
}
