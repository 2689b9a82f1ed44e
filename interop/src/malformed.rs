//! The same malformed octets for several daemons, and what each does about them.
//!
//! A [`Case`] is one thing that is wrong and what the RFCs allow to be done about it. It is played to a daemon over a
//! session of its own; another session, the [`Observer`](observer::Observer), sees what becomes of the routes. Nothing
//! here uses the project's codec: what it would misread as a sender it would misread as a receiver.

mod case;
mod message;
mod observer;
mod report;
mod sender;
mod target;

pub(crate) use case::Stage;
pub use case::{Case, Expected, cases};
pub(crate) use message::{INTERNAL, KEEPALIVE, Place, Prefix, UPDATE, message, nlri, update};
pub(crate) use observer::Observer;
pub use report::table;
pub use sender::Outcome;
pub(crate) use sender::{Connection, own_open};
pub(crate) use target::connect;
pub use target::{Kind, Target, address};

use crate::lab::Lab;

/// What one daemon did in one case.
#[derive(Debug, Clone)]
pub struct Observed {
    /// What it did.
    pub outcome: Outcome,
    /// Whether an RFC allows that.
    pub right: bool,
}

/// Plays all cases to one daemon, in order. One that dies is started again.
#[must_use]
pub fn play(kind: Kind, cases: &[Case]) -> Vec<Observed> {
    let lab = Lab::new(&format!("malformed-{}", kind.name()), kind.commands());
    play_to(&mut Target::start(&lab, kind), cases)
}

/// Plays all cases to a daemon that runs.
pub fn play_to(target: &mut Target, cases: &[Case]) -> Vec<Observed> {
    let mut all = Vec::new();
    for (number, case) in cases.iter().enumerate() {
        let mut outcome = target.play(case, number);
        if !target.is_running() {
            outcome = Outcome::Crashed;
            target.restart();
        }
        let right = case.allowed.iter().any(|expected| expected.holds(&outcome));
        all.push(Observed { outcome, right });
    }
    all
}
