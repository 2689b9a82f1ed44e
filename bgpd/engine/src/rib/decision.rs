//! The decision process (RFC 4271 §9.1.2.2, RFC 4456 §9, RFC 5004, RFC 9494 §4.4).
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
    /// RFC 9494 §4.4: what is long-lived stale is the last choice.
    LongLivedStale,
    /// What import policy said before all rules.
    Weight,
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
            Self::LongLivedStale => "not long-lived stale",
            Self::Weight => "higher weight",
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

/// How a path stands by the rules before MED, which are an order: a path that stands behind another one has lost, and
/// whether it is there or not makes no difference to who wins (RFC 9494 §4.4, RFC 4271 §9.1.2.2(a), (b)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Standing(bool, u16, u32, bool, u32, u8);

impl Standing {
    pub(super) fn new(digest: &Digest, weight: u16, kind: SourceKind) -> Self {
        let local_pref = digest.local_pref.unwrap_or(DEFAULT_LOCAL_PREF);
        let stale = digest.scope.llgr_stale;
        Self(
            stale,
            u16::MAX - weight,
            u32::MAX - local_pref,
            kind != SourceKind::Local,
            digest.as_path_len,
            digest.origin,
        )
    }

    /// Whether a path that stands like this has lost against `other`.
    pub(super) fn is_behind(self, other: Self) -> bool {
        self > other
    }
}

/// What the rules read of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    long_lived_stale: bool,
    weight: u16,
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
            long_lived_stale: digest.scope.llgr_stale,
            weight: 0,
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

    /// The same with a weight.
    #[must_use]
    pub fn with_weight(self, weight: u16) -> Self {
        Self { weight, ..self }
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

/// Leaves in `left` the candidates that are as good as the best one but for what only breaks ties: router ID (RFC 4271
/// §9.1.2.2(f)), CLUSTER_LIST, address and path identifier. Traffic may be spread over them.
pub fn equals(candidates: &[Candidate], options: Options, left: &mut Vec<usize>) {
    left.clear();
    left.extend(0..candidates.len());
    Round { candidates, left, reason: Reason::OnlyPath, lost: |_, _| {} }.preference(options);
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
        self.preference(options);
        self.incumbent(incumbent);
        self.lowest(Reason::RouterId, |path| path.router_id);
        self.lowest(Reason::ClusterListLength, |path| path.cluster_list_len);
        self.lowest(Reason::PeerAddress, |path| path.address);
        self.lowest(Reason::PathId, |path| (path.path_id, path.peer));
    }

    /// The rules that say which paths are better, before those that only break ties.
    fn preference(&mut self, options: Options) {
        self.lowest(Reason::LongLivedStale, |path| path.long_lived_stale);
        self.lowest(Reason::Weight, |path| u16::MAX - path.weight);
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
        // With the lowest router ID it wins by that, whichever was the incumbent before: the reason that is given later
        // is the one of the time of the decision.
        let wins_anyway = self.left.iter().all(|&at| candidates[at].router_id >= best.router_id);
        if best.is_external() && !wins_anyway {
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn path(router_id: u32, neighbor_as: u32, med: u32) -> Candidate {
        Candidate {
            long_lived_stale: false,
            weight: 0,
            local_pref: 100,
            as_path_len: 1,
            med,
            neighbor_as: Some(neighbor_as),
            router_id: Ipv4Addr::from(router_id),
            cluster_list_len: 0,
            origin: 0,
            kind: SourceKind::External,
            address: IpAddr::V4(Ipv4Addr::from(router_id)),
            path_id: 0,
            peer: PeerIndex(router_id),
        }
    }

    fn best(candidates: &[Candidate], incumbent: Option<usize>) -> Option<Selection> {
        select(candidates, incumbent, Options::default(), &mut Vec::new(), |_, _| {})
    }

    #[test]
    fn three_paths_whose_med_makes_a_cycle_have_one_best_in_any_order() {
        // RFC 4271 §9.1.2.2(c): a loses to c by MED, b to a by router ID, c to b by router ID.
        let (a, b, c) = (path(1, 65_001, 10), path(2, 65_002, 0), path(3, 65_001, 5));
        for order in [[a, b, c], [a, c, b], [b, a, c], [b, c, a], [c, a, b], [c, b, a]] {
            let selection = best(&order, None).expect("there are candidates");
            assert_eq!(order[selection.best], b);
            assert_eq!(selection.reason, Reason::RouterId);
        }
    }

    #[test]
    fn an_external_incumbent_stays_against_a_lower_router_id() {
        // RFC 5004 §3
        let paths = [path(1, 65_001, 0), path(2, 65_002, 0)];
        assert_eq!(best(&paths, Some(1)), Some(Selection { best: 1, reason: Reason::Older }));
        assert_eq!(best(&paths, None), Some(Selection { best: 0, reason: Reason::RouterId }));
        assert_eq!(
            best(&paths, Some(0)),
            Some(Selection { best: 0, reason: Reason::RouterId }),
            "age made no difference"
        );
    }

    #[test]
    fn of_reflected_paths_the_shorter_cluster_list_wins_before_the_address() {
        // RFC 4456 §9
        let short = Candidate { kind: SourceKind::Client, ..path(7, 65_001, 0) };
        let long = Candidate { cluster_list_len: 1, address: IpAddr::V4(Ipv4Addr::from(1)), ..short };
        let selection = best(&[long, short], None);
        assert_eq!(selection, Some(Selection { best: 1, reason: Reason::ClusterListLength }));
    }

    #[test]
    fn a_long_lived_stale_path_loses_whatever_its_preference() {
        // RFC 9494 §4.4
        let stale = Candidate { long_lived_stale: true, local_pref: 1000, ..path(1, 65_001, 0) };
        let fresh = Candidate { local_pref: 0, ..path(2, 65_001, 9) };
        let selection = best(&[stale, fresh], Some(0));
        assert_eq!(selection, Some(Selection { best: 1, reason: Reason::LongLivedStale }));
        assert_eq!(best(&[stale], None), Some(Selection { best: 0, reason: Reason::OnlyPath }));
    }

    fn candidate(peer: u32) -> impl Strategy<Value = Candidate> {
        let kinds = prop_oneof![Just(SourceKind::External), Just(SourceKind::Client), Just(SourceKind::NonClient)];
        (0..4u32, 0..2u32, 0..2u8, 0..3u32, 0..3u32, kinds, 0..3u32, 0..2u16).prop_map(
            move |(pref, length, origin, neighbor, med, kind, router_id, clusters)| Candidate {
                weight: u16::from(pref == 3),
                long_lived_stale: pref > 1,
                local_pref: pref % 2,
                as_path_len: length,
                origin,
                kind,
                cluster_list_len: clusters,
                address: IpAddr::V4(Ipv4Addr::from(peer)),
                peer: PeerIndex(peer),
                ..path(router_id, neighbor, med)
            },
        )
    }

    fn standing(path: &Candidate) -> Standing {
        let digest = Digest {
            scope: crate::attr::Scope { llgr_stale: path.long_lived_stale, ..Default::default() },
            local_pref: Some(path.local_pref),
            as_path_len: path.as_path_len,
            origin: path.origin,
            ..Digest::default()
        };
        Standing::new(&digest, path.weight, path.kind)
    }

    #[test]
    fn only_tie_breakers_stand_between_equal_paths() {
        let equals = |paths: &[Candidate]| {
            let mut left = Vec::new();
            equals(paths, Options::default(), &mut left);
            left
        };
        let (one, other) = (path(1, 65_001, 0), path(2, 65_002, 0));
        assert_eq!(equals(&[one, other]), [0, 1]);
        assert_eq!(equals(&[Candidate { local_pref: 50, ..one }, other]), [1]);
        assert_eq!(equals(&[one, Candidate { as_path_len: 2, ..other }]), [0]);
        assert_eq!(equals(&[one, Candidate { cluster_list_len: 2, ..other }]), [0, 1]);
        assert_eq!(equals(&[path(1, 65_001, 7), path(2, 65_001, 5), path(3, 65_002, 9)]), [1, 2]);
        assert_eq!(equals(&[]), [0usize; 0]);
    }

    proptest! {
        #[test]
        fn a_path_that_stands_behind_the_best_makes_no_difference(
            paths in (2..8u32).prop_flat_map(|count| (0..count).map(candidate).collect::<Vec<_>>()),
            always_compare_med: bool,
        ) {
            let options = Options { always_compare_med };
            let (last, rest) = paths.split_last().expect("at least two");
            let before = select(rest, None, options, &mut Vec::new(), |_, _| {}).expect("there are candidates").best;
            if standing(last).is_behind(standing(&rest[before])) {
                let after = select(&paths, Some(before), options, &mut Vec::new(), |_, _| {});
                prop_assert_eq!(after.map(|selection| selection.best), Some(before));
            }
        }

        #[test]
        fn selection_does_not_depend_on_the_order_of_candidates(
            (ordered, shuffled) in (1..8u32).prop_flat_map(|count| {
                let paths: Vec<_> = (0..count).map(candidate).collect();
                paths.prop_flat_map(|paths| (Just(paths.clone()), Just(paths).prop_shuffle()))
            }),
            incumbent in proptest::option::of(0..8u32),
            always_compare_med: bool,
        ) {
            let options = Options { always_compare_med };
            let at = |paths: &[Candidate]| {
                incumbent.and_then(|peer| paths.iter().position(|path| path.peer == PeerIndex(peer)))
            };
            let choose = |paths: &[Candidate]| {
                let chosen = select(paths, at(paths), options, &mut Vec::new(), |_, _| {});
                chosen.map(|selection| (paths[selection.best].peer, selection.reason))
            };
            prop_assert_eq!(choose(&ordered), choose(&shuffled));
        }
    }
}
