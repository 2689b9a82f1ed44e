//! What happens to a network while it runs: one random disturbance after the other.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use ipnet::IpNet;

use super::random::Random;
use super::topology::Announced;
use super::world::World;

/// What may happen besides changes of routes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Faults {
    /// Connections are reset, by the network or by operators.
    pub resets: bool,
    /// Paths are interrupted.
    pub partitions: bool,
    /// Speakers end, with or without a word, and start again, with or without their memory.
    pub restarts: bool,
    /// Hosts read slowly.
    pub slow_readers: bool,
    /// Neighbors are removed and added, stopped and started, routes are asked for again.
    pub operators: bool,
}

impl Faults {
    /// Everything.
    pub const ALL: Self = Self { resets: true, partitions: true, restarts: true, slow_readers: true, operators: true };
}

/// The prefixes of a run: `count` of them, every third an IPv6 one.
#[must_use]
pub fn prefixes(count: usize) -> Vec<IpNet> {
    let prefix = |at: usize| {
        let number = at as u16;
        let [high, low] = number.to_be_bytes();
        if at % 3 == 2 {
            let address = Ipv6Addr::new(0x2001, 0xdb8, number, 0, 0, 0, 0, 0);
            IpNet::new(IpAddr::V6(address), 48)
        } else {
            IpNet::new(IpAddr::V4(Ipv4Addr::new(172, 16 + high, low, 0)), 24)
        }
    };
    (0..count).filter_map(|at| prefix(at).ok()).collect()
}

/// One disturbance.
pub fn disturb(world: &mut World, prefixes: &[IpNet], faults: Faults, random: &mut Random) {
    let size = world.topology.nodes.len();
    let host = random.below(size);
    let soon = |random: &mut Random, seconds: u64| {
        let low = Duration::from_millis(100);
        random.time(low, Duration::from_secs(seconds))
    };
    match random.below(23) {
        0 if faults.resets => world.reset_connection(host, random.below(size)),
        1 if faults.resets => {
            if let Some(address) = some_neighbor(world, host, random) {
                world.with(host, |speaker, now| speaker.reset(address, now));
            }
        }
        2 | 3 if faults.partitions => {
            let link = random.below(world.topology.links.len());
            let [a, b] = world.topology.links[link].ends;
            let until = world.now() + soon(random, 200);
            world.interrupt(a, b, until);
        }
        4 if faults.partitions => isolate(world, host, random),
        5 if faults.restarts => {
            let back = world.now() + soon(random, 150);
            match random.below(4) {
                0 => world.restart(host, back),
                how => world.kill(host, how == 1, random.once_in(2), back),
            }
        }
        6 | 7 if faults.slow_readers => {
            let until = world.now() + soon(random, 60);
            world.slow_down(host, until);
        }
        8 if faults.operators => {
            if let Some(address) = some_neighbor(world, host, random) {
                world.with(host, |speaker, now| speaker.refresh_in(address, now));
            }
        }
        9 if faults.operators => stop_or_start(world, host, random),
        10 if faults.operators => remove_or_add(world, host, random),
        11 if faults.partitions => split(world, random),
        12 if faults.restarts => crash_many(world, random),
        13 if faults.operators => regroup(world, host, random),
        14 if faults.operators => reshape(world, host, random),
        _ => change_routes(world, host, prefixes, random),
    }
}

fn some_neighbor(world: &World, host: usize, random: &mut Random) -> Option<IpAddr> {
    let addresses: Vec<IpAddr> = world.desired(host).neighbors.keys().copied().collect();
    if addresses.is_empty() { None } else { Some(random.pick(&addresses)) }
}

/// Interrupts all paths of a host.
fn isolate(world: &mut World, host: usize, random: &mut Random) {
    let until = world.now() + random.time(Duration::from_secs(1), Duration::from_secs(120));
    let others: Vec<usize> = world.topology.links_of(host).map(|link| link.other(host)).collect();
    others.into_iter().for_each(|other| world.interrupt(host, other, until));
}

/// Parts the network in two that do not hear each other.
fn split(world: &mut World, random: &mut Random) {
    let until = world.now() + random.time(Duration::from_secs(1), Duration::from_secs(120));
    let here: Vec<bool> = world.topology.nodes.iter().map(|_| random.once_in(2)).collect();
    let ends: Vec<_> = world.topology.links.iter().map(|link| link.ends).collect();
    let cut = ends.into_iter().filter(|[a, b]| here[*a] != here[*b]);
    cut.for_each(|[a, b]| world.interrupt(a, b, until));
}

/// Some or all speakers crash at once, and come back one after the other.
fn crash_many(world: &mut World, random: &mut Random) {
    let one_in = random.between(1, 4);
    for host in 0..world.topology.nodes.len() {
        if random.once_in(one_in) {
            let back = world.now() + random.time(Duration::from_millis(100), Duration::from_secs(60));
            world.kill(host, false, random.once_in(2), back);
        }
    }
}

fn stop_or_start(world: &mut World, host: usize, random: &mut Random) {
    let Some(address) = some_neighbor(world, host, random) else { return };
    world.reconfigure(host, |desired| {
        if let Some(neighbor) = desired.neighbors.get_mut(&address) {
            let shutdown = &mut neighbor.settings.shutdown;
            *shutdown = if shutdown.is_some() { None } else { Some("for a while".to_owned()) };
        }
    });
}

/// Has a neighbor told routes by other rules, which are in force while its session goes on.
fn regroup(world: &mut World, host: usize, random: &mut Random) {
    let Some(address) = some_neighbor(world, host, random) else { return };
    let policy = random.pick(&[None, Some("accept-all"), Some("reject-all")]);
    let next_hop_self = random.once_in(4);
    world.reconfigure(host, |desired| {
        if let Some(neighbor) = desired.neighbors.get_mut(&address) {
            neighbor.settings.export_policy = policy.map(|name| vec![name.to_owned()]);
            neighbor.settings.next_hop_self = next_hop_self;
        }
    });
}

/// Makes a reflector, or what it is to a neighbor, something else for good, while its sessions go on (RFC 4456 §6, §7).
fn reshape(world: &mut World, host: usize, random: &mut Random) {
    let links: Vec<usize> = world.topology.numbers_of(host).collect();
    if !world.topology.is_reflector(host) || links.is_empty() {
        return;
    }
    match random.below(3) {
        0 => {
            let other = random.below(world.topology.nodes.len());
            let node = &world.topology.nodes[other];
            world.topology.nodes[host].cluster_id = random.pick(&[node.router_id, node.cluster_id]);
        }
        1 => world.topology.nodes[host].client_to_client ^= true,
        _ => {
            let link = random.pick(&links);
            let side = world.topology.links[link].side_mut(host);
            side.client = !side.client;
        }
    }
    let whole = world.topology.desired(host);
    world.reconfigure(host, |desired| {
        desired.global = whole.global;
        for (address, neighbor) in &mut desired.neighbors {
            let of = whole.neighbors.get(address);
            neighbor.settings.route_reflector_client = of.is_some_and(|of| of.settings.route_reflector_client);
        }
    });
}

/// Removes a neighbor, or adds all that were removed.
fn remove_or_add(world: &mut World, host: usize, random: &mut Random) {
    let whole = world.topology.desired(host).neighbors;
    if world.desired(host).neighbors.len() < whole.len() {
        world.reconfigure(host, |desired| desired.neighbors = whole);
    } else if let Some(address) = some_neighbor(world, host, random) {
        world.reconfigure(host, |desired| drop(desired.neighbors.remove(&address)));
    }
}

/// Announces, changes or withdraws a few routes of one speaker.
fn change_routes(world: &mut World, host: usize, prefixes: &[IpNet], random: &mut Random) {
    let count = if random.once_in(4) { random.between(1, prefixes.len()) } else { random.between(1, 3) };
    let announced = Announced::random(random);
    let withdraws = random.once_in(3);
    for _ in 0..count {
        let prefix = random.pick(prefixes);
        if withdraws {
            world.withdraw(host, prefix);
        } else {
            world.announce(host, prefix, announced);
        }
    }
}

/// All speakers are configured as the topology says again, and nothing holds the network back.
pub fn repair(world: &mut World) {
    for host in 0..world.topology.nodes.len() {
        let whole = world.topology.desired(host).neighbors;
        world.reconfigure(host, |desired| desired.neighbors = whole);
    }
}
