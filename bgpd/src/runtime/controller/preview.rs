//! How many routes a document changes, asked of the partitions beside their work before it is applied.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bgp_engine::attr::AttrRef;
use bgp_engine::config::{self, Desired, Global, Neighbor, NeighborSettings, Step};
use bgp_engine::export::ExportKey;
use bgp_engine::id::{GroupIndex, PeerIndex, SourceKind};
use bgp_engine::intake;
use bgp_engine::policy::{Library, UnknownPolicy};
use bgp_engine::rib::{Counted, Cursor, Outgoing, Proposal, RouteChanges};
use bgp_engine::stage::{Import, ImportKey, PrefixGuard};
use bgp_wire::Family;
use ipnet::IpNet;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::super::fabric::Fabric;
use super::super::handle::{Changes, ControlError, Reply};
use super::super::rib_worker::{RibControl, decision_options};
use super::neighbors::dynamic_neighbor;
use super::resets::Resets;
use super::{Controller, policies};

/// Longest time that routes are counted for.
const TIME: Duration = Duration::from_secs(10);
/// Paths that a partition looks at between two messages: well below a millisecond of its time.
const SLICE: usize = 512;

/// The ways of groups' members by what they are told: whether they are being shut down gracefully now, and, where it is
/// something else than now, under which key, and whether they are being shut down then. In no order that matters.
type Ways = HashMap<(GroupIndex, bool, Option<(ExportKey, bool)>), Outgoing>;

/// A proposal, and in which families it changes routes.
type Question = (Proposal, BTreeSet<Family>);

impl Controller {
    /// Says what applying a document would do. Routes are counted beside the controller.
    pub(super) async fn preview(&self, document: &Desired, reply: Reply<Changes>) {
        let (mut changes, question) = match self.question(document).await {
            Ok(planned) => planned,
            // Whoever asked may be gone by now.
            Err(error) => return drop(reply.send(Err(error))),
        };
        let not_counted = |why: &str| format!("routes are not counted: {why}");
        let Ok(permit) = Arc::clone(&self.counting).try_acquire_owned() else {
            changes.notes.push(not_counted("those of another diff are being counted, ask again"));
            return drop(reply.send(Ok(changes)));
        };
        if self.fabric.restart.state().restarting {
            changes.notes.push(not_counted("route selection is put off after a restart"));
            return drop(reply.send(Ok(changes)));
        }
        if self.groups.are_passing() {
            let note = "neighbors are still being told an earlier change: numbers of routes may be off, ask again";
            changes.notes.push(note.to_owned());
        }
        let entries = self.neighbors.values();
        let addresses: BTreeMap<PeerIndex, IpAddr> =
            entries.map(|entry| (entry.cell.index, entry.cell.address)).collect();
        let fabric = Arc::clone(&self.fabric);
        tokio::spawn(async move {
            match count(&fabric, question).await {
                Some(counted) => {
                    let of = |(peer, routes): (PeerIndex, RouteChanges)| Some((*addresses.get(&peer)?, routes));
                    let counted = counted.into_iter().filter(|(_, routes)| !routes.is_none());
                    changes.routes = Some(counted.filter_map(of).collect());
                }
                None => changes.notes.push(not_counted(&format!("that took longer than {} s", TIME.as_secs()))),
            }
            drop(permit);
            drop(reply.send(Ok(changes)));
        });
    }

    /// What a document would do, and what the partitions are to be asked about it.
    async fn question(&self, document: &Desired) -> Result<(Changes, Question), ControlError> {
        let (wanted, notes) = self.wanted(document)?;
        let steps = config::plan(&self.desired, &wanted);
        let mut resets = self.resets(&steps);
        let over = self.over_limit(&wanted).await;
        let question = self.proposal(&wanted, &steps, &over)?;
        resets.extend(over);
        Ok((Changes { steps, resets, routes: None, notes }, question))
    }

    /// Where sessions that are reset are concerned, their routes count as if they all came back.
    fn proposal(&self, wanted: &Desired, steps: &[Step], over: &Resets) -> Result<Question, ControlError> {
        let library = policies::library(&self.fabric, &wanted.policies)?;
        let changed = steps.iter().find_map(|step| match step {
            Step::SetPolicies { changed, .. } => Some(&changed[..]),
            _ => None,
        });
        let view = Wanted { desired: wanted, library: &library, changed: changed.unwrap_or_default() };
        let mut proposal = Proposal {
            originated: self.originated_by(steps),
            partitions: self.fabric.partitions.len(),
            decision: decision_options(&wanted.global),
            ..Proposal::default()
        };
        let (mut ways, mut families) = (Ways::new(), BTreeSet::new());
        for entry in self.neighbors.values() {
            let neighbor = view.neighbor(entry).filter(|_| !over.contains_key(&entry.cell.address));
            let stays = |family: &Family| neighbor.as_ref().is_some_and(|of| of.settings.families.contains(family));
            for family in entry.cell.families() {
                families.insert(family);
                if !stays(&family) {
                    proposal.lost.insert((entry.cell.index, family));
                }
            }
            if let Some(neighbor) = &neighbor {
                let incoming = view.incoming(entry, neighbor, &self.desired).map_err(refused)?;
                proposal.incoming.extend(incoming.map(|import| (entry.cell.index, import)));
                proposal.kinds.extend(view.kind(entry, neighbor).map(|kind| (entry.cell.index, kind)));
                let memberships = entry.cell.memberships();
                for (_, group) in memberships.into_iter().filter(|(family, _)| stays(family)) {
                    let Some(key) = self.groups.key(group) else { continue };
                    let now = (&entry.neighbor.settings, &self.desired.global);
                    let member = (entry.cell.index, now, &neighbor.settings);
                    view.add_outgoing(&mut ways, member, (group, key)).map_err(refused)?;
                }
            }
        }
        proposal.outgoing = ways.into_values().collect();
        let nothing = proposal.incoming.is_empty()
            && proposal.lost.is_empty()
            && proposal.originated.is_empty()
            && proposal.outgoing.iter().all(|way| way.spec.is_none())
            && proposal.decision == decision_options(&self.desired.global);
        Ok((proposal, if nothing { BTreeSet::new() } else { families }))
    }

    /// What steps originate in another way than now.
    fn originated_by(&self, steps: &[Step]) -> Vec<(IpNet, Option<AttrRef>)> {
        let of = |step: &Step| match step {
            Step::Originate(route) => Some((route.prefix, Some(intake::originated(&self.fabric.interner, route)))),
            Step::WithdrawOriginated(prefix) => Some((*prefix, None)),
            _ => None,
        };
        let mut originated: Vec<_> = steps.iter().filter_map(of).collect();
        originated.sort_by_key(|(prefix, _)| *prefix);
        originated
    }
}

/// What is to be, and which policies are others than now.
struct Wanted<'a> {
    desired: &'a Desired,
    library: &'a Library,
    changed: &'a [String],
}

impl Wanted<'_> {
    fn uses(&self, names: &Option<Vec<String>>) -> bool {
        names.iter().flatten().any(|name| self.changed.contains(name))
    }

    /// What a neighbor becomes that runs; none if its session does not come back.
    fn neighbor(&self, entry: &super::Entry) -> Option<Neighbor> {
        let address = entry.cell.address;
        let in_range = || Some(dynamic_neighbor(address, self.desired.dynamic.get(&entry.dynamic?)?));
        let neighbor = self.desired.neighbors.get(&address).cloned().or_else(in_range)?;
        neighbor.settings.shutdown.is_none().then_some(neighbor)
    }

    /// What a neighbor becomes, if that is something else than now (RFC 4456 §6).
    fn kind(&self, entry: &super::Entry, neighbor: &Neighbor) -> Option<SourceKind> {
        let (old, new) = (&entry.neighbor.settings, &neighbor.settings);
        let changes =
            !new.is_external(self.desired.global.asn) && old.route_reflector_client != new.route_reflector_client;
        changes.then_some(SourceKind::of_peer(false, new.route_reflector_client))
    }

    /// What the routes of a neighbor are to pass, if that is something else than now.
    fn incoming(
        &self,
        entry: &super::Entry,
        neighbor: &Neighbor,
        now: &Desired,
    ) -> Result<Option<Import>, UnknownPolicy> {
        let (old, new, global) = (&entry.neighbor.settings, &neighbor.settings, &self.desired.global);
        let guard = self.desired.guard.session(neighbor, global.asn);
        let is_same = ImportKey::new(&now.global, old) == ImportKey::new(global, new)
            && !self.uses(&new.import_policy)
            && guard == entry.guard;
        if is_same {
            return Ok(None);
        }
        // What is only counted is not refused in earnest.
        let guard = guard.map(|rules| PrefixGuard::new(rules, Arc::default()));
        Import::resolve(self.library, global, new, new.is_external(global.asn), guard).map(Some)
    }

    /// Adds a member of a group to those that go the same way.
    fn add_outgoing(
        &self,
        ways: &mut Ways,
        (member, now, then): (PeerIndex, (&NeighborSettings, &Global), &NeighborSettings),
        (group, old): (GroupIndex, &ExportKey),
    ) -> Result<(), UnknownPolicy> {
        let global = &self.desired.global;
        let key = old.under(global, then);
        let (shutting_down, then) = (now.0.is_shutting_down(now.1), then.is_shutting_down(global));
        let is_new = key != *old || self.uses(&key.policy) || shutting_down != then;
        let members = match ways.entry((group, shutting_down, is_new.then(|| (key.clone(), then)))) {
            Entry::Occupied(way) => &mut way.into_mut().members,
            Entry::Vacant(vacant) => {
                let spec = if is_new { Some(key.resolve(self.library)?) } else { None };
                let spec = spec.map(|spec| if then { spec.shutting_down() } else { spec });
                &mut vacant.insert(Outgoing { group, shutting_down, spec, members: BTreeSet::new() }).members
            }
        };
        members.insert(member);
        Ok(())
    }
}

fn refused(unknown: UnknownPolicy) -> ControlError {
    ControlError::Invalid { field: "policy".to_owned(), reason: unknown.to_string() }
}

/// Has all partitions count; none if that takes too long.
async fn count(fabric: &Arc<Fabric>, (proposal, families): Question) -> Option<Counted> {
    let proposal = Arc::new(proposal);
    let mut partitions = JoinSet::new();
    for at in 0..fabric.partitions.len() {
        partitions.spawn(count_in(Arc::clone(fabric), at, Arc::clone(&proposal), families.clone()));
    }
    let all = async {
        let mut counted = Counted::new();
        while let Some(part) = partitions.join_next().await {
            for (peer, routes) in part.ok().flatten()? {
                *counted.entry(peer).or_default() += routes;
            }
        }
        Some(counted)
    };
    timeout(TIME, all).await.ok().flatten()
}

/// Has one partition count, slice by slice.
async fn count_in(
    fabric: Arc<Fabric>,
    at: usize,
    proposal: Arc<Proposal>,
    families: BTreeSet<Family>,
) -> Option<Counted> {
    let mut counted = Counted::new();
    for family in families {
        let mut next = Some(Cursor::default());
        while let Some(cursor) = next {
            let (reply, answer) = oneshot::channel();
            let proposal = Arc::clone(&proposal);
            fabric.partitions[at].tell(RibControl::Preview { family, proposal, cursor, limit: SLICE, reply });
            // A partition ends only with the daemon.
            let (slice, cursor) = answer.await.ok()?;
            slice.into_iter().for_each(|(peer, routes)| *counted.entry(peer).or_default() += routes);
            next = cursor;
        }
    }
    Some(counted)
}
