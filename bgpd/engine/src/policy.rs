//! Import and export policy.
//!
//! Names resolve to a [`Policy`]; where none is configured, iBGP accepts and eBGP rejects
//! everything (RFC 8212 §3). Intake evaluates import policies, a partition evaluates export
//! policies, both on interned sets, so that a verdict can be remembered by [`AttrRef`].

use crate::attr::AttrRef;

/// What happens to the routes of a session in one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Policy {
    /// Every route passes as it is.
    AcceptAll,
    /// No route passes.
    RejectAll,
    /// No route passes, because nobody configured a policy on an eBGP session (RFC 8212 §3).
    Missing,
}

/// What a policy says of a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It passes, with these attributes.
    Accept(AttrRef),
    /// It does not pass.
    Reject,
    /// It does not pass for want of a policy (RFC 8212 §3).
    RejectMissing,
}

/// A policy of that name does not exist.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown policy \"{0}\", expected \"accept-all\" or \"reject-all\"")]
pub struct UnknownPolicy(pub String);

impl Policy {
    /// The policy that `names` stand for, in order: the first that decides counts. `None` is the
    /// default of RFC 8212 §3, an empty list accepts.
    ///
    /// # Errors
    /// A name that is not a policy.
    pub fn resolve(names: Option<&[String]>, external: bool) -> Result<Self, UnknownPolicy> {
        let Some(names) = names else {
            return Ok(if external { Self::Missing } else { Self::AcceptAll });
        };
        let policies = names.iter().map(|name| Self::named(name));
        let policies = policies.collect::<Result<Vec<_>, _>>()?;
        Ok(policies.first().copied().unwrap_or(Self::AcceptAll))
    }

    fn named(name: &str) -> Result<Self, UnknownPolicy> {
        match name {
            "accept-all" => Ok(Self::AcceptAll),
            "reject-all" => Ok(Self::RejectAll),
            _ => Err(UnknownPolicy(name.to_owned())),
        }
    }

    /// What becomes of a route with these attributes.
    #[must_use]
    pub fn evaluate(&self, attrs: AttrRef) -> Verdict {
        match self {
            Self::AcceptAll => Verdict::Accept(attrs),
            Self::RejectAll => Verdict::Reject,
            Self::Missing => Verdict::RejectMissing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ebgp_without_policy_passes_nothing() {
        // RFC 8212 §3
        assert_eq!(Policy::resolve(None, true), Ok(Policy::Missing));
        assert_eq!(Policy::resolve(None, false), Ok(Policy::AcceptAll));
    }

    #[test]
    fn the_first_policy_that_decides_counts() {
        let names = ["reject-all".to_owned(), "accept-all".to_owned()];
        assert_eq!(Policy::resolve(Some(&names), true), Ok(Policy::RejectAll));
    }

    #[test]
    fn an_unknown_name_is_an_error_wherever_it_stands() {
        let names = ["accept-all".to_owned(), "acept-all".to_owned()];
        assert_eq!(Policy::resolve(Some(&names), false), Err(UnknownPolicy("acept-all".into())));
    }
}
