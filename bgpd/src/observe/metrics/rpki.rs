//! Caches of the RPKI, and what they say of the routes.

use std::collections::BTreeMap;
use std::fmt::Error;
use std::sync::Arc;

use bgp_engine::policy::RpkiState;
use bgp_engine::rpki::Phase;
use bgp_wire::Family;

use super::{Out, Series};
use crate::rpki::CacheStatus;
use crate::runtime::handle::{Handle, OriginCounts};

/// What one scrape says of them.
#[derive(Debug)]
pub(super) struct Rpki {
    caches: Arc<[CacheStatus]>,
    vrps: usize,
    origins: BTreeMap<Family, OriginCounts>,
}

impl Rpki {
    pub(super) fn read(handle: &Handle) -> Self {
        let vrps = handle.vrps().map_or(0, |table| table.len());
        Self { caches: handle.caches(), vrps, origins: handle.origins() }
    }

    /// Labels are bounded by the number of caches that a file can have. Without caches there is nothing to say.
    pub(super) fn encode(&self, out: &mut Out<'_>) -> Result<(), Error> {
        if self.caches.is_empty() {
            return Ok(());
        }
        out.value("bgpd_rpki_vrps", "VRPs that count, all caches in use together", self.vrps as f64)?;
        self.paths(out)?;
        out.gauges("bgpd_rpki_caches", "Caches by state of the session with them", |out| {
            Phase::ALL.into_iter().try_for_each(|phase| {
                let count = self.caches.iter().filter(|cache| cache.phase == phase).count();
                out.put([("state", phase.to_string())], count as f64)
            })
        })?;
        self.each_cache(out)
    }

    fn paths(&self, out: &mut Out<'_>) -> Result<(), Error> {
        let help = "Paths by state of their origin, rejected ones as well; counted when caches say something new, else \
                    once in a minute";
        out.gauges("bgpd_rpki_paths", help, |out| {
            self.origins.iter().try_for_each(|(family, counts)| {
                let family = family.to_string();
                RpkiState::NAMES.into_iter().try_for_each(|(name, state)| {
                    let count = match state {
                        RpkiState::Valid => counts.valid,
                        RpkiState::Invalid => counts.invalid,
                        RpkiState::NotFound => counts.not_found,
                    };
                    out.put([("family", family.as_str()), ("state", name)], count as f64)
                })
            })
        })
    }

    fn each_cache(&self, out: &mut Out<'_>) -> Result<(), Error> {
        let caches: Vec<_> = self.caches.iter().map(|cache| (cache.address.to_string(), cache)).collect();
        let each = |out: &mut Series<'_>, value: fn(&CacheStatus) -> f64| {
            caches.iter().try_for_each(|(name, cache)| out.put([("cache", name)], value(cache)))
        };
        out.gauges("bgpd_rpki_cache_up", "1 while the cache answers and its data is complete", |out| {
            each(out, |cache| f64::from(u8::from(cache.synchronized.is_some() && !cache.stale)))
        })?;
        out.gauges("bgpd_rpki_cache_in_use", "1 while the cache's data counts", |out| {
            each(out, |cache| f64::from(u8::from(cache.in_use)))
        })?;
        out.gauges("bgpd_rpki_cache_vrps", "VRPs that the cache has said", |out| each(out, |cache| cache.vrps as f64))?;
        out.gauges("bgpd_rpki_cache_serial", "Serial number of the cache's data", |out| {
            each(out, |cache| cache.position.map_or(0.0, |(.., serial)| serial.into()))
        })?;
        // A cache that has said nothing yet has no age.
        out.gauges("bgpd_rpki_cache_age_seconds", "Time since the cache's data was complete last", |out| {
            caches.iter().try_for_each(|(name, cache)| match cache.synchronized {
                Some(then) => out.put([("cache", name)], then.elapsed().as_secs_f64()),
                None => Ok(()),
            })
        })?;
        out.gauges("bgpd_rpki_cache_expire_seconds", "Age at which the cache's data does not count any more", |out| {
            each(out, |cache| cache.intervals.expire.into())
        })
    }
}
