//! What both sides of a session can do: computed here and nowhere else, from the two OPENs.

use std::net::Ipv4Addr;
use std::time::Duration;

use bgp_wire::Family;
use bgp_wire::capability::{Capability, GracefulRestart};
use bgp_wire::notification::{Notification, OpenSubcode};
use bgp_wire::open::Open;

use super::SessionSettings;
use crate::config::Role;

/// AFI of IPv6, as the next hop of IPv4 routes (RFC 8950 §4).
const AFI_IPV6: u16 = 2;

/// The outcome of the exchange of OPENs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Negotiated {
    /// eBGP: the peer's AS is another than ours.
    pub external: bool,
    /// The peer's AS number.
    pub peer_asn: u32,
    /// The peer's BGP identifier.
    pub peer_router_id: Ipv4Addr,
    /// Hold time in seconds: the lesser of both offers, 0 for none (RFC 4271 §4.2).
    pub hold_seconds: u16,
    /// Time between KEEPALIVEs: a third of the hold time (RFC 4271 §4.4); zero for none.
    pub keepalive: Duration,
    /// Families that both have.
    pub families: Vec<Family>,
    /// AS numbers have four octets (RFC 6793).
    pub four_octet_as: bool,
    /// Messages may be longer than 4096 octets (RFC 8654).
    pub extended_messages: bool,
    /// ROUTE-REFRESH can be sent (RFC 2918).
    pub route_refresh: bool,
    /// With beginning and end (RFC 7313).
    pub enhanced_route_refresh: bool,
    /// Families in which the peer sends several paths (RFC 7911).
    pub add_path_receive: Vec<Family>,
    /// Families in which we send several paths.
    pub add_path_send: Vec<Family>,
    /// Families of IPv4 that may have an IPv6 next hop (RFC 8950).
    pub extended_next_hop: Vec<Family>,
    /// What the peer says of graceful restart (RFC 4724).
    pub graceful_restart: Option<GracefulRestart>,
    /// The OPEN that we sent.
    pub sent: Open,
    /// The OPEN that the peer sent.
    pub received: Open,
}

impl Negotiated {
    /// Whether we offered graceful restart.
    pub(super) fn sent_graceful_restart(&self) -> bool {
        self.sent.capabilities.iter().any(|capability| matches!(capability, Capability::GracefulRestart(_)))
    }

    /// The peer says what it is to us (RFC 9234 §4.1).
    #[must_use]
    pub fn says_role(&self) -> bool {
        roles(&self.received.capabilities).next().is_some()
    }

    /// Both sides keep routes also after a NOTIFICATION (RFC 8538 §2, §4).
    #[must_use]
    pub fn notifies_gracefully(&self) -> bool {
        let says = |open: &Open| {
            let mut offers = open.capabilities.iter();
            offers.any(|c| matches!(c, Capability::GracefulRestart(restart) if restart.notification))
        };
        says(&self.sent) && says(&self.received)
    }

    /// Both sides have graceful restart (RFC 4724 §3): the peer keeps our routes in these families when we restart.
    #[must_use]
    pub fn kept_by_peer(&self) -> Vec<Family> {
        if self.sent_graceful_restart() && self.graceful_restart.is_some() { self.families.clone() } else { Vec::new() }
    }

    /// The peer has restarted and selects routes when it has ours (R bit, RFC 4724 §4.1).
    #[must_use]
    pub fn peer_restarted(&self) -> bool {
        self.sent_graceful_restart() && self.graceful_restart.as_ref().is_some_and(|restart| restart.restarting)
    }

    /// Families in which the peer's End-of-RIB is worth waiting for (RFC 4724 §4.1): not those of a peer that restarts
    /// itself and waits for ours, nor of one that does not say that it sends it.
    #[must_use]
    pub fn awaited(&self) -> Vec<Family> {
        match &self.graceful_restart {
            Some(restart) if !restart.restarting => self.families.clone(),
            _ => Vec::new(),
        }
    }

    /// What the peer says of long-lived graceful restart (RFC 9494 §3.1).
    #[must_use]
    pub fn received_long_lived(&self) -> &[(Family, bool, u32)] {
        long_lived(&self.received)
    }

    pub(super) fn sent_long_lived(&self) -> &[(Family, bool, u32)] {
        long_lived(&self.sent)
    }
}

/// RFC 9494 §3.1: the capability counts only beside that of graceful restart.
fn long_lived(open: &Open) -> &[(Family, bool, u32)] {
    let has = |is: fn(&Capability) -> bool| open.capabilities.iter().any(is);
    let found = open.capabilities.iter().find_map(|capability| match capability {
        Capability::LongLivedGracefulRestart(families) => Some(families.as_slice()),
        _ => None,
    });
    found.filter(|_| has(|capability| matches!(capability, Capability::GracefulRestart(_)))).unwrap_or_default()
}

/// An OPEN that this session cannot go on with.
pub(super) struct Refused {
    pub(super) notification: Notification,
    /// What is wrong, in words.
    pub(super) error: String,
}

impl Negotiated {
    /// RFC 4271 §6.2 as far as it depends on the configuration; then what both can do.
    pub(super) fn new(settings: &SessionSettings, sent: Open, received: Open) -> Result<Self, Refused> {
        check(settings, &received)?;
        let families: Vec<_> = {
            let theirs = families(&received);
            families(&sent).into_iter().filter(|family| theirs.contains(family)).collect()
        };
        if families.is_empty() {
            return Err(no_common_family(&sent, &received));
        }
        let both = |capability: &Capability| {
            sent.capabilities.contains(capability) && received.capabilities.contains(capability)
        };
        let four_octets = |open: &Open| open.capabilities.iter().any(|c| matches!(c, Capability::FourOctetAs(_)));
        let hold_seconds = sent.hold_seconds.min(received.hold_seconds);
        Ok(Self {
            external: settings.is_external(),
            peer_asn: received.asn(),
            peer_router_id: received.router_id,
            hold_seconds,
            keepalive: Duration::from_secs(hold_seconds.into()) / 3,
            four_octet_as: four_octets(&sent) && four_octets(&received),
            extended_messages: both(&Capability::ExtendedMessage),
            route_refresh: both(&Capability::RouteRefresh),
            enhanced_route_refresh: both(&Capability::EnhancedRouteRefresh),
            add_path_receive: add_path(&families, &received, &sent),
            add_path_send: add_path(&families, &sent, &received),
            extended_next_hop: extended_next_hop(&families, &sent, &received),
            graceful_restart: received.capabilities.iter().find_map(|capability| match capability {
                Capability::GracefulRestart(restart) => Some(restart.clone()),
                _ => None,
            }),
            families,
            sent,
            received,
        })
    }
}

fn check(settings: &SessionSettings, received: &Open) -> Result<(), Refused> {
    let asn = received.asn();
    if asn != settings.remote_asn {
        return Err(Refused {
            notification: Notification::open(OpenSubcode::BadPeerAs, &[]),
            error: format!("peer says AS {asn}, configured is AS {}", settings.remote_asn),
        });
    }
    // RFC 6286 §2.2: within an AS identifiers must differ.
    if !settings.is_external() && received.router_id == settings.router_id {
        return Err(Refused {
            notification: Notification::open(OpenSubcode::BadBgpIdentifier, &[]),
            error: format!("peer has our own router ID {}", settings.router_id),
        });
    }
    check_role(settings, received)
}

/// RFC 9234 §4.2: the roles that both say must be a pair; several different ones are none.
fn check_role(settings: &SessionSettings, received: &Open) -> Result<(), Refused> {
    let Some(own) = roles(&settings.capabilities).next().and_then(Role::of_code) else { return Ok(()) };
    let mut theirs = roles(&received.capabilities);
    let expected = own.counterpart();
    let error = match theirs.next() {
        None if settings.role_strict => format!("peer does not say its role, expected {expected} (role-strict)"),
        None => return Ok(()),
        Some(first) if theirs.any(|other| other != first) => "peer says several roles".to_owned(),
        Some(first) if first == expected.code() => return Ok(()),
        Some(first) => {
            let name = Role::of_code(first).map_or_else(|| first.to_string(), |role| role.to_string());
            format!("peer says role {name}, but we are {own}: expected {expected}")
        }
    };
    Err(Refused { notification: Notification::open(OpenSubcode::RoleMismatch, &[]), error })
}

fn roles(capabilities: &[Capability]) -> impl Iterator<Item = u8> {
    capabilities.iter().filter_map(|capability| match capability {
        Capability::Role(code) => Some(*code),
        _ => None,
    })
}

/// Families of an OPEN; without a capability that says so it is IPv4 unicast (RFC 4760 §8).
fn families(open: &Open) -> Vec<Family> {
    let offered = open.capabilities.iter().filter_map(|capability| match capability {
        Capability::Multiprotocol(family) => Some(*family),
        _ => None,
    });
    let offered: Vec<_> = offered.collect();
    if offered.is_empty() { vec![Family::IPV4_UNICAST] } else { offered }
}

/// RFC 5492 §5: the data lists the capabilities that were missed.
fn no_common_family(sent: &Open, received: &Open) -> Refused {
    let mut missed = Vec::new();
    for family in families(sent) {
        Capability::Multiprotocol(family).encode(&mut missed);
    }
    let names = |open: &Open| families(open).iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    Refused {
        notification: Notification::open(OpenSubcode::UnsupportedCapability, &missed),
        error: format!("no address family in common: we offer {}, peer offers {}", names(sent), names(received)),
    }
}

/// Families in which `from` can send several paths and `to` can receive them (RFC 7911 §4).
fn add_path(families: &[Family], from: &Open, to: &Open) -> Vec<Family> {
    let can = |open: &Open, family: Family, what: fn(bool, bool) -> bool| {
        open.capabilities.iter().any(|capability| match capability {
            Capability::AddPath(entries) => {
                entries.iter().any(|(of, mode)| *of == family && what(mode.send, mode.receive))
            }
            _ => false,
        })
    };
    let usable = |family: &&Family| can(from, **family, |send, _| send) && can(to, **family, |_, receive| receive);
    families.iter().filter(usable).copied().collect()
}

fn extended_next_hop(families: &[Family], sent: &Open, received: &Open) -> Vec<Family> {
    let can = |open: &Open, family: Family| {
        open.capabilities.iter().any(|capability| match capability {
            Capability::ExtendedNextHop(entries) => entries.contains(&(family, AFI_IPV6)),
            _ => false,
        })
    };
    families.iter().filter(|family| can(sent, **family) && can(received, **family)).copied().collect()
}
