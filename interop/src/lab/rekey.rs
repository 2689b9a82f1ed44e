//! Another TCP-MD5 key on a connection that stands: what a peer does that changes its key without ending its session.
//!
//! FRR and BIRD cannot: they end a session when its password changes. Their kernel can, so the connection is taken out of
//! the daemon for a moment and given the key, and the daemon notices nothing.

use std::fs;
use std::io;
use std::mem::{self, size_of_val};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use socket2::{SockAddr, SockRef, Socket};

use super::Daemon;

/// `struct tcp_md5sig` of `linux/tcp.h`.
#[repr(C)]
struct TcpMd5Sig {
    address: libc::sockaddr_storage,
    flags: u8,
    prefix_len: u8,
    key_len: u16,
    interface: libc::c_int,
    key: [u8; 80],
}

/// `linux/tcp.h`.
const TCP_MD5SIG: libc::c_int = 14;

/// Gives the connections that a daemon has with a peer another key; how many there are.
///
/// # Panics
/// When the kernel does not let root look into the daemon, or refuses the key.
#[must_use]
pub fn rekey(daemon: &Daemon, peer: IpAddr, key: &str) -> usize {
    let pid = daemon.pid();
    let listing = fs::read_dir(format!("/proc/{pid}/fd")).expect("the daemon runs");
    let numbers = listing.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<RawFd>().ok());
    // A descriptor can be closed between the listing and this.
    let sockets = numbers.filter_map(|number| taken(pid, number).ok()).map(Socket::from);
    let connections: Vec<(Socket, SockAddr)> = sockets
        .filter_map(|socket| {
            let remote = SockRef::from(&socket).peer_addr().ok()?;
            (remote.as_socket().map(|remote| remote.ip()) == Some(peer)).then_some((socket, remote))
        })
        .collect();
    for (socket, remote) in &connections {
        set_key(socket, remote, key).unwrap_or_else(|error| panic!("the kernel refuses the key: {error}"));
    }
    connections.len()
}

/// A descriptor of another process, as one of this.
fn taken(pid: u32, number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: neither call takes a pointer.
    let process = owned(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })?;
    // SAFETY: as above.
    owned(unsafe { libc::syscall(libc::SYS_pidfd_getfd, process.as_raw_fd(), number, 0) })
}

fn owned(result: libc::c_long) -> io::Result<OwnedFd> {
    match RawFd::try_from(result) {
        // SAFETY: the kernel has just made the descriptor for us.
        Ok(number) if number >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(number) }),
        _ => Err(io::Error::last_os_error()),
    }
}

fn set_key(socket: &Socket, remote: &SockAddr, key: &str) -> io::Result<()> {
    let remote = remote.as_socket().map(|remote| SockAddr::from(SocketAddr::new(remote.ip(), 0)));
    let remote = remote.ok_or(io::ErrorKind::InvalidInput)?;
    // SAFETY: all-zero octets are a valid value of all these types.
    let mut option: TcpMd5Sig = unsafe { mem::zeroed() };
    // SAFETY: an address is never longer than a sockaddr_storage.
    unsafe {
        let to = (&raw mut option.address).cast::<u8>();
        std::ptr::copy_nonoverlapping(remote.as_ptr().cast::<u8>(), to, remote.len() as usize);
    }
    option.key_len = key.len() as u16;
    option.key[..key.len()].copy_from_slice(key.as_bytes());
    // SAFETY: the pointer is to a live value of the size given; the kernel only reads it.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            TCP_MD5SIG,
            (&raw const option).cast(),
            size_of_val(&option) as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
