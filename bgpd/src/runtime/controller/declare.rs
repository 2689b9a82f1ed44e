//! Neighbors that the API adds, changes and deletes.

use std::net::IpAddr;

use bgp_engine::config::Neighbor;
use bgp_engine::config::owners::OwnerName;

use super::super::handle::ControlError;
use super::Controller;
use super::commands::tell;
use crate::config::{Declarations, Declared, Keys, declared_neighbor};
use crate::peer::PeerCommand;

/// Longest shutdown text (RFC 9003 §2).
const SHUTDOWN_TEXT_MAX: usize = 255;

impl Controller {
    pub(super) async fn add(&mut self, address: IpAddr, declared: Declared) -> Result<(), ControlError> {
        if self.desired.neighbors.contains_key(&address) {
            return Err(ControlError::AlreadyExists { what: format!("neighbor {address}") });
        }
        let neighbor = self.declared_neighbor(address, &declared.keys, None)?;
        let mut declarations = self.declarations.clone();
        declarations.added.insert(address, declared);
        self.declare(Some(neighbor), address, declarations).await
    }

    pub(super) async fn update(
        &mut self,
        address: IpAddr,
        declared: Declared,
        clear: &[String],
    ) -> Result<(), ControlError> {
        self.configured(address)?;
        if self.is_added(address) {
            self.owned(address, &declared.owner)?;
        } else if declared.keys.contains_key("peer-group") {
            let reason = format!("neighbor {address} is in the configuration file: its peer group is changed there");
            return Err(ControlError::Invalid { field: "peer-group".to_owned(), reason });
        }
        let owner = declared.owner.clone();
        self.edit(address, &owner, |keys| {
            keys.retain(|key, _| !clear.iter().any(|cleared| cleared == key || cleared == "*"));
            keys.extend(declared.keys);
        })
        .await
    }

    pub(super) async fn delete(&mut self, address: IpAddr, owner: &OwnerName) -> Result<(), ControlError> {
        if !self.declarations.added.contains_key(&address) {
            self.configured(address)?;
            let reason = format!(
                "neighbor {address} is in the configuration file: remove it there, or disable it (bgpctl neighbor disable)"
            );
            return Err(ControlError::Unavailable(reason));
        }
        self.owned(address, owner)?;
        let mut declarations = self.declarations.clone();
        declarations.added.remove(&address);
        // Where the file has it as well, the file's stays.
        let stays = self.of_file().neighbors.contains_key(&address);
        let neighbor = self.desired.neighbors.get(&address).filter(|_| stays).cloned();
        self.declare(neighbor, address, declarations).await
    }

    /// Disables or enables a neighbor, configured or dynamic.
    pub(super) async fn set_shutdown(&mut self, address: IpAddr, text: Option<String>) -> Result<(), ControlError> {
        if text.as_ref().is_some_and(|text| text.len() > SHUTDOWN_TEXT_MAX) {
            let reason = format!("the text has more than {SHUTDOWN_TEXT_MAX} octets (RFC 9003)");
            return Err(ControlError::Invalid { field: "message".to_owned(), reason });
        }
        if !self.desired.neighbors.contains_key(&address) {
            return self.set_dynamic_shutdown(address, text);
        }
        let in_file = self.of_file().neighbors.get(&address).is_some_and(|known| known.settings.shutdown.is_some());
        let enables = text.is_none();
        self.edit(address, &OwnerName::bgpctl(), |keys| match text {
            None if in_file => drop(keys.insert("shutdown".to_owned(), false.into())),
            // What its peer group says does not count for one that is enabled by hand.
            None if keys.contains_key("peer-group") => drop(keys.insert("shutdown".to_owned(), false.into())),
            None => drop(keys.remove("shutdown")),
            Some(text) if text.is_empty() => drop(keys.insert("shutdown".to_owned(), true.into())),
            Some(text) => drop(keys.insert("shutdown".to_owned(), text.into())),
        })
        .await?;
        if enables && let Ok(entry) = self.entry(address) {
            // One that stays down for another reason starts as well.
            tell(entry, PeerCommand::Start);
        }
        Ok(())
    }

    /// Begins or ends the graceful shutdown of a configured neighbor (RFC 8326).
    pub(super) async fn set_drained(&mut self, address: IpAddr, on: bool) -> Result<(), ControlError> {
        self.edit(address, &OwnerName::bgpctl(), |keys| {
            keys.insert("graceful-shutdown".to_owned(), on.into());
        })
        .await
    }

    /// Begins or ends the graceful shutdown of all neighbors.
    pub(super) async fn set_all_drained(&mut self, on: bool) -> Result<(), ControlError> {
        let mut wanted = self.desired.clone();
        wanted.global.graceful_shutdown = on;
        self.carry_out(wanted).await?;
        self.declarations.drained = Some(on).filter(|on| *on != self.of_file().global.graceful_shutdown);
        self.save().await;
        Ok(())
    }

    /// Changes what is declared of a configured neighbor.
    async fn edit(
        &mut self,
        address: IpAddr,
        owner: &OwnerName,
        change: impl FnOnce(&mut Keys),
    ) -> Result<(), ControlError> {
        let mut declarations = self.declarations.clone();
        let known = self.of_file().neighbors.get(&address);
        let of = if known.is_some() { &mut declarations.changed } else { &mut declarations.added };
        let declared = of.entry(address).or_insert_with(|| Declared { owner: owner.clone(), keys: Keys::new() });
        change(&mut declared.keys);
        if known.is_some() {
            declared.owner = owner.clone();
        }
        let neighbor = self.declared_neighbor(address, &declared.keys, known)?;
        if known.is_some_and(|known| *known == neighbor) {
            // It is again what the file says.
            declarations.changed.remove(&address);
        }
        self.declare(Some(neighbor), address, declarations).await
    }

    /// Carries out what was declared of one neighbor, and writes it down.
    async fn declare(
        &mut self,
        neighbor: Option<Neighbor>,
        address: IpAddr,
        declarations: Declarations,
    ) -> Result<(), ControlError> {
        let mut wanted = self.desired.clone();
        match neighbor {
            Some(neighbor) => drop(wanted.neighbors.insert(address, neighbor)),
            None => drop(wanted.neighbors.remove(&address)),
        }
        self.carry_out(wanted).await?;
        self.declarations = declarations;
        self.note_source(&address);
        self.save().await;
        Ok(())
    }

    fn declared_neighbor(
        &self,
        address: IpAddr,
        keys: &Keys,
        known: Option<&Neighbor>,
    ) -> Result<Neighbor, ControlError> {
        declared_neighbor(address, keys, known, self.of_file(), &self.desired.policies).map_err(invalid)
    }

    fn of_file(&self) -> &bgp_engine::config::Desired {
        &self.base.document.desired
    }

    /// Whether the neighbor in force with an address is one that the API has added.
    fn is_added(&self, address: IpAddr) -> bool {
        self.declarations.added.contains_key(&address) && !self.of_file().neighbors.contains_key(&address)
    }

    /// Refuses whoever is not the owner of a neighbor that was added.
    fn owned(&self, address: IpAddr, owner: &OwnerName) -> Result<(), ControlError> {
        match self.declarations.added.get(&address) {
            Some(declared) if declared.owner != *owner => {
                let of = &declared.owner;
                let reason = format!("neighbor {address} belongs to owner {of}, not to {owner}: name that owner");
                Err(ControlError::Unavailable(reason))
            }
            _ => Ok(()),
        }
    }

    fn configured(&mut self, address: IpAddr) -> Result<(), ControlError> {
        if self.desired.neighbors.contains_key(&address) {
            return Ok(());
        }
        let entry = self.entry(address)?;
        let range = entry.dynamic.map(|range| range.to_string()).unwrap_or_default();
        Err(ControlError::Invalid {
            field: "address".to_owned(),
            reason: format!(
                "neighbor {address} came from the dynamic range {range}: change the range, or add the neighbor"
            ),
        })
    }

    /// Lets the API know where a neighbor comes from.
    fn note_source(&self, address: &IpAddr) {
        let Some(entry) = self.neighbors.get(address).filter(|entry| entry.dynamic.is_none()) else { return };
        let source = self.declarations.source(address, self.of_file());
        let changed = std::mem::replace(&mut entry.cell.view().source, source.clone()) != source;
        if changed {
            self.directory.announce(&entry.cell);
        }
    }

    pub(super) fn note_sources(&self) {
        self.neighbors.keys().for_each(|address| self.note_source(address));
    }
}

fn invalid(reason: String) -> ControlError {
    ControlError::Invalid { field: "neighbor".to_owned(), reason }
}
