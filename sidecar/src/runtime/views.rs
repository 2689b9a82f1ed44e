//! What the edges say, as it is now.

use tokio::sync::watch;

use crate::announcement::Announcements;
use crate::bgpd::{Applied, Followed, NodesDeclared, Sessions};
use crate::kernel::Report;
use crate::kubernetes::Known;
use crate::problem::{Problem, Reason};
use crate::status::{AnnouncementStatus, Status};

/// The edges' last words. An edge that does not run says nothing.
pub(super) struct Views {
    pub(super) known: watch::Receiver<Known>,
    pub(super) applied: watch::Receiver<Applied>,
    pub(super) sessions: watch::Receiver<Sessions>,
    pub(super) report: watch::Receiver<Report>,
    pub(super) followed: watch::Receiver<Followed>,
    pub(super) nodes: watch::Receiver<NodesDeclared>,
}

impl Views {
    /// Waits until one of them says something new.
    pub(super) async fn changed(&mut self) {
        tokio::select! {
            () = news(&mut self.known) => {}
            () = news(&mut self.applied) => {}
            () = news(&mut self.sessions) => {}
            () = news(&mut self.report) => {}
            () = news(&mut self.followed) => {}
            () = news(&mut self.nodes) => {}
        }
    }

    pub(super) fn known(&self) -> Known {
        self.known.borrow().clone()
    }

    pub(super) fn applied(&self) -> Applied {
        self.applied.borrow().clone()
    }

    pub(super) fn report(&self) -> Report {
        self.report.borrow().clone()
    }

    /// Whether bgpd's guard has the nodes as they are now.
    pub(super) fn nodes_are_declared(&self) -> bool {
        self.nodes.borrow().is_current
    }

    /// What is wrong at the edges.
    pub(super) fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        for (kind, message) in &self.known.borrow().trouble {
            problems.push(Problem::new(format_args!("kubernetes/{kind}"), Reason::KubernetesUnavailable, message));
        }
        let (applied, followed, nodes) = (self.applied.borrow(), self.followed.borrow(), self.nodes.borrow());
        let troubles = [&applied.trouble, &followed.trouble, &nodes.trouble];
        if let Some(message) = troubles.into_iter().flatten().next() {
            problems.push(Problem::new("bgpd", Reason::SpeakerUnavailable, message));
        }
        problems.extend(applied.problems.iter().chain(&nodes.problem).cloned());
        let sessions = self.sessions.borrow();
        problems.extend(sessions.problems.iter().cloned());
        for (address, session) in sessions.down() {
            let message = format!("there is no session: {}", session.last_error);
            problems.push(Problem::new(format_args!("neighbor/{address}"), Reason::SessionDown, message));
        }
        problems.extend(self.report.borrow().problems.iter().cloned());
        problems
    }

    /// Fills in what the edges say.
    pub(super) fn describe(&self, status: &mut Status, known: &Known, announcements: &Announcements) {
        status.kubernetes.reachable = known.has_nodes && known.trouble.is_empty();
        status.kubernetes.nodes = known.cluster.nodes.len();
        let sessions = self.sessions.borrow();
        status.bgpd.reachable = sessions.is_current;
        status.bgpd.neighbors = sessions.by_address.len();
        status.bgpd.established = sessions.by_address.values().filter(|session| session.is_established()).count();
        status.bgpd.announced = self.applied.borrow().announced;
        let announcement = |(prefix, one): (&ipnet::IpNet, &crate::announcement::Announcement)| AnnouncementStatus {
            prefix: *prefix,
            next_hop: one.next_hop,
            communities: one.communities.iter().cloned().collect(),
        };
        status.announcements = announcements.iter().map(announcement).collect();
        let report = self.report.borrow();
        status.routes = report.counts;
        status.installed = report.installed.iter().copied().collect();
        status.exempt.clone_from(&report.exempt);
    }
}

/// For ever, when the edge does not run.
async fn news<T>(view: &mut watch::Receiver<T>) {
    if view.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}
