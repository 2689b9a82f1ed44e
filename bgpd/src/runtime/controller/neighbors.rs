//! Neighbors come and go: configured ones, and those that connect from a dynamic range.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bgp_engine::config::{DynamicNeighbors, Keys, Neighbor};
use bgp_wire::Notification;
use bgp_wire::notification::CeaseSubcode;
use ipnet::IpNet;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};
use tracing::{debug, info, warn};

use super::super::handle::ControlError;
use super::commands::tell;
use super::{Controller, Entry, Listening};
use crate::config::OnTerminate;
use crate::peer::admission::Admitted;
use crate::peer::listener::INCOMING_QUEUE;
use crate::peer::socket;
use crate::peer::{Driver, NeighborCell, PeerCommand, PeerEventKind, PeerSetup, SessionView};

/// Sessions get this long to send their NOTIFICATION when the daemon stops.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);

impl Controller {
    /// Starts a driver for a neighbor; `dynamic` is the range that let it in.
    pub(super) fn add_entry(&mut self, neighbor: Neighbor, dynamic: Option<IpNet>) -> Result<(), ControlError> {
        let address = neighbor.address;
        if dynamic.is_none() {
            self.set_keys(IpNet::from(address), &Keys::default(), &neighbor.settings.keys())
                .map_err(|reason| ControlError::Invalid { field: "keys".to_owned(), reason })?;
        }
        let global = self.desired.global.clone();
        let guard = self.desired.guard.session(&neighbor, global.asn);
        let index = self.take_index();
        let local_asn = neighbor.settings.local_asn.unwrap_or(global.asn);
        let neighbor = Arc::new(neighbor);
        let view = SessionView::new(Arc::clone(&neighbor), &global);
        let cell = Arc::new(NeighborCell::new(index, address, local_asn, dynamic, view));
        let (commands, command_receiver) = mpsc::unbounded_channel();
        let (door, incoming) = mpsc::channel(INCOMING_QUEUE);
        let setup = PeerSetup {
            cell: Arc::clone(&cell),
            neighbor: Arc::clone(&neighbor),
            guard: guard.clone(),
            global,
            fabric: Arc::clone(&self.fabric),
            events: self.events.clone(),
            commands: command_receiver,
            incoming,
        };
        tokio::spawn(Box::new(Driver::new(setup)).run());
        self.running += 1;
        self.doors.open(address, door);
        self.directory.insert(Arc::clone(&cell));
        if neighbor.settings.shutdown.is_none() {
            // The driver was made just now, so its receiver is there.
            let _ = commands.send(Box::new(PeerCommand::Start));
        }
        self.neighbors.insert(address, Entry { cell, neighbor, guard, commands, dynamic });
        Ok(())
    }

    /// Ends a neighbor's session and forgets it.
    pub(super) fn remove_entry(&mut self, address: IpAddr, notification: Notification) {
        let Some(entry) = self.neighbors.remove(&address) else { return };
        self.groups.leave(entry.cell.index, &entry.cell.replace_memberships(Vec::new()));
        if entry.dynamic.is_none()
            && let Err(reason) = self.set_keys(IpNet::from(address), &entry.neighbor.settings.keys(), &Keys::default())
        {
            debug!(peer = %address, reason, "keys not removed");
        }
        self.forget(address);
        tell(&entry, PeerCommand::Remove(notification));
    }

    /// A connection from an address without a neighbor: welcome if a dynamic range covers it.
    pub(super) fn stranger(&mut self, stream: Admitted, remote: SocketAddr) {
        let address = remote.ip();
        if !self.neighbors.contains_key(&address) {
            let Some(range) = self.desired.range_of(address).cloned() else {
                info!(peer = %address, "connection refused: no neighbor and no dynamic range has this address");
                return;
            };
            if !self.has_room(&range) {
                self.refused_range += 1;
                warn!(peer = %address, range = %range.prefix, limit = range.limit, "connection refused: limit reached");
                return;
            }
            if let Err(error) = self.add_entry(dynamic_neighbor(address, &range), Some(range.prefix)) {
                warn!(peer = %address, %error, "connection refused");
                return;
            }
        }
        self.doors.hand_over(stream, address);
    }

    /// Whether a range takes one more neighbor; one that only lingers after its session makes room.
    fn has_room(&mut self, range: &DynamicNeighbors) -> bool {
        let members = self.neighbors.values().filter(|entry| entry.dynamic == Some(range.prefix));
        if members.clone().count() < range.limit {
            return true;
        }
        let idle = members.filter(|entry| !entry.cell.is_connected());
        let Some(address) = idle.map(|entry| entry.cell.address).next() else { return false };
        self.remove_entry(address, Notification::cease(CeaseSubcode::PeerDeconfigured));
        true
    }

    pub(super) fn remove_range(&mut self, prefix: IpNet) {
        let old = self.desired.dynamic.get(&prefix).map(|range| range.settings.keys()).unwrap_or_default();
        self.set_range_keys(prefix, &old, &Keys::default());
        let members: Vec<IpAddr> =
            self.neighbors.values().filter(|e| e.dynamic == Some(prefix)).map(|e| e.cell.address).collect();
        for address in members {
            self.remove_entry(address, Notification::cease(CeaseSubcode::PeerDeconfigured));
        }
    }

    pub(super) fn set_range_keys(&self, prefix: IpNet, old: &Keys, new: &Keys) {
        if let Err(reason) = self.set_keys(prefix, old, new) {
            warn!(range = %prefix, reason, "keys not set");
        }
    }

    /// Puts keys for peers in `prefix` in the place of others on the listening sockets of its family.
    pub(super) fn set_keys(&self, prefix: IpNet, old: &Keys, new: &Keys) -> Result<(), String> {
        let same_family = |(address, _): &(&SocketAddr, &Listening)| address.is_ipv4() == prefix.addr().is_ipv4();
        for (_, listening) in self.listeners.iter().filter(same_family) {
            match socket::replace_keys(&listening.socket, prefix, old, new) {
                Err(error) if !new.is_empty() => return Err(format!("the kernel refuses the keys: {error}")),
                _ => {}
            }
        }
        Ok(())
    }

    /// Ends all sessions and waits until their NOTIFICATIONs are out.
    pub(super) async fn shut_down(&mut self, how: OnTerminate) {
        let deadline = Instant::now() + SHUTDOWN_TIMEOUT;
        let how = self.deferral.recorder.ending(how);
        // What the ends of the sessions change is not to be remembered.
        self.deferral.recorder.finish(how);
        match how {
            OnTerminate::Stop => {
                let addresses: Vec<IpAddr> = self.neighbors.keys().copied().collect();
                for address in addresses {
                    self.remove_entry(address, Notification::admin_shutdown("bgpd is stopping"));
                }
            }
            OnTerminate::Restart => {
                for entry in self.neighbors.values() {
                    tell(entry, PeerCommand::Leave(Notification::admin_shutdown("bgpd is restarting")));
                }
            }
        }
        while self.running > 0 {
            match timeout_at(deadline, self.event_receiver.recv()).await {
                Ok(Some(event)) if matches!(event.kind, PeerEventKind::Ended) => self.running -= 1,
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => break,
            }
        }
    }

    /// The neighbor with an address, or the error that says there is none.
    pub(super) fn entry(&mut self, address: IpAddr) -> Result<&mut Entry, ControlError> {
        let what = format!("neighbor {address}");
        self.neighbors.get_mut(&address).ok_or(ControlError::NotFound { what })
    }
}

pub(super) fn dynamic_neighbor(address: IpAddr, range: &DynamicNeighbors) -> Neighbor {
    let mut settings = range.settings.clone();
    settings.passive = true;
    Neighbor { address, port: 179, peer_group: Some(range.peer_group.clone()), description: None, settings }
}
