//! Encoded messages on their way to several members.

use std::sync::Arc;

use bytes::Bytes;

use crate::id::PeerIndex;

/// Octets of a chunk that one source's own session is not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Skip {
    /// The peer whose routes these are.
    pub source: PeerIndex,
    /// First octet.
    pub start: u32,
    /// Octet behind the last.
    pub end: u32,
}

/// Whole messages, shared by all members of a group.
#[derive(Debug, Clone)]
pub struct Chunk {
    /// The messages.
    pub bytes: Bytes,
    /// What not to send to whom: sorted by source, then position; ranges of a source are apart.
    pub skip: Arc<[Skip]>,
}

impl Chunk {
    /// What `member` is not sent, in order.
    #[must_use]
    pub fn skipped(&self, member: PeerIndex) -> &[Skip] {
        let start = self.skip.partition_point(|skip| skip.source < member);
        let end = self.skip.partition_point(|skip| skip.source <= member);
        &self.skip[start..end]
    }

    /// The parts of the chunk that `member` is sent, in order. No part is empty.
    pub fn parts(&self, member: PeerIndex) -> impl Iterator<Item = Bytes> + '_ {
        let gaps = self.skipped(member);
        let starts = std::iter::once(0).chain(gaps.iter().map(|skip| skip.end as usize));
        let ends = gaps.iter().map(|skip| skip.start as usize);
        let ends = ends.chain(std::iter::once(self.bytes.len()));
        starts.zip(ends).filter(|(start, end)| start < end).map(|(start, end)| self.bytes.slice(start..end))
    }

    /// Octets that `member` is sent.
    #[must_use]
    pub fn len_for(&self, member: PeerIndex) -> usize {
        let gap = |skip: &Skip| (skip.end - skip.start) as usize;
        self.bytes.len() - self.skipped(member).iter().map(gap).sum::<usize>()
    }
}

/// Where a destination stands.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) partition: usize,
    pub(super) position: u32,
}

/// What is kept of a change for members that cannot be sent it: enough to ask for the present state.
#[derive(Debug, Clone, Copy)]
pub(super) enum Noted<K> {
    /// Something was announced of the destination here. If it goes, that is a change of its own.
    At(Place),
    /// This was withdrawn; what stands in its place is another destination.
    Key(K),
}

/// A chunk in the making.
pub(super) struct OpenChunk<K> {
    pub(super) bytes: Vec<u8>,
    /// What the messages are about.
    pub(super) noted: Vec<Noted<K>>,
    skips: Vec<Skip>,
    /// The same for what they are about: indexes in `noted`.
    own: Vec<Skip>,
    nothing: Arc<[Skip]>,
}

/// A chunk and what it is about.
pub(super) struct Closed<K> {
    pub(super) chunk: Chunk,
    pub(super) noted: Vec<Noted<K>>,
    own: Vec<Skip>,
}

impl<K: Copy> OpenChunk<K> {
    pub(super) fn new() -> Self {
        Self { bytes: Vec::new(), noted: Vec::new(), skips: Vec::new(), own: Vec::new(), nothing: Arc::new([]) }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.noted.is_empty()
    }

    /// Notes that everything since `bytes` octets and `noted` changes comes from a member's own route.
    pub(super) fn skip(&mut self, source: PeerIndex, bytes: usize, noted: usize) {
        extend(&mut self.skips, source, bytes, self.bytes.len());
        extend(&mut self.own, source, noted, self.noted.len());
    }

    /// Closes the chunk and opens an empty one.
    pub(super) fn close(&mut self) -> Closed<K> {
        let bytes = if self.bytes.len() * 2 < self.bytes.capacity() {
            // Small next to the buffer: a copy takes less memory, and the buffer stays.
            let bytes = Bytes::copy_from_slice(&self.bytes);
            self.bytes.clear();
            bytes
        } else {
            let capacity = self.bytes.capacity();
            std::mem::replace(&mut self.bytes, Vec::with_capacity(capacity)).into()
        };
        let skip = if self.skips.is_empty() {
            self.nothing.clone()
        } else {
            self.skips.sort_unstable();
            self.skips.drain(..).collect()
        };
        Closed {
            chunk: Chunk { bytes, skip },
            noted: std::mem::take(&mut self.noted),
            own: std::mem::take(&mut self.own),
        }
    }

    /// Takes the memory of a closed chunk back.
    pub(super) fn reuse(&mut self, closed: Closed<K>) {
        let Closed { mut noted, mut own, .. } = closed;
        noted.clear();
        own.clear();
        self.noted = noted;
        self.own = own;
    }
}

impl<K: Copy> Closed<K> {
    /// Withdrawals for one member.
    pub(super) fn private(bytes: Bytes, keys: Vec<K>) -> Self {
        let noted = keys.into_iter().map(Noted::Key).collect();
        Self { chunk: Chunk { bytes, skip: [].into() }, noted, own: Vec::new() }
    }

    /// What the chunk is about besides `member`'s own routes.
    pub(super) fn noted_for(&self, member: PeerIndex) -> impl Iterator<Item = Noted<K>> + '_ {
        let own = self.own.iter().filter(move |skip| skip.source == member);
        let mut own = own.peekable();
        let mine = move |at: usize| {
            while own.next_if(|skip| skip.end as usize <= at).is_some() {}
            own.peek().is_some_and(|skip| skip.start as usize <= at)
        };
        let mut mine = mine;
        self.noted.iter().enumerate().filter(move |(at, _)| !mine(*at)).map(|(_, noted)| *noted)
    }
}

/// Appends a range, or makes the last one longer where it goes on.
fn extend(ranges: &mut Vec<Skip>, source: PeerIndex, start: usize, end: usize) {
    let (start, end) = (start as u32, end as u32);
    match ranges.last_mut() {
        Some(last) if last.source == source && last.end == start => last.end = end,
        _ if start == end => {}
        _ => ranges.push(Skip { source, start, end }),
    }
}
