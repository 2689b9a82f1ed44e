//! The examples of the README, run: what they print is what stands there, and every command does what it says.

use std::path::Path;

use interop::lab::cluster::Cluster;
use interop::lab::{Bgpd, build_bgpd, run, wait_until};

fn readme() -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md")).expect("the README")
}

/// Commands that are shown with what they print: `    $ command`, then indented lines.
fn shown(text: &str) -> Vec<(String, String)> {
    let mut examples = Vec::<(String, String)>::new();
    let mut inside = false;
    for line in text.lines() {
        let code = line.strip_prefix("    ");
        if let Some(command) = code.and_then(|code| code.strip_prefix("$ ")) {
            examples.push((command.to_owned(), String::new()));
            inside = true;
        } else if let (Some((_, output)), true) = (examples.last_mut(), inside && (code.is_some() || line.is_empty())) {
            output.push_str(code.unwrap_or_default());
            output.push('\n');
        } else {
            inside = false;
        }
    }
    examples
}

/// What does not change from one time to the next: no times, and no widths, which follow from them.
fn masked(text: &str) -> String {
    let is_time = |word: &str| word.len() >= 8 && word.chars().all(|c| c.is_ascii_digit() || c == ':');
    let mask = |line: &str| {
        let words = line.split_whitespace().map(|word| if is_time(word) { "TIME" } else { word });
        let mut words: Vec<&str> = words.collect();
        // Of two connections that collide at the start one ends with a NOTIFICATION, which stays as the last error.
        if words.get(2) == Some(&"Established") {
            words.truncate(8);
        }
        words.join(" ")
    };
    // The explanation of signs under a table is the same each time.
    let lines = text.lines().filter(|line| !line.starts_with("* usable"));
    lines.map(mask).collect::<Vec<_>>().join("\n").trim().to_owned()
}

/// The commands of `bgpctl by example`, without what they are for.
fn listed(text: &str) -> Vec<String> {
    let section = text.split("## bgpctl by example").nth(1).expect("the section");
    let block = section.lines().skip_while(|line| line.is_empty()).take_while(|line| !line.is_empty());
    let commands = block.map(|line| line.split('#').next().unwrap_or_default().trim().to_owned());
    commands.filter(|line| line.starts_with("bgpctl ")).collect()
}

fn words(command: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (at, part) in command.split('"').enumerate() {
        if at % 2 == 1 {
            words.push(part.to_owned());
        } else {
            words.extend(part.split_whitespace().map(str::to_owned));
        }
    }
    words
}

/// Runs a listed command, with a file in place of the one that it names.
fn succeeds(bgpd: &Bgpd, command: &str, file: &str) {
    let words = words(command);
    let arguments: Vec<&str> = words[1..].iter().map(|word| if word == "new.toml" { file } else { word }).collect();
    if arguments.first() == Some(&"top") {
        // It needs a terminal, which it says.
        let refused = bgpd.try_ctl(&arguments).expect_err("there is no terminal");
        assert!(refused.1.contains("needs a terminal"), "{refused:?}");
        return;
    }
    if arguments.first() == Some(&"watch") {
        // It would go on for ever.
        let server = format!("unix:{}", bgpd.socket());
        let program = build_bgpd().join("bgpctl").display().to_string();
        let watch = [&["timeout", "5", program.as_str(), "--server", server.as_str()][..], &arguments].concat();
        let output = run(&watch);
        let said = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(124), "{command}: {output:?}");
        assert!(said.contains("-- that is "), "{command}: {said}");
        return;
    }
    // A session that was disabled needs a moment before it can be told anything.
    let does = || bgpd.try_ctl(&arguments).is_ok();
    wait_until(command, does, || format!("{:?}\n{}", bgpd.try_ctl(&arguments), bgpd.picture()));
}

#[test]
fn what_the_readme_shows_is_what_the_programs_print() {
    let text = readme();
    let examples = shown(&text);
    assert!(examples.len() >= 4, "{examples:?}");
    let cluster = Cluster::start();
    for (command, expected) in &examples {
        if let Some(arguments) = command.strip_prefix("bgpctl ") {
            let words = words(arguments);
            let arguments: Vec<&str> = words.iter().map(String::as_str).collect();
            let say = || cluster.bgpd.try_ctl(&arguments).unwrap_or_else(|(code, errors)| format!("{code}: {errors}"));
            let same = || masked(&say()) == masked(expected);
            let differs = || format!("README:\n{}\n\nbgpctl:\n{}", masked(expected), masked(&say()));
            wait_until(command, same, differs);
        } else {
            check_example(&text, command, expected, &cluster);
        }
    }
    let file = cluster.nodes[0].dir.join("bgpd.toml").display().to_string();
    let commands = listed(&text);
    assert!(commands.len() >= 15, "{commands:?}");
    commands.iter().for_each(|command| succeeds(&cluster.bgpd, command, &file));
}

/// `bgpd --check` of the README's own configuration with the mistake that is shown.
fn check_example(text: &str, command: &str, expected: &str, cluster: &Cluster) {
    assert_eq!(command, "bgpd --check bgpd.toml", "another example needs a way to be run");
    let document = text.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).expect("a configuration");
    let dir = cluster.nodes[0].dir.join("example");
    std::fs::create_dir_all(&dir).expect("the lab's directory can be written");
    std::fs::write(dir.join("bgpd.toml"), document.replace("hold-time", "hold-tme")).expect("it can be written");
    let program = build_bgpd().join("bgpd").display().to_string();
    let output = run(&["env", "-C", &dir.display().to_string(), &program, "--check", "bgpd.toml"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(String::from_utf8_lossy(&output.stderr).trim_end(), expected.trim_end());
}
