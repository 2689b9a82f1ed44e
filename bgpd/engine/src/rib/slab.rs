//! Values at stable positions, in chunks: nothing large is ever moved, and a chunk that has been empty for long gives
//! its memory back.
//!
//! A value that goes leaves its position to a later one. The lowest chunk that has room is filled first, so that the
//! others have a chance to become empty.

use std::collections::BTreeSet;

/// Chunks that give their memory back in one step: what that costs is to be noticed by nobody.
const RELEASED_AT_ONCE: usize = 32;

/// Values by position, in chunks of `CHUNK`.
pub(super) struct Slab<T, const CHUNK: usize = 4096> {
    chunks: Vec<Vec<T>>,
    rooms: Vec<Room>,
    /// Chunks that are not full.
    roomy: BTreeSet<u32>,
    /// Behind the last position that had a value: whoever is on the way through them relies on it.
    end: u32,
}

/// What is known of a chunk besides its values.
#[derive(Default)]
struct Room {
    used: u16,
    /// Nothing was put in since the last step of [`Slab::release`].
    idle: bool,
    /// Places that values have left.
    free: Vec<u16>,
}

impl<T, const CHUNK: usize> Slab<T, CHUNK> {
    pub(super) fn new() -> Self {
        const { assert!(CHUNK < u16::MAX as usize, "a place in a chunk has 16 bits") };
        Self { chunks: Vec::new(), rooms: Vec::new(), roomy: BTreeSet::new(), end: 0 }
    }

    /// All positions with a value are below this one.
    pub(super) fn positions(&self) -> u32 {
        self.end
    }

    /// The value at a position that has one.
    pub(super) fn at(&self, position: u32) -> &T {
        &self.chunks[position as usize / CHUNK][position as usize % CHUNK]
    }

    /// As [`Slab::at`].
    pub(super) fn at_mut(&mut self, position: u32) -> &mut T {
        &mut self.chunks[position as usize / CHUNK][position as usize % CHUNK]
    }

    /// What is at a position: a value, the rest of one that was removed, or nothing.
    pub(super) fn get(&self, position: u32) -> Option<&T> {
        self.chunks.get(position as usize / CHUNK)?.get(position as usize % CHUNK)
    }

    /// As [`Slab::get`].
    pub(super) fn get_mut(&mut self, position: u32) -> Option<&mut T> {
        self.chunks.get_mut(position as usize / CHUNK)?.get_mut(position as usize % CHUNK)
    }

    /// Puts a value where there is room; returns the position.
    pub(super) fn insert(&mut self, value: T) -> u32 {
        let roomy = self.roomy.first().map(|number| *number as usize);
        let number = roomy.unwrap_or_else(|| self.grow());
        let (chunk, room) = (&mut self.chunks[number], &mut self.rooms[number]);
        let place = match room.free.pop() {
            Some(place) => {
                chunk[usize::from(place)] = value;
                usize::from(place)
            }
            None => {
                if number > 0 && chunk.capacity() == 0 {
                    // The first chunk grows with what is in it, so that little takes little.
                    chunk.reserve_exact(CHUNK);
                }
                chunk.push(value);
                chunk.len() - 1
            }
        };
        room.used += 1;
        room.idle = false;
        if usize::from(room.used) == CHUNK {
            self.roomy.remove(&(number as u32));
        }
        let position = (number * CHUNK + place) as u32;
        self.end = self.end.max(position + 1);
        position
    }

    fn grow(&mut self) -> usize {
        let number = self.chunks.len();
        self.chunks.push(Vec::new());
        self.rooms.push(Room::default());
        self.roomy.insert(number as u32);
        number
    }

    /// Gives a position with a value up. What is left of the value stays there until another one comes, or until the
    /// chunk is empty.
    pub(super) fn remove(&mut self, position: u32) {
        let (number, place) = (position as usize / CHUNK, position as usize % CHUNK);
        let room = &mut self.rooms[number];
        if usize::from(room.used) == CHUNK {
            self.roomy.insert(number as u32);
        }
        room.used -= 1;
        if room.used == 0 {
            room.free = Vec::new();
            self.chunks[number].clear();
        } else {
            room.free.push(place as u16);
        }
    }

    /// A step towards giving memory back: chunks that have been empty since the step before. Whoever fills and empties
    /// a chunk again and again in less than the time between two steps keeps it.
    pub(super) fn release(&mut self) {
        let mut left = RELEASED_AT_ONCE;
        for (chunk, room) in self.chunks.iter_mut().zip(&mut self.rooms) {
            if room.used > 0 || chunk.capacity() == 0 {
                continue;
            }
            if !room.idle {
                room.idle = true;
            } else if left > 0 {
                *chunk = Vec::new();
                left -= 1;
            }
        }
    }

    /// Forgets the positions behind the last value whose chunks have no memory any more. Nobody may be on the way
    /// through the positions.
    pub(super) fn shorten(&mut self) {
        while self.chunks.last().is_some_and(|chunk| chunk.capacity() == 0) {
            self.chunks.pop();
            self.rooms.pop();
            self.roomy.remove(&(self.chunks.len() as u32));
        }
        self.end = self.end.min((self.chunks.len() * CHUNK) as u32);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    type Small = Slab<u32, 4>;

    fn memory(slab: &Small) -> usize {
        slab.chunks.iter().map(Vec::capacity).sum()
    }

    #[test]
    fn memory_comes_back_when_a_chunk_has_been_empty_for_long() {
        let mut slab = Small::new();
        let positions: Vec<u32> = (0..40).map(|value| slab.insert(value)).collect();
        positions.iter().filter(|position| **position != 21).for_each(|position| slab.remove(*position));
        slab.release();
        assert_eq!(memory(&slab), 40, "it may be needed again at once");
        slab.release();
        assert_eq!(memory(&slab), 4);
        slab.shorten();
        assert_eq!((*slab.at(21), slab.positions()), (21, 24));
        assert_eq!(slab.get(3), None);
        assert_eq!(slab.get(39), None);
    }

    #[test]
    fn what_is_filled_and_emptied_all_the_time_stays() {
        let mut slab = Small::new();
        for _ in 0..5 {
            let positions: Vec<u32> = (0..40).map(|value| slab.insert(value)).collect();
            positions.into_iter().for_each(|position| slab.remove(position));
            slab.release();
        }
        assert_eq!(memory(&slab), 40);
    }

    #[test]
    fn a_step_gives_a_bounded_number_of_chunks_back() {
        let mut slab = Small::new();
        let count = RELEASED_AT_ONCE * 4 * 3;
        let positions: Vec<u32> = (0..count).map(|value| slab.insert(value as u32)).collect();
        positions.into_iter().for_each(|position| slab.remove(position));
        let memories: Vec<usize> = (0..5).map(|_| (slab.release(), memory(&slab)).1).collect();
        assert_eq!(memories, [count, count * 2 / 3, count / 3, 0, 0]);
    }

    proptest! {
        /// Whatever comes, goes and is given back, each value is at its position and nowhere else.
        #[test]
        fn values_stay_where_they_are(steps in prop::collection::vec((0_u8..8, any::<prop::sample::Index>()), 0..400)) {
            let mut slab = Small::new();
            let mut model = BTreeMap::new();
            for (at, (step, which)) in steps.into_iter().enumerate() {
                match step {
                    0..4 => {
                        let position = slab.insert(at as u32);
                        prop_assert_eq!(model.insert(position, at as u32), None);
                    }
                    4..7 if !model.is_empty() => {
                        let position = *which.get(&model.keys().copied().collect::<Vec<_>>());
                        slab.remove(position);
                        model.remove(&position);
                    }
                    _ => {
                        slab.release();
                        slab.shorten();
                    }
                }
                for (position, value) in &model {
                    prop_assert!(*position < slab.positions());
                    prop_assert_eq!(slab.at(*position), value);
                }
            }
        }
    }
}
