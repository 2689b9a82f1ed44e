//! `[[filter]]`: programs that are compiled when the configuration is read.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;

use bgp_engine::policy::FilterProgram;

use super::Named;
use super::diagnosis::Problems;
use super::reader::{At, Section};

/// A source and where it stands.
struct Source {
    text: String,
    /// Its value in the document.
    span: Range<usize>,
    /// The file that it is in, if it is not in the document.
    file: Option<String>,
}

pub(super) fn read(sections: Vec<Section<'_>>, problems: &mut Problems<'_>) -> BTreeMap<String, FilterProgram> {
    let mut all = Named::new("filter");
    for mut section in sections {
        let name = section.need::<String>("name", "\"from-transit\"", problems);
        let file = section.get::<String>("file", problems);
        let source = section.get::<String>("source", problems);
        section.report_unknown(problems);
        let source = match (file, source) {
            (Some(At { value, span }), None) => read_file(value, span, problems),
            (None, Some(At { value: text, span })) => Some(Source { text, span, file: None }),
            _ if section.is_wrong(&["file", "source"]) => None,
            _ => {
                let message = "this [[filter]] needs a source: a file, or the text itself";
                let help = "add file = \"transit.roto\" or source = '''...''', one of the two";
                problems.error(section.place(&["source", "file"]), message, help);
                None
            }
        };
        let program = source.and_then(|source| compile(&source, problems));
        if let (Some(name), Some(program)) = (name, program) {
            all.insert(name.value, program, name.span, problems);
        }
    }
    all.entries
}

fn read_file(name: String, span: Range<usize>, problems: &mut Problems<'_>) -> Option<Source> {
    match fs::read_to_string(problems.base.join(&name)) {
        Ok(text) => Some(Source { text, span, file: Some(problems.base.join(&name).display().to_string()) }),
        Err(error) => {
            let help = "it is looked for beside the configuration file";
            problems.error(span, format!("file: {name} cannot be read: {error}"), help);
            None
        }
    }
}

#[cfg(feature = "roto")]
fn compile(source: &Source, problems: &mut Problems<'_>) -> Option<FilterProgram> {
    match crate::filter::compile(&source.text) {
        Ok(filter) => Some(FilterProgram { source: source.text.clone(), filter }),
        Err(mistake) => {
            report(source, mistake, problems);
            None
        }
    }
}

#[cfg(not(feature = "roto"))]
fn compile(source: &Source, problems: &mut Problems<'_>) -> Option<FilterProgram> {
    let (place, octets) = (source.file.as_deref().unwrap_or("a source"), source.text.len());
    let message = format!("this bgpd is built without filters: {place} of {octets} octets is not compiled");
    problems.error(source.span.clone(), message, "build it with --features roto, or write statements");
    None
}

/// Points into the source, wherever it is.
#[cfg(feature = "roto")]
fn report(source: &Source, mistake: crate::filter::Mistake, problems: &mut Problems<'_>) {
    let crate::filter::Mistake { line, column, message, help } = mistake;
    let text = source.text.split_inclusive('\n');
    let before: usize = text.take(line.saturating_sub(1)).map(str::len).sum();
    let rest = source.text.get(before..).unwrap_or_default();
    let within: usize = rest.chars().take(column.saturating_sub(1)).map(char::len_utf8).sum();
    let at = before + within;
    match &source.file {
        Some(file) => problems.error_in((file, &source.text), &source.span, at..at + 1, message, help),
        None => {
            // A text with escapes does not stand in the document as it is.
            let raw = problems.text.get(source.span.clone()).unwrap_or_default();
            let span = match raw.find(source.text.as_str()) {
                Some(start) => source.span.start + start + at..source.span.start + start + at + 1,
                None => source.span.clone(),
            };
            problems.error(span, message, help);
        }
    }
}
