//! What policies made of a route.

use std::fmt::Write;

use bgpd_proto::v1;
use serde::Serialize;

use super::table::{Align, Table};
use super::{route, some};

/// A test for programs.
#[derive(Serialize)]
pub(crate) struct Json<'a> {
    prefix: &'a str,
    direction: &'static str,
    policies: &'a [String],
    from: Option<&'a str>,
    from_asn: u32,
    route_type: &'a str,
    not_asked: Option<&'a str>,
    accepted: bool,
    decided_by: Option<&'a str>,
    steps: Vec<Step<'a>>,
    before: Option<route::JsonAttributes<'a>>,
    after: Option<route::JsonAttributes<'a>>,
}

#[derive(Serialize)]
struct Step<'a> {
    policy: &'a str,
    statement: Option<&'a str>,
    conditions: Vec<Condition<'a>>,
    changes: Vec<Change<'a>>,
    outcome: &'a str,
}

#[derive(Serialize)]
struct Condition<'a> {
    condition: &'a str,
    holds: Option<bool>,
}

#[derive(Serialize)]
struct Change<'a> {
    action: &'a str,
    before: &'a str,
    after: &'a str,
}

fn direction(answer: &v1::TestPolicyResponse) -> &'static str {
    match answer.direction() {
        v1::PolicyDirection::Export => "export",
        v1::PolicyDirection::Import | v1::PolicyDirection::Unspecified => "import",
    }
}

fn step(step: &v1::PolicyStep) -> Step<'_> {
    let (conditions, changes) = (step.conditions.iter(), step.changes.iter());
    Step {
        policy: &step.policy,
        statement: some(&step.statement),
        conditions: conditions.map(|one| Condition { condition: &one.condition, holds: one.holds }).collect(),
        changes: changes.map(|one| Change { action: &one.action, before: &one.before, after: &one.after }).collect(),
        outcome: &step.outcome,
    }
}

pub(crate) fn json(answer: &v1::TestPolicyResponse) -> Json<'_> {
    Json {
        prefix: &answer.prefix,
        direction: direction(answer),
        policies: &answer.policies,
        from: some(&answer.from),
        from_asn: answer.from_asn,
        route_type: &answer.route_type,
        not_asked: some(&answer.not_asked),
        accepted: answer.accepted,
        decided_by: some(&answer.decided_by),
        steps: answer.steps.iter().map(step).collect(),
        before: answer.before.as_ref().map(route::json_attributes),
        after: answer.after.as_ref().map(route::json_attributes),
    }
}

pub(crate) fn text(answer: &v1::TestPolicyResponse) -> String {
    let mut text = head(answer);
    if !answer.not_asked.is_empty() {
        let _ = writeln!(text, "\nNo policy is asked: {}", answer.not_asked);
        return text;
    }
    let mut policy = "";
    for step in &answer.steps {
        if policy != step.policy {
            let _ = write!(text, "\npolicy {}\n", step.policy);
            policy = &step.policy;
        }
        text.push_str(&lines(step));
    }
    let verdict = if answer.accepted { "Accepted" } else { "Rejected" };
    let _ = writeln!(text, "\n{verdict}: {}", answer.decided_by);
    if let Some(after) = &answer.after {
        text.push_str(&attributes(after));
    }
    text
}

/// The route, whence it comes, and whom is asked.
fn head(answer: &v1::TestPolicyResponse) -> String {
    let whence = match (answer.from.as_str(), answer.route_type.as_str()) {
        (_, "local") => "originated here".to_owned(),
        ("", kind) => format!("from AS {}, {kind}", answer.from_asn),
        (from, kind) => format!("from {from}, AS {}, {kind}", answer.from_asn),
    };
    let policies = if answer.policies.is_empty() { "none".to_owned() } else { answer.policies.join(", ") };
    let before = answer.before.as_ref().map(attributes).unwrap_or_default();
    format!("{}, {whence}\n{before}\n{} policies: {policies}\n", answer.prefix, direction(answer))
}

fn attributes(attributes: &v1::Attributes) -> String {
    let named = route::named(attributes);
    named.iter().map(|(name, value)| format!("  {name:<12} {value}\n")).collect()
}

fn lines(step: &v1::PolicyStep) -> String {
    let at = if step.statement.is_empty() { "  ".to_owned() } else { format!("  {}: ", step.statement) };
    let mut text = format!("{at}{}\n", step.outcome);
    for v1::PolicyCondition { condition, holds } in &step.conditions {
        let mark = match holds {
            Some(true) => "yes",
            Some(false) => "no",
            None => "not asked",
        };
        // Writing to a string does not fail.
        let _ = writeln!(text, "    {mark:<9} {condition}");
    }
    for v1::PolicyChange { action, before, after } in &step.changes {
        let _ = writeln!(text, "    set       {action}: {before} -> {after}");
    }
    text
}

/// What an owner has declared, for programs.
pub(crate) fn declared_json(declared: &v1::DeclaredPolicies) -> serde_json::Value {
    let v1::DeclaredPolicies { owner, document, policies, waits_for } = declared;
    serde_json::json!({ "owner": owner, "policies": policies, "waits_for": waits_for, "document": document })
}

/// What all owners have declared.
pub(crate) fn declared(owners: &[v1::DeclaredPolicies]) -> String {
    if owners.is_empty() {
        return "no policies but those of the configuration file: bgpctl config show\n".to_owned();
    }
    let mut table = Table::new(&[("Owner", Align::Left), ("In force", Align::Left), ("Policies", Align::Left)]);
    for v1::DeclaredPolicies { owner, policies, waits_for, .. } in owners {
        let in_force = if waits_for.is_empty() { "yes".to_owned() } else { format!("no: {waits_for}") };
        table.row(vec![owner.clone(), in_force, policies.join(", ")]);
    }
    table.text()
}
