//! Filters of a real bgpd: compiled when it starts, replaced while sessions stay, refused with line and column.

use std::fs;
use std::process::Command;

use bgpd_proto::v1;
use bgpd_proto::v1::neighbor_service_client::NeighborServiceClient;

use super::daemon::{Daemon, free_port, wait_until};
use super::speaker::{Path, Speaker};

const PREFIX: &str = "10.1.0.0/24";

fn config(port: u16) -> String {
    format!(
        "[global]\nasn = 65000\nrouter-id = \"192.0.2.1\"\nlisten = [\"127.0.0.1:{port}\"]\n\
         [[filter]]\nname = \"prefer\"\nfile = \"prefer.roto\"\n\
         [[neighbor]]\naddress = \"127.0.0.2\"\nremote-asn = 65000\npassive = true\nimport-policy = [\"prefer\"]\n"
    )
}

fn source(value: &str) -> String {
    format!("filtermap main(route: Route) {{\n    route.set_local_pref({value});\n    accept\n}}\n")
}

async fn local_pref(daemon: &Daemon) -> Option<u32> {
    let wanted = v1::ExplainRequest { prefix: PREFIX.into(), to: String::new() };
    let answer = daemon.routes().await.explain(wanted).await.ok()?.into_inner();
    answer.candidates.first()?.route.as_ref()?.attributes.as_ref()?.local_pref
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_source_judges_routes_that_are_in_and_a_wrong_one_changes_nothing() {
    let (port, dir) = (free_port(), tempfile::tempdir().expect("a directory"));
    fs::write(dir.path().join("prefer.roto"), source("200")).expect("it can be written");
    let daemon = Daemon::start_in(dir, &config(port), "", "").await;
    let file = daemon.dir().join("prefer.roto");
    let mut peer = Speaker::connect(port, 2, 65000).await;
    peer.announce(PREFIX, &Path { local_pref: 100 }).await;
    wait_until("the filter has judged it", || async { local_pref(&daemon).await == Some(200) }).await;
    fs::write(&file, source("true")).expect("it can be written");
    daemon.reload(&config(port), "", "");
    wait_until("the mistake is told", || async { daemon.log().contains("prefer.roto:2:26") }).await;
    assert_eq!(local_pref(&daemon).await, Some(200));
    fs::write(&file, source("300")).expect("it can be written");
    daemon.reload(&config(port), "", "");
    wait_until("the new filter has judged it", || async { local_pref(&daemon).await == Some(300) }).await;
    let mut client = NeighborServiceClient::new(daemon.connect().await);
    let request = v1::GetNeighborRequest { address: "127.0.0.2".into() };
    let neighbor = client.get(request).await.expect("it is configured").into_inner().neighbor.expect("it is there");
    assert_eq!((neighbor.state.as_str(), neighbor.established_count), ("Established", 1));
}

#[test]
fn a_check_points_at_the_line_and_column_of_a_mistake() {
    let dir = tempfile::tempdir().expect("a directory");
    let document = dir.path().join("bgpd.toml");
    let check = || {
        let output = Command::new(env!("CARGO_BIN_EXE_bgpd")).arg("--check").arg(&document).output();
        let output = output.expect("bgpd can be started");
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    fs::write(&document, config(free_port())).expect("it can be written");
    fs::write(dir.path().join("prefer.roto"), source("true")).expect("it can be written");
    let (is_valid, said) = check();
    assert!(!is_valid && said.contains("prefer.roto:2:26") && said.contains("route.set_local_pref(true);"), "{said}");
    // A source in the document itself begins in the line behind its key.
    let text = format!("source = '''\n{}'''\n", source("true"));
    fs::write(&document, config(free_port()).replace("file = \"prefer.roto\"\n", &text)).expect("it can be written");
    let (is_valid, said) = check();
    assert!(!is_valid && said.contains("bgpd.toml:9:26"), "{said}");
    fs::write(&document, config(free_port())).expect("it can be written");
    fs::write(dir.path().join("prefer.roto"), source("200")).expect("it can be written");
    assert_eq!(check(), (true, String::new()));
}
