//! The manifests of config/kubernetes against the types of the Kubernetes API: each document is read as its kind, and
//! what is read is written again; a field that the API does not know is missing then.

use std::path::{Path, PathBuf};

use bgp_sidecar::arguments::Arguments;
use clap::Parser;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{Container, Namespace, PodSpec, ServiceAccount};
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/kubernetes")
}

/// Every YAML file below a directory.
fn files(below: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(below).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.extension().is_some_and(|ending| ending == "yaml") {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn documents(file: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(file).expect("a file");
    let parts = text.split("\n---\n").map(serde_saphyr::from_str);
    parts.map(|part| part.unwrap_or_else(|error| panic!("{}: {error}", file.display()))).collect()
}

/// Reads a document as its kind and says which of its fields that kind does not have.
fn unknown_fields<T: DeserializeOwned + Serialize>(document: &Value) -> Vec<String> {
    let read: T = serde_json::from_value(document.clone()).unwrap_or_else(|error| panic!("{error} in {document:#}"));
    let mut missing = Vec::new();
    compare(document, &serde_json::to_value(read).expect("JSON"), "", &mut missing);
    missing
}

fn compare(written: &Value, read: &Value, path: &str, missing: &mut Vec<String>) {
    match (written, read) {
        (Value::Object(written), read) => {
            for (name, value) in written {
                match read.get(name) {
                    Some(read) => compare(value, read, &format!("{path}.{name}"), missing),
                    // An empty map or list need not be written.
                    None if value.as_object().is_some_and(serde_json::Map::is_empty) => {}
                    None => missing.push(format!("{path}.{name}")),
                }
            }
        }
        (Value::Array(written), Value::Array(read)) if written.len() == read.len() => {
            for (index, (written, read)) in written.iter().zip(read).enumerate() {
                compare(written, read, &format!("{path}[{index}]"), missing);
            }
        }
        (written, read) if written == read => {}
        (written, read) => missing.push(format!("{path}: {written} is read as {read}")),
    }
}

fn is_kustomization(document: &Value) -> bool {
    document["apiVersion"].as_str().is_some_and(|version| version.starts_with("kustomize.config.k8s.io/"))
}

#[test]
fn every_manifest_is_what_the_api_knows_and_nothing_more() {
    let mut kinds = Vec::new();
    for file in files(&directory()) {
        for document in documents(&file) {
            let kind = document["kind"].as_str().unwrap_or_default().to_owned();
            // A patch has not all fields that its kind needs.
            let is_patch = file.ends_with("cni/daemonset.yaml");
            if is_kustomization(&document) || is_patch {
                continue;
            }
            let version = document["apiVersion"].as_str().unwrap_or_default();
            let unknown = match (version, kind.as_str()) {
                ("v1", "Namespace") => unknown_fields::<Namespace>(&document),
                ("v1", "ServiceAccount") => unknown_fields::<ServiceAccount>(&document),
                ("apps/v1", "DaemonSet") => unknown_fields::<DaemonSet>(&document),
                ("rbac.authorization.k8s.io/v1", "ClusterRole") => unknown_fields::<ClusterRole>(&document),
                ("rbac.authorization.k8s.io/v1", "ClusterRoleBinding") => {
                    unknown_fields::<ClusterRoleBinding>(&document)
                }
                other => panic!("{}: {other:?} is not expected here", file.display()),
            };
            assert_eq!(unknown, Vec::<String>::new(), "{}", file.display());
            kinds.push(kind);
        }
    }
    kinds.sort();
    kinds.dedup();
    assert_eq!(kinds, ["ClusterRole", "ClusterRoleBinding", "DaemonSet", "Namespace", "ServiceAccount"]);
}

#[test]
fn field_that_the_api_does_not_know_is_found() {
    let wrong = serde_json::json!({"metadata": {"name": "a"}, "rules": [{"verb": ["list"], "verbs": ["list"]}]});
    assert_eq!(unknown_fields::<ClusterRole>(&wrong), [".rules[0].verb"]);
}

#[test]
fn kustomizations_name_files_that_are_there() {
    for file in files(&directory()).iter().filter(|file| file.ends_with("kustomization.yaml")) {
        let here = file.parent().expect("a directory");
        for document in documents(file) {
            let texts = |value: &Value| -> Vec<String> {
                let list = value.as_array().cloned().unwrap_or_default();
                list.iter().filter_map(Value::as_str).map(str::to_owned).collect()
            };
            let mut named = texts(&document["resources"]);
            for generator in document["configMapGenerator"].as_array().unwrap_or(&Vec::new()) {
                named.extend(texts(&generator["files"]));
                named.extend(texts(&generator["envs"]));
            }
            named.extend(
                document["patches"]
                    .as_array()
                    .iter()
                    .flat_map(|all| all.iter())
                    .filter_map(|patch| patch["path"].as_str().map(str::to_owned)),
            );
            assert!(!named.is_empty(), "{}", file.display());
            for name in named {
                assert!(here.join(&name).exists(), "{}: {name} is not there", file.display());
            }
        }
    }
}

fn daemon_set(file: &str) -> PodSpec {
    let documents = documents(&directory().join(file));
    let set: DaemonSet = serde_json::from_value(documents[0].clone()).expect("a DaemonSet");
    set.spec.and_then(|spec| spec.template.spec).expect("a pod")
}

fn added(container: &Container) -> Vec<String> {
    let capabilities = container.security_context.as_ref().and_then(|context| context.capabilities.clone());
    let capabilities = capabilities.expect("capabilities");
    assert_eq!(capabilities.drop, Some(vec!["ALL".to_owned()]));
    capabilities.add.unwrap_or_default()
}

#[test]
fn containers_have_no_more_capabilities_than_the_lab_gives_them() {
    for file in ["base/daemonset.yaml", "two-clusters/reflectors/daemonset.yaml"] {
        for container in daemon_set(file).containers {
            // interop/tests/kubernetes runs both with exactly these.
            let expected = if container.name == "bgpd" { "NET_BIND_SERVICE" } else { "NET_ADMIN" };
            assert_eq!(added(&container), [expected], "{file}: {}", container.name);
        }
    }
}

#[test]
fn sidecars_options_are_understood() {
    let pod = daemon_set("base/daemonset.yaml");
    let sidecar = pod.containers.iter().find(|container| container.name == "sidecar").expect("a sidecar");
    let mut arguments = vec!["bgp-sidecar".to_owned(), "--node-name=a".to_owned()];
    arguments.extend(sidecar.args.clone().unwrap_or_default());
    for overlay in ["base", "two-clusters/cluster-1", "two-clusters/cluster-2"] {
        let text = std::fs::read_to_string(directory().join(overlay).join("sidecar.env")).expect("a file");
        let mut arguments = arguments.clone();
        for line in text.lines() {
            let (name, value) = line.split_once('=').expect("NAME=VALUE");
            let name = name.strip_prefix("BGP_SIDECAR_").expect("a variable of the sidecar");
            let name = name.to_lowercase().replace('_', "-");
            arguments.push(if value == "true" { format!("--{name}") } else { format!("--{name}={value}") });
        }
        let parsed = Arguments::try_parse_from(&arguments);
        assert!(parsed.is_ok(), "{overlay}: {}", parsed.expect_err("an error"));
    }
}

#[test]
fn rules_allow_what_the_sidecar_does_and_nothing_more() {
    let role: ClusterRole =
        serde_json::from_value(documents(&directory().join("base/rbac.yaml"))[1].clone()).expect("a ClusterRole");
    let rules = role.rules.unwrap_or_default();
    let allowed: Vec<String> = rules
        .iter()
        .map(|rule| format!("{} {}", rule.resources.clone().unwrap_or_default().join(","), rule.verbs.join(",")))
        .collect();
    assert_eq!(allowed, ["nodes list,watch", "nodes/status patch", "events create,patch"]);
}

/// The words behind each occurrence of one in a text.
fn words_after<'a>(text: &'a str, word: &str) -> Vec<&'a str> {
    let words: Vec<&str> = text.split_whitespace().collect();
    words.windows(2).filter(|pair| pair[0] == word).map(|pair| pair[1]).collect()
}

#[test]
fn image_has_the_programs_that_the_manifests_start_and_a_compiler_that_is_new_enough() {
    let root = directory().join("../..");
    let read = |name: &str| std::fs::read_to_string(root.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    let container = read("config/container/Containerfile");
    let packages = words_after(&container, "--package");
    for (package, folder) in packages.iter().zip(["bgpd", "bgpctl", "sidecar"]) {
        assert!(read(&format!("{folder}/Cargo.toml")).contains(&format!("name = \"{package}\"")), "{package}");
    }
    let copied = container.split("for program in ").nth(1).and_then(|rest| rest.split(';').next()).expect("a loop");
    assert_eq!(copied.split_whitespace().collect::<Vec<_>>(), packages);
    let daemon_set = read("config/kubernetes/base/daemonset.yaml");
    let started = daemon_set.split("command: [").skip(1).filter_map(|rest| rest.split([',', ']']).next());
    let started: Vec<&str> = started.filter(|program| *program != "sh").collect();
    assert!(started.len() >= 3 && started.iter().all(|program| packages.contains(program)), "{started:?}");
    // Fields are compared as numbers: 1.100 is newer than 1.95.
    let version = |text: &str| text.split('.').filter_map(|part| part.parse().ok()).collect::<Vec<u32>>();
    let workspace = read("Cargo.toml");
    let needed =
        workspace.split("rust-version = \"").nth(1).and_then(|rest| rest.split('"').next()).expect("a version");
    let compiler = container.split("/rust:").nth(1).and_then(|rest| rest.split('-').next()).expect("a version");
    assert!(version(compiler) >= version(needed), "the image builds with {compiler}, the workspace needs {needed}");
}
