//! Logging: `tracing` events as text or JSON on standard error.
//!
//! What is logged is decided by [`Levels`], which can change while bgpd runs, and lines that come in storms are counted
//! instead of written ([`storm`]).

mod levels;
mod storm;

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use tracing_subscriber::Layer;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

pub use self::levels::{InvalidLevel, Levels, Overrides, Subject};
use crate::config::{LogFormat, LogSettings};

/// How often lines that were suppressed are said.
const REPORT: Duration = Duration::from_secs(5);

/// The levels in force: a process has one log.
pub fn levels() -> &'static Levels {
    static LEVELS: OnceLock<Levels> = OnceLock::new();
    LEVELS.get_or_init(Levels::default)
}

/// Starts logging. `BGPD_LOG` overrides the configured level with a filter such as `info,bgpd::peer=debug`.
pub fn start(settings: &LogSettings) {
    let levels = levels();
    let from_environment = std::env::var("BGPD_LOG").is_ok_and(|text| levels.set_base(&text).is_ok());
    if !from_environment {
        // The configuration has been checked.
        let _ = levels.set_base(&settings.level);
    }
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_target(false);
    let registry = tracing_subscriber::registry();
    match settings.format {
        LogFormat::Text => {
            let lines = lines.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()));
            registry.with(lines.with_filter(levels.clone())).init();
        }
        LogFormat::Json => registry.with(lines.json().with_filter(levels.clone())).init(),
    }
}

/// Says from time to time how many lines were suppressed. Never ends.
pub async fn report() {
    let mut ticks = tokio::time::interval(REPORT);
    loop {
        ticks.tick().await;
        levels().report(Instant::now());
    }
}
