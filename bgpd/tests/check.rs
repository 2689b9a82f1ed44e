//! `bgpd --check` as a person runs it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn check(file: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bgpd"));
    command.arg("--check").arg(file).output().expect("bgpd can be started")
}

fn crate_dir() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn a_broken_file_exits_with_1_and_its_diagnosis_alone() {
    for name in [
        "syntax_error",
        "unquoted_address",
        "unknown_key",
        "wrong_type",
        "missing_identity",
        "bad_addresses",
        "short_hold_time",
        "unknown_peer_group",
        "duplicates",
        "external_client",
        "contradictions",
        "several_at_once",
    ] {
        let file = crate_dir().join(format!("src/config/golden/{name}.toml"));
        let output = check(&file);
        assert_eq!(output.status.code(), Some(1), "{name}");
        assert!(output.stdout.is_empty(), "{name}");
        let expected = std::fs::read_to_string(file.with_extension("txt")).expect("it can be read");
        let said = String::from_utf8_lossy(&output.stderr).replace(&file.display().to_string(), "bgpd.toml");
        assert_eq!(said, expected, "{name}");
    }
}

#[test]
fn a_valid_file_exits_with_0_and_says_what_is_in_it() {
    let output = check(&crate_dir().join("../config/reflector.toml"));
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && output.stderr.is_empty(), "{said}");
    assert!(said.contains("valid: AS 65000, router ID 192.0.2.1, 0 neighbors, 2 dynamic ranges"), "{said}");
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let output = check(Path::new("/nowhere/bgpd.toml"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.starts_with("error: /nowhere/bgpd.toml cannot be read"), "{said}");
}
