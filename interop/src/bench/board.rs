//! What every receiver must hold, and what it holds.
//!
//! The `Board` is the truth of a run: for each prefix the route that must win and the client it came from. A `View` is
//! one receiver's table, kept as one number per prefix and compared with the truth as it changes, so that "everybody
//! has exactly the right table" is known the moment it is true.

use std::collections::{HashMap, HashSet};

use foldhash::fast::FixedState;

use super::attributes::{AttributeSet, Recipe};
use super::decode::{Malformed, Update, prefixes};
use super::latency::Histogram;
use super::prefix::{PrefixIndex, PrefixKey};
use super::table::Table;

/// A route as a receiver sees it: 0 is no route, else a number the board gave to a recipe.
pub(crate) type RouteId = u32;

/// No route.
pub(crate) const ABSENT: RouteId = 0;
/// A route with attributes nobody announced.
const FOREIGN: RouteId = u32::MAX;
/// Source of a prefix that nobody announces.
pub(crate) const NOBODY: u32 = u32::MAX;

/// The truth of one prefix.
#[derive(Clone, Copy)]
struct Truth {
    /// The route that must win.
    expected: RouteId,
    /// The client whose route that is: it must not be sent its own.
    source: u32,
    /// When the last change was sent, in nanoseconds of the run's clock; 0 for none.
    sent_at: u64,
}

/// The truth of a run.
pub(crate) struct Board {
    pub(crate) table: Table,
    index: PrefixIndex,
    truth: Vec<Truth>,
    recipes: Vec<Recipe>,
    identities: Vec<u64>,
    by_identity: HashMap<u64, RouteId, FixedState>,
    router_ids: Vec<u32>,
}

impl Board {
    /// A board on which nothing is expected yet.
    pub(crate) fn new(table: Table, router_ids: Vec<u32>) -> Self {
        let count = table.len();
        Self {
            index: PrefixIndex::new(&table.keys),
            truth: vec![Truth { expected: ABSENT, source: NOBODY, sent_at: 0 }; count],
            recipes: Vec::new(),
            identities: Vec::new(),
            by_identity: HashMap::default(),
            router_ids,
            table,
        }
    }

    /// Gives a recipe its number (the same one each time).
    pub(crate) fn register(&mut self, recipe: Recipe) -> (RouteId, AttributeSet) {
        let set = AttributeSet::of(recipe);
        let v6 = self.table.groups[recipe.group as usize].v6;
        let identity = set.identity(v6);
        let next = self.recipes.len() as u32 + 1;
        let id = *self.by_identity.entry(identity).or_insert(next);
        if id == next {
            self.recipes.push(recipe);
            self.identities.push(identity);
        }
        (id, set)
    }

    /// Declares the winner of every prefix of a group. To be followed by `View::recount` or done before views exist.
    pub(crate) fn expect_group(&mut self, group: u32, source: u32, route: RouteId) {
        for truth in &mut self.truth[self.table.groups[group as usize].range()] {
            truth.expected = route;
            truth.source = source;
        }
    }

    /// Declares the winner of one prefix and when that was sent (0: not to be timed); returns what was expected before.
    pub(crate) fn expect_prefix(&mut self, prefix: u32, source: u32, route: RouteId, now: u64) -> RouteId {
        let now = Truth { expected: route, source, sent_at: now };
        std::mem::replace(&mut self.truth[prefix as usize], now).expected
    }

    /// What client `me` must hold of a prefix.
    #[inline]
    pub(crate) fn due(&self, me: u32, prefix: u32) -> RouteId {
        let truth = self.truth[prefix as usize];
        if truth.source == me { ABSENT } else { truth.expected }
    }

    /// The number of a prefix. `guess` is tried first: a daemon that keeps the order in which routes came makes the
    /// check a walk through memory.
    #[inline]
    fn number(&self, key: PrefixKey, guess: u32) -> Option<u32> {
        if self.table.keys.get(guess as usize) == Some(&key) { Some(guess) } else { self.index.get(key) }
    }

    /// The route of an identity; `guess` is tried first.
    #[inline]
    fn route(&self, identity: u64, guess: RouteId) -> Option<RouteId> {
        if self.identities.get((guess as usize).wrapping_sub(1)) == Some(&identity) {
            return Some(guess);
        }
        self.by_identity.get(&identity).copied()
    }

    /// How many routes client `me` must hold.
    pub(crate) fn due_count(&self, me: u32) -> usize {
        (0..self.truth.len() as u32).filter(|&prefix| self.due(me, prefix) != ABSENT).count()
    }

    fn describe(&self, route: RouteId) -> String {
        match route {
            ABSENT => "no route".into(),
            FOREIGN => "a route with attributes nobody announced".into(),
            known => {
                let recipe = self.recipes[known as usize - 1];
                format!(
                    "the route of client {} (attributes of group {}, variant {})",
                    recipe.client, recipe.group, recipe.variant
                )
            }
        }
    }
}

/// Counters of one receiver.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Counters {
    pub(crate) updates: u64,
    pub(crate) announced: u64,
    pub(crate) withdrawn: u64,
    /// Routes that said what was known already, and withdrawals of what was not there.
    pub(crate) redundant: u64,
    /// The receiver's own routes sent back to it.
    pub(crate) echoed: u64,
}

/// One receiver's table.
pub(crate) struct View {
    me: u32,
    held: Vec<RouteId>,
    /// What came last, to guess what comes next.
    last_prefix: u32,
    last_route: RouteId,
    /// Prefixes of which something else is held than is due.
    wrong: u32,
    /// Prefixes nobody ever announced.
    strays: HashSet<PrefixKey>,
    /// The first route with attributes nobody announced, for the report.
    foreign: Option<String>,
    pub(crate) counters: Counters,
}

impl View {
    /// An empty table.
    pub(crate) fn new(me: u32, board: &Board) -> Self {
        let mut view = Self {
            me,
            held: vec![ABSENT; board.table.len()],
            last_prefix: 0,
            last_route: ABSENT,
            wrong: 0,
            strays: HashSet::new(),
            foreign: None,
            counters: Counters::default(),
        };
        view.recount(board);
        view
    }

    /// Forgets all routes: the session went down.
    pub(crate) fn clear(&mut self, board: &Board) {
        self.held.fill(ABSENT);
        self.strays.clear();
        self.recount(board);
    }

    /// Compares everything anew, after the truth changed as a whole.
    pub(crate) fn recount(&mut self, board: &Board) {
        let wrong = |&(prefix, held): &(usize, &RouteId)| board.due(self.me, prefix as u32) != *held;
        self.wrong = self.held.iter().enumerate().filter(wrong).count() as u32;
    }

    /// The truth of one prefix changed from `before` to what is due now.
    #[inline]
    pub(crate) fn retarget(&mut self, prefix: u32, before: RouteId, due: RouteId) {
        let held = self.held[prefix as usize];
        self.wrong += u32::from(held != due);
        self.wrong -= u32::from(held != before);
    }

    /// True when exactly what is due is held.
    #[inline]
    pub(crate) fn exact(&self) -> bool {
        self.wrong == 0 && self.strays.is_empty()
    }

    /// How many prefixes are not what they should be.
    pub(crate) fn wrong(&self) -> u32 {
        self.wrong
    }

    /// How many routes are held.
    pub(crate) fn held_count(&self) -> usize {
        self.held.iter().filter(|&&route| route != ABSENT).count()
    }

    /// Takes in one UPDATE, received at `now`.
    #[inline]
    pub(crate) fn apply(
        &mut self,
        update: &Update<'_>,
        board: &Board,
        now: u64,
        latency: &mut Histogram,
    ) -> Result<(), Malformed> {
        self.counters.updates += 1;
        for (bytes, v6) in [(update.withdrawn, false), (update.withdrawn_v6, true)] {
            prefixes(bytes, v6, |key| {
                self.counters.withdrawn += 1;
                self.set(key, ABSENT, board, now, latency);
            })?;
        }
        if update.nlri.is_empty() && update.nlri_v6.is_empty() {
            return Ok(());
        }
        let route = self.route_of(update, board)?;
        for (bytes, v6) in [(update.nlri, false), (update.nlri_v6, true)] {
            prefixes(bytes, v6, |key| {
                self.counters.announced += 1;
                self.set(key, route, board, now, latency);
            })?;
        }
        Ok(())
    }

    /// The route an UPDATE announces. One's own comes back as no route: a client ignores it (RFC 4456 §8), and thereby
    /// loses what it held before.
    fn route_of(&mut self, update: &Update<'_>, board: &Board) -> Result<RouteId, Malformed> {
        if update.originator == Some(board.router_ids[self.me as usize]) {
            self.counters.echoed += 1;
            return Ok(ABSENT);
        }
        let Some(route) = board.route(update.identity, self.last_route + 1) else {
            self.foreign.get_or_insert_with(|| format!("an UPDATE with foreign attributes, {}", sample(update)));
            return Ok(FOREIGN);
        };
        self.last_route = route;
        let client = board.recipes[route as usize - 1].client;
        match update.originator {
            Some(id) if id != board.router_ids[client as usize] => {
                Err(Malformed("ORIGINATOR_ID is not the client that announced the route"))
            }
            _ => Ok(route),
        }
    }

    #[inline]
    fn set(&mut self, key: PrefixKey, route: RouteId, board: &Board, now: u64, latency: &mut Histogram) {
        let Some(prefix) = board.number(key, self.last_prefix.wrapping_add(1)) else {
            if route == ABSENT {
                self.strays.remove(&key);
            } else {
                self.strays.insert(key);
            }
            return;
        };
        self.last_prefix = prefix;
        let before = std::mem::replace(&mut self.held[prefix as usize], route);
        if before == route {
            self.counters.redundant += 1;
            return;
        }
        let truth = board.truth[prefix as usize];
        let due = if truth.source == self.me { ABSENT } else { truth.expected };
        if before == due {
            self.wrong += 1;
        } else if route == due {
            self.wrong -= 1;
            if truth.sent_at != 0 {
                latency.record(now.saturating_sub(truth.sent_at));
            }
        }
    }

    /// What is wrong, with the first few examples; none when everything is right.
    pub(crate) fn complaint(&self, board: &Board) -> Option<String> {
        if self.exact() {
            return None;
        }
        let mut text = format!(
            "client {} holds {} of {} routes, {} wrong, {} never announced",
            self.me,
            self.held_count(),
            board.due_count(self.me),
            self.wrong,
            self.strays.len()
        );
        let wrong = |&prefix: &u32| board.due(self.me, prefix) != self.held[prefix as usize];
        for prefix in (0..self.held.len() as u32).filter(wrong).take(3) {
            text += &format!(
                "; {}: {} instead of {}",
                board.table.keys[prefix as usize],
                board.describe(self.held[prefix as usize]),
                board.describe(board.due(self.me, prefix))
            );
        }
        let mut strays: Vec<_> = self.strays.iter().collect();
        strays.sort_unstable();
        for stray in strays.iter().take(3) {
            text += &format!("; {stray} was never announced");
        }
        if let Some(foreign) = &self.foreign {
            text += &format!("; {foreign}");
        }
        Some(text)
    }
}

fn sample(update: &Update<'_>) -> String {
    let mut first = None;
    for (bytes, v6) in [(update.nlri, false), (update.nlri_v6, true)] {
        let _ = prefixes(bytes, v6, |key| {
            first.get_or_insert(key);
        });
    }
    match first {
        Some(key) => format!("first prefix {key}"),
        None => "without a prefix".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{decode, message};
    use super::*;

    /// Two clients, a table of ten prefixes that client 0 announces.
    fn board() -> (Board, AttributeSet) {
        let mut board = Board::new(Table::fleet(10, true, false), vec![1, 2]);
        let (route, set) = board.register(Recipe { client: 0, group: 0, variant: 0, detour: 0 });
        board.expect_group(0, 0, route);
        (board, set)
    }

    fn feed(view: &mut View, board: &Board, bytes: &[u8]) -> Histogram {
        let mut latency = Histogram::default();
        let message = decode::message(bytes).unwrap().unwrap();
        let update = decode::update(message.body).unwrap();
        view.apply(&update, board, 5_000, &mut latency).unwrap();
        latency
    }

    #[test]
    fn a_view_is_exact_once_it_holds_what_is_due() {
        let (board, set) = board();
        let mut view = View::new(1, &board);
        assert!(!view.exact());
        let mut bytes = Vec::new();
        message::announce(&set, &board.table.keys[board.table.groups[0].range()], &mut bytes);
        feed(&mut view, &board, &bytes);
        assert!(view.exact(), "{:?}", view.complaint(&board));
        feed(&mut view, &board, &bytes);
        assert_eq!(view.counters.redundant, 1);
    }

    #[test]
    fn a_source_must_not_hold_its_own_route() {
        let (board, _) = board();
        assert!(View::new(0, &board).exact());
    }

    #[test]
    fn stale_and_stray_routes_are_wrong() {
        let (board, set) = board();
        let mut view = View::new(1, &board);
        for key in [PrefixKey::v4(0x0101_0000, 16), board.table.keys[1]] {
            let mut bytes = Vec::new();
            message::announce(&set, &[key], &mut bytes);
            feed(&mut view, &board, &bytes);
        }
        let complaint = view.complaint(&board).unwrap();
        assert!(complaint.contains("1.1.0.0/16 was never announced"), "{complaint}");
        assert!(complaint.contains("instead of no route"), "{complaint}");
    }

    #[test]
    fn latency_is_from_the_change_to_the_moment_the_view_is_right_again() {
        let (mut board, set) = board();
        let mut view = View::new(1, &board);
        let prefix = board.table.groups[0].first;
        let mut bytes = Vec::new();
        message::announce(&set, &[board.table.keys[prefix as usize]], &mut bytes);
        feed(&mut view, &board, &bytes);
        let before = board.expect_prefix(prefix, 0, ABSENT, 2_000);
        view.retarget(prefix, before, ABSENT);
        let mut bytes = Vec::new();
        message::withdraw(&[board.table.keys[prefix as usize]], &mut bytes);
        assert_eq!(feed(&mut view, &board, &bytes).max(), 3_000);
    }
}
