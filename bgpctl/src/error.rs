//! What can go wrong, in one line, and the exit code that says so to scripts.

use std::io;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The daemon said no.
    #[error("{}", .0.message())]
    Refused(#[from] tonic::Status),
    /// What was asked for is wrong in itself.
    #[error("{0}")]
    Input(String),
    /// Nobody answers at the server's address.
    #[error(
        "cannot reach bgpd at {server}: {reason}; is bgpd running? (--server or BGPCTL_SERVER names another address)"
    )]
    Unreachable {
        /// The address as given.
        server: String,
        /// What the system said.
        reason: String,
    },
    /// The answer cannot be written.
    #[error("cannot write the answer: {0}")]
    Output(#[from] io::Error),
}

impl Error {
    /// Whoever read our output has had enough: not an error.
    #[must_use]
    pub fn is_closed_pipe(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }

    /// 1 the daemon said no, 2 usage, 3 the daemon cannot be reached.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Refused(_) | Self::Output(_) => 1,
            Self::Input(_) => 2,
            Self::Unreachable { .. } => 3,
        }
    }
}
