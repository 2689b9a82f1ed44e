//! The figures as bars: CPU seconds, wall time and peak memory of each daemon, relative to the largest of a load.

use std::fmt::Write;

use super::daemon::DaemonKind;
use super::load::Load;
use super::report::{Figure, Report, Row};

const PANEL_WIDTH: usize = 300;
const LABEL_WIDTH: usize = 70;
const BAR: usize = 11;
const GAP: usize = 10;
const TOP: usize = 70;

const PANELS: [(&str, &str, Figure); 3] = [
    ("CPU seconds", "s", |row| row.cpu_seconds.median),
    ("wall time", "s", |row| row.wall_seconds.median),
    ("peak memory", "MiB", |row| row.peak_mib.median),
];

fn color(kind: DaemonKind) -> &'static str {
    match kind {
        DaemonKind::Bgpd => "#d1495b",
        DaemonKind::Bird => "#30638e",
        DaemonKind::Frr => "#edae49",
        DaemonKind::Gobgp => "#00798c",
        DaemonKind::Openbgpd => "#7d5ba6",
        DaemonKind::Copier => "#b0b0b0",
    }
}

/// An SVG image of a report.
pub(crate) fn svg(report: &Report) -> String {
    let mut loads: Vec<Load> = Vec::new();
    for row in &report.rows {
        if !loads.contains(&row.load) {
            loads.push(row.load);
        }
    }
    let mut body = String::new();
    let mut y = TOP;
    for load in &loads {
        let rows: Vec<&Row> = report.rows.iter().filter(|row| row.load == *load && row.measured()).collect();
        let height = rows.len() * BAR;
        let _ = writeln!(body, r#"<text x="10" y="{}" font-weight="bold">{}</text>"#, y + height / 2 + 4, load.name());
        for (number, panel) in PANELS.iter().enumerate() {
            bars(&mut body, &rows, panel, LABEL_WIDTH + number * (PANEL_WIDTH + 20), y);
        }
        y += height + GAP;
    }
    let width = LABEL_WIDTH + PANELS.len() * (PANEL_WIDTH + 20);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{y}\" viewBox=\"0 0 {width} {y}\" \
         font-family=\"sans-serif\" font-size=\"11\">\n<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n{}{body}</svg>\n",
        heading(report)
    )
}

fn heading(report: &Report) -> String {
    let mut text = String::new();
    let mut x = LABEL_WIDTH;
    let mut seen = Vec::new();
    for row in &report.rows {
        if seen.contains(&row.kind) {
            continue;
        }
        seen.push(row.kind);
        let _ = writeln!(
            text,
            r#"<rect x="{x}" y="14" width="10" height="10" fill="{}"/><text x="{}" y="23">{}</text>"#,
            color(row.kind),
            x + 14,
            row.kind.name()
        );
        x += 110;
    }
    for (number, (title, ..)) in PANELS.iter().enumerate() {
        let x = LABEL_WIDTH + number * (PANEL_WIDTH + 20);
        let _ = writeln!(text, r#"<text x="{x}" y="52" font-size="14">{title} (shorter is better)</text>"#);
    }
    text
}

/// The bars of one load for one figure; the longest fills the panel.
fn bars(out: &mut String, rows: &[&Row], (_, unit, figure): &(&str, &str, Figure), x: usize, y: usize) {
    let largest = rows.iter().map(|row| figure(row)).fold(0.0, f64::max);
    for (number, row) in rows.iter().enumerate() {
        let value = figure(row);
        let room = (PANEL_WIDTH - 70) as f64;
        let width = if largest > 0.0 { value / largest * room } else { 0.0 };
        let top = y + number * BAR;
        let _ = writeln!(
            out,
            r#"<rect x="{x}" y="{top}" width="{width:.1}" height="{}" fill="{}"/><text x="{:.1}" y="{}" font-size="9">{} {unit}</text>"#,
            BAR - 2,
            color(row.kind),
            x as f64 + width + 4.0,
            top + BAR - 3,
            if value < 10.0 { format!("{value:.2}") } else { format!("{value:.0}") },
        );
    }
}
