//! The kernel's routing tables over netlink (RFC 3549).
//!
//! Two sockets: one asks, one listens. What the listener hears of our own requests carries the port of the asking
//! socket and is ignored, so that what remains is what somebody else did.

mod installer;
mod message;

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use futures::{StreamExt, TryStreamExt};
use rtnetlink::packet_core::{NLM_F_ACK, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use rtnetlink::packet_route::{RouteNetlinkMessage, route::RouteMessage};
use rtnetlink::sys::AsyncSocket;
use rtnetlink::{Handle, MulticastGroup};
use tokio::task::JoinHandle;

pub use self::installer::{Input, Installer, Report};
use crate::forwarding::{KernelEvent, Operation};
use crate::topology::Dump;

/// What the listening socket may hold while nobody reads, in octets.
const EVENT_BUFFER: usize = 8 << 20;

/// Why the kernel did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// It said no.
    #[error("the kernel refuses it: {0}{advice}", advice = advice(.0))]
    Refused(io::Error),
    /// No socket could be opened, or it was closed.
    #[error("netlink does not work: {0}")]
    Socket(String),
}

impl KernelError {
    /// Whether our picture of the tables is wrong, so that only a dump helps: there is a route already, or none.
    #[must_use]
    pub fn is_surprise(&self) -> bool {
        matches!(self, Self::Refused(error) if [Some(EEXIST), Some(ESRCH)].contains(&error.raw_os_error()))
    }
}

const ESRCH: i32 = 3;
const EEXIST: i32 = 17;

/// What may be wrong when the kernel says no in that way (errno of Linux).
fn advice(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        // EPERM
        Some(1) => "; the capability net_admin is needed",
        // ENOMEM, ENOSPC, ENOBUFS
        Some(12 | 28 | 105) => "; its routing table or its memory is full",
        // ENETDOWN
        Some(100) => "; is the interface of its next hop up?",
        // ENETUNREACH, EHOSTUNREACH
        Some(101 | 113) => "; its next hop cannot be reached from here",
        _ => "",
    }
}

impl From<rtnetlink::Error> for KernelError {
    fn from(error: rtnetlink::Error) -> Self {
        match error {
            rtnetlink::Error::NetlinkError(message) => Self::Refused(message.to_io()),
            other => Self::Socket(other.to_string()),
        }
    }
}

type Messages =
    futures::channel::mpsc::UnboundedReceiver<(NetlinkMessage<RouteNetlinkMessage>, rtnetlink::sys::SocketAddr)>;

/// A pair of netlink sockets in the network namespace of the thread that opened it.
pub struct Kernel {
    handle: Handle,
    own_port: u32,
    messages: Messages,
    tasks: [JoinHandle<()>; 2],
    protocol: u8,
}

impl Kernel {
    /// Opens the sockets. Routes of this protocol number are ours.
    ///
    /// # Errors
    /// When the system has no socket for us.
    pub fn open(protocol: u8) -> Result<Self, KernelError> {
        let socket = |error: io::Error| KernelError::Socket(error.to_string());
        let (mut asking, handle, _) = rtnetlink::new_connection().map_err(socket)?;
        let address = asking.socket_mut().socket_mut().bind_auto().map_err(socket)?;
        let groups = [
            MulticastGroup::Link,
            MulticastGroup::Ipv4Ifaddr,
            MulticastGroup::Ipv6Ifaddr,
            MulticastGroup::Ipv4Route,
            MulticastGroup::Ipv6Route,
        ];
        let (mut listening, _, messages) = rtnetlink::new_multicast_connection(&groups).map_err(socket)?;
        // With less, more events are lost when many routes change at once; then a dump tells what was missed.
        let _ = listening.socket_mut().socket_mut().set_rx_buf_sz(EVENT_BUFFER as i32);
        let tasks = [tokio::spawn(asking), tokio::spawn(listening)];
        Ok(Self { handle, own_port: address.port_number(), messages, tasks, protocol })
    }

    /// All that the kernel has.
    ///
    /// # Errors
    /// When it cannot be asked.
    pub async fn dump(&self) -> Result<Dump, KernelError> {
        let mut interfaces = BTreeMap::new();
        let mut links = self.handle.link().get().execute();
        while let Some(link) = links.try_next().await? {
            interfaces.insert(link.header.index, message::interface(&link));
        }
        let mut addresses = BTreeSet::new();
        let mut replies = self.handle.address().get().execute();
        while let Some(reply) = replies.try_next().await? {
            addresses.extend(message::address(&reply));
        }
        let mut routes = Vec::new();
        for family in message::FAMILIES {
            let mut question = RouteMessage::default();
            question.header.address_family = family;
            let mut replies = self.handle.route().get(question).execute();
            while let Some(reply) = replies.try_next().await? {
                routes.extend(message::route(&reply));
            }
        }
        Ok(Dump { interfaces, addresses, routes })
    }

    /// Does what was planned.
    ///
    /// # Errors
    /// When the kernel refuses, or cannot be asked. A route that is gone already is no error.
    pub async fn execute(&self, operation: &Operation) -> Result<(), KernelError> {
        let route = message::message(operation, self.protocol)?;
        match operation {
            Operation::Install { replace, .. } => {
                let request = self.handle.route().add(route);
                let request = if *replace { request.replace() } else { request };
                Ok(request.execute().await?)
            }
            Operation::Remove(_) => match self.remove(route).await {
                Err(KernelError::Refused(error)) if error.raw_os_error() == Some(ESRCH) => Ok(()),
                result => result,
            },
        }
    }

    async fn remove(&self, route: RouteMessage) -> Result<(), KernelError> {
        let mut request = NetlinkMessage::from(RouteNetlinkMessage::DelRoute(route));
        request.header.flags = NLM_F_REQUEST | NLM_F_ACK;
        let mut replies = self.handle.clone().request(request)?;
        while let Some(reply) = replies.next().await {
            if let NetlinkPayload::Error(error) = reply.payload {
                return Err(rtnetlink::Error::NetlinkError(error).into());
            }
        }
        Ok(())
    }

    /// What somebody else did next; none when the socket is closed.
    pub async fn event(&mut self) -> Option<KernelEvent> {
        loop {
            let (message, _) = self.messages.next().await?;
            if let Some(event) = self.read(message) {
                return Some(event);
            }
        }
    }

    /// What somebody else did and is known already.
    pub fn event_now(&mut self) -> Option<KernelEvent> {
        loop {
            let (message, _) = self.messages.try_recv().ok()?;
            if let Some(event) = self.read(message) {
                return Some(event);
            }
        }
    }

    fn read(&self, message: NetlinkMessage<RouteNetlinkMessage>) -> Option<KernelEvent> {
        use RouteNetlinkMessage::{DelAddress, DelLink, DelRoute, NewAddress, NewLink, NewRoute};
        if message.header.port_number == self.own_port {
            return None;
        }
        match message.payload {
            NetlinkPayload::InnerMessage(NewRoute(route)) => message::route(&route).map(KernelEvent::RouteAdded),
            NetlinkPayload::InnerMessage(DelRoute(route)) => message::route(&route).map(KernelEvent::RouteRemoved),
            // The kernel drops IPv4 routes of an interface that goes down without a word.
            NetlinkPayload::InnerMessage(NewLink(_) | DelLink(_) | NewAddress(_) | DelAddress(_)) => {
                Some(KernelEvent::Unclear)
            }
            NetlinkPayload::Overrun(_) | NetlinkPayload::Error(_) => Some(KernelEvent::Unclear),
            _ => None,
        }
    }
}

impl Drop for Kernel {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

/// Removes every route of a protocol number; how many there were.
///
/// # Errors
/// When the kernel refuses one of them, or cannot be asked.
pub async fn remove_all(protocol: u8) -> Result<usize, KernelError> {
    let kernel = Kernel::open(protocol)?;
    let routes = kernel.dump().await?.routes;
    let mut removed = 0;
    for route in routes.into_iter().filter(|route| route.protocol == protocol) {
        kernel.execute(&Operation::Remove(route.key)).await?;
        removed += 1;
    }
    Ok(removed)
}
