//! The dashboard and the alert rules of `config` beside the metrics of a running bgpd: every metric is on the dashboard or
//! left off for a reason, and every expression names metrics, labels and values that there are.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use bgp_wire::rtr::{Intervals, Pdu, Vrp};
use serde::Deserialize;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use crate::daemon::wait_until;
use crate::metrics::{cluster, get, value};

/// Metrics that the dashboard leaves off, and why.
const LEFT_OFF: [(&str, &str); 6] = [
    ("bgpd_neighbor_established", "the ends of sessions are on it; one that comes up is told by the states"),
    ("bgpd_neighbor_slow", "the sum is on it, and the alert has the neighbor"),
    ("bgpd_neighbor_state_seconds", "for the alert; a curve of it says nothing"),
    ("bgpd_neighbor_up", "the sum by state is on it, and the alert has the neighbor"),
    ("bgpd_rpki_cache_serial", "a number that only changes; the age says whether it does"),
    ("process_start_time_seconds", "bgpd_uptime_seconds is on it"),
];

/// Labels that Prometheus adds.
const ADDED: [&str; 2] = ["instance", "job"];

/// A cache of the RPKI with one VRP, which answers when it is told to.
async fn cache(go: oneshot::Receiver<()>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let port = listener.local_addr().expect("it listens").port();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("bgpd connects");
        go.await.expect("the test goes on");
        let mut query = [0; 8];
        stream.read_exact(&mut query).await.expect("bgpd asks");
        let vrp = Vrp { prefix: "10.11.0.0/24".parse().expect("a prefix"), max_length: 24, asn: 65000 };
        let intervals = Some(Intervals { refresh: 3600, retry: 600, expire: 7200 });
        let answer = [
            Pdu::CacheResponse { session: 7 },
            Pdu::Prefix { announce: true, vrp },
            Pdu::EndOfData { session: 7, serial: 1, intervals },
        ];
        stream.write_all(&answer.map(|pdu| pdu.encode(1)).concat()).await.expect("bgpd reads");
        hold(stream).await;
    });
    format!("[[rpki]]\naddress = \"127.0.0.1\"\nport = {port}\n")
}

/// Keeps a connection until the other end closes it.
async fn hold(mut stream: TcpStream) {
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest).await;
}

/// A page with series of every metric.
async fn full_page() -> String {
    let (go, wait) = oneshot::channel();
    let [reflector, _one, _two] = cluster(&cache(wait).await).await;
    let routes = || async { value(&get(&reflector, "/metrics").await, "bgpd_prefixes{family=\"ipv4-unicast\"}") };
    wait_until("the routes are in", || async { routes().await == Some(2.0) }).await;
    go.send(()).expect("the cache waits");
    // The routes come from the own AS with an empty path, which no VRP matches (RFC 6811 §2).
    let paths = |state: &str| format!("bgpd_rpki_paths{{family=\"ipv4-unicast\",state=\"{state}\"}}");
    let counted = || async {
        let page = get(&reflector, "/metrics").await;
        value(&page, &paths("invalid")) == Some(1.0) && value(&page, &paths("not-found")) == Some(1.0)
    };
    wait_until("the states of their origins are counted", counted).await;
    let page = get(&reflector, "/metrics").await;
    assert_eq!(value(&page, "bgpd_rpki_vrps"), Some(1.0), "{page}");
    assert_eq!(value(&page, "bgpd_rpki_caches{state=\"synchronized\"}"), Some(1.0), "{page}");
    page
}

/// What there is: names of families, and by the name of a series the values of its labels.
struct Metrics {
    families: BTreeMap<String, String>,
    series: BTreeMap<String, BTreeMap<String, BTreeSet<String>>>,
}

impl Metrics {
    fn read(page: &str) -> Self {
        let (mut families, mut series) = (BTreeMap::new(), BTreeMap::<_, BTreeMap<_, BTreeSet<_>>>::new());
        for line in page.lines() {
            if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
                families.insert(name.to_owned(), kind.to_owned());
            } else if line.starts_with("bgpd_") || line.starts_with("process_") {
                let name = line.split(['{', ' ']).next().unwrap_or_default();
                let labels = series.entry(name.to_owned()).or_default();
                for Matcher { label, value, .. } in selectors(line).into_iter().flat_map(|one| one.matchers) {
                    labels.entry(label).or_default().insert(value);
                }
            }
        }
        Self { families, series }
    }

    /// Names under which series of a family stand.
    fn series_of(&self, family: &str) -> Vec<String> {
        let suffixes = match self.families[family].as_str() {
            "counter" => &["_total"][..],
            "histogram" => &["_bucket", "_count", "_sum"],
            "info" => &["_info"],
            _ => &[""],
        };
        suffixes.iter().map(|suffix| format!("{family}{suffix}")).collect()
    }

    /// What an expression asks for is there. Returns the labels of what comes out of it.
    fn check(&self, expression: &str) -> BTreeSet<String> {
        let mut labels: BTreeSet<String> = ADDED.map(str::to_owned).into();
        for Selector { name, matchers } in selectors(expression) {
            if name == "up" {
                continue;
            }
            let there = self.series.get(&name).unwrap_or_else(|| panic!("there is no {name}: {expression}"));
            labels.extend(there.keys().cloned());
            for Matcher { label, value, is_pattern } in matchers {
                if ADDED.contains(&label.as_str()) {
                    continue;
                }
                let values = there.get(&label).unwrap_or_else(|| panic!("{name} has no {label}: {expression}"));
                assert!(is_pattern || values.contains(&value), "no {name} has {label}=\"{value}\": {expression}");
            }
        }
        let grouped: Vec<&str> = expression.split("by (").skip(1).filter_map(|rest| rest.split(')').next()).collect();
        let Some(outer) = grouped.first() else { return labels };
        for label in grouped.iter().flat_map(|list| list.split(',')) {
            assert!(labels.contains(label.trim()), "nothing has the label {label}: {expression}");
        }
        outer.split(',').map(|label| label.trim().to_owned()).collect()
    }
}

/// `name{label="value",…}` in an expression or a page.
struct Selector {
    name: String,
    matchers: Vec<Matcher>,
}

struct Matcher {
    label: String,
    value: String,
    is_pattern: bool,
}

fn selectors(text: &str) -> Vec<Selector> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let (mut found, mut rest) = (Vec::new(), text);
    while let Some(at) = rest.find(is_name) {
        let (name, behind) = rest[at..].split_at(rest[at..].find(|c| !is_name(c)).unwrap_or(rest.len() - at));
        rest = behind;
        if !(name.starts_with("bgpd_") || name.starts_with("process_") || name == "up") {
            continue;
        }
        let mut matchers = Vec::new();
        if let Some((inside, behind)) = behind.strip_prefix('{').and_then(|rest| rest.split_once('}')) {
            rest = behind;
            let parts: Vec<&str> = inside.split('"').collect();
            for pair in parts.chunks_exact(2) {
                let (label, value) = (pair[0].trim_matches([',', ' ']), pair[1]);
                let operator = label.trim_start_matches(is_name);
                let label = label[..label.len() - operator.len()].to_owned();
                matchers.push(Matcher { label, value: value.to_owned(), is_pattern: operator.contains('~') });
            }
        }
        found.push(Selector { name: name.to_owned(), matchers });
    }
    found
}

/// `{{ $labels.name }}` and `{{name}}` of a text.
fn placeholders(text: &str) -> impl Iterator<Item = &str> {
    let names = text.split("{{").skip(1).filter_map(|rest| rest.split("}}").next());
    names.map(|name| name.trim().trim_start_matches("$labels."))
}

fn file(name: &str) -> String {
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config");
    std::fs::read_to_string(config.join(name)).expect("it is part of the project")
}

/// Expressions of the dashboard with the legends beside them.
fn dashboard() -> Vec<(String, String)> {
    let dashboard: Value = serde_json::from_str(&file("grafana.json")).expect("a dashboard is JSON");
    let panels = dashboard["panels"].as_array().cloned().unwrap_or_default();
    let targets = panels.iter().flat_map(|panel| panel["targets"].as_array().cloned().unwrap_or_default());
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    targets.map(|target| (text(&target["expr"]), text(&target["legendFormat"]))).collect()
}

#[derive(Deserialize)]
struct Rules {
    groups: Vec<Group>,
}

#[derive(Deserialize)]
struct Group {
    rules: Vec<Rule>,
}

#[derive(Deserialize)]
struct Rule {
    alert: String,
    expr: String,
    annotations: BTreeMap<String, String>,
}

#[tokio::test(flavor = "multi_thread")]
async fn every_metric_is_on_the_dashboard_and_every_expression_names_what_there_is() {
    let metrics = Metrics::read(&full_page().await);
    assert!(metrics.families.len() > 35, "{:?}", metrics.families);
    let mut shown = BTreeSet::new();
    for (expression, legend) in dashboard() {
        let labels = metrics.check(&expression);
        for label in placeholders(&legend) {
            assert!(labels.contains(label), "the legend {legend} has a label that does not come out of {expression}");
        }
        shown.extend(selectors(&expression).into_iter().map(|one| one.name));
    }
    for family in metrics.families.keys() {
        let is_shown = metrics.series_of(family).iter().any(|name| shown.contains(name));
        let is_left_off = LEFT_OFF.iter().any(|(name, _)| name == family);
        assert!(is_shown != is_left_off, "{family} is to be on the dashboard, or in the list of what is left off");
    }
    for (name, why) in LEFT_OFF {
        assert!(metrics.families.contains_key(name) && !why.is_empty(), "{name} does not exist");
    }

    let rules: Rules = serde_saphyr::from_str(&file("alerts.yml")).expect("rules are YAML");
    let rules: Vec<Rule> = rules.groups.into_iter().flat_map(|group| group.rules).collect();
    assert!(rules.len() >= 14, "{}", rules.len());
    for Rule { alert, expr, annotations } in rules {
        let labels = metrics.check(&expr);
        for label in annotations.values().flat_map(|text| placeholders(text)) {
            assert!(labels.contains(label), "{alert} says {label}, which does not come out of {expr}");
        }
    }
}
