//! Doors: TCP-MD5, GTSM, and the API over TLS as bgpctl uses it.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use interop::lab::cluster::bird_of_as;
use interop::lab::{BIRD, Bgpd, Bird, FRR, Frr, Lab, Node, SeenRoute, build_bgpd, run, to, wait_until};

const GLOBAL: &str = "[global]\nasn = 65000\nrouter-id = \"192.0.2.1\"\n";
const PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 179);

fn bird(node: &Node, options: &str) -> Bird {
    Bird::start(node, &bird_config(node, options))
}

fn bird_config(node: &Node, options: &str) -> String {
    let address = node.ipv4;
    let host = address.octets()[3];
    format!(
        "router id {address}; protocol device {{}}\nprotocol direct {{ ipv4; interface \"eth0\"; }}\n\
         protocol static pods {{ ipv4; route 10.1.{host}.0/24 unreachable; }}\n\
         protocol bgp reflector {{ local as 65000; neighbor 192.0.2.1 as 65000; hold time 9; connect retry time 1;\n\
         error wait time 1, 2; {options} ipv4 {{ import all; export where proto = \"pods\"; next hop self; }}; }}\n"
    )
}

/// Whether a plain TCP connection to the reflector is let in.
fn connects(node: &Node) -> bool {
    node.namespace.inside(|| TcpStream::connect_timeout(&PORT, Duration::from_secs(2)).is_ok())
}

#[test]
fn an_unsigned_syn_is_refused_and_keys_are_changed_without_a_restart() {
    let lab = Lab::new("md5", &[&BIRD[..], &["nstat"]].concat());
    let rr = lab.node("rr", 1);
    let (neighbor, ranged, free) = (lab.node("neighbor", 11), lab.node("ranged", 20), lab.node("free", 40));
    rr.write("neighbor.key", "first\n");
    rr.write("range.key", "range\n");
    // RFC 2385 for one address and for a prefix; 192.0.2.40 has no key.
    let config = format!(
        "{GLOBAL}[[neighbor]]\naddress = \"192.0.2.11\"\nremote-asn = 65000\nmd5-password-file = \"neighbor.key\"\n\
         passive = true\nidle-hold-time = 1\n\
         [[peer-group]]\nname = \"nodes\"\nremote-asn = 65000\nmd5-password-file = \"range.key\"\n\
         [[dynamic-neighbors]]\nprefix = \"192.0.2.16/28\"\npeer-group = \"nodes\"\n"
    );
    let bgpd = Bgpd::start(&rr, &config);
    assert!(connects(&free), "the listener answers whom no key is for");
    assert_eq!(rr.namespace.counter("TcpExtTCPMD5NotFound"), 0);
    assert!(!connects(&neighbor) && !connects(&ranged), "an unsigned SYN is let in");
    assert!(
        rr.namespace.counter("TcpExtTCPMD5NotFound") >= 2,
        "the kernel has dropped them for their missing signature"
    );

    let one = bird(&neighbor, "password \"first\";");
    let two = bird(&ranged, "password \"range\";");
    bgpd.wait_established(&["192.0.2.11".to_owned(), "192.0.2.20".to_owned()]);
    let wrong = lab.node("wrong", 21);
    let three = bird(&wrong, "password \"guess\";");
    let picture = || bgpd.picture() + &three.picture();
    wait_until("a wrong key is dropped", || rr.namespace.counter("TcpExtTCPMD5Failure") > 0, picture);
    assert!(bgpd.neighbor("192.0.2.21").is_null(), "{}", picture());

    // Both sides get the next key; the session with the other neighbor does not notice.
    rr.write("neighbor.key", "second\n");
    bgpd.daemon.signal("HUP");
    neighbor.write("bird.conf", &bird_config(&neighbor, "password \"second\";"));
    let _ = one.birdc("configure");
    wait_until(
        "the session is up with the new key",
        || bgpd.neighbor("192.0.2.11")["flaps"] == 1 && bgpd.is_established("192.0.2.11"),
        || bgpd.picture() + &one.picture(),
    );
    assert_eq!(bgpd.neighbor("192.0.2.20")["flaps"], 0, "{}", bgpd.picture());
    assert!(two.is_established("reflector"), "{}", two.picture());
}

/// Linux asks for the key of the longest prefix that it has one for: there is no way to say that an address has none.
#[test]
fn a_neighbor_without_a_key_in_a_range_with_one_is_warned_about_and_cannot_connect() {
    let lab = Lab::new("md5-trap", &[&BIRD[..], &["nstat"]].concat());
    let (rr, node) = (lab.node("rr", 1), lab.node("unsigned", 20));
    let config = |passive: bool| {
        format!(
            "{GLOBAL}[[neighbor]]\naddress = \"192.0.2.20\"\nremote-asn = 65000\nconnect-retry = 1\npassive = {passive}\n\
             [[peer-group]]\nname = \"nodes\"\nremote-asn = 65000\nmd5-password = \"range\"\n\
             [[dynamic-neighbors]]\nprefix = \"192.0.2.16/28\"\npeer-group = \"nodes\"\n"
        )
    };
    let bgpd = Bgpd::start(&rr, &config(true));
    let bird = bird(&node, "");
    let picture = || bgpd.picture() + &bird.picture();
    let dropped = || rr.namespace.counter("TcpExtTCPMD5NotFound") > 0;
    wait_until("the kernel drops what BIRD begins a connection with", dropped, picture);
    assert!(!connects(&node) && !bgpd.is_established("192.0.2.20"), "{}", picture());

    let trap = "neighbor 192.0.2.20 has no key and is in range 192.0.2.16/28, which has one";
    let file = rr.write("active.toml", &config(false)).display().to_string();
    let program = build_bgpd().join("bgpd").display().to_string();
    let checked = run(&[&program, "--check", &file]);
    let said = String::from_utf8_lossy(&checked.stdout).into_owned() + &String::from_utf8_lossy(&checked.stderr);
    assert!(checked.status.success() && said.contains(trap), "{said}");
    let (diff, applied) = (bgpd.ctl(&["config", "diff", &file]), bgpd.ctl(&["config", "apply", &file]));
    assert!(diff.contains(trap) && applied.contains(trap), "{diff}\n{applied}");
    // What bgpd opens is not signed, and not asked for a key.
    let _ = bgpd.ctl(&["neighbor", "reset", "192.0.2.20"]);
    wait_until("bgpd's own connection comes up", || bgpd.is_established("192.0.2.20"), picture);
}

#[test]
fn with_ttl_security_only_packets_of_the_same_link_count() {
    let lab = Lab::new("gtsm", &[&BIRD[..], &["nstat"]].concat());
    let rr = lab.node("rr", 1);
    let (near, far) = (lab.node("near", 11), lab.node("far", 12));
    let neighbor = |host: u8| {
        format!(
            "[[neighbor]]\naddress = \"192.0.2.{host}\"\nremote-asn = 65000\nttl-security = true\nconnect-retry = 1\n"
        )
    };
    let bgpd = Bgpd::start(&rr, &(GLOBAL.to_owned() + &neighbor(11) + &neighbor(12)));
    // RFC 5082 §3: packets with TTL 255 are taken, those with the usual 64 are dropped.
    let one = bird(&near, "direct; ttl security on;");
    let two = bird(&far, "");
    bgpd.wait_established(&["192.0.2.11".to_owned()]);
    let picture = || bgpd.picture() + &one.picture() + &two.picture();
    wait_until(
        "packets that may come from afar are dropped",
        || rr.namespace.counter("TcpExtTCPMinTTLDrop") > 0,
        picture,
    );
    assert!(!bgpd.is_established("192.0.2.12") && !two.is_established("reflector"), "{}", picture());
    assert!(to(&bgpd.routes(), "10.1.11.0/24").is_some(), "{}", picture());
}

#[test]
fn ttl_security_comes_and_goes_while_sessions_go_on() {
    let lab = Lab::new("gtsm-live", &[&FRR[..], &BIRD[..], &["nstat"]].concat());
    let rr = lab.node("rr", 1);
    let nodes = [lab.node("bgpd", 11), lab.node("frr", 12), lab.node("bird", 13)];
    let neighbor = |host: u8, asn: u32, rest: &str| {
        format!(
            "[[neighbor]]\naddress = \"192.0.2.{host}\"\nremote-asn = {asn}\nconnect-retry = 1\nhold-time = 12\n\
             import-policy = [\"accept-all\"]\nexport-policy = [\"accept-all\"]\n{rest}\n"
        )
    };
    let here = |plain: &str, hops: &str| {
        GLOBAL.to_owned() + &neighbor(11, 65000, plain) + &neighbor(12, 65012, hops) + &neighbor(13, 65013, hops)
    };
    let there = |rest: &str| GLOBAL.replace("192.0.2.1\"", "192.0.2.11\"") + &neighbor(1, 65000, rest);
    let (far, near, on) = ("ebgp-multihop = 255", "", "ttl-security = true");
    let bgpd = Bgpd::start(&rr, &here(near, far));
    let other = Bgpd::start(&nodes[0], &there(near));
    // Both send with TTL 255 without asking for it.
    let frr = Frr::start(
        &nodes[1],
        "router bgp 65012\n bgp router-id 192.0.2.12\n no bgp network import-check\n no bgp ebgp-requires-policy\n \
         neighbor 192.0.2.1 remote-as 65000\n neighbor 192.0.2.1 ebgp-multihop 255\n neighbor 192.0.2.1 timers 4 12\n \
         neighbor 192.0.2.1 timers connect 1\n address-family ipv4 unicast\n  network 10.12.0.0/24\n exit-address-family\n",
    );
    let bird = bird_of_as(&nodes[2], 65013, "multihop 255;");
    let addresses = [11, 12, 13].map(|host| format!("192.0.2.{host}"));
    bgpd.wait_established(&addresses);
    let picture = || bgpd.picture() + &other.picture() + &frr.picture() + &bird.picture();
    let dropped = |node: &Node| node.namespace.counter("TcpExtTCPMinTTLDrop");
    let apply = |bgpd: &Bgpd, node: &Node, config: &str| {
        let file = node.write("new.toml", config).display().to_string();
        let diff = bgpd.ctl(&["config", "diff", &file]);
        assert!(diff.contains("ttl-security") && !diff.contains("reset"), "{diff}");
        let _ = bgpd.ctl(&["config", "apply", &file]);
    };
    // What peers say gets through, and what they are told as well.
    let heard = || {
        let keepalives = |address: &String| bgpd.neighbor(address)["messages_received"]["keepalive"].as_u64();
        let before = addresses.each_ref().map(keepalives);
        wait_until(
            "each peer is heard",
            || addresses.iter().zip(before).all(|(of, was)| keepalives(of) > was),
            picture,
        );
    };

    // RFC 5082 §3: what the other bgpd sends counts as from afar until it knows as well.
    apply(&bgpd, &rr, &here(on, on));
    wait_until("packets of the usual TTL are dropped", || dropped(&rr) > 0, picture);
    apply(&other, &nodes[0], &there(on));
    heard();
    let total = dropped(&rr);
    heard();
    assert_eq!(dropped(&rr), total, "all that comes has TTL 255: {}", picture());
    // And back: first here, so that it is the other side that drops.
    apply(&bgpd, &rr, &here(near, far));
    wait_until("the other side drops what is sent here", || dropped(&nodes[0]) > 0, picture);
    apply(&other, &nodes[0], &there(near));
    heard();
    let _ = bgpd.ctl(&["announce", "10.99.0.0/24"]);
    for routes in
        [&|| other.routes(), &|| frr.routes(false), &|| bird.routes(false)] as [&dyn Fn() -> Vec<SeenRoute>; 3]
    {
        wait_until("a new route gets to all", || to(&routes(), "10.99.0.0/24").is_some(), picture);
    }
    let flaps = addresses.each_ref().map(|address| bgpd.neighbor(address)["flaps"].as_u64());
    assert_eq!(flaps, [Some(0); 3], "{}", picture());
}

#[test]
fn bgpctl_shows_who_it_is_over_tls() {
    let lab = Lab::new("tls", &["openssl"]);
    let rr = lab.node("rr", 1);
    let path = |name: &str| rr.dir.join(name).display().to_string();
    let openssl = |arguments: &[&str]| {
        let output = run(&[&["openssl"], arguments].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    let (ca, ca_key) = (path("ca.crt"), path("ca.key"));
    let new = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"];
    openssl(&[&new[..], &["-subj", "/CN=lab", "-keyout", &ca_key, "-out", &ca]].concat());
    for (name, alternative) in
        [("api", "IP:192.0.2.1"), ("admin", "DNS:admin.example"), ("monitor", "DNS:monitor.example")]
    {
        let (cert, key) = (path(&format!("{name}.crt")), path(&format!("{name}.key")));
        let (subject, san) = (format!("/CN={name}"), format!("subjectAltName={alternative}"));
        let signed = ["-subj", &subject, "-addext", &san, "-addext", "basicConstraints=critical,CA:false"];
        let by = ["-CA", &ca, "-CAkey", &ca_key, "-keyout", &key, "-out", &cert];
        openssl(&[&new[..], &signed[..], &by[..]].concat());
    }
    let api = format!(
        "[api]\nlisten = [\"unix:{}\", \"tcp://192.0.2.1:50179\"]\n[api.tls]\ncert-file = \"api.crt\"\n\
         key-file = \"api.key\"\nclient-ca-file = \"ca.crt\"\nread-only = [\"monitor.example\"]\n\
         read-write = [\"admin.example\"]\n",
        path("bgpd.sock")
    );
    let bgpd = Bgpd::start(&rr, &format!("{GLOBAL}{api}"));
    let program = build_bgpd().join("bgpctl").display().to_string();
    let ctl = |who: &str, arguments: &[&str]| {
        let (cert, key) = (path(&format!("{who}.crt")), path(&format!("{who}.key")));
        let all = [
            &[program.as_str(), "--server", "https://192.0.2.1:50179", "--ca", &ca, "--cert", &cert, "--key", &key],
            arguments,
        ];
        let output = rr.namespace.run(&all.concat());
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let announce = ["announce", "10.9.0.0/24"];
    assert_eq!(ctl("monitor", &["show", "neighbors"]), (Some(0), String::new()), "{}", bgpd.daemon.log_end());
    let (code, errors) = ctl("monitor", &announce);
    assert!(code == Some(1) && errors.contains("the role read-only may not call"), "{errors}");
    assert_eq!(ctl("admin", &announce), (Some(0), String::new()), "{}", bgpd.daemon.log_end());
    assert!(to(&bgpd.routes(), "10.9.0.0/24").is_some());
    let plain = rr.namespace.run(&[&program, "--server", "http://192.0.2.1:50179", "show", "neighbors"]);
    assert!(!plain.status.success(), "plaintext is not served");
}
