//! kube-router's annotations on Nodes, so that a cluster can move from it without touching its Nodes.
//!
//! | annotation | meaning |
//! |---|---|
//! | `kube-router.io/node.asn` | AS number of the node |
//! | `kube-router.io/peer.ips`, `.asns`, `.ports`, `.passwords`, `.localips` | neighbors of this node; passwords in base64 |
//! | `kube-router.io/rr.server` | the node reflects; the value is the cluster ID |
//! | `kube-router.io/rr.client` | the node is a client of that cluster's reflectors |
//! | `kube-router.io/pod-cidr`, `pod-cidrs` | pod CIDRs of a Node whose spec has none |

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

const PREFIX: &str = "kube-router.io/";

/// What the annotations of one Node say.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Annotations {
    /// AS number of the node.
    pub asn: Option<u32>,
    /// Neighbors of the node.
    pub peers: Vec<Peer>,
    /// Cluster ID when the node reflects.
    pub reflector: Option<String>,
    /// Cluster ID when the node is a reflector's client.
    pub client: Option<String>,
    /// Pod CIDRs as written.
    pub pod_cidrs: Vec<String>,
}

/// A neighbor that annotations name.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// Its address.
    pub address: IpAddr,
    /// Its AS number.
    pub asn: u32,
    /// Its port, 179 by default.
    pub port: Option<u16>,
    /// TCP-MD5 key.
    #[serde(skip)]
    pub password: Option<String>,
    /// Address to connect from.
    pub local_address: Option<IpAddr>,
}

impl std::fmt::Debug for Peer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let password = self.password.as_ref().map(|_| "…");
        write!(formatter, "{} AS {} port {:?} password {password:?}", self.address, self.asn, self.port)
    }
}

impl Annotations {
    /// Reads them; also what cannot be read, as `annotation: what is wrong`.
    #[must_use]
    pub fn read(annotations: &BTreeMap<String, String>) -> (Self, Vec<String>) {
        let mut wrong = Vec::new();
        let text = |name: &str| annotations.get(&format!("{PREFIX}{name}")).map(|text| text.trim());
        let asn = text("node.asn").and_then(|text| keep(parsed("node.asn", text, "an AS number"), &mut wrong));
        let peers = keep(peers(&text), &mut wrong).unwrap_or_default();
        let cidrs = text("pod-cidrs").or_else(|| text("pod-cidr")).unwrap_or_default();
        let read = Self {
            asn,
            peers,
            reflector: text("rr.server").map(ToOwned::to_owned),
            client: text("rr.client").map(ToOwned::to_owned),
            pod_cidrs: list(cidrs).map(ToOwned::to_owned).collect(),
        };
        (read, wrong)
    }
}

fn keep<T>(read: Result<T, String>, wrong: &mut Vec<String>) -> Option<T> {
    read.map_err(|message| wrong.push(message)).ok()
}

fn parsed<T: std::str::FromStr>(name: &str, text: &str, what: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("annotation {PREFIX}{name}: \"{text}\" is not {what}"))
}

fn list(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty())
}

/// Lists run in parallel: the second AS number belongs to the second address.
fn peers<'a>(text: &impl Fn(&str) -> Option<&'a str>) -> Result<Vec<Peer>, String> {
    let addresses: Vec<&str> = text("peer.ips").map(|text| list(text).collect()).unwrap_or_default();
    let column = |name: &str| -> Result<Vec<&str>, String> {
        // An empty item stands for the default, so it is not dropped here.
        let items: Vec<&str> = text(name).map(|text| text.split(',').map(str::trim).collect()).unwrap_or_default();
        match (items.len(), addresses.len()) {
            (items, wanted) if items != 0 && items != wanted => {
                Err(format!("annotation {PREFIX}{name}: {items} items for {wanted} addresses in {PREFIX}peer.ips"))
            }
            _ => Ok(items),
        }
    };
    let (asns, ports) = (column("peer.asns")?, column("peer.ports")?);
    let (passwords, locals) = (column("peer.passwords")?, column("peer.localips")?);
    if asns.len() != addresses.len() {
        return Err(format!("annotation {PREFIX}peer.asns: missing, expected one for each of {PREFIX}peer.ips"));
    }
    let item = |column: &[&'a str], index: usize| column.get(index).copied().filter(|item| !item.is_empty());
    let peer = |(index, address): (usize, &&str)| {
        Ok(Peer {
            address: parsed("peer.ips", address, "an IP address")?,
            asn: parsed("peer.asns", item(&asns, index).unwrap_or_default(), "an AS number")?,
            port: item(&ports, index).map(|text| parsed("peer.ports", text, "a port")).transpose()?,
            password: item(&passwords, index).map(decoded).transpose()?,
            local_address: item(&locals, index)
                .map(|text| parsed("peer.localips", text, "an IP address"))
                .transpose()?,
        })
    };
    addresses.iter().enumerate().map(peer).collect()
}

/// Base64 (RFC 4648 §4). The password is not repeated in the message.
fn decoded(text: &str) -> Result<String, String> {
    let wrong = || format!("annotation {PREFIX}peer.passwords: an item is not text in base64");
    let digit = |byte: u8| match byte {
        b'A'..=b'Z' => Some(u32::from(byte - b'A')),
        b'a'..=b'z' => Some(u32::from(byte - b'a') + 26),
        b'0'..=b'9' => Some(u32::from(byte - b'0') + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    };
    let (mut bits, mut count, mut bytes) = (0u32, 0u32, Vec::new());
    for byte in text.trim_end_matches('=').bytes() {
        bits = (bits << 6 | digit(byte).ok_or_else(wrong)?) & 0xffff;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count & 0xff) as u8);
        }
    }
    String::from_utf8(bytes).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> (Annotations, Vec<String>) {
        let annotations = pairs.iter().map(|(name, text)| (format!("{PREFIX}{name}"), (*text).to_owned())).collect();
        Annotations::read(&annotations)
    }

    #[test]
    fn annotations_of_a_reflector_with_upstream_peers_are_read() {
        let (read, wrong) = read(&[
            ("node.asn", "64512"),
            ("peer.ips", "192.0.2.1,2001:db8::1"),
            ("peer.asns", "65000,65001"),
            ("peer.ports", "1179,"),
            ("peer.passwords", "c2VjcmV0,"),
            ("rr.server", "42"),
            ("pod-cidr", "10.1.0.0/24"),
        ]);
        assert_eq!(wrong, Vec::<String>::new());
        assert_eq!((read.asn, read.reflector.as_deref(), read.client), (Some(64512), Some("42"), None));
        assert_eq!((read.peers[0].port, read.peers[0].password.as_deref()), (Some(1179), Some("secret")));
        assert_eq!((read.peers[1].asn, read.peers[1].port), (65001, None));
        assert_eq!(read.pod_cidrs, ["10.1.0.0/24"]);
    }

    #[test]
    fn what_cannot_be_read_is_said_by_name_and_the_rest_counts() {
        let (read, wrong) =
            read(&[("node.asn", "many"), ("peer.ips", "192.0.2.1"), ("peer.asns", "1,2"), ("rr.client", "42")]);
        assert_eq!(read.client.as_deref(), Some("42"));
        assert_eq!(
            wrong,
            [
                "annotation kube-router.io/node.asn: \"many\" is not an AS number",
                "annotation kube-router.io/peer.asns: 2 items for 1 addresses in kube-router.io/peer.ips",
            ]
        );
    }

    #[test]
    fn password_never_reaches_a_log() {
        let (read, wrong) = read(&[("peer.ips", "192.0.2.1"), ("peer.asns", "1"), ("peer.passwords", "c2VjcmV0")]);
        assert_eq!(wrong, Vec::<String>::new());
        assert!(!format!("{read:?}").contains("secret"));
    }
}
