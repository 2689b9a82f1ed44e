//! The table of neighbors: as many columns as there is room for, each as wide as what is in it.

use ratatui::Frame;
use ratatui::layout::{Constraint, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Cell, Row as TableRow, Table, TableState};

use super::screen::{octets, rate};
use super::state::{Row, Sort, State};
use crate::output::span;

/// A column: its name, what it is sorted by, and whether it has numbers, which stand on the right.
struct Column {
    name: &'static str,
    sort: Option<Sort>,
    number: bool,
    cell: fn(&Row) -> String,
}

const fn column(name: &'static str, sort: Option<Sort>, number: bool, cell: fn(&Row) -> String) -> Column {
    Column { name, sort, number, cell }
}

const COLUMNS: [Column; 10] = [
    column("Neighbor", Some(Sort::Address), false, |row| row.neighbor.address.clone()),
    column("AS", None, true, |row| row.neighbor.asn.to_string()),
    column("State", Some(Sort::State), false, |row| state(row).0),
    column("Up/Down", None, true, |row| span(row.neighbor.uptime_seconds)),
    column("In/s", Some(Sort::Received), true, |row| rate(row.updates_in)),
    column("Out/s", Some(Sort::Sent), true, |row| rate(row.updates_out)),
    column("Received", Some(Sort::Prefixes), true, |row| row.prefixes().to_string()),
    column("Queue", Some(Sort::Queue), true, |row| octets(row.neighbor.queued_bytes)),
    column("Flaps", Some(Sort::Flaps), true, |row| row.neighbor.flaps.to_string()),
    column("Description", None, false, |row| row.neighbor.description.clone()),
];

/// Columns that go first where there is no room for all.
const EXPENDABLE: [&str; 6] = ["Description", "Flaps", "AS", "Queue", "Out/s", "Up/Down"];
/// Room that a description needs to say something.
const DESCRIPTION: u16 = 10;

/// The state in a word, and its color.
fn state(row: &Row) -> (String, Option<Color>) {
    let neighbor = &row.neighbor;
    match neighbor.state.as_str() {
        "Established" if neighbor.slow => ("slow".to_owned(), Some(Color::Yellow)),
        "Established" => ("Established".to_owned(), Some(Color::Green)),
        _ if neighbor.shutdown.is_some() => ("disabled".to_owned(), None),
        other => (other.to_owned(), Some(Color::Red)),
    }
}

/// The columns that fit, with their widths.
fn fitting(rows: &[&Row], sort: Sort, room: u16) -> Vec<(&'static Column, u16)> {
    let width = |column: &Column| {
        let cells = rows.iter().map(|row| (column.cell)(row).chars().count());
        let widest = u16::try_from(cells.max().unwrap_or(0)).unwrap_or(u16::MAX);
        match column.name {
            "Description" if widest == 0 => 0,
            "Description" => DESCRIPTION,
            name => widest.max(name.len() as u16),
        }
    };
    let mut columns: Vec<(&Column, u16)> = COLUMNS.iter().map(|column| (column, width(column))).collect();
    columns.retain(|(_, width)| *width > 0);
    for name in EXPENDABLE {
        if total(&columns, 1) <= room {
            break;
        }
        // What the order comes from stays.
        columns.retain(|(column, _)| column.name != name || column.sort == Some(sort));
    }
    columns
}

/// What columns need with so many blanks between two of them.
fn total(columns: &[(&Column, u16)], blanks: u16) -> u16 {
    let widths = columns.iter().fold(0, |total: u16, (_, width)| total.saturating_add(*width).saturating_add(blanks));
    widths.saturating_sub(blanks)
}

pub(super) fn draw(frame: &mut Frame<'_>, of: &State, area: Rect) {
    let shown = of.shown();
    let columns = fitting(&shown, of.sort, area.width);
    let headings = columns.iter().map(|(column, _)| {
        let is_sorted = column.sort == Some(of.sort);
        let style = if is_sorted { Modifier::UNDERLINED | Modifier::BOLD } else { Modifier::BOLD };
        cell(column, Span::styled(column.name, Style::from(style)))
    });
    let headings: Vec<Cell<'_>> = headings.collect();
    let rows = shown.iter().map(|row| {
        TableRow::new(columns.iter().map(|(column, _)| {
            let text = (column.cell)(row);
            match state(row).1.filter(|_| column.name == "State") {
                Some(color) => cell(column, Span::styled(text, color)),
                None => cell(column, Span::raw(text)),
            }
        }))
    });
    let widths = columns.iter().map(|(column, width)| match column.name {
        "Description" => Constraint::Fill(1),
        _ => Constraint::Length(*width),
    });
    let spacing = if total(&columns, 2) <= area.width { 2 } else { 1 };
    let table = Table::new(rows, widths).header(TableRow::new(headings)).column_spacing(spacing);
    let table = table.row_highlight_style(Modifier::REVERSED);
    let cursor = (!shown.is_empty()).then(|| of.cursor(&shown));
    frame.render_stateful_widget(table, area, &mut TableState::default().with_selected(cursor));
}

fn cell<'a>(column: &Column, text: Span<'a>) -> Cell<'a> {
    let line = Line::from(text);
    Cell::from(if column.number { line.right_aligned() } else { line })
}
