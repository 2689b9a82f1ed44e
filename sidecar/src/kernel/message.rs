//! Between netlink messages and what they mean here.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::address::{AddressAttribute, AddressMessage};
use rtnetlink::packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteNextHop, RouteNextHopFlags,
    RouteProtocol, RouteScope, RouteType, RouteVia,
};
use rtnetlink::{RouteMessageBuilder, RouteNextHopBuilder};

use super::KernelError;
use crate::forwarding::Operation;
use crate::topology::{Hop, Interface, KernelRoute, RouteKey};

/// The families whose routes matter.
pub(super) const FAMILIES: [AddressFamily; 2] = [AddressFamily::Inet, AddressFamily::Inet6];

/// The table of the node's own addresses (RT_TABLE_LOCAL).
const LOCAL_TABLE: u32 = 255;

pub(super) fn interface(link: &LinkMessage) -> Interface {
    let name = link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::IfName(name) => Some(name.clone()),
        _ => None,
    });
    let has = |flag| link.header.flags.contains(flag);
    Interface { name: name.unwrap_or_default(), is_up: has(LinkFlags::Up), is_loopback: has(LinkFlags::Loopback) }
}

pub(super) fn address(message: &AddressMessage) -> Option<(u32, IpNet)> {
    let attribute = |is_local: bool| {
        message.attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Local(address) if is_local => Some(*address),
            AddressAttribute::Address(address) if !is_local => Some(*address),
            _ => None,
        })
    };
    // On a point-to-point link the address attribute is that of the other end.
    let own = attribute(true).or_else(|| attribute(false))?;
    Some((message.header.index, IpNet::new(own, message.header.prefix_len).ok()?))
}

/// None for a route that cannot matter: of the local table, multicast, cached, by source or by type of service.
pub(super) fn route(message: &RouteMessage) -> Option<KernelRoute> {
    let RouteMessage { header, attributes, .. } = message;
    let drops = matches!(header.kind, RouteType::BlackHole | RouteType::Unreachable | RouteType::Prohibit);
    let odd = header.tos != 0 || header.source_prefix_length != 0 || header.flags.contains(RouteFlags::Cloned);
    if odd || !(drops || header.kind == RouteType::Unicast) {
        return None;
    }
    let unspecified = match header.address_family {
        AddressFamily::Inet => IpAddr::from(Ipv4Addr::UNSPECIFIED),
        AddressFamily::Inet6 => IpAddr::from(Ipv6Addr::UNSPECIFIED),
        _ => return None,
    };
    let (mut destination, mut table, mut metric) = (unspecified, u32::from(header.table), 0);
    let (mut via, mut interface, mut several) = (None, None, Vec::new());
    for attribute in attributes {
        match attribute {
            RouteAttribute::Destination(address) => destination = ip(address)?,
            RouteAttribute::Table(number) => table = *number,
            RouteAttribute::Priority(number) => metric = *number,
            RouteAttribute::Oif(index) => interface = Some(*index),
            RouteAttribute::MultiPath(hops) => several.clone_from(hops),
            other => via = gateway(other).or(via),
        }
    }
    if table == LOCAL_TABLE {
        return None;
    }
    let onlink = header.flags.contains(RouteFlags::Onlink);
    let single = interface.map(|interface| Hop { via, interface, onlink }).filter(|_| !drops && several.is_empty());
    let hops: BTreeSet<Hop> = several.iter().map(hop).chain(single).collect();
    let prefix = IpNet::new(destination, header.destination_prefix_length).ok()?;
    Some(KernelRoute { key: RouteKey { table, prefix, metric }, protocol: header.protocol.into(), hops })
}

fn hop(hop: &RouteNextHop) -> Hop {
    Hop {
        via: hop.attributes.iter().find_map(gateway),
        interface: hop.interface_index,
        onlink: hop.flags.contains(RouteNextHopFlags::Onlink),
    }
}

fn gateway(attribute: &RouteAttribute) -> Option<IpAddr> {
    match attribute {
        RouteAttribute::Gateway(address) => ip(address),
        // RFC 8950: an IPv4 route by an IPv6 gateway.
        RouteAttribute::Via(RouteVia::Inet6(address)) => Some((*address).into()),
        RouteAttribute::Via(RouteVia::Inet(address)) => Some((*address).into()),
        _ => None,
    }
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(address) => Some((*address).into()),
        RouteAddress::Inet6(address) => Some((*address).into()),
        _ => None,
    }
}

/// The request that carries out an operation.
pub(super) fn message(operation: &Operation, protocol: u8) -> Result<RouteMessage, KernelError> {
    let RouteKey { table, prefix, metric } = operation.key();
    let impossible = |error: &dyn std::fmt::Display| KernelError::Socket(error.to_string());
    let builder = RouteMessageBuilder::<IpAddr>::new()
        .destination_prefix(prefix.addr(), prefix.prefix_len())
        .map_err(|error| impossible(&error))?
        .protocol(RouteProtocol::from(protocol))
        .priority(metric);
    let builder = match operation {
        // Of any scope and type, but only of our protocol.
        Operation::Remove(_) => builder.scope(RouteScope::NoWhere).kind(RouteType::Unspec),
        Operation::Install { hops, .. } => {
            let mut next_hops = Vec::new();
            for hop in hops {
                next_hops.push(next_hop(hop, prefix).map_err(|error| impossible(&error))?);
            }
            builder.multipath(next_hops)
        }
    };
    let mut message = builder.build();
    message.header.table = u8::try_from(table).unwrap_or(RouteHeader::RT_TABLE_UNSPEC);
    message.attributes.push(RouteAttribute::Table(table));
    Ok(message)
}

fn next_hop(hop: &Hop, prefix: IpNet) -> Result<RouteNextHop, rtnetlink::packet_core::DecodeError> {
    let family = if prefix.addr().is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let mut builder = RouteNextHopBuilder::new(family).interface(hop.interface);
    if let Some(via) = hop.via {
        builder = builder.via(via).map_err(|error| rtnetlink::packet_core::DecodeError::from(error.to_string()))?;
    }
    Ok(if hop.onlink { builder.onlink() } else { builder }.build())
}
