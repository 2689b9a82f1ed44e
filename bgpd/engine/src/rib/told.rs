//! What groups were told of a destination.
//!
//! Nearly always that is the first path as it is: one bit. All else (what an export policy changed, paths told with
//! ADD-PATH, what was told before the first path changed) is kept beside the table, by position.

use std::num::NonZeroU16;

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use hashbrown::hash_map::Entry;

use super::destination::{Destination, Path};
use crate::attr::AttrRef;
use crate::id::PeerIndex;

/// A group's place among the columns of a table.
pub(super) type Slot = NonZeroU16;

/// What a group was last told.
#[derive(Debug, Clone, Copy)]
pub(super) struct Told<'t> {
    pub(super) attrs: &'t AttrRef,
    pub(super) peer: PeerIndex,
    /// 0 without ADD-PATH.
    pub(super) path_id: u16,
}

/// Which groups were told the first path of a destination as it is, and whether there are exceptions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Groups(u8);

/// A group was told something that is not the first path as it is.
#[derive(Debug)]
struct Exception {
    attrs: AttrRef,
    peer: PeerIndex,
    path_id: u16,
    slot: Slot,
}

/// All exceptions of one destination.
#[derive(Debug)]
enum Few {
    One(Exception),
    #[expect(clippy::box_collection, reason = "one exception has 16 octets for it")]
    Many(Box<Vec<Exception>>),
}

/// What groups were told other than first paths, by position.
#[derive(Default)]
pub(super) struct Exceptions(HashMap<u32, Few, FixedState>);

/// A destination whose first path may be another one than when groups were told.
pub(super) struct Place<'t, K> {
    pub(super) destination: &'t mut Destination<K>,
    pub(super) position: u32,
    exceptions: &'t mut Exceptions,
    /// Groups that were told the path that was the first one, and nothing since; and where that path is now.
    before: (Groups, usize),
}

const _: () = assert!(size_of::<Few>() == 16, "one exception needs no heap");
/// Room for exceptions that is kept where there are few.
const SPARE: usize = 4096;

impl Groups {
    /// There are exceptions. The bits above are those of slots.
    const EXCEPTIONS: Self = Self(1);

    /// The group at a slot, if it has a bit.
    fn one(slot: Slot) -> Self {
        Self(1_u8.checked_shl(slot.get().into()).unwrap_or(0))
    }

    fn all() -> impl Iterator<Item = Slot> {
        (1..8).filter_map(Slot::new)
    }

    pub(super) fn is_empty(self) -> bool {
        self.0 == 0
    }

    fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

impl Exception {
    fn told(&self) -> Told<'_> {
        Told { attrs: &self.attrs, peer: self.peer, path_id: self.path_id }
    }
}

impl Few {
    fn as_slice(&self) -> &[Exception] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::Many(many) => many,
        }
    }
}

impl Exceptions {
    fn of(&self, position: u32, groups: Groups) -> &[Exception] {
        let few = groups.has(Groups::EXCEPTIONS).then(|| self.0.get(&position)).flatten();
        few.map_or(&[], Few::as_slice)
    }

    /// Puts an exception in place of the one of the same slot and path identifier.
    fn set(&mut self, position: u32, new: Exception) {
        let same = |old: &Exception| old.slot == new.slot && old.path_id == new.path_id;
        let few = match self.0.entry(position) {
            Entry::Occupied(few) => few.into_mut(),
            Entry::Vacant(vacant) => {
                vacant.insert(Few::One(new));
                return;
            }
        };
        match few {
            Few::Many(many) => match many.iter_mut().find(|old| same(old)) {
                Some(old) => *old = new,
                None => many.push(new),
            },
            Few::One(old) if same(old) => *old = new,
            Few::One(_) => {
                if let Few::One(old) = std::mem::replace(few, Few::Many(Box::default())) {
                    *few = Few::Many(Box::new(vec![old, new]));
                }
            }
        }
    }

    /// Keeps what `keep` says; whether something was kept.
    fn retain(&mut self, position: u32, keep: impl Fn(&Exception) -> bool) -> bool {
        let left = match self.0.remove(&position) {
            Some(Few::One(one)) => keep(&one).then_some(Few::One(one)),
            Some(Few::Many(mut many)) => {
                many.retain(keep);
                match many.len() {
                    0 | 1 => many.pop().map(Few::One),
                    _ => Some(Few::Many(many)),
                }
            }
            None => None,
        };
        let any = left.is_some();
        if let Some(left) = left {
            self.0.insert(position, left);
        }
        any
    }

    /// Gives room back that most exceptions have left.
    pub(super) fn release(&mut self) {
        if self.0.capacity() > 8 * self.0.len() + SPARE {
            self.0.shrink_to(2 * self.0.len());
        }
    }

    /// All that a group was told of a destination.
    pub(super) fn told<'t, K>(
        &'t self,
        position: u32,
        destination: &'t Destination<K>,
        slot: Slot,
    ) -> impl Iterator<Item = Told<'t>> {
        let first = destination.paths.as_slice().first();
        let first = first.filter(|_| destination.told.has(Groups::one(slot))).map(as_told);
        let others = self.of(position, destination.told).iter().filter(move |other| other.slot == slot);
        first.into_iter().chain(others.map(Exception::told))
    }

    /// The first path is another one, or has other attributes: groups that were told it have been told this.
    pub(super) fn first_changed<K>(
        &mut self,
        position: u32,
        destination: &mut Destination<K>,
        attrs: &AttrRef,
        peer: PeerIndex,
    ) {
        let groups = destination.told;
        for slot in Groups::all().filter(|slot| groups.has(Groups::one(*slot))) {
            self.set(position, Exception { attrs: attrs.clone(), peer, path_id: 0, slot });
            destination.told = destination.told.without(Groups::one(slot)).with(Groups::EXCEPTIONS);
        }
    }

    /// Forgets what was told to groups for which `keep` is false.
    pub(super) fn keep<K>(&mut self, position: u32, destination: &mut Destination<K>, keep: impl Fn(Slot) -> bool) {
        for slot in Groups::all().filter(|slot| !keep(*slot)) {
            destination.told = destination.told.without(Groups::one(slot));
        }
        let mut lost = self.of(position, destination.told).iter().filter(|other| !keep(other.slot));
        if lost.next().is_some() && !self.retain(position, |other| keep(other.slot)) {
            destination.told = destination.told.without(Groups::EXCEPTIONS);
        }
    }
}

fn as_told(path: &Path) -> Told<'_> {
    Told { attrs: &path.attrs, peer: path.peer, path_id: 0 }
}

impl<'t, K> Place<'t, K> {
    pub(super) fn new(position: u32, destination: &'t mut Destination<K>, exceptions: &'t mut Exceptions) -> Self {
        Self { destination, position, exceptions, before: (Groups::default(), 0) }
    }

    /// Makes the path at `best` the first one. Every group is to be told something next.
    pub(super) fn put_first(&mut self, best: usize) {
        if best == 0 {
            return;
        }
        let told = self.destination.told;
        self.before = (told.without(Groups::EXCEPTIONS), best);
        self.destination.told = told.without(self.before.0);
        self.destination.paths.as_mut_slice().swap(0, best);
    }

    /// All that a group was told.
    pub(super) fn told(&self, slot: Slot) -> impl Iterator<Item = Told<'_>> {
        let (groups, at) = self.before;
        let before = self.destination.paths.as_slice().get(at).filter(|_| groups.has(Groups::one(slot)));
        before.map(as_told).into_iter().chain(self.exceptions.told(self.position, self.destination, slot))
    }

    /// What the group was told under a path identifier.
    pub(super) fn told_as(&self, slot: Slot, path_id: u16) -> Option<(&AttrRef, PeerIndex)> {
        self.told(slot).find(|told| told.path_id == path_id).map(|told| (told.attrs, told.peer))
    }

    /// Notes what a group is told in place of what it was told under the same path identifier.
    pub(super) fn tell(&mut self, slot: Slot, path_id: u16, new: Option<(&AttrRef, PeerIndex)>) {
        let Self { destination, position, exceptions, before } = self;
        let group = if path_id == 0 { Groups::one(slot) } else { Groups::default() };
        before.0 = before.0.without(group);
        destination.told = destination.told.without(group);
        let first = destination.paths.as_slice().first().map(|path| (&path.attrs, path.peer));
        match new {
            Some((attrs, peer)) if group.is_empty() || new != first => {
                exceptions.set(*position, Exception { attrs: attrs.clone(), peer, path_id, slot });
                destination.told = destination.told.with(Groups::EXCEPTIONS);
                return;
            }
            Some(_) => destination.told = destination.told.with(group),
            None => {}
        }
        let other = |other: &Exception| other.slot != slot || other.path_id != path_id;
        if destination.told.has(Groups::EXCEPTIONS) && !exceptions.retain(*position, other) {
            destination.told = destination.told.without(Groups::EXCEPTIONS);
        }
    }

    /// What the group was told already is no exception if the first path has become the same.
    pub(super) fn tidy(&mut self, slot: Slot, path_id: u16, told: Option<(&AttrRef, PeerIndex)>) {
        let Destination { paths, told: groups, .. } = &*self.destination;
        let first = paths.as_slice().first().map(|path| (&path.attrs, path.peer));
        if path_id == 0 && groups.has(Groups::EXCEPTIONS) && !groups.has(Groups::one(slot)) && told == first {
            self.tell(slot, path_id, told);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use bgp_wire::attribute::{Attribute, AttributeBlock};
    use bgp_wire::update::NextHop;

    use super::*;
    use crate::attr::Interner;

    /// A destination with a path of each of two peers.
    struct Table {
        attrs: [AttrRef; 3],
        destination: Destination<u8>,
        exceptions: Exceptions,
    }

    fn slot(number: u16) -> Slot {
        Slot::new(number).expect("slots begin with 1")
    }

    fn table() -> Table {
        let interner = Interner::new(1);
        let attrs = [0, 1, 2].map(|med| {
            let mut bytes = Vec::new();
            Attribute::MultiExitDisc(med).encode(&mut bytes);
            interner.intern(NextHop::V4(Ipv4Addr::LOCALHOST), AttributeBlock::from_canonical(&bytes))
        });
        let mut destination = Destination::new(0);
        for peer in [0_u8, 1] {
            destination.paths.push(Path {
                attrs: attrs[usize::from(peer)].clone(),
                peer: PeerIndex(peer.into()),
                path_id: 0,
                since: 0,
                local_id: 1,
                generation: 0,
                rejection: None,
            });
        }
        Table { attrs, destination, exceptions: Exceptions::default() }
    }

    impl Table {
        fn place(&mut self) -> Place<'_, u8> {
            Place::new(7, &mut self.destination, &mut self.exceptions)
        }

        /// Tells groups of three slots the first path; the last of them has no bit.
        fn tell_first(&mut self) {
            let first = self.destination.paths.as_slice().first().expect("there are paths");
            let (attrs, peer) = (first.attrs.clone(), first.peer);
            for number in [1, 7, 8].map(slot) {
                self.place().tell(number, 0, Some((&attrs, peer)));
            }
        }

        /// What the three groups were told: which of the attributes.
        fn told(&self) -> [Vec<usize>; 3] {
            [1, 7, 8].map(|number| {
                let told = self.exceptions.told(7, &self.destination, slot(number));
                told.map(|told| self.attrs.iter().position(|attrs| attrs == told.attrs).expect("one of them")).collect()
            })
        }
    }

    #[test]
    fn the_first_path_as_it_is_costs_a_bit() {
        let mut table = table();
        table.tell_first();
        assert_eq!(table.told(), [vec![0], vec![0], vec![0]]);
        assert_eq!(table.exceptions.of(7, table.destination.told).len(), 1, "only of the eighth slot");
    }

    #[test]
    fn what_was_told_outlives_the_first_path() {
        let mut table = table();
        table.tell_first();
        let gone = table.destination.remove_path(0);
        table.exceptions.first_changed(7, &mut table.destination, &gone.attrs, gone.peer);
        assert_eq!(table.told(), [vec![0], vec![0], vec![0]]);
        table.tell_first();
        assert_eq!(table.told(), [vec![1], vec![1], vec![1]]);
    }

    #[test]
    fn a_path_put_first_is_not_taken_for_what_was_told() {
        let mut table = table();
        table.tell_first();
        let (old, new) = (table.attrs[0].clone(), table.attrs[1].clone());
        let mut place = table.place();
        place.put_first(1);
        for number in [1, 7, 8].map(slot) {
            assert_eq!(place.told_as(number, 0), Some((&old, PeerIndex(0))));
            assert_eq!(place.told(number).count(), 1);
            place.tell(number, 0, Some((&new, PeerIndex(1))));
            assert_eq!(place.told_as(number, 0), Some((&new, PeerIndex(1))));
            assert_eq!(place.told(number).count(), 1);
        }
        assert_eq!(table.told(), [vec![1], vec![1], vec![1]]);
    }

    #[test]
    fn what_is_no_exception_any_more_is_a_bit_again() {
        let mut table = table();
        let (changed, first) = (table.attrs[2].clone(), table.attrs[0].clone());
        table.place().tell(slot(1), 0, Some((&changed, PeerIndex(0))));
        assert_eq!(table.told(), [vec![2], vec![], vec![]]);
        table.place().tell(slot(1), 0, Some((&first, PeerIndex(0))));
        assert_eq!(table.told(), [vec![0], vec![], vec![]]);
        assert!(table.exceptions.0.is_empty());
        // The attributes change, and are what they were again before anything is decided.
        table.exceptions.first_changed(7, &mut table.destination, &first, PeerIndex(0));
        assert_eq!(table.exceptions.0.len(), 1);
        table.place().tidy(slot(1), 0, Some((&first, PeerIndex(0))));
        assert_eq!(table.told(), [vec![0], vec![], vec![]]);
        assert!(table.exceptions.0.is_empty());
    }

    #[test]
    fn paths_told_under_identifiers_stand_side_by_side() {
        let mut table = table();
        let attrs = table.attrs.clone();
        for (path_id, attrs) in (1..).zip(&attrs) {
            table.place().tell(slot(1), path_id, Some((attrs, PeerIndex(0))));
        }
        assert_eq!(table.told(), [vec![0, 1, 2], vec![], vec![]]);
        table.place().tell(slot(1), 2, None);
        assert_eq!(table.told(), [vec![0, 2], vec![], vec![]]);
    }

    #[test]
    fn what_is_told_to_nobody_leaves_nothing() {
        let mut table = table();
        table.tell_first();
        table.place().tell(slot(1), 0, None);
        table.exceptions.keep(7, &mut table.destination, |_| false);
        assert_eq!(table.told(), [vec![], vec![], vec![]]);
        assert!(table.destination.told.is_empty() && table.exceptions.0.is_empty());
    }
}
