//! One neighbor at the edge: its connections, the task that drives its session, and the task that writes to it.

pub(crate) mod admission;
mod cell;
mod connection;
mod driver;
mod establish;
mod intake;
mod limit;
pub(crate) mod listener;
mod local;
mod logged;
pub(crate) mod queue;
mod rekeyed;
pub(crate) mod socket;
mod transport;
mod writer;

pub(crate) use cell::{NeighborCell, SessionView};
pub(crate) use driver::{Driver, PeerCommand, PeerEvent, PeerEventKind, PeerSetup, sleep_to};
