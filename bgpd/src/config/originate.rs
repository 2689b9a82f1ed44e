//! `[[originate]]`.

use std::collections::BTreeMap;

use bgp_engine::config::Originate;
use bgp_wire::attribute::{Community, LargeCommunity};
use ipnet::IpNet;

use super::Named;
use super::diagnosis::Problems;
use super::reader::Section;
use super::value::HostAddress;

pub(super) fn read(sections: Vec<Section<'_>>, problems: &mut Problems<'_>) -> BTreeMap<IpNet, Originate> {
    let mut all = Named::new("prefix");
    for mut section in sections {
        let prefix = section.need::<IpNet>("prefix", "\"10.1.0.0/24\"", problems);
        let next_hop = section.get::<HostAddress>("next-hop", problems);
        let local_pref = section.value("local-pref", problems);
        let med = section.value("med", problems);
        let communities = section.list::<Community>("communities", problems).unwrap_or_default();
        let large = section.list::<LargeCommunity>("large-communities", problems).unwrap_or_default();
        section.finish(problems);
        let Some(prefix) = prefix else { continue };
        if let Some(next_hop) = &next_hop
            && next_hop.value.0.is_ipv4()
            && prefix.value.addr().is_ipv6()
        {
            let message =
                format!("next-hop: {} is an IPv4 address, but {} is an IPv6 prefix", next_hop.value.0, prefix.value);
            problems.error(next_hop.span.clone(), message, "write an IPv6 address, or leave next-hop out");
        }
        let route = Originate {
            prefix: prefix.value,
            next_hop: next_hop.map(|at| at.value.0),
            local_pref,
            med,
            communities: communities.into_iter().map(|at| at.value.0).collect(),
            large_communities: large
                .into_iter()
                .map(|at| [at.value.global, at.value.local1, at.value.local2])
                .collect(),
        };
        all.insert(prefix.value, route, prefix.span, problems);
    }
    all.entries
}
