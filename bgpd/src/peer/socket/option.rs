//! The socket options that no library offers: `TCP_MD5SIG_EXT`, `TCP_AO_ADD_KEY`, `TCP_AO_DEL_KEY` and `IP_MINTTL`.
//!
//! All `unsafe` of the daemon is here: calls of `setsockopt` with a pointer to a value that outlives the call and its
//! exact size, and two calls that have nothing to do with sockets: [`limit_free_memory`] and [`release_memory`].
#![expect(
    unsafe_code,
    reason = "setsockopt with options that socket2 and nix do not know, and the C library's allocator"
)]

use std::io;
use std::mem;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd};

use bgp_engine::config::{AoAlgorithm, AoKey, Secret};
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

/// `linux/tcp.h`, since 6.7: add or remove a key of TCP-AO, and its longest key.
const TCP_AO_ADD_KEY: libc::c_int = 38;
const TCP_AO_DEL_KEY: libc::c_int = 39;
const AO_KEY_MAX: usize = 80;
/// Octets of a MAC of 96 bits (RFC 5926 §3).
const AO_MAC_LEN: u8 = 12;
/// The first bit of the field of flags: the key is sent with from now on.
const SET_CURRENT: u32 = if cfg!(target_endian = "little") { 1 } else { 1 << 31 };
/// The second: the peer is asked to send with it.
const SET_RNEXT: u32 = if cfg!(target_endian = "little") { 2 } else { 1 << 30 };

/// `struct tcp_ao_add` of `linux/tcp.h`.
#[repr(C, align(8))]
struct TcpAoAdd {
    address: libc::sockaddr_storage,
    algorithm: [u8; 64],
    interface: i32,
    flags: u32,
    reserved: u16,
    prefix_len: u8,
    send_id: u8,
    receive_id: u8,
    mac_len: u8,
    key_flags: u8,
    key_len: u8,
    key: [u8; AO_KEY_MAX],
}

/// `struct tcp_ao_del` of `linux/tcp.h`.
#[repr(C, align(8))]
struct TcpAoDel {
    address: libc::sockaddr_storage,
    interface: i32,
    flags: u32,
    reserved: u16,
    prefix_len: u8,
    send_id: u8,
    receive_id: u8,
    current_key: u8,
    rnext: u8,
    key_flags: u8,
}

const _: () = assert!(mem::size_of::<TcpAoAdd>() == 288 && mem::size_of::<TcpAoDel>() == 144);

/// Adds a key of TCP-AO for peers in `prefix`; `first` is the one that is begun with. One that is there already stays.
pub(super) fn add_ao_key(socket: &impl AsFd, prefix: IpNet, key: &AoKey, first: bool) -> io::Result<()> {
    let secret = key.key.0.as_bytes();
    if secret.len() > AO_KEY_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "a TCP-AO key has at most 80 octets"));
    }
    // The names are those of the kernel's crypto API.
    let name: &[u8] = match key.algorithm {
        AoAlgorithm::HmacSha1 => b"hmac(sha1)",
        AoAlgorithm::Aes128Cmac => b"cmac(aes128)",
    };
    let mut option = TcpAoAdd {
        address: storage(prefix.network()),
        algorithm: [0; 64],
        interface: 0,
        flags: if first { SET_CURRENT | SET_RNEXT } else { 0 },
        reserved: 0,
        prefix_len: prefix.prefix_len(),
        send_id: key.send_id,
        receive_id: key.receive_id,
        mac_len: AO_MAC_LEN,
        key_flags: 0,
        key_len: secret.len() as u8,
        key: [0; AO_KEY_MAX],
    };
    option.algorithm[..name.len()].copy_from_slice(name);
    option.key[..secret.len()].copy_from_slice(secret);
    match set(socket, libc::IPPROTO_TCP, TCP_AO_ADD_KEY, &option) {
        Err(error) if error.raw_os_error() == Some(libc::EEXIST) => Ok(()),
        result => result,
    }
}

/// Removes a key of TCP-AO. One that was not there is not an error.
pub(super) fn remove_ao_key(socket: &impl AsFd, prefix: IpNet, key: &AoKey) -> io::Result<()> {
    let option = TcpAoDel {
        address: storage(prefix.network()),
        interface: 0,
        flags: 0,
        reserved: 0,
        prefix_len: prefix.prefix_len(),
        send_id: key.send_id,
        receive_id: key.receive_id,
        current_key: 0,
        rnext: 0,
        key_flags: 0,
    };
    match set(socket, libc::IPPROTO_TCP, TCP_AO_DEL_KEY, &option) {
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        result => result,
    }
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

/// Free memory at the end of an arena that the C library's allocator keeps, and the least piece that comes from the kernel
/// by itself and goes back there: its defaults. Unless they are set, each large piece that is freed moves both up, to
/// 64 and 32 MiB.
const FREE_MAX: libc::c_int = 128 << 10;

/// Keeps the allocator from holding more free memory the larger the pieces are that it has seen.
pub(crate) fn limit_free_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: mallopt(3) with these parameters sets two numbers, under the allocator's own lock.
    unsafe {
        libc::mallopt(libc::M_TRIM_THRESHOLD, FREE_MAX);
        libc::mallopt(libc::M_MMAP_THRESHOLD, FREE_MAX);
    }
}

/// Gives pages that are free within the allocator back to the kernel. By itself it gives back only what lies at the end
/// of an arena. Each arena is locked for as long as it takes, a few milliseconds if there is much: whoever allocates
/// there waits.
pub(crate) fn release_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim(3) may be called at any time in any thread; it takes no pointer and moves nothing.
    unsafe {
        libc::malloc_trim(0);
    }
}
