//! The last known Nodes in a file, for a start while the API server is away.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::PathBuf;

use tempfile::NamedTempFile;
use tracing::{info, warn};

use crate::cluster::Node;

/// A file with what is known of Nodes. What it lacks costs nothing but time, so that its failures are only logged.
#[derive(Debug)]
pub struct Cache {
    file: PathBuf,
    written: BTreeMap<String, Node>,
}

impl Cache {
    /// A cache in a file that need not exist.
    #[must_use]
    pub fn new(file: PathBuf) -> Self {
        Self { file, written: BTreeMap::new() }
    }

    /// What an earlier run knew.
    pub fn read(&mut self) -> Option<BTreeMap<String, Node>> {
        let text = match std::fs::read(&self.file) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                warn!(file = %self.file.display(), %error, "the cache of Nodes cannot be read");
                return None;
            }
        };
        match serde_json::from_slice::<BTreeMap<String, Node>>(&text) {
            Ok(nodes) => {
                info!(file = %self.file.display(), nodes = nodes.len(), "Nodes of an earlier run are taken up");
                self.written.clone_from(&nodes);
                Some(nodes)
            }
            Err(error) => {
                warn!(file = %self.file.display(), %error, "the cache of Nodes is not valid and will be replaced");
                None
            }
        }
    }

    /// Keeps what is known now.
    pub fn write(&mut self, nodes: &BTreeMap<String, Node>) {
        if self.written == *nodes {
            return;
        }
        match self.replace(nodes) {
            Ok(()) => self.written.clone_from(nodes),
            Err(error) => warn!(file = %self.file.display(), %error, "the cache of Nodes cannot be written"),
        }
    }

    fn replace(&self, nodes: &BTreeMap<String, Node>) -> io::Result<()> {
        let directory = self.file.parent().filter(|parent| !parent.as_os_str().is_empty());
        let mut file = NamedTempFile::new_in(directory.unwrap_or_else(|| ".".as_ref()))?;
        file.write_all(&serde_json::to_vec(nodes)?)?;
        file.persist(&self.file)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_known_is_known_after_a_restart() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("nodes.json");
        let pod_cidrs = vec!["10.1.0.0/24".parse().expect("a prefix")];
        let node = Node { name: "a".into(), pod_cidrs, ..Node::default() };
        let nodes = BTreeMap::from([("a".to_owned(), node)]);
        assert_eq!(Cache::new(file.clone()).read(), None);
        Cache::new(file.clone()).write(&nodes);
        assert_eq!(Cache::new(file.clone()).read(), Some(nodes));
        std::fs::write(&file, "{").expect("a file");
        assert_eq!(Cache::new(file).read(), None);
    }
}
