//! What pages show of `bgpctl` is what it prints: each `console` block is run beside the last `toml` block before it,
//! as bgpd.toml. `UPDATE_GOLDEN=1` writes the output anew.

use std::fs;
use std::path::Path;
use std::process::Command;

/// Runs one command line in a directory; standard output and standard error.
fn run(line: &str, dir: &Path) -> String {
    let words = words(line);
    let (program, arguments) = words.split_first().expect("a command");
    assert_eq!(program, "bgpctl", "{line}");
    let output = Command::new(env!("CARGO_BIN_EXE_bgpctl")).args(arguments).current_dir(dir).output();
    let output = output.expect("bgpctl can be started");
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// Words as a shell takes them, with double quotes.
fn words(line: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    for (at, part) in line.split('"').enumerate() {
        if at % 2 == 1 {
            words.push(part.to_owned());
        } else {
            words.extend(part.split_whitespace().map(str::to_owned));
        }
    }
    words
}

/// The page with what the commands in it print now.
fn renewed(page: &str) -> (String, usize) {
    let (mut out, mut config, mut commands) = (String::new(), String::new(), 0);
    let mut parts = page.split("```");
    out.push_str(parts.next().unwrap_or_default());
    while let (Some(block), after) = (parts.next(), parts.next().unwrap_or_default()) {
        let block = match block.split_once('\n') {
            Some(("toml", text)) => {
                text.clone_into(&mut config);
                block.to_owned()
            }
            Some(("console", text)) => {
                let dir = tempfile::tempdir().expect("a directory");
                fs::write(dir.path().join("bgpd.toml"), &config).expect("it can be written");
                let lines: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("$ ")).collect();
                commands += lines.len();
                let said = lines.iter().map(|line| format!("$ {line}\n{}", run(line, dir.path())));
                format!("console\n{}", said.collect::<String>())
            }
            _ => block.to_owned(),
        };
        out.push_str(&format!("```{block}```{after}"));
    }
    (out, commands)
}

#[test]
fn what_pages_show_is_what_bgpctl_prints() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/policy.md");
    let page = fs::read_to_string(&path).expect("it can be read");
    let (now, commands) = renewed(&page);
    assert!(commands >= 4, "{commands} commands");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, &now).expect("it can be written");
    }
    let page = fs::read_to_string(&path).expect("it can be read");
    assert_eq!(page, now);
}
