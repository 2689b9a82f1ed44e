//! A filter in Roto that asks for the state of origins, with StayRTR as the cache and BIRD as what the routes come from and
//! go to: what the cache says changes what the filter makes of routes that are in.

use interop::lab::cluster::bird_of_as;
use interop::lab::{BIRD, Bgpd, Lab, STAYRTR, StayRtr, to, wait_until};

/// Valid routes are accepted at once; what is not found goes on to the statements, marked.
const CONFIG: &str = r#"
[global]
asn = 65000
router-id = "192.0.2.1"

[[filter]]
name = "origin"
file = "origin.roto"

[[policy]]
name = "unknown"
[[policy.statement]]
name = "marked"
match.community-sets = ["unknown"]
set.local-pref = 50

[[community-set]]
name = "unknown"
communities = ["65000:404"]

[[rpki]]
address = "192.0.2.5"
port = 3323
retry-interval = 1

[[neighbor]]
address = "192.0.2.11"
remote-asn = 65011
connect-retry = 1
import-policy = ["origin", "unknown", "accept-all"]
export-policy = ["accept-all"]

[[neighbor]]
address = "192.0.2.12"
remote-asn = 65012
connect-retry = 1
import-policy = ["accept-all"]
export-policy = ["accept-all"]
"#;

const FILTER: &str = "
filtermap main(route: Route) {
    if route.is_rpki_invalid() {
        reject
    } else {
        if route.is_rpki_valid() {
            route.set_local_pref(200);
        } else {
            route.add_community(65000, 404);
            route.next();
        }
        accept
    }
}
";

const ROUTE: &str = "10.11.0.0/24";

#[test]
fn a_filter_judges_routes_again_when_the_cache_says_something_else() {
    let lab = Lab::new("filters", &[&BIRD[..], &STAYRTR[..]].concat());
    let (us, origin, other) = (lab.node("us", 1), lab.node("origin", 11), lab.node("other", 12));
    let cache = lab.node("cache", 5);
    let stayrtr = StayRtr::start(&cache, 1, &[(ROUTE, 24, 65011)]);
    us.write("origin.roto", FILTER);
    let bgpd = Bgpd::start(&us, CONFIG);
    let (_origin, other) = (bird_of_as(&origin, 65011, ""), bird_of_as(&other, 65012, ""));
    let picture = || {
        let rpki = bgpd.try_ctl(&["show", "rpki"]).unwrap_or_default();
        rpki + &bgpd.picture() + &other.picture() + &stayrtr.daemon.log_end()
    };
    let is_told = || to(&other.routes(false), ROUTE).is_some();
    // The state of the origin, and what the filter has made of the route.
    let seen = |state: &str, local_pref: u64, communities: &[&str]| {
        let route = bgpd.json(&["show", "routes", ROUTE])[0].clone();
        route["validation"] == state
            && route["local_pref"].as_u64().unwrap_or(100) == local_pref
            && route["communities"].as_array().is_some_and(|all| all == communities)
    };

    bgpd.wait_established(&["192.0.2.11".to_owned(), "192.0.2.12".to_owned()]);
    wait_until("valid: accepted by the filter", || seen("valid", 200, &[]) && is_told(), picture);

    StayRtr::write(&cache, &[(ROUTE, 24, 64999)]);
    wait_until("invalid: rejected by the filter, and withdrawn", || !is_told(), picture);
    let why = bgpd.ctl(&["explain", ROUTE]);
    assert!(why.contains("RPKI invalid") && why.contains("filter \"origin\""), "{why}");

    StayRtr::write(&cache, &[("10.99.0.0/24", 24, 64999)]);
    let unknown = || seen("not-found", 50, &["65000:404"]) && is_told();
    wait_until("not found: passed on to the statements", unknown, picture);
    let steps = bgpd.ctl(&["policy", "test", ROUTE, "--existing", "--from", "192.0.2.11"]);
    assert!(steps.contains("origin") && steps.contains("next") && steps.contains("marked"), "{steps}");

    // A new source is live as well.
    us.write("origin.roto", &FILTER.replace("route.next();", ""));
    bgpd.daemon.signal("HUP");
    wait_until("the filter keeps it", || seen("not-found", 100, &["65000:404"]) && is_told(), picture);

    StayRtr::write(&cache, &[(ROUTE, 24, 65011)]);
    wait_until("valid again", || seen("valid", 200, &[]) && is_told(), picture);
    // Of all this the sessions have noticed nothing.
    for address in ["192.0.2.11", "192.0.2.12"] {
        assert_eq!(bgpd.neighbor(address)["established_count"], 1, "{}", picture());
    }
}
