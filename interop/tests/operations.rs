//! What an operator does to a running reflector, and what its peers see of it.

use interop::lab::cluster::{REFLECTOR, bird, bird_ipv4_only, frr};
use interop::lab::{BIRD, Bgpd, Bird, FRR, Lab, Node, SeenRoute, build_bgpd, run, to, wait_until};

const GLOBAL: &str = "[global]\nasn = 65000\nrouter-id = \"192.0.2.1\"\n";

fn client(host: u8) -> String {
    format!(
        "[[neighbor]]\naddress = \"192.0.2.{host}\"\nremote-asn = 65000\nroute-reflector-client = true\n\
         connect-retry = 1\nidle-hold-time = 1\n"
    )
}

fn bird_client(node: &Node, host: u8) -> Bird {
    Bird::start(node, &bird_ipv4_only(node, host))
}

#[test]
fn a_range_lets_nodes_in_up_to_its_limit_and_frees_the_places_of_those_that_go() {
    let lab = Lab::new("range", &BIRD);
    let rr = lab.node("rr", 1);
    let nodes = [lab.node("a", 11), lab.node("b", 12), lab.node("c", 13)];
    let range = "[[peer-group]]\nname = \"nodes\"\nremote-asn = 65000\nroute-reflector-client = true\n\
                 [[dynamic-neighbors]]\nprefix = \"192.0.2.0/24\"\npeer-group = \"nodes\"\nlimit = 2\n";
    let bgpd = Bgpd::start(&rr, &(GLOBAL.to_owned() + range));
    let mut birds = vec![bird_client(&nodes[0], 11), bird_client(&nodes[1], 12)];
    bgpd.wait_established(&["192.0.2.11".to_owned(), "192.0.2.12".to_owned()]);
    birds.push(bird_client(&nodes[2], 13));
    let refused =
        || bgpd.daemon.log().lines().any(|line| line.contains("192.0.2.13") && line.contains("limit reached"));
    wait_until("the third is refused", refused, || bgpd.picture());
    assert!(!bgpd.is_established("192.0.2.13") && !birds[2].is_established("rr4"), "{}", bgpd.picture());
    let listed = bgpd.neighbor("192.0.2.11");
    assert_eq!(
        (&listed["dynamic_range"], &listed["peer_group"]),
        (&"192.0.2.0/24".into(), &"nodes".into()),
        "{listed}"
    );
    // The first goes for good; its place is free once it has been away for a while.
    drop(birds.remove(0));
    bgpd.wait_established(&["192.0.2.13".to_owned()]);
}

#[test]
fn announcements_resets_and_shutdowns_arrive_at_the_peers() {
    let lab = Lab::new("operator", &[&FRR[..], &BIRD[..]].concat());
    let (rr, frr_node, bird_node) = (lab.node("rr", 1), lab.node("frr", 11), lab.node("bird", 12));
    let originate = "[[originate]]\nprefix = \"10.99.0.0/24\"\n";
    let bgpd = Bgpd::start(&rr, &(REFLECTOR.to_owned() + originate));
    let (frr, bird) = (frr(&frr_node, 11), bird(&bird_node, 12));
    let picture = || bgpd.picture() + &bird.picture();
    let both = |prefix: &str| to(&frr.routes(false), prefix).is_some() && to(&bird.routes(false), prefix).is_some();
    wait_until("both have the originated route", || both("10.99.0.0/24") && both("10.1.11.0/24"), picture);

    let _ = bgpd.ctl(&["announce", "10.98.0.0/24", "--med", "7", "--community", "65000:100", "--local-pref", "200"]);
    wait_until("both have the announced route", || both("10.98.0.0/24"), picture);
    let routes = bird.routes(false);
    let seen = to(&routes, "10.98.0.0/24").expect("it was there");
    let attributes = (seen.next_hop.as_str(), seen.med, seen.local_pref, seen.communities.join(" "));
    assert_eq!(attributes, ("192.0.2.1", Some(7), Some(200), "65000:100".to_owned()));
    let _ = bgpd.ctl(&["withdraw", "10.98.0.0/24"]);
    let neither =
        || to(&frr.routes(false), "10.98.0.0/24").is_none() && to(&bird.routes(false), "10.98.0.0/24").is_none();
    wait_until("both have lost it", neither, picture);

    // A soft reset repeats the routes of both directions and leaves the session.
    let counter = |direction: &str| bgpd.neighbor("192.0.2.12")[direction]["update"].clone();
    let before = (counter("messages_sent"), counter("messages_received"));
    let _ = bgpd.ctl(&["neighbor", "reset", "192.0.2.12", "--soft"]);
    wait_until(
        "the routes went again",
        || counter("messages_sent") != before.0 && counter("messages_received") != before.1,
        picture,
    );
    assert_eq!(bgpd.neighbor("192.0.2.12")["flaps"], 0, "{}", picture());
    let _ = bgpd.ctl(&["neighbor", "reset", "192.0.2.12"]);
    wait_until("the session flaps", || bgpd.neighbor("192.0.2.12")["flaps"] == 1, picture);
    bgpd.wait_established(&["192.0.2.12".to_owned()]);

    // RFC 9003: the text arrives at the other side.
    let _ = bgpd.ctl(&["neighbor", "disable", "192.0.2.11", "--message", "new switch, back at 10"]);
    let told =
        || frr.bgpd.log().contains("new switch, back at 10") || frr.vtysh("show bgp neighbors").contains("new switch");
    wait_until("FRR knows why", told, || frr.picture());
    assert_eq!(bgpd.neighbor("192.0.2.11")["state"], "Idle", "{}", picture());
    wait_until("BIRD has lost FRR's route", || to(&bird.routes(false), "10.1.11.0/24").is_none(), picture);
    let _ = bgpd.ctl(&["neighbor", "enable", "192.0.2.11"]);
    wait_until("BIRD has it again", || to(&bird.routes(false), "10.1.11.0/24").is_some(), picture);
}

#[test]
fn reload_touches_only_what_has_changed_and_a_broken_file_nothing() {
    let lab = Lab::new("reload", &BIRD);
    let rr = lab.node("rr", 1);
    let nodes = [lab.node("a", 11), lab.node("b", 12)];
    let mut bgpd = Bgpd::start(&rr, &(GLOBAL.to_owned() + &client(11)));
    let birds = [bird_client(&nodes[0], 11), bird_client(&nodes[1], 12)];
    bgpd.wait_established(&["192.0.2.11".to_owned()]);
    bgpd.reload(&rr, &(GLOBAL.to_owned() + &client(11) + &client(12)));
    bgpd.wait_established(&["192.0.2.12".to_owned()]);
    let picture = || bgpd.picture() + &birds[0].picture();
    wait_until("they know each other", || to(&birds[0].routes(false), "10.1.12.0/24").is_some(), picture);

    bgpd.reload(&rr, "[global]\nasn = 65000\nrouter-id = \"192.0.2.1\"\nhold = 3\n");
    let refused = || bgpd.daemon.log().contains("unknown key");
    wait_until("the broken file is refused", refused, picture);
    assert!(bgpd.daemon.log().contains("bgpd.toml:4:1"), "{}", bgpd.daemon.log_end());
    assert!(bgpd.is_established("192.0.2.11") && bgpd.is_established("192.0.2.12"), "{}", picture());

    bgpd.reload(&rr, &(GLOBAL.to_owned() + &client(11)));
    wait_until("the second is gone", || bgpd.neighbor("192.0.2.12").is_null(), picture);
    wait_until("and so is its route", || to(&birds[0].routes(false), "10.1.12.0/24").is_none(), picture);
    assert_eq!(bgpd.neighbor("192.0.2.11")["flaps"], 0, "{}", picture());

    let status = bgpd.daemon.terminate();
    assert!(status.success(), "{status}: {}", bgpd.daemon.log_end());
    let lost = || birds[0].birdc("show protocols rr4").contains("Administrative shutdown");
    wait_until("BIRD was told of the shutdown", lost, || birds[0].picture());
    assert!(to(&birds[0].routes(false), "10.1.12.0/24").is_none(), "{}", birds[0].picture());
}

#[test]
fn a_drained_neighbor_is_told_the_last_choice_and_stays_up() {
    // RFC 8326 §4
    let lab = Lab::new("drain", &[&FRR[..], &BIRD[..]].concat());
    let (rr, frr_node, bird_node) = (lab.node("rr", 1), lab.node("frr", 11), lab.node("bird", 12));
    let bgpd = Bgpd::start(&rr, &(GLOBAL.to_owned() + &client(11) + &client(12)));
    let (frr, bird) = (frr(&frr_node, 11), bird_client(&bird_node, 12));
    bgpd.wait_established(&["192.0.2.11".to_owned(), "192.0.2.12".to_owned()]);
    let picture = || bgpd.picture() + &frr.picture() + &bird.picture();
    let says = |route: Option<&SeenRoute>, pref: u32, marked: bool| {
        let has = |route: &SeenRoute| route.communities.iter().any(|c| c == "graceful-shutdown" || c == "65535:0");
        route.is_some_and(|route| route.local_pref == Some(pref) && has(route) == marked)
    };
    let both = |pref: u32, marked: bool| {
        says(to(&frr.routes(false), "10.1.12.0/24"), pref, marked)
            && says(to(&bird.routes(false), "10.1.11.0/24"), pref, marked)
    };
    wait_until("they have each other's routes", || both(100, false), picture);
    for whom in ["192.0.2.11", "--all"] {
        let _ = bgpd.ctl(&["neighbor", "drain", whom]);
        wait_until("routes in both directions are the last choice", || both(0, true), picture);
        assert_eq!(bgpd.neighbor("192.0.2.11")["graceful_shutdown"], true, "{}", picture());
        let _ = bgpd.ctl(&["neighbor", "undrain", whom]);
        wait_until("they are as before", || both(100, false), picture);
    }
    assert_eq!(bgpd.neighbor("192.0.2.11")["flaps"], 0, "{}", picture());
    assert_eq!(bgpd.neighbor("192.0.2.12")["flaps"], 0, "{}", picture());
}

/// Runs bgpctl; exit code, standard output and standard error.
fn bgpctl(arguments: &[&str]) -> (i32, String, String) {
    let program = build_bgpd().join("bgpctl").display().to_string();
    let output = run(&[&[program.as_str()], arguments].concat());
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}

#[test]
fn bgpctl_says_what_is_wrong_and_what_to_do() {
    let (code, out, errors) = bgpctl(&["--server", "unix:/nowhere/bgpd.sock", "show", "neighbors"]);
    assert_eq!((code, out.as_str()), (3, ""), "{errors}");
    assert!(errors.contains("/nowhere/bgpd.sock") && errors.lines().count() == 1, "{errors}");

    let lab = Lab::new("cli", &[]);
    let rr = lab.node("rr", 1);
    let bgpd = Bgpd::start(&rr, &(GLOBAL.to_owned() + &client(11)));
    let fails = |arguments: &[&str], code: i32, parts: &[&str]| {
        let (got, errors) = bgpd.try_ctl(arguments).expect_err("it must fail");
        assert!(got == code && parts.iter().all(|part| errors.contains(part)), "{arguments:?}: {got} {errors}");
    };
    fails(&["show", "neighbors", "192.0.2.77"], 1, &["192.0.2.77"]);
    fails(&["withdraw", "10.0.0.0/24"], 1, &["10.0.0.0/24"]);
    fails(&["announce", "10.0.0.1/24"], 1, &["10.0.0.1/24", "10.0.0.0/24"]);
    fails(&["announce", "somewhere"], 1, &["somewhere"]);
    fails(&["announce", "2001:db8:1::/48", "--next-hop", "192.0.2.9"], 1, &["192.0.2.9", "IPv6"]);
    fails(&["neighbor", "add", "192.0.2.11", "--remote-asn", "65000"], 1, &["192.0.2.11", "already"]);
    fails(&["neighbor", "disable", "192.0.2.11", "--message", &"x".repeat(300)], 1, &["message"]);
    fails(&["show", "nonsense"], 2, &["nonsense"]);
    assert_eq!(bgpd.json(&["show", "routes"]), serde_json::json!([]), "nothing has changed");
}

/// Where BGP is listened for on a node.
fn listens(node: &Node) -> Vec<String> {
    let output = run(&["ip", "netns", "exec", node.namespace.name(), "ss", "-Hltn", "sport = :179"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().filter_map(|line| line.split_whitespace().nth(3)).map(str::to_owned).collect()
}

#[test]
fn listening_moves_between_all_addresses_and_one_by_reload_and_no_session_ends() {
    let lab = Lab::new("listen", &BIRD);
    let (rr, node) = (lab.node("rr", 1), lab.node("bird", 11));
    let config = |listen: &str| format!("{GLOBAL}listen = [\"{listen}\"]\n{}passive = true\n", client(11));
    let bgpd = Bgpd::start(&rr, &config("0.0.0.0:179"));
    let bird = bird_client(&node, 11);
    let picture = || bgpd.picture() + &bird.picture();
    let times =
        |wanted: u64| bgpd.is_established("192.0.2.11") && bgpd.neighbor("192.0.2.11")["established_count"] == wanted;
    wait_until("the session is up", || times(1), picture);
    for (address, sessions) in [("192.0.2.1:179", 1), ("0.0.0.0:179", 2)] {
        bgpd.reload(&rr, &config(address));
        wait_until("it listens there alone", || listens(&rr) == [address], picture);
        assert!(times(sessions), "{}", picture());
        // The peer has to connect: bgpd is passive.
        let _ = bgpd.ctl(&["neighbor", "reset", "192.0.2.11"]);
        wait_until("a session comes up over the new socket", || times(sessions + 1), picture);
    }
    bgpd.reload(&rr, &config("192.0.2.99:179"));
    let refused = || bgpd.daemon.log().contains("cannot listen on 192.0.2.99:179");
    wait_until("an address that is not there is refused", refused, picture);
    assert_eq!(listens(&rr), ["0.0.0.0:179"], "{}", picture());
}
