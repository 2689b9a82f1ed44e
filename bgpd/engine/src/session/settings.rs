//! What a session needs of a neighbor's settings.

use std::net::Ipv4Addr;
use std::time::Duration;

use bgp_wire::Family;
use bgp_wire::capability::{AddPathMode, Capability};
use bgp_wire::open::{AS_TRANS, Open};

use crate::config::{Global, GracefulRestart, NeighborSettings};

/// AFI of IPv6, as the next hop of IPv4 routes (RFC 8950 §4).
const AFI_IPV6: u16 = 2;
/// AFI of IPv4.
const AFI_IPV4: u16 = 1;

/// Settings of one session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionSettings {
    /// AS number shown to the peer.
    pub local_asn: u32,
    /// BGP identifier.
    pub router_id: Ipv4Addr,
    /// AS number that the peer must have.
    pub remote_asn: u32,
    /// Hold time offered, in seconds.
    pub hold_seconds: u16,
    /// Wait after an error, doubling to a minute while errors repeat; zero for none.
    pub idle_hold: Duration,
    /// Wait between attempts to connect.
    pub connect_retry: Duration,
    /// Wait for the peer to connect.
    pub passive: bool,
    /// Refuse a peer that does not say its role (RFC 9234 §4.2).
    pub role_strict: bool,
    /// What OPEN offers.
    pub capabilities: Vec<Capability>,
    /// How long stale routes of a peer that is back are kept (RFC 4724 §4.2).
    pub stale_path: Duration,
    /// Seed of the timers' jitter.
    pub jitter_seed: u64,
}

impl SessionSettings {
    /// The session's part of a neighbor's settings.
    #[must_use]
    pub fn new(neighbor: &NeighborSettings, global: &Global, jitter_seed: u64) -> Self {
        Self {
            local_asn: neighbor.local_asn.unwrap_or(global.asn),
            router_id: global.router_id,
            remote_asn: neighbor.remote_asn,
            hold_seconds: neighbor.hold_seconds,
            idle_hold: neighbor.idle_hold,
            connect_retry: neighbor.connect_retry,
            passive: neighbor.passive,
            role_strict: neighbor.role_strict,
            capabilities: offered_capabilities(neighbor, global),
            stale_path: neighbor.graceful_restart.stale_path,
            jitter_seed,
        }
    }

    /// The OPEN to send, by a speaker in this state.
    pub(super) fn open(&self, restart: RestartState) -> Open {
        let capabilities = self.capabilities.iter().cloned().map(|capability| restart.told_in(capability));
        Open {
            my_as: u16::try_from(self.local_asn).unwrap_or(AS_TRANS),
            hold_seconds: self.hold_seconds,
            router_id: self.router_id,
            capabilities: capabilities.collect(),
        }
    }

    pub(super) fn is_external(&self) -> bool {
        self.local_asn != self.remote_asn
    }
}

/// What this speaker says of its own restart (RFC 4724 §3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RestartState {
    /// The R bit: it has restarted, and waits for its peers' routes before it announces.
    pub restarting: bool,
    /// The F bit: what it forwards, if it does, went on.
    pub forwarding_kept: bool,
}

impl Default for RestartState {
    fn default() -> Self {
        Self { restarting: false, forwarding_kept: true }
    }
}

impl RestartState {
    fn told_in(self, mut capability: Capability) -> Capability {
        match &mut capability {
            Capability::GracefulRestart(restart) => {
                restart.restarting = self.restarting;
                restart.families.iter_mut().for_each(|(_, kept)| *kept = self.forwarding_kept);
            }
            Capability::LongLivedGracefulRestart(families) => {
                families.iter_mut().for_each(|(_, kept, _)| *kept = self.forwarding_kept);
            }
            _ => {}
        }
        capability
    }
}

/// What a neighbor is offered.
#[must_use]
pub fn offered_capabilities(neighbor: &NeighborSettings, global: &Global) -> Vec<Capability> {
    let families = &neighbor.families;
    let mut offered: Vec<_> = families.iter().copied().map(Capability::Multiprotocol).collect();
    offered.push(Capability::RouteRefresh);
    offered.push(Capability::EnhancedRouteRefresh);
    offered.push(Capability::FourOctetAs(neighbor.local_asn.unwrap_or(global.asn)));
    if neighbor.extended_messages {
        offered.push(Capability::ExtendedMessage);
    }
    let mode = AddPathMode { receive: neighbor.add_path.receive, send: neighbor.add_path.send };
    if mode.receive || mode.send {
        offered.push(Capability::AddPath(families.iter().map(|family| (*family, mode)).collect()));
    }
    let ipv4: Vec<_> = families.iter().filter(|family| family.afi == AFI_IPV4).map(|f| (*f, AFI_IPV6)).collect();
    if neighbor.extended_next_hop && !ipv4.is_empty() {
        offered.push(Capability::ExtendedNextHop(ipv4));
    }
    offered.extend(neighbor.role.map(|role| Capability::Role(role.code())));
    offer_restart(neighbor, &mut offered);
    offered
}

/// RFC 4724 §3; RFC 8538 §2: the N bit; RFC 9494 §3.1. The F bits are those of a speaker whose forwarding goes on.
fn offer_restart(neighbor: &NeighborSettings, offered: &mut Vec<Capability>) {
    let GracefulRestart { enabled, restart_seconds, long_lived_seconds, .. } = &neighbor.graceful_restart;
    if !enabled {
        return;
    }
    offered.push(Capability::GracefulRestart(bgp_wire::capability::GracefulRestart {
        restarting: false,
        notification: true,
        restart_seconds: *restart_seconds,
        families: neighbor.families.iter().map(|family| (*family, true)).collect(),
    }));
    let seconds = |family: &Family| long_lived_seconds.get(family).copied().filter(|seconds| *seconds > 0);
    let long_lived: Vec<_> =
        neighbor.families.iter().filter_map(|family| Some((*family, true, seconds(family)?))).collect();
    if !long_lived.is_empty() {
        offered.push(Capability::LongLivedGracefulRestart(long_lived));
    }
}
