//! Caches of the RPKI: connections to them (RFC 8210), and the table of VRPs that follows from what they say.
//!
//! One task owns the clients of all caches; each connection is a task that moves octets. What counts now and how each
//! cache is stand in `watch` channels: whoever reads them sees the latest word.

mod connection;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bgp_engine::rpki::{Action, CacheSettings, Client, Input, Phase, VrpTable, in_use};
use bgp_wire::rtr;
use tokio::sync::{mpsc, watch};
use tracing::{info, warn};

use self::connection::{Connection, Event};
use crate::peer::sleep_to;

/// Events of connections that may wait for the owner; a connection whose event waits reads no further.
const EVENTS: usize = 16;
/// Between two tables: a cache that says something new every moment does not have all routes judged every moment.
const PAUSE: Duration = Duration::from_secs(1);

/// What counts now; nothing where no cache is configured.
pub(crate) type Validation = Option<Arc<VrpTable>>;

/// How a cache is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheStatus {
    /// Its address and port.
    pub address: SocketAddr,
    /// Its settings.
    pub settings: CacheSettings,
    /// Where the protocol is.
    pub phase: Phase,
    /// Its data counts.
    pub in_use: bool,
    /// Its data is from before the connection was lost.
    pub stale: bool,
    /// VRPs that it has said.
    pub vrps: usize,
    /// Protocol version, session and serial number of the data.
    pub position: Option<(u8, u16, u32)>,
    /// When the data was complete last.
    pub synchronized: Option<Instant>,
    /// Seconds between questions, after failures, and until data expires.
    pub intervals: rtr::Intervals,
    /// What went wrong last.
    pub last_error: Option<String>,
}

/// The way to the caches, and what they say.
pub(crate) struct Rpki {
    wanted: watch::Sender<BTreeMap<SocketAddr, CacheSettings>>,
    validation: watch::Receiver<Validation>,
    status: watch::Receiver<Arc<[CacheStatus]>>,
}

impl Rpki {
    /// Starts the task that talks to caches. It ends with the value.
    pub(crate) fn start() -> Self {
        let (wanted, wanted_receiver) = watch::channel(BTreeMap::new());
        let (validation_sender, validation) = watch::channel(None);
        let (status_sender, status) = watch::channel(Arc::from([]));
        let (events, event_receiver) = mpsc::channel(EVENTS);
        let owner = Owner {
            caches: BTreeMap::new(),
            generation: 0,
            events,
            validation: validation_sender,
            status: status_sender,
            used: Vec::new(),
            published: None,
            due: None,
        };
        tokio::spawn(owner.run(wanted_receiver, event_receiver));
        Self { wanted, validation, status }
    }

    /// Other caches from now on.
    pub(crate) fn set_caches(&self, caches: BTreeMap<SocketAddr, CacheSettings>) {
        // The task lives as long as this value.
        let _ = self.wanted.send(caches);
    }

    /// What counts now, and when that changes.
    pub(crate) fn validation(&self) -> watch::Receiver<Validation> {
        self.validation.clone()
    }

    /// What counts now.
    pub(crate) fn table(&self) -> Validation {
        self.validation.borrow().clone()
    }

    /// How the caches are, by address.
    pub(crate) fn status(&self) -> Arc<[CacheStatus]> {
        Arc::clone(&self.status.borrow())
    }
}

/// A client and its connection.
struct Cache {
    client: Client,
    settings: CacheSettings,
    /// Events of earlier connections are nobody's.
    generation: u64,
    connection: Option<Connection>,
    /// Octets that are not a whole PDU yet.
    buffer: Vec<u8>,
}

struct Owner {
    caches: BTreeMap<SocketAddr, Cache>,
    generation: u64,
    events: mpsc::Sender<(SocketAddr, u64, Event)>,
    validation: watch::Sender<Validation>,
    status: watch::Sender<Arc<[CacheStatus]>>,
    /// The caches that the last table is from.
    used: Vec<SocketAddr>,
    published: Option<Instant>,
    /// When the next table is to be made.
    due: Option<Instant>,
}

impl Owner {
    async fn run(
        mut self,
        mut wanted: watch::Receiver<BTreeMap<SocketAddr, CacheSettings>>,
        mut events: mpsc::Receiver<(SocketAddr, u64, Event)>,
    ) {
        loop {
            let deadlines = self.caches.values().filter_map(|cache| cache.client.next_deadline());
            let deadline = deadlines.chain(self.due).min();
            tokio::select! {
                changed = wanted.changed() => match changed {
                    Ok(()) => {
                        let wanted = wanted.borrow_and_update().clone();
                        self.configure(wanted);
                    }
                    // The speaker has stopped.
                    Err(_) => return,
                },
                Some((address, generation, event)) = events.recv() => self.event(address, generation, event),
                () = sleep_to(deadline) => self.tick(),
            }
            self.publish();
        }
    }

    fn configure(&mut self, wanted: BTreeMap<SocketAddr, CacheSettings>) {
        self.caches.retain(|address, cache| wanted.get(address) == Some(&cache.settings));
        for (address, settings) in wanted {
            self.caches.entry(address).or_insert_with(|| Cache {
                client: Client::new(settings.clone(), Instant::now()),
                settings,
                generation: 0,
                connection: None,
                buffer: Vec::new(),
            });
        }
        self.due = Some(Instant::now());
    }

    fn tick(&mut self) {
        let now = Instant::now();
        let due = self.caches.iter().filter(|(_, cache)| cache.client.next_deadline().is_some_and(|at| at <= now));
        let due: Vec<SocketAddr> = due.map(|(address, _)| *address).collect();
        due.into_iter().for_each(|address| self.input(address, Input::Tick));
    }

    fn event(&mut self, address: SocketAddr, generation: u64, event: Event) {
        let cache = self.caches.get_mut(&address).filter(|cache| cache.generation == generation);
        // One that was closed may still have had something to say.
        let Some(cache) = cache.filter(|cache| cache.connection.is_some()) else { return };
        match event {
            Event::Connected => self.input(address, Input::Connected),
            Event::Read(bytes) => {
                cache.buffer.extend_from_slice(&bytes);
                self.read(address);
            }
            Event::Closed(why) => {
                cache.connection = None;
                self.input(address, Input::Closed(why));
            }
        }
    }

    /// Takes the PDUs that are whole.
    fn read(&mut self, address: SocketAddr) {
        let Some(cache) = self.caches.get_mut(&address) else { return };
        let buffer = std::mem::take(&mut cache.buffer);
        let mut rest = buffer.as_slice();
        // A PDU may end the connection.
        while self.caches.get(&address).is_some_and(|cache| cache.connection.is_some()) {
            match rtr::split(rest) {
                Ok(Some(pdu)) => {
                    rest = rest.get(pdu.len()..).unwrap_or_default();
                    self.input(address, Input::Pdu(pdu));
                }
                Ok(None) => {
                    if let Some(cache) = self.caches.get_mut(&address) {
                        cache.buffer = rest.to_vec();
                    }
                    return;
                }
                Err(error) => self.input(address, Input::Garbage(error)),
            }
        }
    }

    fn input(&mut self, address: SocketAddr, input: Input<'_>) {
        let Some(cache) = self.caches.get_mut(&address) else { return };
        let (phase, had_data) = (cache.client.phase(), cache.client.has_data());
        let mut actions = Vec::new();
        cache.client.handle(input, Instant::now(), &mut actions);
        log(&address, phase, had_data, &cache.client);
        for action in actions {
            match action {
                Action::Connect => {
                    self.generation += 1;
                    cache.generation = self.generation;
                    cache.buffer.clear();
                    cache.connection = Some(Connection::open(address, self.generation, self.events.clone()));
                }
                Action::Send(bytes) => {
                    if let Some(connection) = &cache.connection {
                        connection.send(bytes);
                    }
                }
                Action::Close => cache.connection = None,
                Action::Changed => {
                    let earliest = self.published.map(|then| then + PAUSE);
                    self.due = self.due.or(earliest).or(Some(Instant::now()));
                }
            }
        }
    }

    /// Says how the caches are, and makes a table if it is time.
    fn publish(&mut self) {
        let used = in_use(self.caches.values().map(|cache| &cache.client));
        let addresses: Vec<SocketAddr> = self.caches.keys().copied().collect();
        let used: Vec<SocketAddr> = used.into_iter().filter_map(|at| addresses.get(at).copied()).collect();
        let now = Instant::now();
        if used != self.used {
            self.due = Some(now);
        }
        if self.due.is_some_and(|due| due <= now) {
            self.due = None;
            self.published = Some(now);
            let clients = used.iter().filter_map(|address| self.caches.get(address));
            let table: VrpTable = clients.flat_map(|cache| cache.client.vrps().iter().copied()).collect();
            self.used.clone_from(&used);
            // Whoever would read it may have stopped.
            let _ = self.validation.send((!self.caches.is_empty()).then(|| Arc::new(table)));
        }
        let status = self.caches.iter().map(|(address, cache)| cache.status(*address, used.contains(address)));
        let _ = self.status.send(status.collect());
    }
}

impl Cache {
    fn status(&self, address: SocketAddr, in_use: bool) -> CacheStatus {
        let client = &self.client;
        let (synchronized, intervals) = client.timing();
        CacheStatus {
            address,
            settings: self.settings.clone(),
            phase: client.phase(),
            in_use,
            stale: client.has_data() && client.is_stale(),
            vrps: client.vrps().len(),
            position: client.position(),
            synchronized,
            intervals,
            last_error: client.last_error().map(str::to_owned),
        }
    }
}

/// Says what an operator would want to know: a cache is there, is lost, or its data has expired.
fn log(cache: &SocketAddr, before: Phase, had_data: bool, client: &Client) {
    let error = client.last_error().unwrap_or_default();
    match (before, client.phase()) {
        (Phase::Receiving, Phase::Synchronized) => {
            let (_, session, serial) = client.position().unwrap_or_default();
            info!(%cache, session, serial, vrps = client.vrps().len(), "RPKI cache synchronized");
        }
        (Phase::Down, _) | (_, Phase::Connecting | Phase::Asking | Phase::Receiving | Phase::Synchronized) => {}
        (_, Phase::Down) => warn!(%cache, error, stale = client.has_data(), "RPKI cache lost"),
        (_, Phase::NoData) => warn!(%cache, error, "RPKI cache has no data"),
    }
    if had_data && !client.has_data() {
        warn!(%cache, error, "data of the RPKI cache does not count any more");
    }
}
