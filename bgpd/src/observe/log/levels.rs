//! Which events are logged: by module, as configured; by module and by peer, as somebody has said since the start.
//!
//! A peer's level counts for events that have the field `peer` with its address, whatever module they are from. An event
//! that nobody wants costs what a disabled event costs: the answer is kept with the place that it comes from, and all
//! such places are asked anew when a level changes.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Instant;

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Context, Filter};

use super::storm::{Line, Storms};

/// Most levels that can be said: they are for looking into something.
const OVERRIDES: usize = 64;
/// Longest name of a module.
const MODULE: usize = 128;

/// What a level is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// Everything that has no level of its own.
    All,
    /// A module and what is in it, such as `bgpd::peer`.
    Module(String),
    /// Events about one neighbor.
    Peer(IpAddr),
}

/// Levels that were said since the start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overrides {
    /// As configured.
    pub base: String,
    /// For everything without a level of its own.
    pub all: Option<LevelFilter>,
    /// By module.
    pub modules: BTreeMap<String, LevelFilter>,
    /// By peer.
    pub peers: BTreeMap<IpAddr, LevelFilter>,
}

/// A level that cannot be set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidLevel {
    /// Not a filter.
    #[error("\"{0}\" is not a filter, expected one such as \"info,bgpd::peer=debug\"")]
    Base(String),
    /// Not a module.
    #[error("\"{0}\" is not a module, expected one such as \"bgpd::peer\"")]
    Module(String),
    /// There are too many.
    #[error("{OVERRIDES} levels are set already, expected some to be set back to \"default\" first")]
    TooMany,
}

#[derive(Debug, Default)]
struct Rules {
    said: Overrides,
    /// What is configured and what was said by module.
    modules: Targets,
}

/// The levels in force, and what came too often. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Levels {
    rules: Arc<RwLock<Rules>>,
    storms: Arc<Mutex<Storms>>,
}

impl Levels {
    /// What is in force where nothing else is said.
    ///
    /// # Errors
    /// A text that is no filter; then nothing changes.
    pub fn set_base(&self, text: &str) -> Result<(), InvalidLevel> {
        text.parse::<Targets>().map_err(|_| InvalidLevel::Base(text.to_owned()))?;
        self.change(|said| {
            text.clone_into(&mut said.base);
            Ok(())
        })
    }

    /// Sets a level until the daemon ends; `None` sets it back to what is configured.
    ///
    /// # Errors
    /// A name that is no module, or one level too many; then nothing changes.
    pub fn set(&self, subject: Subject, level: Option<LevelFilter>) -> Result<(), InvalidLevel> {
        self.change(|said| {
            match (subject, level) {
                (Subject::All, level) => said.all = level,
                (Subject::Module(name), Some(level)) => {
                    let of_module = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
                    if name.is_empty() || name.len() > MODULE || !name.chars().all(of_module) {
                        return Err(InvalidLevel::Module(name));
                    }
                    said.modules.insert(name, level);
                }
                (Subject::Module(name), None) => drop(said.modules.remove(&name)),
                (Subject::Peer(address), Some(level)) => drop(said.peers.insert(address, level)),
                (Subject::Peer(address), None) => drop(said.peers.remove(&address)),
            }
            if said.modules.len() + said.peers.len() > OVERRIDES { Err(InvalidLevel::TooMany) } else { Ok(()) }
        })
    }

    /// Sets everything back to what is configured.
    pub fn reset(&self) {
        let back = self.change(|said| {
            *said = Overrides { base: std::mem::take(&mut said.base), ..Overrides::default() };
            Ok(())
        });
        debug_assert!(back.is_ok());
    }

    /// What is configured and what was said.
    #[must_use]
    pub fn overrides(&self) -> Overrides {
        self.read(|rules| rules.said.clone())
    }

    /// Lines that were counted instead of written since the start.
    #[must_use]
    pub fn suppressed(&self) -> u64 {
        self.storms().total()
    }

    /// Says which lines were suppressed and how many.
    pub fn report(&self, now: Instant) {
        let due = self.storms().due(now);
        due.iter().for_each(super::storm::say);
    }

    fn storms(&self) -> MutexGuard<'_, Storms> {
        self.storms.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read<T>(&self, read: impl FnOnce(&Rules) -> T) -> T {
        read(&self.rules.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn change(&self, change: impl FnOnce(&mut Overrides) -> Result<(), InvalidLevel>) -> Result<(), InvalidLevel> {
        {
            let mut rules = self.rules.write().unwrap_or_else(PoisonError::into_inner);
            let mut said = rules.said.clone();
            change(&mut said)?;
            let mut modules: Targets = said.base.parse().map_err(|_| InvalidLevel::Base(said.base.clone()))?;
            if let Some(level) = said.all {
                modules = modules.with_default(level);
            }
            modules = said.modules.iter().fold(modules, |all, (name, level)| all.with_target(name.as_str(), *level));
            *rules = Rules { said, modules };
        }
        tracing::callsite::rebuild_interest_cache();
        Ok(())
    }
}

impl Rules {
    /// Whether events from a place may be wanted.
    fn may_want(&self, metadata: &Metadata<'_>) -> bool {
        let of_peer = || {
            let most = self.said.peers.values().max().copied().unwrap_or(LevelFilter::OFF);
            *metadata.level() <= most && metadata.fields().field("peer").is_some()
        };
        self.modules.would_enable(metadata.target(), metadata.level()) || of_peer()
    }

    fn wants(&self, metadata: &Metadata<'_>, peer: Option<IpAddr>) -> bool {
        match peer.and_then(|peer| self.said.peers.get(&peer)) {
            Some(level) => metadata.level() <= level,
            None => self.modules.would_enable(metadata.target(), metadata.level()),
        }
    }

    fn most(&self) -> LevelFilter {
        let modules = self.modules.iter().map(|(_, level)| level);
        let all = modules.chain(self.said.peers.values().copied()).chain(self.modules.default_level());
        all.max().unwrap_or(LevelFilter::OFF)
    }
}

impl<S: Subscriber> Filter<S> for Levels {
    fn enabled(&self, metadata: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        self.read(|rules| rules.may_want(metadata))
    }

    fn callsite_enabled(&self, metadata: &'static Metadata<'static>) -> Interest {
        if self.read(|rules| rules.may_want(metadata)) { Interest::sometimes() } else { Interest::never() }
    }

    fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
        let metadata = event.metadata();
        let mut seen = Seen::default();
        event.record(&mut seen);
        if !self.read(|rules| rules.wants(metadata, seen.peer)) {
            return false;
        }
        // Whoever asks for `debug` wants all of it, and what is said of storms is no part of them.
        if *metadata.level() > Level::INFO || metadata.target() == super::storm::TARGET {
            return true;
        }
        let line = Line { callsite: metadata.callsite(), peer: seen.peer };
        self.storms().admit(line, Instant::now(), || (*metadata.level(), seen.message))
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.read(Rules::most))
    }
}

/// What the filter reads of an event.
#[derive(Default)]
struct Seen {
    peer: Option<IpAddr>,
    message: String,
}

impl Visit for Seen {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "peer" => self.peer = value.parse().ok(),
            "message" => value.clone_into(&mut self.message),
            _ => {}
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if matches!(field.name(), "peer" | "message") {
            self.record_str(field, &format!("{value:?}"));
        }
    }
}

#[cfg(test)]
mod tests;
