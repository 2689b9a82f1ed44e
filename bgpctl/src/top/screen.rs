//! How it looks.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span, Text};
use ratatui::widgets::{Cell, Paragraph, Row as TableRow, Table, TableState};

use super::state::{Row, Sort, State};
use crate::output::{neighbor, span};

/// Lines of the noisiest prefixes, with their heading.
const NOISY: u16 = 8;

pub(super) fn draw(frame: &mut Frame<'_>, state: &State) {
    let [head, body, foot] =
        Layout::vertical([Constraint::Length(3), Constraint::Fill(1), Constraint::Length(1)]).areas(frame.area());
    frame.render_widget(heading(state), head);
    match state.opened() {
        Some(row) => details(frame, state, row, body),
        None => {
            let noisy = if body.height > 2 * NOISY { NOISY } else { 0 };
            let [neighbors, prefixes] = Layout::vertical([Constraint::Fill(1), Constraint::Length(noisy)]).areas(body);
            table(frame, state, neighbors);
            frame.render_widget(noisiest(state), prefixes);
        }
    }
    frame.render_widget(help(state), foot);
}

/// A rate with as many digits as say something.
fn rate(value: f64) -> String {
    if value >= 10.0 || value == 0.0 { format!("{value:.0}") } else { format!("{value:.1}") }
}

/// Octets as people count them.
fn octets(count: u64) -> String {
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
        "neighbors {} ({} Established)  prefixes {prefixes}  paths {paths}  updates in {}/s out {}/s  changes {}/s",
        status.neighbors,
        status.established,
        rate(updates_in),
        rate(updates_out),
        rate(state.changes_rate)
    );
    let mut lines = vec![Line::styled(first, Modifier::BOLD), Line::raw(second)];
    if let Some(error) = &state.error {
        lines.push(Line::styled(format!("bgpd does not answer: {error}"), Color::Red));
    }
    Text::from(lines)
}

fn table(frame: &mut Frame<'_>, state: &State, area: Rect) {
    let shown = state.shown();
    let columns = [
        ("Neighbor", Some(Sort::Address), Constraint::Fill(3)),
        ("AS", None, Constraint::Length(10)),
        ("State", Some(Sort::State), Constraint::Length(12)),
        ("Up/Down", None, Constraint::Length(9)),
        ("In/s", Some(Sort::Received), Constraint::Length(7)),
        ("Out/s", Some(Sort::Sent), Constraint::Length(7)),
        ("Received", Some(Sort::Prefixes), Constraint::Length(9)),
        ("Queue", Some(Sort::Queue), Constraint::Length(7)),
        ("Flaps", Some(Sort::Flaps), Constraint::Length(6)),
        ("Description", None, Constraint::Fill(2)),
    ];
    let headings = columns.map(|(name, sort, _)| {
        let style = if sort == Some(state.sort) { Modifier::UNDERLINED | Modifier::BOLD } else { Modifier::BOLD };
        Cell::from(name).style(Style::from(style))
    });
    let rows = shown.iter().map(|row| line(row));
    let table = Table::new(rows, columns.map(|(.., width)| width))
        .header(TableRow::new(headings))
        .row_highlight_style(Modifier::REVERSED);
    let cursor = (!shown.is_empty()).then(|| state.cursor(&shown));
    frame.render_stateful_widget(table, area, &mut TableState::default().with_selected(cursor));
}

fn line(row: &Row) -> TableRow<'static> {
    let neighbor = &row.neighbor;
    let state = match neighbor.state.as_str() {
        "Established" if neighbor.slow => Span::styled("slow", Color::Yellow),
        "Established" => Span::styled("Established", Color::Green),
        _ if neighbor.shutdown.is_some() => Span::raw("disabled"),
        other => Span::styled(other.to_owned(), Color::Red),
    };
    TableRow::new([
        Cell::from(neighbor.address.clone()),
        Cell::from(neighbor.asn.to_string()),
        Cell::from(state),
        Cell::from(span(neighbor.uptime_seconds)),
        Cell::from(rate(row.updates_in)),
        Cell::from(rate(row.updates_out)),
        Cell::from(row.prefixes().to_string()),
        Cell::from(octets(neighbor.queued_bytes)),
        Cell::from(neighbor.flaps.to_string()),
        Cell::from(neighbor.description.clone()),
    ])
}

fn noisiest(state: &State) -> Text<'static> {
    let mut lines = vec![Line::raw(""), Line::styled("Noisiest prefixes (changes since top began)", Modifier::BOLD)];
    let noisy = state.churn.noisiest(usize::from(NOISY) - 2);
    if noisy.is_empty() {
        lines.push(Line::raw("none has changed"));
    }
    lines.extend(noisy.into_iter().map(|(prefix, count)| Line::raw(format!("{count:>9}  {prefix}"))));
    Text::from(lines)
}

fn details(frame: &mut Frame<'_>, state: &State, row: &Row, area: Rect) {
    let rates = format!("updates in {}/s, out {}/s", rate(row.updates_in), rate(row.updates_out));
    let text = anstream::adapter::strip_str(&neighbor::details(&row.neighbor)).to_string();
    let paragraph = Paragraph::new(format!("{rates}\n\n{text}")).scroll((state.scroll, 0));
    frame.render_widget(paragraph, area);
}

fn help(state: &State) -> Line<'static> {
    let text = match (state.typing, state.opened().is_some()) {
        (true, _) => format!("filter: {}_   Enter keeps it, Esc clears it", state.filter),
        (false, true) => "up/down scroll   Esc back   q quit".to_owned(),
        (false, false) => {
            let filter = if state.filter.is_empty() { String::new() } else { format!("   filter: {}", state.filter) };
            let reversed = if state.reversed { ", reversed" } else { "" };
            let sort = state.sort.name();
            format!("s sort ({sort}{reversed})   r reverse   / filter   Enter details   q quit{filter}")
        }
    };
    Line::styled(text, Modifier::DIM)
}
