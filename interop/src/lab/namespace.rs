//! Network namespaces.

use std::process::{Command, Output, Stdio};

/// A network namespace with its loopback up; removed when dropped.
pub struct Namespace {
    name: String,
}

/// Runs a command to its end.
///
/// # Panics
/// When it cannot be started.
#[must_use]
pub fn run(arguments: &[&str]) -> Output {
    let (program, rest) = arguments.split_first().expect("a command has a name");
    let output = Command::new(program).args(rest).stdin(Stdio::null()).output();
    output.unwrap_or_else(|error| panic!("{program} cannot be started: {error}"))
}

/// Runs a command that must succeed; its standard output.
///
/// # Panics
/// When it fails, with what it said.
pub fn run_ok(arguments: &[&str]) -> String {
    let output = run(arguments);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {}\n{errors}", arguments.join(" "), output.status);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Removes what labs left behind that were killed: namespaces are named after the process that made them.
pub(super) fn sweep() {
    let listing = run(&["ip", "netns", "list"]).stdout;
    for name in String::from_utf8_lossy(&listing).lines().filter_map(|line| line.split_whitespace().next()) {
        let maker = name.strip_prefix('b').and_then(|rest| rest.split_once('x')).map(|(pid, _)| pid);
        let is_gone = |pid: &str| pid.parse::<u32>().is_ok() && !std::path::Path::new("/proc").join(pid).exists();
        if maker.is_some_and(is_gone) {
            drop(Namespace { name: name.to_owned() });
        }
    }
}

impl Namespace {
    pub(super) fn new(name: &str) -> Self {
        run_ok(&["ip", "netns", "add", name]);
        let namespace = Self { name: name.to_owned() };
        // Else a new interface resolves no neighbor for what it forwards over IPv6 until its link-local address has been
        // found to be nobody else's: two seconds. A node and its pods are older than that when their routes come.
        let _ = namespace.run(&["sysctl", "-q", "-w", "net.ipv6.conf.default.accept_dad=0"]);
        namespace.ip("link set lo up");
        namespace
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs `ip` in it.
    pub fn ip(&self, arguments: &str) -> String {
        let mut all = vec!["ip", "-n", &self.name];
        all.extend(arguments.split_whitespace());
        run_ok(&all)
    }

    /// What a command in it is to be started with.
    #[must_use]
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, program]);
        command
    }

    /// Runs a command in it to its end.
    #[must_use]
    pub fn run(&self, arguments: &[&str]) -> Output {
        let mut all = vec!["ip", "netns", "exec", &self.name];
        all.extend(arguments);
        run(&all)
    }

    /// Runs a command in it that must succeed.
    pub fn run_ok(&self, arguments: &[&str]) -> String {
        let mut all = vec!["ip", "netns", "exec", &self.name];
        all.extend(arguments);
        run_ok(&all)
    }

    /// Whether a command in it succeeds.
    #[must_use]
    pub fn succeeds(&self, arguments: &[&str]) -> bool {
        self.run(arguments).status.success()
    }

    /// A counter of its kernel, by the name that `nstat` has for it.
    #[must_use]
    pub fn counter(&self, name: &str) -> u64 {
        let table = self.run_ok(&["nstat", "-asz", name]);
        let line = table.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok()).unwrap_or_default()
    }

    /// Runs `work` in it, on a thread of its own. Sockets that are made there stay in the namespace.
    ///
    /// # Panics
    /// When the namespace cannot be entered, or `work` panics.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let entered = || {
            let file = std::fs::File::open(format!("/run/netns/{}", self.name)).expect("a namespace has a file");
            nix::sched::setns(file, nix::sched::CloneFlags::CLONE_NEWNET).expect("root may enter namespaces");
            work()
        };
        std::thread::scope(|scope| scope.spawn(entered).join()).unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// Lays a cable to another namespace; this end is up.
    pub(super) fn wire(&self, interface: &str, other: &Self, other_interface: &str) {
        let (this, that) = (&self.name, &other.name);
        self.ip(&format!("link add {interface} netns {this} type veth peer name {other_interface} netns {that}"));
        self.ip(&format!("link set {interface} up"));
    }

    /// Gives an interface its addresses, usable at once.
    pub(super) fn address(&self, interface: &str, ipv4: &str, ipv6: &str) {
        self.ip(&format!("link set {interface} up"));
        self.ip(&format!("address add {ipv4} dev {interface}"));
        self.ip(&format!("-6 address add {ipv6} dev {interface} nodad"));
    }

    /// Lets it forward packets, as a Kubernetes node does.
    pub(super) fn forward(&self) {
        for key in ["net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1", "net.ipv4.tcp_l3mdev_accept=0"] {
            // Not every kernel has every key; what the labs need shows in the pings.
            let _ = self.run(&["sysctl", "-q", "-w", key]);
        }
    }

    /// Routes that a routing daemon has put into the kernel: (prefix, next hop).
    #[must_use]
    pub fn kernel_routes(&self, ipv6: bool) -> Vec<(String, String)> {
        let listing = if ipv6 { self.ip("-6 route show") } else { self.ip("route show") };
        let route = |line: &str| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let via = words.iter().position(|word| *word == "via")?;
            Some((words.first()?.to_string(), words.get(via + 1)?.to_string()))
        };
        listing.lines().filter_map(route).collect()
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // What still runs in it would keep it alive.
        let pids = run(&["ip", "netns", "pids", &self.name]).stdout;
        for pid in String::from_utf8_lossy(&pids).split_whitespace() {
            let _ = run(&["kill", "-9", pid]);
        }
        let _ = run(&["ip", "netns", "delete", &self.name]);
    }
}
