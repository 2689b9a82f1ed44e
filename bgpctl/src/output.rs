//! Answers as text for people and as JSON with stable keys for programs.

pub(crate) mod cluster;
pub(crate) mod explain;
pub(crate) mod neighbor;
pub(crate) mod owner;
pub(crate) mod policy;
pub(crate) mod route;
pub(crate) mod rpki;
pub(crate) mod summary;
mod table;

use bgp_wire::Family;
use bgpd_proto::v1;

/// A family as it stands in a request.
pub(crate) fn family_of(family: Family) -> v1::Family {
    v1::Family { afi: family.afi.into(), safi: family.safi.into() }
}

/// A family's name.
fn family_name(family: Option<v1::Family>) -> String {
    let family = family.unwrap_or_default();
    // What does not fit is no family and has no name either.
    Family { afi: family.afi as u16, safi: family.safi as u8 }.to_string()
}

/// A span of time as operators write it: `00:12:31`, `1d02h`, `3w4d`.
pub(crate) fn span(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match days {
        0 => format!("{hours:02}:{:02}:{:02}", minutes % 60, seconds % 60),
        1..=13 => format!("{days}d{:02}h", hours % 24),
        _ => format!("{}w{}d", days / 7, days % 7),
    }
}

/// A number of things, of which `one` is the word for one.
fn counted(count: u64, one: &str) -> String {
    let plural = match one {
        _ if count == 1 => "",
        _ if one.ends_with('x') => "es",
        _ => "s",
    };
    format!("{count} {one}{plural}")
}

/// `None` for an empty string, which is how the API says that there is none.
fn some(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests;
