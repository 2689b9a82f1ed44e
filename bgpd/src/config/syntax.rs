//! What is no TOML at all: the parser's words turned into what to write instead.

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;

use ipnet::IpNet;

use super::diagnosis::{Problems, secret_in};

/// Reports what the parser says about the document.
pub(super) fn report(errors: &[toml::de::Error], problems: &mut Problems<'_>) {
    let mut spans: Vec<_> = errors.iter().map(|error| (error.span().unwrap_or_default(), error.message())).collect();
    spans.sort_by_key(|(span, _)| span.start);
    // To the parser all that follows is in the list.
    let open = spans.iter().any(|(_, message)| message.starts_with("unclosed array,"));
    let open = if open { open_list(problems.text) } else { None };
    if let Some(at) = &open {
        spans.retain(|(span, _)| span.start < at.start);
        problems.error(at.clone(), "the list is not closed", "close it with ]");
    }
    let mut last = (0, String::new());
    for (span, message) in spans {
        let line = problems.line(&span);
        let (span, message, help) = Fault::new(problems.text, span).explain(message);
        // The parser stumbles more than once over one mistake.
        if last == (line, message.clone()) {
            continue;
        }
        last = (line, message.clone());
        problems.error(span, message, help);
    }
}

/// The first list that another key or a heading follows before it ends.
fn open_list(text: &str) -> Option<Range<usize>> {
    let (mut start, mut open) = (0, None);
    for line in text.split_inclusive('\n') {
        let words = line.trim();
        let is_next = words.starts_with('[') || words.split_once('=').is_some_and(|(key, _)| !key.contains(['"', '#']));
        let value = words.split_once('=').map_or("", |(_, value)| value.trim());
        // What is in quotes may have brackets of its own.
        let closes = words.split('"').step_by(2).any(|part| part.contains(']'));
        match &open {
            Some(_) if is_next => return open,
            Some(_) if closes => open = None,
            None if value.starts_with('[') && !closes => {
                let at = start + line.find('[').unwrap_or_default();
                open = Some(at..at + value.len());
            }
            _ => {}
        }
        start += line.len();
    }
    open
}

/// The place where the parser gave up.
struct Fault<'a> {
    text: &'a str,
    span: Range<usize>,
    /// Where its line begins.
    start: usize,
    line: &'a str,
}

impl<'a> Fault<'a> {
    fn new(text: &'a str, span: Range<usize>) -> Self {
        let before = text.get(..span.start).unwrap_or(text);
        let start = before.rfind('\n').map_or(0, |at| at + 1);
        let line = text.get(start..).and_then(|rest| rest.lines().next()).unwrap_or_default();
        Self { text, span, start, line }
    }

    /// The place to point at, what is wrong, and what would be right.
    fn explain(self, message: &str) -> (Range<usize>, String, String) {
        let (what, expected) = message.split_once(", expected ").unwrap_or((message, ""));
        let key = self.key();
        let (said, help) = match what {
            "duplicate key" => return self.duplicate(),
            "key with no value" | "invalid unquoted key" => {
                (format!("there is no = after {key}"), format!("write {key} = and its value"))
            }
            "unclosed table" | "unclosed array table" => {
                let heading = self.line.trim().trim_end_matches(']');
                let close = if heading.starts_with("[[") { "]]" } else { "]" };
                ("the heading is not closed".to_owned(), format!("write {heading}{close}"))
            }
            "invalid basic string" if self.at_end() => {
                ("the text is not closed".to_owned(), "close it with \"".to_owned())
            }
            "missing comma between array elements" => {
                ("there is no comma between two entries".to_owned(), "write a comma between them".to_owned())
            }
            "unexpected key or value" => (
                "there is more than one value".to_owned(),
                "write one key and one value a line, lists in [ ]".to_owned(),
            ),
            _ if secret_in(self.line) => ("the key is not a text".to_owned(), "write it in quotes".to_owned()),
            _ if self.is_value() => return self.value(what),
            _ if expected.is_empty() => (what.to_owned(), String::new()),
            _ => (what.to_owned(), format!("expected {expected}")),
        };
        (self.span, said, help)
    }

    /// The first word of the line.
    fn key(&self) -> &'a str {
        self.line
            .split(|c: char| c.is_whitespace() || matches!(c, '=' | ':'))
            .find(|word| !word.is_empty())
            .unwrap_or("it")
    }

    fn at_end(&self) -> bool {
        self.span.start >= self.start + self.line.trim_end().len()
    }

    /// Whether the place is in a value that has no quotes.
    fn is_value(&self) -> bool {
        let before = self.text.get(self.start..self.span.start).unwrap_or_default();
        before.contains('=') && !before.contains(['"', '\'', '#'])
    }

    /// The word around the place: the parser points into the middle of `192.0.2.1`.
    fn word(&self) -> Range<usize> {
        let edge = |c: char| c.is_ascii_whitespace() || matches!(c, '=' | ',' | '[' | ']' | '#');
        let (before, after) =
            self.line.split_at_checked(self.span.start.saturating_sub(self.start)).unwrap_or((self.line, ""));
        let first = before.rfind(edge).map_or(0, |at| at + 1);
        let last = after.find(edge).map_or(self.line.len(), |at| before.len() + at);
        self.start + first..self.start + last
    }

    fn value(&self, what: &str) -> (Range<usize>, String, String) {
        let (key, span) = (self.key(), self.word());
        let word = self.text.get(span.clone()).unwrap_or_default();
        let digits = word.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let is_number = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_digit());
        let bare = word.trim_matches(['“', '”', '„', '‘', '’']);
        let (message, help) = match word.to_ascii_lowercase().as_str() {
            "" => (format!("{key} has no value"), format!("write one, or remove {key}")),
            "true" | "yes" | "on" => (format!("{word} is not a value"), "write true".to_owned()),
            "false" | "no" | "off" => (format!("{word} is not a value"), "write false".to_owned()),
            _ if is_number(word) => (format!("{what}: {word}"), format!("write {}", word.trim_start_matches('0'))),
            _ if is_number(digits) && !is_address(word) => {
                (format!("{word} is not a number"), format!("write {digits}, without a unit"))
            }
            _ => (format!("{word} has no quotes around it"), format!("write \"{bare}\"")),
        };
        (span, message, help)
    }

    /// A key or a heading for the second time.
    fn duplicate(self) -> (Range<usize>, String, String) {
        let name =
            |line: &'a str| if line.starts_with('[') { line } else { line.split('=').next().unwrap_or(line).trim() };
        let said = name(self.line.trim());
        let earlier = self.text.get(..self.start).unwrap_or_default();
        let count = earlier.lines().count();
        let help = match earlier.lines().rev().position(|line| name(line.trim()) == said) {
            Some(back) => format!("the first is in line {}: remove one of the two", count - back),
            None => "remove one of the two".to_owned(),
        };
        (self.span, format!("{said} is there twice"), help)
    }
}

/// Whether a value would be right with quotes.
fn is_address(word: &str) -> bool {
    word.parse::<IpAddr>().is_ok() || word.parse::<IpNet>().is_ok() || word.parse::<SocketAddr>().is_ok()
}
