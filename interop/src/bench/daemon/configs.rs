//! The config of each daemon, and the command line to start it with.

use std::ffi::OsString;
use std::path::Path;

use super::super::message::{ASN, Families, HOLD_TIME};
use super::DaemonKind;
use super::policy::{self, ImportPolicy};

const ROUTER_ID: &str = "10.255.255.1";

/// The config file's text.
pub(super) fn text(kind: DaemonKind, families: Families, import: ImportPolicy, directory: &Path) -> String {
    match kind {
        DaemonKind::Bgpd => bgpd(families, import, directory),
        DaemonKind::Bird => bird(families, import),
        DaemonKind::Frr => frr(families, import),
        DaemonKind::Gobgp => gobgp(families),
        DaemonKind::Openbgpd => openbgpd(families, directory),
        DaemonKind::Copier => String::new(),
    }
}

/// The arguments.
pub(super) fn arguments(kind: DaemonKind, directory: &Path, config: &Path) -> Vec<OsString> {
    let at = |name: &str| directory.join(name).into_os_string();
    let config = config.as_os_str().to_owned();
    match kind {
        DaemonKind::Bgpd => vec!["--config".into(), config],
        DaemonKind::Bird => {
            vec!["-f".into(), "-c".into(), config, "-s".into(), at("control"), "-P".into(), at("pid")]
        }
        DaemonKind::Frr => {
            let mut arguments: Vec<OsString> =
                ["-S", "-n", "-Z", "-l", "127.0.0.1", "-p", "179", "-P", "0"].into_iter().map(OsString::from).collect();
            arguments.extend(["-f".into(), config, "-i".into(), at("pid"), "--vty_socket".into()]);
            arguments.push(directory.as_os_str().to_owned());
            arguments
        }
        DaemonKind::Gobgp => {
            let hosts = format!("unix://{}", directory.join("api").display());
            ["-l", "error", "--api-hosts", &hosts, "-f"].into_iter().map(OsString::from).chain([config]).collect()
        }
        DaemonKind::Openbgpd => vec!["-d".into(), "-f".into(), config],
        DaemonKind::Copier => vec!["byte-copier".into()],
    }
}

/// Those of `v4` and `v6` that are in use.
fn each<'a>(families: Families, v4: &'a str, v6: &'a str) -> Vec<&'a str> {
    [(families.v4, v4), (families.v6, v6)].into_iter().filter(|(used, _)| *used).map(|(_, text)| text).collect()
}

fn bgpd(families: Families, import: ImportPolicy, directory: &Path) -> String {
    let names = each(families, "\"ipv4-unicast\"", "\"ipv6-unicast\"").join(", ");
    format!(
        r#"[global]
asn = {ASN}
router-id = "{ROUTER_ID}"
listen = ["127.0.0.1:179"]

[api]
listen = ["unix:{}/api.sock"]

[[peer-group]]
name = "fleet"
remote-asn = {ASN}
route-reflector-client = true
families = [{names}]
hold-time = {HOLD_TIME}
idle-hold-time = 0
passive = true
{}
[[dynamic-neighbors]]
prefix = "127.0.0.0/8"
peer-group = "fleet"
limit = 5000
{}"#,
        directory.display(),
        policy::bgpd_import(import),
        policy::bgpd(import)
    )
}

/// Next hops are looked up in a table of their own, with one route that covers them all.
fn bird(families: Families, import: ImportPolicy) -> String {
    let mut text = format!("log stderr {{ warning, error, fatal, bug }};\nrouter id {ROUTER_ID};\n");
    let (filter, import) = policy::bird(import);
    text += &filter;
    text += "protocol device {}\n";
    let tables = [(families.v4, "ipv4", "igp4", "100.64.0.0/10"), (families.v6, "ipv6", "igp6", "2001:db8:ffff::/48")];
    let mut channels = String::new();
    for (_, family, table, route) in tables.into_iter().filter(|(used, ..)| *used) {
        text += &format!("{family} table {table};\n");
        text += &format!("protocol static {{ {family} {{ table {table}; }}; route {route} via \"lo\"; }}\n");
        channels += &format!(
            "  {family} {{ import {import}; export where source = RTS_BGP; next hop keep; igp table {table}; }};\n"
        );
    }
    text + &format!(
        "protocol bgp fleet {{\n  local 127.0.0.1 as {ASN};\n  neighbor range 127.0.0.0/8 as {ASN};\n  passive on;\n  \
         strict bind yes;\n  rr client;\n  hold time {HOLD_TIME};\n  error wait time 1, 1;\n{channels}}}\n"
    )
}

fn frr(families: Families, import: ImportPolicy) -> String {
    let (lists, import) = policy::frr(import);
    let mut text = format!(
        "frr defaults traditional\n{lists}router bgp {ASN}\n bgp router-id {ROUTER_ID}\n no bgp default ipv4-unicast\n \
         timers bgp {} {HOLD_TIME}\n neighbor fleet peer-group\n neighbor fleet remote-as {ASN}\n \
         neighbor fleet passive\n neighbor fleet advertisement-interval 0\n bgp listen limit 5000\n \
         bgp listen range 127.0.0.0/8 peer-group fleet\n",
        HOLD_TIME / 3
    );
    for family in each(families, "ipv4", "ipv6") {
        text += &format!(
            " address-family {family} unicast\n  neighbor fleet activate\n  neighbor fleet route-reflector-client\n{import} \
             exit-address-family\n"
        );
    }
    text
}

fn gobgp(families: Families) -> String {
    let mut text = format!(
        r#"[global.config]
as = {ASN}
router-id = "{ROUTER_ID}"
port = 179
local-address-list = ["127.0.0.1"]
[[peer-groups]]
[peer-groups.config]
peer-group-name = "fleet"
peer-as = {ASN}
[peer-groups.timers.config]
hold-time = {HOLD_TIME}
keepalive-interval = {}
idle-hold-time-after-reset = 1
[peer-groups.transport.config]
passive-mode = true
[peer-groups.route-reflector.config]
route-reflector-client = true
route-reflector-cluster-id = "{ROUTER_ID}"
"#,
        HOLD_TIME / 3
    );
    for family in each(families, "ipv4-unicast", "ipv6-unicast") {
        text += &format!("[[peer-groups.afi-safis]]\n[peer-groups.afi-safis.config]\nafi-safi-name = \"{family}\"\n");
    }
    text += "[[dynamic-neighbors]]\n[dynamic-neighbors.config]\nprefix = \"127.0.0.0/8\"\npeer-group = \"fleet\"\n";
    text
}

fn openbgpd(families: Families, directory: &Path) -> String {
    let announce = |used| if used { "unicast" } else { "none" };
    format!(
        "AS {ASN}\nrouter-id {ROUTER_ID}\nfib-update no\nlisten on 127.0.0.1\nholdtime {HOLD_TIME}\n\
         socket \"{}/control\"\nneighbor 127.0.0.0/8 {{\n  remote-as {ASN}\n  passive\n  route-reflector\n  \
         announce IPv4 {}\n  announce IPv6 {}\n}}\nallow from ibgp\nallow to ibgp\n",
        directory.display(),
        announce(families.v4),
        announce(families.v6)
    )
}
