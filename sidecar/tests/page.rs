//! The boxes of docs/kubernetes.md: resources of Calico and Cilium are what their CRDs know, command lines of the sidecar
//! are understood. The labs of interop/tests/kubernetes run them.

use std::net::IpAddr;

use bgp_sidecar::arguments::Arguments;
use clap::Parser;
use ipnet::IpNet;
use serde_json::{Map, Value};

const PAGE: &str = include_str!("../../docs/kubernetes.md");

fn schemas() -> Value {
    serde_saphyr::from_str(include_str!("crds.yaml")).expect("YAML")
}

/// Every document in the boxes with YAML.
fn documents() -> Vec<Value> {
    let boxes = PAGE.split("```yaml\n").skip(1).map(|part| part.split_once("```").expect("a box has an end").0);
    let texts = boxes.flat_map(|text| text.split("\n---\n"));
    texts.map(|text| serde_saphyr::from_str(text).unwrap_or_else(|error| panic!("{error} in\n{text}"))).collect()
}

/// What is wrong with a value, and where.
fn check(schema: &Value, value: &Value, path: &str, wrong: &mut Vec<String>) {
    match (schema, value) {
        (Value::Object(schema), Value::Object(value)) => check_fields(schema, value, path, wrong),
        (Value::Array(schema), Value::Array(values)) => {
            for (index, value) in values.iter().enumerate() {
                check(&schema[0], value, &format!("{path}[{index}]"), wrong);
            }
        }
        (Value::String(kind), value) if is_of(kind, value) => {}
        (schema, value) => wrong.push(format!("{path}: {value} is not {schema}")),
    }
}

fn check_fields(schema: &Map<String, Value>, value: &Map<String, Value>, path: &str, wrong: &mut Vec<String>) {
    for (name, value) in value {
        let known = schema.get(name).or_else(|| schema.get(&format!("{name}!"))).or_else(|| schema.get("*"));
        match known {
            Some(known) => check(known, value, &format!("{path}.{name}"), wrong),
            None => wrong.push(format!("{path}.{name} is not known")),
        }
    }
    let needed = schema.keys().filter_map(|name| name.strip_suffix('!'));
    wrong.extend(needed.filter(|name| !value.contains_key(*name)).map(|name| format!("{path}.{name} is missing")));
}

fn is_of(kind: &str, value: &Value) -> bool {
    let text = value.as_str();
    match kind.split(' ').collect::<Vec<_>>()[..] {
        ["text"] => text.is_some(),
        ["prefix"] => text.is_some_and(|text| text.parse::<IpNet>().is_ok_and(|prefix| prefix.trunc() == prefix)),
        ["address"] => text.is_some_and(|text| text.parse::<IpAddr>().is_ok()),
        ["boolean"] => value.is_boolean(),
        ["integer", from, to] => {
            let bound = |text: &str| text.parse::<i64>().expect("a number");
            value.as_i64().is_some_and(|number| (bound(from)..=bound(to)).contains(&number))
        }
        _ => text.is_some_and(|text| kind.split('|').any(|word| word == text)),
    }
}

/// What is wrong with a resource.
fn faults(document: &Value) -> Vec<String> {
    let kind =
        format!("{} {}", document["apiVersion"].as_str().unwrap_or("?"), document["kind"].as_str().unwrap_or("?"));
    let schemas = schemas();
    let Some(schema) = schemas.get(&kind) else { return vec![format!("{kind} is not known")] };
    let mut wrong = Vec::new();
    let outer = document.as_object().expect("a resource");
    let unknown = outer.keys().filter(|key| !["apiVersion", "kind", "metadata", "spec"].contains(&key.as_str()));
    wrong.extend(unknown.map(|key| format!(".{key} is not known")));
    if document["metadata"]["name"].as_str().is_none_or(str::is_empty) {
        wrong.push(".metadata.name is missing".to_owned());
    }
    check(schema, &document["spec"], ".spec", &mut wrong);
    wrong
}

#[test]
fn resources_of_calico_and_cilium_are_what_their_crds_know() {
    let mut kinds = Vec::new();
    for document in documents() {
        let kind = document["kind"].as_str().unwrap_or_default().to_owned();
        if kind == "Kustomization" {
            let names = ["resources", "components"].map(|key| document[key][0].as_str().expect("a name").to_owned());
            // As from beside the overlays of two-clusters.
            let here = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/kubernetes/two-clusters/mine");
            // The directory itself does not exist, so the parts are walked without the file system.
            let exists = |name: &String| {
                let mut plain = here.clone();
                for part in name.split('/') {
                    plain = if part == ".." { plain.parent().expect("a parent").to_owned() } else { plain.join(part) };
                }
                plain.join("kustomization.yaml").exists()
            };
            assert!(names.iter().all(exists), "{names:?}");
        } else {
            assert_eq!(faults(&document), Vec::<String>::new(), "{document:#}");
        }
        kinds.push(kind);
    }
    kinds.sort();
    kinds.dedup();
    let expected = [
        "BGPConfiguration",
        "BGPPeer",
        "CiliumBGPAdvertisement",
        "CiliumBGPClusterConfig",
        "CiliumBGPPeerConfig",
        "IPPool",
        "Kustomization",
    ];
    assert_eq!(kinds, expected);
}

#[test]
fn resources_refer_to_each_other_by_names_and_labels_that_are_there() {
    let all = documents();
    let of = |kind: &str| all.iter().filter(|one| one["kind"] == kind).cloned().collect::<Vec<_>>();
    let configs = of("CiliumBGPPeerConfig");
    for peer in of("CiliumBGPClusterConfig")[0]["spec"]["bgpInstances"][0]["peers"].as_array().expect("peers") {
        let named = |config: &Value| config["metadata"]["name"] == peer["peerConfigRef"]["name"];
        assert!(configs.iter().any(named), "{peer}");
    }
    for family in configs.iter().flat_map(|config| config["spec"]["families"].as_array().expect("families")) {
        let labels = &family["advertisements"]["matchLabels"];
        assert!(of("CiliumBGPAdvertisement").iter().any(|one| one["metadata"]["labels"] == *labels), "{family}");
    }
}

#[test]
fn what_a_crd_does_not_know_is_found() {
    let pool = |spec: Value| {
        serde_json::json!({
            "apiVersion": "projectcalico.org/v3", "kind": "IPPool", "metadata": {"name": "a"}, "spec": spec,
        })
    };
    for (spec, fault) in [
        (serde_json::json!({"cidr": "10.0.0.0/8", "disable": true}), ".spec.disable is not known"),
        (serde_json::json!({"disabled": true}), ".spec.cidr is missing"),
        (serde_json::json!({"cidr": "10.0.0.1/8"}), ".spec.cidr: \"10.0.0.1/8\" is not \"prefix\""),
        (serde_json::json!({"cidr": "10.0.0.0/8", "ipipMode": "never"}), ".spec.ipipMode: \"never\" is not"),
        (serde_json::json!({"cidr": "10.0.0.0/8", "blockSize": 12}), ".spec.blockSize: 12 is not"),
    ] {
        let found = faults(&pool(spec));
        assert!(found.len() == 1 && found[0].starts_with(fault), "{found:?}");
    }
}

#[test]
fn command_lines_of_the_sidecar_are_understood() {
    let lines = PAGE.lines().map(str::trim).filter(|line| line.starts_with("bgp-sidecar --"));
    let lines: Vec<&str> = lines.filter(|line| line.contains("--node-name")).collect();
    assert_eq!(lines.len(), 2, "{lines:?}");
    for line in lines {
        let parsed = Arguments::try_parse_from(line.split_whitespace());
        assert!(parsed.is_ok(), "{line}: {}", parsed.expect_err("an error"));
    }
}
