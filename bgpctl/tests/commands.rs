//! Every `bgpctl …` that the documents write is one that bgpctl understands.

use std::path::{Path, PathBuf};

use bgpctl::Arguments;
use clap::Parser;
use clap::error::ErrorKind;

fn documents() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let docs = std::fs::read_dir(root.join("docs")).expect("the documents");
    let docs = docs.map(|entry| entry.expect("a document").path());
    let pages = docs.filter(|path| path.extension().is_some_and(|extension| extension == "md"));
    pages.chain([root.join("README.md"), root.join("interop/README.md")]).collect()
}

/// What follows `bgpctl ` up to the end of the code that it is in.
fn commands(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for line in text.lines() {
        let in_block = line.starts_with("    ") || line.starts_with("$ ");
        let pieces: Vec<&str> = match line.trim_start().trim_start_matches("$ ").strip_prefix("bgpctl ") {
            Some(command) if in_block => vec![command],
            _ => line.split('`').skip(1).step_by(2).filter_map(|code| code.strip_prefix("bgpctl ")).collect(),
        };
        found.extend(pieces.into_iter().map(|piece| piece.split([';', '#', '|', '>']).next().unwrap_or("").to_owned()));
    }
    found
}

/// The words of a command; quoted ones stay together, and what stands for something is that.
fn words(command: &str) -> Vec<String> {
    let mut words = vec!["bgpctl".to_owned()];
    for (at, part) in command.split('"').enumerate() {
        if at % 2 == 1 {
            words.push(part.to_owned());
            continue;
        }
        words.extend(part.split_whitespace().map(|word| {
            match word.trim_matches(['[', ']', '…']) {
                "PREFIX" => "10.0.0.0/8",
                "ADDRESS" => "192.0.2.11",
                "60s" => "60s",
                other => other,
            }
            .to_owned()
        }));
    }
    words.retain(|word| !word.is_empty());
    words
}

#[test]
fn every_command_in_the_documents_is_understood() {
    let mut checked = 0;
    for path in documents() {
        let text = std::fs::read_to_string(&path).expect("a document");
        for command in commands(&text) {
            let result = Arguments::try_parse_from(words(&command));
            // What is only mentioned may leave out what it is about.
            let incomplete = [
                ErrorKind::MissingRequiredArgument,
                ErrorKind::MissingSubcommand,
                ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand,
            ];
            let no_value = |error: &clap::Error| error.to_string().contains("but none was supplied");
            if let Err(error) = result
                && !incomplete.contains(&error.kind())
                && !no_value(&error)
            {
                panic!("{}: bgpctl {command}\n{error}", path.display());
            }
            checked += 1;
        }
    }
    assert!(checked > 30, "{checked}");
}
