//! `show policies`, `policy …`: policies that are declared, and what policies do, as bgpd's own evaluator says, that of the
//! running bgpd or, for a file, the one in here.

use std::path::Path;

use bgpd_proto::v1;
use bgpd_proto::v1::policy_service_client::PolicyServiceClient;

use super::Context;
use crate::Error;
use crate::arguments::{Origin, Policy, PolicyTest, RouteType};
use crate::client::Connection;
use crate::output::policy;

pub(super) async fn run(context: &Context, command: Policy) -> Result<(), Error> {
    match command {
        Policy::Test(wanted) => test(context, &wanted).await,
        Policy::Set { file, owner } => {
            let request =
                v1::SetPoliciesRequest { owner: owner.unwrap_or_default(), document: super::config::document(&file)? };
            let answer = client(context).await?.set(request).await?.into_inner();
            super::config::print_steps(context, &answer.steps, &answer.notes)
        }
        Policy::Delete { owner } => {
            let request = v1::DeletePoliciesRequest { owner: owner.unwrap_or_default() };
            let answer = client(context).await?.delete(request).await?.into_inner();
            super::config::print_steps(context, &answer.steps, &[])
        }
    }
}

/// What clients have declared.
pub(super) async fn list(context: &Context) -> Result<(), Error> {
    let request = v1::ListDeclaredPoliciesRequest {};
    let owners = client(context).await?.list_declared(request).await?.into_inner().owners;
    let json: Vec<_> = owners.iter().map(policy::declared_json).collect();
    context.print(&json, || policy::declared(&owners))
}

async fn client(context: &Context) -> Result<PolicyServiceClient<Connection>, Error> {
    // Of 64 owners with a megabyte each.
    Ok(PolicyServiceClient::new(context.connect().await?).max_decoding_message_size(usize::MAX))
}

async fn test(context: &Context, wanted: &PolicyTest) -> Result<(), Error> {
    let answer = match &wanted.file {
        Some(file) if wanted.existing => {
            // The running bgpd has the route, the file the policies.
            let found = ask(context, request(wanted)).await?;
            by_file(file, v1::TestPolicyRequest { existing: false, ..as_found(request(wanted), found) })?
        }
        Some(file) => by_file(file, request(wanted))?,
        None => ask(context, request(wanted)).await?,
    };
    context.print(&policy::json(&answer), || policy::text(&answer))
}

async fn ask(context: &Context, request: v1::TestPolicyRequest) -> Result<v1::TestPolicyResponse, Error> {
    Ok(client(context).await?.test(request).await?.into_inner())
}

fn by_file(file: &Path, request: v1::TestPolicyRequest) -> Result<v1::TestPolicyResponse, Error> {
    let document = bgpd::config::load(file).map_err(|diagnosis| Error::Input(diagnosis.to_string()))?;
    Ok(bgpd::api::test_policy(&document, request)?)
}

/// A request that describes the route which was found.
fn as_found(request: v1::TestPolicyRequest, found: v1::TestPolicyResponse) -> v1::TestPolicyRequest {
    v1::TestPolicyRequest {
        from: found.from,
        from_asn: found.from_asn,
        route_type: found.route_type,
        attributes: found.before,
        ..request
    }
}

fn request(wanted: &PolicyTest) -> v1::TestPolicyRequest {
    let mut attributes = v1::Attributes {
        as_path: wanted.as_path.clone().unwrap_or_default(),
        next_hop: wanted.next_hop.map(|address| address.to_string()).unwrap_or_default(),
        local_pref: wanted.local_pref,
        med: wanted.med,
        communities: wanted.communities.clone(),
        ..Default::default()
    };
    attributes.set_origin(match wanted.origin {
        Origin::Igp => v1::Origin::Igp,
        Origin::Egp => v1::Origin::Egp,
        Origin::Incomplete => v1::Origin::Incomplete,
    });
    let route_type = wanted.route_type.map(|kind| match kind {
        RouteType::Local => "local",
        RouteType::External => "external",
        RouteType::Client => "client",
        RouteType::NonClient => "non-client",
    });
    let mut request = v1::TestPolicyRequest {
        policies: wanted.policies.clone(),
        prefix: wanted.prefix.clone(),
        from: wanted.from.map(|address| address.to_string()).unwrap_or_default(),
        to: wanted.to.map(|address| address.to_string()).unwrap_or_default(),
        existing: wanted.existing,
        attributes: Some(attributes),
        from_asn: wanted.from_asn.unwrap_or(0),
        route_type: route_type.unwrap_or_default().to_owned(),
        ..Default::default()
    };
    if wanted.export {
        request.set_direction(v1::PolicyDirection::Export);
    }
    request
}
