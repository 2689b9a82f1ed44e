//! What a policy did to one route, step by step: written down by the evaluator while it runs.

use std::fmt;

use super::definition::Outcome;
use crate::attr::AttrRef;

/// The steps, in order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Trace {
    /// One for each statement that was asked, and one for each policy that came to its end.
    pub steps: Vec<Step>,
    /// The attributes behind each step.
    pub attrs: Vec<AttrRef>,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The policy.
    pub policy: String,
    /// The statement; `None` at the end of the policy.
    pub statement: Option<String>,
    /// What happened.
    pub what: What,
}

/// What happened in a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// A condition does not hold.
    NoMatch {
        /// The condition.
        condition: String,
    },
    /// All conditions hold.
    Match {
        /// The changes.
        changes: Vec<String>,
        /// And then.
        then: Outcome,
    },
    /// The policy says so, or says so of what no statement decides.
    Default(Outcome),
    /// A filter decided.
    Filter {
        /// It let the route pass.
        accepts: bool,
    },
}

impl Trace {
    pub(super) fn note(&mut self, policy: &str, statement: Option<&str>, what: What, attrs: &AttrRef) {
        self.steps.push(Step { policy: policy.to_owned(), statement: statement.map(str::to_owned), what });
        self.attrs.push(attrs.clone());
    }

    /// Whether nothing but a built-in policy was asked.
    #[must_use]
    pub fn is_built_in(&self) -> bool {
        self.steps.iter().all(|step| super::is_built_in(&step.policy))
    }

    /// Where it was decided: `policy "transit", statement "bogons"`. `None` if no policy was asked.
    #[must_use]
    pub fn decided_by(&self) -> Option<String> {
        let Step { policy, statement, what } = self.steps.last()?;
        Some(match (statement, what) {
            (Some(statement), _) => format!("policy \"{policy}\", statement \"{statement}\""),
            (None, What::Default(Outcome::Next)) => format!("policy \"{policy}\", which no other follows"),
            (None, What::Default(_)) if !super::is_built_in(policy) => format!("policy \"{policy}\", its default"),
            (None, _) => format!("policy \"{policy}\""),
        })
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { policy, statement, what } = self;
        match statement {
            Some(statement) => write!(f, "{policy}, {statement}: {what}"),
            None => write!(f, "{policy}: {what}"),
        }
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoMatch { condition } => write!(f, "no match ({condition})"),
            Self::Match { changes, then } => {
                f.write_str("match")?;
                changes
                    .iter()
                    .enumerate()
                    .try_for_each(|(at, change)| write!(f, "{}{change}", if at == 0 { ", set " } else { ", " }))?;
                write!(f, ": {then}")
            }
            Self::Default(outcome) => write!(f, "{outcome}"),
            Self::Filter { accepts } => f.write_str(if *accepts { "filter: accept" } else { "filter: reject" }),
        }
    }
}
