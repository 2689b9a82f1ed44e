//! What the screen knows, and what keys do to it.

use std::cell::Cell;
use std::cmp::Ordering;
use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Instant;

use bgpd_proto::v1;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::churn::{Change, Churn};

/// Lines that PgUp and PgDn go.
const PAGE: isize = 15;

/// What neighbors are sorted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Sort {
    #[default]
    Address,
    State,
    Received,
    Sent,
    Prefixes,
    Queue,
    Flaps,
}

impl Sort {
    pub(super) const ALL: [(Self, &'static str); 7] = [
        (Self::Address, "address"),
        (Self::State, "state"),
        (Self::Received, "updates in"),
        (Self::Sent, "updates out"),
        (Self::Prefixes, "prefixes"),
        (Self::Queue, "queue"),
        (Self::Flaps, "flaps"),
    ];

    pub(super) fn name(self) -> &'static str {
        Self::ALL.iter().find(|(sort, _)| *sort == self).map_or("", |(_, name)| name)
    }

    fn next(self) -> Self {
        let at = Self::ALL.iter().position(|(sort, _)| *sort == self).unwrap_or(0);
        Self::ALL[(at + 1) % Self::ALL.len()].0
    }
}

/// A neighbor and how fast its messages come and go.
#[derive(Debug, Clone, Default)]
pub(super) struct Row {
    pub(super) neighbor: v1::Neighbor,
    /// UPDATEs a second.
    pub(super) updates_in: f64,
    pub(super) updates_out: f64,
}

impl Row {
    pub(super) fn prefixes(&self) -> u64 {
        self.neighbor.prefixes.iter().map(|counts| counts.received).sum()
    }
}

/// Counters of a neighbor at the last time.
#[derive(Debug, Clone, Copy)]
struct Before {
    received: u64,
    sent: u64,
}

/// What a key asks for beyond the screen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    Nothing,
    Leave,
}

#[derive(Debug, Default)]
pub(super) struct State {
    rows: Vec<Row>,
    before: HashMap<String, Before>,
    asked: Option<Instant>,
    pub(super) status: v1::GetStatusResponse,
    pub(super) churn: Churn,
    changes_before: u64,
    pub(super) changes_rate: f64,
    pub(super) sort: Sort,
    pub(super) reversed: bool,
    pub(super) filter: String,
    /// Keys go into the filter.
    pub(super) typing: bool,
    /// Address of the neighbor under the cursor: it stays there however the others move.
    pub(super) selected: String,
    /// The neighbor that fills the screen.
    pub(super) opened: Option<String>,
    /// First line of it that is shown. Who draws it knows how many there are.
    pub(super) scroll: Cell<u16>,
    pub(super) error: Option<String>,
}

fn updates(counts: Option<v1::MessageCounts>) -> u64 {
    counts.map_or(0, |counts| counts.update)
}

impl State {
    /// Takes an answer; rates are since the one before.
    pub(super) fn update(&mut self, neighbors: Vec<v1::Neighbor>, status: v1::GetStatusResponse, now: Instant) {
        let seconds =
            self.asked.map(|then| now.saturating_duration_since(then).as_secs_f64()).filter(|span| *span > 0.0);
        // A counter that has started again counts from nothing.
        let rate = |now: u64, before: Option<u64>| match (before, seconds) {
            (Some(before), Some(seconds)) => now.saturating_sub(before) as f64 / seconds,
            _ => 0.0,
        };
        let mut after = HashMap::new();
        self.rows = neighbors
            .into_iter()
            .map(|neighbor| {
                let (received, sent) = (updates(neighbor.received), updates(neighbor.sent));
                let before = self.before.get(&neighbor.address);
                after.insert(neighbor.address.clone(), Before { received, sent });
                Row {
                    updates_in: rate(received, before.map(|before| before.received)),
                    updates_out: rate(sent, before.map(|before| before.sent)),
                    neighbor,
                }
            })
            .collect();
        self.changes_rate = rate(self.churn.total(), Some(self.changes_before));
        self.changes_before = self.churn.total();
        if let Some(seconds) = seconds {
            self.churn.look(seconds);
        }
        (self.before, self.status, self.asked, self.error) = (after, status, Some(now), None);
    }

    /// bgpd did not answer.
    pub(super) fn failed(&mut self, why: &str) {
        self.error = Some(why.to_owned());
    }

    /// Routes have changed.
    pub(super) fn changed(&mut self, changes: Vec<Change>) {
        changes.into_iter().for_each(|change| self.churn.count(change));
    }

    /// How many neighbors there are, shown or not.
    pub(super) fn rows(&self) -> usize {
        self.rows.len()
    }

    /// Neighbors that take updates slower than they come.
    pub(super) fn slow(&self) -> usize {
        self.rows.iter().filter(|row| row.neighbor.slow).count()
    }

    /// Octets that wait to be written, to all neighbors.
    pub(super) fn queued(&self) -> u64 {
        self.rows.iter().map(|row| row.neighbor.queued_bytes).sum()
    }

    /// Updates a second, in and out, of all neighbors.
    pub(super) fn totals(&self) -> (f64, f64) {
        self.rows.iter().fold((0.0, 0.0), |(all_in, all_out), row| (all_in + row.updates_in, all_out + row.updates_out))
    }

    /// The rows that match, in order.
    pub(super) fn shown(&self) -> Vec<&Row> {
        let filter = self.filter.to_lowercase();
        let matches = |row: &&Row| {
            let Row { neighbor, .. } = row;
            let asn = neighbor.asn.to_string();
            let texts = [&neighbor.address, &neighbor.description, &neighbor.peer_group, &neighbor.state, &asn];
            texts.iter().any(|text| text.to_lowercase().contains(&filter))
        };
        let mut shown: Vec<&Row> = self.rows.iter().filter(matches).collect();
        shown.sort_by(|one, other| {
            let order = self.order(one, other);
            if self.reversed { order.reverse() } else { order }
        });
        shown
    }

    /// What is greatest comes first; of equals the smaller address.
    fn order(&self, one: &Row, other: &Row) -> Ordering {
        let address = |row: &Row| row.neighbor.address.parse::<IpAddr>().ok();
        let order = match self.sort {
            Sort::Address => Ordering::Equal,
            // What is down is what somebody looks for.
            Sort::State => {
                let is_up = |row: &Row| row.neighbor.state == "Established";
                is_up(one).cmp(&is_up(other)).then_with(|| one.neighbor.state.cmp(&other.neighbor.state))
            }
            Sort::Received => other.updates_in.total_cmp(&one.updates_in),
            Sort::Sent => other.updates_out.total_cmp(&one.updates_out),
            Sort::Prefixes => other.prefixes().cmp(&one.prefixes()),
            Sort::Queue => other.neighbor.queued_bytes.cmp(&one.neighbor.queued_bytes),
            Sort::Flaps => other.neighbor.flaps.cmp(&one.neighbor.flaps),
        };
        order.then_with(|| address(one).cmp(&address(other)))
    }

    /// Where the cursor is among the rows that are shown.
    pub(super) fn cursor(&self, shown: &[&Row]) -> usize {
        shown.iter().position(|row| row.neighbor.address == self.selected).unwrap_or(0)
    }

    /// The row that fills the screen.
    pub(super) fn opened(&self) -> Option<&Row> {
        let address = self.opened.as_ref()?;
        self.rows.iter().find(|row| row.neighbor.address == *address)
    }

    /// Takes a key.
    pub(super) fn key(&mut self, key: KeyEvent) -> Wanted {
        // One that is gone cannot be looked at any more.
        if self.opened().is_none() {
            self.opened = None;
        }
        match key.code {
            KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => return Wanted::Leave,
            code if self.typing => self.type_filter(code),
            KeyCode::Char('q') => return Wanted::Leave,
            KeyCode::Esc | KeyCode::Backspace | KeyCode::Left if self.opened.is_some() => self.opened = None,
            code if steps(code).is_some() => self.move_by(steps(code).unwrap_or(0)),
            // What stands below is not on the screen.
            _ if self.opened.is_some() => {}
            KeyCode::Esc => self.filter.clear(),
            KeyCode::Char('s') => self.sort = self.sort.next(),
            KeyCode::Char('r') => self.reversed = !self.reversed,
            KeyCode::Char('c') => self.churn.clear(),
            KeyCode::Char('/') => self.typing = true,
            KeyCode::Enter | KeyCode::Right => {
                let shown = self.shown();
                let at = self.cursor(&shown);
                let address = shown.get(at).map(|row| row.neighbor.address.clone());
                (self.opened, self.scroll) = (address, Cell::new(0));
            }
            _ => {}
        }
        Wanted::Nothing
    }

    fn type_filter(&mut self, code: KeyCode) {
        match code {
            KeyCode::Enter => self.typing = false,
            KeyCode::Esc => {
                self.typing = false;
                self.filter.clear();
            }
            KeyCode::Backspace => drop(self.filter.pop()),
            // A screen is not wider.
            KeyCode::Char(letter) if self.filter.len() < 64 => self.filter.push(letter),
            _ => {}
        }
    }

    fn move_by(&mut self, rows: isize) {
        if self.opened.is_some() {
            let by = i16::try_from(rows).unwrap_or(if rows < 0 { i16::MIN } else { i16::MAX });
            self.scroll.set(self.scroll.get().saturating_add_signed(by));
            return;
        }
        let shown = self.shown();
        let at = self.cursor(&shown).saturating_add_signed(rows).min(shown.len().saturating_sub(1));
        if let Some(address) = shown.get(at).map(|row| row.neighbor.address.clone()) {
            self.selected = address;
        }
    }
}

/// By how many lines a key moves.
fn steps(key: KeyCode) -> Option<isize> {
    match key {
        KeyCode::Down | KeyCode::Char('j') => Some(1),
        KeyCode::Up | KeyCode::Char('k') => Some(-1),
        KeyCode::PageDown => Some(PAGE),
        KeyCode::PageUp => Some(-PAGE),
        KeyCode::End => Some(isize::MAX),
        KeyCode::Home => Some(isize::MIN),
        _ => None,
    }
}
