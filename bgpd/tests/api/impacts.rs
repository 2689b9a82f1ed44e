//! What docs/configuration.md says that a new value does to a session is what happens to one: for each key of a neighbor
//! and of the speaker.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use bgp_wire::attribute::{AsPath, Attribute, Origin};
use bgpd_proto::v1;
use bgpd_proto::v1::config_service_client::ConfigServiceClient;

use crate::daemon::{Daemon, free_port, wait_until};
use crate::resets::{received, sessions};
use crate::speaker::{Speaker, plain_open};

const ADDRESS: &str = "127.0.0.11";
const HOST: u8 = 11;

/// Other values than those in force; `PORT` is the one that is listened on.
const NEW: [(&str, &str); 46] = [
    ("asn", "65001"),
    ("router-id", "\"192.0.2.2\""),
    ("cluster-id", "\"192.0.2.2\""),
    ("listen", "[\"127.0.0.1:PORT\", \"127.0.0.2:PORT\"]"),
    ("client-to-client-reflection", "false"),
    ("always-compare-med", "true"),
    ("max-pending", "10"),
    ("max-pending-per-source", "10"),
    ("max-setup-rate", "1000"),
    ("description", "\"rack 4\""),
    ("port", "1179"),
    ("remote-asn", "65001"),
    ("local-asn", "65002"),
    ("route-reflector-client", "true"),
    ("families", "[\"ipv4-unicast\", \"ipv6-unicast\"]"),
    ("hold-time", "9"),
    ("idle-hold-time", "1"),
    ("connect-retry", "1"),
    ("local-address", "\"127.0.0.9\""),
    ("passive", "false"),
    ("ebgp-multihop", "2"),
    ("next-hop-self", "true"),
    ("add-path", "\"both\""),
    ("extended-messages", "false"),
    ("extended-next-hop", "true"),
    ("role", "\"customer\""),
    ("role-strict", "true\nrole = \"customer\""),
    ("reject-as-sets", "true"),
    ("graceful-restart", "false"),
    ("restart-time", "60"),
    ("stale-path-time", "60"),
    ("long-lived-stale-time", "3600"),
    ("import-policy", "[\"reject-all\"]"),
    ("export-policy", "[\"reject-all\"]"),
    ("max-prefixes", "1000"),
    ("max-prefixes-warning", "90"),
    ("max-prefixes-action", "\"warn\""),
    ("max-prefixes-restart-time", "5"),
    ("graceful-shutdown", "true"),
    ("shutdown", "true"),
    // Signed, and from the same link: a peer has to follow, as in the labs named below.
    ("md5-password", ""),
    ("md5-password-file", ""),
    ("ttl-security", ""),
    ("ao-key", ""),
    // Which neighbor it is, and whose settings it has.
    ("address", ""),
    ("peer-group", ""),
];

/// Keys whose change is tried with FRR and BIRD, and where.
const LABS: [(&str, &str); 3] =
    [("md5-password", "keys.rs"), ("md5-password-file", "security.rs"), ("ttl-security", "security.rs")];

/// Keys of a section and what the page says of a change, by key.
fn changes(section: &str) -> BTreeMap<String, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let page = std::fs::read_to_string(root.join("docs/configuration.md")).expect("the page");
    let table = page.split("\n## ").find(|part| part.starts_with(section)).expect("a section");
    let rows = table.lines().filter_map(|line| line.strip_prefix("| `")?.strip_suffix(" |"));
    rows.filter_map(|row| Some((row.split('`').next()?.to_owned(), row.rsplit(" | ").next()?.to_owned()))).collect()
}

struct World {
    daemon: Daemon,
    port: u16,
    /// AS number of the neighbor.
    asn: u16,
    /// It is waited for.
    passive: bool,
}

impl World {
    /// The configuration in which one key of a section has a value of its own.
    fn document(&self, section: &str, key: &str, value: &str) -> String {
        let Self { port, asn, passive, .. } = self;
        let global =
            format!("asn = 65000\nrouter-id = \"192.0.2.1\"\nlisten = [\"127.0.0.1:{port}\"]\nmax-setup-rate = 0\n");
        let policies = "import-policy = [\"accept-all\"]\nexport-policy = [\"accept-all\"]\n";
        let neighbor =
            format!("address = \"{ADDRESS}\"\nremote-asn = {asn}\npassive = {passive}\nidle-hold-time = 0\n{policies}");
        let with = |name: &str, lines: String| {
            if name != section {
                return format!("{name}\n{lines}");
            }
            let others = lines.lines().filter(|line| !line.starts_with(&format!("{key} =")));
            let others: String = others.map(|line| format!("{line}\n")).collect();
            format!("{name}\n{others}{key} = {}\n", value.replace("PORT", &port.to_string()))
        };
        with("[global]", global) + &with("[[neighbor]]", neighbor)
    }

    async fn apply(&self, text: String) -> Vec<v1::SessionReset> {
        let document = Some(v1::Document { text, name: String::new() });
        let request = v1::ApplyConfigRequest { document, ..Default::default() };
        let applied = ConfigServiceClient::new(self.daemon.connect().await).apply(request).await;
        applied.expect("it is applied").into_inner().resets
    }

    async fn connect(&self) -> Speaker {
        loop {
            // bgpd may not have noticed the end of the last session yet.
            if let Some(speaker) = Speaker::try_connect(self.port, HOST, &plain_open(HOST, self.asn)).await {
                wait_until("the session is up", || async { !sessions(&self.daemon).await.is_empty() }).await;
                return speaker;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Changes one key under a session; what the page says is what happens.
    async fn change(&self, section: &str, key: &str, value: &str, expected: &str) {
        // A neighbor that is new waits for nothing, however often a session has ended before.
        let document = self.document("", "", "");
        let _ = self.apply(document.split("[[").next().unwrap_or_default().to_owned()).await;
        let _ = self.apply(document).await;
        let mut speaker = self.connect().await;
        let refreshes = speaker.refreshes();
        let resets = self.apply(self.document(section, key, value)).await;
        let ends = matches!(expected.split([' ', ':', ',']).next(), Some("reset" | "ends"));
        assert_eq!(resets.len(), usize::from(ends), "{section} {key}: {expected}, but {resets:?}");
        if ends {
            wait_until(&format!("{key} ends the session"), || async { speaker.has_ended() }).await;
            return;
        }
        // What bgpd has after it, it has on the same session.
        let path =
            if self.asn == 65000 { AsPath { segments: Vec::new() } } else { AsPath::sequence(&[self.asn.into()]) };
        let mut attributes = vec![Attribute::Origin(Origin::Igp), Attribute::AsPath(path)];
        attributes.extend((self.asn == 65000).then_some(Attribute::LocalPref(100)));
        for prefix in ["10.200.0.0/24", "10.200.1.0/24"] {
            speaker.announce_with(prefix, &attributes, None).await;
            wait_until(&format!("{key}: the session goes on"), || received(&self.daemon, ADDRESS, prefix)).await;
        }
        assert!(!speaker.has_ended(), "{section} {key}: {expected}");
        let asked = speaker.refreshes() - refreshes;
        assert_eq!(asked, usize::from(expected.starts_with("refresh")), "{section} {key}: {expected}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_change_does_to_a_session_what_the_page_says() {
    let port = free_port();
    let first = format!("[global]\nasn = 65000\nrouter-id = \"192.0.2.1\"\nlisten = [\"127.0.0.1:{port}\"]\n");
    let mut world = World { daemon: Daemon::start(&first).await, port, asn: 65000, passive: true };
    let mut tried = 0;
    for (section, heading) in [("[global]", "`[global]`"), ("[[neighbor]]", "`[[neighbor]]` and")] {
        for (key, expected) in changes(heading) {
            if key == "name" {
                continue;
            }
            let (_, value) =
                NEW.iter().find(|(name, _)| *name == key).unwrap_or_else(|| panic!("{key} has no value here"));
            if value.is_empty() {
                continue;
            }
            // What is for neighbors in another AS.
            world.asn = if key.starts_with("role") || key == "ebgp-multihop" { 65009 } else { 65000 };
            world.passive = key != "port";
            world.change(section, &key, value, &expected).await;
            tried += 1;
        }
    }
    assert!(tried >= 40, "{tried}");
}

#[test]
fn what_needs_a_peer_that_follows_is_changed_in_a_lab() {
    let labs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../interop/tests");
    for (key, lab) in LABS {
        let text = std::fs::read_to_string(labs.join(lab)).expect("the lab");
        assert!(text.contains(&format!("{key} = ")), "{key} is not in {lab}");
    }
}
