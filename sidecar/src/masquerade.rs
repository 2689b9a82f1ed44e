//! Traffic between pods keeps its source address: an nftables table that exempts it from the masquerade of others.
//!
//! In the kernel's NAT hooks the chains are asked in order of priority, and the first that decides on a connection's
//! source wins; a mere `accept` decides nothing. So the chain here stands before the usual ones (`srcnat`, 100, which
//! iptables has, too) and translates the source of such connections to itself.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashSet};
use std::io::Write;
use std::net::IpAddr;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use ipnet::IpNet;
use nftables::batch::Batch;
use nftables::expr::{Expression, NamedExpression, Payload, PayloadField, Prefix};
use nftables::schema::{Chain, Element, NfListObject, Nftables, Rule, Set, SetFlag, SetType, SetTypeValue, Table};
use nftables::stmt::{Match, NAT, NATFamily, Operator, Statement};
use nftables::types::{NfChainPolicy, NfChainType, NfFamily, NfHook};
use tracing::{debug, warn};

use crate::problem::{Problem, Reason};

/// Name of the table that is ours.
const TABLE: &str = "bgp-sidecar";
const CHAIN: &str = "postrouting";
/// Before `srcnat` (100), where iptables and the CNIs have their rules.
const PRIORITY: i32 = 90;
/// How often the table is written again, in case somebody flushed the ruleset.
const REASSERT: Duration = Duration::from_secs(60);
/// Time before another attempt when it cannot be written.
const RETRY: Duration = Duration::from_secs(5);
/// Longest time that routes wait for a write. After each there is a pause as long as it took, so that many changes in a
/// row cost at most half a processor.
const PATIENCE: Duration = Duration::from_secs(10);

/// A family's set, and how its addresses are called.
struct Family {
    is_v4: bool,
    set: &'static str,
    address: SetType,
    header: &'static str,
    nat: NATFamily,
}

const FAMILIES: [Family; 2] = [
    Family { is_v4: true, set: "pods-v4", address: SetType::Ipv4Addr, header: "ip", nat: NATFamily::IP },
    Family { is_v4: false, set: "pods-v6", address: SetType::Ipv6Addr, header: "ip6", nat: NATFamily::IP6 },
];

/// Why the exemption is not as it should be.
#[derive(Debug, thiserror::Error)]
pub enum MasqueradeError {
    /// There is no `nft`.
    #[error("nft cannot be started: {0}; is the package nftables installed?")]
    NoTool(std::io::Error),
    /// It said no.
    #[error("nft refuses the table {TABLE}: {0}")]
    Refused(String),
}

/// The prefixes between which nothing is masqueraded: the node's own pod CIDRs and the installed routes. Of those only
/// the ones inside `within`, unless it is empty; a default route never counts.
#[must_use]
pub fn exempt(own: &[IpNet], installed: &BTreeSet<IpNet>, within: &[IpNet]) -> Vec<IpNet> {
    let counts = |prefix: &&IpNet| {
        prefix.prefix_len() > 0 && (within.is_empty() || within.iter().any(|wider| wider.contains(*prefix)))
    };
    let all: Vec<IpNet> = own.iter().chain(installed.iter().filter(counts)).copied().collect();
    // The kernel's interval sets have no overlaps.
    IpNet::aggregate(&all)
}

/// What makes the kernel's table the one for these prefixes, in one transaction.
fn ruleset(pods: &[IpNet]) -> Nftables<'static> {
    let mut batch = Batch::new();
    let table = || Table { family: NfFamily::INet, name: TABLE.into(), ..Table::default() };
    // Added first, so that there is one to delete.
    batch.add(NfListObject::Table(table()));
    batch.delete(NfListObject::Table(table()));
    batch.add(NfListObject::Table(table()));
    batch.add(NfListObject::Chain(Chain {
        family: NfFamily::INet,
        table: TABLE.into(),
        name: CHAIN.into(),
        _type: Some(NfChainType::NAT),
        hook: Some(NfHook::Postrouting),
        prio: Some(PRIORITY),
        policy: Some(NfChainPolicy::Accept),
        ..Chain::default()
    }));
    for family in &FAMILIES {
        batch.add(NfListObject::Set(Box::new(Set {
            family: NfFamily::INet,
            table: TABLE.into(),
            name: family.set.into(),
            set_type: SetTypeValue::Single(family.address),
            flags: Some(HashSet::from([SetFlag::Interval])),
            ..Set::default()
        })));
        let elements: Vec<_> = pods.iter().filter(|prefix| prefix.addr().is_ipv4() == family.is_v4).collect();
        if !elements.is_empty() {
            batch.add(NfListObject::Element(Element {
                family: NfFamily::INet,
                table: TABLE.into(),
                name: family.set.into(),
                elem: Cow::Owned(elements.into_iter().map(element).collect()),
            }));
        }
        batch.add(NfListObject::Rule(Rule {
            family: NfFamily::INet,
            table: TABLE.into(),
            chain: CHAIN.into(),
            expr: Cow::Owned(family.exemption()),
            ..Rule::default()
        }));
    }
    batch.to_nftables()
}

impl Family {
    /// `ip saddr @pods ip daddr @pods snat ip to ip saddr`
    fn exemption(&self) -> Vec<Statement<'static>> {
        let field = |field: &'static str| {
            let payload = PayloadField { protocol: self.header.into(), field: field.into() };
            Expression::Named(NamedExpression::Payload(Payload::PayloadField(payload)))
        };
        let is_pod = |name| {
            let right = Expression::String(format!("@{}", self.set).into());
            Statement::Match(Match { left: field(name), right, op: Operator::EQ })
        };
        let itself = NAT { addr: Some(field("saddr")), family: Some(self.nat), port: None, flags: None };
        vec![is_pod("saddr"), is_pod("daddr"), Statement::SNAT(Some(itself))]
    }
}

fn element(prefix: &IpNet) -> Expression<'static> {
    let address: IpAddr = prefix.network();
    let addr = Box::new(Expression::String(address.to_string().into()));
    Expression::Named(NamedExpression::Prefix(Prefix { addr, len: prefix.prefix_len().into() }))
}

/// Exempts traffic between these prefixes, and no other, from now on.
///
/// # Errors
/// When there is no `nft`, or the kernel refuses.
pub fn write(pods: &[IpNet]) -> Result<(), MasqueradeError> {
    apply(&ruleset(pods))
}

/// Exempts nothing any more. Does nothing where nothing is exempt.
///
/// # Errors
/// When there is no `nft`, or the kernel refuses.
pub fn remove() -> Result<(), MasqueradeError> {
    let mut batch = Batch::new();
    let table = || NfListObject::Table(Table { family: NfFamily::INet, name: TABLE.into(), ..Table::default() });
    batch.add(table());
    batch.delete(table());
    apply(&batch.to_nftables())
}

fn apply(ruleset: &Nftables<'_>) -> Result<(), MasqueradeError> {
    let text = serde_json::to_vec(ruleset).map_err(|error| MasqueradeError::Refused(error.to_string()))?;
    let mut nft = Command::new("nft");
    nft.args(["-j", "-f", "-"]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut nft = nft.spawn().map_err(MasqueradeError::NoTool)?;
    if let Some(mut input) = nft.stdin.take() {
        // Where it does not read to the end, its exit status says why.
        let _ = input.write_all(&text);
    }
    let output = nft.wait_with_output().map_err(MasqueradeError::NoTool)?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(MasqueradeError::Refused(said.lines().next().unwrap_or("no reason given").to_owned()))
}

/// The exemption beside the routes: whoever installs routes has it hold before a route comes and after one has gone, so
/// that no connection begins between pods that would be masqueraded for as long as it lasts.
#[derive(Debug)]
pub struct Exemption {
    within: Vec<IpNet>,
    /// What was last asked of the kernel.
    asked: Option<Vec<IpNet>>,
    /// When it is asked again although nothing has changed.
    due: Instant,
    /// No write before.
    rest: Instant,
    problem: Option<Problem>,
}

impl Exemption {
    /// An exemption of which the kernel knows nothing yet. Of the routes only those inside `within` count, unless it is
    /// empty.
    #[must_use]
    pub fn new(within: Vec<IpNet>) -> Self {
        let now = Instant::now();
        Self { within, asked: None, due: now, rest: now, problem: None }
    }

    /// Sees to it that traffic between these is exempt, and no other; returns when the kernel has it, or has refused.
    /// What it refuses is a problem, is tried again later, and keeps nobody waiting.
    pub async fn hold(&mut self, own: &[IpNet], routes: &BTreeSet<IpNet>) {
        let pods = exempt(own, routes, &self.within);
        let is_known = self.asked.as_ref() == Some(&pods);
        if is_known && Instant::now() < self.due {
            return;
        }
        tokio::time::sleep_until(self.rest.into()).await;
        let start = Instant::now();
        let wanted = pods.clone();
        let writing = tokio::task::spawn_blocking(move || write(&wanted));
        let failure = match tokio::time::timeout(PATIENCE, writing).await {
            Ok(Ok(Ok(()))) => None,
            Ok(Ok(Err(error))) => Some(error.to_string()),
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some(format!("nft has not ended after {} s", PATIENCE.as_secs())),
        };
        match &failure {
            None if !is_known || self.problem.is_some() => {
                debug!(prefixes = pods.len(), "traffic between pods is exempt from masquerade");
            }
            Some(error) if self.problem.is_none() => {
                warn!(error, "traffic between pods cannot be exempted from masquerade");
            }
            _ => {}
        }
        let now = Instant::now();
        self.rest = now + (now - start);
        self.due = now + if failure.is_some() { RETRY } else { REASSERT };
        self.asked = Some(pods);
        self.problem = failure.map(|error| Problem::new("table/bgp-sidecar", Reason::MasqueradeExemptionFailed, error));
    }

    /// When [`Exemption::hold`] has something to do although nothing changes.
    #[must_use]
    pub fn due(&self) -> Instant {
        self.due
    }

    /// The prefixes between which nothing is masqueraded.
    #[must_use]
    pub fn prefixes(&self) -> &[IpNet] {
        self.asked.as_deref().unwrap_or_default()
    }

    /// Why it is not as it should be.
    #[must_use]
    pub fn problem(&self) -> Option<&Problem> {
        self.problem.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nets(texts: &[&str]) -> Vec<IpNet> {
        texts.iter().map(|text| text.parse().expect("a prefix")).collect()
    }

    #[test]
    fn own_and_installed_prefixes_are_exempt_without_overlaps_and_without_a_default_route() {
        let installed = nets(&["0.0.0.0/0", "10.2.0.0/16", "10.2.1.0/24", "fd00:2::/64"]).into_iter().collect();
        let exempt = exempt(&nets(&["10.1.0.0/24", "fd00:1::/64"]), &installed, &[]);
        let exempt: BTreeSet<IpNet> = exempt.into_iter().collect();
        assert_eq!(exempt, nets(&["10.1.0.0/24", "10.2.0.0/16", "fd00:1::/64", "fd00:2::/64"]).into_iter().collect());
    }

    #[test]
    fn routes_that_lead_to_no_pods_are_masqueraded_where_pod_ranges_are_named() {
        let installed = nets(&["10.2.0.0/24", "198.51.100.0/24"]).into_iter().collect();
        let exempt = exempt(&nets(&["10.1.0.0/24"]), &installed, &nets(&["10.0.0.0/8"]));
        assert_eq!(exempt, nets(&["10.1.0.0/24", "10.2.0.0/24"]));
    }
}
