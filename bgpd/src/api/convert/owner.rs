//! Owners and the routes that they want originated.

use std::net::IpAddr;
use std::time::Instant;

use bgp_engine::config::Originate;
use bgp_engine::config::owners::{OwnerName, OwnerView, Routes};
use bgp_wire::attribute::{Community, LargeCommunity};
use bgpd_proto::v1;
use ipnet::IpNet;
use tonic::Status;

use super::{invalid, optional_address, prefix, text};

/// A route to originate.
pub(in crate::api) fn originate(request: v1::Announcement) -> Result<Originate, Status> {
    let v1::Announcement { prefix: text, next_hop, local_pref, med, communities, large_communities } = request;
    let community = |text: &String| text.parse::<Community>().map(|c| c.0).map_err(|e| invalid("communities", e));
    let large = |text: &String| {
        let parsed = text.parse::<LargeCommunity>().map_err(|error| invalid("large_communities", error))?;
        Ok::<_, Status>([parsed.global, parsed.local1, parsed.local2])
    };
    let prefix = prefix("prefix", &text)?;
    Ok(Originate {
        prefix,
        next_hop: next_hop_of(prefix, &next_hop)?,
        local_pref,
        med,
        communities: communities.iter().map(community).collect::<Result<_, _>>()?,
        large_communities: large_communities.iter().map(large).collect::<Result<_, _>>()?,
    })
}

fn next_hop_of(prefix: IpNet, text: &str) -> Result<Option<IpAddr>, Status> {
    let Some(address) = optional_address("next_hop", text)? else { return Ok(None) };
    if address.is_unspecified() || address.is_multicast() || address.is_loopback() {
        return Err(invalid("next_hop", format_args!("{address} is not the address of a host")));
    }
    if address.is_ipv4() && prefix.addr().is_ipv6() {
        let reason = format_args!("{address} is an IPv4 address, but {prefix} needs an IPv6 next hop").to_string();
        return Err(invalid("next_hop", reason));
    }
    Ok(Some(address))
}

/// A set of routes, and what of it cannot be read.
pub(in crate::api) fn route_set(set: v1::RouteSet) -> (Routes, Vec<v1::RefusedRoute>) {
    let (mut routes, mut refused) = (Routes::new(), Vec::new());
    for announcement in set.announcements {
        let prefix = announcement.prefix.clone();
        let message = match originate(announcement) {
            Ok(route) if routes.contains_key(&route.prefix) => "prefix: it is in the set twice".to_owned(),
            Ok(route) => {
                routes.insert(route.prefix, route);
                continue;
            }
            Err(status) => status.message().to_owned(),
        };
        let refusal = v1::Refusal::Invalid.into();
        refused.push(v1::RefusedRoute { prefix, refusal, message, holder: String::new() });
    }
    (routes, refused)
}

/// A route that waits for another owner to let go of its prefix.
pub(in crate::api) fn refused(prefix: IpNet, holder: &OwnerName) -> v1::RefusedRoute {
    v1::RefusedRoute {
        prefix: prefix.to_string(),
        refusal: v1::Refusal::Conflict.into(),
        holder: holder.to_string(),
        message: format!("owner {holder} has it"),
    }
}

fn announcement(route: &Originate) -> v1::Announcement {
    let large = |&[global, local1, local2]: &[u32; 3]| LargeCommunity { global, local1, local2 }.to_string();
    v1::Announcement {
        prefix: route.prefix.to_string(),
        next_hop: text(route.next_hop),
        local_pref: route.local_pref,
        med: route.med,
        communities: route.communities.iter().map(|value| Community(*value).to_string()).collect(),
        large_communities: route.large_communities.iter().map(large).collect(),
    }
}

pub(in crate::api) fn owner(view: &OwnerView, now: Instant) -> v1::Owner {
    let routes = view.routes.iter();
    v1::Owner {
        name: view.name.to_string(),
        routes: routes
            .map(|(route, holder)| v1::OwnedRoute {
                announcement: Some(announcement(route)),
                holder: text(holder.as_ref()),
            })
            .collect(),
        lease_seconds: view.lease.map_or(0, |lease| lease.as_secs() as u32),
        lease_remaining_seconds: view.deadline.map(|at| at.saturating_duration_since(now).as_secs() as u32),
        connected: view.connected,
    }
}
