//! Accepts connections and hands each to its neighbor.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tracing::{debug, warn};

use super::admission::{Admission, Admitted};

/// Connections that may wait for one driver. A peer that opens more at once is refused the rest.
pub(crate) const INCOMING_QUEUE: usize = 4;
/// Connections from unknown addresses that may wait for the controller to look at them.
pub(crate) const STRANGER_QUEUE: usize = 1024;

/// Where connections from each known address go.
#[derive(Clone, Default)]
pub(crate) struct Doors(Arc<RwLock<HashMap<IpAddr, mpsc::Sender<Box<Admitted>>>>>);

impl Doors {
    pub(crate) fn open(&self, address: IpAddr, door: mpsc::Sender<Box<Admitted>>) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(address, door);
    }

    pub(crate) fn close(&self, address: IpAddr) {
        let mut doors = self.0.write().unwrap_or_else(PoisonError::into_inner);
        doors.remove(&address);
        let enough = 2 * doors.len();
        doors.shrink_to(enough);
    }

    /// Hands a connection to the neighbor with `address`; closes it if that has too many waiting.
    pub(crate) fn hand_over(&self, stream: Admitted, address: IpAddr) {
        let taken = self.of(address).is_some_and(|door| door.try_send(Box::new(stream)).is_ok());
        if !taken {
            debug!(peer = %address, "connection refused: too many wait already");
        }
    }

    fn of(&self, address: IpAddr) -> Option<mpsc::Sender<Box<Admitted>>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(&address).cloned()
    }
}

/// Accepts for ever.
pub(crate) async fn run(
    listener: Arc<TcpListener>,
    doors: Doors,
    admission: Admission,
    strangers: mpsc::Sender<(Admitted, SocketAddr)>,
) {
    loop {
        match listener.accept().await {
            Ok((stream, remote)) => admit(stream, remote, &doors, &admission, &strangers),
            Err(error) => {
                // Out of descriptors, most likely: what is open goes on, and accepting again at once would only spin.
                warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

fn admit(
    stream: TcpStream,
    remote: SocketAddr,
    doors: &Doors,
    admission: &Admission,
    strangers: &mpsc::Sender<(Admitted, SocketAddr)>,
) {
    let is_known = doors.of(remote.ip()).is_some();
    // Dropping a stream closes it: that is the answer when there is no room.
    let admitted = match admission.admit(remote.ip(), is_known, Instant::now()) {
        Ok(pending) => Admitted { stream, pending },
        Err(refusal) => {
            debug!(peer = %remote.ip(), %refusal, "connection refused");
            return;
        }
    };
    if is_known {
        doors.hand_over(admitted, remote.ip());
    } else if strangers.try_send((admitted, remote)).is_err() {
        debug!(peer = %remote.ip(), "connection refused: too many strangers wait already");
    }
}
