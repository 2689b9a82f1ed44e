//! Who originates which routes: declared sets, leases, and who has a prefix that several declared.
//!
//! Each owner declares its whole set; [`Owners`] says what that changes for the speaker. Of several owners that declare
//! the same prefix, whoever was first has it and the others wait in line, except that the configuration file comes
//! before everybody: after a restart it would be the first anyway. Owners under a lease are forgotten when it runs out.

mod name;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use ipnet::IpNet;

pub use self::name::{OwnerName, OwnerNameError};
use super::desired::Originate;

/// Most owners at a time, the file and `bgpctl` not counted.
pub const OWNERS_MAX: usize = 1024;
/// Most routes of one owner other than the file.
pub const OWNED_ROUTES_MAX: usize = 65_536;

/// Routes by prefix.
pub type Routes = BTreeMap<IpNet, Originate>;

/// A declaration is over a bound; nothing has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TooMany {
    /// Of owners.
    #[error("there are {OWNERS_MAX} owners already")]
    Owners,
    /// Of routes.
    #[error("an owner can have {OWNED_ROUTES_MAX} routes at most")]
    Routes,
}

/// How long an owner's routes stay without a sign of life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Lease {
    length: Duration,
    deadline: Instant,
}

/// One owner.
#[derive(Debug, Clone, Default)]
struct Owner {
    routes: Routes,
    /// `None`: until further notice.
    lease: Option<Lease>,
    /// The stream that speaks for it.
    stream: Option<u64>,
}

/// All owners.
#[derive(Debug, Clone, Default)]
pub struct Owners {
    owners: BTreeMap<OwnerName, Owner>,
    /// Who declared a prefix: the one that has it, then those that wait.
    claims: BTreeMap<IpNet, Vec<OwnerName>>,
    streams: u64,
}

/// What a declaration changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Declared {
    /// What is originated now; `None` no longer is.
    pub changes: BTreeMap<IpNet, Option<Originate>>,
    /// Routes of the set that are new or have other attributes.
    pub changed: usize,
    /// Routes that are not in the set any more.
    pub withdrawn: usize,
    /// Other owners that got or lost a prefix.
    pub concerned: BTreeSet<OwnerName>,
}

/// An owner as people see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnerView {
    /// Its name.
    pub name: OwnerName,
    /// What it declared, and who has the prefix if it is another owner.
    pub routes: Vec<(Originate, Option<OwnerName>)>,
    /// Length of its lease.
    pub lease: Option<Duration>,
    /// When that runs out.
    pub deadline: Option<Instant>,
    /// A stream is open.
    pub connected: bool,
}

impl Owners {
    /// A stream begins to speak for an owner, which may be there already: then it goes on with its routes, and the
    /// stream that spoke for it before is not listened to any more.
    ///
    /// # Errors
    /// [`TooMany::Owners`].
    pub fn open(&mut self, name: &OwnerName, lease: Duration, now: Instant) -> Result<u64, TooMany> {
        let leased = self.owners.values().filter(|owner| owner.lease.is_some()).count();
        if leased >= OWNERS_MAX && !self.owners.contains_key(name) {
            return Err(TooMany::Owners);
        }
        self.streams += 1;
        let owner = self.owners.entry(name.clone()).or_default();
        owner.lease = Some(Lease { length: lease, deadline: now + lease });
        owner.stream = Some(self.streams);
        Ok(self.streams)
    }

    /// Whether a stream is the one that speaks for an owner.
    pub fn speaks(&self, name: &OwnerName, stream: u64) -> bool {
        self.owners.get(name).is_some_and(|owner| owner.stream == Some(stream))
    }

    /// A sign of life: the lease begins anew, with another length if one is given.
    pub fn renew(&mut self, name: &OwnerName, lease: Option<Duration>, now: Instant) {
        if let Some(current) = self.owners.get_mut(name).and_then(|owner| owner.lease.as_mut()) {
            current.length = lease.unwrap_or(current.length);
            current.deadline = now + current.length;
        }
    }

    /// A stream has ended: the lease begins to run. An owner without routes is forgotten at once.
    pub fn close(&mut self, name: &OwnerName, stream: u64, now: Instant) {
        if !self.speaks(name, stream) {
            return;
        }
        self.renew(name, None, now);
        if let Some(owner) = self.owners.get_mut(name) {
            owner.stream = None;
            if owner.routes.is_empty() {
                self.owners.remove(name);
            }
        }
    }

    /// Brings an owner back as it was before a restart; its lease begins anew.
    pub fn restore(&mut self, name: &OwnerName, lease: Option<Duration>, routes: Routes, now: Instant) -> Declared {
        let owner = self.owners.entry(name.clone()).or_default();
        owner.lease = lease.map(|length| Lease { length, deadline: now + length });
        self.replace(name, routes)
    }

    /// Replaces what an owner wants originated.
    ///
    /// # Errors
    /// [`TooMany::Routes`].
    pub fn declare(&mut self, name: &OwnerName, wanted: Routes) -> Result<Declared, TooMany> {
        if wanted.len() > OWNED_ROUTES_MAX {
            return Err(TooMany::Routes);
        }
        Ok(self.replace(name, wanted))
    }

    /// As [`Owners::declare`] for the configuration file, which has no bounds but its own.
    pub fn declare_file(&mut self, wanted: Routes) -> Declared {
        self.replace(&OwnerName::file(), wanted)
    }

    fn replace(&mut self, name: &OwnerName, wanted: Routes) -> Declared {
        let mut declared = Declared::default();
        let old = std::mem::take(&mut self.owners.entry(name.clone()).or_default().routes);
        for prefix in old.keys().filter(|prefix| !wanted.contains_key(prefix)) {
            declared.withdrawn += 1;
            self.let_go(name, *prefix, &mut declared);
        }
        for (prefix, route) in &wanted {
            if old.get(prefix) != Some(route) {
                declared.changed += 1;
                self.claim(name, route, &mut declared);
            }
        }
        if let Some(owner) = self.owners.get_mut(name) {
            owner.routes = wanted;
        }
        declared
    }

    /// Adds a route to what an owner without a lease wants originated, or replaces it.
    ///
    /// # Errors
    /// [`TooMany::Routes`].
    pub fn add(&mut self, name: &OwnerName, route: Originate) -> Result<Declared, TooMany> {
        let owner = self.owners.entry(name.clone()).or_default();
        if owner.routes.len() >= OWNED_ROUTES_MAX && !owner.routes.contains_key(&route.prefix) {
            return Err(TooMany::Routes);
        }
        let same = owner.routes.insert(route.prefix, route.clone()).is_some_and(|old| old == route);
        let mut declared = Declared { changed: usize::from(!same), ..Declared::default() };
        if !same {
            self.claim(name, &route, &mut declared);
        }
        Ok(declared)
    }

    /// Takes a route out of what an owner wants originated; `None` if it is not there.
    pub fn remove(&mut self, name: &OwnerName, prefix: IpNet) -> Option<Declared> {
        self.owners.get_mut(name)?.routes.remove(&prefix)?;
        let mut declared = Declared { withdrawn: 1, ..Declared::default() };
        self.let_go(name, prefix, &mut declared);
        Some(declared)
    }

    /// Forgets the owners whose lease has run out.
    pub fn expire(&mut self, now: Instant) -> Vec<(OwnerName, Declared)> {
        let over = |owner: &Owner| owner.lease.is_some_and(|lease| lease.deadline <= now);
        let over = self.owners.iter().filter(|(_, owner)| over(owner)).map(|(name, _)| name.clone());
        let over: Vec<OwnerName> = over.collect();
        let gone = over.into_iter().map(|name| {
            let declared = self.replace(&name, Routes::new());
            self.owners.remove(&name);
            (name, declared)
        });
        gone.collect()
    }

    /// When [`Owners::expire`] has something to do next.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.owners.values().filter_map(|owner| owner.lease).map(|lease| lease.deadline).min()
    }

    /// The owner that has a prefix.
    pub fn holder(&self, prefix: &IpNet) -> Option<&OwnerName> {
        self.claims.get(prefix)?.first()
    }

    /// Prefixes that an owner declared and another one has, with that one.
    pub fn waiting(&self, name: &OwnerName) -> impl Iterator<Item = (IpNet, &OwnerName)> {
        let routes = self.owners.get(name).into_iter().flat_map(|owner| owner.routes.keys());
        let held = routes.filter_map(|prefix| Some((*prefix, self.holder(prefix)?)));
        held.filter(move |(_, holder)| *holder != name)
    }

    /// What an owner wants originated.
    pub fn routes(&self, name: &OwnerName) -> Option<&Routes> {
        self.owners.get(name).map(|owner| &owner.routes)
    }

    /// What is originated.
    pub fn originated(&self) -> Routes {
        let held = self.claims.iter().filter_map(|(prefix, claims)| {
            let route = self.owners.get(claims.first()?)?.routes.get(prefix)?;
            Some((*prefix, route.clone()))
        });
        held.collect()
    }

    /// All owners, sorted by name.
    pub fn views(&self) -> impl Iterator<Item = OwnerView> {
        self.owners.iter().map(|(name, owner)| {
            let holder = |prefix| self.holder(prefix).filter(|holder| *holder != name).cloned();
            OwnerView {
                name: name.clone(),
                routes: owner.routes.iter().map(|(prefix, route)| (route.clone(), holder(prefix))).collect(),
                lease: owner.lease.map(|lease| lease.length),
                deadline: owner.lease.map(|lease| lease.deadline),
                connected: owner.stream.is_some(),
            }
        })
    }

    /// An owner declares a prefix, or declares it with other attributes.
    fn claim(&mut self, name: &OwnerName, route: &Originate, declared: &mut Declared) {
        let claims = self.claims.entry(route.prefix).or_default();
        if !claims.contains(name) {
            if *name == OwnerName::file() {
                declared.concerned.extend(claims.first().cloned());
                claims.insert(0, name.clone());
            } else {
                claims.push(name.clone());
            }
        }
        if claims.first() == Some(name) {
            declared.changes.insert(route.prefix, Some(route.clone()));
        }
    }

    /// An owner declares a prefix no longer: the next in line has it.
    fn let_go(&mut self, name: &OwnerName, prefix: IpNet, declared: &mut Declared) {
        let Some(claims) = self.claims.get_mut(&prefix) else { return };
        let had = claims.first() == Some(name);
        claims.retain(|other| other != name);
        let next = claims.first().cloned();
        if claims.is_empty() {
            self.claims.remove(&prefix);
        }
        if had {
            let route = next.as_ref().and_then(|next| self.owners.get(next)?.routes.get(&prefix));
            declared.changes.insert(prefix, route.cloned());
            declared.concerned.extend(next);
        }
    }
}

#[cfg(test)]
mod tests;
