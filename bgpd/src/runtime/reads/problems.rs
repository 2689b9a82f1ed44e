//! What is wrong with a neighbor now, one line each, for people: why its session is not there, or what it lacks.

use bgp_engine::session::{NO_ANSWER, Negotiated, State};
use bgp_wire::Family;

use super::super::status::NeighborStatus;
use crate::peer::SessionView;

/// The lines; none if nothing is wrong.
pub(super) fn of(status: &NeighborStatus, view: &SessionView) -> Vec<String> {
    match view.negotiated.as_deref() {
        Some(negotiated) if status.state == State::Established => {
            let mut problems = not_negotiated(view, negotiated);
            problems.extend(without_policy(status, view));
            problems.extend(refused(status));
            problems
        }
        _ => down(status).into_iter().collect(),
    }
}

/// Why there is no session, as far as this side can know.
fn down(status: &NeighborStatus) -> Option<String> {
    if let Some(text) = &status.shutdown {
        let text = if text.is_empty() { String::new() } else { format!(": \"{text}\"") };
        return Some(format!("administratively down{text}"));
    }
    match status.last_error.as_deref() {
        // A kernel drops what is signed with another key, or has come from too far, without a word.
        Some(NO_ANSWER) if status.md5 => Some(
            "no answer to the connection attempt: the peer has no or another TCP-MD5 key, or it is down".to_owned(),
        ),
        Some(NO_ANSWER) if status.ttl_security => Some(
            "no answer to the connection attempt: the peer does not send with TTL 255 or is not on this link \
             (ttl-security), or it is down"
                .to_owned(),
        ),
        Some(error) => Some(error.to_owned()),
        None if status.passive => Some(
            "waits for the peer to connect (passive), and it never has: one of the two sides must connect".to_owned(),
        ),
        None => None,
    }
}

/// What was offered and the peer does not have.
fn not_negotiated(view: &SessionView, negotiated: &Negotiated) -> Vec<String> {
    let settings = &view.neighbor.settings;
    let missing = settings.families.iter().filter(|family| !negotiated.families.contains(family));
    let mut problems: Vec<String> =
        missing.map(|family| format!("{family} is not negotiated: the peer does not offer it")).collect();
    let lacks = |wanted: bool, has: &[Family]| wanted && has.is_empty();
    if lacks(settings.add_path.receive, &negotiated.add_path_receive) {
        problems.push("add-path receive is not negotiated: the peer does not send several paths".to_owned());
    }
    if lacks(settings.add_path.send, &negotiated.add_path_send) {
        problems.push("add-path send is not negotiated: the peer does not take several paths".to_owned());
    }
    problems
}

/// RFC 8212 §3
fn without_policy(status: &NeighborStatus, view: &SessionView) -> Vec<String> {
    let directions = [
        (&view.neighbor.settings.import_policy, "no route is accepted: eBGP without an import policy (RFC 8212)"),
        (&view.neighbor.settings.export_policy, "no route is announced: eBGP without an export policy (RFC 8212)"),
    ];
    let external = status.asn != status.local_asn;
    let missing = directions.iter().filter(|(names, _)| external && names.is_none());
    missing.map(|(_, problem)| (*problem).to_owned()).collect()
}

/// What the peer sends and is not taken.
fn refused(status: &NeighborStatus) -> Vec<String> {
    let mut problems = Vec::new();
    for (family, counts) in &status.prefixes {
        if let (Some(limit), 1..) = (counts.limit, counts.refused) {
            problems.push(format!("announcements dropped: {}, the limit is {limit} {family}", counts.refused));
        }
    }
    if status.refused_by_guard > 0 {
        problems.push(format!("prefixes refused by the guard of the clusters: {}", status.refused_by_guard));
    }
    if let (1.., Some(last)) = (status.malformed.treat_as_withdraw, &status.malformed.last) {
        let count = status.malformed.treat_as_withdraw;
        problems.push(format!("malformed UPDATEs treated as withdraw (RFC 7606): {count}, the last: {last}"));
    }
    problems
}
