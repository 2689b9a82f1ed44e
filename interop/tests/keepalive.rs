//! KEEPALIVEs in small: a hold time of three seconds lasts while a table changes and is read over the API.

use std::io::Write;
use std::process::Command;

use interop::lab::build_bgpd;

#[test]
fn hold_time_of_three_seconds_lasts_under_churn_and_dumps_and_a_silent_peer_is_noticed() {
    let daemon = build_bgpd().join("bgpd");
    let output = Command::new(env!("CARGO_BIN_EXE_bgp-keepalive"))
        .args(["--quick", "--bgpd"])
        .arg(daemon)
        .output()
        .expect("bgp-keepalive can be started");
    let said = String::from_utf8_lossy(&output.stdout);
    // Past the capture of the test harness, so that the figures are in every log.
    let _ = writeln!(std::io::stderr(), "{said}");
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
}
