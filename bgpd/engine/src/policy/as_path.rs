//! Regular expressions over AS paths: the letters are AS numbers, not digits.
//!
//! | written | stands for |
//! |---|---|
//! | `65001` | that AS |
//! | `.` | any one AS |
//! | `[65001 65010-65020]`, `[^65001]` | one AS among these, or one that is not |
//! | `^`, `$` | the beginning of the path (the neighbor's side), its end (the origin) |
//! | `_`, blank | the border between two AS numbers: it only separates, numbers are always whole |
//! | `x*` `x+` `x?` `x{2}` `x{2,}` `x{2,4}` | repetition |
//! | `(x y)`, `x \| y` | grouping, alternatives |
//!
//! An expression is looked for anywhere in the path unless it is anchored. An AS_SET is one letter that can stand for
//! each of its members. Members of a confederation's segments (RFC 5065) are letters like others.
//!
//! An expression becomes a position automaton (Glushkov): one state per letter written, so that a step is a few words
//! of bits and nothing is allocated while matching.

mod parse;

use std::fmt;
use std::str::FromStr;

use bgp_wire::attribute::SegmentKind;
use bgp_wire::attribute::as_path;

pub use parse::InvalidAsPathPattern;
use parse::Tree;

/// Most letters of an expression, repetitions written out.
const POSITIONS: usize = 256;

/// A letter of the path: its two ends are letters as well, that only `^` and `$` stand for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Letter {
    Begin,
    End,
    Asn(u32),
}

/// What one position of an expression stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Class {
    Begin,
    End,
    Any,
    Asn(u32),
    In(Vec<(u32, u32)>),
    NotIn(Vec<(u32, u32)>),
}

impl Class {
    fn holds(&self, letter: Letter) -> bool {
        let among = |ranges: &[(u32, u32)], asn: u32| ranges.iter().any(|&(from, to)| from <= asn && asn <= to);
        match (self, letter) {
            (Self::Begin, Letter::Begin) | (Self::End, Letter::End) | (Self::Any, Letter::Asn(_)) => true,
            (Self::Asn(wanted), Letter::Asn(asn)) => *wanted == asn,
            (Self::In(ranges), Letter::Asn(asn)) => among(ranges, asn),
            (Self::NotIn(ranges), Letter::Asn(asn)) => !among(ranges, asn),
            _ => false,
        }
    }
}

/// A set of positions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Positions([u64; POSITIONS / 64]);

impl Positions {
    fn one(at: usize) -> Self {
        let mut set = Self::default();
        set.0[at / 64] |= 1 << (at % 64);
        set
    }

    fn or(mut self, other: Self) -> Self {
        self.0.iter_mut().zip(other.0).for_each(|(mine, other)| *mine |= other);
        self
    }

    fn intersects(&self, other: &Self) -> bool {
        self.0.iter().zip(other.0).any(|(mine, other)| mine & other != 0)
    }

    fn iter(self) -> impl Iterator<Item = usize> {
        self.0.into_iter().enumerate().flat_map(|(word, mut bits)| {
            std::iter::from_fn(move || {
                let at = bits.trailing_zeros() as usize;
                let rest = bits.checked_sub(1)?;
                bits &= rest;
                Some(word * 64 + at)
            })
        })
    }
}

/// A compiled expression.
#[derive(Clone)]
pub struct AsPathPattern {
    text: String,
    classes: Vec<Class>,
    /// What may come behind each position.
    follow: Vec<Positions>,
    first: Positions,
    last: Positions,
    /// The empty sequence matches, and so everything does.
    empty: bool,
}

/// What a part of an expression contributes.
struct Part {
    first: Positions,
    last: Positions,
    empty: bool,
}

impl FromStr for AsPathPattern {
    type Err = InvalidAsPathPattern;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let tree = parse::parse(text)?;
        let mut pattern = Self {
            text: text.to_owned(),
            classes: Vec::new(),
            follow: Vec::new(),
            first: Positions::default(),
            last: Positions::default(),
            empty: false,
        };
        let Part { first, last, empty } = pattern.add(&tree);
        Ok(Self { first, last, empty, ..pattern })
    }
}

impl AsPathPattern {
    fn add(&mut self, tree: &Tree) -> Part {
        match tree {
            Tree::Empty => Part { first: Positions::default(), last: Positions::default(), empty: true },
            Tree::Letter(class) => {
                let at = Positions::one(self.classes.len());
                self.classes.push(class.clone());
                self.follow.push(Positions::default());
                Part { first: at, last: at, empty: false }
            }
            Tree::Sequence(parts) => {
                let mut whole = self.add(&Tree::Empty);
                for part in parts {
                    let part = self.add(part);
                    self.link(whole.last, part.first);
                    whole = Part {
                        first: if whole.empty { whole.first.or(part.first) } else { whole.first },
                        last: if part.empty { whole.last.or(part.last) } else { part.last },
                        empty: whole.empty && part.empty,
                    };
                }
                whole
            }
            Tree::Either(parts) => {
                let parts: Vec<Part> = parts.iter().map(|part| self.add(part)).collect();
                parts.into_iter().fold(
                    Part { first: Positions::default(), last: Positions::default(), empty: false },
                    |whole, part| Part {
                        first: whole.first.or(part.first),
                        last: whole.last.or(part.last),
                        empty: whole.empty || part.empty,
                    },
                )
            }
            Tree::Optional(part) => Part { empty: true, ..self.add(part) },
            Tree::Repeated(part) => {
                let part = self.add(part);
                self.link(part.last, part.first);
                part
            }
        }
    }

    fn link(&mut self, from: Positions, to: Positions) {
        for at in from.iter() {
            self.follow[at] = self.follow[at].or(to);
        }
    }

    /// Whether an AS_PATH in canonical form matches.
    #[must_use]
    pub fn matches(&self, path: &[u8]) -> bool {
        let mut active = Positions::default();
        if self.empty || self.step(&mut active, |class| class.holds(Letter::Begin)) {
            return true;
        }
        for (kind, mut asns) in as_path::iter(path) {
            let done = match kind {
                SegmentKind::Set | SegmentKind::ConfedSet => {
                    self.step(&mut active, |class| asns.clone().any(|asn| class.holds(Letter::Asn(asn))))
                }
                SegmentKind::Sequence | SegmentKind::ConfedSequence => {
                    asns.any(|asn| self.step(&mut active, |class| class.holds(Letter::Asn(asn))))
                }
            };
            if done {
                return true;
            }
        }
        self.step(&mut active, |class| class.holds(Letter::End))
    }

    /// Takes one letter in; says whether the expression has been found.
    fn step(&self, active: &mut Positions, holds: impl Fn(&Class) -> bool) -> bool {
        // It may begin anywhere.
        let reached = active.iter().fold(self.first, |reached, at| reached.or(self.follow[at]));
        let kept = reached.iter().filter(|&at| holds(&self.classes[at]));
        *active = kept.fold(Positions::default(), |kept, at| kept.or(Positions::one(at)));
        active.intersects(&self.last)
    }
}

impl PartialEq for AsPathPattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for AsPathPattern {}

impl fmt::Display for AsPathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for AsPathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.text)
    }
}

#[cfg(test)]
mod tests;
