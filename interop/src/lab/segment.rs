//! Several networks behind a router, as clusters in different places have them.
//!
//! Segment N is a bridge of its own with 172.16.N.0/24 and 2001:db8:N::/64; its hosts have default routes to the router.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::{Lab, Namespace, Node};

/// The router's host number in every segment.
pub const ROUTER_HOST: u8 = 254;

/// Address of a host in a segment.
#[must_use]
pub fn segment_v4(segment: u8, host: u8) -> Ipv4Addr {
    Ipv4Addr::new(172, 16, segment, host)
}

/// Address of a host in a segment, in decimal digits.
///
/// # Panics
/// Never: decimal digits are hexadecimal digits.
#[must_use]
pub fn segment_v6(segment: u8, host: u8) -> Ipv6Addr {
    format!("2001:db8:{segment}::{host}").parse().expect("decimal digits are hexadecimal digits")
}

impl Lab {
    /// Adds a router between new segments.
    pub fn router(&self, segments: impl IntoIterator<Item = u8>) -> Node {
        let namespace = Namespace::new(&format!("{}-router", self.tag));
        for segment in segments {
            let bridge = bridge(segment);
            self.switch.ip(&format!("link add {bridge} type bridge forward_delay 0"));
            self.switch.ip(&format!("link set {bridge} up"));
            let (ipv4, ipv6) = (segment_v4(segment, ROUTER_HOST), segment_v6(segment, ROUTER_HOST));
            self.plug(&namespace, &format!("eth{segment}"), &bridge, ipv4, ipv6);
        }
        namespace.forward();
        let dir = self.dir.join("router");
        std::fs::create_dir_all(&dir).expect("the lab's directory can be written");
        let (ipv4, ipv6) = (segment_v4(0, ROUTER_HOST), segment_v6(0, ROUTER_HOST));
        Node { name: "router".to_owned(), namespace, ipv4, ipv6, dir, tag: self.tag.clone() }
    }

    /// Adds a host to a segment of the router.
    pub fn host(&self, name: &str, segment: u8, host: u8) -> Node {
        let node = self.attach(name, &bridge(segment), segment_v4(segment, host), segment_v6(segment, host));
        node.namespace.ip(&format!("route add default via {}", segment_v4(segment, ROUTER_HOST)));
        node.namespace.ip(&format!("-6 route add default via {}", segment_v6(segment, ROUTER_HOST)));
        node
    }
}

fn bridge(segment: u8) -> String {
    format!("br-seg{segment}")
}
