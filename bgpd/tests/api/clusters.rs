//! Clusters that clients of the API define, beside those of the configuration file.

use bgpd_proto::v1;
use bgpd_proto::v1::cluster_service_client::ClusterServiceClient;
use tonic::Code;
use tonic::transport::Channel;

use crate::daemon::{Daemon, free_port, wait_until};
use crate::guard::{neighbor, node, received};
use crate::speaker::{Path, Speaker};

/// A client 127.0.0.11, and the clusters of the file.
fn config(port: u16, state: &std::path::Path, clusters: &[(&str, &str)]) -> String {
    let cluster = |(name, pods): &(&str, &str)| {
        format!("[[cluster]]\nname = \"{name}\"\npod-cidrs = [\"{pods}\"]\nnodes = [\"127.0.1.0/24\"]\n")
    };
    let clusters: String = clusters.iter().map(cluster).collect();
    format!(
        "[global]\nasn = 65000\nrouter-id = \"192.0.2.1\"\nlisten = [\"127.0.0.1:{port}\"]\n\
         [restart]\nstate-directory = \"{}\"\n\
         [[peer-group]]\nname = \"nodes\"\nremote-asn = 65000\nroute-reflector-client = true\npassive = true\n\
         [[neighbor]]\naddress = \"127.0.0.11\"\npeer-group = \"nodes\"\n{clusters}",
        state.display(),
    )
}

fn cluster(name: &str, pods: &str) -> v1::ClusterConfig {
    v1::ClusterConfig {
        name: name.to_owned(),
        pod_cidrs: vec![pods.to_owned()],
        peer_groups: vec!["nodes".to_owned()],
        ..v1::ClusterConfig::default()
    }
}

async fn client(daemon: &Daemon) -> ClusterServiceClient<Channel> {
    ClusterServiceClient::new(daemon.connect().await)
}

async fn set(daemon: &Daemon, owner: &str, cluster: v1::ClusterConfig) -> Result<(), tonic::Status> {
    let request = v1::SetClusterRequest { owner: owner.to_owned(), cluster: Some(cluster) };
    client(daemon).await.set(request).await.map(drop)
}

/// Name, owner, and what each waits for.
async fn listed(daemon: &Daemon) -> Vec<(String, String, String)> {
    let listed = client(daemon).await.list(v1::ListClustersRequest {}).await.expect("an answer").into_inner();
    listed.clusters.into_iter().map(|one| (one.name, one.owner, one.waits_for)).collect()
}

fn row(name: &str, owner: &str, waits_for: &str) -> (String, String, String) {
    (name.to_owned(), owner.to_owned(), waits_for.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_of_the_api_is_a_guard_that_survives_a_crash_and_ends_when_it_is_deleted() {
    let (port, dir) = (free_port(), tempfile::tempdir().expect("a directory"));
    let config = config(port, dir.path(), &[]);
    let mut daemon = Daemon::start_in(dir, &config, "", "").await;
    let path = Path { local_pref: 100 };
    let mut east = Speaker::connect(port, 11, 65000).await;
    let announced = ["10.1.1.0/24", "10.2.1.0/24"];
    for prefix in announced {
        east.announce(prefix, &path).await;
    }
    let refused = |routes: Vec<(String, String)>| routes.iter().filter(|(_, why)| !why.is_empty()).count();
    wait_until("all come in", || async { received(&daemon, 11).await.len() == 2 }).await;
    assert_eq!(refused(received(&daemon, 11).await), 0, "nothing is guarded");
    set(&daemon, "", cluster("east", "10.1.0.0/16")).await.expect("it is free");
    let strict = v1::ClusterConfig {
        strict: true,
        node_ranges: vec!["127.0.2.0/24".to_owned()],
        peer_groups: Vec::new(),
        ..cluster("west", "10.2.0.0/16")
    };
    set(&daemon, "inventory", strict).await.expect("it is free");
    let nodes = v1::SetNodesRequest {
        cluster: "west".to_owned(),
        nodes: vec![node("w1", 21, "10.2.1.0/24")],
        owner: "inventory".to_owned(),
    };
    client(&daemon).await.set_nodes(nodes).await.expect("there is such a cluster");
    let why = "inside the pod CIDRs of another cluster: announced by 127.0.0.11 of cluster east, but it belongs to \
               node w1 of cluster west";
    let holds =
        || async { received(&daemon, 11).await.iter().any(|(prefix, said)| prefix == "10.2.1.0/24" && said == why) };
    wait_until("the guard holds", holds).await;
    assert_eq!((neighbor(&daemon, 11).await.flaps, east.refreshes()), (0, 0));
    let counted = client(&daemon).await.list(v1::ListClustersRequest {}).await.expect("an answer").into_inner();
    assert!(counted.clusters[0].refused_by_guard >= 1, "{counted:?}");

    drop(east);
    daemon.kill_and_start().await;
    assert_eq!(listed(&daemon).await, [row("east", "bgpctl", ""), row("west", "inventory", "")]);
    let mut east = Speaker::connect(port, 11, 65000).await;
    for prefix in announced {
        east.announce(prefix, &path).await;
    }
    wait_until("it holds after the crash", || async { refused(received(&daemon, 11).await) == 1 }).await;
    let delete = |owner: &str, name: &str| v1::DeleteClusterRequest { owner: owner.to_owned(), name: name.to_owned() };
    let error = client(&daemon).await.delete(delete("", "west")).await.expect_err("it is another's");
    assert_eq!((error.code(), error.message()), (Code::AlreadyExists, "cluster west: owner inventory has it"));
    client(&daemon).await.delete(delete("inventory", "west")).await.expect("it is its own");
    client(&daemon).await.delete(delete("", "east")).await.expect("it is its own");
    let error = client(&daemon).await.delete(delete("", "east")).await.expect_err("it is gone");
    assert_eq!(error.code(), Code::NotFound);
    wait_until("nothing is guarded any more", || async { refused(received(&daemon, 11).await) == 0 }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_file_comes_before_clusters_of_the_api_and_none_is_lost() {
    let (port, dir) = (free_port(), tempfile::tempdir().expect("a directory"));
    let state = dir.path().to_owned();
    let of_file = |clusters: &[(&str, &str)]| config(port, &state, clusters);
    let mut daemon = Daemon::start_in(dir, &of_file(&[("south", "10.4.0.0/16")]), "", "").await;
    for (wanted, code, said) in [
        (cluster("south", "10.1.0.0/16"), Code::AlreadyExists, "cluster south: owner file has it"),
        (cluster("east", "10.4.4.0/24"), Code::InvalidArgument, "overlaps 10.4.0.0/16 of cluster south (owner file)"),
        (cluster("", "10.1.0.0/16"), Code::InvalidArgument, "cluster.name: expected 1 to"),
        (cluster("east", "10.1.0.1/16"), Code::InvalidArgument, "did you mean 10.1.0.0/16?"),
        (
            v1::ClusterConfig { peer_groups: vec!["node".to_owned()], ..cluster("east", "10.1.0.0/16") },
            Code::InvalidArgument,
            "there is no peer group node",
        ),
        (
            v1::ClusterConfig { max_length_ipv4: 33, ..cluster("east", "10.1.0.0/16") },
            Code::InvalidArgument,
            "33 is not a prefix length",
        ),
        (
            v1::ClusterConfig { peer_groups: Vec::new(), ..cluster("east", "10.1.0.0/16") },
            Code::InvalidArgument,
            "no peer groups either",
        ),
    ] {
        let error = set(&daemon, "", wanted).await.expect_err(said);
        assert!(error.code() == code && error.message().contains(said), "{error}");
    }
    let all = vec![cluster("east", "10.1.0.0/16"), cluster("west", "10.2.0.0/16")];
    let apply = |clusters| v1::ApplyClustersRequest { owner: "inventory".to_owned(), clusters };
    client(&daemon).await.apply(apply(all.clone())).await.expect("they are free");
    let error = set(&daemon, "", cluster("east", "10.1.0.0/16")).await.expect_err("it is another's");
    assert_eq!(error.message(), "cluster east: owner inventory has it");
    let overlapping = vec![cluster("east", "10.1.0.0/16"), cluster("north", "10.4.0.0/24")];
    client(&daemon).await.apply(apply(overlapping)).await.expect_err("one of them is not free");
    let expected = [row("east", "inventory", ""), row("south", "file", ""), row("west", "inventory", "")];
    assert_eq!(listed(&daemon).await, expected);

    // The file takes a name and another cluster's addresses: both wait, also over a crash, and come back.
    let file = of_file(&[("east", "10.5.0.0/16"), ("south", "10.2.0.0/15")]);
    daemon.reload(&file, "", "");
    let expected = [
        row("east", "file", ""),
        row("east", "inventory", "east"),
        row("south", "file", ""),
        row("west", "inventory", "south"),
    ];
    wait_until("the file comes first", || async { listed(&daemon).await == expected }).await;
    daemon.kill_and_start().await;
    assert_eq!(listed(&daemon).await, expected);
    assert!(daemon.log().contains("not in force: the configuration file has the other cluster"), "{}", daemon.log());
    daemon.reload(&of_file(&[]), "", "");
    let expected = [row("east", "inventory", ""), row("west", "inventory", "")];
    wait_until("they come back", || async { listed(&daemon).await == expected }).await;
    client(&daemon).await.apply(apply(vec![all[1].clone()])).await.expect("they are its own");
    assert_eq!(listed(&daemon).await, [row("west", "inventory", "")]);
}
