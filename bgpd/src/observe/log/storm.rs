//! Lines that come too often: of one kind about one peer a burst is written, the rest of ten seconds is counted.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use tracing::callsite::Identifier;
use tracing::{Level, error, info, warn};

/// Lines of one kind about one peer that are written in one window.
const BURST: u32 = 20;
const WINDOW: Duration = Duration::from_secs(10);
/// Kinds and peers that are told apart; beyond that lines of one kind count together.
const LINES: usize = 4096;
/// Where the lines about suppressed lines come from.
pub(super) const TARGET: &str = module_path!();

/// A kind of line: where it comes from, and whom it is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Line {
    pub(super) callsite: Identifier,
    pub(super) peer: Option<IpAddr>,
}

#[derive(Debug)]
struct Window {
    began: Instant,
    written: u32,
    suppressed: u64,
    level: Level,
    message: String,
}

/// Lines that were suppressed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Suppressed {
    level: Level,
    message: String,
    peer: Option<IpAddr>,
    count: u64,
}

/// What was written lately.
#[derive(Debug, Default)]
pub(super) struct Storms {
    windows: HashMap<Line, Window>,
    total: u64,
}

impl Storms {
    /// Whether a line is to be written; `what` says what kind of line it is.
    pub(super) fn admit(&mut self, mut line: Line, now: Instant, what: impl FnOnce() -> (Level, String)) -> bool {
        if self.windows.len() >= LINES && !self.windows.contains_key(&line) {
            line.peer = None;
        }
        let window = self.windows.entry(line).or_insert_with(|| {
            let (level, message) = what();
            Window { began: now, written: 0, suppressed: 0, level, message }
        });
        if window.suppressed == 0 && now.saturating_duration_since(window.began) >= WINDOW {
            (window.began, window.written) = (now, 0);
        }
        if window.written < BURST {
            window.written += 1;
            return true;
        }
        window.suppressed += 1;
        self.total += 1;
        false
    }

    /// What was suppressed in windows that are over.
    pub(super) fn due(&mut self, now: Instant) -> Vec<Suppressed> {
        let mut due = Vec::new();
        self.windows.retain(|line, window| {
            let over = now.saturating_duration_since(window.began) >= WINDOW;
            if over && window.suppressed > 0 {
                let message = std::mem::take(&mut window.message);
                due.push(Suppressed { level: window.level, message, peer: line.peer, count: window.suppressed });
            }
            !over
        });
        self.windows.shrink_to(2 * self.windows.len());
        due
    }

    pub(super) fn total(&self) -> u64 {
        self.total
    }
}

/// Writes a line about lines that were not written.
pub(super) fn say(suppressed: &Suppressed) {
    let Suppressed { level, message, peer, count } = suppressed;
    let (line, peer) = (message.as_str(), peer.map(tracing::field::display));
    match *level {
        Level::ERROR => error!(peer, line, "suppressed {count} lines"),
        Level::WARN => warn!(peer, line, "suppressed {count} lines"),
        _ => info!(peer, line, "suppressed {count} lines"),
    }
}
