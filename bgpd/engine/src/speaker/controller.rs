//! What the controller does: neighbors as configured, update groups for sessions that are up, routes originated here.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use bgp_wire::Notification;
use bgp_wire::nlri::{Ipv4Unicast, Ipv6Unicast};
use bgp_wire::notification::CeaseSubcode;
use bgp_wire::route_refresh::RouteRefresh;
use bgp_wire::update::PathKey;
use bytes::Bytes;
use ipnet::IpNet;

use super::groups::GroupControl;
use super::partitions::{RibControl, RibMessage};
use super::peer::{Arrival, Peer};
use super::{Fabric, Socket, Speaker};
use crate::attr::AttrRef;
use crate::config::{self, Desired, Global, Impact, Neighbor, Originate, Step};
use crate::export::{ExportKey, LocalAddresses, SessionFacts};
use crate::group::PASSAGES;
use crate::id::{GroupIndex, PeerIndex};
use crate::intake;
use crate::policy::Library;
use crate::rib::decision;
use crate::session::Negotiated;
use crate::stage::{AnyBatch, Batch, Member, Routed, partition_of};

/// From a driver to the controller.
pub(super) enum PeerEvent {
    /// The session is up: join the update groups.
    Established { negotiated: Arc<Negotiated>, local: LocalAddresses, socket: Socket },
    /// The session is down: leave them.
    Down,
    /// The peer asked for our routes (RFC 2918); `end` is what it is to be told behind them (RFC 7313 §4).
    RefreshOut { refresh: RouteRefresh, end: Option<Bytes> },
    /// A connection's queue has drained after it had been full.
    Drained,
    /// It is a member of its new group like all others.
    Settled { group: GroupIndex },
    /// The driver has ended.
    Ended,
}

pub(super) struct Registered {
    pub(super) key: ExportKey,
    members: usize,
}

/// The state of the controller.
#[derive(Default)]
pub(super) struct Controller {
    pub(super) events: VecDeque<(PeerIndex, PeerEvent)>,
    /// Batches of originated routes that wait for room.
    outbox: VecDeque<(usize, RibMessage)>,
    /// Update groups. Indices are never used twice.
    pub(super) groups: BTreeMap<GroupIndex, Registered>,
    next_group: u32,
    /// Members that are on their way to a group, and from which.
    pub(super) passages: BTreeMap<(PeerIndex, GroupIndex), GroupIndex>,
    next_passage: u32,
}

impl Controller {
    pub(super) fn is_ready(&self, fabric: &Fabric) -> bool {
        match self.outbox.front() {
            Some((partition, _)) => fabric.has_room(*partition),
            None => !self.events.is_empty(),
        }
    }

    /// Makes a session a member of the group of its key, which may be new.
    fn join(
        &mut self,
        key: ExportKey,
        member: PeerIndex,
        socket: Socket,
        fabric: &mut Fabric,
        library: &Library,
    ) -> Option<GroupIndex> {
        let index = self.enter(key, fabric, library)?;
        fabric.tell_group(index, GroupControl::Join { member, queue: socket, hold_end: false });
        Some(index)
    }

    /// Counts one more member of the group of a key, which may be new.
    fn enter(&mut self, key: ExportKey, fabric: &mut Fabric, library: &Library) -> Option<GroupIndex> {
        let found = self.groups.iter_mut().find(|(_, registered)| registered.key == key);
        match found {
            Some((index, registered)) => {
                registered.members += 1;
                Some(*index)
            }
            None => self.add(key, fabric, library),
        }
    }

    /// Has a member go to the group of another key; its session does not notice.
    pub(super) fn pass(
        &mut self,
        (peer, shut_down): (PeerIndex, bool),
        from: GroupIndex,
        key: ExportKey,
        fabric: &mut Fabric,
        library: &Library,
    ) -> Option<GroupIndex> {
        let to = self.enter(key, fabric, library)?;
        let member = Member { peer, incarnation: PASSAGES + self.next_passage };
        self.next_passage = (self.next_passage + 1) % PASSAGES;
        fabric.tell_group(to, GroupControl::Arrive { member, shut_down });
        fabric.tell_group(from, GroupControl::Depart { member, to });
        self.passages.insert((peer, to), from);
        self.count_out(from, fabric);
        Some(to)
    }

    fn add(&mut self, key: ExportKey, fabric: &mut Fabric, library: &Library) -> Option<GroupIndex> {
        // Policies that do not exist announce nothing.
        let spec = key.clone().resolve(library).ok()?;
        let index = GroupIndex(self.next_group);
        self.next_group += 1;
        fabric.tell_group(index, GroupControl::Add { spec: spec.clone() });
        fabric.control_all(&RibControl::AddGroup { group: index, spec });
        self.groups.insert(index, Registered { key, members: 1 });
        Some(index)
    }

    /// Takes a member out of its groups; a group without members ends.
    fn leave(&mut self, member: PeerIndex, memberships: Vec<GroupIndex>, fabric: &mut Fabric) {
        for index in memberships {
            fabric.tell_group(index, GroupControl::Leave { member });
            if let Some(from) = self.passages.remove(&(member, index)) {
                fabric.tell_group(from, GroupControl::Leave { member });
            }
            self.count_out(index, fabric);
        }
    }

    fn count_out(&mut self, index: GroupIndex, fabric: &mut Fabric) {
        let Some(group) = self.groups.get_mut(&index) else { return };
        group.members -= 1;
        if group.members == 0 {
            fabric.tell_group(index, GroupControl::Remove);
            self.groups.remove(&index);
        }
    }
}

impl Speaker {
    pub(super) fn start(&mut self, now: Instant) {
        let desired = self.desired.clone();
        desired.originate.values().for_each(|route| self.originate(route));
        desired.neighbors.into_values().for_each(|neighbor| self.add_neighbor(neighbor, now));
    }

    /// What this speaker is to be.
    #[must_use]
    pub fn desired(&self) -> &Desired {
        &self.desired
    }

    /// Makes `wanted` what runs. Dynamic neighbors and peer groups are only stored.
    pub fn apply(&mut self, wanted: &Desired, now: Instant) {
        let steps = config::plan(&self.desired, wanted);
        for step in &steps {
            self.take(step, now);
            config::apply(&mut self.desired, step);
        }
        self.regroup(&steps);
    }

    /// Ends a neighbor's session and starts it again.
    pub fn reset(&mut self, address: IpAddr, now: Instant) {
        self.tell(address, Arrival::Reset(Notification::cease(CeaseSubcode::AdministrativeReset)), now);
    }

    /// Takes leave of all peers as a speaker that restarts: those with graceful restart keep its routes.
    pub fn leave(&mut self, now: Instant) {
        let notification = Notification::cease(CeaseSubcode::AdministrativeShutdown);
        let peers: Vec<_> = self.peers.keys().copied().collect();
        peers.into_iter().for_each(|peer| self.arrive(peer, Arrival::Leave(notification.clone()), now));
    }

    /// Asks a neighbor for its routes again (RFC 2918).
    pub fn refresh_in(&mut self, address: IpAddr, now: Instant) {
        self.tell(address, Arrival::RefreshIn, now);
    }

    fn take(&mut self, step: &Step, now: Instant) {
        match step {
            Step::SetGlobal { global, impact, .. } => self.set_global(global, *impact, now),
            Step::SetPolicies { policies, changed } => self.set_policies(policies, changed, now),
            Step::AddNeighbor(neighbor) => self.add_neighbor(neighbor.clone(), now),
            Step::RemoveNeighbor(address) => self.remove_neighbor(*address, now),
            Step::UpdateNeighbor { neighbor, .. } => self.update_neighbor(neighbor, step, now),
            Step::Originate(route) => self.originate(route),
            Step::WithdrawOriginated(prefix) => self.originated(*prefix, None),
            Step::SetPeerGroup { .. }
            | Step::RemovePeerGroup(_)
            | Step::AddDynamic(_)
            | Step::RemoveDynamic(_)
            | Step::UpdateDynamic { .. }
            | Step::SetCaches(_)
            | Step::SetGuard { .. } => {}
        }
    }

    fn set_global(&mut self, global: &Global, impact: Impact, now: Instant) {
        let options = decision::Options { always_compare_med: global.always_compare_med };
        self.fabric.control_all(&RibControl::Reconfigure { router_id: global.router_id, options });
        self.desired.global = global.clone();
        let neighbors: Vec<_> = self.desired.neighbors.values().cloned().collect();
        for neighbor in neighbors {
            let address = neighbor.address;
            let shuts_down = neighbor.settings.is_shutting_down(global);
            self.tell(address, Arrival::Settings(Box::new(neighbor), global.clone()), now);
            if impact == Impact::SessionReset {
                self.tell(address, Arrival::Reset(Notification::cease(CeaseSubcode::OtherConfigurationChange)), now);
            } else if let Some(&index) = self.neighbors.get(&address) {
                self.shut_down(index, shuts_down);
            }
        }
    }

    /// Tells a neighbor from now on that this speaker is about to go, or that it stays (RFC 8326).
    fn shut_down(&mut self, index: PeerIndex, on: bool) {
        for (_, group) in self.memberships(index) {
            self.fabric.tell_group(group, GroupControl::ShutDown { member: index, on });
        }
    }

    fn add_neighbor(&mut self, neighbor: Neighbor, now: Instant) {
        let index = self.free_indices.pop().unwrap_or_else(|| {
            self.next_index += 1;
            PeerIndex(self.next_index - 1)
        });
        let starts = neighbor.settings.shutdown.is_none();
        let address = neighbor.address;
        let seed = self.next_seed();
        self.peers.insert(index, Peer::new(index, neighbor, self.desired.global.clone(), seed));
        self.neighbors.insert(address, index);
        if starts {
            self.arrive(index, Arrival::Start, now);
        }
    }

    fn remove_neighbor(&mut self, address: IpAddr, now: Instant) {
        let Some(index) = self.neighbors.remove(&address) else { return };
        self.leave_groups(index);
        self.arrive(index, Arrival::Remove(Notification::cease(CeaseSubcode::PeerDeconfigured)), now);
    }

    fn update_neighbor(&mut self, neighbor: &Neighbor, step: &Step, now: Instant) {
        let address = neighbor.address;
        let was = self.desired.neighbors.get(&address).and_then(|old| old.settings.shutdown.clone());
        let global = self.desired.global.clone();
        // Addresses are for whoever opens the connections to know.
        let ends = step.has(Impact::SessionReset)
            || step.has(Impact::OwnAddress)
            || step.has(Impact::RoleRequired) && !self.says_role(address);
        self.tell(address, Arrival::Settings(Box::new(neighbor.clone()), global), now);
        match (was, &neighbor.settings.shutdown) {
            (None, Some(text)) => self.tell(address, Arrival::Stop(Notification::admin_shutdown(text)), now),
            (Some(_), None) => self.tell(address, Arrival::Start, now),
            _ if ends => {
                self.tell(address, Arrival::Reset(Notification::cease(CeaseSubcode::OtherConfigurationChange)), now);
            }
            _ if step.has(Impact::ExportAgain) => {
                if let Some(&index) = self.neighbors.get(&address) {
                    self.shut_down(index, neighbor.settings.is_shutting_down(&self.desired.global));
                }
            }
            _ if step.has(Impact::RefreshIn) => self.tell(address, Arrival::RefreshIn, now),
            _ => {}
        }
    }

    /// Whether the peer of an Established session has said its role (RFC 9234 §4.1).
    fn says_role(&self, address: IpAddr) -> bool {
        let peer = self.neighbors.get(&address).and_then(|index| self.peers.get(index));
        peer.and_then(|peer| peer.session.established()).is_some_and(|(_, negotiated)| negotiated.says_role())
    }

    pub(super) fn tell(&mut self, address: IpAddr, command: Arrival, now: Instant) {
        if let Some(&index) = self.neighbors.get(&address) {
            self.arrive(index, command, now);
        }
    }

    /// Hands on one batch, or takes one event in.
    pub(super) fn control(&mut self) {
        if let Some((partition, _)) = self.controller.outbox.front() {
            if self.fabric.has_room(*partition)
                && let Some((partition, message)) = self.controller.outbox.pop_front()
            {
                self.fabric.partitions[partition].data.push_back(message);
            }
            return;
        }
        let Some((index, event)) = self.controller.events.pop_front() else { return };
        match event {
            PeerEvent::Ended => self.ended(index),
            // A neighbor that was removed only has its end left to tell.
            _ if !self.neighbors.values().any(|current| *current == index) => {}
            PeerEvent::Established { negotiated, local, socket } => self.join(index, &negotiated, local, socket),
            PeerEvent::Down => self.leave_groups(index),
            PeerEvent::RefreshOut { refresh, end } => {
                let memberships = self.memberships(index);
                for (_, group) in memberships.into_iter().filter(|(family, _)| *family == refresh.family) {
                    self.fabric.tell_group(group, GroupControl::Refresh { member: index, end: end.clone() });
                }
            }
            PeerEvent::Settled { group } => {
                self.controller.passages.remove(&(index, group));
                // It may have been told to go on meanwhile.
                let wanted = self.wanted_key(index, group);
                let registered = self.controller.groups.get(&group);
                if wanted.is_some_and(|key| registered.is_some_and(|registered| registered.key != key)) {
                    self.regroup(&[]);
                }
            }
            PeerEvent::Drained => {
                for (_, group) in self.memberships(index) {
                    self.fabric.tell_group(group, GroupControl::Drained { member: index });
                }
            }
        }
    }

    /// Takes note of members that have come from other groups.
    pub(super) fn note_settled(&mut self) {
        let settled = self.fabric.settled.drain(..);
        self.controller.events.extend(settled.map(|(group, peer)| (peer, PeerEvent::Settled { group })));
    }

    fn memberships(&self, index: PeerIndex) -> Vec<(bgp_wire::Family, GroupIndex)> {
        self.peers.get(&index).map(|peer| peer.memberships.clone()).unwrap_or_default()
    }

    /// Puts an Established neighbor into the group of each of its families.
    fn join(&mut self, index: PeerIndex, negotiated: &Negotiated, local: LocalAddresses, socket: Socket) {
        let Some(peer) = self.peers.get_mut(&index) else { return };
        let mut joined = Vec::new();
        for &family in &negotiated.families {
            let facts = SessionFacts {
                external: negotiated.external,
                four_octet_as: negotiated.four_octet_as,
                extended_messages: negotiated.extended_messages,
                add_path: negotiated.add_path_send.contains(&family),
                extended_next_hop: negotiated.extended_next_hop.contains(&family),
                long_lived: negotiated.received_long_lived().iter().any(|(of, ..)| *of == family),
                local,
            };
            let neighbor = self.desired.neighbors.get(&peer.address).unwrap_or(&peer.neighbor);
            let key = ExportKey::new(&self.desired.global, &neighbor.settings, family, &facts);
            let group = self.controller.join(key, index, socket, &mut self.fabric, &self.library);
            joined.extend(group.map(|group| (family, group)));
        }
        let shuts_down = peer.neighbor.settings.is_shutting_down(&self.desired.global);
        peer.memberships = joined;
        if shuts_down {
            self.shut_down(index, true);
        }
    }

    fn leave_groups(&mut self, index: PeerIndex) {
        let Some(peer) = self.peers.get_mut(&index) else { return };
        let memberships = std::mem::take(&mut peer.memberships);
        let groups = memberships.into_iter().map(|(_, group)| group).collect();
        self.controller.leave(index, groups, &mut self.fabric);
    }

    /// A driver has ended: its index is free again, because its PeerDown fence stands in every partition's queue.
    fn ended(&mut self, index: PeerIndex) {
        self.peers.remove(&index);
        self.free_indices.push(index);
    }

    fn originate(&mut self, route: &Originate) {
        let attrs = intake::originated(&self.interner, route);
        self.originated(route.prefix, Some(&attrs));
    }

    fn originated(&mut self, prefix: IpNet, attrs: Option<&AttrRef>) {
        let partitions = self.fabric.partitions.len();
        let batch = one::<Ipv4Unicast>(prefix, attrs, partitions);
        let batch = batch.or_else(|| one::<Ipv6Unicast>(prefix, attrs, partitions));
        self.controller.outbox.extend(batch.map(|(partition, batch)| (partition, RibMessage::Batch(batch))));
    }
}

/// A batch of one route of this speaker, if the prefix is of the family.
fn one<N: Routed>(prefix: IpNet, attrs: Option<&AttrRef>, partitions: usize) -> Option<(usize, AnyBatch)> {
    let key = N::from_prefix(prefix)?;
    let mut batch = Batch::<N>::new(PeerIndex::LOCAL);
    batch.push(attrs, None, PathKey { key, path_id: 0 });
    Some((partition_of::<N>(&key, partitions), N::batch(batch)))
}
