//! A BGP peer that says what a test wants said.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use bgp_wire::attribute::{AsPath, Attribute, AttributeBlock, Origin};
use bgp_wire::capability::Capability;
use bgp_wire::frame::{self, MAX_LEN, MessageType};
use bgp_wire::nlri::Ipv4Unicast;
use bgp_wire::open::Open;
use bgp_wire::update::{NextHop, PathKey, UpdateEncoder};
use bgp_wire::{Family, Nlri};
use ipnet::IpNet;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::watch;

const ENCODER: UpdateEncoder = UpdateEncoder { max_len: MAX_LEN, four_octet_as: true };

/// What a route says besides its prefix.
pub(crate) struct Path {
    pub(crate) local_pref: u32,
}

/// A session of a peer at 127.0.0.`host`, whose routes have the next hop 192.0.2.`host`; it ends when this goes out of
/// scope.
pub(crate) struct Speaker {
    next_hop: Ipv4Addr,
    writer: OwnedWriteHalf,
    /// bgpd has accepted the OPEN.
    up: watch::Receiver<bool>,
    /// How many times bgpd has asked for the routes.
    refreshes: watch::Receiver<usize>,
    /// Bodies of the UPDATEs that bgpd has sent.
    updates: watch::Receiver<Vec<Vec<u8>>>,
    reading: tokio::task::JoinHandle<()>,
}

impl Drop for Speaker {
    fn drop(&mut self) {
        self.reading.abort();
    }
}

/// The OPEN of a peer at 127.0.0.`host` that has IPv4 unicast and no hold time.
pub(crate) fn plain_open(host: u8, asn: u16) -> Open {
    let capabilities = vec![
        Capability::Multiprotocol(Family::IPV4_UNICAST),
        Capability::RouteRefresh,
        Capability::FourOctetAs(asn.into()),
    ];
    Open { my_as: asn, hold_seconds: 0, router_id: Ipv4Addr::new(127, 0, 0, host), capabilities }
}

impl Speaker {
    /// An Established session.
    pub(crate) async fn connect(port: u16, host: u8, asn: u16) -> Self {
        let mut speaker = Self::open(port, host, &plain_open(host, asn)).await;
        speaker.accepted().await;
        speaker
    }

    /// A session that begins with an OPEN, whatever bgpd makes of that.
    pub(crate) async fn open(port: u16, host: u8, open: &Open) -> Self {
        Self::try_open(port, host, open).await.expect("bgpd takes the connection")
    }

    /// An Established session, if bgpd wants one now.
    pub(crate) async fn try_connect(port: u16, host: u8, open: &Open) -> Option<Self> {
        let mut speaker = Self::try_open(port, host, open).await?;
        speaker.up.wait_for(|up| *up).await.ok()?;
        Some(speaker)
    }

    async fn try_open(port: u16, host: u8, open: &Open) -> Option<Self> {
        let address = Ipv4Addr::new(127, 0, 0, host);
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind(SocketAddr::new(IpAddr::V4(address), 0)).expect("a loopback address");
        let stream = socket.connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await.ok()?;
        let (mut reader, mut writer) = stream.into_split();
        let mut bytes = Vec::new();
        open.encode(&mut bytes);
        bytes.extend_from_slice(&frame::KEEPALIVE);
        writer.write_all(&bytes).await.ok()?;
        let (accepts, up) = watch::channel(false);
        let (refreshed, refreshes) = watch::channel(0);
        let (updated, updates) = watch::channel(Vec::new());
        let reading = tokio::spawn(async move {
            let mut buffer = Vec::new();
            while let Ok(1..) = reader.read_buf(&mut buffer).await {
                while let Ok(Some(message)) = frame::split(&buffer, MAX_LEN) {
                    match message.kind {
                        MessageType::Keepalive => drop(accepts.send_replace(true)),
                        MessageType::RouteRefresh => refreshed.send_modify(|count| *count += 1),
                        MessageType::Update => {
                            updated.send_modify(|all: &mut Vec<Vec<u8>>| all.push(message.body.to_vec()))
                        }
                        _ => {}
                    }
                    let length = message.body.len() + 19;
                    buffer.drain(..length);
                }
            }
        });
        Some(Self { next_hop: Ipv4Addr::new(192, 0, 2, host), writer, up, refreshes, updates, reading })
    }

    /// Whether bgpd has ended the session.
    pub(crate) fn has_ended(&self) -> bool {
        self.reading.is_finished()
    }

    /// Waits until bgpd has accepted the OPEN.
    pub(crate) async fn accepted(&mut self) {
        self.up.wait_for(|up| *up).await.expect("bgpd accepts the session");
    }

    pub(crate) async fn announce(&mut self, prefix: &str, path: &Path) {
        let attributes = [
            Attribute::Origin(Origin::Igp),
            Attribute::AsPath(AsPath { segments: Vec::new() }),
            Attribute::LocalPref(path.local_pref),
        ];
        self.announce_with(prefix, &attributes, None).await;
    }

    /// Announces a route with these attributes, in the order of their types, and this next hop.
    pub(crate) async fn announce_with(&mut self, prefix: &str, attributes: &[Attribute], next_hop: Option<Ipv4Addr>) {
        let mut block = Vec::new();
        attributes.iter().for_each(|attribute| attribute.encode(&mut block));
        let mut bytes = Vec::new();
        let next_hop = NextHop::V4(next_hop.unwrap_or(self.next_hop));
        ENCODER
            .reach::<Ipv4Unicast>(AttributeBlock::from_canonical(&block), &next_hop, false, &[key(prefix)], &mut bytes)
            .expect("it fits");
        self.send(&bytes).await;
    }

    pub(crate) async fn withdraw(&mut self, prefix: &str) {
        let mut bytes = Vec::new();
        ENCODER.unreach::<Ipv4Unicast>(false, &[key(prefix)], &mut bytes);
        self.send(&bytes).await;
    }

    /// How many times bgpd has asked for the routes again.
    pub(crate) fn refreshes(&self) -> usize {
        *self.refreshes.borrow()
    }

    /// Bodies of the UPDATEs so far.
    pub(crate) fn updates(&self) -> Vec<Vec<u8>> {
        self.updates.borrow().clone()
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        self.writer.write_all(bytes).await.expect("the session is open");
    }
}

fn key(prefix: &str) -> PathKey<<Ipv4Unicast as Nlri>::Key> {
    let prefix: IpNet = prefix.parse().expect("a prefix");
    PathKey { key: Ipv4Unicast::from_prefix(prefix).expect("IPv4"), path_id: 0 }
}
