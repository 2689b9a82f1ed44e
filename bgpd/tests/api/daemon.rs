//! A real bgpd for one test: its program, its configuration and its API on a socket in a directory of its own.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bgpd_proto::v1;
use bgpd_proto::v1::route_service_client::RouteServiceClient;
use bgpd_proto::v1::status_service_client::StatusServiceClient;
use tempfile::TempDir;
use tonic::transport::{Channel, Endpoint};

/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running bgpd; it is killed when it goes out of scope.
pub(crate) struct Daemon {
    dir: TempDir,
    child: Child,
}

impl Daemon {
    /// Starts bgpd with a configuration to which the API's socket is added; returns when it answers.
    pub(crate) async fn start(config: &str) -> Self {
        Self::start_in(tempfile::tempdir().expect("a directory"), config, "", "").await
    }

    /// Starts bgpd in a directory with files that the configuration names. The API listens on `also` besides its
    /// socket, and `[api]` goes on with `rest`.
    pub(crate) async fn start_in(dir: TempDir, config: &str, also: &str, rest: &str) -> Self {
        write_config(dir.path(), config, also, rest);
        let child = spawn(dir.path());
        let daemon = Self { dir, child };
        daemon.answers().await;
        daemon
    }

    async fn answers(&self) {
        let answers = || async {
            assert!(!self.has_ended(), "bgpd ended\n{}", self.log());
            let Ok(channel) = self.try_connect().await else { return false };
            StatusServiceClient::new(channel).get(v1::GetStatusRequest {}).await.is_ok()
        };
        wait_until("bgpd answers", answers).await;
    }

    /// Whether it waits to be waited for.
    fn has_ended(&self) -> bool {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        status.lines().any(|line| line.starts_with("State:") && line.contains('Z'))
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("bgpd.sock")
    }

    pub(crate) async fn try_connect(&self) -> Result<Channel, tonic::transport::Error> {
        let server = format!("unix:{}", self.socket().display());
        Endpoint::from_shared(server).expect("a server").connect().await
    }

    pub(crate) async fn connect(&self) -> Channel {
        self.try_connect().await.expect("bgpd listens")
    }

    /// Its directory.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Writes its configuration file, which it does not read by itself.
    pub(crate) fn write(&self, config: &str) {
        write_config(self.dir.path(), config, "", "");
    }

    /// Has it read its configuration anew.
    pub(crate) fn reload(&self, config: &str, also: &str, rest: &str) {
        write_config(self.dir.path(), config, also, rest);
        let status = Command::new("kill").args(["-HUP", &self.child.id().to_string()]).status();
        assert!(status.is_ok_and(|status| status.success()), "it runs");
    }

    /// Kills it at once and starts it again.
    pub(crate) async fn kill_and_start(&mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ends");
        self.child = spawn(self.dir.path());
        self.answers().await;
    }

    /// What it has logged so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    pub(crate) async fn status(&self) -> v1::GetStatusResponse {
        let mut client = StatusServiceClient::new(self.connect().await);
        client.get(v1::GetStatusRequest {}).await.expect("bgpd answers").into_inner()
    }

    /// Octets of memory that the process has.
    pub(crate) fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("the kernel says it");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
    }

    pub(crate) async fn routes(&self) -> RouteServiceClient<Channel> {
        RouteServiceClient::new(self.connect().await).max_decoding_message_size(usize::MAX)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // One that has ended already is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn write_config(dir: &Path, config: &str, also: &str, rest: &str) {
    let api = format!("[api]\nlisten = [\"unix:{}\", {also}]\n{rest}", dir.join("bgpd.sock").display());
    std::fs::write(dir.join("bgpd.toml"), format!("{config}\n{api}")).expect("the directory is writable");
}

fn spawn(dir: &Path) -> Child {
    let log = std::fs::File::options().create(true).append(true).open(dir.join("log")).expect("a log");
    let mut command = Command::new(env!("CARGO_BIN_EXE_bgpd"));
    command.arg("--config").arg(dir.join("bgpd.toml")).stderr(log).stdin(Stdio::null());
    command.spawn().expect("bgpd can be started")
}

/// Waits for a condition.
pub(crate) async fn wait_until<F: Future<Output = bool>>(what: &str, condition: impl Fn() -> F) {
    let deadline = Instant::now() + PATIENCE;
    while !condition().await {
        assert!(Instant::now() < deadline, "{what}: not in {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A TCP port of 127.0.0.1 that nobody listens on.
pub(crate) fn free_port() -> u16 {
    let socket = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    socket.local_addr().expect("it has an address").port()
}
