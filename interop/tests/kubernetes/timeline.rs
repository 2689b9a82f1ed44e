//! When a node that joins becomes known, and where: what watches of the reflectors and of all kernels say, so that a slow
//! join says what it waited for. Nothing is asked again and again, so that looking costs the lab little.

use std::collections::BTreeSet;
use std::fmt;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use interop::lab::build_bgpd;

use crate::world::{Echo, Member, World};

/// The places that are watched.
pub(crate) struct Timeline {
    watches: Vec<Child>,
    sightings: Arc<Mutex<Vec<Sighting>>>,
    /// Places whose routes to the new node are waited for.
    reflectors: Vec<String>,
    kernels: Vec<String>,
    node: String,
    texts: [String; 2],
    address: String,
}

/// A line that a watch has printed.
#[derive(Clone)]
struct Sighting {
    at: Instant,
    place: String,
    line: String,
}

/// The steps of a node that joins, each with the time since its beginning.
#[derive(Debug, Clone)]
pub(crate) struct Join {
    /// bgpd answers, and the sidecar's process has been started.
    started: Duration,
    /// Every reflector has the session.
    sessions: Step,
    /// Every reflector has both routes.
    reflectors: Step,
    /// Every other kernel has both routes.
    kernels: Step,
    /// The new node's own kernel has its last route.
    own_kernel: Step,
    /// The last echo came back.
    pub(crate) reached: Duration,
    last_echo: String,
}

/// When the last of several came, and which one it was; none when nothing was seen.
type Step = Option<(Duration, String)>;

const ROUTE_WATCH: &str = "routes of";
const SESSION_WATCH: &str = "sessions of";

impl Timeline {
    pub(crate) fn watch(world: &World, tenth: &Member) -> Self {
        let mut timeline = Self {
            watches: Vec::new(),
            sightings: Arc::default(),
            reflectors: Vec::new(),
            kernels: Vec::new(),
            node: format!("kernel of {}", tenth.name),
            texts: [format!("10.{}.{}.", tenth.cluster, tenth.net), format!("fd00:{}:{}:", tenth.cluster, tenth.net)],
            address: tenth.node.ipv4.to_string(),
        };
        for (number, reflector) in (1..).zip(&world.reflectors) {
            for (what, table) in [(ROUTE_WATCH, "routes"), (SESSION_WATCH, "neighbors")] {
                let mut bgpctl = Command::new(build_bgpd().join("bgpctl"));
                bgpctl.args(["--server", &format!("unix:{}", reflector.socket()), "watch", table]);
                timeline.listen(format!("{what} reflector {number}"), bgpctl);
            }
            timeline.reflectors.push(format!("{ROUTE_WATCH} reflector {number}"));
        }
        for (name, namespace) in world.kernels().chain([(tenth.name.as_str(), &tenth.node.namespace)]) {
            let mut monitor = Command::new("ip");
            monitor.args(["-n", namespace.name(), "monitor", "route"]);
            timeline.listen(format!("kernel of {name}"), monitor);
            timeline.kernels.push(format!("kernel of {name}"));
        }
        timeline.kernels.retain(|name| *name != timeline.node);
        timeline
    }

    fn listen(&mut self, place: String, mut command: Command) {
        let mut watch = command.stdout(Stdio::piped()).spawn().expect("a watch can be started");
        let lines = BufReader::new(watch.stdout.take().expect("a pipe")).lines();
        let sightings = Arc::clone(&self.sightings);
        self.watches.push(watch);
        // Ends with the watch.
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let sighting = Sighting { at: Instant::now(), place: place.clone(), line };
                sightings.lock().expect("nobody panics with it").push(sighting);
            }
        });
    }

    /// What a join that began then and has just ended was made of.
    pub(crate) fn join(&self, began: Instant, started: Duration, echoes: &[Echo]) -> Join {
        let sightings = std::mem::take(&mut *self.sightings.lock().expect("nobody panics with it"));
        let sightings: Vec<Sighting> = sightings.into_iter().filter(|one| one.at >= began && one.is_there()).collect();
        let first = |place: &str, text: &str| {
            let seen = sightings.iter().find(|one| one.place == place && one.line.contains(text));
            seen.map(|one| (one.at - began, place.to_owned()))
        };
        let both =
            |places: &[String]| last(places.iter().flat_map(|place| self.texts.iter().map(|text| first(place, text))));
        let sessions = sightings.iter().filter(|one| one.place.starts_with(SESSION_WATCH));
        let sessions = sessions.filter(|one| one.line.contains("Established") && one.line.contains(&self.address));
        let mut seen = BTreeSet::new();
        let sessions = sessions.filter(|one| seen.insert(one.place.clone()));
        let sessions = last(sessions.map(|one| Some((one.at - began, one.place.clone()))));
        let own = sightings.iter().rev().find(|one| one.place == self.node && one.line.contains("proto 145"));
        let echo = echoes.iter().max_by_key(|echo| echo.after).expect("a node that joins is reached");
        Join {
            started,
            sessions,
            reflectors: both(&self.reflectors),
            kernels: both(&self.kernels),
            own_kernel: own.map(|one| (one.at - began, one.line.clone())),
            reached: echo.after,
            last_echo: format!("{} to {}, {} tries", echo.from, echo.to, echo.tries),
        }
    }
}

impl Drop for Timeline {
    fn drop(&mut self) {
        for watch in &mut self.watches {
            let _ = watch.kill();
            let _ = watch.wait();
        }
    }
}

impl Sighting {
    /// Not of something that goes.
    fn is_there(&self) -> bool {
        !self.line.starts_with("Deleted") && !self.line.starts_with('-')
    }
}

/// The latest of these; none when one of them is missing.
fn last(steps: impl Iterator<Item = Step>) -> Step {
    steps.collect::<Option<Vec<_>>>()?.into_iter().max()
}

impl fmt::Display for Join {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { started, sessions, reflectors, kernels, own_kernel, reached, last_echo } = self;
        write!(formatter, "started {} ms", started.as_millis())?;
        let steps = [
            ("sessions", sessions),
            ("on reflectors", reflectors),
            ("in kernels", kernels),
            ("in its own", own_kernel),
        ];
        for (name, step) in steps {
            match step {
                Some((after, what)) => write!(formatter, ", {name} {} ms ({})", after.as_millis(), what.trim())?,
                None => write!(formatter, ", {name} not seen")?,
            }
        }
        write!(formatter, ", reached {} ms ({last_echo})", reached.as_millis())
    }
}

/// Smallest, median, 99th percentile and largest of some times.
pub(crate) fn distribution(times: impl Iterator<Item = Duration>) -> String {
    let mut times: Vec<Duration> = times.collect();
    times.sort_unstable();
    let at = |percent: usize| {
        let time = times.get((times.len() * percent).div_ceil(100).max(1) - 1);
        time.map_or(0, Duration::as_millis)
    };
    format!("min {}, median {}, p99 {}, max {} ms of {}", at(0), at(50), at(99), at(100), times.len())
}

/// The distribution of each step.
pub(crate) fn summary(joins: &[Join]) -> String {
    let of =
        |step: fn(&Join) -> &Step| distribution(joins.iter().filter_map(|join| step(join).as_ref().map(|one| one.0)));
    format!(
        "started: {}\nsessions: {}\non reflectors: {}\nin kernels: {}\nin its own: {}\nreached: {}",
        distribution(joins.iter().map(|join| join.started)),
        of(|join| &join.sessions),
        of(|join| &join.reflectors),
        of(|join| &join.kernels),
        of(|join| &join.own_kernel),
        distribution(joins.iter().map(|join| join.reached)),
    )
}
