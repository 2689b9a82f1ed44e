//! The benchmark's loads in small, on bgpd alone: every route at every receiver is right, whatever it takes.

use std::process::Command;

use interop::lab::build_bgpd;

/// Runs the loads and fails with the harness's own account of what was wrong.
fn assert_exact(loads: &str) {
    let daemon = build_bgpd().join("bgpd");
    let output = Command::new(env!("CARGO_BIN_EXE_bgp-bench"))
        .args(["--quick", "--daemon", "bgpd", "--load", loads, "--bgpd"])
        .arg(daemon)
        .output()
        .expect("bgp-bench can be started");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    for load in loads.split(',') {
        assert!(said.contains(&format!("| {load} | bgpd |")), "load {load} was not run: {said}");
    }
}

#[test]
fn every_receiver_holds_exactly_the_table_announced_to_it() {
    assert_exact("a,a6,mixed");
}

#[test]
fn the_best_of_ten_paths_wins_everywhere_and_nobody_is_sent_its_own() {
    assert_exact("c");
}

#[test]
fn a_fleet_that_boots_at_once_converges() {
    assert_exact("d500");
}

#[test]
fn changes_reach_every_receiver_and_a_stalled_one_catches_up() {
    assert_exact("e2k,stall,h");
}

#[test]
fn import_policies_that_match_nothing_change_nothing() {
    assert_exact("policy0,policy10,policy100,policyset");
}

#[test]
fn nothing_stale_is_left_when_the_announcing_client_leaves_or_flaps() {
    assert_exact("f,flap");
}
