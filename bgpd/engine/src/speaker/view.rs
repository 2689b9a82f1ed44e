//! Reading a speaker: what tests compare with what they expect.

use std::collections::BTreeMap;
use std::net::IpAddr;

use bgp_wire::Family;

use super::peer::Peer;
use super::{Socket, Speaker};
use crate::group::AnyGroup;
use crate::id::{GroupIndex, PeerIndex};
use crate::rib::{Cursor, Partition, RouteQuery, RouteView};
use crate::session::{Retained, State};

/// A neighbor as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NeighborView {
    /// Its number.
    pub index: PeerIndex,
    /// The state of its session.
    pub state: State,
    /// The connection that routes go over.
    pub established: Option<Socket>,
    /// The update groups that the session is in.
    pub memberships: Vec<(Family, GroupIndex)>,
    /// Families of which the peer has sent all it had (RFC 4724 §2), once for each marker.
    pub end_of_rib: Vec<Family>,
    /// Stale routes of the peer (RFC 4724 §4.2).
    pub retained: Vec<Retained>,
    /// Why a session or an attempt at one ended last.
    pub last_error: Option<String>,
}

impl Speaker {
    /// A configured neighbor.
    #[must_use]
    pub fn neighbor(&self, address: IpAddr) -> Option<NeighborView> {
        let peer = self.peers.get(self.neighbors.get(&address)?)?;
        let conn = peer.session.established().map(|(conn, _)| conn);
        let end_of_rib = peer.established.as_ref().map(|established| established.end_of_rib.clone());
        Some(NeighborView {
            index: peer.index,
            state: peer.session.state(),
            established: conn.and_then(|conn| peer.connection(conn)).map(|connection| connection.socket),
            memberships: peer.memberships.clone(),
            end_of_rib: end_of_rib.unwrap_or_default(),
            retained: peer.session.retained().to_vec(),
            last_error: peer.last_error.clone(),
        })
    }

    /// Peers that keep this speaker's routes when it ends now, and in which families: what it needs to know when it
    /// [starts again](Speaker::restarted).
    #[must_use]
    pub fn kept_by_peers(&self) -> BTreeMap<IpAddr, Vec<Family>> {
        let kept = |peer: &Peer| Some((peer.address, peer.session.established()?.1.kept_by_peer()));
        self.peers.values().filter_map(kept).filter(|(_, families)| !families.is_empty()).collect()
    }

    /// Whether route selection is put off after a restart (RFC 4724 §4.1).
    #[must_use]
    pub fn is_deferring(&self) -> bool {
        self.fabric.is_deferring()
    }

    /// The partitions.
    pub fn partitions(&self) -> impl Iterator<Item = &Partition> {
        self.fabric.partitions.iter().map(|worker| &worker.partition)
    }

    /// The update groups that have members.
    pub fn groups(&self) -> impl Iterator<Item = &AnyGroup> {
        self.fabric.groups.iter().flat_map(|worker| worker.groups())
    }

    /// All routes that match, of all partitions.
    #[must_use]
    pub fn routes(&self, query: &RouteQuery) -> Vec<RouteView> {
        let all = |partition: &Partition| partition.query(query, Cursor::default(), usize::MAX).routes;
        self.partitions().flat_map(all).collect()
    }
}
