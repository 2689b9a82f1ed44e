//! What a policy did to one route, step by step: written down by the evaluator while it runs.

use std::fmt;

use bgp_wire::attribute::{AsPath, Origin, code};

use super::community::communities;
use super::definition::{Action, Outcome};
use crate::attr::AttrRef;

/// The steps, in order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Trace {
    /// One for each statement that was asked, and one for each policy that came to its end.
    pub steps: Vec<Step>,
    /// Conditions of the statement under way.
    asked: Vec<Asked>,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The policy.
    pub policy: String,
    /// The statement; `None` at the end of the policy.
    pub statement: Option<String>,
    /// The statement's conditions, in the order in which they are asked.
    pub conditions: Vec<Asked>,
    /// What happened.
    pub what: What,
}

/// A condition of a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// The condition.
    pub condition: String,
    /// Whether it holds; `None` if it was not asked, because one before does not.
    pub holds: Option<bool>,
}

/// A change of a route, and what it was changed from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The change.
    pub action: String,
    /// What it is about was this.
    pub before: String,
    /// It is this now.
    pub after: String,
}

/// What happened in a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// A condition does not hold.
    NoMatch,
    /// All conditions hold.
    Match {
        /// The changes.
        changes: Vec<Change>,
        /// And then.
        then: Outcome,
    },
    /// The policy says so, or says so of what no statement decides.
    Default(Outcome),
    /// A filter decided.
    Filter {
        /// The changes.
        changes: Vec<Change>,
        /// And then.
        then: Outcome,
    },
}

impl Change {
    pub(super) fn new(action: &Action, before: &AttrRef, after: &AttrRef) -> Self {
        Self { action: action.to_string(), before: subject(action, before), after: subject(action, after) }
    }
}

/// What a change is about, as it is on a route.
fn subject(action: &Action, attrs: &AttrRef) -> String {
    let (block, digest) = (attrs.block(), &attrs.digest);
    let or_none = |text: String| if text.is_empty() { "none".to_owned() } else { text };
    let number = |number: Option<u32>| or_none(number.map(|number| number.to_string()).unwrap_or_default());
    match action {
        Action::LocalPref(_) => number(digest.local_pref),
        Action::Med(_) | Action::MedIgp | Action::NoMed => number(digest.med),
        Action::Weight(_) => attrs.local.weight().to_string(),
        Action::Origin(_) => {
            or_none(Origin::from_code(digest.origin).map(|origin| origin.to_string()).unwrap_or_default())
        }
        Action::NextHop(_) if attrs.next_hop.addr().is_unspecified() => "self".to_owned(),
        Action::NextHop(_) => attrs.next_hop.to_string(),
        Action::Prepend(_) => or_none(AsPath::decode(block.get(code::AS_PATH).unwrap_or_default()).to_string()),
        Action::AddCommunities(_) | Action::RemoveCommunities(_) | Action::ReplaceCommunities(_) => {
            or_none(communities(block).map(|one| one.to_string()).collect::<Vec<_>>().join(" "))
        }
    }
}

impl Trace {
    /// Writes down what a condition of the statement under way says.
    pub(super) fn note_asked(&mut self, condition: &impl fmt::Display, holds: Option<bool>) {
        self.asked.push(Asked { condition: condition.to_string(), holds });
    }

    /// Writes down a step, with the conditions that were asked for it.
    pub(super) fn note(&mut self, policy: &str, statement: Option<&str>, what: What) {
        let (policy, statement) = (policy.to_owned(), statement.map(str::to_owned));
        self.steps.push(Step { policy, statement, conditions: std::mem::take(&mut self.asked), what });
    }

    /// Whether nothing but a built-in policy was asked.
    #[must_use]
    pub fn is_built_in(&self) -> bool {
        self.steps.iter().all(|step| super::is_built_in(&step.policy))
    }

    /// Where it was decided: `policy "transit", statement "bogons"`. `None` if no policy was asked.
    #[must_use]
    pub fn decided_by(&self) -> Option<String> {
        let Step { policy, statement, what, .. } = self.steps.last()?;
        Some(match (statement, what) {
            (Some(statement), _) => format!("policy \"{policy}\", statement \"{statement}\""),
            (None, What::Default(Outcome::Next)) => format!("policy \"{policy}\", which no other follows"),
            (None, What::Default(_)) if !super::is_built_in(policy) => format!("policy \"{policy}\", its default"),
            (None, What::Filter { then: Outcome::Next, .. }) => format!("filter \"{policy}\", which no other follows"),
            (None, What::Filter { .. }) => format!("filter \"{policy}\""),
            (None, _) => format!("policy \"{policy}\""),
        })
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { policy, statement, conditions, what } = self;
        match statement {
            Some(statement) => write!(f, "{policy}, {statement}: {what}")?,
            None => write!(f, "{policy}: {what}")?,
        }
        match conditions.iter().find(|asked| asked.holds == Some(false)) {
            Some(asked) => write!(f, " ({})", asked.condition),
            None => Ok(()),
        }
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |f: &mut fmt::Formatter<'_>, changes: &[Change]| {
            let comma = |at| if at == 0 { ", set " } else { ", " };
            changes.iter().enumerate().try_for_each(|(at, change)| write!(f, "{}{}", comma(at), change.action))
        };
        match self {
            Self::NoMatch => f.write_str("no match"),
            Self::Match { changes, then } => {
                f.write_str("match")?;
                list(f, changes)?;
                write!(f, ": {then}")
            }
            Self::Default(outcome) => write!(f, "{outcome}"),
            Self::Filter { changes, then } => {
                f.write_str("filter")?;
                list(f, changes)?;
                write!(f, ": {then}")
            }
        }
    }
}
