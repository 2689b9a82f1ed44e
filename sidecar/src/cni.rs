//! The CNI configuration of a node whose pod network is nothing but routes: a bridge with the node's pod CIDRs.
//!
//! The kubelet's container runtime takes the first file of `/etc/cni/net.d` by name and reads it again when it changes,
//! so a file is there whole or not at all.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use serde_json::{Value, json};
use tempfile::NamedTempFile;

/// What the node's CNI plugins support: the newest version that they and we know is written.
const KNOWN_VERSIONS: [&str; 4] = ["1.1.0", "1.0.0", "0.4.0", "0.3.1"];
/// Where no plugin says what it supports.
const DEFAULT_VERSION: &str = "1.0.0";
/// Name of the bridge.
const BRIDGE: &str = "bgp0";
/// Name of the network, under which host-local keeps its leases.
const NETWORK: &str = "bgp";

/// How the configuration is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CniRules {
    /// The file.
    pub file: PathBuf,
    /// Whether `hostPort` of pods works.
    pub portmap: bool,
    /// MTU of the pods' interfaces; default the bridge's.
    pub mtu: Option<u32>,
    /// CNI specification version; default the newest that the plugins support.
    pub version: Option<String>,
    /// Where the plugins are.
    pub plugins: PathBuf,
}

/// Why there is no CNI configuration.
#[derive(Debug, thiserror::Error)]
pub enum CniError {
    /// A node without addresses for pods.
    #[error("{file}: the node has no pod CIDR, so no pod can get an address")]
    NoPodCidr {
        /// The file that is not written.
        file: String,
    },
    /// A directory that is missing or must not be written.
    #[error("{file}: {error}")]
    Io {
        /// The file.
        file: String,
        /// Why not.
        error: io::Error,
    },
}

impl CniRules {
    /// The configuration for pod CIDRs, of one family or both.
    #[must_use]
    pub fn configuration(&self, pod_cidrs: &[IpNet], version: &str) -> Value {
        let ranges: Vec<Value> = pod_cidrs.iter().map(|prefix| json!([{ "subnet": prefix.to_string() }])).collect();
        let any = |prefix: &IpNet| if prefix.addr().is_ipv4() { "0.0.0.0/0" } else { "::/0" };
        let mut defaults: Vec<&str> = pod_cidrs.iter().map(any).collect();
        defaults.dedup();
        let routes: Vec<Value> = defaults.into_iter().map(|any| json!({ "dst": any })).collect();
        let mut bridge = json!({
            "type": "bridge",
            "bridge": BRIDGE,
            "isGateway": true,
            // What leaves the node keeps its source address, unless the cluster masquerades it elsewhere.
            "ipMasq": false,
            "hairpinMode": true,
            "ipam": { "type": "host-local", "ranges": ranges, "routes": routes },
        });
        if let Some(mtu) = self.mtu {
            bridge["mtu"] = json!(mtu);
        }
        let mut plugins = vec![bridge];
        if self.portmap {
            plugins.push(json!({ "type": "portmap", "capabilities": { "portMappings": true }, "snat": true }));
        }
        plugins.push(json!({ "type": "loopback" }));
        json!({ "cniVersion": version, "name": NETWORK, "plugins": plugins })
    }

    /// Writes the configuration if the file has another; whether it had.
    ///
    /// # Errors
    /// When there is no pod CIDR, or the file cannot be written.
    pub fn write(&self, pod_cidrs: &[IpNet]) -> Result<bool, CniError> {
        if pod_cidrs.is_empty() {
            return Err(CniError::NoPodCidr { file: self.file.display().to_string() });
        }
        let version = self.version.clone().unwrap_or_else(|| supported(&self.plugins.join("bridge")));
        let text = format!("{:#}\n", self.configuration(pod_cidrs, &version));
        if std::fs::read(&self.file).is_ok_and(|there| there == text.as_bytes()) {
            return Ok(false);
        }
        replace(&self.file, text.as_bytes())
            .map_err(|error| CniError::Io { file: self.file.display().to_string(), error })?;
        Ok(true)
    }
}

/// Removes a configuration; whether there was one.
///
/// # Errors
/// When it cannot be removed.
pub fn remove(file: &Path) -> io::Result<bool> {
    match std::fs::remove_file(file) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// The reader sees the old file or the new one. The name of the temporary file has no ending that a runtime reads.
fn replace(file: &Path, text: &[u8]) -> io::Result<()> {
    let directory = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or_else(|| ".".as_ref());
    let mut temporary = tempfile::Builder::new().prefix(".bgp-").suffix(".tmp").tempfile_in(directory)?;
    write_all(&mut temporary, text)?;
    temporary.persist(file)?;
    Ok(())
}

fn write_all(file: &mut NamedTempFile, text: &[u8]) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    file.write_all(text)?;
    file.as_file().set_permissions(std::fs::Permissions::from_mode(0o644))?;
    file.as_file().sync_all()
}

/// The newest version that a plugin and we know, as the plugin says when asked (CNI specification, `VERSION`).
fn supported(plugin: &Path) -> String {
    let asked = std::process::Command::new(plugin)
        .env("CNI_COMMAND", "VERSION")
        .stdin(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .output();
    let answer: Option<Value> = asked.ok().and_then(|output| serde_json::from_slice(&output.stdout).ok());
    let versions = answer.as_ref().and_then(|answer| answer["supportedVersions"].as_array());
    let has = |version: &&&str| versions.is_some_and(|all| all.iter().any(|one| one == **version));
    KNOWN_VERSIONS.iter().find(has).copied().unwrap_or(DEFAULT_VERSION).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(directory: &Path) -> CniRules {
        let file = directory.join("10-bgp.conflist");
        CniRules { file, portmap: true, mtu: None, version: None, plugins: directory.join("bin") }
    }

    fn nets(texts: &[&str]) -> Vec<IpNet> {
        texts.iter().map(|text| text.parse().expect("a prefix")).collect()
    }

    #[test]
    fn dual_stack_node_gives_pods_an_address_and_a_default_route_of_each_family() {
        let directory = tempfile::tempdir().expect("a directory");
        let rules = rules(directory.path());
        assert!(rules.write(&nets(&["10.1.0.0/24", "fd00:1::/64"])).expect("written"));
        let text = std::fs::read(&rules.file).expect("a file");
        let value: Value = serde_json::from_slice(&text).expect("JSON");
        assert_eq!((&value["cniVersion"], &value["name"]), (&json!(DEFAULT_VERSION), &json!("bgp")));
        let kinds: Vec<&Value> = value["plugins"].as_array().expect("plugins").iter().map(|one| &one["type"]).collect();
        assert_eq!(kinds, ["bridge", "portmap", "loopback"]);
        let ipam = &value["plugins"][0]["ipam"];
        assert_eq!(ipam["ranges"], json!([[{"subnet": "10.1.0.0/24"}], [{"subnet": "fd00:1::/64"}]]));
        assert_eq!(ipam["routes"], json!([{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]));
    }

    #[test]
    fn file_is_written_when_it_differs_and_nothing_else_is_left_beside_it() {
        let directory = tempfile::tempdir().expect("a directory");
        let rules = rules(directory.path());
        let pods = nets(&["10.1.0.0/24"]);
        assert!(rules.write(&pods).expect("written"));
        assert!(!rules.write(&pods).expect("the same"));
        std::fs::write(&rules.file, "{").expect("a file");
        assert!(rules.write(&pods).expect("repaired"));
        assert_eq!(std::fs::read_dir(directory.path()).expect("a directory").count(), 1);
        assert!(remove(&rules.file).expect("removed"));
        assert!(!remove(&rules.file).expect("gone already"));
    }

    #[test]
    fn node_without_pod_cidr_keeps_the_file_it_has() {
        let directory = tempfile::tempdir().expect("a directory");
        let rules = rules(directory.path());
        rules.write(&nets(&["10.1.0.0/24"])).expect("written");
        let said = rules.write(&[]).expect_err("no pod CIDR").to_string();
        assert!(said.ends_with("10-bgp.conflist: the node has no pod CIDR, so no pod can get an address"), "{said}");
        assert!(rules.file.exists());
    }

    #[test]
    fn version_is_the_newest_that_the_plugins_support() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().expect("a directory");
        let plugin = directory.path().join("bridge");
        let script = "#!/bin/sh\necho '{\"cniVersion\":\"1.0.0\",\"supportedVersions\":[\"0.3.1\",\"0.4.0\"]}'\n";
        std::fs::write(&plugin, script).expect("a file");
        std::fs::set_permissions(&plugin, std::fs::Permissions::from_mode(0o755)).expect("a program");
        assert_eq!(supported(&plugin), "0.4.0");
        assert_eq!(supported(&directory.path().join("none")), DEFAULT_VERSION);
    }
}
