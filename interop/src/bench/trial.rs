//! One run of one load against one daemon.

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::attributes::Recipe;
use super::board::Board;
use super::churn::{Churn, held_back};
use super::daemon::{Daemon, DaemonKind};
use super::fleet::{Fleet, Phase, router_id};
use super::load::{Course, Load, Shape};
use super::message;
use super::outcome::Outcome;
use super::usage::{Usage, own_cpu};

/// The client that feeds where there is only one.
const FEEDER: u32 = 0;
/// Once a late joiner is wrong about no more than this many prefixes it has caught up with the churn.
const NEARLY: u32 = 200;

/// A daemon under a load.
pub(crate) struct Trial {
    shape: Shape,
    daemon: Daemon,
    fleet: Fleet,
    /// The first announcements of each feeder.
    feeds: Vec<Bytes>,
    deadline: Instant,
    before: Usage,
    own_before: Duration,
    started: Instant,
    outcome: Outcome,
}

/// Runs `load` against `kind` and says what came of it; errors are those of the machine, not of the daemon.
pub(crate) fn run(load: Load, kind: DaemonKind, bgpd: &Path, quick: bool) -> io::Result<Outcome> {
    let mut trial = Trial::new(load, kind, bgpd, quick)?;
    let finished = match trial.shape.course {
        Course::Converge => trial.converge(),
        Course::Boot => trial.boot(),
        Course::Churn(rate) => trial.churn(rate),
        Course::Leave => trial.leave(),
        Course::Join => trial.join(),
        Course::Stall => trial.stall(),
        Course::Flap => trial.flap(),
    }?;
    trial.conclude(finished)
}

impl Trial {
    fn new(load: Load, kind: DaemonKind, bgpd: &Path, quick: bool) -> io::Result<Self> {
        let shape = load.shape(quick);
        let router_ids = (0..shape.clients).map(|client| router_id(client).to_bits()).collect();
        let mut board = Board::new(shape.table(), router_ids);
        let feeds = (0..shape.feeders).map(|feeder| first_feed(&mut board, &shape, feeder)).collect();
        let fleet = Fleet::new(board, shape.clients, shape.families())?;
        let daemon = Daemon::start(kind, bgpd, shape.families(), load.import())?;
        let now = Instant::now();
        Ok(Self {
            shape,
            daemon,
            fleet,
            feeds,
            deadline: now + Duration::from_secs(if quick { 60 } else { 240 }),
            before: Usage::default(),
            own_before: Duration::ZERO,
            started: now,
            outcome: Outcome::default(),
        })
    }

    /// Brings up all clients but `late` ones, and waits until the daemon is idle.
    fn establish(&mut self, late: u32) -> io::Result<bool> {
        let started = Instant::now();
        self.fleet.bring_up(0..self.shape.clients - late);
        if !self.fleet.run(self.deadline, Fleet::established)? {
            return Ok(false);
        }
        self.outcome.establish_seconds = started.elapsed().as_secs_f64();
        self.rest()?;
        self.outcome.idle_kib = self.daemon.usage().resident_kib;
        Ok(true)
    }

    /// From here on time and CPU count.
    fn start(&mut self) {
        self.before = self.daemon.usage();
        self.own_before = own_cpu();
        self.fleet.latency = Default::default();
        self.started = Instant::now();
    }

    fn stop(&mut self) {
        self.outcome.wall_seconds = self.started.elapsed().as_secs_f64();
        self.outcome.generator_seconds = (own_cpu() - self.own_before).as_secs_f64();
    }

    /// Waits until the daemon has been idle for half a second.
    fn rest(&mut self) -> io::Result<()> {
        let end = Instant::now() + Duration::from_secs(15);
        let mut last = self.daemon.usage().cpu;
        let mut since = Instant::now();
        while since.elapsed() < Duration::from_millis(500) && Instant::now() < end {
            self.fleet.turn(Duration::from_millis(50))?;
            let cpu = self.daemon.usage().cpu;
            if cpu > last + Duration::from_millis(10) {
                last = cpu;
                since = Instant::now();
            }
        }
        Ok(())
    }

    fn settled(&mut self) -> io::Result<bool> {
        self.fleet.run(self.deadline, Fleet::settled)
    }

    fn feed_all(&mut self) {
        for (feeder, feed) in self.feeds.iter().enumerate() {
            self.fleet.send(feeder as u32, feed.clone());
        }
    }

    fn converge(&mut self) -> io::Result<bool> {
        if !self.establish(0)? {
            return Ok(false);
        }
        self.start();
        self.feed_all();
        let settled = self.settled()?;
        self.stop();
        Ok(settled)
    }

    /// All connect at once and announce as soon as they may.
    fn boot(&mut self) -> io::Result<bool> {
        self.start();
        self.fleet.bring_up(0..self.shape.clients);
        let mut waiting: Vec<u32> = (0..self.shape.clients).collect();
        while !(waiting.is_empty() && self.fleet.settled()) {
            if Instant::now() >= self.deadline || !self.fleet.faults.is_empty() {
                self.stop();
                return Ok(false);
            }
            self.fleet.turn(Duration::from_millis(20))?;
            let Self { fleet, feeds, .. } = self;
            waiting.retain(|&client| {
                let up = fleet.members[client as usize].phase == Phase::Established;
                if up {
                    fleet.send(client, feeds[client as usize].clone());
                }
                !up
            });
            if waiting.is_empty() && self.outcome.establish_seconds == 0.0 {
                self.outcome.establish_seconds = self.started.elapsed().as_secs_f64();
            }
        }
        self.stop();
        Ok(true)
    }

    /// The table is in, the daemon idle.
    fn load_table(&mut self, late: u32) -> io::Result<bool> {
        if !self.establish(late)? {
            return Ok(false);
        }
        self.feed_all();
        for client in self.shape.clients - late..self.shape.clients {
            self.fleet.members[client as usize].watched = false;
        }
        if !self.settled()? {
            return Ok(false);
        }
        self.rest()?;
        Ok(true)
    }

    fn churn(&mut self, rate: u32) -> io::Result<bool> {
        if !self.load_table(0)? {
            return Ok(false);
        }
        let mut churn = Churn::new(&mut self.fleet.board, rate, self.shape.churn_seconds);
        self.start();
        churn.start();
        let settled = self.change(&mut churn, |_| false)? && self.settled()?;
        self.stop();
        self.outcome.take_latency(&self.fleet.latency);
        self.outcome.note("changes", churn.sent() as f64);
        Ok(settled)
    }

    /// Churns until all changes are sent or `enough`.
    fn change(&mut self, churn: &mut Churn, mut enough: impl FnMut(&Fleet) -> bool) -> io::Result<bool> {
        while !churn.done() && !enough(&self.fleet) {
            if Instant::now() >= self.deadline || !self.fleet.faults.is_empty() {
                return Ok(false);
            }
            churn.tick(&mut self.fleet);
            self.fleet.turn(Churn::pause())?;
        }
        Ok(true)
    }

    fn leave(&mut self) -> io::Result<bool> {
        if !self.load_table(0)? {
            return Ok(false);
        }
        self.start();
        self.fleet.take_down(FEEDER);
        self.fleet.expect_nothing();
        let settled = self.settled()?;
        self.stop();
        Ok(settled)
    }

    /// A client joins while the table changes. The time is until it is as right as the others.
    fn join(&mut self) -> io::Result<bool> {
        if !self.load_table(1)? {
            return Ok(false);
        }
        let joiner = self.shape.clients - 1;
        let mut churn = Churn::new(&mut self.fleet.board, 2_000, 12 * self.shape.churn_seconds);
        self.fleet.members[joiner as usize].timed = false;
        self.start();
        churn.start();
        self.fleet.bring_up([joiner]);
        let nearly = |fleet: &Fleet| {
            let member = &fleet.members[joiner as usize];
            member.phase == Phase::Established && member.view.wrong() <= NEARLY
        };
        let mut going = self.change(&mut churn, nearly)?;
        self.stop();
        // A joiner that is done at once leaves too few changes to tell a latency.
        let started = Instant::now();
        going = going && self.change(&mut churn, |_| started.elapsed() > Duration::from_secs(2))?;
        self.outcome.take_latency(&self.fleet.latency);
        self.outcome.note("changes", churn.sent() as f64);
        self.fleet.members[joiner as usize].watched = true;
        Ok(going && self.settled()?)
    }

    /// One receiver does not read. The time is that of the nine others; then comes churn; then it reads again.
    fn stall(&mut self) -> io::Result<bool> {
        if !self.establish(0)? {
            return Ok(false);
        }
        let stalled = self.shape.clients - 1;
        self.fleet.set_reading(stalled, false);
        self.fleet.members[stalled as usize].watched = false;
        self.fleet.members[stalled as usize].timed = false;
        self.start();
        self.feed_all();
        let mut good = self.settled()?;
        self.stop();
        let mut churn = Churn::new(&mut self.fleet.board, 2_000, self.shape.churn_seconds.div_ceil(2));
        self.fleet.latency = Default::default();
        churn.start();
        good = good && self.change(&mut churn, |_| false)? && self.settled()?;
        self.outcome.take_latency(&self.fleet.latency);
        self.outcome.note("stalled_kib", self.daemon.usage().resident_kib as f64);
        let resumed = Instant::now();
        self.fleet.members[stalled as usize].watched = true;
        self.fleet.set_reading(stalled, true);
        good = good && self.settled()?;
        self.outcome.note("resume_seconds", resumed.elapsed().as_secs_f64());
        Ok(good)
    }

    /// The feeder goes after its table is everywhere, in the middle of announcing it, and right after the last byte is
    /// written; then it comes with a different table: a quarter of the groups changed, a sixteenth gone.
    fn flap(&mut self) -> io::Result<bool> {
        self.start();
        if !self.load_table(0)? {
            return Ok(false);
        }
        self.fleet.take_down(FEEDER);
        let half = self.feeds[0].len() / 2;
        for left in [half, 0] {
            if !self.feeder_returns()? {
                return Ok(false);
            }
            self.fleet.send(FEEDER, self.feeds[0].clone());
            let down_to = |fleet: &Fleet| fleet.members[FEEDER as usize].queued() <= left;
            if !self.fleet.run(self.deadline, down_to)? {
                return Ok(false);
            }
            self.fleet.take_down(FEEDER);
        }
        self.feeds[0] = changed_feed(&mut self.fleet.board, &self.shape);
        self.fleet.recount();
        if !self.feeder_returns()? {
            return Ok(false);
        }
        let last = Instant::now();
        self.fleet.send(FEEDER, self.feeds[0].clone());
        let settled = self.settled()?;
        self.stop();
        self.outcome.note("last_announcement_seconds", last.elapsed().as_secs_f64());
        Ok(settled)
    }

    fn feeder_returns(&mut self) -> io::Result<bool> {
        self.fleet.bring_up([FEEDER]);
        self.fleet.run(self.deadline, Fleet::established)
    }

    /// Lets the daemon come to rest, checks every table once more, and sums up.
    fn conclude(mut self, finished: bool) -> io::Result<Outcome> {
        if finished {
            self.rest()?;
        }
        let alive = self.daemon.alive();
        let usage = self.daemon.usage();
        let mut outcome = self.outcome;
        outcome.cpu_seconds = (usage - self.before).as_secs_f64();
        outcome.peak_kib = usage.peak_kib;
        outcome.settled_kib = usage.resident_kib;
        for member in &self.fleet.members {
            outcome.add_counters(&member.view.counters, member.received);
        }
        outcome.wrong.append(&mut self.fleet.faults);
        outcome.wrong.truncate(3);
        if !finished && Instant::now() >= self.deadline {
            outcome.wrong.push("not done in time".into());
        }
        outcome.wrong.extend(self.fleet.complaints());
        if !alive {
            outcome.wrong.push("the daemon ended by itself".into());
        }
        if !outcome.wrong.is_empty() {
            outcome.log = self.daemon.log_tail();
        }
        Ok(outcome)
    }
}

/// Everything `feeder` announces at first, and what the others are to hold of it.
pub(super) fn first_feed(board: &mut Board, shape: &Shape, feeder: u32) -> Bytes {
    let churns = matches!(shape.course, Course::Churn(_) | Course::Join | Course::Stall);
    let mut bytes = Vec::new();
    for group in 0..board.table.groups.len() as u32 {
        if !shape.announces(feeder, group) {
            continue;
        }
        let detour = shape.detour(feeder, group);
        let (route, set) = board.register(Recipe { client: feeder, group, variant: 0, detour });
        let mut keys = Vec::new();
        for prefix in board.table.groups[group as usize].range() {
            if churns && held_back(prefix as u32) {
                continue;
            }
            keys.push(board.table.keys[prefix]);
            if detour == 0 {
                board.expect_prefix(prefix as u32, feeder, route, 0);
            }
        }
        if !keys.is_empty() {
            message::announce(&set, &keys, &mut bytes);
        }
    }
    message::end_of_rib(shape.families(), &mut bytes);
    bytes.into()
}

/// The table of a feeder's last coming.
fn changed_feed(board: &mut Board, shape: &Shape) -> Bytes {
    let mut bytes = Vec::new();
    for group in 0..board.table.groups.len() as u32 {
        if group % 16 == 5 {
            board.expect_group(group, super::board::NOBODY, super::board::ABSENT);
            continue;
        }
        let variant = u8::from(group % 4 == 0);
        let (route, set) = board.register(Recipe { client: FEEDER, group, variant, detour: 0 });
        board.expect_group(group, FEEDER, route);
        let range = board.table.groups[group as usize].range();
        message::announce(&set, &board.table.keys[range], &mut bytes);
    }
    message::end_of_rib(shape.families(), &mut bytes);
    bytes.into()
}
