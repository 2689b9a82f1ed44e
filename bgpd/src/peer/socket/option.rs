//! The two socket options that no library offers: `TCP_MD5SIG_EXT` and `IP_MINTTL`.
//!
//! All `unsafe` of the daemon is here: two calls of `setsockopt` with a pointer to a value that outlives the call and
//! its exact size.
#![expect(unsafe_code, reason = "setsockopt with options that socket2 and nix do not know")]

use std::io;
use std::mem;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd};

use bgp_engine::config::Secret;
use ipnet::IpNet;
use socket2::SockAddr;

/// `linux/tcp.h`: option number and flag for a key that holds for a prefix.
const TCP_MD5SIG_EXT: libc::c_int = 32;
const TCP_MD5SIG_FLAG_PREFIX: u8 = 1;
/// `linux/tcp.h`: TCP_MD5SIG_MAXKEYLEN.
pub(super) const MD5_KEY_MAX: usize = 80;
/// `linux/in6.h`.
const IPV6_MINHOPCOUNT: libc::c_int = 73;

/// `struct tcp_md5sig` of `linux/tcp.h`.
#[repr(C)]
struct TcpMd5Sig {
    address: libc::sockaddr_storage,
    flags: u8,
    prefix_len: u8,
    key_len: u16,
    interface: libc::c_int,
    key: [u8; MD5_KEY_MAX],
}

/// Sets the key for peers in `prefix`; `None` removes it. A key that was not there is not an error.
pub(super) fn set_md5_key(socket: &impl AsFd, prefix: IpNet, key: Option<&Secret>) -> io::Result<()> {
    let secret = key.map_or(&[][..], |key| key.0.as_bytes());
    if secret.len() > MD5_KEY_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "a TCP-MD5 key has at most 80 octets"));
    }
    let mut option = TcpMd5Sig {
        address: storage(prefix.network()),
        flags: TCP_MD5SIG_FLAG_PREFIX,
        prefix_len: prefix.prefix_len(),
        key_len: secret.len() as u16,
        interface: 0,
        key: [0; MD5_KEY_MAX],
    };
    option.key[..secret.len()].copy_from_slice(secret);
    match set(socket, libc::IPPROTO_TCP, TCP_MD5SIG_EXT, &option) {
        Err(error) if key.is_none() && error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        result => result,
    }
}

/// Drops received packets with a smaller TTL or hop limit (RFC 5082 §3).
pub(super) fn set_min_ttl(socket: &impl AsFd, ipv6: bool, least: u8) -> io::Result<()> {
    let value = libc::c_int::from(least);
    if ipv6 {
        set(socket, libc::IPPROTO_IPV6, IPV6_MINHOPCOUNT, &value)
    } else {
        set(socket, libc::IPPROTO_IP, libc::IP_MINTTL, &value)
    }
}

fn storage(address: IpAddr) -> libc::sockaddr_storage {
    let address = SockAddr::from(SocketAddr::new(address, 0));
    // SAFETY: all-zero octets are a valid sockaddr_storage (family AF_UNSPEC).
    let mut storage: libc::sockaddr_storage = unsafe { mem::zeroed() };
    // SAFETY: `address` is valid for `len()` octets, which is never more than a sockaddr_storage has.
    unsafe {
        std::ptr::copy_nonoverlapping(
            address.as_ptr().cast::<u8>(),
            (&raw mut storage).cast::<u8>(),
            address.len() as usize,
        );
    }
    storage
}

fn set<T>(socket: &impl AsFd, level: libc::c_int, name: libc::c_int, value: &T) -> io::Result<()> {
    // SAFETY: the pointer is to a live `T` of the size given; the kernel only reads it.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            level,
            name,
            (&raw const *value).cast::<libc::c_void>(),
            mem::size_of::<T>() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
