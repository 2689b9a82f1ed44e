//! How an announcement ends: first with the GRACEFUL_SHUTDOWN community, so that peers move to other paths while this
//! one still works, then with its withdrawal (RFC 8326 §4).

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use ipnet::IpNet;

use crate::announcement::{Announcement, Announcements, GRACEFUL_SHUTDOWN};

/// Announcements over time.
#[derive(Debug)]
pub struct Retirement {
    grace: Duration,
    wanted: Announcements,
    /// Since when an announcement has asked to be avoided.
    avoided_since: BTreeMap<IpNet, Instant>,
    /// Announcements that nobody wants any more.
    ending: BTreeMap<IpNet, Announcement>,
}

impl Retirement {
    /// Announcements end that long after peers were asked to avoid them.
    #[must_use]
    pub fn new(grace: Duration) -> Self {
        Self { grace, wanted: Announcements::new(), avoided_since: BTreeMap::new(), ending: BTreeMap::new() }
    }

    /// Takes in what is wanted from now on.
    pub fn update(&mut self, wanted: Announcements, now: Instant) {
        let before = std::mem::replace(&mut self.wanted, wanted);
        for (prefix, announcement) in before {
            if !self.wanted.contains_key(&prefix) {
                self.ending.insert(prefix, announcement);
            }
        }
        self.ending.retain(|prefix, _| !self.wanted.contains_key(prefix));
        let is_avoided = |announcement: &Announcement| announcement.communities.contains(GRACEFUL_SHUTDOWN);
        let avoided = self.wanted.iter().filter(|(_, announcement)| is_avoided(announcement));
        let avoided: Vec<IpNet> = avoided.map(|(prefix, _)| *prefix).chain(self.ending.keys().copied()).collect();
        self.avoided_since.retain(|prefix, _| avoided.contains(prefix));
        for prefix in avoided {
            self.avoided_since.entry(prefix).or_insert(now);
        }
        self.expire(now);
    }

    /// Forgets what has been avoided for long enough.
    pub fn expire(&mut self, now: Instant) {
        let (grace, since) = (self.grace, &self.avoided_since);
        self.ending.retain(|prefix, _| since.get(prefix).is_some_and(|since| now < *since + grace));
    }

    /// When something ends next.
    #[must_use]
    pub fn next_end(&self) -> Option<Instant> {
        self.ending.keys().filter_map(|prefix| self.avoided_since.get(prefix)).map(|since| *since + self.grace).min()
    }

    /// What is to be announced now.
    #[must_use]
    pub fn announcements(&self) -> Announcements {
        let ending = self.ending.iter().map(|(prefix, announcement)| {
            let mut announcement = announcement.clone();
            announcement.communities.insert(GRACEFUL_SHUTDOWN.to_owned());
            (*prefix, announcement)
        });
        self.wanted.clone().into_iter().chain(ending).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: Duration = Duration::from_secs(5);

    fn prefix() -> IpNet {
        "10.1.0.0/24".parse().expect("a prefix")
    }

    fn wanted(avoided: bool) -> Announcements {
        let communities = avoided.then(|| GRACEFUL_SHUTDOWN.to_owned()).into_iter().collect();
        let next_hop = "192.0.2.1".parse().expect("an address");
        Announcements::from([(prefix(), Announcement { next_hop, communities })])
    }

    #[test]
    fn announcement_is_avoided_before_it_ends() {
        let (mut retirement, start) = (Retirement::new(GRACE), Instant::now());
        retirement.update(wanted(false), start);
        retirement.update(Announcements::new(), start);
        assert_eq!(retirement.announcements(), wanted(true));
        assert_eq!(retirement.next_end(), Some(start + GRACE));
        retirement.expire(start + GRACE);
        assert_eq!(retirement.announcements(), Announcements::new());
        assert_eq!(retirement.next_end(), None);
    }

    #[test]
    fn announcement_that_was_avoided_long_enough_ends_at_once() {
        let (mut retirement, start) = (Retirement::new(GRACE), Instant::now());
        retirement.update(wanted(true), start);
        retirement.update(Announcements::new(), start + GRACE);
        assert_eq!(retirement.announcements(), Announcements::new());
    }

    #[test]
    fn announcement_that_comes_back_stays() {
        let (mut retirement, start) = (Retirement::new(GRACE), Instant::now());
        retirement.update(wanted(false), start);
        retirement.update(Announcements::new(), start);
        retirement.update(wanted(false), start + Duration::from_secs(1));
        retirement.expire(start + GRACE);
        assert_eq!(retirement.announcements(), wanted(false));
    }
}
