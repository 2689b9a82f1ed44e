//! What the process may do: capabilities it keeps, a user that is not root, the sandbox of its unit.

use std::fs;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use interop::lab::{BIRD, Bgpd, Bird, Daemon, Lab, Node, build_bgpd, run, to, wait_until};

const CONFIG: &str = "[global]\nasn = 65000\nrouter-id = \"192.0.2.1\"\n\
    [[neighbor]]\naddress = \"192.0.2.12\"\nremote-asn = 65000\nconnect-retry = 1\nmd5-password = \"key\"\n";

/// The lines of `/proc/PID/task/TID/status` with a name, of all threads of a process.
fn of_all_threads(pid: u32, name: &str) -> Vec<String> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("the process runs");
    let status = |task: fs::DirEntry| fs::read_to_string(task.path().join("status")).unwrap_or_default();
    let line = |status: String| {
        status.lines().find_map(|line| line.strip_prefix(&format!("{name}:")).map(|value| value.trim().to_owned()))
    };
    tasks.flatten().map(status).filter_map(line).collect()
}

/// CAP_NET_BIND_SERVICE.
const NET_BIND_SERVICE: &str = "0000000000000400";
/// CAP_NET_BIND_SERVICE and CAP_CHOWN.
const AND_CHOWN: &str = "0000000000000401";
const NONE: &str = "0000000000000000";

#[test]
fn root_keeps_no_capability_but_that_for_the_port() {
    let lab = Lab::new("capabilities", &[]);
    let (us, other) = (lab.node("us", 1), lab.node("other", 2));
    let bgpd = Bgpd::start(&us, CONFIG);
    let unprivileged = Bgpd::start(&other, &CONFIG.replace("router-id", "listen = [\"0.0.0.0:1179\"]\nrouter-id"));
    for (bgpd, kept) in [(&bgpd, NET_BIND_SERVICE), (&unprivileged, NONE)] {
        for (set, expected) in [
            ("CapEff", kept),
            ("CapPrm", kept),
            ("CapBnd", kept),
            ("CapInh", NONE),
            ("CapAmb", NONE),
            ("NoNewPrivs", "1"),
        ] {
            let found = of_all_threads(bgpd.daemon.pid(), set);
            assert!(found.len() > 2 && found.iter().all(|value| value == expected), "{set}: {found:?}");
        }
    }
    // A listener on a privileged port can still be opened by a reload.
    bgpd.reload(&us, &CONFIG.replace("router-id", "listen = [\"192.0.2.1:180\"]\nrouter-id"));
    let listens = || bgpd.json(&["show", "summary"])["listen"][0] == "192.0.2.1:180";
    wait_until("the listener has moved", listens, || bgpd.picture());
}

#[test]
fn a_user_with_one_capability_runs_it() {
    let lab = Lab::new("user", &BIRD);
    let (us, bird_node) = (lab.node("us", 1), lab.node("bird", 12));
    let socket = us.dir.join("bgpd.sock").display().to_string();
    let file = us.write("bgpd.toml", &format!("{CONFIG}[api]\nlisten = [\"unix:{socket}\"]\n"));
    let _ = run(&["chown", "-R", "nobody", &us.dir.display().to_string()]);
    let bgpd = build_bgpd().join("bgpd").display().to_string();
    let arguments = [
        "--reuid=nobody",
        "--regid=nogroup",
        "--clear-groups",
        "--inh-caps=-all,+net_bind_service",
        "--ambient-caps=-all,+net_bind_service",
        "--bounding-set=-all,+net_bind_service",
        &bgpd,
        "--config",
        &file.display().to_string(),
    ];
    let daemon = Daemon::start(&us, "bgpd", "setpriv", &arguments);
    let bird = Bird::start(
        &bird_node,
        "router id 192.0.2.12; protocol device {} protocol bgp up { local as 65000; neighbor 192.0.2.1 as 65000;
         password \"key\"; connect retry time 1; ipv4 { import all; export all; }; }",
    );
    let picture = || bird.picture() + &daemon.log_end();
    wait_until("the session is up, with TCP-MD5", || bird.is_established("up"), picture);
    assert_eq!(of_all_threads(daemon.pid(), "Uid")[0].split_whitespace().next(), Some("65534"));
    let kept = of_all_threads(daemon.pid(), "CapEff");
    assert!(kept.iter().all(|set| set == NET_BIND_SERVICE), "{kept:?}");
}

/// The socket belongs to one who is neither root nor bgpd's user.
const OWNED: &str = "socket-owner = \"nobody\"\nsocket-group = \"nogroup\"\nsocket-mode = \"0600\"\n";
/// What stands before a command that the owner runs.
const AS_NOBODY: [&str; 4] = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"];

#[test]
fn the_socket_belongs_to_whom_the_configuration_says() {
    let lab = Lab::new("socket", &["setpriv"]);
    let us = lab.node("us", 1);
    let socket = us.dir.join("bgpd.sock").display().to_string();
    let config = format!("{CONFIG}[api]\nlisten = [\"unix:{socket}\"]\n{OWNED}");
    let file = us.write("bgpd.toml", &config).display().to_string();
    let _ = run(&["chmod", "755", &us.dir.display().to_string()]);
    let [bgpd, bgpctl] = ["bgpd", "bgpctl"].map(|name| build_bgpd().join(name).display().to_string());
    let start = |name: &str, file: &str| Daemon::start(&us, name, &bgpd, &["--config", file]);
    let server = format!("unix:{socket}");
    let asks = || run(&[&AS_NOBODY[..], &[&bgpctl, "--server", &server, "show", "summary"]].concat()).status.success();
    let mut first = start("bgpd", &file);
    wait_until("the owner may use it", asks, || first.log_end());
    let is = || String::from_utf8_lossy(&run(&["stat", "--format=%U %G %a", &socket]).stdout).trim().to_owned();
    assert_eq!(is(), "nobody nogroup 600");
    let kept = of_all_threads(first.pid(), "CapEff");
    assert!(kept.iter().all(|set| set == AND_CHOWN), "{kept:?}");
    // Root without capabilities may not connect to it, and leaves it to whom it serves.
    let other = us.write("second.toml", &config.replace("router-id", "listen = [\"0.0.0.0:1179\"]\nrouter-id"));
    let mut second = start("second", &other.display().to_string());
    wait_until("the other gives up", || second.log().contains("is in use"), || second.log_end());
    second.kill();
    assert!(asks(), "{}", first.log_end());
    // What a crash has left is nobody's any more.
    first.kill();
    let third = start("third", &file);
    wait_until("the owner may use the new one", asks, || third.log_end());
}

#[test]
fn the_unit_is_valid_and_shuts_out_what_bgpd_does_not_need() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/bgpd.service");
    let unit = fs::read_to_string(file).expect("the unit is there");
    let dir = tempfile::tempdir().expect("a temporary directory");
    let bgpd = build_bgpd().join("bgpd").display().to_string();
    let copy = dir.path().join("bgpd.service");
    fs::write(&copy, unit.replace("/usr/local/sbin/bgpd", &bgpd)).expect("it can be written");
    let copy = copy.display().to_string();
    let verified = run(&["systemd-analyze", "verify", &copy]);
    let said = String::from_utf8_lossy(&verified.stderr);
    let about_it: Vec<_> = said.lines().filter(|line| line.contains("bgpd.service")).collect();
    assert!(about_it.is_empty(), "{about_it:?}");
    // Of ten: what is left is the network, which it is for. Above the threshold the command fails.
    let rated = run(&["systemd-analyze", "security", "--no-pager", "--offline=true", "--threshold=20", &copy]);
    assert!(rated.status.success(), "{}", String::from_utf8_lossy(&rated.stdout));
}

/// A systemd of its own in a node's namespace, with the unit of the project.
struct Host {
    systemd: Daemon,
    _alone: MutexGuard<'static, ()>,
}

/// Two of them would have the same control groups.
static ONE: Mutex<()> = Mutex::new(());

impl Host {
    /// With what `edited` makes of the unit.
    fn start(node: &Node, config: &str, edited: impl Fn(&str) -> String) -> Self {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        fs::create_dir_all(node.dir.join("etc")).expect("the lab's directory can be written");
        node.write("etc/bgpd.toml", config);
        let unit = fs::read_to_string(here.join("../config/bgpd.service")).expect("the unit is there");
        let unit = node.write("bgpd.service", &edited(&unit)).display().to_string();
        let bgpd = build_bgpd().join("bgpd").display().to_string();
        let script = here.join("peers/systemd-host").display().to_string();
        let dir = node.dir.display().to_string();
        let arguments = [&dir, &bgpd, &unit].map(String::as_str);
        // Another test that failed has ended its own all the same.
        let alone = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        Self { systemd: Daemon::start(node, "systemd", &script, &arguments), _alone: alone }
    }

    /// Runs a program among the processes of that systemd; what it says.
    fn run(&self, arguments: &[&str]) -> String {
        let pid = self.systemd.pid();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        let first = children.trim();
        let output = run(&[&["nsenter", "--target", first, "--mount", "--pid", "--net"], arguments].concat());
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
    }

    /// A property of the unit.
    fn shows(&self, property: &str) -> String {
        self.run(&["systemctl", "show", "--property", property, "--value", "bgpd"]).trim().to_owned()
    }

    fn picture(&self) -> String {
        self.run(&["systemctl", "status", "--no-pager", "--lines=40", "bgpd"]) + &self.systemd.log_end()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.systemd.kill();
        // Its control groups are empty then.
        for root in ["/sys/fs/cgroup", "/sys/fs/cgroup/systemd", "/sys/fs/cgroup/unified"] {
            let _ = run(&["find", &format!("{root}/bgpd-lab"), "-depth", "-type", "d", "-exec", "rmdir", "{}", "+"]);
        }
    }
}

#[test]
fn the_unit_runs_under_systemd_reloads_and_comes_back_after_a_crash() {
    let lab = Lab::new("unit", &[&BIRD[..], &["systemctl", "nsenter"]].concat());
    let (us, bird_node) = (lab.node("us", 1), lab.node("bird", 12));
    let host = Host::start(&us, CONFIG, str::to_owned);
    let bird = Bird::start(
        &bird_node,
        "router id 192.0.2.12; protocol device {} protocol bgp up { local as 65000; neighbor 192.0.2.1 as 65000;
         password \"key\"; connect retry time 1; error wait time 1, 2; ipv4 { import all; export all; }; }",
    );
    let picture = || bird.picture() + &host.picture();
    wait_until("the session is up, with TCP-MD5", || bird.is_established("up"), picture);
    let status = host.run(&["cat", &format!("/proc/{}/status", host.shows("MainPID"))]);
    let of = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim().to_owned();
    for (name, expected) in
        [("CapEff:", NET_BIND_SERVICE), ("CapBnd:", NET_BIND_SERVICE), ("NoNewPrivs:", "1"), ("Seccomp:", "2")]
    {
        assert_eq!(of(name), expected, "{name} {status}");
    }
    let user: u32 = of("Uid:").split_whitespace().next().and_then(|user| user.parse().ok()).expect("a number");
    assert!((61_184..=65_519).contains(&user), "a user that systemd has made: {status}");
    let state = host.run(&["stat", "--format=%U %a", "/var/lib/private/bgpd", "/run/bgpd/bgpd.sock"]);
    assert_eq!(state, "bgpd 750\nbgpd 660\n", "{}", picture());

    us.write("etc/bgpd.toml", &format!("{CONFIG}[[originate]]\nprefix = \"10.99.0.0/24\"\n"));
    let said = host.run(&["systemctl", "reload", "bgpd"]);
    let known = || to(&bird.routes(false), "10.99.0.0/24").is_some();
    wait_until("a route of the new configuration is there", known, || said.clone() + &picture());
    assert!(bird.is_established("up"), "{}", picture());

    let _ = host.run(&["systemctl", "kill", "--signal=KILL", "bgpd"]);
    wait_until("systemd has started it again", || host.shows("NRestarts") == "1", picture);
    wait_until("the session is up again", || bird.is_established("up") && known(), picture);
    let log = host.run(&["journalctl", "--unit=bgpd", "--no-pager", "--output=cat"]);
    assert!(!log.contains("cold start") && log.matches("bgpd starts").count() == 2, "{log}");
    // What it is not to reach: the user's files, and a shell with more rights.
    let inside = format!("/proc/{}/root", host.shows("MainPID"));
    assert_eq!(
        host.run(&["sh", "-c", &format!("ls -A {inside}/root {inside}/home | grep -v ':$' | grep -c .")]).trim(),
        "0"
    );
}

#[test]
fn under_systemd_the_socket_can_belong_to_another_user() {
    let lab = Lab::new("owner", &["systemctl", "nsenter", "setpriv"]);
    let us = lab.node("us", 1);
    let edited = |unit: &str| {
        let unit = unit.replace("CAP_NET_BIND_SERVICE\n", "CAP_NET_BIND_SERVICE CAP_CHOWN\n");
        unit.replace("RuntimeDirectoryMode=0750", "RuntimeDirectoryMode=0751")
    };
    let host = Host::start(&us, &format!("{CONFIG}[api]\n{OWNED}"), edited);
    fs::copy(build_bgpd().join("bgpctl"), us.dir.join("etc/bgpctl")).expect("it is there");
    let summary = [&AS_NOBODY[..], &["/etc/bgpd/bgpctl", "show", "summary"]].concat();
    wait_until("the owner may use it", || host.run(&summary).contains("192.0.2.1"), || host.picture());
    assert_eq!(host.run(&["stat", "--format=%U %a", "/run/bgpd/bgpd.sock"]), "nobody 600\n", "{}", host.picture());
}
