//! Caches of the RPKI, and what they say of a route.

use std::fmt::Write;

use bgpd_proto::v1;
use serde_json::{Value, json};

use super::table::{Align, Table};
use super::{some, span};

pub(crate) fn json(answer: &v1::ListCachesResponse) -> Value {
    let cache = |cache: &v1::Cache| {
        json!({
            "address": cache.address,
            "preference": cache.preference,
            "state": cache.state,
            "in_use": cache.in_use,
            "stale": cache.stale,
            "vrps": cache.vrps,
            "version": cache.version,
            "session_id": cache.session_id,
            "serial": cache.serial,
            "synchronized_seconds_ago": cache.synchronized_seconds_ago,
            "expires_in_seconds": cache.expires_in_seconds,
            "refresh_interval": cache.refresh_interval,
            "retry_interval": cache.retry_interval,
            "expire_interval": cache.expire_interval,
            "last_error": some(&cache.last_error),
        })
    };
    json!({ "vrps": answer.vrps, "caches": answer.caches.iter().map(cache).collect::<Vec<_>>() })
}

pub(crate) fn text(answer: &v1::ListCachesResponse) -> String {
    use Align::{Left, Right};
    if answer.caches.is_empty() {
        return "no caches\n".to_owned();
    }
    let mut table = Table::new(&[
        ("Cache", Left),
        ("Pref", Right),
        ("State", Left),
        ("Use", Left),
        ("VRPs", Right),
        ("Session", Right),
        ("Serial", Right),
        ("Updated", Right),
        ("Expires", Right),
        ("Last error", Left),
    ]);
    let number = |value: Option<u32>| value.map(|value| value.to_string()).unwrap_or_default();
    for cache in &answer.caches {
        let use_of = match (cache.in_use, cache.stale) {
            (true, false) => "yes",
            (true, true) => "stale",
            (false, _) => "no",
        };
        table.row(vec![
            cache.address.clone(),
            cache.preference.to_string(),
            cache.state.clone(),
            use_of.to_owned(),
            cache.vrps.to_string(),
            number(cache.session_id),
            number(cache.serial),
            cache.synchronized_seconds_ago.map(span).unwrap_or_default(),
            cache.expires_in_seconds.map(span).unwrap_or_default(),
            cache.last_error.clone(),
        ]);
    }
    format!("{}\n{} VRPs count\n", table.text(), answer.vrps)
}

pub(crate) fn validation_json(answer: &v1::ValidateResponse) -> Value {
    let vrp = |vrp: &v1::Vrp| json!({ "prefix": vrp.prefix, "max_length": vrp.max_length, "asn": vrp.asn });
    json!({ "state": answer.state, "covering": answer.covering.iter().map(vrp).collect::<Vec<_>>() })
}

pub(crate) fn validation_text(answer: &v1::ValidateResponse) -> String {
    let mut text = format!("{}\n", answer.state);
    for vrp in &answer.covering {
        // Writing to a string does not fail.
        let _ = writeln!(text, "  {} up to /{} by AS {}", vrp.prefix, vrp.max_length, vrp.asn);
    }
    text
}
