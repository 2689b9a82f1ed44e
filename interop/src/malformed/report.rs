//! The table of what everybody did.

use std::fmt::Write;

use super::{Case, Kind, Observed};

/// A Markdown table: one line for each case, one column for each daemon. What no RFC allows is in brackets.
#[must_use]
pub fn table(cases: &[Case], columns: &[(Kind, Vec<Observed>)]) -> String {
    let mut text = "| case | RFC says |".to_owned();
    text.extend(columns.iter().map(|(kind, _)| format!(" {} |", kind.name())));
    text += "\n|---|---|";
    text += &"---|".repeat(columns.len());
    for (number, case) in cases.iter().enumerate() {
        let says: Vec<_> = case.allowed.iter().map(ToString::to_string).collect();
        let _ = write!(text, "\n| {} | {} ({}) |", case.name, says.join(" or "), case.rfc);
        for (_, observed) in columns {
            let Observed { outcome, right } = &observed[number];
            let _ = if *right { write!(text, " {outcome} |") } else { write!(text, " [{outcome}] |") };
        }
    }
    text += "\n| **right** | |";
    for (_, observed) in columns {
        let right = observed.iter().filter(|observed| observed.right).count();
        let _ = write!(text, " **{right} of {}** |", observed.len());
    }
    text.push('\n');
    text
}
