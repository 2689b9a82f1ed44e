//! Metrics in the OpenMetrics text format.

use std::sync::Mutex;

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::problem::Problem;
use crate::status::Status;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct State {
    state: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    reason: String,
}

/// What a monitoring system may ask for.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    ready: Gauge,
    kubernetes_reachable: Gauge,
    nodes: Gauge,
    bgpd_reachable: Gauge,
    sessions: Family<State, Gauge>,
    announcements: Family<State, Gauge>,
    routes: Family<State, Gauge>,
    exempt: Gauge,
    problems: Family<Kind, Gauge>,
    problems_seen: Family<Kind, Counter>,
    /// Reasons that have been seen, whose gauge goes back to zero.
    seen: Mutex<std::collections::BTreeSet<String>>,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("bgp_sidecar");
        let mut gauge = |name: &str, text: &str| {
            let gauge = Gauge::default();
            registry.register(name, text, gauge.clone());
            gauge
        };
        let ready = gauge("ready", "1 when what is to be announced is, and what was learned is installed");
        let kubernetes_reachable = gauge("kubernetes_reachable", "1 when the Kubernetes API can be used");
        let nodes = gauge("nodes", "Nodes that are known");
        let bgpd_reachable = gauge("bgpd_reachable", "1 when the API of bgpd can be used");
        let exempt = gauge("exempt_prefixes", "Prefixes between which nothing is masqueraded");
        let sessions = Family::<State, Gauge>::default();
        registry.register("sessions", "Neighbors of bgpd by state", sessions.clone());
        let announcements = Family::<State, Gauge>::default();
        registry.register("announcements", "Routes to announce by state", announcements.clone());
        let routes = Family::<State, Gauge>::default();
        registry.register("routes", "Learned routes by state", routes.clone());
        let problems = Family::<Kind, Gauge>::default();
        registry.register("problems", "What is wrong now, by reason", problems.clone());
        let problems_seen = Family::<Kind, Counter>::default();
        registry.register("problems_seen", "What has been found wrong, by reason", problems_seen.clone());
        Self {
            registry,
            ready,
            kubernetes_reachable,
            nodes,
            bgpd_reachable,
            sessions,
            announcements,
            routes,
            exempt,
            problems,
            problems_seen,
            seen: Mutex::default(),
        }
    }
}

impl Metrics {
    /// Takes in how it stands, and the problems that are new.
    pub fn update(&self, status: &Status, came: &[Problem]) {
        let number = |value: usize| i64::try_from(value).unwrap_or(i64::MAX);
        let set = |family: &Family<State, Gauge>, state, value| {
            family.get_or_create(&State { state }).set(number(value));
        };
        self.ready.set(status.ready.into());
        self.kubernetes_reachable.set(status.kubernetes.reachable.into());
        self.nodes.set(number(status.kubernetes.nodes));
        self.bgpd_reachable.set(status.bgpd.reachable.into());
        self.exempt.set(number(status.exempt.len()));
        set(&self.sessions, "established", status.bgpd.established);
        set(&self.sessions, "down", status.bgpd.neighbors - status.bgpd.established);
        set(&self.announcements, "wanted", status.announcements.len());
        set(&self.announcements, "announced", status.bgpd.announced as usize);
        let routes = &status.routes;
        set(&self.routes, "learned", routes.learned);
        set(&self.routes, "installed", routes.installed);
        set(&self.routes, "refused", routes.refused);
        set(&self.routes, "unresolved", routes.unresolved);
        set(&self.routes, "failed", routes.failed);
        for problem in came {
            self.problems_seen.get_or_create(&Kind { reason: problem.reason.to_string() }).inc();
        }
        let mut seen = self.seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        seen.extend(status.problems.iter().map(|problem| problem.reason.to_string()));
        for reason in seen.iter() {
            let count = status.problems.iter().filter(|problem| problem.reason.to_string() == *reason).count();
            self.problems.get_or_create(&Kind { reason: reason.clone() }).set(number(count));
        }
    }

    /// The text that a monitoring system reads.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = text::encode(&mut text, &self.registry);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::problem::Reason;

    #[test]
    fn problem_is_counted_when_it_comes_and_its_gauge_falls_when_it_goes() {
        let metrics = Metrics::default();
        let problem = Problem::new("route/10.1.0.0/16", Reason::RouteRefused, "covers this node's pod CIDR");
        let status = Status { problems: vec![problem.clone()], ..Status::default() };
        metrics.update(&status, &[problem]);
        assert!(metrics.text().contains("bgp_sidecar_problems{reason=\"RouteRefused\"} 1"), "{}", metrics.text());
        metrics.update(&Status::default(), &[]);
        let text = metrics.text();
        assert!(text.contains("bgp_sidecar_problems{reason=\"RouteRefused\"} 0"), "{text}");
        assert!(text.contains("bgp_sidecar_problems_seen_total{reason=\"RouteRefused\"} 1"), "{text}");
        assert!(text.ends_with("# EOF\n"), "{text}");
    }
}
