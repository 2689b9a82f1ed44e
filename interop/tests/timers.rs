//! The hold timer is about what peers did not send, not about what bgpd did not come to read.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use interop::lab::{Bgpd, Lab, Node, PATIENCE, wait_until};

const CONFIG: &str = "[global]\nasn = 65000\nrouter-id = \"192.0.2.1\"\nmax-setup-rate = 0\n\
    [[peer-group]]\nname = \"nodes\"\nremote-asn = 65000\nhold-time = 10\n\
    [[dynamic-neighbors]]\nprefix = \"10.8.0.0/24\"\npeer-group = \"nodes\"\n";
const HOLD_TIME: Duration = Duration::from_secs(10);
/// If chance decided whether a session ends, some of so many would.
const PEERS: u8 = 40;
/// Marker, length, type.
const KEEPALIVE: [u8; 19] = [255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 0, 19, 4];

/// An OPEN without capabilities: AS 65000, hold time 90 s.
fn open(router_id: Ipv4Addr) -> Vec<u8> {
    let mut octets = KEEPALIVE.to_vec();
    octets[17..].copy_from_slice(&[29, 1]);
    octets.extend([4, 253, 232, 0, 90]);
    octets.extend(router_id.octets());
    octets.push(0);
    octets
}

fn connect(node: &Node, host: u8) -> TcpStream {
    let from = Ipv4Addr::new(10, 8, 0, host);
    let mut stream = node.namespace.inside(|| {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
        socket.bind(&SocketAddr::new(IpAddr::V4(from), 0).into()).expect("the address is local");
        let to = SocketAddr::from(([192, 0, 2, 1], 179));
        socket.connect_timeout(&to.into(), PATIENCE).expect("bgpd listens");
        TcpStream::from(socket)
    });
    stream.write_all(&open(from)).expect("there is room for an OPEN");
    stream.write_all(&KEEPALIVE).expect("there is room for a KEEPALIVE");
    // What bgpd says is not looked at, but must not fill the window.
    let mut reader = stream.try_clone().expect("a descriptor is left");
    thread::spawn(move || while matches!(reader.read(&mut [0; 4096]), Ok(count) if count > 0) {});
    stream
}

#[test]
fn a_daemon_that_stood_still_for_a_hold_time_hears_what_peers_said_meanwhile() {
    // RFC 4271 §6.5.
    let lab = Lab::new("timers", &[]);
    let (us, crowd) = (lab.node("us", 1), lab.node("crowd", 2));
    us.namespace.ip("route add 10.8.0.0/24 via 192.0.2.2");
    crowd.namespace.ip("route add local 10.8.0.0/24 dev lo");
    let bgpd = Bgpd::start(&us, CONFIG);
    let mut peers: Vec<_> = (1..=PEERS).map(|host| connect(&crowd, host)).collect();
    let sessions = || bgpd.json(&["show", "neighbors"]).as_array().cloned().unwrap_or_default();
    let all_up = || sessions().iter().filter(|neighbor| neighbor["state"] == "Established").count() == peers.len();
    wait_until("all sessions are up", all_up, || bgpd.picture());
    bgpd.daemon.signal("STOP");
    let stopped = Instant::now();
    while stopped.elapsed() < HOLD_TIME + Duration::from_secs(2) {
        peers.iter_mut().for_each(|peer| peer.write_all(&KEEPALIVE).expect("there is room for a KEEPALIVE"));
        thread::sleep(Duration::from_millis(500));
    }
    bgpd.daemon.signal("CONT");
    // Once each session has taken a KEEPALIVE of after that, its hold timer has been looked at.
    let keepalives = |neighbor: &serde_json::Value| neighbor["messages_received"]["keepalive"].as_u64();
    let before: Vec<_> = sessions().iter().map(keepalives).collect();
    peers.iter_mut().for_each(|peer| drop(peer.write_all(&KEEPALIVE)));
    let taken = || sessions().iter().zip(&before).all(|(neighbor, before)| keepalives(neighbor) > *before);
    wait_until("every session goes on", taken, || bgpd.picture());
    let ended: Vec<_> = sessions().into_iter().filter(|neighbor| neighbor["flaps"] != 0).collect();
    assert!(ended.is_empty() && sessions().len() == peers.len(), "{ended:?}");
}
