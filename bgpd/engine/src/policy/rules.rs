//! Policies in the form in which they are evaluated.
//!
//! What depends on attributes alone is asked first and as a whole: [`Rules::run`] goes on until a verdict or until a
//! condition needs the prefix. [`super::Memo`] keeps where that was, so that the routes that share attributes only ask
//! about their prefixes. With a [`Trace`] the same functions write down what they do.

use std::fmt;
use std::sync::Arc;

use ipnet::IpNet;

use super::action::apply;
use super::condition::Test;
use super::definition::{Action, Definitions, Outcome, PolicyDefinition, Statement};
use super::filter::{Filter, Judgment};
use super::rpki::OriginValidation;
use super::trace::{Change, Trace, What};
use super::{Direction, Provenance, UnknownPolicy, Verdict};
use crate::attr::{AttrRef, Interner};

/// A policy whose sets are found.
pub(super) struct Compiled {
    name: String,
    statements: Vec<CompiledStatement>,
    default: Outcome,
}

struct CompiledStatement {
    name: String,
    /// Those that need no prefix come first.
    tests: Vec<Test>,
    actions: Vec<Action>,
    then: Outcome,
}

impl Compiled {
    pub(super) fn new(name: &str, policy: &PolicyDefinition, all: &Definitions) -> Result<Self, UnknownPolicy> {
        let compile = |statement: &Statement| {
            let tests = statement.conditions.iter().map(|condition| Test::new(condition, all));
            let mut tests = tests.collect::<Result<Vec<_>, _>>()?;
            tests.sort_by_key(Test::reads_prefix);
            let Statement { name, actions, then, .. } = statement;
            Ok(CompiledStatement { name: name.clone(), tests, actions: actions.clone(), then: *then })
        };
        let statements = policy.statements.iter().map(compile).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { name: name.to_owned(), statements, default: policy.default })
    }

    /// A policy that says the same of every route.
    pub(super) fn constant(name: &str, outcome: Outcome) -> Self {
        Self { name: name.to_owned(), statements: Vec::new(), default: outcome }
    }
}

/// One policy of a list.
#[derive(Clone)]
pub(super) enum Element {
    Policy(Arc<Compiled>),
    Filter(String, Arc<dyn Filter>),
}

impl Element {
    /// Whether a verdict can depend on the state of the origin.
    pub(super) fn reads_rpki(&self) -> bool {
        let reads = |test: &Test| matches!(test.condition, super::Condition::Rpki(_));
        match self {
            Self::Policy(policy) => policy.statements.iter().flat_map(|one| &one.tests).any(reads),
            Self::Filter(_, filter) => filter.reads_rpki(),
        }
    }
}

/// A list of policies.
pub struct Rules {
    elements: Vec<Element>,
    direction: Direction,
    interner: Arc<Interner>,
    validation: Arc<dyn OriginValidation>,
}

/// Where an evaluation is: before a condition of a statement of an element.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Place {
    element: u32,
    statement: u32,
    test: u32,
}

/// Why an evaluation went no further.
pub(super) enum Stop {
    Decided(Verdict),
    /// Here the prefix is needed.
    Prefix(Place),
}

/// What the prefix made of it.
pub(super) enum Answer {
    /// The condition holds, or does not.
    Holds(bool),
    /// A filter has said what becomes of the route.
    Filter(Judgment),
}

impl Rules {
    pub(super) fn new(
        elements: Vec<Element>,
        direction: Direction,
        interner: Arc<Interner>,
        validation: Arc<dyn OriginValidation>,
    ) -> Self {
        Self { elements, direction, interner, validation }
    }

    fn statement(&self, place: Place) -> Option<&CompiledStatement> {
        match self.elements.get(place.element as usize) {
            Some(Element::Policy(policy)) => policy.statements.get(place.statement as usize),
            _ => None,
        }
    }

    /// Goes on from `place` until a verdict, or until the prefix is needed.
    pub(super) fn run(
        &self,
        mut place: Place,
        attrs: &mut AttrRef,
        from: &Provenance,
        mut trace: Option<&mut Trace>,
    ) -> Stop {
        while let Some(element) = self.elements.get(place.element as usize) {
            let Element::Policy(policy) = element else { return Stop::Prefix(place) };
            let outcome = match policy.statements.get(place.statement as usize) {
                None => {
                    note(trace.as_deref_mut(), &policy.name, None, || What::Default(policy.default));
                    place = place.next_element();
                    policy.default
                }
                Some(statement) => match statement.tests.get(place.test as usize) {
                    Some(test) if test.reads_prefix() => return Stop::Prefix(place),
                    Some(test) => {
                        let holds = test.holds(attrs, from);
                        self.note_asked(place, holds, trace.as_deref_mut());
                        place = place.after(holds);
                        continue;
                    }
                    None => {
                        let changes = self.act(&statement.actions, attrs, from, trace.is_some());
                        let what = || What::Match { changes, then: statement.then };
                        note(trace.as_deref_mut(), &policy.name, Some(&statement.name), what);
                        place = place.next_statement();
                        statement.then
                    }
                },
            };
            match outcome {
                Outcome::Accept => return Stop::Decided(Verdict::Accept(attrs.clone())),
                Outcome::Reject => return Stop::Decided(Verdict::Reject),
                Outcome::Next => {}
            }
        }
        // What no policy decides does not pass.
        Stop::Decided(Verdict::Reject)
    }

    /// Does actions. Where they are to be told, one by one, with what each changed.
    fn act(&self, actions: &[Action], attrs: &mut AttrRef, from: &Provenance, tell: bool) -> Vec<Change> {
        let mut changes = Vec::new();
        let at_once = if tell { 1 } else { actions.len().max(1) };
        for some in actions.chunks(at_once) {
            let after = apply(some, attrs, from, self.direction, &self.interner);
            changes.extend(some.iter().filter(|_| tell).map(|action| Change::new(action, attrs, &after)));
            *attrs = after;
        }
        changes
    }

    /// Asks what needed the prefix.
    pub(super) fn ask(&self, place: Place, prefix: &IpNet, attrs: &AttrRef, from: &Provenance) -> Answer {
        match (self.statement(place), self.elements.get(place.element as usize)) {
            (Some(statement), _) => {
                let test = statement.tests.get(place.test as usize);
                Answer::Holds(test.is_some_and(|test| test.holds_for(prefix, attrs, &*self.validation)))
            }
            (None, Some(Element::Filter(_, filter))) => {
                Answer::Filter(filter.decide(prefix, attrs, from, &*self.validation))
            }
            (None, _) => Answer::Filter(Judgment { changes: Vec::new(), then: Outcome::Reject }),
        }
    }

    /// The verdict on a route of which the filter at `at` has said something; what follows decides if that was to go on.
    pub(super) fn conclude(
        &self,
        at: Place,
        judgment: Judgment,
        mut attrs: AttrRef,
        from: &Provenance,
        prefix: &IpNet,
    ) -> Verdict {
        match self.filtered(at, judgment, &mut attrs, from, None) {
            Some(verdict) => verdict,
            None => self.evaluate_from(at.next_element(), attrs, from, prefix, None),
        }
    }

    /// Does what a filter has said.
    fn filtered(
        &self,
        at: Place,
        judgment: Judgment,
        attrs: &mut AttrRef,
        from: &Provenance,
        trace: Option<&mut Trace>,
    ) -> Option<Verdict> {
        let Judgment { changes, then } = judgment;
        let changes = match then {
            Outcome::Reject => Vec::new(),
            Outcome::Accept | Outcome::Next => self.act(&changes, attrs, from, trace.is_some()),
        };
        if let Some(Element::Filter(name, _)) = self.elements.get(at.element as usize) {
            note(trace, name, None, || What::Filter { changes, then });
        }
        match then {
            Outcome::Accept => Some(Verdict::Accept(attrs.clone())),
            Outcome::Reject => Some(Verdict::Reject),
            Outcome::Next => None,
        }
    }

    /// The verdict on one route, and every step to it where it is to be traced.
    pub(crate) fn evaluate(
        &self,
        attrs: &AttrRef,
        from: &Provenance,
        prefix: &IpNet,
        trace: Option<&mut Trace>,
    ) -> Verdict {
        self.evaluate_from(Place::default(), attrs.clone(), from, prefix, trace)
    }

    fn evaluate_from(
        &self,
        mut place: Place,
        mut attrs: AttrRef,
        from: &Provenance,
        prefix: &IpNet,
        mut trace: Option<&mut Trace>,
    ) -> Verdict {
        loop {
            match self.run(place, &mut attrs, from, trace.as_deref_mut()) {
                Stop::Decided(verdict) => return verdict,
                Stop::Prefix(at) => match self.ask(at, prefix, &attrs, from) {
                    Answer::Holds(holds) => {
                        self.note_asked(at, holds, trace.as_deref_mut());
                        place = at.after(holds);
                    }
                    Answer::Filter(judgment) => {
                        match self.filtered(at, judgment, &mut attrs, from, trace.as_deref_mut()) {
                            Some(verdict) => return verdict,
                            None => place = at.next_element(),
                        }
                    }
                },
            }
        }
    }

    /// Writes down what a condition says; where it does not hold, that was all of its statement.
    fn note_asked(&self, at: Place, holds: bool, trace: Option<&mut Trace>) {
        let Some(trace) = trace else { return };
        let (Some(statement), Some(Element::Policy(policy))) =
            (self.statement(at), self.elements.get(at.element as usize))
        else {
            return;
        };
        let mut rest = statement.tests.iter().skip(at.test as usize);
        if let Some(test) = rest.next() {
            trace.note_asked(&test.condition, Some(holds));
        }
        if !holds {
            rest.for_each(|test| trace.note_asked(&test.condition, None));
            trace.note(&policy.name, Some(&statement.name), What::NoMatch);
        }
    }
}

impl Place {
    fn next_statement(self) -> Self {
        Self { statement: self.statement + 1, test: 0, ..self }
    }

    /// At the beginning of the next policy of the list.
    pub(super) fn next_element(self) -> Self {
        Self { element: self.element + 1, ..Self::default() }
    }

    /// Behind a condition that holds or does not.
    pub(super) fn after(self, holds: bool) -> Self {
        if holds { Self { test: self.test + 1, ..self } } else { self.next_statement() }
    }
}

fn note(trace: Option<&mut Trace>, policy: &str, statement: Option<&str>, what: impl FnOnce() -> What) {
    if let Some(trace) = trace {
        trace.note(policy, statement, what());
    }
}

impl fmt::Debug for Rules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |element: &Element| match element {
            Element::Policy(policy) => policy.name.clone(),
            Element::Filter(name, _) => name.clone(),
        };
        f.debug_list().entries(self.elements.iter().map(name)).finish()
    }
}
