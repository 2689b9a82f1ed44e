//! The transport of a neighbor's connections: what its settings make of it, also under connections that stand.

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use bgp_engine::session::ConnectionId;
use tracing::warn;

use super::driver::Driver;
use super::socket::{Transport, Ttl};

impl Driver {
    /// Whether a connection may have this address here.
    pub(super) fn is_own_end(&self, local: IpAddr) -> bool {
        self.neighbor.settings.local_address.is_none_or(|wanted| wanted == local.to_canonical())
    }

    pub(super) fn transport(&self, remote: SocketAddr) -> Transport {
        let settings = &self.neighbor.settings;
        let external = settings.is_external(self.global.asn);
        Transport { remote, local: settings.local_address, keys: settings.keys(), ttl: Ttl::new(settings, external) }
    }

    /// Gives the connections another TCP-MD5 key and other TTLs. They go on when the peer gets what goes with that before
    /// its hold timer expires: until then the kernel of one side drops what does not fit, and TCP sends it again.
    pub(super) fn replace_transport(&mut self, before: &Transport) {
        let now = self.transport(before.remote);
        let rekeyed = now.keys.md5 != before.keys.md5;
        if !rekeyed && now.ttl == before.ttl {
            return;
        }
        for conn in [ConnectionId::Outgoing, ConnectionId::Incoming] {
            let Some(connection) = self.connection(conn) else { continue };
            match connection.queue.replace_transport(before, &now) {
                Ok(()) if rekeyed => self.rekeyed.note(Instant::now()),
                Ok(()) => {}
                Err(error) => {
                    warn!(peer = %self.cell.address, %error, "the kernel refuses the TCP-MD5 key or TTL on a connection");
                    self.begin_anew();
                    return;
                }
            }
        }
        self.connect_anew();
    }
}
