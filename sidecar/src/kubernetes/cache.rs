//! The last known state of the cluster in a file, for a start while the API server is away.

use std::io::{self, Write};
use std::path::PathBuf;

use tempfile::NamedTempFile;
use tracing::{info, warn};

use super::Known;

/// A file with what is known of the cluster. What it lacks costs nothing but time, so that its failures are only logged.
#[derive(Debug)]
pub struct Cache {
    file: PathBuf,
    written: Known,
}

impl Cache {
    /// A cache in a file that need not exist.
    #[must_use]
    pub fn new(file: PathBuf) -> Self {
        Self { file, written: Known::default() }
    }

    /// What an earlier run knew.
    pub fn read(&mut self) -> Option<Known> {
        let text = match std::fs::read(&self.file) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                warn!(file = %self.file.display(), %error, "the cache cannot be read");
                return None;
            }
        };
        match serde_json::from_slice::<Known>(&text) {
            Ok(known) => {
                let nodes = known.cluster.nodes.len();
                info!(file = %self.file.display(), nodes, "the state of an earlier run is taken up");
                self.written.clone_from(&known);
                Some(known)
            }
            Err(error) => {
                warn!(file = %self.file.display(), %error, "the cache is not valid and will be replaced");
                None
            }
        }
    }

    /// Keeps what is known now.
    pub fn write(&mut self, known: &Known) {
        let known = Known { trouble: std::collections::BTreeMap::new(), ..known.clone() };
        if self.written == known {
            return;
        }
        match self.replace(&known) {
            Ok(()) => self.written = known,
            Err(error) => warn!(file = %self.file.display(), %error, "the cache cannot be written"),
        }
    }

    fn replace(&self, known: &Known) -> io::Result<()> {
        let directory = self.file.parent().filter(|parent| !parent.as_os_str().is_empty());
        let mut file = NamedTempFile::new_in(directory.unwrap_or_else(|| ".".as_ref()))?;
        file.write_all(&serde_json::to_vec(known)?)?;
        file.persist(&self.file)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::cluster::{Cluster, Node};

    #[test]
    fn what_was_known_is_known_after_a_restart() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("nodes.json");
        let pod_cidrs = vec!["10.1.0.0/24".parse().expect("a prefix")];
        let node = Node { name: "a".into(), pod_cidrs, ..Node::default() };
        let cluster = Cluster { nodes: BTreeMap::from([("a".to_owned(), node)]), ..Cluster::default() };
        let known = Known { cluster, has_nodes: true, ..Known::default() };
        assert_eq!(Cache::new(file.clone()).read(), None);
        Cache::new(file.clone()).write(&known);
        assert_eq!(Cache::new(file.clone()).read(), Some(known));
        std::fs::write(&file, "{").expect("a file");
        assert_eq!(Cache::new(file).read(), None);
    }
}
