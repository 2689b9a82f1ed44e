//! Which own addresses can be the next hop of routes sent over a connection (RFC 4271 §5.1.3, RFC 2545 §3).

use std::net::{IpAddr, SocketAddrV6};

use bgp_engine::export::LocalAddresses;
use nix::ifaddrs::{InterfaceAddress, getifaddrs};

/// The addresses of the interface that has `local`, at least `local` itself; and its name.
pub(super) fn addresses_beside(local: IpAddr) -> (LocalAddresses, Option<String>) {
    let mut found = LocalAddresses::of(local);
    // Without the list of interfaces the connection's own address still serves its own family.
    let interfaces: Vec<(String, IpAddr)> = getifaddrs().map(|all| all.filter_map(entry).collect()).unwrap_or_default();
    let name = interfaces.iter().find(|(_, address)| *address == local).map(|(name, _)| name.clone());
    for (_, address) in interfaces.iter().filter(|(interface, _)| Some(interface) == name.as_ref()) {
        match address {
            IpAddr::V4(address) => found.v4 = found.v4.or(Some(*address)),
            IpAddr::V6(address) if address.is_unicast_link_local() => {
                found.v6_link_local = found.v6_link_local.or(Some(*address));
            }
            IpAddr::V6(address) if address.is_loopback() => {}
            IpAddr::V6(address) => found.v6 = found.v6.or(Some(*address)),
        }
    }
    (found, name)
}

fn entry(interface: InterfaceAddress) -> Option<(String, IpAddr)> {
    let address = interface.address?;
    let address = match (address.as_sockaddr_in(), address.as_sockaddr_in6()) {
        (Some(v4), _) => IpAddr::V4(v4.ip()),
        (_, Some(v6)) => IpAddr::V6(*SocketAddrV6::from(*v6).ip()),
        _ => return None,
    };
    Some((interface.interface_name, address))
}
