//! Hosts with their speakers, the virtual clock, and the order of all events.

mod traffic;

use std::cmp::{Ordering, Reverse};
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use bgp_engine::config::Desired;
use bgp_engine::speaker::{Effect, Limits, Socket, Speaker, SpeakerSettings};
use bgp_wire::Family;
use ipnet::IpNet;

use super::network::{End, Network, StreamId, Weather};
use super::random::Random;
use super::topology::{Announced, Routes, Topology};

/// Time since the beginning of the run.
pub type Time = Duration;

/// Stages that go on at one event, at most.
const STEPS: usize = 4;

/// What happens next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Event {
    /// A connection request arrives.
    Syn { stream: StreamId },
    /// It was accepted.
    Answer { stream: StreamId },
    /// It was refused.
    Refused { stream: StreamId },
    /// The first segment of a pipe arrives.
    Deliver { stream: StreamId, to: usize },
    /// A slow reader reads.
    Read { stream: StreamId, to: usize },
    /// There is room again for what goes to an end.
    Room { stream: StreamId, to: usize },
    /// A reset arrives.
    Reset { stream: StreamId, to: usize },
    /// A deadline of a speaker.
    Timer { host: usize, at: Time },
    /// Stages of a speaker go on.
    Step { host: usize },
    /// A speaker starts again.
    Start { host: usize },
}

struct Queued {
    at: Time,
    sequence: u64,
    event: Event,
}

impl PartialEq for Queued {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Queued {}

impl PartialOrd for Queued {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Queued {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at, self.sequence).cmp(&(other.at, other.sequence))
    }
}

/// A machine with a speaker, or without one while that is down.
pub(super) struct Host {
    pub(super) speaker: Option<Speaker>,
    /// What the speaker is configured to be, also when it starts again.
    desired: Desired,
    pub(super) streams: BTreeMap<Socket, StreamId>,
    /// The timer event that counts.
    timer: Option<Time>,
    stepping: bool,
    /// Reads few octets at a time until then.
    pub(super) slow_until: Time,
    /// The machine itself is down: nobody answers.
    pub(super) silent: bool,
    /// Streams with octets that the speaker did not want yet.
    pub(super) unread: BTreeSet<StreamId>,
    starts: u64,
    /// What the next speaker is to know of the last one: the peers that keep its routes.
    remembered: BTreeMap<IpAddr, Vec<Family>>,
}

/// How fast and how large everything is inside a speaker.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// Shortest and longest time until stages go on.
    pub step: (Duration, Duration),
    /// Bounds of a speaker's queues.
    pub limits: Limits,
    /// How long a speaker that has restarted puts route selection off.
    pub selection_deferral: Duration,
}

/// Done to every speaker when it starts: nothing, or a rule that is broken.
pub type Prepare = fn(&mut Speaker);

/// Everything that there is.
pub struct World {
    /// Who speaks with whom.
    pub topology: Topology,
    /// Who originates what now.
    pub routes: Routes,
    pub(super) network: Network,
    pub(super) hosts: Vec<Host>,
    pub(super) random: Random,
    pub(super) now: Time,
    base: Instant,
    queue: BinaryHeap<Reverse<Queued>>,
    sequence: u64,
    pace: Pace,
    prepare: Prepare,
    /// Events and steps of stages so far.
    pub events: u64,
    /// A number that two runs share only if all their events were the same.
    pub digest: u64,
    /// When a stage of any speaker last went on.
    pub(super) last_step: Time,
}

impl World {
    /// All speakers as `topology` says, about to start.
    #[must_use]
    pub fn new(topology: Topology, weather: Weather, pace: Pace, random: Random, prepare: Prepare) -> Self {
        let host = |node| Host {
            speaker: None,
            desired: topology.desired(node),
            streams: BTreeMap::new(),
            timer: None,
            stepping: false,
            slow_until: Time::ZERO,
            silent: true,
            unread: BTreeSet::new(),
            starts: 0,
            remembered: BTreeMap::new(),
        };
        let mut world = Self {
            hosts: (0..topology.nodes.len()).map(host).collect(),
            topology,
            routes: Routes::new(),
            network: Network::new(weather),
            random,
            now: Time::ZERO,
            base: Instant::now(),
            queue: BinaryHeap::new(),
            sequence: 0,
            pace,
            prepare,
            events: 0,
            digest: 0xcbf2_9ce4_8422_2325,
            last_step: Time::ZERO,
        };
        for host in 0..world.hosts.len() {
            let at = world.random.time(Time::ZERO, Time::from_secs(2));
            world.post(at, Event::Start { host });
        }
        world
    }

    /// The time.
    #[must_use]
    pub fn now(&self) -> Time {
        self.now
    }

    /// The speaker of a host, if it runs.
    #[must_use]
    pub fn speaker(&self, host: usize) -> Option<&Speaker> {
        self.hosts[host].speaker.as_ref()
    }

    /// Lets everything up to `end` happen.
    pub fn run_until(&mut self, end: Time) {
        while let Some(Reverse(next)) = self.queue.peek()
            && next.at <= end
        {
            let Some(Reverse(Queued { at, event, .. })) = self.queue.pop() else { break };
            self.now = at;
            self.note(event);
            self.happen(event);
        }
        self.now = end;
    }

    /// Whether everything that can come to rest has: nothing is left to do inside any speaker, nothing has been for a
    /// while (which is longer than octets are under way), and nothing is held up on its way.
    #[must_use]
    pub fn is_quiet(&self, rest: Duration) -> bool {
        let idle = |speaker: &Speaker| speaker.ready().is_empty() && speaker.unsent().next().is_none();
        let idle = |host: &Host| host.speaker.as_ref().is_none_or(idle);
        self.now >= self.last_step + rest && self.hosts.iter().all(idle) && self.network.is_still(self.now)
    }

    /// Originates a route, or changes how it is announced.
    pub fn announce(&mut self, host: usize, prefix: IpNet, announced: Announced) {
        self.routes.insert((host, prefix), announced);
        let route = announced.originate(&self.topology.nodes[host], prefix);
        self.reconfigure(host, |desired| drop(desired.originate.insert(prefix, route)));
    }

    /// Originates a route no longer.
    pub fn withdraw(&mut self, host: usize, prefix: IpNet) {
        self.routes.remove(&(host, prefix));
        self.reconfigure(host, |desired| drop(desired.originate.remove(&prefix)));
    }

    /// Changes the configuration of a speaker; one that is down starts with it.
    pub fn reconfigure(&mut self, host: usize, change: impl FnOnce(&mut Desired)) {
        let now = self.instant();
        let Host { desired, speaker, .. } = &mut self.hosts[host];
        change(desired);
        if let Some(speaker) = speaker {
            speaker.apply(desired, now);
            self.after(host);
        }
    }

    /// What a speaker is configured to be.
    #[must_use]
    pub fn desired(&self, host: usize) -> &Desired {
        &self.hosts[host].desired
    }

    /// Lets somebody do something to a running speaker.
    pub fn with(&mut self, host: usize, act: impl FnOnce(&mut Speaker, Instant)) {
        let now = self.instant();
        if let Some(speaker) = &mut self.hosts[host].speaker {
            act(speaker, now);
            self.after(host);
        }
    }

    /// Ends a speaker at once, without a word. A machine that goes on answers for it with resets; a silent one does
    /// not, and its peers only notice by their timers. It starts again later, with or without its memory.
    pub fn kill(&mut self, host: usize, silent: bool, remembers: bool, back: Time) {
        let Some(speaker) = self.hosts[host].speaker.take() else { return };
        self.hosts[host].remembered = if remembers { speaker.kept_by_peers() } else { BTreeMap::new() };
        self.end(host, silent, back);
    }

    /// Ends a speaker as one that restarts: it takes leave of its peers.
    pub fn restart(&mut self, host: usize, back: Time) {
        let Some(speaker) = &self.hosts[host].speaker else { return };
        self.hosts[host].remembered = speaker.kept_by_peers();
        self.with(host, Speaker::leave);
        self.hosts[host].speaker = None;
        self.end(host, false, back);
    }

    /// What is left of a host whose speaker has ended.
    fn end(&mut self, host: usize, silent: bool, back: Time) {
        let Host { streams, timer, stepping, unread, silent: is_silent, .. } = &mut self.hosts[host];
        (*timer, *stepping, *is_silent) = (None, false, silent);
        unread.clear();
        for (_, stream) in std::mem::take(streams) {
            self.forget(stream, host, !silent);
        }
        self.post(back, Event::Start { host });
    }

    /// Starts the speaker of a host at once, if it is down.
    pub fn start_now(&mut self, host: usize) {
        self.post(self.now, Event::Start { host });
    }

    /// Makes a host read slowly for a while.
    pub fn slow_down(&mut self, host: usize, until: Time) {
        self.hosts[host].slow_until = until;
    }

    /// Resets a connection that a host has, if it has one: what is under way is lost.
    pub fn reset_connection(&mut self, host: usize, which: usize) {
        let streams = &self.hosts[host].streams;
        if let Some(stream) = streams.values().nth(which % streams.len().max(1)).copied() {
            self.cut(stream);
        }
    }

    /// Interrupts the path between two hosts.
    pub fn interrupt(&mut self, a: usize, b: usize, until: Time) {
        self.network.interrupt(a, b, until);
    }

    /// The weather from now on; everything that was interrupted or slow is whole.
    pub fn calm(&mut self, weather: Weather) {
        self.network.weather = weather;
        self.network.heal();
        self.hosts.iter_mut().for_each(|host| host.slow_until = Time::ZERO);
        // Resets that were lost come after all.
        let cut: Vec<_> = self.network.streams.iter().filter(|(_, stream)| stream.cut).map(|(id, _)| *id).collect();
        cut.into_iter().for_each(|stream| self.cut(stream));
    }

    pub(super) fn instant(&self) -> Instant {
        self.base + self.now
    }

    pub(super) fn post(&mut self, at: Time, event: Event) {
        self.sequence += 1;
        self.queue.push(Reverse(Queued { at: at.max(self.now), sequence: self.sequence, event }));
    }

    fn note(&mut self, event: Event) {
        self.events += 1;
        let (kind, a, b) = match event {
            Event::Syn { stream } => (1, stream, 0),
            Event::Answer { stream } => (2, stream, 0),
            Event::Refused { stream } => (3, stream, 0),
            Event::Deliver { stream, to } => (4, stream, to),
            Event::Read { stream, to } => (5, stream, to),
            Event::Room { stream, to } => (6, stream, to),
            Event::Reset { stream, to } => (7, stream, to),
            Event::Timer { host, .. } => (8, host, 0),
            Event::Step { host } => (9, host, 0),
            Event::Start { host } => (10, host, 0),
        };
        for part in [self.now.as_nanos() as u64, kind, a as u64, b as u64] {
            self.digest = (self.digest ^ part).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Syn { stream } => self.syn(stream),
            Event::Answer { stream } => self.answer(stream),
            Event::Refused { stream } => self.refused(stream),
            Event::Deliver { stream, to } => self.deliver(stream, to),
            Event::Read { stream, to } => self.read_slowly(stream, to),
            Event::Room { stream, to } => {
                let host = self.network.streams.get(&stream).map(|stream| stream.hosts[1 - to]);
                host.into_iter().for_each(|host| self.after(host));
            }
            Event::Reset { stream, to } => self.reset(stream, to),
            Event::Timer { host, at } => self.timer(host, at),
            Event::Step { host } => self.step(host),
            Event::Start { host } => self.start(host),
        }
    }

    fn start(&mut self, host: usize) {
        let now = self.instant();
        let seed = self.random.number();
        let Pace { limits, selection_deferral, .. } = self.pace;
        let settings = SpeakerSettings { seed, workers: self.topology.nodes[host].workers, limits, selection_deferral };
        let Host { speaker, desired, silent, starts, remembered, .. } = &mut self.hosts[host];
        if speaker.is_none() {
            let mut new = Speaker::restarted(desired.clone(), &settings, remembered, now);
            (self.prepare)(&mut new);
            *speaker = Some(new);
            *silent = false;
            *starts += 1;
            self.after(host);
        }
    }

    fn timer(&mut self, host: usize, at: Time) {
        let now = self.instant();
        let Host { timer, speaker, .. } = &mut self.hosts[host];
        if *timer != Some(at) {
            return; // an earlier one took its place
        }
        *timer = None;
        if let Some(speaker) = speaker {
            speaker.tick(now);
            self.after(host);
        }
    }

    fn step(&mut self, host: usize) {
        let now = self.instant();
        self.hosts[host].stepping = false;
        for _ in 0..self.random.between(1, STEPS) {
            let Some(speaker) = &mut self.hosts[host].speaker else { return };
            let ready = speaker.ready();
            if ready.is_empty() {
                break;
            }
            let stage = self.random.pick(&ready);
            speaker.step(stage, now);
            self.events += 1;
            self.last_step = self.now;
        }
        self.read_again(host);
        self.after(host);
    }

    /// What follows when something was done to a speaker.
    pub(super) fn after(&mut self, host: usize) {
        loop {
            let Some(speaker) = &mut self.hosts[host].speaker else { return };
            let effects = speaker.take_effects();
            if effects.is_empty() {
                break;
            }
            effects.into_iter().for_each(|effect| self.carry_out(host, effect));
        }
        self.write(host);
        let Some(speaker) = &self.hosts[host].speaker else { return };
        let has_work = !self.hosts[host].stepping && !speaker.ready().is_empty();
        let deadline = speaker.next_deadline().map(|at| at.saturating_duration_since(self.base));
        if let Some(at) = deadline
            && self.hosts[host].timer.is_none_or(|timer| at < timer)
        {
            self.hosts[host].timer = Some(at);
            self.post(at, Event::Timer { host, at });
        }
        if has_work {
            self.hosts[host].stepping = true;
            let (low, high) = self.pace.step;
            let at = self.now + self.random.time(low, high);
            self.post(at, Event::Step { host });
        }
    }

    fn carry_out(&mut self, host: usize, effect: Effect) {
        match effect {
            Effect::Connect { socket, remote } => self.dial(host, socket, remote),
            Effect::Abort { socket } => {
                if let Some(stream) = self.hosts[host].streams.remove(&socket) {
                    self.forget(stream, host, true);
                }
            }
            Effect::Close { socket, rest } => self.hang_up(host, socket, rest),
        }
    }

    fn dial(&mut self, host: usize, socket: Socket, remote: IpAddr) {
        let Some(to) = self.topology.at(remote) else { return };
        let stream = self.network.open(host, socket, to);
        self.hosts[host].streams.insert(socket, stream);
        let at = self.now + self.network.delay(&mut self.random);
        self.post(at, Event::Syn { stream });
    }

    /// The end that a host has of a stream.
    pub(super) fn end_of(&self, stream: StreamId, side: usize) -> Option<End> {
        self.network.streams.get(&stream).map(|stream| stream.ends[side])
    }
}
