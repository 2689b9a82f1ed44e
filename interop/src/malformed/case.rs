//! What is wrong in each case, and what may be done about it.

mod attributes;
mod messages;
mod routes;

use std::fmt;

use super::message::{Place, Prefix, Who};
use super::sender::Outcome;

/// One thing that is wrong.
pub struct Case {
    /// What, in words.
    pub name: String,
    /// Where it is said what to do about it.
    pub rfc: &'static str,
    /// Who sends it.
    pub who: Who,
    /// Any of these is right.
    pub allowed: Vec<Expected>,
    pub(super) act: Act,
}

type Octets = Box<dyn Fn(&Place) -> Vec<u8> + Send + Sync>;

/// What is sent, and what to look at afterwards.
pub(super) enum Act {
    /// The body of an UPDATE in an Established session.
    Update {
        body: Octets,
        /// The destination to look at.
        subject: fn(&Place) -> Prefix,
        /// The attribute to look for in what becomes of the route: code and value.
        focus: Option<(u8, Vec<u8>)>,
    },
    /// Octets in a certain state of the daemon.
    Message { stage: Stage, octets: Octets },
}

/// The daemon's state when the octets come (RFC 4271 §8.2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    OpenSent,
    OpenConfirm,
    Established,
}

/// What may be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expected {
    /// Session reset with code, subcode and, where the RFC says which, the data.
    Reset(u8, u8, Option<Vec<u8>>),
    /// Session reset with any UPDATE Message Error.
    UpdateError,
    /// Treat-as-withdraw.
    Withdrawn,
    /// AFI/SAFI disable.
    FamilyOff,
    /// Attribute discard: the route is used without the attribute (or without the second of two).
    Dropped,
    /// Nothing is wrong: the route is used.
    Used,
    /// The route is not used and changes nothing.
    Ignored,
    /// The session comes up.
    Established,
}

impl Expected {
    /// Whether an outcome is this.
    #[must_use]
    pub fn holds(&self, outcome: &Outcome) -> bool {
        match (self, outcome) {
            (Self::Reset(code, subcode, data), Outcome::Reset { code: c, subcode: s, data: d }) => {
                (code, subcode) == (c, s) && data.as_ref().is_none_or(|data| data == d)
            }
            (Self::UpdateError, Outcome::Reset { code: 3, .. })
            | (Self::Withdrawn, Outcome::Withdrawn)
            | (Self::FamilyOff, Outcome::FamilyOff)
            | (Self::Dropped, Outcome::Dropped)
            | (Self::Used, Outcome::Used)
            | (Self::Ignored, Outcome::Ignored)
            | (Self::Established, Outcome::Established) => true,
            _ => false,
        }
    }
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reset(code, subcode, data) => {
                write!(f, "session reset {code}/{subcode}")?;
                let Some(data) = data else { return Ok(()) };
                f.write_str(", data ")?;
                data.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
            }
            Self::UpdateError => f.write_str("session reset 3/*"),
            Self::Withdrawn => f.write_str("treat-as-withdraw"),
            Self::FamilyOff => f.write_str("AFI/SAFI disable"),
            Self::Dropped => f.write_str("attribute discard"),
            Self::Used => f.write_str("used"),
            Self::Ignored => f.write_str("ignored"),
            Self::Established => f.write_str("session comes up"),
        }
    }
}

/// A case of an UPDATE whose IPv4 route is looked at.
fn update_case(
    name: impl Into<String>,
    rfc: &'static str,
    who: Who,
    allowed: &[Expected],
    body: impl Fn(&Place) -> Vec<u8> + Send + Sync + 'static,
) -> Case {
    let act = Act::Update { body: Box::new(body), subject: Place::ipv4, focus: None };
    Case { name: name.into(), rfc, who, allowed: allowed.to_vec(), act }
}

impl Case {
    /// Looks at the IPv6 route instead.
    fn of_ipv6(self) -> Self {
        self.about(Place::ipv6)
    }

    /// Looks at another destination.
    fn about(mut self, of: fn(&Place) -> Prefix) -> Self {
        if let Act::Update { subject, .. } = &mut self.act {
            *subject = of;
        }
        self
    }

    /// Looks for an attribute in what becomes of the route.
    fn looking_for(mut self, code: u8, value: &[u8]) -> Self {
        if let Act::Update { focus, .. } = &mut self.act {
            *focus = Some((code, value.to_vec()));
        }
        self
    }
}

/// All cases.
#[must_use]
pub fn cases() -> Vec<Case> {
    let mut all = attributes::cases();
    all.extend(routes::cases());
    all.extend(messages::cases());
    all
}
