//! The crates without I/O stay without it.

use std::process::Command;

#[test]
fn wire_and_engine_cannot_reach_sockets_or_an_async_runtime() {
    for package in ["bgp-wire", "bgp-engine"] {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let output = Command::new(cargo)
            .args(["tree", "--package", package, "--edges", "normal", "--prefix", "none", "--offline"])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output()
            .expect("cargo can be started");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let tree = String::from_utf8_lossy(&output.stdout);
        assert!(tree.contains(package), "{tree}");
        for forbidden in ["tokio", "tonic", "socket2", "mio", "nix"] {
            let found = tree.lines().any(|line| line.split(' ').next() == Some(forbidden));
            assert!(!found, "{package} depends on {forbidden}:\n{tree}");
        }
    }
}
