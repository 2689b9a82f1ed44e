//! What begins and ends with the Established state: the intake and the fences around the peer's routes.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use bgp_wire::Family;
use bgp_wire::route_refresh::{RefreshSubtype, RouteRefresh};
use bgp_wire::update::DecodeContext;
use bytes::Bytes;

use super::Speaker;
use super::controller::PeerEvent;
use super::peer::Peer;
use crate::attr::Interner;
use crate::export::LocalAddresses;
use crate::id::{PeerIndex, Source, SourceKind};
use crate::intake::{Intake, IntakeSettings, Received};
use crate::policy::Library;
use crate::session::{ConnectionId, Input, Negotiated};
use crate::stage::{Fence, Import};

/// The state of a driver that exists only while the session is Established.
pub(super) struct Established {
    pub(super) intake: Intake,
    /// Families of which the peer has said that it has sent all it has (RFC 4724 §2).
    pub(super) end_of_rib: Vec<Family>,
}

impl Peer {
    /// One UPDATE of an Established session.
    pub(super) fn update(&mut self, conn: ConnectionId, body: &[u8], now: Instant) {
        let Some(established) = self.established.as_mut() else { return };
        match established.intake.update(body) {
            Ok(received) => self.after_update(received, now),
            Err(reset) => {
                let (notification, error) = (reset.notification, reset.fault.to_string());
                self.input(Input::Fault { conn, notification, error }, now);
            }
        }
    }

    /// Fences for what an UPDATE said besides routes. They go behind the routes that came before.
    fn after_update(&mut self, received: Received, now: Instant) {
        let peer = self.index;
        if let Some(family) = received.end_of_rib {
            self.input(Input::EndOfRib { family }, now);
        }
        let Some(established) = self.established.as_mut() else { return };
        if let Some(family) = received.end_of_rib {
            established.end_of_rib.push(family);
            self.fences.push(Fence::EndOfRib { peer, family });
        }
        if let Some(family) = received.disable {
            // RFC 7606 §2: all routes of the family go and no more are accepted. A refresh in which nothing comes
            // does just that.
            self.fences.push(Fence::RefreshBegin { peer, family });
            self.fences.push(Fence::RefreshEnd { peer, family });
            established.intake.disable(family);
        }
    }

    fn source(&self, negotiated: &Negotiated) -> Source {
        let kind = SourceKind::of_peer(negotiated.external, self.neighbor.settings.route_reflector_client);
        Source { peer: self.index, router_id: negotiated.peer_router_id, kind }
    }

    /// What routes pass on their way in as configured, and whether AS_SETs are refused (RFC 9774 §3).
    fn import(&self, external: bool, library: &Library) -> Option<(Import, bool)> {
        let settings = &self.neighbor.settings;
        let import = Import::resolve(library, &self.global, settings, external, None).ok()?;
        Some((import, settings.reject_as_sets.unwrap_or(external)))
    }

    /// Puts a changed import to work, also on the routes that are in.
    pub(super) fn replace_import(&mut self, library: &Library, partitions: usize) {
        let Some((_, negotiated)) = self.session.established() else { return };
        let (kind, replaced) = (self.source(negotiated).kind, self.import(negotiated.external, library));
        if let (Some((import, reject_as_sets)), Some(established)) = (replaced, self.established.as_mut()) {
            established.intake.replace_import(import.clone(), reject_as_sets);
            let is_new = established.intake.replace_kind(kind);
            self.deliver(partitions);
            if is_new {
                self.push_all(&Fence::KindReplaced { peer: self.index, kind }, partitions);
            }
            self.push_all(&Fence::ImportReplaced { peer: self.index, import }, partitions);
        }
    }

    fn intake(
        &self,
        negotiated: &Negotiated,
        local: LocalAddresses,
        partitions: usize,
        interner: &Arc<Interner>,
        library: &Library,
    ) -> Option<(Intake, Import)> {
        let (import, reject_as_sets) = self.import(negotiated.external, library)?;
        let decode = DecodeContext {
            external: negotiated.external,
            four_octet_as: negotiated.four_octet_as,
            families: negotiated.families.clone(),
            add_path: negotiated.add_path_receive.clone(),
            extended_next_hop: negotiated.extended_next_hop.clone(),
            reject_as_sets,
        };
        let own_addresses = local.v4.map(IpAddr::V4).into_iter().chain(local.v6.map(IpAddr::V6)).collect();
        let settings = IntakeSettings {
            own_asn: self.neighbor.settings.local_asn.unwrap_or(self.global.asn),
            router_id: self.global.router_id,
            kind: self.source(negotiated).kind,
            address: self.address,
            asn: negotiated.peer_asn,
            own_addresses,
            partitions,
            role: self.neighbor.settings.role.filter(|_| negotiated.external).map(|role| (role, negotiated.peer_asn)),
            import: import.clone(),
            decode,
        };
        Some((Intake::new(self.index, settings, Arc::clone(interner)), import))
    }
}

impl Speaker {
    pub(super) fn establish(&mut self, index: PeerIndex, conn: ConnectionId, negotiated: Arc<Negotiated>) {
        let partitions = self.fabric.partitions.len();
        let Some(peer) = self.peers.get_mut(&index) else { return };
        let Some(connection) = peer.connection(conn) else { return };
        let (socket, local) = (connection.socket, connection.local);
        // Without its policy a session stays without routes.
        let intake = peer.intake(&negotiated, local, partitions, &self.interner, &self.library);
        let Some((intake, import)) = intake else { return };
        let (source, address, awaited) = (peer.source(&negotiated), peer.address, negotiated.awaited());
        let asn = negotiated.peer_asn;
        let fence = Fence::PeerUp { source, address, asn, import, awaited };
        peer.fences.clear();
        peer.established = Some(Established { intake, end_of_rib: Vec::new() });
        peer.push_all(&fence, partitions);
        peer.event(PeerEvent::Established { negotiated, local, socket });
    }

    /// Hands a fence to all partitions, behind what came before.
    pub(super) fn fence(&mut self, index: PeerIndex, fence: &Fence) {
        let partitions = self.fabric.partitions.len();
        if let Some(peer) = self.peers.get_mut(&index) {
            peer.deliver(partitions);
            peer.push_all(fence, partitions);
        }
    }

    pub(super) fn tear_down(&mut self, index: PeerIndex, retained: Vec<Family>) {
        let partitions = self.fabric.partitions.len();
        let Some(peer) = self.peers.get_mut(&index) else { return };
        if peer.established.take().is_some() {
            peer.fences.clear();
            peer.event(PeerEvent::Down);
            #[cfg(feature = "sabotage")]
            if self.fabric.sabotage == Some(super::Sabotage::KeepLostRoutes) {
                return;
            }
            peer.push_all(&Fence::PeerDown { peer: index, retained }, partitions);
        }
    }

    pub(super) fn route_refresh(&mut self, index: PeerIndex, refresh: RouteRefresh) {
        let partitions = self.fabric.partitions.len();
        let Some(peer) = self.peers.get_mut(&index) else { return };
        let family = refresh.family;
        let fence = match refresh.subtype {
            RefreshSubtype::Request => return self.refresh_out(index, refresh),
            RefreshSubtype::Begin => Fence::RefreshBegin { peer: index, family },
            RefreshSubtype::End => Fence::RefreshEnd { peer: index, family },
            // RFC 7313 §5: an unknown subtype is ignored.
            RefreshSubtype::Unknown(_) => return,
        };
        peer.deliver(partitions);
        peer.push_all(&fence, partitions);
    }

    /// The peer wants our routes again. With enhanced route refresh they stand between BoRR and EoRR (RFC 7313 §4).
    fn refresh_out(&mut self, index: PeerIndex, refresh: RouteRefresh) {
        let Some(peer) = self.peers.get_mut(&index) else { return };
        let Some((conn, negotiated)) = peer.session.established() else { return };
        let marker = |subtype| {
            let mut message = Vec::new();
            RouteRefresh { family: refresh.family, subtype }.encode(&mut message);
            message
        };
        let end = negotiated.enhanced_route_refresh.then(|| Bytes::from(marker(RefreshSubtype::End)));
        let begin = end.is_some().then(|| marker(RefreshSubtype::Begin));
        peer.event(PeerEvent::RefreshOut { refresh, end });
        if let Some(begin) = begin {
            self.send(index, conn, begin);
        }
    }
}
