//! Who the paths come from, and which of their paths are still theirs.

use std::net::{IpAddr, Ipv4Addr};

use crate::id::{PeerIndex, Source};
use crate::stage::local_source;

/// The peers a partition has heard of.
pub(super) struct Peers(Vec<Option<Peer>>);

/// One peer, or this speaker.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer {
    pub(super) source: Source,
    pub(super) address: IpAddr,
    up: bool,
}

/// Paths of one peer in one family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PeerCounters {
    /// Paths in the Adj-RIB-In.
    pub received: usize,
    /// Those of them that take part in the decision process.
    pub accepted: usize,
}

/// Position in dense per-peer arrays: this speaker first.
pub(super) fn position(peer: PeerIndex) -> usize {
    peer.0.wrapping_add(1) as usize
}

impl Peers {
    pub(super) fn new(router_id: Ipv4Addr) -> Self {
        let source = local_source(router_id);
        Self(vec![Some(Peer { source, address: IpAddr::V4(router_id), up: true })])
    }

    /// This speaker's own identifier, which its routes have as their router ID.
    pub(super) fn set_local(&mut self, router_id: Ipv4Addr) {
        let source = local_source(router_id);
        self.0[position(PeerIndex::LOCAL)] = Some(Peer { source, address: IpAddr::V4(router_id), up: true });
    }

    pub(super) fn up(&mut self, source: Source, address: IpAddr) {
        let position = position(source.peer);
        if self.0.len() <= position {
            self.0.resize(position + 1, None);
        }
        self.0[position] = Some(Peer { source, address, up: true });
    }

    /// A peer stays known after it went down: its paths go one by one.
    pub(super) fn down(&mut self, peer: PeerIndex) {
        if let Some(Some(peer)) = self.0.get_mut(position(peer)) {
            peer.up = false;
        }
    }

    pub(super) fn is_up(&self, peer: PeerIndex) -> bool {
        matches!(self.0.get(position(peer)), Some(Some(peer)) if peer.up)
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
    /// Session ends since the last complete sweep.
    downs: u8,
    pub(super) counters: PeerCounters,
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
            downs: 0,
            counters: PeerCounters::default(),
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

    /// No path of before counts any more. Says whether there have been so many ends since the last
    /// sweep that it must be finished before generations come round.
    #[must_use]
    pub(super) fn end(&mut self) -> bool {
        self.generation = self.generation.wrapping_add(1);
        self.oldest = self.generation;
        self.downs = self.downs.saturating_add(1);
        self.downs >= DOWNS_PER_SWEEP
    }

    /// New paths get a new generation, the present ones still count.
    pub(super) fn refresh_begin(&mut self) {
        // A peer that begins again and again without ending keeps the generation it has.
        if self.generation.wrapping_sub(self.oldest) < DOWNS_PER_SWEEP {
            self.generation = self.generation.wrapping_add(1);
        }
    }

    /// Only paths of the present generation count.
    pub(super) fn refresh_end(&mut self) {
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
