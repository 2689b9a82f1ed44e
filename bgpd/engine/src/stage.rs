//! The messages that cross from one stage to the next, generic over the family.
//!
//! ```text
//! intake ══ Batch, Fence ══► rib::Partition ══ Emission ══► group::Group ── chunks ──► outlet
//!              ▲ walks, refills, credits (never block) ───────────┘
//! ```
//!
//! One message carries one read burst or one decision round, never one route. Between a partition
//! and a group the order of emissions *is* the order of truth for every key: keys of different
//! partitions are disjoint, so nothing else has to be ordered.

mod limit;
mod prefix_guard;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use bgp_wire::nlri::{Ipv4Unicast, Ipv6Unicast};
use bgp_wire::update::PathKey;
use bgp_wire::{Family, Nlri};
use ipnet::IpNet;

use bgp_wire::attribute::code;

use crate::attr::{AttrRef, Interner};
use crate::config::cluster::Refused;
use crate::config::{Global, NeighborSettings};
use crate::id::{GroupIndex, PeerIndex, Source, SourceKind};
use crate::policy::{Direction, Library, Policy, UnknownPolicy, Verdict};
pub use limit::{Alarm, AlarmKind, PrefixBudget};
pub use prefix_guard::PrefixGuard;

/// Why a received path cannot be used. It stays in the Adj-RIB-In so that people can see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Rejection {
    /// The AS_PATH contains this speaker's AS (RFC 4271 §9.1.2).
    AsLoop,
    /// ORIGINATOR_ID is this speaker's BGP identifier (RFC 4456 §8).
    OriginatorLoop,
    /// CLUSTER_LIST contains this speaker's cluster identifier (RFC 4456 §8).
    ClusterLoop,
    /// The next hop is an address of this speaker (RFC 4271 §6.3).
    NextHopSelf,
    /// The next hop is not a unicast host address (RFC 4271 §6.3).
    NextHopMartian,
    /// The prefix is one of multicast groups (RFC 4271 §6.3).
    PrefixMartian,
    /// It is for customers only and does not come from a provider (RFC 9234 §5).
    RouteLeak,
    /// The import policy rejects it.
    Policy,
    /// An eBGP session without an import policy accepts nothing (RFC 8212).
    NoImportPolicy,
    /// The guard of the clusters refuses it.
    Guard(Refused),
}

const _: () = assert!(size_of::<Option<Rejection>>() == 1, "every path has one");

impl Rejection {
    /// Whether a policy, or the want of one, rejects the path: another policy can let it in.
    #[must_use]
    pub fn is_by_policy(self) -> bool {
        matches!(self, Self::Policy | Self::NoImportPolicy)
    }

    /// Whether the path can become usable while it is in: by what its [`Import`] says.
    pub(crate) fn is_by_rules(self) -> bool {
        self.is_by_policy() || matches!(self, Self::Guard(_) | Self::ClusterLoop)
    }
}

/// What of a neighbor's settings decides what becomes of its routes on their way in. Where it stays the same, only other
/// policies and another guard make a difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportKey {
    policy: Option<Vec<String>>,
    reject_as_sets: Option<bool>,
    client: bool,
    graceful_shutdown: bool,
    cluster_id: Ipv4Addr,
}

impl ImportKey {
    /// The key of a neighbor.
    #[must_use]
    pub fn new(global: &Global, settings: &NeighborSettings) -> Self {
        Self {
            policy: settings.import_policy.clone(),
            reject_as_sets: settings.reject_as_sets,
            client: settings.route_reflector_client,
            graceful_shutdown: settings.is_shutting_down(global),
            cluster_id: global.cluster_id,
        }
    }
}

/// What the routes of a peer pass on their way in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Import {
    /// The import policy.
    pub policy: Policy,
    /// The session is about to be shut down (RFC 8326).
    pub graceful_shutdown: bool,
    /// A path that has been in this cluster is a loop (RFC 4456 §8); none where there is no CLUSTER_LIST: on eBGP, and of
    /// what is originated here.
    pub cluster_id: Option<Ipv4Addr>,
    /// What the peer may announce as a node of a cluster; before any policy, so that what is refused stays so.
    pub guard: Option<PrefixGuard>,
}

impl Import {
    /// Everything passes as it is.
    pub const ACCEPT_ALL: Self =
        Self { policy: Policy::AcceptAll, graceful_shutdown: false, cluster_id: None, guard: None };

    /// What the routes of a session pass.
    ///
    /// # Errors
    /// A policy name that does not exist.
    pub fn resolve(
        library: &Library,
        global: &Global,
        settings: &NeighborSettings,
        external: bool,
        guard: Option<PrefixGuard>,
    ) -> Result<Self, UnknownPolicy> {
        Ok(Self {
            policy: library.resolve(settings.import_policy.as_deref(), external, Direction::Import)?,
            graceful_shutdown: settings.is_shutting_down(global),
            cluster_id: (!external).then_some(global.cluster_id),
            guard,
        })
    }

    /// Why a path that was received with these attributes is a loop, if it is one.
    pub(crate) fn find_loop(&self, received: &AttrRef) -> Option<Rejection> {
        let own = self.cluster_id?.octets();
        let clusters = received.block().get(code::CLUSTER_LIST)?;
        clusters.chunks_exact(4).any(|id| id == own).then_some(Rejection::ClusterLoop)
    }

    /// Whether routes with these attributes that the policy accepts are changed all the same: RFC 8326 §4, what is about
    /// to go is the last choice.
    pub(crate) fn changes(&self, accepted: &AttrRef) -> bool {
        self.graceful_shutdown || accepted.digest.scope.graceful_shutdown
    }

    /// Why the guard refuses a prefix. A path that `before` had another verdict is counted.
    pub(crate) fn refuse(&self, prefix: &IpNet, before: Option<Rejection>) -> Option<Rejection> {
        self.guard.as_ref()?.refuse(prefix, before)
    }

    /// What a verdict of the policy makes of a route that was received with these attributes.
    pub(crate) fn outcome(
        &self,
        verdict: Verdict,
        received: &AttrRef,
        interner: &Interner,
    ) -> (AttrRef, Option<Rejection>) {
        match verdict {
            Verdict::Accept(attrs) if self.changes(&attrs) => (interner.shutting_down(&attrs), None),
            Verdict::Accept(attrs) => (attrs, None),
            Verdict::Reject => (received.clone(), Some(Rejection::Policy)),
            Verdict::RejectMissing => (received.clone(), Some(Rejection::NoImportPolicy)),
        }
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Guard(refused) => return refused.fmt(f),
            Self::AsLoop => "own AS in AS_PATH",
            Self::OriginatorLoop => "own router ID is ORIGINATOR_ID",
            Self::ClusterLoop => "own cluster ID in CLUSTER_LIST",
            Self::NextHopSelf => "next hop is an own address",
            Self::NextHopMartian => "next hop is not a unicast address",
            Self::PrefixMartian => "prefix is not of unicast addresses",
            Self::RouteLeak => "route leak: OTC says that it is for customers only",
            Self::Policy => "rejected by import policy",
            Self::NoImportPolicy => "eBGP without an import policy",
        })
    }
}

/// A stretch of a batch's keys that share what is said of them.
#[derive(Debug, Clone)]
pub struct Run {
    /// The attributes announced; `None` withdraws.
    pub attrs: Option<AttrRef>,
    /// What they were before the import policy, where that changed them.
    pub received: Option<AttrRef>,
    /// Why the paths are not usable, if they are not.
    pub rejection: Option<Rejection>,
    /// How many of the batch's keys belong to this run.
    pub count: u32,
}

/// What one peer said in one read burst about one partition's prefixes. Runs consume keys in order;
/// of a key that is there twice, the last word counts.
pub struct Batch<N: Nlri> {
    /// Who said it; [`PeerIndex::LOCAL`] for routes originated here.
    pub peer: PeerIndex,
    /// What is said.
    pub runs: Vec<Run>,
    /// Of which prefixes.
    pub keys: Vec<PathKey<N::Key>>,
}

impl<N: Nlri> Batch<N> {
    /// An empty batch of `peer`.
    #[must_use]
    pub fn new(peer: PeerIndex) -> Self {
        Self { peer, runs: Vec::new(), keys: Vec::new() }
    }

    /// Appends one key; extends the last run where it says the same.
    pub fn push(&mut self, attrs: Option<&AttrRef>, rejection: Option<Rejection>, key: PathKey<N::Key>) {
        self.push_changed(attrs, None, rejection, key);
    }

    /// As [`Batch::push`], of attributes that the import policy made of `received`.
    pub fn push_changed(
        &mut self,
        attrs: Option<&AttrRef>,
        received: Option<&AttrRef>,
        rejection: Option<Rejection>,
        key: PathKey<N::Key>,
    ) {
        self.keys.push(key);
        match self.runs.last_mut() {
            Some(run)
                if run.attrs.as_ref() == attrs && run.rejection == rejection && run.received.as_ref() == received =>
            {
                run.count += 1;
            }
            _ => {
                let (attrs, received) = (attrs.cloned(), received.cloned());
                self.runs.push(Run { attrs, received, rejection, count: 1 });
            }
        }
    }
}

/// An event that must keep its place among a peer's batches. It goes to every partition.
#[derive(Debug, Clone)]
pub enum Fence {
    /// The session is Established; batches of this peer may follow.
    PeerUp {
        /// Who it is.
        source: Source,
        /// Its address: the last tie-breaker (RFC 4271 §9.1.2.2(g)) and the name people know.
        address: IpAddr,
        /// Its AS number.
        asn: u32,
        /// What its routes pass on their way in.
        import: Import,
        /// Families in which its End-of-RIB is worth waiting for (RFC 4724 §4.1).
        awaited: Vec<Family>,
    },
    /// The import policy is another one: the routes that are in are judged again. Those behind the fence have been.
    ImportReplaced {
        /// Whose.
        peer: PeerIndex,
        /// The new one.
        import: Import,
    },
    /// The peer may announce something else: the routes that are in are judged again, also those that are stale.
    GuardReplaced {
        /// Whose.
        peer: PeerIndex,
        /// The new rules; none: as it likes.
        guard: Option<PrefixGuard>,
    },
    /// The peer's routes go to others now as those of a client, or of a non-client (RFC 4456 §6).
    KindReplaced {
        /// Whose.
        peer: PeerIndex,
        /// What it is.
        kind: SourceKind,
    },
    /// The session ended: its paths go, or become stale.
    PeerDown {
        /// Whose session.
        peer: PeerIndex,
        /// Families whose paths stay as stale ones (RFC 4724 §4.2).
        retained: Vec<Family>,
    },
    /// How many prefixes the peer may have from now on; families without a budget have no limit.
    Limit {
        /// Whose.
        peer: PeerIndex,
        /// At most one for each family.
        budgets: Vec<Arc<PrefixBudget>>,
    },
    /// The stale paths that are there become long-lived stale ones (RFC 9494 §4.2).
    LongLived {
        /// Whose.
        peer: PeerIndex,
        /// Of which family.
        family: Family,
    },
    /// The stale paths go.
    EndRetention {
        /// Whose.
        peer: PeerIndex,
        /// Of which family.
        family: Family,
    },
    /// BoRR (RFC 7313 §4): paths not announced again before the end are stale.
    RefreshBegin {
        /// Who refreshes.
        peer: PeerIndex,
        /// Which family.
        family: Family,
    },
    /// EoRR (RFC 7313 §4): stale paths go.
    RefreshEnd {
        /// Who refreshed.
        peer: PeerIndex,
        /// Which family.
        family: Family,
    },
    /// The peer has sent all it has (RFC 4724 §2): stale paths go.
    EndOfRib {
        /// Who.
        peer: PeerIndex,
        /// Which family.
        family: Family,
    },
}

/// One membership of a peer in a group. The incarnation differs each time the peer joins, so that
/// what belongs to an earlier membership is recognized however late it comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Member {
    /// The peer.
    pub peer: PeerIndex,
    /// Which of its memberships.
    pub incarnation: u32,
}

/// What changed for one destination (or one path of it, with ADD-PATH) in a group's Adj-RIB-Out.
pub struct Change<N: Nlri> {
    /// The destination, with the path identifier that *we* send (0 without ADD-PATH).
    pub key: PathKey<N::Key>,
    /// Where the destination stands in its partition's table; means nothing where `new` withdraws.
    pub position: u32,
    /// Whose path the group was told before.
    pub old_source: Option<PeerIndex>,
    /// What it is to be told now; `None` withdraws.
    pub new: Option<(AttrRef, Source)>,
}

impl<N: Nlri> Clone for Change<N> {
    fn clone(&self) -> Self {
        Self { key: self.key, position: self.position, old_source: self.old_source, new: self.new.clone() }
    }
}

const _: () = assert!(size_of::<Change<Ipv4Unicast>>() == 48, "one for each route told to a group");

/// What a member missed of one partition's changes, and is to be told the present state of.
pub struct Missed<N: Nlri> {
    /// Destinations of which something was announced, ascending.
    pub positions: Vec<u32>,
    /// What was withdrawn: its destination may be gone, and its position another one's.
    pub keys: Vec<PathKey<N::Key>>,
}

impl<N: Nlri> Default for Missed<N> {
    fn default() -> Self {
        Self { positions: Vec::new(), keys: Vec::new() }
    }
}

/// Who in the group an emission is for.
#[derive(Debug, Clone)]
pub enum Target {
    /// Every member.
    All,
    /// These, where they are still the same incarnation.
    Members(Arc<[Member]>),
}

/// What made a partition emit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// Routes changed.
    Live,
    /// The last emission of a walk slice: the group answers with a credit for the next one.
    WalkSlice,
    /// The whole answer to one refill request.
    Refill,
    /// A member goes to another group: what comes behind this is not for it any more.
    Departed,
    /// A member comes from another group: what comes behind this is for it.
    Arrived,
}

/// Changes of one decision round for one group. A key occurs at most once.
pub struct Emission<N: Nlri> {
    /// The group.
    pub group: GroupIndex,
    /// The partition that emits.
    pub partition: usize,
    /// For whom.
    pub target: Target,
    /// Why.
    pub cause: Cause,
    /// What changed.
    pub changes: Vec<Change<N>>,
    /// Members whose walk of this partition is complete behind these changes.
    pub end_of_rib: Vec<Member>,
}

/// The partition of `key` among `partitions`.
#[must_use]
pub fn partition_of<N: Nlri>(key: &N::Key, partitions: usize) -> usize {
    if partitions <= 1 {
        return 0;
    }
    // The upper half of the product is below the number of partitions, and cheaper than a remainder.
    ((u128::from(N::partition(key)) * partitions as u128) >> 64) as usize
}

/// The source of routes originated here.
#[must_use]
pub const fn local_source(router_id: Ipv4Addr) -> Source {
    Source { peer: PeerIndex::LOCAL, router_id, kind: SourceKind::Local }
}

/// A family that can be routed: how its messages are wrapped where families mix.
pub trait Routed: Nlri {
    /// Wraps a batch.
    fn batch(batch: Batch<Self>) -> AnyBatch;
    /// Wraps an emission.
    fn emission(emission: Emission<Self>) -> AnyEmission;
    /// Wraps what was missed.
    fn missed(missed: Arc<Missed<Self>>) -> AnyMissed;
    /// What was missed, if it is of this family.
    fn missed_of(missed: &AnyMissed) -> Option<&Missed<Self>>;
}

/// Calls `$callback!` with every family as `Type field`: a new family is a new line here.
macro_rules! for_each_family {
    ($callback:ident) => {
        $callback! {
            Ipv4Unicast ipv4_unicast,
            Ipv6Unicast ipv6_unicast,
        }
    };
}
pub(crate) use for_each_family;

macro_rules! any_messages {
    ($($family:ident $field:ident,)*) => {
        /// A batch of any family.
        pub enum AnyBatch {
            $(#[doc = concat!("Of `", stringify!($family), "`.")] $family(Batch<$family>),)*
        }

        /// An emission of any family.
        pub enum AnyEmission {
            $(#[doc = concat!("Of `", stringify!($family), "`.")] $family(Emission<$family>),)*
        }

        /// What was missed, of any family.
        #[derive(Clone)]
        pub enum AnyMissed {
            $(#[doc = concat!("Of `", stringify!($family), "`.")] $family(Arc<Missed<$family>>),)*
        }

        impl AnyBatch {
            /// The family.
            #[must_use]
            pub fn family(&self) -> Family {
                match self { $(Self::$family(_) => <$family as Nlri>::FAMILY,)* }
            }

            /// Who said it.
            #[must_use]
            pub fn peer(&self) -> PeerIndex {
                match self { $(Self::$family(batch) => batch.peer,)* }
            }

            /// Number of keys.
            #[must_use]
            pub fn len(&self) -> usize {
                match self { $(Self::$family(batch) => batch.keys.len(),)* }
            }

            /// Whether there is nothing in it.
            #[must_use]
            pub fn is_empty(&self) -> bool {
                self.len() == 0
            }
        }

        impl AnyEmission {
            /// The family.
            #[must_use]
            pub fn family(&self) -> Family {
                match self { $(Self::$family(_) => <$family as Nlri>::FAMILY,)* }
            }

            /// The group it is for.
            #[must_use]
            pub fn group(&self) -> GroupIndex {
                match self { $(Self::$family(emission) => emission.group,)* }
            }

            /// Number of changes.
            #[must_use]
            pub fn len(&self) -> usize {
                match self { $(Self::$family(emission) => emission.changes.len(),)* }
            }

            /// Whether nothing changed (it may still end walks).
            #[must_use]
            pub fn is_empty(&self) -> bool {
                self.len() == 0
            }
        }

        impl AnyMissed {
            /// The family.
            #[must_use]
            pub fn family(&self) -> Family {
                match self { $(Self::$family(_) => <$family as Nlri>::FAMILY,)* }
            }
        }

        $(impl Routed for $family {
            fn batch(batch: Batch<Self>) -> AnyBatch {
                AnyBatch::$family(batch)
            }

            fn emission(emission: Emission<Self>) -> AnyEmission {
                AnyEmission::$family(emission)
            }

            fn missed(missed: Arc<Missed<Self>>) -> AnyMissed {
                AnyMissed::$family(missed)
            }

            fn missed_of(missed: &AnyMissed) -> Option<&Missed<Self>> {
                match missed {
                    AnyMissed::$family(missed) => Some(missed),
                    _ => None,
                }
            }
        })*
    };
}
for_each_family!(any_messages);
