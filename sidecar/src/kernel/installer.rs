//! The task that keeps the kernel's tables as [`Forwarding`] wants them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use ipnet::IpNet;
use tokio::sync::{mpsc, watch};
use tokio::time::sleep_until;
use tracing::{debug, info, warn};

use super::{Kernel, KernelError};
use crate::forwarding::{Counts, Forwarding, KernelEvent, Operation, Placement};
use crate::guard::Protected;
use crate::learned::RouteEvent;
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
    /// What is wrong with which route.
    pub problems: Vec<Problem>,
}

/// Keeps learned routes in the kernel.
pub struct Installer {
    forwarding: Forwarding,
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
    pub fn new(placement: Placement, inputs: mpsc::Receiver<Input>, reports: watch::Sender<Report>) -> Self {
        let protocol = placement.protocol;
        Self { forwarding: Forwarding::new(placement), protocol, inputs, reports, reported: None }
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
            }
            is_clear = self.carry_out(&kernel).await;
            if !is_clear {
                continue;
            }
            let next_report = self.report();
            let wake_at = self.forwarding.next_retry().into_iter().chain(next_report).min();
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
            Input::Protected(prefixes) => self.forwarding.protect(prefixes),
        }
    }

    fn notice(&mut self, event: KernelEvent) -> bool {
        debug!(?event, "the kernel says");
        self.forwarding.notice(event)
    }

    /// Does what is due. False when the kernel's tables turn out to be others than we thought.
    async fn carry_out(&mut self, kernel: &Kernel) -> bool {
        let operations = self.forwarding.plan(Instant::now());
        if operations.is_empty() {
            return true;
        }
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
        is_clear
    }

    /// Says how it stands, or when it may be said again.
    fn report(&mut self) -> Option<Instant> {
        let due = self.reported.map(|reported| reported + REPORT_PAUSE);
        if let Some(due) = due.filter(|due| *due > Instant::now()) {
            return Some(due);
        }
        let installed: BTreeSet<IpNet> = self.forwarding.installed().collect();
        let report = Report {
            is_observed: true,
            is_complete: self.forwarding.is_complete(),
            counts: self.forwarding.counts(),
            installed: Arc::new(installed),
            problems: self.forwarding.problems(),
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
