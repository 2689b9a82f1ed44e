//! What the configuration needs of the kernel, and whether it has it.

use bgp_engine::config::{AoAlgorithm, Desired};

use super::handle::ControlError;
use crate::peer::socket;

/// Refuses what this kernel cannot do: TCP-AO (RFC 5925) where it was built without it.
///
/// # Errors
/// The first neighbor or range that needs what is not there.
pub fn check(wanted: &Desired) -> Result<(), ControlError> {
    let neighbors = wanted.neighbors.values().map(|one| (format!("neighbor {}", one.address), &one.settings));
    let ranges = wanted.dynamic.values().map(|one| (format!("dynamic-neighbors {}", one.prefix), &one.settings));
    for (who, settings) in neighbors.chain(ranges) {
        let algorithms: std::collections::BTreeSet<AoAlgorithm> =
            settings.keys().ao.iter().map(|key| key.algorithm).collect();
        for algorithm in algorithms {
            socket::probe_ao(algorithm).map_err(|error| ControlError::Invalid {
                field: format!("{who}: ao-key"),
                reason: format!(
                    "this kernel has no TCP-AO with {algorithm} ({error}), expected Linux 6.7 or newer built with \
                     CONFIG_TCP_AO: run such a kernel, or use md5-password-file in place of ao-key"
                ),
            })?;
        }
    }
    Ok(())
}
