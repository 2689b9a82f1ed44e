//! Which neighbors to show, or to watch.

use std::net::IpAddr;

use clap::Args;

/// `show neighbors …`
#[derive(Debug, Args)]
pub struct Neighbors {
    /// One neighbor
    #[arg(conflicts_with_all = ["down", "state", "peer_group", "asn"])]
    pub address: Option<IpAddr>,
    /// Which of them
    #[command(flatten)]
    pub filter: NeighborFilter,
}

/// `watch neighbors …`
#[derive(Debug, Args)]
pub struct WatchNeighbors {
    /// Which of them
    #[command(flatten)]
    pub filter: NeighborFilter,
    /// Only the changes since a revision that an earlier watch with the same options has said
    #[arg(long, value_name = "REVISION", default_value = "")]
    pub from_revision: String,
}

/// What neighbors must have to be shown.
#[derive(Debug, Args)]
pub struct NeighborFilter {
    /// Only those whose session is not Established
    #[arg(long, conflicts_with = "state")]
    pub down: bool,
    /// Only those whose session is in this state, such as Active
    #[arg(long, value_name = "STATE")]
    pub state: Option<String>,
    /// Only those of this peer group
    #[arg(long, value_name = "NAME")]
    pub peer_group: Option<String>,
    /// Only those of this AS
    #[arg(long, value_name = "ASN")]
    pub asn: Option<u32>,
}

impl NeighborFilter {
    /// State, peer group and AS as the API takes them.
    pub(crate) fn into_fields(self) -> (String, String, u32) {
        let state = if self.down { "down".to_owned() } else { self.state.unwrap_or_default() };
        (state, self.peer_group.unwrap_or_default(), self.asn.unwrap_or_default())
    }
}
