//! What is wrong with a document, where, and what would be right.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::path::Path;

use ipnet::IpNet;

/// One place in a document and what is to be said about it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Note {
    kind: &'static str,
    file: String,
    /// Counted from 1; 0 where there is no line to show.
    line: usize,
    column: usize,
    /// The line as it stands in the document.
    source: String,
    /// How many characters are meant.
    width: usize,
    message: String,
    help: String,
}

/// Everything that is wrong with a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnosis(Vec<Note>);

/// Something that is allowed but hardly meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning(Note);

/// Collects what is found while a document is read.
pub(super) struct Problems<'a> {
    text: &'a str,
    name: &'a str,
    pub(super) base: &'a Path,
    errors: Vec<(usize, Note)>,
    warnings: Vec<(usize, Note)>,
}

impl<'a> Problems<'a> {
    pub(super) fn new(text: &'a str, name: &'a str, base: &'a Path) -> Self {
        Self { text, name, base, errors: Vec::new(), warnings: Vec::new() }
    }

    /// Something that must be changed. `help` says what would be right; it may be empty.
    pub(super) fn error(&mut self, span: Range<usize>, message: impl Into<String>, help: impl Into<String>) {
        let note = self.note("error", &span, message.into(), help.into());
        self.errors.push((span.start, note));
    }

    /// Something that is hardly meant.
    pub(super) fn warning(&mut self, span: Range<usize>, message: impl Into<String>, help: impl Into<String>) {
        let note = self.note("warning", &span, message.into(), help.into());
        self.warnings.push((span.start, note));
    }

    /// The line in which a span begins, counted from 1.
    pub(super) fn line(&self, span: &Range<usize>) -> usize {
        self.text.get(..span.start).unwrap_or(self.text).matches('\n').count() + 1
    }

    /// Help for what is no TOML because an address or a prefix has no quotes.
    pub(super) fn unquoted(&self, span: &Range<usize>) -> String {
        let line = self.text.lines().nth(self.line(span) - 1).unwrap_or_default();
        let value = line.split_once('=').map_or(line, |(_, value)| value);
        let value = value.split('#').next().unwrap_or_default().trim();
        let is_address =
            value.parse::<IpAddr>().is_ok() || value.parse::<IpNet>().is_ok() || value.parse::<SocketAddr>().is_ok();
        if is_address { format!("write it in quotes: \"{value}\"") } else { String::new() }
    }

    pub(super) fn any_error(&self) -> bool {
        !self.errors.is_empty()
    }

    pub(super) fn warnings(mut self) -> Vec<Warning> {
        self.warnings.sort_by_key(|(at, _)| *at);
        self.warnings.into_iter().map(|(_, note)| Warning(note)).collect()
    }

    pub(super) fn diagnosis(mut self) -> Diagnosis {
        self.errors.sort_by_key(|(at, _)| *at);
        Diagnosis(self.errors.into_iter().map(|(_, note)| note).collect())
    }

    fn note(&self, kind: &'static str, span: &Range<usize>, message: String, help: String) -> Note {
        let before = self.text.get(..span.start).unwrap_or(self.text);
        let start = before.rfind('\n').map_or(0, |at| at + 1);
        let source = self.text.get(start..).and_then(|rest| rest.lines().next()).unwrap_or_default();
        let column = before.get(start..).map_or(0, |part| part.chars().count()) + 1;
        let meant = self.text.get(span.clone()).and_then(|text| text.lines().next()).unwrap_or_default();
        Note {
            kind,
            file: self.name.to_owned(),
            line: self.line(span),
            column,
            source: source.to_owned(),
            width: meant.chars().count().max(1),
            message,
            help,
        }
    }
}

impl Diagnosis {
    pub(super) fn unreadable(name: &str, error: &io::Error) -> Self {
        let help = match error.kind() {
            io::ErrorKind::NotFound => "name another file with --config, or write this one",
            io::ErrorKind::PermissionDenied => "let the user that runs bgpd read it",
            _ => "",
        };
        Self(vec![Note {
            kind: "error",
            file: name.to_owned(),
            line: 0,
            column: 0,
            source: String::new(),
            width: 0,
            message: format!("cannot be read: {error}"),
            help: help.to_owned(),
        }])
    }
}

impl fmt::Display for Note {
    /// ```text
    /// error: unknown key "hold-tme"
    ///   --> bgpd.toml:7:1
    ///   |
    /// 7 | hold-tme = 90
    ///   | ^^^^^^^^
    ///   = help: did you mean "hold-time"?
    /// ```
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, file, line, column, source, width, message, help } = self;
        if *line == 0 {
            write!(f, "{kind}: {file} {message}")?;
            return if help.is_empty() { Ok(()) } else { write!(f, "\n  = help: {help}") };
        }
        let gutter = line.to_string().len();
        writeln!(f, "{kind}: {message}")?;
        writeln!(f, "{:gutter$}--> {file}:{line}:{column}", "")?;
        writeln!(f, "{:gutter$} |", "")?;
        writeln!(f, "{line} | {source}")?;
        write!(f, "{:gutter$} | {:indent$}{:^<width$}", "", "", "^", indent = column - 1)?;
        if help.is_empty() { Ok(()) } else { write!(f, "\n{:gutter$} = help: {help}", "") }
    }
}

impl fmt::Display for Diagnosis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let notes: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&notes.join("\n\n"))?;
        match notes.len() {
            1 => Ok(()),
            count => write!(f, "\n\n{count} errors"),
        }
    }
}

impl std::error::Error for Diagnosis {}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
