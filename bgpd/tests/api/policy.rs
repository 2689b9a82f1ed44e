//! What policies make of routes: of the table, and of routes that a request describes.

use bgpd_proto::v1;
use bgpd_proto::v1::policy_service_client::PolicyServiceClient;
use tonic::Code;

use super::daemon::{Daemon, free_port, wait_until};
use super::speaker::{Path, Speaker};

fn config(port: u16) -> String {
    format!(
        "[global]\nasn = 65000\nrouter-id = \"192.0.2.1\"\nlisten = [\"127.0.0.1:{port}\"]\n\
         [[prefix-set]]\nname = \"tens\"\nprefixes = [\"10.0.0.0/8 le 32\"]\n\
         [[policy]]\nname = \"prefer\"\n[[policy.statement]]\nname = \"tens\"\nmatch.prefix-sets = [\"tens\"]\n\
         match.local-pref = \"<=150\"\nset = {{ local-pref = \"+50\", weight = 3, add-communities = [\"65000:1\"] }}\n\
         then = \"accept\"\n[[policy.statement]]\nname = \"others\"\nthen = \"reject\"\n\
         [[policy]]\nname = \"out\"\n[[policy.statement]]\nname = \"far\"\nmatch.med = \">=1\"\nthen = \"reject\"\n\
         [[neighbor]]\naddress = \"127.0.0.2\"\nremote-asn = 65000\npassive = true\n\
         import-policy = [\"prefer\"]\nexport-policy = [\"out\", \"accept-all\"]\n\
         [[neighbor]]\naddress = \"127.0.0.3\"\nremote-asn = 65003\npassive = true\n"
    )
}

async fn test(daemon: &Daemon, request: v1::TestPolicyRequest) -> Result<v1::TestPolicyResponse, tonic::Status> {
    let mut client = PolicyServiceClient::new(daemon.connect().await);
    client.test(request).await.map(tonic::Response::into_inner)
}

fn of(prefix: &str, from: &str, existing: bool) -> v1::TestPolicyRequest {
    v1::TestPolicyRequest { prefix: prefix.into(), from: from.into(), existing, ..Default::default() }
}

async fn has_routes(daemon: &Daemon, prefix: &str) -> bool {
    let mut routes = daemon.routes().await;
    let wanted = v1::ExplainRequest { prefix: prefix.into(), to: String::new() };
    routes.explain(wanted).await.is_ok()
}

#[tokio::test]
async fn a_route_of_the_table_is_judged_as_it_was_received() {
    let port = free_port();
    let daemon = Daemon::start(&config(port)).await;
    let mut peer = Speaker::connect(port, 2, 65000).await;
    for prefix in ["10.1.0.0/24", "11.1.0.0/24"] {
        peer.announce(prefix, &Path { local_pref: 120 }).await;
        wait_until("the route is there", || has_routes(&daemon, prefix)).await;
    }
    let answer = test(&daemon, of("10.1.0.0/24", "127.0.0.2", true)).await.expect("it is there");
    assert!(answer.accepted);
    assert_eq!(answer.decided_by, "policy \"prefer\", statement \"tens\"");
    let [before, after] = [&answer.before, &answer.after].map(|all| all.clone().expect("attributes"));
    // What the import policy has already changed counts for nothing.
    assert_eq!((before.local_pref, after.local_pref), (Some(120), Some(170)));
    assert_eq!((before.weight, after.weight, after.communities), (0, 3, vec!["65000:1".to_owned()]));
    let conditions: Vec<_> = answer.steps[0].conditions.iter().map(|one| (one.condition.as_str(), one.holds)).collect();
    assert_eq!(conditions, [("local-pref <=150", Some(true)), ("prefix-sets tens", Some(true))]);
    let change = &answer.steps[0].changes[0];
    assert_eq!((&*change.action, &*change.before, &*change.after), ("local-pref +50", "120", "170"));
    let rejected = test(&daemon, of("11.1.0.0/24", "127.0.0.2", true)).await.expect("it is there");
    assert_eq!((rejected.accepted, &*rejected.decided_by), (false, "policy \"prefer\", statement \"others\""));
    // On export it is judged as the import policy left it.
    let out = v1::TestPolicyRequest { to: "127.0.0.2".into(), ..of("10.1.0.0/24", "", true) };
    let out = test(&daemon, out).await.expect("it is there");
    assert_eq!(out.before.expect("attributes").local_pref, Some(170));
    assert_eq!(out.decided_by, "policy \"accept-all\"");
}

#[tokio::test]
async fn a_route_that_is_described_is_judged_without_being_there() {
    let daemon = Daemon::start(&config(free_port())).await;
    let attributes = v1::Attributes { local_pref: Some(200), ..Default::default() };
    let given = v1::TestPolicyRequest { attributes: Some(attributes), ..of("10.1.0.0/24", "127.0.0.2", false) };
    let answer = test(&daemon, given).await.expect("it can be read");
    assert_eq!((answer.accepted, &*answer.decided_by), (false, "policy \"prefer\", statement \"others\""));
    let holds: Vec<_> = answer.steps[0].conditions.iter().map(|one| one.holds).collect();
    assert_eq!(holds, [Some(false), None], "what follows a condition that does not hold is not asked");
    // RFC 8212
    let missing = test(&daemon, of("10.1.0.0/24", "127.0.0.3", false)).await.expect("it can be read");
    assert_eq!((missing.accepted, &*missing.decided_by), (false, "eBGP without an import policy (RFC 8212)"));
    assert_eq!(missing.before.expect("attributes").as_path, "65003");
}

#[tokio::test]
async fn what_does_not_exist_is_named() {
    let daemon = Daemon::start(&config(free_port())).await;
    let cases = [
        (of("10.1.0.0/24", "127.0.0.9", false), "neighbor 127.0.0.9 does not exist"),
        (of("10.1.0.0/24", "127.0.0.2", true), "a route to 10.1.0.0/24 does not exist"),
        (
            v1::TestPolicyRequest { policies: vec!["perfer".into()], ..of("10.1.0.0/24", "", false) },
            "unknown policy \"perfer\", expected one that is defined, or the policy \"accept-all\" or \"reject-all\"",
        ),
    ];
    for (request, message) in cases {
        let status = test(&daemon, request).await.expect_err(message);
        assert_eq!((status.code(), status.message()), (Code::NotFound, message));
    }
    let nobody = test(&daemon, of("10.1.0.0/24", "", false)).await.expect_err("nobody's policy");
    assert_eq!(nobody.code(), Code::InvalidArgument);
}
