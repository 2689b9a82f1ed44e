//! Manual pages and completions, made from the definitions of the command line.

use std::collections::BTreeSet;
use std::process::{Command, Output};

fn bgpctl(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_bgpctl")).args(arguments).output().expect("bgpctl can be started")
}

/// The commands that `--help` lists.
fn commands(of: &[&str]) -> BTreeSet<String> {
    let help = bgpctl(&[of, &["--help"]].concat());
    let help = String::from_utf8_lossy(&help.stdout).into_owned();
    let listed = help.split("Commands:\n").nth(1).and_then(|rest| rest.split("\n\n").next()).unwrap_or_default();
    // What a command is for can go on in the next line, further to the right.
    let names = listed.lines().filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
    let names = names.filter(|name| !name.is_empty());
    names.filter(|name| *name != "help").map(str::to_owned).collect()
}

#[test]
fn every_command_has_a_manual_page() {
    let dir = tempfile::tempdir().expect("a directory");
    let written = bgpctl(&["man", "--directory", &dir.path().display().to_string()]);
    assert!(written.status.success(), "{written:?}");
    let all = commands(&[]);
    assert!(all.contains("show") && all.len() > 10, "{all:?}");
    let mut pages = 0;
    for name in &all {
        let inner = commands(&[name.as_str()]);
        let names = inner.iter().map(|inner| format!("bgpctl-{name}-{inner}"));
        for page in names.chain([format!("bgpctl-{name}")]) {
            let text = std::fs::read_to_string(dir.path().join(format!("{page}.1"))).expect(&page);
            assert!(text.contains(".SH NAME") && text.contains(".SH SYNOPSIS"), "{page}");
            pages += 1;
        }
    }
    assert!(pages > 25, "{pages}");
    let whole = bgpctl(&["man"]);
    let text = String::from_utf8_lossy(&whole.stdout).into_owned();
    assert!(text.contains(".TH bgpctl 1") && text.contains("Exit codes"), "{text}");
}

#[test]
fn bash_completes_commands() {
    let script = String::from_utf8(bgpctl(&["completions", "bash"]).stdout).expect("text");
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("bgpctl");
    std::fs::write(&file, script).expect("it can be written");
    let ask =
        "source \"$0\"; COMP_WORDS=(bgpctl show r); COMP_CWORD=2; _bgpctl bgpctl r show; echo \"${COMPREPLY[@]}\"";
    let output = Command::new("bash").args(["-c", ask]).arg(&file).output().expect("bash can be started");
    let words = String::from_utf8_lossy(&output.stdout).into_owned();
    let words: BTreeSet<&str> = words.split_whitespace().collect();
    assert_eq!(words, BTreeSet::from(["routes", "rpki"]), "{output:?}");
}
