//! From text to a tree of letters.

use std::iter::Peekable;
use std::str::CharIndices;

use super::{Class, POSITIONS};

/// An expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Tree {
    Empty,
    Letter(Class),
    Sequence(Vec<Tree>),
    Either(Vec<Tree>),
    /// None or one.
    Optional(Box<Tree>),
    /// One or more.
    Repeated(Box<Tree>),
}

/// Why a text is not an expression over AS numbers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{text}\": {reason}")]
pub struct InvalidAsPathPattern {
    text: String,
    reason: String,
}

impl Tree {
    fn letters(&self) -> usize {
        match self {
            // Nothing counts as well, so that it cannot be repeated without bound.
            Self::Empty | Self::Letter(_) => 1,
            Self::Sequence(parts) | Self::Either(parts) => parts.iter().map(Self::letters).sum::<usize>().max(1),
            Self::Optional(part) | Self::Repeated(part) => part.letters(),
        }
    }
}

struct Parser<'a> {
    text: &'a str,
    rest: Peekable<CharIndices<'a>>,
    depth: usize,
}

/// Parentheses within parentheses.
const DEPTH: usize = 32;
/// Most characters.
const LENGTH: usize = 1024;
/// Most repetitions that can be written as a number.
const REPETITIONS: usize = 255;

pub(super) fn parse(text: &str) -> Result<Tree, InvalidAsPathPattern> {
    if text.len() > LENGTH {
        let reason = format!("longer than {LENGTH} characters");
        return Err(InvalidAsPathPattern { text: text.chars().take(32).chain("…".chars()).collect(), reason });
    }
    let mut parser = Parser { text, rest: text.char_indices().peekable(), depth: 0 };
    let tree = parser.alternatives()?;
    if let Some((at, sign)) = parser.rest.next() {
        return Err(parser.wrong(at, &format!("'{sign}' without its beginning")));
    }
    Ok(tree)
}

impl Parser<'_> {
    fn wrong(&self, at: usize, reason: &str) -> InvalidAsPathPattern {
        let place = self.text.get(..at).map_or(0, |before| before.chars().count()) + 1;
        InvalidAsPathPattern { text: self.text.to_owned(), reason: format!("at character {place}: {reason}") }
    }

    fn too_large(&self) -> InvalidAsPathPattern {
        let reason = format!("more than {POSITIONS} AS numbers with repetitions written out");
        InvalidAsPathPattern { text: self.text.to_owned(), reason }
    }

    fn end(&self) -> usize {
        self.text.len()
    }

    fn next_is(&mut self, sign: char) -> bool {
        self.rest.next_if(|(_, next)| *next == sign).is_some()
    }

    fn alternatives(&mut self) -> Result<Tree, InvalidAsPathPattern> {
        let mut parts = vec![self.sequence()?];
        while self.next_is('|') {
            parts.push(self.sequence()?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Tree::Either(parts) })
    }

    fn sequence(&mut self) -> Result<Tree, InvalidAsPathPattern> {
        let mut parts = Vec::new();
        while let Some(&(at, sign)) = self.rest.peek() {
            if matches!(sign, '|' | ')') {
                break;
            }
            self.rest.next();
            let part = match sign {
                ' ' | '_' => continue,
                '^' => Tree::Letter(Class::Begin),
                '$' => Tree::Letter(Class::End),
                '.' => Tree::Letter(Class::Any),
                '(' => self.group(at)?,
                '[' => self.class(at)?,
                '0'..='9' => Tree::Letter(Class::Asn(self.number(at, sign)?)),
                '*' | '+' | '?' | '{' => {
                    return Err(self.wrong(at, &format!("'{sign}' has nothing before it to repeat")));
                }
                _ => {
                    let reason = format!("'{sign}' has no meaning here, expected AS numbers, . [ ] ( ) | ^ $ _ * + ?");
                    return Err(self.wrong(at, &reason));
                }
            };
            parts.push(self.repeated(part)?);
            if parts.iter().map(Tree::letters).sum::<usize>() > POSITIONS {
                return Err(self.too_large());
            }
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Tree::Sequence(parts) })
    }

    fn group(&mut self, at: usize) -> Result<Tree, InvalidAsPathPattern> {
        self.depth += 1;
        if self.depth > DEPTH {
            return Err(self.wrong(at, &format!("more than {DEPTH} parentheses within each other")));
        }
        let tree = self.alternatives()?;
        self.depth -= 1;
        if self.next_is(')') { Ok(tree) } else { Err(self.wrong(at, "'(' without its ')'")) }
    }

    fn repeated(&mut self, part: Tree) -> Result<Tree, InvalidAsPathPattern> {
        let mut part = part;
        while let Some(&(at, sign)) = self.rest.peek() {
            part = match sign {
                '*' => Tree::Optional(Box::new(Tree::Repeated(Box::new(part)))),
                '+' => Tree::Repeated(Box::new(part)),
                '?' => Tree::Optional(Box::new(part)),
                '{' => {
                    self.rest.next();
                    part = self.counted(at, &part)?;
                    continue;
                }
                _ => break,
            };
            self.rest.next();
        }
        Ok(part)
    }

    /// `{2}`, `{2,}`, `{2,4}`.
    fn counted(&mut self, at: usize, part: &Tree) -> Result<Tree, InvalidAsPathPattern> {
        let count = |text: &str| text.trim().parse::<usize>().ok().filter(|count| *count <= REPETITIONS);
        let mut inside = String::new();
        while let Some((_, sign)) = self.rest.next_if(|(_, next)| *next != '}') {
            inside.push(sign);
        }
        let bounds = match inside.split_once(',') {
            None => count(&inside).map(|count| (count, Some(count))),
            Some((least, "")) => count(least).map(|least| (least, None)),
            Some((least, most)) => count(least).zip(count(most)).map(|(least, most)| (least, Some(most))),
        };
        let bounds = bounds.filter(|(least, most)| most.is_none_or(|most| *least <= most && most > 0));
        let (Some((least, most)), true) = (bounds, self.next_is('}')) else {
            return Err(self.wrong(at, "expected {2}, {2,} or {2,4}"));
        };
        if part.letters() * most.unwrap_or(least + 1).max(least) > POSITIONS {
            return Err(self.too_large());
        }
        let mut parts = vec![part.clone(); least];
        match most {
            // One more that repeats, or the last one does.
            None => parts.push(Tree::Optional(Box::new(Tree::Repeated(Box::new(part.clone()))))),
            Some(most) => parts.extend(vec![Tree::Optional(Box::new(part.clone())); most - least]),
        }
        Ok(Tree::Sequence(parts))
    }

    /// `[65001 65010-65020]`, `[^65001]`.
    fn class(&mut self, at: usize) -> Result<Tree, InvalidAsPathPattern> {
        let negated = self.next_is('^');
        let mut ranges = Vec::new();
        loop {
            let Some((place, sign)) = self.rest.next() else { return Err(self.wrong(at, "'[' without its ']'")) };
            match sign {
                ']' if ranges.is_empty() => return Err(self.wrong(at, "there is no AS number in the brackets")),
                ']' => break,
                ' ' | ',' | '_' => {}
                '0'..='9' => {
                    let from = self.number(place, sign)?;
                    let to = if self.next_is('-') { self.bound(place)? } else { from };
                    if from > to {
                        return Err(self.wrong(place, &format!("{from}-{to} is empty, did you mean {to}-{from}?")));
                    }
                    ranges.push((from, to));
                }
                _ => return Err(self.wrong(place, "expected AS numbers such as [65001 65010-65020]")),
            }
        }
        Ok(Tree::Letter(if negated { Class::NotIn(ranges) } else { Class::In(ranges) }))
    }

    fn bound(&mut self, from: usize) -> Result<u32, InvalidAsPathPattern> {
        match self.rest.next() {
            Some((at, digit)) if digit.is_ascii_digit() => self.number(at, digit),
            _ => Err(self.wrong(from, "a range has two AS numbers, such as 65010-65020")),
        }
    }

    fn number(&mut self, at: usize, first: char) -> Result<u32, InvalidAsPathPattern> {
        let mut digits = String::from(first);
        while let Some((_, digit)) = self.rest.next_if(|(_, next)| next.is_ascii_digit()) {
            digits.push(digit);
        }
        let end = self.end().min(at);
        digits.parse().map_err(|_| self.wrong(end, &format!("{digits} is not an AS number, they end at 4294967295")))
    }
}
