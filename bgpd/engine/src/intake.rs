//! From UPDATE bytes to batches for the partitions.
//!
//! One [`Intake`] per session runs in the reader: it decodes ([`bgp_wire::update`]), interns the
//! attributes, finds what makes a path unusable (RFC 4271 §9.1.2, RFC 4456 §8), applies the import
//! policy and sorts keys by partition. Unusable paths go on to the Adj-RIB-In with the reason.

mod batches;
mod usable;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use bgp_wire::attribute::{Attribute, AttributeBlock, Community, LargeCommunity, Origin};
use bgp_wire::nlri::{Ipv4Unicast, Ipv6Unicast};
use bgp_wire::update::{DecodeContext, Decoder, Fault, FaultAction, NextHop, NlriBlock, ResetFault, Update};
use bgp_wire::{Family, Nlri};
use ipnet::IpNet;

use crate::attr::{AttrRef, Interner, edit};
use crate::config::{Originate, Role};
use crate::id::{PeerIndex, SourceKind};
use crate::policy::{Memo, Policy, Provenance, Rules, Verdict};
use crate::stage::{AnyBatch, Import, PrefixGuard, Rejection};
use batches::Batches;

/// What intake needs to know of this speaker and of the session.
#[derive(Debug, Clone)]
pub struct IntakeSettings {
    /// Own AS numbers as this session shows them: a path with one of them is a loop.
    pub own_asn: u32,
    /// Own BGP identifier.
    pub router_id: Ipv4Addr,
    /// How the routes of this session come.
    pub kind: SourceKind,
    /// The peer's address.
    pub address: IpAddr,
    /// The peer's AS number.
    pub asn: u32,
    /// Addresses that cannot be next hops because they are ours.
    pub own_addresses: Vec<IpAddr>,
    /// Number of partitions.
    pub partitions: usize,
    /// What this speaker is to the neighbor, and the AS of that (RFC 9234).
    pub role: Option<(Role, u32)>,
    /// What routes pass on their way in.
    pub import: Import,
    /// What the session negotiated.
    pub decode: DecodeContext,
}

/// What an UPDATE said besides routes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Received {
    /// It was an End-of-RIB marker (RFC 4724 §2): a [`crate::stage::Fence`] behind the batches.
    pub end_of_rib: Option<Family>,
    /// A fault after which the family cannot be used on this session (RFC 7606 §2).
    pub disable: Option<Family>,
}

/// What came in over a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct IntakeStatistics {
    /// UPDATE messages.
    pub updates: u64,
    /// Prefixes announced.
    pub announced: u64,
    /// Prefixes withdrawn.
    pub withdrawn: u64,
    /// Prefixes announced in UPDATEs that were treated as withdraw (RFC 7606 §2).
    pub treated_as_withdraw: u64,
    /// Attributes discarded (RFC 7606 §2).
    pub attributes_discarded: u64,
    /// Prefixes not usable because of loops or next hops.
    pub unusable: u64,
    /// Prefixes rejected by import policy.
    pub rejected_by_policy: u64,
}

/// The first stage of the routes of one session.
pub struct Intake {
    settings: IntakeSettings,
    interner: Arc<Interner>,
    decoder: Decoder,
    batches: Batches,
    last: Option<Judged>,
    /// What the import policy says of attribute sets.
    memo: Memo,
    statistics: IntakeStatistics,
    faults: Vec<Fault>,
}

/// A received set and what is to be done with it.
struct Judged {
    /// As it came.
    announced: AttrRef,
    /// As it stands in the Adj-RIB-In, with the mark of RFC 9234 §5, if that is not as it came.
    marked: Option<AttrRef>,
    /// Why it is not usable, whatever the prefix.
    rejection: Option<Rejection>,
    /// Accepted without asking a policy, but not as it was received.
    changed: Option<AttrRef>,
}

impl Judged {
    fn received(&self) -> &AttrRef {
        self.marked.as_ref().unwrap_or(&self.announced)
    }
}

impl Intake {
    /// The intake of `peer`'s session.
    #[must_use]
    pub fn new(peer: PeerIndex, settings: IntakeSettings, interner: Arc<Interner>) -> Self {
        Self {
            batches: Batches::new(peer, settings.partitions),
            settings,
            interner,
            decoder: Decoder::new(),
            last: None,
            memo: Memo::default(),
            statistics: IntakeStatistics::default(),
            faults: Vec::new(),
        }
    }

    /// Takes in the body of an UPDATE.
    ///
    /// # Errors
    /// A fault that ends the session (RFC 7606 §2, "session reset"), with its NOTIFICATION.
    pub fn update(&mut self, body: &[u8]) -> Result<Received, ResetFault> {
        let Self { settings, interner, decoder, batches, last, memo, statistics, faults } = self;
        let update = decoder.decode(body, &settings.decode)?;
        statistics.updates += 1;
        note_faults(update.faults, statistics, faults);
        let mut intake = Work { settings, interner, batches, last, memo, statistics };
        intake.withdraw(&update.withdrawn);
        if let Some(unreach) = &update.mp_unreach {
            intake.withdraw(unreach);
        }
        // RFC 7606 §5.1 allows both forms in one message.
        intake.announce(&update, update.next_hop, &update.nlri);
        if let Some(reach) = &update.mp_reach {
            intake.announce(&update, Some(reach.next_hop), &reach.nlri);
        }
        Ok(Received { end_of_rib: update.end_of_rib(), disable: update.disable })
    }

    /// Number of keys that wait to be drained.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.batches.pending()
    }

    /// Takes what has come in since the last call, as (partition, batch).
    pub fn drain(&mut self) -> impl Iterator<Item = (usize, AnyBatch)> + use<> {
        self.batches.drain().into_iter()
    }

    /// Replaces the import policy, whether AS_SETs are refused (RFC 9774), whether the session is about to be shut down
    /// (RFC 8326), and what the peer may announce: all hold for what comes from now on.
    pub fn replace_import(&mut self, import: Import, reject_as_sets: bool) {
        self.settings.import = import;
        self.settings.decode.reject_as_sets = reject_as_sets;
        self.last = None;
        self.memo.clear();
    }

    /// Replaces what the peer may announce, for what comes from now on.
    pub fn replace_guard(&mut self, guard: Option<PrefixGuard>) {
        self.settings.import.guard = guard;
    }

    /// The peer is something else from now on; whether that is new.
    pub fn replace_kind(&mut self, kind: SourceKind) -> bool {
        std::mem::replace(&mut self.settings.kind, kind) != kind
    }

    /// Ignores a family from now on (RFC 7606 §2, "AFI/SAFI disable").
    pub fn disable(&mut self, family: Family) {
        self.settings.decode.families.retain(|other| *other != family);
    }

    /// The first destinations that an UPDATE is about, for whoever writes down what was wrong with it (RFC 7606 §6).
    #[must_use]
    pub fn destinations(&self, body: &[u8], most: usize) -> Vec<String> {
        let mut decoder = Decoder::new();
        let Ok(update) = decoder.decode(body, &self.settings.decode) else { return Vec::new() };
        let blocks =
            [Some(update.nlri), update.mp_reach.map(|reach| reach.nlri), Some(update.withdrawn), update.mp_unreach];
        let mut found: Vec<_> = blocks.into_iter().flatten().flat_map(|block| prefixes(&block, most)).collect();
        found.truncate(most);
        found
    }

    /// What came in so far.
    #[must_use]
    pub fn statistics(&self) -> &IntakeStatistics {
        &self.statistics
    }

    /// What was wrong with the latest UPDATE.
    #[must_use]
    pub fn last_faults(&self) -> &[Fault] {
        &self.faults
    }
}

/// One UPDATE at work: everything of the intake but the decoder, which the UPDATE borrows.
struct Work<'a> {
    settings: &'a IntakeSettings,
    interner: &'a Interner,
    batches: &'a mut Batches,
    last: &'a mut Option<Judged>,
    memo: &'a mut Memo,
    statistics: &'a mut IntakeStatistics,
}

impl Work<'_> {
    fn withdraw(&mut self, block: &NlriBlock<'_>) {
        if !block.is_empty() {
            self.statistics.withdrawn += self.batches.push(block, None, None, None, None);
        }
    }

    fn announce(&mut self, update: &Update<'_>, hop: Option<NextHop>, block: &NlriBlock<'_>) {
        if block.is_empty() {
            return;
        }
        // The decoder withdraws what has no next hop (RFC 7606 §3(d)).
        let (Some(next_hop), false) = (hop, update.treat_as_withdraw) else {
            self.statistics.treated_as_withdraw += self.batches.push(block, None, None, None, None);
            return;
        };
        self.judge(next_hop, update.attributes);
        // Taken out for as long as it is used: what it holds is not counted anew for each message.
        if let Some(judged) = self.last.take() {
            let received = judged.received();
            match &self.settings.import.policy {
                Policy::Rules(rules) if judged.rejection.is_none() => self.announce_by(rules, block, received),
                _ => {
                    let attrs = judged.changed.as_ref().unwrap_or(received);
                    self.announce_all(block, attrs, judged.rejection, received);
                }
            }
            *self.last = Some(judged);
        }
    }

    /// All routes of a block share what becomes of them.
    fn announce_all(
        &mut self,
        block: &NlriBlock<'_>,
        attrs: &AttrRef,
        rejection: Option<Rejection>,
        received: &AttrRef,
    ) {
        let received = (attrs != received).then_some(received);
        let guard = self.settings.import.guard.as_ref();
        let count = self.batches.push(block, Some(attrs), received, rejection, guard);
        self.statistics.announced += count;
        match rejection {
            None => {}
            Some(Rejection::Policy | Rejection::NoImportPolicy) => {
                self.statistics.rejected_by_policy += count;
            }
            Some(_) => self.statistics.unusable += count,
        }
    }

    /// The policy says the same of all routes of a block.
    fn announce_judged(&mut self, block: &NlriBlock<'_>, verdict: Verdict, received: &AttrRef) {
        let (attrs, rejection) = self.settings.import.outcome(verdict, received, self.interner);
        self.announce_all(block, &attrs, rejection, received);
    }

    /// Policies decide: of all routes at once where they read no prefix, else of each.
    fn announce_by(&mut self, rules: &Rules, block: &NlriBlock<'_>, received: &AttrRef) {
        let IntakeSettings { address, asn, kind, .. } = *self.settings;
        let from = Provenance { family: block.family(), address, asn, kind };
        let tree = self.memo.tree(rules, received, &from);
        if let Some(verdict) = tree.verdict() {
            let verdict = verdict.clone();
            self.announce_judged(block, verdict, received);
            return;
        }
        let (import, interner, mut rejected) = (&self.settings.import, self.interner, 0);
        self.statistics.announced += self.batches.push_each(block, received, import.guard.as_ref(), |prefix| {
            let verdict = tree.judge(rules, &prefix);
            rejected += u64::from(!matches!(verdict, Verdict::Accept(_)));
            import.outcome(verdict, received, interner)
        });
        self.statistics.rejected_by_policy += rejected;
    }

    /// Interns a set and judges it, unless it is that of the UPDATE before.
    fn judge(&mut self, next_hop: NextHop, block: AttributeBlock<'_>) {
        if let Some(last) = self.last.as_ref()
            && last.announced.next_hop == next_hop
            && last.announced.bytes() == block.bytes()
        {
            return;
        }
        let announced = self.interner.intern(next_hop, block);
        let marked = usable::marked(&announced, self.settings, self.interner);
        let import = &self.settings.import;
        let unusable = usable::check(&announced, self.settings).err().or_else(|| import.find_loop(&announced));
        let rejection = unusable.or(match import.policy {
            Policy::RejectAll => Some(Rejection::Policy),
            Policy::Missing => Some(Rejection::NoImportPolicy),
            Policy::AcceptAll | Policy::Rules(_) => None,
        });
        let received = marked.as_ref().unwrap_or(&announced);
        let changed = match &import.policy {
            Policy::AcceptAll if rejection.is_none() && import.changes(received) => {
                let verdict = Verdict::Accept(received.clone());
                Some(import.outcome(verdict, received, self.interner).0)
            }
            _ => None,
        };
        *self.last = Some(Judged { announced, marked, rejection, changed });
    }
}

fn prefixes(block: &NlriBlock<'_>, most: usize) -> Vec<String> {
    fn of<N: Nlri>(block: &NlriBlock<'_>, most: usize) -> Vec<String> {
        block.iter::<N>().take(most).map(|path| N::prefix(&path.key).to_string()).collect()
    }
    match block.family() {
        Family::IPV4_UNICAST => of::<Ipv4Unicast>(block, most),
        Family::IPV6_UNICAST => of::<Ipv6Unicast>(block, most),
        _ => Vec::new(),
    }
}

fn note_faults(new: &[Fault], statistics: &mut IntakeStatistics, kept: &mut Vec<Fault>) {
    kept.clear();
    kept.extend_from_slice(new);
    for fault in new {
        if fault.action == FaultAction::AttributeDiscard {
            statistics.attributes_discarded += 1;
        }
    }
}

/// The attributes of a route that is originated here. An unspecified next hop stands for each
/// session's own address.
#[must_use]
pub fn originated(interner: &Interner, route: &Originate) -> AttrRef {
    let mut attributes =
        vec![Attribute::Origin(Origin::Igp), Attribute::AsPath(bgp_wire::attribute::AsPath { segments: Vec::new() })];
    attributes.extend(route.local_pref.map(Attribute::LocalPref));
    attributes.extend(route.med.map(Attribute::MultiExitDisc));
    if !route.communities.is_empty() {
        let communities = route.communities.iter().copied().map(Community);
        attributes.push(Attribute::Communities(communities.collect()));
    }
    if !route.large_communities.is_empty() {
        let large = |&[global, local1, local2]: &[u32; 3]| LargeCommunity { global, local1, local2 };
        let communities = route.large_communities.iter().map(large);
        attributes.push(Attribute::LargeCommunities(communities.collect()));
    }
    let next_hop = match (route.next_hop, route.prefix) {
        (Some(IpAddr::V4(address)), _) => NextHop::V4(address),
        (Some(IpAddr::V6(global)), _) => NextHop::V6 { global, link_local: None },
        (None, IpNet::V4(_)) => NextHop::V4(Ipv4Addr::UNSPECIFIED),
        (None, IpNet::V6(_)) => NextHop::V6 { global: std::net::Ipv6Addr::UNSPECIFIED, link_local: None },
    };
    interner.intern(next_hop, AttributeBlock::from_canonical(&edit::build(&attributes)))
}
