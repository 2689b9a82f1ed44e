//! One destination: the paths to it, and which groups were told the first of them.

use super::told::Groups;
use crate::attr::AttrRef;
use crate::id::PeerIndex;
use crate::stage::Rejection;

/// A path in the Adj-RIB-In.
#[derive(Debug, Clone)]
pub(super) struct Path {
    pub(super) attrs: AttrRef,
    pub(super) peer: PeerIndex,
    /// As received (RFC 7911 §3); 0 without ADD-PATH.
    pub(super) path_id: u32,
    /// When it came, in seconds since the start of the speaker.
    pub(super) since: u32,
    /// As sent to groups with ADD-PATH: unique on the destination, never 0.
    pub(super) local_id: u16,
    /// Which of the peer's sessions or refreshes it belongs to.
    pub(super) generation: u8,
    /// Why it cannot be used.
    pub(super) rejection: Option<Rejection>,
}

/// The paths of a destination. If one of them is the best, it is the first.
#[derive(Debug)]
pub(super) enum Paths {
    None,
    One(Path),
    Many(Box<[Path]>),
}

/// A destination of a table.
#[derive(Debug)]
pub(super) struct Destination<K> {
    pub(super) paths: Paths,
    pub(super) told: Groups,
    pub(super) key: K,
    /// It is in the list of those to be decided.
    pub(super) dirty: bool,
    /// The first path is the best one.
    pub(super) has_best: bool,
}

const _: () = assert!(size_of::<Path>() == 24, "the cost of one more path");
const _: () = assert!(size_of::<Paths>() == 24, "one path needs no heap");
const _: () = assert!(size_of::<Destination<[u8; 5]>>() == 32, "the cost of an IPv4 route");
const _: () = assert!(size_of::<Destination<[u8; 17]>>() <= 48, "the cost of an IPv6 route");

impl<K> Destination<K> {
    pub(super) fn new(key: K) -> Self {
        Self { paths: Paths::None, told: Groups::default(), key, dirty: false, has_best: false }
    }

    /// The best path.
    pub(super) fn best(&self) -> Option<&Path> {
        if self.has_best { self.paths.as_slice().first() } else { None }
    }

    /// Takes out the path at `at`.
    pub(super) fn remove_path(&mut self, at: usize) -> Path {
        if at == 0 {
            self.has_best = false;
        }
        self.paths.remove(at)
    }

    /// Nothing depends on this destination any more.
    pub(super) fn is_vacant(&self) -> bool {
        self.paths.as_slice().is_empty() && self.told.is_empty()
    }
}

impl Paths {
    pub(super) fn as_slice(&self) -> &[Path] {
        match self {
            Self::None => &[],
            Self::One(path) => std::slice::from_ref(path),
            Self::Many(paths) => paths,
        }
    }

    pub(super) fn as_mut_slice(&mut self) -> &mut [Path] {
        match self {
            Self::None => &mut [],
            Self::One(path) => std::slice::from_mut(path),
            Self::Many(paths) => paths,
        }
    }

    /// Where the path of `peer` with `path_id` is.
    pub(super) fn find(&self, peer: PeerIndex, path_id: u32) -> Option<usize> {
        self.as_slice().iter().position(|path| path.peer == peer && path.path_id == path_id)
    }

    /// A local path identifier that no path here has: one more than the largest, or the smallest
    /// free one once the largest is taken.
    pub(super) fn free_local_id(&self) -> u16 {
        let paths = self.as_slice();
        let largest = paths.iter().map(|path| path.local_id).max().unwrap_or(0);
        largest.checked_add(1).unwrap_or_else(|| {
            let free = |id: &u16| paths.iter().all(|path| path.local_id != *id);
            (1..=u16::MAX).find(free).unwrap_or(u16::MAX)
        })
    }

    pub(super) fn push(&mut self, path: Path) {
        *self = match std::mem::replace(self, Self::None) {
            Self::None => Self::One(path),
            Self::One(first) => Self::Many(Box::new([first, path])),
            Self::Many(paths) => {
                let mut paths = paths.into_vec();
                paths.reserve_exact(1);
                paths.push(path);
                Self::Many(paths.into_boxed_slice())
            }
        };
    }

    fn remove(&mut self, at: usize) -> Path {
        let mut paths = match std::mem::replace(self, Self::None) {
            Self::Many(paths) => paths.into_vec(),
            Self::One(path) => return path,
            Self::None => unreachable!("a path was found here"),
        };
        let removed = paths.remove(at);
        *self = match paths.len() {
            1 => paths.pop().map_or(Self::None, Self::One),
            _ => Self::Many(paths.into_boxed_slice()),
        };
        removed
    }
}
