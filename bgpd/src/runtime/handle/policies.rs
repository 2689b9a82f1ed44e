//! Policies and sets that came through the API.

use bgp_engine::config::owners::OwnerName;

use super::{Changes, Command, ControlError, Handle};

/// The policies and sets of an owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeclaredPolicies {
    /// Whose they are.
    pub owner: OwnerName,
    /// What was declared: TOML with the tables of the configuration file.
    pub document: String,
    /// Names of the policies.
    pub policies: Vec<String>,
    /// Why they are not in force, if they are not.
    pub waits_for: Option<String>,
}

impl Handle {
    /// Replaces the policies and sets of an owner as a whole, or deletes them; what that changes.
    ///
    /// # Errors
    /// `Invalid` when the document is wrong or a neighbor uses what would be gone, `AlreadyExists` when the file or another
    /// owner has one of the names, `NotFound` when there is nothing to delete.
    pub async fn declare_policies(&self, owner: OwnerName, document: Option<String>) -> Result<Changes, ControlError> {
        self.ask(|reply| Command::DeclarePolicies(owner, document, reply)).await
    }

    /// The policies of all owners, by name of the owner.
    ///
    /// # Errors
    /// When the daemon ends.
    pub async fn declared_policies(&self) -> Result<Vec<DeclaredPolicies>, ControlError> {
        self.ask_plain(Command::Policies).await
    }
}
