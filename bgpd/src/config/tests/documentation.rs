//! docs/configuration.md says what the code does: which keys there are, what is in force without them, and what a
//! change of each does to a session.

use std::fs;
use std::path::Path;

use bgp_engine::config::{Impact, Step, plan};

use super::root;
use crate::config::{Document, parse};

/// One row of a table of the page.
struct Row {
    /// The heading above it.
    heading: String,
    key: String,
    /// The other columns: type, default, meaning, and change where there is one.
    cells: Vec<String>,
}

fn page() -> String {
    fs::read_to_string(root().join("docs/configuration.md")).expect("it can be read")
}

fn rows() -> Vec<Row> {
    let (mut rows, mut heading) = (Vec::new(), String::new());
    for line in page().lines() {
        if let Some(name) = line.strip_prefix("## ") {
            heading = name.replace('`', "");
        }
        let Some(row) = line.strip_prefix("| `") else { continue };
        let mut cells = row.trim_end_matches(" |").split(" | ").map(str::to_owned);
        let key = cells.next().unwrap_or_default().trim_end_matches('`').to_owned();
        rows.push(Row { heading: heading.clone(), key, cells: cells.collect() });
    }
    rows
}

/// A document with something of everything.
const DOCUMENT: &str = "[global]\nasn = 65000\nrouter-id = \"192.0.2.1\"\n\
    [[peer-group]]\nname = \"nodes\"\nremote-asn = 65000\n\
    [[neighbor]]\naddress = \"192.0.2.10\"\nremote-asn = 65000\n\
    [[dynamic-neighbors]]\nprefix = \"10.0.0.0/16\"\npeer-group = \"nodes\"\n\
    [[originate]]\nprefix = \"10.1.0.0/24\"\n\
    [[cluster]]\nname = \"east\"\npod-cidrs = [\"10.1.0.0/16\"]\nnodes = [\"192.0.2.0/24\"]\n[[policy]]\nname = \"one\"\n[[community-set]]\nname = \"some\"\ncommunities = [\"65000:1\"]\n[[rpki]]\naddress = \"192.0.2.5\"\n[restart]\n\n[api]\n\n[log]\n\n[metrics]\n";

/// A document with one key more, or with another value for it.
fn with(document: &str, heading: &str, key: &str, value: &str) -> String {
    let heading = heading.split(' ').next().unwrap_or_default();
    let at = document.find(&format!("{heading}\n")).unwrap_or_else(|| panic!("{heading} is no section"));
    let (before, section) = document.split_at(at + heading.len() + 1);
    let end = section.find("\n[").map_or(section.len(), |end| end + 1);
    let (section, after) = section.split_at(end);
    let others: String = section.split_inclusive('\n').filter(|line| !line.starts_with(&format!("{key} ="))).collect();
    format!("{before}{others}{key} = {value}\n{after}")
}

fn read(text: &str, base: &Path) -> Document {
    parse(text, "bgpd.toml", base).unwrap_or_else(|diagnosis| panic!("{diagnosis}"))
}

#[test]
fn every_key_is_documented_and_every_documented_key_is_known() {
    let rows = rows();
    let mut keys = 0;
    for heading in [
        "[global]",
        "[[peer-group]]",
        "[[neighbor]]",
        "[[neighbor.ao-key]]",
        "[[peer-group.ao-key]]",
        "[[dynamic-neighbors]]",
        "[[originate]]",
        "[[cluster]]",
        "[[policy]]",
        "[[policy.statement]]",
        "[policy.statement.match]",
        "[policy.statement.set]",
        "[[prefix-set]]",
        "[[as-path-set]]",
        "[[community-set]]",
        "[[neighbor-set]]",
        "[[filter]]",
        "[[rpki]]",
        "[restart]",
        "[api]",
        "[api.tls]",
        "[log]",
        "[metrics]",
    ] {
        let global = if heading == "[global]" { "" } else { "[global]\nasn = 65000\nrouter-id = \"192.0.2.1\"\n" };
        // What is within a table needs that table.
        let outer = match heading {
            "[[policy.statement]]" => "[[policy]]\nname = \"one\"\n",
            "[policy.statement.match]" | "[policy.statement.set]" => {
                "[[policy]]\nname = \"one\"\n[[policy.statement]]\n"
            }
            "[[neighbor.ao-key]]" => "[[neighbor]]\naddress = \"192.0.2.10\"\n",
            "[[peer-group.ao-key]]" => "[[peer-group]]\nname = \"nodes\"\n",
            _ => "",
        };
        let text = format!("{global}{outer}{heading}\nno-key-is-like-this = 1\n");
        let diagnosis = parse(&text, "bgpd.toml", Path::new(".")).map(|_| ()).expect_err(heading).to_string();
        let known = diagnosis.split(" knows ").nth(1).and_then(|rest| rest.lines().next()).expect(heading);
        let known: Vec<&str> = known.split(", ").collect();
        for key in &known {
            let is_there = rows.iter().any(|row| row.key == *key && row.heading.contains(heading));
            assert!(is_there, "{key} of {heading} is not in docs/configuration.md");
            keys += 1;
        }
        for row in rows.iter().filter(|row| row.heading == heading) {
            assert!(known.contains(&row.key.as_str()), "{heading} does not know {}", row.key);
        }
    }
    assert!(keys > 60, "{keys}");
}

#[test]
fn a_key_with_its_documented_default_changes_nothing() {
    let base = Path::new(".");
    let expected = read(DOCUMENT, base);
    let mut defaults = 0;
    for Row { heading, key, cells } in rows() {
        // A key of TCP-AO needs a file.
        if heading.contains("ao-key") {
            continue;
        }
        let default = cells.get(1).map(String::as_str).unwrap_or_default();
        let value = match default.strip_prefix('`').and_then(|rest| rest.strip_suffix('`')) {
            Some("router-id") => "\"192.0.2.1\"",
            // The same as another key, whatever that is.
            Some("id") => continue,
            Some(value) if !value.contains('`') => value,
            _ if default.parse::<u32>().is_ok() => default,
            // Said in words: there is no value to write.
            _ => continue,
        };
        let found = read(&with(DOCUMENT, &heading, &key, value), base);
        assert_eq!(found.desired, expected.desired, "{heading} {key} = {value}");
        assert_eq!((found.api, found.log), (expected.api.clone(), expected.log.clone()), "{heading} {key} = {value}");
        assert_eq!(found.metrics, expected.metrics, "{heading} {key} = {value}");
        assert_eq!(found.restart, expected.restart, "{heading} {key} = {value}");
        defaults += 1;
    }
    assert!(defaults >= 20, "{defaults}");
}

/// Values other than those in `DOCUMENT`.
const OTHERS: [(&str, &str, &str); 48] = [
    ("[global]", "asn", "65001"),
    ("[global]", "router-id", "\"192.0.2.2\""),
    ("[global]", "cluster-id", "\"192.0.2.2\""),
    ("[global]", "listen", "[\"192.0.2.1:179\"]"),
    ("[global]", "client-to-client-reflection", "false"),
    ("[global]", "always-compare-med", "true"),
    ("[global]", "max-pending", "10"),
    ("[global]", "max-pending-per-source", "10"),
    ("[global]", "max-setup-rate", "0"),
    ("[global]", "graceful-shutdown", "true"),
    ("[[neighbor]]", "description", "\"rack 4\""),
    ("[[neighbor]]", "port", "1179"),
    ("[[neighbor]]", "remote-asn", "65001"),
    ("[[neighbor]]", "local-asn", "65002"),
    ("[[neighbor]]", "route-reflector-client", "true"),
    ("[[neighbor]]", "families", "[\"ipv6-unicast\"]"),
    ("[[neighbor]]", "hold-time", "9"),
    ("[[neighbor]]", "idle-hold-time", "0"),
    ("[[neighbor]]", "connect-retry", "1"),
    ("[[neighbor]]", "local-address", "\"192.0.2.1\""),
    ("[[neighbor]]", "passive", "true"),
    ("[[neighbor]]", "md5-password", "\"secret\""),
    ("[[neighbor]]", "md5-password-file", "\"key\""),
    ("[[neighbor]]", "ao-key", "[{ id = 1, key-file = \"key\" }]"),
    ("[[neighbor]]", "ttl-security", "true"),
    ("[[neighbor]]", "ebgp-multihop", "2"),
    ("[[neighbor]]", "next-hop-self", "true"),
    ("[[neighbor]]", "add-path", "\"both\""),
    ("[[neighbor]]", "extended-messages", "false"),
    ("[[neighbor]]", "extended-next-hop", "true"),
    ("[[neighbor]]", "role", "\"customer\""),
    ("[[neighbor]]", "role-strict", "true\nrole = \"customer\""),
    ("[[neighbor]]", "reject-as-sets", "true"),
    ("[[neighbor]]", "graceful-restart", "false"),
    ("[[neighbor]]", "restart-time", "60"),
    ("[[neighbor]]", "stale-path-time", "60"),
    ("[[neighbor]]", "long-lived-stale-time", "{ ipv4-unicast = 3600 }"),
    ("[global]", "import-policy", "[\"reject-all\"]"),
    ("[global]", "export-policy", "[\"reject-all\"]"),
    ("[[neighbor]]", "import-policy", "[\"reject-all\"]"),
    ("[[neighbor]]", "export-policy", "[\"reject-all\"]"),
    ("[[neighbor]]", "max-prefixes", "{ ipv4-unicast = 1000 }"),
    ("[[neighbor]]", "max-prefixes-warning", "90"),
    ("[[neighbor]]", "max-prefixes-action", "\"warn\""),
    ("[[neighbor]]", "max-prefixes-restart-time", "5"),
    ("[[neighbor]]", "graceful-shutdown", "true"),
    ("[[neighbor]]", "shutdown", "true"),
    ("[[dynamic-neighbors]]", "limit", "5"),
];

/// What a plan says of the one key that changes.
fn impact(steps: &[Step], key: &str) -> Option<Impact> {
    let changed = steps.iter().flat_map(|step| match step {
        Step::SetGlobal { changed, .. }
        | Step::UpdateNeighbor { changed, .. }
        | Step::UpdateDynamic { changed, .. } => changed.as_slice(),
        _ => &[],
    });
    // The key of TCP-MD5 is the same setting wherever it comes from.
    let key = key.trim_end_matches("-file");
    changed.filter(|change| change.key == key).map(|change| change.impact).max()
}

#[test]
fn the_documented_effect_of_a_change_is_what_the_plan_does() {
    let dir = tempfile::tempdir().expect("a directory for the key");
    fs::write(dir.path().join("key"), "secret\n").expect("it can be written");
    // Roles are for neighbors in another AS.
    let external = DOCUMENT
        .replace("address = \"192.0.2.10\"\nremote-asn = 65000", "address = \"192.0.2.10\"\nremote-asn = 65009");
    for Row { heading, key, cells } in rows() {
        let Some(change) = cells.get(3) else { continue };
        let expected = match change.split([' ', ':', ',']).next() {
            Some("live") => [Impact::None, Impact::ExportAgain, Impact::PolicyAgain].as_slice(),
            Some("next") => &[Impact::NextSession],
            Some("refresh") => &[Impact::RefreshIn],
            Some("reset" | "ends") => &[Impact::RoleRequired, Impact::OwnAddress, Impact::SessionReset],
            // Names, and what only decides which settings there are.
            Some("–" | "by") => continue,
            _ => panic!("{key}: \"{change}\" is not one of the effects"),
        };
        let other = OTHERS.iter().find(|(section, name, _)| heading.starts_with(section) && *name == key);
        let (section, _, value) = other.unwrap_or_else(|| panic!("{heading} {key} needs another value here"));
        let document = if key.starts_with("role") { external.as_str() } else { DOCUMENT };
        let running = read(document, dir.path()).desired;
        let wanted = read(&with(document, section, &key, value), dir.path()).desired;
        let impact = impact(&plan(&running, &wanted), &key);
        assert!(impact.is_some_and(|impact| expected.contains(&impact)), "{key}: {change}, but {impact:?}");
    }
}
