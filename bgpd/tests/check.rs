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
    assert!(said.contains("valid: AS 65000, router ID 192.0.2.1, neighbors: 0, dynamic ranges: 2"), "{said}");
}

/// Whether this kernel has TCP-AO: one without it does not know the option that removes a key (`TCP_AO_DEL_KEY`), one
/// with it finds four octets too few.
fn kernel_has_tcp_ao() -> bool {
    use std::os::fd::AsRawFd;
    let socket = std::net::TcpListener::bind("127.0.0.1:0").expect("a socket");
    let value: libc::c_int = 0;
    // SAFETY: the pointer is to a live value of the size given; the kernel only reads it.
    let refused = unsafe { libc::setsockopt(socket.as_raw_fd(), libc::IPPROTO_TCP, 39, (&raw const value).cast(), 4) };
    assert_eq!(refused, -1, "four octets are no key");
    std::io::Error::last_os_error().raw_os_error() != Some(libc::ENOPROTOOPT)
}

/// RFC 5925, where the kernel has it.
#[test]
fn tcp_ao_is_refused_by_name_where_the_kernel_does_not_have_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("bgpd.toml");
    std::fs::write(dir.path().join("key"), "a key that nobody sees\n").expect("it can be written");
    let document = |group: &str, neighbor: &str| {
        format!(
            "[global]\nasn = 65000\nrouter-id = \"192.0.2.1\"\n\
             [[peer-group]]\nname = \"nodes\"\nremote-asn = 65000\n{group}\
             [[dynamic-neighbors]]\nprefix = \"192.0.2.128/25\"\npeer-group = \"nodes\"\n\
             [[neighbor]]\naddress = \"192.0.2.10\"\nremote-asn = 65000\n{neighbor}"
        )
    };
    let key = |of: &str| format!("[[{of}.ao-key]]\nid = 7\nkey-file = \"key\"\n");
    for (text, who) in [
        (document("", &key("neighbor")), "neighbor 192.0.2.10"),
        (document(&key("peer-group"), ""), "dynamic-neighbors 192.0.2.128/25"),
    ] {
        std::fs::write(&file, text).expect("it can be written");
        let output = check(&file);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!said.contains("nobody sees"), "{said}");
        if kernel_has_tcp_ao() {
            assert!(output.status.success(), "{said}");
        } else {
            assert_eq!(output.status.code(), Some(1), "{said}");
            assert!(said.starts_with(&format!("error: {who}: ao-key: this kernel has no TCP-AO")), "{said}");
            assert!(said.contains("CONFIG_TCP_AO") && said.contains("md5-password-file"), "{said}");
        }
    }
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let output = check(Path::new("/nowhere/bgpd.toml"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.starts_with("error: /nowhere/bgpd.toml cannot be read"), "{said}");
}

#[test]
fn manual_page_and_completions_come_from_the_definitions() {
    let print = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_bgpd")).args(arguments).output().expect("bgpd can be started");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).expect("text")
    };
    let page = print(&["--man"]);
    assert!(page.contains(".TH bgpd 8") && page.contains("\\-\\-check") && page.contains("Signals"), "{page}");
    for shell in ["bash", "zsh", "fish"] {
        assert!(print(&["--completions", shell]).contains("check"), "{shell}");
    }
}
