//! Labs: real daemons in network namespaces, on a bridge that the lab makes and removes.
//!
//! A [`Lab`] is a switch; each [`Node`] is a host on it with one IPv4 and one IPv6 address and, where wanted, pods
//! behind it. Everything has a unique name, so that labs run side by side, and goes away when the lab is dropped,
//! also after a failure. Nothing is ever made in the namespace that the test runs in.

mod bgpd;
mod bird;
pub mod cluster;
mod exabgp;
mod frr;
mod gobgp;
mod namespace;
mod openbgpd;
mod pings;
mod process;
mod rekey;
mod route;
mod segment;
mod sidecar;
mod stayrtr;

use std::fs;
use std::io::Write;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

pub use self::bgpd::{Bgpd, build as build_bgpd};
pub use self::bird::{Bird, COMMANDS as BIRD};
pub use self::exabgp::{COMMANDS as EXABGP, ExaBgp};
pub use self::frr::{COMMANDS as FRR, Frr};
pub use self::gobgp::{COMMANDS as GOBGP, GoBgp};
pub use self::namespace::{Namespace, run, run_ok};
pub use self::openbgpd::{COMMANDS as OPENBGPD, OpenBgpd, make_chroot as make_openbgpd_chroot};
pub use self::pings::{Loss, Pings};
pub use self::process::Daemon;
pub use self::rekey::rekey;
pub use self::route::{SeenRoute, to};
pub use self::segment::{ROUTER_HOST, segment_v4, segment_v6};
pub use self::sidecar::Sidecar;
pub use self::stayrtr::{COMMANDS as STAYRTR, Roa, StayRtr};

static LABS: AtomicU32 = AtomicU32::new(0);

/// How long a lab waits for what should happen.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A switch with hosts.
pub struct Lab {
    name: String,
    peers: Vec<String>,
    tag: String,
    dir: PathBuf,
    switch: Namespace,
    nodes: AtomicU32,
}

/// A host on the lab's switch.
pub struct Node {
    /// Its name within the lab.
    pub name: String,
    /// Its network namespace.
    pub namespace: Namespace,
    /// Its address on the switch.
    pub ipv4: Ipv4Addr,
    /// Its address on the switch.
    pub ipv6: Ipv6Addr,
    /// Directory for its configuration, sockets and logs.
    pub dir: PathBuf,
    tag: String,
}

/// A pod behind a node: a namespace with an address of each family and a default route to the node.
pub struct Pod {
    /// Its network namespace.
    pub namespace: Namespace,
    /// Its address.
    pub ipv4: Ipv4Addr,
    /// Its address.
    pub ipv6: Ipv6Addr,
}

impl Lab {
    /// A switch without hosts. `peers` are the commands that the lab needs: one that is missing is a failure, not a
    /// reason to skip.
    ///
    /// # Panics
    /// When a command is missing or the kernel refuses a namespace.
    #[must_use]
    pub fn new(name: &str, peers: &[&str]) -> Self {
        for command in peers {
            assert!(
                process::exists(command),
                "{command} is missing: interop/install-peers installs what the labs need"
            );
        }
        namespace::sweep();
        let tag = format!("b{}x{}", std::process::id(), LABS.fetch_add(1, Ordering::Relaxed));
        let dir = std::env::temp_dir().join(format!("bgpd-lab-{tag}-{name}"));
        fs::create_dir_all(&dir).expect("the temporary directory can be written");
        let switch = Namespace::new(&format!("{tag}-switch"));
        switch.ip("link add br0 type bridge forward_delay 0");
        switch.ip("link set br0 up");
        let peers = peers.iter().map(|&command| command.to_owned()).collect();
        Self { name: name.to_owned(), peers, tag, dir, switch, nodes: AtomicU32::new(0) }
    }

    /// Adds the host 192.0.2.`host`, 2001:db8::`host` (in decimal digits).
    pub fn node(&self, name: &str, host: u8) -> Node {
        let ipv6 = format!("2001:db8::{host}").parse().expect("decimal digits are hexadecimal digits");
        self.attach(name, "br0", Ipv4Addr::new(192, 0, 2, host), ipv6)
    }

    /// Adds a host with these addresses on a bridge of the switch.
    fn attach(&self, name: &str, bridge: &str, ipv4: Ipv4Addr, ipv6: Ipv6Addr) -> Node {
        let namespace = Namespace::new(&format!("{}-{name}", self.tag));
        self.plug(&namespace, "eth0", bridge, ipv4, ipv6);
        namespace.forward();
        let dir = self.dir.join(name);
        fs::create_dir_all(&dir).expect("the lab's directory can be written");
        Node { name: name.to_owned(), namespace, ipv4, ipv6, dir, tag: self.tag.clone() }
    }

    /// Lays a cable from a namespace to a bridge of the switch.
    fn plug(&self, namespace: &Namespace, interface: &str, bridge: &str, ipv4: Ipv4Addr, ipv6: Ipv6Addr) {
        let number = self.nodes.fetch_add(1, Ordering::Relaxed);
        namespace.wire(interface, &self.switch, &format!("port{number}"));
        self.switch.ip(&format!("link set port{number} master {bridge} up"));
        namespace.address(interface, &format!("{ipv4}/24"), &format!("{ipv6}/64"));
    }

    /// Adds a line to the file that `BGPD_LABS` names: this lab ran to its end, with these daemons.
    fn record(&self) {
        let Some(file) = std::env::var_os("BGPD_LABS") else { return };
        let line = format!("{} {}\n", self.name, self.peers.join(" "));
        let opened = fs::File::options().create(true).append(true).open(file);
        if let Err(error) = opened.and_then(|mut file| file.write_all(line.as_bytes())) {
            eprintln!("the lab {} is not counted: {error}", self.name);
        }
    }

    /// The lab's directory: configurations and logs.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("configurations and logs of this lab: {}", self.dir.display());
        } else {
            // What cannot be removed is in the temporary directory and in nobody's way.
            let _ = fs::remove_dir_all(&self.dir);
            self.record();
        }
    }
}

impl Node {
    /// Puts a pod behind the node: 10.`cluster`.`net`.2 in a /24, fd00:`cluster`:`net`::2 in a /64.
    #[must_use]
    pub fn pod(&self, cluster: u8, net: u8) -> Pod {
        let namespace = Namespace::new(&format!("{}-{}-pod", self.tag, self.name));
        let ipv4 = Ipv4Addr::new(10, cluster, net, 2);
        let ipv6: Ipv6Addr = format!("fd00:{cluster}:{net}::2").parse().expect("decimal digits are hexadecimal digits");
        namespace.wire("eth0", &self.namespace, "pod0");
        let gateway4 = Ipv4Addr::new(10, cluster, net, 1);
        let gateway6 = format!("fd00:{cluster}:{net}::1");
        self.namespace.address("pod0", &format!("{gateway4}/24"), &format!("{gateway6}/64"));
        namespace.address("eth0", &format!("{ipv4}/24"), &format!("{ipv6}/64"));
        namespace.ip(&format!("route add default via {gateway4}"));
        namespace.ip(&format!("-6 route add default via {gateway6}"));
        Pod { namespace, ipv4, ipv6 }
    }

    /// Writes a file into the node's directory.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.dir.join(name);
        fs::write(&path, text).expect("the lab's directory can be written");
        path
    }

    /// Cuts the node off the switch, as a dead host is.
    pub fn cut(&self) {
        self.namespace.ip("link set eth0 down");
    }
}

impl Pod {
    /// Whether another pod answers, over both families.
    #[must_use]
    pub fn reaches(&self, other: &Self) -> bool {
        let ping = |address: String| self.namespace.succeeds(&["ping", "-c1", "-W1", "-n", &address]);
        ping(other.ipv4.to_string()) && ping(other.ipv6.to_string())
    }
}

/// Waits until `found` gives something.
///
/// # Panics
/// When it does not within [`PATIENCE`]; `picture` says how things are then.
pub fn wait_for<T>(what: &str, mut found: impl FnMut() -> Option<T>, picture: impl FnOnce() -> String) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = found() {
            return value;
        }
        assert!(Instant::now() < deadline, "waited {} s in vain: {what}\n{}", PATIENCE.as_secs(), picture());
        thread::sleep(Duration::from_millis(100));
    }
}

/// Waits until a condition holds; see [`wait_for`].
///
/// # Panics
/// When it does not within [`PATIENCE`].
pub fn wait_until(what: &str, mut holds: impl FnMut() -> bool, picture: impl FnOnce() -> String) {
    wait_for(what, || holds().then_some(()), picture);
}
