//! What a neighbor may say of graceful restart, and `[restart]`: how this speaker restarts.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use bgp_engine::config::GracefulRestart;
use bgp_wire::Family;
use toml::de::DeValue;

use super::diagnosis::Problems;
use super::reader::Section;
use super::value::{ByFamily, FromToml, Seconds, Wrong, bounded, named};

/// Where the restart state is kept unless configured otherwise.
const STATE_DIRECTORY: &str = "/var/lib/bgpd";
/// Longest wait for peers' routes after a restart unless configured otherwise, in seconds.
const SELECTION_DEFERRAL: u16 = 60;

/// How this speaker restarts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestartSettings {
    /// Where the restart state is kept; `None` is the default place, if that is there.
    pub state_directory: Option<PathBuf>,
    /// Longest time that route selection is put off after a restart (RFC 4724 §4.1, Selection_Deferral_Timer).
    pub selection_deferral: Duration,
    /// What becomes of what this machine forwards while the speaker restarts.
    pub forwarding_state: ForwardingState,
    /// What SIGTERM means to peers.
    pub on_sigterm: OnTerminate,
}

/// What becomes of forwarding while the speaker restarts: the F bit (RFC 4724 §3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ForwardingState {
    /// It goes on: this speaker forwards nothing itself, as a reflector, or something else does that does not restart.
    Kept,
    /// It goes on unless the machine has started again since.
    SameBoot,
    /// It stops.
    Lost,
}

/// What SIGTERM means to peers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnTerminate {
    /// The speaker is about to be back: peers with graceful restart keep its routes for their restart time.
    Restart,
    /// It goes: peers drop its routes at once.
    Stop,
}

impl Default for RestartSettings {
    fn default() -> Self {
        Self {
            state_directory: None,
            selection_deferral: Duration::from_secs(SELECTION_DEFERRAL.into()),
            forwarding_state: ForwardingState::Kept,
            on_sigterm: OnTerminate::Restart,
        }
    }
}

impl RestartSettings {
    /// The directory that is used where none is configured.
    #[must_use]
    pub fn default_directory() -> PathBuf {
        STATE_DIRECTORY.into()
    }
}

struct Directory(PathBuf);

impl FromToml for Directory {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, Wrong> {
        let text = String::from_toml(value)?;
        if text.starts_with('/') {
            return Ok(Self(text.into()));
        }
        let help = format!("expected one such as \"{STATE_DIRECTORY}\"");
        Err(Wrong { message: format!("\"{text}\" is not an absolute path"), help })
    }
}

impl FromToml for ForwardingState {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, Wrong> {
        let text = String::from_toml(value)?;
        named(&text, &["kept", "same-boot", "lost"], "forwarding state")?;
        Ok(match text.as_str() {
            "kept" => Self::Kept,
            "same-boot" => Self::SameBoot,
            _ => Self::Lost,
        })
    }
}

impl FromToml for OnTerminate {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, Wrong> {
        let text = String::from_toml(value)?;
        named(&text, &["restart", "stop"], "meaning of SIGTERM")?;
        Ok(if text == "restart" { Self::Restart } else { Self::Stop })
    }
}

pub(super) fn read_restart(mut section: Section<'_>, problems: &mut Problems<'_>) -> RestartSettings {
    let defaults = RestartSettings::default();
    let directory = section.value::<Directory>("state-directory", problems);
    let deferral = section.value::<Seconds>("selection-deferral-time", problems);
    let forwarding_state = section.value("forwarding-state", problems);
    let on_sigterm = section.value("on-sigterm", problems);
    section.finish(problems);
    RestartSettings {
        state_directory: directory.map(|directory| directory.0),
        selection_deferral: deferral.map_or(defaults.selection_deferral, |time| Duration::from_secs(time.0.into())),
        forwarding_state: forwarding_state.unwrap_or(defaults.forwarding_state),
        on_sigterm: on_sigterm.unwrap_or(defaults.on_sigterm),
    }
}

/// A restart time (RFC 4724 §3).
struct RestartTime(u16);

impl FromToml for RestartTime {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, Wrong> {
        bounded(value, 1, GracefulRestart::RESTART_SECONDS_MAX).map(Self)
    }
}

/// Long-lived stale times: one for all families, or one for each (RFC 9494 §3.1).
struct LongLived(BTreeMap<Family, u32>);

impl FromToml for LongLived {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, Wrong> {
        let seconds = |value: &DeValue<'_>| bounded(value, 0, GracefulRestart::LONG_LIVED_SECONDS_MAX);
        let help = "write 3600, or { ipv4-unicast = 3600, ipv6-unicast = 600 }";
        let mut times = ByFamily::read(value, "seconds", help, seconds)?.0;
        times.retain(|_, seconds| *seconds > 0);
        Ok(Self(times))
    }
}

/// What a neighbor or peer group says of graceful restart, over `base`.
pub(super) fn read(section: &mut Section<'_>, base: GracefulRestart, problems: &mut Problems<'_>) -> GracefulRestart {
    let enabled = section.value("graceful-restart", problems).unwrap_or(base.enabled);
    let restart = section.value::<RestartTime>("restart-time", problems);
    let stale = section.value::<Seconds>("stale-path-time", problems);
    let long_lived = section.get::<LongLived>("long-lived-stale-time", problems);
    if let Some(long_lived) = &long_lived
        && !long_lived.value.0.is_empty()
        && !enabled
    {
        let message = "long-lived-stale-time: without graceful-restart there is none (RFC 9494 §3.1)";
        problems.error(long_lived.span.clone(), message, "remove it, or write graceful-restart = true");
    }
    GracefulRestart {
        enabled,
        restart_seconds: restart.map_or(base.restart_seconds, |time| time.0),
        stale_path: stale.map_or(base.stale_path, |time| Duration::from_secs(time.0.into())),
        long_lived_seconds: long_lived.map_or(base.long_lived_seconds, |at| at.value.0),
    }
}
