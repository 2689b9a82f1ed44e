//! What this speaker remembers over its own restart: the peers that keep its routes (RFC 4724 §4.1).
//!
//! A text file, replaced as a whole, so that a crash leaves the old one or the new one:
//!
//! ```text
//! bgpd restart state 1
//! boot 0f1e2d3c-…
//! 192.0.2.11 ipv4-unicast ipv6-unicast
//! ```

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bgp_wire::Family;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tracing::{info, warn};

use crate::config::{ForwardingState, OnTerminate, RestartSettings};

/// Name of the file in the state directory.
const FILE: &str = "restart-state";
/// The first line: what the file is, and its version.
const HEADING: &str = "bgpd restart state 1";
/// Peers that are remembered; more are not waited for.
const PEERS_MAX: usize = 100_000;
/// Octets that are read: enough for that many peers.
const SIZE_MAX: u64 = 16 << 20;
/// Changes are gathered for so long before they are written.
const GATHER: Duration = Duration::from_millis(50);
/// Identifies the start of the machine.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// Peers that keep this speaker's routes, and in which families.
pub(crate) type Peers = BTreeMap<IpAddr, Vec<Family>>;

/// What was known when the speaker last ran.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Remembered {
    pub(super) peers: Peers,
    pub(super) forwarding_kept: bool,
}

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
enum Unusable {
    #[error("{0}")]
    Unreadable(#[from] io::Error),
    #[error("line {line}: {text:?} is not what bgpd writes there")]
    Malformed { line: usize, text: String },
    #[error("more than {SIZE_MAX} octets")]
    TooLarge,
}

/// The file, while the speaker runs.
pub(super) struct Recorder {
    shared: Arc<Shared>,
    task: Option<JoinHandle<()>>,
}

struct Shared {
    path: Option<PathBuf>,
    boot: String,
    peers: Mutex<Peers>,
    wake: Notify,
}

/// Reads what there is in the state directory, and goes on writing it. Without one nothing is remembered.
pub(super) fn open(settings: &RestartSettings, directory: Option<&Path>) -> (Remembered, Recorder) {
    let boot = fs::read_to_string(BOOT_ID).unwrap_or_default().trim().to_owned();
    let path = directory.map(|directory| directory.join(FILE));
    let found = path.as_deref().map_or(Ok(None), read).unwrap_or_else(|error| {
        warn!(file = %path.as_deref().unwrap_or(Path::new(FILE)).display(), %error, "restart state not usable: starts without");
        None
    });
    let (peers, last_boot) = found.unwrap_or_default();
    let forwarding_kept = match settings.forwarding_state {
        ForwardingState::Kept => true,
        ForwardingState::SameBoot => !boot.is_empty() && last_boot == boot,
        ForwardingState::Lost => false,
    };
    let shared = Arc::new(Shared { path, boot, peers: Mutex::new(peers.clone()), wake: Notify::new() });
    let task = shared.path.is_some().then(|| tokio::spawn(record(Arc::clone(&shared))));
    (Remembered { peers, forwarding_kept }, Recorder { shared, task })
}

/// The state directory, made if it is configured. That there is none is said in the log.
pub(super) fn directory(settings: &RestartSettings) -> Option<PathBuf> {
    let default = RestartSettings::default_directory();
    match &settings.state_directory {
        Some(directory) => match fs::create_dir_all(directory) {
            Ok(()) => Some(directory.clone()),
            Err(error) => {
                warn!(directory = %directory.display(), %error, "no restart state: a restart will be a cold start");
                None
            }
        },
        None if default.is_dir() => Some(default),
        None => {
            info!(directory = %default.display(), "no state directory: a restart will be a cold start");
            None
        }
    }
}

fn read(path: &Path) -> Result<Option<(Peers, String)>, Unusable> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let mut text = String::new();
    if file.take(SIZE_MAX + 1).read_to_string(&mut text)? as u64 > SIZE_MAX {
        return Err(Unusable::TooLarge);
    }
    parse(&text).map(Some)
}

fn parse(text: &str) -> Result<(Peers, String), Unusable> {
    let (mut peers, mut boot) = (Peers::new(), String::new());
    let mut lines = text.lines().enumerate();
    let heading = lines.next().map(|(_, line)| line).unwrap_or_default();
    if heading != HEADING {
        return Err(Unusable::Malformed { line: 1, text: heading.to_owned() });
    }
    for (at, line) in lines {
        let mut words = line.split(' ');
        let first = words.next().unwrap_or_default();
        if first == "boot" {
            boot = words.next().unwrap_or_default().to_owned();
            continue;
        }
        let families = words.map(str::parse).collect::<Result<Vec<Family>, _>>().ok();
        match (first.parse(), families) {
            (Ok(address), Some(families)) if !families.is_empty() => drop(peers.insert(address, families)),
            _ => return Err(Unusable::Malformed { line: at + 1, text: line.chars().take(80).collect() }),
        }
    }
    Ok((peers, boot))
}

fn written(peers: &Peers, boot: &str) -> String {
    let mut text = format!("{HEADING}\nboot {boot}\n");
    for (address, families) in peers.iter().take(PEERS_MAX) {
        text.push_str(&address.to_string());
        families.iter().for_each(|family| text.push_str(&format!(" {family}")));
        text.push('\n');
    }
    text
}

/// Writes a file as a whole, or leaves the old one. Only this user may read it.
pub(super) fn replace(path: &Path, text: &str) -> io::Result<()> {
    let new = path.with_extension("new");
    // One that a crash has left has its own mode.
    let _ = fs::remove_file(&new);
    let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, path)
}

/// Writes whenever something has changed.
async fn record(shared: Arc<Shared>) {
    let mut failed = false;
    loop {
        shared.wake.notified().await;
        tokio::time::sleep(GATHER).await;
        let writer = Arc::clone(&shared);
        let result = tokio::task::spawn_blocking(move || writer.write()).await;
        if let Ok(Err(error)) = &result
            && !failed
        {
            warn!(%error, "restart state not written: after a crash old peers are waited for");
        }
        failed = matches!(result, Ok(Err(_)));
    }
}

impl Shared {
    fn peers(&self) -> MutexGuard<'_, Peers> {
        // A panic between two operations of a map leaves it whole.
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> io::Result<()> {
        let Some(path) = &self.path else { return Ok(()) };
        let text = written(&self.peers(), &self.boot);
        replace(path, &text)
    }
}

impl Recorder {
    /// Notes that a peer keeps our routes in these families from now on; in none, that it does not.
    pub(super) fn set(&self, peer: IpAddr, families: Vec<Family>) {
        let mut peers = self.shared.peers();
        let before = if families.is_empty() { peers.remove(&peer) } else { peers.insert(peer, families.clone()) };
        drop(peers);
        if before.unwrap_or_default() != families {
            self.shared.wake.notify_one();
        }
    }

    /// Forgets the peers that are not among those who are there; who they were.
    pub(super) fn keep_only(&self, is_there: impl Fn(&IpAddr) -> bool) -> Vec<IpAddr> {
        let mut peers = self.shared.peers();
        let gone: Vec<IpAddr> = peers.keys().filter(|peer| !is_there(peer)).copied().collect();
        gone.iter().for_each(|peer| drop(peers.remove(peer)));
        drop(peers);
        if !gone.is_empty() {
            self.shared.wake.notify_one();
        }
        gone
    }

    /// How the speaker ends: without a memory the next start is a cold one, and peers had better know.
    pub(super) fn ending(&self, wanted: OnTerminate) -> OnTerminate {
        if self.shared.path.is_some() { wanted } else { OnTerminate::Stop }
    }

    /// The speaker ends: what is known now is what the next one finds, or nothing if it ends for good.
    pub(super) fn finish(&mut self, how: OnTerminate) {
        let Some(task) = self.task.take() else { return };
        task.abort();
        let result = match (how, &self.shared.path) {
            (OnTerminate::Stop, Some(path)) => fs::remove_file(path),
            _ => self.shared.write(),
        };
        match result {
            Err(error) if error.kind() != io::ErrorKind::NotFound => warn!(%error, "restart state not written"),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peers() -> Peers {
        let both = vec![Family::IPV4_UNICAST, Family::IPV6_UNICAST];
        [("192.0.2.11", both), ("2001:db8::12", vec![Family::IPV6_UNICAST])]
            .into_iter()
            .map(|(address, families)| (address.parse().expect("an address"), families))
            .collect()
    }

    #[test]
    fn what_is_written_is_read() {
        let read = parse(&written(&peers(), "b00t")).expect("readable");
        assert_eq!(read, (peers(), "b00t".to_owned()));
    }

    #[test]
    fn a_malformed_file_is_refused_with_the_line() {
        for (text, expected) in [
            ("", "line 1: \"\" is not what bgpd writes there"),
            ("bgpd restart state 2\n", "line 1: \"bgpd restart state 2\" is not what bgpd writes there"),
            ("bgpd restart state 1\nboot x\n192.0.2.300 ipv4-unicast\n", "line 3: "),
            ("bgpd restart state 1\n192.0.2.3\n", "line 2: "),
            ("bgpd restart state 1\n192.0.2.3 ipv4-unicas", "line 2: "),
        ] {
            let error = parse(text).expect_err(text).to_string();
            assert!(error.starts_with(expected), "{error}");
        }
    }

    #[tokio::test]
    async fn a_missing_or_broken_file_is_no_state() {
        let directory = tempfile::tempdir().expect("a directory");
        let found = || open(&RestartSettings::default(), Some(directory.path())).0.peers;
        assert_eq!(found(), Peers::new());
        fs::write(directory.path().join(FILE), [0xff, 0xfe, 0, 7]).expect("it can be written");
        assert_eq!(found(), Peers::new());
    }

    #[tokio::test]
    async fn the_next_speaker_finds_the_peers_unless_the_last_one_ended_for_good() {
        let directory = tempfile::tempdir().expect("a directory");
        let state_directory = Some(directory.path().join("made"));
        let forwarding_state = ForwardingState::SameBoot;
        let settings = RestartSettings { state_directory, forwarding_state, ..RestartSettings::default() };
        let path = super::directory(&settings);
        let open = || open(&settings, path.as_deref());
        let (first, mut recorder) = open();
        assert!(!first.forwarding_kept, "nothing is known of this boot");
        peers().into_iter().for_each(|(peer, families)| recorder.set(peer, families));
        recorder.finish(OnTerminate::Restart);
        let (second, mut recorder) = open();
        assert_eq!(second, Remembered { peers: peers(), forwarding_kept: true });
        assert_eq!(recorder.keep_only(IpAddr::is_ipv4), ["2001:db8::12".parse::<IpAddr>().expect("an address")]);
        recorder.finish(OnTerminate::Stop);
        assert_eq!(open().0.peers, Peers::new());
    }
}
