//! The edge to bgpd's API: announcements go there under an owner and a lease, its best routes come from there, and the
//! neighbors that the cluster's state calls for are kept there.
//!
//! The nodes of the cluster are declared to its guard. Each of these is a task that tries again, after a pause, whenever
//! it fails. While bgpd is away
//! nothing is taken back: kernel routes stay, and what is wanted is declared again when it is there.

mod announce;
mod explain;
mod follow;
mod nodes;
mod sessions;

use std::time::Duration;

use tonic::transport::{Channel, Endpoint};

pub use self::announce::{Applied, Ownership, announce, withdraw};
pub use self::explain::answer;
pub use self::follow::{Followed, follow};
pub use self::nodes::{NodesDeclared, declare_nodes};
pub use self::sessions::{Session, Sessions, keep_neighbors};

/// Longest time to wait for a connection.
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);
/// How often a silent connection is asked whether it is there, and how long for an answer.
const KEEPALIVE: Duration = Duration::from_secs(5);

/// Why bgpd cannot be used now.
#[derive(Debug, thiserror::Error)]
pub enum BgpdError {
    /// The option is wrong.
    #[error("--server {server}: {reason}; expected unix:PATH or http://HOST:PORT")]
    Server {
        /// As given.
        server: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Nobody answers.
    #[error("bgpd at {server} cannot be reached: {reason}")]
    Unreachable {
        /// Where.
        server: String,
        /// Why not.
        reason: String,
    },
    /// It answers with an error.
    #[error("bgpd refuses: {0}")]
    Refused(String),
    /// A stream ended.
    #[error("bgpd closed the stream")]
    Closed,
    /// Nothing came although something was due.
    #[error("bgpd is silent")]
    Silent,
}

impl From<tonic::Status> for BgpdError {
    fn from(status: tonic::Status) -> Self {
        match status.code() {
            tonic::Code::Unavailable | tonic::Code::Unknown | tonic::Code::Cancelled => Self::Closed,
            code => Self::Refused(format!("{} ({code:?})", status.message())),
        }
    }
}

/// Where bgpd's API is.
#[derive(Debug, Clone)]
pub struct Server {
    name: String,
    endpoint: Endpoint,
}

impl Server {
    /// A server as the option says it: `unix:PATH`, `http://HOST:PORT` or `tcp://HOST:PORT`.
    ///
    /// # Errors
    /// When it is none of these.
    pub fn new(name: &str) -> Result<Self, BgpdError> {
        let wrong = |reason: String| BgpdError::Server { server: name.to_owned(), reason };
        let url = match name.strip_prefix("tcp://") {
            Some(rest) => format!("http://{rest}"),
            None => name.to_owned(),
        };
        if !url.starts_with("http://") && !url.starts_with("unix:") {
            return Err(wrong("not a server".to_owned()));
        }
        let endpoint = Endpoint::from_shared(url).map_err(|error| wrong(root(&error)))?;
        let endpoint = endpoint
            .connect_timeout(CONNECT_PATIENCE)
            .http2_keep_alive_interval(KEEPALIVE)
            .keep_alive_timeout(KEEPALIVE);
        Ok(Self { name: name.to_owned(), endpoint })
    }

    async fn connect(&self) -> Result<Channel, BgpdError> {
        let unreachable = |error| BgpdError::Unreachable { server: self.name.clone(), reason: root(&error) };
        self.endpoint.connect().await.map_err(unreachable)
    }
}

/// The innermost cause: the outer ones only say that something went wrong.
fn root(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => root(source),
        None => error.to_string(),
    }
}

/// Pauses between attempts: short after a success, then doubling to a limit.
#[derive(Debug)]
struct Backoff {
    next: Duration,
}

impl Backoff {
    const SHORTEST: Duration = Duration::from_millis(100);
    const LONGEST: Duration = Duration::from_secs(3);

    fn new() -> Self {
        Self { next: Self::SHORTEST }
    }

    fn succeeded(&mut self) {
        self.next = Self::SHORTEST;
    }

    async fn pause(&mut self) {
        tokio::time::sleep(self.next).await;
        self.next = (self.next * 2).min(Self::LONGEST);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_is_a_socket_or_an_address() {
        for name in ["unix:/run/bgpd/bgpd.sock", "http://127.0.0.1:50179", "tcp://127.0.0.1:50179"] {
            assert!(Server::new(name).is_ok(), "{name}");
        }
        let said = Server::new("localhost").expect_err("no scheme").to_string();
        assert_eq!(said, "--server localhost: not a server; expected unix:PATH or http://HOST:PORT");
    }

    #[tokio::test]
    async fn missing_socket_is_said_by_name() {
        let server = Server::new("unix:/nonexistent/bgpd.sock").expect("a server");
        let said = server.connect().await.expect_err("nobody").to_string();
        assert!(said.starts_with("bgpd at unix:/nonexistent/bgpd.sock cannot be reached: No such file"), "{said}");
    }
}
