//! What the process may do beyond what its user may: as little as it can work with.
//!
//! Capabilities belong to threads, so they are dropped before there is more than one. One stays where a listener needs
//! it: CAP_NET_BIND_SERVICE, because a reload may move a listener and bind again. CAP_CHOWN stays where the API's socket
//! is to have another owner or group. Nothing that bgpd might start can get more (no_new_privs).

use bgp_engine::config::Desired;
use caps::{CapSet, Capability, CapsHashSet};
use tracing::{info, warn};

use crate::config::ApiSettings;

/// Ports below this one need CAP_NET_BIND_SERVICE.
const UNPRIVILEGED: u16 = 1024;

/// Drops what the configuration does not need. What cannot be dropped is said, and no reason not to work.
pub fn drop_unneeded(desired: &Desired, api: &ApiSettings) {
    if let Err(error) = nix::sys::prctl::set_no_new_privs() {
        warn!(%error, "no_new_privs not set");
    }
    let wanted = needed(desired, api);
    match reduce(&wanted) {
        Ok(kept) => info!(?kept, "capabilities dropped but these"),
        Err(error) => warn!(%error, "capabilities not dropped"),
    }
}

fn needed(desired: &Desired, api: &ApiSettings) -> CapsHashSet {
    let mut needed = CapsHashSet::new();
    if desired.global.listen.iter().any(|listen| listen.port() < UNPRIVILEGED) {
        needed.insert(Capability::CAP_NET_BIND_SERVICE);
    }
    if api.socket_owner.is_some() || api.socket_group.is_some() {
        needed.insert(Capability::CAP_CHOWN);
    }
    needed
}

/// Leaves of what the process has only what is wanted; gives back what that is.
fn reduce(wanted: &CapsHashSet) -> Result<CapsHashSet, caps::errors::CapsError> {
    let kept: CapsHashSet = caps::read(None, CapSet::Permitted)?.intersection(wanted).copied().collect();
    // The bounding set can be reduced only as long as CAP_SETPCAP is there: not for an ordinary user, who gains nothing
    // by it either.
    if caps::has_cap(None, CapSet::Effective, Capability::CAP_SETPCAP)? {
        for capability in caps::all() {
            if !kept.contains(&capability) && caps::has_cap(None, CapSet::Bounding, capability)? {
                caps::drop(None, CapSet::Bounding, capability)?;
            }
        }
    }
    caps::clear(None, CapSet::Ambient)?;
    caps::set(None, CapSet::Effective, &kept)?;
    caps::set(None, CapSet::Permitted, &kept)?;
    caps::set(None, CapSet::Inheritable, &CapsHashSet::new())?;
    Ok(kept)
}
