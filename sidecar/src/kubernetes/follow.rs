//! One kind of object, listed and then watched.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::time::Duration;

use futures::StreamExt;
use kube::runtime::watcher::{self, DefaultBackoff, watcher};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use tracing::debug;

use super::{explained, root};

/// What happened to the objects of one kind.
#[derive(Debug)]
pub(super) enum Change<K> {
    /// These are all there are.
    Replaced(Vec<K>),
    /// One is new or another than before.
    Applied(K),
    /// One is gone.
    Deleted(K),
    /// The API cannot be used; what was known stays.
    Failed(String),
}

impl<K> Change<K> {
    /// Does the same to what is kept of the objects. Whether anything is different now.
    pub(super) fn apply<V: PartialEq>(&self, kept: &mut BTreeMap<String, V>, read: impl Fn(&K) -> (String, V)) -> bool {
        match self {
            Self::Replaced(objects) => {
                let next = objects.iter().map(read).collect();
                let before = std::mem::replace(kept, next);
                before != *kept
            }
            Self::Applied(object) => {
                let (name, value) = read(object);
                if kept.get(&name) == Some(&value) {
                    return false;
                }
                kept.insert(name, value);
                true
            }
            Self::Deleted(object) => kept.remove(&read(object).0).is_some(),
            Self::Failed(_) => false,
        }
    }

    /// Why the API cannot be used.
    pub(super) fn trouble(&self) -> Option<&str> {
        match self {
            Self::Failed(message) => Some(message),
            _ => None,
        }
    }
}

/// Follows the objects for ever.
pub(super) async fn follow<K>(api: Api<K>, config: watcher::Config, mut changed: impl FnMut(Change<K>))
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let kind = K::plural(&());
    // Doubles to half a minute, with jitter: a cluster's sidecars do not come back all at once.
    let mut backoff = DefaultBackoff::default();
    loop {
        let mut events = watcher(api.clone(), config.clone()).boxed();
        let mut listed = Vec::new();
        while let Some(event) = events.next().await {
            let error = match event {
                Ok(event) => {
                    if let Some(change) = change(event, &mut listed) {
                        changed(change);
                    }
                    continue;
                }
                Err(error) => error,
            };
            let trouble = trouble(&error, &kind);
            match &trouble {
                Trouble::Outdated => debug!(%kind, "the API server forgot where we were, listing again"),
                Trouble::Passing(message) => debug!(%kind, message, "a watch ended early"),
                Trouble::Lasting(message) => changed(Change::Failed(message.clone())),
            }
            tokio::time::sleep(backoff.next().unwrap_or(LONGEST_PAUSE)).await;
            if !matches!(trouble, Trouble::Passing(_)) {
                // A new list says that all is well again; a watch that succeeds would be silent.
                break;
            }
        }
    }
}

/// Pause when the backoff has no more to say.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

fn change<K>(event: watcher::Event<K>, listed: &mut Vec<K>) -> Option<Change<K>> {
    match event {
        watcher::Event::Init => listed.clear(),
        watcher::Event::InitApply(object) => listed.push(object),
        watcher::Event::InitDone => return Some(Change::Replaced(std::mem::take(listed))),
        watcher::Event::Apply(object) => return Some(Change::Applied(object)),
        watcher::Event::Delete(object) => return Some(Change::Deleted(object)),
    }
    None
}

enum Trouble {
    /// The server has forgotten the version we were at (410 Gone).
    Outdated,
    /// A stream broke; it is opened again.
    Passing(String),
    /// The API cannot be used.
    Lasting(String),
}

fn trouble(error: &watcher::Error, kind: &str) -> Trouble {
    use watcher::Error::{InitialListFailed, NoResourceVersion, WatchError, WatchFailed, WatchStartFailed};
    match error {
        WatchError(status) if status.code == 410 => Trouble::Outdated,
        WatchStartFailed(kube::Error::Api(status)) if status.code == 410 => Trouble::Outdated,
        WatchFailed(error) => Trouble::Passing(root(error)),
        WatchError(status) => Trouble::Lasting(format!("the API server says {}: {}", status.code, status.message)),
        InitialListFailed(error) | WatchStartFailed(error) => {
            Trouble::Lasting(explained(error, &format!("list and watch of {kind}")))
        }
        NoResourceVersion => Trouble::Lasting(error.to_string()),
    }
}
