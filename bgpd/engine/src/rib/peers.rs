//! Who the paths come from, and which of their paths are still theirs.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use bgp_wire::Family;

use crate::id::{PeerIndex, Source, SourceKind};
use crate::policy::Provenance;
use crate::stage::{Import, PrefixBudget, PrefixGuard, local_source};

/// The peers a partition has heard of.
#[derive(Clone)]
pub(super) struct Peers(Vec<Option<Peer>>);

/// One peer, or this speaker.
#[derive(Debug, Clone)]
pub(super) struct Peer {
    pub(super) source: Source,
    pub(super) address: IpAddr,
    asn: u32,
    /// What its routes pass on their way in.
    pub(super) import: Import,
    up: bool,
}

impl Peer {
    fn local(router_id: Ipv4Addr) -> Self {
        let source = local_source(router_id);
        Self { source, address: IpAddr::V4(router_id), asn: 0, import: Import::ACCEPT_ALL, up: true }
    }

    /// What policies know of its routes.
    pub(super) fn provenance(&self, family: Family) -> Provenance {
        Provenance { family, address: self.address, asn: self.asn, kind: self.source.kind }
    }
}

/// Paths of one peer in one family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PeerCounters {
    /// Paths in the Adj-RIB-In.
    pub received: usize,
    /// Those of them that take part in the decision process.
    pub accepted: usize,
    /// Those of them that are of an earlier session (RFC 4724 §4.2), or about to be removed.
    pub stale: usize,
}

/// Position in dense per-peer arrays: this speaker first.
pub(super) fn position(peer: PeerIndex) -> usize {
    peer.0.wrapping_add(1) as usize
}

impl Peers {
    pub(super) fn new(router_id: Ipv4Addr) -> Self {
        Self(vec![Some(Peer::local(router_id))])
    }

    /// This speaker's own identifier, which its routes have as their router ID.
    pub(super) fn set_local(&mut self, router_id: Ipv4Addr) {
        self.0[position(PeerIndex::LOCAL)] = Some(Peer::local(router_id));
    }

    /// Whether a peer comes up as somebody else than the one with its index was: what is left of that one must not be
    /// taken for its own.
    pub(super) fn replaces(&self, source: &Source, address: IpAddr) -> bool {
        let known = self.0.get(position(source.peer)).and_then(Option::as_ref);
        known.is_some_and(|peer| peer.source != *source || peer.address != address)
    }

    pub(super) fn up(&mut self, source: Source, address: IpAddr, asn: u32, import: Import) {
        let position = position(source.peer);
        if self.0.len() <= position {
            self.0.resize(position + 1, None);
        }
        self.0[position] = Some(Peer { source, address, asn, import, up: true });
    }

    /// A peer stays known after it went down: its paths go one by one.
    pub(super) fn down(&mut self, peer: PeerIndex) {
        if let Some(Some(peer)) = self.0.get_mut(position(peer)) {
            peer.up = false;
        }
    }

    /// What a peer's routes pass on their way in is something else now.
    pub(super) fn replace_import(&mut self, peer: PeerIndex, import: &Import) {
        if let Some(Some(peer)) = self.0.get_mut(position(peer)) {
            peer.import = import.clone();
        }
    }

    /// What a peer is has changed.
    pub(super) fn replace_kind(&mut self, peer: PeerIndex, kind: SourceKind) {
        if let Some(Some(peer)) = self.0.get_mut(position(peer)) {
            peer.source.kind = kind;
        }
    }

    /// A peer, also one that is away, may announce something else now.
    pub(super) fn replace_guard(&mut self, peer: PeerIndex, guard: &Option<PrefixGuard>) {
        if let Some(Some(peer)) = self.0.get_mut(position(peer)) {
            peer.import.guard.clone_from(guard);
        }
    }

    pub(super) fn is_up(&self, peer: PeerIndex) -> bool {
        self.is_up_at(position(peer))
    }

    /// As [`Peers::is_up`], by [`position`].
    pub(super) fn is_up_at(&self, position: usize) -> bool {
        matches!(self.0.get(position), Some(Some(peer)) if peer.up)
    }

    /// One more than the last position of a peer that is known.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Forgets peers that are not up, unless they have paths.
    pub(super) fn forget_absent(&mut self, has_paths: impl Fn(PeerIndex) -> bool) {
        for known in &mut self.0 {
            known.take_if(|peer| !peer.up && !has_paths(peer.source.peer));
        }
        while self.0.pop_if(|known| known.is_none()).is_some() {}
        self.0.shrink_to(2 * self.0.len());
    }

    /// The peer of a path that is in a table.
    pub(super) fn get(&self, peer: PeerIndex) -> &Peer {
        self.0[position(peer)].as_ref().expect("only peers that came up have paths")
    }
}

/// Most destinations that a journal lists; a peer with more is found by a walk.
const JOURNAL_LIMIT: usize = 1024;
/// Session ends in one sweep before the sweep is finished on the spot, well below the number of
/// generations.
const DOWNS_PER_SWEEP: u8 = 200;

/// What a table knows of one peer's paths as a whole.
pub(super) struct PeerPaths {
    /// Stamped on every path announced from now on.
    pub(super) generation: u8,
    /// Paths older than this are gone and only wait to be removed.
    oldest: u8,
    /// The first generation of the present session: older ones are stale.
    session: u8,
    /// Paths older than this are to be long-lived stale (RFC 9494 §4.2): their time is running, and the end of one more
    /// session does not end it.
    long_lived: Option<u8>,
    /// Ends of sessions and beginnings of refreshes since the last complete sweep.
    downs: u8,
    pub(super) counters: PeerCounters,
    /// What the present session may have; none: as much as it likes.
    pub(super) budget: Option<Arc<PrefixBudget>>,
    pub(super) journal: Journal,
}

/// Destinations on which a peer has had paths, so that losing a small peer costs no walk.
pub(super) enum Journal {
    /// These; some may have gone, some may be here twice.
    Destinations(Vec<u32>),
    /// Too many to list.
    Overflow,
}

impl Default for PeerPaths {
    fn default() -> Self {
        Self {
            generation: 0,
            oldest: 0,
            session: 0,
            long_lived: None,
            downs: 0,
            counters: PeerCounters::default(),
            budget: None,
            journal: Journal::Destinations(Vec::new()),
        }
    }
}

impl PeerPaths {
    /// Whether a path with this generation still counts. Generations wrap; the valid ones are a
    /// window.
    pub(super) fn is_valid(&self, generation: u8) -> bool {
        generation.wrapping_sub(self.oldest) <= self.generation.wrapping_sub(self.oldest)
    }

    /// Whether a path with this generation is of an earlier session.
    pub(super) fn is_stale(&self, generation: u8) -> bool {
        generation.wrapping_sub(self.session) > self.generation.wrapping_sub(self.session)
    }

    /// No path of before counts any more. Says whether there have been so many ends since the last
    /// sweep that it must be finished before generations come round.
    #[must_use]
    pub(super) fn end(&mut self) -> bool {
        self.long_lived = None;
        let must_finish = self.retain();
        self.oldest = self.session;
        must_finish
    }

    /// The session has ended, its paths are stale; those that were stale before do not count any more (RFC 4724 §4.2),
    /// unless they are there for long (RFC 9494 §4.2) and sessions have not ended more often than generations can tell.
    /// As with [`PeerPaths::end`].
    #[must_use]
    pub(super) fn retain(&mut self) -> bool {
        if self.long_lived.is_none() || self.generation.wrapping_sub(self.oldest) >= DOWNS_PER_SWEEP {
            self.end_retention();
        }
        self.generation = self.generation.wrapping_add(1);
        self.session = self.generation;
        self.budget = None;
        self.counters.stale = self.counters.received;
        self.downs = self.downs.saturating_add(1);
        self.downs >= DOWNS_PER_SWEEP
    }

    /// Stale paths stay for long from now on.
    pub(super) fn begin_long_lived(&mut self) {
        self.long_lived = Some(self.session);
    }

    /// Whether a path with this generation is stale for long.
    pub(super) fn is_long_lived(&self, generation: u8) -> bool {
        let age = |generation: u8| generation.wrapping_sub(self.oldest);
        self.long_lived.is_some_and(|first| age(generation) < age(first))
    }

    /// Stale paths do not count any more.
    pub(super) fn end_retention(&mut self) {
        self.long_lived = None;
        // Where a refresh has ended in the meantime, the oldest that counts is newer than the session.
        if self.is_stale(self.oldest) {
            self.oldest = self.session;
        }
    }

    /// New paths get a new generation, the present ones still count.
    pub(super) fn refresh_begin(&mut self) {
        // A peer that begins again and again, faster than the sweep goes round, keeps the generation it has.
        if self.generation.wrapping_sub(self.oldest) < DOWNS_PER_SWEEP && self.downs < DOWNS_PER_SWEEP {
            self.generation = self.generation.wrapping_add(1);
            self.downs += 1;
        }
    }

    /// Only paths of the present generation count.
    pub(super) fn refresh_end(&mut self) {
        self.long_lived = None;
        self.oldest = self.generation;
    }

    pub(super) fn swept(&mut self) {
        self.downs = 0;
    }
}

impl Journal {
    /// Notes a destination. `still` says whether the peer has a path there, to find room.
    pub(super) fn note(&mut self, destination: u32, still: impl Fn(u32) -> bool) {
        let Self::Destinations(list) = self else { return };
        if list.len() >= JOURNAL_LIMIT {
            list.sort_unstable();
            list.dedup();
            list.retain(|&destination| still(destination));
            if list.len() > JOURNAL_LIMIT * 3 / 4 {
                *self = Self::Overflow;
                return;
            }
        }
        list.push(destination);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_gone_is_forgotten_with_the_last_path() {
        let mut peers = Peers::new(Ipv4Addr::LOCALHOST);
        for index in 0..1000 {
            let (router_id, kind) = (Ipv4Addr::from_bits(index), SourceKind::Client);
            let source = Source { peer: PeerIndex(index), router_id, kind };
            peers.up(source, router_id.into(), 65000, Import::ACCEPT_ALL);
        }
        let room = peers.0.capacity();
        (0..1000).filter(|&index| index != 3).for_each(|index| peers.down(PeerIndex(index)));
        peers.forget_absent(|peer| peer.0 == 5);
        let known = |peers: &Peers| peers.0.iter().flatten().map(|peer| peer.source.peer.0).collect::<Vec<_>>();
        assert_eq!(known(&peers), [PeerIndex::LOCAL.0, 3, 5]);
        assert!(peers.is_up(PeerIndex(3)) && !peers.is_up(PeerIndex(5)));
        assert!(peers.len() == 7 && peers.0.capacity() < room / 10, "{} of {room}", peers.0.capacity());
        peers.forget_absent(|_| false);
        assert_eq!(known(&peers), [PeerIndex::LOCAL.0, 3]);
    }
}
