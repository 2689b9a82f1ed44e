//! Guard rails: which learned routes may never enter the kernel, whatever BGP says.
//!
//! A route that overlaps the node's own pods, addresses, subnets or the services of its cluster would cut the node
//! off; a default route would take it over. Both come from mistakes elsewhere, so they are refused and said.

use std::fmt;

use ipnet::IpNet;

use crate::prefix_map::PrefixMap;

/// What a protected prefix is to the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Protected {
    /// The pod CIDR of this node.
    PodCidr,
    /// The range of the cluster's services.
    ServiceCidr,
    /// An address of this node, or the subnet of one of its interfaces.
    NodeSubnet,
    /// Named in the configuration.
    Configured,
    /// Loopback, link-local or multicast: never routed.
    Unroutable,
}

impl fmt::Display for Protected {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::PodCidr => "this node's pod CIDR",
            Self::ServiceCidr => "the service CIDR",
            Self::NodeSubnet => "this node's address or subnet",
            Self::Configured => "the configured --protect prefix",
            Self::Unroutable => "the range",
        })
    }
}

/// Why a route may not enter the kernel.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A default route, and nobody asked for one.
    #[error("a default route is not installed unless --allow-default-route is given")]
    DefaultRoute,
    /// It overlaps what must stay as it is.
    #[error("not installed: it {relation} {what} {prefix}")]
    Overlap {
        /// How the route lies to the protected prefix.
        relation: Relation,
        /// What the protected prefix is.
        what: Protected,
        /// The protected prefix.
        prefix: IpNet,
    },
}

/// How a route lies to a protected prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relation {
    /// They are the same prefix.
    Equals,
    /// The route contains it.
    Covers,
    /// The route is contained in it.
    IsInside,
}

impl fmt::Display for Relation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Equals => "equals",
            Self::Covers => "covers",
            Self::IsInside => "is inside",
        })
    }
}

/// What must not be overlapped by a learned route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guard {
    allow_default: bool,
    protected: PrefixMap<Protected>,
}

/// Ranges that are never routed: RFC 1122 §3.2.1.3, RFC 3927, RFC 5771, RFC 4291 §2.4.
const UNROUTABLE: [&str; 6] = ["127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "::1/128", "fe80::/10", "ff00::/8"];

impl Guard {
    /// A guard that lets a default route pass or not, and protects what is never routed.
    #[must_use]
    pub fn new(allow_default: bool) -> Self {
        let unroutable = UNROUTABLE.iter().filter_map(|text| text.parse::<IpNet>().ok());
        Self { allow_default, protected: unroutable.map(|prefix| (prefix, Protected::Unroutable)).collect() }
    }

    /// Protects a prefix.
    pub fn protect(&mut self, prefix: IpNet, what: Protected) {
        // A default route of the node is no subnet of it.
        if prefix.prefix_len() > 0 {
            self.protected.entry(prefix).or_insert(what);
        }
    }

    /// Says whether a learned route may enter the kernel.
    ///
    /// # Errors
    /// The refusal, when it may not.
    pub fn check(&self, prefix: IpNet) -> Result<(), Refusal> {
        if prefix.prefix_len() == 0 {
            return if self.allow_default { Ok(()) } else { Err(Refusal::DefaultRoute) };
        }
        let Some((protected, &what)) = self.protected.overlapping(prefix) else { return Ok(()) };
        let relation = match protected.prefix_len().cmp(&prefix.prefix_len()) {
            std::cmp::Ordering::Equal => Relation::Equals,
            std::cmp::Ordering::Greater => Relation::Covers,
            std::cmp::Ordering::Less => Relation::IsInside,
        };
        Err(Refusal::Overlap { relation, what, prefix: protected })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> IpNet {
        text.parse().expect("a prefix")
    }

    fn guard() -> Guard {
        let mut guard = Guard::new(false);
        guard.protect(net("10.1.3.0/24"), Protected::PodCidr);
        guard.protect(net("10.96.0.0/12"), Protected::ServiceCidr);
        guard.protect(net("192.0.2.0/24"), Protected::NodeSubnet);
        guard.protect(net("fd00:1:3::/64"), Protected::PodCidr);
        guard
    }

    #[test]
    fn default_route_needs_to_be_asked_for() {
        for prefix in ["0.0.0.0/0", "::/0"] {
            assert_eq!(guard().check(net(prefix)), Err(Refusal::DefaultRoute));
            assert_eq!(Guard::new(true).check(net(prefix)), Ok(()));
        }
    }

    #[test]
    fn what_equals_covers_or_is_inside_a_protected_prefix_is_refused() {
        let cases = [
            ("10.1.3.0/24", "equals this node's pod CIDR 10.1.3.0/24"),
            ("10.1.0.0/16", "covers this node's pod CIDR 10.1.3.0/24"),
            ("10.1.3.128/25", "is inside this node's pod CIDR 10.1.3.0/24"),
            ("10.100.0.0/16", "is inside the service CIDR 10.96.0.0/12"),
            ("192.0.2.7/32", "is inside this node's address or subnet 192.0.2.0/24"),
            ("fd00::/16", "covers this node's pod CIDR fd00:1:3::/64"),
            ("127.0.0.0/30", "is inside the range 127.0.0.0/8"),
            ("fe80::/64", "is inside the range fe80::/10"),
        ];
        for (prefix, reason) in cases {
            let refusal = guard().check(net(prefix)).expect_err(prefix);
            assert_eq!(refusal.to_string(), format!("not installed: it {reason}"));
        }
    }

    #[test]
    fn pods_of_other_nodes_pass() {
        for prefix in ["10.1.4.0/24", "10.2.0.0/16", "fd00:1:4::/64", "198.51.100.1/32"] {
            assert_eq!(guard().check(net(prefix)), Ok(()), "{prefix}");
        }
    }

    #[test]
    fn default_route_of_the_node_protects_nothing() {
        let mut guard = Guard::new(false);
        guard.protect(net("0.0.0.0/0"), Protected::NodeSubnet);
        assert_eq!(guard.check(net("10.2.0.0/16")), Ok(()));
    }
}
