//! Changes become messages in the open chunk.

use bgp_wire::attribute::AttributeBlock;
use bgp_wire::update::PathKey;

use super::Group;
use super::chunk::{Noted, Place};
use super::pack::Packed;
use crate::id::PeerIndex;
use crate::stage::{Emission, Routed};

/// Octets after which a chunk is closed.
pub(super) const CHUNK: usize = 64 * 1024;
/// Keys that are encoded between two looks at the size of the chunk.
const STEP: usize = 4096;

impl<N: Routed> Group<N> {
    /// Encodes changes into the open chunk; calls `full` whenever it is large enough to go.
    pub(super) fn encode(&mut self, emission: &Emission<N>, only: Option<PeerIndex>, mut full: impl FnMut(&mut Self)) {
        let mut packer = std::mem::replace(&mut self.packer, super::Packer::new());
        packer.pack(&emission.changes, |run| {
            // What only its own source could be sent is for nobody.
            if only.is_some() && run.source == only {
                return;
            }
            self.statistics.runs += 1;
            for step in run.chunks(STEP) {
                self.encode_run(&step, emission.partition);
                if self.open.bytes.len() >= CHUNK {
                    full(self);
                }
            }
        });
        self.packer = packer;
    }

    fn encode_run(&mut self, run: &Packed<'_, N::Key>, partition: usize) {
        let (bytes, noted) = (self.open.bytes.len(), self.open.noted.len());
        match run.new {
            Some(_) => {
                let places = run.positions.iter().map(|&position| Noted::At(Place { partition, position }));
                self.open.noted.extend(places);
            }
            None => self.open.noted.extend(run.keys.iter().copied().map(Noted::Key)),
        }
        let announced = self.announce(run);
        if !announced {
            self.encoder.unreach::<N>(self.spec.add_path(), run.keys, &mut self.open.bytes);
        }
        self.statistics.bytes += (self.open.bytes.len() - bytes) as u64;
        if let Some(source) = run.source.filter(|source| self.serves(*source)) {
            self.open.skip(source, bytes, noted);
        }
    }

    /// Encodes announcements; `false` if the keys are to be withdrawn instead.
    fn announce(&mut self, run: &Packed<'_, N::Key>) -> bool {
        let Some((attrs, source)) = run.new else { return false };
        self.attributes.clear();
        let Some(next_hop) = self.spec.outgoing(attrs, source, &mut self.attributes) else {
            return false;
        };
        let attributes = AttributeBlock::from_canonical(&self.attributes);
        let before = self.open.bytes.len();
        let add_path = self.spec.add_path();
        let out = &mut self.open.bytes;
        let fits = self.encoder.reach::<N>(attributes, &next_hop, add_path, run.keys, out).is_ok();
        if !fits {
            // RFC 8654 §4: what cannot be announced is withdrawn, so that the peer does not keep
            // what it was told before.
            self.open.bytes.truncate(before);
            self.statistics.too_large += run.keys.len() as u64;
        }
        fits
    }

    /// The withdrawal of some keys, for one member.
    pub(super) fn withdrawal(&self, keys: &[PathKey<N::Key>]) -> bytes::Bytes {
        let mut bytes = Vec::new();
        self.encoder.unreach::<N>(self.spec.add_path(), keys, &mut bytes);
        bytes.into()
    }
}
