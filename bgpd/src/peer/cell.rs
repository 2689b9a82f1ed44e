//! What a driver says of its neighbor: written by the driver, read by the API at any time.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime};

use bgp_engine::config::cluster::SessionGuard;
use bgp_engine::config::{Global, Neighbor};
use bgp_engine::id::{GroupIndex, PeerIndex};
use bgp_engine::session::{Negotiated, Retained, State, offered_capabilities};
use bgp_engine::stage::{PrefixBudget, PrefixGuard};
use bgp_wire::Family;
use bgp_wire::capability::Capability;
use bgp_wire::frame::MessageType;
use ipnet::IpNet;

use super::logged::Logged;
use super::queue::OutQueue;
use crate::config::Source;
use crate::runtime::status::{Malformed, MessageCounts};

/// Counters of messages in one direction.
#[derive(Default)]
pub(crate) struct MessageCounters {
    open: AtomicU64,
    update: AtomicU64,
    notification: AtomicU64,
    keepalive: AtomicU64,
    route_refresh: AtomicU64,
    bytes: AtomicU64,
}

impl MessageCounters {
    pub(crate) fn count(&self, kind: MessageType, octets: usize) {
        self.of(kind).fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(octets as u64, Ordering::Relaxed);
    }

    /// Accounts for many UPDATEs at once.
    pub(crate) fn count_updates(&self, messages: u64, octets: u64) {
        self.update.fetch_add(messages, Ordering::Relaxed);
        self.bytes.fetch_add(octets, Ordering::Relaxed);
    }

    fn of(&self, kind: MessageType) -> &AtomicU64 {
        match kind {
            MessageType::Open => &self.open,
            MessageType::Update => &self.update,
            MessageType::Notification => &self.notification,
            MessageType::Keepalive => &self.keepalive,
            MessageType::RouteRefresh => &self.route_refresh,
        }
    }

    pub(crate) fn read(&self) -> MessageCounts {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        MessageCounts {
            open: load(&self.open),
            update: load(&self.update),
            notification: load(&self.notification),
            keepalive: load(&self.keepalive),
            route_refresh: load(&self.route_refresh),
            bytes: load(&self.bytes),
        }
    }
}

/// The part that changes with the session's state.
pub(crate) struct SessionView {
    /// What is configured, shared with the driver and the controller.
    pub(crate) neighbor: Arc<Neighbor>,
    /// Where they come from.
    pub(crate) source: Source,
    /// About to be shut down (RFC 8326).
    pub(crate) shutting_down: bool,
    pub(crate) state: State,
    pub(crate) since: SystemTime,
    pub(crate) established_count: u64,
    pub(crate) flaps: u64,
    pub(crate) last_error: Option<(String, SystemTime)>,
    pub(super) logged: Logged,
    pub(crate) notification_sent: Option<String>,
    pub(crate) notification_received: Option<String>,
    pub(crate) local: Option<SocketAddr>,
    pub(crate) remote: Option<SocketAddr>,
    /// Interface of the last session.
    pub(crate) interface: Option<String>,
    pub(crate) capabilities_offered: Vec<Capability>,
    pub(crate) negotiated: Option<Arc<Negotiated>>,
    pub(crate) queue: Option<Arc<OutQueue>>,
    pub(crate) next_retry: Option<Instant>,
    pub(crate) last_heard: Option<Instant>,
    /// Stale routes of the peer (RFC 4724 §4.2).
    pub(crate) retained: Vec<Retained>,
    pub(crate) malformed: Malformed,
    /// What the session may have, in families that have a limit.
    pub(crate) budgets: Vec<Arc<PrefixBudget>>,
}

/// A neighbor as others see it.
pub(crate) struct NeighborCell {
    pub(crate) index: PeerIndex,
    pub(crate) address: IpAddr,
    pub(crate) local_asn: u32,
    /// The range that let it in.
    pub(crate) dynamic: Option<IpNet>,
    pub(crate) received: MessageCounters,
    pub(crate) sent: Arc<MessageCounters>,
    connected: AtomicBool,
    /// Prefixes that the guard of the clusters has refused in this session.
    pub(crate) refused: Arc<AtomicU64>,
    memberships: Mutex<Vec<(Family, GroupIndex)>>,
    /// Groups that it is on its way to, each with the one that it comes from and the number of the passage.
    passages: Mutex<Vec<(GroupIndex, GroupIndex, u32)>>,
    view: Mutex<SessionView>,
}

impl NeighborCell {
    pub(crate) fn new(
        index: PeerIndex,
        address: IpAddr,
        local_asn: u32,
        dynamic: Option<IpNet>,
        view: SessionView,
    ) -> Self {
        Self {
            index,
            address,
            local_asn,
            dynamic,
            received: MessageCounters::default(),
            sent: Arc::default(),
            connected: AtomicBool::new(true),
            refused: Arc::default(),
            memberships: Mutex::new(Vec::new()),
            passages: Mutex::new(Vec::new()),
            view: Mutex::new(view),
        }
    }

    /// These rules, with what they refuse counted here.
    pub(crate) fn prefix_guard(&self, rules: Option<&SessionGuard>) -> Option<PrefixGuard> {
        rules.map(|rules| PrefixGuard::new(rules.clone(), Arc::clone(&self.refused)))
    }

    /// Whether there is a TCP connection, or one has just been let in.
    pub(crate) fn is_connected(&self) -> bool {
        self.connected.load(Ordering::Relaxed)
    }

    pub(super) fn set_connected(&self, connected: bool) {
        self.connected.store(connected, Ordering::Relaxed);
    }

    /// The update groups that the session is in.
    pub(crate) fn memberships(&self) -> Vec<(Family, GroupIndex)> {
        self.memberships.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sets the update groups; gives back those from before.
    pub(crate) fn replace_memberships(&self, new: Vec<(Family, GroupIndex)>) -> Vec<(Family, GroupIndex)> {
        // Whoever leaves a group does not come there any more.
        self.passages().retain(|(to, ..)| new.iter().any(|(_, group)| group == to));
        std::mem::replace(&mut *self.memberships.lock().unwrap_or_else(PoisonError::into_inner), new)
    }

    /// It goes from one group to another, under a number.
    pub(crate) fn pass(&self, from: GroupIndex, to: GroupIndex, number: u32) {
        self.passages().push((to, from, number));
    }

    /// It has come to a group.
    pub(crate) fn settled(&self, group: GroupIndex) {
        self.passages().retain(|(to, ..)| *to != group);
    }

    /// The group that it comes from, and the number of the passage, while it is on its way to a group.
    pub(crate) fn former(&self, group: GroupIndex) -> Option<(GroupIndex, u32)> {
        self.passages().iter().find(|(to, ..)| *to == group).map(|(_, from, number)| (*from, *number))
    }

    fn passages(&self) -> MutexGuard<'_, Vec<(GroupIndex, GroupIndex, u32)>> {
        self.passages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Families in which there are routes to count: those of the session, or of the one that has ended.
    pub(crate) fn families(&self) -> Vec<Family> {
        self.view().families()
    }

    pub(crate) fn view(&self) -> MutexGuard<'_, SessionView> {
        // A panic while the view was held leaves at worst an old value in it.
        self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SessionView {
    /// As [`NeighborCell::families`].
    pub(crate) fn families(&self) -> Vec<Family> {
        match &self.negotiated {
            Some(negotiated) => negotiated.families.clone(),
            None => self.retained.iter().map(|retained| retained.family).collect(),
        }
    }

    pub(crate) fn new(neighbor: Arc<Neighbor>, global: &Global) -> Self {
        Self {
            source: Source::default(),
            shutting_down: neighbor.settings.is_shutting_down(global),
            state: State::Idle,
            since: SystemTime::now(),
            established_count: 0,
            flaps: 0,
            last_error: None,
            logged: Logged::default(),
            notification_sent: None,
            notification_received: None,
            local: None,
            remote: None,
            interface: None,
            capabilities_offered: offered_capabilities(&neighbor.settings, global),
            neighbor,
            negotiated: None,
            queue: None,
            next_retry: None,
            last_heard: None,
            retained: Vec::new(),
            malformed: Malformed::default(),
            budgets: Vec::new(),
        }
    }
}
