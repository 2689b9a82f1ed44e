//! Graceful shutdown (RFC 8326): neighbors are told that everything from here is about to go, and what comes from them
//! counts as about to go.

use std::net::IpAddr;
use std::sync::Arc;

use super::super::handle::ControlError;
use super::Controller;
use super::commands::tell;
use crate::peer::PeerCommand;

impl Controller {
    /// Begins or ends the graceful shutdown of a neighbor, or of all.
    pub(super) async fn drain(&mut self, address: Option<IpAddr>, on: bool) -> Result<(), ControlError> {
        let Some(address) = address else { return self.set_all_drained(on).await };
        if self.desired.neighbors.contains_key(&address) {
            return self.set_drained(address, on).await;
        }
        // A dynamic neighbor has no place in the configuration: it is drained as long as it is known.
        let global = self.desired.global.clone();
        let entry = self.entry(address)?;
        Arc::make_mut(&mut entry.neighbor).settings.graceful_shutdown = on;
        tell(entry, PeerCommand::Settings(Arc::clone(&entry.neighbor), global));
        self.tell_shutdown(address);
        Ok(())
    }

    /// Tells a neighbor everything again, with GRACEFUL_SHUTDOWN or without. Its own routes are judged again where they
    /// are, with its new settings.
    pub(super) fn tell_shutdown(&mut self, address: IpAddr) {
        let Some(entry) = self.neighbors.get(&address) else { return };
        let on = entry.neighbor.settings.is_shutting_down(&self.desired.global);
        self.groups.shut_down(entry.cell.index, &entry.cell.memberships(), on);
    }
}
