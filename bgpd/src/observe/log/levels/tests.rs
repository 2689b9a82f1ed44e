use std::io;
use std::time::Duration;

use tracing::{debug, info, trace, warn};
use tracing_subscriber::Layer;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;

use super::*;

const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 10));
const OTHER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 11));

/// A log in memory.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("nobody panics").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl Log {
    /// What has been said since the last time.
    fn take(&self) -> String {
        String::from_utf8(std::mem::take(&mut *self.0.lock().expect("nobody panics"))).expect("text")
    }
}

/// Which lines anybody wants at all is remembered for the whole process: logs must not change under each other.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Runs with a log of its own.
fn logged(base: &str, run: impl FnOnce(&Levels, &Log)) {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let (levels, log) = (Levels::default(), Log::default());
    levels.set_base(base).expect("a filter");
    let lines = tracing_subscriber::fmt::layer().with_writer(log.clone()).with_ansi(false);
    let subscriber = tracing_subscriber::registry().with(lines.with_filter(levels.clone()));
    tracing::subscriber::with_default(subscriber, || run(&levels, &log));
}

fn say() {
    debug!(peer = %PEER, "about the peer");
    debug!(peer = %OTHER, "about the other");
    debug!("about nobody");
    debug!(target: "bgpd::peer::driver", "of the driver");
}

#[test]
fn levels_of_modules_and_peers_change_while_it_runs() {
    logged("info", |levels, log| {
        say();
        assert_eq!(log.take(), "");
        levels.set(Subject::Peer(PEER), Some(LevelFilter::DEBUG)).expect("a level");
        say();
        let said = log.take();
        assert!(said.contains("about the peer") && said.lines().count() == 1, "{said}");
        levels.set(Subject::Module("bgpd::peer".to_owned()), Some(LevelFilter::DEBUG)).expect("a level");
        say();
        let said = log.take();
        assert!(said.contains("of the driver") && said.lines().count() == 2, "{said}");
        levels.set(Subject::All, Some(LevelFilter::DEBUG)).expect("a level");
        say();
        assert_eq!(log.take().lines().count(), 4);
        trace!(peer = %PEER, "more than was asked for");
        assert_eq!(log.take(), "");
        levels.reset();
        say();
        assert_eq!(log.take(), "");
        assert_eq!(levels.overrides(), Overrides { base: "info".to_owned(), ..Overrides::default() });
    });
}

#[test]
fn a_peer_can_be_silenced() {
    logged("info", |levels, log| {
        levels.set(Subject::Peer(PEER), Some(LevelFilter::OFF)).expect("a level");
        info!(peer = %PEER, "again and again");
        info!(peer = %OTHER, "once");
        let said = log.take();
        assert!(said.contains("once") && said.lines().count() == 1, "{said}");
    });
}

#[test]
fn what_cannot_be_set_is_refused_and_changes_nothing() {
    logged("info,bgpd::peer=debug", |levels, _| {
        assert!(levels.set_base("a=b=c").is_err());
        let spaces = Subject::Module("bgpd peer".to_owned());
        assert_eq!(levels.set(spaces, Some(LevelFilter::INFO)), Err(InvalidLevel::Module("bgpd peer".to_owned())));
        for host in 0..64 {
            levels.set(Subject::Peer([10, 0, 0, host].into()), Some(LevelFilter::INFO)).expect("a level");
        }
        assert_eq!(levels.set(Subject::Peer(PEER), Some(LevelFilter::INFO)), Err(InvalidLevel::TooMany));
        let said = levels.overrides();
        assert_eq!((said.peers.len(), said.base.as_str()), (64, "info,bgpd::peer=debug"));
    });
}

#[test]
fn a_storm_about_one_peer_is_counted_and_leaves_room_for_others() {
    logged("info", |levels, log| {
        let began = Instant::now();
        for _ in 0..1000 {
            warn!(peer = %PEER, "session lost");
        }
        warn!(peer = %OTHER, "session lost");
        let said = log.take();
        assert_eq!(said.matches("192.0.2.10").count(), 20, "{said}");
        assert_eq!(said.matches("192.0.2.11").count(), 1, "{said}");
        assert_eq!(levels.suppressed(), 980);
        levels.report(began);
        assert_eq!(log.take(), "", "the window is not over");
        levels.report(Instant::now() + Duration::from_secs(10));
        let said = log.take();
        let expected = "suppressed 980 lines peer=192.0.2.10 line=\"session lost\"";
        assert!(said.contains("WARN") && said.contains(expected) && said.lines().count() == 1, "{said}");
    });
}

#[test]
fn debug_lines_that_were_asked_for_are_all_written() {
    logged("debug", |levels, log| {
        for _ in 0..100 {
            debug!(peer = %PEER, "step");
        }
        assert_eq!((log.take().lines().count(), levels.suppressed()), (100, 0));
    });
}
