//! The metrics endpoint of a running bgpd.

use bgpd_proto::v1;
use bgpd_proto::v1::status_service_client::StatusServiceClient;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::daemon::{Daemon, wait_until};

const REFLECTOR: &str = "[global]\nasn = 65000\nrouter-id = \"192.0.2.1\"\nlisten = [\"127.0.0.1:0\"]\n\
    [[peer-group]]\nname = \"nodes\"\nremote-asn = 65000\nroute-reflector-client = true\n\
    [[dynamic-neighbors]]\nprefix = \"127.0.0.0/8\"\npeer-group = \"nodes\"\n";

/// A reflector with metrics and two clients that originate a route each.
pub(crate) async fn cluster(metrics: &str) -> [Daemon; 3] {
    let config = format!("{REFLECTOR}[metrics]\nlisten = [\"127.0.0.1:0\"]\n{metrics}");
    let reflector = Daemon::start(&config).await;
    let mut status = StatusServiceClient::new(reflector.connect().await);
    let status = status.get(v1::GetStatusRequest {}).await.expect("an answer").into_inner();
    let port = status.listen[0].rsplit(':').next().expect("a port").to_owned();
    let client = |host: u8| {
        format!(
            "[global]\nasn = 65000\nrouter-id = \"192.0.2.{host}\"\nlisten = []\n\
             [[neighbor]]\naddress = \"127.0.0.1\"\nport = {port}\nremote-asn = 65000\n\
             local-address = \"127.0.0.{host}\"\nconnect-retry = 1\nidle-hold-time = 1\n\
             [[originate]]\nprefix = \"10.{host}.0.0/24\"\nnext-hop = \"192.0.2.{host}\"\n"
        )
    };
    let (one, two) = (client(11), client(12));
    [reflector, Daemon::start(&one).await, Daemon::start(&two).await]
}

/// Status line, headers and body of an answer.
pub(crate) async fn get(daemon: &Daemon, path: &str) -> String {
    let log = daemon.log();
    let line = log.lines().find(|line| line.contains("metrics listening")).expect("it is said");
    let address = line.split("address=\"").nth(1).and_then(|rest| rest.split('"').next()).expect("an address");
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("it answers");
    answer
}

/// The value of a series.
pub(crate) fn value(page: &str, series: &str) -> Option<f64> {
    let line = page.lines().find(|line| line.rsplit_once(' ').is_some_and(|(name, _)| name == series))?;
    line.rsplit_once(' ')?.1.parse().ok()
}

#[tokio::test]
async fn what_neighbors_do_is_measured() {
    let [reflector, _one, _two] = cluster("").await;
    let expected = [
        ("bgpd_neighbors{state=\"Established\"}", 2.0),
        ("bgpd_neighbor_up{neighbor=\"127.0.0.11\",asn=\"65000\",peer_group=\"nodes\"}", 1.0),
        ("bgpd_neighbor_prefixes{neighbor=\"127.0.0.11\",family=\"ipv4-unicast\",table=\"received\"}", 1.0),
        ("bgpd_neighbor_prefixes{neighbor=\"127.0.0.12\",family=\"ipv4-unicast\",table=\"advertised\"}", 1.0),
        ("bgpd_neighbor_messages_total{neighbor=\"127.0.0.11\",direction=\"received\",type=\"open\"}", 1.0),
        ("bgpd_neighbor_established_total{neighbor=\"127.0.0.12\"}", 1.0),
        ("bgpd_neighbor_flaps_total{neighbor=\"127.0.0.12\"}", 0.0),
        ("bgpd_neighbor_malformed_total{neighbor=\"127.0.0.12\",verdict=\"session-reset\"}", 0.0),
        ("bgpd_prefixes{family=\"ipv4-unicast\"}", 2.0),
        ("bgpd_convergence_in_seconds_count", 2.0),
        ("bgpd_convergence_out_seconds_count", 2.0),
        ("bgpd_slow_neighbors", 0.0),
        ("bgpd_queue_messages{stage=\"partitions\"}", 0.0),
        ("bgpd_queue_fullest_ratio{stage=\"groups\"}", 0.0),
        ("bgpd_connections_pending", 0.0),
        ("bgpd_connections_refused_total{limit=\"rate\"}", 0.0),
        ("bgpd_neighbors_without_series", 0.0),
    ];
    let holds = || async {
        let page = get(&reflector, "/metrics").await;
        expected.iter().all(|(series, expected)| value(&page, series) == Some(*expected))
    };
    wait_until("everything is measured", holds).await;
    let page = get(&reflector, "/metrics").await;
    assert!(page.contains("content-type: application/openmetrics-text; version=1.0.0"), "{page}");
    assert!(page.ends_with("# EOF\n"), "{page}");
    for positive in [
        "bgpd_intake_seconds_count",
        "bgpd_propagation_seconds_count",
        "bgpd_propagation_seconds_bucket{le=\"+Inf\"}",
        "process_resident_memory_bytes",
        "process_cpu_seconds_total",
        "bgpd_attribute_sets",
        "bgpd_uptime_seconds",
    ] {
        assert!(value(&page, positive).is_some_and(|value| value > 0.0), "{positive}\n{page}");
    }
    assert!(get(&reflector, "/").await.starts_with("HTTP/1.1 404"), "only /metrics is there");
}

#[tokio::test]
async fn neighbors_over_the_limit_have_no_series_but_are_counted() {
    let [reflector, _one, _two] = cluster("neighbor-limit = 1\n").await;
    let both = || async {
        let page = get(&reflector, "/metrics").await;
        value(&page, "bgpd_neighbors{state=\"Established\"}") == Some(2.0)
    };
    wait_until("both sessions are up", both).await;
    let page = get(&reflector, "/metrics").await;
    assert_eq!(value(&page, "bgpd_neighbors_without_series"), Some(1.0), "{page}");
    assert_eq!(page.matches("bgpd_neighbor_up{").count(), 1, "{page}");
    assert!(!page.contains("127.0.0.12"), "{page}");
}
