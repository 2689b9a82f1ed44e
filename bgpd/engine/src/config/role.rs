//! BGP roles and what they say of routes (RFC 9234).

use std::fmt;
use std::str::FromStr;

/// What this speaker is to the neighbor (RFC 9234 §3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// It sells transit to the neighbor.
    Provider,
    /// It is a route server of the neighbor.
    RouteServer,
    /// The neighbor is its route server.
    RouteServerClient,
    /// It buys transit from the neighbor.
    Customer,
    /// Neither pays the other.
    Peer,
}

/// Names and numbers (RFC 9234 §4.1).
const ROLES: [(&str, u8, Role); 5] = [
    ("provider", 0, Role::Provider),
    ("rs", 1, Role::RouteServer),
    ("rs-client", 2, Role::RouteServerClient),
    ("customer", 3, Role::Customer),
    ("peer", 4, Role::Peer),
];

/// The text is not the name of a role.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not a role, expected provider, customer, peer, rs or rs-client")]
pub struct UnknownRole(String);

impl Role {
    /// The number in the capability.
    #[must_use]
    pub fn code(self) -> u8 {
        ROLES.iter().find(|(_, _, role)| *role == self).map_or(0, |(_, code, _)| *code)
    }

    /// The role with a number.
    #[must_use]
    pub fn of_code(code: u8) -> Option<Self> {
        ROLES.iter().find(|(_, number, _)| *number == code).map(|(_, _, role)| *role)
    }

    /// What the neighbor must be then (RFC 9234 §4.2, table 2).
    #[must_use]
    pub fn counterpart(self) -> Self {
        match self {
            Self::Provider => Self::Customer,
            Self::Customer => Self::Provider,
            Self::RouteServer => Self::RouteServerClient,
            Self::RouteServerClient => Self::RouteServer,
            Self::Peer => Self::Peer,
        }
    }

    /// What comes from the neighbor must go to customers only from here on (RFC 9234 §5): so it is marked when it comes
    /// in, and what is marked is not sent to the neighbor.
    #[must_use]
    pub fn is_below_or_beside(self) -> bool {
        matches!(self, Self::Customer | Self::Peer | Self::RouteServerClient)
    }

    /// What goes to the neighbor must go to customers only from there on: it is marked when it goes out.
    #[must_use]
    pub fn is_above_or_beside(self) -> bool {
        matches!(self, Self::Provider | Self::Peer | Self::RouteServer)
    }

    /// Whether a route that comes marked with `otc` from a neighbor in AS `from` has leaked (RFC 9234 §5).
    #[must_use]
    pub fn is_leak(self, otc: u32, from: u32) -> bool {
        match self {
            Self::Provider | Self::RouteServer => true,
            Self::Peer => otc != from,
            Self::Customer | Self::RouteServerClient => false,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(ROLES.iter().find(|(_, _, role)| role == self).map_or("unknown", |(name, _, _)| name))
    }
}

impl FromStr for Role {
    type Err = UnknownRole;

    fn from_str(text: &str) -> Result<Self, UnknownRole> {
        let found = ROLES.iter().find(|(name, _, _)| *name == text);
        found.map(|(_, _, role)| *role).ok_or_else(|| UnknownRole(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_for_customers_is_a_leak_from_below_and_from_a_peer_that_did_not_mark_it() {
        // RFC 9234 §5, ingress 1 and 2.
        for (role, leak, by_other) in [
            (Role::Provider, true, true),
            (Role::RouteServer, true, true),
            (Role::Peer, false, true),
            (Role::Customer, false, false),
            (Role::RouteServerClient, false, false),
        ] {
            assert_eq!((role.is_leak(65_001, 65_001), role.is_leak(65_002, 65_001)), (leak, by_other), "{role}");
        }
    }

    #[test]
    fn names_and_numbers_lead_to_the_same_role() {
        for (name, code, role) in ROLES {
            assert_eq!((name.parse(), Role::of_code(code), role.code()), (Ok(role), Some(role), code));
            assert_eq!((role.to_string().as_str(), role.counterpart().counterpart()), (name, role));
        }
        assert!("upstream".parse::<Role>().is_err() && Role::of_code(5).is_none());
    }
}
