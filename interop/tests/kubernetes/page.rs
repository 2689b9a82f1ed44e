//! docs/kubernetes.md, read as its reader would: what it says of each CNI becomes what the CNI's controller makes of it.

use std::net::IpAddr;

use serde_json::Value;

const PAGE: &str = include_str!("../../../docs/kubernetes.md");
const CALICO: &str = include_str!("../../peers/calico-bird.conf");
const GOBGP: &str = include_str!("../../peers/kube-router-gobgp.toml");

/// What a speaker has as a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Peer {
    pub(crate) address: IpAddr,
    pub(crate) asn: u64,
}

/// The boxes of a language.
fn boxes(language: &str) -> impl Iterator<Item = &'static str> {
    let fence = format!("```{language}\n");
    let parts: Vec<&'static str> = PAGE.split(fence.as_str()).skip(1).collect();
    parts.into_iter().map(|part| part.split_once("```").expect("a box has an end").0)
}

/// The resources of a kind on the page.
fn resources(kind: &str) -> Vec<Value> {
    let documents = boxes("yaml").flat_map(|text| text.split("\n---\n"));
    let documents = documents.map(|text| serde_saphyr::from_str::<Value>(text).expect("YAML"));
    let found: Vec<Value> = documents.filter(|one| one["kind"] == kind).collect();
    assert!(!found.is_empty(), "no {kind} on the page");
    found
}

/// The words of the only command line with these words.
fn command(with: &[&str]) -> Vec<&'static str> {
    let lines = PAGE.lines().filter_map(|line| line.strip_prefix("    ")).map(str::split_whitespace);
    let mut found: Vec<Vec<&str>> =
        lines.map(Iterator::collect).filter(|words: &Vec<&str>| with.iter().all(|word| words.contains(word))).collect();
    assert_eq!(found.len(), 1, "command lines with {with:?}");
    found.remove(0)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text"))
}

fn peer(address: &str, asn: u64) -> Peer {
    Peer { address: address.parse().expect("an address"), asn }
}

/// The options of a sidecar whose command line has these words, but for what is the lab's own.
pub(crate) fn sidecar_options(with: &[&str]) -> Vec<&'static str> {
    let words = command(with);
    assert_eq!(words[0], "bgp-sidecar");
    let names = ["--server=", "--node-name=", "--kubeconfig=", "--listen=", "--owner=", "--guard-cluster="];
    let own = |one: &&&str| names.iter().any(|name| one.starts_with(name));
    words[1..].iter().filter(|one| !own(one)).copied().collect()
}

/// The configuration of bgpd on a node that comes from kube-router.
pub(crate) fn bgpd_of_kube_router_node() -> &'static str {
    boxes("toml").find(|text| text.contains("\"kube-router\"")).expect("a configuration")
}

/// The pod CIDRs of disabled pools, which Calico does not masquerade.
pub(crate) fn calico_pools() -> Vec<String> {
    let pools = resources("IPPool").into_iter().filter(|pool| pool["spec"]["disabled"] == true);
    pools.map(|pool| text(&pool["spec"]["cidr"]).to_owned()).collect()
}

/// BIRD's configuration as Calico's confd writes it of the resources on the page.
pub(crate) fn calico_bird() -> String {
    let configuration = &resources("BGPConfiguration")[0]["spec"];
    assert_eq!(configuration["nodeToNodeMeshEnabled"], false);
    let mut config = CALICO.replace("ASN", &configuration["asNumber"].to_string());
    for resource in resources("BGPPeer") {
        let peer = peer(text(&resource["spec"]["peerIP"]), resource["spec"]["asNumber"].as_u64().expect("a number"));
        let name = peer.address.to_string().replace(['.', ':'], "_");
        let (template, source) = if peer.address.is_ipv4() { ("peer4", "ADDRESS") } else { ("peer6", "ADDRESS6") };
        let Peer { address, asn } = peer;
        config += &format!(
            "protocol bgp Global_{name} from {template} {{ neighbor {address} as {asn}; source address {source}; }}\n"
        );
    }
    config
}

/// GoBGP's configuration as kube-router makes it of its options on the page.
pub(crate) fn kube_router_gobgp() -> String {
    let words = command(&["--nodes-full-mesh=false"]);
    let option = |name: &str| {
        let found = words.iter().find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
        found.unwrap_or_else(|| panic!("no {name} on the page"))
    };
    let asns = option("--peer-router-asns").split(',').map(|asn| asn.parse().expect("a number"));
    let peers: Vec<Peer> = option("--peer-router-ips").split(',').zip(asns).map(|(ip, asn)| peer(ip, asn)).collect();
    gobgp(option("--cluster-asn"), &peers)
}

/// GoBGP's configuration as kube-router makes it of a Node's annotations.
pub(crate) fn annotated_gobgp(annotations: &Value) -> String {
    let list = |name: &str| text(&annotations[format!("kube-router.io/{name}")]).split(',');
    let peers: Vec<Peer> =
        list("peer.ips").zip(list("peer.asns")).map(|(ip, asn)| peer(ip, asn.parse().expect("a number"))).collect();
    gobgp(text(&annotations["kube-router.io/node.asn"]), &peers)
}

/// GoBGP's configuration as Cilium makes it of the resources on the page.
pub(crate) fn cilium_gobgp() -> String {
    let instance = resources("CiliumBGPClusterConfig")[0]["spec"]["bgpInstances"][0].clone();
    let configs = resources("CiliumBGPPeerConfig");
    let advertised = &resources("CiliumBGPAdvertisement")[0];
    assert_eq!(advertised["spec"]["advertisements"][0]["advertisementType"], "PodCIDR");
    let mut peers = Vec::new();
    for one in instance["peers"].as_array().expect("peers") {
        let peer = peer(text(&one["peerAddress"]), one["peerASN"].as_u64().expect("a number"));
        let config = configs.iter().find(|config| config["metadata"]["name"] == one["peerConfigRef"]["name"]);
        let spec = &config.expect("the configuration that a peer names")["spec"];
        let family = &spec["families"][0];
        let expected = if peer.address.is_ipv4() { "ipv4" } else { "ipv6" };
        assert_eq!((&family["afi"], &family["safi"]), (&expected.into(), &"unicast".into()));
        assert_eq!(family["advertisements"]["matchLabels"], advertised["metadata"]["labels"]);
        assert_eq!(spec["timers"]["connectRetryTimeSeconds"], 5, "as in the configuration of GoBGP");
        peers.push(peer);
    }
    gobgp(&instance["localASN"].to_string(), &peers)
}

fn gobgp(asn: &str, peers: &[Peer]) -> String {
    let (global, neighbor) = GOBGP.split_at(GOBGP.find("[[neighbors]]").expect("a neighbor"));
    let one = |peer: &Peer| {
        let family = if peer.address.is_ipv4() { "ipv4" } else { "ipv6" };
        let neighbor = neighbor.replace("PEER-ADDRESS", &peer.address.to_string());
        neighbor.replace("PEER-ASN", &peer.asn.to_string()).replace("PEER-FAMILY", family)
    };
    global.replace("= ASN", &format!("= {asn}")) + &peers.iter().map(one).collect::<String>()
}
