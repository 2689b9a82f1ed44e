//! What the kernel has besides our routes: interfaces, addresses and the routes of others; and from that, how a next
//! hop is reached.
//!
//! A next hop is reached directly when it is in a connected subnet or configured to be on a link, else through the
//! gateway of the route that leads to it (recursively; RFC 4271 §5.1.3). Our own routes never resolve a next hop, so
//! that two of them cannot hold each other up.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use ipnet::IpNet;

use crate::learned::Path;
use crate::prefix_map::PrefixMap;

/// One way out of the node.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hop {
    /// The gateway; none for a connected route.
    pub via: Option<IpAddr>,
    /// Index of the interface.
    pub interface: u32,
    /// The gateway is on the link although no subnet says so.
    pub onlink: bool,
}

/// What identifies a route in the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct RouteKey {
    /// Number of the routing table.
    pub table: u32,
    /// The destination.
    pub prefix: IpNet,
    /// The metric (RTA_PRIORITY).
    pub metric: u32,
}

impl fmt::Display for RouteKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} table {} metric {}", self.prefix, self.table, self.metric)
    }
}

/// A route as the kernel has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelRoute {
    /// Which route it is.
    pub key: RouteKey,
    /// Who installed it (`/etc/iproute2/rt_protos`).
    pub protocol: u8,
    /// The ways; none for a route that drops packets.
    pub hops: BTreeSet<Hop>,
}

/// A network interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Administratively up.
    pub is_up: bool,
    /// The loopback interface.
    pub is_loopback: bool,
}

/// Everything in the kernel that matters here, at one time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Dump {
    /// Interfaces by index.
    pub interfaces: BTreeMap<u32, Interface>,
    /// Addresses with the length of their subnet, by index of the interface.
    pub addresses: BTreeSet<(u32, IpNet)>,
    /// Unicast and dropping routes of all tables but the local one.
    pub routes: Vec<KernelRoute>,
}

/// How next hops are looked up.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NextHopRules {
    /// Every next hop is on this interface's link.
    pub onlink_interface: Option<String>,
    /// A next hop may be reached through a default route.
    pub via_default: bool,
    /// Link-local next hops without an interface of their own are on this one.
    pub link_local_interface: Option<String>,
}

/// Why a next hop cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unresolved {
    /// It is an address of this node.
    #[error("next hop {0} is an address of this node")]
    OwnAddress(IpAddr),
    /// No route leads to it.
    #[error("next hop {0} is not reachable: no subnet or route contains it")]
    NoRoute(IpAddr),
    /// Only the default route leads to it.
    #[error("next hop {0} is reachable through the default route only, and --resolve-via-default is not given")]
    DefaultOnly(IpAddr),
    /// The route to it drops packets.
    #[error("next hop {0} is not reachable: the route to it drops packets")]
    Dropped(IpAddr),
    /// A link-local address without an interface.
    #[error("link-local next hop {0} names no interface (--link-local-interface can)")]
    NoInterface(Ipv6Addr),
    /// The interface is not there.
    #[error("interface \"{0}\" does not exist")]
    UnknownInterface(String),
}

/// The kernel's interfaces, addresses and foreign routes.
#[derive(Debug, Default)]
pub(crate) struct Topology {
    interfaces: BTreeMap<u32, Interface>,
    addresses: BTreeSet<(u32, IpNet)>,
    /// By metric.
    main: PrefixMap<BTreeMap<u32, KernelRoute>>,
}

/// The table that the kernel looks in by default (RT_TABLE_MAIN).
pub const MAIN_TABLE: u32 = 254;

impl Topology {
    pub(crate) fn new(interfaces: BTreeMap<u32, Interface>, addresses: BTreeSet<(u32, IpNet)>) -> Self {
        Self { interfaces, addresses, main: PrefixMap::default() }
    }

    /// Takes in a route of somebody else. Only the main table leads to next hops.
    pub(crate) fn insert(&mut self, route: KernelRoute) {
        if route.key.table == MAIN_TABLE {
            self.main.entry(route.key.prefix).or_default().insert(route.key.metric, route);
        }
    }

    pub(crate) fn remove(&mut self, key: &RouteKey) {
        if key.table != MAIN_TABLE {
            return;
        }
        let routes = self.main.entry(key.prefix).or_default();
        routes.remove(&key.metric);
        if routes.is_empty() {
            self.main.remove(key.prefix);
        }
    }

    /// Addresses with the length of their subnet.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = IpNet> {
        self.addresses.iter().map(|(_, address)| *address)
    }

    /// A way in the words of `ip route`.
    pub(crate) fn describe(&self, way: &Hop) -> String {
        let via = way.via.map(|via| format!("via {via} ")).unwrap_or_default();
        let onlink = if way.onlink { " onlink" } else { "" };
        match self.interfaces.get(&way.interface) {
            Some(interface) => format!("{via}dev {}{onlink}", interface.name),
            None => format!("{via}dev {}{onlink}", way.interface),
        }
    }

    /// Whether this is an address of this node.
    pub(crate) fn is_own(&self, address: IpAddr) -> bool {
        self.addresses().any(|own| own.addr() == address)
    }

    /// The ways to the next hop of a learned path.
    pub(crate) fn resolve(&self, path: &Path, rules: &NextHopRules) -> Result<BTreeSet<Hop>, Unresolved> {
        if let IpAddr::V6(address) = path.next_hop
            && address.is_unicast_link_local()
        {
            return self.link_local(address, path, rules);
        }
        let global = self.global(path.next_hop, rules);
        match (&global, path.link_local) {
            // RFC 2545 §3: the link-local address is that of a neighbor on a shared link.
            (Err(Unresolved::NoRoute(_) | Unresolved::DefaultOnly(_)), Some(address)) => {
                self.link_local(address, path, rules).or(global)
            }
            _ => global,
        }
    }

    fn global(&self, address: IpAddr, rules: &NextHopRules) -> Result<BTreeSet<Hop>, Unresolved> {
        if self.is_own(address) {
            return Err(Unresolved::OwnAddress(address));
        }
        if let Some(name) = &rules.onlink_interface {
            let interface = self.index(name)?;
            return Ok(BTreeSet::from([Hop { via: Some(address), interface, onlink: true }]));
        }
        let mut default_only = false;
        for (prefix, routes) in self.main.matches(address) {
            if prefix.prefix_len() == 0 && !rules.via_default {
                default_only = true;
                continue;
            }
            let Some(route) = routes.values().next() else { continue };
            if route.hops.is_empty() {
                return Err(Unresolved::Dropped(address));
            }
            return Ok(route.hops.iter().map(|hop| reach(address, hop)).collect());
        }
        Err(if default_only { Unresolved::DefaultOnly(address) } else { Unresolved::NoRoute(address) })
    }

    fn link_local(&self, address: Ipv6Addr, path: &Path, rules: &NextHopRules) -> Result<BTreeSet<Hop>, Unresolved> {
        let interface = match path.interface.as_ref().or(rules.link_local_interface.as_ref()) {
            Some(name) => self.index(name)?,
            None => self.only_link().ok_or(Unresolved::NoInterface(address))?,
        };
        Ok(BTreeSet::from([Hop { via: Some(address.into()), interface, onlink: false }]))
    }

    /// The interface with a link-local address, when there is only one.
    fn only_link(&self) -> Option<u32> {
        let is_link_local = |net: &IpNet| matches!(net.addr(), IpAddr::V6(own) if own.is_unicast_link_local());
        let mut links = self.addresses.iter().filter(|(_, net)| is_link_local(net)).map(|(index, _)| *index);
        let first = links.next()?;
        links.all(|other| other == first).then_some(first)
    }

    fn index(&self, name: &str) -> Result<u32, Unresolved> {
        let found = self.interfaces.iter().find(|(_, interface)| interface.name == name);
        found.map(|(index, _)| *index).ok_or_else(|| Unresolved::UnknownInterface(name.to_owned()))
    }
}

fn reach(address: IpAddr, hop: &Hop) -> Hop {
    match hop.via {
        Some(_) => hop.clone(),
        None => Hop { via: Some(address), interface: hop.interface, onlink: false },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topology() -> Topology {
        let interface = |name: &str| Interface { name: name.to_owned(), is_up: true, is_loopback: false };
        let interfaces = BTreeMap::from([(2, interface("eth0")), (3, interface("eth1"))]);
        let addresses = ["192.0.2.1/24", "2001:db8::1/64", "fe80::1/64"];
        let addresses = addresses.iter().map(|text| (2, text.parse().expect("an address"))).collect();
        let mut topology = Topology::new(interfaces, addresses);
        let routes = [
            ("192.0.2.0/24", None, 2),
            ("2001:db8::/64", None, 2),
            ("0.0.0.0/0", Some("192.0.2.254"), 2),
            ("198.51.100.0/24", Some("192.0.2.253"), 2),
        ];
        for (prefix, via, interface) in routes {
            topology.insert(route(prefix, via, interface, 0));
        }
        topology
    }

    fn route(prefix: &str, via: Option<&str>, interface: u32, metric: u32) -> KernelRoute {
        let key = RouteKey { table: MAIN_TABLE, prefix: prefix.parse().expect("a prefix"), metric };
        let via = via.map(|text| text.parse().expect("an address"));
        KernelRoute { key, protocol: 3, hops: BTreeSet::from([Hop { via, interface, onlink: false }]) }
    }

    fn path(next_hop: &str) -> Path {
        Path { next_hop: next_hop.parse().expect("an address"), link_local: None, interface: None }
    }

    fn hop(via: &str, interface: u32, onlink: bool) -> BTreeSet<Hop> {
        BTreeSet::from([Hop { via: Some(via.parse().expect("an address")), interface, onlink }])
    }

    #[test]
    fn next_hop_in_a_connected_subnet_is_the_gateway() {
        let rules = NextHopRules::default();
        assert_eq!(topology().resolve(&path("192.0.2.7"), &rules), Ok(hop("192.0.2.7", 2, false)));
        assert_eq!(topology().resolve(&path("2001:db8::7"), &rules), Ok(hop("2001:db8::7", 2, false)));
    }

    #[test]
    fn remote_next_hop_is_reached_through_the_gateway_of_its_route() {
        let found = topology().resolve(&path("198.51.100.9"), &NextHopRules::default());
        assert_eq!(found, Ok(hop("192.0.2.253", 2, false)));
    }

    #[test]
    fn default_route_leads_to_next_hops_only_when_asked() {
        let address = path("203.0.113.1");
        let refused = topology().resolve(&address, &NextHopRules::default());
        assert_eq!(refused, Err(Unresolved::DefaultOnly(address.next_hop)));
        let rules = NextHopRules { via_default: true, ..NextHopRules::default() };
        assert_eq!(topology().resolve(&address, &rules), Ok(hop("192.0.2.254", 2, false)));
    }

    #[test]
    fn onlink_interface_needs_no_subnet() {
        let rules = NextHopRules { onlink_interface: Some("eth1".into()), ..NextHopRules::default() };
        assert_eq!(topology().resolve(&path("203.0.113.1"), &rules), Ok(hop("203.0.113.1", 3, true)));
        let rules = NextHopRules { onlink_interface: Some("eth9".into()), ..NextHopRules::default() };
        let refused = topology().resolve(&path("203.0.113.1"), &rules);
        assert_eq!(refused, Err(Unresolved::UnknownInterface("eth9".into())));
    }

    #[test]
    fn link_local_next_hop_takes_the_interface_of_its_neighbor_or_the_only_one() {
        let rules = NextHopRules::default();
        let mut link_local = path("fe80::7");
        assert_eq!(topology().resolve(&link_local, &rules), Ok(hop("fe80::7", 2, false)));
        link_local.interface = Some("eth1".into());
        assert_eq!(topology().resolve(&link_local, &rules), Ok(hop("fe80::7", 3, false)));
    }

    #[test]
    fn link_local_of_a_pair_serves_when_the_global_address_is_unreachable() {
        let mut pair = path("2001:db8:9::7");
        pair.link_local = Some("fe80::7".parse().expect("an address"));
        assert_eq!(topology().resolve(&pair, &NextHopRules::default()), Ok(hop("fe80::7", 2, false)));
    }

    #[test]
    fn own_address_and_lost_route_resolve_to_nothing() {
        let mut topology = topology();
        let own = path("192.0.2.1");
        let rules = NextHopRules::default();
        assert_eq!(topology.resolve(&own, &rules), Err(Unresolved::OwnAddress(own.next_hop)));
        topology.remove(&route("192.0.2.0/24", None, 2, 0).key);
        topology.remove(&route("0.0.0.0/0", None, 2, 0).key);
        let neighbor = path("192.0.2.7");
        assert_eq!(topology.resolve(&neighbor, &rules), Err(Unresolved::NoRoute(neighbor.next_hop)));
    }

    #[test]
    fn route_with_the_lowest_metric_leads() {
        let mut topology = topology();
        topology.insert(route("198.51.100.0/24", Some("192.0.2.252"), 2, 50));
        let found = topology.resolve(&path("198.51.100.9"), &NextHopRules::default());
        assert_eq!(found, Ok(hop("192.0.2.253", 2, false)));
    }
}
