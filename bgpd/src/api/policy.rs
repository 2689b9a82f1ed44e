//! `PolicyService`: policies that clients declare, and what policies make of a route, step by step.
//!
//! The same for a bgpd that runs and for a configuration that nobody runs yet: both say which policies a neighbor has
//! and what their names stand for.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use bgp_engine::attr::{AttrRef, Interner};
use bgp_engine::config::{Desired, NeighborSettings};
use bgp_engine::id::SourceKind;
use bgp_engine::policy::{
    Asked, Change, Direction, Library, Policy, Provenance, RouteType, Step, Trace, Verdict, What,
};
use bgp_wire::Family;
use bgpd_proto::v1;
use ipnet::IpNet;
use tonic::{Request, Response, Status};

use super::convert;
use crate::config::{Document, parse_policies};
use crate::runtime::handle::{DeclaredPolicies, Handle};

/// Most octets of what an owner declares.
const DOCUMENT_MAX: usize = 1 << 20;

pub(super) struct Service(pub(super) Handle);

#[tonic::async_trait]
impl v1::policy_service_server::PolicyService for Service {
    async fn test(&self, request: Request<v1::TestPolicyRequest>) -> Result<Response<v1::TestPolicyResponse>, Status> {
        let wanted = Wanted::new(request.into_inner())?;
        let desired = self.0.desired().await.map_err(convert::status_of)?;
        let (library, interner) = (self.0.library(), self.0.interner());
        let trial = Trial { desired: &desired, library: &library, interner: &interner };
        let subject = match wanted.existing {
            true => self.of_table(&wanted).await?,
            false => trial.given(&wanted)?,
        };
        trial.run(&wanted, subject).map(Response::new)
    }

    async fn set(&self, request: Request<v1::SetPoliciesRequest>) -> Result<Response<v1::SetPoliciesResponse>, Status> {
        let v1::SetPoliciesRequest { owner, document } = request.into_inner();
        let (owner, document) =
            (convert::owner_name(&owner)?, document.ok_or_else(|| convert::invalid("document", "missing"))?);
        let name = if document.name.is_empty() { "policies" } else { &document.name };
        if document.text.len() > DOCUMENT_MAX {
            return Err(Status::resource_exhausted(format!("{name} has more than {DOCUMENT_MAX} octets")));
        }
        parse_policies(&document.text, name)
            .map_err(|diagnosis| Status::invalid_argument(format!("policies are not valid\n{diagnosis}")))?;
        let changes = self.0.declare_policies(owner, Some(document.text)).await.map_err(convert::status_of)?;
        let steps = changes.steps.iter().map(convert::step).collect();
        Ok(Response::new(v1::SetPoliciesResponse { steps, notes: changes.notes }))
    }

    async fn delete(
        &self,
        request: Request<v1::DeletePoliciesRequest>,
    ) -> Result<Response<v1::DeletePoliciesResponse>, Status> {
        let owner = convert::owner_name(&request.into_inner().owner)?;
        let changes = self.0.declare_policies(owner, None).await.map_err(convert::status_of)?;
        Ok(Response::new(v1::DeletePoliciesResponse { steps: changes.steps.iter().map(convert::step).collect() }))
    }

    async fn list_declared(
        &self,
        _: Request<v1::ListDeclaredPoliciesRequest>,
    ) -> Result<Response<v1::ListDeclaredPoliciesResponse>, Status> {
        let message = |declared: DeclaredPolicies| v1::DeclaredPolicies {
            owner: declared.owner.to_string(),
            document: declared.document,
            policies: declared.policies,
            waits_for: declared.waits_for.unwrap_or_default(),
        };
        let all = self.0.declared_policies().await.map_err(convert::status_of)?;
        Ok(Response::new(v1::ListDeclaredPoliciesResponse { owners: all.into_iter().map(message).collect() }))
    }
}

impl Service {
    /// A route that is there: on import what was received, on export what the import policy made of it.
    async fn of_table(&self, wanted: &Wanted) -> Result<Subject, Status> {
        let Wanted { direction, prefix, from, .. } = *wanted;
        let found = self.0.explain(prefix, None).await.map_err(convert::status_of)?;
        let is_meant = |from_now: Option<IpAddr>, best| if from.is_some() { from_now == from } else { best };
        let candidate = found.candidates.into_iter().find(|one| is_meant(one.route.from, one.route.best));
        let Some(candidate) = candidate else {
            return Err(Status::not_found(match from {
                Some(from) => format!("a route to {prefix} from {from} does not exist"),
                None => format!("a usable route to {prefix} does not exist: name the neighbor that it comes from"),
            }));
        };
        let address = candidate.route.from;
        let (attrs, not_asked) = match direction {
            // No import policy is asked about what is originated here.
            Direction::Import if address.is_none() => (candidate.received, Some("it is originated here".to_owned())),
            Direction::Import => (candidate.received, candidate.refused),
            Direction::Export => (candidate.route.attrs, candidate.route.rejected),
        };
        Ok(Subject { attrs, from: candidate.provenance, address, not_asked })
    }
}

/// As `PolicyService.Test` of a bgpd that runs a document and has no routes.
///
/// # Errors
/// What is wrong with the request, or named in it and not in the document.
pub fn test(document: &Document, request: v1::TestPolicyRequest) -> Result<v1::TestPolicyResponse, Status> {
    let (wanted, interner) = (Wanted::new(request)?, Arc::new(Interner::new(0)));
    if wanted.existing {
        return Err(convert::invalid("existing", "a document has no routes"));
    }
    let library = Library::new(Arc::clone(&interner)).with(&document.desired.policies);
    let library = library.map_err(|unknown| Status::not_found(unknown.to_string()))?;
    let trial = Trial { desired: &document.desired, library: &library, interner: &interner };
    trial.run(&wanted, trial.given(&wanted)?)
}

/// A request that can be read.
struct Wanted {
    direction: Direction,
    policies: Vec<String>,
    prefix: IpNet,
    from: Option<IpAddr>,
    to: Option<IpAddr>,
    existing: bool,
    attributes: v1::Attributes,
    from_asn: Option<u32>,
    kind: Option<SourceKind>,
}

impl Wanted {
    fn new(request: v1::TestPolicyRequest) -> Result<Self, Status> {
        let to = convert::optional_address("to", &request.to)?;
        let direction = match request.direction() {
            v1::PolicyDirection::Import => Direction::Import,
            v1::PolicyDirection::Unspecified if to.is_none() => Direction::Import,
            v1::PolicyDirection::Export | v1::PolicyDirection::Unspecified => Direction::Export,
        };
        Ok(Self {
            direction,
            prefix: convert::prefix("prefix", &request.prefix)?,
            from: convert::optional_address("from", &request.from)?,
            to,
            existing: request.existing,
            from_asn: Some(request.from_asn).filter(|asn| *asn != 0),
            kind: kind("route_type", &request.route_type)?,
            policies: request.policies,
            attributes: request.attributes.unwrap_or_default(),
        })
    }
}

/// How a route comes, by the words that conditions have for it.
const KINDS: [(RouteType, SourceKind); 4] = [
    (RouteType::Local, SourceKind::Local),
    (RouteType::External, SourceKind::External),
    (RouteType::Client, SourceKind::Client),
    (RouteType::NonClient, SourceKind::NonClient),
];

fn word(kind: SourceKind) -> &'static str {
    let of_kind = |of: RouteType| KINDS.contains(&(of, kind));
    RouteType::NAMES.iter().find(|(_, of)| of_kind(*of)).map_or("", |(word, _)| word)
}

fn kind(field: &str, text: &str) -> Result<Option<SourceKind>, Status> {
    if text.is_empty() {
        return Ok(None);
    }
    match KINDS.iter().find(|(_, kind)| word(*kind) == text) {
        Some((_, kind)) => Ok(Some(*kind)),
        None => {
            let expected = KINDS.map(|(_, kind)| word(kind)).join(", ");
            Err(convert::invalid(field, format_args!("\"{text}\" is not a route type, expected one of {expected}")))
        }
    }
}

/// A route that policies are tried on.
struct Subject {
    attrs: AttrRef,
    from: Provenance,
    /// The neighbor that it comes from.
    address: Option<IpAddr>,
    /// Why no policy is asked about it.
    not_asked: Option<String>,
}

/// What policies and neighbors there are.
struct Trial<'a> {
    desired: &'a Desired,
    library: &'a Library,
    interner: &'a Interner,
}

impl Trial<'_> {
    fn is_external(&self, settings: &NeighborSettings) -> bool {
        settings.is_external(self.desired.global.asn)
    }

    /// A route that is not there, as a request describes it.
    fn given(&self, wanted: &Wanted) -> Result<Subject, Status> {
        let settings = wanted.from.and_then(|from| self.desired.settings_of(from));
        let kind_of = |settings: &NeighborSettings| match settings {
            settings if self.is_external(settings) => SourceKind::External,
            settings if settings.route_reflector_client => SourceKind::Client,
            _ => SourceKind::NonClient,
        };
        let kind = wanted.kind.or(settings.map(kind_of)).unwrap_or(match wanted.direction {
            Direction::Export if wanted.from.is_none() => SourceKind::Local,
            _ => SourceKind::External,
        });
        let family = Family::unicast_of(wanted.prefix);
        let asn = wanted.from_asn.or(settings.map(|settings| settings.remote_asn));
        let attributes = with_defaults(&wanted.attributes, family, kind, asn, wanted.from);
        let attrs = convert::interned(&attributes, self.interner)?;
        let from = match kind {
            SourceKind::Local => Provenance::local(family, self.desired.global.router_id),
            _ => Provenance {
                family,
                address: wanted.from.unwrap_or(unspecified(family)),
                asn: asn.or(attrs.digest.neighbor_as).unwrap_or(self.desired.global.asn),
                kind,
            },
        };
        let address = wanted.from.filter(|_| kind != SourceKind::Local);
        Ok(Subject { attrs, from, address, not_asked: None })
    }

    /// The policies that are meant, by name.
    fn policy(&self, wanted: &Wanted) -> Result<(Vec<String>, Policy), Status> {
        let Wanted { direction, from, to, .. } = *wanted;
        let (names, external) = if wanted.policies.is_empty() {
            let (field, whose) = match direction {
                Direction::Import => ("from", from),
                Direction::Export => ("to", to),
            };
            let whose = whose.ok_or_else(|| convert::invalid(field, "missing: a neighbor, or else policies"))?;
            let settings = self.desired.settings_of(whose);
            let settings = settings.ok_or_else(|| Status::not_found(format!("neighbor {whose} does not exist")))?;
            let names = match direction {
                Direction::Import => &settings.import_policy,
                Direction::Export => &settings.export_policy,
            };
            (names.clone(), self.is_external(settings))
        } else {
            (Some(wanted.policies.clone()), false)
        };
        let policy = self.library.resolve(names.as_deref(), external, direction);
        let policy = policy.map_err(|unknown| Status::not_found(unknown.to_string()))?;
        Ok((names.unwrap_or_default(), policy))
    }

    fn run(&self, wanted: &Wanted, subject: Subject) -> Result<v1::TestPolicyResponse, Status> {
        let (policies, policy) = self.policy(wanted)?;
        let Subject { attrs, from, address, not_asked } = subject;
        let mut answer = v1::TestPolicyResponse {
            policies,
            prefix: wanted.prefix.to_string(),
            from: convert::text(address),
            from_asn: from.asn,
            route_type: word(from.kind).to_owned(),
            before: Some(convert::attributes(&attrs)),
            ..Default::default()
        };
        let (direction, missing) = match wanted.direction {
            Direction::Import => (v1::PolicyDirection::Import, "eBGP without an import policy (RFC 8212)"),
            Direction::Export => (v1::PolicyDirection::Export, "eBGP without an export policy (RFC 8212)"),
        };
        answer.set_direction(direction);
        if let Some(why) = not_asked {
            answer.not_asked = why;
            return Ok(answer);
        }
        let mut trace = Trace::default();
        let verdict = policy.explain(&attrs, &from, &wanted.prefix, &mut trace);
        answer.decided_by = trace.decided_by().unwrap_or_else(|| missing.to_owned());
        answer.steps = trace.steps.iter().map(step).collect();
        if let Verdict::Accept(after) = verdict {
            answer.accepted = true;
            answer.after = Some(convert::attributes(&after));
        }
        Ok(answer)
    }
}

fn unspecified(family: Family) -> IpAddr {
    match family {
        Family::IPV4_UNICAST => Ipv4Addr::UNSPECIFIED.into(),
        _ => Ipv6Addr::UNSPECIFIED.into(),
    }
}

/// What a request leaves out is as on a route that the neighbor originates.
fn with_defaults(
    given: &v1::Attributes,
    family: Family,
    kind: SourceKind,
    asn: Option<u32>,
    from: Option<IpAddr>,
) -> v1::Attributes {
    let mut attributes = given.clone();
    if attributes.as_path.is_empty() && attributes.as_segments.is_empty() && kind == SourceKind::External {
        attributes.as_path = convert::text(asn);
    }
    if attributes.next_hop.is_empty() {
        let own = unspecified(family);
        attributes.next_hop = from.filter(|from| from.is_ipv4() == own.is_ipv4()).unwrap_or(own).to_string();
    }
    attributes
}

fn step(step: &Step) -> v1::PolicyStep {
    let (changes, outcome) = match &step.what {
        What::NoMatch => (&[][..], "no match".to_owned()),
        What::Match { changes, then } => (changes.as_slice(), then.to_string()),
        What::Default(outcome) => (&[][..], outcome.to_string()),
        What::Filter { changes, then } => (changes.as_slice(), then.to_string()),
    };
    let condition =
        |Asked { condition, holds }: &Asked| v1::PolicyCondition { condition: condition.clone(), holds: *holds };
    let change = |Change { action, before, after }: &Change| v1::PolicyChange {
        action: action.clone(),
        before: before.clone(),
        after: after.clone(),
    };
    v1::PolicyStep {
        policy: step.policy.clone(),
        statement: step.statement.clone().unwrap_or_default(),
        conditions: step.conditions.iter().map(condition).collect(),
        changes: changes.iter().map(change).collect(),
        outcome,
    }
}
