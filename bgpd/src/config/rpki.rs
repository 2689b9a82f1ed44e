//! `[[rpki]]`: caches that say who may originate what.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use bgp_engine::rpki::{CacheSettings, LIMIT};

use super::Named;
use super::diagnosis::Problems;
use super::reader::Section;
use super::value::{Between, HostAddress, Port};

/// Port of the protocol without encryption (RFC 8210 §13).
const PORT: u16 = 323;
/// Most caches.
const CACHES: usize = 16;

pub(super) fn read(sections: Vec<Section<'_>>, problems: &mut Problems<'_>) -> BTreeMap<SocketAddr, CacheSettings> {
    let mut all = Named::new("cache");
    for mut section in sections {
        let address = section.need::<HostAddress>("address", "\"192.0.2.5\"", problems);
        let port = section.value::<Port>("port", problems).map_or(PORT, |port| port.0);
        let preference = section.value::<Between<0, 255>>("preference", problems);
        let refresh = section.value::<Between<1, 86_400>>("refresh-interval", problems);
        let retry = section.value::<Between<1, 7_200>>("retry-interval", problems);
        let expire = section.value::<Between<10, 172_800>>("expire-interval", problems);
        let limit = section.value::<Between<1, 10_000_000>>("limit", problems);
        section.finish(problems);
        let Some(address) = address else { continue };
        if all.entries.len() == CACHES {
            let message = format!("more than {CACHES} caches");
            problems.error(address.span, message, format!("keep at most {CACHES} [[rpki]] sections"));
            return all.entries;
        }
        let settings = CacheSettings {
            preference: preference.map_or(0, |one| one.0 as u8),
            refresh: refresh.map(|one| one.0),
            retry: retry.map(|one| one.0),
            expire: expire.map(|one| one.0),
            limit: limit.map_or(LIMIT, |one| one.0),
        };
        all.insert(SocketAddr::new(address.value.0, port), settings, address.span, problems);
    }
    all.entries
}
