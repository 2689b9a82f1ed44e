//! The CNI configuration with the real plugins, in a network namespace of its own. Needs root and the CNI plugins.

mod lab;

use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use bgp_sidecar::cni::CniRules;
use lab::{eventually, in_namespace, run};
use serde_json::{Value, json};

const PLUGINS: &str = "/usr/lib/cni";

/// A pod's network namespace: that of a process that does nothing.
struct Pod {
    process: Child,
}

impl Drop for Pod {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Pod {
    async fn start() -> Self {
        let process = Command::new("unshare").args(["--net", "sleep", "60"]).spawn().expect("unshare");
        let pod = Self { process };
        let here = std::fs::read_link("/proc/thread-self/ns/net").expect("a namespace");
        eventually("a namespace of its own", || std::fs::read_link(pod.namespace()).is_ok_and(|there| there != here))
            .await;
        pod
    }

    fn namespace(&self) -> String {
        format!("/proc/{}/ns/net", self.process.id())
    }

    fn ip(&self, arguments: &str) -> String {
        run("nsenter", &format!("--net={} ip {arguments}", self.namespace()))
    }

    /// Runs the plugins one after the other, as a container runtime does.
    fn add(&self, configuration: &Value, data: &Path) -> Value {
        let mut result = Value::Null;
        for plugin in configuration["plugins"].as_array().expect("plugins") {
            let mut input = plugin.clone();
            input["name"] = configuration["name"].clone();
            input["cniVersion"] = configuration["cniVersion"].clone();
            if input["type"] == "bridge" {
                // Leases of this test stay in its own directory.
                input["ipam"]["dataDir"] = json!(data);
            }
            if !result.is_null() {
                input["prevResult"] = result;
            }
            let program = format!("{PLUGINS}/{}", plugin["type"].as_str().expect("a type"));
            let mut child = Command::new(&program)
                .env("CNI_COMMAND", "ADD")
                .env("CNI_CONTAINERID", "pod")
                .env("CNI_NETNS", self.namespace())
                .env("CNI_IFNAME", "eth0")
                .env("CNI_PATH", PLUGINS)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .expect("a plugin");
            child.stdin.take().expect("an input").write_all(input.to_string().as_bytes()).expect("an open plugin");
            let output = child.wait_with_output().expect("a plugin that ends");
            let said = String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success(), "{program}: {said}");
            result = serde_json::from_str(&said).expect("a result");
        }
        result
    }
}

#[test]
fn pod_gets_addresses_of_both_families_from_the_pod_cidrs_and_reaches_its_node() {
    in_namespace(|| async {
        let directory = tempfile::tempdir().expect("a directory");
        let rules = CniRules {
            file: directory.path().join("10-bgp.conflist"),
            portmap: true,
            mtu: Some(1400),
            version: None,
            plugins: PLUGINS.into(),
        };
        let pods = ["10.1.0.0/24", "fd00:1::/64"].map(|text| text.parse().expect("a prefix"));
        assert!(rules.write(&pods).expect("written"));
        let configuration: Value =
            serde_json::from_slice(&std::fs::read(&rules.file).expect("a file")).expect("a configuration");
        assert_eq!(configuration["cniVersion"], "1.0.0", "the newest that these plugins support");
        let pod = Pod::start().await;
        let result = pod.add(&configuration, directory.path());
        assert_eq!(result["ips"].as_array().map(Vec::len), Some(2), "{result}");
        let shown = pod.ip("address show eth0") + &pod.ip("route") + &pod.ip("-6 route") + &pod.ip("link show lo");
        for text in ["10.1.0.2/24", "fd00:1::2/64", "mtu 1400", "default via 10.1.0.1", "default via fd00:1::1", "UP"] {
            assert!(shown.contains(text), "{text} in {shown}");
        }
        run("nsenter", &format!("--net={} ping -c1 -W2 10.1.0.1", pod.namespace()));
    });
}
