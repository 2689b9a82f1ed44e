//! Why a path won and whom it is told to: the real decision and export rules, written down while
//! they run.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

use super::apply::line_up;
use super::column::Column;
use super::decision::{Options, Reason, select};
use super::destination::Path;
use super::peers::Peers;
use super::query::RouteView;
use super::table::{Scratch, Table};
use crate::attr::AttrRef;
use crate::export::Withheld;
use crate::id::{GroupIndex, PeerIndex};
use crate::policy::{Provenance, Rules, Trace};
use crate::stage::{Rejection, Routed};

/// What became of a destination, and why.
#[derive(Debug, Clone)]
pub struct Explanation {
    /// The destination.
    pub prefix: IpNet,
    /// Every path to it, the best first.
    pub candidates: Vec<CandidateView>,
    /// What each group is told, in the order in which groups were added.
    pub exports: Vec<ExportView>,
}

/// One path and how it fared.
#[derive(Debug, Clone)]
pub struct CandidateView {
    /// The path.
    pub route: RouteView,
    /// How it fared.
    pub verdict: Verdict,
    /// What its import policy did, step by step. Empty where that was not asked.
    pub import: Trace,
    /// What it was before its import policy.
    pub received: AttrRef,
    /// What policies know of it besides.
    pub from: Provenance,
}

/// How a path fared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is the best path; the rule left no other.
    Best(Reason),
    /// A rule prefers another path.
    Loses {
        /// The address of the peer whose path is the best.
        to: IpAddr,
        /// The rule.
        reason: Reason,
    },
    /// It did not take part.
    Unusable(Rejection),
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Best(reason) => write!(f, "best: {reason}"),
            Self::Loses { to, reason } => write!(f, "loses to {to}: {reason}"),
            Self::Unusable(rejection) => write!(f, "not usable: {rejection}"),
        }
    }
}

/// What a group is told of the destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportView {
    /// The group.
    pub group: GroupIndex,
    /// Why, or why not.
    pub verdict: ExportVerdict,
    /// What the export policy did with the best path, step by step. Empty where that was not asked.
    pub export: Trace,
}

/// Whether a group is told the best path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExportVerdict {
    /// All members but the peer whose path it is are told.
    Advertised {
        /// Whose path it is.
        source: PeerIndex,
    },
    /// A rule keeps it back.
    Withheld {
        /// Whose path it is.
        source: PeerIndex,
        /// The rule.
        why: Withheld,
    },
    /// There is no best path.
    NoBestPath,
}

/// Whether a member of a group is told the best path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemberVerdict {
    /// It is told.
    Advertised {
        /// Whose path it is.
        source: PeerIndex,
    },
    /// The path is its own: nothing goes back to whom it came from, whatever the rules of the group say.
    Own,
    /// A rule keeps it back.
    Withheld(Withheld),
    /// There is no best path.
    NoBestPath,
}

impl ExportVerdict {
    /// What that is for a member of the group.
    #[must_use]
    pub fn of(self, member: PeerIndex) -> MemberVerdict {
        match self {
            Self::Advertised { source } | Self::Withheld { source, .. } if source == member => MemberVerdict::Own,
            Self::Advertised { source } => MemberVerdict::Advertised { source },
            Self::Withheld { why, .. } => MemberVerdict::Withheld(why),
            Self::NoBestPath => MemberVerdict::NoBestPath,
        }
    }
}

impl fmt::Display for MemberVerdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Advertised { source: PeerIndex::LOCAL } => f.write_str("advertised: originated here"),
            Self::Advertised { .. } => f.write_str("advertised"),
            Self::Own => f.write_str("not advertised: it is this neighbor's own route"),
            Self::Withheld(withheld) => write!(f, "not advertised: {withheld}"),
            Self::NoBestPath => f.write_str("not advertised: no usable path"),
        }
    }
}

impl<N: Routed> Table<N> {
    /// Runs decision and export of one destination again, and says what happened.
    pub(super) fn explain_prefix(&self, prefix: IpNet, peers: &Peers, options: Options) -> Option<Explanation> {
        let position = self.find_prefix(prefix)?;
        let destination = self.destinations.at(position);
        let paths = destination.paths.as_slice();
        let mut scratch = Scratch::default();
        let incumbent = line_up(destination, peers, &mut scratch);
        let mut lost = vec![None; scratch.candidates.len()];
        let selection = select(&scratch.candidates, incumbent, options, &mut scratch.left, |at, reason| {
            lost[at] = Some(reason);
        });
        let best = selection.map(|selection| scratch.positions[selection.best]);
        let fared = |at: usize| {
            let path = &paths[at];
            let Some(selection) = selection else {
                return path.rejection.map(Verdict::Unusable);
            };
            let candidate = scratch.positions.iter().position(|&position| position == at);
            match (candidate, path.rejection) {
                (_, Some(rejection)) => Some(Verdict::Unusable(rejection)),
                (Some(candidate), None) if candidate == selection.best => Some(Verdict::Best(selection.reason)),
                (Some(candidate), None) => {
                    Some(Verdict::Loses { to: peers.get(paths[best?].peer).address, reason: lost[candidate]? })
                }
                (None, None) => None,
            }
        };
        let candidate = |at: usize| {
            let is_best = best == Some(at);
            let reason = selection.filter(|_| is_best).map(|selection| selection.reason);
            let route = self.view_path(destination, &paths[at], is_best, reason, peers);
            let import = self.explain_import(position, &destination.key, &paths[at], peers);
            let received = self.received.of(position, &paths[at]).clone();
            let from = peers.get(paths[at].peer).provenance(N::FAMILY);
            Some(CandidateView { route, verdict: fared(at)?, import, received, from })
        };
        Some(Explanation {
            prefix: N::prefix(&destination.key),
            candidates: (0..paths.len()).filter_map(candidate).collect(),
            exports: self.explain_exports(&destination.key, best.map(|at| &paths[at]), peers),
        })
    }

    /// Asks the import policy of a path again, unless something else than policy keeps it out.
    fn explain_import(&self, position: u32, key: &N::Key, path: &Path, peers: &Peers) -> Trace {
        let mut trace = Trace::default();
        if path.rejection.is_none_or(Rejection::is_by_policy) {
            let (peer, received) = (peers.get(path.peer), self.received.of(position, path));
            let from = peer.provenance(N::FAMILY);
            // The verdict stands in the path; here only the way to it matters.
            let _ = peer.import.policy.explain(received, &from, &N::prefix(key), &mut trace);
        }
        trace
    }

    fn explain_exports(&self, key: &N::Key, best: Option<&Path>, peers: &Peers) -> Vec<ExportView> {
        let view = |column: &Column<N>| {
            let mut export = Trace::default();
            let verdict = match best {
                None => ExportVerdict::NoBestPath,
                Some(path) => {
                    let peer = peers.get(path.peer);
                    let judge = |rules: &Rules| {
                        let from = peer.provenance(N::FAMILY);
                        rules.evaluate(&path.attrs, &from, &N::prefix(key), Some(&mut export))
                    };
                    match column.spec.evaluate(&path.attrs, &peer.source, judge) {
                        Ok(_) => ExportVerdict::Advertised { source: path.peer },
                        Err(why) => ExportVerdict::Withheld { source: path.peer, why },
                    }
                }
            };
            ExportView { group: column.group, verdict, export }
        };
        self.columns.iter().flatten().filter(|column| !column.removed).map(view).collect()
    }
}
