//! The modules of the engine depend on each other in one direction only.

use std::fs;
use std::path::Path;

/// Each module may use those before it.
const ORDER: [&str; 12] =
    ["id", "attr", "policy", "rpki", "config", "session", "export", "stage", "rib", "intake", "group", "speaker"];

fn sources(under: &Path, out: &mut Vec<std::path::PathBuf>) {
    let entries = fs::read_dir(under).expect("the sources are there");
    for entry in entries.map(|entry| entry.expect("a readable entry").path()) {
        if entry.is_dir() {
            sources(&entry, out);
        } else {
            out.push(entry);
        }
    }
}

#[test]
fn modules_use_only_what_comes_before_them() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    let mut checked = 0;
    for file in files {
        let relative = file.strip_prefix(&root).expect("below the sources");
        let first = relative.components().next().expect("a name").as_os_str().to_string_lossy();
        let module = first.trim_end_matches(".rs");
        let Some(rank) = ORDER.iter().position(|name| *name == module) else {
            assert_eq!(module, "lib", "a module without a place in the order");
            continue;
        };
        #[expect(clippy::disallowed_methods, reason = "the test reads the sources")]
        let text = fs::read_to_string(&file).expect("a readable source");
        for line in text.lines().map(str::trim).filter(|line| line.starts_with("use crate::")) {
            let used = line["use crate::".len()..].split([':', ';']).next().unwrap_or_default();
            let used_rank = ORDER.iter().position(|name| *name == used);
            assert!(used_rank.is_some_and(|used| used <= rank), "{}: {line}", relative.display());
            checked += 1;
        }
    }
    assert!(checked > 50, "only {checked} lines found");
}
