//! How it looks.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier};
use ratatui::text::{Line, Text};
use ratatui::widgets::Paragraph;

use super::churn::Noisy;
use super::state::{Row, State};
use super::table;
use crate::output::{neighbor, span};

/// Fewest lines of the noisiest prefixes, with a blank line and their headings.
const NOISY: u16 = 8;

pub(super) fn draw(frame: &mut Frame<'_>, state: &State) {
    let [head, body, foot] =
        Layout::vertical([Constraint::Length(4), Constraint::Fill(1), Constraint::Length(1)]).areas(frame.area());
    frame.render_widget(heading(state), head);
    match state.opened() {
        Some(row) => details(frame, state, row, body),
        None => {
            let noisy = if body.height > 2 * NOISY { NOISY.max(body.height / 3) } else { 0 };
            let [neighbors, prefixes] = Layout::vertical([Constraint::Fill(1), Constraint::Length(noisy)]).areas(body);
            table::draw(frame, state, neighbors);
            frame.render_widget(noisiest(state, prefixes), prefixes);
        }
    }
    frame.render_widget(help(state), foot);
}

/// A rate with as many digits as say something.
pub(super) fn rate(value: f64) -> String {
    if value >= 10.0 || value == 0.0 { format!("{value:.0}") } else { format!("{value:.1}") }
}

/// Octets as people count them.
pub(super) fn octets(count: u64) -> String {
    match count {
        0..=9_999 => count.to_string(),
        10_000..=9_999_999 => format!("{}k", count / 1000),
        _ => format!("{}M", count / 1_000_000),
    }
}

fn heading(state: &State) -> Text<'static> {
    let status = &state.status;
    let (prefixes, paths) =
        status.tables.iter().fold((0, 0), |(prefixes, paths), one| (prefixes + one.prefixes, paths + one.paths));
    let (updates_in, updates_out) = state.totals();
    let first = format!(
        "bgpd {}  AS {}  router ID {}  up {}",
        status.version,
        status.asn,
        status.router_id,
        span(status.uptime_seconds)
    );
    let second = format!(
        "neighbors {} ({} Established, {} slow)  prefixes {prefixes}  paths {paths}",
        status.neighbors,
        status.established,
        state.slow()
    );
    let third = format!(
        "updates in {}/s, out {}/s  changes {}/s  queued {}",
        rate(updates_in),
        rate(updates_out),
        rate(state.changes_rate),
        octets(state.queued())
    );
    let mut lines = vec![Line::styled(first, Modifier::BOLD), Line::raw(second), Line::raw(third)];
    if let Some(error) = &state.error {
        lines.push(Line::styled(format!("bgpd does not answer: {error}"), Color::Red));
    }
    Text::from(lines)
}

fn noisiest(state: &State, area: Rect) -> Text<'static> {
    let most = usize::from(area.height).saturating_sub(2);
    let noisy = state.churn.noisiest(most);
    let width = noisy.iter().map(|one| one.prefix.len()).max().unwrap_or(0);
    let heading = format!("{:<width$}  Changes  per s  From", "Noisiest prefix", width = width.max(15));
    let mut lines = vec![Line::raw(""), Line::styled(heading, Modifier::BOLD)];
    if noisy.is_empty() {
        lines.push(Line::raw("none has changed since top began"));
    }
    lines.extend(noisy.into_iter().map(|Noisy { prefix, changes, per_second, from }| {
        let from = if from.is_empty() { "here" } else { from };
        let width = width.max(15);
        Line::raw(format!("{prefix:<width$}  {changes:>7}  {:>5}  {from}", rate(per_second)))
    }));
    Text::from(lines)
}

fn details(frame: &mut Frame<'_>, state: &State, row: &Row, area: Rect) {
    let rates = format!("updates in {}/s, out {}/s", rate(row.updates_in), rate(row.updates_out));
    let text = anstream::adapter::strip_str(&neighbor::details(&row.neighbor)).to_string();
    let text = format!("{rates}\n\n{text}");
    let lines = u16::try_from(text.lines().count()).unwrap_or(u16::MAX);
    // The last line stays in sight.
    state.scroll.set(state.scroll.get().min(lines.saturating_sub(area.height)));
    frame.render_widget(Paragraph::new(text).scroll((state.scroll.get(), 0)), area);
}

fn help(state: &State) -> Line<'static> {
    let text = match (state.typing, state.opened().is_some()) {
        (true, _) => format!("filter: {}_   Enter keeps it, Esc clears it", state.filter),
        (false, true) => "up/down, PgUp/PgDn scroll   Esc back   q quit".to_owned(),
        (false, false) => {
            let filter = match state.filter.as_str() {
                "" => String::new(),
                filter => format!("filter: {filter} ({} of {})   ", state.shown().len(), state.rows()),
            };
            let reversed = if state.reversed { ", reversed" } else { "" };
            let sort = state.sort.name();
            format!("{filter}s sort ({sort}{reversed})  r reverse  / filter  Enter details  c clear counts  q quit")
        }
    };
    Line::styled(text, Modifier::DIM)
}
