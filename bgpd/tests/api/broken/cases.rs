//! The set-ups, one after the other: what is wrong, how to make it, what bgpd says.

use std::net::Ipv4Addr;

use bgp_wire::Notification;
use bgp_wire::attribute::{AsPath, Attribute, Community, Origin};
use bgp_wire::capability::Capability;
use bgp_wire::notification::OpenSubcode;

use super::{Peer, Route};

/// One set-up; without a cause it is only there for others.
pub(super) struct Case {
    /// The neighbor is 127.0.0.`host`.
    pub(super) host: u8,
    /// AS number in the peer's OPEN.
    pub(super) says_asn: u16,
    /// What is wrong, for the page.
    pub(super) what: &'static str,
    /// Settings of the neighbor; empty if another set-up has it.
    pub(super) config: &'static str,
    pub(super) peer: Peer,
    /// The prefix that is asked about.
    pub(super) prefix: &'static str,
    pub(super) cause: &'static str,
}

const fn session(
    host: u8,
    says_asn: u16,
    what: &'static str,
    config: &'static str,
    peer: Peer,
    cause: &'static str,
) -> Case {
    Case { host, says_asn, what, config, peer, prefix: "", cause }
}

pub(super) const INTRODUCTION: &str = "# Troubleshooting

Whatever is wrong with a session or a route, one line says it. Each set-up below is run by a test on a real bgpd, and the
line is what it says there (`bgpd/tests/api/broken.rs`).
";

pub(super) const LIMITS: &str = "
What bgpd cannot know: whether a next hop can be reached. It does not forward packets and has no table of routes to next
hops, so a path with a next hop that nobody reaches is `best` all the same. Where a sidecar installs the routes, `explain`
has it under *In the kernel*: `bgp-sidecar  not installed: next hop 203.0.113.7 is reachable through the default route only,
and --resolve-via-default is not given`. Elsewhere `bgpctl show routes` has the next hop, and `ip route get NEXT-HOP` on the
router that forwards says the rest. What an unanswered connection is about, a wrong key, a
wrong TTL or a host that is down, looks the same from here: kernels drop such packets without a word. `nstat -a` on both
hosts has `TcpExtTCPMD5Failure`, `TcpExtTCPMD5NotFound` and `TcpExtTCPMinTTLDrop`.
";

pub(super) const GLOBAL: &str = r#"[global]
asn = 65000
router-id = "192.0.2.1"
listen = ["127.0.0.1:PORT"]
[[prefix-set]]
name = "bogons"
prefixes = ["10.62.0.0/16 le 32"]
[[policy]]
name = "from-transit"
[[policy.statement]]
name = "no-bogons"
match.prefix-sets = ["bogons"]
then = "reject"
[[policy]]
name = "to-peers"
default = "accept"
[[policy.statement]]
name = "ours-only"
match.route-type = ["internal"]
then = "reject"
[[cluster]]
name = "east"
pod-cidrs = ["10.40.0.0/16"]
nodes = ["127.0.0.70/32"]
[[originate]]
prefix = "10.1.0.0/24"
[[originate]]
prefix = "10.2.0.0/24"
communities = ["no-export"]
[[originate]]
prefix = "10.3.0.0/24"
communities = ["no-advertise"]
[[originate]]
prefix = "10.4.0.0/24"
next-hop = "2001:db8::1"
[[originate]]
prefix = "2001:db8:1::/48"
"#;

const IBGP: &str = "remote-asn = 65000\npassive = true";
const CLIENT: &str = "remote-asn = 65000\npassive = true\nroute-reflector-client = true";
const EBGP: &str =
    "remote-asn = 65001\npassive = true\nimport-policy = [\"accept-all\"]\nexport-policy = [\"accept-all\"]";
const NO_POLICY: &str = "remote-asn = 65001\npassive = true";

fn nothing() -> Vec<Capability> {
    Vec::new()
}

fn no_routes() -> Vec<Route> {
    Vec::new()
}

fn path(asns: &[u32]) -> Vec<Attribute> {
    vec![Attribute::Origin(Origin::Igp), Attribute::AsPath(AsPath::sequence(asns))]
}

fn internal(more: Vec<Attribute>) -> Vec<Attribute> {
    [path(&[]), vec![Attribute::LocalPref(100)], more].concat()
}

fn route(prefix: &'static str, attributes: Vec<Attribute>) -> Vec<Route> {
    vec![Route { prefix, attributes, next_hop: None }]
}

fn via(next_hop: [u8; 4], routes: Vec<Route>) -> Vec<Route> {
    routes.into_iter().map(|route| Route { next_hop: Some(Ipv4Addr::from(next_hop)), ..route }).collect()
}

pub(super) const SESSIONS: [Case; 19] = [
    session(
        11,
        65099,
        "the peer has another AS number than is configured here",
        "remote-asn = 65011\npassive = true",
        Peer::Opens(|_| {}),
        "sent NOTIFICATION: OPEN Message Error / Bad Peer AS: peer says AS 65099, configured is AS 65011",
    ),
    session(
        12,
        65000,
        "another AS number is configured at the peer for this side",
        IBGP,
        Peer::Sends(|| {
            let mut bytes = Vec::new();
            Notification::open(OpenSubcode::BadPeerAs, &[]).encode(&mut bytes);
            bytes
        }),
        "received NOTIFICATION: OPEN Message Error / Bad Peer AS",
    ),
    session(
        13,
        65000,
        "the peer has the same router ID",
        IBGP,
        Peer::Opens(|open| open.router_id = Ipv4Addr::new(192, 0, 2, 1)),
        "sent NOTIFICATION: OPEN Message Error / Bad BGP Identifier: peer has our own router ID 192.0.2.1",
    ),
    session(
        14,
        65000,
        "the two sides have no address family in common",
        "remote-asn = 65000\npassive = true\nfamilies = [\"ipv6-unicast\"]",
        Peer::Opens(|_| {}),
        "sent NOTIFICATION: OPEN Message Error / Unsupported Capability: no address family in common: we offer \
         ipv6-unicast, peer offers ipv4-unicast",
    ),
    session(
        15,
        65000,
        "the peer lacks one of the address families",
        "remote-asn = 65000\npassive = true\nfamilies = [\"ipv4-unicast\", \"ipv6-unicast\"]",
        Peer::Opens(|_| {}),
        "ipv6-unicast is not negotiated: the peer does not offer it",
    ),
    session(
        16,
        65000,
        "the peer has another TCP-MD5 password, or none",
        "remote-asn = 65000\nconnect-retry = 1\nmd5-password = \"one\"",
        Peer::Listens,
        "no answer to the connection attempt: the peer has no or another TCP-MD5 key, or it is down",
    ),
    session(
        17,
        65000,
        "`ttl-security` here only, or a router between the two",
        "remote-asn = 65000\nconnect-retry = 1\nttl-security = true",
        Peer::Listens,
        "no answer to the connection attempt: the peer does not send with TTL 255 or is not on this link \
         (ttl-security), or it is down",
    ),
    session(
        18,
        65000,
        "the neighbor is disabled",
        "remote-asn = 65000\nshutdown = \"maintenance until 6\"",
        Peer::Absent,
        "administratively down: \"maintenance until 6\"",
    ),
    session(
        19,
        65000,
        "both sides are passive",
        IBGP,
        Peer::Absent,
        "waits for the peer to connect (passive), and it never has: one of the two sides must connect",
    ),
    session(
        20,
        65000,
        "the peer falls silent",
        IBGP,
        Peer::Opens(|open| open.hold_seconds = 3),
        "hold timer expired: nothing heard for 3 s",
    ),
    session(
        21,
        65000,
        "nothing listens at the peer",
        "remote-asn = 65000\nconnect-retry = 1",
        Peer::Absent,
        "connection refused: nothing listens there, or a firewall refuses",
    ),
    session(
        22,
        65022,
        "the roles of the two sides are no pair (RFC 9234)",
        "remote-asn = 65022\npassive = true\nrole = \"provider\"\nimport-policy = [\"accept-all\"]\n\
         export-policy = [\"accept-all\"]",
        Peer::Opens(|open| open.capabilities.push(Capability::Role(4))),
        "sent NOTIFICATION: OPEN Message Error / Role Mismatch: peer says role peer, but we are provider: expected \
         customer",
    ),
    session(
        23,
        65000,
        "the peer announces more prefixes than it may",
        "remote-asn = 65000\npassive = true\nmax-prefixes = 1",
        Peer::Announces(nothing, || {
            let routes = ["10.50.1.0/24", "10.50.2.0/24"].map(|prefix| route(prefix, internal(Vec::new())));
            routes.into_iter().flatten().collect()
        }),
        "prefix limit exceeded: more than 1 ipv4-unicast; down for 60 s",
    ),
    session(
        24,
        65000,
        "the same with `max-prefixes-action = \"discard-new\"`",
        "remote-asn = 65000\npassive = true\nmax-prefixes = 1\nmax-prefixes-action = \"discard-new\"",
        Peer::Announces(nothing, || {
            let routes = ["10.51.1.0/24", "10.51.2.0/24"].map(|prefix| route(prefix, internal(Vec::new())));
            routes.into_iter().flatten().collect()
        }),
        "announcements dropped: 1, the limit is 1 ipv4-unicast",
    ),
    session(
        25,
        65000,
        "the peer has no ADD-PATH",
        "remote-asn = 65000\npassive = true\nadd-path = \"send\"",
        Peer::Opens(|_| {}),
        "add-path send is not negotiated: the peer does not take several paths",
    ),
    session(
        26,
        65001,
        "eBGP without policies",
        NO_POLICY,
        Peer::Opens(|_| {}),
        "no route is accepted: eBGP without an import policy (RFC 8212)",
    ),
    session(
        27,
        65000,
        "the peer sends malformed attributes",
        IBGP,
        Peer::Announces(nothing, || {
            let origin = Attribute::Unknown { flags: 0x40, code: 1, value: vec![9] };
            route("10.52.0.0/24", [vec![origin], internal(Vec::new())[1..].to_vec()].concat())
        }),
        "malformed UPDATEs treated as withdraw (RFC 7606): 1, the last: ORIGIN: undefined origin 9 at offset 7 \
         (treat-as-withdraw)",
    ),
    session(
        37,
        65000,
        "the peer announces a route whose next hop is no host",
        IBGP,
        Peer::Announces(nothing, || via([224, 0, 0, 5], route("10.67.0.0/24", internal(Vec::new())))),
        "malformed UPDATEs treated as withdraw (RFC 7606): 1, the last: NEXT_HOP: 224.0.0.5 is not the address of a host \
         at offset 14 (treat-as-withdraw)",
    ),
    session(
        70,
        65000,
        "a node announces what its cluster does not have",
        CLIENT,
        Peer::Announces(nothing, || route("10.41.0.0/24", internal(Vec::new()))),
        "prefixes refused by the guard of the clusters: 1",
    ),
];

const fn path_case(
    host: u8,
    what: &'static str,
    config: &'static str,
    peer: Peer,
    prefix: &'static str,
    cause: &'static str,
) -> Case {
    Case { host, says_asn: 65001, what, config, peer, prefix, cause }
}

const fn internal_path(
    host: u8,
    what: &'static str,
    routes: fn() -> Vec<Route>,
    prefix: &'static str,
    cause: &'static str,
) -> Case {
    Case { host, says_asn: 65000, what, config: IBGP, peer: Peer::Announces(nothing, routes), prefix, cause }
}

pub(super) const ROUTES_IN: [Case; 11] = [
    path_case(
        31,
        "eBGP without an import policy",
        NO_POLICY,
        Peer::Announces(nothing, || route("10.61.0.0/24", path(&[65001]))),
        "10.61.0.0/24",
        "not usable: eBGP without an import policy",
    ),
    path_case(
        32,
        "the import policy rejects it",
        "remote-asn = 65001\npassive = true\nimport-policy = [\"from-transit\", \"accept-all\"]\n\
         export-policy = [\"accept-all\"]",
        Peer::Announces(nothing, || route("10.62.0.0/24", path(&[65001]))),
        "10.62.0.0/24",
        "not usable: rejected by import policy (policy \"from-transit\", statement \"no-bogons\")",
    ),
    path_case(
        33,
        "the own AS is in its AS path",
        EBGP,
        Peer::Announces(nothing, || route("10.63.0.0/24", path(&[65001, 65000]))),
        "10.63.0.0/24",
        "not usable: own AS in AS_PATH",
    ),
    internal_path(
        34,
        "its ORIGINATOR_ID is the own router ID",
        || route("10.64.0.0/24", internal(vec![Attribute::OriginatorId(Ipv4Addr::new(192, 0, 2, 1))])),
        "10.64.0.0/24",
        "not usable: own router ID is ORIGINATOR_ID",
    ),
    internal_path(
        35,
        "the own cluster ID is in its CLUSTER_LIST: two reflectors with one cluster ID",
        || route("10.65.0.0/24", internal(vec![Attribute::ClusterList(vec![Ipv4Addr::new(192, 0, 2, 1)])])),
        "10.65.0.0/24",
        "not usable: own cluster ID in CLUSTER_LIST",
    ),
    internal_path(
        38,
        "it is a prefix of multicast groups",
        || route("224.0.1.0/24", internal(Vec::new())),
        "224.0.1.0/24",
        "not usable: prefix is not of unicast addresses",
    ),
    path_case(
        39,
        "a customer announces what is for customers only (RFC 9234)",
        "remote-asn = 65001\npassive = true\nrole = \"provider\"\nimport-policy = [\"accept-all\"]\n\
         export-policy = [\"accept-all\"]",
        Peer::Announces(
            || vec![Capability::Role(3)],
            || route("10.69.0.0/24", [path(&[65001]), vec![Attribute::OnlyToCustomer(65009)]].concat()),
        ),
        "10.69.0.0/24",
        "not usable: route leak: OTC says that it is for customers only",
    ),
    Case {
        host: 70,
        says_asn: 65000,
        what: "the node is not authorised: its cluster does not have the prefix",
        config: "",
        peer: Peer::Absent,
        prefix: "10.41.0.0/24",
        cause: "not usable: not inside the pod CIDRs of its cluster: announced by 127.0.0.70 of cluster east",
    },
    internal_path(
        71,
        "another path is better",
        || route("10.71.0.0/24", internal(Vec::new())),
        "10.71.0.0/24",
        "loses to 127.0.0.72: higher LOCAL_PREF",
    ),
    internal_path(
        72,
        "",
        || route("10.71.0.0/24", [path(&[]), vec![Attribute::LocalPref(200)]].concat()),
        "10.71.0.0/24",
        "",
    ),
    internal_path(
        73,
        "its next hop cannot be reached: bgpd does not know",
        || via([203, 0, 113, 1], route("10.73.0.0/24", internal(Vec::new()))),
        "10.73.0.0/24",
        "best: only path",
    ),
];

const fn receiver(
    host: u8,
    says_asn: u16,
    what: &'static str,
    config: &'static str,
    prefix: &'static str,
    cause: &'static str,
) -> Case {
    Case { host, says_asn, what, config, peer: Peer::Announces(nothing, no_routes), prefix, cause }
}

/// A line about a receiver that another set-up has.
const fn also(host: u8, what: &'static str, prefix: &'static str, cause: &'static str) -> Case {
    Case { host, says_asn: 0, what, config: "", peer: Peer::Absent, prefix, cause }
}

pub(super) const ROUTES_OUT: [Case; 17] = [
    receiver(51, 65001, "it has NO_EXPORT", EBGP, "10.2.0.0/24", "not advertised: community no-export"),
    receiver(52, 65000, "it has NO_ADVERTISE", CLIENT, "10.3.0.0/24", "not advertised: community no-advertise"),
    receiver(
        53,
        65001,
        "eBGP without an export policy",
        NO_POLICY,
        "10.1.0.0/24",
        "not advertised: eBGP without an export policy",
    ),
    receiver(
        54,
        65001,
        "the export policy rejects it",
        "remote-asn = 65001\npassive = true\nimport-policy = [\"accept-all\"]\nexport-policy = [\"to-peers\"]",
        "10.80.0.0/24",
        "not advertised: rejected by export policy (policy \"to-peers\", statement \"ours-only\")",
    ),
    receiver(
        55,
        65000,
        "from a non-client to a non-client: one of the two must be a client (RFC 4456)",
        IBGP,
        "10.80.0.0/24",
        "not advertised: from a non-client, not reflected to non-clients",
    ),
    Case {
        host: 56,
        says_asn: 65000,
        what: "",
        config: IBGP,
        peer: Peer::Announces(nothing, || route("10.80.0.0/24", internal(Vec::new()))),
        prefix: "10.80.0.0/24",
        cause: "",
    },
    Case {
        host: 57,
        says_asn: 65000,
        what: "it comes from this neighbor",
        config: CLIENT,
        peer: Peer::Announces(nothing, || route("10.81.0.0/24", internal(Vec::new()))),
        prefix: "10.81.0.0/24",
        cause: "not advertised: it is this neighbor's own route",
    },
    also(
        56,
        "the same, and other rules would keep it back as well, such as that between non-clients",
        "10.80.0.0/24",
        "not advertised: it is this neighbor's own route",
    ),
    also(
        52,
        "an IPv4 route has an IPv6 next hop, and the session no `extended-next-hop`",
        "10.4.0.0/24",
        "not advertised: the next hop is of another family, which the session cannot carry (extended-next-hop)",
    ),
    Case {
        host: 58,
        says_asn: 65001,
        what: "",
        config: "remote-asn = 65001\npassive = true\nrole = \"customer\"\nimport-policy = [\"accept-all\"]\n\
                 export-policy = [\"accept-all\"]",
        peer: Peer::Announces(|| vec![Capability::Role(0)], || route("10.82.0.0/24", path(&[65001]))),
        prefix: "10.82.0.0/24",
        cause: "",
    },
    Case {
        host: 59,
        says_asn: 65001,
        what: "it comes from a provider and would go to a peer (RFC 9234)",
        config: "remote-asn = 65001\npassive = true\nrole = \"peer\"\nimport-policy = [\"accept-all\"]\n\
                 export-policy = [\"accept-all\"]",
        peer: Peer::Announces(|| vec![Capability::Role(4)], no_routes),
        prefix: "10.82.0.0/24",
        cause: "not advertised: OTC says that it is for customers only",
    },
    also(
        18,
        "the neighbor is disabled, or its session is down for another reason",
        "10.1.0.0/24",
        "not advertised: its session is Idle: administratively down: \"maintenance until 6\"",
    ),
    also(
        15,
        "the peer lacks the family of the route",
        "2001:db8:1::/48",
        "not advertised: ipv6-unicast is not negotiated: the peer does not offer it",
    ),
    also(
        52,
        "the session is not configured for the family of the route",
        "2001:db8:1::/48",
        "not advertised: ipv6-unicast is not one of its families",
    ),
    also(52, "no path is usable", "10.63.0.0/24", "not advertised: no usable path"),
    Case {
        host: 60,
        says_asn: 65000,
        what: "",
        config: CLIENT,
        peer: Peer::Announces(nothing, || {
            let stale = vec![Attribute::Communities(vec![Community::LLGR_STALE])];
            route("10.83.0.0/24", internal(stale))
        }),
        prefix: "10.83.0.0/24",
        cause: "",
    },
    also(
        51,
        "it is long-lived stale, and the neighbor has no long-lived graceful restart (RFC 9494)",
        "10.83.0.0/24",
        "not advertised: long-lived stale, and the peer has no long-lived graceful restart",
    ),
];
