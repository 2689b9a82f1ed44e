//! Every broken document of `golden` gets the diagnosis beside it, and every document that is shown to people is valid.
//! A document called `warning_…` is valid, and gets the warnings beside it. `UPDATE_GOLDEN=1` writes the diagnoses anew.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bgp_engine::config::AddPath;
use bgp_wire::Family;

use super::{Document, parse};

mod documentation;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn files(dir: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).expect("the directory is part of the project");
    let paths = entries.map(|entry| entry.expect("it can be read").path());
    let mut files: Vec<PathBuf> = paths.filter(|path| path.extension().is_some_and(|is| is == extension)).collect();
    files.sort();
    files
}

#[test]
fn broken_documents_get_diagnoses_that_a_newcomer_can_act_on() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/config/golden");
    let documents = files(&dir, "toml");
    assert!(documents.len() >= 40, "{} documents", documents.len());
    for path in documents {
        let text = fs::read_to_string(&path).expect("it can be read");
        let is_warning = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("warning_"));
        let said = match parse(&text, "bgpd.toml", &dir) {
            Ok(document) if is_warning => document.warnings.iter().map(|warning| format!("{warning}\n")).collect(),
            Err(diagnosis) if !is_warning => format!("{diagnosis}\n"),
            Ok(_) => panic!("{} is valid", path.display()),
            Err(diagnosis) => panic!("{diagnosis}"),
        };
        assert!(!said.contains("to be shown") && !said.contains("to-be-shown"), "{said}");
        let golden = path.with_extension("txt");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&golden, &said).expect("it can be written");
        }
        let expected = fs::read_to_string(&golden).unwrap_or_default();
        assert_eq!(said, expected, "{}", path.display());
    }
}

fn valid(text: &str, name: &str) -> Document {
    let document = parse(text, name, Path::new(".")).unwrap_or_else(|diagnosis| panic!("{diagnosis}"));
    let warnings: Vec<String> = document.warnings.iter().map(ToString::to_string).collect();
    assert!(warnings.is_empty(), "{}", warnings.join("\n"));
    document
}

#[test]
fn shown_documents_are_valid_and_give_no_warning() {
    let examples = files(&root().join("config"), "toml");
    assert!(examples.len() >= 5, "{} examples", examples.len());
    for path in examples {
        valid(&fs::read_to_string(&path).expect("it can be read"), &path.display().to_string());
    }
    for page in ["README.md", "docs/configuration.md", "docs/policy.md"] {
        let text = fs::read_to_string(root().join(page)).expect("it can be read");
        let blocks: Vec<&str> = text.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
        assert!(!blocks.is_empty(), "{page} has no example");
        for block in blocks {
            valid(block, page);
        }
    }
}

const MINIMAL: &str = "[global]\nasn = 65000\nrouter-id = \"192.0.2.1\"\n[[neighbor]]\naddress = \"192.0.2.10\"\n\
                       remote-asn = 65000\n";

#[test]
fn what_is_left_out_has_the_documented_default() {
    let document = valid(MINIMAL, "minimal");
    let global = &document.desired.global;
    assert_eq!(
        (global.cluster_id, global.client_to_client, global.always_compare_med),
        (global.router_id, true, false)
    );
    assert_eq!(global.listen.iter().map(ToString::to_string).collect::<Vec<_>>(), ["0.0.0.0:179", "[::]:179"]);
    let address: IpAddr = "192.0.2.10".parse().expect("an address");
    let neighbor = &document.desired.neighbors[&address];
    let settings = &neighbor.settings;
    assert_eq!((neighbor.port, settings.hold_seconds), (179, 90));
    assert_eq!((settings.connect_retry, settings.idle_hold), (Duration::from_secs(5), Duration::from_secs(5)));
    assert_eq!(settings.families, [Family::IPV4_UNICAST]);
    assert_eq!((settings.add_path, settings.extended_messages), (AddPath::default(), true));
    assert!(!settings.route_reflector_client && !settings.passive && !settings.next_hop_self);
}

#[test]
fn what_is_hardly_meant_gets_a_warning() {
    let external = "[[neighbor]]\naddress = \"192.0.2.11\"\nremote-asn = 65001\n";
    let document = parse(&(MINIMAL.to_owned() + external), "bgpd.toml", Path::new(".")).expect("it is valid");
    let warnings: Vec<String> = document.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(warnings[0].contains("bgpd.toml:7:1") && warnings[0].contains("RFC 8212"), "{}", warnings[0]);
}

#[test]
fn passwords_are_not_shown_by_a_diagnosis_that_is_about_something_else() {
    let text = MINIMAL.to_owned() + "md5-password = \"secret\"\nhold-time = 1\n";
    let diagnosis = parse(&text, "bgpd.toml", Path::new(".")).map(|_| ()).expect_err("1 is too short").to_string();
    assert!(!diagnosis.contains("secret"), "{diagnosis}");
}

#[test]
fn ranges_inside_ranges_are_allowed() {
    let ranges = "[[peer-group]]\nname = \"nodes\"\nremote-asn = 65000\n\
                  [[dynamic-neighbors]]\nprefix = \"10.0.0.0/8\"\npeer-group = \"nodes\"\n\
                  [[dynamic-neighbors]]\nprefix = \"10.1.0.0/16\"\npeer-group = \"nodes\"\n";
    let document = valid(&(MINIMAL.to_owned() + ranges), "ranges");
    assert_eq!(document.desired.dynamic.len(), 2);
}

#[test]
fn an_ipv4_route_may_have_an_ipv6_next_hop() {
    let route = "[[originate]]\nprefix = \"10.1.0.0/24\"\nnext-hop = \"2001:db8::1\"\n";
    assert_eq!(valid(&(MINIMAL.to_owned() + route), "RFC 8950").desired.originate.len(), 1);
}

#[cfg(not(feature = "roto"))]
#[test]
fn a_filter_needs_a_bgpd_that_is_built_with_filters() {
    let text = MINIMAL.to_owned() + "[[filter]]\nname = \"one\"\nsource = \"filtermap\"\n";
    let diagnosis = parse(&text, "bgpd.toml", Path::new(".")).map(|_| ()).expect_err("it cannot be compiled");
    assert!(diagnosis.to_string().contains("built without filters"), "{diagnosis}");
}
