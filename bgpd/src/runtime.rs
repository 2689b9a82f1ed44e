//! The running speaker: threads for partitions, tasks for groups and neighbors, one controller over all.

pub(crate) mod change_log;
mod controller;
pub mod document;
pub(crate) mod fabric;
pub(crate) mod group_worker;
pub mod handle;
pub mod kernel;
mod port;
mod reads;
mod release;
mod restart;
pub(crate) mod rib_worker;
mod state;
pub mod status;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZero;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, RwLock};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bgp_engine::attr::Interner;
use bgp_engine::config::Desired;
use bgp_engine::id::{GroupIndex, PeerIndex};
use bgp_engine::policy::{Library, UnknownPolicy};
use bgp_engine::rib::PartitionSettings;
use bgp_engine::stage::Alarm;
use bgp_wire::Family;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tracing::{info, warn};

use self::controller::{Controller, Deferral, Running};
use self::document::{Documents, Written};
use self::fabric::{Fabric, GROUP_QUEUE, GroupPort, PartitionPort, RIB_QUEUE, Restart, RibMessage, Timed};
use self::group_worker::{GroupControl, Groups};
use self::handle::Handle;
use self::port::Input;
use self::reads::{Directory, Reads};
use self::rib_worker::{Rib, RibControl};
use crate::config::RestartSettings;
use crate::observe::Latencies;
use crate::peer::admission::Admission;
use crate::peer::socket;
use crate::rpki::Rpki;

/// Commands of API clients that may wait for the controller.
const COMMAND_QUEUE: usize = 256;
/// More owners than this bring nothing: intake and encoding are spread over peers and groups already.
const WORKERS_MAX: usize = 16;

/// How long owners of routes are waited for that had a lease before a restart: clients try again every few seconds.
const OWNERS_PATIENCE: Duration = Duration::from_secs(10);

/// Why the speaker cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A listening socket cannot be opened.
    #[error("cannot listen on {address}: {source}{}", listen_hint(.source))]
    Listen {
        /// The address as configured.
        address: SocketAddr,
        /// What the kernel said.
        source: io::Error,
    },
    /// The kernel does not have what the configuration needs.
    #[error(transparent)]
    Kernel(handle::ControlError),
    /// A thread cannot be started.
    #[error("cannot start a worker thread: {0}")]
    Thread(io::Error),
    /// A policy names a set that does not exist.
    #[error(transparent)]
    Policy(UnknownPolicy),
}

fn listen_hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => " (ports below 1024 need CAP_NET_BIND_SERVICE; or set [global] listen)",
        io::ErrorKind::AddrInUse => " (another BGP daemon is running, or set [global] listen)",
        io::ErrorKind::AddrNotAvailable => " (no interface has this address)",
        _ => "",
    }
}

/// Starts a speaker that is what a document says, together with what came through the API before. Must be called within
/// a tokio runtime.
///
/// # Errors
/// When a socket cannot be opened or a thread cannot be started; then nothing runs.
pub fn start(document: Written, documents: Documents, settings: &RestartSettings) -> Result<Handle, StartError> {
    let (state, restored) = state::open(documents.directory());
    let mut desired = document.desired.clone();
    for refused in restored.neighbors.lay_over(&mut desired).refused {
        warn!("not in force: {refused}");
    }
    kernel::check(&desired).map_err(StartError::Kernel)?;
    let listeners = listen(&desired.global.listen)?;
    let workers = thread::available_parallelism().map_or(1, NonZero::get).min(WORKERS_MAX);
    let (remembered, recorder) = restart::open(settings, documents.directory());
    let mut expected = desired.expected_back(&remembered.peers);
    let returning = if expected.is_empty() { BTreeSet::new() } else { restored.leased() };
    if !returning.is_empty() {
        // What this speaker originates itself counts as complete when they have declared it again.
        let own = IpAddr::V4(desired.global.router_id);
        for peers in expected.values_mut() {
            peers.insert(own);
        }
    }
    let deferring = if expected.is_empty() { 0 } else { workers };
    let deferral = (deferring > 0).then(|| Instant::now() + settings.selection_deferral);
    if deferring > 0 {
        let peers: BTreeSet<_> = expected.values().flatten().collect();
        let (peers, owners, seconds) = (peers.len(), returning.len(), settings.selection_deferral.as_secs());
        info!(peers, owners, seconds, "restarted: route selection waits for the routes of the peers from before");
    }
    let restart = Restart::new(deferring, remembered.forwarding_kept);
    let (fabric, inputs) = fabric(workers, restart, &desired, &expected)?;
    let fabric = Arc::new(fabric);
    for (index, input) in inputs.partitions.into_iter().enumerate() {
        rib_worker::spawn(index, input, Arc::clone(&fabric)).map_err(StartError::Thread)?;
    }
    for (index, input) in inputs.groups.into_iter().enumerate() {
        group_worker::spawn(index, input, Arc::clone(&fabric)).map_err(StartError::Thread)?;
    }
    tokio::spawn(release::run(Arc::clone(&fabric)));
    let directory = Arc::new(Directory::default());
    let (subscriptions, subscription_receiver) = mpsc::channel(COMMAND_QUEUE);
    let watch_input = watch::Input { data: inputs.watch, subscriptions: subscription_receiver };
    tokio::spawn(watch::run(watch_input, Arc::clone(&fabric), Arc::clone(&directory)));
    let (commands, command_receiver) = mpsc::channel(COMMAND_QUEUE);
    let reads = Reads::new(Arc::clone(&directory), Arc::clone(&fabric), subscriptions);
    let owners_until = (!returning.is_empty()).then(|| Instant::now() + OWNERS_PATIENCE);
    let deferral = Deferral { until: deferral, recorder, returning, owners_until };
    let mut controller = Controller::new(desired, fabric, listeners, directory, deferral);
    controller.remember(state, restored, Running::new(document, documents));
    tokio::spawn(controller.run(command_receiver, inputs.alarms, inputs.settled));
    Ok(Handle::new(commands, reads))
}

fn listen(addresses: &[SocketAddr]) -> Result<Vec<(SocketAddr, Arc<TcpListener>)>, StartError> {
    let open = |&address: &SocketAddr| match socket::listen(address, &[]) {
        Ok(listener) => Ok((address, Arc::new(listener))),
        Err(source) => Err(StartError::Listen { address, source }),
    };
    addresses.iter().map(open).collect()
}

/// The receiving ends of the fabric.
struct Inputs {
    partitions: Vec<Input<RibMessage, RibControl>>,
    groups: Vec<Input<Timed, (GroupIndex, GroupControl)>>,
    watch: mpsc::Receiver<watch::WatchMessage>,
    alarms: mpsc::UnboundedReceiver<Alarm>,
    settled: mpsc::UnboundedReceiver<(PeerIndex, GroupIndex)>,
}

fn fabric(
    workers: usize,
    restart: Restart,
    desired: &Desired,
    expected: &BTreeMap<Family, BTreeSet<IpAddr>>,
) -> Result<(Fabric, Inputs), StartError> {
    let seed = seed();
    let interner = Arc::new(Interner::new(seed));
    let (watch, watch_receiver) = mpsc::channel(GROUP_QUEUE);
    let (alarms, alarm_receiver) = mpsc::unbounded_channel();
    let (settled, settled_receiver) = mpsc::unbounded_channel();
    let mut inputs = Inputs {
        partitions: Vec::new(),
        groups: Vec::new(),
        watch: watch_receiver,
        alarms: alarm_receiver,
        settled: settled_receiver,
    };
    let (mut partitions, mut groups) = (Vec::new(), Vec::new());
    for index in 0..workers {
        let (router_id, decision) = (desired.global.router_id, rib_worker::decision_options(&desired.global));
        let settings = PartitionSettings { index, seed: seed.wrapping_add(index as u64), router_id, decision };
        let (port, input) = PartitionPort::new(Rib::new(settings, Arc::clone(&interner), expected), RIB_QUEUE);
        partitions.push(port);
        inputs.partitions.push(input);
        let (port, input) = GroupPort::new(Groups::default(), GROUP_QUEUE);
        groups.push(port);
        inputs.groups.push(input);
    }
    let (started, seed) = (Instant::now(), AtomicU64::new(seed));
    let latencies = Latencies::default();
    let library = Library::new(Arc::clone(&interner)).with(&desired.policies).map_err(StartError::Policy)?;
    let library = RwLock::new(Arc::new(library));
    let fabric = Fabric {
        partitions,
        groups,
        alarms,
        settled,
        watch,
        interner,
        latencies,
        library,
        rpki: Rpki::start(),
        admission: Admission::new(desired.global.connections),
        started,
        restart,
        seed,
    };
    Ok((fabric, inputs))
}

/// A seed that a peer cannot guess well enough to make hash tables degenerate.
fn seed() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    RandomState::new().hash_one(now.as_nanos())
}
