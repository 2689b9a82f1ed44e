//! Figures of all runs as a table and as JSON.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::daemon::DaemonKind;
use super::load::Load;
use super::machine::Machine;
use super::outcome::{Outcome, Spread};

/// All figures of one invocation.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) machine: Machine,
    pub(crate) quick: bool,
    pub(crate) versions: BTreeMap<String, String>,
    pub(crate) rows: Vec<Row>,
}

/// One load on one daemon.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) load: Load,
    #[serde(rename = "daemon")]
    pub(crate) kind: DaemonKind,
    pub(crate) wall_seconds: Spread,
    pub(crate) cpu_seconds: Spread,
    pub(crate) peak_mib: Spread,
    pub(crate) settled_mib: Spread,
    pub(crate) latency_p50_ms: Option<Spread>,
    pub(crate) latency_p99_ms: Option<Spread>,
    pub(crate) latency_max_ms: Option<Spread>,
    /// What the figures above sum up.
    pub(crate) runs: Vec<Outcome>,
}

impl Row {
    /// Sums up the runs; runs with a wrong result do not count.
    pub(crate) fn new(load: Load, kind: DaemonKind, runs: Vec<Outcome>) -> Self {
        let good: Vec<&Outcome> = runs.iter().filter(|run| run.wrong.is_empty()).collect();
        let spread = |figure: &dyn Fn(&Outcome) -> f64| Spread::of(good.iter().map(|run| figure(run)).collect());
        let latency = |figure: &dyn Fn(&super::outcome::Latency) -> f64| {
            let values: Vec<f64> = good.iter().filter_map(|run| run.latency.as_ref()).map(figure).collect();
            (!values.is_empty()).then(|| Spread::of(values))
        };
        Self {
            load,
            kind,
            wall_seconds: spread(&|run| run.wall_seconds),
            cpu_seconds: spread(&|run| run.cpu_seconds),
            peak_mib: spread(&|run| run.peak_kib as f64 / 1024.0),
            settled_mib: spread(&|run| run.settled_kib as f64 / 1024.0),
            latency_p50_ms: latency(&|latency| latency.p50_ms),
            latency_p99_ms: latency(&|latency| latency.p99_ms),
            latency_max_ms: latency(&|latency| latency.max_ms),
            runs,
        }
    }

    /// True when no run had a wrong result.
    pub(crate) fn right(&self) -> bool {
        self.runs.iter().all(|run| run.wrong.is_empty())
    }

    /// True when there are figures at all.
    pub(crate) fn measured(&self) -> bool {
        self.runs.iter().any(|run| run.wrong.is_empty())
    }

    fn p99(&self) -> f64 {
        self.latency_p99_ms.map_or(f64::NAN, |spread| spread.median)
    }
}

/// A figure that is compared between daemons; less is better.
pub(crate) type Figure = fn(&Row) -> f64;

/// The figures of the ratio columns.
pub(crate) const FIGURES: [(&str, Figure); 4] = [
    ("wall", |row| row.wall_seconds.median),
    ("CPU", |row| row.cpu_seconds.median),
    ("peak", |row| row.peak_mib.median),
    ("p99", Row::p99),
];

impl Report {
    /// Takes in the runs of another report; runs of the same load and daemon are summed up together.
    pub(crate) fn merge(&mut self, other: Self) {
        self.versions.extend(other.versions);
        for new in other.rows {
            let place = self.rows.iter().position(|row| (row.load, row.kind) == (new.load, new.kind));
            let mut runs = place.map_or_else(Vec::new, |place| self.rows.remove(place).runs);
            runs.extend(new.runs);
            self.rows.push(Row::new(new.load, new.kind, runs));
        }
        self.rows.sort_by_key(|row| (row.load, row.kind));
    }

    /// `row`'s figure divided by that of the best other daemon on the same load.
    pub(crate) fn ratio(&self, row: &Row, figure: Figure) -> Option<f64> {
        let others = self.rows.iter().filter(|other| {
            other.load == row.load && !matches!(other.kind, DaemonKind::Bgpd | DaemonKind::Copier) && other.measured()
        });
        let best = others.map(figure).filter(|value| value.is_finite()).min_by(f64::total_cmp)?;
        let ratio = figure(row) / best;
        (row.measured() && ratio.is_finite()).then_some(ratio)
    }

    /// The table, in Markdown.
    pub(crate) fn table(&self) -> String {
        let mut text = String::from(
            "| load | daemon | wall s | CPU s | peak MiB | settled MiB | p50 / p99 / max ms | result |\n\
             |---|---|---:|---:|---:|---:|---:|---|\n",
        );
        for row in &self.rows {
            text += &self.line(row);
            text.push('\n');
        }
        text
    }

    /// One line of the table.
    pub(crate) fn line(&self, row: &Row) -> String {
        let result = match row.runs.iter().flat_map(|run| &run.wrong).next() {
            Some(wrong) => format!("WRONG: {}", wrong.replace('|', "/")),
            None => remarks(row),
        };
        if !row.measured() {
            return format!("| {} | {} | | | | | | {result} |", row.load.name(), row.kind.name());
        }
        let latency = match (row.latency_p50_ms, row.latency_p99_ms, row.latency_max_ms) {
            (Some(p50), Some(p99), Some(max)) => {
                format!("{} / {} / {}", figures(p50.median), figures(p99.median), figures(max.median))
            }
            _ => String::new(),
        };
        format!(
            "| {} | {} | {} | {} | {:.0} | {:.0} | {latency} | {result} |",
            row.load.name(),
            row.kind.name(),
            spread(row.wall_seconds),
            spread(row.cpu_seconds),
            row.peak_mib.median,
            row.settled_mib.median,
        )
    }

    /// bgpd against the best other daemon, load by load, in Markdown; empty without both.
    pub(crate) fn ratios(&self) -> String {
        let mut text = String::new();
        for row in self.rows.iter().filter(|row| row.kind == DaemonKind::Bgpd) {
            let cells: Vec<String> = FIGURES
                .iter()
                .map(|(_, figure)| self.ratio(row, *figure).map_or(String::new(), |ratio| format!("{ratio:.2}")))
                .collect();
            if cells.iter().any(|cell| !cell.is_empty()) {
                text += &format!("| {} | {} |\n", row.load.name(), cells.join(" | "));
            }
        }
        if text.is_empty() {
            return text;
        }
        format!("| load | wall | CPU | peak memory | p99 |\n|---|---:|---:|---:|---:|\n{text}")
    }
}

fn remarks(row: &Row) -> String {
    let Some(run) = row.runs.first() else { return String::new() };
    let mut text = String::from("exact");
    if run.echoed > 0 {
        text += &format!(", {} UPDATEs sent back to their source", run.echoed);
    }
    for (name, value) in &run.extra {
        text += &format!(", {} {}", name.replace('_', " "), figures(*value));
    }
    text
}

/// The median, with the range where it is wide.
fn spread(spread: Spread) -> String {
    if spread.max - spread.min <= 0.1 * spread.median {
        return figures(spread.median);
    }
    format!("{} ({}–{})", figures(spread.median), figures(spread.min), figures(spread.max))
}

/// About three significant figures.
fn figures(value: f64) -> String {
    match value.abs() {
        0.0..1.0 => format!("{value:.3}"),
        1.0..100.0 => format!("{value:.2}"),
        _ => format!("{value:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(kind: DaemonKind, wall: f64, wrong: bool) -> Row {
        let run = Outcome {
            wall_seconds: wall,
            wrong: if wrong { vec!["lost".into()] } else { Vec::new() },
            ..Outcome::default()
        };
        Row::new(Load::A, kind, vec![run])
    }

    fn report(rows: Vec<Row>) -> Report {
        Report { machine: Machine::describe(), quick: true, versions: BTreeMap::new(), rows }
    }

    #[test]
    fn the_ratio_is_to_the_best_other_daemon_with_a_right_result() {
        let report = report(vec![
            row(DaemonKind::Bgpd, 2.0, false),
            row(DaemonKind::Bird, 4.0, false),
            row(DaemonKind::Frr, 8.0, false),
            row(DaemonKind::Gobgp, 1.0, true),
            row(DaemonKind::Copier, 0.5, false),
        ]);
        assert_eq!(report.ratio(&report.rows[0], FIGURES[0].1), Some(0.5));
    }

    #[test]
    fn merged_runs_of_a_load_and_daemon_are_summed_up_together() {
        let mut all = report(vec![row(DaemonKind::Bird, 1.0, false)]);
        all.merge(report(vec![row(DaemonKind::Bird, 3.0, false), row(DaemonKind::Bgpd, 1.0, false)]));
        assert_eq!(all.rows.len(), 2);
        assert_eq!(all.rows[1].wall_seconds.median, 2.0);
    }

    #[test]
    fn a_wrong_result_is_said_and_its_figures_are_not() {
        let report = report(vec![row(DaemonKind::Bird, 4.0, true)]);
        assert!(report.table().contains("| a | BIRD | | | | | | WRONG: lost |"), "{}", report.table());
    }
}
