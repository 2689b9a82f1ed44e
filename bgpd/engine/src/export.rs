//! What a peer is told: reflection, next hops, well-known communities, export keys.
//!
//! An [`ExportKey`] says everything about a session that its outgoing UPDATEs depend on; sessions
//! with equal keys form an update group. An [`ExportSpec`] is the key with its policy resolved. A
//! partition asks [`ExportSpec::evaluate`] *whether* a route goes out, a group asks
//! [`ExportSpec::outgoing`] *how* it looks there. Not sending a route back to the peer it came from
//! is the group's part, because it differs between members.

mod attributes;
mod key;
mod next_hop;
mod reflect;
mod regroup;

use std::fmt;

use bgp_wire::Family;
use bgp_wire::attribute::code;

use crate::attr::AttrRef;
use crate::config::Role;
use crate::id::Source;
use crate::policy::{Policy, Rules, Verdict};

pub use key::{ExportKey, LocalAddresses, SessionFacts};
pub use regroup::{Memberships, Regrouping, regroup};

/// Why a route is not told to a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Withheld {
    /// From a non-client to non-clients (RFC 4456 §6).
    NotReflected,
    /// Between clients, which are fully meshed here (RFC 4456 §6).
    ClientToClient,
    /// NO_ADVERTISE (RFC 1997).
    NoAdvertise,
    /// NO_EXPORT to an eBGP peer (RFC 1997).
    NoExport,
    /// NO_EXPORT_SUBCONFED to an eBGP peer (RFC 1997).
    NoExportSubconfed,
    /// Long-lived stale, to an eBGP peer that does not know what that is (RFC 9494 §4.3).
    LongLivedStale,
    /// For customers only, to a neighbor that is none (RFC 9234 §5).
    OnlyToCustomer,
    /// This speaker would be the next hop, and has no address of the family.
    NoNextHop,
    /// Its next hop is of a family that the routes of these sessions cannot have (RFC 4760 §3, RFC 8950 §4).
    NextHopFamily,
    /// The export policy rejects it.
    Policy,
    /// An eBGP session without an export policy announces nothing (RFC 8212).
    NoExportPolicy,
}

impl fmt::Display for Withheld {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotReflected => "from a non-client, not reflected to non-clients",
            Self::ClientToClient => "from a client, client-to-client reflection is off",
            Self::NoAdvertise => "community no-advertise",
            Self::NoExport => "community no-export",
            Self::NoExportSubconfed => "community no-export-subconfed",
            Self::LongLivedStale => "long-lived stale, and the peer has no long-lived graceful restart",
            Self::OnlyToCustomer => "OTC says that it is for customers only",
            Self::NoNextHop => "the session has no own address of the family for the next hop",
            Self::NextHopFamily => {
                "the next hop is of another family, which the session cannot carry (extended-next-hop)"
            }
            Self::Policy => "rejected by export policy",
            Self::NoExportPolicy => "eBGP without an export policy",
        })
    }
}

/// What partitions and groups need to know to export to a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportSpec {
    key: ExportKey,
    policy: Policy,
    view: View,
    /// Everything says that it is about to go (RFC 8326).
    shutting_down: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum View {
    /// Peers: all rules apply.
    Session,
    /// Watchers of the Loc-RIB: every best path, and those as good as it, as they are.
    LocRib,
}

impl ExportSpec {
    /// The spec of a group of sessions.
    #[must_use]
    pub fn new(key: ExportKey, policy: Policy) -> Self {
        Self { key, policy, view: View::Session, shutting_down: false }
    }

    /// The spec of a pseudo-group that is told every best path of `family`, and those as good as it, unchanged.
    #[must_use]
    pub fn loc_rib(family: Family) -> Self {
        Self { key: ExportKey::loc_rib(family), policy: Policy::AcceptAll, view: View::LocRib, shutting_down: false }
    }

    /// The spec of those members of the group that are being shut down gracefully: the same routes, with
    /// GRACEFUL_SHUTDOWN (RFC 8326 §4).
    #[must_use]
    pub fn shutting_down(&self) -> Self {
        Self { shutting_down: true, ..self.clone() }
    }

    /// The key.
    #[must_use]
    pub fn key(&self) -> &ExportKey {
        &self.key
    }

    /// Whether a route that goes to both groups looks the same in both.
    #[must_use]
    pub fn looks_like(&self, other: &Self) -> bool {
        self.view == other.view && self.shutting_down == other.shutting_down && self.key.looks_like(&other.key)
    }

    /// Whether this is a pseudo-group of watchers.
    #[must_use]
    pub fn is_loc_rib(&self) -> bool {
        self.view == View::LocRib
    }

    /// Whether every usable path of a destination is told, not only the best (RFC 7911).
    #[must_use]
    pub fn add_path(&self) -> bool {
        self.key.add_path
    }

    /// Whether a route goes to this group, and with which attributes before they are edited for
    /// the session by [`ExportSpec::outgoing`].
    ///
    /// `judge` asks the export policy, where there is one to be asked.
    ///
    /// # Errors
    /// The first rule that keeps the route back.
    pub fn evaluate(
        &self,
        attrs: &AttrRef,
        source: &Source,
        judge: impl FnOnce(&Rules) -> Verdict,
    ) -> Result<AttrRef, Withheld> {
        if self.view == View::LocRib {
            return Ok(attrs.clone());
        }
        self.reflects(source.kind)?;
        self.in_scope(attrs.digest.scope)?;
        if self.key.role.is_some_and(Role::is_below_or_beside) && attrs.block().get(code::ONLY_TO_CUSTOMER).is_some() {
            return Err(Withheld::OnlyToCustomer);
        }
        let attrs = match &self.policy {
            Policy::AcceptAll => attrs.clone(),
            Policy::RejectAll => return Err(Withheld::Policy),
            Policy::Missing => return Err(Withheld::NoExportPolicy),
            Policy::Rules(rules) => match judge(rules) {
                Verdict::Accept(attrs) => attrs,
                Verdict::Reject => return Err(Withheld::Policy),
                Verdict::RejectMissing => return Err(Withheld::NoExportPolicy),
            },
        };
        self.has_next_hop(&attrs, source)?;
        Ok(attrs)
    }
}
