//! What a diff says of sessions is what happens to them, for random pairs of documents, as FRR and BIRD count it.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use interop::lab::{BIRD, Bgpd, Bird, FRR, Frr, Lab, Node, wait_until};
use interop::sim::Random;
use serde_json::Value;

use crate::document::{Document, HOSTS, OUTSIDE};

/// A peer that counts the ends of its sessions.
enum Peer {
    Frr(Frr),
    Bird(Bird),
}

/// What a peer says of its session.
#[derive(Clone, Copy)]
struct Seen {
    is_up: bool,
    /// How often it was Established and then was not any more.
    ends: u64,
}

impl Peer {
    fn seen(&self) -> Seen {
        match self {
            Self::Frr(frr) => {
                let neighbor = frr.neighbor("192.0.2.1");
                let ends = neighbor["connectionsDropped"].as_u64().unwrap_or(u64::MAX);
                Seen { is_up: neighbor["bgpState"] == "Established", ends }
            }
            Self::Bird(bird) => {
                let log = bird.daemon.log();
                let count = |what| log.matches(what).count() as u64;
                let ends = count("BGP session closed");
                Seen { is_up: count("BGP session established") > ends, ends }
            }
        }
    }

    fn has(&self, prefix: &str) -> bool {
        match self {
            Self::Frr(frr) => frr.vtysh(&format!("show bgp ipv4 unicast {prefix} json")).contains("\"valid\":true"),
            Self::Bird(bird) => bird.birdc(&format!("show route {prefix} protocol up")).contains(prefix),
        }
    }

    fn picture(&self) -> String {
        match self {
            Self::Frr(frr) => frr.picture(),
            Self::Bird(bird) => bird.picture(),
        }
    }
}

/// FRR in this AS, or in another one and on the same link; `rest` is for its neighbor.
fn frr(node: &Node, host: u8, rest: &[&str]) -> Peer {
    let asn = if OUTSIDE.contains(&host) { 65000 + u32::from(host) } else { 65000 };
    let remote = if OUTSIDE.contains(&host) { "external" } else { "internal" };
    let rest: String = rest.iter().map(|rest| format!(" neighbor 192.0.2.1 {rest}\n")).collect();
    let networks = [0, 1].map(|at| format!("  network 10.{host}.{at}.0/24\n")).concat();
    Peer::Frr(Frr::start(
        node,
        &format!(
            "router bgp {asn}\n bgp router-id 192.0.2.{host}\n no bgp network import-check\n no bgp ebgp-requires-policy\n \
             neighbor 192.0.2.1 remote-as {remote}\n neighbor 192.0.2.1 timers 3 9\n neighbor 192.0.2.1 timers connect 1\n{rest} \
             address-family ipv4 unicast\n{networks} exit-address-family\n"
        ),
    ))
}

/// The same of BIRD.
fn bird(node: &Node, host: u8, rest: &str, channel: &str) -> Peer {
    let asn = if OUTSIDE.contains(&host) { 65000 + u32::from(host) } else { 65000 };
    let remote = if OUTSIDE.contains(&host) { "external" } else { "internal" };
    let routes = [0, 1].map(|at| format!("route 10.{host}.{at}.0/24 unreachable; ")).concat();
    Peer::Bird(Bird::start(
        node,
        &format!(
            "log stderr all; debug protocols {{ events }}; router id 192.0.2.{host}; protocol device {{}}\n\
             protocol direct {{ ipv4; interface \"eth0\"; }}\nprotocol static pods {{ ipv4; {routes} }}\n\
             protocol bgp up {{ local as {asn}; neighbor 192.0.2.1 {remote}; hold time 9; connect retry time 1;\n\
             error wait time 1, 2; {rest}\n\
             ipv4 {{ import all; export where proto = \"pods\"; next hop self; {channel} }}; }}\n"
        ),
    ))
}

struct World {
    bgpd: Bgpd,
    us: Node,
    peers: BTreeMap<u8, Peer>,
    _nodes: Vec<Node>,
    _lab: Lab,
}

fn address(host: u8) -> String {
    format!("192.0.2.{host}")
}

impl World {
    fn start(document: &Document) -> Self {
        let lab = Lab::new("resets", &[&FRR[..], &BIRD[..]].concat());
        let us = lab.node("rr", 1);
        for (name, key) in [("own.key", "own\n"), ("range.key", "range\n")] {
            us.write(name, key);
        }
        let nodes = HOSTS.map(|host| lab.node(&format!("peer{host}"), host));
        let bgpd = Bgpd::start(&us, &document.text());
        let peer = |node: &Node, host: u8| match host {
            11 => frr(node, host, &[]),
            12 => bird(node, host, "password \"own\";", "add paths on;"),
            // As a peer it would compare OTC with the AS number that it is configured with, which is none here.
            13 => bird(node, host, "password \"own\"; local role customer;", ""),
            14 => frr(node, host, &["ttl-security hops 1", "local-role customer"]),
            15 => bird(node, host, "", ""),
            17 => frr(node, host, &["password range"]),
            _ => bird(node, host, "password \"range\";", ""),
        };
        let peers = HOSTS.into_iter().zip(&nodes).map(|(host, node)| (host, peer(node, host))).collect();
        Self { bgpd, us, peers, _nodes: nodes.into(), _lab: lab }
    }

    fn picture(&self) -> String {
        self.bgpd.picture() + &self.peers.values().map(Peer::picture).collect::<String>()
    }

    fn look(&self) -> Sight {
        let shown = self.bgpd.json(&["show", "neighbors"]);
        let all = shown.as_array().expect("a list of neighbors");
        let host = |one: &Value| one["address"].as_str().and_then(|text| text.rsplit('.').next()?.parse().ok());
        let here = all.iter().filter_map(|one| Some((host(one)?, one.clone()))).collect();
        Sight { here, there: self.peers.iter().map(|(host, peer)| (*host, peer.seen())).collect() }
    }
}

/// All sessions as both sides see them.
struct Sight {
    /// What bgpd says of each neighbor that there is.
    here: BTreeMap<u8, Value>,
    there: BTreeMap<u8, Seen>,
}

impl Sight {
    /// Whether the sessions that are to be up are up, and no others.
    fn is_as_wanted(&self, document: &Document) -> bool {
        let is_up = |host: u8| self.here.get(&host).is_some_and(|one| one["state"] == "Established");
        let is_limited = |host: u8| self.here[&host]["last_error"].to_string().contains("prefix limit");
        HOSTS.into_iter().all(|host| {
            let wanted = document.comes_up(host);
            let both_say_so = is_up(host) == wanted && self.there[&host].is_up == wanted;
            both_say_so && (!document.is_limited(host) || is_limited(host))
        })
    }

    fn flaps(&self, host: u8) -> u64 {
        self.here[&host]["flaps"].as_u64().expect("a number")
    }
}

/// One document after another.
struct Pair<'a> {
    world: &'a World,
    before: &'a Document,
    after: &'a Document,
    /// Sessions that a diff says are reset.
    named: BTreeSet<u8>,
    /// What there was before.
    sight: Sight,
    /// For a failure.
    what: String,
}

impl<'a> Pair<'a> {
    /// Asks for the difference, and applies what is new.
    fn apply(world: &'a World, before: &'a Document, after: &'a Document, what: &str) -> Self {
        let file = world.us.write("new.toml", &after.text()).display().to_string();
        let diff = world.bgpd.json(&["config", "diff", &file]);
        let steps = diff.as_array().expect("a list of steps");
        let named =
            steps.iter().filter_map(|step| step["neighbor"].as_str()?.rsplit('.').next()?.parse().ok()).collect();
        let what = format!("{what}\n-- from\n{}\n-- to\n{}\n-- diff\n{diff:#}", before.text(), after.text());
        let pair = Self { world, before, after, named, sight: world.look(), what };
        let _ = world.bgpd.ctl(&["config", "apply", &file]);
        // What is down for its many prefixes stays so until it is reset.
        for host in HOSTS.into_iter().filter(|host| before.is_limited(*host) && after.comes_up(*host)) {
            let _ = world.bgpd.ctl(&["neighbor", "reset", &address(host)]);
        }
        pair
    }

    /// Those whose sessions have ended otherwise than was said, and how often, as they say.
    fn surprises(&self, now: &Sight) -> Vec<(u8, u64)> {
        let ended =
            HOSTS.into_iter().map(|host| (host, now.there[&host].ends.wrapping_sub(self.sight.there[&host].ends)));
        let is_surprise = |(host, ended): &(u8, u64)| {
            let is_named = self.named.contains(host);
            if self.after.is_limited(*host) {
                // It may have come up in between.
                return self.before.comes_up(*host) && is_named != (*ended > 0);
            }
            if self.before.is_limited(*host) {
                return false;
            }
            let stays = [self.before, self.after].iter().all(|document| document.is_configured(*host));
            let here = |ended: u64| !stays || now.flaps(*host) == self.sight.flaps(*host) + ended;
            *ended != u64::from(is_named) || !here(*ended)
        };
        ended.filter(is_surprise).collect()
    }

    fn picture(&self) -> String {
        let surprises = self.surprises(&self.world.look());
        format!("{}\n-- surprises {surprises:?}\n{}", self.what, self.world.picture())
    }

    /// What was said has happened, nothing else has, and what is announced after that comes to all that are to have it.
    fn check(&self, mark: &str) {
        let Self { world, after, .. } = self;
        let unknown: Vec<_> = self.named.iter().filter(|host| !self.before.comes_up(**host)).collect();
        assert!(unknown.is_empty(), "{unknown:?} are down and are to be reset\n{}", self.picture());
        let done = || {
            let sight = world.look();
            sight.is_as_wanted(after) && self.surprises(&sight).is_empty()
        };
        wait_until("those that are named are reset, and come back", done, || self.picture());
        let _ = world.bgpd.ctl(&["announce", mark]);
        let told = |host: &u8| after.comes_up(*host) && after.is_told(*host);
        let all_have = || world.peers.iter().filter(|(host, _)| told(host)).all(|(_, peer)| peer.has(mark));
        wait_until("a new route comes to all that it is for", all_have, || self.picture());
    }
}

fn variable<T: FromStr>(name: &str, default: T) -> T {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[test]
fn the_sessions_that_a_diff_names_are_those_that_are_reset() {
    let (seed, pairs) = (variable("BGPD_SEED", 1_u64), variable("BGPD_RELOADS", 40_u32));
    let mut random = Random::new(seed);
    let mut before = Document::plain();
    let world = World::start(&before);
    wait_until("all sessions are up", || world.look().is_as_wanted(&before), || world.picture());
    let (mut resets, mut others, mut down) = (0, 0, 0);
    for number in 0..pairs {
        let after = before.changed(&mut random);
        let pair = Pair::apply(&world, &before, &after, &format!("seed {seed}, pair {number}"));
        pair.check(&format!("10.97.{number}.0/24"));
        let up = HOSTS.iter().filter(|host| before.comes_up(**host)).count();
        (resets, others) = (resets + pair.named.len(), others + up - pair.named.len());
        down += HOSTS.iter().filter(|host| !after.comes_up(**host)).count();
        before = after;
    }
    println!("{resets} sessions were reset, {others} were not; {down} were to be down");
    assert!(pairs < 40 || (resets >= 20 && others >= 60 && down >= 10), "{resets} {others} {down}");
}
