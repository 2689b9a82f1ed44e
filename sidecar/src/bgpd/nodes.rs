//! The nodes of the cluster for bgpd's guard: all of them are declared, and again whenever they change or bgpd may have
//! forgotten them. Without a lease: what the cluster was when the sidecar was last heard of holds until it is heard again,
//! because a strict cluster whose nodes are forgotten is cut off as a whole.

use std::time::Duration;

use bgpd_proto::v1 as api;
use bgpd_proto::v1::cluster_service_client::ClusterServiceClient;
use tokio::sync::watch;
use tracing::{debug, info};

use super::{Backoff, BgpdError, Server, Sessions};
use crate::membership::{Member, Members};
use crate::problem::{Problem, Reason};

/// Time after which they are declared again although nothing is known to have happened: the cluster may have been deleted
/// and defined anew. bgpd does nothing where nothing is different.
const REPEAT: Duration = Duration::from_secs(10);

/// How it stands with the nodes that are declared.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodesDeclared {
    /// bgpd's guard has the nodes as they are now.
    pub is_current: bool,
    /// It refuses them.
    pub problem: Option<Problem>,
    /// Why bgpd cannot be used.
    pub trouble: Option<String>,
}

/// Declares the nodes of `cluster` in the name of `owner` until the sender is gone. They stay declared then. Nothing is
/// declared before something is wanted.
pub async fn declare_nodes(
    server: Server,
    (owner, cluster): (String, String),
    mut wanted: watch::Receiver<Option<Members>>,
    mut sessions: watch::Receiver<Sessions>,
    declared: watch::Sender<NodesDeclared>,
) {
    if wanted.wait_for(Option::is_some).await.is_err() {
        return;
    }
    let mut backoff = Backoff::new();
    loop {
        let members = wanted.borrow_and_update().clone().unwrap_or_default();
        let outcome = declare(&server, &owner, &cluster, &members).await;
        let failed = outcome.is_err();
        tell(&declared, &cluster, outcome, members.len());
        let again = async {
            if failed {
                backoff.pause().await;
            } else {
                backoff.succeeded();
                tokio::time::sleep(REPEAT).await;
            }
        };
        tokio::select! {
            changed = wanted.changed() => if changed.is_err() { return },
            () = comes_back(&mut sessions) => {}
            () = again => {}
        }
    }
}

/// Waits until bgpd has been away and is there again.
async fn comes_back(sessions: &mut watch::Receiver<Sessions>) {
    let away = sessions.wait_for(|sessions| !sessions.is_current).await.is_ok();
    if !away || sessions.wait_for(|sessions| sessions.is_current).await.is_err() {
        std::future::pending::<()>().await;
    }
}

async fn declare(server: &Server, owner: &str, cluster: &str, members: &Members) -> Result<(), BgpdError> {
    let node = |(name, member): (&String, &Member)| api::ClusterNode {
        name: name.clone(),
        addresses: member.addresses.iter().map(ToString::to_string).collect(),
        pod_cidrs: member.pod_cidrs.iter().map(ToString::to_string).collect(),
    };
    let nodes = members.iter().map(node).collect();
    let request = api::SetNodesRequest { cluster: cluster.to_owned(), nodes, owner: owner.to_owned() };
    ClusterServiceClient::new(server.connect().await?).set_nodes(request).await?;
    Ok(())
}

fn tell(declared: &watch::Sender<NodesDeclared>, cluster: &str, outcome: Result<(), BgpdError>, count: usize) {
    let next = match outcome {
        Ok(()) => NodesDeclared { is_current: true, ..NodesDeclared::default() },
        Err(BgpdError::Refused(message)) => {
            let problem = Problem::new(format_args!("cluster/{cluster}"), Reason::NodesRefused, message);
            NodesDeclared { problem: Some(problem), ..NodesDeclared::default() }
        }
        Err(error) => {
            debug!(%error, "nodes are not declared");
            NodesDeclared { trouble: Some(error.to_string()), ..NodesDeclared::default() }
        }
    };
    let is_news = declared.send_if_modified(|state| {
        let is_news = *state != next;
        *state = next.clone();
        is_news
    });
    if is_news && next.is_current {
        info!(cluster, nodes = count, "nodes of the cluster declared to the guard");
    }
}
