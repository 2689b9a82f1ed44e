//! Explanations.

use std::fmt::Write;

use bgpd_proto::v1;
use serde::Serialize;

use super::route;

/// An explanation for programs.
#[derive(Serialize)]
pub(crate) struct Json<'a> {
    prefix: &'a str,
    candidates: Vec<Candidate<'a>>,
    exports: Vec<Export<'a>>,
    kernels: Vec<Kernel<'a>>,
}

#[derive(Serialize)]
struct Candidate<'a> {
    verdict: &'a str,
    route: Option<route::Json<'a>>,
}

#[derive(Serialize)]
struct Export<'a> {
    to: &'a str,
    advertised: bool,
    why: &'a str,
}

#[derive(Serialize)]
struct Kernel<'a> {
    by: &'a str,
    installed: bool,
    why: &'a str,
}

pub(crate) fn json(answer: &v1::ExplainResponse) -> Json<'_> {
    let candidates = answer.candidates.iter();
    let exports = answer.exports.iter();
    let kernels = answer.kernels.iter();
    Json {
        prefix: &answer.prefix,
        candidates: candidates
            .map(|one| Candidate { verdict: &one.verdict, route: one.route.as_ref().map(route::json) })
            .collect(),
        exports: exports.map(|one| Export { to: &one.to, advertised: one.advertised, why: &one.why }).collect(),
        kernels: kernels.map(|one| Kernel { by: &one.by, installed: one.installed, why: &one.why }).collect(),
    }
}

pub(crate) fn text(answer: &v1::ExplainResponse) -> String {
    let mut text = format!("{}\n\nPaths\n", answer.prefix);
    for candidate in &answer.candidates {
        let line = candidate.route.as_ref().map(route::line).unwrap_or_default();
        // Writing to a string does not fail.
        let _ = write!(text, "  {line}\n      {}\n", candidate.verdict);
    }
    text.push_str("\nAnnounced to\n");
    if answer.exports.is_empty() {
        text.push_str("  nobody: no Established neighbor of this family\n");
    }
    let exports: Vec<_> = answer.exports.iter().map(|one| (one.to.as_str(), one.why.as_str())).collect();
    list(&mut text, &exports);
    if !answer.kernels.is_empty() {
        text.push_str("\nIn the kernel\n");
        let kernels: Vec<_> = answer.kernels.iter().map(|one| (one.by.as_str(), one.why.as_str())).collect();
        list(&mut text, &kernels);
    }
    text
}

/// Names and what there is to say of them.
fn list(text: &mut String, lines: &[(&str, &str)]) {
    let width = lines.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    for (name, why) in lines {
        // Writing to a string does not fail.
        let _ = writeln!(text, "  {name:<width$}  {why}");
    }
}
