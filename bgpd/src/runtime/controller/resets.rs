//! Which sessions end when a plan is carried out, and why: said in advance, by the rules that decide then.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::IpAddr;

use bgp_engine::config::{Change, Desired, Impact, Neighbor, NeighborSettings, Step};

use super::neighbors::dynamic_neighbor;
use super::{Controller, Entry};

/// Sessions and what ends them.
pub(super) type Resets = BTreeMap<IpAddr, String>;

impl Controller {
    /// The Established sessions that end when `steps` are taken.
    pub(super) fn resets(&self, steps: &[Step]) -> Resets {
        let established = self.neighbors.iter().filter(|(_, entry)| entry.is_established());
        let reason = |entry: &Entry| steps.iter().find_map(|step| of_step(entry, step));
        established.filter_map(|(address, entry)| Some((*address, reason(entry)?))).collect()
    }
}

/// Whether a step ends a session, and why.
fn of_step(entry: &Entry, step: &Step) -> Option<String> {
    let (address, range) = (entry.cell.address, entry.dynamic);
    match step {
        Step::SetGlobal { changed, .. } => keys(changed, Impact::SessionReset),
        Step::RemoveNeighbor(of) if *of == address => Some("removed".to_owned()),
        Step::RemoveDynamic(of) if Some(*of) == range => Some(format!("range {of} removed")),
        Step::AddNeighbor(of) if of.address == address => Some("configured, no dynamic neighbor any more".to_owned()),
        Step::UpdateNeighbor { neighbor, changed, .. } if neighbor.address == address && range.is_none() => {
            of_changes(entry, &neighbor.settings, changed)
        }
        Step::UpdateDynamic { range: of, changed, .. } if Some(of.prefix) == range => {
            of_changes(entry, &of.settings, changed)
        }
        _ => None,
    }
}

fn of_changes(entry: &Entry, wanted: &NeighborSettings, changed: &[Change]) -> Option<String> {
    ending(entry, wanted, changed).or_else(|| {
        let asked = keys(changed, Impact::RefreshIn).filter(|_| !can_refresh(entry))?;
        Some(format!("{asked}, and no route refresh (RFC 2918)"))
    })
}

/// What of the changes to the settings that are `wanted` ends a session, whatever the peer can do.
pub(super) fn ending(entry: &Entry, wanted: &NeighborSettings, changed: &[Change]) -> Option<String> {
    let at_once = keys(changed, Impact::SessionReset);
    let of_role = || keys(changed, Impact::RoleRequired).filter(|_| !says_role(entry));
    let of_address = || keys(changed, Impact::OwnAddress).filter(|_| !has_address(entry, wanted.local_address));
    at_once
        .or_else(|| Some(format!("{}, and the peer has not said its role", of_role()?)))
        .or_else(|| Some(format!("{}, and the session has another one", of_address()?)))
}

/// What a neighbor that runs becomes; none if it goes, also where one that is configured takes the place of a dynamic one.
pub(super) fn in_wanted<'a>(entry: &Entry, wanted: &'a Desired) -> Option<Cow<'a, Neighbor>> {
    let address = entry.cell.address;
    match (wanted.neighbors.get(&address), entry.dynamic) {
        (configured, None) => configured.map(Cow::Borrowed),
        (Some(_), Some(_)) => None,
        (None, Some(range)) => Some(Cow::Owned(dynamic_neighbor(address, wanted.dynamic.get(&range)?))),
    }
}

/// The keys whose change has an impact.
fn keys(changed: &[Change], impact: Impact) -> Option<String> {
    let keys: Vec<&str> = changed.iter().filter(|change| change.impact == impact).map(|change| change.key).collect();
    (!keys.is_empty()).then(|| keys.join(", "))
}

/// Whether the peer of an Established session has said its role (RFC 9234 §4.1).
fn says_role(entry: &Entry) -> bool {
    entry.cell.view().negotiated.as_ref().is_some_and(|negotiated| negotiated.says_role())
}

/// Whether an Established session has the wanted address here.
fn has_address(entry: &Entry, wanted: Option<IpAddr>) -> bool {
    entry.cell.view().local.map(|local| local.ip().to_canonical()) == wanted
}

/// Whether a peer can be asked for its routes again.
pub(super) fn can_refresh(entry: &Entry) -> bool {
    entry.cell.view().negotiated.as_ref().is_none_or(|negotiated| negotiated.route_refresh)
}
