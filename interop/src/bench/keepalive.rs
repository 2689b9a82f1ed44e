//! Whether KEEPALIVEs are sent and waited for on time while everything else keeps the daemon busy: all sessions have a
//! short hold time, a table changes many thousand times a second, and ten clients of the API read all of it
//! again and again. One peer falls silent in the middle of that and must be noticed; nobody else may lose a session.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bgpd_proto::v1;
use bgpd_proto::v1::route_service_client::RouteServiceClient;
use clap::Parser;
use tokio::runtime::Runtime;
use tonic::transport::Endpoint;

use super::board::Board;
use super::churn::Churn;
use super::daemon::{Daemon, DaemonKind, ImportPolicy};
use super::fleet::{Fleet, Phase, router_id};
use super::load::Shape;
use super::{namespace, trial};

/// Clients of the API.
const DUMPS: usize = 10;
/// What the daemon says to the peer that fell silent (RFC 4271 §6.5).
const EXPIRED: &str = "NOTIFICATION 4/0";

/// Watches KEEPALIVEs while a table changes and is read over the API.
#[derive(Debug, Parser)]
#[command(name = "bgp-keepalive", version)]
pub struct Options {
    /// A small table: checks that nothing goes wrong, measures nothing worth quoting.
    #[arg(long)]
    pub quick: bool,

    /// The hold time of all sessions; the default is the least that RFC 4271 §4.2 allows. The program itself must keep
    /// it, too, which takes a machine that has not much else to do.
    #[arg(long, value_name = "SECONDS", default_value_t = 3, value_parser = clap::value_parser!(u16).range(3..))]
    pub hold_time: u16,

    /// This project's daemon; built when left out.
    #[arg(long, value_name = "FILE")]
    pub bgpd: Option<PathBuf>,
}

/// What was seen.
struct Seen {
    prefixes: usize,
    changes: usize,
    seconds: f64,
    dumps: Dumped,
    sessions: usize,
    hold_time: u16,
    /// Longest time between two KEEPALIVEs of the daemon on any session.
    longest_silence: Duration,
    /// From the last KEEPALIVE of the peer that fell silent until it was told, at most.
    noticed: Option<Duration>,
    wrong: Vec<String>,
}

/// Streams of the API so far.
#[derive(Clone, Copy)]
struct Dumped {
    whole: u64,
    routes: u64,
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Dumped { whole, routes } = self.dumps;
        writeln!(f, "{} prefixes, {} changes in {:.1} s", self.prefixes, self.changes, self.seconds)?;
        writeln!(f, "{DUMPS} clients of the API: {whole} times the whole table, {routes} routes")?;
        let silence = self.longest_silence.as_secs_f64();
        writeln!(
            f,
            "{} sessions with a hold time of {} s, longest time between two KEEPALIVEs: {silence:.3} s",
            self.sessions, self.hold_time
        )?;
        if let Some(noticed) = self.noticed {
            writeln!(f, "a silent peer was told after {:.3} s", noticed.as_secs_f64())?;
        }
        self.wrong.iter().try_for_each(|wrong| writeln!(f, "wrong: {wrong}"))
    }
}

/// Runs it. The exit code says whether all was well.
///
/// # Errors
/// When the machine does not play along.
pub fn run(options: &Options) -> io::Result<ExitCode> {
    if !namespace::entered() {
        let extra = match options.bgpd {
            Some(_) => Vec::new(),
            None => vec!["--bgpd".into(), crate::lab::build_bgpd().join("bgpd").into_os_string()],
        };
        let status = namespace::reenter(extra)?;
        return Ok(ExitCode::from(status.code().map_or(1, |code| code as u8)));
    }
    namespace::prepare()?;
    let bgpd = options.bgpd.as_deref().unwrap_or(Path::new("bgpd"));
    let seen = watch(bgpd, options.quick, options.hold_time)?;
    print!("{seen}");
    Ok(if seen.wrong.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The clients of the API. They stop when this goes.
struct Dumps {
    runtime: Option<Runtime>,
    whole: Arc<AtomicU64>,
    routes: Arc<AtomicU64>,
    failures: std::sync::mpsc::Receiver<String>,
}

impl Dumps {
    fn start(api: &Path) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let (failed, failures) = std::sync::mpsc::channel();
        let (whole, routes) = (Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
        for _ in 0..DUMPS {
            let (server, failed) = (format!("unix:{}", api.display()), failed.clone());
            let (whole, routes) = (Arc::clone(&whole), Arc::clone(&routes));
            runtime.spawn(async move {
                if let Err(error) = dump(server, &whole, &routes).await {
                    // Nobody listens at the end.
                    let _ = failed.send(error);
                }
            });
        }
        Ok(Self { runtime: Some(runtime), whole, routes, failures })
    }

    fn so_far(&self) -> Dumped {
        Dumped { whole: self.whole.load(Ordering::Relaxed), routes: self.routes.load(Ordering::Relaxed) }
    }
}

impl Drop for Dumps {
    fn drop(&mut self) {
        self.runtime.take().into_iter().for_each(Runtime::shutdown_background);
    }
}

/// Reads the whole table for ever.
async fn dump(server: String, whole: &AtomicU64, routes: &AtomicU64) -> Result<(), String> {
    let endpoint = Endpoint::from_shared(server).map_err(|error| error.to_string())?;
    let channel = endpoint.connect().await.map_err(|error| format!("the API: {error}"))?;
    let mut client = RouteServiceClient::new(channel).max_decoding_message_size(usize::MAX);
    loop {
        let answer = client.list(v1::ListRoutesRequest::default()).await;
        let mut stream = answer.map_err(|status| format!("the API: {status}"))?.into_inner();
        while let Some(part) = stream.message().await.map_err(|status| format!("the API: {status}"))? {
            routes.fetch_add(part.routes.len() as u64, Ordering::Relaxed);
        }
        whole.fetch_add(1, Ordering::Relaxed);
    }
}

/// Everything that goes on.
struct Watch {
    fleet: Fleet,
    daemon: Daemon,
    deadline: Instant,
    /// The client that falls silent: the last one.
    mute: u32,
    fell_silent: Option<Instant>,
    noticed: Option<Duration>,
}

fn watch(bgpd: &Path, quick: bool, hold_time: u16) -> io::Result<Seen> {
    let (shape, rate) = Shape::changing_table(quick);
    let router_ids = (0..shape.clients).map(|client| router_id(client).to_bits()).collect();
    let mut board = Board::new(shape.table(), router_ids);
    let prefixes = board.table.len();
    let feed = trial::first_feed(&mut board, &shape, 0);
    let mut fleet = Fleet::new(board, shape.clients, shape.families())?;
    fleet.members.iter_mut().for_each(|member| member.offer(hold_time));
    let daemon = Daemon::start(DaemonKind::Bgpd, bgpd, shape.families(), ImportPolicy::default())?;
    let deadline = Instant::now() + Duration::from_secs(600);
    let mut watch = Watch { fleet, daemon, deadline, mute: shape.clients - 1, fell_silent: None, noticed: None };
    watch.fleet.bring_up(0..shape.clients);
    let mut wrong = Vec::new();
    if !watch.fleet.run(deadline, Fleet::established)? {
        wrong.push("not all sessions came up".to_owned());
    }
    let dumps = Dumps::start(&watch.daemon.api())?;
    let began = Instant::now();
    watch.fleet.send(0, feed);
    if !watch.fleet.run(deadline, Fleet::settled)? {
        wrong.push("the table did not arrive everywhere".to_owned());
    }
    let mut churn = Churn::new(&mut watch.fleet.board, rate, shape.churn_seconds);
    watch.change(&mut churn, &dumps, hold_time)?;
    let seconds = began.elapsed().as_secs_f64();
    let dumped = dumps.so_far();
    wrong.extend(dumps.failures.try_iter());
    wrong.extend((dumped.routes < prefixes as u64).then(|| "no client of the API got as much as a table".to_owned()));
    drop(dumps);
    let settled = wrong.is_empty() && watch.fleet.run(watch.deadline, Fleet::settled)?;
    wrong.extend((!settled).then(|| "the tables are not right in the end".to_owned()));
    watch.conclude(
        wrong,
        Seen {
            prefixes,
            changes: churn.sent(),
            seconds,
            dumps: dumped,
            sessions: shape.clients as usize,
            hold_time,
            longest_silence: Duration::ZERO,
            noticed: None,
            wrong: Vec::new(),
        },
    )
}

impl Watch {
    /// The table changes, at least until every session has lasted for some hold times, and the silent peer is noticed.
    fn change(&mut self, churn: &mut Churn, dumps: &Dumps, hold_time: u16) -> io::Result<()> {
        churn.start();
        let began = Instant::now();
        let pause = Duration::from_secs(u64::from(hold_time));
        loop {
            let over = churn.done() && self.noticed.is_some() && dumps.so_far().whole > 0;
            if over || Instant::now() >= self.deadline || !self.fleet.faults.is_empty() {
                return Ok(());
            }
            if self.fell_silent.is_none() && began.elapsed() > pause {
                let member = &mut self.fleet.members[self.mute as usize];
                (member.mute, member.watched) = (true, false);
                self.fell_silent = Some(member.kept_alive());
            }
            churn.tick(&mut self.fleet);
            self.fleet.turn(Churn::pause())?;
            self.notice();
        }
    }

    /// The end of the silent peer's session, which alone is no fault.
    fn notice(&mut self) {
        let member = &self.fleet.members[self.mute as usize];
        let told = member.notification.as_ref().is_some_and(|text| text.contains(EXPIRED));
        if self.noticed.is_none() && told && member.phase != Phase::Established {
            self.noticed = self.fell_silent.map(|since| since.elapsed());
            let client = format!("session of client {} was lost", self.mute);
            self.fleet.faults.retain(|fault| !fault.starts_with(&client));
            self.fleet.take_down(self.mute);
        }
    }

    fn conclude(mut self, mut wrong: Vec<String>, seen: Seen) -> io::Result<Seen> {
        wrong.append(&mut self.fleet.faults);
        wrong.extend(
            self.noticed.is_none().then(|| "the silent peer was not told that its hold time is over".to_owned()),
        );
        wrong.extend(self.fleet.complaints());
        wrong.extend((!self.daemon.alive()).then(|| "the daemon ended by itself".to_owned()));
        if !wrong.is_empty() {
            wrong.push(self.daemon.log_tail());
        }
        let silences = self.fleet.members.iter().map(|member| member.longest_silence);
        let longest_silence = Duration::from_nanos(silences.max().unwrap_or(0));
        Ok(Seen { longest_silence, noticed: self.noticed, wrong, ..seen })
    }
}
