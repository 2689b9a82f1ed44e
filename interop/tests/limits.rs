//! Limits: prefixes of a neighbor, connections that say nothing, connections too often, streams of the API.

use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};

use interop::lab::{BIRD, Bgpd, Bird, Daemon, FRR, Frr, Lab, Node, PATIENCE, build_bgpd, wait_for, wait_until};

const GLOBAL: &str = "[global]\nasn = 65000\nrouter-id = \"192.0.2.1\"\n";

fn neighbor(host: u8, more: &str) -> String {
    format!(
        "[[neighbor]]\naddress = \"192.0.2.{host}\"\nremote-asn = 65000\nconnect-retry = 1\nidle-hold-time = 1\n{more}\n"
    )
}

fn frr(networks: u8) -> String {
    let networks: String = (0..networks).map(|at| format!("  network 10.11.{at}.0/24\n")).collect();
    format!(
        "router bgp 65000\n bgp router-id 192.0.2.11\n no bgp network import-check\n neighbor 192.0.2.1 remote-as 65000\n \
         neighbor 192.0.2.1 timers connect 1\n address-family ipv4 unicast\n{networks} exit-address-family\n"
    )
}

fn bird(networks: u8) -> String {
    let routes: String = (0..networks).map(|at| format!("route 10.12.{at}.0/24 unreachable; ")).collect();
    format!(
        "router id 192.0.2.12; protocol device {{}}\nprotocol static {{ ipv4; {routes} }}\n\
         protocol direct {{ ipv4; interface \"eth0\"; }}\n\
         protocol bgp up {{ local as 65000; neighbor 192.0.2.1 as 65000; connect retry time 1; error wait time 1, 2;\n\
         ipv4 {{ import all; export where source = RTS_STATIC; next hop self; }}; }}"
    )
}

#[test]
fn prefixes_above_the_limit_are_dropped_and_taken_once_the_limit_is_raised() {
    let lab = Lab::new("discard", &FRR);
    let (us, frr_node) = (lab.node("us", 1), lab.node("frr", 11));
    let config = |most| {
        let more = format!("max-prefixes = {{ ipv4-unicast = {most} }}\nmax-prefixes-action = \"discard-new\"");
        GLOBAL.to_owned() + &neighbor(11, &more)
    };
    let bgpd = Bgpd::start(&us, &config(3));
    let frr = Frr::start(&frr_node, &frr(5));
    let prefixes = || bgpd.neighbor("192.0.2.11")["families"][0].clone();
    let picture = || bgpd.picture() + &frr.picture();
    let full = || prefixes()["received"] == 3 && prefixes()["refused"] == 2;
    wait_until("three are taken and two refused", full, picture);
    assert_eq!((&prefixes()["limit"], bgpd.routes().len()), (&3.into(), 3), "{}", picture());
    let details = bgpd.ctl(&["show", "neighbors", "192.0.2.11"]);
    assert!(details.contains("3, 2 announcements above it dropped"), "{details}");
    let log = bgpd.daemon.log();
    assert!(log.contains("prefix limit exceeded") && log.contains("the prefix limit is near"), "{log}");
    bgpd.reload(&us, &config(100));
    wait_until("the new limit is there", || prefixes()["limit"] == 100, picture);
    let _ = bgpd.ctl(&["neighbor", "refresh", "192.0.2.11"]);
    wait_until("all are taken", || bgpd.routes().len() == 5, picture);
    let neighbor = bgpd.neighbor("192.0.2.11");
    assert_eq!((&neighbor["flaps"], &neighbor["established_count"]), (&0.into(), &1.into()), "{neighbor}");
}

#[test]
fn a_session_above_the_limit_ends_with_the_reason_and_comes_back_after_a_time() {
    // RFC 4486 §4.
    let lab = Lab::new("restart", &[&FRR[..], &BIRD[..]].concat());
    let (us, frr_node, bird_node) = (lab.node("us", 1), lab.node("frr", 11), lab.node("bird", 12));
    let config = |most, wait| {
        let more = format!("max-prefixes = {most}\nmax-prefixes-restart-time = {wait}");
        GLOBAL.to_owned() + &neighbor(11, "") + &neighbor(12, &more)
    };
    let bgpd = Bgpd::start(&us, &config(3, 0));
    let (frr, bird) = (Frr::start(&frr_node, &frr(2)), Bird::start(&bird_node, &bird(5)));
    let picture = || bgpd.picture() + &bird.picture() + &frr.picture();
    let error = || {
        let error = bgpd.neighbor("192.0.2.12")["last_error"].as_str().unwrap_or_default().to_owned();
        error.starts_with("prefix limit exceeded").then_some(error)
    };
    let error = wait_for("the session has ended", error, picture);
    assert_eq!(error, "prefix limit exceeded: more than 3 ipv4-unicast; down until it is reset");
    let told = || bird.birdc("show protocols all up").to_lowercase().contains("maximum number of prefixes");
    wait_until("BIRD knows why", told, picture);
    let neighbor = bgpd.neighbor("192.0.2.12");
    assert_eq!((&neighbor["state"], &neighbor["flaps"]), (&"Idle".into(), &1.into()), "{neighbor}");
    wait_until("its routes are gone", || bgpd.routes().len() == 2, picture);
    // Another limit and a reset let it in again; with a time to wait it comes back by itself.
    bgpd.reload(&us, &config(4, 1));
    let _ = bgpd.ctl(&["neighbor", "reset", "192.0.2.12"]);
    let again = || bgpd.neighbor("192.0.2.12")["flaps"].as_u64() >= Some(3);
    wait_until("it has come back and exceeded the limit again", again, picture);
    bgpd.reload(&us, &config(5, 1));
    wait_until("all is well", || bgpd.routes().len() == 7 && bgpd.is_established("192.0.2.12"), picture);
    assert_eq!(bgpd.neighbor("192.0.2.11")["flaps"], 0, "{}", picture());
}

#[test]
fn a_diff_names_the_session_that_a_lower_limit_ends_and_what_runs_is_shown_without_secrets() {
    let lab = Lab::new("lower", &FRR);
    let (us, frr_node) = (lab.node("us", 1), lab.node("frr", 11));
    let config = |more: &str| GLOBAL.to_owned() + &neighbor(11, more) + &neighbor(99, "md5-password = \"hush\"");
    let bgpd = Bgpd::start(&us, &config(""));
    let frr = Frr::start(&frr_node, &frr(5));
    let picture = || bgpd.picture() + &frr.picture();
    wait_until("all routes are there", || bgpd.routes().len() == 5, picture);
    let file = |more: &str| us.write("new.toml", &config(more)).display().to_string();
    let resets = |more: &str| {
        let steps = bgpd.json(&["config", "diff", &file(more)]);
        let steps = steps.as_array().expect("a list of steps").clone();
        steps.into_iter().filter(|step| !step["neighbor"].is_null()).collect::<Vec<_>>()
    };
    assert!(resets("max-prefixes = 5").is_empty());
    assert!(resets("max-prefixes = 4\nmax-prefixes-action = \"warn\"").is_empty());
    let named = resets("max-prefixes = 4");
    assert_eq!(named.len(), 1, "{named:?}");
    assert_eq!(named[0]["neighbor"], "192.0.2.11", "{named:?}");
    assert!(named[0]["step"].as_str().is_some_and(|step| step.contains("max-prefixes: 5 ")), "{named:?}");
    let _ = bgpd.ctl(&["config", "apply", &file("max-prefixes = 4")]);
    wait_until("the session has ended", || bgpd.neighbor("192.0.2.11")["flaps"] == 1, picture);

    let _ = bgpd.ctl(&["neighbor", "add", "192.0.2.77", "--remote-asn", "65000"]);
    let shown = bgpd.ctl(&["config", "show"]);
    let (document, declared) = shown.split_once("# declared through the API").expect("two parts");
    assert!(document.contains("max-prefixes = 4") && document.contains("(hidden)"), "{shown}");
    assert!(!document.contains("192.0.2.77") && declared.contains("192.0.2.77"), "{shown}");
    assert!(!shown.contains("hush"), "{shown}");
}

/// A connection to the speaker from an address of a node, which need not be its own.
fn connect(node: &Node, from: Ipv4Addr) -> TcpStream {
    node.namespace.inside(|| {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
        socket.bind(&SocketAddr::new(IpAddr::V4(from), 0).into()).expect("the address is local");
        let to = SocketAddr::from(([192, 0, 2, 1], 179));
        socket.connect_timeout(&to.into(), PATIENCE).expect("the speaker listens");
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
        stream
    })
}

/// Whether the speaker answers a connection with its OPEN rather than closing it.
fn is_let_in(stream: &mut TcpStream) -> bool {
    matches!(stream.read(&mut [0; 19]), Ok(count) if count > 0)
}

/// Whether the speaker closes a connection.
fn is_over(stream: &mut TcpStream) -> bool {
    let mut octets = [0; 256];
    loop {
        match stream.read(&mut octets) {
            Ok(0) => return true,
            Ok(_) => {}
            // A reset is an end, too.
            Err(error) => return error.kind() == std::io::ErrorKind::ConnectionReset,
        }
    }
}

#[test]
fn connections_that_say_nothing_make_room_and_those_that_come_too_fast_are_refused() {
    let lab = Lab::new("connections", &[&FRR[..], &BIRD[..]].concat());
    let (us, crowd, frr_node) = (lab.node("us", 1), lab.node("crowd", 2), lab.node("frr", 11));
    crowd.namespace.ip("route add local 192.0.2.128/25 dev lo");
    let config = |limits: &str| {
        format!(
            "{GLOBAL}{limits}\n[[peer-group]]\nname = \"nodes\"\nremote-asn = 65000\n\
             [[dynamic-neighbors]]\nprefix = \"192.0.2.128/25\"\npeer-group = \"nodes\"\n{}",
            neighbor(11, "")
        )
    };
    let bgpd = Bgpd::start(&us, &config("max-pending = 3\nmax-setup-rate = 0"));
    let frr = Frr::start(&frr_node, &frr(1));
    bgpd.wait_established(&["192.0.2.11".to_owned()]);
    let picture = || bgpd.picture() + &frr.picture();
    let counts = || bgpd.json(&["show", "summary"])["connections"].clone();
    let host = |host: u8| Ipv4Addr::new(192, 0, 2, host);
    let mut silent: Vec<TcpStream> = (130..133).map(|at| connect(&crowd, host(at))).collect();
    assert!(silent.iter_mut().all(is_let_in), "{}", picture());
    // One more is let in, and the first makes room.
    let more = connect(&crowd, host(140));
    silent.push(more);
    assert!(is_let_in(&mut silent[3]), "{}", picture());
    assert!(is_over(&mut silent[0]), "{}", picture());
    assert_eq!((&counts()["pending"], &counts()["refused_pending"]), (&3.into(), &1.into()), "{}", picture());
    // Nodes that say something come in however many there are that do not.
    silent.extend((160..190).map(|at| connect(&crowd, host(at))));
    let node = Bird::start(&crowd, &bird(1).replace("local as", "local 192.0.2.129 as"));
    wait_until("a node comes in", || bgpd.is_established("192.0.2.129"), || picture() + &node.picture());
    drop((node, silent));
    wait_until("nothing is pending", || counts()["pending"] == 0, picture);
    assert!(is_let_in(&mut connect(&crowd, host(140))), "{}", picture());
    // Faster than the rate allows, from one address.
    bgpd.reload(&us, &config("max-setup-rate = 1"));
    let refused = || {
        let _ = connect(&crowd, host(150));
        counts()["refused_rate"].as_u64() > Some(0)
    };
    wait_until("the source is refused", refused, picture);
    let summary = bgpd.ctl(&["show", "summary"]);
    assert!(summary.contains("connections too fast"), "{summary}");
    wait_until("it is let in again later", || is_let_in(&mut connect(&crowd, host(150))), picture);
    assert_eq!(bgpd.neighbor("192.0.2.11")["flaps"], 0, "{}", picture());
}

#[test]
fn streams_of_the_api_are_limited() {
    let lab = Lab::new("streams", &[]);
    let us = lab.node("us", 1);
    let bgpd = Bgpd::start(&us, &format!("{GLOBAL}[api]\nmax-streams = 2\n"));
    let program = build_bgpd().join("bgpctl").display().to_string();
    let server = format!("unix:{}", us.dir.join("bgpd.sock").display());
    let watch = |name: &str| Daemon::start(&us, name, &program, &["--server", &server, "watch", "routes"]);
    let mut watches = [watch("first"), watch("second")];
    let streams = || bgpd.json(&["show", "summary"])["streams"].clone();
    wait_until("both watch", || streams() == 2, || bgpd.picture());
    let (_, error) = bgpd.try_ctl(&["show", "routes"]).expect_err("no third stream");
    assert!(error.contains("2 streams are open already"), "{error}");
    assert_eq!(bgpd.json(&["show", "summary"])["streams_refused"], 1);
    watches[0].kill();
    wait_until("there is room again", || bgpd.try_ctl(&["show", "routes"]).is_ok(), || bgpd.picture());
}
