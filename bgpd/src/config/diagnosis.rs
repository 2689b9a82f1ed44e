//! What is wrong with a document, where, and what would be right.

use std::fmt;
use std::io;
use std::ops::Range;
use std::path::Path;

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
    pub(super) text: &'a str,
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

    /// As [`Problems::error`], in a file that the document names.
    #[cfg(feature = "roto")]
    pub(super) fn error_in(
        &mut self,
        (file, text): (&str, &str),
        named: &Range<usize>,
        span: Range<usize>,
        message: String,
        help: String,
    ) {
        let there = Problems::new(text, file, self.base);
        self.errors.push((named.start, there.note("error", &span, message, help)));
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
        let (source, column, width) = hide_secret(source, column, meant.chars().count().max(1));
        Note { kind, file: self.name.to_owned(), line: self.line(span), column, source, width, message, help }
    }
}

/// What a line shows instead of a key of TCP-MD5.
const HIDDEN: &str = " (hidden)";

/// Whether a line sets something that must not be shown. Keys that are misspelled count as well.
pub(super) fn secret_in(line: &str) -> bool {
    secret_at(line).is_some()
}

/// Whether a key has a value that must not be shown.
pub(super) fn is_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    let names_one = ["md5", "passw", "secret"].iter().any(|word| key.contains(word)) && !key.contains("file");
    names_one || key == "key"
}

/// Where the value of a secret begins.
fn secret_at(line: &str) -> Option<usize> {
    let mut keys = line.match_indices('=').filter(|(at, _)| {
        let before = line.get(..*at).unwrap_or_default().trim_end();
        let key = before.rsplit([' ', '\t', '{', ',', '=']).next().unwrap_or_default();
        is_secret(key)
    });
    keys.next().map(|(at, sign)| at + sign.len())
}

/// The line, the column and the width to show: diagnoses are logged, and travel over the API.
fn hide_secret(line: &str, column: usize, width: usize) -> (String, usize, usize) {
    let Some(shown) = secret_at(line).and_then(|at| line.get(..at)) else { return (line.to_owned(), column, width) };
    let secret_column = shown.chars().count() + 2;
    let line = format!("{shown}{HIDDEN}");
    if column < secret_column { (line, column, width) } else { (line, secret_column, HIDDEN.len() - 1) }
}

impl Diagnosis {
    pub(super) fn unreadable(name: &str, error: &io::Error) -> Self {
        let help = match error.kind() {
            io::ErrorKind::NotFound => "name another file with --config, or write this one",
            io::ErrorKind::PermissionDenied => "let the user that runs bgpd read it",
            io::ErrorKind::InvalidData => "save it as UTF-8",
            io::ErrorKind::IsADirectory => "name the file in it",
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

impl Diagnosis {
    /// In sentences, for a reader who has not seen the text that was read.
    #[must_use]
    pub fn sentences(&self) -> String {
        let sentence = |note: &Note| match note.help.as_str() {
            "" => note.message.clone(),
            help => format!("{} ({help})", note.message),
        };
        self.0.iter().map(sentence).collect::<Vec<_>>().join("; ")
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
        writeln!(f, "{}", format!("{line} | {source}").trim_end())?;
        // A tab under a tab: the mark stands below what it means, however wide tabs are.
        let indent: String = source.chars().take(column - 1).map(|c| if c == '\t' { c } else { ' ' }).collect();
        write!(f, "{:gutter$} | {indent}{:^<width$}", "", "^")?;
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
