//! Sessions last while a table changes and clients of the API read it again and again, and a silent peer is noticed.
//!
//! The hold time is four times the least one: the test shares its machine with others and must be in time for it as well.

use std::process::Command;

use interop::lab::build_bgpd;

#[test]
fn no_session_and_no_route_is_lost_under_churn_and_dumps_and_a_silent_peer_is_told() {
    let daemon = build_bgpd().join("bgpd");
    let output = Command::new(env!("CARGO_BIN_EXE_bgp-keepalive"))
        .args(["--quick", "--hold-time", "12", "--bgpd"])
        .arg(daemon)
        .output()
        .expect("bgp-keepalive can be started");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
}
