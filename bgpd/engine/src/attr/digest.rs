//! What decision and export read of a set, so that neither parses attributes.

use std::net::Ipv4Addr;

use bgp_wire::attribute::{AttributeBlock, Community, Origin, as_path, code};

/// What the well-known communities say (RFC 1997, RFC 8326, RFC 9494): most of it, how far a route may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Scope {
    /// NO_EXPORT: not to eBGP peers.
    pub no_export: bool,
    /// NO_ADVERTISE: to nobody.
    pub no_advertise: bool,
    /// NO_EXPORT_SUBCONFED: not to eBGP peers, inside a confederation neither.
    pub no_export_subconfed: bool,
    /// LLGR_STALE: least preferred, and only to those who know what that means (RFC 9494 §3.2).
    pub llgr_stale: bool,
    /// NO_LLGR: not to be kept as long-lived stale (RFC 9494 §3.3).
    pub no_llgr: bool,
    /// GRACEFUL_SHUTDOWN: about to go (RFC 8326).
    pub graceful_shutdown: bool,
}

/// What belongs to a route inside this speaker only. Three octets without alignment: there is one for every set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Local {
    weight: [u8; 2],
    export: u8,
}

impl Local {
    /// Weight, set by import policy: compared before LOCAL_PREF, the highest wins.
    #[must_use]
    pub fn weight(self) -> u16 {
        u16::from_be_bytes(self.weight)
    }

    /// Sets the weight.
    pub fn set_weight(&mut self, weight: u16) {
        self.weight = weight.to_be_bytes();
    }

    /// Export policy set the next hop: no other rule replaces it.
    #[must_use]
    pub fn next_hop_set(self) -> bool {
        self.export & NEXT_HOP_SET != 0
    }

    /// Export policy set MULTI_EXIT_DISC: it goes to eBGP peers as well.
    #[must_use]
    pub fn med_set(self) -> bool {
        self.export & MED_SET != 0
    }

    /// Notes that export policy set the next hop.
    pub fn note_next_hop(&mut self) {
        self.export |= NEXT_HOP_SET;
    }

    /// Notes that export policy set MULTI_EXIT_DISC.
    pub fn note_med(&mut self) {
        self.export |= MED_SET;
    }
}

const NEXT_HOP_SET: u8 = 1;
const MED_SET: u8 = 2;

/// The values of an attribute set that routing depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Digest {
    /// LOCAL_PREF, where there is one.
    pub local_pref: Option<u32>,
    /// MULTI_EXIT_DISC, where there is one.
    pub med: Option<u32>,
    /// The AS the path was received from: the first of the first AS_SEQUENCE.
    pub neighbor_as: Option<u32>,
    /// ORIGINATOR_ID (RFC 4456 §8), where there is one.
    pub originator_id: Option<Ipv4Addr>,
    /// Length of AS_PATH as RFC 4271 §9.1.2.2(a) counts it: a set is 1.
    pub as_path_len: u32,
    /// Number of cluster identifiers in CLUSTER_LIST.
    pub cluster_list_len: u16,
    /// ORIGIN as its code: 0 IGP, 1 EGP, 2 incomplete. Lower wins.
    pub origin: u8,
    /// Well-known communities.
    pub scope: Scope,
}

impl Digest {
    /// Reads the digest of canonical attributes.
    #[must_use]
    pub fn of(block: AttributeBlock<'_>) -> Self {
        let mut digest = Self::default();
        for attribute in block.iter() {
            digest.read(attribute.code, attribute.value);
        }
        digest
    }

    fn read(&mut self, code: u8, value: &[u8]) {
        match code {
            code::ORIGIN => self.origin = value.first().copied().unwrap_or(2),
            code::AS_PATH => {
                self.as_path_len = as_path::length(value);
                self.neighbor_as = as_path::neighbor_as(value);
            }
            code::MULTI_EXIT_DISC => self.med = number(value),
            code::LOCAL_PREF => self.local_pref = number(value),
            code::COMMUNITIES => self.scope = Scope::of(value),
            code::ORIGINATOR_ID => self.originator_id = number(value).map(Ipv4Addr::from),
            code::CLUSTER_LIST => {
                self.cluster_list_len = u16::try_from(value.len() / 4).unwrap_or(u16::MAX);
            }
            _ => {}
        }
    }
}

impl Default for Digest {
    /// The digest of no attributes at all.
    fn default() -> Self {
        Self {
            local_pref: None,
            med: None,
            neighbor_as: None,
            originator_id: None,
            as_path_len: 0,
            cluster_list_len: 0,
            origin: Origin::Incomplete as u8,
            scope: Scope::default(),
        }
    }
}

impl Scope {
    fn of(communities: &[u8]) -> Self {
        let mut scope = Self::default();
        for community in communities.chunks_exact(4).filter_map(number).map(Community) {
            scope.no_export |= community == Community::NO_EXPORT;
            scope.no_advertise |= community == Community::NO_ADVERTISE;
            scope.no_export_subconfed |= community == Community::NO_EXPORT_SUBCONFED;
            scope.llgr_stale |= community == Community::LLGR_STALE;
            scope.no_llgr |= community == Community::NO_LLGR;
            scope.graceful_shutdown |= community == Community::GRACEFUL_SHUTDOWN;
        }
        scope
    }
}

fn number(value: &[u8]) -> Option<u32> {
    value.first_chunk().copied().map(u32::from_be_bytes)
}
