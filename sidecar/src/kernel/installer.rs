//! The task that keeps the kernel's tables as [`Forwarding`] wants them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use ipnet::IpNet;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::sleep_until;
use tracing::{debug, info, warn};

use super::{Kernel, KernelError};
use crate::forwarding::{Counts, Fate, Forwarding, KernelEvent, Operation, Placement};
use crate::guard::Protected;
use crate::learned::RouteEvent;
use crate::masquerade::Exemption;
use crate::problem::Problem;

/// Requests under way at once.
const PARALLEL: usize = 32;
/// Inputs taken together before the kernel is asked.
const BATCH: usize = 1024;
/// Shortest time between two reports.
const REPORT_PAUSE: Duration = Duration::from_millis(100);
/// Time between two attempts to talk to the kernel.
const SOCKET_PAUSE: Duration = Duration::from_secs(1);

/// What the installer is told.
#[derive(Debug)]
pub enum Input {
    /// What the speaker's route watch says.
    Routes(RouteEvent),
    /// What must not be overlapped by a learned route.
    Protected(Vec<(IpNet, Protected)>),
    /// Somebody asks what has become of a prefix.
    Explain {
        /// The prefix.
        prefix: IpNet,
        /// Where the answer goes.
        reply: oneshot::Sender<Fate>,
    },
}

/// How it stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// The kernel has been asked what is there.
    pub is_observed: bool,
    /// Everything learned that may be in the kernel is, as the running watch tells it.
    pub is_complete: bool,
    /// Numbers.
    pub counts: Counts,
    /// Destinations of our routes in the kernel.
    pub installed: Arc<BTreeSet<IpNet>>,
    /// Prefixes between which nothing is masqueraded.
    pub exempt: Arc<Vec<IpNet>>,
    /// What is wrong with which route, and with the exemption.
    pub problems: Vec<Problem>,
}

/// Keeps learned routes in the kernel, and what leads to pods exempt from masquerade.
pub struct Installer {
    forwarding: Forwarding,
    exemption: Option<Exemption>,
    /// What is exempt may be other than what it should be.
    is_unheld: bool,
    protocol: u8,
    inputs: mpsc::Receiver<Input>,
    reports: watch::Sender<Report>,
    reported: Option<Instant>,
}

/// Why the loop pauses.
enum Wake {
    Input(Option<Input>),
    Event(Option<KernelEvent>),
    Time,
}

impl Installer {
    /// An installer that is told through `inputs` and says how it stands through `reports`.
    #[must_use]
    pub fn new(
        placement: Placement,
        exemption: Option<Exemption>,
        inputs: mpsc::Receiver<Input>,
        reports: watch::Sender<Report>,
    ) -> Self {
        let protocol = placement.protocol;
        let forwarding = Forwarding::new(placement);
        Self { forwarding, exemption, is_unheld: true, protocol, inputs, reports, reported: None }
    }

    /// Works until the inputs end. Routes stay in the kernel.
    pub async fn run(mut self) {
        loop {
            match self.serve().await {
                Ok(()) => return,
                Err(error) => warn!(%error, "routes cannot be installed, trying again"),
            }
            tokio::time::sleep(SOCKET_PAUSE).await;
        }
    }

    async fn serve(&mut self) -> Result<(), KernelError> {
        let mut kernel = Kernel::open(self.protocol)?;
        let mut is_clear = false;
        loop {
            if !is_clear {
                self.forwarding.observe(kernel.dump().await?);
                self.is_unheld = true;
            }
            is_clear = self.carry_out(&kernel).await;
            if !is_clear {
                continue;
            }
            let next_report = self.report();
            let exemption_due = self.exemption.as_ref().filter(|_| self.forwarding.pod_cidrs().is_some());
            let due = self.forwarding.next_retry().into_iter().chain(exemption_due.map(Exemption::due));
            let wake_at = due.chain(next_report).min();
            let wake = tokio::select! {
                input = self.inputs.recv() => Wake::Input(input),
                event = kernel.event() => Wake::Event(event),
                () = pause_until(wake_at) => Wake::Time,
            };
            match wake {
                Wake::Input(None) => return Ok(()),
                Wake::Input(Some(input)) => self.take(input),
                Wake::Event(None) => return Err(KernelError::Socket("the socket is closed".into())),
                Wake::Event(Some(event)) => is_clear &= self.notice(event),
                Wake::Time => {}
            }
            for _ in 0..BATCH {
                let Ok(input) = self.inputs.try_recv() else { break };
                self.take(input);
            }
            while let Some(event) = kernel.event_now() {
                is_clear &= self.notice(event);
            }
        }
    }

    fn take(&mut self, input: Input) {
        match input {
            Input::Routes(event) => self.forwarding.learn(event),
            Input::Protected(prefixes) => {
                self.forwarding.protect(prefixes);
                self.is_unheld = true;
            }
            // Whoever asked may have gone.
            Input::Explain { prefix, reply } => drop(reply.send(self.forwarding.explain(prefix))),
        }
    }

    fn notice(&mut self, event: KernelEvent) -> bool {
        debug!(?event, "the kernel says");
        self.forwarding.notice(event)
    }

    /// Does what is due. False when the kernel's tables turn out to be others than we thought.
    async fn carry_out(&mut self, kernel: &Kernel) -> bool {
        let operations = self.forwarding.plan(Instant::now());
        // Before a route comes, and until it has gone.
        self.hold_exemption(&operations).await;
        if operations.is_empty() {
            return true;
        }
        self.is_unheld = true;
        let attempts = operations.into_iter().map(|operation| async move {
            let result = kernel.execute(&operation).await;
            (operation, result)
        });
        let mut results = futures::stream::iter(attempts).buffer_unordered(PARALLEL);
        let (mut done, mut is_clear) = (0usize, true);
        while let Some((operation, result)) = results.next().await {
            match result {
                Ok(()) => {
                    log(&operation);
                    done += 1;
                    self.forwarding.succeeded(operation);
                }
                Err(error) => {
                    is_clear &= !error.is_surprise();
                    self.forwarding.failed(&operation, &error.to_string(), Instant::now());
                }
            }
        }
        if done > 0 {
            info!(changes = done, installed = self.forwarding.installed().count(), "kernel routes changed");
        }
        self.hold_exemption(&[]).await;
        is_clear
    }

    /// Exempts from masquerade what is installed and what is about to be.
    async fn hold_exemption(&mut self, operations: &[Operation]) {
        let (Some(exemption), Some(own)) = (&mut self.exemption, self.forwarding.pod_cidrs()) else { return };
        if operations.is_empty() && !self.is_unheld && Instant::now() < exemption.due() {
            return;
        }
        let coming = operations.iter().filter(|one| matches!(one, Operation::Install { .. }));
        let routes = self.forwarding.installed().chain(coming.map(|one| one.key().prefix)).collect();
        exemption.hold(&own, &routes).await;
        self.is_unheld = false;
    }

    /// Says how it stands, or when it may be said again.
    fn report(&mut self) -> Option<Instant> {
        let due = self.reported.map(|reported| reported + REPORT_PAUSE);
        if let Some(due) = due.filter(|due| *due > Instant::now()) {
            return Some(due);
        }
        let installed: BTreeSet<IpNet> = self.forwarding.installed().collect();
        let problems = self.exemption.as_ref().and_then(Exemption::problem).cloned().into_iter();
        let report = Report {
            is_observed: true,
            is_complete: self.forwarding.is_complete(),
            counts: self.forwarding.counts(),
            installed: Arc::new(installed),
            exempt: Arc::new(self.exemption.as_ref().map(|one| one.prefixes().to_vec()).unwrap_or_default()),
            problems: problems.chain(self.forwarding.problems()).collect(),
        };
        let is_news = self.reports.send_if_modified(|last| {
            let is_news = *last != report;
            *last = report;
            is_news
        });
        // After news comes silence for a while; without news the next change is said at once.
        self.reported = is_news.then(Instant::now);
        None
    }
}

fn log(operation: &Operation) {
    match operation {
        Operation::Install { key, hops, replace: false } => debug!(route = %key, ?hops, "route added"),
        Operation::Install { key, hops, replace: true } => debug!(route = %key, ?hops, "route replaced"),
        Operation::Remove(key) => debug!(route = %key, "route removed"),
    }
}

/// For ever, when there is no time.
async fn pause_until(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time.into()).await,
        None => std::future::pending().await,
    }
}
