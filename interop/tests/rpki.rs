//! Origin validation with StayRTR as the cache: VRPs come, decide, change and expire while sessions stay up.

use interop::lab::cluster::bird_of_as;
use interop::lab::{BIRD, Bgpd, Lab, STAYRTR, StayRtr, to, wait_until};

/// Invalid routes are rejected on import; valid ones are preferred.
const CONFIG: &str = "[global]\nasn = 65000\nrouter-id = \"192.0.2.1\"\n\
    [[policy]]\nname = \"origin\"\n\
    [[policy.statement]]\nname = \"invalid\"\nmatch.rpki = [\"invalid\"]\nthen = \"reject\"\n\
    [[policy.statement]]\nname = \"valid\"\nmatch.rpki = [\"valid\"]\nset.local-pref = 200\n";

fn neighbor(host: u8, import: &str) -> String {
    format!(
        "[[neighbor]]\naddress = \"192.0.2.{host}\"\nremote-asn = 650{host}\nconnect-retry = 1\nidle-hold-time = 1\n\
         import-policy = [{import}\"accept-all\"]\nexport-policy = [\"accept-all\"]\n"
    )
}

fn cache(host: u8, preference: u8) -> String {
    format!(
        "[[rpki]]\naddress = \"192.0.2.{host}\"\nport = 3323\npreference = {preference}\nretry-interval = 1\n\
         expire-interval = 15\n"
    )
}

const ROUTE: &str = "10.11.0.0/24";

/// What `show rpki` says of a cache.
fn cache_of(bgpd: &Bgpd, host: u8) -> serde_json::Value {
    let address = format!("192.0.2.{host}:3323");
    let caches = bgpd.json(&["show", "rpki"])["caches"].clone();
    let found = caches.as_array().and_then(|all| all.iter().find(|one| one["address"] == address).cloned());
    found.unwrap_or_default()
}

fn picture(bgpd: &Bgpd) -> String {
    bgpd.try_ctl(&["show", "rpki"]).unwrap_or_default() + &bgpd.picture()
}

/// The state of the route's origin, as `show routes` has it.
fn state(bgpd: &Bgpd) -> String {
    let routes = bgpd.json(&["show", "routes", ROUTE]);
    routes[0]["validation"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn vrps_of_stayrtr_decide_live_and_count_until_they_expire() {
    let lab = Lab::new("rpki", &[&BIRD[..], &STAYRTR[..]].concat());
    let (us, origin, other) = (lab.node("us", 1), lab.node("origin", 11), lab.node("other", 12));
    let (first, second) = (lab.node("first", 5), lab.node("second", 6));
    let right = [(ROUTE, 24, 65011), ("2001:db8:7::/48", 48, 65011)];
    let wrong = [(ROUTE, 24, 64999)];
    let mut stayrtr = StayRtr::start(&first, 1, &right);
    let config = [CONFIG.to_owned(), neighbor(11, "\"origin\", "), neighbor(12, ""), cache(5, 1)].concat();
    let bgpd = Bgpd::start(&us, &config);
    let (_origin, other) = (bird_of_as(&origin, 65011, ""), bird_of_as(&other, 65012, ""));
    let is_told = || to(&other.routes(false), ROUTE).is_some();
    let fail = || picture(&bgpd) + &other.picture();

    bgpd.wait_established(&["192.0.2.11".to_owned(), "192.0.2.12".to_owned()]);
    wait_until("the VRPs are there", || cache_of(&bgpd, 5)["vrps"] == 2, fail);
    wait_until("the route is valid", || state(&bgpd) == "valid" && is_told(), fail);
    // BIRD is given the preference that only valid routes get.
    let preferred = || bgpd.json(&["show", "routes", ROUTE])[0]["local_pref"] == 200;
    wait_until("the policy has seen it", preferred, fail);
    let position = cache_of(&bgpd, 5);
    assert_eq!((&position["state"], &position["version"]), (&"synchronized".into(), &1.into()), "{}", fail());

    StayRtr::write(&first, &wrong);
    wait_until("the route is invalid", || state(&bgpd) == "invalid", fail);
    wait_until("and withdrawn", || !is_told(), fail);
    let invalid = bgpd.json(&["show", "routes", "--validation", "invalid"]);
    assert_eq!((invalid.as_array().map(Vec::len), &invalid[0]["prefix"]), (Some(1), &ROUTE.into()), "{}", fail());
    let why = bgpd.ctl(&["explain", ROUTE]);
    assert!(why.contains("RPKI invalid") && why.contains("policy \"origin\", statement \"invalid\""), "{why}");
    let covering = bgpd.ctl(&["show", "rpki", ROUTE, "--origin", "65011"]);
    assert!(covering.starts_with("invalid\n") && covering.contains("AS 64999"), "{covering}");
    assert_ne!(cache_of(&bgpd, 5)["serial"], position["serial"], "{}", fail());

    // A second cache that nobody prefers changes nothing while the first one is there.
    let _backup = StayRtr::start(&second, 0, &right);
    bgpd.reload(&us, &(config.clone() + &cache(6, 2)));
    wait_until("the second is there as well", || cache_of(&bgpd, 6)["state"] == "synchronized", fail);
    assert_eq!(cache_of(&bgpd, 6)["version"], 0, "{}", fail());
    assert!(state(&bgpd) == "invalid" && cache_of(&bgpd, 6)["in_use"] == false, "{}", fail());
    stayrtr.daemon.kill();
    wait_until("the second counts", || state(&bgpd) == "valid" && is_told(), fail);
    let mut stayrtr = StayRtr::start(&first, 1, &wrong);
    wait_until("the first counts again", || state(&bgpd) == "invalid" && !is_told(), fail);

    bgpd.reload(&us, &config);
    wait_until("the second is forgotten", || cache_of(&bgpd, 6).is_null(), fail);
    stayrtr.daemon.kill();
    wait_until("what is there is stale", || cache_of(&bgpd, 5)["stale"] == true, fail);
    assert_eq!(state(&bgpd), "invalid", "{}", fail());
    wait_until("until it expires", || state(&bgpd) == "not-found" && is_told(), fail);
    assert_eq!(cache_of(&bgpd, 5)["vrps"], 0, "{}", fail());
    // Of all this the sessions have noticed nothing.
    for address in ["192.0.2.11", "192.0.2.12"] {
        assert_eq!(bgpd.neighbor(address)["established_count"], 1, "{}", fail());
    }
}
