//! Logging: `tracing` events as text or JSON on standard error.

use tracing_subscriber::EnvFilter;

use crate::config::{LogFormat, LogSettings};

/// Starts logging. `BGPD_LOG` overrides the configured level with a filter such as `info,bgpd::peer=debug`.
pub fn start(settings: &LogSettings) {
    let filter = EnvFilter::try_from_env("BGPD_LOG").unwrap_or_else(|_| EnvFilter::new(&settings.level));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    match settings.format {
        LogFormat::Text => builder.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).init(),
        LogFormat::Json => builder.json().init(),
    }
}
