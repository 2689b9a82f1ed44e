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
        let file = section.need::<String>("key-file", "\"neighbor.key\"", problems);
        let span = section.span.clone();
        section.finish(problems);
        let (Some(id), Some(file)) = (id, file) else { continue };
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
        let Some(key) = key(&file, problems) else { continue };
        keys.push(AoKey { send_id, receive_id, algorithm, key });
    }
    any.then_some(keys)
}

fn key(file: &At<String>, problems: &mut Problems<'_>) -> Option<Secret> {
    let text = match fs::read_to_string(problems.base.join(&file.value)) {
        Ok(text) => text,
        Err(error) => {
            let message = format!("key-file: \"{}\": {error}", file.value);
            problems.error(file.span.clone(), message, "the name is relative to the directory of this file");
            return None;
        }
    };
    let key = text.trim_end_matches(['\r', '\n']);
    if key.is_empty() || key.len() > KEY_MAX {
        let message = format!("a TCP-AO key has 1 to {KEY_MAX} octets, this one has {}", key.len());
        problems.error(file.span.clone(), message, "write one that both sides have");
        return None;
    }
    Some(Secret(key.to_owned()))
}
