//! The decision process (RFC 4271 §9.1.2.2, RFC 4456 §9, RFC 5004).
//!
//! Not an order on paths: with MED compared only within a neighbor AS, preference is not
//! transitive. Each rule narrows the *set* of candidates, so the outcome does not depend on the
//! order in which they are given.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use crate::attr::Digest;
use crate::id::{PeerIndex, Source, SourceKind};

/// LOCAL_PREF of a path without one (RFC 4271 §9.1.1 leaves it to policy).
const DEFAULT_LOCAL_PREF: u32 = 100;

/// How paths are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Options {
    /// Compare MED between different neighbor ASes too.
    pub always_compare_med: bool,
}

/// The rule that decided, in the order in which rules are applied. There is no rule for the
/// interior cost of the next hop (RFC 4271 §9.1.2.2(e)): a speaker without a forwarding plane
/// knows none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// There is no other.
    OnlyPath,
    /// RFC 4271 §9.1.1.
    LocalPref,
    /// Originated here.
    Local,
    /// RFC 4271 §9.1.2.2(a).
    AsPathLength,
    /// RFC 4271 §9.1.2.2(b).
    Origin,
    /// RFC 4271 §9.1.2.2(c).
    MultiExitDisc,
    /// RFC 4271 §9.1.2.2(d).
    External,
    /// RFC 5004 §3.
    Older,
    /// RFC 4271 §9.1.2.2(f), RFC 4456 §9.
    RouterId,
    /// RFC 4456 §9.
    ClusterListLength,
    /// RFC 4271 §9.1.2.2(g).
    PeerAddress,
    /// Of several paths of one peer (RFC 7911), the one with the lowest identifier.
    PathId,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::OnlyPath => "only path",
            Self::LocalPref => "higher LOCAL_PREF",
            Self::Local => "originated here",
            Self::AsPathLength => "shorter AS_PATH",
            Self::Origin => "lower origin",
            Self::MultiExitDisc => "lower MED",
            Self::External => "eBGP over iBGP",
            Self::Older => "older eBGP path",
            Self::RouterId => "lower ORIGINATOR_ID / router ID",
            Self::ClusterListLength => "shorter CLUSTER_LIST",
            Self::PeerAddress => "lower peer address",
            Self::PathId => "lower path identifier",
        })
    }
}

/// What the rules read of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    local_pref: u32,
    as_path_len: u32,
    med: u32,
    neighbor_as: Option<u32>,
    router_id: Ipv4Addr,
    cluster_list_len: u16,
    origin: u8,
    kind: SourceKind,
    address: IpAddr,
    path_id: u32,
    peer: PeerIndex,
}

impl Candidate {
    /// A path with these attributes, from `source` at `address`.
    #[must_use]
    pub fn new(digest: &Digest, source: &Source, address: IpAddr, path_id: u32) -> Self {
        Self {
            local_pref: digest.local_pref.unwrap_or(DEFAULT_LOCAL_PREF),
            as_path_len: digest.as_path_len,
            // RFC 4271 §9.1.2.2(c): no MED is the lowest MED.
            med: digest.med.unwrap_or(0),
            neighbor_as: digest.neighbor_as,
            // RFC 4456 §9: ORIGINATOR_ID stands for the identifier of the peer.
            router_id: digest.originator_id.unwrap_or(source.router_id),
            cluster_list_len: digest.cluster_list_len,
            origin: digest.origin,
            kind: source.kind,
            address,
            path_id,
            peer: source.peer,
        }
    }

    fn is_external(&self) -> bool {
        self.kind == SourceKind::External
    }
}

/// The outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Selection {
    /// Index of the best candidate.
    pub best: usize,
    /// The rule that left it alone.
    pub reason: Reason,
}

/// Chooses the best of `candidates`; `None` if there are none. `incumbent` is the one that was the
/// best so far. `lost` is told of every other candidate and the rule that ended its chances;
/// `scratch` is only there so that its memory can be used again.
pub fn select(
    candidates: &[Candidate],
    incumbent: Option<usize>,
    options: Options,
    scratch: &mut Vec<usize>,
    lost: impl FnMut(usize, Reason),
) -> Option<Selection> {
    scratch.clear();
    scratch.extend(0..candidates.len());
    let mut round = Round { candidates, left: scratch, reason: Reason::OnlyPath, lost };
    round.run(incumbent, options);
    let best = round.left.first().copied()?;
    Some(Selection { best, reason: round.reason })
}

/// Candidates still in the race.
struct Round<'a, F> {
    candidates: &'a [Candidate],
    left: &'a mut Vec<usize>,
    reason: Reason,
    lost: F,
}

impl<F: FnMut(usize, Reason)> Round<'_, F> {
    fn run(&mut self, incumbent: Option<usize>, options: Options) {
        self.lowest(Reason::LocalPref, |path| u32::MAX - path.local_pref);
        self.lowest(Reason::Local, |path| path.kind != SourceKind::Local);
        self.lowest(Reason::AsPathLength, |path| path.as_path_len);
        self.lowest(Reason::Origin, |path| path.origin);
        if options.always_compare_med {
            self.lowest(Reason::MultiExitDisc, |path| path.med);
        } else {
            self.lowest_med_per_neighbor_as();
        }
        self.lowest(Reason::External, |path| !path.is_external());
        self.incumbent(incumbent);
        self.lowest(Reason::RouterId, |path| path.router_id);
        self.lowest(Reason::ClusterListLength, |path| path.cluster_list_len);
        self.lowest(Reason::PeerAddress, |path| path.address);
        self.lowest(Reason::PathId, |path| (path.path_id, path.peer));
    }

    /// Keeps the candidates with the lowest `rank`.
    fn lowest<R: Ord + Copy>(&mut self, reason: Reason, rank: impl Fn(&Candidate) -> R) {
        let candidates = self.candidates;
        if self.left.len() < 2 {
            return;
        }
        let ranks = self.left.iter().map(|&at| rank(&candidates[at]));
        if let Some(lowest) = ranks.min() {
            self.keep(reason, |at| rank(&candidates[at]) == lowest);
        }
    }

    /// RFC 4271 §9.1.2.2(c): removes every candidate that has a higher MED than another one from
    /// the same neighbor AS. A path without neighbor AS comes from the own AS.
    fn lowest_med_per_neighbor_as(&mut self) {
        let candidates = self.candidates;
        if self.left.len() < 2 || self.left.iter().all(|&at| candidates[at].med == 0) {
            return;
        }
        let remaining = self.left.clone();
        self.keep(Reason::MultiExitDisc, |at| {
            let path = &candidates[at];
            remaining.iter().all(|&other| {
                let other = &candidates[other];
                other.neighbor_as != path.neighbor_as || other.med >= path.med
            })
        });
    }

    /// RFC 5004 §3: an eBGP path that is the best stays the best as long as only router IDs and
    /// addresses speak against it. Not so between paths of the same router.
    fn incumbent(&mut self, incumbent: Option<usize>) {
        let candidates = self.candidates;
        let Some(incumbent) = incumbent.filter(|at| self.left.contains(at)) else { return };
        let best = &candidates[incumbent];
        if self.left.len() > 1 && best.is_external() {
            self.keep(Reason::Older, |at| candidates[at].router_id == best.router_id);
        }
    }

    fn keep(&mut self, reason: Reason, keep: impl Fn(usize) -> bool) {
        let before = self.left.len();
        let lost = &mut self.lost;
        self.left.retain(|&at| {
            let keeps = keep(at);
            if !keeps {
                lost(at, reason);
            }
            keeps
        });
        if self.left.len() < before {
            self.reason = reason;
        }
    }
}
