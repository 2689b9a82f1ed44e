//! From UPDATE bytes to the partitions, with back-pressure.

use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Instant;

use bgp_engine::intake::Received;
use bgp_engine::session::{Action, ConnectionId, Input};
use bgp_engine::stage::Fence;
use bgp_wire::Notification;
use bgp_wire::frame::{self, MessageType};
use bgp_wire::notification;
use bgp_wire::update::{Fault, FaultAction, FaultReason};
use tracing::warn;

use super::driver::{Driver, sleep_to};
use crate::runtime::fabric::RibMessage;
use crate::runtime::rib_worker;
use crate::runtime::status::Malformed;

/// Destinations of a malformed UPDATE that are logged (RFC 7606 §6); its octets, which are logged too, have all.
const DESTINATIONS: usize = 20;
/// Octets of a malformed message that are kept for people.
const MESSAGE_EXCERPT: usize = 4096;
/// Octets of a malformed attribute that are kept for people.
const ATTRIBUTE_EXCERPT: usize = 256;

impl Driver {
    /// One UPDATE of an Established session.
    pub(super) fn update(&mut self, conn: ConnectionId, body: &[u8]) {
        let Some(established) = self.established.as_mut() else { return };
        match established.intake.update(body) {
            Ok(received) => {
                let faults = established.intake.last_faults();
                if !faults.is_empty() {
                    let about = || established.intake.destinations(body, DESTINATIONS);
                    report(&self.cell.address, &mut self.cell.view().malformed, faults, body, about);
                }
                self.after_update(received);
            }
            Err(reset) => {
                report(&self.cell.address, &mut self.cell.view().malformed, &[reset.fault], body, Vec::new);
                self.input(Input::Fault { conn, notification: reset.notification, error: reset.fault.to_string() });
            }
        }
    }

    /// A message other than an UPDATE, or no message at all, that ends the session (RFC 4271 §6.1, §6.2, §6.6).
    pub(super) fn malformed(&mut self, kind: &str, notification: &Notification, octets: &[u8]) {
        let mut view = self.cell.view();
        view.malformed.session_reset += 1;
        let reason = format!("{kind}: {notification} (session reset)");
        keep(&self.cell.address, &mut view.malformed, reason, kind, &notification.data, octets, Vec::new);
    }

    /// Fences for what an UPDATE said besides routes. They go behind the routes that came before.
    fn after_update(&mut self, received: Received) {
        let peer = self.cell.index;
        if let Some(family) = received.end_of_rib {
            self.input(Input::EndOfRib { family });
            self.fences.push(Fence::EndOfRib { peer, family });
            if let Some(since) = self.established.as_mut().and_then(|up| up.first_end_of_rib(family)) {
                self.fabric.latencies.convergence_in.observe(since.elapsed());
            }
        }
        if let Some(family) = received.disable {
            // RFC 7606 §2: all routes of the family go and no more are accepted. A refresh in which nothing comes
            // does just that.
            self.fences.push(Fence::RefreshBegin { peer, family });
            self.fences.push(Fence::RefreshEnd { peer, family });
            if let Some(established) = self.established.as_mut() {
                established.intake.disable(family);
            }
        }
    }

    /// Sends what the intake has gathered to the partitions.
    pub(super) async fn deliver(&mut self) {
        let batches = self.established.as_mut().map(|established| established.intake.drain());
        let mut any = false;
        for (partition, batch) in batches.into_iter().flatten() {
            any = true;
            self.push(partition, RibMessage::Batch(batch, self.read_at)).await;
        }
        if any {
            self.fabric.latencies.intake.observe(self.read_at.elapsed());
        }
        for fence in std::mem::take(&mut self.fences) {
            self.push_all(&fence).await;
        }
    }

    /// Hands a fence to every partition.
    pub(super) async fn push_all(&mut self, fence: &Fence) {
        for partition in 0..self.fabric.partitions.len() {
            self.push(partition, RibMessage::Fence(fence.clone())).await;
        }
    }

    /// Hands a message to a partition. While the partition is full we do not read, so the hold timer stands still;
    /// KEEPALIVEs go out all the same.
    pub(super) async fn push(&mut self, partition: usize, message: RibMessage) {
        let fabric = Arc::clone(&self.fabric);
        let port = &fabric.partitions[partition];
        let left = rib_worker::take_at_once(port, message, &fabric).or_else(|message| port.try_send(message));
        let Err(message) = left else { return };
        self.input(Input::ReadPaused);
        let mut sending = pin!(port.send(message));
        loop {
            let deadline = self.session.next_deadline();
            tokio::select! {
                () = &mut sending => break,
                () = sleep_to(deadline) => self.tick_while_parked(),
            }
        }
        self.input(Input::ReadResumed);
    }

    fn tick_while_parked(&mut self) {
        let mut actions = Vec::new();
        self.session.handle(Input::Tick, Instant::now(), &mut actions);
        for action in actions {
            match action {
                Action::Send { conn, bytes } => self.send(conn, bytes),
                // All else waits until the partition has taken what came before it.
                other => self.actions.push_back(other),
            }
        }
    }
}

/// The NOTIFICATION that an action sends, if it says that the peer did something wrong.
pub(super) fn complaint(action: &Action) -> Option<Notification> {
    let Action::Send { bytes, .. } = action else { return None };
    let frame = frame::split(bytes, frame::MAX_LEN).ok().flatten()?;
    let notification = (frame.kind == MessageType::Notification).then(|| Notification::decode(frame.body))?;
    (notification.code != notification::code::CEASE).then_some(notification)
}

/// Counts, logs and keeps what was wrong with an UPDATE.
fn report(
    peer: &IpAddr,
    malformed: &mut Malformed,
    faults: &[Fault],
    body: &[u8],
    about: impl FnOnce() -> Vec<String>,
) {
    for fault in faults {
        let counter = match fault.action {
            FaultAction::SessionReset => &mut malformed.session_reset,
            FaultAction::AfiSafiDisable => &mut malformed.afi_safi_disable,
            FaultAction::TreatAsWithdraw => &mut malformed.treat_as_withdraw,
            FaultAction::AttributeDiscard => &mut malformed.attribute_discard,
        };
        *counter += 1;
    }
    // What follows a family that was disabled must not hide why it was.
    if malformed.last.is_some() && faults.iter().all(|fault| matches!(fault.reason, FaultReason::NotNegotiated(_))) {
        return;
    }
    let reason = faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
    // The strongest verdict is the one to look at.
    let Some(worst) = faults.iter().min_by_key(|fault| fault.action) else { return };
    keep(peer, malformed, reason, &worst.subject(), worst.octets(body), body, about);
}

fn keep(
    peer: &IpAddr,
    malformed: &mut Malformed,
    reason: String,
    subject: &str,
    part: &[u8],
    whole: &[u8],
    about: impl FnOnce() -> Vec<String>,
) {
    // The same peer is told of once; repetitions are counted and can be read with `show neighbors`.
    if malformed.last.as_ref() != Some(&reason) {
        // RFC 7606 §6: the destinations, and the message as a whole.
        let (prefixes, message) = (about().join(" "), hex(whole, frame::MAX_EXTENDED_LEN));
        warn!(%peer, reason, prefixes, message, "malformed message");
    }
    malformed.last = Some(reason);
    malformed.last_attribute = Some(subject.to_owned());
    malformed.last_attribute_hex = Some(hex(part, ATTRIBUTE_EXCERPT));
    malformed.last_hex = Some(hex(whole, MESSAGE_EXCERPT));
}

fn hex(octets: &[u8], most: usize) -> String {
    octets.iter().take(most).map(|octet| format!("{octet:02x}")).collect()
}
