//! The daemons, each as a reflector that lets peers in from two ranges: iBGP clients and eBGP peers.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::time::Instant;

use super::case::{Case, Stage};
use super::message::{INTERNAL, Place, Who};
use super::observer::Observer;
use super::sender::{Connection, Outcome, Sender};
use crate::lab::{BIRD, Bgpd, Bird, FRR, Frr, GOBGP, GoBgp, Lab, Namespace, Node, OPENBGPD, OpenBgpd, PATIENCE};

/// Which daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Kind {
    Bgpd,
    Frr,
    Bird,
    GoBgp,
    OpenBgpd,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Bgpd, Self::Frr, Self::Bird, Self::GoBgp, Self::OpenBgpd];

    /// What people call it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bgpd => "bgpd",
            Self::Frr => "FRR",
            Self::Bird => "BIRD",
            Self::GoBgp => "GoBGP",
            Self::OpenBgpd => "OpenBGPD",
        }
    }

    pub(super) const fn commands(self) -> &'static [&'static str] {
        match self {
            Self::Bgpd => &[],
            Self::Frr => &FRR,
            Self::Bird => &BIRD,
            Self::GoBgp => &GOBGP,
            Self::OpenBgpd => &OPENBGPD,
        }
    }
}

enum Running {
    Bgpd(Bgpd),
    Frr(Box<Frr>),
    Bird(Bird),
    GoBgp(GoBgp),
    OpenBgpd(OpenBgpd),
}

/// A daemon, and the host that plays its peers.
pub struct Target {
    kind: Kind,
    node: Node,
    peers: Node,
    running: Option<Running>,
    observer: Option<Observer>,
}

/// Number of the observer, beyond those of cases.
const OBSERVER: usize = 249;

impl Target {
    /// Starts a daemon in a lab.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start(lab: &Lab, kind: Kind) -> Self {
        let (node, peers) = (lab.node("daemon", 1), lab.node("peers", 2));
        // eBGP peers are on the network, iBGP peers behind this host.
        for range in ["192.0.2.128/25", "192.0.3.0/24"] {
            peers.namespace.ip(&format!("route add local {range} dev lo"));
        }
        node.namespace.ip("route add 192.0.3.0/24 via 192.0.2.2");
        let mut target = Self { kind, node, peers, running: None, observer: None };
        target.restart();
        target
    }

    /// Starts the daemon again.
    ///
    /// # Panics
    /// When it does not start.
    pub(super) fn restart(&mut self) {
        self.observer = None;
        self.running = None;
        let node = &self.node;
        self.running = Some(match self.kind {
            Kind::Bgpd => Running::Bgpd(Bgpd::start(node, &bgpd())),
            Kind::Frr => Running::Frr(Box::new(Frr::start(node, &frr()))),
            Kind::Bird => Running::Bird(Bird::start(node, BIRD_CONFIG)),
            Kind::GoBgp => Running::GoBgp(GoBgp::start(node, &gobgp())),
            Kind::OpenBgpd => Running::OpenBgpd(OpenBgpd::start(node, OPENBGPD_CONFIG)),
        });
        self.observer = Some(self.observe());
    }

    /// Whether the daemon still runs.
    pub(super) fn is_running(&mut self) -> bool {
        match &mut self.running {
            None => false,
            Some(Running::Bgpd(bgpd)) => bgpd.daemon.is_running(),
            Some(Running::Frr(frr)) => frr.bgpd.is_running(),
            Some(Running::Bird(bird)) => bird.daemon.is_running(),
            Some(Running::GoBgp(gobgp)) => gobgp.daemon.is_running(),
            Some(Running::OpenBgpd(open)) => open.daemon.is_running(),
        }
    }

    /// bgpd, where it is the target.
    #[must_use]
    pub fn bgpd(&self) -> Option<&Bgpd> {
        match &self.running {
            Some(Running::Bgpd(bgpd)) => Some(bgpd),
            _ => None,
        }
    }

    /// A connection from an address of the peers' host.
    fn connect(&self, from: Ipv4Addr) -> io::Result<TcpStream> {
        connect(&self.peers.namespace, from, Ipv4Addr::new(192, 0, 2, 1), None)
    }

    /// The session that sees what becomes of routes; tried until the daemon is ready.
    fn observe(&self) -> Observer {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let who = Who { extended: true, ..INTERNAL };
            let attempt = self.connect(address(who, OBSERVER)).and_then(Connection::new).map(|mut connection| {
                connection.bring_up(who, address(who, OBSERVER), Stage::Established).map(|()| connection)
            });
            let why = match attempt {
                Ok(Ok(connection)) => return Observer::new(connection),
                Ok(Err(outcome)) => outcome.to_string(),
                Err(error) => error.to_string(),
            };
            assert!(Instant::now() < deadline, "{} does not take a session: {why}", self.kind.name());
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
    }

    /// Plays a case with an address and prefixes of its own.
    ///
    /// # Panics
    /// When there are more cases than addresses, or the daemon is not there.
    pub(super) fn play(&mut self, case: &Case, number: usize) -> Outcome {
        if !self.observer.as_ref().is_some_and(Observer::is_up) {
            self.observer = Some(self.observe());
        }
        let observer = self.observer.as_ref().expect("just made");
        let from = address(case.who, number);
        let number = u8::try_from(number).expect("fewer cases than prefixes");
        match self.connect(from).and_then(Connection::new) {
            Ok(connection) => Sender::new(connection, Place { who: case.who, number }, from, observer).play(case),
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Outcome::Crashed,
            Err(_) => Outcome::Closed,
        }
    }
}

/// A BGP connection from an address in a namespace; `window` are the octets that its socket takes unread.
pub(crate) fn connect(
    namespace: &Namespace,
    from: Ipv4Addr,
    to: Ipv4Addr,
    window: Option<usize>,
) -> io::Result<TcpStream> {
    namespace.inside(|| {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
        if let Some(window) = window {
            socket.set_recv_buffer_size(window)?;
        }
        socket.bind(&SocketAddr::new(IpAddr::V4(from), 0).into())?;
        socket.connect_timeout(&SocketAddr::new(IpAddr::V4(to), 179).into(), PATIENCE)?;
        Ok(socket.into())
    })
}

/// The address that a case is played from.
#[must_use]
pub fn address(who: Who, number: usize) -> Ipv4Addr {
    if who.external {
        Ipv4Addr::new(192, 0, 2, 130 + (number % 120) as u8)
    } else {
        Ipv4Addr::new(192, 0, 3, 1 + (number % 250) as u8)
    }
}

fn bgpd() -> String {
    let group = |name: &str, asn: u16, more: &str| {
        format!(
            "[[peer-group]]\nname = \"{name}\"\nremote-asn = {asn}\nfamilies = [\"ipv4-unicast\", \"ipv6-unicast\"]\n\
             idle-hold-time = 0\n{more}\n"
        )
    };
    let range =
        |prefix: &str, name: &str| format!("[[dynamic-neighbors]]\nprefix = \"{prefix}\"\npeer-group = \"{name}\"\n");
    let policies = "import-policy = [\"accept-all\"]\nexport-policy = [\"accept-all\"]";
    [
        "[global]\nasn = 65000\nrouter-id = \"192.0.2.1\"\n".to_owned(),
        group("clients", 65_000, "route-reflector-client = true"),
        group("others", 65_001, policies),
        range("192.0.3.0/24", "clients"),
        range("192.0.2.128/25", "others"),
    ]
    .concat()
}

fn frr() -> String {
    let groups = [("clients", 65_000, "192.0.3.0/24"), ("others", 65_001, "192.0.2.128/25")];
    let mut text = "router bgp 65000\n bgp router-id 192.0.2.1\n no bgp default ipv4-unicast\n \
                    no bgp ebgp-requires-policy\n no bgp network import-check\n coalesce-time 10\n \
                    bgp listen limit 1000\n"
        .to_owned();
    for (name, asn, range) in groups {
        text += &format!(
            " neighbor {name} peer-group\n neighbor {name} remote-as {asn}\n neighbor {name} passive\n \
             neighbor {name} advertisement-interval 0\n bgp listen range {range} peer-group {name}\n"
        );
    }
    for family in ["ipv4", "ipv6"] {
        text += &format!(
            " address-family {family} unicast\n  neighbor clients activate\n  neighbor clients \
             route-reflector-client\n  neighbor others activate\n exit-address-family\n"
        );
    }
    text
}

const BIRD_CONFIG: &str = "
log stderr all;
router id 192.0.2.1;
protocol device {}
protocol direct { ipv4; ipv6; interface \"eth0\"; }
template bgp any {
  local 192.0.2.1 as 65000;
  passive on;
  strict bind yes;
  enable extended messages on;
  error wait time 1, 1;
  ipv4 { import all; export where source = RTS_BGP; };
  ipv6 { import all; export where source = RTS_BGP; next hop keep; };
}
protocol bgp clients from any { neighbor range 192.0.3.0/24 as 65000; rr client; }
protocol bgp others from any { neighbor range 192.0.2.128/25 as 65001; }
";

fn gobgp() -> String {
    let group = |name: &str, asn: u16, reflector: &str| {
        let family = |name: &str| {
            format!("[[peer-groups.afi-safis]]\n[peer-groups.afi-safis.config]\nafi-safi-name = \"{name}\"\n")
        };
        format!(
            "[[peer-groups]]\n[peer-groups.config]\npeer-group-name = \"{name}\"\npeer-as = {asn}\n\
             [peer-groups.timers.config]\nidle-hold-time-after-reset = 1\n\
             [peer-groups.transport.config]\npassive-mode = true\n{reflector}{}{}",
            family("ipv4-unicast"),
            family("ipv6-unicast")
        )
    };
    let range = |prefix: &str, name: &str| {
        format!("[[dynamic-neighbors]]\n[dynamic-neighbors.config]\nprefix = \"{prefix}\"\npeer-group = \"{name}\"\n")
    };
    let reflector = "[peer-groups.route-reflector.config]\nroute-reflector-client = true\n\
                     route-reflector-cluster-id = \"192.0.2.1\"\n";
    [
        "[global.config]\nas = 65000\nrouter-id = \"192.0.2.1\"\n".to_owned(),
        group("clients", 65_000, reflector),
        group("others", 65_001, ""),
        range("192.0.3.0/24", "clients"),
        range("192.0.2.128/25", "others"),
    ]
    .concat()
}

const OPENBGPD_CONFIG: &str = "
AS 65000
router-id 192.0.2.1
fib-update no
nexthop qualify via default
neighbor 192.0.3.0/24 {
  remote-as 65000
  passive
  route-reflector
  announce IPv4 unicast
  announce IPv6 unicast
}
neighbor 192.0.2.128/25 {
  remote-as 65001
  passive
  announce IPv4 unicast
  announce IPv6 unicast
}
allow from any
allow to any
";
