//! What is wrong and with which object: one value for the log, the status, the metrics and the Kubernetes Event.
//!
//! A problem is said once when it comes and once when it goes, however often what found it looks again. Everything
//! that it does not touch goes on.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// What kind of thing is wrong. The name is the label of the metric and the reason of the Kubernetes Event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Reason {
    /// A Node without a pod CIDR.
    NoPodCidr,
    /// A pod CIDR, address or annotation that cannot be read or used.
    InvalidValue,
    /// Two nodes have pod CIDRs that overlap.
    OverlappingPodCidr,
    /// No next hop of the family of the pod CIDR.
    NoNextHop,
    /// A learned route that a guard rail keeps out of the kernel.
    RouteRefused,
    /// The next hop of a learned route is not reachable.
    NextHopUnresolved,
    /// A route of somebody else stands where the learned one would.
    RouteOccupied,
    /// The kernel did not do what was asked.
    KernelRefused,
    /// The Kubernetes API cannot be reached or says no.
    KubernetesUnavailable,
    /// bgpd cannot be reached.
    SpeakerUnavailable,
    /// bgpd does not take an announcement.
    AnnouncementRefused,
    /// bgpd's guard does not take the nodes of the cluster.
    NodesRefused,
    /// bgpd does not take a neighbor.
    NeighborRefused,
    /// A session with a neighbor is down.
    SessionDown,
    /// The exemption from masquerade cannot be written.
    MasqueradeExemptionFailed,
    /// The CNI configuration cannot be written.
    CniConfigurationFailed,
}

impl fmt::Display for Reason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, formatter)
    }
}

/// Something that is wrong now.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Problem {
    /// The thing by name: `node/worker-1`, `route/10.1.0.0/24`.
    pub object: String,
    /// What kind of thing is wrong.
    pub reason: Reason,
    /// What is wrong, and what would be right.
    pub message: String,
}

impl Problem {
    /// A problem of an object.
    pub fn new(object: impl fmt::Display, reason: Reason, message: impl fmt::Display) -> Self {
        Self { object: object.to_string(), reason, message: message.to_string() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.object, self.message)
    }
}

/// The problems of one part of the sidecar as they are now.
#[derive(Debug, Default)]
pub struct Problems {
    current: BTreeMap<(String, Reason), String>,
}

/// What is different from before.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// New problems, and those whose message is another one.
    pub came: Vec<Problem>,
    /// Problems that are no more.
    pub went: Vec<Problem>,
}

fn problem(((object, reason), message): (&(String, Reason), &String)) -> Problem {
    Problem { object: object.clone(), reason: *reason, message: message.clone() }
}

impl Problems {
    /// All that is wrong now.
    #[must_use]
    pub fn current(&self) -> Vec<Problem> {
        self.current.iter().map(problem).collect()
    }

    /// Makes these the problems that there are.
    pub fn replace(&mut self, problems: impl IntoIterator<Item = Problem>) -> Difference {
        let next: BTreeMap<_, _> =
            problems.into_iter().map(|problem| ((problem.object, problem.reason), problem.message)).collect();
        let came = next.iter().filter(|(key, message)| self.current.get(*key) != Some(message)).map(problem).collect();
        let went = self.current.iter().filter(|(key, _)| !next.contains_key(*key)).map(problem).collect();
        self.current = next;
        Difference { came, went }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problem_is_said_when_it_comes_and_when_it_goes_and_not_between() {
        let mut problems = Problems::default();
        let problem = Problem::new("node/a", Reason::NoPodCidr, "has no pod CIDR");
        let first = problems.replace([problem.clone()]);
        assert_eq!(first, Difference { came: vec![problem.clone()], went: vec![] });
        assert_eq!(problems.replace([problem.clone()]), Difference::default());
        assert_eq!(problems.replace([]).went, [problem]);
    }
}
