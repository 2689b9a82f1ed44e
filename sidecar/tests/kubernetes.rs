//! What the sidecar knows of a cluster, against an API server that does what API servers do.

mod apiserver;

use std::sync::Arc;
use std::time::Duration;

use apiserver::ApiServer;
use bgp_sidecar::kubernetes::{Known, NodeSelection, Reporter, Standing, connect, observe};
use bgp_sidecar::problem::{Problem, Reason};
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

const PATIENCE: Duration = Duration::from_secs(30);

/// A sidecar's view of a cluster.
struct View {
    known: watch::Receiver<Known>,
    task: JoinHandle<()>,
}

impl Drop for View {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn client(url: &str, authority: Option<&str>) -> kube::Client {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("kubeconfig");
    let mut cluster = json!({"server": url});
    if let Some(authority) = authority {
        let path = directory.path().join("ca.pem");
        std::fs::write(&path, authority).expect("a file");
        cluster["certificate-authority"] = json!(path);
    }
    let kubeconfig = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "test",
        "clusters": [{"name": "test", "cluster": cluster}],
        "users": [{"name": "test", "user": {"token": "secret"}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
    });
    std::fs::write(&file, kubeconfig.to_string()).expect("a file");
    connect(Some(&file)).await.expect("a client")
}

impl View {
    async fn open(server: &ApiServer, nodes: NodeSelection, with_services: bool) -> Self {
        Self::with(client(&format!("http://{}", server.address), None).await, nodes, with_services)
    }

    fn with(client: kube::Client, nodes: NodeSelection, with_services: bool) -> Self {
        let (sender, known) = watch::channel(Known::default());
        let task = tokio::spawn(observe(client, nodes, with_services, Arc::new(sender)));
        Self { known, task }
    }

    async fn wait(&mut self, what: &str, holds: impl FnMut(&Known) -> bool) -> Known {
        let result = tokio::time::timeout(PATIENCE, self.known.wait_for(holds)).await;
        let known = result.ok().map(|known| known.expect("an observer").clone());
        known.unwrap_or_else(|| panic!("not in time: {what}; known is {:?}", self.known.borrow()))
    }

    async fn nodes(&mut self, names: &[&str]) -> Known {
        self.wait(&format!("nodes {names:?}"), |known| known.has_nodes && known.cluster.nodes.keys().eq(names)).await
    }
}

async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !holds() {
        assert!(tokio::time::Instant::now() < deadline, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn node(name: &str, pod_cidr: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}, "spec": {"podCIDRs": [pod_cidr]}})
}

#[tokio::test]
async fn nodes_are_listed_in_pages_and_then_followed() {
    let server = ApiServer::start();
    for number in 0..1200 {
        server.put("nodes", node(&format!("n{number:04}"), &format!("10.{}.{}.0/24", number / 256, number % 256)));
    }
    let mut view = View::open(&server, NodeSelection::All, false).await;
    view.wait("1200 nodes", |known| known.cluster.nodes.len() == 1200).await;
    assert_eq!(server.requests_with("limit=500"), 3);
    server.delete("nodes", "n0007");
    server.put("nodes", node("n0008", "10.99.0.0/24"));
    let moved = "10.99.0.0/24".parse().expect("a prefix");
    let is_followed =
        |known: &Known| known.cluster.nodes.len() == 1199 && known.cluster.nodes["n0008"].pod_cidrs == [moved];
    view.wait("a deletion and a change", is_followed).await;
}

#[tokio::test]
async fn node_mode_asks_for_its_own_node_only() {
    let server = ApiServer::start();
    server.put("nodes", node("a", "10.1.0.0/24"));
    server.put("nodes", node("b", "10.2.0.0/24"));
    let mut view = View::open(&server, NodeSelection::One("a".into()), false).await;
    view.nodes(&["a"]).await;
    server.put("nodes", node("b", "10.3.0.0/24"));
    server.delete("nodes", "a");
    view.nodes(&[]).await;
}

#[tokio::test]
async fn watch_that_ends_goes_on_where_the_bookmark_was() {
    let server = ApiServer::start();
    server.put("nodes", node("a", "10.1.0.0/24"));
    let mut view = View::open(&server, NodeSelection::All, false).await;
    view.nodes(&["a"]).await;
    eventually("a watch", || server.watches() == 1).await;
    // Changes of other objects move the version; the bookmark tells it, and older ones may be forgotten then.
    for _ in 0..5 {
        server.put("leases", json!({"metadata": {"name": "x"}}));
    }
    server.bookmark();
    server.compact();
    tokio::time::sleep(Duration::from_millis(100)).await;
    server.end_watches();
    server.put("nodes", node("b", "10.2.0.0/24"));
    view.nodes(&["a", "b"]).await;
    assert_eq!(server.requests_with("limit=500"), 1, "nothing is listed again");
    assert_eq!(server.requests_with("resourceVersion=6"), 1);
}

#[tokio::test]
async fn forgotten_version_leads_to_a_new_list_however_it_is_said() {
    for as_status in [false, true] {
        let server = ApiServer::start();
        server.store().gone_as_status = as_status;
        server.put("nodes", node("a", "10.1.0.0/24"));
        server.put("nodes", node("b", "10.2.0.0/24"));
        let mut view = View::open(&server, NodeSelection::All, false).await;
        view.nodes(&["a", "b"]).await;
        eventually("a watch", || server.watches() == 1).await;
        {
            // While nobody watches, one goes and one comes, and the server forgets how.
            server.store().refuse = Some(500);
            server.end_watches();
            server.delete("nodes", "a");
            server.put("nodes", node("c", "10.3.0.0/24"));
            server.compact();
            server.store().refuse = None;
        }
        view.nodes(&["b", "c"]).await;
        eventually("a watch again", || server.watches() == 1).await;
        server.put("nodes", node("d", "10.4.0.0/24"));
        view.nodes(&["b", "c", "d"]).await;
    }
}

#[tokio::test]
async fn slow_and_broken_streams_lose_nothing() {
    let server = ApiServer::start();
    server.store().slow = true;
    server.put("nodes", node("a", "10.1.0.0/24"));
    let mut view = View::open(&server, NodeSelection::All, false).await;
    view.nodes(&["a"]).await;
    for (round, name) in ["b", "c", "d"].into_iter().enumerate() {
        eventually("a watch", || server.watches() == 1).await;
        if round > 0 {
            server.break_watches();
        }
        server.put("nodes", node(name, "10.2.0.0/24"));
        view.wait(name, |known| known.cluster.nodes.contains_key(name)).await;
    }
    assert_eq!(view.known.borrow().cluster.nodes.len(), 4);
}

#[tokio::test]
async fn what_was_known_stays_while_the_server_is_away_and_is_corrected_after() {
    let mut server = ApiServer::start();
    server.put("nodes", node("a", "10.1.0.0/24"));
    server.put("nodes", node("b", "10.2.0.0/24"));
    let mut view = View::open(&server, NodeSelection::All, false).await;
    view.nodes(&["a", "b"]).await;
    server.stop();
    let is_refused = |known: &Known| known.trouble.get("nodes").is_some_and(|message| message.contains("refused"));
    let known = view.wait("a refused connection", is_refused).await;
    assert_eq!(known.cluster.nodes.len(), 2);
    server.delete("nodes", "a");
    server.compact();
    server.resume();
    view.nodes(&["b"]).await;
    view.wait("no trouble", |known| known.trouble.is_empty()).await;
}

#[tokio::test]
async fn refusals_say_what_is_missing_and_end_when_it_is_given() {
    let server = ApiServer::start();
    server.put("nodes", node("a", "10.1.0.0/24"));
    server.store().refuse = Some(403);
    let mut view = View::open(&server, NodeSelection::All, false).await;
    let known = view.wait("trouble", |known| !known.trouble.is_empty()).await;
    let message = &known.trouble["nodes"];
    assert!(
        message.contains("(403): nodes is forbidden") && message.ends_with("needs list and watch of nodes"),
        "{message}"
    );
    assert!(!known.has_nodes);
    server.store().refuse = Some(401);
    view.wait("401", |known| known.trouble["nodes"].contains("is the token valid?")).await;
    server.store().refuse = None;
    let known = view.nodes(&["a"]).await;
    assert!(known.trouble.is_empty());
}

#[tokio::test]
async fn certificate_of_somebody_else_is_said() {
    let certificate = |name: &str| rcgen::generate_simple_self_signed([name.to_owned()]).expect("a certificate");
    let (theirs, ours) = (certificate("127.0.0.1"), certificate("kubernetes"));
    let key = tokio_rustls::rustls::pki_types::PrivateKeyDer::try_from(theirs.signing_key.serialize_der());
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let config = tokio_rustls::rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![theirs.cert.der().clone()], key.expect("a key"))
        .expect("a configuration");
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        while let Ok((stream, _)) = listener.accept().await {
            let _ = acceptor.accept(stream).await;
        }
    });
    let client = client(&format!("https://{address}"), Some(&ours.cert.pem())).await;
    let mut view = View::with(client, NodeSelection::All, false);
    let known = view.wait("trouble", |known| !known.trouble.is_empty()).await;
    let message = &known.trouble["nodes"];
    assert!(message.contains("certificate"), "{message}");
}

#[tokio::test]
async fn services_and_their_endpoints_are_followed_when_asked_for() {
    let server = ApiServer::start();
    server.put("nodes", node("a", "10.1.0.0/24"));
    server.put(
        "services",
        json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": "web", "namespace": "default"}, "spec": {"externalIPs": ["203.0.113.7"]},
        }),
    );
    server.put(
        "endpointslices",
        json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"name": "web-1", "namespace": "default", "labels": {"kubernetes.io/service-name": "web"}},
            "endpoints": [{"addresses": ["10.1.0.2"], "nodeName": "a"}],
        }),
    );
    let mut view = View::open(&server, NodeSelection::All, true).await;
    let complete =
        |known: &Known| known.cluster.services.len() == 1 && known.cluster.endpoint_nodes().contains_key("default/web");
    view.wait("a service with an endpoint", complete).await;
    let mut plain = View::open(&server, NodeSelection::All, false).await;
    plain.nodes(&["a"]).await;
    assert_eq!(server.requests_with("/services?&limit"), 1);
}

#[tokio::test]
async fn problems_become_events_and_the_standing_a_condition_of_the_node() {
    let server = ApiServer::start();
    let client = client(&format!("http://{}", server.address), None).await;
    let (problems, received) = mpsc::channel(8);
    let (standing, said) = watch::channel(Standing::default());
    tokio::spawn(Reporter::new(client, Some("a".into())).run(received, said));
    let problem = Problem::new("route/10.1.0.0/16", Reason::RouteRefused, "covers this node's pod CIDR");
    problems.send(problem).await.expect("a reporter");
    standing.send(Standing { ready: true, message: "all is well".into() }).expect("a reporter");
    eventually("an Event and a condition", || server.store().written.len() == 2).await;
    let written = std::mem::take(&mut server.store().written);
    let find = |text: &str| written.iter().find(|(line, _)| line.contains(text)).map(|(_, value)| value);
    let event = find("/events").unwrap_or_else(|| panic!("no Event in {written:?}"));
    assert_eq!(event["reason"], "RouteRefused");
    assert_eq!(event["note"], "route/10.1.0.0/16: covers this node's pod CIDR");
    assert_eq!(event["regarding"]["name"], "a");
    let condition = &find("PATCH /api/v1/nodes/a/status").expect("a condition")["status"]["conditions"][0];
    assert_eq!((&condition["type"], &condition["status"]), (&json!("BgpReady"), &json!("True")));
}
