//! A document is read or diagnosed, whatever is in it: those of the tests and of the examples, changed at random.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use bgpd::config;
use proptest::prelude::*;

/// Documents to start from, with the folder that each is in.
static DOCUMENTS: LazyLock<Vec<(PathBuf, String)>> = LazyLock::new(|| {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    for folder in [here.join("../config"), here.join("src/config/golden")] {
        let entries = fs::read_dir(&folder).expect("a folder of documents");
        let files = entries.map(|entry| entry.expect("an entry").path());
        let toml = files.filter(|file| file.extension().is_some_and(|extension| extension == "toml"));
        found.extend(toml.map(|file| (folder.clone(), fs::read_to_string(file).expect("a text"))));
    }
    found.sort();
    assert!(found.len() > 5, "there are too few documents: {}", found.len());
    found
});

/// A change at a place of the text, in thousandths of it.
#[derive(Debug, Clone)]
enum Change {
    Insert(usize, String),
    Remove(usize, usize),
    /// A line is there twice.
    Repeat(usize),
    Join(usize),
}

fn change() -> impl Strategy<Value = Change> {
    // What TOML and the values in it are made of, characters of several octets, and controls.
    let part = prop_oneof![
        "[\\[\\]{}=\"'#,.:/\\\\_ \n-]{1,3}",
        "\\PC{1,4}",
        any::<char>().prop_map(|c| c.to_string()),
        prop::sample::select(vec![
            "0",
            "-1",
            "4294967296",
            "1e9",
            "inf",
            "true",
            "10.0.0.0/33",
            "::/0",
            "^_.*(1|2)$",
            "*",
            "é"
        ])
        .prop_map(str::to_owned),
    ];
    prop_oneof![
        4 => (0_usize..1000, part).prop_map(|(at, part)| Change::Insert(at, part)),
        2 => (0_usize..1000, 1_usize..40).prop_map(|(at, count)| Change::Remove(at, count)),
        1 => (0_usize..1000).prop_map(Change::Repeat),
        1 => (0_usize..1000).prop_map(Change::Join),
    ]
}

/// The nearest place before it where a character begins.
fn place(text: &str, thousandth: usize) -> usize {
    text.floor_char_boundary(text.len() * thousandth / 1000)
}

fn apply(text: &mut String, change: &Change) {
    match change {
        Change::Insert(at, part) => text.insert_str(place(text, *at), part),
        Change::Remove(at, count) => {
            let from = place(text, *at);
            let to = text.floor_char_boundary(text.len().min(from + count));
            text.replace_range(from..to, "");
        }
        Change::Repeat(at) => {
            let at = place(text, *at);
            let start = text[..at].rfind('\n').map_or(0, |newline| newline + 1);
            let end = text[at..].find('\n').map_or(text.len(), |newline| at + newline + 1);
            let line = text[start..end].to_owned();
            text.insert_str(start, &line);
        }
        Change::Join(at) => {
            let at = place(text, *at);
            if let Some(newline) = text[at..].find('\n') {
                text.remove(at + newline);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn any_change_of_a_document_is_read_or_diagnosed(
        document in any::<prop::sample::Index>(),
        changes in prop::collection::vec(change(), 1..6),
    ) {
        let (folder, text) = &DOCUMENTS[document.index(DOCUMENTS.len())];
        let mut text = text.clone();
        changes.iter().for_each(|change| apply(&mut text, change));
        match config::parse(&text, "bgpd.toml", folder) {
            Ok(document) => document.warnings.iter().for_each(|warning| drop(warning.to_string())),
            Err(diagnosis) => prop_assert!(diagnosis.to_string().contains("bgpd.toml"), "{diagnosis}"),
        }
    }

    #[test]
    fn any_text_is_read_or_diagnosed(text in "(\\PC|[\n\t\r\"'=\\[\\]{}#,.]){0,200}") {
        if let Err(diagnosis) = config::parse(&text, "bgpd.toml", Path::new(".")) {
            prop_assert!(!diagnosis.to_string().is_empty());
        }
    }
}
