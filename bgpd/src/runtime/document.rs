//! Which document runs, also after a restart: that of the configuration file, or one that came through the API.
//!
//! What was said last counts. An applied document is kept in the state directory together with a digest of the
//! configuration file as it was then: the next start takes it, unless the file has changed since. A reload takes the
//! file and forgets it. While an applied document waits for its confirmation, the one from before is kept instead, so
//! that a start in that time goes back to it, even if the file itself is what was applied.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use std::{fs, io};

use bgp_engine::config::{Desired, Step};
use bgp_engine::rib::RouteChanges;
use serde::{Deserialize, Serialize};
use tracing::{error, info, warn};

use super::restart::{directory, replace};
use crate::config::{self, Document, RestartSettings};

/// The document that was applied last.
const APPLIED: &str = "applied.toml";
/// The document from before one that is not confirmed.
const BEFORE: &str = "unconfirmed.toml";

/// A document and what it says of the speaker.
#[derive(Debug, Clone)]
pub struct Written {
    /// What the speaker should be and do.
    pub desired: Desired,
    /// The text.
    pub text: Arc<str>,
    /// What diagnoses call it.
    pub name: String,
}

impl From<Document> for Written {
    fn from(document: Document) -> Self {
        Self { desired: document.desired, text: document.text, name: document.name }
    }
}

/// Where a document comes from, and on which terms it is applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Terms {
    /// It is the configuration file's.
    Reload,
    /// It came through the API.
    Applied {
        /// The revision that it was compared with; empty if that does not matter.
        expected_revision: String,
        /// It goes unless it is confirmed in this time.
        confirm: Option<Duration>,
    },
}

/// What applying a document does, or has done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// The steps.
    pub steps: Vec<Step>,
    /// The sessions that end, and why.
    pub resets: BTreeMap<IpAddr, String>,
    /// How many routes of each neighbor change, where some do; none if that was not counted.
    pub routes: Option<BTreeMap<IpAddr, RouteChanges>>,
    /// What else is worth knowing, for people.
    pub notes: Vec<String>,
}

/// What runs, for people.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shown {
    /// What the document is called.
    pub name: String,
    /// The document, without comments and secrets.
    pub file: String,
    /// What came through the API, as it is kept, without secrets.
    pub declared: String,
    /// The revision of both together.
    pub revision: String,
}

/// A document as it is kept.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    /// Digest of the configuration file when it was put there.
    file: String,
    name: String,
    text: String,
}

/// Where documents are kept.
#[derive(Debug, Clone)]
pub struct Documents {
    directory: Option<PathBuf>,
    /// The configuration file.
    file: PathBuf,
}

impl Documents {
    /// Finds the place. That there is none is said in the log.
    #[must_use]
    pub fn open(settings: &RestartSettings, file: &Path) -> Self {
        Self { directory: directory(settings), file: file.to_owned() }
    }

    /// A place where nothing is kept.
    #[must_use]
    pub fn nowhere() -> Self {
        Self { directory: None, file: PathBuf::new() }
    }

    /// The state directory, if there is one.
    pub(super) fn directory(&self) -> Option<&Path> {
        self.directory.as_deref()
    }

    /// Whether anything survives a restart.
    pub(super) fn lasts(&self) -> bool {
        self.directory.is_some()
    }

    /// Files that a document names are relative to this directory.
    #[must_use]
    pub fn base(&self) -> &Path {
        self.file.parent().unwrap_or(Path::new("."))
    }

    /// The document that a start takes: the file's, or the one that came after it.
    #[must_use]
    pub fn choose(&self, of_file: Document) -> Written {
        let digest = digest(&of_file.text);
        if let Some(before) = self.read(BEFORE) {
            if before.file == digest {
                warn!(document = before.name, "bgpd ended before a document was confirmed: the one from before runs");
                self.write(APPLIED, &before).unwrap_or_else(|error| error!(%error, "it is not kept"));
            } else {
                self.remove(APPLIED);
            }
            self.remove(BEFORE);
        }
        let Some(applied) = self.read(APPLIED) else { return of_file.into() };
        if applied.file != digest {
            info!(document = applied.name, "the configuration file has changed since this was applied: the file runs");
            self.remove(APPLIED);
            return of_file.into();
        }
        match config::parse(&applied.text, &applied.name, self.base()) {
            Ok(document) => {
                info!(
                    document = applied.name,
                    "what was applied after the configuration file runs; a reload takes the file"
                );
                document.into()
            }
            Err(diagnosis) => {
                error!(document = applied.name, "not valid any more: the configuration file runs\n{diagnosis}");
                of_file.into()
            }
        }
    }

    /// Keeps a document that runs from now on, for the next start.
    pub(super) fn keep(&self, document: &Written) -> io::Result<()> {
        let kept = self.kept(document);
        if kept.file == digest(&document.text) {
            // The file says the same.
            self.remove(APPLIED);
        } else {
            self.write(APPLIED, &kept)?;
        }
        self.remove(BEFORE);
        Ok(())
    }

    /// The file's own document runs from now on.
    pub(super) fn follow_file(&self) {
        self.remove(APPLIED);
        self.remove(BEFORE);
    }

    /// Keeps the document that runs now, for a start before the next one is confirmed.
    pub(super) fn keep_before(&self, document: &Written) -> io::Result<()> {
        self.write(BEFORE, &self.kept(document))
    }

    /// No document waits for its confirmation.
    pub(super) fn settle(&self) {
        self.remove(BEFORE);
    }

    /// A document as it is kept.
    fn kept(&self, document: &Written) -> Kept {
        // A file that is gone is as good as another one: it is when it comes back that it counts.
        let file = digest(&fs::read_to_string(&self.file).unwrap_or_default());
        Kept { file, name: document.name.clone(), text: document.text.to_string() }
    }

    fn read(&self, name: &str) -> Option<Kept> {
        let path = self.directory.as_ref()?.join(name);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                error!(file = %path.display(), %error, "not readable: the configuration file runs");
                return None;
            }
        };
        toml::from_str(&text)
            .inspect_err(|error| error!(file = %path.display(), error = error.message(), "not what bgpd writes there"))
            .ok()
    }

    fn write(&self, name: &str, kept: &Kept) -> io::Result<()> {
        let Some(directory) = &self.directory else { return Ok(()) };
        let text = toml::to_string(kept).map_err(io::Error::other)?;
        replace(&directory.join(name), &text)
    }

    fn remove(&self, name: &str) {
        let Some(directory) = &self.directory else { return };
        match fs::remove_file(directory.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => warn!(name, %error, "state not removed"),
            _ => {}
        }
    }
}

fn digest(text: &str) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
    digest.as_ref().iter().map(|octet| format!("{octet:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: &str = "[global]\nasn = 65000\nrouter-id = \"192.0.2.1\"\n";

    fn document(text: &str) -> Document {
        config::parse(text, "bgpd.toml", Path::new(".")).expect("valid")
    }

    struct Place {
        directory: tempfile::TempDir,
        documents: Documents,
    }

    impl Place {
        fn new() -> Self {
            let directory = tempfile::tempdir().expect("a directory");
            let state_directory = Some(directory.path().join("state"));
            let settings = RestartSettings { state_directory, ..RestartSettings::default() };
            let file = directory.path().join("bgpd.toml");
            fs::write(&file, FIRST).expect("written");
            let documents = Documents::open(&settings, &file);
            Self { directory, documents }
        }

        fn edit(&self, text: &str) {
            fs::write(self.directory.path().join("bgpd.toml"), text).expect("written");
        }

        /// AS number of what a start takes now.
        fn started(&self) -> u32 {
            let file = fs::read_to_string(self.directory.path().join("bgpd.toml")).expect("readable");
            self.documents.choose(document(&file)).desired.global.asn
        }
    }

    fn numbered(asn: u32) -> String {
        FIRST.replace("65000", &asn.to_string())
    }

    #[test]
    fn an_applied_document_runs_after_a_restart_until_the_file_changes() {
        let place = Place::new();
        place.documents.keep(&document(&numbered(65001)).into()).expect("kept");
        assert_eq!((place.started(), place.started()), (65001, 65001));
        place.edit(&numbered(65002));
        assert_eq!(place.started(), 65002);
        place.edit(FIRST);
        assert_eq!(place.started(), 65000, "what was given up does not come back");
    }

    #[test]
    fn a_reload_takes_the_file_and_forgets_what_was_applied() {
        let place = Place::new();
        place.documents.keep(&document(&numbered(65001)).into()).expect("kept");
        place.documents.follow_file();
        assert_eq!(place.started(), 65000);
    }

    #[test]
    fn a_start_before_the_confirmation_takes_the_document_from_before() {
        let place = Place::new();
        place.documents.keep_before(&document(FIRST).into()).expect("kept");
        assert_eq!(place.started(), 65000);
        // The file itself was edited and applied: what ran before is in no file any more.
        place.documents.keep_before(&document(&numbered(65001)).into()).expect("kept");
        assert_eq!((place.started(), place.started()), (65001, 65001));
        place.edit(&numbered(65002));
        assert_eq!(place.started(), 65002);
    }

    #[test]
    fn a_file_that_was_corrected_after_the_crash_counts() {
        let place = Place::new();
        place.documents.keep_before(&document(&numbered(65001)).into()).expect("kept");
        place.edit(&numbered(65003));
        assert_eq!(place.started(), 65003);
    }

    #[test]
    fn what_is_kept_can_be_read_by_its_user_only() {
        use std::os::unix::fs::PermissionsExt;
        let place = Place::new();
        place.documents.keep(&document(&numbered(65001)).into()).expect("kept");
        let metadata = fs::metadata(place.directory.path().join("state").join(APPLIED)).expect("it is there");
        assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
    }
}
