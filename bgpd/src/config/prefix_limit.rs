//! How many prefixes a neighbor may announce.

use std::collections::BTreeMap;
use std::time::Duration;

use bgp_engine::config::{LimitAction, PrefixLimits};
use bgp_wire::Family;
use toml::de::DeValue;

use super::diagnosis::Problems;
use super::reader::Section;
use super::value::{ByFamily, FromToml, Seconds, Wrong, bounded, named};

/// A limit for all families, or one for each.
struct Most(BTreeMap<Family, u32>);

impl FromToml for Most {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, Wrong> {
        let help = "write 1000, or { ipv4-unicast = 1000, ipv6-unicast = 500 }";
        let mut most = ByFamily::read(value, "a number", help, |value| bounded(value, 0, u32::MAX))?.0;
        most.retain(|_, most| *most > 0);
        Ok(Self(most))
    }
}

struct Percent(u8);

impl FromToml for Percent {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, Wrong> {
        bounded(value, 1, 100).map(Self)
    }
}

impl FromToml for LimitAction {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, Wrong> {
        let text = String::from_toml(value)?;
        let all = [Self::Warn, Self::DiscardNew, Self::Restart];
        named(&text, &all.map(|action| action.to_string()).each_ref().map(String::as_str), "action at a limit")?;
        Ok(all.into_iter().find(|action| action.to_string() == text).unwrap_or(Self::Restart))
    }
}

/// What a neighbor or peer group says of limits, over `base`.
pub(super) fn read(section: &mut Section<'_>, base: PrefixLimits, problems: &mut Problems<'_>) -> PrefixLimits {
    let most = section.value::<Most>("max-prefixes", problems);
    let warning = section.value::<Percent>("max-prefixes-warning", problems);
    let action = section.value("max-prefixes-action", problems);
    let restart = section.value::<Seconds>("max-prefixes-restart-time", problems);
    PrefixLimits {
        most: most.map_or(base.most, |most| most.0),
        warning_percent: warning.map_or(base.warning_percent, |percent| percent.0),
        action: action.unwrap_or(base.action),
        restart: restart.map_or(base.restart, |time| (time.0 > 0).then(|| Duration::from_secs(time.0.into()))),
    }
}
