//! What begins and ends with the Established state: the intake, the fences around the peer's routes, and what the
//! neighbor's cell shows.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Instant, SystemTime};

use bgp_engine::export::LocalAddresses;
use bgp_engine::id::{Source, SourceKind};
use bgp_engine::intake::{Intake, IntakeSettings};
use bgp_engine::session::{ConnectionId, Negotiated, State};
use bgp_engine::stage::{Fence, Import};
use bgp_wire::Family;
use bgp_wire::route_refresh::{RefreshSubtype, RouteRefresh};
use bgp_wire::update::DecodeContext;
use bytes::Bytes;
use tracing::{error, info, warn};

use super::driver::{Driver, PeerEventKind};
use super::local::addresses_beside;

/// The state of a driver that exists only while the session is Established.
pub(super) struct Established {
    pub(super) intake: Intake,
    since: Instant,
    /// Families whose End-of-RIB the peer has not sent yet.
    incomplete: Vec<Family>,
}

impl Established {
    /// The peer has sent all of a family; since when it was sending, if that is the first time.
    pub(super) fn first_end_of_rib(&mut self, family: Family) -> Option<Instant> {
        let at = self.incomplete.iter().position(|one| *one == family)?;
        self.incomplete.swap_remove(at);
        Some(self.since)
    }
}

impl Driver {
    pub(super) async fn establish(&mut self, conn: ConnectionId, negotiated: Arc<Negotiated>) {
        self.rekeyed.forget();
        let Some(connection) = self.connection(conn) else { return };
        let queue = Arc::clone(&connection.queue);
        let (local, interface) = addresses_beside(connection.local.ip());
        self.cell.view().interface = interface;
        let source = self.source(&negotiated);
        info!(
            peer = %self.cell.address,
            asn = negotiated.peer_asn,
            router_id = %negotiated.peer_router_id,
            hold_seconds = negotiated.hold_seconds,
            "session established"
        );
        let (intake, import) = match self.intake(&negotiated, local) {
            Ok(both) => both,
            Err(reason) => {
                // Policies are resolved when the configuration is applied; see there for what a person is told.
                error!(peer = %self.cell.address, reason, "policy not found, all routes are rejected");
                return;
            }
        };
        // Also a peer that has restarted is waited for, until the controller excuses it a moment later.
        let awaited = if negotiated.peer_restarted() { negotiated.families.clone() } else { negotiated.awaited() };
        let (address, asn) = (self.cell.address, negotiated.peer_asn);
        let fence = Fence::PeerUp { source, address, asn, import, awaited };
        let incomplete = negotiated.families.clone();
        self.established = Some(Box::new(Established { intake, since: Instant::now(), incomplete }));
        self.fence(&fence).await;
        self.replace_budgets();
        self.deliver().await;
        self.event(PeerEventKind::Established { negotiated, local, queue });
    }

    fn source(&self, negotiated: &Negotiated) -> Source {
        let kind = SourceKind::of_peer(negotiated.external, self.neighbor.settings.route_reflector_client);
        Source { peer: self.cell.index, router_id: negotiated.peer_router_id, kind }
    }

    /// What routes pass on their way in as configured, and whether AS_SETs are refused.
    fn import(&self, external: bool) -> Result<(Import, bool), String> {
        let settings = &self.neighbor.settings;
        let guard = self.cell.prefix_guard(self.guard.as_ref());
        let import = Import::resolve(&self.fabric.library(), &self.global, settings, external, guard);
        let import = import.map_err(|unknown| unknown.to_string())?;
        // RFC 9774 §3.
        Ok((import, settings.reject_as_sets.unwrap_or(external)))
    }

    /// Puts a changed import to work, also on the routes that are in.
    pub(super) fn replace_import(&mut self) {
        let Some((_, negotiated)) = self.session.established() else { return };
        let kind = self.source(negotiated).kind;
        let replaced = self.import(negotiated.external);
        let Some(established) = self.established.as_mut() else { return };
        match replaced {
            Ok((import, reject_as_sets)) => {
                established.intake.replace_import(import.clone(), reject_as_sets);
                if established.intake.replace_kind(kind) {
                    self.fences.push(Fence::KindReplaced { peer: self.cell.index, kind });
                }
                self.fences.push(Fence::ImportReplaced { peer: self.cell.index, import });
            }
            Err(reason) => error!(peer = %self.cell.address, reason, "policy not found, the old one stays"),
        }
    }

    fn intake(&self, negotiated: &Negotiated, local: LocalAddresses) -> Result<(Intake, Import), String> {
        let settings = &self.neighbor.settings;
        // What was refused in the last session is none of this one's.
        self.cell.refused.store(0, Ordering::Relaxed);
        let (import, reject_as_sets) = self.import(negotiated.external)?;
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
            own_asn: settings.local_asn.unwrap_or(self.global.asn),
            router_id: self.global.router_id,
            kind: self.source(negotiated).kind,
            address: self.cell.address,
            asn: negotiated.peer_asn,
            own_addresses,
            partitions: self.fabric.partitions.len(),
            role: settings.role.filter(|_| negotiated.external).map(|role| (role, negotiated.peer_asn)),
            import: import.clone(),
            decode,
        };
        Ok((Intake::new(self.cell.index, settings, Arc::clone(&self.fabric.interner)), import))
    }

    pub(super) async fn tear_down(&mut self, retained: Vec<Family>) {
        if self.established.take().is_some() {
            let fence = Fence::PeerDown { peer: self.cell.index, retained };
            self.event(PeerEventKind::Down);
            self.fence(&fence).await;
        }
    }

    pub(super) async fn long_lived(&mut self, family: Family) {
        info!(peer = %self.cell.address, %family, "restart time is over: stale routes are long-lived stale now");
        self.fence(&Fence::LongLived { peer: self.cell.index, family }).await;
    }

    pub(super) async fn end_retention(&mut self, family: Family) {
        info!(peer = %self.cell.address, %family, "stale routes go");
        self.fence(&Fence::EndRetention { peer: self.cell.index, family }).await;
    }

    pub(super) async fn route_refresh(&mut self, refresh: RouteRefresh) {
        let (peer, family) = (self.cell.index, refresh.family);
        match refresh.subtype {
            RefreshSubtype::Request => self.refresh_out(refresh),
            RefreshSubtype::Begin => self.fence(&Fence::RefreshBegin { peer, family }).await,
            RefreshSubtype::End => self.fence(&Fence::RefreshEnd { peer, family }).await,
            // RFC 7313 §5: an unknown subtype is ignored.
            RefreshSubtype::Unknown(_) => {}
        }
    }

    /// The peer wants our routes again. With enhanced route refresh they stand between BoRR and EoRR (RFC 7313 §4).
    fn refresh_out(&mut self, refresh: RouteRefresh) {
        let Some((conn, negotiated)) = self.session.established() else { return };
        let marker = |subtype| {
            let mut message = Vec::new();
            RouteRefresh { family: refresh.family, subtype }.encode(&mut message);
            message
        };
        let end = negotiated.enhanced_route_refresh.then(|| Bytes::from(marker(RefreshSubtype::End)));
        if end.is_some() {
            self.send(conn, marker(RefreshSubtype::Begin));
        }
        self.event(PeerEventKind::RefreshOut { refresh, end });
    }

    /// A session or an attempt at one ended in an error.
    pub(super) fn failed(&mut self, error: String) {
        let mut view = self.cell.view();
        if view.logged.is_news(&error) {
            warn!(peer = %self.cell.address, error, "session failed");
        }
        view.last_error = Some((error, SystemTime::now()));
    }

    /// Sends a fence to every partition, behind everything that was sent before.
    pub(super) async fn fence(&mut self, fence: &Fence) {
        self.deliver().await;
        self.push_all(fence).await;
    }

    pub(super) fn transition(&mut self, from: State, to: State) {
        let mut view = self.cell.view();
        view.state = to;
        if from == State::Established || to == State::Established {
            view.since = SystemTime::now();
        }
        if to == State::Established {
            view.established_count += 1;
            view.logged.forget();
        }
        if from == State::Established {
            view.flaps += 1;
        }
        drop(view);
        self.event(PeerEventKind::State);
    }

    /// Copies what the session knows to where the API reads it.
    pub(super) fn publish(&mut self) {
        let established = self.session.established().map(|(conn, negotiated)| (conn, Arc::clone(negotiated)));
        let conn = established.as_ref().map(|(conn, _)| *conn);
        self.cell.set_connected(!self.is_alone());
        let connection = conn.and_then(|conn| self.connection(conn));
        let ends = connection.map(|connection| (connection.local, connection.remote, Arc::clone(&connection.queue)));
        let mut view = self.cell.view();
        (view.local, view.remote, view.queue) = match ends {
            Some((local, remote, queue)) => (Some(local), Some(remote), Some(queue)),
            None => (None, None, None),
        };
        view.retained = self.session.retained().to_vec();
        view.negotiated = established.map(|(_, negotiated)| negotiated);
        view.next_retry = if view.state == State::Established { None } else { self.session.next_deadline() };
        view.notification_sent = self.session.last_sent().map(ToString::to_string);
        view.notification_received = self.session.last_received().map(ToString::to_string);
    }
}
