//! A stand-in for the Kubernetes API server, over real HTTP: lists in pages, watches from a resourceVersion, bookmarks,
//! 410 Gone, refusals, and streams that are slow, silent or broken.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;

type Frame = Result<Bytes, io::Error>;

/// What the server holds and how it is to behave.
#[derive(Default)]
pub(crate) struct Store {
    version: u64,
    /// By collection (`nodes`) and name.
    objects: BTreeMap<(String, String), Value>,
    /// Every change with its version and collection.
    log: Vec<(u64, String, Value)>,
    /// Changes up to this version are forgotten.
    compacted: u64,
    watchers: Vec<Watcher>,
    /// Every request with this status.
    pub(crate) refuse: Option<u16>,
    /// When requests were refused.
    pub(crate) refused: Vec<std::time::Instant>,
    /// Says 410 as the status of the request rather than in the stream.
    pub(crate) gone_as_status: bool,
    /// Streams come in pieces of a few octets.
    pub(crate) slow: bool,
    /// Method, path and query of every request.
    pub(crate) requests: Vec<String>,
    /// Bodies of requests that write.
    pub(crate) written: Vec<(String, Value)>,
}

struct Watcher {
    collection: String,
    selected: Option<String>,
    frames: mpsc::UnboundedSender<Frame>,
}

/// A server that can be stopped and started again on its port, without forgetting.
pub(crate) struct ApiServer {
    pub(crate) address: SocketAddr,
    store: Arc<Mutex<Store>>,
    runtime: Option<Runtime>,
}

impl ApiServer {
    pub(crate) fn start() -> Self {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], 0)))
    }

    /// Starts at an address, in the network namespace of the thread that asks.
    pub(crate) fn start_at(address: SocketAddr) -> Self {
        let mut server = Self { address, store: Arc::default(), runtime: None };
        server.resume();
        server
    }

    /// Starts again after [`ApiServer::stop`].
    pub(crate) fn resume(&mut self) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let listener = std::net::TcpListener::bind(self.address).expect("a port");
        listener.set_nonblocking(true).expect("a listener");
        self.address = listener.local_addr().expect("an address");
        let router = Router::new().fallback(answer).with_state(Arc::clone(&self.store));
        runtime.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
            axum::serve(listener, router).await.expect("a server");
        });
        self.runtime = Some(runtime);
    }

    /// Dies: all connections break.
    pub(crate) fn stop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
        self.store().watchers.clear();
    }

    pub(crate) fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().expect("a store")
    }

    /// Adds or changes an object.
    pub(crate) fn put(&self, collection: &str, object: Value) {
        self.store().put(collection, object);
    }

    /// Deletes an object.
    pub(crate) fn delete(&self, collection: &str, name: &str) {
        self.store().delete(collection, name).expect("an object");
    }

    /// Tells every watcher how far it is.
    pub(crate) fn bookmark(&self) {
        let store = self.store();
        for watcher in &store.watchers {
            let object = json!({
                "kind": "Node", "apiVersion": "v1", "spec": {},
                "metadata": {"resourceVersion": store.version.to_string()},
            });
            store.send(watcher, &json!({"type": "BOOKMARK", "object": object}));
        }
    }

    /// Forgets all changes up to now.
    pub(crate) fn compact(&self) {
        let mut store = self.store();
        store.compacted = store.version;
    }

    /// Ends all watches as a server does after their time.
    pub(crate) fn end_watches(&self) {
        self.store().watchers.clear();
    }

    /// Breaks all watches in the middle of a line.
    pub(crate) fn break_watches(&self) {
        for watcher in self.store().watchers.drain(..) {
            let _ = watcher.frames.send(Ok(Bytes::from_static(b"{\"type\":\"MODIFIED\",\"obj")));
            let _ = watcher.frames.send(Err(io::Error::other("broken on purpose")));
        }
    }

    /// How many watches are open.
    pub(crate) fn watches(&self) -> usize {
        let mut store = self.store();
        store.watchers.retain(|watcher| !watcher.frames.is_closed());
        store.watchers.len()
    }

    /// How many requests there were whose line contains a text.
    pub(crate) fn requests_with(&self, text: &str) -> usize {
        self.store().requests.iter().filter(|line| line.contains(text)).count()
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Store {
    fn put(&mut self, collection: &str, mut object: Value) -> Value {
        self.version += 1;
        let version = self.version;
        object["metadata"]["resourceVersion"] = json!(version.to_string());
        let name = object["metadata"]["name"].as_str().expect("a name").to_owned();
        let before = self.objects.insert((collection.to_owned(), name), object.clone());
        let kind = if before.is_some() { "MODIFIED" } else { "ADDED" };
        self.publish(version, collection, json!({"type": kind, "object": object}));
        object
    }

    fn delete(&mut self, collection: &str, name: &str) -> Option<Value> {
        let mut object = self.objects.remove(&(collection.to_owned(), name.to_owned()))?;
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.publish(self.version, collection, json!({"type": "DELETED", "object": object.clone()}));
        Some(object)
    }

    fn publish(&mut self, version: u64, collection: &str, event: Value) {
        self.log.push((version, collection.to_owned(), event.clone()));
        for watcher in self.watchers.iter().filter(|watcher| watcher.wants(collection, &event)) {
            self.send(watcher, &event);
        }
    }

    fn send(&self, watcher: &Watcher, event: &Value) {
        let line = Bytes::from(format!("{event}\n"));
        let piece = if self.slow { 7 } else { line.len() };
        for start in (0..line.len()).step_by(piece) {
            let _ = watcher.frames.send(Ok(line.slice(start..line.len().min(start + piece))));
        }
    }
}

impl Watcher {
    fn wants(&self, collection: &str, event: &Value) -> bool {
        let name = event["object"]["metadata"]["name"].as_str();
        self.collection == collection && self.selected.as_deref().is_none_or(|selected| Some(selected) == name)
    }
}

fn refusal(code: u16, reason: &str, message: &str) -> Response {
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure",
        "reason": reason, "message": message, "code": code,
    });
    (StatusCode::from_u16(code).expect("a status"), axum::Json(status)).into_response()
}

/// `/api/v1/nodes/a/status` is object `a` of collection `nodes`.
fn named(path: &str) -> (String, Option<String>) {
    let mut words: Vec<&str> = path.split('/').filter(|word| !word.is_empty()).collect();
    words.drain(..if words.first() == Some(&"api") { 2.min(words.len()) } else { 3.min(words.len()) });
    if words.first() == Some(&"namespaces") && words.len() > 2 {
        words.drain(..2);
    }
    let word = |index: usize| words.get(index).map(|&word| word.to_owned());
    (word(0).unwrap_or_default(), word(1))
}

/// Creates, merges into (RFC 7386, and conditions by their type) or deletes an object.
fn write(store: &mut Store, method: &Method, path: &str, value: Value) -> Response {
    let (collection, name) = named(path);
    let Some(name) = name else { return axum::Json(store.put(&collection, value)).into_response() };
    if method == Method::DELETE {
        return match store.delete(&collection, &name) {
            Some(object) => axum::Json(object).into_response(),
            None => refusal(404, "NotFound", "not found"),
        };
    }
    let before = store.objects.get(&(collection.clone(), name.clone())).cloned();
    let mut object = before.unwrap_or_else(|| json!({"metadata": {"name": name}}));
    merge(&mut object, value);
    axum::Json(store.put(&collection, object)).into_response()
}

fn merge(into: &mut Value, patch: Value) {
    match patch {
        Value::Object(fields) if into.is_object() => {
            for (name, value) in fields {
                merge(&mut into[name.as_str()], value);
            }
        }
        Value::Array(items) if items.iter().all(|item| item["type"].is_string()) && into.is_array() => {
            let kept = into.as_array().cloned().unwrap_or_default().into_iter();
            let kept = kept.filter(|one| items.iter().all(|item| item["type"] != one["type"]));
            *into = kept.chain(items.iter().cloned()).collect();
        }
        other => *into = other,
    }
}

async fn answer(State(store): State<Arc<Mutex<Store>>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path().to_owned();
    let query: BTreeMap<String, String> = parts
        .uri
        .query()
        .unwrap_or_default()
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.replace("%3D", "=").replace("%2F", "/")))
        .collect();
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap_or_default();
    let mut store = store.lock().expect("a store");
    store.requests.push(format!("{} {}", parts.method, parts.uri));
    if let Some(code) = store.refuse {
        store.refused.push(std::time::Instant::now());
        let message = "nodes is forbidden: User \"system:serviceaccount:kube-system:bgp\" cannot list resource";
        return refusal(code, "Forbidden", if code == 403 { message } else { "no" });
    }
    if parts.method != Method::GET {
        let value: Value = serde_json::from_slice(&body).unwrap_or_default();
        store.written.push((format!("{} {path}", parts.method), value.clone()));
        return write(&mut store, &parts.method, &path, value);
    }
    let (collection, name) = named(&path);
    if let Some(name) = name {
        let found = store.objects.get(&(collection, name)).cloned();
        return found
            .map_or_else(|| refusal(404, "NotFound", "not found"), |object| axum::Json(object).into_response());
    }
    if query.get("watch").map(String::as_str) == Some("true") {
        watch(&mut store, &collection, &query)
    } else {
        list(&store, &collection, &query)
    }
}

fn selected(query: &BTreeMap<String, String>) -> Option<String> {
    query.get("fieldSelector")?.strip_prefix("metadata.name=").map(ToOwned::to_owned)
}

fn list(store: &Store, collection: &str, query: &BTreeMap<String, String>) -> Response {
    let name = selected(query);
    let matching = store.objects.iter().filter(|((in_collection, object), _)| {
        in_collection == collection && name.as_ref().is_none_or(|name| name == object)
    });
    let number = |key: &str| query.get(key).and_then(|text| text.parse::<usize>().ok());
    let (limit, start) = (number("limit").unwrap_or(usize::MAX), number("continue").unwrap_or(0));
    let all: Vec<&Value> = matching.map(|(_, object)| object).collect();
    let end = all.len().min(start.saturating_add(limit));
    let mut metadata = json!({"resourceVersion": store.version.to_string()});
    if end < all.len() {
        metadata["continue"] = json!(end.to_string());
    }
    let kind = match collection {
        "nodes" => "NodeList",
        "services" => "ServiceList",
        _ => "EndpointSliceList",
    };
    axum::Json(json!({"kind": kind, "apiVersion": "v1", "metadata": metadata, "items": all[start..end]}))
        .into_response()
}

fn watch(store: &mut Store, collection: &str, query: &BTreeMap<String, String>) -> Response {
    let from: u64 = query.get("resourceVersion").and_then(|text| text.parse().ok()).unwrap_or(0);
    let (frames, receiver) = mpsc::unbounded_channel();
    let watcher = Watcher { collection: collection.to_owned(), selected: selected(query), frames };
    if from < store.compacted {
        let message = "too old resource version";
        if store.gone_as_status {
            return refusal(410, "Expired", message);
        }
        let object =
            json!({"kind": "Status", "status": "Failure", "reason": "Expired", "message": message, "code": 410});
        store.send(&watcher, &json!({"type": "ERROR", "object": object}));
    } else {
        for (_, in_collection, event) in store.log.iter().filter(|(version, ..)| *version > from) {
            if watcher.wants(in_collection, event) {
                store.send(&watcher, event);
            }
        }
        store.watchers.push(watcher);
    }
    let frames = tokio_stream::wrappers::UnboundedReceiverStream::new(receiver);
    ([("content-type", "application/json")], Body::from_stream(frames)).into_response()
}
