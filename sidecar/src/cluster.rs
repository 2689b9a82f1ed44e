//! What is known of the Kubernetes cluster: its Nodes and Services, as far as routing cares.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};
use serde::{Deserialize, Serialize};

use crate::kube_router::Annotations;
use crate::problem::{Problem, Reason};

/// The cluster as it was last seen.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cluster {
    /// Nodes by name.
    pub nodes: BTreeMap<String, Node>,
    /// Services by `namespace/name`.
    pub services: BTreeMap<String, Service>,
    /// Parts of the Services' endpoints, by `namespace/name` of the EndpointSlice.
    pub slices: BTreeMap<String, Slice>,
}

impl Cluster {
    /// The names of the nodes with a ready endpoint, by Service.
    #[must_use]
    pub fn endpoint_nodes(&self) -> BTreeMap<&str, BTreeSet<&str>> {
        let mut by_service: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for slice in self.slices.values() {
            by_service.entry(&slice.service).or_default().extend(slice.nodes.iter().map(String::as_str));
        }
        by_service
    }
}

/// A Node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Its pod CIDRs, of both families.
    pub pod_cidrs: Vec<IpNet>,
    /// Its addresses of type InternalIP.
    pub addresses: Vec<IpAddr>,
    /// Whether it is on its way out.
    pub departure: Departure,
    /// What kube-router's annotations say.
    pub annotations: Annotations,
    /// What is wrong with it.
    pub problems: Vec<Problem>,
}

/// Whether a Node is on its way out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Departure {
    /// It stays.
    #[default]
    Staying,
    /// It is cordoned, as `kubectl drain` does: its pods may still run.
    Draining,
    /// It is being deleted, or declared out of service: its pods do not run.
    Leaving,
}

/// Taints of a node whose pods do not run any more.
const OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service";
/// Taints that announce a node's end.
const DRAINING: [&str; 3] =
    ["node.kubernetes.io/unschedulable", "ToBeDeletedByClusterAutoscaler", "karpenter.sh/disrupted"];

impl Node {
    /// Reads a Node. What is wrong with it is said in [`Node::problems`], and the rest of it counts.
    #[must_use]
    pub fn read(node: &core::Node) -> Self {
        let name = node.metadata.name.clone().unwrap_or_default();
        let object = format!("node/{name}");
        let mut problems = Vec::new();
        let mut wrong = |message: String| problems.push(Problem::new(&object, Reason::InvalidValue, message));
        let none = BTreeMap::new();
        let (annotations, unreadable) = Annotations::read(node.metadata.annotations.as_ref().unwrap_or(&none));
        unreadable.into_iter().for_each(&mut wrong);
        let mut pod_cidrs = Vec::new();
        for text in pod_cidrs_of(node, &annotations) {
            match text.parse::<IpNet>() {
                Ok(prefix) if prefix.prefix_len() > 0 => pod_cidrs.push(prefix.trunc()),
                _ => wrong(format!("pod CIDR \"{text}\" is not a prefix such as 10.1.0.0/24")),
            }
        }
        let mut addresses = Vec::new();
        let internal = node.status.iter().flat_map(|status| status.addresses.iter().flatten());
        for address in internal.filter(|address| address.type_ == "InternalIP") {
            match address.address.parse() {
                Ok(address) => addresses.push(address),
                Err(_) => wrong(format!("InternalIP \"{}\" is not an IP address", address.address)),
            }
        }
        pod_cidrs.dedup();
        Self { departure: departure(node), name, pod_cidrs, addresses, annotations, problems }
    }

    /// Its first address of the family of a prefix.
    #[must_use]
    pub fn address_for(&self, prefix: &IpNet) -> Option<IpAddr> {
        self.addresses.iter().copied().find(|address| address.is_ipv4() == prefix.addr().is_ipv4())
    }
}

fn pod_cidrs_of(node: &core::Node, annotations: &Annotations) -> Vec<String> {
    let spec = node.spec.as_ref();
    let several = spec.and_then(|spec| spec.pod_cidrs.clone()).filter(|cidrs| !cidrs.is_empty());
    let single = || spec.and_then(|spec| spec.pod_cidr.clone()).map(|cidr| vec![cidr]);
    several.or_else(single).unwrap_or_else(|| annotations.pod_cidrs.clone())
}

fn departure(node: &core::Node) -> Departure {
    let spec = node.spec.as_ref();
    let mut taints = spec.into_iter().flat_map(|spec| spec.taints.iter().flatten().map(|taint| taint.key.as_str()));
    if node.metadata.deletion_timestamp.is_some() || taints.clone().any(|key| key == OUT_OF_SERVICE) {
        return Departure::Leaving;
    }
    let cordoned = spec.and_then(|spec| spec.unschedulable).unwrap_or_default();
    if cordoned || taints.any(|key| DRAINING.contains(&key)) { Departure::Draining } else { Departure::Staying }
}

/// Which of a Service's addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, clap::ValueEnum)]
pub enum ServiceAddress {
    /// `status.loadBalancer.ingress`
    LoadBalancer,
    /// `spec.externalIPs`
    External,
    /// `spec.clusterIPs`
    Cluster,
}

/// A Service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// Its addresses by kind.
    pub addresses: BTreeSet<(ServiceAddress, IpAddr)>,
    /// `externalTrafficPolicy: Local`: only nodes with a ready endpoint take traffic from outside.
    pub external_local: bool,
    /// `internalTrafficPolicy: Local`.
    pub internal_local: bool,
}

impl Service {
    /// Reads a Service.
    #[must_use]
    pub fn read(service: &core::Service) -> Self {
        let spec = service.spec.clone().unwrap_or_default();
        let parsed = |kind: ServiceAddress, texts: Vec<String>| {
            // "None" marks a headless Service; a load balancer may have a host name instead of an address.
            texts.into_iter().filter_map(move |text| Some((kind, text.parse().ok()?)))
        };
        let ingress = service.status.as_ref().and_then(|status| status.load_balancer.as_ref()?.ingress.clone());
        let balanced = ingress.unwrap_or_default().into_iter().filter_map(|ingress| ingress.ip).collect();
        let addresses = parsed(ServiceAddress::LoadBalancer, balanced)
            .chain(parsed(ServiceAddress::External, spec.external_ips.unwrap_or_default()))
            .chain(parsed(ServiceAddress::Cluster, spec.cluster_ips.unwrap_or_default()));
        let is_local = |policy: Option<String>| policy.as_deref() == Some("Local");
        Self {
            addresses: addresses.collect(),
            external_local: is_local(spec.external_traffic_policy),
            internal_local: is_local(spec.internal_traffic_policy),
        }
    }

    /// Whether only nodes with an endpoint of it take traffic to this kind of address.
    #[must_use]
    pub fn is_local(&self, kind: ServiceAddress) -> bool {
        match kind {
            ServiceAddress::LoadBalancer | ServiceAddress::External => self.external_local,
            ServiceAddress::Cluster => self.internal_local,
        }
    }
}

/// Part of the endpoints of a Service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slice {
    /// The Service as `namespace/name`.
    pub service: String,
    /// Names of the nodes with a ready endpoint in it.
    pub nodes: BTreeSet<String>,
}

impl Slice {
    /// Reads an EndpointSlice. One without a Service has no nodes.
    #[must_use]
    pub fn read(slice: &EndpointSlice) -> Self {
        let label = slice.metadata.labels.as_ref().and_then(|labels| labels.get("kubernetes.io/service-name"));
        let Some(service) = label else { return Self::default() };
        let namespace = slice.metadata.namespace.as_deref().unwrap_or_default();
        // A missing condition means ready.
        let is_ready = |endpoint: &&Endpoint| {
            endpoint.conditions.as_ref().is_none_or(|conditions| conditions.ready.unwrap_or(true))
        };
        let nodes = slice.endpoints.iter().filter(is_ready).filter_map(|endpoint| endpoint.node_name.clone());
        Self { service: format!("{namespace}/{service}"), nodes: nodes.collect() }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn node(value: serde_json::Value) -> Node {
        Node::read(&serde_json::from_value(value).expect("a Node"))
    }

    #[test]
    fn dual_stack_node_is_read() {
        let node = node(json!({
            "metadata": {"name": "a"},
            "spec": {"podCIDR": "10.1.0.0/24", "podCIDRs": ["10.1.0.0/24", "fd00:1::/64"]},
            "status": {"addresses": [
                {"type": "Hostname", "address": "a"},
                {"type": "InternalIP", "address": "192.0.2.1"},
                {"type": "InternalIP", "address": "2001:db8::1"},
            ]},
        }));
        assert_eq!(node.pod_cidrs, ["10.1.0.0/24".parse().expect("v4"), "fd00:1::/64".parse().expect("v6")]);
        assert_eq!(node.address_for(&node.pod_cidrs[1]), Some("2001:db8::1".parse().expect("an address")));
        assert_eq!((node.departure, node.problems), (Departure::Staying, vec![]));
    }

    #[test]
    fn single_pod_cidr_and_kube_routers_annotation_serve_where_there_is_no_list() {
        let single = node(json!({"metadata": {"name": "a"}, "spec": {"podCIDR": "10.1.0.0/24"}}));
        let annotations = json!({"kube-router.io/pod-cidr": "10.1.0.0/24"});
        let annotated = node(json!({"metadata": {"name": "a", "annotations": annotations}}));
        assert_eq!((single.pod_cidrs.len(), annotated.pod_cidrs), (1, single.pod_cidrs));
    }

    #[test]
    fn what_cannot_be_read_is_a_problem_and_the_rest_counts() {
        let node = node(json!({
            "metadata": {"name": "a"},
            "spec": {"podCIDRs": ["10.1.0.0/33", "0.0.0.0/0", "fd00:1::/64"]},
            "status": {"addresses": [{"type": "InternalIP", "address": "a.example"}]},
        }));
        assert_eq!(node.pod_cidrs.len(), 1);
        let said: Vec<String> = node.problems.iter().map(ToString::to_string).collect();
        assert_eq!(
            said,
            [
                "node/a: pod CIDR \"10.1.0.0/33\" is not a prefix such as 10.1.0.0/24",
                "node/a: pod CIDR \"0.0.0.0/0\" is not a prefix such as 10.1.0.0/24",
                "node/a: InternalIP \"a.example\" is not an IP address",
            ]
        );
    }

    #[test]
    fn cordoned_node_drains_and_deleted_or_dead_node_leaves() {
        let taint =
            |key: &str| json!({"metadata": {"name": "a"}, "spec": {"taints": [{"key": key, "effect": "NoExecute"}]}});
        let cases = [
            (json!({"metadata": {"name": "a"}, "spec": {"unschedulable": true}}), Departure::Draining),
            (json!({"metadata": {"name": "a", "deletionTimestamp": "2026-01-01T00:00:00Z"}}), Departure::Leaving),
            (taint("node.kubernetes.io/out-of-service"), Departure::Leaving),
            (taint("node.kubernetes.io/not-ready"), Departure::Staying),
        ];
        for (value, departure) in cases {
            assert_eq!(node(value.clone()).departure, departure, "{value}");
        }
    }

    #[test]
    fn service_addresses_are_read_by_kind() {
        let service: core::Service = serde_json::from_value(json!({
            "metadata": {"name": "web", "namespace": "default"},
            "spec": {"clusterIPs": ["10.96.0.7"], "externalIPs": ["203.0.113.7"], "externalTrafficPolicy": "Local"},
            "status": {"loadBalancer": {"ingress": [{"ip": "198.51.100.7"}, {"hostname": "lb.example"}]}},
        }))
        .expect("a Service");
        let service = Service::read(&service);
        assert_eq!(service.addresses.len(), 3);
        assert!(service.is_local(ServiceAddress::LoadBalancer) && !service.is_local(ServiceAddress::Cluster));
    }

    #[test]
    fn only_ready_endpoints_count() {
        let slice: EndpointSlice = serde_json::from_value(json!({
            "metadata": {"name": "web-1", "namespace": "default", "labels": {"kubernetes.io/service-name": "web"}},
            "addressType": "IPv4",
            "endpoints": [
                {"addresses": ["10.1.0.2"], "nodeName": "a"},
                {"addresses": ["10.2.0.2"], "nodeName": "b", "conditions": {"ready": false}},
            ],
        }))
        .expect("an EndpointSlice");
        let expected = Slice { service: "default/web".into(), nodes: BTreeSet::from(["a".to_owned()]) };
        assert_eq!(Slice::read(&slice), expected);
    }
}
