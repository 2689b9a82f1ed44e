//! `[[neighbor.ao-key]]` and `[[peer-group.ao-key]]`: TCP-AO (RFC 5925).

use std::fs;

use bgp_engine::config::{AoAlgorithm, AoKey, Secret};
use toml::de::DeValue;

use super::diagnosis::Problems;
use super::reader::{At, Section};
use super::value::{Between, FromToml, Wrong, named, text, wrong};

/// Longest key (`TCP_AO_MAXKEYLEN`).
const KEY_MAX: usize = 80;
/// Most keys: two that are in use while one takes the other's place, and some to come.
const KEYS: usize = 8;

impl FromToml for AoAlgorithm {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, Wrong> {
        let word = text(value, "hmac-sha-1-96")?;
        named(word, &Self::NAMES.map(|(name, _)| name), "algorithm of TCP-AO")?;
        match Self::NAMES.iter().find(|(name, _)| *name == word) {
            Some((_, algorithm)) => Ok(*algorithm),
            None => wrong(format!("\"{word}\" is no algorithm of TCP-AO"), ""),
        }
    }
}

/// The keys of a section; `None` if it has none.
pub(super) fn read(section: &mut Section<'_>, problems: &mut Problems<'_>) -> Option<Vec<AoKey>> {
    let sections = section.tables("ao-key", problems);
    let mut keys = Vec::<AoKey>::new();
    let any = !sections.is_empty();
    for mut section in sections {
        let id = section.need::<Between<0, 255>>("id", "1", problems);
        let receive_id = section.value::<Between<0, 255>>("receive-id", problems);
        let algorithm = section.value("algorithm", problems).unwrap_or(AoAlgorithm::HmacSha1);
        let key = key(&mut section, problems);
        let span = section.span.clone();
        section.finish(problems);
        let (Some(id), Some(key)) = (id, key) else { continue };
        let (send_id, receive_id) = (id.value.0 as u8, receive_id.map_or(id.value.0, |one| one.0) as u8);
        // RFC 5925 §3.1: KeyIDs tell the keys of a connection apart.
        if keys.iter().any(|key| key.send_id == send_id || key.receive_id == receive_id) {
            problems.error(id.span, "two keys of TCP-AO have the same id", "give each key an id of its own");
            continue;
        }
        if keys.len() == KEYS {
            problems.error(span, format!("more than {KEYS} keys"), "remove those that are not used any more");
            return None;
        }
        keys.push(AoKey { send_id, receive_id, algorithm, key });
    }
    any.then_some(keys)
}

/// The key itself, or what is in a file.
fn key(section: &mut Section<'_>, problems: &mut Problems<'_>) -> Option<Secret> {
    let key = section.get::<String>("key", problems);
    let file = section.get::<String>("key-file", problems);
    let At { value: key, span } = match (key, file) {
        (Some(_), Some(file)) => {
            problems.error(file.span, "key and key-file cannot both be set", "remove one of the two");
            return None;
        }
        (Some(key), None) => key,
        (None, Some(file)) => contents(file, problems)?,
        (None, None) => {
            if !section.is_wrong(&["key", "key-file"]) {
                let message = "this ao-key has no key";
                problems.error(section.span.clone(), message, "add key-file = \"neighbor.key\", or key itself");
            }
            return None;
        }
    };
    if key.is_empty() || key.len() > KEY_MAX {
        let message = format!("a TCP-AO key has 1 to {KEY_MAX} octets, this one has {}", key.len());
        problems.error(span, message, "write one that both sides have");
        return None;
    }
    Some(Secret(key))
}

fn contents(file: At<String>, problems: &mut Problems<'_>) -> Option<At<String>> {
    match fs::read_to_string(problems.base.join(&file.value)) {
        Ok(text) => Some(At { value: text.trim_end_matches(['\r', '\n']).to_owned(), span: file.span }),
        Err(error) => {
            let message = format!("key-file: \"{}\": {error}", file.value);
            problems.error(file.span, message, "the name is relative to the directory of this file");
            None
        }
    }
}
