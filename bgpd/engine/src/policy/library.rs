//! All policies of a speaker, compiled.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::definition::{Definitions, Outcome};
use super::rpki::{NoValidator, OriginValidation};
use super::rules::{Compiled, Element, Rules};
use super::{ACCEPT_ALL, Direction, Policy, REJECT_ALL, UnknownPolicy};
use crate::attr::Interner;

/// Policies by name, and what they need to run.
#[derive(Clone)]
pub struct Library {
    policies: BTreeMap<String, Element>,
    interner: Arc<Interner>,
    validation: Arc<dyn OriginValidation>,
}

impl Library {
    /// A library of the built-in policies.
    #[must_use]
    pub fn new(interner: Arc<Interner>) -> Self {
        let built_in =
            |name: &str, outcome| (name.to_owned(), Element::Policy(Arc::new(Compiled::constant(name, outcome))));
        let policies = [built_in(ACCEPT_ALL, Outcome::Accept), built_in(REJECT_ALL, Outcome::Reject)];
        Self { policies: policies.into(), interner, validation: Arc::new(NoValidator) }
    }

    /// With the policies of `definitions`.
    ///
    /// # Errors
    /// A set that does not exist.
    pub fn with(mut self, definitions: &Definitions) -> Result<Self, UnknownPolicy> {
        for (name, policy) in &definitions.policies {
            let policy = Compiled::new(name, policy, definitions)?;
            self.policies.insert(name.clone(), Element::Policy(Arc::new(policy)));
        }
        for (name, program) in &definitions.filters {
            let filter = Arc::clone(&program.filter);
            self.policies.insert(name.clone(), Element::Filter(name.clone(), filter));
        }
        Ok(self)
    }

    /// With somebody who knows the state of origins.
    #[must_use]
    pub fn with_validation(mut self, validation: Arc<dyn OriginValidation>) -> Self {
        self.validation = validation;
        self
    }

    /// Names of the policies whose verdict can depend on the state of the origin.
    #[must_use]
    pub fn reading_rpki(&self) -> Vec<String> {
        self.policies.iter().filter(|(_, element)| element.reads_rpki()).map(|(name, _)| name.clone()).collect()
    }

    /// The policy that `names` stand for, in order: the first that decides counts, and what none decides is rejected.
    /// `None` is the default of RFC 8212 §3, an empty list accepts.
    ///
    /// # Errors
    /// A name that is not a policy.
    pub fn resolve(
        &self,
        names: Option<&[String]>,
        external: bool,
        direction: Direction,
    ) -> Result<Policy, UnknownPolicy> {
        let Some(names) = names else {
            return Ok(if external { Policy::Missing } else { Policy::AcceptAll });
        };
        let unknown = |name: &String| UnknownPolicy { what: "policy", name: name.clone() };
        let element = |name: &String| self.policies.get(name).cloned().ok_or_else(|| unknown(name));
        let elements = names.iter().map(element).collect::<Result<Vec<_>, _>>()?;
        Ok(match names.first().map(String::as_str) {
            None | Some(ACCEPT_ALL) => Policy::AcceptAll,
            Some(REJECT_ALL) => Policy::RejectAll,
            Some(_) => {
                let (interner, validation) = (Arc::clone(&self.interner), Arc::clone(&self.validation));
                Policy::Rules(Arc::new(Rules::new(elements, direction, interner, validation)))
            }
        })
    }
}
