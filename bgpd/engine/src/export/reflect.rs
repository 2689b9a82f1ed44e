//! Who is told of whose routes: RFC 4456 §6 and the well-known communities of RFC 1997.

use crate::attr::Scope;
use crate::id::SourceKind;

use super::{ExportSpec, Withheld};

impl ExportSpec {
    /// RFC 4456 §6. A speaker without clients follows the same table: what it learned over iBGP
    /// goes to no iBGP peer (RFC 4271 §9.2).
    ///
    /// | from \ to | external | client | non-client |
    /// |---|---|---|---|
    /// | local, external | yes | yes | yes |
    /// | client | yes | if clients are not meshed | yes |
    /// | non-client | yes | yes | no |
    pub(super) fn reflects(&self, from: SourceKind) -> Result<(), Withheld> {
        let internal = self.key.external_as.is_none();
        match from {
            SourceKind::NonClient if internal && !self.key.client => Err(Withheld::NotReflected),
            SourceKind::Client if internal && self.key.client && !self.key.client_to_client => {
                Err(Withheld::ClientToClient)
            }
            _ => Ok(()),
        }
    }

    /// Well-known communities (RFC 1997). Without confederations NO_EXPORT and NO_EXPORT_SUBCONFED
    /// mean the same.
    pub(super) fn in_scope(&self, scope: Scope) -> Result<(), Withheld> {
        let external = self.key.external_as.is_some();
        if scope.no_advertise {
            Err(Withheld::NoAdvertise)
        } else if external && scope.no_export {
            Err(Withheld::NoExport)
        } else if external && scope.no_export_subconfed {
            Err(Withheld::NoExportSubconfed)
        } else if external && scope.llgr_stale && !self.key.long_lived {
            Err(Withheld::LongLivedStale) // RFC 9494 §4.3
        } else {
            Ok(())
        }
    }
}
