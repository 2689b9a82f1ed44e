//! The document that runs, and the one that it may go back to.

use std::time::Instant;

use bgp_engine::config::owners::{self, OwnerName, Owners};
use bgp_engine::config::{self, Desired};
use tracing::{error, info, warn};

use super::super::document::{Documents, Written};
use super::super::handle::{Changes, ControlError, DeclaredPolicies, Shown, Terms};
use super::super::state;
use super::Controller;
use crate::config::{Declarations, InForce, Laid, hidden, parse_policies, unsigned};

/// Most owners of policies.
const POLICY_OWNERS_MAX: usize = 64;

/// What runs, before anything that was declared.
pub(in super::super) struct Running {
    pub(super) document: Written,
    documents: Documents,
    unconfirmed: Option<Unconfirmed>,
}

/// A document waits for its confirmation.
struct Unconfirmed {
    before: Written,
    until: Instant,
}

impl Running {
    pub(in super::super) fn new(document: Written, documents: Documents) -> Self {
        Self { document, documents, unconfirmed: None }
    }

    /// When it goes back.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.unconfirmed.as_ref().map(|unconfirmed| unconfirmed.until)
    }

    fn take_unconfirmed(&mut self) -> Result<Unconfirmed, ControlError> {
        let none = || ControlError::Unavailable("no document waits for a confirmation".to_owned());
        self.unconfirmed.take().ok_or_else(none)
    }
}

/// A document together with all that was declared besides.
struct Composed {
    wanted: Desired,
    owners: Owners,
    declared: owners::Declared,
    declarations: Declarations,
    laid: Laid,
}

impl Controller {
    /// Makes a document what runs. When a step cannot be taken, none is.
    pub(super) async fn apply(&mut self, document: Written, terms: Terms) -> Result<Changes, ControlError> {
        if let Some(until) = self.base.deadline() {
            let left = until.saturating_duration_since(Instant::now()).as_secs();
            let reason =
                format!("a document waits {left} s more for bgpctl config confirm: confirm it or roll it back");
            return Err(ControlError::Superseded(reason));
        }
        let Terms::Applied { expected_revision, confirm } = terms else {
            let changes = self.make_run(document).await?;
            self.base.documents.follow_file();
            return Ok(changes);
        };
        let revision = self.revision();
        if !expected_revision.is_empty() && expected_revision != revision {
            let reason = format!("revision {revision} runs, not {expected_revision}: compare again with what runs now");
            return Err(ControlError::Superseded(reason));
        }
        let before = self.base.document.clone();
        let not_kept = |error: std::io::Error| ControlError::Unavailable(format!("state directory: {error}"));
        if confirm.is_some() {
            self.base.documents.keep_before(&before).map_err(not_kept)?;
        }
        let applied = self.make_run(document).await;
        let mut changes = applied.inspect_err(|_| self.base.documents.settle())?;
        match confirm {
            Some(time) => {
                let seconds = time.as_secs();
                self.base.unconfirmed = Some(Unconfirmed { before, until: Instant::now() + time });
                changes.notes.push(format!("goes back by itself in {seconds} s: bgpctl config confirm"));
            }
            None => self.keep(&mut changes),
        }
        Ok(changes)
    }

    /// Keeps what runs for the next start, or notes that it is not.
    fn keep(&self, changes: &mut Changes) {
        let Running { document, documents, .. } = &self.base;
        if !documents.lasts() {
            let note =
                "no state directory: after a restart of bgpd the configuration file runs ([restart] state-directory)";
            changes.notes.push(note.to_owned());
        } else if let Err(error) = documents.keep(document) {
            warn!(%error, "the document is not written down");
            changes
                .notes
                .push(format!("not written down: after a restart of bgpd the configuration file runs: {error}"));
        }
    }

    pub(super) fn confirm(&mut self) -> Result<(), ControlError> {
        self.base.take_unconfirmed()?;
        let mut kept = Changes::default();
        self.keep(&mut kept);
        info!(document = self.base.document.name, "configuration confirmed");
        Ok(())
    }

    /// Goes back to the document from before.
    pub(super) async fn roll_back(&mut self) -> Result<Changes, ControlError> {
        let Unconfirmed { before, until } = self.base.take_unconfirmed()?;
        let composed = self.compose(&before.desired, self.declarations.clone());
        for refused in &composed.laid.refused {
            warn!("not in force: {refused}");
        }
        match self.take_over(before.clone(), composed).await {
            Ok(mut changes) => {
                self.keep(&mut changes);
                Ok(changes)
            }
            Err(error) => {
                self.base.unconfirmed = Some(Unconfirmed { before, until });
                Err(error)
            }
        }
    }

    /// Nobody has confirmed.
    pub(super) async fn not_confirmed(&mut self) {
        match self.roll_back().await {
            Ok(changes) => {
                warn!(steps = changes.steps.len(), "configuration not confirmed: the one from before runs again");
            }
            Err(error) => {
                error!(%error, "configuration not confirmed, and the one from before cannot run");
                self.base.unconfirmed = None;
            }
        }
    }

    /// What is to run when a document is applied, and what is worth knowing about it.
    pub(super) fn wanted(&self, document: &Desired) -> Result<(Desired, Vec<String>), ControlError> {
        let composed = accepted(self.compose(document, self.declarations.clone()))?;
        Ok((composed.wanted, composed.laid.notes))
    }

    /// The document that runs, and what was declared besides; secrets are hidden.
    pub(super) fn shown(&self) -> Result<Shown, ControlError> {
        let Written { text, name, .. } = &self.base.document;
        let not_shown = |error: String| ControlError::Unavailable(format!("cannot be shown: {error}"));
        let file = hidden(text).map_err(not_shown)?;
        let declared = state::text(&self.lasting()).map_err(|error| not_shown(error.to_string()))?;
        let declared = hidden(&declared).map_err(not_shown)?;
        Ok(Shown { name: name.clone(), file, declared, revision: self.revision() })
    }

    async fn make_run(&mut self, document: Written) -> Result<Changes, ControlError> {
        let composed = accepted(self.compose(&document.desired, self.declarations.clone()))?;
        self.take_over(document, composed).await
    }

    /// Replaces the policies and sets of an owner as a whole, or deletes them.
    pub(super) async fn declare_policies(
        &mut self,
        owner: OwnerName,
        text: Option<String>,
    ) -> Result<Changes, ControlError> {
        let mut declarations = self.declarations.clone();
        let of_file = &self.base.document.desired;
        let before = declarations.policies.remove(&owner);
        match text {
            Some(text) => {
                let wanted = parse_policies(&text, owner.as_str()).map_err(|diagnosis| ControlError::Invalid {
                    field: "document".to_owned(),
                    reason: diagnosis.sentences(),
                })?;
                if let Some((who, name)) = declarations.policies_shared(&wanted, &of_file.policies) {
                    return Err(ControlError::AlreadyExists { what: format!("{name} of {who}") });
                }
                if declarations.policies.len() >= POLICY_OWNERS_MAX {
                    return Err(ControlError::Exhausted(format!("{POLICY_OWNERS_MAX} owners have policies already")));
                }
                declarations.policies.insert(owner, text);
            }
            None if before.is_none() => {
                return Err(ControlError::NotFound { what: format!("a document of policies of owner {owner}") });
            }
            None => {}
        }
        let composed = accepted(self.compose(of_file, declarations))?;
        self.take_over(self.base.document.clone(), composed).await
    }

    /// The policies of each owner, and what is in force of them.
    pub(super) fn declared_policies(&self) -> Vec<DeclaredPolicies> {
        let declarations = &self.declarations;
        let of = |InForce { owner, definitions, waits_for }| DeclaredPolicies {
            document: declarations.policies.get(&owner).cloned().unwrap_or_default(),
            policies: definitions.policies.into_keys().collect(),
            owner,
            waits_for,
        };
        declarations.policies_in_force(&self.base.document.desired.policies).into_iter().map(of).collect()
    }

    async fn take_over(&mut self, document: Written, composed: Composed) -> Result<Changes, ControlError> {
        let Composed { wanted, owners, declared, declarations, laid } = composed;
        let steps = config::plan(&self.desired, &wanted);
        let mut resets = self.resets(&steps);
        resets.extend(self.over_limit(&wanted).await);
        self.take_all(&steps, &wanted).await?;
        self.owners = owners;
        self.note_owners(declared.changes.keys());
        self.tell_owners(declared.concerned.iter());
        self.base.document = document;
        if self.declarations != declarations {
            self.declarations = declarations;
            self.save().await;
        }
        self.note_sources();
        Ok(Changes { steps, resets, routes: None, notes: laid.notes })
    }

    /// What a document says together with what else is declared, and what that changes for owners.
    fn compose(&self, document: &Desired, mut declarations: Declarations) -> Composed {
        let mut wanted = document.clone();
        let mut owners = self.owners.clone();
        let declared = owners.declare_file(std::mem::take(&mut wanted.originate));
        wanted.originate = owners.originated();
        wanted.guard = self.guard_of(wanted.guard.clusters);
        let mut laid = declarations.lay_over(&mut wanted);
        laid.notes.extend(wanted.unsigned().iter().map(|(addresses, range)| unsigned(addresses, range)));
        declarations.settle(document);
        Composed { wanted, owners, declared, declarations, laid }
    }
}

/// Refuses a document that what was declared does not go together with.
fn accepted(composed: Composed) -> Result<Composed, ControlError> {
    if composed.laid.refused.is_empty() {
        return Ok(composed);
    }
    let field = "declared through the API".to_owned();
    Err(ControlError::Invalid { field, reason: composed.laid.refused.join("; ") })
}
