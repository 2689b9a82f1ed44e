//! What a policy says of attribute sets, remembered.
//!
//! For one attribute set a policy is a small tree: verdicts, and between them the conditions that need the prefix. The
//! tree grows as routes ask for it; a route that finds its way through it costs the look-up of its set and those
//! conditions, and nothing is allocated.

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use ipnet::IpNet;

use super::definition::Outcome;
use super::filter::Judgment;
use super::rules::{Answer, Place, Rules, Stop};
use super::{Policy, Provenance, Verdict};
use crate::attr::AttrRef;

/// Attribute sets that are remembered; then all are forgotten.
const SETS: usize = 4096;
/// Nodes of one tree; routes that would need more are evaluated from the beginning each time.
const NODES: usize = 512;
/// Not known yet.
const UNKNOWN: u32 = u32::MAX;

/// Verdicts of one policy. It must not be asked about two.
#[derive(Default)]
pub struct Memo {
    trees: HashMap<(usize, Provenance), Tree, FixedState>,
}

/// What a policy says of one attribute set.
pub struct Tree {
    /// Keeps the set alive, so that its token stays its own.
    attrs: AttrRef,
    from: Provenance,
    nodes: Vec<Node>,
}

struct Node {
    stop: Stop,
    /// The attributes up to here.
    attrs: AttrRef,
    /// What follows if the condition does not hold, and if it does.
    next: [u32; 2],
}

impl Memo {
    /// Forgets everything: the policy is another one.
    pub fn clear(&mut self) {
        self.trees.clear();
    }

    /// What `rules` say of an attribute set.
    pub fn tree(&mut self, rules: &Rules, attrs: &AttrRef, from: &Provenance) -> &mut Tree {
        let key = (attrs.token(), *from);
        if self.trees.len() >= SETS && !self.trees.contains_key(&key) {
            self.trees.clear();
        }
        self.trees.entry(key).or_insert_with(|| {
            let mut tree = Tree { attrs: attrs.clone(), from: *from, nodes: Vec::with_capacity(1) };
            tree.add(rules, Place::default(), attrs.clone());
            tree
        })
    }
}

impl Tree {
    fn add(&mut self, rules: &Rules, place: Place, mut attrs: AttrRef) -> u32 {
        let stop = rules.run(place, &mut attrs, &self.from, None);
        self.nodes.push(Node { stop, attrs, next: [UNKNOWN; 2] });
        self.nodes.len() as u32 - 1
    }

    /// The verdict on every route with these attributes, if it is the same for all prefixes.
    #[must_use]
    pub fn verdict(&self) -> Option<&Verdict> {
        match self.nodes.first().map(|node| &node.stop) {
            Some(Stop::Decided(verdict)) => Some(verdict),
            _ => None,
        }
    }

    /// The verdict on the route to one prefix.
    pub fn judge(&mut self, rules: &Rules, prefix: &IpNet) -> Verdict {
        let mut at = 0;
        loop {
            let node = &self.nodes[at];
            let place = match &node.stop {
                Stop::Decided(verdict) => return verdict.clone(),
                Stop::Prefix(place) => *place,
            };
            let (branch, behind) = match rules.ask(place, prefix, &node.attrs, &self.from) {
                Answer::Holds(holds) => (usize::from(holds), place.after(holds)),
                // What follows is the same for all routes that the filter passes on as they are.
                Answer::Filter(Judgment { changes, then: Outcome::Next }) if changes.is_empty() => {
                    (1, place.next_element())
                }
                Answer::Filter(judgment) => {
                    return rules.conclude(place, judgment, node.attrs.clone(), &self.from, prefix);
                }
            };
            let mut next = node.next[branch];
            if next == UNKNOWN {
                if self.nodes.len() >= NODES {
                    return rules.evaluate(&self.attrs, &self.from, prefix, None);
                }
                next = self.add(rules, behind, self.nodes[at].attrs.clone());
                self.nodes[at].next[branch] = next;
            }
            at = next as usize;
        }
    }
}

impl Policy {
    /// The verdict on one route; `memo` remembers what can be used for others.
    pub fn judge(&self, attrs: &AttrRef, from: &Provenance, prefix: &IpNet, memo: &mut Memo) -> Verdict {
        match self {
            Self::AcceptAll => Verdict::Accept(attrs.clone()),
            Self::RejectAll => Verdict::Reject,
            Self::Missing => Verdict::RejectMissing,
            Self::Rules(rules) => memo.tree(rules, attrs, from).judge(rules, prefix),
        }
    }
}
