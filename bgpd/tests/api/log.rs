//! Log levels that change while bgpd runs.

use bgpd_proto::v1;
use bgpd_proto::v1::log_service_client::LogServiceClient;
use tonic::Code;

use crate::daemon::{Daemon, free_port, wait_until};

/// Lines of failed attempts to connect to an address; all of them are JSON.
fn attempts(log: &str, peer: &str) -> usize {
    let line = |line: &str| -> serde_json::Value { serde_json::from_str(line).expect("every line is JSON") };
    let lines = log.lines().map(line);
    let failed = lines.filter(|line| line["fields"]["message"] == "connection attempt failed");
    failed.filter(|line| line["fields"]["peer"] == peer).count()
}

#[tokio::test]
async fn the_level_of_one_peer_changes_until_it_is_set_back() {
    let port = free_port();
    let neighbor = |host: u8| {
        format!("[[neighbor]]\naddress = \"127.0.0.{host}\"\nport = {port}\nremote-asn = 65000\nconnect-retry = 1\n")
    };
    let config = format!(
        "[global]\nasn = 65000\nrouter-id = \"192.0.2.1\"\nlisten = []\n[log]\nformat = \"json\"\n{}{}",
        neighbor(9),
        neighbor(10)
    );
    let daemon = Daemon::start(&config).await;
    let mut client = LogServiceClient::new(daemon.connect().await);
    let mut set = async |level: &str, peer: &str, reset| {
        let level = (!level.is_empty()).then(|| v1::LogLevel {
            level: level.to_owned(),
            peer: peer.to_owned(),
            ..v1::LogLevel::default()
        });
        client.set_level(v1::SetLogLevelRequest { level, reset }).await.map(|_| ()).map_err(|status| status.code())
    };
    assert_eq!(set("loud", "", false).await, Err(Code::InvalidArgument));
    assert_eq!(set("7", "", false).await, Err(Code::InvalidArgument));
    assert_eq!(set("debug", "nobody", false).await, Err(Code::InvalidArgument));
    set("debug", "127.0.0.9", false).await.expect("a level");
    wait_until("attempts are logged", || async { attempts(&daemon.log(), "127.0.0.9") >= 2 }).await;
    assert_eq!(attempts(&daemon.log(), "127.0.0.10"), 0, "{}", daemon.log());

    let mut asking = LogServiceClient::new(daemon.connect().await);
    let log = asking.get(v1::GetLogRequest {}).await.expect("an answer").into_inner();
    assert_eq!((log.configured.as_str(), log.levels.len(), log.levels[0].peer.as_str()), ("info", 1, "127.0.0.9"));
    set("", "", true).await.expect("all levels");
    let log = asking.get(v1::GetLogRequest {}).await.expect("an answer").into_inner();
    assert!(log.levels.is_empty(), "{log:?}");
    // The other one speaks now, and by then the first one is silent.
    set("debug", "127.0.0.10", false).await.expect("a level");
    let before = attempts(&daemon.log(), "127.0.0.9");
    wait_until("the other's are logged", || async { attempts(&daemon.log(), "127.0.0.10") >= 2 }).await;
    assert_eq!(attempts(&daemon.log(), "127.0.0.9"), before, "{}", daemon.log());
}
