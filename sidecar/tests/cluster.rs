//! What the sidecar does with an API server, through nothing but that server's API: the one that `KUBECONFIG` names,
//! whose administrator one must be, or else a stand-in.
//!
//! Everything that is made has a name of its own and is deleted again.

#[expect(dead_code, reason = "other tests use the rest")]
mod apiserver;

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use apiserver::ApiServer;
use bgp_sidecar::cluster::{Departure, ServiceAddress};
use bgp_sidecar::kubernetes::{Known, NodeSelection, Reporter, Standing, connect, observe};
use bgp_sidecar::problem::{Problem, Reason};
use k8s_openapi::api::core::v1::{Node, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config, Resource};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};

const RULES: &str = include_str!("../../config/kubernetes/base/rbac.yaml");
const PATIENCE: Duration = Duration::from_secs(30);

struct Cluster {
    client: Client,
    kubeconfig: PathBuf,
    _directory: Option<tempfile::TempDir>,
    /// Ends with the test; it enforces no rules.
    stand_in: Option<ApiServer>,
}

impl Cluster {
    async fn open() -> Self {
        if let Some(file) = std::env::var_os("KUBECONFIG") {
            let kubeconfig = PathBuf::from(file);
            let client = connect(Some(&kubeconfig)).await.expect("a client from KUBECONFIG");
            return Self { client, kubeconfig, _directory: None, stand_in: None };
        }
        let server = ApiServer::start();
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("kubeconfig");
        let kubeconfig = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "clusters": [{"name": "test", "cluster": {"server": format!("http://{}", server.address)}}],
            "users": [{"name": "test", "user": {"token": "secret"}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        });
        std::fs::write(&file, kubeconfig.to_string()).expect("a file");
        let client = connect(Some(&file)).await.expect("a client");
        Self { client, kubeconfig: file, _directory: Some(directory), stand_in: Some(server) }
    }

    /// A client that may do what config/kubernetes/base lets the sidecar do, and nothing else.
    async fn as_sidecar(&self, name: &str) -> Client {
        let mut role: ClusterRole =
            serde_saphyr::from_str(RULES.split("\n---\n").nth(1).expect("a role")).expect("a role");
        role.metadata.name = Some(name.to_owned());
        let create = PostParams::default();
        Api::all(self.client.clone()).create(&create, &role).await.expect("a role");
        let account = format!("system:serviceaccount:bgpd:{name}");
        let binding = json!({
            "metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": account}],
        });
        self.bindings().create(&create, &serde_json::from_value(binding).expect("a binding")).await.expect("a binding");
        let kubeconfig = Kubeconfig::read_from(&self.kubeconfig).expect("a kubeconfig");
        let mut config =
            Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.expect("a config");
        config.auth_info.impersonate = Some(account);
        Client::try_from(config).expect("a client")
    }

    fn bindings(&self) -> Api<ClusterRoleBinding> {
        Api::all(self.client.clone())
    }

    fn roles(&self) -> Api<ClusterRole> {
        Api::all(self.client.clone())
    }

    fn nodes(&self) -> Api<Node> {
        Api::all(self.client.clone())
    }

    fn observe(&self, nodes: NodeSelection, with_services: bool) -> watch::Receiver<Known> {
        observed(self.client.clone(), nodes, with_services)
    }
}

fn observed(client: Client, nodes: NodeSelection, with_services: bool) -> watch::Receiver<Known> {
    let (sender, known) = watch::channel(Known::default());
    tokio::spawn(observe(client, nodes, with_services, Arc::new(sender)));
    known
}

/// A name that nobody else has.
fn unique(text: &str) -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a clock");
    format!("bgp-sidecar-test-{text}-{}", now.as_nanos())
}

async fn create<K>(api: &Api<K>, object: Value)
where
    K: Resource<DynamicType = ()> + DeserializeOwned + serde::Serialize + Clone + std::fmt::Debug,
{
    let object = serde_json::from_value(object).expect("an object");
    api.create(&PostParams::default(), &object).await.expect("created");
}

async fn wait(known: &mut watch::Receiver<Known>, what: &str, holds: impl FnMut(&Known) -> bool) {
    let in_time = tokio::time::timeout(PATIENCE, known.wait_for(holds)).await.is_ok();
    assert!(in_time, "not in time: {what}; known is {:?}", known.borrow());
}

async fn eventually<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !holds().await {
        assert!(tokio::time::Instant::now() < deadline, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn node(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Node", "metadata": {"name": name},
        "spec": {"podCIDR": "10.251.7.0/24", "podCIDRs": ["10.251.7.0/24"]},
        "status": {"addresses": [{"type": "InternalIP", "address": "192.0.2.7"}]},
    })
}

#[tokio::test]
async fn node_is_followed_from_its_creation_over_its_drain_to_its_deletion() {
    let cluster = Cluster::open().await;
    let (name, other) = (unique("a"), unique("b"));
    let mut known = cluster.observe(NodeSelection::One(name.clone()), false);
    wait(&mut known, "the list", |known| known.has_nodes).await;
    assert!(known.borrow().cluster.nodes.is_empty());
    create(&cluster.nodes(), node(&other)).await;
    create(&cluster.nodes(), node(&name)).await;
    let pods = "10.251.7.0/24".parse().expect("a prefix");
    wait(&mut known, "the node", |known| {
        known.cluster.nodes.get(&name).is_some_and(|node| node.pod_cidrs == [pods] && node.addresses.len() == 1)
    })
    .await;
    let patch = Patch::Merge(json!({"spec": {"unschedulable": true}}));
    cluster.nodes().patch(&name, &PatchParams::default(), &patch).await.expect("cordoned");
    wait(&mut known, "the drain", |known| {
        known.cluster.nodes.get(&name).is_some_and(|node| node.departure == Departure::Draining)
    })
    .await;
    cluster.nodes().delete(&name, &DeleteParams::default()).await.expect("deleted");
    wait(&mut known, "the deletion", |known| known.cluster.nodes.is_empty()).await;
    cluster.nodes().delete(&other, &DeleteParams::default()).await.expect("deleted");
}

#[tokio::test]
async fn service_and_its_endpoints_are_followed() {
    let cluster = Cluster::open().await;
    let name = unique("web");
    let services: Api<Service> = Api::namespaced(cluster.client.clone(), "default");
    let slices: Api<EndpointSlice> = Api::namespaced(cluster.client.clone(), "default");
    let mut known = cluster.observe(NodeSelection::All, true);
    wait(&mut known, "the lists", |known| known.is_complete(true)).await;
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "default"},
        "spec": {"ports": [{"port": 80}], "externalIPs": ["203.0.113.7"]},
    });
    create(&services, service).await;
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": name, "namespace": "default", "labels": {"kubernetes.io/service-name": name}},
        "endpoints": [{"addresses": ["10.251.7.2"], "nodeName": "somewhere"}],
    });
    create(&slices, slice).await;
    let key = format!("default/{name}");
    let external = (ServiceAddress::External, "203.0.113.7".parse().expect("an address"));
    wait(&mut known, "the service and its endpoint", |known| {
        let service = known.cluster.services.get(&key);
        service.is_some_and(|service| service.addresses.contains(&external))
            && known.cluster.endpoint_nodes().get(key.as_str()).is_some_and(|nodes| nodes.contains("somewhere"))
    })
    .await;
    slices.delete(&name, &DeleteParams::default()).await.expect("deleted");
    services.delete(&name, &DeleteParams::default()).await.expect("deleted");
    wait(&mut known, "the deletion", |known| !known.cluster.services.contains_key(&key)).await;
}

#[tokio::test]
async fn problem_becomes_an_event_and_the_standing_a_condition() {
    let cluster = Cluster::open().await;
    let name = unique("reporter");
    create(&cluster.nodes(), node(&name)).await;
    says(&cluster, cluster.client.clone(), &name).await;
    cluster.nodes().delete(&name, &DeleteParams::default()).await.expect("deleted");
}

/// An Event and a condition of a Node.
async fn says(cluster: &Cluster, client: Client, name: &str) {
    let (problems, received) = mpsc::channel(8);
    let (standing, said) = watch::channel(Standing::default());
    tokio::spawn(Reporter::new(client, Some(name.to_owned())).run(received, said));
    let problem = Problem::new("route/10.0.0.0/8", Reason::RouteRefused, "covers this node's pod CIDR");
    problems.send(problem).await.expect("a reporter");
    standing.send(Standing { ready: true, message: "2 routes announced".into() }).expect("a reporter");
    let events: Api<Event> = Api::all(cluster.client.clone());
    eventually("the Event", || async {
        let all = events.list(&ListParams::default()).await.expect("a list").items;
        all.iter().any(|event| {
            let of_node = event.regarding.as_ref().and_then(|object| object.name.as_deref()) == Some(name);
            of_node && event.reason.as_deref() == Some("RouteRefused")
        })
    })
    .await;
    eventually("the condition", || async {
        let node = cluster.nodes().get(name).await.expect("the node");
        let conditions = node.status.and_then(|status| status.conditions).unwrap_or_default();
        conditions.iter().any(|one| one.type_ == "BgpReady" && one.status == "True")
    })
    .await;
}

#[tokio::test]
async fn rules_of_the_manifests_are_enough_for_a_node() {
    let cluster = Cluster::open().await;
    let name = unique("rules");
    let client = cluster.as_sidecar(&name).await;
    let mut known = observed(client.clone(), NodeSelection::One(name.clone()), false);
    wait(&mut known, "the list", |known| known.has_nodes).await;
    create(&cluster.nodes(), node(&name)).await;
    wait(&mut known, "the node", |known| known.cluster.nodes.contains_key(&name)).await;
    says(&cluster, client.clone(), &name).await;
    if cluster.stand_in.is_none() {
        let nodes: Api<Node> = Api::all(client);
        let refused = nodes.delete(&name, &DeleteParams::default()).await;
        assert!(
            matches!(refused, Err(kube::Error::Api(status)) if status.code == 403),
            "more is allowed than is needed"
        );
    }
    cluster.nodes().delete(&name, &DeleteParams::default()).await.expect("deleted");
    cluster.bindings().delete(&name, &DeleteParams::default()).await.expect("deleted");
    cluster.roles().delete(&name, &DeleteParams::default()).await.expect("deleted");
}
