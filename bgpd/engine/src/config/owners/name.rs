//! What owners are called.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// Longest name.
const LENGTH_MAX: usize = 63;
const FILE: &str = "file";
const BGPCTL: &str = "bgpctl";

/// The name of an owner of routes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OwnerName(Arc<str>);

/// A text is not a name that a client can have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OwnerNameError {
    /// Wrong length or characters.
    #[error("\"{0}\" is not a name, expected 1 to {LENGTH_MAX} letters, digits, \"-\", \"_\", \".\" and \"/\"")]
    Malformed(String),
    /// It stands for the configuration file or for single announcements.
    #[error("\"{0}\" is taken: \"{FILE}\" is the configuration file, \"{BGPCTL}\" owns single announcements")]
    Reserved(String),
}

impl OwnerName {
    /// The configuration file.
    pub fn file() -> Self {
        Self(FILE.into())
    }

    /// Whoever announces single routes.
    pub fn bgpctl() -> Self {
        Self(BGPCTL.into())
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for OwnerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for OwnerName {
    type Err = OwnerNameError;

    fn from_str(text: &str) -> Result<Self, OwnerNameError> {
        let fits = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
        if text.is_empty() || text.len() > LENGTH_MAX || !text.chars().all(fits) {
            return Err(OwnerNameError::Malformed(text.chars().take(LENGTH_MAX).collect()));
        }
        if text == FILE || text == BGPCTL {
            return Err(OwnerNameError::Reserved(text.to_owned()));
        }
        Ok(Self(text.into()))
    }
}
