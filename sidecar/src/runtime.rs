//! One task that owns what the sidecar knows and wants. The Kubernetes API, bgpd, the kernel and time wake it; it looks
//! at all of them and tells each edge what is wanted now, as a whole. Nothing is a step that could be lost: a sidecar
//! that is killed at any moment and started again wants the same and finds out what is missing.

mod views;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tracing::{info, warn};

use self::views::Views;
use crate::announcement::{AnnouncementRules, Announcements, Scope};
use crate::arguments::RunArguments;
use crate::bgpd::{self, BgpdError, Server};
use crate::cluster::Node;
use crate::cni::CniRules;
use crate::guard::Protected;
use crate::kernel::{Input, Installer, Report};
use crate::kubernetes::{Cache, ConnectError, Known, Reporter, Standing, connect, observe};
use crate::membership::{Members, Membership};
use crate::mesh::{MeshRules, Neighbors};
use crate::metrics::Metrics;
use crate::problem::{Problem, Problems, Reason};
use crate::retirement::Retirement;
use crate::status::Status;
use crate::{http, masquerade};

/// Events from bgpd and others that may wait for the installer.
const INSTALLER_QUEUE: usize = 256;
/// Problems that may wait to become Kubernetes Events. What does not fit is in the log only.
const EVENT_QUEUE: usize = 256;
/// How often everything is looked at again although nothing happened.
const HEARTBEAT: Duration = Duration::from_secs(30);
/// Time before another attempt to hand something to a full queue.
const FULL: Duration = Duration::from_millis(50);

/// Why the sidecar cannot run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// No client for the Kubernetes API.
    #[error(transparent)]
    Kubernetes(#[from] ConnectError),
    /// The option for bgpd's API is wrong.
    #[error(transparent)]
    Server(#[from] BgpdError),
    /// A part of it has failed: an error in the program.
    #[error("a task ended unexpectedly: {0}")]
    Task(String),
    /// No signals.
    #[error("signals cannot be received: {0}")]
    Signal(std::io::Error),
}

/// The state, and where what is wanted goes.
struct Runtime {
    views: Views,
    rules: AnnouncementRules,
    mesh: MeshRules,
    with_services: bool,
    announces: bool,
    installs: bool,
    /// What is protected besides the node's pod CIDRs.
    configured: Vec<(IpNet, Protected)>,
    retirement: Retirement,
    /// The nodes that bgpd's guard is told, if it is.
    membership: Option<Membership>,
    members: watch::Sender<Option<Members>>,
    cache: Option<Cache>,
    cni: Option<CniRules>,
    cni_problem: Option<Problem>,
    problems: Problems,
    frame: Status,
    declared: watch::Sender<Option<Announcements>>,
    neighbors: watch::Sender<Option<Neighbors>>,
    inputs: mpsc::Sender<Input>,
    protected: Option<Vec<(IpNet, Protected)>>,
    status: watch::Sender<Status>,
    metrics: Arc<Metrics>,
    events: mpsc::Sender<Problem>,
    standing: watch::Sender<Standing>,
}

/// Runs until it is told to stop. What is in the kernel stays there, and announcements stay for the lease.
///
/// # Errors
/// When it cannot begin, or a part of it failed.
pub async fn run(arguments: &RunArguments) -> Result<(), RunError> {
    let server = Server::new(&arguments.server)?;
    let client = connect(arguments.kubeconfig.as_deref()).await?;
    let mut tasks = JoinSet::new();
    let runtime = start(arguments, server, client, &mut tasks);
    tasks.spawn(runtime.run());
    info!(version = env!("CARGO_PKG_VERSION"), server = arguments.server, "running");
    let mut terminate =
        tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).map_err(RunError::Signal)?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
        ended = tasks.join_next() => {
            let reason = match ended {
                Some(Err(error)) => error.to_string(),
                _ => "without a reason".to_owned(),
            };
            return Err(RunError::Task(reason));
        }
    }
    info!("stopping; kernel routes stay, and announcements stay for the lease");
    Ok(())
}

/// Starts the edges.
fn start(arguments: &RunArguments, server: Server, client: kube::Client, tasks: &mut JoinSet<()>) -> Runtime {
    let mut cache = arguments.cache.clone().map(Cache::new);
    let remembered = cache.as_mut().and_then(Cache::read).unwrap_or_default();
    let (known, known_view) = watch::channel(remembered);
    let with_services = !arguments.services.is_empty();
    tasks.spawn(observe(client.clone(), arguments.nodes(), with_services, Arc::new(known)));

    let (declared, to_declare) = watch::channel(None);
    let (applied, applied_view) = watch::channel(bgpd::Applied::default());
    if !arguments.no_announce {
        tasks.spawn(bgpd::announce(server.clone(), arguments.ownership(), to_declare, applied));
    }
    let (neighbors, to_keep) = watch::channel(None);
    let (sessions, sessions_view) = watch::channel(bgpd::Sessions::default());
    tasks.spawn(bgpd::keep_neighbors(server.clone(), to_keep, sessions));

    let (members, to_guard) = watch::channel(None);
    let (nodes, nodes_view) = watch::channel(bgpd::NodesDeclared::default());
    if let Some(cluster) = &arguments.guard_cluster {
        let whose = (arguments.owner.clone(), cluster.clone());
        tasks.spawn(bgpd::declare_nodes(server.clone(), whose, to_guard, sessions_view.clone(), nodes));
    }

    let (inputs, to_install) = mpsc::channel(INSTALLER_QUEUE);
    let (report, report_view) = watch::channel(Report::default());
    let (followed, followed_view) = watch::channel(bgpd::Followed::default());
    let placement = arguments.placement();
    let installs = placement.is_some();
    if let Some(placement) = placement {
        tasks.spawn(Installer::new(placement, arguments.exemption(), to_install, report).run());
        tasks.spawn(bgpd::answer(server.clone(), arguments.owner.clone(), inputs.clone()));
        tasks.spawn(bgpd::follow(server, inputs.clone(), followed));
    }

    let metrics = Arc::new(Metrics::default());
    let frame = frame(arguments);
    let (status, status_view) = watch::channel(frame.clone());
    tasks.spawn(http::serve(arguments.listen, status_view, Arc::clone(&metrics)));
    let (events, to_report) = mpsc::channel(EVENT_QUEUE);
    let (standing, to_stand) = watch::channel(Standing::default());
    if !arguments.no_report {
        let node = arguments.node_name.clone().filter(|_| matches!(arguments.scope(), Scope::Node(_)));
        tasks.spawn(Reporter::new(client, node).run(to_report, to_stand));
    }
    let views = Views {
        known: known_view,
        applied: applied_view,
        sessions: sessions_view,
        report: report_view,
        followed: followed_view,
        nodes: nodes_view,
    };
    let service = arguments.service_cidr.iter().map(|prefix| (*prefix, Protected::ServiceCidr));
    let configured = service.chain(arguments.protect.iter().map(|prefix| (*prefix, Protected::Configured)));
    Runtime {
        views,
        rules: arguments.announcement_rules(),
        mesh: arguments.mesh_rules(),
        with_services,
        announces: !arguments.no_announce,
        installs,
        configured: configured.collect(),
        retirement: Retirement::new(arguments.drain_time()),
        membership: arguments.guard_cluster.as_ref().map(|_| Membership::new(arguments.drain_time())),
        members,
        cache,
        cni: arguments.cni_rules(),
        cni_problem: None,
        problems: Problems::default(),
        frame,
        declared,
        neighbors,
        inputs,
        protected: None,
        status,
        metrics,
        events,
        standing,
    }
}

/// The parts of the status that do not change.
fn frame(arguments: &RunArguments) -> Status {
    let scope = arguments.scope();
    let (mode, node) = match &scope {
        Scope::Node(name) => ("node", Some(name.clone())),
        Scope::Cluster => ("cluster", None),
    };
    let mut status = Status { mode: mode.to_owned(), node, ..Status::default() };
    status.bgpd.server.clone_from(&arguments.server);
    status.bgpd.owner.clone_from(&arguments.owner);
    status.guard.cluster.clone_from(&arguments.guard_cluster);
    status.missing = vec!["it has just started".to_owned()];
    status
}

impl Runtime {
    async fn run(mut self) {
        loop {
            let again = self.turn(Instant::now()).await;
            tokio::select! {
                () = self.views.changed() => {}
                () = tokio::time::sleep_until(again.into()) => {}
            }
        }
    }

    /// Looks at everything and tells each edge what is wanted. When to look again, at the latest.
    async fn turn(&mut self, now: Instant) -> Instant {
        let known = self.views.known();
        let mut again = now + HEARTBEAT;
        let mut problems = Vec::new();
        if let Some(cache) = self.cache.as_mut().filter(|_| known.has_nodes) {
            cache.write(&known);
        }
        if known.is_complete(self.with_services) {
            let wanted = self.rules.wanted(&known.cluster);
            problems.extend(wanted.problems);
            self.retirement.update(wanted.announcements, now);
            again = self.retirement.next_end().into_iter().chain([again]).min().unwrap_or(again);
            set(&self.declared, Some(self.retirement.announcements()));
        }
        if let Some(membership) = self.membership.as_mut().filter(|_| known.has_nodes) {
            membership.update(&known.cluster, now);
            again = membership.next_end().into_iter().chain([again]).min().unwrap_or(again);
            set(&self.members, Some(membership.members()));
        }
        if self.mesh.apply() && known.has_nodes {
            set(&self.neighbors, self.mesh.neighbors(&known.cluster));
        }
        let own = self.own_node(&known, &mut problems);
        let pod_cidrs = own.map(|node| node.pod_cidrs.clone()).unwrap_or_default();
        if known.has_nodes {
            if self.installs && !self.protect(&pod_cidrs) {
                again = again.min(now + FULL);
            }
            self.write_cni(&pod_cidrs).await;
        }
        problems.extend(self.cni_problem.clone());
        problems.extend(self.views.problems());
        self.publish(&known, problems);
        again
    }

    fn own_node<'a>(&self, known: &'a Known, problems: &mut Vec<Problem>) -> Option<&'a Node> {
        let Scope::Node(name) = &self.rules.scope else { return None };
        let own = known.cluster.nodes.get(name);
        if known.has_nodes && own.is_none() {
            let message = "does not exist in the cluster; is --node-name the name of this Node?";
            problems.push(Problem::new(format_args!("node/{name}"), Reason::InvalidValue, message));
        }
        own
    }

    /// Tells the installer what is protected. False when it has to be tried again.
    fn protect(&mut self, pod_cidrs: &[IpNet]) -> bool {
        let pods = pod_cidrs.iter().map(|prefix| (*prefix, Protected::PodCidr));
        let protected: Vec<_> = pods.chain(self.configured.iter().copied()).collect();
        if self.protected.as_ref() == Some(&protected) {
            return true;
        }
        let is_told = self.inputs.try_send(Input::Protected(protected.clone())).is_ok();
        if is_told {
            self.protected = Some(protected);
        }
        is_told
    }

    async fn write_cni(&mut self, pod_cidrs: &[IpNet]) {
        let Some(rules) = self.cni.clone() else { return };
        let (file, pod_cidrs) = (rules.file.clone(), pod_cidrs.to_vec());
        let failure = match tokio::task::spawn_blocking(move || rules.write(&pod_cidrs)).await {
            Ok(Ok(is_new)) => {
                if is_new {
                    info!(file = %file.display(), "CNI configuration written");
                }
                None
            }
            Ok(Err(error)) => Some(error.to_string()),
            Err(error) => Some(error.to_string()),
        };
        self.cni_problem = failure.map(|message| Problem::new("cni", Reason::CniConfigurationFailed, message));
    }

    /// Says what is new and how it stands.
    fn publish(&mut self, known: &Known, problems: Vec<Problem>) {
        let mut status = self.frame.clone();
        let announcements = self.declared.borrow().clone().unwrap_or_default();
        self.views.describe(&mut status, known, &announcements);
        status.guard.nodes = self.members.borrow().as_ref().map_or(0, Members::len);
        status.kubernetes.known = known.is_complete(self.with_services);
        status.missing = self.missing(&status);
        status.ready = status.missing.is_empty();
        let difference = self.problems.replace(problems);
        status.problems = self.problems.current();
        for problem in &difference.came {
            warn!(object = problem.object, reason = %problem.reason, "{}", problem.message);
            // A full queue means that the API is slow; the problem is in the log and the status.
            let _ = self.events.try_send(problem.clone());
        }
        for problem in &difference.went {
            info!(object = problem.object, reason = %problem.reason, "is well again");
        }
        self.metrics.update(&status, &difference.came);
        set(&self.standing, Standing { ready: status.ready, message: status.summary() });
        set(&self.status, status);
    }

    /// What is missing for all that is wanted to be announced and installed.
    fn missing(&self, status: &Status) -> Vec<String> {
        let mut missing = Vec::new();
        let mut lacks = |is_missing: bool, what: &str| {
            if is_missing {
                missing.push(what.to_owned());
            }
        };
        lacks(!status.kubernetes.known, "the cluster's state is not known");
        lacks(self.announces && !self.views.applied().is_current, "announcements are not in bgpd");
        let declares = self.membership.is_some();
        lacks(declares && !self.views.nodes_are_declared(), "the cluster's nodes are not declared in bgpd");
        let announces_nothing = status.announcements.is_empty() && matches!(self.rules.scope, Scope::Node(_));
        lacks(self.announces && status.kubernetes.known && announces_nothing, "the node has nothing to announce");
        lacks(self.installs && !self.views.report().is_complete, "learned routes are not all in the kernel");
        lacks(status.bgpd.neighbors > 0 && status.bgpd.established == 0, "no session of bgpd is Established");
        missing
    }
}

/// Tells it only when it is news.
fn set<T: PartialEq>(sender: &watch::Sender<T>, value: T) {
    sender.send_if_modified(|current| {
        let is_news = *current != value;
        *current = value;
        is_news
    });
}

/// What `bgp-sidecar uninstall` leaves behind: nothing. Each part is tried, whatever happens to the others.
///
/// # Errors
/// What could not be removed, one line each.
pub async fn uninstall(
    protocol: u8,
    server: &str,
    ownership: &bgpd::Ownership,
    cni_conf: Option<&std::path::Path>,
) -> Result<(), Vec<String>> {
    let mut failures = Vec::new();
    match Server::new(server) {
        Ok(server) => match bgpd::withdraw(&server, ownership).await {
            Ok(withdrawn) => println!("announcements withdrawn: {withdrawn}"),
            // Nobody has them, then.
            Err(error @ BgpdError::Unreachable { .. }) => println!("announcements end with their lease: {error}"),
            Err(error) => failures.push(error.to_string()),
        },
        Err(error) => failures.push(error.to_string()),
    }
    match crate::kernel::remove_all(protocol).await {
        Ok(removed) => println!("routes removed: {removed}"),
        Err(error) => failures.push(format!("routes of protocol {protocol}: {error}")),
    }
    match tokio::task::spawn_blocking(masquerade::remove).await {
        Ok(Ok(())) => println!("exemption from masquerade removed"),
        Ok(Err(error)) => failures.push(error.to_string()),
        Err(error) => failures.push(error.to_string()),
    }
    if let Some(file) = cni_conf {
        match crate::cni::remove(file) {
            Ok(removed) => println!("CNI configuration {}", if removed { "removed" } else { "was not there" }),
            Err(error) => failures.push(format!("{}: {error}", file.display())),
        }
    }
    if failures.is_empty() { Ok(()) } else { Err(failures) }
}

/// What a running sidecar says of itself.
///
/// # Errors
/// When none answers.
pub async fn status(listen: SocketAddr) -> Result<Status, http::AskError> {
    http::ask(listen).await
}
