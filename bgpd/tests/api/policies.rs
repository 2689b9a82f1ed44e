//! Policies that come through the API: they stay, they have an owner, and they do not fight with the file.

use bgpd_proto::v1;
use bgpd_proto::v1::config_service_client::ConfigServiceClient;
use bgpd_proto::v1::neighbor_service_client::NeighborServiceClient;
use bgpd_proto::v1::policy_service_client::PolicyServiceClient;
use tempfile::TempDir;
use tonic::{Code, Status};

use crate::daemon::Daemon;

const MARK: &str = "[[prefix-set]]\nname = \"some\"\nprefixes = [\"10.1.0.0/16 le 24\"]\n\
    [[policy]]\nname = \"mark\"\n[[policy.statement]]\nmatch.prefix-sets = [\"some\"]\nset.med = 5\nthen = \"accept\"\n";

fn file(state: &TempDir, more: &str) -> String {
    format!(
        "[global]\nasn = 65000\nrouter-id = \"192.0.2.1\"\nlisten = []\n\
         [[neighbor]]\naddress = \"127.0.0.11\"\nremote-asn = 65000\n{more}\
         [restart]\nstate-directory = \"{}\"\n",
        state.path().display()
    )
}

async fn set(daemon: &Daemon, owner: &str, text: &str) -> Result<v1::SetPoliciesResponse, Status> {
    let document = Some(v1::Document { text: text.to_owned(), name: "mark.toml".to_owned() });
    let request = v1::SetPoliciesRequest { owner: owner.to_owned(), document };
    PolicyServiceClient::new(daemon.connect().await).set(request).await.map(tonic::Response::into_inner)
}

async fn delete(daemon: &Daemon, owner: &str) -> Result<(), Status> {
    let request = v1::DeletePoliciesRequest { owner: owner.to_owned() };
    PolicyServiceClient::new(daemon.connect().await).delete(request).await.map(drop)
}

/// Owner, policies, and why they wait.
async fn declared(daemon: &Daemon) -> Vec<(String, String, String)> {
    let mut client = PolicyServiceClient::new(daemon.connect().await);
    let answer = client.list_declared(v1::ListDeclaredPoliciesRequest {}).await.expect("a list").into_inner();
    answer.owners.into_iter().map(|one| (one.owner, one.policies.join(", "), one.waits_for)).collect()
}

/// Has the neighbor of the file import by policies.
async fn import(daemon: &Daemon, names: &[&str]) -> Result<(), Status> {
    let neighbor = v1::NeighborConfig {
        address: "127.0.0.11".to_owned(),
        import_policy: names.iter().map(|name| (*name).to_owned()).collect(),
        ..v1::NeighborConfig::default()
    };
    let request = v1::UpdateNeighborRequest { neighbor: Some(neighbor), ..v1::UpdateNeighborRequest::default() };
    NeighborServiceClient::new(daemon.connect().await).update(request).await.map(drop)
}

/// The MED that the neighbor's import policy gives a route.
async fn med(daemon: &Daemon, prefix: &str) -> Option<u32> {
    let request = v1::TestPolicyRequest {
        prefix: prefix.to_owned(),
        from: "127.0.0.11".to_owned(),
        ..v1::TestPolicyRequest::default()
    };
    let tested = PolicyServiceClient::new(daemon.connect().await).test(request).await.expect("tested");
    tested.into_inner().after.and_then(|after| after.med)
}

async fn apply(daemon: &Daemon, text: &str) -> Result<Vec<String>, Status> {
    let document = Some(v1::Document { text: text.to_owned(), name: "new.toml".to_owned() });
    let request = v1::ApplyConfigRequest { document, ..v1::ApplyConfigRequest::default() };
    let applied = ConfigServiceClient::new(daemon.connect().await).apply(request).await;
    applied.map(|answer| answer.into_inner().notes)
}

fn seen(owner: &str, policies: &str, waits_for: &str) -> (String, String, String) {
    (owner.to_owned(), policies.to_owned(), waits_for.to_owned())
}

#[tokio::test]
async fn policies_through_the_api_have_an_owner_and_survive_a_crash() {
    let state = TempDir::new().expect("a directory");
    let mut daemon = Daemon::start(&file(&state, "")).await;
    let answer = set(&daemon, "", MARK).await.expect("declared");
    assert_eq!(answer.steps[0].text, "policies: mark: routes are judged again");
    import(&daemon, &["mark"]).await.expect("it is there");
    assert_eq!((med(&daemon, "10.1.4.0/24").await, med(&daemon, "10.2.0.0/24").await), (Some(5), None));
    // What the file does not know stands apart from it.
    let mut client = ConfigServiceClient::new(daemon.connect().await);
    let shown = client.show(v1::ShowConfigRequest {}).await.expect("shown").into_inner();
    assert!(!shown.file.contains("mark") && shown.declared.contains("name = \"mark\""), "{shown:?}");

    daemon.kill_and_start().await;
    assert_eq!(declared(&daemon).await, [seen("bgpctl", "mark", "")]);
    assert_eq!(med(&daemon, "10.1.4.0/24").await, Some(5));
    let _ = set(&daemon, "", &MARK.replace("med = 5", "med = 6")).await.expect("replaced");
    assert_eq!(med(&daemon, "10.1.4.0/24").await, Some(6));

    // Nobody takes another's names, nor what a neighbor uses.
    let taken = set(&daemon, "east", MARK).await.expect_err("another's");
    assert_eq!(
        (taken.code(), taken.message()),
        (Code::AlreadyExists, "policy \"mark\" of owner bgpctl exists already")
    );
    let used = delete(&daemon, "").await.expect_err("in use");
    assert_eq!(used.code(), Code::InvalidArgument, "{used}");
    assert!(used.message().contains("127.0.0.11") && used.message().contains("\"mark\""), "{used}");
    let _ =
        set(&daemon, "east", &MARK.replace("mark", "east").replace("some", "of-east")).await.expect("names of its own");
    import(&daemon, &["east"]).await.expect("it is there");
    delete(&daemon, "").await.expect("not used any more");
    assert_eq!(declared(&daemon).await, [seen("east", "east", "")]);
    assert_eq!(delete(&daemon, "").await.expect_err("gone").code(), Code::NotFound);
}

#[tokio::test]
async fn policies_through_the_api_do_not_fight_with_the_file() {
    let state = TempDir::new().expect("a directory");
    let daemon = Daemon::start(&file(&state, "")).await;
    let _ = set(&daemon, "east", MARK).await.expect("declared");
    import(&daemon, &["mark"]).await.expect("it is there");
    // The neighbor has what the file says then.
    let notes = apply(&daemon, &file(&state, &MARK.replace("med = 5", "med = 9"))).await.expect("applied");
    assert!(
        notes.iter().any(|note| note == "policies of east are not in force: the file has policy \"mark\""),
        "{notes:?}"
    );
    assert_eq!(med(&daemon, "10.1.4.0/24").await, Some(9));
    assert_eq!(declared(&daemon).await, [seen("east", "mark", "the file has policy \"mark\"")]);
    let taken = set(&daemon, "east", MARK).await.expect_err("the file's");
    assert_eq!(taken.message(), "policy \"mark\" of the file exists already");
    // A file that takes another name of the document, and not the policy that a neighbor needs, cannot run.
    let refused =
        apply(&daemon, &file(&state, "[[prefix-set]]\nname = \"some\"\nprefixes = [\"10.9.0.0/16\"]\n")).await;
    assert!(refused.expect_err("mark is needed").message().contains("127.0.0.11"));
    let _ = apply(&daemon, &file(&state, "")).await.expect("the file lets go");
    assert_eq!(med(&daemon, "10.1.4.0/24").await, Some(5));
    assert_eq!(declared(&daemon).await, [seen("east", "mark", "")]);
}

#[tokio::test]
async fn wrong_policies_are_refused_with_their_place() {
    let state = TempDir::new().expect("a directory");
    let daemon = Daemon::start(&file(&state, "")).await;
    for (text, expected) in [
        (MARK.replace("\"some\"]", "\"same\"]"), "mark.toml:7"),
        (format!("{MARK}[global]\nasn = 65000\n"), "global"),
        ("[[filter]]\nname = \"f\"\nfile = \"/etc/passwd\"\n".to_owned(), "[[filter]] cannot come through the API"),
        (String::new(), "there is no policy and no set in it"),
        ("[[policy]\n".to_owned(), "mark.toml:1"),
    ] {
        let refused = set(&daemon, "", &text).await.expect_err("wrong");
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
        assert!(refused.message().contains(expected), "{expected}: {}", refused.message());
    }
    let large = format!("# {}\n{MARK}", "x".repeat(1 << 20));
    assert_eq!(set(&daemon, "", &large).await.expect_err("too large").code(), Code::ResourceExhausted);
    assert_eq!(set(&daemon, "a b", MARK).await.expect_err("no name").code(), Code::InvalidArgument);
    assert_eq!(declared(&daemon).await, []);
}
